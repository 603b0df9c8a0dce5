-- backfill.sql: 60 windows of 50,000 rows, loaded by one, two workers, and by one session
SELECT greatest(1000, :rows / 20) AS size \gset
CREATE TABLE bench.fsrc AS
SELECT i::bigint AS id, 'customer ' || i % 1000 AS name, (i * 37 % 100000)::numeric(12, 2) AS amount FROM generate_series(0, 60 * :size - 1) i;
CREATE INDEX ON bench.fsrc (id);
CREATE TABLE bench.ftgt (id bigint PRIMARY KEY, name text, amount numeric(12, 2));
VACUUM ANALYZE bench.fsrc;
SELECT idem_create_ledger('bench.fled', 'int8range') \g /dev/null
SELECT idem_create_pipeline('backfill', 'bench.fled', 'bench.ftgt', 'bench.fsrc', 'upsert', '{id}', 'id', :'size', '0', watermark => 'SELECT max(id) FROM bench.fsrc', enabled => false) \g /dev/null
DROP TABLE IF EXISTS bench.clock;
CREATE TABLE bench.clock AS SELECT clock_timestamp() AS started;

-- as in windows.sql
SELECT step FROM generate_series(0, 5) round, (VALUES
    (1, 'one worker', format('CALL idem_backfill(''backfill'', ''[0,%s)'', workers => 1)', 60 * :size)),
    (2, 'two workers', format('CALL idem_backfill(''backfill'', ''[0,%s)'', workers => 2)', 60 * :size)),
    (3, 'one session', 'CALL idem_run_pipeline(''backfill'')')) v(place, variant, call),
    unnest(ARRAY['CHECKPOINT', 'TRUNCATE bench.ftgt, bench.fled', 'UPDATE bench.clock SET started = clock_timestamp()', call,
        format('INSERT INTO bench.result SELECT ''backfill'', %L, %s, 1000 * extract(epoch FROM clock_timestamp() - started), 0 FROM bench.clock WHERE %2$s > 0',
            variant, round)]) WITH ORDINALITY s(step, n)
ORDER BY round, place, n \gexec

\echo
\echo 60 windows of :size rows, ms, median of five
SELECT variant, bench.median('backfill', variant)::int AS ms, bench.ratio('backfill', variant, '{one worker}') AS ratio, goal
FROM (VALUES ('one worker', NULL), ('two workers', 0.62), ('one session', NULL)) v(variant, goal);
