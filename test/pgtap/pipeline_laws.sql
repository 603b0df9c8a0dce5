-- What holds for pipelines, their status and their calendar, whatever was loaded.
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS idem CASCADE;
SELECT plan(21);

SELECT has_view('idem_status'); SELECT has_view('idem_progress');
SELECT setseed(0.3);
SELECT idem_create_ledger('led', 'int8range');
SELECT idem_create_ledger('tled');
CREATE TABLE src AS SELECT i::bigint AS id, 'v' || i AS v FROM generate_series(0, 999) i;
CREATE TABLE tgt (id bigint PRIMARY KEY, v text);
SELECT idem_create_pipeline('p', 'led', 'tgt', 'src', 'upsert', '{id}', 'id', '7', '0', watermark => 'SELECT 999::bigint');

-- whatever is complete already, and however it was cut, running a pipeline completes the rest
INSERT INTO led (pipeline, window_range, state) SELECT 'p', int8range(a, a + 1 + (random() * 20)::int), 'complete'
FROM (SELECT (random() * 900)::int AS a FROM generate_series(1, 30)) x ON CONFLICT DO NOTHING;
CREATE TEMP TABLE covered AS SELECT range_agg(window_range) AS m FROM led;
INSERT INTO tgt SELECT s.* FROM src s, covered c WHERE c.m @> s.id;
CREATE TEMP TABLE before AS SELECT * FROM idem_status;
SELECT is(gaps::int8multirange, idem_gaps('led', 'p', '[0,994)')::int8multirange, 'the status knows the gaps of the whole windows') FROM before;
SELECT is(complete_to::bigint, lower(gaps::int8multirange), 'it is complete up to the first gap') FROM before;
SELECT is_empty($$SELECT * FROM idem_test_all('p', '[0,140)', '3', '11') WHERE NOT ok$$, 'it is idempotent, as it says itself');
CALL idem_run_pipeline('p');
SELECT is(gaps, '{}', 'a run leaves no gap') FROM idem_status;
SELECT is(complete_to, '994', 'and is complete up to the last whole window') FROM idem_status;
SELECT is((SELECT count(*) FROM tgt), 994::bigint, 'the target has all of them');
SELECT is((SELECT count(*) FROM ((TABLE tgt EXCEPT TABLE src) UNION ALL (SELECT * FROM src WHERE id < 994 EXCEPT TABLE tgt)) d), 0::bigint, 'and no others');
SELECT is((SELECT count(*) FROM led l, covered WHERE state = 'complete' AND method IS NOT NULL AND NOT (int8multirange(window_range) * m = '{}')), 0::bigint,
    'nothing that was complete was loaded again');
SELECT is((SELECT count(*) FROM led WHERE method IS NOT NULL AND lower(window_range) / 7 <> (upper(window_range) - 1) / 7), 0::bigint, 'no run crosses a line of the grid');
CREATE TEMP TABLE runs AS SELECT count(*) AS n FROM led;
CALL idem_run_pipeline('p');
SELECT is((SELECT count(*) FROM led), n, 'a second run does nothing') FROM runs;

-- the calendar has a character for each window, and says what the ledger says
DELETE FROM led;
INSERT INTO led (pipeline, window_range, state) SELECT 'c', int8range(10 * i, 10 * i + 10), (ARRAY['complete', 'failed', 'superseded'])[1 + (random() * 2)::int]::idem_state FROM generate_series(0, 249) i;
CREATE TEMP TABLE calendar AS SELECT * FROM idem_calendar('led', 'c', '0', '3000', '10');
SELECT is((SELECT array_agg(length(windows)) FROM calendar), '{100,100,100}', 'a line for a hundred windows');
SELECT is((SELECT string_agg(windows, '' ORDER BY line::int) FROM calendar),
    (SELECT string_agg(coalesce(CASE l.state WHEN 'complete' THEN '#' WHEN 'failed' THEN '!' ELSE '.' END, '.'), '' ORDER BY i)
     FROM generate_series(0, 299) i LEFT JOIN led l ON l.window_range = int8range(10 * i, 10 * i + 10)), 'each window as the ledger has it');
SELECT is((SELECT count(*) FROM idem_calendar('led', 'c', '5', '5', '10')), 0::bigint, 'an empty calendar has no line');
SELECT is((SELECT windows FROM idem_calendar('led', 'c', '0', '1000', '1000')) IN ('+', '!'), true, 'a window that is partly complete says so');
SELECT is((SELECT array_agg(line || ' ' || length(windows)) FROM idem_calendar('tled', 'c', '2024-01-31', '2024-03-02', '1 day')), '{"2024-01 1","2024-02 29","2024-03 1"}', 'days are put into months');
SELECT is((SELECT array_agg(line || ' ' || length(windows)) FROM idem_calendar('tled', 'c', '2024-03-30 22:00', '2024-04-01', '1 hour')), '{"2024-03-30 2","2024-03-31 24"}', 'hours into days');
SELECT is((SELECT array_agg(line || ' ' || length(windows)) FROM idem_calendar('tled', 'c', timestamptz '2024-01-31' - interval '1 day', now() - now() + timestamptz '2024-02-02', '1 day')),
    '{"2024-01 2","2024-02 1"}', 'bounds may be computed');
-- many pipelines in many ledgers, more than are kept open or held in memory: each has its own row
SELECT count(idem_create_ledger('many' || i, 'int8range')) FROM generate_series(1, 70) i;
SELECT count(idem_create_pipeline(i || ' ' || j, ('many' || i)::regclass, 'tgt', 'src', 'upsert', '{id}', 'id', '1', '0', watermark => 'SELECT 999::bigint -- ' || repeat('x', 1000), enabled => false))
FROM generate_series(1, 70) i, generate_series(1, 3) j;
DO $$ BEGIN
    FOR i IN 1..70 LOOP
        EXECUTE format('INSERT INTO many%s (pipeline, window_range, state) SELECT %L || j, int8range(0, 10 * %s + j), ''complete'' FROM generate_series(1, 3) j', i, i || ' ', i);
    END LOOP;
END $$;
SET LOCAL work_mem = '64kB';
SELECT is(count(*), 210::bigint, 'each is complete as far as its own ledger says') FROM idem_status
WHERE pipeline ~ '^\d+ \d$' AND complete_to::int = 10 * split_part(pipeline, ' ', 1)::int + split_part(pipeline, ' ', 2)::int AND last_error IS NULL;
DROP TABLE many7;
SELECT set_eq($$SELECT pipeline, last_error FROM idem_status WHERE last_error IS NOT NULL$$,
    $$VALUES ('7 1', 'ledger of pipeline "7 1" has been dropped'), ('7 2', 'ledger of pipeline "7 2" has been dropped'), ('7 3', 'ledger of pipeline "7 3" has been dropped')$$,
    'an error is told of its own pipeline');

SELECT * FROM finish();
ROLLBACK;
