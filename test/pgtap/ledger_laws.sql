-- What holds for gaps and coverage of any ledger, tried on random ones.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS idem CASCADE;
SELECT plan(10);

SELECT setseed(0.7);
SELECT idem_create_ledger('led', 'int8range');
CREATE FUNCTION pg_temp.random_range(size int) RETURNS int8range LANGUAGE sql VOLATILE AS
$$ SELECT int8range(a, a + 1 + (random() * size)::int) FROM (SELECT (random() * 1000)::int AS a) x $$;
INSERT INTO led (pipeline, window_range, state) SELECT 'p', pg_temp.random_range(20), 'complete' FROM generate_series(1, 100) ON CONFLICT DO NOTHING;

CREATE TEMP TABLE w AS SELECT pg_temp.random_range(300) AS r FROM generate_series(1, 300);
SELECT is(count(*), 0::bigint, 'gaps and coverage make up the window')
FROM w WHERE idem_gaps('led', 'p', r) + idem_coverage('led', 'p', r) <> int8multirange(r);
SELECT is(count(*), 0::bigint, 'gaps and coverage do not overlap')
FROM w WHERE idem_gaps('led', 'p', r) && idem_coverage('led', 'p', r);
SELECT is(count(*), 0::bigint, 'the text form says the same')
FROM w WHERE idem_gaps('led', 'p', r::text)::int8multirange <> idem_gaps('led', 'p', r)
    OR idem_coverage('led', 'p', r::text)::int8multirange <> idem_coverage('led', 'p', r);
SELECT is(count(*), 0::bigint, 'a point is in a gap unless a complete window contains it')
FROM generate_series(-10, 1100) i WHERE (idem_gaps('led', 'p', int8range(i, i + 1)) = '{}')
    <> EXISTS (SELECT FROM led WHERE state = 'complete' AND window_range @> i::bigint);

-- invalidation takes just its window from the coverage
CREATE TEMP TABLE checks (ok boolean);
DO $$
DECLARE r int8range; before int8multirange;
BEGIN
    FOR i IN 1..60 LOOP
        r := pg_temp.random_range(40);
        before := idem_coverage('led', 'p', '[-100,2000)'::int8range);
        PERFORM idem_invalidate('led', 'p', r);
        INSERT INTO checks VALUES (idem_coverage('led', 'p', '[-100,2000)'::int8range) = before - int8multirange(r));
    END LOOP;
END $$;
SELECT is(count(*) FILTER (WHERE NOT ok), 0::bigint, 'invalidation takes just its window from the coverage') FROM checks;
SELECT is(count(*), 0::bigint, 'what is left has no counts, and names the run it came from')
FROM led WHERE state = 'complete' AND details ? 'split_from' AND source_rows IS NOT NULL;

-- what a load reads of a ledger does not grow with its history, with statistics or without
CREATE TABLE tgt (id bigint, w bigint, lost text);
SELECT idem_create_ledger('long', 'int8range');
SET LOCAL timezone = 'UTC';
SELECT count(*) FROM idem_load('long', 'tgt', 'SELECT $1 AS id, $1 AS w', '[0,1)', 'reload', window_column => 'w', pipeline => 'p');
INSERT INTO long (pipeline, window_range, state, target, source_schema, details)
SELECT 'p', int8range(i, i + 1), 'complete', 'tgt'::regclass, (SELECT source_schema FROM long), '{"time_zone": "UTC"}' FROM generate_series(1, 10000) i;
INSERT INTO long (pipeline, window_range, state) SELECT 'another', int8range(i, i + 1), 'complete' FROM generate_series(1, 10000) i;
CREATE FUNCTION pg_temp.rows_read(run text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE before bigint; after bigint; read CONSTANT text := 'SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = ''long''::regclass';
BEGIN
    EXECUTE read INTO before;
    EXECUTE run;
    EXECUTE read INTO after;
    RETURN after - before;
END $$;
SELECT cmp_ok(pg_temp.rows_read($$SELECT idem_load('long', 'tgt', 'SELECT $1 AS id, $1 AS w', '[10001,10002)', 'reload', window_column => 'w', pipeline => 'p')$$),
    '<', 200::bigint, 'a load reads some of ten thousand runs');
ANALYZE long;
SELECT cmp_ok(pg_temp.rows_read($$SELECT idem_load('long', 'tgt', 'SELECT $1 AS id, $1 AS w', '[10002,10003)', 'reload', window_column => 'w', pipeline => 'p')$$),
    '<', 200::bigint, 'also by statistics');
-- nor is every failure compared with every run, also where the planner believes that to read the table is cheaper
SET LOCAL random_page_cost = 10;
INSERT INTO long (pipeline, window_range, state, finished_at) SELECT 'p', int8range(20000 + i, 20001 + i), 'failed', now() - interval '1 day' FROM generate_series(1, 200) i;
ANALYZE long;
SELECT cmp_ok(pg_temp.rows_read($$SELECT idem_prune('long', '1 hour')$$), '<', 50000::bigint, 'history is pruned by reading it');
SELECT idem_create_pipeline('p', 'long', 'tgt', 'SELECT $1 AS id, $1 AS w, NULL AS lost', 'reload', NULL, 'w', '1', '1', watermark => 'SELECT 20300::bigint', enabled => false);
SELECT cmp_ok(pg_temp.rows_read($$SELECT * FROM idem_status WHERE failed_windows = 200$$), '<', 50000::bigint, 'so is the status told');

SELECT * FROM finish();
ROLLBACK;
