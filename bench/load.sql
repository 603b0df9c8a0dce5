-- load.sql: one window of :rows rows, five columns, a primary key and an index on the time column
CREATE TABLE bench.src AS
SELECT i::bigint AS id, '2024-01-01'::timestamptz + i * interval '1 second' AS ts, 'customer ' || i % 1000 AS name,
    (i * 37 % 100000)::numeric(12, 2) AS amount, i % 10 AS kind
FROM generate_series(1, :rows) i;
CREATE TABLE bench.tgt (id bigint PRIMARY KEY, ts timestamptz NOT NULL, name text, amount numeric(12, 2), kind int);
CREATE INDEX ON bench.tgt (ts);
SELECT format('CREATE TABLE bench.src%s AS SELECT id, ts, name, amount + (id %% 100 < %1$s)::int AS amount, kind FROM bench.src', p)
FROM unnest('{1,10,50,100}'::int[]) p \gexec
VACUUM ANALYZE;
SELECT idem_create_ledger('bench.led') \g /dev/null
\echo
\echo Indexes
SELECT indexdef FROM pg_indexes WHERE schemaname = 'bench' AND tablename <> 'r' ORDER BY 1;

-- the statements of one job: hand-written ones and idem's
CREATE FUNCTION bench.load(target text, mode text, keys text, source text) RETURNS text LANGUAGE sql AS $$
    SELECT format('CALL idem_load_window(''bench.led'', %L, %L, ''[2024-01-01,2030-01-01)'', %L, keys => %L, window_column => ''ts'', force => true)',
        target, source, mode, keys) $$;
CREATE FUNCTION bench.upsert(source text, condition text DEFAULT '') RETURNS text LANGUAGE sql AS $$
    SELECT format('INSERT INTO bench.tgt AS t SELECT * FROM %s WHERE ts >= ''2024-01-01'' AND ts < ''2030-01-01'' ON CONFLICT (id) DO UPDATE
        SET ts = excluded.ts, name = excluded.name, amount = excluded.amount, kind = excluded.kind %s', source, condition) $$;
CREATE FUNCTION bench.statements(source text) RETURNS text[] LANGUAGE sql AS $$
    SELECT ARRAY[bench.upsert(source),
        bench.upsert(source, 'WHERE (t.ts, t.name, t.amount, t.kind) IS DISTINCT FROM (excluded.ts, excluded.name, excluded.amount, excluded.kind)'),
        'DELETE FROM bench.tgt WHERE ts >= ''2024-01-01'' AND ts < ''2030-01-01''; INSERT INTO bench.tgt SELECT * FROM ' || source
            || ' WHERE ts >= ''2024-01-01'' AND ts < ''2030-01-01''',
        bench.load('bench.tgt', 'upsert', '{id}', source), bench.load('bench.tgt', 'reload', '{id}', source)] $$;
\set by_hand '''on conflict,on conflict where,delete+insert,upsert,reload'''
\set refill '''TRUNCATE bench.tgt; INSERT INTO bench.tgt SELECT * FROM bench.src; ANALYZE bench.tgt'''

CALL bench.measure('first load', '{insert,upsert,reload,"upsert, no digest",insert again}', ARRAY[
    'INSERT INTO bench.tgt SELECT * FROM bench.src WHERE ts >= ''2024-01-01'' AND ts < ''2030-01-01''',
    bench.load('bench.tgt', 'upsert', '{id}', 'bench.src'), bench.load('bench.tgt', 'reload', '{id}', 'bench.src'),
    'SET LOCAL idem.source_digest = off; ' || bench.load('bench.tgt', 'upsert', '{id}', 'bench.src'),
    'INSERT INTO bench.tgt SELECT * FROM bench.src WHERE ts >= ''2024-01-01'' AND ts < ''2030-01-01'''], 'TRUNCATE bench.tgt');
CALL bench.measure('no change', ('{' || :by_hand || '}')::text[], bench.statements('bench.src'), :refill);
CALL bench.measure('1 % changed', ('{' || :by_hand || '}')::text[], bench.statements('bench.src1'), :refill);
CALL bench.measure('10 % changed', ('{' || :by_hand || '}')::text[], bench.statements('bench.src10'), :refill);
CALL bench.measure('50 % changed', ('{' || :by_hand || '}')::text[], bench.statements('bench.src50'), :refill);
CALL bench.measure('100 % changed', ('{' || :by_hand || '}')::text[], bench.statements('bench.src100'), :refill);
CALL bench.measure('no keys, 10 % changed', '{delete+insert,reload}', ARRAY[(bench.statements('bench.src10'))[3], bench.load('bench.tgt', 'reload', NULL, 'bench.src10')], :refill);
CALL bench.measure('no keys', '{delete+insert,reload}', ARRAY[(bench.statements('bench.src'))[3], bench.load('bench.tgt', 'reload', NULL, 'bench.src')], :refill);

\echo
\echo One window, ms and WAL, median of five; the ratio is the median of the ratios of five rounds
SELECT job, variant, bench.median(job, variant)::int AS ms, bench.wal(job, variant) AS wal,
    CASE WHEN bases IS NOT NULL THEN bench.ratio(job, variant, bases) END AS ratio, array_to_string(bases, ' or ') AS against, goal
FROM (SELECT job, variant, min(ctid) AS place FROM bench.result WHERE job <> 'hash' GROUP BY 1, 2) r LEFT JOIN (VALUES
    ('first load', 'upsert', '{insert}'::text[], 1.00), ('first load', 'reload', '{insert}', 1.00), ('first load', 'insert again', '{insert}', NULL), ('first load', 'upsert', '{"upsert, no digest"}', 1.15),
    ('no change', 'upsert', '{on conflict where}', 0.25), ('no change', 'reload', '{on conflict where}', 0.25), ('no change', 'upsert', '{on conflict}', 0.08), ('no change', 'reload', '{on conflict}', 0.08),
    ('1 % changed', 'upsert', '{on conflict,on conflict where}', 0.60), ('1 % changed', 'reload', '{delete+insert}', 0.30),
    ('10 % changed', 'upsert', '{on conflict,on conflict where}', 0.75), ('10 % changed', 'reload', '{delete+insert}', 0.45),
    ('50 % changed', 'upsert', '{on conflict,on conflict where}', 0.75), ('50 % changed', 'reload', '{delete+insert}', 0.70),
    ('100 % changed', 'upsert', '{on conflict,on conflict where}', 0.90), ('100 % changed', 'reload', '{delete+insert}', 0.85),
    ('no keys', 'reload', '{delete+insert}', 0.25), ('no keys, 10 % changed', 'reload', '{delete+insert}', 0.60)) g(job, variant, bases, goal) USING (job, variant)
ORDER BY place, goal;
