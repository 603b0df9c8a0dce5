-- first.sql: first loads of :rows rows into an empty table, five columns, and how the rows and the table's indexes change what they cost
CREATE SCHEMA bench_first;
SET search_path = bench_first, public;
CREATE TABLE src AS
SELECT i::bigint AS id, '2024-01-01'::timestamptz + i * interval '1 second' AS ts, 'customer ' || i % 1000 AS name,
    (i * 37 % 100000)::numeric(12, 2) AS amount, i % 10 AS kind
FROM generate_series(1, :rows) i;
CREATE TABLE unordered AS SELECT * FROM src ORDER BY hashint8(id);
CREATE TABLE wide_src AS SELECT id, ts, (SELECT string_agg(md5(i::text || n), '') FROM generate_series(1, 12) n) AS name, amount, kind FROM src, LATERAL (SELECT id AS i) k;
CREATE TABLE tgt (id bigint PRIMARY KEY, ts timestamptz NOT NULL, name text, amount numeric(12, 2), kind int);
CREATE INDEX ON tgt (ts);
CREATE TABLE five (LIKE tgt INCLUDING ALL);
CREATE INDEX ON five (name);
CREATE INDEX ON five (amount, id);
CREATE INDEX ON five (kind, ts);
VACUUM ANALYZE;
SELECT idem_create_ledger('led') \g /dev/null
\echo
\echo Indexes
SELECT indexdef FROM pg_indexes WHERE schemaname = 'bench_first' ORDER BY 1;

-- the statements of a job: by hand, the same in the key's order, and idem's in both modes and with an exclusive lock
CREATE FUNCTION load(target text, source text, mode text) RETURNS text LANGUAGE sql AS $$
    SELECT format('CALL public.idem_load_window(''bench_first.led'', %L, %L, ''[2024-01-01,2030-01-01)'', %L, keys => ''{id}'', window_column => ''ts'', force => true)',
        'bench_first.' || target, 'bench_first.' || source, mode) $$;
CREATE FUNCTION statements(target text, source text) RETURNS text[] LANGUAGE sql AS $$
    SELECT ARRAY[insert, insert || ' ORDER BY id', load(target, source, 'upsert'), load(target, source, 'reload'),
        'SET LOCAL idem.force_statements = on; ' || load(target, source, 'upsert'), 'SET LOCAL idem.allow_exclusive = on; ' || load(target, source, 'upsert')]
    FROM format('INSERT INTO bench_first.%I SELECT * FROM bench_first.%I WHERE ts >= ''2024-01-01'' AND ts < ''2030-01-01''', target, source) insert $$;
\set variants '''{insert,insert in order,upsert,reload,by statements,exclusive}'''

CALL bench.measure('first load, in key order', :variants, statements('tgt', 'src'), 'TRUNCATE bench_first.tgt');
CALL bench.measure('first load, unordered', :variants, statements('tgt', 'unordered'), 'TRUNCATE bench_first.tgt');
CALL bench.measure('first load, five indexes', :variants, statements('five', 'src'), 'TRUNCATE bench_first.five');
CALL bench.measure('first load, wide rows', :variants, statements('tgt', 'wide_src'), 'TRUNCATE bench_first.tgt');

\echo
\echo First loads, ms and WAL, median of five; the ratio is the median of the ratios of five rounds
SELECT job, variant, bench.median(job, variant)::int AS ms, bench.wal(job, variant) AS wal,
    CASE WHEN base IS NOT NULL THEN bench.ratio(job, variant, ARRAY[base]) END AS ratio, base AS against, goal
FROM (SELECT job, variant, min(ctid) AS place FROM bench.result WHERE job LIKE 'first load, %' GROUP BY 1, 2) r LEFT JOIN (VALUES
    ('first load, in key order', 'insert', 1.00), ('first load, unordered', 'insert', 0.50), ('first load, unordered', 'insert in order', 1.05),
    ('first load, five indexes', 'insert', 0.80), ('first load, wide rows', 'insert', 1.05)) g(job, base, goal) USING (job)
WHERE variant IN ('upsert', 'reload') OR base IS DISTINCT FROM 'insert in order'
ORDER BY place, goal DESC;
RESET search_path;
