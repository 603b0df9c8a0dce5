-- what is written where it lies, in cases that random data does not make
CREATE SCHEMA mapped;
SET search_path = mapped, public;
SET client_min_messages = warning;
SELECT idem_create_ledger('led', 'int8range') IS NOT NULL AS created;
CREATE FUNCTION load(target text, source text, mode text, version text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT format('%s: inserted %s, updated %s, deleted %s, unchanged %s', l.method, l.inserted_rows, l.updated_rows, l.deleted_rows, l.unchanged_rows)
    FROM idem_load('led', target, source, '[0,1000000)', mode, keys => '{k}', window_column => 'w', version_column => version, force => true) l $$;

-- a type whose values all have one hash
CREATE TYPE same;
CREATE FUNCTION same_in(cstring) RETURNS same LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION same_out(same) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE same (INPUT = same_in, OUTPUT = same_out, LIKE = int);
CREATE FUNCTION same_eq(same, same) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4eq';
CREATE FUNCTION same_lt(same, same) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4lt';
CREATE FUNCTION same_le(same, same) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4le';
CREATE FUNCTION same_gt(same, same) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4gt';
CREATE FUNCTION same_ge(same, same) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'int4ge';
CREATE FUNCTION same_cmp(same, same) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'btint4cmp';
CREATE FUNCTION same_hash(same) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT 1';
CREATE FUNCTION same_hash(same, bigint) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT AS 'SELECT 1::bigint';
CREATE OPERATOR = (LEFTARG = same, RIGHTARG = same, FUNCTION = same_eq, COMMUTATOR = =, HASHES, MERGES);
CREATE OPERATOR < (LEFTARG = same, RIGHTARG = same, FUNCTION = same_lt, COMMUTATOR = >);
CREATE OPERATOR <= (LEFTARG = same, RIGHTARG = same, FUNCTION = same_le, COMMUTATOR = >=);
CREATE OPERATOR > (LEFTARG = same, RIGHTARG = same, FUNCTION = same_gt, COMMUTATOR = <);
CREATE OPERATOR >= (LEFTARG = same, RIGHTARG = same, FUNCTION = same_ge, COMMUTATOR = <=);
CREATE OPERATOR CLASS same_ops DEFAULT FOR TYPE same USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 same_cmp(same, same);
CREATE OPERATOR CLASS same_ops DEFAULT FOR TYPE same USING hash AS OPERATOR 1 =, FUNCTION 1 same_hash(same), FUNCTION 2 same_hash(same, bigint);
CREATE TABLE alike (k same PRIMARY KEY, w int NOT NULL, v text);
CREATE INDEX ON alike (w);
CREATE TABLE alike_src (LIKE alike);
INSERT INTO alike_src SELECT i::text::same, i, 'v' || i FROM generate_series(1, 300) i;
SELECT load('alike', 'alike_src', 'reload');
SELECT load('alike', 'alike_src', 'reload');
UPDATE alike_src SET v = 'new' WHERE w % 3 = 0;
UPDATE alike_src SET k = (w + 1000)::text::same WHERE w % 50 = 1;
SELECT load('alike', 'SELECT * FROM alike_src WHERE w >= $1 AND w < $2 ORDER BY k', 'upsert');
SELECT count(*) FROM (TABLE alike_src EXCEPT TABLE alike) d;
SELECT load('alike', 'SELECT * FROM alike_src WHERE w >= $1 AND w < $2 ORDER BY k', 'reload') ~ 'difference' AS loaded;
SELECT count(*) FROM ((TABLE alike_src EXCEPT TABLE alike) UNION ALL (TABLE alike EXCEPT TABLE alike_src)) d;

-- more rows than memory has room for their hashes; in no order; with other rows in the window
CREATE TABLE many (k int PRIMARY KEY, w int NOT NULL, v text) WITH (fillfactor = 50);
CREATE INDEX ON many (w);
CREATE TABLE many_src (LIKE many);
INSERT INTO many_src SELECT i, i, 'v' FROM generate_series(1, 20000) i;
SELECT load('many', 'many_src', 'reload');
UPDATE many_src SET v = 'new' WHERE k % 4 = 0;
DELETE FROM many_src WHERE k % 100 = 1;
SET maintenance_work_mem = '1MB';
SELECT load('many', 'many_src', 'reload');
RESET maintenance_work_mem;
UPDATE many_src SET v = 'newer' WHERE k % 4 = 0;
INSERT INTO many_src SELECT i, i, 'born' FROM generate_series(20001, 20100) i;
SELECT load('many', 'SELECT * FROM many_src WHERE w >= $1 AND w < $2 ORDER BY md5(k::text)', 'reload');
SELECT count(*) FROM ((TABLE many_src EXCEPT TABLE many) UNION ALL (TABLE many EXCEPT TABLE many_src)) d;
SELECT load('many', 'SELECT k, w, v || 1 AS v FROM many_src WHERE w >= $1 AND w < $2 AND k < 100', 'upsert');
SELECT count(*) FROM many WHERE v LIKE '%1';

-- values that change places under another unique index; an upsert may not delete
CREATE TABLE places (k int PRIMARY KEY, w int NOT NULL, u int UNIQUE);
CREATE INDEX ON places (w);
INSERT INTO places SELECT i, i, i FROM generate_series(1, 100) i;
SELECT load('places', 'SELECT k, w, 101 - u AS u FROM mapped.places WHERE w >= $1 AND w < $2', 'reload');
SELECT k, u FROM places WHERE k < 3 ORDER BY k;
\set VERBOSITY sqlstate
SELECT load('places', 'SELECT k, w, 101 - u AS u FROM mapped.places WHERE w >= $1 AND w < $2', 'upsert');
\set VERBOSITY default

-- a table that publishes its updates and cannot say of which row
CREATE TABLE published (k int NOT NULL UNIQUE, w int NOT NULL, v text);
CREATE INDEX ON published (w);
INSERT INTO published SELECT i, i, 'v' FROM generate_series(1, 100) i;
SET client_min_messages = error;
CREATE PUBLICATION mapped_publication FOR TABLE published;
SET client_min_messages = warning;
SELECT load('published', 'SELECT k, w, ''new'' AS v FROM mapped.published WHERE w >= $1 AND w < $2 AND k < 10', 'upsert');
\set VERBOSITY sqlstate
SELECT load('published', 'SELECT k, w, v FROM mapped.published WHERE w >= $1 AND w < $2 AND k < 10', 'reload');
\set VERBOSITY default
DROP PUBLICATION mapped_publication;
SELECT load('published', 'SELECT k, w, v FROM mapped.published WHERE w >= $1 AND w < $2 AND k < 10', 'reload');

-- rights on columns are enough, and where a row lies is not asked of who has no others
CREATE ROLE mapped_writer;
GRANT USAGE, CREATE ON SCHEMA mapped TO mapped_writer;
GRANT SELECT (k, w, v), INSERT (k, w, v), UPDATE (v, w) ON many TO mapped_writer;
GRANT SELECT ON many_src TO mapped_writer;
SET ROLE mapped_writer;
SELECT idem_create_ledger('own', 'int8range') IS NOT NULL AS created;
SELECT method, updated_rows FROM idem_load('own', 'many', 'SELECT k, w, v || 2 AS v FROM mapped.many_src WHERE w >= $1 AND w < $2', '[0,30000)', 'upsert', keys => '{k}', window_column => 'w');
RESET ROLE;
GRANT SELECT ON many TO mapped_writer;
SET ROLE mapped_writer;
SELECT method, updated_rows FROM idem_load('own', 'many', 'SELECT k, w, v || 3 AS v FROM mapped.many_src WHERE w >= $1 AND w < $2', '[0,30000)', 'upsert', keys => '{k}', window_column => 'w', force => true);
RESET ROLE;
REVOKE UPDATE (v, w) ON many FROM mapped_writer;
SET ROLE mapped_writer;
SELECT method, updated_rows FROM idem_load('own', 'many', 'SELECT k, w, v || 4 AS v FROM mapped.many_src WHERE w >= $1 AND w < $2', '[0,30000)', 'upsert', keys => '{k}', window_column => 'w', force => true);
RESET ROLE;

-- what an expression of an index calls may look at tables
CREATE TABLE looked (k int PRIMARY KEY, w int NOT NULL, v int);
CREATE INDEX ON looked (w);
INSERT INTO looked SELECT i, i, i FROM generate_series(1, 100) i;
CREATE FUNCTION look(v int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN v + (SELECT count(*) FROM mapped.places WHERE k < 0); END $$;
CREATE INDEX ON looked (look(v));
SELECT load('looked', 'SELECT k, w, v + 1 AS v FROM mapped.looked WHERE w >= $1 AND w < $2 AND k <= 60', 'upsert');
SELECT load('looked', 'SELECT k, w, v + 1 AS v FROM mapped.looked WHERE w >= $1 AND w < $2 AND k > 30', 'reload');
SET enable_seqscan = off;
SELECT count(*) FROM looked WHERE look(v) > 32;
RESET enable_seqscan;

RESET search_path;
DROP SCHEMA mapped CASCADE;
DROP ROLE mapped_writer;
