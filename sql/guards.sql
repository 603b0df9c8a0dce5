-- What a load must notice, whatever the plan, the view or another session does
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY';
CREATE SCHEMA guards; SET search_path = guards, public;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT idem_create_ledger('led'), idem_create_ledger('oled', 'int8range'), idem_create_ledger('dled', 'daterange'), idem_create_ledger('tled', 'tsrange');

-- a message names rows as the query does, whatever the top of its plan is
CREATE TABLE sa (a int, b date); INSERT INTO sa VALUES (1, '2024-06-01');
CREATE TABLE ta (id int PRIMARY KEY, d date NOT NULL, id2 int);
CREATE FUNCTION srf() RETURNS TABLE (x int, y date) LANGUAGE sql AS $$ SELECT a, b FROM guards.sa $$;
CREATE PROCEDURE row_of(source text, audit text DEFAULT NULL) LANGUAGE plpgsql AS $$ DECLARE d text; h text; BEGIN
    CALL idem_load_window('dled', 'ta', source, '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}', window_column => 'd', audit => audit);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
    RAISE WARNING '% % (%)', SQLSTATE, SQLERRM, d;
END $$;
CALL row_of('SELECT a AS id, b AS d FROM sa');
CALL row_of('SELECT a AS id, b AS d FROM sa UNION ALL SELECT a, b FROM sa');
CALL row_of('WITH w AS MATERIALIZED (SELECT a AS id, b AS d FROM sa) SELECT * FROM w');
CALL row_of('SELECT x AS id, y AS d FROM srf()');
CALL row_of($$SELECT v.x AS id, v.y AS d FROM (VALUES (1, date '2024-06-01'), (2, '2024-06-02')) v(x, y)$$);
CREATE TABLE swapped (id int, id2 int, d date); INSERT INTO swapped VALUES (1, 2, '2024-06-01');
CALL row_of('SELECT id2 AS id, id AS id2, d FROM swapped');
CALL row_of($$SELECT id2 AS id, id AS id2, date '2024-01-01' AS d FROM swapped UNION ALL SELECT id2, 7, '2024-01-01' FROM swapped$$);
SELECT set_config(name, 'regress', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
CALL row_of('SELECT id2 AS id, id AS id2, d FROM swapped');
SELECT set_config(name, 'off', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
CALL row_of('SELECT 1 AS id, $1 AS d', audit => 'SELECT id2 AS id, id AS id2 FROM swapped');
CALL row_of('SELECT 1 AS id, $1 AS d', audit => 'SELECT a AS id, b AS d FROM sa UNION ALL SELECT a, b FROM sa');

-- the checksum goes by the query's names too
CREATE TABLE sums (id int, id2 int, w int);
CREATE TABLE sums_src (id2 int, id int, w int); INSERT INTO sums_src VALUES (1, 2, 0);
CALL idem_load_window('oled', 'sums', 'SELECT id2 AS id, id AS id2, w FROM sums_src', '[0,1)', 'reload', window_column => 'w');
SELECT source_digest = (SELECT idem_digest(r) FROM sums r) AS same FROM oled WHERE pipeline = 'guards.sums';

-- every view on the way to the table must write through
CREATE TABLE tt (id int PRIMARY KEY, d date, v int);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE VIEW no_table AS SELECT date '2024-01-01' AS d, 1 AS id; CREATE VIEW over_no_table AS SELECT d, id FROM no_table;
CREATE VIEW joined AS SELECT sa.a AS id, ta.d FROM sa JOIN ta ON sa.a = ta.id; CREATE VIEW over_joined AS SELECT id, d FROM joined;
CREATE VIEW limited AS SELECT id, d FROM tt LIMIT 10; CREATE VIEW over_limited AS SELECT id, d FROM limited;
CREATE VIEW different AS SELECT DISTINCT id, d FROM tt; CREATE VIEW over_different AS SELECT id, d FROM different;
CREATE VIEW listed (id, d) AS VALUES (1, date '2024-01-01'); CREATE VIEW over_listed AS SELECT id, d FROM listed;
CREATE VIEW set_returning AS SELECT id, d, generate_series(1, 2) AS v FROM tt; CREATE VIEW over_set AS SELECT id, d FROM set_returning;
CREATE VIEW function AS SELECT x AS id, y AS d FROM srf(); CREATE VIEW over_function AS SELECT id, d FROM function;
CREATE VIEW instead AS SELECT id, d FROM tt; CREATE VIEW over_instead AS SELECT id, d FROM instead;
CREATE TRIGGER i INSTEAD OF INSERT ON instead FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE VIEW ruled AS SELECT id, d FROM tt; CREATE VIEW over_ruled AS SELECT id, d FROM ruled;
CREATE RULE r AS ON INSERT TO ruled DO INSTEAD NOTHING;
CREATE MATERIALIZED VIEW mat AS SELECT id, d FROM tt; CREATE VIEW over_mat AS SELECT id, d FROM mat;
CREATE TABLE mother (id int PRIMARY KEY, d date); CREATE TABLE daughter () INHERITS (mother); CREATE VIEW over_mother AS SELECT id, d FROM mother;
DO $$ DECLARE v text; d text; BEGIN
    FOREACH v IN ARRAY '{over_no_table,over_joined,over_limited,over_different,over_listed,over_set,over_function,over_instead,ruled,over_ruled,over_mat,over_mother}'::text[] LOOP
        BEGIN
            PERFORM idem_load('dled', v::regclass, 'SELECT 1 AS id, $1 AS d', '[2024-01-01,2024-01-02)', 'reload', window_column => 'd');
            RAISE WARNING '% was loaded', v;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
            RAISE WARNING '%: % % (%)', v, SQLSTATE, SQLERRM, d;
        END;
    END LOOP;
END $$;
CREATE VIEW guarded WITH (security_invoker) AS SELECT id, d FROM tt; CREATE VIEW over_guarded AS SELECT id, d FROM guarded;
CALL idem_load_window('dled', 'over_guarded', 'SELECT 1 AS id, $1 AS d', '[2024-01-01,2024-01-02)', 'reload', window_column => 'd');
SELECT * FROM tt;

-- columns that change places between two windows are noticed
CREATE TABLE places (id int PRIMARY KEY, a int, b int);
CREATE TABLE places_src AS SELECT i AS id, i AS a, -i AS b FROM generate_series(0, 19) i;
CREATE FUNCTION change_places() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    ALTER TABLE guards.places_src RENAME a TO c; ALTER TABLE guards.places_src RENAME b TO a; ALTER TABLE guards.places_src RENAME c TO b;
    RETURN NULL; END $$;
CREATE TRIGGER c AFTER INSERT ON places FOR EACH STATEMENT EXECUTE FUNCTION change_places();
CALL idem_load_window('oled', 'places', 'SELECT * FROM places_src WHERE id >= $1 AND id < $2', '[0,20)', 'reload', keys => '{id}', window_column => 'id', step => '10');
SELECT count(*), bool_and(a >= 0) FROM places;

-- a target that is another one after the source has run
CREATE TABLE turned (k numeric PRIMARY KEY, d date, v varchar(10));
CREATE PROCEDURE turn(command text) LANGUAGE plpgsql AS $$ DECLARE h text; BEGIN
    DELETE FROM turned; INSERT INTO turned (k, d) VALUES (1, '2024-01-01'), (2, '2024-01-01');
    EXECUTE format($f$CREATE OR REPLACE FUNCTION turn_it() RETURNS int LANGUAGE plpgsql AS $b$ BEGIN %s; RETURN 3; END $b$ $f$, command);
    PERFORM idem_load('dled', 'turned', 'SELECT turn_it() AS k, $1 AS d', '[2024-01-01,2024-01-02)', 'reload', keys => '{k}', window_column => 'd');
    RAISE WARNING 'loaded after %', command;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT;
    RAISE WARNING '% % (%)', SQLSTATE, SQLERRM, h;
END $$;
CALL turn('ALTER TABLE guards.turned ALTER k TYPE int');
CALL turn('ALTER TABLE guards.turned ALTER v TYPE varchar(5)');
CALL turn('ALTER TABLE guards.turned DROP v');
CALL turn('ALTER TABLE guards.turned ADD w int');
CALL turn('ALTER TABLE guards.turned RENAME v TO w');
CALL turn('DROP TABLE guards.turned');
SELECT count(*) FROM turned;
-- between two windows
CREATE TABLE turned2 (id bigint PRIMARY KEY, v text);
CREATE FUNCTION turn_between(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    IF i = 12 THEN ALTER TABLE guards.turned2 ALTER id TYPE int; END IF; RETURN i; END $$;
CALL idem_load_window('oled', 'turned2', 'SELECT turn_between(i::int) AS id FROM generate_series($1, $2 - 1) i', '[0,20)', 'reload', keys => '{id}', window_column => 'id', step => '10');
SELECT count(*) FROM turned2;

-- a generated window column
CREATE TABLE gw (id int PRIMARY KEY, raw timestamp, other int DEFAULT 1, ts timestamp GENERATED ALWAYS AS (raw) STORED);
CALL idem_load_window('tled', 'gw', $$SELECT 1 AS id, '2030-01-01'::timestamp AS raw$$, '[2024-01-01,2024-01-02)', 'reload', keys => '{id}', window_column => 'ts');
\echo :SQLSTATE
CALL idem_load_window('tled', 'gw', $$SELECT date '2024-01-03' AS raw, 1 AS id$$, '[2024-01-01,2024-01-02)', 'reload', window_column => 'ts');
CALL idem_load_window('tled', 'gw', $$SELECT NULL::timestamp AS raw, 1 AS id$$, '[2024-01-01,2024-01-02)', 'reload', window_column => 'ts');
CALL idem_load_window('tled', 'gw', $$SELECT 1 AS id$$, '[2024-01-01,2024-01-02)', 'reload', window_column => 'ts');
CALL idem_load_window('tled', 'gw', $$SELECT date '2024-01-01' AS raw, 1 AS id$$, '[2024-01-01,2024-01-02)', 'reload', window_column => 'ts');
SELECT * FROM gw;
CREATE VIEW gv AS SELECT ts AS w, raw AS r, id FROM gw;
CALL idem_load_window('tled', 'gv', $$SELECT 2 AS id, timestamp '2024-01-02' AS r$$, '[2024-01-02,2024-01-03)', 'reload', window_column => 'w');
CALL idem_load_window('tled', 'gv', $$SELECT 3 AS id, timestamp '2024-01-02' AS r$$, '[2024-01-03,2024-01-04)', 'reload', window_column => 'w');

-- column names that are also aliases in statements
CREATE TABLE ns (s text, d text, k text, ts date);
CALL idem_load_window('dled', 'ns', $$SELECT 'x' AS s, 'y' AS d, 'z' AS k, $1 AS ts UNION ALL SELECT 'x', 'y', 'z', $1$$, '[2024-01-01,2024-01-02)', 'reload', window_column => 'ts');
CALL idem_load_window('dled', 'ns', $$SELECT 'x' AS s, 'y' AS d, 'z' AS k, $1 AS ts UNION ALL SELECT 'x', 'y', 'z', $1$$, '[2024-01-01,2024-01-02)', 'reload', window_column => 'ts', force => true);
CREATE TABLE nk (s int, d int, here int, PRIMARY KEY (s, d));
CALL idem_load_window('oled', 'nk', 'SELECT i AS s, i AS d, i AS here FROM generate_series(0, 9) i', '[0,10)', 'upsert', keys => '{s,d}', window_column => 's');
CALL idem_load_window('oled', 'nk', 'SELECT i AS s, i AS d, -i AS here FROM generate_series(0, 8) i', '[0,10)', 'reload', keys => '{s,d}', window_column => 's', force => true);
SELECT count(*), sum(here) FROM nk;

-- conversions do not follow the session's settings
CREATE DOMAIN day AS date;
CREATE TABLE zoned (id int PRIMARY KEY, tz timestamptz, ts timestamp, d day, t time, ttz timetz, tzs timestamptz[], txt text, m text);
CREATE PROCEDURE convert(what text, zone text DEFAULT NULL) LANGUAGE plpgsql AS $$ DECLARE d text; h text; BEGIN
    PERFORM idem_load('oled', 'zoned', 'SELECT 1 AS id, ' || what, '[0,10)', 'reload', keys => '{id}', window_column => 'id', pipeline => what, force => true, time_zone => zone);
    RAISE WARNING 'loaded %', what;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
    RAISE WARNING E'% %\n%\n%', SQLSTATE, SQLERRM, d, h;
END $$;
CALL convert($$timestamp '2024-01-01' AS tz$$);
CALL convert($$date '2024-01-01' AS tz$$);
CALL convert($$timestamptz '2024-01-01' AS ts$$);
CALL convert($$timestamptz '2024-01-01' AS d$$);
CALL convert($$timestamptz '2024-01-01' AS t$$);
CALL convert($$time '12:00' AS ttz$$);
CALL convert($$'{2024-01-01}'::timestamp[] AS tzs$$);
CALL convert($$'12'::money AS m$$);
CALL convert($$'pg_class'::regclass AS m$$);
CALL convert($$'{pg_class}'::regclass[] AS m$$);
CALL convert($$date '2024-01-01' AS ts$$);
CALL convert($$timestamp '2024-01-01' AS tz$$, 'America/New_York');
SELECT tz FROM zoned;
CALL convert($$timestamp '2024-01-01' AS tz$$, 'Nowhere');
SET datestyle = 'SQL, DMY'; SET timezone = 'Asia/Tokyo'; SET intervalstyle = 'sql_standard'; SET extra_float_digits = -10; SET bytea_output = 'escape';
CALL convert($$timestamptz '2024-01-31 00:00+00' AS txt, interval '1 day 2 hours' AS m$$);
SELECT txt, m FROM zoned;
CALL convert($$0.1::float8 + 0.2 AS txt, '\x00ff'::bytea AS m$$);
SELECT txt, m FROM zoned;
SHOW datestyle; SHOW timezone;
SET datestyle = 'ISO, MDY'; SET timezone = 'UTC'; RESET intervalstyle; RESET extra_float_digits; RESET bytea_output;

-- why the index that is there does not serve, and what can be done
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE a1 (id int PRIMARY KEY DEFERRABLE, k text NOT NULL, n int, p int NOT NULL, e int NOT NULL, j jsonb);
CREATE UNIQUE INDEX a1_k ON a1 (k COLLATE ci); CREATE UNIQUE INDEX a1_n ON a1 (n);
CREATE UNIQUE INDEX a1_p ON a1 (p) WHERE p > 0; CREATE UNIQUE INDEX a1_e ON a1 ((e + 1));
DO $$ DECLARE k text; d text; h text; BEGIN
    FOREACH k IN ARRAY '{id,k,n,p}'::text[] LOOP
        BEGIN
            PERFORM idem_load('oled', 'a1', 'SELECT 1 AS ' || k, '[0,10)', 'upsert', keys => ARRAY[k]);
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
            RAISE WARNING E'% %\n%\n%', SQLSTATE, SQLERRM, d, h;
        END;
    END LOOP;
END $$;
DROP INDEX a1_p, a1_n, a1_k;
CALL idem_load_window('oled', 'a1', 'SELECT 1 AS id, 1 AS e, 1 AS p, ''k'' AS k', '[0,10)', 'upsert', keys => '{e}');
CREATE UNIQUE INDEX a1_pattern ON a1 (k text_pattern_ops);
CALL idem_load_window('oled', 'a1', 'SELECT 1 AS id, 1 AS e, 1 AS p, ''k'' AS k', '[0,10)', 'upsert', keys => '{k}');
CREATE TABLE e1 (id int, ts date) PARTITION BY RANGE (ts);
CALL idem_load_window('dled', 'e1', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}', window_column => 'ts');
CREATE TABLE n1 (id int PRIMARY KEY, ts numeric);
CALL idem_load_window('dled', 'n1', 'SELECT 1 AS id, 1 AS ts', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}', window_column => 'ts');

-- an index beside the right one, by which other keys are equal, objects by itself
CREATE TABLE a2 (k text NOT NULL, v int); CREATE UNIQUE INDEX a2_ci ON a2 (k COLLATE ci); CREATE UNIQUE INDEX a2_k ON a2 (k);
CREATE VIEW a2v AS SELECT v AS x, k AS y FROM a2;
CALL idem_load_window('oled', 'a2v', $$SELECT 'a' AS y, 1 AS x$$, '[0,10)', 'upsert', keys => '{y}');
CALL idem_load_window('oled', 'a2', $$SELECT 'A' AS k, 2 AS v$$, '[0,10)', 'upsert', keys => '{k}');
\echo :SQLSTATE
CALL idem_load_window('oled', 'a2', $$SELECT 'a' AS k, 3 AS v UNION ALL SELECT 'b' || i, i FROM generate_series(1, 100) i$$, '[0,10)', 'upsert', keys => '{k}');
SELECT count(*), sum(v) FROM a2 WHERE k IN ('a', 'b1', 'b100');
CREATE OPERATOR CLASS a2_ops FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 3 =, OPERATOR 5 >, FUNCTION 1 btint4cmp(int, int);
CREATE TABLE a3 (i int PRIMARY KEY, v int); CREATE UNIQUE INDEX ON a3 (i a2_ops);
CALL idem_load_window('oled', 'a3', 'SELECT 1 AS i, 1 AS v', '[0,10)', 'upsert', keys => '{i}');
CALL idem_load_window('oled', 'a3', 'SELECT 1 AS i, 2 AS v', '[0,10)', 'upsert', keys => '{i}', force => true);
TABLE a3;

-- columns that cannot be what they are named as, or must not be left out
CREATE DOMAIN given AS int NOT NULL; CREATE DOMAIN given_too AS given; CREATE DOMAIN made AS int NOT NULL DEFAULT 3;
CREATE TABLE fit (id int PRIMARY KEY, x xid, xs xid[], g int GENERATED ALWAYS AS (id) STORED, q made NOT NULL, r given_too);
CREATE PROCEDURE fit(source text, keys text[], version_column text DEFAULT NULL, window_column text DEFAULT 'id') LANGUAGE plpgsql AS $$ DECLARE d text; h text; BEGIN
    PERFORM idem_load('oled', 'fit', source, '[0,10)', 'reload', keys => keys, window_column => window_column, version_column => version_column);
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
    RAISE WARNING E'% %\n%\n%', SQLSTATE, SQLERRM, d, h;
END $$;
CALL fit('SELECT 1 AS id', '{x}');
CALL fit('SELECT 1 AS id', '{xs}');
CALL fit('SELECT 1 AS id', '{g}');
CALL fit('SELECT 1 AS id', '{id}', 'g');
CALL fit('SELECT 1 AS id', '{id}', 'x');
CALL fit('SELECT 1 AS id', '{id}');
CALL idem_load_window('oled', 'fit', 'SELECT 1 AS id, 2 AS r', '[0,10)', 'upsert', keys => '{id}');
SELECT id, q, r FROM fit;
CREATE TABLE fit2 (w int, g int GENERATED ALWAYS AS (w) STORED);
CALL idem_load_window('oled', 'fit2', 'SELECT 1 AS g', '[0,10)', 'reload', window_column => 'g');
\echo :SQLSTATE

-- a source that loses a column of the target does not empty it
CREATE TABLE lc (id int, ts date, v text, "W" int DEFAULT 1);
CREATE TABLE lcs AS SELECT i AS id, date '2024-01-01' AS ts, 'x' AS v FROM generate_series(1, 3) i;
CALL idem_load_window('dled', 'lc', 'SELECT * FROM lcs', '[2024-01-01,2024-01-02)', 'reload', window_column => 'ts');
SELECT source_schema FROM dled WHERE pipeline = 'guards.lc';
ALTER TABLE lcs DROP v;
CALL idem_load_window('dled', 'lc', 'SELECT * FROM lcs', '[2024-01-01,2024-01-02)', 'reload', window_column => 'ts', force => true);
\echo :SQLSTATE
CALL idem_load_window('dled', 'lc', 'lcs', '[2024-01-02,2024-01-03)', 'reload', window_column => 'ts');
SELECT count(v) FROM lc;
CALL idem_load_window('dled', 'lc', 'SELECT *, NULL AS v, 2 AS "W" FROM lcs', '[2024-01-01,2024-01-02)', 'reload', window_column => 'ts', force => true);
CALL idem_load_window('dled', 'lc', 'SELECT *, NULL AS v FROM lcs', '[2024-01-01,2024-01-02)', 'reload', window_column => 'ts', force => true);
ALTER TABLE lc DROP "W";
CALL idem_load_window('dled', 'lc', 'SELECT *, NULL AS v FROM lcs', '[2024-01-01,2024-01-02)', 'reload', window_column => 'ts', force => true);

-- nor in a database that was restored, where the ledger's OIDs are others
ALTER TABLE lcs ADD v text;
CALL idem_load_window('dled', 'lc', 'SELECT * FROM lcs', '[2024-01-01,2024-01-02)', 'reload', window_column => 'ts', force => true);
ALTER TABLE lcs DROP v;
UPDATE dled SET target = target::bigint + 1, database_oid = 1 WHERE pipeline = 'guards.lc';
CALL idem_load_window('dled', 'lc', 'SELECT * FROM lcs', '[2024-01-01,2024-01-02)', 'reload', window_column => 'ts', force => true);
UPDATE dled SET target_name = 'guards.another' WHERE pipeline = 'guards.lc';
CALL idem_load_window('dled', 'lc', 'SELECT * FROM lcs', '[2024-01-01,2024-01-02)', 'reload', window_column => 'ts', force => true);

-- a ledger is not the target of its own load, by itself or behind a view
CREATE VIEW over_led AS SELECT * FROM dled;
CALL idem_load_window('dled', 'dled', 'SELECT 1::bigint AS run_id', '[2024-01-01,2024-01-02)', 'upsert', keys => '{run_id}');
CALL idem_load_window('dled', 'over_led', 'SELECT 1::bigint AS run_id', '[2024-01-01,2024-01-02)', 'upsert', keys => '{run_id}');
