-- measure.sql: median times of statements, in one session
SET client_min_messages = warning;
CREATE SCHEMA bench;
CREATE TABLE bench.result (job text, variant text, ms float8, wal numeric);

-- Runs statements once to warm up, then five times, each round all variants in turn;
-- before each, in a transaction of its own and not timed, what brings its tables into shape.
CREATE PROCEDURE bench.measure(job text, variants text[], statements text[], before text[] DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz;
    lsn pg_lsn;
BEGIN
    FOR round IN 0..5 LOOP
        FOR i IN 1..array_length(variants, 1) LOOP
            IF before[i] IS NOT NULL THEN
                EXECUTE before[i];
                COMMIT;
            END IF;
            lsn := pg_current_wal_insert_lsn();
            started := clock_timestamp();
            EXECUTE statements[i];
            COMMIT;
            IF round > 0 THEN
                INSERT INTO bench.result VALUES (job, variants[i],
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
