-- duplicates that are there already: found, moved into a quarantine, put back
SET client_min_messages = warning;
CREATE FUNCTION counts(target regclass) RETURNS TABLE (kept bigint, removed bigint) LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('SELECT count(*) FROM %s', target) INTO kept;
    EXECUTE format('SELECT count(*) FROM %I', trim('"' FROM target::text) || '_removed') INTO removed;
    RETURN NEXT;
END $$;
SET client_min_messages = notice;

-- NULL is the same as NULL, -0.0 as 0.0; what is given as a key is a column, or else an expression
CREATE TABLE plain (id int PRIMARY KEY, code text, x float8, at timestamptz);
INSERT INTO plain VALUES (1, 'a', 0.0, '2024-01-01'), (2, 'a', -0.0, '2024-01-01'), (3, NULL, 1, NULL), (4, NULL, 1, NULL), (5, 'b', 'NaN', NULL), (6, 'b', 'NaN', NULL), (7, 'c', NULL, NULL);
SELECT idem_digest(p) AS before FROM plain p \gset
\set VERBOSITY terse
CALL idem_dedupe('plain', '{code,x}', dry_run => true);
BEGIN;
CALL idem_dedupe('plain', '{code,x}', ignore => '{id}', dry_run => true);
ROLLBACK;
\set VERBOSITY default
SELECT count(*) FROM pg_class WHERE relname LIKE 'plain\_%' AND relkind = 'r';
CALL idem_dedupe('plain', '{code,x}', unique_index => false);
CALL idem_dedupe('plain', '{code,x}', ignore => '{id}', unique_index => false);
SELECT id FROM plain ORDER BY id;
SELECT idem_key, id, code, x FROM plain_removed ORDER BY id;
-- again, there is nothing to do
CALL idem_dedupe('plain', '{code,x}', ignore => '{id}', unique_index => false);
SELECT target, job_id, phase, rows_removed, quarantine FROM idem_dedupe_status ORDER BY job_id;
CALL idem_dedupe_undo('plain');
SELECT idem_digest(p) = :'before' AS as_before, (SELECT count(*) FROM plain_removed) AS quarantined FROM plain p;
CALL idem_dedupe_undo('plain');
CALL idem_dedupe_undo('plain', 1);

-- rows of one key that differ: one is kept, or all are left
CREATE TABLE versions (id int, "Ke y" text, version int, note json, place point);
INSERT INTO versions VALUES (1, 'a', 1, '{"a": 1}', '(0,0)'), (2, 'a', 2, '{"a": 1}', '(0,0)'), (3, 'A ', 3, NULL, NULL), (4, 'b', NULL, '1', '(1,1)'), (5, 'b', 7, '1', '(1,1)'), (6, 'c', 1, '{"x": 1}', NULL), (7, 'c', 1, '{"x": 1}', NULL), (8, 'd', 1, '{"x": 1}', NULL), (9, 'd', 1, '{"x":1}', NULL);
CALL idem_dedupe('versions', '{"Ke y"}', ignore => '{id}', unique_index => false);
CALL idem_dedupe('versions', '{"Ke y"}', ignore => '{id}', conflicts => 'leave', unique_index => false);
SELECT array_agg(id ORDER BY id) FROM versions;
CALL idem_dedupe('versions', ARRAY['lower(btrim("Ke y"))'], 'version DESC NULLS LAST, id', 'keep', quarantine => 'public.versions_set_aside', unique_index => false);
SELECT array_agg(id ORDER BY id) FROM versions;
SELECT idem_key, array_agg(id ORDER BY id) FROM versions_set_aside GROUP BY 1 ORDER BY 1;
CALL idem_dedupe_undo('versions');
SELECT count(*) FROM versions;

-- other columns: generated, identity, dropped, of types that cannot be hashed; names that need quotes
CREATE TABLE "O'dd" (gone int, id int GENERATED ALWAYS AS IDENTITY, "a""b" bit varying, twice text GENERATED ALWAYS AS (upper(v)) STORED, v text COLLATE "C");
ALTER TABLE "O'dd" DROP gone;
INSERT INTO "O'dd" ("a""b", v) VALUES (B'1', 'x'), (B'1', 'x'), (B'10', 'x'), (NULL, 'y'), (NULL, 'y');
SELECT idem_digest(o) AS before FROM "O'dd" o \gset
CALL idem_dedupe('"O''dd"', ARRAY['a"b'], keep => 'id', ignore => '{id}', unique_index => false);
SELECT * FROM "O'dd" ORDER BY id;
CALL idem_dedupe_undo('"O''dd"');
SELECT idem_digest(o) = :'before' AS as_before FROM "O'dd" o;

-- partitions: the same place in another one is another row
CREATE TABLE parts (region text, id int, v int, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a');
CREATE TABLE parts_b (v int, dropped int, id int NOT NULL, region text NOT NULL);
ALTER TABLE parts_b DROP dropped;
ALTER TABLE parts ATTACH PARTITION parts_b FOR VALUES IN ('b');
INSERT INTO parts SELECT r, i, i / 2 FROM unnest('{a,b}'::text[]) r, generate_series(1, 6) i;
SELECT idem_digest(p) AS before FROM parts p \gset
CALL idem_dedupe('parts', '{v}', ignore => '{id}', unique_index => false);
CALL idem_dedupe('parts', '{region,v}', ignore => '{id}', unique_index => false);
SELECT region, array_agg(id ORDER BY id) FROM parts GROUP BY 1 ORDER BY 1;
SELECT * FROM counts('parts');
CALL idem_dedupe_undo('parts');
SELECT idem_digest(p) = :'before' AS as_before FROM parts p;
CALL idem_dedupe('parts_a', '{v}', ignore => '{id}', unique_index => false);

-- what refers to rows that go
CREATE TABLE child (id int, parent int, CONSTRAINT to_plain FOREIGN KEY (parent) REFERENCES plain);
INSERT INTO child VALUES (1, 1), (2, 2), (3, 4), (4, NULL);
CALL idem_dedupe('plain', '{code,x}', ignore => '{id}', unique_index => false);
CREATE INDEX ON child (parent);
CALL idem_dedupe('plain', '{code,x}', ignore => '{id}', unique_index => false);
CALL idem_dedupe('plain', '{code,x}', ignore => '{id}', on_references => 'repoint', unique_index => false);
SELECT * FROM child ORDER BY id;
SELECT * FROM counts('plain');
ALTER TABLE child DROP CONSTRAINT to_plain, ADD CONSTRAINT to_plain FOREIGN KEY (parent) REFERENCES plain ON DELETE CASCADE;
CALL idem_dedupe('plain', '{code,x}', unique_index => false);
ALTER TABLE child DROP CONSTRAINT to_plain, ADD CONSTRAINT to_plain FOREIGN KEY (parent) REFERENCES plain ON DELETE SET NULL;
CALL idem_dedupe('plain', '{code,x}', unique_index => false);
DROP TABLE child;
-- of a table that refers to itself, by two columns
CREATE TABLE tree (a int, b int, up_a int, up_b int, name text, PRIMARY KEY (a, b), FOREIGN KEY (up_a, up_b) REFERENCES tree);
CREATE INDEX ON tree (up_b, up_a);
INSERT INTO tree VALUES (1, 1, NULL, NULL, 'root'), (1, 2, NULL, NULL, 'root'), (2, 1, 1, 2, 'leaf'), (2, 2, 1, 1, 'leaf'), (3, 1, 2, 2, 'twig');
CALL idem_dedupe('tree', '{name}', 'a, b', 'keep', on_references => 'repoint', unique_index => false);
SELECT * FROM tree ORDER BY a, b;

-- what is refused, before anything is read
CALL idem_dedupe('plain', '{}', unique_index => false);
CALL idem_dedupe('plain', '{nothing}', unique_index => false);
CALL idem_dedupe('plain', '{code,code}', unique_index => false);
CALL idem_dedupe('plain', '{lower(code}', unique_index => false);
CALL idem_dedupe('plain', ARRAY['code), (x'], unique_index => false);
CALL idem_dedupe('plain', '{code AS other}', unique_index => false);
CALL idem_dedupe('plain', ARRAY['count(*)'], unique_index => false);
CALL idem_dedupe('plain', ARRAY['(SELECT 1)'], unique_index => false);
CALL idem_dedupe('plain', ARRAY['at::text'], unique_index => false);
CALL idem_dedupe('versions', '{note}', unique_index => false);
CALL idem_dedupe('plain', '{code}', 'id; DROP TABLE plain', 'keep', unique_index => false);
CALL idem_dedupe('plain', '{code}', 'id LIMIT 1', 'keep', unique_index => false);
CALL idem_dedupe('plain', '{code}', 'random()', 'keep', unique_index => false);
CALL idem_dedupe('plain', '{code}', 'nothing', 'keep', unique_index => false);
CALL idem_dedupe('plain', '{code}', conflicts => 'keep', unique_index => false);
CALL idem_dedupe('plain', '{code}', conflicts => 'merge', unique_index => false);
CALL idem_dedupe('plain', '{code}', on_references => 'cascade', unique_index => false);
CALL idem_dedupe('plain', '{code}', ignore => '{nothing}', unique_index => false);
CALL idem_dedupe('plain', '{code}', batch_ms => 0, unique_index => false);
CALL idem_dedupe('plain', '{code}', pause => '-1 second', unique_index => false);
CALL idem_dedupe(NULL, '{code}');
CALL idem_dedupe('plain', NULL, unique_index => false);
BEGIN;
CALL idem_dedupe('plain', '{code}', unique_index => false);
ROLLBACK;
SET default_transaction_read_only = on;
CALL idem_dedupe('plain', '{code}', unique_index => false);
CALL idem_dedupe_undo('plain');
RESET default_transaction_read_only;
CALL idem_dedupe_undo('pg_class');
CALL idem_dedupe('pg_class', '{relname}', unique_index => false);
CREATE VIEW seen AS SELECT * FROM plain;
CALL idem_dedupe('seen', '{code}', unique_index => false);
CREATE TEMP TABLE passing (code text);
CALL idem_dedupe('passing', '{code}', unique_index => false);
CREATE TABLE base (code text);
CREATE TABLE heir () INHERITS (base);
CALL idem_dedupe('base', '{code}', unique_index => false);
CREATE RULE keep_all AS ON DELETE TO heir DO INSTEAD NOTHING;
CALL idem_dedupe('heir', '{code}', unique_index => false);
ALTER TABLE heir DISABLE RULE keep_all;
CALL idem_dedupe('heir', '{code}', unique_index => false);
CREATE TABLE byday (at timestamptz, code text) PARTITION BY RANGE (date_part('year', at AT TIME ZONE 'UTC'));
CALL idem_dedupe('byday', '{at,code}', unique_index => false);
CREATE TABLE published (code text);
SET client_min_messages = error;
CREATE PUBLICATION told FOR TABLE published;
SET client_min_messages = notice;
CALL idem_dedupe('published', '{code}', unique_index => false);
ALTER TABLE published REPLICA IDENTITY FULL;
CALL idem_dedupe('published', '{code}', unique_index => false);
DROP PUBLICATION told;
CREATE TABLE clash (idem_job int, code text);
CALL idem_dedupe('clash', '{code}', unique_index => false);

-- only the owner, with his rights, and row security does not hide rows from him
CREATE ROLE dedupe_owner;
CREATE ROLE dedupe_other;
GRANT CREATE, USAGE ON SCHEMA public TO dedupe_owner, dedupe_other;
SET ROLE dedupe_owner;
CREATE TABLE owned (id int, code text);
INSERT INTO owned VALUES (1, 'a'), (1, 'a');
GRANT ALL ON owned TO dedupe_other;
ALTER TABLE owned ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CALL idem_dedupe('owned', '{code}', unique_index => false);
ALTER TABLE owned NO FORCE ROW LEVEL SECURITY;
SET ROLE dedupe_other;
CALL idem_dedupe('owned', '{code}', unique_index => false);
CREATE TABLE owned_removed (evil int);
SET ROLE dedupe_owner;
CALL idem_dedupe('owned', '{code}', unique_index => false);
CALL idem_dedupe('owned', '{code}', quarantine => 'owned_gone', unique_index => false);
SELECT target, phase, rows_removed FROM idem_dedupe_status;
SET ROLE dedupe_other;
SELECT target, phase, rows_removed FROM idem_dedupe_status;
RESET ROLE;
CALL idem_dedupe_undo('owned');
SET ROLE dedupe_owner;
CALL idem_dedupe_undo('owned');
RESET ROLE;

-- a quarantine that does not fit, tables of others' that are in the way
ALTER TABLE plain ADD more int;
CALL idem_dedupe('plain', '{code,x}', ignore => '{id}', unique_index => false);
ALTER TABLE plain_removed ADD more text;
CALL idem_dedupe('plain', '{code,x}', ignore => '{id}', unique_index => false);
ALTER TABLE plain_removed ALTER more TYPE int USING NULL;
CALL idem_dedupe('plain', '{code,x}', ignore => '{id}', quarantine => 'versions', unique_index => false);
CREATE TABLE published_dedupe (mine int);
CREATE TABLE heir_dedupe_rows (mine int);
CALL idem_dedupe('heir', '{code}', unique_index => false);
DROP TABLE published_dedupe, heir_dedupe_rows;

-- a trigger that keeps rows: what is left is said, and the same call goes on
INSERT INTO published VALUES ('a'), ('a'), ('b'), ('b');
CREATE FUNCTION keep_a() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN OLD.code = 'a' THEN NULL ELSE OLD END; END $$;
CREATE TRIGGER keep_a BEFORE DELETE ON published FOR EACH ROW EXECUTE FUNCTION keep_a();
CALL idem_dedupe('published', '{code}', unique_index => false);
SELECT phase, rows_removed FROM idem_dedupe_status WHERE target = 'public.published' ORDER BY job_id DESC LIMIT 1;
DROP TRIGGER keep_a ON published;
CALL idem_dedupe('published', '{code}', unique_index => false);
SELECT * FROM counts('published');

-- many rows, in small batches
CREATE TABLE strikes AS SELECT i AS id, 'airport ' || i % 40 AS airport, date '1990-01-01' + i % 300 AS flight_date, i % 7 = 0 AS damage FROM generate_series(1, 20000) i;
CALL idem_dedupe('strikes', '{airport,flight_date}', 'id', 'keep', batch_ms => 5, unique_index => false);
SELECT k.kept + k.removed AS rows, k.kept, (SELECT count(DISTINCT (airport, flight_date)) FROM strikes) AS keys, (SELECT max(id) FROM strikes) AS highest FROM counts('strikes') k;

-- the unique index: what is NULL is the same there too; it is built once, and not undone
CALL idem_dedupe('plain', '{code,x}', ignore => '{id}', quarantine => 'public.plain_gone');
CALL idem_dedupe('plain', '{x,code}', ignore => '{id}', quarantine => 'public.plain_gone');
SELECT pg_get_indexdef('plain_dedupe_key'::regclass);
CALL idem_dedupe_undo('plain');
DROP INDEX plain_dedupe_key;
CALL idem_dedupe('versions', ARRAY['lower(btrim("Ke y"))'], 'version DESC NULLS LAST, id', 'keep');
CALL idem_dedupe('versions', ARRAY['lower(btrim("Ke y"))'], 'version DESC NULLS LAST, id', 'keep');
CALL idem_dedupe_undo('versions');
CALL idem_dedupe('versions', '{id,version}');
SELECT indexrelid::regclass, indisvalid, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'versions'::regclass ORDER BY 1;
CALL idem_dedupe('parts', '{region,v}', ignore => '{id}');
CALL idem_dedupe('parts', '{region,v}', ignore => '{id}');
SELECT indexrelid::regclass, indisvalid, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid IN (SELECT relid FROM pg_partition_tree('parts')) AND NOT indisprimary ORDER BY 1;
INSERT INTO parts VALUES ('b', 99, 1);
CALL idem_dedupe_undo('parts');
CALL idem_dedupe('strikes', '{airport}', conflicts => 'leave');
CALL idem_dedupe('strikes', '{airport}', unique_index => NULL);
-- as a role that may not log in: from 17 on it can all the same
CREATE TABLE nologin (code text);
INSERT INTO nologin VALUES ('a'), ('a');
ALTER TABLE nologin OWNER TO dedupe_owner;
SET ROLE dedupe_owner;
SET client_min_messages = error;
CALL idem_dedupe('nologin', '{code}');
SET client_min_messages = notice;
RESET ROLE;
SELECT count(*), (SELECT count(*) > 0 FROM pg_index WHERE indrelid = 'nologin'::regclass) = (current_setting('server_version_num')::int >= 170000) AS as_it_should FROM nologin;

-- what is another's does not run with the caller's rights: his table, his cast, his child, his quarantine
SET client_min_messages = warning;
CREATE SCHEMA theirs AUTHORIZATION dedupe_other;
GRANT USAGE, CREATE ON SCHEMA theirs TO dedupe_owner;
CREATE TABLE loot (who text, what text);
GRANT INSERT ON loot TO PUBLIC;
SET ROLE dedupe_other;
CREATE FUNCTION theirs.take() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.loot VALUES (current_user, TG_RELID::regclass); RETURN COALESCE(NEW, OLD); END $$;
CREATE TYPE theirs.letter AS ENUM ('a', 'b');
CREATE FUNCTION theirs.to_json(theirs.letter) RETURNS json LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.loot VALUES (current_user, 'cast'); RETURN '1'::json; END $$;
CREATE CAST (theirs.letter AS json) WITH FUNCTION theirs.to_json(theirs.letter);
CREATE TABLE theirs.trap (code text);
INSERT INTO theirs.trap VALUES ('a'), ('a');
CREATE TRIGGER take BEFORE DELETE ON theirs.trap FOR EACH ROW EXECUTE FUNCTION theirs.take();
RESET ROLE;
SET client_min_messages = notice;
CALL idem_dedupe('theirs.trap', '{code}', dry_run => true);
CALL idem_dedupe('theirs.trap', '{code}', unique_index => false);
CREATE TABLE mixed (code text) PARTITION BY LIST (code);
CREATE TABLE theirs.part PARTITION OF mixed DEFAULT;
ALTER TABLE theirs.part OWNER TO dedupe_other;
CALL idem_dedupe('mixed', '{code}', unique_index => false);
DROP TABLE mixed;
CREATE TABLE lettered (id int PRIMARY KEY, letter theirs.letter);
INSERT INTO lettered VALUES (1, 'a'), (2, 'a'), (3, NULL), (4, NULL);
\set VERBOSITY terse
CALL idem_dedupe('lettered', '{letter}', ignore => '{id}', dry_run => true);
\set VERBOSITY default
CALL idem_dedupe('lettered', '{letter}', ignore => '{id}', unique_index => false);
SELECT idem_key FROM lettered_removed ORDER BY id;
GRANT REFERENCES ON lettered TO dedupe_other;
SET ROLE dedupe_other;
CREATE TABLE theirs.child (id int CONSTRAINT to_lettered REFERENCES public.lettered);
CREATE INDEX ON theirs.child (id);
RESET ROLE;
CALL idem_dedupe('lettered', '{letter}', ignore => '{id}', unique_index => false);
CALL idem_dedupe('lettered', '{letter}', ignore => '{id}', on_references => 'repoint', dry_run => true);
DROP TABLE theirs.child;
SET ROLE dedupe_owner;
CREATE TABLE swapped (code text);
INSERT INTO swapped VALUES ('a'), ('a');
CALL idem_dedupe('swapped', '{code}', quarantine => 'theirs.gone', unique_index => false);
SET ROLE dedupe_other;
DROP TABLE theirs.gone;
CREATE TABLE theirs.gone (idem_job int8, idem_key jsonb, idem_removed_at timestamptz, code text);
INSERT INTO theirs.gone VALUES (1, NULL, NULL, 'evil');
CREATE TRIGGER take BEFORE DELETE ON theirs.gone FOR EACH ROW EXECUTE FUNCTION theirs.take();
GRANT ALL ON theirs.gone TO PUBLIC;
SET ROLE dedupe_owner;
CALL idem_dedupe_undo('swapped');
RESET ROLE;
TABLE loot;

-- the list of jobs: nothing of a table's owner runs, and no table hides the others
SET ROLE dedupe_other;
CREATE FUNCTION theirs.swap() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    ALTER TABLE theirs.b_dedupe RENAME TO b_old;
    CREATE VIEW theirs.b_dedupe AS SELECT 1::int8 AS job_id, 1::oid AS target, 4711::int8 AS target_name;
    RETURN true;
END $$;
CREATE TABLE theirs.a_dedupe OF public.idem_dedupe_job;
INSERT INTO theirs.a_dedupe (job_id, target_name) VALUES (1, 'hidden by a policy');
ALTER TABLE theirs.a_dedupe ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY swap ON theirs.a_dedupe USING (theirs.swap());
CREATE TABLE theirs.b_dedupe OF public.idem_dedupe_job;
INSERT INTO theirs.b_dedupe (job_id, target_name) VALUES (1, 'b');
CREATE TABLE theirs.c_dedupe OF public.idem_dedupe_job;
INSERT INTO theirs.c_dedupe (job_id, target_name) VALUES (1, 'c');
REVOKE ALL ON theirs.c_dedupe FROM dedupe_other;
CREATE TABLE theirs.d_dedupe (job_id bigint, gone int, target oid, target_name text, arguments text, phase text, round int, rows_found bigint, rows_tried bigint, rows_removed bigint,
    rows_repointed bigint, quarantine text, index_name text, files text, started_at timestamptz, updated_at timestamptz, finished_at timestamptz, run_by text);
ALTER TABLE theirs.d_dedupe DROP gone;
INSERT INTO theirs.d_dedupe (job_id, target_name) VALUES (1, 'd');
ALTER TABLE theirs.d_dedupe OF public.idem_dedupe_job;
RESET ROLE;
SELECT target FROM idem_dedupe_status WHERE quarantine IS NULL ORDER BY 1;
SELECT relkind FROM pg_class WHERE oid = 'theirs.b_dedupe'::regclass;

-- one quarantine of two tables: no job has the number of another
CREATE TABLE first (code text);
CREATE TABLE second (code text);
INSERT INTO first VALUES ('x'), ('x');
INSERT INTO second VALUES ('y'), ('y'), ('y');
CALL idem_dedupe('first', '{code}', quarantine => 'both_gone', unique_index => false);
CALL idem_dedupe('second', '{code}', quarantine => 'both_gone', unique_index => false);
CALL idem_dedupe_undo('first');
SELECT (SELECT array_agg(code) FROM first) AS first, (SELECT array_agg(code) FROM second) AS second, (SELECT array_agg(code) FROM both_gone) AS gone;
DROP TABLE second_dedupe;
INSERT INTO second VALUES ('z'), ('z');
CALL idem_dedupe('second', '{code}', quarantine => 'both_gone', unique_index => false);
CALL idem_dedupe_undo('second');
SELECT array_agg(code ORDER BY code) FROM second;
-- a table that has taken another's name has not its jobs
ALTER TABLE first RENAME TO first_old;
ALTER TABLE second RENAME TO first;
CALL idem_dedupe_undo('first');

-- names that leave no room, and those of a job's own columns; keys that are no columns
CREATE TABLE a23456789012345678901234567890123456789012345678901x (code text);
CALL idem_dedupe('a23456789012345678901234567890123456789012345678901x', '{code}', unique_index => false);
ALTER TABLE a23456789012345678901234567890123456789012345678901x RENAME TO a23456789012345678901234567890123456789012345678901;
CALL idem_dedupe('a23456789012345678901234567890123456789012345678901', '{code}', unique_index => false);
CREATE TABLE clash_n (code text, idem_place int);
CALL idem_dedupe('clash_n', '{code}', unique_index => false);
CALL idem_dedupe('strikes', '{d}', unique_index => false);
CALL idem_dedupe('strikes', '{tableoid,id}', unique_index => false);

-- a quarantine keeps what a row has, and keeps it after a crash
CREATE TABLE money (code text, amount numeric(12,2), note text COLLATE "C");
INSERT INTO money VALUES ('x', 1.25), ('x', 1.25);
CALL idem_dedupe('money', '{code}', unique_index => false);
ALTER TABLE money ALTER amount TYPE numeric(12,4);
CALL idem_dedupe('money', '{code}', unique_index => false);
ALTER TABLE money_removed ALTER amount TYPE numeric(12,4);
ALTER TABLE money_removed ALTER note TYPE text COLLATE "default";
CALL idem_dedupe('money', '{code}', unique_index => false);
ALTER TABLE money_removed DROP note;
CALL idem_dedupe('money', '{code}', unique_index => false);
ALTER TABLE money_removed ADD note text COLLATE "C" GENERATED ALWAYS AS (code) STORED;
CALL idem_dedupe('money', '{code}', unique_index => false);
ALTER TABLE money_removed ALTER note DROP EXPRESSION, SET UNLOGGED;
CALL idem_dedupe('money', '{code}', unique_index => false);
CALL idem_dedupe('money', '{code}', quarantine => 'pg_temp.money_gone', unique_index => false);
-- the same name in another schema is another quarantine, and another job
CREATE SCHEMA elsewhere;
CREATE TABLE stuck (code text);
INSERT INTO stuck VALUES ('a'), ('a');
CREATE TRIGGER keep_a BEFORE DELETE ON stuck FOR EACH ROW EXECUTE FUNCTION keep_a();
CALL idem_dedupe('stuck', '{code}', quarantine => 'stuck_gone', unique_index => false);
DROP TRIGGER keep_a ON stuck;
SET search_path = elsewhere, public;
CALL idem_dedupe('stuck', '{code}', quarantine => 'stuck_gone', unique_index => false);
RESET search_path;
SELECT job_id, phase, quarantine FROM idem_dedupe_status WHERE target = 'public.stuck' ORDER BY 1;
-- a job is not gone on with if another table has had the name since: the list of rows is not its own
INSERT INTO stuck VALUES ('a');
CREATE TRIGGER keep_a BEFORE DELETE ON stuck FOR EACH ROW EXECUTE FUNCTION keep_a();
CALL idem_dedupe('stuck', '{code}', unique_index => false);
DROP TRIGGER keep_a ON stuck;
ALTER TABLE stuck RENAME TO stuck_first;
CREATE TABLE stuck (code text);
INSERT INTO stuck VALUES ('b'), ('b');
CALL idem_dedupe('stuck', '{code}', unique_index => false);
ALTER TABLE stuck RENAME TO stuck_second;
ALTER TABLE stuck_first RENAME TO stuck;
CALL idem_dedupe('stuck', '{code}', unique_index => false);
SELECT array_agg(code) FROM stuck;
-- an undo that fails leaves no lock
DO $$ BEGIN CALL idem_dedupe_undo('clash_n'); EXCEPTION WHEN OTHERS THEN RAISE NOTICE '%', SQLERRM; END $$;
DO $$ BEGIN CALL idem_dedupe_undo('heir'); CALL idem_dedupe_undo('heir'); EXCEPTION WHEN OTHERS THEN RAISE NOTICE '%', SQLERRM; END $$;
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object';

-- what keeps rows from their place, on the way to the quarantine and back: nothing is lost, and the hint says which trigger to disable
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TABLE kept_out (code text);
INSERT INTO kept_out VALUES ('a'), ('a'), ('b');
CREATE TABLE kept_out_gone (LIKE kept_out, idem_job bigint, idem_key jsonb, idem_removed_at timestamptz);
CREATE TRIGGER nothing BEFORE INSERT ON kept_out_gone FOR EACH ROW EXECUTE FUNCTION nothing();
CALL idem_dedupe('kept_out', '{code}', quarantine => 'kept_out_gone', unique_index => false);
\echo :LAST_ERROR_SQLSTATE
SELECT (SELECT count(*) FROM kept_out) AS kept, (SELECT count(*) FROM kept_out_gone) AS gone;
ALTER TABLE kept_out_gone DISABLE TRIGGER USER;
CALL idem_dedupe('kept_out', '{code}', quarantine => 'kept_out_gone', unique_index => false);
CREATE TRIGGER nothing BEFORE INSERT ON kept_out FOR EACH ROW EXECUTE FUNCTION nothing();
CALL idem_dedupe_undo('kept_out');
\echo :LAST_ERROR_SQLSTATE
SELECT (SELECT count(*) FROM kept_out) AS kept, (SELECT count(*) FROM kept_out_gone) AS gone;
DROP TRIGGER nothing ON kept_out;
-- a quarantine that is something else by now
ALTER TABLE kept_out_gone RENAME TO kept_out_was;
CREATE VIEW kept_out_gone AS SELECT * FROM kept_out_was;
CALL idem_dedupe_undo('kept_out');
\echo :LAST_ERROR_SQLSTATE
DROP VIEW kept_out_gone;
ALTER TABLE kept_out_was RENAME TO kept_out_gone;
CALL idem_dedupe_undo('kept_out');
SELECT count(*) FROM kept_out;
-- rows whose places are not the server's own
CREATE ACCESS METHOD other_heap TYPE TABLE HANDLER heap_tableam_handler;
CREATE TABLE other_kind (code text) USING other_heap;
CALL idem_dedupe('other_kind', '{code}');
\echo :LAST_ERROR_SQLSTATE

SET client_min_messages = warning;
DROP TABLE nologin, nologin_removed, nologin_dedupe;
DROP TABLE other_kind, kept_out, kept_out_gone, kept_out_dedupe;
DROP ACCESS METHOD other_heap;
DROP TABLE owned, owned_removed, owned_gone, owned_dedupe;
DROP TABLE swapped, swapped_dedupe, lettered, lettered_removed, lettered_dedupe;
DROP SCHEMA theirs, elsewhere CASCADE;
REVOKE ALL ON SCHEMA public FROM dedupe_owner, dedupe_other;
DROP ROLE dedupe_owner, dedupe_other;
