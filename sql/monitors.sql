-- Monitors: checks that are kept, alerts that open and close
SET timezone = 'UTC'; SET client_min_messages = warning;
CREATE SCHEMA monitors; SET search_path = monitors, public;
CREATE TABLE src AS SELECT i AS id, i / 10 AS w, 'v' || i AS v FROM generate_series(0, 59) i;
CREATE TABLE tgt (id int, w int NOT NULL, v text);
SELECT idem_create_ledger('led', 'int8range');
SELECT idem_create_monitor('mon');
SELECT idem_create_pipeline('m', 'led', 'tgt', 'SELECT * FROM src WHERE w >= $1 AND w < $2', 'reload', '{id}', 'w', '2', '0', watermark => 'SELECT 6::bigint', enabled => false);
CALL idem_run_pipeline('m');
CREATE VIEW alerts AS SELECT alert_id, kind, windows, value, times, closed_at IS NULL AS open FROM mon_alerts ORDER BY alert_id;
CREATE VIEW checks AS SELECT check_id, window_range, result, depth, growth, target_rows FROM mon ORDER BY check_id;
SET client_min_messages = notice;
CALL idem_reconcile('mon', 'm');
TABLE checks; TABLE alerts;
-- a window appended again by hand
INSERT INTO tgt SELECT * FROM tgt WHERE w < 2;
CALL idem_reconcile('mon', 'm');
TABLE alerts;
-- a second look opens nothing; what gets worse is the same alert
CALL idem_reconcile('mon', 'm');
DELETE FROM tgt WHERE id IN (30, 50);
CALL idem_reconcile('mon', 'm', '[2,4)');
CALL idem_reconcile('mon', 'm');
TABLE alerts;
SELECT window_range, result, growth FROM checks WHERE check_id > 10;
-- a window that is no more complete is none that is wrong; a reload closes the rest, and what comes back soon is the same alert
SELECT idem_invalidate('led', 'm', '[2,4)');
CALL idem_reconcile('mon', 'm', '[50,60)');
SELECT kind, windows FROM alerts WHERE open;
SET client_min_messages = warning;
CALL idem_load_window('m', '[0,6)', force => true);
SET client_min_messages = notice;
CALL idem_reconcile('mon', 'm');
SELECT * FROM alerts WHERE open;
UPDATE src SET v = 'other' WHERE id = 7;
CALL idem_reconcile('mon', 'm', depth => 'digest');
SELECT * FROM alerts WHERE open;
-- who has not looked closely does not say that it is mended
CALL idem_reconcile('mon', 'm', depth => 'counts');
DELETE FROM tgt WHERE id = 51;
CALL idem_reconcile('mon', 'm', '[4,6)');
SELECT * FROM alerts WHERE open;
-- after an hour it is another one
UPDATE mon_alerts SET closed_at = closed_at - interval '2 hours';
INSERT INTO tgt SELECT * FROM tgt WHERE id = 52;
CALL idem_reconcile('mon', 'm');
SELECT * FROM alerts WHERE open;
-- who knows of it says so
SELECT idem_acknowledge('mon', (SELECT max(alert_id) FROM alerts), '2999-01-01');
SELECT kind, acknowledged_by = current_user AS mine, snoozed_until FROM mon_alerts WHERE acknowledged_by IS NOT NULL;
-- a check that fails is no clean one
ALTER TABLE src RENAME TO gone;
CALL idem_reconcile('mon', 'm', '[0,2)');
SELECT * FROM alerts WHERE open;
ALTER TABLE gone RENAME TO src;
CALL idem_reconcile('mon', 'm');
SELECT kind, windows FROM alerts WHERE open;
-- in a transaction; without time; nothing complete
BEGIN; CALL idem_reconcile('mon', 'm'); ROLLBACK;
CALL idem_reconcile('mon', 'm', budget => '0');
CALL idem_reconcile('mon', 'm', '[50,60)');
-- the window has one text in whatever session; those that were not looked at for longest come first
CREATE TABLE days (d timestamptz NOT NULL);
SELECT idem_create_ledger('days_led');
SELECT idem_create_pipeline('d', 'days_led', 'days', 'SELECT generate_series($1, $2 - interval ''1 hour'', ''1 hour'') AS d', 'reload', NULL, 'd', '1 day', '2024-03-01', 'Europe/Berlin', enabled => false);
CALL idem_load_window('d', '[2024-03-01,2024-03-04)');
CALL idem_reconcile('mon', 'd', '[2024-03-02,2024-03-03)');
SET timezone = 'America/New_York'; SET datestyle = 'German';
DELETE FROM days WHERE d < '2024-03-01 05:00 Europe/Berlin';
CALL idem_reconcile('mon', 'd');
SELECT window_range, result, missing_rows FROM mon WHERE pipeline = 'd' ORDER BY check_id;
SELECT pipeline, kind, windows, value FROM mon_alerts WHERE pipeline = 'd';
RESET timezone; RESET datestyle;
-- what is wrong is said
SELECT idem_create_monitor(repeat('x', 57));
\echo :SQLSTATE
SELECT idem_create_monitor('mon');
CALL idem_reconcile('led', 'm');
\echo :SQLSTATE
CALL idem_reconcile('mon_alerts', 'm');
CALL idem_reconcile(NULL, 'm');
CALL idem_reconcile('mon', NULL);
CALL idem_reconcile('mon', 'none');
CALL idem_reconcile('mon', 'm', depth => 'deep');
SELECT idem_acknowledge('mon', 0);
\echo :SQLSTATE
SELECT idem_acknowledge(NULL, 0);
\echo :SQLSTATE
SELECT idem_acknowledge('tgt', 0);
ALTER TABLE mon_alerts RENAME TO elsewhere;
CALL idem_reconcile('mon', 'm');
\echo :SQLSTATE
ALTER TABLE elsewhere RENAME TO mon_alerts;
CREATE ROLE regress_idem_monitor;
ALTER TABLE mon_alerts OWNER TO regress_idem_monitor;
CALL idem_reconcile('mon', 'm');
\echo :SQLSTATE
GRANT USAGE ON SCHEMA monitors TO regress_idem_monitor;
SET ROLE regress_idem_monitor;
SELECT idem_acknowledge('mon', 1);
\echo :SQLSTATE
RESET ROLE;
SET client_min_messages = warning;
SELECT count(idem_drop_pipeline(name)) FROM idem_pipeline;
DROP SCHEMA monitors CASCADE;
DROP ROLE regress_idem_monitor;
