-- The extension itself: what it owns, what it says of it, what it lets others do
SELECT extname, extrelocatable FROM pg_extension WHERE extname = 'idem';

-- every object has a comment
SELECT pg_describe_object(classid, objid, 0) AS without_comment
FROM pg_depend
WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'idem') AND deptype = 'e'
  AND obj_description(objid, classid::regclass::name) IS NULL
  AND NOT (classid = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_type t WHERE t.oid = objid AND t.typelem <> 0))
  AND classid <> 'pg_class'::regclass
  AND NOT (classid = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid WHERE t.oid = objid AND c.relkind <> 'c'))
  AND NOT (classid = 'pg_rewrite'::regclass);
SELECT c.relname, a.attname AS without_comment
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relname ~ '^idem_(ledger|pipeline)' AND c.relkind IN ('c', 'r') AND attnum > 0 AND col_description(c.oid, attnum) IS NULL;
SELECT c.relname AS without_comment FROM pg_class c WHERE c.relname LIKE 'idem\_%' AND c.relkind IN ('r', 'v') AND obj_description(c.oid, 'pg_class') IS NULL;

-- the surface
SELECT p.oid::regprocedure AS object, provolatile, proparallel, proisstrict, prosecdef, proconfig
FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'idem') AND d.classid = 'pg_proc'::regclass
ORDER BY p.proname, p.oid::regprocedure::text COLLATE "C";

-- settings
LOAD 'idem';
SHOW idem.wait_for_writers;
SET idem.wait_for_writer = on;

-- it can live in any schema, and a role that is no superuser can create it
CREATE SCHEMA elsewhere;
CREATE ROLE regress_idem_owner;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO regress_idem_owner', current_database()); END $$;
GRANT ALL ON SCHEMA elsewhere TO regress_idem_owner;
BEGIN;
SET LOCAL client_min_messages = warning;
DROP EXTENSION idem CASCADE;
SET LOCAL ROLE regress_idem_owner;
CREATE EXTENSION idem SCHEMA elsewhere;
SELECT elsewhere.idem_create_ledger('elsewhere.l', 'int8range');
SELECT elsewhere.idem_hash('{"a": 1}'::jsonb, '{a}');
CREATE TABLE elsewhere.t (id bigint PRIMARY KEY);
CALL elsewhere.idem_load_window('elsewhere.l', 'elsewhere.t', 'SELECT generate_series($1, $2 - 1) AS id',
    '[1,11)', 'upsert', keys => '{id}');
SELECT count(*) FROM elsewhere.t;
ROLLBACK;
DO $$ BEGIN EXECUTE format('REVOKE CREATE ON DATABASE %I FROM regress_idem_owner', current_database()); END $$;
DROP SCHEMA elsewhere;
DROP ROLE regress_idem_owner;
