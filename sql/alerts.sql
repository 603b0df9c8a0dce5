-- Alerts: what they name, when they open and close, what of a pipeline is wrong that no check of a window shows
SET timezone = 'UTC'; SET client_min_messages = warning;
CREATE SCHEMA alerts; SET search_path = alerts, public;
CREATE TABLE src AS SELECT i AS id, i / 100 AS w, 'v' || i AS v FROM generate_series(0, 299) i;
CREATE TABLE tgt (id int, w int NOT NULL, v text);
SELECT idem_create_ledger('led', 'int8range');
SELECT idem_create_monitor('mon');
SELECT idem_create_pipeline('a', 'led', 'tgt', 'SELECT * FROM src WHERE w >= $1 AND w < $2', 'reload', '{id}', 'w', '1', '0', watermark => 'SELECT 2::bigint', enabled => false,
    monitor => 'mon', checks => '{"tolerance": "1%", "null_keys": 0, "open_after": "2"}');
CALL idem_run_pipeline('a');
CREATE VIEW alerts AS SELECT kind, severity, windows, value, allowed, CASE WHEN jsonb_array_length(sample) < 10 THEN sample::text ELSE jsonb_array_length(sample) || ' keys' END AS sample, times, closed_at IS NULL AS open, close_reason AS closed FROM mon_alerts ORDER BY alert_id;
-- at most ten keys are named; one row of a hundred may be missing; an alert opens when two checks in a row have found it
CALL idem_reconcile('mon', 'a');
DELETE FROM tgt WHERE id < 20 OR id = 100; INSERT INTO tgt SELECT 1000 + i, 1, 'new' FROM generate_series(1, 3) i;
UPDATE tgt SET v = 'x' WHERE id IN (201, 202); INSERT INTO tgt SELECT * FROM tgt WHERE id IN (203, 204);
CALL idem_reconcile('mon', 'a');
SELECT count(*) FROM alerts;
CALL idem_reconcile('mon', 'a');
TABLE alerts;
-- of keys that are NULL one is too many
INSERT INTO src VALUES (NULL, 1, 'nobody'); INSERT INTO tgt VALUES (NULL, 1, 'nobody');
CALL idem_reconcile('mon', 'a', '[1,2)');
CALL idem_reconcile('mon', 'a', '[1,2)');
SELECT * FROM alerts WHERE kind IN ('null_keys', 'source_changed');
DELETE FROM src WHERE id IS NULL;
-- clean, or gone
SELECT idem_invalidate('led', 'a', '[0,1)');
CALL idem_load_window('a', '[1,3)', force => true);
CALL idem_reconcile('mon', 'a');
SELECT kind, windows, open, closed FROM alerts;
CALL idem_load_window('a', '[0,1)');
-- a reminder, a day after somebody was told; not where somebody has said that he knows
SELECT idem_alter_pipeline('a', checks => '{}');
TRUNCATE mon_alerts, mon;
DELETE FROM tgt WHERE id = 7;
CALL idem_reconcile('mon', 'a');
CREATE VIEW told AS SELECT kind, notified_at > clock_timestamp() - interval '1 hour' AS told FROM mon_alerts WHERE closed_at IS NULL AND kind = 'missing';
TABLE told;
UPDATE mon_alerts SET notified_at = clock_timestamp() - interval '23 hours';
CALL idem_reconcile('mon', 'a'); TABLE told;
UPDATE mon_alerts SET notified_at = clock_timestamp() - interval '25 hours', snoozed_until = clock_timestamp() + interval '1 hour';
CALL idem_reconcile('mon', 'a'); TABLE told;
UPDATE mon_alerts SET snoozed_until = clock_timestamp();
CALL idem_reconcile('mon', 'a'); TABLE told;
CALL idem_load_window('a', '[0,1)', force => true);
-- late rows that are loaded properly are no growth, also where they were there before the load
CALL idem_reconcile('mon', 'a');
INSERT INTO src VALUES (900, 0, 'late');
CALL idem_reconcile('mon', 'a');
CALL idem_load_window('a', '[0,1)', force => true);
CALL idem_reconcile('mon', 'a');
SELECT kind, windows FROM alerts WHERE open;
-- but what was appended by hand is, also where it has been loaded in between
INSERT INTO tgt SELECT * FROM tgt WHERE id = 900;
UPDATE led SET state = 'superseded' WHERE window_range = '[0,1)' AND state = 'complete';
INSERT INTO led (pipeline, window_range, state, target, target_name, source_digest, digest_version) SELECT pipeline, window_range, 'complete', target, target_name, source_digest, digest_version FROM led WHERE window_range = '[0,1)' ORDER BY run_id DESC LIMIT 1;
CALL idem_reconcile('mon', 'a');
SELECT kind, windows, value, sample FROM alerts WHERE open;
CALL idem_load_window('a', '[0,1)', force => true);
CALL idem_reconcile('mon', 'a');
SELECT count(*) FROM alerts WHERE open;
-- rows without keys are named by themselves
CREATE TABLE bag (id int, w int NOT NULL, v text);
SELECT idem_create_pipeline('bag', 'led', 'bag', 'SELECT * FROM src WHERE w >= $1 AND w < $2', 'reload', NULL, 'w', '1', '0', watermark => 'SELECT 1::bigint', enabled => false, monitor => 'mon');
CALL idem_run_pipeline('bag');
DELETE FROM bag WHERE id = 5; INSERT INTO bag VALUES (NULL, 1, 'extra');
CALL idem_reconcile('mon', 'bag');
SELECT kind, value, sample FROM alerts WHERE open;
-- every pipeline that names the monitor, and nobody else's
SET client_min_messages = notice;
CALL idem_reconcile('mon');
CALL idem_reconcile('mon', budget => '1 hour', window_range => '[0,1)');
BEGIN; CALL idem_reconcile('mon'); ROLLBACK;
SELECT idem_alter_pipeline('bag', monitor => '-');
SELECT name, monitor, checks FROM idem_pipeline ORDER BY name;
CALL idem_reconcile('mon');
-- a definition that comes without its monitor says so, and is not checked
CREATE TEMP TABLE definition AS SELECT * FROM idem_pipeline WHERE name = 'bag';
ALTER TABLE definition DROP owner_id;
UPDATE definition SET name = 'restored', monitor = 'nowhere.mon';
INSERT INTO idem_pipeline TABLE definition;
SELECT monitor FROM idem_pipeline WHERE name = 'restored';
SET client_min_messages = warning;
SELECT idem_pipeline_calls('a') ~ 'monitor => ''alerts.mon'',\n    checks => ''{}''' AS complete;
-- windows that are due for too long; and those that are blocked, until somebody tries again
CREATE TABLE hours (t timestamptz NOT NULL);
SELECT idem_create_ledger('hours_led');
SELECT idem_create_pipeline('h', 'hours_led', 'hours', 'SELECT t FROM generate_series($1, $2 - interval ''1 minute'', ''10 minutes'') t WHERE 1 / (extract(hour FROM $1) - 2) IS NOT NULL', 'reload', NULL, 't', '1 hour', '2024-01-01',
    watermark => 'SELECT timestamptz ''2024-01-01 06:00''', enabled => false, max_attempts => 1);
SELECT idem_create_monitor('hour');
CALL idem_load_window('h', '[2024-01-01 00:00,2024-01-01 02:00)');
CALL idem_reconcile('hour', 'h');
SELECT count(*) FROM hour_alerts;
SELECT idem_alter_pipeline('h', checks => '{"late": "30 minutes"}');
CALL idem_reconcile('hour', 'h');
DO $$ BEGIN CALL idem_run_pipeline('h'); EXCEPTION WHEN OTHERS THEN RAISE WARNING '%', sqlerrm; END $$;
CALL idem_run_pipeline('h');
CALL idem_reconcile('hour', 'h');
SELECT kind, severity, windows, value FROM hour_alerts ORDER BY alert_id;
SELECT idem_alter_pipeline('h', source => 'SELECT t FROM generate_series($1, $2 - interval ''1 minute'', ''10 minutes'') t');
SELECT idem_retry('h');
CALL idem_run_pipeline('h');
CALL idem_reconcile('hour', 'h');
SELECT kind, windows, close_reason FROM hour_alerts ORDER BY alert_id;
SELECT idem_alter_pipeline('h', watermark => 'SELECT ''infinity''::timestamptz', start => '2999-01-01');
CALL idem_reconcile('hour', 'h');
SELECT count(*) FROM hour_alerts WHERE closed_at IS NULL;
-- what makes no sense is said
SELECT idem_alter_pipeline('a', checks => '[]');
\echo :SQLSTATE
SELECT idem_alter_pipeline('a', checks => '{"tolerence": 1}');
\echo :SQLSTATE
SELECT idem_alter_pipeline('a', checks => '{"fanout": true}');
SELECT idem_alter_pipeline('a', checks => '{"open_after": 0}');
SELECT idem_alter_pipeline('a', checks => '{"budget": "0.1 seconds"}');
SELECT idem_alter_pipeline('a', checks => '{"every": "2000 years"}');
SELECT idem_alter_pipeline('a', checks => '{"late": "soon"}');
SELECT idem_alter_pipeline('bag', checks => '{"fanout": "1..2"}');
SELECT idem_alter_pipeline('a', monitor => 'led');
\echo :SQLSTATE
CREATE ROLE regress_idem_alerts;
GRANT ALL ON SCHEMA alerts TO regress_idem_alerts;
SET ROLE regress_idem_alerts;
SELECT idem_create_ledger('his_led', 'int8range');
CREATE TABLE his (id bigint PRIMARY KEY);
SELECT idem_create_pipeline('his', 'his_led', 'his', 'SELECT $1 AS id', 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT 9::bigint', enabled => false, monitor => 'mon');
\echo :SQLSTATE
RESET ROLE;
SELECT count(idem_drop_pipeline(name)) FROM idem_pipeline;
DROP SCHEMA alerts CASCADE;
DROP ROLE regress_idem_alerts;
