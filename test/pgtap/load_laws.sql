-- Run twice, in any order, with any overlap: the target is what one clean run leaves.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS idem CASCADE;
SELECT plan(14);

SELECT setseed(0.3);
SELECT idem_create_ledger('led', 'int8range');
CREATE TABLE src (id int, w int, v text, rev int);
INSERT INTO src SELECT i, (random() * 999)::int, md5(random()::text), 1 FROM generate_series(1, 3000) i;
CREATE TABLE up (id int PRIMARY KEY, w int, v text, rev int);
CREATE TABLE re (id int PRIMARY KEY, w int, v text, rev int);
CREATE TABLE bag (id int, w int, v text, rev int);

-- one random request, in the mode of the table
CREATE FUNCTION pg_temp.load(tbl regclass, lo int, hi int, force boolean DEFAULT false) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM idem_load('led', tbl, 'src', int8range(lo, hi)::text, CASE WHEN tbl = 'up'::regclass THEN 'upsert' ELSE 'reload' END,
        keys => CASE WHEN tbl <> 'bag'::regclass THEN '{id}'::text[] END, window_column => 'w', step => (1 + (random() * 200)::int)::text, force => force) $$;
CREATE FUNCTION pg_temp.random_loads(n int, force float8) RETURNS void LANGUAGE plpgsql AS $$
DECLARE lo int; t regclass;
BEGIN
    FOR i IN 1..n LOOP
        FOREACH t IN ARRAY '{up,re,bag}'::regclass[] LOOP
            lo := (random() * 900)::int;
            PERFORM pg_temp.load(t, lo, lo + 1 + (random() * 300)::int, random() < force);
        END LOOP;
    END LOOP;
    FOREACH t IN ARRAY '{up,re,bag}'::regclass[] LOOP
        PERFORM pg_temp.load(t, 0, 1000);
    END LOOP;
END $$;

SELECT pg_temp.random_loads(25, 0.2);
SELECT bag_eq('TABLE up', 'TABLE src', 'upsert of random overlapping windows');
SELECT bag_eq('TABLE re', 'TABLE src', 'reload with keys of random overlapping windows');
SELECT bag_eq('TABLE bag', 'TABLE src', 'reload without keys of random overlapping windows');
SELECT is(idem_coverage('led', p, '[0,1000)'), '{[0,1000)}', p || ' is complete')
FROM unnest('{public.up,public.re,public.bag}'::text[]) p;

-- again: nothing is read, nothing written
CREATE TEMP TABLE before AS SELECT 'up' AS t, ctid AS place, xmin AS writer FROM up UNION ALL SELECT 're', ctid, xmin FROM re UNION ALL SELECT 'bag', ctid, xmin FROM bag;
CREATE TEMP TABLE runs AS SELECT count(*) AS n FROM led;
SELECT pg_temp.random_loads(0, 0);
SELECT is((SELECT count(*) FROM led), (SELECT n FROM runs), 'a second run records nothing');
-- forced: with keys, everything is read and nothing written
SELECT pg_temp.load('up', 0, 1000, true) > 0 AS loaded;
SELECT pg_temp.load('re', 0, 1000, true) > 0 AS loaded;
SELECT set_eq($$SELECT 'up' AS t, ctid AS place, xmin AS writer FROM up UNION ALL SELECT 're', ctid, xmin FROM re$$, $$SELECT * FROM before WHERE t <> 'bag'$$,
    'a forced run of unchanged rows writes none');

-- the source changes in every way; forced loads follow it
UPDATE src SET v = 'new', rev = 2 WHERE random() < 0.1;
UPDATE src SET w = (w + 371) % 1000 WHERE random() < 0.1;
DELETE FROM src WHERE id % 17 = 0;
INSERT INTO src SELECT i, (random() * 999)::int, 'born', 1 FROM generate_series(4001, 4100) i;
SELECT pg_temp.load('up', 0, 1000, true) > 0 AS loaded;
SELECT pg_temp.load('re', 0, 1000, true) > 0 AS loaded;
SELECT pg_temp.load('bag', 0, 1000, true) > 0 AS loaded;
SELECT bag_eq('TABLE re', 'TABLE src', 'reload follows updates, moves between windows, deletes and inserts');
SELECT bag_eq('TABLE bag', 'TABLE src', 'reload without keys does too');
SELECT bag_eq('SELECT * FROM up WHERE id % 17 <> 0 OR id > 4000', 'TABLE src', 'upsert does too, but for deletes');

-- an upsert whose window no index finds goes by its keys: many windows do not each read the target
CREATE TABLE big (id int PRIMARY KEY, w int, v text);
CREATE FUNCTION pg_temp.rows_read(run text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE before bigint; after bigint; read CONSTANT text := 'SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = ''big''::regclass';
BEGIN
    EXECUTE read INTO before;
    EXECUTE run;
    EXECUTE read INTO after;
    RETURN after - before;
END $$;
CREATE FUNCTION pg_temp.load_big(first int) RETURNS text LANGUAGE sql AS $$
    SELECT format('SELECT count(*) FROM idem_load(''led'', ''big'', ''SELECT i AS id, i / 100 AS w, ''''v'''' AS v FROM generate_series(100 * $1, 100 * $2 - 1) i'',
        ''[%s,%s)'', ''upsert'', keys => ''{id}'', window_column => ''w'', step => ''1'', force => true)', first, first + 50) $$;
SELECT cmp_ok(pg_temp.rows_read(pg_temp.load_big(0)), '<', 5000::bigint, 'the first load of 50 windows of 100 rows reads none of them again');
INSERT INTO big SELECT i, i / 100, 'v' FROM generate_series(100000, 199999) i;
ANALYZE big;
SELECT cmp_ok(pg_temp.rows_read(pg_temp.load_big(50)), '<', 5000::bigint, 'nor does one of new rows into a large target');
UPDATE big SET v = 'old' WHERE w BETWEEN 75 AND 100;
SELECT cmp_ok(pg_temp.rows_read(pg_temp.load_big(75)), '<', 20000::bigint, 'and one of rows that are there reads those');

SELECT * FROM finish();
ROLLBACK;
