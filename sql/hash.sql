-- Deterministic IDs: every row of the type table, the laws, the errors
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY';
CREATE SCHEMA hashes; SET search_path = hashes, public;

-- what Python computes: sha256(json.dumps({"id": 42, "name": "a"}, sort_keys=True))
SELECT idem_canonical(r, '{name,id}'), idem_hash(r, '{name,id}')
FROM (SELECT 42 AS id, 'a'::text AS name, 1 AS x) r;
SELECT idem_hash('{"id": 42, "name": "a", "x": 1}'::jsonb, '{id,name}');
SELECT idem_uuid(r, '{name,id}') FROM (SELECT 42 AS id, 'a'::text AS name) r;
SELECT idem_uuid('{"id": 42, "name": "a"}'::jsonb, '{id,name}');

-- one value of each type, in a row
CREATE TYPE mood AS ENUM ('sad', 'happy "day"');
CREATE DOMAIN cents AS numeric(10,2);
CREATE TYPE point3 AS (z int, y text, "A b" float8[]);
CREATE FUNCTION canon(r record) RETURNS text LANGUAGE plpgsql IMMUTABLE
AS $$ BEGIN RETURN idem_canonical(r, '{f1}'); END $$;

SELECT canon(ROW(v)) FROM unnest('{-32768,0,32767}'::int2[]) v;
SELECT canon(ROW(v)) FROM unnest('{-2147483648,7}'::int4[]) v;
SELECT canon(ROW(v)) FROM unnest('{-9223372036854775808,9223372036854775807}'::int8[]) v;
SELECT canon(ROW(v)) FROM unnest('{0,-0,1,1.5,0.1,100,1e15,1e16,123456789012345680,0.0001,0.00001,
    1e22,1e23,5e22,9.5e-05,5e-324,2.2250738585072014e-308,1.7976931348623157e308,
    22871181024466110,0.30000000000000004,NaN,Infinity,-Infinity}'::float8[]) v;
SELECT canon(ROW(v)) FROM unnest('{0.1,-0,1,16777216,1e15,1e16,3.4028235e38,1e-45,NaN,-Infinity}'::float4[]) v;
SELECT canon(ROW(v)) FROM unnest('{1.10,1.1,2.00,0,-0.0,1e15,1e16,12345678901234567890.5,
    0.1234567890123456789,0.00001,123456789012345678901234567890,-7.250,
    9007199254740993,0.30000000000000004,NaN,Infinity,-Infinity}'::numeric[]) v;
SELECT length(canon(ROW(1e400::numeric))), right(canon(ROW(1e-400::numeric)), 5), length(canon(ROW(1e-400::numeric)));
SELECT canon(ROW(true)), canon(ROW(false)), canon(ROW(NULL::int)), canon(ROW(''::text));
SELECT canon(ROW('a "q" \ / tab	é 漢 😀'::text)), canon(ROW(E'\b\f\n\r\x7f\x01'::text));
SELECT canon(ROW('ab '::varchar)), canon(ROW('ab '::char(5))), canon(ROW('Abc'::name)),
       canon(ROW('happy "day"'::mood));
SELECT canon(ROW('of no type'));
SELECT canon(ROW(v)) FROM unnest('{2024-02-29,0001-01-01,9999-12-31,10000-01-01,infinity,-infinity,
    0044-03-15 BC}'::date[]) v;
SELECT canon(ROW(v)) FROM unnest('{2024-02-29 12:00,2024-02-29 12:00:00.5,2024-02-29 12:00:00.000001,
    infinity,-infinity}'::timestamp[]) v;
SELECT canon(ROW(v)) FROM unnest('{2024-02-29 12:00+02,2024-02-29 12:00:00.5-08,infinity}'::timestamptz[]) v;
SELECT canon(ROW(v)) FROM unnest('{00:00,12:34:56.789,24:00}'::time[]) v;
SELECT canon(ROW(v)) FROM unnest('{0,1 year 2 mons 3 days 04:05:06.7,-1 mon,-00:00:00.5,1 day -01:00,24:00}'::interval[]) v;
SELECT canon(ROW('8E03978E-40D5-43E8-BC93-6894A57F9324'::uuid)), canon(ROW('\xDEadBEef00'::bytea)),
       canon(ROW(''::bytea));
SELECT canon(ROW(v)) FROM unnest(ARRAY['{"b": 1, "a": {"d": [1, 2.50, 1e2, -0, -0.0, 1E400, 1e-400], "c": null}, "b": 2}',
    '[]', '{}', ' "x\u00e9\/\u0000\ud800" ', 'true', '{"10": 1, "9": 2, "\u00e9": 3, "z": 4}']::json[]) v;
SELECT canon(ROW(v)) FROM unnest(ARRAY['{"bb": 1, "a": {"d": [1, 2.50, 1e2, -0.0, 1.5e1], "c": null}, "b": 2}',
    '[]', '{}', '"x\u00e9\/"', 'true', '{"10": 1, "9": 2, "\u00e9": 3, "z": 4}']::jsonb[]) v;
SELECT canon(ROW('{1,NULL,3}'::int[])), canon(ROW('{}'::text[])), canon(ROW('{{1,2},{3,4}}'::int[])),
       canon(ROW('[5:6]={a,b}'::text[])), canon(ROW('{1.5,2}'::cents[]));
SELECT canon(ROW(ROW(1, 'x', '{1,2.5}')::point3)), canon(ROW(ROW(1, ROW(2, NULL::text))));
SELECT canon(ROW(3.50::cents));
SELECT canon(ROW('[1,5)'::int4range)), canon(ROW('(,5)'::int8range)), canon(ROW('empty'::numrange)),
       canon(ROW('(1.50,2]'::numrange)), canon(ROW('[2024-01-01,2024-02-01)'::daterange)),
       canon(ROW('[2024-01-01 00:00+01,infinity)'::tstzrange)), canon(ROW('[2024-01-01 00:00,)'::tsrange));

-- no setting changes the form
CREATE FUNCTION all_settings() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT idem_hash(r, '{a,b,c,d,e,f,g}') FROM (SELECT '2024-01-01 00:00:00.5+00'::timestamptz AS a,
    0.1::float8 + 0.2 AS b, '\xff00'::bytea AS c, '1 day 02:00'::interval AS d, '2024-01-02'::date AS e,
    1.50::numeric AS f, '{1.1}'::float4[] AS g) r $$;
SELECT all_settings() AS reference \gset
SET timezone = 'Asia/Kolkata'; SET datestyle = 'German'; SET intervalstyle = 'sql_standard';
SET bytea_output = 'escape'; SET extra_float_digits = -10; SET lc_numeric = 'C'; SET lc_monetary = 'C';
SELECT all_settings() = :'reference' AS unchanged;
RESET ALL; SET timezone = 'UTC'; SET datestyle = 'ISO, MDY'; SET search_path = hashes, public;

-- keys: their order does not matter, nor do other columns, nor dropped ones
CREATE TABLE t (gone int, id int, "Odd ""Name" text, extra int);
INSERT INTO t VALUES (1, 7, 'x', 1), (2, 8, NULL, 2);
SELECT idem_canonical(t, '{id,"Odd \"Name"}') FROM t;
SELECT idem_hash(t, '{id}') AS before FROM t WHERE id = 7 \gset
ALTER TABLE t DROP COLUMN gone; ALTER TABLE t ADD COLUMN more int DEFAULT 5;
SELECT idem_hash(t, '{id}') = :'before' AS unchanged FROM t WHERE id = 7;
SELECT idem_hash(NULL::t, '{id}') IS NULL, idem_hash(t, NULL) IS NULL FROM t LIMIT 1;

-- the row type and the keys may change from call to call
SELECT idem_canonical(r, k) FROM (VALUES (ROW(1, 'a'::text), '{f1}'::text[]), (ROW(true, 2.5, 3), '{f3,f2}'),
    (ROW('x'::text, 1), '{f2}'), (ROW(1, 'b'::text), '{f2,f1}')) v(r, k);
SELECT idem_canonical(j, k) FROM (VALUES ('{"a": 1, "b": 2}'::jsonb, '{a}'::text[]), ('{"b": 3, "c": 4}', '{c,b}')) v(j, k);
DO $$
DECLARE r record; h text;
BEGIN
    FOR i IN 1..3 LOOP
        SELECT i AS id INTO r;
        h := idem_canonical(r, '{id}');
        IF i = 2 THEN SELECT 'text'::text AS id, 1 AS n INTO r; h := idem_canonical(r, '{id}'); END IF;
        RAISE NOTICE '%', h;
    END LOOP;
END $$;
-- … also of a variable, which is a parameter to the server, and between errors
DO $$
DECLARE r record; k text[]; j jsonb; got text; want text;
BEGIN
    FOR i IN 1..60 LOOP
        k := CASE i % 3 WHEN 0 THEN '{a}'::text[] WHEN 1 THEN '{b}' ELSE '{b,a}' END;
        IF i % 4 = 0 THEN SELECT i AS a, 'x' || i AS b INTO r; ELSIF i % 4 = 1 THEN SELECT i AS b, i AS a INTO r;
        ELSIF i % 4 = 2 THEN SELECT true AS z, 0.5 AS b, i::bigint AS a INTO r; ELSE SELECT i AS c INTO r; END IF;
        j := to_jsonb(r);
        BEGIN
            got := concat_ws(' ', idem_canonical(r, k), idem_hash(r, k), idem_uuid(r, k), idem_canonical(j, k), idem_hash(j, k), idem_uuid(j, k));
        EXCEPTION WHEN undefined_column THEN got := 'undefined';
        END;
        BEGIN
            EXECUTE format('SELECT concat_ws('' '', idem_canonical(%1$L::jsonb, %2$L), idem_hash(%1$L::jsonb, %2$L), idem_uuid(%1$L::jsonb, %2$L))', j, k) INTO want;
            want := want || ' ' || want;
        EXCEPTION WHEN undefined_column THEN want := 'undefined';
        END;
        IF got IS DISTINCT FROM want THEN RAISE WARNING '% %: % instead of %', r, k, got, want; END IF;
    END LOOP;
END $$;
PREPARE with_keys(text[]) AS SELECT DISTINCT idem_canonical(r, $1), idem_hash(r, $1) = idem_hash(to_jsonb(r), $1) FROM (SELECT 1 AS a, 2 AS b) r;
SET plan_cache_mode = force_generic_plan;
EXECUTE with_keys('{a}');
EXECUTE with_keys('{b,a}');
RESET plan_cache_mode;
CREATE FUNCTION by_variable(j jsonb, k text[]) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN idem_canonical(j, k); END $$;
CREATE TABLE shapes (j jsonb, k text[], stored text GENERATED ALWAYS AS (idem_canonical(j, k)) STORED,
    CHECK (idem_canonical(j, k) = by_variable(j, k)));
CREATE INDEX ON shapes (idem_hash(j, k));
INSERT INTO shapes VALUES ('{"a": 1, "b": 2}', '{a}'), ('{"a": 1, "b": 2}', '{b}'), ('{"c": 3}', '{c}');
UPDATE shapes SET j = j || '{"b": 4}', k = '{b}' WHERE k = '{a}';
SET enable_seqscan = off;
SELECT stored, (SELECT count(*) FROM shapes o WHERE idem_hash(o.j, o.k) = idem_hash(s.j, s.k)) FROM shapes s ORDER BY 1;
RESET enable_seqscan;

CREATE TYPE changing AS (a int, b text);
CREATE TABLE holder (c changing);
INSERT INTO holder VALUES (ROW(1, 'x'));
SELECT idem_canonical(holder, '{c}') FROM holder;
ALTER TYPE changing RENAME ATTRIBUTE a TO z;
SELECT idem_canonical(holder, '{c}') FROM holder;

-- an index and a unique constraint on it
CREATE UNIQUE INDEX ON t (idem_hash(t, '{id}'));
INSERT INTO t VALUES (7, 'again');
DROP INDEX t_idem_hash_idx;

-- many keys, many members, deep documents: in time that follows their size
SET statement_timeout = '20s';
SELECT length(idem_canonical(jsonb_object_agg('key' || i, i), array_agg('key' || i ORDER BY i DESC))) FROM generate_series(1, 100000) i;
SELECT length(idem_canonical(r, '{doc}')) FROM (SELECT (repeat('{"z": 1, "k":', 3000) || '"' || repeat('x', 200000) || '"' || repeat('}', 3000))::json AS doc) r;
SELECT length(idem_canonical(r, '{doc}')) FROM (SELECT (repeat('{"z": 1, "k":', 3000) || '"' || repeat('x', 200000) || '"' || repeat('}', 3000))::jsonb AS doc) r;
SELECT length(idem_canonical(r, '{doc}')) FROM (SELECT ('{' || string_agg(format('"k%s": {"a": [{}, []]}', i % 50000), ',') || '}')::json AS doc FROM generate_series(1, 100000) i) r;
SELECT idem_canonical(r, '{doc}') FROM (SELECT ' { "b" : [ 1 , {"x":{"q":{},"p":[]}} , "s\n" ] , "a\u0041":{"y":[[],{}],"x":null},
    "b" : [ {} , [ ] , { "k" : [ ], "\"]}" : "{[\\" } ] ,"":false} '::json AS doc) r;
RESET statement_timeout;

-- errors, each naming its thing
\set SHOW_CONTEXT never
SELECT idem_hash(t, '{}') FROM t;
\echo :SQLSTATE
SELECT idem_hash(t, '{id,NULL}') FROM t;
\echo :SQLSTATE
SELECT idem_hash(t, '{id,id}') FROM t;
\echo :SQLSTATE
SELECT idem_hash(t, '{{id},{more}}') FROM t;
\echo :SQLSTATE
SELECT idem_hash(t, '{ID}') FROM t;
\echo :SQLSTATE
SELECT idem_hash('{"a": 1}'::jsonb, '{b}');
\echo :SQLSTATE
SELECT idem_hash('[1]'::jsonb, '{b}');
\echo :SQLSTATE
SELECT idem_hash(r, '{ip}') FROM (SELECT '::1'::inet AS ip) r;
\echo :SQLSTATE
SELECT idem_hash(r, '{a}') FROM (SELECT '{12:00+01}'::timetz[] AS a) r;
\echo :SQLSTATE
SELECT idem_hash(r, '{m}') FROM (SELECT 1::money AS m) r;
\echo :SQLSTATE

SELECT idem_hash('{"a": 1}'::jsonb, array_agg('key' || i)) FROM generate_series(1, 40000) i;
\echo :SQLSTATE
SELECT idem_hash('{"a": 1}'::jsonb, array_agg('key' || i % 39999)) FROM generate_series(1, 40000) i;
\echo :SQLSTATE
CREATE TABLE deep AS SELECT doc, doc::jsonb AS docb FROM (SELECT (repeat('[', 2000) || repeat(']', 2000))::json AS doc) x;
SET max_stack_depth = '100kB';
SELECT idem_hash(deep, '{doc}') FROM deep;
\echo :SQLSTATE
SELECT idem_hash(deep, '{docb}') FROM deep;
\echo :SQLSTATE
RESET max_stack_depth;
-- text that is not valid in the database's encoding
BEGIN;
CREATE CAST (bytea AS text) WITHOUT FUNCTION;
SELECT idem_hash(r, '{v}') FROM (SELECT '\x61c3'::bytea::text AS v) r;
\echo :SQLSTATE
ROLLBACK;

-- what a hint says to type exists, has a form, and does not follow the settings
SELECT idem_hash(r, '{p}') FROM (SELECT point(1, 2) AS p) r;
SELECT idem_hash(r, '{p}') FROM (SELECT '{1}'::oid[] AS p) r;
SELECT idem_hash(r, '{p}') FROM (SELECT '{}'::tstzmultirange AS p) r;
CREATE TYPE lsnrange AS RANGE (subtype = pg_lsn);
SELECT idem_hash(r, '{p}') FROM (SELECT 'empty'::lsnrange AS p) r;
CREATE TABLE formless (type regtype, expression text);
DO $$
DECLARE t regtype; hint text;
BEGIN
    FOR t IN SELECT oid FROM pg_type WHERE typtype IN ('b', 'm', 'r') AND typnamespace = 'pg_catalog'::regnamespace LOOP
        BEGIN
            EXECUTE format('SELECT idem_hash(r, ''{v}'') FROM (SELECT NULL::%s AS v) r', t);
        EXCEPTION WHEN feature_not_supported THEN
            GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
            INSERT INTO formless VALUES (t, substring(hint FROM 'for example (.*)\.$'));
        END;
    END LOOP;
    FOR t, hint IN SELECT * FROM formless WHERE expression IS NOT NULL LOOP
        BEGIN
            EXECUTE format('SELECT idem_hash(r, ''{v}'') FROM (SELECT %s AS v FROM (SELECT NULL::%s AS v) x) r', hint, t);
        EXCEPTION WHEN OTHERS THEN RAISE WARNING '%: %: %', t, hint, sqlerrm;
        END;
    END LOOP;
END $$;
SELECT count(*) > 60 AS many, string_agg(expression, ' ' ORDER BY type::text) FILTER (WHERE type IN
    ('point', 'box', 'path[]', 'regclass', 'oid[]', 'oidvector', 'inet', 'timetz', 'tsvector', 'bit', 'int4multirange')) FROM formless;
CREATE FUNCTION hinted() RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE expression text; type regtype; value text; result text[];
BEGIN
    FOR type, expression, value IN SELECT f.type, f.expression, v FROM hashes.formless f JOIN (VALUES ('point'::regtype, '(0.1,1e300)'), ('path', '[(0.1,2.3)]'),
        ('circle', '<(0.1,2.3),4.5>'), ('regclass', 'hashes.t'), ('regtype[]', '{hashes.mood}'), ('timetz', '12:00:00.5+01:30'), ('tstzmultirange', '{[2024-01-02 00:00+00,)}'),
        ('datemultirange', '{[2024-01-02,2024-02-03)}'), ('inet', '10.0.0.1/8'), ('bit', '1'), ('jsonpath', '$.a ? (@ > 1.50)'), ('tsvector', 'a:1B'), ('pg_lsn', '16/B374D848')) x(t, v)
        ON x.t = f.type ORDER BY x.v
    LOOP
        EXECUTE format('SELECT public.idem_canonical(r, ''{v}'') FROM (SELECT %s AS v FROM (SELECT %L::%s AS v) x) r', expression, value, type) INTO value;
        result := result || value;
    END LOOP;
    RETURN result;
END $$;
SELECT hinted() AS reference \gset
SET timezone = 'Asia/Kolkata'; SET datestyle = 'ISO, DMY'; SET extra_float_digits = -10; SET search_path = public;
SELECT hashes.hinted() = :'reference' AS unchanged, cardinality(hashes.hinted());
SET datestyle = 'German';
SELECT hashes.hinted() = :'reference' AS unchanged;
RESET ALL; SET timezone = 'UTC'; SET datestyle = 'ISO, MDY'; SET search_path = hashes, public;

-- citext is a string
CREATE EXTENSION citext SCHEMA public;
SELECT canon(ROW('MiXed'::citext));

-- the trigger
CREATE TABLE event (id text PRIMARY KEY, uid uuid, kind text, at timestamptz, payload jsonb,
    upper_kind text GENERATED ALWAYS AS (upper(kind)) STORED);
CREATE TRIGGER set_id BEFORE INSERT OR UPDATE ON event FOR EACH ROW
    EXECUTE FUNCTION idem_set_id('id', 'kind', 'at');
CREATE TRIGGER set_uid BEFORE INSERT OR UPDATE ON event FOR EACH ROW
    EXECUTE FUNCTION idem_set_id('uid', 'kind', 'at');
INSERT INTO event (kind, at, payload) VALUES ('a', '2024-01-01', '{}'), ('b', NULL, NULL);
SELECT kind, id = idem_hash(event, '{at,kind}') AS same, uid = idem_uuid(event, '{at,kind}') AS same_uid FROM event ORDER BY kind;
UPDATE event SET kind = 'c' WHERE kind = 'b';
SELECT kind, id = idem_hash(event, '{at,kind}') AS same FROM event ORDER BY kind;
INSERT INTO event (kind, at) VALUES ('a', '2024-01-01 01:00+01');
SELECT idem_set_id();
\echo :SQLSTATE
CREATE TRIGGER bad AFTER INSERT ON event FOR EACH ROW EXECUTE FUNCTION idem_set_id('id', 'kind');
INSERT INTO event (kind) VALUES ('x');
\echo :SQLSTATE
DROP TRIGGER bad ON event;
CREATE TRIGGER bad BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION idem_set_id('id');
INSERT INTO event (kind) VALUES ('x');
\echo :SQLSTATE
DROP TRIGGER bad ON event;
CREATE TRIGGER bad BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION idem_set_id('nope', 'kind');
INSERT INTO event (kind) VALUES ('x');
\echo :SQLSTATE
DROP TRIGGER bad ON event;
CREATE TRIGGER bad BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION idem_set_id('payload', 'kind');
INSERT INTO event (kind) VALUES ('x');
\echo :SQLSTATE
DROP TRIGGER bad ON event;
CREATE TRIGGER bad BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION idem_set_id('id', 'id');
INSERT INTO event (kind) VALUES ('x');
\echo :SQLSTATE
DROP TRIGGER bad ON event;
CREATE TRIGGER bad BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION idem_set_id('id', 'upper_kind');
INSERT INTO event (kind) VALUES ('x');
\echo :SQLSTATE
DROP TRIGGER bad ON event;
CREATE TRIGGER bad BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION idem_set_id('id', 'nope');
INSERT INTO event (kind) VALUES ('x');
\echo :SQLSTATE
DROP TRIGGER bad ON event;
-- it puts into the column what the column takes, as an assignment would
CREATE DOMAIN hexid AS varchar(80) CHECK (value ~ '^[0-9a-f]{64}$');
CREATE DOMAIN noid AS text CHECK (length(value) < 64);
CREATE DOMAIN uid AS uuid CHECK (value <> '00000000-0000-0000-0000-000000000000');
CREATE DOMAIN brief AS varchar(63);
CREATE TABLE fits (kind text, a char(64), b char(70), c hexid, d uid, e varchar(64), f bpchar);
CREATE TABLE fits_not (kind text, a varchar(10), b char(63), c noid, d brief, e bytea, f text GENERATED ALWAYS AS (kind) STORED);
SELECT format('CREATE TRIGGER set_%s BEFORE INSERT OR UPDATE ON fits FOR EACH ROW EXECUTE FUNCTION idem_set_id(%L, ''kind'')', c, c)
FROM unnest('{a,b,c,d,e,f}'::text[]) c \gexec
INSERT INTO fits VALUES ('a');
UPDATE fits SET kind = 'b';
SELECT a = idem_hash(fits, '{kind}'), b = a, octet_length(b), c = a, d = idem_uuid(fits, '{kind}'), e = a, f = a FROM fits;
CREATE OR REPLACE TRIGGER bad BEFORE INSERT ON fits_not FOR EACH ROW EXECUTE FUNCTION idem_set_id('a', 'kind');
INSERT INTO fits_not VALUES ('x');
\echo :SQLSTATE
CREATE OR REPLACE TRIGGER bad BEFORE INSERT ON fits_not FOR EACH ROW EXECUTE FUNCTION idem_set_id('b', 'kind');
INSERT INTO fits_not VALUES ('x');
\echo :SQLSTATE
CREATE OR REPLACE TRIGGER bad BEFORE INSERT ON fits_not FOR EACH ROW EXECUTE FUNCTION idem_set_id('c', 'kind');
INSERT INTO fits_not VALUES ('x');
\echo :SQLSTATE
CREATE OR REPLACE TRIGGER bad BEFORE INSERT ON fits_not FOR EACH ROW EXECUTE FUNCTION idem_set_id('d', 'kind');
INSERT INTO fits_not VALUES ('x');
\echo :SQLSTATE
CREATE OR REPLACE TRIGGER bad BEFORE INSERT ON fits_not FOR EACH ROW EXECUTE FUNCTION idem_set_id('e', 'kind');
INSERT INTO fits_not VALUES ('x');
\echo :SQLSTATE
CREATE OR REPLACE TRIGGER bad BEFORE INSERT ON fits_not FOR EACH ROW EXECUTE FUNCTION idem_set_id('f', 'kind');
INSERT INTO fits_not VALUES ('x');
\echo :SQLSTATE
