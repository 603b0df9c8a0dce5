-- keys.sql: a run without changes over two key columns, NOT NULL and nullable, :rows rows in one window
CREATE TABLE bench.not_nulls (id bigint NOT NULL, ts timestamptz NOT NULL, name text NOT NULL, amount numeric(12, 2), kind int, UNIQUE (id, name));
CREATE TABLE bench.nulls (id bigint, ts timestamptz NOT NULL, name text, amount numeric(12, 2), kind int, UNIQUE NULLS NOT DISTINCT (id, name));
CREATE INDEX ON bench.not_nulls (ts); CREATE INDEX ON bench.nulls (ts);
INSERT INTO bench.not_nulls
SELECT i, '2024-01-01'::timestamptz + i * interval '1 second', 'customer ' || i % 1000, (i * 37 % 100000)::numeric(12, 2), i % 10 FROM generate_series(1, :rows) i;
INSERT INTO bench.nulls SELECT id, ts, nullif(name, 'customer 7'), amount, kind FROM bench.not_nulls;
CREATE TABLE bench.not_nulls_src AS TABLE bench.not_nulls;
CREATE TABLE bench.nulls_src AS TABLE bench.nulls;
VACUUM ANALYZE;
SELECT idem_create_ledger('bench.kled') \g /dev/null
CREATE FUNCTION bench.load_keyed(target text) RETURNS text LANGUAGE sql AS $$
    SELECT format('CALL idem_load_window(''bench.kled'', %L, %L, ''[2024-01-01,2030-01-01)'', ''upsert'', keys => ''{id,name}'', window_column => ''ts'', force => true)',
        target, target || '_src') $$;
CALL bench.measure('keys', '{NOT NULL,nullable}', ARRAY[bench.load_keyed('bench.not_nulls'), bench.load_keyed('bench.nulls')]);

\echo
\echo Two key columns, nothing changed, ms, median of five
SELECT variant, bench.median('keys', variant)::int AS ms, bench.ratio('keys', variant, '{NOT NULL}') AS ratio, goal
FROM (VALUES ('NOT NULL', NULL), ('nullable', 1.3)) v(variant, goal);
