-- measure.sql: median times of statements, in one session
SET client_min_messages = warning;
CREATE SCHEMA bench;
CREATE TABLE bench.result (job text, variant text, ms float8);

-- Runs a statement once to warm up, then five times; each round all variants in turn.
CREATE PROCEDURE bench.measure(job text, variants text[], statements text[]) LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz;
BEGIN
    FOR round IN 0..5 LOOP
        FOR i IN 1..array_length(variants, 1) LOOP
            started := clock_timestamp();
            EXECUTE statements[i];
            IF round > 0 THEN
                INSERT INTO bench.result VALUES (job, variants[i],
                    1000 * extract(epoch FROM clock_timestamp() - started));
            END IF;
            COMMIT;
        END LOOP;
    END LOOP;
END $$;

CREATE FUNCTION bench.median(j text, v text) RETURNS float8 LANGUAGE sql AS
$$ SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FROM bench.result WHERE job = j AND variant = v $$;
