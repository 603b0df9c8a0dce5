-- load.sql: one window of :rows rows, five columns, a primary key and an index on the time column
SET client_min_messages = warning;
CREATE TABLE bench.src AS
SELECT i::bigint AS id, '2024-01-01'::timestamptz + i * interval '1 second' AS ts, 'customer ' || i % 1000 AS name,
    (i * 37 % 100000)::numeric(12, 2) AS amount, i % 10 AS kind
FROM generate_series(1, :rows) i;
CREATE TABLE bench.full (id bigint PRIMARY KEY, ts timestamptz NOT NULL, name text, amount numeric(12, 2), kind int);
CREATE INDEX ON bench.full (ts);
INSERT INTO bench.full SELECT * FROM bench.src;
VACUUM ANALYZE;
CREATE TABLE bench.empty (LIKE bench.full INCLUDING ALL);
SELECT idem_create_ledger('bench.led') \g /dev/null

-- a load of everything by idem
CREATE FUNCTION bench.load(target text, mode text, keys text, source text DEFAULT 'bench.src') RETURNS text LANGUAGE sql AS $$
    SELECT format('CALL idem_load_window(''bench.led'', %L, %L, ''[2024-01-01,2030-01-01)'', %L, keys => %L, window_column => ''ts'', force => true)',
        target, source, mode, keys) $$;

CALL bench.measure('first', '{raw,upsert,reload,reload without keys}', ARRAY[
    'INSERT INTO bench.empty SELECT * FROM bench.src WHERE ts >= ''2024-01-01'' AND ts < ''2030-01-01''',
    bench.load('bench.empty', 'upsert', '{id}'), bench.load('bench.empty', 'reload', '{id}'), bench.load('bench.empty', 'reload', NULL)],
    array_fill('TRUNCATE bench.empty'::text, ARRAY[4]));

CALL bench.measure('same', '{on conflict,delete+insert,upsert,reload,reload without keys}', ARRAY[
    'INSERT INTO bench.full SELECT * FROM bench.src ON CONFLICT (id) DO UPDATE SET ts = excluded.ts, name = excluded.name, amount = excluded.amount, kind = excluded.kind',
    'WITH gone AS (DELETE FROM bench.full WHERE ts >= ''2024-01-01'' AND ts < ''2030-01-01'') SELECT 1; INSERT INTO bench.full SELECT * FROM bench.src',
    bench.load('bench.full', 'upsert', '{id}'), bench.load('bench.full', 'reload', '{id}'), bench.load('bench.full', 'reload', NULL)],
    array_fill('TRUNCATE bench.full; INSERT INTO bench.full SELECT * FROM bench.src'::text, ARRAY[5]));

\echo
\echo One window, ms and WAL, median of five
SELECT job, variant, bench.median(job, variant)::int AS ms, bench.wal(job, variant) AS wal,
    round((bench.median(job, variant) / bench.median(job, base))::numeric, 2) AS ratio, base AS against, goal
FROM (VALUES ('first', 'raw', 'raw', NULL), ('first', 'upsert', 'raw', 1.10), ('first', 'reload', 'raw', 1.10), ('first', 'reload without keys', 'raw', NULL),
    ('same', 'on conflict', 'on conflict', NULL), ('same', 'delete+insert', 'delete+insert', NULL), ('same', 'upsert', 'on conflict', 0.15),
    ('same', 'reload', 'delete+insert', 0.40), ('same', 'reload without keys', 'delete+insert', 1.10)) v(job, variant, base, goal);
