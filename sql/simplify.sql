-- idem_hash and idem_uuid of a record with constant keys are planned as hashes of columns: the same ones
CREATE TABLE part (id bigint, name text, at timestamptz, n numeric, other int);
INSERT INTO part VALUES (1, 'a', '2024-01-01 00:00+00', 1.10, 1), (2, NULL, 'infinity', NULL, 2), (3, 'ü"', NULL, 'NaN', 3);

-- an ID as planned, beside the one of a record that was formed: keys that are no constant leave the planner nothing to do
CREATE FUNCTION as_record(r record, keys text[]) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN idem_hash(r, keys); END $$;
CREATE FUNCTION is_simplified(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (VERBOSE, FORMAT json) ' || query INTO plan;
    RETURN plan::text ~ 'idem_(hash|uuid)_values\(';
END $$;
SELECT id, idem_hash(p, '{name,id,at,n}') = as_record(p, '{name,id,at,n}') AS hash,
    idem_uuid(p, '{id}') = idem_uuid(p, ARRAY[CASE WHEN random() >= 0 THEN 'id' END]) AS uuid FROM part p ORDER BY id;
SELECT is_simplified($$SELECT idem_hash(p, '{id,name}') FROM part p$$) AS "table", is_simplified($$SELECT idem_uuid(p, '{id}') FROM part p$$) AS uuid,
    is_simplified($$SELECT idem_hash(s, '{k}') FROM (SELECT id + 1 AS k, name FROM part) s$$) AS subquery,
    is_simplified($$SELECT idem_hash(ROW(id, name), '{f2}') FROM part$$) AS "row",
    is_simplified($$SELECT idem_hash(p, ARRAY['id', name]) FROM part p$$) AS "not constant";
SELECT idem_hash(s, '{k}') = as_record(s, '{k}') AS subquery, idem_hash(ROW(id, p.name), '{f2,f1}') = as_record(ROW(id, p.name), '{f2,f1}') AS "row",
    idem_hash(ROW('x'), '{f1}') = as_record(ROW('x'), '{f1}') AS "unknown" FROM part p, LATERAL (SELECT id + 1 AS k, name) s ORDER BY id;

-- a row that an outer join fills up with NULLs is NULL, one whose columns are NULL is not
SELECT a.id, idem_hash(b, '{name}') IS NULL AS no_hash, as_record(b, '{name}') IS NULL AS no_record FROM part a LEFT JOIN part b ON b.id = a.id AND b.id > 1 ORDER BY 1;
SELECT a.id, idem_hash(b, '{name}') IS NULL AS no_hash FROM part a FULL JOIN (SELECT * FROM part WHERE id > 1) b ON b.id = a.id ORDER BY 1;

-- parents, children with columns in another order, dropped columns, partitions, what is returned of a change
CREATE TABLE child (extra text, at timestamptz, n numeric, other int, name text, id bigint);
ALTER TABLE child DROP COLUMN extra;
ALTER TABLE child INHERIT part;
INSERT INTO child SELECT '2024-02-01 00:00+00', 2, 4, 'b', 4;
SELECT id, idem_hash(p, '{name,id,at,n}') = as_record(p, '{name,id,at,n}') AS same FROM part p ORDER BY id;
UPDATE part p SET other = 5 WHERE id > 2 RETURNING id, idem_hash(p, '{other,id}') = as_record(p, '{other,id}') AS same;
DROP TABLE child;
CREATE TABLE whole (id int, d text) PARTITION BY RANGE (id);
CREATE TABLE lower PARTITION OF whole FOR VALUES FROM (0) TO (10);
CREATE TABLE upper (d text, id int);
ALTER TABLE whole ATTACH PARTITION upper FOR VALUES FROM (10) TO (20);
INSERT INTO whole VALUES (1, 'x'), (11, 'y');
SELECT id, idem_hash(w, '{d,id}') = as_record(w, '{d,id}') AS same FROM whole w ORDER BY id;

-- an index over an ID serves, whenever it was made; a constraint and a trigger see it
CREATE INDEX part_id ON part (idem_hash(part, '{id}'));
CREATE UNIQUE INDEX ON part (idem_uuid(part, '{id}'));
INSERT INTO part SELECT i, 'n' FROM generate_series(10, 3000) i;
ANALYZE part;
CREATE FUNCTION uses_index(query text, index text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
    RETURN plan::text LIKE '%' || index || '%';
END $$;
SELECT uses_index($$SELECT * FROM part p WHERE idem_hash(p, '{id}') = idem_hash('{"id": 77}'::jsonb, '{id}')$$, 'part_id');
SELECT id FROM part p WHERE idem_hash(p, '{id}') = idem_hash('{"id": 77}'::jsonb, '{id}');
-- also on the far side of an outer join, which is none where the ID of a row is asked for
SELECT uses_index($$SELECT * FROM part a LEFT JOIN part p USING (id) WHERE idem_hash(p, '{id}') = idem_hash('{"id": 77}'::jsonb, '{id}')$$, 'part_id');
INSERT INTO part VALUES (77, 'again') ON CONFLICT (idem_uuid(part, '{id}')) DO UPDATE SET name = excluded.name RETURNING id, name;
ALTER TABLE part ADD CONSTRAINT not_two CHECK (idem_hash(part, '{id}') <> 'd17587a7e6e8ef89e4c8c9ba8c3b3e9b');
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'not_two';
SELECT pg_get_indexdef('part_id'::regclass);

-- what is wrong is said when it runs, as ever; and what would be noticed is left alone
SELECT idem_hash(p, '{nobody}') FROM part p LIMIT 1;
SELECT idem_hash(p, '{id,id}') FROM part p LIMIT 1;
SELECT idem_hash(p, '{}') FROM part p WHERE false;
SELECT idem_hash(p, NULL) IS NULL FROM part p LIMIT 1;
CREATE SEQUENCE drawn;
SELECT count(idem_hash(ROW(nextval('drawn'), 1), '{f2}')) FROM generate_series(1, 3);
SELECT last_value FROM drawn;
SELECT count(h) FROM (SELECT idem_hash(ROW(generate_series(1, 3), 1), '{f2}') AS h) s;
SELECT idem_hash(ROW(point(1, 2)), '{f1}');
SELECT is_simplified($$SELECT idem_hash(f, '{a}') FROM json_to_recordset('[{"a": 1}]') f(a int)$$) AS "function";

-- the row that was to be inserted has no system columns; grouping sets make a record NULL that their columns do not
INSERT INTO part VALUES (77, 'once more') ON CONFLICT (idem_uuid(part, '{id}')) DO UPDATE SET name = idem_hash(excluded, '{id,name}')
    RETURNING name = idem_hash('{"id": 77, "name": "once more"}'::jsonb, '{id,name}') AS excluded;
SELECT idem_hash(p, '{id}') = as_record(p, '{id}') AS "table", count(*) FROM part p WHERE id < 3 GROUP BY ROLLUP (p) ORDER BY 1;
SELECT idem_hash(ROW(id), '{f1}') = as_record(ROW(id), '{f1}') AS "row", count(*) FROM part WHERE id < 3 GROUP BY ROLLUP (ROW(id)) ORDER BY 1;

-- who may not call everything gets what he may
REVOKE EXECUTE ON FUNCTION idem_hash_values FROM PUBLIC;
SELECT is_simplified($$SELECT idem_hash(p, '{id}') FROM part p$$);
GRANT EXECUTE ON FUNCTION idem_hash_values TO PUBLIC;
SELECT is_simplified($$SELECT idem_hash(p, '{id}') FROM part p$$);

-- the functions over values by themselves
SELECT idem_hash_values('{b,a}', 'x'::text, 1) = idem_hash('{"a": 1, "b": "x"}'::jsonb, '{a,b}') AS hash,
    idem_uuid_values('{a}', 1) = idem_uuid('{"a": 1}'::jsonb, '{a}') AS uuid, idem_hash_values(NULL, 1) AS "null";
SELECT idem_hash_values('{a,b}', 1);
SELECT idem_hash_values('{a}', VARIADIC ARRAY[1]);
SELECT count(DISTINCT idem_hash_values(ARRAY[k], 1)) FROM unnest('{a,b}'::text[]) k;

DROP TABLE part, whole;
DROP SEQUENCE drawn;
DROP FUNCTION as_record, is_simplified, uses_index;
