-- status.sql: idem_status of 10,000 pipelines, one's own and others'; idem_status and idem_prune over 100,000 runs of which 1,000 failed
SET jit = on;
CREATE ROLE bench_owner;
GRANT ALL ON SCHEMA bench TO bench_owner;
SET ROLE bench_owner;
CREATE TABLE bench.starget (id bigint PRIMARY KEY, ts timestamptz);
SELECT count(idem_create_ledger('bench.sled' || i)) FROM generate_series(0, 9) i \g /dev/null
SELECT count(idem_create_pipeline('status ' || i, ('bench.sled' || i % 10)::regclass, 'bench.starget', 'SELECT 1::bigint AS id, $1 AS ts', 'upsert', '{id}',
    step => '1 day', start => '2024-01-01', watermark => CASE WHEN i % 2 = 0 THEN 'SELECT timestamptz ''2024-01-31''' END, enabled => false))
FROM generate_series(1, 10000) i \g /dev/null
DO $$ BEGIN
    FOR i IN 0..9 LOOP
        EXECUTE format('INSERT INTO bench.sled%s (pipeline, window_range, state, finished_at)
            SELECT ''status '' || p, tstzrange(d, d + interval ''1 day''), ''complete'', now() FROM generate_series(%1$s, 10000, 10) p, generate_series(timestamptz ''2024-01-01'', ''2024-01-10'', ''1 day'') d', i);
    END LOOP;
END $$;
SELECT idem_create_ledger('bench.sruns', 'int8range') \g /dev/null
RESET ROLE;
INSERT INTO bench.sruns (pipeline, window_range, state, finished_at, error_message)
SELECT 'runs', int8range(i, i + 1), CASE WHEN i % 100 = 0 THEN 'failed' ELSE 'complete' END::idem_state, now() - interval '1 day', 'x' FROM generate_series(0, 99999) i;
CREATE TABLE bench.sown (id bigint PRIMARY KEY);
SELECT idem_create_pipeline('runs', 'bench.sruns', 'bench.sown', 'SELECT $1 AS id', 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT 99999::bigint', enabled => false) \g /dev/null
VACUUM ANALYZE;

CREATE FUNCTION bench.status_of(who text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('SET LOCAL ROLE %I', who);
    RETURN (SELECT count(*) FROM idem_status);
END $$;
CALL bench.measure('status', '{10000 of one''s own,10000 of others and one of 100000 runs,pruning 100000 runs}',
    ARRAY[$$SELECT bench.status_of('bench_owner')$$, $$SELECT bench.status_of(session_user)$$, $$SELECT idem_prune('bench.sruns', '1 hour')$$]);
\echo
\echo Goals: 10,000 pipelines in 2,000 ms; 100,000 runs of which 1,000 failed in 200 ms each
SELECT variant AS status_and_prune, bench.median('status', variant)::int AS ms
FROM unnest('{10000 of one''s own,10000 of others and one of 100000 runs,pruning 100000 runs}'::text[]) variant;
RESET jit;
