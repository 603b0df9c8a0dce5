-- The test kit: pipelines that are idempotent, and such that are not
SET timezone = 'UTC'; SET client_min_messages = warning;
CREATE SCHEMA kit; SET search_path = kit, public;
CREATE TABLE src AS SELECT i::bigint AS id, i / 10 AS w, 'v' || i AS v FROM generate_series(0, 59) i;
SELECT idem_create_ledger('led', 'int8range');
CREATE PROCEDURE make(name text, source text, mode text, keys text[]) LANGUAGE sql AS $$
    SELECT idem_create_pipeline(name, 'led', name, source, mode, keys, 'w', '2', '0', watermark => 'SELECT 6::bigint', enabled => false) $$;

-- a good upsert, and a good reload
CREATE TABLE good (id bigint PRIMARY KEY, w int NOT NULL, v text, CHECK (id >= 0));
CALL make('good', 'SELECT * FROM src WHERE w >= $1 AND w < $2', 'upsert', '{id}');
SELECT * FROM idem_test_all('good', '[0,6)');
CREATE TABLE bag (id bigint, w int NOT NULL, v text);
CALL make('bag', 'SELECT * FROM src WHERE w >= $1 AND w < $2', 'reload', NULL);
SELECT * FROM idem_test_all('bag', '[0,6)', overlap => '3', step => '1');
-- each by itself
SELECT * FROM idem_test_rerun('good', '[0,6)');
SELECT * FROM idem_test_overlap('good', '[0,6)');
SELECT * FROM idem_test_split('good', '[0,6)');
SELECT * FROM idem_test_order('good', '[0,6)', '3');
-- nothing is left, and nothing was claimed
SELECT count(*) FROM good;
SELECT count(*) FROM led;
SELECT count(*) FROM pg_class WHERE relname LIKE 'idem\_test\_%' AND relkind IN ('r', 'S', 'i');

-- a source with random()
CREATE TABLE dice (id bigint PRIMARY KEY, w int NOT NULL, v text);
CALL make('dice', 'SELECT id, w, random()::text AS v FROM src WHERE w >= $1 AND w < $2', 'upsert', '{id}');
SELECT * FROM idem_test_all('dice', '[0,6)') WHERE NOT ok OR detail IS NOT NULL;
-- a serial column, whose numbers are others each time; that of the target stays where it is
CREATE TABLE numbered (no serial, id bigint, w int NOT NULL, v text);
CALL make('numbered', 'SELECT * FROM src WHERE w >= $1 AND w < $2', 'reload', NULL);
SELECT * FROM idem_test_all('numbered', '[0,6)') WHERE NOT ok OR detail IS NOT NULL;
SELECT nextval('numbered_no_seq');
-- with keys it is a warning: what is there keeps its number
CREATE TABLE surrogate (no bigint GENERATED ALWAYS AS IDENTITY, id bigint PRIMARY KEY, w int NOT NULL, v text);
CALL make('surrogate', 'SELECT * FROM src WHERE w >= $1 AND w < $2', 'upsert', '{id}');
SELECT * FROM idem_test_all('surrogate', '[0,6)') WHERE NOT ok OR detail IS NOT NULL;
-- a default that tells the time is a warning; so is a function behind a view
CREATE TABLE timed (id bigint PRIMARY KEY, w int NOT NULL, v text, loaded timestamptz DEFAULT now(), code uuid DEFAULT gen_random_uuid());
CREATE VIEW through AS SELECT id, w, v || extract(year FROM CURRENT_TIMESTAMP) AS v FROM src WHERE clock_timestamp() > '2000-01-01';
CALL make('timed', 'SELECT * FROM through WHERE w >= $1 AND w < $2', 'upsert', '{id}');
SELECT * FROM idem_test_all('timed', '[0,6)') WHERE NOT ok OR detail IS NOT NULL;
-- rows of one key in two windows: the order decides
CREATE TABLE last_wins (id bigint PRIMARY KEY, w int NOT NULL, v text);
CALL make('last_wins', 'SELECT id % 10 AS id, w, v FROM src WHERE w >= $1 AND w < $2', 'upsert', '{id}');
SELECT * FROM idem_test_order('last_wins', '[0,6)', '1');
SELECT idem_alter_pipeline('last_wins', version_column => 'w');
SELECT * FROM idem_test_order('last_wins', '[0,6)', '1');
-- a source that counts its window, and one that looks at the target
CREATE TABLE counted (w int NOT NULL, n bigint);
CALL make('counted', 'SELECT $1::int AS w, count(*) AS n FROM src WHERE w >= $1 AND w < $2', 'reload', '{w}');
SELECT * FROM idem_test_all('counted', '[0,6)') WHERE NOT ok OR detail IS NOT NULL;
ALTER TABLE good ADD UNIQUE (v);
CREATE TABLE looks (id bigint PRIMARY KEY, w int NOT NULL, v text REFERENCES good (v));
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER t BEFORE INSERT ON looks FOR EACH ROW EXECUTE FUNCTION nothing();
CALL make('looks', 'SELECT * FROM src s WHERE w >= $1 AND w < $2 AND NOT EXISTS (SELECT FROM looks l WHERE l.id = s.id)', 'upsert', '{id}');
SELECT idem_alter_pipeline('looks', audit => 'SELECT true');
SELECT * FROM idem_test_all('looks', '[0,6)') WHERE NOT ok OR detail IS NOT NULL;
-- a load that fails is a check that does
SELECT idem_alter_pipeline('good', source => 'SELECT id, w, v FROM src WHERE w >= $1 AND w < $2 AND 1 / (id - 55) < 2');
SELECT * FROM idem_test_all('good', '[0,6)') WHERE NOT ok OR detail IS NOT NULL;
SELECT idem_alter_pipeline('good', source => 'SELECT CASE WHEN id <> 55 THEN id END AS id, w, v FROM src WHERE w >= $1 AND w < $2');
SELECT check_name, ok, regexp_replace(detail, '\d+_\d', 'N') AS detail FROM idem_test_all('good', '[0,6)') WHERE NOT ok;
SELECT idem_alter_pipeline('good', source => 'SELECT * FROM src WHERE w >= $1 AND w < $2');

-- as TAP
SELECT * FROM idem_tap($$SELECT * FROM idem_test_rerun('good', '[0,6)')$$);
SELECT idem_tap($$VALUES ('a #1', true, 'warning: two' || chr(10) || 'lines'), ('b', false, NULL), ('c', NULL, 'unknown')$$);

-- what is wrong is said
SELECT idem_tap('SELECT 1');
\echo :SQLSTATE
SELECT idem_tap(NULL);
\echo :SQLSTATE
SELECT idem_test_all('none', '[0,6)');
\echo :SQLSTATE
SELECT idem_test_all('good', 'empty');
\echo :SQLSTATE
SELECT idem_test_all('good', NULL);
\echo :SQLSTATE
SELECT idem_test_split('good', '[0,6)', 'much');
\echo :SQLSTATE
SELECT idem_test_overlap('good', '[0,6)', '-1');
\echo :SQLSTATE
-- as many pieces as it would take days to load
SELECT idem_test_split('good', '[0,9223372036854775807)', '1');
SELECT idem_test_order('good', '[0,100001)', '1');
SELECT idem_test_overlap('good', '[0,9223372036854775807)', '1');
\echo :LAST_ERROR_SQLSTATE
BEGIN READ ONLY; SELECT idem_test_rerun('good', '[0,6)');
\echo :SQLSTATE
ROLLBACK;

-- as whom: the owner, who must be able to make the copies
CREATE ROLE regress_idem_kit;
CREATE SCHEMA kits AUTHORIZATION regress_idem_kit;
GRANT USAGE ON SCHEMA kit TO regress_idem_kit;
SET ROLE regress_idem_kit; SET search_path = kits, public;
CREATE TABLE src AS SELECT i::bigint AS id, i AS w, current_user::text AS v FROM generate_series(0, 5) i;
CREATE TABLE tgt (id bigint PRIMARY KEY, w int NOT NULL, v text);
SELECT idem_create_ledger('led', 'int8range');
CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN current_user; END $$;
SELECT idem_create_pipeline('kits', 'led', 'tgt', 'SELECT id, w, v FROM src WHERE w >= $1 AND w < $2 AND who() = v', 'upsert', '{id}', 'w', '2', '0', watermark => 'SELECT 6::bigint', enabled => false);
RESET ROLE;
SELECT * FROM idem_test_all('kits', '[0,6)') WHERE NOT ok OR detail IS NOT NULL;
ALTER SCHEMA kits OWNER TO CURRENT_USER; GRANT USAGE ON SCHEMA kits TO regress_idem_kit;
SELECT idem_test_rerun('kits', '[0,6)');
\echo :SQLSTATE
ALTER SCHEMA kits OWNER TO regress_idem_kit;

SELECT count(idem_drop_pipeline(name)) FROM idem_pipeline;
DROP SCHEMA kit, kits CASCADE;
DROP ROLE regress_idem_kit;
