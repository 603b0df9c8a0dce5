-- What holds for the pieces of any window, on grids near the ends of their types, at
-- changes of the clock and at the ends of months; and for what a load of many keeps.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS idem CASCADE;
SELECT plan(15);

SELECT setseed(0.3);
SELECT idem_create_ledger('offsets', 'int8range'), idem_create_ledger('moments'), idem_create_ledger('clocks', 'tsrange'), idem_create_ledger('days', 'daterange');
CREATE TABLE sink (id int PRIMARY KEY);

-- offsets: 2^53, 1.5e18, and the ends
CREATE TEMP TABLE cut (origin bigint, step bigint, r int8range, pieces int8range[]);
INSERT INTO cut
SELECT lower(r), step, r, ARRAY(SELECT loaded_range::int8range FROM idem_load('offsets', 'sink', 'SELECT 1 AS id WHERE false', r::text, 'upsert', '{id}', step => step::text, pipeline => 'p' || row_number))
FROM (SELECT *, row_number() OVER () FROM (SELECT (1 + random() * 1000)::bigint AS step,
        int8range(a, (a::numeric + least(1 + (random() * 20000)::bigint, 9223372036854775807 - a::numeric))::bigint) AS r
    FROM (SELECT (base + (random() * 2000)::int - 1000)::bigint AS a
          FROM unnest('{9007199254740992,-9007199254740992,1500000000000000000,9223372036854774000,-9223372036854774808,0}'::numeric[]) AS base, generate_series(1, 10)) x) y) z;
SELECT is(count(*), 60::bigint, 'all windows are cut') FROM cut WHERE cardinality(pieces) > 0;
SELECT is(count(*), 0::bigint, 'no piece of offsets is longer than a step, or empty')
FROM cut, unnest(pieces) AS p WHERE upper(p)::numeric - lower(p) NOT BETWEEN 1 AND step;
SELECT is(count(*), 0::bigint, 'pieces of offsets make up the request')
FROM cut WHERE (SELECT range_agg(p) FROM unnest(pieces) AS p) <> int8multirange(r);
SELECT is(count(*), 0::bigint, 'pieces of offsets begin on lines of the grid')
FROM cut, unnest(pieces) AS p WHERE (lower(p)::numeric - origin) % step <> 0;
SELECT is(count(*), 0::bigint, 'there are as many as there are lines')
FROM cut WHERE cardinality(pieces) <> ceil((upper(r)::numeric - lower(r)) / step);

-- times: every zone and step, by what the server adds to the origin
CREATE TEMP TABLE times (zone text, step interval, r tstzrange, n bigint, p tstzrange);
DO $$
DECLARE z text; s interval; a timestamptz; r tstzrange; i int := 0;
BEGIN
    FOREACH z IN ARRAY '{UTC,Europe/Berlin,America/St_Johns,Australia/Lord_Howe,Pacific/Apia,Africa/Casablanca}'::text[] LOOP
        PERFORM set_config('TimeZone', z, true);
        FOREACH s IN ARRAY '{1 day,1 month,1 hour,30 minutes,7 days,1 day 1 hour,1 month 3 days,1 year,49 hours}'::interval[] LOOP
            FOREACH a IN ARRAY ARRAY['2024-01-31 00:00', '2024-03-30 02:30', '2024-10-26 02:30', '2011-12-28 00:00', '2024-02-29 12:00', '294276-12-28 00:00', '1883-11-17 00:00']::timestamptz[] LOOP
                i := i + 1;
                r := tstzrange(a, CASE WHEN a < '9999-01-01' THEN a + s * 5 + interval '11 minutes' ELSE '294276-12-30 09:00+00' END);
                INSERT INTO times
                SELECT z, s, r, row_number() OVER (), loaded_range::tstzrange
                FROM idem_load('moments', 'sink', 'SELECT 1 AS id WHERE false', r::text, 'upsert', '{id}', step => s::text, pipeline => 'p' || i);
            END LOOP;
        END LOOP;
    END LOOP;
END $$;
SELECT is(count(*), 0::bigint, 'pieces of time make up the request')
FROM (SELECT zone, step, r, range_agg(p) AS whole FROM times GROUP BY 1, 2, 3) x WHERE whole <> tstzmultirange(r);
CREATE FUNCTION pg_temp.line(zone text, origin timestamptz, step interval, n bigint) RETURNS timestamptz LANGUAGE plpgsql AS
$$ BEGIN PERFORM set_config('TimeZone', zone, true); RETURN origin + step * n; EXCEPTION WHEN datetime_field_overflow THEN RETURN 'infinity'; END $$;
SELECT is(count(*), 0::bigint, 'every piece of time lies between two lines of the grid')
FROM times WHERE NOT EXISTS (SELECT FROM generate_series(n - 1, n + 1) AS k
    WHERE lower(p) = pg_temp.line(zone, lower(r), step, k) AND upper(p) = least(upper(r), pg_temp.line(zone, lower(r), step, k + 1)));
SET LOCAL TimeZone = 'UTC';

-- dates and local times, to the last of them
SELECT is(array_agg(loaded_range ORDER BY loaded_range::daterange), '{"[5874897-10-31,5874897-11-30)","[5874897-11-30,5874897-12-31)"}', 'months of dates up to the last')
FROM idem_load('days', 'sink', 'SELECT 1 AS id WHERE false', '[5874897-10-31,5874897-12-31)', 'upsert', '{id}', step => '1 month', pipeline => 'end');
SELECT is(count(*), 30::bigint, 'days of dates up to the last')
FROM idem_load('days', 'sink', 'SELECT 1 AS id WHERE false', '[5874897-12-01,5874897-12-31)', 'upsert', '{id}', step => '1 day', pipeline => 'days');
SELECT is(array_agg(loaded_range ORDER BY loaded_range::tsrange), '{"[\"294276-11-30 00:00:00\",\"294276-12-30 00:00:00\")","[\"294276-12-30 00:00:00\",\"294276-12-31 23:00:00\")"}', 'months of local times up to the last')
FROM idem_load('clocks', 'sink', 'SELECT 1 AS id WHERE false', '[294276-11-30,294276-12-31 23:00)', 'upsert', '{id}', step => '1 month', pipeline => 'end');

-- a watermark that knows no bounds
SELECT idem_create_pipeline('endless', 'moments', 'sink', 'SELECT 1 AS id WHERE false', 'upsert', '{id}', step => '1000 years', start => '2000-01-01', watermark => $$SELECT timestamptz 'infinity'$$);
CALL idem_run_pipeline('endless');
SELECT is(count(*), 292::bigint, 'a watermark of infinity is the end of the grid') FROM moments WHERE pipeline = 'endless';

-- a lag longer than time: nothing is due, whatever the time zone
SET LOCAL TimeZone = 'America/New_York';
SELECT idem_create_pipeline('late', 'days', 'sink', 'SELECT 1 AS id WHERE false', 'upsert', '{id}', step => '1 day', start => '2024-01-01', lag => '300000 years');
CALL idem_run_pipeline('late');
SELECT is(count(*), 0::bigint, 'with a lag longer than time nothing is due') FROM days WHERE pipeline = 'late';

-- a step without an end, which servers have from 17 on
SELECT throws_matching($$SELECT idem_calendar('days', 'p', '2024-01-01', '2024-01-02', 'infinity')$$, 'step must be finite|invalid value for argument step', 'a step has an end');

-- progress and the calendar count pieces without making them
SELECT throws_ok($$SELECT idem_calendar('offsets', 'p', '-9223372036854775808', '9223372036854775807', '1')$$, '54000', NULL, 'a calendar too long is refused');
SELECT lives_ok($$SELECT idem_calendar('offsets', 'p', '-9223372036854775808', '9223372036854775807', '9223372036854775807')$$, 'and one that is not is shown, however wide');

SELECT * FROM finish();
ROLLBACK;
