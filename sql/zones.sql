-- A pipeline's windows are loaded under one time zone, which the ledger says
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY';
CREATE SCHEMA zones; SET search_path = zones, public;
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT idem_create_ledger('led'), idem_create_ledger('oled', 'int8range');
CREATE TABLE tgt (id int PRIMARY KEY, ts timestamptz NOT NULL);
CREATE PROCEDURE load(days text, zone text DEFAULT NULL, force boolean DEFAULT false, lookback text DEFAULT NULL) LANGUAGE plpgsql AS $$ BEGIN
    PERFORM idem_load('led', 'tgt', 'SELECT extract(epoch FROM $1)::int AS id, $1 AS ts', days, 'reload', keys => '{id}', window_column => 'ts', time_zone => zone, force => force, lookback => lookback);
END $$;
CREATE VIEW runs AS SELECT window_range, state, details - '{superseded_at,superseded_by,context}'::text[] AS details FROM led ORDER BY run_id;

-- each run says under which zone it ran, a failed one too
CALL load('[2024-01-01,2024-01-03)');
SELECT * FROM runs;
CALL idem_load_window('led', 'tgt', 'SELECT 1 / 0 AS id, $1 AS ts', '[2024-02-01,2024-02-02)', 'reload', keys => '{id}', window_column => 'ts');
SELECT * FROM runs WHERE state = 'failed';

-- another zone is refused, by the session or by the argument, and for an empty window too
SET timezone = 'America/New_York';
CALL load('[2024-01-03,2024-01-04)');
\echo :SQLSTATE
CALL load('empty');
CALL load('[2024-01-03,2024-01-04)', 'Asia/Tokyo');
SELECT count(*) FROM led;
-- the same zone by another name is the same, and so are two that are always as far from UTC
CALL load('[2024-01-03,2024-01-04)', 'UTC');
CALL load('[2024-01-04,2024-01-05)', 'utc');
CALL load('[2024-01-05,2024-01-06)', 'Etc/UTC');
CALL load('[2024-01-06,2024-01-07)', '<+00>-00');
CALL load('[2024-01-07,2024-01-08)', 'Europe/London');
SELECT window_range, details->>'time_zone' AS zone FROM runs WHERE state = 'complete';

-- one that is not known any more is another; where none has been written down there is nothing to compare
UPDATE led SET details = '{"time_zone": "Mars/Olympus"}' WHERE state = 'complete';
CALL load('[2024-01-07,2024-01-08)');
UPDATE led SET details = details - 'time_zone';
CALL load('[2024-01-07,2024-01-08)', 'Europe/Berlin');
CALL load('[2024-01-08,2024-01-09)', 'UTC');

-- what is left of a window that is redone in part remembers it
TRUNCATE led; TRUNCATE tgt;
CALL load('[2024-01-01,2024-01-05)', 'Europe/Berlin');
SELECT idem_invalidate('led', 'zones.tgt', '[2024-01-02,2024-01-03)');
SELECT window_range, state, details - 'split_from' - 'superseded_at' - 'superseded_by' AS details FROM led WHERE pipeline = 'zones.tgt' ORDER BY run_id;
CALL load('[2024-01-02,2024-01-03)');
CALL load('[2024-01-02,2024-01-03)', 'Europe/Berlin');

-- to redo a part under another zone is refused, to redo all is how to change it
CALL load('[2024-01-02,2024-01-03)', force => true);
CALL load('[2024-01-01,2024-01-06)', lookback => '1 day');
CALL load('[2023-12-31,2024-01-06)', force => true);
SELECT window_range, details->>'time_zone' AS zone FROM runs WHERE state = 'complete';
CALL load('[2024-01-01,2024-01-07)', 'UTC', lookback => '1 year');
SELECT window_range, details->>'time_zone' AS zone FROM runs WHERE state = 'complete';
-- so is to invalidate all, as the hint says
CALL load('[2024-01-07,2024-01-08)');
SELECT idem_invalidate('zones.led', 'zones.tgt', '["2023-12-31 23:00:00+00","2024-01-07 00:00:00+00")');
CALL load('[2024-01-07,2024-01-08)');

-- windows of offsets: the source runs under the zone all the same; a pipeline of its own has a zone of its own
SET timezone = 'UTC';
CREATE TABLE nums (n int PRIMARY KEY);
CALL idem_load_window('oled', 'nums', 'SELECT $1 AS n', '[0,1)', 'upsert', keys => '{n}');
CALL idem_load_window('oled', 'nums', 'SELECT $1 AS n', '[1,2)', 'upsert', keys => '{n}', time_zone => 'Asia/Tokyo');
CALL idem_load_window('oled', 'nums', 'SELECT $1 AS n', '[1,2)', 'upsert', keys => '{n}', time_zone => 'Asia/Tokyo', pipeline => 'in Tokyo');
SELECT pipeline, window_range, details FROM oled ORDER BY run_id;

-- a pipeline's definition may not change it either, unless nothing is complete
SET timezone = 'Asia/Tokyo';
SELECT idem_create_pipeline('zones.tgt', 'led', 'tgt', 'SELECT 1 AS id, $1 AS ts', 'reload', '{id}', 'ts', '1 day', '2024-01-01', watermark => 'SELECT timestamptz ''2024-01-02''');
SET timezone = 'UTC';
SELECT idem_create_pipeline('days', 'led', 'tgt', 'SELECT extract(epoch FROM $1)::int / (3 - extract(day FROM $1)::int) AS id, $1 AS ts', 'reload', '{id}', 'ts', '1 day', '2024-03-01', 'Europe/Berlin', watermark => 'SELECT timestamptz ''2024-03-04''', max_attempts => 1);
CALL idem_run_pipeline('days');
SELECT window_range, state, details->>'time_zone' AS zone FROM led WHERE pipeline = 'days' ORDER BY run_id;
SELECT idem_alter_pipeline('days', time_zone => 'UTC');
-- loaded by hand it has its zone too, and when it is tried again
CALL idem_load_window('led', 'tgt', 'SELECT 3 AS id, $1 AS ts', '[2024-03-03 00:00+01,2024-03-04 00:00+01)', 'reload', keys => '{id}', window_column => 'ts', pipeline => 'days');
SELECT idem_alter_pipeline('days', source => 'SELECT extract(epoch FROM $1)::int AS id, $1 AS ts'), idem_retry('days');
SET timezone = 'Asia/Tokyo';
CALL idem_run_pipeline('days');
SET timezone = 'UTC';
SELECT window_range, state, details->>'time_zone' AS zone FROM led WHERE pipeline = 'days' ORDER BY run_id;
SELECT idem_invalidate('led', 'days', '[2024-01-01,2025-01-01)');
SELECT idem_alter_pipeline('days', time_zone => 'UTC');
SELECT time_zone FROM idem_pipeline WHERE name = 'days';
-- what the ledger's own code catches does not end the error in the middle
CREATE FUNCTION catches() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END; RETURN 1; END $$;
CREATE INDEX ON led (run_id) WHERE catches() = 1;
SELECT idem_invalidate('led', 'days', '[2024-01-01,2025-01-01)');
CALL idem_load_window('days', '[2024-03-01,2024-03-02)');
SELECT idem_alter_pipeline('days', time_zone => 'Asia/Tokyo');
SELECT idem_drop_pipeline('days');
-- nor does what functions of the target's indexes SET when the server simplifies them
CREATE FUNCTION sets() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM set_config('timezone', 'Asia/Tokyo', false); RETURN 1; END $$;
CREATE TABLE moved (id int PRIMARY KEY, ts timestamptz);
CREATE INDEX ON moved (ts) WHERE sets() = 1;
SET timezone = 'UTC';
\c -
SET search_path = zones, public;
SET timezone = 'UTC';
CALL idem_load_window('led', 'moved', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-02)', 'reload', keys => '{id}', window_column => 'ts');
SELECT window_range, details->>'time_zone' AS zone FROM led WHERE pipeline = 'zones.moved';
SHOW timezone;
