-- Every error of a load: its SQLSTATE, its message, its hint, and nothing changed
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY';
CREATE SCHEMA errors; SET search_path = errors, public;
\set SHOW_CONTEXT never

CREATE TABLE src (id int, ts timestamptz, v text);
INSERT INTO src VALUES (1, '2024-01-01', 'a'), (2, '2024-01-02', 'b');
CREATE TABLE tgt (id int PRIMARY KEY, ts timestamptz NOT NULL, v text, must int NOT NULL DEFAULT 1,
    gen text GENERATED ALWAYS AS (v || '!') STORED, ident int GENERATED ALWAYS AS IDENTITY, j json);
SELECT idem_create_ledger('led'), idem_create_ledger('oled', 'int8range');
CREATE PROCEDURE load(source text DEFAULT 'src', win text DEFAULT '[2024-01-01,2024-01-05)', mode text DEFAULT 'upsert',
    keys text[] DEFAULT '{id}', wc text DEFAULT 'ts', target regclass DEFAULT 'tgt', ledger regclass DEFAULT 'led',
    step text DEFAULT NULL, version text DEFAULT NULL, audit text DEFAULT NULL, lookback text DEFAULT NULL,
    force boolean DEFAULT false, on_busy text DEFAULT 'wait', on_error text DEFAULT 'stop')
LANGUAGE plpgsql AS $$ BEGIN
    CALL public.idem_load_window(ledger, target, source, win, mode, keys => keys, window_column => wc, step => step,
        version_column => version, audit => audit, lookback => lookback, force => force, on_busy => on_busy, on_error => on_error);
END $$;

-- arguments
CALL load(mode => 'merge');
\echo :SQLSTATE
CALL load(mode => NULL);
\echo :SQLSTATE
CALL load(on_busy => 'panic');
\echo :SQLSTATE
CALL load(on_error => 'ignore');
\echo :SQLSTATE
CALL load(ledger => NULL);
\echo :SQLSTATE
CALL load(target => NULL);
\echo :SQLSTATE
CALL load(source => NULL);
\echo :SQLSTATE
CALL load(win => NULL);
\echo :SQLSTATE
CALL load(force => NULL);
\echo :SQLSTATE
CALL load(keys => NULL);
\echo :SQLSTATE
CALL load(keys => '{}');
\echo :SQLSTATE
CALL load(keys => '{id,id}');
\echo :SQLSTATE
CALL load(mode => 'reload', wc => NULL);
\echo :SQLSTATE
CALL load(mode => 'reload', keys => NULL, version => 'v');
\echo :SQLSTATE
CALL load(win => 'rubbish');
\echo :SQLSTATE
CALL load(win => '[2024-01-05,2024-01-01)');
\echo :SQLSTATE
CALL load(win => '[2024-01-05,)');
\echo :SQLSTATE
CALL load(win => '[-infinity,2024-01-05)');
\echo :SQLSTATE
CALL load(win => '(2024-01-01,2024-01-05)');
\echo :SQLSTATE
CALL idem_load_window('led', 'tgt', 'src', int8range(1, 5), 'upsert', keys => '{id}', window_column => 'ts');
\echo :SQLSTATE
CALL load(step => 'often');
\echo :SQLSTATE
CALL load(step => ' 1 ');
\echo :SQLSTATE
CALL load(step => '1 day 1.5');
\echo :SQLSTATE
CALL load(lookback => '-1');
\echo :SQLSTATE
CALL load(step => '0 days');
\echo :SQLSTATE
CALL load(step => '-1 day');
\echo :SQLSTATE
CALL load(step => '1 month -30 days');
\echo :SQLSTATE
CALL load(lookback => '-1 day');
\echo :SQLSTATE
CALL load(ledger => 'oled', wc => 'id', win => '[1,5)', step => '-1');
\echo :SQLSTATE
CALL load(ledger => 'oled', wc => 'id', win => '[1,5)', step => '1 day');
\echo :SQLSTATE
SELECT idem_create_ledger('dled', 'daterange');
CALL load(ledger => 'dled', source => 'SELECT 1 AS id, now() AS ts', wc => NULL, win => '[2024-01-01,2024-01-02)', step => '1 hour');
\echo :SQLSTATE

-- ledger
CALL load(ledger => 'src');
\echo :SQLSTATE
CREATE TABLE hand OF idem_ledger;
CALL load(ledger => 'hand');
\echo :SQLSTATE

-- target
CREATE SEQUENCE seq;
CALL load(target => 'seq');
\echo :SQLSTATE
CREATE MATERIALIZED VIEW mat AS SELECT * FROM src;
CALL load(target => 'mat');
\echo :SQLSTATE
CREATE VIEW joined AS SELECT s.id, s.ts, t.v FROM src s JOIN tgt t USING (id);
CALL load(target => 'joined');
\echo :SQLSTATE
CREATE TABLE mother (id int PRIMARY KEY, ts timestamptz, v text); CREATE TABLE daughter () INHERITS (mother);
CALL load(target => 'mother');
\echo :SQLSTATE
CALL load(keys => '{nope}');
\echo :SQLSTATE
CALL load(keys => '{ID}');
\echo :SQLSTATE
CALL load(keys => '{j}');
\echo :SQLSTATE
SELECT array_agg('k' || i) AS many FROM generate_series(1, 101) i \gset
CALL load(keys => :'many');
\echo :SQLSTATE
CALL load(wc => 'nope');
\echo :SQLSTATE
CALL load(wc => 'v');
\echo :SQLSTATE
CALL load(ledger => 'oled', win => '[1,5)');
\echo :SQLSTATE
CALL load(version => 'nope');
\echo :SQLSTATE
CALL load(version => 'j');
\echo :SQLSTATE
CALL load(keys => '{id,ts}');
\echo :SQLSTATE
CALL load(keys => '{v}');
\echo :SQLSTATE
CREATE TABLE nullable (id int UNIQUE, ts timestamptz, v text);
CALL load(target => 'nullable');
\echo :SQLSTATE
CREATE TABLE partial (id int NOT NULL, ts timestamptz, v text); CREATE UNIQUE INDEX ON partial (id) WHERE id > 0;
CALL load(target => 'partial');
\echo :SQLSTATE

-- the index that is missing is one of the table behind a view
CREATE TABLE behind (id int, "Key" int NOT NULL, ts timestamptz, v text);
CREATE VIEW front AS SELECT "Key" AS k, ts, v, id + 1 AS computed FROM behind;
CALL load(target => 'front', keys => '{k}', source => 'SELECT id AS k, ts FROM src');
\echo :SQLSTATE
CALL load(target => 'front', keys => '{computed}', source => 'SELECT id AS computed, ts FROM src');
\echo :SQLSTATE

-- source columns
CALL load(source => 'SELECT id, ts, v, 1 AS surplus FROM src');
\echo :SQLSTATE
CALL load(source => 'SELECT id, ts, v, v FROM src');
\echo :SQLSTATE
CALL load(source => 'SELECT id, v FROM src WHERE ts >= $1');
\echo :SQLSTATE
CALL load(source => 'SELECT ts, v FROM src');
\echo :SQLSTATE
CALL load(source => 'SELECT id, ts FROM src', version => 'v');
\echo :SQLSTATE
CALL load(source => 'SELECT id, ts, id AS ident FROM src');
\echo :SQLSTATE
CALL load(source => 'SELECT id, ts, true AS must FROM src');
\echo :SQLSTATE
CREATE TABLE strict (id int PRIMARY KEY, ts timestamptz, v text NOT NULL);
CALL load(source => 'SELECT id, ts FROM src', target => 'strict');
\echo :SQLSTATE

-- source as a relation, and as anything but one SELECT
CALL load(source => 'nowhere');
\echo :SQLSTATE
CALL load(source => 'src', wc => NULL);
\echo :SQLSTATE
CREATE TABLE other (id int, at timestamptz);
CALL load(source => 'other');
\echo :SQLSTATE
CALL load(source => '');
\echo :SQLSTATE
CALL load(source => '-- nothing');
\echo :SQLSTATE
CALL load(source => 'SELECT id FROM');
\echo :SQLSTATE
CALL load(source => 'SELECT id, ts FROM src; DROP TABLE src');
\echo :SQLSTATE
CALL load(source => 'WITH gone AS (DELETE FROM src RETURNING *) SELECT id, ts FROM gone');
\echo :SQLSTATE
CALL load(source => 'DELETE FROM src RETURNING id, ts');
\echo :SQLSTATE
CALL load(source => 'SELECT id, ts INTO copy FROM src');
\echo :SQLSTATE
CALL load(source => 'SELECT id, ts FROM src WHERE ts < $3');
\echo :SQLSTATE
CALL load(source => 'SELECT id, ts FROM nowhere');
\echo :SQLSTATE
CALL load(source => 'SELECT id, ts FROM src; ; SELECT 1');
\echo :SQLSTATE
CALL load(source => '/* only a comment */ ;');
\echo :SQLSTATE
CALL load(source => 'VALUES (1, ''x'')');
\echo :SQLSTATE
CALL load(source => 'SELECT id, ''text'' || v AS ts FROM src');
\echo :SQLSTATE
CALL load(audit => 'UPDATE tgt SET v = NULL');
\echo :SQLSTATE
CALL load(audit => 'SELECT 1; SELECT 2');
\echo :SQLSTATE

-- nothing was loaded by any of these, and no run begun
SELECT (SELECT count(*) FROM tgt) AS rows, (SELECT count(*) FROM led WHERE details -> 'unread' IS NULL) + (SELECT count(*) FROM oled WHERE details -> 'unread' IS NULL) AS runs, (SELECT count(*) FROM src) AS src;

-- errors of a piece: rolled back, and recorded as failed
CALL load(source => 'SELECT id, ts + interval ''1 week'' AS ts FROM src');
\echo :SQLSTATE
CALL load(source => 'SELECT id, NULL::timestamptz AS ts FROM src');
\echo :SQLSTATE
CALL load(source => 'SELECT 1 AS id, ts, v FROM src');
\echo :SQLSTATE
CALL load(source => 'SELECT id / 0 AS id, ts FROM src');
\echo :SQLSTATE
CALL load(source => 'SELECT id, ts, NULL::int AS must FROM src');
\echo :SQLSTATE
CALL load(audit => 'SELECT ''bad'' AS verdict, $1 AS since');
\echo :SQLSTATE
CALL load(audit => 'SELECT pg_sleep(0), NULL, repeat(''long '', 30)');
\echo :SQLSTATE
CALL load(source => 'SELECT r.run_id::int AS id, $1 AS ts FROM idem_load(''led'', ''tgt'', ''src'', ''[2024-01-01,2024-01-05)'', ''upsert'', keys => ''{id}'', window_column => ''ts'') r');
\echo :SQLSTATE
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM led; RETURN NEW; END $$;
CREATE TRIGGER meddle BEFORE INSERT ON tgt FOR EACH ROW EXECUTE FUNCTION meddle();
CALL load();
\echo :SQLSTATE
DROP TRIGGER meddle ON tgt;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = 'ZZ001', HINT = 'ask nicely', DETAIL = 'by a trigger'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON tgt FOR EACH ROW EXECUTE FUNCTION refuse();
CALL load();
\echo :SQLSTATE
DROP TRIGGER refuse ON tgt;
SET statement_timeout = 200;
CALL load(source => 'SELECT id, ts FROM src, pg_sleep(10)');
\echo :SQLSTATE
RESET statement_timeout;
INSERT INTO led (pipeline, window_range, state) VALUES ('errors.tgt', '[2024-01-03,2024-01-04)', 'running');
CALL load();
\echo :SQLSTATE
UPDATE led SET state = 'failed' WHERE state = 'running';
SELECT attempt, error_code, error_message, details - '{context,time_zone}'::text[] AS details FROM led WHERE error_code IS NOT NULL AND details -> 'unread' IS NULL ORDER BY run_id;
SELECT count(*) FROM tgt;

-- a failure that cannot be recorded is still the failure that is reported
ALTER TABLE led ADD CONSTRAINT no_failures CHECK (state <> 'failed') NOT VALID;
CALL load(source => 'SELECT id / 0 AS id, ts FROM src');
\echo :SQLSTATE
ALTER TABLE led DROP CONSTRAINT no_failures;

-- an error of the claim itself, where it does not wait, is the error that is reported
ALTER TABLE led ADD CONSTRAINT no_claims CHECK (state <> 'complete') NOT VALID;
\set VERBOSITY terse
CALL load(on_busy => 'skip');
\echo :SQLSTATE
CALL load(on_busy => 'error');
\echo :SQLSTATE
\set VERBOSITY default
ALTER TABLE led DROP CONSTRAINT no_claims;

-- a grid that leaves the range of its bounds, and one too long to look at
CALL load(ledger => 'oled', source => 'SELECT 1 AS id, now() AS ts WHERE false', wc => NULL, win => '[9223372036854775000,9223372036854775807)', step => '1000');
\echo :SQLSTATE
SELECT idem_calendar('oled', 'p', '0', '9223372036854775807', '1000');
\echo :SQLSTATE

-- isolation levels
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM idem_load('led', 'tgt', 'src', '[2024-01-01,2024-01-05)', 'upsert', keys => '{id}', window_column => 'ts');
\echo :SQLSTATE
ROLLBACK;
SET default_transaction_isolation = 'serializable';
CALL load();
\echo :SQLSTATE
SET idem.wait_for_writers = off;
CALL load();
\echo :SQLSTATE
RESET default_transaction_isolation; RESET idem.wait_for_writers;
SELECT count(*) FROM tgt;

-- a read-only transaction
BEGIN READ ONLY;
CALL load(force => true);
\echo :SQLSTATE
ROLLBACK;
SET default_transaction_read_only = on;
CALL load(force => true);
SELECT idem_create_ledger('never');
\echo :SQLSTATE
SELECT idem_invalidate('led', 'p', '[2024-01-01,2024-01-02)');
\echo :SQLSTATE
SELECT idem_prune('led', '1 day');
SELECT idem_adopt('led', 'p', 'tgt');
SELECT idem_gaps('led', 'p', '[2024-01-01,2024-01-02)');
RESET default_transaction_read_only;

-- rights are the caller's
CREATE ROLE regress_idem_loader;
GRANT USAGE ON SCHEMA errors TO regress_idem_loader;
GRANT EXECUTE ON PROCEDURE load TO regress_idem_loader;
SET ROLE regress_idem_loader;
CALL load(force => true);
\echo :SQLSTATE
RESET ROLE;
GRANT SELECT, INSERT, UPDATE ON led TO regress_idem_loader; GRANT USAGE ON led_run_id_seq TO regress_idem_loader;
SET ROLE regress_idem_loader;
CALL load(force => true);
\echo :SQLSTATE
RESET ROLE;
GRANT SELECT, INSERT, UPDATE ON tgt TO regress_idem_loader;
SET ROLE regress_idem_loader;
CALL load(force => true);
\echo :SQLSTATE
RESET ROLE;
GRANT SELECT ON src TO regress_idem_loader;
SET ROLE regress_idem_loader;
CALL load(force => true);
\echo :SQLSTATE
RESET ROLE;
SELECT run_by, state, error_code FROM led WHERE run_by = 'regress_idem_loader' ORDER BY run_id;
DROP OWNED BY regress_idem_loader; DROP ROLE regress_idem_loader;

-- OIDs that are none are the user's mistake, not the server's
SELECT idem_create_ledger('x', 0);
SELECT idem_create_ledger('x', 999999);
SELECT idem_gaps(999999::regclass, 'p', '[2024-01-01,2024-01-02)');
SELECT idem_invalidate(0::regclass, 'p', '[2024-01-01,2024-01-02)');
SELECT idem_prune(999999::regclass, '1 day');
SELECT * FROM idem_calendar(999999::regclass, 'p', '2024-01-01', '2024-01-02', '1 day');
CALL idem_load_window(999999::regclass, 999998::regclass, 'SELECT 1 AS id', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}');

-- what is wrong with a value says of which argument
\set VERBOSITY default
CALL idem_load_window('led', 'tgt', 'src', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}', window_column => 'ts', step => 'soon');
\echo :SQLSTATE
CALL idem_load_window('oled', 'tgt', 'SELECT 1 AS id, now() AS ts', '[0,10)', 'upsert', keys => '{id}', step => '1', lookback => '9223372036854775808');
\echo :SQLSTATE
CALL idem_load_window('oled', 'tgt', 'SELECT 1 AS id, now() AS ts', '[5,0)', 'upsert', keys => '{id}');
\echo :SQLSTATE
SELECT idem_gaps('oled', 'p', '[0,9223372036854775808)');
\echo :SQLSTATE
SELECT idem_coverage('oled', 'p', repeat('[', 1000));
\echo :SQLSTATE
SELECT idem_invalidate('oled', 'p', '');
\echo :SQLSTATE
SELECT idem_calendar('oled', 'p', 'x', '1', '1');
\echo :SQLSTATE
SELECT idem_calendar('led', 'p', timestamptz '2024-01-01', 'infinity', '1 day');
\echo :SQLSTATE
SELECT idem_prune('led', '10000 years');
\echo :SQLSTATE
SELECT idem_prune('led', '-1 day');
\echo :SQLSTATE
SELECT * FROM idem_calendar('led', 'p', '0002-12-31 12:00 BC', '0001-01-01 BC', '6 hours');
\set VERBOSITY terse
