-- What holds for IDs of any records, tried on random ones.
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS idem CASCADE;
SELECT plan(11);

SELECT setseed(0.42);
CREATE TEMP TABLE r AS
SELECT i AS id,
    (random() * 1e6)::int - 500000 AS n,
    CASE WHEN random() < 0.1 THEN NULL ELSE chr((random() * 60000)::int % 55000 + 32) || md5(random()::text) END AS s,
    CASE WHEN random() < 0.1 THEN NULL ELSE (random() - 0.5) * 10 ^ (random() * 60 - 30) END AS f,
    '2000-01-01'::timestamptz + random() * interval '30 years' AS t,
    random() < 0.5 AS b,
    ((random() * 1e9)::bigint::numeric / 10 ^ (random() * 8)::int)::numeric(20, 6) AS d
FROM generate_series(1, 20000) i;

SELECT is(count(*), 0::bigint, 'the order of keys does not matter')
FROM r WHERE idem_hash(r, '{n,s,f,t,b,d}') <> idem_hash(r, '{d,b,t,f,s,n}');
SELECT is(count(DISTINCT idem_hash(r, '{id,n,s,f,t,b,d}')), count(*), 'different records have different IDs') FROM r;
SELECT is(count(*), 0::bigint, 'the ID is the SHA-256 of the canonical form')
FROM r WHERE idem_hash(r, '{n,s,f,t,b,d}') <> encode(sha256(convert_to(idem_canonical(r, '{n,s,f,t,b,d}'), 'UTF8')), 'hex');
SELECT is(count(*), 0::bigint, 'the UUID is of version 8, from the same SHA-256')
FROM r, LATERAL (SELECT idem_uuid(r, '{n,s,f}')::text AS u, idem_hash(r, '{n,s,f}') AS h) x
WHERE translate(u, '-', '') <> overlay(overlay(left(h, 32) PLACING '8' FROM 13)
    PLACING substr('89ab', 1 + (get_byte(decode('0' || substr(h, 17, 1), 'hex'), 0) & 3), 1) FROM 17);
SELECT is(count(*), 0::bigint, 'the canonical form is ASCII JSON with the keys'' values')
FROM r WHERE idem_canonical(r, '{n,s,b,d}')::jsonb IS DISTINCT FROM jsonb_build_object('n', n, 's', s, 'b', b, 'd', d)
    OR idem_canonical(r, '{n,s,b,f}') ~ '[^ -~]';
SELECT is(count(*), 0::bigint, 'a record and its jsonb have one ID, where jsonb keeps the values')
FROM r WHERE idem_hash(r, '{id,n,s,b}') <> idem_hash(to_jsonb(r), '{id,n,s,b}');
SELECT is(count(*), 0::bigint, 'floats read back as they were')
FROM r WHERE (idem_canonical(r, '{f}')::json->>'f')::float8 IS DISTINCT FROM f;
SELECT is(count(*), 0::bigint, 'equal numerics have one ID, whatever their scale')
FROM r WHERE idem_hash(ROW(d), '{f1}') <> idem_hash(ROW(trim_scale(d)), '{f1}');
SELECT isnt(idem_hash(ROW(NULL::text, ''), '{f1,f2}'), idem_hash(ROW('', NULL::text), '{f1,f2}'), 'NULL is not the empty string');
SELECT isnt(idem_hash(ROW('a-'::text, 'b'::text), '{f1,f2}'), idem_hash(ROW('a'::text, '-b'::text), '{f1,f2}'), 'no separator collides');
SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0;
CREATE TABLE pg_temp.big AS SELECT i AS id, md5(i::text) AS s FROM generate_series(1, 1000) i;
SELECT is((SELECT md5(string_agg(idem_hash(b, '{id,s}'), '' ORDER BY id)) FROM pg_temp.big b),
    (SELECT md5(string_agg(encode(sha256(convert_to('{"id": ' || id || ', "s": "' || s || '"}', 'UTF8')), 'hex'), '' ORDER BY id)) FROM pg_temp.big),
    'and it is what hand-written SQL would compute');

SELECT * FROM finish();
ROLLBACK;
