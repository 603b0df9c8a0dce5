-- a source whose columns change: what is done about it, and what the ledger says
\set VERBOSITY default
SET client_min_messages = warning;
CREATE SCHEMA schemas;
SET search_path = schemas, public;
SELECT idem_create_ledger('led', 'int8range');
CREATE TABLE src (id int, w int, a text, b text);
INSERT INTO src SELECT i, i, 'a' || i, 'b' || i FROM generate_series(0, 9) i;
CREATE TABLE tgt (id int PRIMARY KEY, w int, a text, b text);
SET client_min_messages = notice;
CREATE PROCEDURE load(win text, source text DEFAULT 'SELECT * FROM src WHERE w >= $1 AND w < $2', change text DEFAULT 'fail', mode text DEFAULT 'reload', force boolean DEFAULT false)
LANGUAGE plpgsql AS $$ BEGIN
    CALL idem_load_window('schemas.led', 'schemas.tgt', source, win, mode, keys => '{id}', window_column => 'w', pipeline => 'p', force => force, on_schema_change => change);
END $$;
CREATE VIEW runs AS SELECT run_id, window_range AS win, state, error_code AS code, source_rows AS rows,
    pg_column_size(source_schema) - 4 AS bytes, details -> 'accepted_schema' AS accepted, details -> 'source_schema' AS other, details -> 'unread' AS unread FROM led ORDER BY run_id;

-- the first run is accepted, and one that is like it says nothing
CALL load('[0,1)');
CALL load('[1,2)');
SELECT * FROM runs;
SELECT count(DISTINCT source_schema) FROM led;
SELECT idem_accept_schema('led', 'p');

-- the order of columns is no difference, a type is one; it is said once, and kept until it is reverted
CALL load('[2,3)', 'SELECT b, a, w, id FROM src WHERE w >= $1 AND w < $2');
CALL load('[3,4)', 'SELECT id::bigint, w, a, b FROM src WHERE w >= $1 AND w < $2');
CALL load('[4,5)', 'SELECT id::bigint, w, a, b FROM src WHERE w >= $1 AND w < $2');
CALL load('[5,6)');
SELECT * FROM runs WHERE run_id > 2;

-- or accepted: the last one of them
CALL load('[6,7)', 'SELECT id::bigint, w, a, b FROM src WHERE w >= $1 AND w < $2');
SELECT idem_accept_schema('led', 'p');
CALL load('[7,8)', 'SELECT id::bigint, w, a, b FROM src WHERE w >= $1 AND w < $2');
SELECT idem_accept_schema('led', 'p');
SELECT * FROM runs WHERE run_id > 6;

-- one that does not assign fails, whatever is said, before anything is read, and the ledger says so
CALL load('[8,9)', 'SELECT id, ARRAY[w] AS w, a, b FROM src', 'ignore');
\echo :SQLSTATE
-- a lost column fails, in both modes, and leaves a row too, which is no attempt
ALTER TABLE src RENAME b TO c;
CALL load('[8,9)', 'SELECT id::bigint, w, a FROM src WHERE w >= $1 AND w < $2');
\echo :SQLSTATE
CALL load('[8,9)', 'SELECT id::bigint, w, a FROM src WHERE w >= $1 AND w < $2', mode => 'upsert');
\echo :SQLSTATE
CALL load('[0,10)', 'SELECT id::bigint, w, a FROM src WHERE w >= $1 AND w < $2', 'append', force => true);
SELECT r.*, l.error_message, l.attempt FROM runs r JOIN led l USING (run_id) WHERE run_id > 8;
SELECT id, b FROM tgt ORDER BY id;
-- a new one too; nothing is added where another is lost
CALL load('[8,9)', 'SELECT id::bigint, w, a, c, a AS b FROM src WHERE w >= $1 AND w < $2');
\echo :SQLSTATE
CALL load('[8,9)', 'SELECT id::bigint, w, a, c FROM src WHERE w >= $1 AND w < $2', 'append');
\echo :SQLSTATE
\d tgt
-- what both have is loaded where that is asked for, and said, or not
CALL load('[8,9)', 'SELECT id::bigint, w, a, c FROM src WHERE w >= $1 AND w < $2', 'notify');
CALL load('[9,10)', 'SELECT id::bigint, w, a, c, 1 AS more FROM src WHERE w >= $1 AND w < $2', 'ignore');
SELECT * FROM tgt WHERE id >= 8 ORDER BY id;
SELECT * FROM runs WHERE state = 'complete' AND other IS NOT NULL ORDER BY run_id DESC LIMIT 2;
-- a failure that says what was lost can be accepted as well, and then it is not lost
CALL load('[0,1)', 'SELECT id::bigint, w, a FROM src WHERE w >= $1 AND w < $2', force => true);
SELECT idem_accept_schema('led', 'p');
CALL load('[0,1)', 'SELECT id::bigint, w, a FROM src WHERE w >= $1 AND w < $2', force => true);
SELECT * FROM tgt WHERE id < 2 ORDER BY id;
SELECT * FROM runs ORDER BY run_id DESC LIMIT 2;

-- append adds to the target, under any name and of the type; then they are accepted, and lost if they go
CREATE TABLE fresh (id int PRIMARY KEY, w int);
CREATE DOMAIN short AS varchar(7) NOT NULL CHECK (VALUE <> '');
SELECT idem_create_ledger('fled', 'int8range');
CREATE PROCEDURE fresh(win text, source text, change text DEFAULT 'append', target regclass DEFAULT 'fresh') LANGUAGE plpgsql AS $$ BEGIN
    CALL idem_load_window('schemas.fled', target, source, win, 'upsert', keys => '{id}', window_column => 'w', on_schema_change => change);
END $$;
CALL fresh('[0,10)', 'SELECT 1 AS id, 2 AS w');
CALL fresh('[10,20)', $$SELECT 11 AS id, 12 AS w, 'x'::short AS "Short One", 'lit' AS lit, 1.50::numeric(5,2) AS n, 'c' COLLATE "C" AS c, '{1}'::int[] AS "select"$$);
\d fresh
CALL fresh('[20,30)', $$SELECT 21 AS id, 22 AS w, 'y'::short AS "Short One", 'lit' AS lit, 1.50::numeric(5,2) AS n, 'c' COLLATE "C" AS c, '{1}'::int[] AS "select"$$);
CALL fresh('[30,40)', 'SELECT 31 AS id, 32 AS w');
SELECT * FROM fresh ORDER BY id;
SELECT window_range, state, details -> 'accepted_schema' AS accepted FROM fled ORDER BY run_id;
-- and inside a transaction goes down with it
BEGIN;
SELECT result FROM idem_load('fled', 'fresh', $$SELECT 41 AS id, 42 AS w, 'y'::short AS "Short One", 'lit' AS lit, 1.50::numeric(5,2) AS n, 'c' COLLATE "C" AS c, '{1}'::int[] AS "select", true AS t$$, '[40,50)', 'upsert', keys => '{id}', window_column => 'w', on_schema_change => 'append');
SELECT t FROM fresh WHERE id = 41;
ROLLBACK;
SELECT count(*) FROM pg_attribute WHERE attrelid = 'fresh'::regclass AND attname = 't';
-- not to what is no table, nor to another's
CREATE VIEW seen AS SELECT id, w FROM fresh;
CALL fresh('[50,60)', 'SELECT 51 AS id, 52 AS w, 1 AS more', target => 'seen');
\echo :SQLSTATE
CREATE ROLE regress_schemas;
GRANT USAGE ON SCHEMA schemas TO regress_schemas;
GRANT ALL ON fresh, fled TO regress_schemas;
GRANT ALL ON ALL SEQUENCES IN SCHEMA schemas TO regress_schemas;
SET ROLE regress_schemas;
CALL fresh('[50,60)', $$SELECT 51 AS id, 52 AS w, 'y'::short AS "Short One", 'lit' AS lit, 1.50::numeric(5,2) AS n, 'c' COLLATE "C" AS c, '{1}'::int[] AS "select", 1 AS more$$);
\echo :SQLSTATE
RESET ROLE;
-- a column that target and source lose, or get, is no change that somebody has to accept
ALTER TABLE fresh DROP lit, DROP "select", DROP n, DROP c, ADD more int;
CALL fresh('[60,70)', $$SELECT 61 AS id, 62 AS w, 'y'::short AS "Short One", 5 AS more$$, 'fail');
CALL fresh('[70,80)', $$SELECT 71 AS id, 72 AS w, 'y'::short AS "Short One"$$, 'fail');
\echo :SQLSTATE
CALL fresh('[70,80)', 'SELECT 71 AS id', 'sometimes');

-- what says which columns were accepted is no history while it is the last that does
SELECT idem_invalidate('fled', 'schemas.fresh', '[0,100)');
SELECT idem_prune('fled', '0') > 0 AS pruned;
SELECT count(*) FROM fled WHERE pipeline = 'schemas.fresh' AND details ? 'accepted_schema';
CALL fresh('[70,80)', $$SELECT 71 AS id, 72 AS w, 'y'::short AS "Short One"$$, 'fail');
\echo :SQLSTATE

-- a pipeline has it too
SELECT idem_create_pipeline('sp', 'led', 'tgt', 'src', 'reload', window_column => 'w', step => '10', start => '0', watermark => 'SELECT 9::bigint', on_schema_change => 'sometimes', enabled => false);
SELECT idem_create_pipeline('sp', 'led', 'tgt', 'SELECT id, w, c FROM src', 'reload', window_column => 'w', step => '10', start => '0', watermark => 'SELECT 9::bigint', enabled => false, on_schema_change => 'append');
SELECT on_schema_change FROM idem_pipeline WHERE name = 'sp';
CALL idem_run_pipeline('sp');
SELECT count(c) FROM tgt;
SELECT idem_alter_pipeline('sp', source => 'SELECT id, w, a FROM src', on_schema_change => 'fail');
SELECT idem_invalidate('led', 'sp', '[0,10)');
CALL idem_run_pipeline('sp');
SELECT state, error_code, attempt, next_attempt_at, blocked, details -> 'unread' AS unread FROM led WHERE pipeline = 'sp' ORDER BY run_id DESC LIMIT 1;
SELECT failed_windows, blocked_windows, last_error FROM idem_status WHERE pipeline = 'sp';
SELECT idem_drop_pipeline('sp');

SET client_min_messages = warning;
DROP SCHEMA schemas CASCADE;
DROP OWNED BY regress_schemas;
DROP ROLE regress_schemas;
