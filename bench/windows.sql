-- windows.sql: :windows windows of 100 rows in one CALL, beside a loop in PL/pgSQL; and complete windows asked again
-- a commit that waits for the disk takes ten times as long as a window, and would hide what is measured
SET synchronous_commit = off;
SELECT greatest(10, :rows / 100) AS windows \gset
CREATE TABLE bench.wsrc AS
SELECT i::bigint AS id, i / 100 AS w, 'customer ' || i % 1000 AS name, (i * 37 % 100000)::numeric(12, 2) AS amount FROM generate_series(0, 100 * :windows - 1) i;
CREATE INDEX ON bench.wsrc (w);
CREATE TABLE bench.wtgt (id bigint PRIMARY KEY, w int NOT NULL, name text, amount numeric(12, 2));
CREATE INDEX ON bench.wtgt (w);
VACUUM ANALYZE bench.wsrc;
SELECT idem_create_ledger('bench.wled', 'int8range'), idem_create_ledger('bench.wfull', 'int8range') \g /dev/null
INSERT INTO bench.wfull (pipeline, window_range, state) SELECT 'other', int8range(i, i + 1), 'complete' FROM generate_series(1, 100000) i;
VACUUM ANALYZE bench.wfull;

CREATE PROCEDURE bench.by_hand(windows int, every int DEFAULT 1) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 0..windows - 1 LOOP
        DELETE FROM bench.wtgt WHERE w >= i AND w < i + 1;
        INSERT INTO bench.wtgt SELECT * FROM bench.wsrc WHERE w >= i AND w < i + 1;
        IF (i + 1) % every = 0 THEN
            COMMIT;
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION bench.load_windows(ledger text, mode text, keys text, windows int) RETURNS text LANGUAGE sql AS $$
    SELECT format('CALL idem_load_window(%L, ''bench.wtgt'', ''bench.wsrc'', ''[0,%s)'', %L, keys => %L, window_column => ''w'', pipeline => ''bench'', step => ''1'')',
        ledger, windows, mode, keys) $$;

-- asks for complete windows, a thousand times
CREATE PROCEDURE bench.again(ledger text) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..1000 LOOP
        CALL idem_load_window(ledger, 'bench.wtgt', 'bench.wsrc', '[3,9)', 'upsert', keys => '{id}', window_column => 'w', pipeline => 'complete');
    END LOOP;
END $$;
INSERT INTO bench.wled (pipeline, window_range, state) VALUES ('complete', '[0,1000)', 'complete');
INSERT INTO bench.wfull (pipeline, window_range, state) VALUES ('complete', '[0,1000)', 'complete');

-- keys in no order, and no window column: one window of half a percent of the rows
CREATE TABLE bench.usrc AS SELECT md5(i::text)::uuid AS id, i AS n, i % 60 AS v FROM generate_series(1, :rows) i;
CREATE INDEX ON bench.usrc (n);
CREATE TABLE bench.utgt (id uuid PRIMARY KEY, n int, v int);
CREATE TABLE bench.unew (LIKE bench.utgt INCLUDING ALL);
INSERT INTO bench.utgt TABLE bench.usrc;
INSERT INTO bench.unew TABLE bench.usrc;
VACUUM ANALYZE bench.usrc;
VACUUM ANALYZE bench.utgt;
CREATE FUNCTION bench.upsert_by_hand(target text, rows int) RETURNS text LANGUAGE sql AS $$
    SELECT format('INSERT INTO %s AS t SELECT * FROM bench.usrc WHERE n >= %s AND n < %s
        ON CONFLICT (id) DO UPDATE SET n = excluded.n, v = excluded.v WHERE (t.n, t.v) IS DISTINCT FROM (excluded.n, excluded.v)', target, rows / 2, rows / 2 + rows / 200) $$;
CREATE FUNCTION bench.load_unordered(target text, rows int) RETURNS text LANGUAGE sql AS $$
    SELECT format('CALL idem_load_window(''bench.wled'', %L, ''SELECT * FROM bench.usrc WHERE n >= $1 AND n < $2'', ''[%s,%s)'', ''upsert'', keys => ''{id}'', force => true)', target, rows / 2, rows / 2 + rows / 200) $$;

-- four partitions of a stream in one table, of which one brings 5,000 new rows, and no window column
CREATE TABLE bench.ssrc AS SELECT p AS part, n, 'payload ' || n AS v FROM generate_series(1, 4) p, generate_series(0, :rows / 4 + 4999) n;
ALTER TABLE bench.ssrc ADD PRIMARY KEY (part, n);
CREATE TABLE bench.stream (part int, n bigint, v text, PRIMARY KEY (part, n));
INSERT INTO bench.stream SELECT * FROM bench.ssrc WHERE n < :rows / 4;
VACUUM ANALYZE bench.ssrc;
VACUUM ANALYZE bench.stream;
CREATE FUNCTION bench.stream_by_hand(rows int) RETURNS text LANGUAGE sql AS $$
    SELECT format('INSERT INTO bench.stream AS t SELECT * FROM bench.ssrc WHERE part = 3 AND n >= %s AND n < %s
        ON CONFLICT (part, n) DO UPDATE SET v = excluded.v WHERE t.v IS DISTINCT FROM excluded.v', rows / 4, rows / 4 + 5000) $$;
CREATE FUNCTION bench.load_stream(rows int) RETURNS text LANGUAGE sql AS $$
    SELECT format('CALL idem_load_window(''bench.wled'', ''bench.stream'', ''SELECT * FROM bench.ssrc WHERE part = 3 AND n >= $1 AND n < $2'', ''[%s,%s)'', ''upsert'', keys => ''{part,n}'', pipeline => ''stream, partition 3'', force => true)', rows / 4, rows / 4 + 5000) $$;

CREATE TABLE bench.clock AS SELECT clock_timestamp() AS started;

-- six rounds, of which the first is not noted; a CALL that commits must stand at top level
SELECT step FROM generate_series(0, 5) round, (VALUES
    (0, 'windows', 'DELETE, INSERT, COMMIT by hand', 'CALL bench.by_hand(' || :windows || ')'),
    (1, 'windows', 'COMMIT of 60 windows by hand', 'CALL bench.by_hand(' || :windows || ', 60)'),
    (2, 'windows', 'upsert', bench.load_windows('bench.wled', 'upsert', '{id}', :windows)),
    (3, 'windows', 'reload', bench.load_windows('bench.wled', 'reload', '{id}', :windows)),
    (4, 'windows', 'reload without keys', bench.load_windows('bench.wled', 'reload', NULL, :windows)),
    (5, 'windows', 'upsert, 100,000 windows in the ledger', bench.load_windows('bench.wfull', 'upsert', '{id}', :windows)),
    (6, 'again', 'few windows in the ledger', 'CALL bench.again(''bench.wled'')'),
    (7, 'again', '100,000 windows in the ledger', 'CALL bench.again(''bench.wfull'')'),
    (8, 'uuid', 'by hand', bench.upsert_by_hand('bench.utgt', :rows)),
    (9, 'uuid', 'idem', bench.load_unordered('bench.utgt', :rows)),
    (10, 'uuid, no statistics', 'by hand', bench.upsert_by_hand('bench.unew', :rows)),
    (11, 'uuid, no statistics', 'idem', bench.load_unordered('bench.unew', :rows)),
    (12, 'partitions of a stream', 'by hand', bench.stream_by_hand(:rows)),
    (13, 'partitions of a stream', 'idem', bench.load_stream(:rows))) v(place, job, variant, call),
    unnest(ARRAY['CHECKPOINT', 'TRUNCATE bench.wtgt', 'DELETE FROM bench.wled WHERE pipeline = ''bench''', 'DELETE FROM bench.wfull WHERE pipeline = ''bench''',
        'VACUUM bench.wled, bench.wfull', 'DELETE FROM bench.stream WHERE n >= ' || :rows / 4, 'VACUUM bench.stream', 'UPDATE bench.clock SET started = clock_timestamp()', call,
        format('INSERT INTO bench.result SELECT %L, %L, %s, 1000 * extract(epoch FROM clock_timestamp() - started), 0 FROM bench.clock WHERE %3$s > 0',
            job, variant, round)]) WITH ORDINALITY s(step, n)
ORDER BY round, place, n \gexec

\echo
\echo :windows windows of 100 rows, one CALL, synchronous_commit = off, ms, median of five
SELECT variant, bench.median('windows', variant)::int AS ms, round((bench.median('windows', variant) / :windows)::numeric, 3) AS ms_per_window,
    CASE WHEN base IS NOT NULL THEN bench.ratio('windows', variant, ARRAY[base]) END AS ratio, base AS against, goal
FROM (VALUES (1, 'DELETE, INSERT, COMMIT by hand', NULL, NULL), (1, 'COMMIT of 60 windows by hand', NULL, NULL),
    (2, 'upsert', 'DELETE, INSERT, COMMIT by hand', 1.05), (2, 'upsert', 'COMMIT of 60 windows by hand', 1.30),
    (3, 'reload', 'DELETE, INSERT, COMMIT by hand', 1.05), (3, 'reload', 'COMMIT of 60 windows by hand', 1.30),
    (4, 'reload without keys', 'DELETE, INSERT, COMMIT by hand', 1.05), (4, 'reload without keys', 'COMMIT of 60 windows by hand', 1.30),
    (5, 'upsert, 100,000 windows in the ledger', 'upsert', 1.1)) v(place, variant, base, goal) ORDER BY place, goal;
\echo A complete window asked again, ms (goal: under 1)
SELECT variant, round((bench.median('again', variant) / 1000)::numeric, 3) AS ms FROM unnest('{few windows in the ledger,"100,000 windows in the ledger"}'::text[]) variant;
\echo One window without window_column: half a percent of :rows rows with uuid keys, unchanged; 5,000 new rows of one of four partitions of a stream; the ratio is to ON CONFLICT … WHERE … IS DISTINCT FROM
SELECT job, round(bench.median(job, 'by hand')::numeric, 1) AS by_hand_ms, round(bench.median(job, 'idem')::numeric, 1) AS idem_ms, bench.ratio(job, 'idem', '{by hand}') AS ratio, 1.2 AS goal
FROM unnest('{uuid,"uuid, no statistics",partitions of a stream}'::text[]) job;
