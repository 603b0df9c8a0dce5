-- The page of idem_report; what a browser makes of it is tested with one
SET timezone = 'UTC'; SET client_min_messages = warning;
CREATE SCHEMA report; SET search_path = report, public;
CREATE ROLE regress_idem_reporter; GRANT ALL ON SCHEMA report TO regress_idem_reporter;
CREATE ROLE regress_idem_guest; GRANT USAGE ON SCHEMA report TO regress_idem_guest;
SET ROLE regress_idem_reporter;
SELECT idem_create_monitor('mon');
-- what a page says: its text without its markup and its style
CREATE FUNCTION said(page text) RETURNS TABLE (line text) LANGUAGE sql AS $$
    SELECT l FROM regexp_split_to_table(regexp_replace(regexp_replace(regexp_replace(regexp_replace(page, '.*</style>', ''), '<svg.*?</svg>', '', 'g'), '\d{4}-\d\d-\d\d \d\d:\d\d', 'TIME', 'g'), '(<[^>]*>|\n)+', E'\n', 'g'), '\n') l
    WHERE trim(l) <> '' AND l !~ 'as role| d$|&nbsp;' $$;
SELECT * FROM said(idem_report('mon')) OFFSET 4;
CREATE TABLE src AS SELECT i AS id, i / 10 AS w, 'v' || i AS v FROM generate_series(0, 59) i;
CREATE TABLE tgt (id int, w int NOT NULL, v text);
SELECT idem_create_ledger('led', 'int8range');
SELECT idem_create_pipeline('m', 'led', 'tgt', 'SELECT * FROM src WHERE w >= $1 AND w < $2', 'reload', '{id}', 'w', '2', '0', watermark => 'SELECT 6::bigint', enabled => false);
CALL idem_run_pipeline('m');
CALL idem_reconcile('mon', 'm');
SELECT * FROM said(idem_report('mon')) WHERE line ~ 'Nothing|alert';
-- two windows are wrong; what mends them is said once
INSERT INTO tgt SELECT * FROM tgt WHERE w = 1;
DELETE FROM tgt WHERE id = 42;
CALL idem_reconcile('mon', 'm');
SELECT * FROM said(idem_report('mon')) OFFSET 4;
SELECT count(*) AS dots FROM regexp_matches(idem_report('mon'), '<rect class="f-dot"', 'g');
-- acknowledged; the source changed; a check that fails
SELECT idem_acknowledge('mon', min(alert_id)) FROM mon_alerts;
UPDATE src SET v = 'other' WHERE id = 7;
CALL idem_load_window('m', '[0,6)', force => true);
UPDATE src SET v = 'another' WHERE id = 7;
CALL idem_reconcile('mon', 'm', depth => 'digest');
SELECT * FROM said(idem_report('mon')) WHERE line ~ 'idem_|^-- |source_changed';
ALTER TABLE src RENAME TO gone;
CALL idem_reconcile('mon', 'm', '[0,2)');
SELECT * FROM said(idem_report('mon')) WHERE line ~ 'idem_check|check_failed|raises';
ALTER TABLE gone RENAME TO src;
-- columns of the source; failed runs; bounds
ALTER TABLE src ADD more int; ALTER TABLE tgt ADD more int;
CALL idem_load_window('m', '[2,4)', force => true);
ALTER TABLE src ALTER w TYPE bigint; ALTER TABLE src DROP more; ALTER TABLE tgt DROP more;
CALL idem_load_window('m', '[2,4)', force => true);
ALTER TABLE tgt ADD CONSTRAINT c CHECK (v <> 'bad');
UPDATE src SET v = 'bad' WHERE id = 50;
CALL idem_load_window('m', '[4,6)', force => true);
CALL idem_load_window('m', '[4,6)', force => true);
SELECT * FROM said(idem_report('mon')) WHERE line ~ 'integer|23514|violates|added|first|dropped|changed';
SELECT substring(idem_report('mon') FROM '<code>23514</code> .*?</tr>') ~ 'data-l="runs">2</td><td class="num" data-l="windows">1</td><td data-l="last window">4 to 6</td>' AS counted;
SELECT substring(idem_report('mon', '2', '4') FROM 'aria-label="(windows: [^"]*)"'), substring(idem_report('mon', '3') FROM 'aria-label="(windows: [^"]*)"'), substring(idem_report('mon', to_bound => '1') FROM 'aria-label="(windows: [^"]*)"'),
    idem_report('mon', '4', '2') ~ 'There is no window to show' AS none;
SELECT idem_report('mon', 'soon');
\echo :SQLSTATE
SELECT idem_report(NULL);
\echo :SQLSTATE
SELECT idem_report('tgt');
\echo :SQLSTATE
-- functions are named with their schema where they are not found without
SET search_path = report;
SELECT public.idem_report('mon') ~ 'CALL public.idem_reconcile\(&#39;report.mon&#39;, &#39;m&#39;\)' AS qualified;
SET search_path = report, public;
-- in a transaction that writes nothing; of a pipeline whose ledger is gone
BEGIN READ ONLY; SELECT idem_report('mon') LIKE '<!DOCTYPE html>%</html>_' AS page; COMMIT;
ALTER TABLE led RENAME TO other;
DROP TABLE other;
SELECT * FROM said(idem_report('mon')) WHERE line ~ 'unreadable|could not be read|ledger';
-- who may not become the monitor's owner does not get it; of others' pipelines nothing is shown
RESET ROLE; SET ROLE regress_idem_guest;
SELECT idem_report('mon');
\echo :SQLSTATE
SELECT idem_create_monitor('pg_temp.own');
SELECT * FROM said(idem_report('pg_temp.own')) WHERE line ~ 'no pipelines| m';
RESET ROLE;
SELECT count(idem_drop_pipeline(name)) FROM idem_pipeline WHERE name = 'm';
DROP SCHEMA report CASCADE;
DROP OWNED BY regress_idem_guest; DROP ROLE regress_idem_reporter, regress_idem_guest;
