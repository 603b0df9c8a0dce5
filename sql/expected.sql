-- What is expected of a window: fan-out, tolerance, how many rows, how long a check may take
SET timezone = 'UTC'; SET client_min_messages = warning;
CREATE SCHEMA expected; SET search_path = expected, public;
CREATE TABLE src AS SELECT i AS id, i / 100 AS w, 'v' || i AS v FROM generate_series(0, 199) i;
CREATE TABLE tgt (id int, w int NOT NULL, v text);
SELECT idem_create_ledger('led', 'int8range');
SELECT idem_create_pipeline('e', 'led', 'tgt', 'SELECT * FROM src WHERE w >= $1 AND w < $2', 'reload', '{id}', 'w', '1', '0', watermark => 'SELECT 1::bigint', enabled => false);
CALL idem_run_pipeline('e');
CREATE VIEW looked AS SELECT window_range, result, depth, surplus_rows, max_per_key, missing_rows, extra_rows, different_rows FROM idem_check('e', '[0,2)');
-- two rows are gone, one is new, one has changed, one is there three times
DELETE FROM tgt WHERE id IN (1, 2); INSERT INTO tgt VALUES (500, 0, 'new'); UPDATE tgt SET v = 'x' WHERE id = 3;
INSERT INTO tgt SELECT t.* FROM tgt t, generate_series(1, 2) WHERE id = 150;
TABLE looked;
SELECT tolerance, window_range, result FROM unnest('{0,1,2,1%,1.9%,2%,100%}'::text[]) tolerance, idem_check('e', '[0,2)', tolerance => tolerance) ORDER BY window_range, array_position('{0,1,2,1%,1.9%,2%,100%}', tolerance);
SELECT fanout, window_range, result, different_rows, surplus_rows FROM unnest('{1,0..1,1..3,1..,0..,2..,3}'::text[]) fanout, idem_check('e', '[0,2)', fanout => fanout) ORDER BY window_range, array_position('{1,0..1,1..3,1..,0..,2..,3}', fanout);
SELECT window_range, result FROM idem_check('e', '[0,2)', 'counts', fanout => '2..');
SELECT window_range, result FROM idem_check('e', '[0,2)', 'digest', fanout => '1..3');
-- who is to blame is said of rows, not of how many are expected
SELECT result FROM idem_check('e', '[0,2)', min_rows => 100, tolerance => '2%', fanout => '1..3');
SELECT result FROM idem_check('e', '[0,2)', max_rows => 100, tolerance => '2%', fanout => '1..3');
SELECT result FROM idem_check('e', '[0,2)', min_rows => 1000, max_rows => 5);
SELECT result FROM idem_check_load('led', 'tgt', 'SELECT * FROM src WHERE w >= $1 AND w < $2', '[0,2)', 'reload', '{id}', 'w', 'e', fanout => '1..3', tolerance => '2%', min_rows => 99, max_rows => 102, null_keys => 0, max_seconds => 3600);
-- rows without a key
CALL idem_load_window('e', '[0,2)', force => true);
INSERT INTO src VALUES (NULL, 1, 'nobody'); INSERT INTO tgt VALUES (NULL, 1, 'nobody');
SELECT result, source_null_keys, target_null_keys FROM idem_check('e', '[1,2)');
SELECT result FROM idem_check('e', '[1,2)', null_keys => 0);
SELECT result FROM idem_check('e', '[1,2)', null_keys => 1);
DELETE FROM src WHERE id IS NULL;
CALL idem_load_window('e', '[0,2)', force => true);
-- what has taken too long is not ok: a query that sleeps, and a function that will not be cancelled
CREATE FUNCTION stubborn() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3600); RETURN 1; EXCEPTION WHEN query_canceled THEN RETURN 0; END $$;
SELECT idem_alter_pipeline('e', source => 'SELECT s.* FROM src s, (SELECT pg_sleep(CASE $1 WHEN 0 THEN 3600 ELSE 0 END)) z WHERE w >= $1 AND w < $2');
SELECT window_range, result, depth, source_rows, seconds >= 0.5 AS slow FROM idem_check('e', '[0,2)', max_seconds => 0.5);
SELECT idem_alter_pipeline('e', source => 'SELECT s.* FROM src s WHERE w >= $1 AND w < $2 AND ($1 > 0 OR (SELECT stubborn()) = 0)');
SELECT window_range, result FROM idem_check('e', '[0,2)', max_seconds => 0.5);
-- a check in the time of another one has that one's; errors and cancels are what they were
CREATE FUNCTION within(seconds float8) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(result, ',') FROM idem_check('e', '[1,2)', max_seconds => seconds) $$;
SELECT result FROM idem_check_load('led', 'tgt', 'SELECT s.* FROM src s, within(0.001) z WHERE w >= $1 AND w < $2', '[1,2)', 'reload', '{id}', 'w', 'e', max_seconds => 600);
SELECT result FROM idem_check_load('led', 'tgt', 'SELECT id, w, v FROM src WHERE w >= $1 AND w < $2 AND 1 / (id - 5) IS NOT NULL', '[0,2)', 'reload', '{id}', 'w', 'e', max_seconds => 600);
SELECT idem_alter_pipeline('e', source => 'SELECT s.* FROM src s, (SELECT pg_sleep(3600)) z WHERE w >= $1 AND w < $2');
SET statement_timeout = '500ms';
SELECT result FROM idem_check('e', '[0,2)', max_seconds => 600);
RESET statement_timeout;
SELECT idem_alter_pipeline('e', source => 'src');
-- what makes no sense is said
SELECT idem_check('e', '[0,2)', fanout => f) FROM unnest('{1..0}'::text[]) f;
\echo :SQLSTATE
SELECT idem_check('e', '[0,2)', fanout => 'many');
SELECT idem_check('e', '[0,2)', fanout => '0');
SELECT idem_check('e', '[0,2)', fanout => '1...2');
SELECT idem_check('e', '[0,2)', fanout => '99999999999999999999');
SELECT idem_check('e', '[0,2)', tolerance => '-1');
\echo :SQLSTATE
SELECT idem_check('e', '[0,2)', tolerance => '0.5');
SELECT idem_check('e', '[0,2)', tolerance => '5 %');
SELECT idem_check('e', '[0,2)', tolerance => 'nan');
SELECT idem_check('e', '[0,2)', min_rows => -1);
SELECT idem_check('e', '[0,2)', max_rows => -1);
SELECT idem_check('e', '[0,2)', null_keys => -1);
SELECT idem_check('e', '[0,2)', max_seconds => 0);
\echo :SQLSTATE
SELECT idem_check('e', '[0,2)', max_seconds => 'nan');
CREATE TABLE bag (id int, w int NOT NULL, v text);
CALL idem_load_window('led', 'bag', 'SELECT * FROM src WHERE w >= $1 AND w < $2', '[0,2)', 'reload', window_column => 'w', pipeline => 'bag');
SELECT result FROM idem_check_load('led', 'bag', 'SELECT * FROM src WHERE w >= $1 AND w < $2', '[0,2)', 'reload', window_column => 'w', pipeline => 'bag', fanout => '2');
\echo :SQLSTATE
SELECT result FROM idem_check_load('led', 'bag', 'SELECT * FROM src WHERE w >= $1 AND w < $2', '[0,2)', 'reload', window_column => 'w', pipeline => 'bag', tolerance => '10', min_rows => 1);
SELECT idem_drop_pipeline('e');
DROP SCHEMA expected CASCADE;
