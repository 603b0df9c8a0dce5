-- idem_differences finds just the rows by which source and target differ, and idem_check counts them, whatever the keys, the types and the
-- plan; idem_duplicates finds just the keys that are there more than once.
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL timezone = 'UTC';
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS idem CASCADE;
SELECT plan(28);
SELECT setseed(0.5) \g /dev/null

CREATE TABLE src (a int, b text, w date NOT NULL, n numeric, j json, t text[]);
INSERT INTO src SELECT NULLIF(i / 10, i % 7), CASE WHEN i % 10 > 0 THEN 'b' || i % 10 END, date '2024-01-01' + i % 20, i / 4.0, CASE WHEN i % 3 > 0 THEN jsonb_build_object('i', i)::json END, ARRAY[i::text, NULL]
FROM generate_series(1, 4000) i;
DELETE FROM src s USING src o WHERE (s.a, s.b) IS NOT DISTINCT FROM (o.a, o.b) AND s.ctid > o.ctid;
CREATE TABLE keyed (LIKE src); CREATE UNIQUE INDEX ON keyed (a, b) NULLS NOT DISTINCT;
CREATE TABLE loose (LIKE src);
CREATE TABLE bag (LIKE src);
CREATE TEMP TABLE made AS SELECT idem_create_ledger('led', 'daterange');
CREATE FUNCTION load(target text, keys text[]) RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM idem_load('led', target, 'SELECT * FROM src WHERE w >= $1 AND w < $2', '[2024-01-01,2024-01-21)', 'reload',
    keys => keys, window_column => 'w', step => '7 days', pipeline => target, force => true) $$;
CREATE FUNCTION checks(target text, keys text[], depth text) RETURNS SETOF idem_check_result LANGUAGE sql AS $$ SELECT * FROM idem_check_load('led', target, 'SELECT * FROM src WHERE w >= $1 AND w < $2', '[2024-01-01,2024-01-21)', 'reload',
    keys => keys, window_column => 'w', pipeline => target, depth => depth) $$;
-- what there is to find, by hand: whole rows as text, NULL and JSON among them
CREATE FUNCTION missing(target text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE format('SELECT s::text FROM src s EXCEPT ALL SELECT d::text FROM %s d', target); END $$;
CREATE FUNCTION extra(target text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE format('SELECT d::text FROM %s d EXCEPT ALL SELECT s::text FROM src s', target); END $$;
CREATE FUNCTION found(target text, keys text[]) RETURNS TABLE (side text, source_row text, target_row text) LANGUAGE sql AS $$
    SELECT side, jsonb_populate_record(NULL::src, source_row)::text, jsonb_populate_record(NULL::src, target_row)::text FROM idem_differences_load('led', target, 'SELECT * FROM src WHERE w >= $1 AND w < $2', '[2024-01-01,2024-01-21)', 'reload',
    keys => keys, window_column => 'w', pipeline => target, max_rows => 100000) $$;
CREATE TEMP TABLE loaded AS SELECT load('keyed', '{a,b}') AS k, load('loose', '{a,b}') AS l, load('bag', NULL) AS b;
SELECT is((SELECT string_agg(DISTINCT result || depth, ',') FROM checks('keyed', '{a,b}', 'auto')), 'okdigest', 'just loaded, with an index');
SELECT is((SELECT string_agg(DISTINCT result || depth, ',') FROM checks('loose', '{a,b}', 'auto')), 'okdigest', 'just loaded, without an index');
SELECT is((SELECT string_agg(DISTINCT result || depth, ',') FROM checks('bag', NULL, 'auto')), 'okdigest', 'just loaded, without keys');

CREATE PROCEDURE spoil(target text) LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('UPDATE %s SET n = CASE WHEN random() < 0.3 THEN NULL WHEN random() < 0.5 THEN n * 1.000 ELSE n + 1 END WHERE random() < 0.01', target);
    EXECUTE format('UPDATE %s SET t = t || t WHERE random() < 0.005', target);
    EXECUTE format('UPDATE %s SET j = NULL WHERE random() < 0.005', target);
    EXECUTE format('DELETE FROM %s WHERE random() < 0.01', target);
    EXECUTE format('INSERT INTO %s SELECT a + 100000, b, w, n, NULL, t FROM %1$s WHERE a IS NOT NULL AND random() < 0.005', target);
END $$;
CALL spoil('keyed'); CALL spoil('loose'); CALL spoil('bag');
SELECT cmp_ok((SELECT count(*) FROM missing('keyed')), '>', 50::bigint, 'there is something to find');

-- whatever the plan
SELECT bag_eq($q$SELECT source_row FROM found('keyed', '{a,b}') WHERE side <> 'target'$q$, $q$SELECT * FROM missing('keyed')$q$, 'what the source has, with an index');
SELECT bag_eq($q$SELECT target_row FROM found('keyed', '{a,b}') WHERE side <> 'source'$q$, $q$SELECT * FROM extra('keyed')$q$, 'what the target has, with an index');
SELECT bag_eq($q$SELECT source_row FROM found('loose', '{a,b}') WHERE side <> 'target'$q$, $q$SELECT * FROM missing('loose')$q$, 'what the source has, without an index');
SELECT bag_eq($q$SELECT target_row FROM found('loose', '{a,b}') WHERE side <> 'source'$q$, $q$SELECT * FROM extra('loose')$q$, 'what the target has, without an index');
SELECT bag_eq($q$SELECT source_row FROM found('bag', NULL) WHERE side = 'source'$q$, $q$SELECT * FROM missing('bag')$q$, 'what the source has, without keys');
SELECT bag_eq($q$SELECT target_row FROM found('bag', NULL) WHERE side = 'target'$q$, $q$SELECT * FROM extra('bag')$q$, 'what the target has, without keys');
SET LOCAL enable_hashjoin = off;
SELECT bag_eq($q$SELECT source_row FROM found('keyed', '{a,b}') WHERE side <> 'target'$q$, $q$SELECT * FROM missing('keyed')$q$, 'by a merge join');
SET LOCAL enable_mergejoin = off; SET LOCAL enable_hashjoin = on; SET LOCAL work_mem = '64kB';
SELECT bag_eq($q$SELECT source_row FROM found('keyed', '{a,b}') WHERE side <> 'target'$q$, $q$SELECT * FROM missing('keyed')$q$, 'by a hash join in little memory');
SELECT bag_eq($q$SELECT source_row FROM found('bag', NULL) WHERE side = 'source'$q$, $q$SELECT * FROM missing('bag')$q$, 'without keys, in little memory');
RESET enable_mergejoin; RESET work_mem;

-- the counts are those of the rows
SELECT is(sum(missing_rows), (SELECT count(*) FROM found(t, k::text[]) WHERE side = 'source')::numeric, 'missing, ' || t), is(sum(extra_rows), (SELECT count(*) FROM found(t, k::text[]) WHERE side = 'target')::numeric, 'extra, ' || t),
    is(coalesce(sum(different_rows), 0), (SELECT count(*) FROM found(t, k::text[]) WHERE side = 'both')::numeric, 'different, ' || t)
FROM (VALUES ('keyed', '{a,b}'), ('loose', '{a,b}'), ('bag', NULL)) v(t, k), checks(t, k::text[], 'rows') GROUP BY t, k ORDER BY t;

-- duplicates
INSERT INTO loose SELECT * FROM loose WHERE random() < 0.01; INSERT INTO loose SELECT a, b, w, -n, j, t FROM loose WHERE random() < 0.005;
PREPARE by_hand AS SELECT to_jsonb(k), n, same FROM (SELECT a, b, count(*) AS n, count(DISTINCT l::text) = 1 AS same FROM loose l GROUP BY a, b HAVING count(*) > 1) g, LATERAL (SELECT g.a, g.b) k;
SELECT bag_eq($q$SELECT key, rows, identical FROM idem_duplicates('loose', '{a,b}')$q$, 'EXECUTE by_hand', 'duplicates');
CREATE INDEX ON loose (b, a); ANALYZE loose;
SELECT bag_eq($q$SELECT key, rows, identical FROM idem_duplicates('loose', '{a,b}')$q$, 'EXECUTE by_hand', 'duplicates, by an index');
SELECT is(sum(duplicate_keys), (SELECT count(*) FROM idem_duplicates('loose', '{a,b}'))::numeric, 'a check finds as many') FROM checks('loose', '{a,b}', 'counts');
SELECT is(max(max_per_key), (SELECT max(rows) FROM idem_duplicates('loose', '{a,b}')), 'and the same at most') FROM checks('loose', '{a,b}', 'counts');
CREATE TEMP TABLE reloaded AS SELECT load('keyed', '{a,b}') AS k, load('loose', '{a,b}') AS l, load('bag', NULL) AS b;
SELECT is((SELECT string_agg(DISTINCT result, ',') FROM (SELECT * FROM checks('keyed', '{a,b}', 'rows') UNION ALL SELECT * FROM checks('loose', '{a,b}', 'rows') UNION ALL SELECT * FROM checks('bag', NULL, 'rows')) c), 'ok', 'a reload mends all of it');
SELECT is_empty($q$SELECT * FROM idem_duplicates('loose', '{a,b}')$q$, 'and leaves no duplicates');
SELECT * FROM finish();
ROLLBACK;
