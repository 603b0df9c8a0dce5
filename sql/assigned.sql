-- A value that the target does not take: which column, and of which row
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY';
CREATE SCHEMA assigned; SET search_path = assigned, public;
\set SHOW_CONTEXT never
SELECT idem_create_ledger('led', 'int8range');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE t (id int, w int, s varchar(3), n numeric(4,2), i smallint, p positive, "A" varchar(2)[], h bigint GENERATED ALWAYS AS (w) STORED);
CREATE PROCEDURE load(what text, keys text[] DEFAULT '{id}', by text DEFAULT 'w') LANGUAGE plpgsql AS $$ DECLARE c text; h text; BEGIN
    PERFORM idem_load('led', 't', 'SELECT ' || what, '[0,10)', 'reload', keys => keys, window_column => by, pipeline => what);
    RAISE NOTICE 'loaded';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS c = PG_EXCEPTION_CONTEXT, h = PG_EXCEPTION_HINT;
    RAISE NOTICE E'% %\n%', SQLSTATE, SQLERRM, concat_ws(E'\n', split_part(c, E'\n', 1), NULLIF(h, ''));
END $$;
CALL load($$g AS id, g AS w, repeat('x', g) AS s FROM generate_series(1, 9) g$$);
CALL load($$g AS id, g AS w, 98 + g + 0.5 AS n FROM generate_series(1, 9) g$$);
CALL load($$g AS id, g AS w, g * 10000 AS i FROM generate_series(1, 9) g$$);
CALL load($$g AS id, g AS w, 5 - g AS p FROM generate_series(1, 9) g$$);
CALL load($$g AS id, g AS w, ARRAY['a', repeat('x', g)] AS "A" FROM generate_series(1, 9) g$$);
-- keys of several columns, or none: then all there is of the row, clipped
CALL load($$g AS id, g AS w, NULL AS p, repeat('y', g) AS s FROM generate_series(2, 9) g$$, '{id,w,p}');
CALL load($$g AS id, g AS w, repeat('y', g * 10) AS s FROM generate_series(2, 9) g$$, NULL);
-- a constant is assigned before a row is read; the conversions that are pinned; a generated window column
CALL load($$1 AS id, 1 AS w, 'long' AS s$$);
CALL load($$'one' AS id, 1 AS w$$);
CALL load($$g AS id, g AS w, g * 33.25::float8 AS s FROM generate_series(1, 9) g$$);
CALL load($$5::bigint * g * 1000000000 AS id, 1 AS w FROM generate_series(0, 9) g$$);
ALTER TABLE t ADD big int GENERATED ALWAYS AS (w * 1000000000) STORED;
CALL load($$g AS id, g + 5 AS w FROM generate_series(0, 9) g$$, NULL, 'big');
-- a cast of the user's; and an error that no value is to blame for, which names the column alone
CREATE TYPE kind AS (x int);
CREATE FUNCTION to_int(kind) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF $1.x > 1 THEN RAISE EXCEPTION 'no' USING ERRCODE = 'P0001'; END IF; RETURN $1.x; END $$;
CREATE CAST (kind AS int) WITH FUNCTION to_int(kind) AS ASSIGNMENT;
CREATE PROCEDURE load_cast() LANGUAGE plpgsql AS $$ DECLARE c text; BEGIN
    PERFORM idem_load('led', 't', 'SELECT g AS w, ROW(g)::assigned.kind AS id FROM generate_series(1, 9) g', '[0,10)', 'reload', keys => '{w}', window_column => 'w', pipeline => 'cast');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS c = PG_EXCEPTION_CONTEXT;
    RAISE NOTICE E'% %\n%', SQLSTATE, SQLERRM, substring(c FROM '\mcolumn[^\n]*');
END $$;
CALL load_cast();
CREATE OR REPLACE FUNCTION to_int(kind) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '53100'; END $$;
CALL load_cast();
-- the ledger has it too
CREATE TABLE u (id int PRIMARY KEY, s varchar(3));
CALL idem_load_window('led', 'u', 'SELECT g AS id, repeat(''x'', g) AS s FROM generate_series(1, 9) g', '[0,10)', 'upsert', keys => '{id}');
SELECT error_code, error_message, split_part(details->>'context', E'\n', 1) AS context FROM led WHERE state = 'failed';

-- each row is made under the same settings, whatever a cast of the user's has set for the one before
CREATE OR REPLACE FUNCTION to_int(kind) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    PERFORM set_config('DateStyle', 'German', false), set_config('IntervalStyle', 'postgres', false), set_config('TimeZone', 'Asia/Tokyo', true),
        set_config('extra_float_digits', '-9', false), set_config('bytea_output', 'escape', true), set_config('search_path', 'nowhere', false);
    RETURN $1.x; END $$;
CREATE TABLE made (id int PRIMARY KEY, k int, d text, i text, ts text, f text, b text, style text);
-- (not in parallel, where the server lets nobody change a setting)
SELECT count(set_config(name, 'off', false)) < 2 AS serial FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SET DateStyle = 'SQL, DMY';
DO $$ BEGIN PERFORM idem_load('led', 'made', $q$SELECT g AS id, date '2024-01-31' AS d, interval '1 day' AS i, timestamptz '2024-01-31 12:00+00' AS ts,
    0.1::float8 + 0.2 AS f, '\x00ff'::bytea AS b, ROW(g)::assigned.kind AS k, current_setting('DateStyle') AS style FROM generate_series(1, 600) g$q$, '[0,10)', 'upsert', keys => '{id}'); END $$;
SELECT d, i, ts, f, b, style, count(*), sum(k) FROM made GROUP BY 1, 2, 3, 4, 5, 6;
SHOW DateStyle; SHOW search_path;
SET DateStyle = 'ISO, MDY';
-- wide rows are made in smaller lots, and one that is outside of its window is shown as the session would
ALTER TABLE made ALTER id TYPE date USING '2024-01-01'::date + id;
DO $$ BEGIN PERFORM idem_load('led', 'made', $q$SELECT date '2024-01-01' + g AS id, g::float8 AS f, repeat('x', 10000) AS b FROM generate_series(1, 600) g$q$, '[0,10)', 'upsert', keys => '{id}', pipeline => 'wide'); END $$;
SELECT count(*), sum(length(b)) FROM made WHERE f = (id - '2024-01-01')::text;
SELECT idem_create_ledger('days', 'daterange');
SET DateStyle = 'German';
CALL idem_load_window('days', 'made', $$SELECT date '2024-01-01' + g AS id, g::float8 AS f FROM generate_series(1, 300) g$$, '[2024-01-01,2024-10-01)', 'reload', keys => '{id}', window_column => 'id');
SET DateStyle = 'ISO, MDY';

-- what to write where a value is not assigned at all
CREATE TYPE pair AS (a timestamp); CREATE TYPE zoned_pair AS (a timestamptz);
CREATE TABLE k (id int PRIMARY KEY, tz timestamptz[], ts timestamp[], d date[], ttz timetz, t time, r tstzrange, zp zoned_pair, n int, na int[], txt text);
CREATE PROCEDURE hint(what text) LANGUAGE plpgsql AS $$ DECLARE h text; n bigint; BEGIN
    EXECUTE 'SELECT count(*) FROM (SELECT ' || what || ') x' INTO n;
    PERFORM idem_load('led', 'k', 'SELECT 1 AS id, ' || what, '[0,10)', 'upsert', keys => '{id}', pipeline => what);
    RAISE NOTICE '% is taken', what;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT;
    RAISE NOTICE E'% %\n%', SQLSTATE, SQLERRM, h;
END $$;
CALL hint($$'{2024-01-01}'::timestamp[] AS tz$$);
CALL hint($$CASE WHEN tz IS NOT NULL THEN ARRAY(SELECT e AT TIME ZONE 'UTC' FROM unnest(tz) e) END AS tz FROM (SELECT '{2024-01-01}'::timestamp[] AS tz) x$$);
CALL hint($$'{2024-01-01}'::date[] AS tz$$);
CALL hint($$CASE WHEN tz IS NOT NULL THEN ARRAY(SELECT e::timestamp AT TIME ZONE 'UTC' FROM unnest(tz) e) END AS tz FROM (SELECT '{2024-01-01}'::date[] AS tz) x$$);
CALL hint($$'{2024-01-01}'::timestamptz[] AS ts$$);
CALL hint($$'{2024-01-01}'::timestamptz[] AS d$$);
CALL hint($$CASE WHEN d IS NOT NULL THEN ARRAY(SELECT (e AT TIME ZONE 'UTC')::date FROM unnest(d) e) END AS d FROM (SELECT '{2024-01-01}'::timestamptz[] AS d) x$$);
CALL hint($$'12:00'::time AS ttz$$);
CALL hint($$(ttz || '+00')::timetz AS ttz FROM (SELECT '12:00'::time AS ttz) x$$);
CALL hint($$'12:00+03'::timetz AS t$$);
CALL hint($$t::time AS t FROM (SELECT '12:00+03'::timetz AS t) x$$);
CALL hint($$tsrange('2024-01-01', '2024-01-02') AS r$$);
CALL hint($$ROW('2024-01-01')::assigned.pair AS zp$$);
CALL hint($$1 AS na$$);
CALL hint($$'{1}'::text[] AS na$$);
CALL hint($$na::integer[] AS na FROM (SELECT '{1}'::text[] AS na) x$$);
CALL hint($$'{1,2}'::money[] AS txt$$);
CALL hint($$txt::numeric[] AS txt FROM (SELECT '{1,2}'::money[] AS txt) x$$);
CALL hint($$'{pg_class}'::regclass[] AS txt$$);
