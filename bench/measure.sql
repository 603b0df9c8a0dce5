-- measure.sql: times of statements side by side, and ratios of times of the same round
SET client_min_messages = warning;
CREATE SCHEMA bench;
CREATE TABLE bench.result (job text, variant text, round int, ms float8, wal numeric);

\echo Settings
SELECT name, current_setting(name) AS setting FROM pg_settings
WHERE name IN ('shared_buffers', 'work_mem', 'hash_mem_multiplier', 'max_wal_size', 'fsync', 'synchronous_commit', 'full_page_writes', 'wal_level', 'jit',
    'autovacuum', 'max_parallel_workers_per_gather', 'random_page_cost', 'seq_page_cost', 'cpu_tuple_cost', 'effective_cache_size', 'default_statistics_target')
    OR (name LIKE 'enable\_%' AND setting <> boot_val) ORDER BY 1;

-- Runs statements once to warm up, then five times, each round all variants in turn;
-- before each, in a transaction of its own and not timed, what brings its tables into shape.
CREATE PROCEDURE bench.measure(job text, variants text[], statements text[], before text DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz;
    lsn pg_lsn;
BEGIN
    FOR round IN 0..5 LOOP
        CHECKPOINT;
        FOR i IN 1..array_length(variants, 1) LOOP
            IF before IS NOT NULL THEN
                EXECUTE before;
                COMMIT;
            END IF;
            lsn := pg_current_wal_insert_lsn();
            started := clock_timestamp();
            EXECUTE statements[i];
            COMMIT;
            IF round > 0 THEN
                INSERT INTO bench.result VALUES (job, variants[i], round,
                    1000 * extract(epoch FROM clock_timestamp() - started), pg_current_wal_insert_lsn() - lsn);
                COMMIT;
            END IF;
        END LOOP;
    END LOOP;
END $$;

CREATE FUNCTION bench.median(j text, v text) RETURNS float8 LANGUAGE sql AS
$$ SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FROM bench.result WHERE job = j AND variant = v $$;
CREATE FUNCTION bench.wal(j text, v text) RETURNS text LANGUAGE sql AS
$$ SELECT pg_size_pretty(percentile_cont(0.5) WITHIN GROUP (ORDER BY wal)::bigint) FROM bench.result WHERE job = j AND variant = v $$;

-- the median of the rounds' ratios, to the fastest of some variants
CREATE FUNCTION bench.ratio(j text, v text, bases text[]) RETURNS numeric LANGUAGE sql AS $$
    SELECT round((percentile_cont(0.5) WITHIN GROUP (ORDER BY r.ms / b.ms))::numeric, 2)
    FROM bench.result r, LATERAL (SELECT min(ms) AS ms FROM bench.result WHERE job = j AND variant = ANY (bases) AND round = r.round) b
    WHERE job = j AND variant = v $$;
