-- Targets of many kinds, loaded twice in both modes
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY';
CREATE SCHEMA targets; SET search_path = targets, public;
SELECT idem_create_ledger('led', 'int8range');
CREATE TABLE src (id int, w int, v text);
INSERT INTO src SELECT i, i, 'v' || i FROM generate_series(0, 29) i;

-- loads in both modes, changed in between; the result must be the source
CREATE PROCEDURE check_target(target regclass, keys text[] DEFAULT '{id}', cols text DEFAULT 'id, w, v') LANGUAGE plpgsql AS $$
DECLARE m text; bad bigint; r record; used text := '';
BEGIN
    FOREACH m IN ARRAY CASE WHEN keys IS NULL THEN '{reload}' ELSE '{upsert,reload}' END::text[] LOOP
        FOR pass IN 1..3 LOOP
            PERFORM * FROM idem_load('led', target, 'SELECT ' || cols || ' FROM src WHERE w >= $1 AND w < $2', '[0,30)', m, keys => keys,
                window_column => 'w', step => '10', force => true);
            EXECUTE format('SELECT count(*) FROM ((SELECT %s FROM %s EXCEPT ALL SELECT %1$s FROM src)
                UNION ALL (SELECT %1$s FROM src EXCEPT ALL SELECT %1$s FROM %2$s)) d', cols, target) INTO bad;
            IF bad > 0 THEN RAISE WARNING '% rows of % differ after % %', bad, target, m, pass; END IF;
            UPDATE src SET v = v || m WHERE id % 7 = pass;
        END LOOP;
    END LOOP;
    UPDATE src SET v = 'v' || id;
    FOR r IN SELECT mode, method, sum(inserted_rows) AS i, sum(updated_rows) AS u, sum(deleted_rows) AS d, sum(unchanged_rows) AS s
        FROM led WHERE led.target = check_target.target::regclass GROUP BY 1, 2 ORDER BY 1 DESC, 2 LOOP
        RAISE NOTICE '% % %: % inserted, % updated, % deleted, % unchanged', target, r.mode, r.method, r.i, r.u, r.d, r.s;
    END LOOP;
END $$;

CREATE TABLE plain (id int PRIMARY KEY, w int, v text);
CALL check_target('plain');
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY, w int, v text);
CALL check_target('unlogged');
-- what its load says to type after a crash makes gaps of it; with a ledger that is unlogged too there is nothing to say
SELECT idem_invalidate('targets.led', 'targets.unlogged', range_merge(idem_coverage('targets.led', 'targets.unlogged', '(,)'::pg_catalog.int8range))) > 0 AS invalidated;
SELECT idem_coverage('led', 'targets.unlogged', '(,)');
SELECT idem_create_ledger('fleeting', 'int8range');
ALTER TABLE fleeting SET UNLOGGED;
SELECT result FROM idem_load('fleeting', 'unlogged', 'SELECT 1 AS id, 1 AS w', '[0,10)', 'upsert', keys => '{id}');
CREATE TEMP TABLE temporary (id int PRIMARY KEY, w int, v text);
CALL check_target('temporary');

-- dropped, generated, identity and default columns; another order; quoted names
CREATE TABLE odd (gone int, v text, gen text GENERATED ALWAYS AS ('<' || v || '>') STORED, w int, gone2 text,
    num int GENERATED ALWAYS AS IDENTITY, id int PRIMARY KEY, def text DEFAULT 'd' NOT NULL);
ALTER TABLE odd DROP COLUMN gone, DROP COLUMN gone2;
CALL check_target('odd');
SELECT bool_and(gen = '<' || v || '>'), bool_and(def = 'd'), count(DISTINCT num) FROM odd;
CREATE SCHEMA "Odd Schema";
CREATE TABLE "Odd Schema"."Tar""get" ("Key id" int PRIMARY KEY, "w'" int, "select" text);
CALL idem_load_window('led', '"Odd Schema"."Tar""get"', 'SELECT id AS "Key id", w AS "w''", v AS "select" FROM src WHERE w >= $1 AND w < $2', '[0,30)',
    'reload', keys => '{"Key id"}', window_column => 'w''');
CALL idem_load_window('led', '"Odd Schema"."Tar""get"', 'SELECT id AS "Key id", w AS "w''", v || ''x'' AS "select" FROM src WHERE w >= $1 AND w < $2', '[0,30)',
    'upsert', keys => '{"Key id"}', window_column => 'w''', force => true);

-- an identity column that is the key is written as the source has it
CREATE TABLE ident (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, w int, v text);
CALL check_target('ident');

-- a generated column as window column, the whole of another table as source
CREATE TABLE genw (id int PRIMARY KEY, v text, w int GENERATED ALWAYS AS (id) STORED);
CALL idem_load_window('led', 'genw', 'src', '[0,30)', 'reload', keys => '{id}', window_column => 'w');
DELETE FROM src WHERE id = 3;
CALL idem_load_window('led', 'genw', 'SELECT id, v FROM src WHERE w >= $1 AND w < $2', '[0,30)', 'reload', keys => '{id}', window_column => 'w', force => true);
SELECT count(*) FROM genw;
INSERT INTO src VALUES (3, 3, 'v3');

-- partitioned by range of the window column, and by hash of a key
CREATE TABLE by_range (id int, w int, v text, PRIMARY KEY (id, w)) PARTITION BY RANGE (w);
CREATE TABLE by_range1 PARTITION OF by_range FOR VALUES FROM (0) TO (10);
CREATE TABLE by_range2 (v text, gone int, w int, id int);
ALTER TABLE by_range2 DROP COLUMN gone, ALTER w SET NOT NULL, ALTER id SET NOT NULL;
ALTER TABLE by_range ATTACH PARTITION by_range2 FOR VALUES FROM (10) TO (30);
CALL check_target('by_range', '{id,w}');
CREATE TABLE by_hash (id int PRIMARY KEY, w int, v text) PARTITION BY HASH (id);
CREATE TABLE by_hash0 PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE by_hash1 PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CALL check_target('by_hash');

-- partial and expression indexes beside the key, foreign keys, checks
CREATE TABLE ref (id int PRIMARY KEY); INSERT INTO ref SELECT generate_series(0, 29);
CREATE TABLE indexed (id int PRIMARY KEY REFERENCES ref, w int CHECK (w >= 0), v text);
CREATE UNIQUE INDEX ON indexed (lower(v)); CREATE INDEX ON indexed (w) WHERE w > 5; CREATE UNIQUE INDEX ON indexed (id) WHERE w < 0;
CALL check_target('indexed');

-- triggers fire for what changes, and only for that
CREATE TABLE fired (id int PRIMARY KEY, w int, v text);
CREATE TABLE firings (op text, lvl text, id int);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO firings VALUES (TG_OP, TG_LEVEL, CASE WHEN TG_LEVEL = 'ROW' THEN CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END END);
    RETURN NULL; END $$;
CREATE TRIGGER a AFTER INSERT OR UPDATE OR DELETE ON fired FOR EACH ROW EXECUTE FUNCTION note();
CALL idem_load_window('led', 'fired', 'src', '[0,30)', 'reload', keys => '{id}', window_column => 'w');
TRUNCATE firings;
CALL idem_load_window('led', 'fired', 'src', '[0,30)', 'reload', keys => '{id}', window_column => 'w', force => true);
SELECT count(*) FROM firings;
UPDATE src SET v = 'x' WHERE id = 4; DELETE FROM src WHERE id = 5; INSERT INTO src VALUES (100, 6, 'new');
CALL idem_load_window('led', 'fired', 'src', '[0,30)', 'reload', keys => '{id}', window_column => 'w', force => true);
SELECT * FROM firings ORDER BY 1;
UPDATE src SET v = 'v4' WHERE id = 4; DELETE FROM src WHERE id = 100; INSERT INTO src VALUES (5, 5, 'v5');

-- an updatable view, with its keys' index on the table behind it
CREATE TABLE behind (id int PRIMARY KEY, w int, v text, hidden int DEFAULT 7);
CREATE VIEW front AS SELECT v, w AS w, id FROM behind WHERE id < 1000;
CREATE VIEW facade AS SELECT id, v, w FROM front;
CALL check_target('front');
CALL check_target('facade');
SELECT count(*), sum(hidden) FROM behind;

-- no keys: rows are replaced
CREATE TABLE nokey (id int, w int, v text);
CALL check_target('nokey', NULL);
-- a reload holds identical rows as often as they come
CREATE TABLE clicks (w int, what text);
CALL idem_load_window('led', 'clicks', 'SELECT 1 AS w, ''click'' AS what FROM generate_series(1, 3)', '[0,30)', 'reload', window_column => 'w');
CALL idem_load_window('led', 'clicks', 'SELECT 1 AS w, ''click'' AS what FROM generate_series(1, 2)', '[0,30)', 'reload', window_column => 'w', force => true);
SELECT count(*) FROM clicks;
-- a row that moves to another window leaves its old one, with keys that no index enforces too
CREATE TABLE moves (id int, w int); CREATE TABLE moves_src AS SELECT 1 AS id, 1 AS w;
CALL idem_load_window('led', 'moves', 'moves_src', '[0,10)', 'reload', keys => '{id}', window_column => 'w');
UPDATE moves_src SET w = 11;
CALL idem_load_window('led', 'moves', 'moves_src', '[10,20)', 'reload', keys => '{id}', window_column => 'w');
TABLE moves;
DROP TABLE clicks, moves, moves_src;
-- keys without an index serve a reload as well
CALL idem_load_window('led', 'nokey', 'src', '[0,30)', 'reload', keys => '{id}', window_column => 'w', force => true);

-- row-level security is the caller's
CREATE ROLE regress_idem_tenant;
GRANT ALL ON SCHEMA targets TO regress_idem_tenant; GRANT ALL ON led, led_run_id_seq, src TO regress_idem_tenant;
CREATE TABLE tenants (id int PRIMARY KEY, w int, v text, owner name DEFAULT current_user);
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY; GRANT ALL ON tenants TO regress_idem_tenant;
CREATE POLICY own ON tenants USING (owner = current_user);
INSERT INTO tenants VALUES (1000, 5, 'not mine');
SET ROLE regress_idem_tenant;
CALL idem_load_window('led', 'tenants', 'src', '[0,30)', 'reload', keys => '{id}', window_column => 'w', pipeline => 'rls');
CALL idem_load_window('led', 'tenants', 'SELECT * FROM src WHERE w >= $1 AND w < $2 AND id > 10', '[0,30)', 'reload', keys => '{id}', window_column => 'w', pipeline => 'rls', force => true);
RESET ROLE;
SELECT owner, count(*) FROM tenants GROUP BY 1 ORDER BY 1;
DROP OWNED BY regress_idem_tenant; DROP ROLE regress_idem_tenant;

-- values that are equal and yet not the same are brought up to date; NULLs and toasted values compare right
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS citext SCHEMA public;
RESET client_min_messages;
CREATE TYPE comp AS (a int, b text);
CREATE TABLE subtle (id int PRIMARY KEY, n numeric, c citext, f float8, iv interval, cm comp, j json, big text, arr int[]);
CREATE TABLE subtle_src (LIKE subtle);
INSERT INTO subtle_src VALUES (1, 1.0, 'Bob', 0.0, '1 day', ROW(1, NULL), '{"a":1}', repeat('x', 1000000), '{1,NULL}'),
    (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE PROCEDURE subtle() LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN
    SELECT * INTO r FROM idem_load('led', 'subtle', 'SELECT * FROM subtle_src', '[0,1)', 'upsert', keys => '{id}', force => true);
    RAISE NOTICE '%: inserted %, updated %, unchanged %', r.method, r.inserted_rows, r.updated_rows, r.unchanged_rows; END $$;
CALL subtle();
CALL subtle();
UPDATE subtle_src SET n = 1.00 WHERE id = 1; CALL subtle();
UPDATE subtle_src SET c = 'BOB' WHERE id = 1; CALL subtle();
UPDATE subtle_src SET f = '-0' WHERE id = 1; CALL subtle();
UPDATE subtle_src SET iv = '24 hours' WHERE id = 1; CALL subtle();
UPDATE subtle_src SET cm = ROW(NULL, NULL) WHERE id = 2; CALL subtle();
UPDATE subtle_src SET j = '{"a": 1}' WHERE id = 1; CALL subtle();
UPDATE subtle_src SET big = big || 'y' WHERE id = 1; CALL subtle();
UPDATE subtle_src SET arr = '{}' WHERE id = 2; CALL subtle();
SELECT count(*) FROM subtle t JOIN subtle_src s USING (id) WHERE t *= s;

-- a key that is equal but not the same is brought up to date too
CREATE TABLE ci (k citext PRIMARY KEY, v int);
SELECT method, updated_rows FROM idem_load('led', 'ci', $$SELECT 'Key'::citext AS k, 1 AS v$$, '[0,1)', 'upsert', keys => '{k}');
SELECT method, updated_rows FROM idem_load('led', 'ci', $$SELECT 'KEY'::citext AS k, 1 AS v$$, '[1,2)', 'upsert', keys => '{k}');
TABLE ci;

-- a target that has only keys
CREATE TABLE onlykeys (a int, b int, PRIMARY KEY (a, b));
CALL idem_load_window('led', 'onlykeys', 'SELECT id AS a, w AS b FROM src', '[0,1)', 'upsert', keys => '{a,b}');
CALL idem_load_window('led', 'onlykeys', 'SELECT id AS a, w AS b FROM src', '[0,1)', 'upsert', keys => '{a,b}', force => true);

-- safe under a hostile search_path, which the source still uses
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.raise(int, int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
CREATE OPERATOR hostile.= (FUNCTION = hostile.raise, LEFTARG = int, RIGHTARG = int);
CREATE FUNCTION hostile.raise(int, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
CREATE OPERATOR hostile.>= (FUNCTION = hostile.raise, LEFTARG = int, RIGHTARG = bigint);
CREATE FUNCTION hostile.count() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$;
CREATE TABLE hostile.idem_source (id int); CREATE TABLE idem_source (id int);
SET search_path = hostile, targets, pg_catalog;
CALL public.idem_load_window('led', 'plain', 'src', '[0,30)', 'reload', keys => '{id}', window_column => 'w', force => true);
SET idem.source_digest = off;
CALL public.idem_load_window('led', 'nokey', 'src', '[0,30)', 'reload', window_column => 'w', force => true);
RESET idem.source_digest;
CALL public.idem_load_window('led', 'plain', 'SELECT * FROM idem_source', '[50,60)', 'upsert', keys => '{id}', on_schema_change => 'ignore');
SET search_path = targets, public;

-- the table changes between two loads of one session, and between two pieces of one load
CREATE TABLE moving (id int PRIMARY KEY, w int, v text);
CALL idem_load_window('led', 'moving', 'SELECT * FROM src WHERE w >= $1 AND w < $2', '[0,10)', 'upsert', keys => '{id}');
ALTER TABLE moving DROP COLUMN v; ALTER TABLE moving ADD COLUMN v varchar(4);
CALL idem_load_window('led', 'moving', 'SELECT * FROM src WHERE w >= $1 AND w < $2', '[10,20)', 'upsert', keys => '{id}');
CREATE FUNCTION alter_it(x int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    IF x = 20 THEN ALTER TABLE src ADD COLUMN extra int; END IF; RETURN x; END $$;
CALL idem_load_window('led', 'moving', 'SELECT * FROM src WHERE w >= $1 AND w < $2', '[20,30)', 'upsert', keys => '{id}', step => '5',
    audit => 'SELECT 1 FROM alter_it($1::int) x WHERE x = 0');
SELECT count(*), count(v) FROM moving;

-- BEFORE triggers change rows, statement triggers see transition tables, deferred constraints wait for the commit
CREATE TABLE before (id int PRIMARY KEY, w int, v text, stamp text);
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.stamp := upper(NEW.v); RETURN NEW; END $$;
CREATE TRIGGER b BEFORE INSERT OR UPDATE ON before FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE FUNCTION count_rows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO firings SELECT TG_OP, count(*)::text FROM changed; RETURN NULL; END $$;
CREATE TRIGGER s1 AFTER INSERT ON before REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_rows();
CREATE TRIGGER s2 AFTER UPDATE ON before REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_rows();
CREATE TRIGGER s3 AFTER DELETE ON before REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_rows();
TRUNCATE firings;
CALL check_target('before');
SELECT bool_and(stamp = upper(v)) FROM before;
SELECT op, sum(lvl::int) FROM firings GROUP BY 1 ORDER BY 1;
-- a trigger that refuses a row fails the load
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER z BEFORE INSERT ON before FOR EACH ROW WHEN (NEW.id = 5) EXECUTE FUNCTION refuse();
DELETE FROM before WHERE id = 5;
CALL idem_load_window('led', 'before', 'SELECT id, w, v FROM src WHERE w >= $1 AND w < $2', '[0,30)', 'upsert', keys => '{id}', window_column => 'w', force => true);
SELECT count(*) FROM before;
CREATE TABLE deferred (id int PRIMARY KEY, w int, v text, other int REFERENCES deferred DEFERRABLE INITIALLY DEFERRED);
CALL idem_load_window('led', 'deferred', 'SELECT id, w, v, (id + 1) % 30 AS other FROM src WHERE w >= $1 AND w < $2', '[0,30)', 'upsert', keys => '{id}', window_column => 'w');
SELECT count(*) FROM deferred;
CALL idem_load_window('led', 'deferred', 'SELECT id + 100 AS id, w + 100 AS w, v, 1000 AS other FROM src WHERE w + 100 >= $1 AND w + 100 < $2', '[100,130)', 'upsert', keys => '{id}', window_column => 'w');
SELECT (SELECT count(*) FROM deferred) AS rows, state, error_code FROM led WHERE pipeline = 'targets.deferred' ORDER BY run_id;

-- nullable keys of types with a stand-in for NULL, and of others
CREATE TABLE nulls (a int, b text, c interval, w int, v text, UNIQUE NULLS NOT DISTINCT (a, b));
CREATE UNIQUE INDEX ON nulls (a, b, c) NULLS NOT DISTINCT;
CREATE TABLE nulls_src AS SELECT nullif(i % 3, 0) AS a, nullif((i / 3 % 3)::text, '0') AS b, NULL::interval AS c, i AS w, 'v' AS v FROM generate_series(0, 8) i;
SELECT k, r.inserted_rows, r.updated_rows, r.unchanged_rows FROM unnest('{"{a,b}","{a,b}","{a,b,c}"}'::text[]) k,
    idem_load('led', 'nulls', 'SELECT a, b, c, w, v FROM nulls_src WHERE w >= $1 AND w < $2', '[0,9)', 'upsert', keys => k::text[], window_column => 'w', force => true) r;
UPDATE nulls_src SET v = 'new' WHERE a IS NULL AND b IS NULL;
SELECT k, r.inserted_rows, r.updated_rows, r.unchanged_rows FROM unnest('{"{a,b}","{a,b,c}"}'::text[]) k,
    idem_load('led', 'nulls', 'SELECT a, b, c, w, v FROM nulls_src WHERE w >= $1 AND w < $2', '[0,9)', 'upsert', keys => k::text[], window_column => 'w', force => true) r;
SELECT count(*), count(*) FILTER (WHERE v = 'new') FROM nulls;
-- the planner's settings are as they were
SHOW enable_mergejoin;
