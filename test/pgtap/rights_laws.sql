-- What a role with nothing but LOGIN may call, and touch: a new function or table is noticed here.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS idem CASCADE;
SELECT plan(7);

CREATE ROLE nobody_special LOGIN;
CREATE TEMP VIEW functions AS SELECT p.* FROM pg_proc p
    JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND extname = 'idem';
CREATE TEMP VIEW relations AS SELECT c.* FROM pg_class c
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND extname = 'idem'
    WHERE relkind <> 'c';

SELECT set_eq($$SELECT DISTINCT proname::text FROM functions WHERE has_function_privilege('nobody_special', oid, 'EXECUTE')$$,
    ARRAY['idem_hash', 'idem_canonical', 'idem_uuid', 'idem_set_id', 'idem_hash_support', 'idem_hash_values', 'idem_uuid_values',
        'idem_of_row', 'idem_digest', 'idem_digest_values', 'idem_digest_add', 'idem_digest_add_values', 'idem_digest_combine', 'idem_digest_serialize', 'idem_digest_deserialize', 'idem_digest_result',
        'idem_create_ledger', 'idem_gaps', 'idem_coverage', 'idem_invalidate', 'idem_adopt', 'idem_accept_schema', 'idem_create_dead_letters', 'idem_replay', 'idem_prune',
        'idem_load', 'idem_load_window', 'idem_backfill',
        'idem_create_pipeline', 'idem_alter_pipeline', 'idem_drop_pipeline', 'idem_disable_pipeline',
        'idem_resume', 'idem_restore_pipeline', 'idem_guard_table', 'idem_pipeline_calls', 'idem_retry', 'idem_run_pipeline',
        'idem_relation', 'idem_relation_in', 'idem_relation_oid', 'idem_relation_out', 'idem_role', 'idem_role_in', 'idem_role_oid', 'idem_role_out',
        'idem_progress_rows', 'idem_pipeline_status', 'idem_calendar',
        'idem_duplicates', 'idem_check', 'idem_check_load', 'idem_differences', 'idem_differences_load',
        'idem_test_rerun', 'idem_test_overlap', 'idem_test_split', 'idem_test_order', 'idem_test_all', 'idem_tap',
        'idem_create_monitor', 'idem_reconcile', 'idem_acknowledge', 'idem_metrics_rows', 'idem_alert_metrics_rows', 'idem_report',
        'idem_dedupe', 'idem_dedupe_undo', 'idem_dedupe_jobs'],
    'what everybody may call; each checks what its caller owns');
SELECT set_eq($$SELECT DISTINCT proname::text FROM functions WHERE NOT has_function_privilege('nobody_special', oid, 'EXECUTE')$$,
    ARRAY['idem_enable_pipeline', 'idem_start_worker', 'idem_stop_worker'], 'what only those may call to whom it is granted');
SELECT is_empty($$SELECT oid::regprocedure FROM functions WHERE prosecdef$$, 'no function lends its owner''s rights');
SELECT is_empty($$SELECT oid::regprocedure FROM functions WHERE proconfig IS NOT NULL AND prokind = 'p'$$,
    'no procedure has settings, which would keep it from committing');
SELECT set_eq($$SELECT relname || ' ' || right_ FROM relations, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) right_
    WHERE relkind IN ('r', 'p', 'v') AND has_table_privilege('nobody_special', oid, right_)$$,
    ARRAY['idem_pipeline INSERT'], 'no table of the extension is written by hand, but for what restores a dump');

-- What a load needs does not depend on the data: whatever one right on one column is missing, it fails before a row is
-- read or succeeds, into an empty window, an unchanged one and one where all differs.
CREATE ROLE loader;
CREATE SCHEMA rights_laws;
GRANT ALL ON SCHEMA rights_laws TO loader;
SET LOCAL search_path = rights_laws, public;
CREATE TEMP TABLE rights_ledger_made AS SELECT idem_create_ledger('rights_ledger', 'int8range');
GRANT ALL ON rights_ledger TO loader;
GRANT ALL ON ALL SEQUENCES IN SCHEMA rights_laws TO loader;
CREATE TABLE rights_src (id int, w int, v text);
INSERT INTO rights_src SELECT i, i, 'v' FROM generate_series(1, 100) i;
GRANT SELECT ON rights_src TO loader;
CREATE SEQUENCE read_rows;
GRANT ALL ON read_rows TO loader;
CREATE FUNCTION passes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN coalesce(NEW, OLD); END $$;

-- how a load ends, and whether a row was read
CREATE FUNCTION ends(mode text, keys text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE before bigint; result text := 'loaded';
BEGIN
    SELECT last_value INTO before FROM read_rows;
    SET LOCAL ROLE loader;
    BEGIN
        PERFORM idem_load('rights_ledger', 'guarded', 'SELECT id, w, v FROM rights_src WHERE nextval(''read_rows'') > 0', '[0,1000)', mode, keys => keys, window_column => 'w', force => true);
    EXCEPTION WHEN insufficient_privilege THEN
        result := 'refused';
    END;
    RESET ROLE;
    RETURN result || CASE WHEN result = 'refused' AND (SELECT last_value FROM read_rows) > before THEN ' when rows had been read' ELSE '' END;
END $$;
-- how it ends in each state of the target
CREATE FUNCTION ends_in_states(mode text, keys text[]) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE result text[];
BEGIN
    FOR state IN 1..3 LOOP
        DELETE FROM guarded;
        INSERT INTO guarded SELECT id + CASE state WHEN 3 THEN 50 ELSE 0 END, w, CASE WHEN state = 3 THEN 'old' ELSE v END FROM rights_src WHERE state > 1;
        result := result || ends(mode, keys);
    END LOOP;
    RETURN result;
END $$;
CREATE TABLE outcomes (kind text, missing text, ends text[]);
DO $$
DECLARE k record; m record; c text;
BEGIN
    FOR k IN SELECT * FROM (VALUES ('upsert', '{id}'::text[], true), ('reload', '{id}', true), ('reload', '{id}', false), ('reload', NULL, false)) k(mode, keys, indexed), unnest('{t,f}'::boolean[]) watched LOOP
        DROP TABLE IF EXISTS guarded;
        CREATE TABLE guarded (id int NOT NULL, w int NOT NULL, v text, other text);
        IF k.indexed THEN CREATE UNIQUE INDEX ON guarded (id); END IF;
        CREATE INDEX ON guarded (w);
        IF k.watched THEN CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON guarded FOR EACH ROW EXECUTE FUNCTION passes(); END IF;
        FOR m IN SELECT * FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) r, unnest('{id,w,v,all}'::text[]) col UNION ALL SELECT 'none', 'all' LOOP
            REVOKE ALL ON guarded FROM loader;
            FOREACH c IN ARRAY '{id,w,v}'::text[] LOOP
                EXECUTE (SELECT string_agg(format('GRANT %s (%I) ON guarded TO loader', r, c), '; ') FROM unnest('{SELECT,INSERT,UPDATE}'::text[]) r WHERE NOT (r = m.r AND m.col IN (c, 'all')));
            END LOOP;
            IF m.r <> 'DELETE' THEN GRANT DELETE ON guarded TO loader; END IF;
            INSERT INTO outcomes SELECT format('%s %s %s %s', k.mode, k.keys, k.indexed, k.watched), format('%s %s', m.r, m.col), ends_in_states(k.mode, k.keys);
        END LOOP;
    END LOOP;
END $$;
SELECT is_empty($$SELECT * FROM outcomes WHERE ends <> ARRAY['loaded', 'loaded', 'loaded'] AND ends <> ARRAY['refused', 'refused', 'refused']$$, 'one right less: always, and before a row is read, or never');
SELECT set_eq($$SELECT split_part(kind, ' ', 1), missing FROM outcomes GROUP BY 1, 2 HAVING bool_and(ends = ARRAY['loaded', 'loaded', 'loaded'])$$,
    $$VALUES ('upsert', 'none all'), ('reload', 'none all'), ('upsert', 'UPDATE id'), ('reload', 'UPDATE id'), ('upsert', 'DELETE id'), ('upsert', 'DELETE w'), ('upsert', 'DELETE v'), ('upsert', 'DELETE all')$$,
    'what nobody needs: to UPDATE a key that can only be what it is, and for an upsert to DELETE');
SELECT * FROM finish();
ROLLBACK;
