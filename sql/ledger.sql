-- The ledger: created, checked, asked, reopened
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY';
CREATE SCHEMA ledgers; SET search_path = ledgers, public;
\set VERBOSITY terse

SELECT idem_create_ledger('led');
SELECT idem_create_ledger('led_ts', 'tsrange'), idem_create_ledger('led_date', 'daterange'),
       idem_create_ledger('led_int8', 'int8range');
\d led
\d led_int8

-- quoted, qualified and long names
CREATE SCHEMA "My Schema";
SELECT idem_create_ledger('"My Schema"."Led ""ger"');
SELECT idem_create_ledger(repeat('x', 63), 'int8range');
INSERT INTO "My Schema"."Led ""ger" (pipeline, window_range, state) VALUES ('p', '[2024-01-01,2024-01-02)', 'complete');

-- windows are [lower, upper), finite and not empty; pipelines do not mix
INSERT INTO led (pipeline, window_range, state) VALUES ('p', '[2024-01-01,2024-01-02)', 'complete');
INSERT INTO led (pipeline, window_range, state) VALUES ('p', '[2024-01-01 12:00,2024-01-03)', 'complete');
INSERT INTO led (pipeline, window_range, state) VALUES ('p', '[2024-01-01 12:00,2024-01-03)', 'running');
INSERT INTO led (pipeline, window_range, state) VALUES ('p', '[2024-01-01 12:00,2024-01-03)', 'failed'),
    ('p', '[2024-01-01 12:00,2024-01-03)', 'superseded'), ('q', '[2024-01-01,2024-01-02)', 'complete');
INSERT INTO led (pipeline, window_range, state) VALUES ('p', 'empty', 'failed');
INSERT INTO led (pipeline, window_range, state) VALUES ('p', '[2024-02-01,)', 'failed');
INSERT INTO led (pipeline, window_range, state) VALUES ('p', '(,2024-02-01)', 'failed');
INSERT INTO led (pipeline, window_range, state) VALUES ('p', '[2024-02-01,infinity)', 'failed');
INSERT INTO led (pipeline, window_range, state) VALUES ('p', '(2024-02-01,2024-02-02]', 'failed');
INSERT INTO led (pipeline, window_range, state) VALUES (NULL, '[2024-02-01,2024-02-02)', 'failed');

-- gaps and coverage, as ranges and as text
INSERT INTO led (pipeline, window_range, state) VALUES ('p', '[2024-01-03,2024-01-05)', 'complete');
SELECT idem_gaps('led', 'p', '[2024-01-01,2024-01-10)'::tstzrange);
SELECT idem_gaps('led', 'p', '[2024-01-01,2024-01-10)');
SELECT pg_typeof(idem_gaps('led', 'p', '[2024-01-01,2024-01-10)'::tstzrange)), pg_typeof(idem_gaps('led', 'p', '[2024-01-01,2024-01-10)'));
SELECT idem_coverage('led', 'p', '[2024-01-01 12:00,2024-01-04)'::tstzrange);
SELECT idem_coverage('led', 'p', '[2024-01-01 12:00,2024-01-04)');
SELECT idem_gaps('led', 'nobody', '[2024-01-01,2024-01-02)'), idem_coverage('led', 'nobody', '[2024-01-01,2024-01-02)');
SELECT idem_gaps('led', 'p', 'empty'), idem_gaps('led', 'p', '(,)'), idem_gaps('led', 'p', NULL::text) IS NULL;
SELECT idem_gaps('led_ts', 'p', '[2024-01-01,2024-01-02)'), idem_gaps('led_date', 'p', '[2024-01-01,2024-01-02]'),
       idem_gaps('led_int8', 'p', '[1,10]'), idem_gaps('led_int8', 'p', int8range(1, 10));
PREPARE gaps(text) AS SELECT idem_gaps('led', 'p', $1); EXECUTE gaps('[2024-01-01,2024-01-04)');

-- the gaps of a large ledger come from its index
INSERT INTO led_int8 (pipeline, window_range, state)
SELECT 'big', int8range(i, i + 1), 'complete' FROM generate_series(0, 19998, 2) i;
ANALYZE led_int8;
SET enable_seqscan = off; SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT range_agg(window_range) FROM led_int8
WHERE pipeline = 'big' AND window_range && '[100,110)' AND state = 'complete';
RESET enable_seqscan; RESET enable_bitmapscan;
SELECT idem_gaps('led_int8', 'big', '[100,110)');

-- invalidation: whole windows, parts of windows, nothing
SELECT idem_invalidate('led', 'p', '[2024-01-04,2024-01-04 12:00)');
SELECT run_id, window_range, state, mode, details - 'superseded_at' - 'superseded_by' AS details FROM led WHERE pipeline = 'p' ORDER BY run_id;
SELECT idem_gaps('led', 'p', '[2024-01-01,2024-01-10)');
SELECT idem_invalidate('led', 'p', '[2024-01-01,2025-01-01)'::tstzrange);
SELECT idem_gaps('led', 'p', '[2024-01-01,2024-01-10)'), idem_coverage('led', 'q', '[2024-01-01,2024-01-10)');
SELECT idem_invalidate('led', 'p', '[2024-01-01,2025-01-01)'), idem_invalidate('led', 'p', 'empty');
SELECT idem_invalidate('led_int8', 'big', '[0,20000)');

-- a role with its own ledger sees no more than it may
CREATE ROLE regress_idem_reader;
SET ROLE regress_idem_reader;
SELECT idem_gaps('led', 'p', '[2024-01-01,2024-01-10)');
SELECT idem_invalidate('led', 'p', '[2024-01-01,2024-01-10)');
RESET ROLE;
DROP ROLE regress_idem_reader;

-- safe under any search_path: no operator or function of ours is taken from it
CREATE SCHEMA evil;
CREATE FUNCTION evil.raise(anyelement, anyelement) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
CREATE OPERATOR evil.= (FUNCTION = evil.raise, LEFTARG = anyelement, RIGHTARG = anyelement);
CREATE OPERATOR evil.&& (FUNCTION = evil.raise, LEFTARG = anyelement, RIGHTARG = anyelement);
CREATE FUNCTION evil.isfinite(timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
SET search_path = evil, public, pg_catalog;
SELECT public.idem_create_ledger('public.led_safe');
INSERT INTO public.led_safe (pipeline, window_range, state) VALUES ('p', '[2024-01-01,2024-01-02)', 'complete');
SELECT public.idem_gaps('public.led_safe', 'p', '[2024-01-01,2024-01-04)');
SELECT public.idem_invalidate('public.led_safe', 'p', '[2024-01-01,2024-01-01 12:00)');
SET search_path = ledgers, public;

-- what is no ledger, or one without what makes it safe
\set VERBOSITY default
CREATE TABLE plain (run_id bigint);
CREATE VIEW a_view AS SELECT * FROM led;
CREATE TABLE handmade OF idem_ledger;
SELECT idem_gaps('plain', 'p', '[2024-01-01,2024-01-10)');
\echo :SQLSTATE
SELECT idem_gaps('a_view', 'p', '[2024-01-01,2024-01-10)');
\echo :SQLSTATE
SELECT idem_gaps('handmade', 'p', '[2024-01-01,2024-01-10)');
\echo :SQLSTATE
SELECT idem_invalidate('handmade', 'p', '[2024-01-01,2024-01-10)');
\echo :SQLSTATE
ALTER TABLE handmade ALTER run_id SET NOT NULL;
SELECT idem_invalidate('handmade', 'p', '[2024-01-01,2024-01-10)');
\echo :SQLSTATE
ALTER TABLE handmade ALTER run_id SET DEFAULT 1, ALTER pipeline SET NOT NULL, ALTER window_range SET NOT NULL;
SELECT idem_invalidate('handmade', 'p', '[2024-01-01,2024-01-10)');
\echo :SQLSTATE
ALTER TABLE handmade ALTER state SET NOT NULL;
SELECT idem_invalidate('handmade', 'p', '[2024-01-01,2024-01-10)');
\echo :SQLSTATE
ALTER TABLE handmade ADD PRIMARY KEY (run_id);
SELECT idem_invalidate('handmade', 'p', '[2024-01-01,2024-01-10)');
\echo :SQLSTATE
\set VERBOSITY terse
ALTER TABLE handmade ADD CONSTRAINT too_wide EXCLUDE USING gist (pipeline WITH =, window_range WITH &&);
SELECT idem_invalidate('handmade', 'p', '[2024-01-01,2024-01-10)');
\echo :SQLSTATE
ALTER TABLE handmade DROP CONSTRAINT too_wide, ADD CONSTRAINT too_narrow
    EXCLUDE USING gist (pipeline WITH =, window_range WITH &&) WHERE (state = 'complete');
SELECT idem_invalidate('handmade', 'p', '[2024-01-01,2024-01-10)');
\echo :SQLSTATE
ALTER TABLE handmade DROP CONSTRAINT too_narrow, ADD CONSTRAINT late
    EXCLUDE USING gist (pipeline WITH =, window_range WITH &&) WHERE (state IN ('running', 'complete')) DEFERRABLE;
SELECT idem_invalidate('handmade', 'p', '[2024-01-01,2024-01-10)');
\echo :SQLSTATE
ALTER TABLE handmade DROP CONSTRAINT late, ADD CONSTRAINT good
    EXCLUDE USING gist (pipeline WITH =, window_range WITH &&) WHERE (state = 'running' OR state = 'complete');
SELECT idem_invalidate('handmade', 'p', '[2024-01-01,2024-01-10)');
\echo :SQLSTATE

-- other errors
\set VERBOSITY default
SELECT idem_create_ledger('bad', 'int4range');
\echo :SQLSTATE
SELECT idem_create_ledger('led');
\echo :SQLSTATE
SELECT idem_gaps('led', 'p', int8range(1, 10));
\echo :SQLSTATE
SELECT idem_gaps('led', 'p', 'rubbish');
\echo :SQLSTATE
SELECT idem_invalidate('led', 'p', '(,)');
\echo :SQLSTATE
SELECT idem_invalidate('led', 'p', '[2024-01-01,infinity)');
\echo :SQLSTATE
SELECT idem_invalidate('led', 'p', '(2024-01-01,2024-01-02]');
\echo :SQLSTATE

\set SHOW_CONTEXT never
-- a ledger that does not take a claim, or takes another one, ends the load at once
SELECT idem_create_ledger('deaf');
CREATE TABLE deaf_target (id int PRIMARY KEY, ts timestamptz);
CREATE FUNCTION deaf_swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION deaf_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.pipeline := ''another''; RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON deaf FOR EACH ROW EXECUTE FUNCTION deaf_swallow();
CALL idem_load_window('deaf', 'deaf_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}');
CALL idem_load_window('deaf', 'deaf_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}', force => true);
SELECT idem_invalidate('deaf', 'ledgers.deaf_target', '[2024-01-01,2024-01-02)');
DROP TRIGGER t ON deaf;
CREATE TRIGGER t BEFORE INSERT ON deaf FOR EACH ROW EXECUTE FUNCTION deaf_change();
CALL idem_load_window('deaf', 'deaf_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}');
DROP TRIGGER t ON deaf;
CREATE RULE r AS ON INSERT TO deaf DO INSTEAD NOTHING;
CALL idem_load_window('deaf', 'deaf_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}');
DROP RULE r ON deaf;
CALL idem_load_window('deaf', 'deaf_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}');
CREATE TRIGGER t BEFORE UPDATE ON deaf FOR EACH ROW EXECUTE FUNCTION deaf_swallow();
SELECT idem_invalidate('deaf', 'ledgers.deaf_target', '[2024-01-01,2024-01-02)');
SELECT idem_invalidate('deaf', 'ledgers.deaf_target', '[2024-02-01,2024-02-02)');
CALL idem_load_window('deaf', 'deaf_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}', force => true);
CALL idem_load_window('deaf', 'deaf_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}', force => true, on_busy => 'skip');
DROP TRIGGER t ON deaf;
SELECT window_range, state FROM deaf WHERE pipeline = 'ledgers.deaf_target' AND state = 'complete';
CREATE ROLE regress_deaf;
GRANT ALL ON deaf, deaf_target TO regress_deaf;
GRANT USAGE ON SCHEMA ledgers TO regress_deaf;
GRANT ALL ON ALL SEQUENCES IN SCHEMA ledgers TO regress_deaf;
ALTER TABLE deaf ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON deaf USING (run_by = current_user) WITH CHECK (true);
-- policies are the owner's: nobody else reads or writes a ledger past them, but whom they do not apply to
SELECT idem_gaps('deaf', 'ledgers.deaf_target', '[2024-01-01,2024-01-03)');
SET ROLE regress_deaf;
SELECT idem_gaps('deaf', 'ledgers.deaf_target', '[2024-01-01,2024-01-03)');
\echo :SQLSTATE
SELECT idem_invalidate('deaf', 'ledgers.deaf_target', '[2024-01-01,2024-01-03)');
CALL idem_load_window('deaf', 'deaf_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}');
RESET ROLE;
ALTER TABLE deaf OWNER TO regress_deaf;
SELECT idem_gaps('deaf', 'ledgers.deaf_target', '[2024-01-01,2024-01-03)');
ALTER TABLE deaf FORCE ROW LEVEL SECURITY;
SELECT idem_gaps('deaf', 'ledgers.deaf_target', '[2024-01-01,2024-01-03)');
SELECT * FROM idem_calendar('deaf', 'ledgers.deaf_target', '2024-01-01', '2024-01-03', '1 day');
SET ROLE regress_deaf;
SELECT idem_gaps('deaf', 'ledgers.deaf_target', '[2024-01-01,2024-01-03)');
CALL idem_load_window('deaf', 'deaf_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}');
CALL idem_load_window('deaf', 'deaf_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}', force => true);
RESET ROLE;
SELECT count(*) FROM deaf_target;
DROP TABLE deaf, deaf_target;
DROP FUNCTION deaf_swallow(), deaf_change();
REVOKE ALL ON ALL SEQUENCES IN SCHEMA ledgers FROM regress_deaf;
REVOKE USAGE ON SCHEMA ledgers FROM regress_deaf;
DROP ROLE regress_deaf;

-- what is complete belongs to the relation it was loaded into
SELECT idem_create_ledger('whose');
CREATE TABLE whose_target (id int PRIMARY KEY, ts timestamptz);
CREATE TABLE whose_other (id int PRIMARY KEY, ts timestamptz);
CALL idem_load_window('whose', 'whose_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}', pipeline => 'p');
CALL idem_load_window('whose', 'whose_other', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-03)', 'upsert', keys => '{id}', pipeline => 'p');
-- another window is nobody's yet; all of it can be redone
CALL idem_load_window('whose', 'whose_other', 'SELECT 2 AS id, $1 AS ts', '[2024-01-02,2024-01-03)', 'upsert', keys => '{id}', pipeline => 'p');
CALL idem_load_window('whose', 'whose_target', 'SELECT 2 AS id, $1 AS ts', '[2024-01-02,2024-01-03)', 'upsert', keys => '{id}', pipeline => 'p', force => true);
-- a name says nothing: dropped and created again
ALTER TABLE whose_target RENAME TO whose_renamed;
CALL idem_load_window('whose', 'whose_renamed', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-03)', 'upsert', keys => '{id}', pipeline => 'p');
ALTER TABLE whose_renamed RENAME TO whose_target;
DROP TABLE whose_target;
CREATE TABLE whose_target (id int PRIMARY KEY, ts timestamptz);
CALL idem_load_window('whose', 'whose_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-03)', 'upsert', keys => '{id}', pipeline => 'p');
SELECT idem_adopt('whose', 'p', 'whose_target');
SELECT idem_adopt('whose', 'p', 'whose_target');
SELECT idem_adopt('whose', 'p', 999999::regclass);
CALL idem_load_window('whose', 'whose_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-03)', 'upsert', keys => '{id}', pipeline => 'p');
SELECT idem_invalidate('whose', 'p', '[2024-01-01,2024-01-03)');
CALL idem_load_window('whose', 'whose_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-03)', 'upsert', keys => '{id}', pipeline => 'p');
-- a ledger from elsewhere: its OIDs are not ours, its names are
UPDATE whose SET target = target::bigint + 1, database_oid = 1;
CALL idem_load_window('whose', 'whose_other', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-03)', 'upsert', keys => '{id}', pipeline => 'p');
CALL idem_load_window('whose', 'whose_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-03)', 'upsert', keys => '{id}', pipeline => 'p');
CALL idem_load_window('whose', 'whose_other', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-03)', 'upsert', keys => '{id}', pipeline => 'p');
-- (windows in messages are ISO)
SET datestyle = 'German';
CALL idem_load_window('whose', 'whose_other', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-03)', 'upsert', keys => '{id}', pipeline => 'p');
SET datestyle = 'ISO, MDY';
-- what was taken for the target's is the target's from then on, and may be renamed
SELECT DISTINCT target = 'whose_target'::regclass::oid AS adopted, database_oid <> 1 AS here FROM whose WHERE state = 'complete';
ALTER TABLE whose_target RENAME TO whose_renamed;
CALL idem_load_window('whose', 'whose_renamed', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-03)', 'upsert', keys => '{id}', pipeline => 'p');
ALTER TABLE whose_renamed RENAME TO whose_target;
-- a row by hand that names a relation by its OID alone, or by its name
UPDATE whose SET target = 'whose_target'::regclass, target_name = NULL, system_identifier = NULL, database_oid = NULL;
CALL idem_load_window('whose', 'whose_target', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-03)', 'upsert', keys => '{id}', pipeline => 'p');
CALL idem_load_window('whose', 'whose_other', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-03)', 'upsert', keys => '{id}', pipeline => 'p');
-- a row by hand is for any relation
UPDATE whose SET target = NULL;
CALL idem_load_window('whose', 'whose_other', 'SELECT 1 AS id, $1 AS ts', '[2024-01-01,2024-01-03)', 'upsert', keys => '{id}', pipeline => 'p');
DROP TABLE whose, whose_target, whose_other;

-- what a hint says to type can be typed
CREATE SCHEMA "Who's";
SELECT idem_create_ledger('"Who''s"."Led"', 'daterange');
CREATE TABLE "Who's"."T" (id int PRIMARY KEY, d date); CREATE TABLE "Who's"."U" (LIKE "Who's"."T" INCLUDING ALL);
CREATE FUNCTION "Who's".load(target regclass) RETURNS text LANGUAGE plpgsql AS $$ DECLARE h text; BEGIN
    RETURN result FROM idem_load('"Who''s"."Led"', target, 'SELECT 1 AS id, $1 AS d', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}', pipeline => 'it''s');
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT;
    RETURN h;
END $$;
SELECT "Who's".load('"Who''s"."T"');
SELECT "Who's".load('"Who''s"."U"') AS hint;
SELECT substring("Who's".load('"Who''s"."U"') FROM 'SELECT idem_adopt.*\)') AS adopt \gset
SELECT substring("Who's".load('"Who''s"."U"') FROM 'SELECT idem_invalidate[^;]*') AS invalidate \gset
BEGIN; :adopt \g
SELECT "Who's".load('"Who''s"."U"') AS result, count(*) FROM "Who's"."U";
ROLLBACK;
:invalidate;
SELECT "Who's".load('"Who''s"."U"') AS result;
SELECT count(*) FROM "Who's"."U";
DROP TABLE "Who's"."Led", "Who's"."T", "Who's"."U";

-- a part that is redone: the rest stays complete, without counts, and names the run it came from
SELECT idem_create_ledger('parts', 'int8range');
CREATE TABLE parts_target (id bigint PRIMARY KEY);
SET client_min_messages = warning;
CALL idem_load_window('parts', 'parts_target', 'SELECT i AS id FROM generate_series($1, $2 - 1) i', '[0,100)', 'upsert', keys => '{id}', pipeline => 'p');
CALL idem_load_window('parts', 'parts_target', 'SELECT i AS id FROM generate_series($1, $2 - 1) i', '[40,60)', 'upsert', keys => '{id}', pipeline => 'p', force => true);
RESET client_min_messages;
SELECT run_id, window_range, state, source_rows, inserted_rows, method, target_name, details->'split_from' AS split_from FROM parts ORDER BY run_id;
SELECT idem_coverage('parts', 'p', '[0,100)');
-- a window that is a parameter without a type
PREPARE part(text) AS SELECT loaded_range, result FROM idem_load('parts', 'parts_target', 'SELECT $1 AS id', $1, 'upsert', keys => '{id}', pipeline => 'p');
EXECUTE part('[100,110)');
PREPARE again AS SELECT idem_invalidate('parts', 'p', $1);
EXECUTE again('[100,105)');
DROP TABLE parts, parts_target;

-- an event trigger that takes the table away is not reported as a ledger of no name
CREATE FUNCTION take_away() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN DROP TABLE IF EXISTS public.taken; END $$;
CREATE EVENT TRIGGER take_away ON ddl_command_end WHEN TAG IN ('COMMENT') EXECUTE FUNCTION take_away();
\set VERBOSITY default
SELECT idem_create_ledger('public.taken');
\echo :SQLSTATE
DROP EVENT TRIGGER take_away;
DROP FUNCTION take_away();
