-- turns.sql: a scheduled turn that loads one new window, with 1,000 and with :rows complete ones in the ledger
SELECT count(idem_create_ledger('bench.turn' || n, 'int8range')) FROM (SELECT DISTINCT unnest(ARRAY[1000, 100000, :rows]) AS n) n \g /dev/null
CREATE TABLE bench.mark AS SELECT n, n::bigint - 1 AS w FROM (SELECT DISTINCT unnest(ARRAY[1000, 100000, :rows]) AS n) n;
SELECT format('CREATE TABLE bench.turned%s (id bigint PRIMARY KEY, v text)', n) FROM bench.mark \gexec
CREATE TABLE bench.nudge (id bigint PRIMARY KEY);
-- the claims' index is made afterwards, which takes less
SELECT step FROM bench.mark, unnest(ARRAY[
    format('ALTER TABLE bench.turn%s DROP CONSTRAINT turn%1$s_pipeline_window_range_excl', n),
    format('INSERT INTO bench.turn%s (pipeline, window_range, state, finished_at, target, target_name, system_identifier, database_oid, method, source_rows, run_by)
        SELECT ''turn%1$s'', int8range(i, i + 1), ''complete'', now(), %L::regclass, ''bench.turned%1$s'', (SELECT system_identifier FROM pg_control_system()),
            (SELECT oid FROM pg_database WHERE datname = current_database()), ''insert'', 100, session_user
        FROM generate_series(0, %1$s - 1) i', n, 'bench.turned' || n),
    format('ALTER TABLE bench.turn%s ADD CONSTRAINT turn%1$s_pipeline_window_range_excl EXCLUDE USING gist (pipeline WITH =, window_range WITH &&) WHERE (state IN (''running'', ''complete''))', n)])
    WITH ORDINALITY s(step, i) ORDER BY n, i \gexec
VACUUM ANALYZE;
SELECT idem_create_pipeline('turn' || n, ('bench.turn' || n)::regclass, ('bench.turned' || n)::regclass, 'SELECT 100 * $1 + i AS id, ''v'' AS v FROM generate_series(0, 99) i', 'upsert', '{id}',
    step => '1', start => '0', watermark => format('SELECT w FROM bench.mark WHERE n = %s', n), check_every => '1 hour') FROM bench.mark \g /dev/null
-- whoever creates a pipeline wakes the scheduler, and changes nothing about the others
CREATE FUNCTION bench.wake() RETURNS void LANGUAGE sql AS $$
    SELECT idem_drop_pipeline('nudge') FROM idem_pipeline WHERE name = 'nudge';
    SELECT idem_create_pipeline('nudge', 'bench.turn1000', 'bench.nudge', 'SELECT $1 AS id', 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT 0::bigint', enabled => false) $$;
SELECT idem_start_worker() > 0 AS started \gset

CREATE PROCEDURE bench.turn(size int, round int) LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz;
    ended timestamptz;
BEGIN
    UPDATE bench.mark SET w = w + 1 WHERE n = size;
    COMMIT;
    UPDATE idem_pipeline_state SET next_run_at = clock_timestamp() WHERE name = 'turn' || size;
    PERFORM bench.wake();
    started := clock_timestamp();
    COMMIT;
    LOOP
        SELECT last_run_at INTO ended FROM idem_pipeline_state WHERE name = 'turn' || size AND last_run_at > started AND turn_started_at IS NULL;
        COMMIT;
        EXIT WHEN FOUND;
        PERFORM pg_sleep(0.002);
    END LOOP;
    INSERT INTO bench.result SELECT 'turn', size::text, round, 1000 * extract(epoch FROM ended - started), 0 WHERE round > 0;
    COMMIT;
END $$;
-- the first turns read everything
DO $$ BEGIN
    WHILE (SELECT count(*) < (SELECT count(*) FROM bench.mark) FROM idem_pipeline_state WHERE name LIKE 'turn%' AND last_run_at IS NOT NULL AND turn_started_at IS NULL) LOOP
        COMMIT;
        PERFORM pg_sleep(0.1);
    END LOOP;
END $$;
SELECT format('CALL bench.turn(%s, %s)', n, round) FROM generate_series(0, 5) round, unnest(ARRAY[1000, :rows]) n ORDER BY round, n \gexec
-- and what it takes to read all of it, as a run by hand does
SELECT step FROM generate_series(0, 5) round, unnest(ARRAY[1000, :rows]) n, unnest(ARRAY[format('UPDATE bench.mark SET w = w + 1 WHERE n = %s', n),
    'CREATE TABLE bench.turn_clock AS SELECT clock_timestamp() AS started', format('CALL idem_run_pipeline(''turn%s'')', n),
    format('INSERT INTO bench.result SELECT ''turn by hand'', %L, %s, 1000 * extract(epoch FROM clock_timestamp() - started), 0 FROM bench.turn_clock WHERE %2$s > 0', n, round),
    'DROP TABLE bench.turn_clock']) WITH ORDINALITY s(step, i) ORDER BY round, n, i \gexec
SELECT idem_stop_worker() \g /dev/null

\echo
\echo A scheduled turn that loads one new window of 100 rows, ms until it is booked, its process included; and a run by hand, which reads the whole ledger
SELECT job, variant AS complete_windows, round(bench.median(job, variant)::numeric, 1) AS ms, CASE WHEN variant <> '1000' THEN bench.ratio(job, variant, '{1000}') END AS ratio, goal
FROM (VALUES ('turn', '1000', NULL), ('turn', :'rows', 1.2), ('turn by hand', '1000', NULL), ('turn by hand', :'rows', NULL)) v(job, variant, goal);

-- what it takes to ask a ledger of that size, with a gap in the middle
SELECT format('DELETE FROM bench.turn%s WHERE lower(window_range) = %s', n, n / 2) FROM bench.mark \gexec
SELECT count(idem_drop_pipeline(name)) FROM idem_pipeline WHERE name LIKE 'turn%' OR name = 'nudge' \g /dev/null
SELECT step FROM bench.mark, unnest(ARRAY[
    format($f$DO $d$ BEGIN PERFORM idem_create_pipeline('turn%1$s', 'bench.turn%1$s', 'bench.turned%1$s', 'SELECT $1 AS id, NULL AS v', 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT %2$s::bigint', enabled => false); END $d$ $f$, n, n - 1),
    format($f$CALL bench.measure('gaps', '{%1$s}', ARRAY[$q$SELECT idem_gaps('bench.turn%1$s', 'turn%1$s', '[0,%1$s)')$q$])$f$, n),
    format($f$CALL bench.measure('status', '{%1$s}', ARRAY['SELECT FROM idem_status'])$f$, n),
    format($f$DELETE FROM idem_pipeline WHERE name = 'turn%s'$f$, n)]) WITH ORDINALITY s(step, i) WHERE n >= 100000 ORDER BY n, i \gexec
\echo
\echo idem_gaps and idem_status over ledgers of 100,000 and :rows complete windows, one of them missing, ms; the goal is to grow no faster than the ledger
SELECT job, variant AS windows, round(bench.median(job, variant)::numeric, 1) AS ms, CASE WHEN variant <> '100000' THEN bench.ratio(job, variant, '{100000}') END AS ratio,
    CASE WHEN variant <> '100000' THEN round(1.2 * :rows / 100000, 1) END AS goal
FROM unnest('{gaps,status}'::text[]) job, (SELECT n::text AS variant FROM bench.mark WHERE n >= 100000) m ORDER BY job, variant::int;
