-- Pipelines: definitions, what is due, failures and retries, what can be seen
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY';
CREATE SCHEMA pipes; SET search_path = pipes, public;
SELECT idem_create_ledger('led', 'int8range'), idem_create_ledger('tled');
CREATE TABLE src (id bigint, v text);
INSERT INTO src SELECT i, 'v' || i FROM generate_series(0, 99) i;
CREATE TABLE tgt (id bigint PRIMARY KEY, v text CHECK (v <> 'bad'));
CREATE VIEW runs AS SELECT run_id, window_range, state, attempt, source_rows, inserted_rows, error_code, COALESCE(blocked, false) AS blocked,
    next_attempt_at IS NOT NULL AS postponed FROM led;

-- the least there can be
SELECT idem_create_pipeline('offsets', 'led', 'tgt', 'src', 'upsert', '{id}', 'id', step => '10', start => '0', watermark => 'SELECT max(id) FROM src');
SELECT name, owner = current_user::regrole AS mine, ledger, target, source, mode, keys, step, start, time_zone, search_path, max_windows, retry_base, retry_max,
    max_attempts, enabled FROM idem_pipeline;
SELECT pipeline, state, complete_to, gaps, failed_windows, blocked_windows, last_error, lag, waiting_for FROM idem_status;
CALL idem_run_pipeline('offsets');
CALL idem_run_pipeline('offsets');
-- the last window is not full yet: it is loaded when the watermark has passed its end
INSERT INTO src SELECT i, 'v' || i FROM generate_series(100, 108) i;
CALL idem_run_pipeline('offsets');
INSERT INTO src VALUES (109, 'v109');
CALL idem_run_pipeline('offsets');
SELECT pipeline, state, complete_to, gaps, failed_windows FROM idem_status;
-- a window of it, by its name
CALL idem_load_window(pipeline => 'offsets', window_range => '[100,120)');
CALL idem_load_window('offsets', '[0,20)', force => true);
CALL idem_load_window('offsets', int8range(0, 5));
CALL idem_load_window('offsets', '[-5,5)');
BEGIN; CALL idem_load_window('offsets', '[0,20)', true, 'error'); ROLLBACK;
SELECT count(*), count(DISTINCT id) FROM tgt;

-- a window that fails is postponed, the others go on
UPDATE src SET v = 'bad' WHERE id = 25;
INSERT INTO src SELECT i, 'v' || i FROM generate_series(110, 129) i;
SELECT idem_invalidate('led', 'offsets', '[20,40)');
SELECT idem_alter_pipeline('offsets', max_attempts => 3, retry_base => '1 hour');
CALL idem_run_pipeline('offsets');
SELECT window_range, state, attempt, error_code, blocked, postponed FROM runs WHERE run_id > (SELECT max(run_id) - 4 FROM led) ORDER BY run_id;
SELECT state, complete_to, gaps, failed_windows, blocked_windows, last_error FROM idem_status;
CALL idem_run_pipeline('offsets');
-- after so many attempts it is blocked until somebody says otherwise
CALL idem_run_pipeline('offsets');
CALL idem_run_pipeline('offsets');
SELECT window_range, state, attempt, error_code, blocked, postponed FROM runs WHERE state = 'failed' ORDER BY run_id;
SELECT failed_windows, blocked_windows FROM idem_status;
SELECT * FROM idem_calendar('led', 'offsets', '0', '150', '10');
UPDATE src SET v = 'good' WHERE id = 25;
SELECT idem_retry('offsets', '[20,30)');
SELECT idem_retry('offsets');
CALL idem_run_pipeline('offsets');
SELECT gaps, failed_windows, blocked_windows, last_error FROM idem_status;
SELECT window_range, state, attempt FROM runs WHERE window_range && '[20,30)' ORDER BY run_id;

-- in a read-only transaction nothing is done
SET default_transaction_read_only = on;
CALL idem_run_pipeline('offsets');
CALL idem_load_window('offsets', '[20,30)');
CALL idem_backfill('offsets', '[20,30)');
SELECT idem_retry('offsets');
SELECT idem_alter_pipeline('offsets', step => '20');
SELECT idem_disable_pipeline('offsets');
\echo :SQLSTATE
BEGIN READ ONLY; SELECT idem_drop_pipeline('offsets'); ROLLBACK;
SELECT idem_resume();
RESET default_transaction_read_only;
BEGIN READ ONLY; SELECT idem_drop_pipeline('offsets'); ROLLBACK;

-- time: the pipeline's own calendar, not the session's; months; a day of 23 hours
CREATE TABLE tsrc (id int, ts timestamptz);
INSERT INTO tsrc SELECT i, '2024-03-29 00:00+00'::timestamptz + i * interval '30 minutes' FROM generate_series(0, 200) i;
CREATE TABLE ttgt (id int PRIMARY KEY, ts timestamptz NOT NULL);
SELECT idem_create_pipeline('days', 'tled', 'ttgt', 'tsrc', 'reload', '{id}', 'ts', '1 day', '2024-03-30', 'Europe/Berlin',
    watermark => 'SELECT timestamptz ''2024-04-02 12:00+00''');
SELECT start FROM idem_pipeline WHERE name = 'days';
SET timezone = 'Asia/Tokyo';
CALL idem_run_pipeline('days');
SET timezone = 'UTC';
SELECT window_range, source_rows FROM tled ORDER BY run_id;
SELECT idem_create_pipeline('months', 'tled', 'ttgt', 'tsrc', 'reload', '{id}', 'ts', '1 month', '2024-01-31', watermark => 'SELECT timestamptz ''2024-06-15''');
CALL idem_run_pipeline('months');
SELECT window_range, source_rows FROM tled WHERE pipeline = 'months' ORDER BY run_id;
SELECT * FROM idem_calendar('tled', 'days', '2024-03-25', '2024-04-10', '1 day');
SELECT * FROM idem_calendar('tled', 'days', '2024-03-30', '2024-04-01', '1 hour');
-- lookback redoes the end of what is complete, lag keeps away from the watermark
SELECT idem_alter_pipeline('days', lookback => '1 day', lag => '12 hours');
CALL idem_run_pipeline('days');
SELECT state, window_range FROM tled WHERE pipeline = 'days' ORDER BY run_id;
SELECT idem_alter_pipeline('days', lookback => '', lag => '', watermark => 'SELECT NULL::timestamptz');
SELECT lookback, lag FROM idem_pipeline WHERE name = 'days';
CALL idem_run_pipeline('days');

-- names are looked up as they were when the pipeline was made
CREATE SCHEMA elsewhere; SET search_path = elsewhere, public;
CALL idem_load_window('offsets', '[130,140)');
SET search_path = pipes, public;
-- a forced run adds a row to the ledger, a thousand add a thousand, and history can be pruned
SET client_min_messages = warning;
DO $$ BEGIN FOR i IN 1..1000 LOOP CALL idem_load_window('offsets', '[0,10)', force => true); END LOOP; END $$;
RESET client_min_messages;
SELECT state, count(*) FROM led WHERE window_range = '[0,10)' GROUP BY 1 ORDER BY 1;
SELECT idem_prune('led', '1 hour');
SELECT idem_prune('led', '0 seconds') > 1000 AS pruned;
SELECT state, count(*) FROM led WHERE pipeline = 'offsets' GROUP BY 1 ORDER BY 1;
SELECT idem_gaps('led', 'offsets', '[0,140)');

-- on, off, away
SELECT idem_disable_pipeline('offsets');
-- what does not run by itself is not woken: nobody would take the note away
SELECT count(*) AS notes FROM idem_wakeup \gset
SELECT idem_retry('offsets');
SELECT count(*) = :notes AS same FROM idem_wakeup;
SELECT state FROM idem_status WHERE pipeline = 'offsets';
SELECT idem_enable_pipeline('offsets');
UPDATE idem_pipeline SET system_identifier = 1 WHERE name = 'offsets';
SELECT state, next_run FROM idem_status WHERE pipeline = 'offsets';
SELECT idem_resume(), idem_resume() AS again;
SELECT state, next_run IS NOT NULL AS due FROM idem_status WHERE pipeline = 'offsets';
SELECT idem_drop_pipeline('months'), idem_drop_pipeline('days');

-- everybody has his own; rights are the owner's, whoever calls
CREATE ROLE regress_idem_one LOGIN; CREATE ROLE regress_idem_two LOGIN;
GRANT USAGE, CREATE ON SCHEMA pipes TO regress_idem_one, regress_idem_two;
SET ROLE regress_idem_two;
SELECT name FROM idem_pipeline;
SELECT pipeline FROM idem_status;
CALL idem_run_pipeline('offsets');
CREATE TABLE secret AS SELECT 1::bigint AS id, 'secret' AS v;
SET ROLE regress_idem_one;
CREATE TABLE own_tgt (id bigint PRIMARY KEY, v text);
CREATE TABLE own_src (id bigint, v text);
INSERT INTO own_src VALUES (1, 'mine');
SELECT idem_create_ledger('own_led', 'int8range');
CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN current_user; END $$;
-- that it runs by itself is a right
SELECT idem_create_pipeline('own', 'own_led', 'own_tgt', 'own_src', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT max(id) FROM own_src');
\echo :SQLSTATE
SELECT idem_enable_pipeline('own');
\echo :SQLSTATE
SELECT idem_create_pipeline('own', 'own_led', 'own_tgt', 'own_src', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT max(id) FROM own_src', enabled => false);
SELECT idem_alter_pipeline('own', enabled => true);
\echo :SQLSTATE
RESET ROLE;
-- of the owner, whoever enables it
SELECT idem_enable_pipeline('own');
GRANT EXECUTE ON FUNCTION idem_enable_pipeline(text) TO regress_idem_one;
SELECT idem_enable_pipeline('own');
SET ROLE regress_idem_one;
SELECT idem_drop_pipeline('own');
SELECT idem_create_pipeline('own', 'own_led', 'own_tgt', 'SELECT id, who() AS v FROM own_src WHERE id >= $1 AND id < $2', 'upsert', '{id}', 'id', '10', '0',
    watermark => 'SELECT max(id) + 20 FROM own_src');
RESET ROLE; GRANT SELECT ON secret TO regress_idem_one; SET ROLE regress_idem_one;
SELECT idem_create_pipeline('thief', 'own_led', 'own_tgt', 'SELECT * FROM secret WHERE id >= $1 AND id < $2', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT 20::bigint');
SELECT name FROM idem_pipeline;
RESET ROLE;
REVOKE SELECT ON secret FROM regress_idem_one;
CALL idem_run_pipeline('own');
SELECT * FROM own_tgt;
SELECT run_by FROM own_led ORDER BY run_id LIMIT 1;
-- a superuser's rights are no help to the owner's code, and its code has no way to them
CALL idem_run_pipeline('thief');
CREATE OR REPLACE FUNCTION who() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('role', 'none', false); RETURN current_user; END $$;
CALL idem_load_window('own', '[0,10)', force => true);
CREATE OR REPLACE FUNCTION who() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('session_authorization', session_user, false); RETURN current_user; END $$;
CALL idem_load_window('own', '[0,10)', force => true);
SELECT current_user = session_user AS still_me;
SET ROLE regress_idem_one;
CREATE OR REPLACE FUNCTION who() RETURNS text LANGUAGE sql AS 'SELECT current_user::text';
CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'at commit I am %', current_user; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER later AFTER INSERT OR UPDATE ON own_tgt DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION later();
TRUNCATE own_tgt;
RESET ROLE;
CALL idem_load_window('own', '[0,10)', force => true);
SET ROLE regress_idem_one;
CALL idem_load_window('own', '[0,10)', force => true);
RESET ROLE;
-- a watermark is the owner's too
SELECT idem_alter_pipeline('own', watermark => 'SELECT id FROM secret');
CALL idem_run_pipeline('own');
SELECT idem_drop_pipeline('own'), idem_drop_pipeline('thief');
DROP OWNED BY regress_idem_one, regress_idem_two; DROP ROLE regress_idem_one, regress_idem_two;

-- wrong definitions
\set VERBOSITY default
SELECT idem_create_pipeline('offsets', 'led', 'tgt', 'src', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT 1');
\echo :SQLSTATE
SELECT idem_create_pipeline('', 'led', 'tgt', 'src', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT 1');
\echo :SQLSTATE
SELECT idem_create_pipeline(repeat('x', 96), 'led', 'tgt', 'src', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT 1');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'led', 'tgt', 'src', 'upsert', '{id}', 'id', NULL, '0', watermark => 'SELECT 1');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'led', 'tgt', 'src', 'upsert', '{id}', 'id', '10', watermark => 'SELECT 1');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'led', 'tgt', NULL, 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT 1');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'led', 'tgt', 'src', 'merge', '{id}', 'id', '10', '0', watermark => 'SELECT 1');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'led', 'tgt', 'src', 'upsert', NULL, 'id', '10', '0', watermark => 'SELECT 1');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'led', 'tgt', 'SELECT 1 AS nothing', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT 1');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'tgt', 'tgt', 'src', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT 1');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'led', 'tgt', 'src', 'upsert', '{id}', 'id', '10', '0');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'led', 'tgt', 'src', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT now()');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'led', 'tgt', 'src', 'upsert', '{id}', 'id', '10', '0', watermark => 'DELETE FROM src');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'led', 'tgt', 'src', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT 1::bigint; SELECT 2::bigint');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'led', 'tgt', 'SELECT * FROM src; SELECT 1', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT 1::bigint');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'led', 'tgt', 'src', 'upsert', '{id}', 'id', '-10', '0', watermark => 'SELECT 1');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'led', 'tgt', 'src', 'upsert', '{id}', 'id', '10', 'zero', watermark => 'SELECT 1');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'tled', 'ttgt', 'tsrc', 'upsert', '{id}', 'ts', '1 day', 'infinity');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'tled', 'ttgt', 'tsrc', 'upsert', '{id}', 'ts', '1 day', '2024-01-01', 'Mars/Olympus');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'tled', 'ttgt', 'tsrc', 'upsert', '{id}', 'ts', '1 day', '2024-01-01', lag => 'soon');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'tled', 'ttgt', 'tsrc', 'upsert', '{id}', 'ts', '1 day', '2024-01-01', lookback => '-1 day');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'tled', 'ttgt', 'tsrc', 'upsert', '{id}', 'ts', '1 day', '2024-01-01', max_windows => 0);
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'tled', 'ttgt', 'tsrc', 'upsert', '{id}', 'ts', '1 day', '2024-01-01', retry_base => '0');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'tled', 'ttgt', 'tsrc', 'upsert', '{id}', 'ts', '1 day', '2024-01-01', check_every => '0.999 seconds');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'tled', 'ttgt', 'tsrc', 'upsert', '{id}', 'ts', '1 day', '2024-01-01', check_every => '178000000 years');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'tled', 'ttgt', 'tsrc', 'upsert', '{id}', 'ts', '1 day', '2024-01-01', check_every => '-178000000 years');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'tled', 'ttgt', 'tsrc', 'upsert', '{id}', 'ts', '1 day', '2024-01-01', check_every => '2147483647 months 2147483647 days');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'tled', 'ttgt', 'tsrc', 'upsert', '{id}', 'ts', '1 day', '2024-01-01', retry_base => '1001 years');
\echo :SQLSTATE
SELECT idem_create_pipeline('e', 'tled', 'ttgt', 'tsrc', 'upsert', '{id}', 'ts', '1 day', '2024-01-01', retry_max => '290000 years');
\echo :SQLSTATE
SELECT idem_alter_pipeline('nobody', max_windows => 5);
\echo :SQLSTATE
SELECT idem_alter_pipeline(NULL, max_windows => 5);
\echo :SQLSTATE
SELECT idem_drop_pipeline('nobody');
\echo :SQLSTATE
SELECT idem_enable_pipeline('nobody');
\echo :SQLSTATE
SELECT idem_retry('nobody');
\echo :SQLSTATE
SELECT idem_retry(NULL);
\echo :SQLSTATE
CALL idem_run_pipeline('nobody');
\echo :SQLSTATE
CALL idem_run_pipeline(NULL);
\echo :SQLSTATE
CALL idem_load_window('nobody', '[1,2)');
\echo :SQLSTATE
CALL idem_load_window('offsets', NULL::text);
\echo :SQLSTATE
CALL idem_load_window('offsets', '[1,2)', on_busy => 'never');
\echo :SQLSTATE
CALL idem_load_window('offsets', tstzrange('2024-01-01', '2024-01-02'));
\echo :SQLSTATE
CALL idem_backfill('offsets', '[1,2)', workers => 0);
\echo :SQLSTATE
CALL idem_backfill('nobody', '[1,2)');
\echo :SQLSTATE
CALL idem_backfill(NULL, '[1,2)');
\echo :SQLSTATE
BEGIN; CALL idem_backfill('offsets', '[1,2)');
\echo :SQLSTATE
ROLLBACK;
SELECT idem_calendar('led', 'offsets', 'a', 'b', '10');
\echo :SQLSTATE
SELECT idem_calendar('tgt', 'offsets', '1', '2', '10');
\echo :SQLSTATE
SELECT idem_prune('tgt', '1 day');
\echo :SQLSTATE
-- nothing of it has left anything
SELECT name FROM idem_pipeline;
-- a ledger that is gone is shown, and does not hide the others
SELECT idem_create_pipeline('orphan', 'tled', 'ttgt', 'tsrc', 'upsert', '{id}', 'ts', '1 day', '2024-01-01');
DROP TABLE tled;
SELECT pipeline, state, last_error FROM idem_status;
CALL idem_run_pipeline('orphan');
\set VERBOSITY terse
SELECT idem_drop_pipeline('orphan'), idem_drop_pipeline('offsets');
SET client_min_messages = warning;
DROP SCHEMA pipes, elsewhere CASCADE;

-- functions are the only way to write pipelines, but for the restoration of a dump: nobody else may, nor lock them
SET client_min_messages = warning; SET search_path = public;
CREATE ROLE regress_idem_nobody LOGIN;
GRANT EXECUTE ON FUNCTION idem_enable_pipeline(text) TO regress_idem_nobody;
CREATE SCHEMA nobodys AUTHORIZATION regress_idem_nobody;
CREATE TABLE secret (id bigint PRIMARY KEY);
SELECT idem_create_ledger('secret_led', 'int8range');
SET ROLE regress_idem_nobody;
UPDATE idem_pipeline SET enabled = true;
DELETE FROM idem_pipeline;
BEGIN; LOCK TABLE idem_pipeline IN SHARE UPDATE EXCLUSIVE MODE; ROLLBACK;
SELECT * FROM idem_pipeline_state;
UPDATE idem_pipeline_state SET crashes = 2147483647;
INSERT INTO idem_wakeup VALUES ('x');
SELECT idem_create_ledger('nobodys.led', 'int8range');
CREATE TABLE nobodys.tgt (id bigint PRIMARY KEY);
SELECT idem_create_pipeline('nobody''s', 'nobodys.led', 'nobodys.tgt', $$SELECT 1::bigint AS id WHERE 'a\b' <> ''$$, 'upsert', '{id}', step => '10', start => '0', watermark => 'SELECT 9::bigint',
    check_every => '1 day -00:00:01', enabled => false);
CREATE TABLE nobodys.dump AS SELECT * FROM idem_pipeline;
ALTER TABLE nobodys.dump DROP owner_id;
SELECT idem_drop_pipeline('nobody''s');
-- nobody locks what he may not use, nor defines what he could not load
\set VERBOSITY default
SELECT idem_adopt('nobodys.led', 'x', 'secret');
\echo :SQLSTATE
\set VERBOSITY terse
SELECT idem_load('nobodys.led', 'secret', 'SELECT 1::bigint AS id', 'empty', 'upsert', '{id}');
SELECT idem_load('nobodys.led', 'nobodys.tgt', 'secret', 'empty', 'upsert', '{id}', window_column => 'id');
SELECT idem_load('nobodys.led', 'nobodys.tgt', 'SELECT id FROM nobodys.tgt WHERE id IN (SELECT id FROM secret)', 'empty', 'upsert', '{id}');
SELECT idem_load('secret_led', 'nobodys.tgt', 'SELECT 1::bigint AS id', 'empty', 'upsert', '{id}');
SELECT idem_create_pipeline('x', 'nobodys.led', 'secret', 'SELECT 1::bigint AS id', 'upsert', '{id}', step => '10', start => '0', watermark => 'SELECT 9::bigint', enabled => false);
SELECT idem_create_pipeline('x', 'nobodys.led', 'nobodys.tgt', 'SELECT id FROM secret', 'upsert', '{id}', step => '10', start => '0', watermark => 'SELECT 9::bigint', enabled => false);
INSERT INTO nobodys.led (pipeline, window_range, state) VALUES ('x', '[0,10)', 'complete');
SELECT idem_load('nobodys.led', 'secret', 'SELECT 1::bigint AS id', '[0,10)', 'upsert', '{id}', pipeline => 'x');
SELECT idem_gaps('secret_led', 'x', 'empty');
SELECT idem_invalidate('secret_led', 'x', 'empty');
SELECT idem_calendar('secret_led', 'x', '0', '0', '1');
-- a dump may hold anything: others' pipelines are left out, as are those that could not be one
\set VERBOSITY default
INSERT INTO idem_pipeline (name) VALUES ('x');
UPDATE nobodys.dump SET max_windows = -1;
INSERT INTO idem_pipeline SELECT * FROM nobodys.dump;
\set VERBOSITY sqlstate
INSERT INTO idem_pipeline (name) VALUES ('x');
INSERT INTO idem_pipeline SELECT * FROM nobodys.dump;
\set VERBOSITY terse
UPDATE nobodys.dump SET max_windows = 1, owner = 10::oid::regrole;
\set VERBOSITY sqlstate
INSERT INTO idem_pipeline SELECT * FROM nobodys.dump;
\set VERBOSITY terse
SELECT count(*) FROM idem_pipeline;
-- what is restored runs only after idem_resume, even where it comes from
UPDATE nobodys.dump SET owner = 'regress_idem_nobody', target = 'nobodys.elsewhere';
INSERT INTO idem_pipeline SELECT * FROM nobodys.dump;
SELECT idem_resume();
SELECT pipeline, state, next_run, last_error FROM idem_status;
SELECT idem_disable_pipeline('nobody''s');
SELECT ledger, target, target::oid FROM idem_pipeline;
\set VERBOSITY default
CALL idem_run_pipeline('nobody''s');
\echo :SQLSTATE
\set VERBOSITY terse
-- whose name was resolved may be renamed
ALTER TABLE nobodys.tgt RENAME TO elsewhere;
SELECT idem_alter_pipeline('nobody''s', notify => false);
ALTER TABLE nobodys.elsewhere RENAME TO tgt;
SELECT ledger, target, target = 'nobodys.tgt'::regclass AS same FROM idem_pipeline;
SELECT idem_alter_pipeline('nobody''s', enabled => true);
SELECT pipeline, state, next_run FROM idem_status;
SELECT idem_resume(), idem_resume() AS again;
SELECT idem_disable_pipeline('nobody''s');
SELECT pipeline, state FROM idem_status;
INSERT INTO idem_pipeline SELECT * FROM nobodys.dump;
CREATE TRIGGER restore BEFORE INSERT ON nobodys.dump FOR EACH STATEMENT EXECUTE FUNCTION idem_restore_pipeline();
INSERT INTO nobodys.dump TABLE nobodys.dump;
-- the calls that make it are another dump
SELECT idem_pipeline_calls('nobody''s');
SELECT idem_pipeline_calls('nobody''s') AS calls \gset
SELECT count(*) FROM idem_pipeline_calls('no such');
CREATE TABLE nobodys.before AS SELECT * FROM idem_pipeline;
SELECT idem_drop_pipeline('nobody''s');
SET datestyle = 'German'; SET intervalstyle = 'sql_standard'; SET search_path = nobodys;
\o /dev/null
:calls
\o
SET search_path = public; SET datestyle = 'ISO, MDY'; RESET intervalstyle;
SELECT (SELECT p FROM idem_pipeline p)::text = (SELECT b FROM nobodys.before b)::text AS same;
SELECT idem_drop_pipeline('nobody''s');
RESET ROLE;
DROP TABLE secret, secret_led;
DROP OWNED BY regress_idem_nobody;
DROP ROLE regress_idem_nobody;

-- what somebody types is read by his DateStyle, in the pipeline's time zone; what idem writes is ISO whatever the DateStyle
CREATE SCHEMA styles; SET search_path = styles, public; SET timezone = 'UTC';
RESET client_min_messages;
SELECT idem_create_ledger('led');
CREATE TABLE tgt (ts timestamptz PRIMARY KEY);
SET datestyle = 'SQL, MDY';
SELECT idem_create_pipeline('p', 'led', 'tgt', 'SELECT $1 AS ts', 'upsert', '{ts}', step => '1 day', start => '03/04/2024', time_zone => 'Asia/Tokyo',
    watermark => $$SELECT '03/06/2024'::timestamptz$$, enabled => false);
SET datestyle = 'German';
SELECT start FROM idem_pipeline;
CALL idem_run_pipeline('p');
SELECT complete_to, gaps FROM idem_status;
CALL idem_load_window('p', '[10.03.2024,11.03.2024)');
SELECT window_range FROM led ORDER BY run_id;
SELECT idem_alter_pipeline('p', start => '05.03.2024');
SELECT start FROM idem_pipeline;
CALL idem_load_window('p', '[04.03.2024,05.03.2024)');
SELECT idem_alter_pipeline('p', source => $$SELECT to_timestamp(1/($1 IS NULL)::int) AS ts$$);
CALL idem_load_window('p', '[12.03.2024,13.03.2024)');
SELECT idem_retry('p', '[04.03.2024,05.03.2024)'), idem_retry('p', '[12.03.2024,13.03.2024)');
SELECT gaps FROM idem_status;
SET datestyle = 'ISO, MDY';
SET client_min_messages = warning;
SELECT idem_drop_pipeline('p');
DROP SCHEMA styles CASCADE;
