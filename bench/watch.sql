-- watch.sql: checks and the search for duplicates, over :rows rows a side, beside the two digests by hand and beside count(*)
CREATE TABLE bench.wsrc AS
SELECT i::bigint AS id, NULLIF(i % 100000, 7) AS part, '2024-01-01'::timestamptz + i * interval '1 second' AS ts, 'customer ' || i % 1000 AS name,
    (i * 37 % 100000)::numeric(12, 2) AS amount
FROM generate_series(1, :rows) i;
CREATE INDEX ON bench.wsrc (ts);
CREATE TABLE bench.wtgt (LIKE bench.wsrc);
CREATE UNIQUE INDEX ON bench.wtgt (id, part) NULLS NOT DISTINCT;
CREATE INDEX ON bench.wtgt (ts);
ALTER TABLE bench.wtgt ALTER id SET NOT NULL, ALTER ts SET NOT NULL;
SELECT idem_create_ledger('bench.wled') \g /dev/null
CREATE FUNCTION bench.watched(what text, more text DEFAULT '', range text DEFAULT '[2024-01-01,2030-01-01)', pipeline text DEFAULT 'all') RETURNS text LANGUAGE sql AS $$
    SELECT format('SELECT count(*) FROM %s(''bench.wled'', ''bench.wtgt'', ''SELECT * FROM bench.wsrc WHERE ts >= $1 AND ts < $2'', %L, ''reload'', keys => ''{id,part}'', window_column => ''ts'', pipeline => %L %s)', what, range, pipeline, more) $$;
DO $$ BEGIN EXECUTE bench.watched('idem_load'); EXECUTE bench.watched('idem_load', '', '[2024-01-01 00:00,2024-01-01 01:00)', 'hour'); END $$;
VACUUM ANALYZE bench.wsrc, bench.wtgt;
\set by_hand '''SELECT idem_digest(s) FROM bench.wsrc s WHERE ts >= ''''2024-01-01'''' AND ts < ''''2030-01-01''''; SELECT idem_digest(t) FROM bench.wtgt t WHERE ts >= ''''2024-01-01'''' AND ts < ''''2030-01-01'''''''

CALL bench.measure('equal', '{digests,check}', ARRAY[:by_hand, bench.watched('idem_check_load')]);
CALL bench.measure('an hour', '{check}', ARRAY[bench.watched('idem_check_load', '', '[2024-01-01 00:00,2024-01-01 01:00)', 'hour')]);
-- sixteen differences: changed, missing and extra rows, with NULL keys among them
UPDATE bench.wtgt SET name = 'changed' WHERE id % (:rows / 6) = 7;
DELETE FROM bench.wtgt WHERE id % (:rows / 5) = 8;
INSERT INTO bench.wtgt SELECT -i, NULL, '2024-01-01 00:30', 'extra', 0 FROM generate_series(1, 4) i;
ANALYZE bench.wtgt;
CALL bench.measure('differences', '{digests,check,differences}', ARRAY[:by_hand, bench.watched('idem_check_load'), bench.watched('idem_differences_load')]);
SELECT missing_rows, extra_rows, different_rows, (SELECT count(*) FROM idem_differences_load('bench.wled', 'bench.wtgt', 'SELECT * FROM bench.wsrc WHERE ts >= $1 AND ts < $2', '[2024-01-01,2030-01-01)', 'reload', keys => '{id,part}', window_column => 'ts', pipeline => 'all')) AS found,
    (SELECT count(*) FROM ((TABLE bench.wsrc EXCEPT ALL TABLE bench.wtgt) UNION ALL (TABLE bench.wtgt EXCEPT ALL TABLE bench.wsrc)) d) AS except_all_both_ways
FROM idem_check_load('bench.wled', 'bench.wtgt', 'SELECT * FROM bench.wsrc WHERE ts >= $1 AND ts < $2', '[2024-01-01,2030-01-01)', 'reload', keys => '{id,part}', window_column => 'ts', pipeline => 'all');

-- keys of four times as many rows, a few of them twice
CREATE TABLE bench.wmany AS SELECT i::bigint AS id, md5(i::text) AS v FROM generate_series(1, 4 * :rows) i;
INSERT INTO bench.wmany SELECT * FROM bench.wmany WHERE id % :rows = 5;
VACUUM ANALYZE bench.wmany;
CALL bench.measure('keys', '{count(*),duplicates,by hand}', ARRAY['SELECT count(*) FROM bench.wmany', 'SELECT count(*) FROM idem_duplicates(''bench.wmany'', ''{id,v}'')',
    'SELECT id, v FROM bench.wmany GROUP BY id, v HAVING count(*) > 1']);
CREATE INDEX ON bench.wmany (id);
VACUUM ANALYZE bench.wmany;
CALL bench.measure('keys, index', '{count(*),duplicates}', ARRAY['SELECT count(*) FROM bench.wmany', 'SELECT count(*) FROM idem_duplicates(''bench.wmany'', ''{id}'')']);

-- rows of another server, which is this one
CREATE EXTENSION IF NOT EXISTS postgres_fdw;
SELECT format('CREATE SERVER bench_far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L, extensions ''idem'', fetch_size ''10000'')', current_setting('unix_socket_directories'), current_setting('port'), current_database()) \gexec
CREATE USER MAPPING FOR CURRENT_USER SERVER bench_far;
CREATE FOREIGN TABLE bench.wfar (id bigint, part int, ts timestamptz, name text, amount numeric(12, 2)) SERVER bench_far OPTIONS (schema_name 'bench', table_name 'wsrc');
CALL bench.measure('another server', '{record,values}', ARRAY['SELECT idem_digest(f) FROM bench.wfar f', 'SELECT idem_digest_values(id, part, ts, name, amount) FROM bench.wfar']);

\echo
\echo Checks, ms, median of five; the ratio is the median of the ratios of five rounds
SELECT job, variant, bench.median(job, variant)::numeric(10, 1) AS ms, CASE WHEN bases IS NOT NULL THEN bench.ratio(job, variant, bases) END AS ratio, array_to_string(bases, ' or ') AS against, goal
FROM (VALUES (1, 'equal', 'digests', NULL::text[], NULL::text), (2, 'equal', 'check', '{digests}', '1.3'), (3, 'an hour', 'check', NULL, '10 ms'),
    (4, 'differences', 'digests', NULL, NULL), (5, 'differences', 'check', '{digests}', '4'), (6, 'differences', 'differences', '{digests}', '4'),
    (7, 'keys', 'count(*)', NULL, NULL), (8, 'keys', 'duplicates', '{count(*)}', '11'), (9, 'keys', 'by hand', '{count(*)}', NULL),
    (10, 'keys, index', 'duplicates', '{count(*)}', '4'), (11, 'another server', 'record', NULL, NULL), (12, 'another server', 'values', '{record}', '0.35')) v(place, job, variant, bases, goal)
ORDER BY place;
