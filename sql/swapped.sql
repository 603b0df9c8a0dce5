-- What is looked up before code of others has run may be something else afterwards: here such code swaps what it can
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY';
CREATE SCHEMA swapped; SET search_path = swapped, public;
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT idem_create_ledger('led', 'int8range');
CREATE TABLE switch (is_on boolean); INSERT INTO switch VALUES (true);
-- does something once, at row 5; and says of itself that it only reads
CREATE FUNCTION act(i bigint, what text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    IF i = 5 AND (SELECT is_on FROM swapped.switch) THEN
        UPDATE swapped.switch SET is_on = false;
        EXECUTE what;
    END IF;
    RETURN 'y';
END $$;
CREATE FUNCTION quiet(i bigint, what text) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (SELECT swapped.act(i, what)); END $$;
CREATE FUNCTION arm() RETURNS void LANGUAGE sql AS 'UPDATE swapped.switch SET is_on = true';

-- the target of a first load, whose rows are written as they come
SET idem.force_statements = off;
CREATE TABLE streamed (k bigint PRIMARY KEY, v text);
CALL idem_load_window('led', 'streamed', $$SELECT i AS k, swapped.quiet(i, 'ALTER TABLE swapped.streamed ALTER k TYPE text') AS v FROM generate_series(1::bigint, 500) i$$, '[0,1000)', 'reload', keys => '{k}', window_column => 'k');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM streamed;
-- later than its first rows the server does not let it
CALL idem_load_window('led', 'streamed', $$SELECT i AS k, swapped.quiet(i - 400, 'ALTER TABLE swapped.streamed ALTER k TYPE text') AS v FROM generate_series(1::bigint, 500) i$$, '[0,1000)', 'reload', keys => '{k}', window_column => 'k');
\echo :LAST_ERROR_SQLSTATE
-- a source that puts rows into its own window leaves none of them there, streamed or not
CREATE TABLE filled (k bigint, v text);
SELECT arm();
CALL idem_load_window('led', 'filled', $$SELECT i AS k, swapped.quiet(i, 'INSERT INTO swapped.filled VALUES (999, ''surplus'')') AS v FROM generate_series(1::bigint, 200) i$$, '[0,1000)', 'reload', window_column => 'k');
SELECT count(*), count(*) FILTER (WHERE v <> 'y') FROM filled;
SELECT arm();
CALL idem_load_window('led', 'filled', $$SELECT i AS k, swapped.quiet(i - 1100, 'INSERT INTO swapped.filled VALUES (1999, ''surplus'')') AS v FROM generate_series(1001::bigint, 1200) i$$, '[1000,2000)', 'reload', window_column => 'k');
SELECT count(*), count(*) FILTER (WHERE v <> 'y') FROM filled;

RESET idem.force_statements;
-- the target of a check, with keys and without
CREATE TABLE checked (k bigint PRIMARY KEY, w bigint, v text);
CREATE TABLE bag (k bigint, w bigint, v text);
CALL idem_load_window('led', 'checked', 'SELECT i AS k, i AS w, ''y'' AS v FROM generate_series($1, $2 - 1) i', '[0,20)', 'reload', keys => '{k}', window_column => 'w');
CALL idem_load_window('led', 'bag', 'SELECT i AS k, i AS w, ''y'' AS v FROM generate_series($1, $2 - 1) i', '[0,20)', 'reload', window_column => 'w');
SELECT arm();
SELECT result FROM idem_check_load('led', 'checked', $$SELECT i AS k, i AS w, swapped.quiet(i, 'ALTER TABLE swapped.checked ALTER v TYPE bigint USING 77') AS v FROM generate_series($1, $2 - 1) i$$, '[0,20)', 'reload', keys => '{k}', window_column => 'w');
\echo :LAST_ERROR_SQLSTATE
SELECT arm();
SELECT result FROM idem_check_load('led', 'bag', $$SELECT i AS k, i AS w, swapped.quiet(i, 'ALTER TABLE swapped.bag ALTER v TYPE bigint USING 77') AS v FROM generate_series($1, $2 - 1) i$$, '[0,20)', 'reload', window_column => 'w');
\echo :LAST_ERROR_SQLSTATE

-- a view that a trigger of its table replaces: settled by key
CREATE TABLE base (k text PRIMARY KEY, w bigint, v text); CREATE VIEW seen AS SELECT * FROM base;
CREATE TABLE rows AS SELECT i::text AS k, i::bigint AS w, 'y' AS v FROM generate_series(1, 200) i;
CALL idem_load_window('led', 'seen', 'SELECT * FROM rows', '[0,1000)', 'reload', keys => '{k}', window_column => 'w');
CREATE FUNCTION swap_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM swapped.act(5, 'DROP VIEW swapped.seen; CREATE VIEW swapped.seen AS SELECT k::name AS k, w, v FROM swapped.base; INSERT INTO swapped.base VALUES (repeat(''z'', 60), 1, ''surplus'')');
    RETURN NEW;
END $$;
CREATE TRIGGER swap BEFORE UPDATE ON base FOR EACH ROW EXECUTE FUNCTION swap_key();
UPDATE rows SET v = 'z' WHERE k = '5';
SELECT arm();
CALL idem_load_window('led', 'seen', 'SELECT * FROM rows', '[0,1000)', 'reload', keys => '{k}', window_column => 'w', force => true);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*), count(*) FILTER (WHERE v <> 'y') FROM base;
-- without keys, where the trigger keeps a row
CREATE TABLE base2 (k bigint, w bigint, v text); CREATE VIEW seen2 AS SELECT * FROM base2;
CALL idem_load_window('led', 'seen2', 'SELECT w AS k, w, v FROM rows', '[0,1000)', 'reload', window_column => 'w');
CREATE FUNCTION swap_value() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NOT (SELECT is_on FROM swapped.switch) THEN RETURN OLD; END IF;
    PERFORM swapped.act(5, 'DROP VIEW swapped.seen2; CREATE VIEW swapped.seen2 AS SELECT k, w, 77::bigint AS v FROM swapped.base2');
    RETURN NULL;
END $$;
CREATE TRIGGER swap BEFORE DELETE ON base2 FOR EACH ROW EXECUTE FUNCTION swap_value();
SELECT arm();
CALL idem_load_window('led', 'seen2', 'SELECT w AS k, w, ''x'' AS v FROM rows', '[0,1000)', 'reload', window_column => 'w', force => true);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM base2;

-- a monitor in the schema of somebody else, whose pipeline makes another of its name while it is checked
CREATE ROLE regress_mallory;
CREATE SCHEMA regress_mallory AUTHORIZATION regress_mallory;
SET SESSION AUTHORIZATION regress_mallory;
SET search_path = regress_mallory, public;
SELECT idem_create_ledger('led', 'int8range');
CREATE TABLE tgt (k bigint PRIMARY KEY, v text);
CREATE TABLE ran (who text);
CREATE FUNCTION swap(i bigint) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    IF i = 5 AND to_regclass('regress_mallory.mon') IS NOT NULL THEN
        DROP TABLE regress_mallory.mon, regress_mallory.mon_alerts;
        PERFORM public.idem_create_monitor('regress_mallory.mon');
        GRANT ALL ON regress_mallory.mon, regress_mallory.mon_alerts, regress_mallory.mon_check_id_seq TO PUBLIC;
        CREATE TRIGGER run BEFORE INSERT ON regress_mallory.mon FOR EACH ROW EXECUTE FUNCTION regress_mallory.run();
    END IF;
    RETURN 'y';
END $$;
CREATE FUNCTION run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE WARNING 'mallory''s trigger runs as %', CASE WHEN current_user = 'regress_mallory' THEN 'mallory' ELSE 'another' END;
    RETURN NEW;
END $$;
SELECT idem_create_pipeline('regress_mallory', 'led', 'tgt', 'SELECT i AS k, regress_mallory.swap(i) AS v FROM generate_series($1, $2 - 1) i', 'reload', '{k}', 'k', step => '10', start => '0', watermark => 'SELECT 20::bigint', enabled => false);
CALL idem_run_pipeline('regress_mallory');
RESET SESSION AUTHORIZATION;
SELECT idem_create_monitor('regress_mallory.mon');
CALL idem_reconcile('regress_mallory.mon', 'regress_mallory');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM regress_mallory.mon;
SET client_min_messages = warning;
SELECT idem_drop_pipeline('regress_mallory');
DROP SCHEMA regress_mallory CASCADE;
DROP ROLE regress_mallory;

-- the alerts of a monitor, by a policy that is run when they are read
SET search_path = swapped, public;
SELECT idem_create_monitor('watched');
INSERT INTO watched_alerts (pipeline, kind, windows) VALUES ('p', 'missing', '{}');
CREATE FUNCTION swap_alerts() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    ALTER TABLE swapped.watched_alerts RENAME TO others;
    EXECUTE 'CREATE VIEW swapped.watched_alerts AS SELECT 1::bigint AS alert_id, 4711::bigint AS pipeline, 1::bigint AS kind, 1::bigint AS windows, 1::bigint AS value, 1::bigint AS times,
        now() AS opened_at, now() AS last_seen_at, now() AS snoozed_until, now() AS closed_at, 1::bigint AS acknowledged_by';
    RETURN true;
END $$;
CREATE POLICY swap ON watched_alerts USING (swapped.swap_alerts());
CREATE ROLE regress_mallory;
GRANT ALL ON SCHEMA swapped TO regress_mallory;
ALTER TABLE watched OWNER TO regress_mallory; ALTER TABLE watched_alerts OWNER TO regress_mallory;
ALTER TABLE watched_alerts ENABLE ROW LEVEL SECURITY; ALTER TABLE watched_alerts FORCE ROW LEVEL SECURITY;
SELECT length(idem_report('watched'));
\echo :LAST_ERROR_SQLSTATE
DROP TABLE IF EXISTS watched, others, watched_alerts CASCADE;
REVOKE ALL ON SCHEMA swapped FROM regress_mallory;
DROP ROLE regress_mallory;

-- a cast fails of a row of which not all is loaded: the message names the key
CREATE TABLE narrow (id int PRIMARY KEY, w bigint, x int);
CALL idem_load_window('led', 'narrow', 'SELECT 1 AS id, $1 AS w, 99999999999::bigint AS x, 1 AS more', '[0,10)', 'reload', keys => '{id}', window_column => 'w', on_schema_change => 'ignore');
SELECT idem_create_pipeline('narrow', 'led', 'narrow', 'SELECT 1 AS id, $1 AS w, 9::bigint AS x, 1 AS more', 'reload', '{id}', 'w', step => '10', start => '0', watermark => 'SELECT 10::bigint', on_schema_change => 'ignore', enabled => false);
CALL idem_run_pipeline('narrow');
SELECT idem_alter_pipeline('narrow', source => 'SELECT 1 AS id, $1 AS w, 99999999999::bigint AS x, 1 AS more');
SELECT result FROM idem_check('narrow', '[0,10)');
SELECT idem_drop_pipeline('narrow');
