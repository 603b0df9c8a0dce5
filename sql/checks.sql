-- Is what was loaded still right: idem_duplicates, idem_check, idem_differences
SET timezone = 'UTC';
CREATE SCHEMA checks; SET search_path = checks, public;
\set SHOW_CONTEXT never
SET client_min_messages = warning;

-- duplicates: NULL is the same as NULL, and alike is alike in every byte
CREATE TABLE doubled (a int, "B b" text COLLATE "C", c json, d date);
INSERT INTO doubled SELECT i, 'x' || i % 3, '{}', date '2024-01-01' + i FROM generate_series(1, 100) i;
INSERT INTO doubled VALUES (5, 'x2', '{}', '2024-01-06'), (6, 'x0', '{ }', '2024-01-07'), (NULL, NULL, '{}', '2024-02-01'), (NULL, NULL, '{}', '2024-02-01'), (NULL, 'q', '{}', '2024-01-01');
SELECT * FROM idem_duplicates('doubled', '{a,B b}');
SELECT * FROM idem_duplicates('doubled', '{B b}');
SELECT * FROM idem_duplicates('doubled', '{a,B b}', '[2024-01-05,2024-01-07)', 'd');
SELECT * FROM idem_duplicates('doubled', '{a,B b}', 'empty', 'd');
CREATE INDEX ON doubled ("B b", a);
SELECT * FROM idem_duplicates('doubled', '{a,B b}');
CREATE VIEW seen AS SELECT a AS d, c FROM doubled WHERE a < 6;
SELECT * FROM idem_duplicates('seen', '{d}');
CREATE TABLE unhashed (b bit varying, v int); INSERT INTO unhashed VALUES (B'01', 1), (B'01', 2), (B'1', 1);
SELECT * FROM idem_duplicates('unhashed', '{b}');
SELECT * FROM idem_duplicates('pg_catalog.pg_class', '{oid}');
-- more than fits into memory: in files; and more that are there twice than can be kept in mind
CREATE TABLE many AS SELECT i AS a, 1 AS gone, i % 7 AS b, CASE WHEN i % 50000 <> 0 THEN 'v' || i END AS v FROM generate_series(1, 100000) i;
ALTER TABLE many DROP gone;
INSERT INTO many SELECT * FROM many WHERE a IN (7, 50000, 77777); INSERT INTO many SELECT a, b + 1, v FROM many WHERE a = 77777;
SET work_mem = '64kB';
SELECT * FROM idem_duplicates('many', '{a,v}');
SELECT count(*) FROM idem_duplicates('many', '{a,b,v}', '[60000,90000)', 'a');
UPDATE many SET a = a / 2;
SELECT count(*), sum(rows), bool_and(d.rows = g.n) AS right FROM idem_duplicates('many', '{a}') d FULL JOIN (SELECT to_jsonb(r) AS key, n FROM (SELECT a, count(*) AS n FROM many GROUP BY a HAVING count(*) > 1) g, LATERAL (SELECT g.a) r) g USING (key);
RESET work_mem;
-- what is wrong is said
SELECT idem_duplicates(NULL, '{a}');
SELECT idem_duplicates('doubled', NULL);
SELECT idem_duplicates('doubled', '{}');
SELECT idem_duplicates('doubled', '{z}');
SELECT idem_duplicates('doubled', '{c}');
SELECT idem_duplicates('doubled', '{a}', '[1,2)');
SELECT idem_duplicates('doubled', '{a}', '[1,2)', 'c');
SELECT idem_duplicates('doubled', '{a}', 'tomorrow', 'd');
SELECT idem_duplicates('"doubled_B b_a_idx"', '{a}');
SELECT idem_duplicates(1::oid::regclass, '{a}');

-- source and target of complete windows
CREATE TABLE src (id int, w int NOT NULL, v text, j json);
INSERT INTO src SELECT i, i / 10, 'v' || i, '{}' FROM generate_series(0, 99) i;
CREATE TABLE tgt (id int PRIMARY KEY, w int NOT NULL, v text, j json);
SELECT idem_create_ledger('led', 'int8range');
\set source '''SELECT * FROM src WHERE w >= $1 AND w < $2'''
SELECT FROM idem_load('led', 'tgt', :source, '[0,8)', 'reload', keys => '{id}', window_column => 'w', step => '4');
SELECT window_range, result, depth, source_rows, source_keys, target_rows, missing_rows, extra_rows, different_rows, source_digest = target_digest AS same, remote, seconds > 0 AS took
FROM idem_check_load('led', 'tgt', :source, '[0,10)', 'reload', keys => '{id}', window_column => 'w');
SELECT run_id = (SELECT min(run_id) FROM led) AS first, source_digest = (SELECT source_digest FROM led ORDER BY run_id LIMIT 1) AS as_loaded
FROM idem_check_load('led', 'tgt', :source, '[0,4)', 'reload', keys => '{id}', window_column => 'w');
-- a row changed, one gone, one added in the target; one changed in the source
UPDATE tgt SET v = 'x' WHERE id = 3; DELETE FROM tgt WHERE id = 4; INSERT INTO tgt VALUES (500, 2, 'new');
UPDATE src SET j = '{ }' WHERE id = 45;
PREPARE checks(text) AS SELECT window_range, result, depth, target_rows, missing_rows, extra_rows, different_rows
FROM idem_check_load('led', 'tgt', :source, '[0,10)', 'reload', keys => '{id}', window_column => 'w', depth => $1);
EXECUTE checks('auto');
EXECUTE checks('rows');
EXECUTE checks('digest');
EXECUTE checks('counts');
SELECT * FROM idem_differences_load('led', 'tgt', :source, '[0,10)', 'reload', keys => '{id}', window_column => 'w');
SELECT count(*) FROM idem_differences_load('led', 'tgt', :source, '[0,10)', 'reload', keys => '{id}', window_column => 'w', max_rows => 2);
-- a reload mends it
SELECT FROM idem_load('led', 'tgt', :source, '[0,8)', 'reload', keys => '{id}', window_column => 'w', step => '4', force => true);
EXECUTE checks('rows');

-- without keys rows are counted as they are, whatever their types
CREATE TABLE bag (id int, w int NOT NULL, v text, j json);
SELECT FROM idem_load('led', 'bag', :source, '[0,10)', 'reload', window_column => 'w', pipeline => 'bag');
INSERT INTO bag SELECT * FROM bag WHERE id = 7; DELETE FROM bag WHERE id = 8; UPDATE bag SET j = NULL WHERE id = 9;
SELECT result, source_keys, target_rows, surplus_rows, missing_rows, extra_rows, different_rows FROM idem_check_load('led', 'bag', :source, '[0,10)', 'reload', window_column => 'w', pipeline => 'bag');
SELECT * FROM idem_differences_load('led', 'bag', :source, '[0,10)', 'reload', window_column => 'w', pipeline => 'bag') ORDER BY side, coalesce(source_row, target_row) ->> 'id';
SELECT count(*) FROM idem_differences_load('led', 'bag', :source, '[0,10)', 'reload', window_column => 'w', pipeline => 'bag', max_rows => 3);
INSERT INTO bag SELECT * FROM bag WHERE id < 5;
SELECT result, surplus_rows FROM idem_check_load('led', 'bag', :source, '[0,10)', 'reload', window_column => 'w', pipeline => 'bag', depth => 'counts');

-- keys without an index: what is there twice
CREATE TABLE loose (id int, w int NOT NULL, v text, j json);
SELECT FROM idem_load('led', 'loose', :source, '[0,10)', 'reload', keys => '{id}', window_column => 'w', pipeline => 'loose');
INSERT INTO loose VALUES (3, 0, 'v3', '{}'), (3, 0, 'other', '{}'), (NULL, 0, 'v', '{}');
SELECT result, source_keys, source_null_keys, target_rows, target_keys, target_null_keys, duplicate_keys, surplus_rows, max_per_key, missing_rows, extra_rows, different_rows
FROM idem_check_load('led', 'loose', :source, '[0,10)', 'reload', keys => '{id}', window_column => 'w', pipeline => 'loose');
SELECT side, key, target_row ->> 'v' AS v, columns FROM idem_differences_load('led', 'loose', :source, '[0,10)', 'reload', keys => '{id}', window_column => 'w', pipeline => 'loose') ORDER BY 1, 2, 3;
-- identical duplicates of the source collapse, as they do in a load
INSERT INTO src SELECT * FROM src WHERE id = 50;
SELECT FROM idem_load('led', 'loose', :source, '[0,10)', 'reload', keys => '{id}', window_column => 'w', pipeline => 'loose', force => true);
SELECT result, depth, source_rows, source_keys, target_rows FROM idem_check_load('led', 'loose', :source, '[0,10)', 'reload', keys => '{id}', window_column => 'w', pipeline => 'loose');
DELETE FROM src WHERE id = 50;

-- after an upsert a row may belong to a later window by now, and there may be others
TRUNCATE tgt;
SELECT FROM idem_load('led', 'tgt', :source, '[0,10)', 'upsert', keys => '{id}', window_column => 'w', pipeline => 'up');
UPDATE tgt SET w = 20, v = 'later' WHERE id = 3; INSERT INTO tgt VALUES (500, 2, 'of another');
SELECT result, depth, surplus_rows, missing_rows, extra_rows, different_rows FROM idem_check_load('led', 'tgt', :source, '[0,10)', 'upsert', keys => '{id}', window_column => 'w', pipeline => 'up');
UPDATE tgt SET v = 'x' WHERE id = 4; DELETE FROM tgt WHERE id = 5;
SELECT result, depth, missing_rows, extra_rows, different_rows FROM idem_check_load('led', 'tgt', :source, '[0,10)', 'upsert', keys => '{id}', window_column => 'w', pipeline => 'up');
SELECT side, key, columns FROM idem_differences_load('led', 'tgt', :source, '[0,10)', 'upsert', keys => '{id}', window_column => 'w', pipeline => 'up');
-- without a window column only what is missing or differs is known
SELECT FROM idem_load('led', 'tgt', :source, '[0,10)', 'upsert', keys => '{id}', pipeline => 'anywhere');
DELETE FROM tgt WHERE id = 6;
SELECT result, depth, target_rows, missing_rows, different_rows FROM idem_check_load('led', 'tgt', :source, '[0,10)', 'upsert', keys => '{id}', pipeline => 'anywhere');
-- a newer version is no difference
CREATE TABLE versions (id int PRIMARY KEY, w int NOT NULL, n int);
SELECT FROM idem_load('led', 'versions', 'SELECT id, w, 1 AS n FROM src WHERE w >= $1 AND w < $2', '[0,10)', 'upsert', keys => '{id}', window_column => 'w', version_column => 'n', pipeline => 'v');
UPDATE versions SET n = 2 WHERE id = 1; UPDATE versions SET n = 0 WHERE id = 2;
SELECT result, different_rows FROM idem_check_load('led', 'versions', 'SELECT id, w, 1 AS n FROM src WHERE w >= $1 AND w < $2', '[0,10)', 'upsert', keys => '{id}', window_column => 'w', version_column => 'n', pipeline => 'v');

-- of a pipeline
SELECT idem_create_pipeline('checks.p', 'led', 'versions', 'SELECT id, w, 1 AS n FROM src WHERE w >= $1 AND w < $2', 'reload', '{id}', 'w', '5', '0', watermark => 'SELECT 9::bigint', enabled => false);
CALL idem_run_pipeline('checks.p');
SELECT window_range, result FROM idem_check('checks.p', '[0,10)');
DELETE FROM versions WHERE id = 1;
SELECT window_range, result FROM idem_check('checks.p', '[0,10)', 'counts');
SELECT side, key FROM idem_differences('checks.p', '[0,10)');
SELECT idem_drop_pipeline('checks.p');

-- only what is complete is checked; what is wrong is said
SET client_min_messages = notice;
SELECT count(*) FROM idem_check_load('led', 'tgt', :source, '[50,60)', 'reload', keys => '{id}', window_column => 'w');
SELECT count(*) FROM idem_check_load('led', 'tgt', :source, 'empty', 'reload', keys => '{id}', window_column => 'w');
SELECT idem_check_load('led', 'tgt', :source, '[0,10)', 'reload', keys => '{id}', window_column => 'w', depth => 'deep');
SELECT idem_check_load('led', 'tgt', :source, '[0,10)', 'reload', keys => '{id}', window_column => 'w', depth => NULL);
SELECT idem_check_load(NULL, 'tgt', :source, '[0,10)', 'reload');
SELECT idem_check_load('led', 'tgt', :source, '[0,10)', 'reload');
SELECT idem_check_load('led', 'bag', :source, '[0,10)', 'reload', window_column => 'w', pipeline => 'up');
SELECT idem_check_load('src', 'bag', :source, '[0,10)', 'reload', window_column => 'w');
SELECT idem_differences_load('led', 'tgt', :source, '[0,10)', 'reload', keys => '{id}', window_column => 'w', max_rows => 0);
SELECT idem_check('none', '[0,1)');
SELECT idem_check(NULL, '[0,1)');
SELECT idem_digest_values(VARIADIC ARRAY[1, 2]);
SET client_min_messages = warning;
DROP SCHEMA checks CASCADE;
