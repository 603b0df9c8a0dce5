-- What a user's code may do, and what of it stays: nothing.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT idem_create_ledger('scope_ledger');
CREATE TABLE scope_target (id int PRIMARY KEY, ts timestamptz NOT NULL);

-- settings that a source, an audit or a trigger changes are what they were
CREATE FUNCTION scope_spoil() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('search_path', 'nowhere', false);
	PERFORM set_config('TimeZone', 'Asia/Tokyo', false);
	PERFORM set_config('default_transaction_isolation', 'repeatable read', false);
	PERFORM set_config('default_transaction_read_only', 'on', false);
	PERFORM set_config('statement_timeout', '1ms', true);
	PERFORM set_config('statement_timeout', '0', false);
	RETURN 1;
END $$;
CREATE FUNCTION scope_spoil_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('DateStyle', 'German', false);
	RETURN NEW;
END $$;
CREATE TRIGGER spoil BEFORE INSERT ON scope_target FOR EACH ROW EXECUTE FUNCTION scope_spoil_row();
CALL idem_load_window('scope_ledger', 'scope_target', 'SELECT public.scope_spoil() + extract(day FROM $1 AT TIME ZONE ''UTC'')::int AS id, $1 AS ts',
	'[2024-01-01 00:00Z,2024-01-04 00:00Z)', 'upsert', keys => '{id}', window_column => 'ts', step => '1 day',
	audit => 'SELECT 1 WHERE public.scope_spoil() = 0');
SELECT name, setting FROM pg_settings
WHERE name IN ('search_path', 'default_transaction_isolation', 'default_transaction_read_only', 'statement_timeout', 'DateStyle')
  AND source = 'session' AND setting IN ('nowhere', 'repeatable read', 'on', '1', 'German, DMY');
SHOW transaction_isolation;
SELECT count(*), count(DISTINCT ts) FROM scope_target;

-- the same under a role of one's own: a source that takes another role leaves us ours
CREATE ROLE regress_scope;
GRANT USAGE ON SCHEMA public TO regress_scope;
CREATE FUNCTION scope_role() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('role', 'regress_scope', false);
	RETURN 9;
END $$;
CALL idem_load_window('scope_ledger', 'scope_target', 'SELECT public.scope_role() AS id, $1 AS ts',
	'[2024-01-05 00:00Z,2024-01-06 00:00Z)', 'upsert', keys => '{id}', window_column => 'ts', pipeline => 'role');
SELECT current_user = session_user AS same;

-- what is SET LOCAL around a call that commits holds for each of its windows, the role among it
CREATE SCHEMA scope_a; CREATE SCHEMA scope_b;
CREATE TABLE scope_a.src AS SELECT generate_series(1, 3) AS id; CREATE TABLE scope_b.src AS SELECT generate_series(11, 13) AS id;
CREATE TABLE scope_local (id int, ts timestamptz NOT NULL, who text DEFAULT current_user, zone text DEFAULT current_setting('TimeZone'), style text DEFAULT current_setting('DateStyle'));
SELECT idem_create_ledger('scope_local_ledger');
GRANT ALL ON scope_local, scope_local_ledger, scope_a.src TO regress_scope; GRANT ALL ON SEQUENCE scope_local_ledger_run_id_seq TO regress_scope; GRANT USAGE ON SCHEMA scope_a TO regress_scope;
SET search_path = scope_b, public;
DO $$ BEGIN
	SET LOCAL ROLE regress_scope; SET LOCAL search_path = scope_a, public; SET LOCAL TimeZone = 'Asia/Tokyo'; SET LOCAL DateStyle = 'German';
	CALL idem_load_window('scope_local_ledger', 'scope_local', 'SELECT id, $1 AS ts FROM src', '[2024-01-01 00:00Z,2024-01-04 00:00Z)', 'reload', window_column => 'ts', step => '1 day');
END $$;
RESET search_path;
SELECT count(DISTINCT ts) AS windows, array_agg(DISTINCT id) AS ids, array_agg(DISTINCT who) AS who, array_agg(DISTINCT zone) AS zones, array_agg(DISTINCT style) AS styles FROM scope_local;
SELECT count(*), array_agg(DISTINCT details ->> 'time_zone') AS zones FROM scope_local_ledger;
SELECT current_user = session_user AS same, current_setting('TimeZone') = 'Asia/Tokyo' AS still;
DROP TABLE scope_local, scope_local_ledger; DROP SCHEMA scope_a, scope_b CASCADE;

-- a query must be a SELECT, whatever rules make of it
CREATE TABLE scope_rule (a int);
CREATE RULE nothing AS ON INSERT TO scope_rule DO INSTEAD NOTHING;
CREATE RULE answer AS ON UPDATE TO scope_rule DO INSTEAD SELECT 1 AS id;
CREATE RULE two AS ON DELETE TO scope_rule DO INSTEAD (SELECT 1 AS id; SELECT 2 AS id);
CALL idem_load_window('scope_ledger', 'scope_target', 'INSERT INTO scope_rule VALUES (1)', '[2024-02-01,2024-02-02)', 'upsert', keys => '{id}');
CALL idem_load_window('scope_ledger', 'scope_target', 'UPDATE scope_rule SET a = 1', '[2024-02-01,2024-02-02)', 'upsert', keys => '{id}');
CALL idem_load_window('scope_ledger', 'scope_target', 'DELETE FROM scope_rule', '[2024-02-01,2024-02-02)', 'upsert', keys => '{id}');
CALL idem_load_window('scope_ledger', 'scope_target', 'SELECT 1 AS id, $1 AS ts', '[2024-02-01,2024-02-02)', 'upsert', keys => '{id}',
	audit => 'INSERT INTO scope_rule VALUES (1)');
CALL idem_load_window('scope_ledger', 'scope_target', 'EXPLAIN SELECT 1', '[2024-02-01,2024-02-02)', 'upsert', keys => '{id}');
CALL idem_load_window('scope_ledger', 'scope_target', '', '[2024-02-01,2024-02-02)', 'upsert', keys => '{id}');
SELECT idem_create_pipeline('scope_watermark', 'scope_ledger', 'scope_target', 'SELECT 1 AS id, $1 AS ts', 'upsert', keys => '{id}',
	step => '1 day', start => '2024-01-01', watermark => 'INSERT INTO scope_rule VALUES (1)', enabled => false);

-- a cancel is no failure of a window: it ends the call, even where the call would go on
SET statement_timeout = '300ms';
CALL idem_load_window('scope_ledger', 'scope_target', 'SELECT 1 AS id, $1 AS ts FROM pg_sleep(60)', '[2024-03-01,2024-03-03)', 'upsert',
	keys => '{id}', step => '1 day', on_error => 'continue', pipeline => 'cancelled');
RESET statement_timeout;
SELECT count(*) FROM scope_target WHERE ts >= '2024-03-01';

DROP FUNCTION scope_spoil_row() CASCADE;
DROP TABLE scope_target, scope_ledger, scope_rule;
DROP FUNCTION scope_spoil(), scope_role();
REVOKE USAGE ON SCHEMA public FROM regress_scope;
DROP ROLE regress_scope;
