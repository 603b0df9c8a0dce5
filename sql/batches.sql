-- Small windows that follow each other are loaded in one transaction: the ledger and the
-- target are what they are without, and nothing goes wrong for others.
SET client_min_messages = warning;
SET idem.batch_time = '10min'; -- as many as may be, however slow the machine is
CREATE TABLE src (id int, w int, v text);
INSERT INTO src SELECT i, i / 3, 'v' || i FROM generate_series(0, 149) i;
INSERT INTO src SELECT * FROM src WHERE id = 100;
CREATE TABLE up (id int PRIMARY KEY, w int NOT NULL, v text);
CREATE TABLE re (LIKE up INCLUDING ALL);
CREATE TABLE bag (id int, w int NOT NULL, v text);
SELECT idem_create_ledger('led', 'int8range');

-- what a load says in the ledger, but for when and under which number; and in how many transactions
CREATE VIEW said AS SELECT pipeline, window_range, state, target::regclass AS target, target_name, mode, method, attempt, source_rows, inserted_rows,
    updated_rows, deleted_rows, unchanged_rows, source_digest, digest_version, source_schema, run_by, error_code, error_message, details, started_at <= finished_at AS timed FROM led;
CREATE FUNCTION transactions(p text) RETURNS bigint LANGUAGE sql AS
$$ SELECT count(DISTINCT xmin::text) FROM led WHERE pipeline = p AND state = 'complete' $$;
-- loads by three ways, alone or together; the ledger of the one is kept
CREATE PROCEDURE load_all(windows text) LANGUAGE plpgsql AS $$ BEGIN
    CALL idem_load_window('led', 'up', 'src', windows, 'upsert', keys => '{id}', window_column => 'w', pipeline => 'up', step => '1', lookback => '5');
    CALL idem_load_window('led', 're', 'src', windows, 'reload', keys => '{id}', window_column => 'w', pipeline => 're', step => '1');
    CALL idem_load_window('led', 'bag', 'SELECT * FROM src WHERE w >= $1 AND w < $2', windows, 'reload', window_column => 'w', pipeline => 'bag', step => '1');
END $$;

CALL load_all('[0,50)');
SELECT p, transactions(p) FROM unnest('{up,re,bag}'::text[]) p;
-- each window has its row, and their times and numbers follow each other
SELECT pipeline, count(*), range_agg(window_range), bool_and(finished_at <= next_start) AS times, bool_and(run_id < next_run) AS numbers FROM (
    SELECT *, lead(started_at) OVER w AS next_start, lead(run_id) OVER w AS next_run FROM led WINDOW w AS (PARTITION BY pipeline ORDER BY window_range)) l
GROUP BY pipeline ORDER BY pipeline;
CREATE TABLE together AS SELECT * FROM said;
CREATE TABLE up1 AS TABLE up; CREATE TABLE re1 AS TABLE re; CREATE TABLE bag1 AS TABLE bag;
TRUNCATE up, re, bag, led;
SET idem.batch_time = 0;
CALL load_all('[0,50)');
SELECT p, transactions(p) FROM unnest('{up,re,bag}'::text[]) p;
SELECT count(*) FROM (TABLE together EXCEPT ALL TABLE said) d;
SELECT count(*) FROM (TABLE said EXCEPT ALL TABLE together) d;
SELECT count(*) FROM ((TABLE up EXCEPT ALL TABLE up1) UNION ALL (TABLE re EXCEPT ALL TABLE re1) UNION ALL (TABLE bag EXCEPT ALL TABLE bag1)) d;

-- gaps in what is complete, changed rows, and a lookback
SET idem.batch_time = '10min';
UPDATE src SET v = 'new' WHERE id % 5 = 0;
DELETE FROM src WHERE id % 7 = 0;
SELECT sum(idem_invalidate('led', p, w)) FROM unnest('{up,re,bag}'::text[]) p, unnest('{"[3,20)","[30,31)","[33,50)"}'::text[]) w;
CALL load_all('[0,50)');
TRUNCATE together, up1, re1, bag1;
INSERT INTO together SELECT * FROM said;
INSERT INTO up1 TABLE up; INSERT INTO re1 TABLE re; INSERT INTO bag1 TABLE bag;
-- the same from the same beginning, one by one
TRUNCATE up, re, bag, led;
SET idem.batch_time = 0;
UPDATE src SET v = 'v' || id;
INSERT INTO src SELECT i, i / 3, 'v' || i FROM generate_series(0, 149) i WHERE i % 7 = 0;
CALL load_all('[0,50)');
UPDATE src SET v = 'new' WHERE id % 5 = 0;
DELETE FROM src WHERE id % 7 = 0;
SELECT sum(idem_invalidate('led', p, w)) FROM unnest('{up,re,bag}'::text[]) p, unnest('{"[3,20)","[30,31)","[33,50)"}'::text[]) w;
CALL load_all('[0,50)');
SELECT count(*) FROM (SELECT * FROM together WHERE state = 'complete' EXCEPT ALL SELECT * FROM said WHERE state = 'complete') d;
SELECT count(*) FROM (SELECT * FROM said WHERE state = 'complete' EXCEPT ALL SELECT * FROM together WHERE state = 'complete') d;
SELECT count(*) FROM ((TABLE up EXCEPT ALL TABLE up1) UNION ALL (TABLE re EXCEPT ALL TABLE re1) UNION ALL (TABLE bag EXCEPT ALL TABLE bag1)) d;
SET idem.batch_time = '10min';

-- a window that fails takes none with it, and its batch runs again, one by one
CREATE FUNCTION load_up(more text) RETURNS text LANGUAGE sql AS $$ SELECT format('CALL idem_load_window(''led'', ''up'', ''src'', ''[0,40)'', ''upsert'', keys => ''{id}'', window_column => ''w'', step => ''1''%s)', more) $$;
TRUNCATE up, led;
ALTER TABLE up ADD CHECK (v <> 'bad');
UPDATE src SET v = 'bad' WHERE id IN (31, 92);
SELECT load_up(', on_error => ''continue''') \gexec
SELECT window_range, attempt, error_code, error_message FROM led WHERE state = 'failed' ORDER BY 1;
SELECT state, count(*), range_agg(window_range), count(*) FILTER (WHERE details ? 'rerun') > 0 AS some_again, bool_or(details ? 'rerun' AND details ->> 'rerun' <> 'true') AS wrong FROM led GROUP BY 1 ORDER BY 1;
SELECT transactions('public.up') < 38 AS together, (SELECT count(*) FROM up) = (SELECT count(DISTINCT id) FROM src WHERE w < 40 AND w NOT IN (10, 30)) AS loaded;
-- tried again, their attempts are counted
SELECT load_up(', on_error => ''continue''') \gexec
UPDATE src SET v = 'good' WHERE v = 'bad';
SELECT load_up('') \gexec
SELECT window_range, state, attempt FROM led WHERE window_range && '[10,11)' OR window_range && '[30,31)' ORDER BY 1, attempt;
-- where the first that fails ends it, what came before is there
TRUNCATE up, led;
UPDATE src SET v = 'bad' WHERE id = 92;
SELECT load_up('') \gexec
SELECT state, count(*), range_agg(window_range) FROM led GROUP BY 1 ORDER BY 1;
UPDATE src SET v = 'good' WHERE id = 92;
-- what fails at the commit
CREATE TABLE ref (id int PRIMARY KEY);
INSERT INTO ref SELECT DISTINCT id FROM src WHERE id <> 40;
TRUNCATE up, led;
ALTER TABLE up ADD FOREIGN KEY (id) REFERENCES ref DEFERRABLE INITIALLY DEFERRED;
SELECT load_up('') \gexec
SELECT state, count(*), range_agg(window_range), min(error_code) FROM led GROUP BY 1 ORDER BY 1;
ALTER TABLE up DROP CONSTRAINT up_id_fkey;

-- an audit sees its window, whatever is loaded with it, and its failure is its window's
TRUNCATE up, led;
SELECT load_up(', on_error => ''continue'', audit => ''SELECT id FROM up WHERE w >= $1 AND w < $2 AND id = 71''') \gexec
SELECT state, range_agg(window_range), min(error_message) FROM led GROUP BY 1 ORDER BY 1;
SELECT transactions('public.up') < 39 AS together;

-- one by one: what is volatile, a target that something watches, a ledger that somebody watches, one whose rows are looked at
CREATE FUNCTION noted(p text) RETURNS text LANGUAGE sql AS $$ SELECT format('%s windows in %s transactions', count(*), count(DISTINCT xmin::text)) FROM led WHERE pipeline = p AND state = 'complete' $$;
CREATE FUNCTION load_noted(source text, more text DEFAULT '') RETURNS text LANGUAGE sql AS $$ SELECT format('CALL idem_load_window(''led'', ''up'', %L, ''[0,30)'', ''upsert'', keys => ''{id}'', window_column => ''w'', pipeline => ''p'', step => ''1''%s)', source, more) $$;
\set emptied 'TRUNCATE up, led;'
:emptied
SELECT load_noted('SELECT * FROM src WHERE w >= $1 AND w < $2 AND random() >= 0') \gexec
SELECT noted('p') AS volatile_source;
:emptied
SELECT load_noted('src', ', audit => ''SELECT 1 WHERE random() < 0''') \gexec
SELECT noted('p') AS volatile_audit;
:emptied
SELECT load_noted('SELECT * FROM src WHERE w >= $1 AND w < $2 AND (SELECT count(*) >= 0 FROM led)') \gexec
SELECT noted('p') AS source_reads_ledger;
:emptied
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
CREATE TRIGGER t BEFORE INSERT ON up FOR EACH ROW EXECUTE FUNCTION keep();
SELECT load_noted('src') \gexec
SELECT noted('p') AS target_with_trigger;
DROP TRIGGER t ON up;
:emptied
CREATE TRIGGER t BEFORE INSERT ON led FOR EACH ROW EXECUTE FUNCTION keep();
SELECT load_noted('src') \gexec
SELECT noted('p') AS ledger_with_trigger;
DROP TRIGGER t ON led;
:emptied
-- a constraint that takes no range
ALTER TABLE led ADD CONSTRAINT small CHECK (upper(window_range) - lower(window_range) = 1);
SELECT load_noted('src') \gexec
SELECT noted('p') AS ledger_with_check;
ALTER TABLE led DROP CONSTRAINT small;
:emptied
BEGIN;
SELECT load_noted('src') \gexec
COMMIT;
SELECT noted('p') AS in_a_transaction;
:emptied
SET idem.wait_for_writers = off;
SET default_transaction_isolation = 'repeatable read';
SELECT load_noted('src') \gexec
SELECT noted('p') AS repeatable_read;
RESET default_transaction_isolation;
RESET idem.wait_for_writers;

-- who may not write all of a row's columns
:emptied
CREATE ROLE regress_batcher;
GRANT SELECT, INSERT, UPDATE (method, source_rows, inserted_rows, updated_rows, deleted_rows, unchanged_rows, dead_rows, source_digest, digest_version, finished_at, source_schema, details) ON led TO regress_batcher;
GRANT USAGE ON SEQUENCE led_run_id_seq TO regress_batcher;
GRANT ALL ON up, src TO regress_batcher;
SET ROLE regress_batcher;
SELECT load_noted('src') \gexec
RESET ROLE;
SELECT noted('p') AS some_columns;
:emptied
GRANT UPDATE ON led TO regress_batcher;
SET ROLE regress_batcher;
SELECT load_noted('src') \gexec
RESET ROLE;
SELECT noted('p') AS all_columns, (SELECT string_agg(DISTINCT run_by::text, ',') FROM led) AS run_by;

DROP TABLE src, up, re, bag, up1, re1, bag1, together, ref CASCADE;
DROP VIEW said;
DROP TABLE led CASCADE;
DROP FUNCTION transactions, load_up, noted, load_noted, keep;
DROP PROCEDURE load_all;
DROP ROLE regress_batcher;
