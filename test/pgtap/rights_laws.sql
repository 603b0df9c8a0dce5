-- What a role with nothing but LOGIN may call, and touch: a new function or table is noticed here.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS idem CASCADE;
SELECT plan(5);

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
        'idem_digest', 'idem_digest_add', 'idem_digest_combine', 'idem_digest_serialize', 'idem_digest_deserialize', 'idem_digest_result',
        'idem_create_ledger', 'idem_gaps', 'idem_coverage', 'idem_invalidate', 'idem_adopt', 'idem_prune',
        'idem_load', 'idem_load_window', 'idem_backfill',
        'idem_create_pipeline', 'idem_alter_pipeline', 'idem_drop_pipeline', 'idem_disable_pipeline',
        'idem_resume', 'idem_restore_pipeline', 'idem_pipeline_calls', 'idem_retry', 'idem_run_pipeline',
        'idem_progress_rows', 'idem_pipeline_status', 'idem_calendar'],
    'what everybody may call; each checks what its caller owns');
SELECT set_eq($$SELECT DISTINCT proname::text FROM functions WHERE NOT has_function_privilege('nobody_special', oid, 'EXECUTE')$$,
    ARRAY['idem_enable_pipeline', 'idem_start_worker', 'idem_stop_worker'], 'what only those may call to whom it is granted');
SELECT is_empty($$SELECT oid::regprocedure FROM functions WHERE prosecdef$$, 'no function lends its owner''s rights');
SELECT is_empty($$SELECT oid::regprocedure FROM functions WHERE proconfig IS NOT NULL AND prokind = 'p'$$,
    'no procedure has settings, which would keep it from committing');
SELECT set_eq($$SELECT relname || ' ' || right_ FROM relations, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) right_
    WHERE relkind IN ('r', 'p', 'v') AND has_table_privilege('nobody_special', oid, right_)$$,
    ARRAY['idem_pipeline INSERT'], 'no table of the extension is written by hand, but for what restores a dump');
SELECT * FROM finish();
ROLLBACK;
