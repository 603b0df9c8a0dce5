-- idem_digest: a multiset of rows has one digest, whatever the order, the plan or the storage, and another multiset another.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS idem CASCADE;
SELECT plan(32);

CREATE TABLE rows (a int, b text, c numeric, d timestamptz);
INSERT INTO rows SELECT i, CASE WHEN i % 5 > 0 THEN repeat(md5(i::text), 1 + i % 20) END, i / 3.0, '2024-01-01'::timestamptz + i * interval '1 min' FROM generate_series(1, 5000) i;
CREATE TEMP TABLE want AS SELECT idem_digest(r) AS digest FROM rows r;

SELECT is(length(digest), 16, 'sixteen bytes') FROM want;
SELECT is((SELECT idem_digest(r) FROM (SELECT * FROM rows ORDER BY md5(a::text)) r), digest, 'in another order') FROM want;
SELECT is((SELECT idem_digest(r) FROM (SELECT a, b, c, d FROM rows) r), digest, 'of a query with the same columns') FROM want;
SELECT isnt((SELECT idem_digest(r) FROM (SELECT a, b, d, c FROM rows) r), digest, 'but not in another order of columns') FROM want;

-- of a row's columns, one by one: the same
SELECT is((SELECT idem_digest_values(a, b, c, d) FROM rows), digest, 'of columns') FROM want;
SELECT is((SELECT idem_digest_values(a, b, c, d) FILTER (WHERE a > 10) FROM rows), (SELECT idem_digest(r) FROM rows r WHERE a > 10), 'of columns, filtered');
SELECT bag_eq('SELECT a % 7, idem_digest_values(a, b, c, d) FROM rows GROUP BY 1', 'SELECT a % 7, idem_digest(r) FROM rows r GROUP BY 1', 'of columns, in groups');
SELECT is(idem_digest_values('x', NULL, 1, ARRAY[i], ROW(i, 'y')), idem_digest(ROW('x', NULL, 1, ARRAY[i], ROW(i, 'y'))), 'of literals, NULL, arrays, records') FROM generate_series(1, 3) i;
SELECT is((SELECT idem_digest_values(a) FROM rows WHERE a < 0), '\x00000000000000000000000000000000'::bytea, 'of columns of no rows');
SELECT throws_ok('SELECT idem_digest_values(VARIADIC ARRAY[a, a]) FROM rows', '0A000', 'idem_digest_values takes no VARIADIC array', 'an array of columns is none');

-- in parallel: partial sums are combined
SAVEPOINT parallel;
SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL max_parallel_workers_per_gather = 3;
CREATE FUNCTION pg_temp.plan(query text) RETURNS text LANGUAGE plpgsql AS $$ DECLARE r record; t text := ''; BEGIN
    FOR r IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP t := t || r."QUERY PLAN" || E'\n'; END LOOP; RETURN t; END $$;
SELECT matches(pg_temp.plan('SELECT idem_digest(r) FROM rows r'), 'Partial Aggregate', 'planned in parallel');
SELECT is((SELECT idem_digest(r) FROM rows r), digest, 'in parallel') FROM want;
SELECT matches(pg_temp.plan('SELECT idem_digest_values(a, b, c, d) FROM rows'), 'Partial Aggregate', 'of columns planned in parallel');
SELECT is((SELECT idem_digest_values(a, b, c, d) FROM rows), digest, 'of columns in parallel') FROM want;

-- a multiset: twice is neither once nor never
SELECT isnt((SELECT idem_digest(r) FROM (TABLE rows UNION ALL SELECT * FROM rows WHERE a = 7) r), digest, 'a row more') FROM want;
SELECT isnt((SELECT idem_digest(r) FROM (TABLE rows UNION ALL (SELECT * FROM rows WHERE a = 7) UNION ALL (SELECT * FROM rows WHERE a = 7)) r), digest, 'the same row twice more') FROM want;
SELECT isnt((SELECT idem_digest(r) FROM rows r WHERE a <> 7), digest, 'a row less') FROM want;
SELECT is(idem_digest(r), '\x00000000000000000000000000000000'::bytea, 'no rows') FROM rows r WHERE a < 0;

-- any value of any row, changed, swapped or NULL
SELECT is(count(DISTINCT digest), 201::bigint, 'fifty rows of four columns have 200 changes of one value, and themselves')
FROM (SELECT idem_digest(ROW(CASE WHEN a = j AND k = 1 THEN a + 10000 ELSE a END, CASE WHEN a = j AND k = 2 THEN coalesce(b || 'x', '') ELSE b END,
        CASE WHEN a = j AND k = 3 THEN c + 1 ELSE c END, CASE WHEN a = j AND k = 4 THEN NULL ELSE d END)) AS digest
    FROM rows, generate_series(1, 50) j, generate_series(0, 4) k WHERE a <= 50 GROUP BY j, k) x;
SELECT isnt((SELECT idem_digest(r) FROM (VALUES (1, 'b'), (2, 'a')) r(i, t)), (SELECT idem_digest(r) FROM (VALUES (1, 'a'), (2, 'b')) r(i, t)), 'two rows swap a value');
SELECT isnt((SELECT idem_digest(r) FROM (VALUES ('a'::text, NULL::text)) r), (SELECT idem_digest(r) FROM (VALUES (NULL::text, 'a'::text)) r), 'two columns swap a NULL');
SELECT isnt((SELECT idem_digest(r) FROM (VALUES ('ab', 'c')) r), (SELECT idem_digest(r) FROM (VALUES ('a', 'bc')) r), 'a letter moves');
SELECT isnt((SELECT idem_digest(r) FROM (VALUES ('')) r), (SELECT idem_digest(r) FROM (VALUES (NULL::text)) r), 'empty and NULL');

-- however it is stored: compressed, out of line, with dropped columns
CREATE TABLE stored (gone int, a int, b text, c text);
ALTER TABLE stored ALTER b SET STORAGE EXTERNAL;
ALTER TABLE stored DROP COLUMN gone;
CREATE VIEW made AS SELECT i AS a, repeat(md5(i::text), i) AS b, repeat('x', 100 * i) AS c FROM generate_series(1, 300) i;
INSERT INTO stored TABLE made;
SELECT is((SELECT idem_digest(r) FROM stored r), (SELECT idem_digest(r) FROM made r), 'however it is stored');

-- a value that a query computed and the same one read from a table: the bits beside it in a Datum are not it
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE narrow (n bigint PRIMARY KEY, o oid, x xid, i int4, s int2, c "char", b boolean, f float4, d date, r regclass, e mood);
CREATE TEMP TABLE narrow_ledger_made AS SELECT idem_create_ledger('narrow_ledger', 'int8range');
CREATE TEMP TABLE narrow_load AS SELECT * FROM idem_load('narrow_ledger', 'narrow', $$SELECT n, (4294967295 - n)::oid AS o, (4294967295 - n)::text::xid AS x,
        (-1 - n)::int4 AS i, (-n)::int2 AS s, (-100 - n)::int4::"char" AS c, n > 3 AS b, (-n / 3.0)::float4 AS f, date '2000-01-01' - n::int4 AS d,
        (4294967295 - n)::oid::regclass AS r, CASE WHEN n > 3 THEN 'sad' ELSE 'happy' END::mood AS e FROM generate_series($1, $2 - 1) n$$,
    '[0,10)', 'reload', keys => '{n}', window_column => 'n');
SELECT is(source_digest, (SELECT idem_digest(t) FROM narrow t), 'computed or read') FROM narrow_ledger;

-- rows of a table as values: what they hold, not where they lie or who wrote them
CREATE TEMP TABLE composites AS SELECT idem_digest(x) AS digest FROM (SELECT r AS c FROM rows r) x;
UPDATE rows SET a = a;
SELECT is((SELECT idem_digest(x) FROM (SELECT r AS c FROM rows r) x), digest, 'wherever a row lies') FROM composites;
UPDATE rows SET a = a + 1 WHERE a = 5000;
SELECT isnt((SELECT idem_digest(x) FROM (SELECT r AS c FROM rows r) x), digest, 'but not whatever it holds') FROM composites;
-- Rows made to collide: how often each is there, found by lattice reduction of their digests.  The checksum is the same, and
-- yet a load is not taken in by it: what tells it that nothing has changed is summed under a key that nobody knows.
CREATE TABLE forged AS SELECT i::int AS v, 1 AS w, n FROM unnest('{-1,5,14,3,-16,-14,9,11,-1,-4,21,-13,-6,2,-13,-1,-4,-11,6,-6,6,-2,11,5,1,5,-2,1,-3,1,-4,0}'::int[]) WITH ORDINALITY c(n, i);
CREATE TABLE forged_src AS SELECT v, w FROM forged, generate_series(1, n);
CREATE TABLE forged_target (v int, w int NOT NULL);
SELECT is((SELECT idem_digest(r) FROM (SELECT v, w FROM forged, generate_series(1, n)) r), (SELECT idem_digest(r) FROM (SELECT v, w FROM forged, generate_series(1, -n)) r), 'rows made to collide do');
CREATE TEMP TABLE forged_ledger_made AS SELECT idem_create_ledger('forged_ledger', 'int8range');
CREATE FUNCTION pg_temp.load_forged() RETURNS text LANGUAGE sql AS $$ SELECT method FROM idem_load('forged_ledger', 'forged_target', 'forged_src', '[0,10)', 'reload', window_column => 'w', force => true) $$;
CREATE TEMP TABLE forged_loads AS SELECT pg_temp.load_forged() AS first, pg_temp.load_forged() AS again;
SELECT is(again, 'unchanged', 'the same rows again') FROM forged_loads;
DELETE FROM forged_src;
INSERT INTO forged_src SELECT v, w FROM forged, generate_series(1, -n);
CREATE TEMP TABLE forged_loaded AS SELECT pg_temp.load_forged();
SELECT bag_eq('TABLE forged_target', 'TABLE forged_src', 'other rows of the same checksum are loaded');

-- what a load sums: equal values that differ do, however a value is stored it is the same
CREATE TABLE kinds (id int PRIMARY KEY, n numeric, f float8, t text, u text, b bytea, c char(5), a text[], j jsonb, r made);
ALTER TABLE kinds ALTER u SET STORAGE EXTERNAL;
CREATE TABLE kinds_src AS SELECT i AS id, 1.0 AS n, 0.0::float8 AS f, repeat('x', 40 * i) AS t, repeat(md5(i::text), i) AS u, decode(repeat('00', 10 * i), 'hex') AS b,
    'a'::char(5) AS c, CASE WHEN i % 3 > 0 THEN array_fill(repeat('y', i), '{20}') END AS a, jsonb_build_object('k', repeat('z', 30 * i)) AS j, m AS r FROM generate_series(1, 150) i JOIN made m ON m.a = i;
CREATE FUNCTION pg_temp.load_kinds() RETURNS text LANGUAGE sql AS $$ SELECT method || ' ' || updated_rows FROM idem_load('forged_ledger', 'kinds', 'kinds_src', '[1,151)', 'reload', keys => '{id}', window_column => 'id', force => true) $$;
CREATE TEMP TABLE kinds_loads AS SELECT pg_temp.load_kinds() AS first, pg_temp.load_kinds() AS again;
SELECT is(again, 'unchanged 0', 'however the rows are stored') FROM kinds_loads;
UPDATE kinds_src SET n = 1.00 WHERE id = 1; UPDATE kinds_src SET f = '-0' WHERE id = 2; UPDATE kinds_src SET a = '{}' WHERE id = 3; UPDATE kinds_src SET t = t || ' ' WHERE id = 149; UPDATE kinds_src SET r.a = NULL WHERE id = 5;
SELECT is(pg_temp.load_kinds(), 'difference 5', 'equal values that differ, NULL and nothing, one byte of a long value');
SELECT * FROM finish();
ROLLBACK;
