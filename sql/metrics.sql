-- Figures for who watches servers; those of turns that ran by themselves are tested with the scheduler
SET timezone = 'UTC'; SET client_min_messages = warning;
CREATE SCHEMA metrics; SET search_path = metrics, public;
CREATE ROLE regress_idem_figures; CREATE ROLE regress_idem_watcher IN ROLE pg_read_all_stats; CREATE ROLE regress_idem_nobody;
GRANT ALL ON SCHEMA metrics TO regress_idem_figures;
SET ROLE regress_idem_figures;
CREATE TABLE src AS SELECT i AS id, i / 10 AS w FROM generate_series(0, 59) i;
CREATE TABLE tgt (id int, w int NOT NULL);
SELECT idem_create_ledger('led', 'int8range');
SELECT idem_create_monitor('mon');
SELECT idem_create_pipeline('figures', 'led', 'tgt', 'SELECT * FROM src WHERE w >= $1 AND w < $2', 'reload', '{id}', 'w', '2', '0', watermark => 'SELECT 6::bigint', enabled => false);
CREATE VIEW mine AS SELECT * FROM idem_metrics WHERE pipeline = 'figures';
-- one that has had no turn and no check: what is not known is NULL, what is counted is 0
\x on
TABLE mine;
\x off
TABLE idem_alert_metrics;
-- checked, and clean: every kind has a row, so that 0 is not absence
CALL idem_run_pipeline('figures');
CALL idem_reconcile('mon', 'figures');
SELECT kind, open, value, acknowledged, opened_seconds, checked_seconds > 1.7e9 AS checked FROM idem_alert_metrics ORDER BY kind COLLATE "C";
SELECT open_alerts, last_check_seconds > 1.7e9 AS checked FROM mine;
-- an alert opens, is acknowledged, closes
INSERT INTO tgt SELECT * FROM tgt WHERE w < 2;
CALL idem_reconcile('mon', 'figures');
SELECT kind, open, value, acknowledged, opened_seconds > 1.7e9 AS opened, last_seen_seconds >= opened_seconds AS seen FROM idem_alert_metrics WHERE open = 1 ORDER BY kind COLLATE "C";
SELECT open_alerts FROM mine;
SELECT idem_acknowledge('mon', min(alert_id)) FROM mon_alerts;
CALL idem_reconcile('mon', 'figures');
SELECT sum(open) AS open, sum(acknowledged) AS acknowledged FROM idem_alert_metrics;
CALL idem_load_window('figures', '[0,6)', force => true);
CALL idem_reconcile('mon', 'figures');
SELECT sum(open) AS open, sum(value) AS value, sum(acknowledged) AS acknowledged FROM idem_alert_metrics;
-- what the monitor's owner writes into his table makes no other kinds, nor numbers below 0, nor two of a kind
INSERT INTO mon_alerts (pipeline, kind, windows, value, opened_at) VALUES ('figures', 'evil', '{[0,2)}', 7, 'infinity'), ('figures', 'growth', '{[0,2)}', -7, '-infinity');
CALL idem_reconcile('mon', 'figures', '[4,6)');
SELECT kind, value, opened_seconds FROM idem_alert_metrics WHERE open = 1;
-- who may not become the owner sees nothing, who may see all statistics sees it, and neither runs what is the owner's
CREATE FUNCTION boom() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'run by %', session_user; END $$;
SELECT idem_alter_pipeline('figures', watermark => 'SELECT 6::bigint');
CREATE RULE r AS ON UPDATE TO led DO ALSO SELECT boom();
ALTER TABLE led ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON led USING (boom() IS NULL);
ALTER TABLE mon_alerts ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON mon_alerts USING (boom() IS NULL);
RESET ROLE;
SET ROLE regress_idem_nobody;
SELECT count(*) FROM idem_metrics WHERE pipeline = 'figures'; SELECT count(*) FROM idem_alert_metrics WHERE pipeline = 'figures';
SELECT * FROM idem_alert_state;
SET ROLE regress_idem_watcher;
SELECT pipeline, owner, open_alerts FROM idem_metrics WHERE pipeline = 'figures'; SELECT count(*) FROM idem_alert_metrics WHERE pipeline = 'figures';
SELECT count(*) FROM idem_status WHERE pipeline = 'figures';
RESET ROLE;
-- a total never leaves its type; one of another database is paused; one whose owner is gone is shown
UPDATE idem_pipeline_state SET source_rows = 9223372036854775807, complete_at = clock_timestamp() - interval '1 hour', complete_to = 'x' WHERE name = 'figures';
SELECT source_rows_total, lag_seconds >= 3600 AND lag_seconds < 4000 AS lag, complete_to_seconds > 1.7e9 AS complete FROM idem_metrics WHERE pipeline = 'figures';
UPDATE idem_pipeline SET system_identifier = 1 WHERE name = 'figures';
SELECT paused, next_run_seconds FROM idem_metrics WHERE pipeline = 'figures';
-- what is dropped takes its figures along
SELECT idem_drop_pipeline('figures');
SELECT count(*) FROM idem_metrics WHERE pipeline = 'figures'; SELECT count(*) FROM idem_alert_state WHERE pipeline = 'figures';
-- labels of a metrics store are few: no column is of a window
SELECT count(*) FROM pg_attribute WHERE attrelid IN ('idem_metrics'::regclass, 'idem_alert_metrics'::regclass) AND attname ~ 'window_range|^windows$';
DROP SCHEMA metrics CASCADE;
DROP ROLE regress_idem_figures, regress_idem_watcher, regress_idem_nobody;
