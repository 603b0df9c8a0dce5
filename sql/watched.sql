-- Targets that something watches: triggers, actions of foreign keys, row security, views
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY';
CREATE SCHEMA watched; SET search_path = watched, public;
SELECT idem_create_ledger('led', 'int8range');
CREATE TABLE src (id int, w int, v text);
INSERT INTO src SELECT i, i % 10, 'v' || i FROM generate_series(1, 60) i;
CREATE ROLE regress_idem_watched;
GRANT USAGE ON SCHEMA watched TO regress_idem_watched;
GRANT SELECT, INSERT, UPDATE ON led TO regress_idem_watched; GRANT USAGE ON led_run_id_seq TO regress_idem_watched;
GRANT SELECT ON src TO regress_idem_watched;

-- one load of window [0,10), and what it says
CREATE PROCEDURE load(target regclass, mode text, keys text[] DEFAULT '{id}', source text DEFAULT 'SELECT * FROM src') LANGUAGE plpgsql AS $$
DECLARE d text; h text; r record;
BEGIN
    SELECT * INTO r FROM idem_load('led', target, source, '[0,10)', mode, keys => keys, window_column => 'w', force => true);
    RAISE NOTICE '% % %: % inserted, % updated, % deleted, % unchanged', target, mode, r.method,
        r.inserted_rows, r.updated_rows, r.deleted_rows, r.unchanged_rows;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
    RAISE WARNING '% % | % | %', SQLSTATE, SQLERRM, d, h;
END $$;
GRANT EXECUTE ON PROCEDURE load TO regress_idem_watched;
-- how many rows of the window differ from the source
CREATE FUNCTION differ(target regclass, source text DEFAULT 'SELECT * FROM src') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM ((SELECT id, w, v FROM %s WHERE w >= 0 AND w < 10 EXCEPT ALL %s) UNION ALL (%2$s EXCEPT ALL SELECT id, w, v FROM %1$s)) d', target, source) INTO n;
    RETURN n;
END $$;

-- what is gone takes rows along that stay: by foreign keys that come back through another table
CREATE TABLE node (id int PRIMARY KEY, w int, v text, link int);
CREATE TABLE link (id int PRIMARY KEY, node int REFERENCES node ON DELETE CASCADE);
ALTER TABLE node ADD FOREIGN KEY (link) REFERENCES link ON DELETE CASCADE;
CALL load('node', 'reload');
INSERT INTO link SELECT i, 60 FROM generate_series(1, 3) i;
UPDATE node SET link = id WHERE id <= 3;
CALL load('node', 'reload', source => 'SELECT * FROM src WHERE id < 60');
SELECT differ('node', 'SELECT * FROM src WHERE id < 60');
-- where a row that stays references one that goes along, by hand would be an error too
ALTER TABLE node DROP CONSTRAINT node_link_fkey, ADD FOREIGN KEY (link) REFERENCES link ON DELETE SET NULL;
CALL load('node', 'reload');
INSERT INTO link SELECT i, 60 FROM generate_series(1, 3) i;
UPDATE node SET link = id WHERE id <= 3;
CALL load('node', 'reload', source => 'SELECT id, w, v, CASE WHEN id <= 3 THEN id END AS link FROM src WHERE id < 60');

-- by the target's reference to itself
CREATE TABLE staff (id int PRIMARY KEY, w int, v text, boss int REFERENCES staff ON DELETE CASCADE);
CALL load('staff', 'reload', source => 'SELECT *, CASE WHEN id <> 60 THEN 60 END AS boss FROM src');
CALL load('staff', 'reload', source => 'SELECT *, NULL::int AS boss FROM src WHERE id < 60');
SELECT differ('staff', 'SELECT * FROM src WHERE id < 60');

-- rows that come to refer to new ones, and away from what is gone: all of it as by one statement
CREATE TABLE tree (id int PRIMARY KEY, w int, v text, up int REFERENCES tree, code int UNIQUE);
CALL load('tree', 'upsert', source => 'SELECT *, CASE WHEN id > 1 THEN 1 END AS up, id AS code FROM src WHERE id < 60');
CALL load('tree', 'upsert', source => 'SELECT *, CASE WHEN id < 60 THEN 60 END AS up, id AS code FROM src');
CALL load('tree', 'reload', source => 'SELECT *, CASE WHEN id <> 59 THEN 59 END AS up, id AS code FROM src WHERE id NOT IN (1, 60)');
SELECT differ('tree', 'SELECT * FROM src WHERE id NOT IN (1, 60)');
-- a unique value of what is gone moves to a new row; both at once are too much
CALL load('tree', 'reload', source => 'SELECT *, CASE WHEN id <> 59 THEN 59 END AS up, CASE id WHEN 60 THEN 58 ELSE id END AS code FROM src WHERE id NOT IN (1, 58)');
CALL load('tree', 'reload', source => 'SELECT *, CASE WHEN id <> 60 THEN 60 END AS up, CASE id WHEN 1 THEN 59 WHEN 60 THEN 58 ELSE id END AS code FROM src WHERE id NOT IN (58, 59)');
SELECT differ('tree', 'SELECT * FROM src WHERE id NOT IN (1, 58)');
-- what no longer refers to what is gone is not taken along, in other windows neither
CREATE TABLE chain (id int PRIMARY KEY, w int, v text, up int REFERENCES chain ON DELETE CASCADE);
INSERT INTO chain SELECT i, 10 * ((i - 1) / 20), 'v' || i, nullif(i - 1, 0) FROM generate_series(1, 60) i;
CALL load('chain', 'reload', source => 'SELECT id, w, v, CASE id WHEN 6 THEN 4 ELSE up END AS up FROM watched.chain WHERE w < 10 AND id <> 5');
SELECT count(*) FROM chain;

-- by triggers, of a row and of a statement, that delete or change others
CREATE TABLE pair (id int PRIMARY KEY, w int, v text);
CREATE FUNCTION take_pair() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    DELETE FROM watched.pair WHERE id = OLD.id - 50; UPDATE watched.pair SET v = 'alone' WHERE id = OLD.id - 40; RETURN OLD; END $$;
CREATE TRIGGER d BEFORE DELETE ON pair FOR EACH ROW WHEN (OLD.id > 55) EXECUTE FUNCTION take_pair();
CALL load('pair', 'reload');
CALL load('pair', 'reload', source => 'SELECT * FROM src WHERE id < 58');
SELECT differ('pair', 'SELECT * FROM src WHERE id < 58');
CREATE FUNCTION shrink() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE watched.pair SET v = 'less' WHERE id = (SELECT min(id) FROM watched.pair); RETURN NULL; END $$;
CREATE TRIGGER s AFTER DELETE ON pair FOR EACH STATEMENT EXECUTE FUNCTION shrink();
CALL load('pair', 'reload', source => 'SELECT * FROM src WHERE id < 50');
SELECT differ('pair', 'SELECT * FROM src WHERE id < 50');
-- one that changes a key, and one that always puts a row back
CREATE TABLE heap (id int PRIMARY KEY, w int, v text);
CREATE FUNCTION heir() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE watched.heap SET id = OLD.id WHERE id = 1; RETURN NULL; END $$;
CREATE TRIGGER d AFTER DELETE ON heap FOR EACH ROW EXECUTE FUNCTION heir();
CALL load('heap', 'reload');
CALL load('heap', 'reload', source => 'SELECT * FROM src WHERE id < 60');
SELECT differ('heap', 'SELECT * FROM src WHERE id < 60');
CREATE FUNCTION put_back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('INSERT INTO %s VALUES ($1.*)', TG_RELID::regclass) USING OLD; RETURN NULL; END $$;
CREATE OR REPLACE TRIGGER d AFTER DELETE ON heap FOR EACH ROW EXECUTE FUNCTION put_back();
CALL load('heap', 'reload', source => 'SELECT * FROM src WHERE id < 59');
CALL load('heap', 'reload', NULL);
CREATE FUNCTION successor() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO watched.heap VALUES (OLD.id + 1, 1, 'next'); RETURN NULL; END $$;
CREATE OR REPLACE TRIGGER d AFTER DELETE ON heap FOR EACH ROW WHEN (OLD.id < 62) EXECUTE FUNCTION successor();
CALL load('heap', 'reload', source => 'SELECT * FROM src WHERE id < 59');
SELECT differ('heap', 'SELECT * FROM src WHERE id < 59');
CREATE OR REPLACE TRIGGER d AFTER DELETE ON heap FOR EACH ROW EXECUTE FUNCTION successor();
CALL load('heap', 'reload', source => 'SELECT * FROM src WHERE id < 58');
CREATE TABLE loose (id int, w int, v text);
CREATE TRIGGER d AFTER DELETE ON loose FOR EACH ROW WHEN (OLD.id = 6) EXECUTE FUNCTION put_back();
CALL load('loose', 'reload');
CALL load('loose', 'reload');
UPDATE loose SET w = 100 WHERE id = 6;
CALL load('loose', 'reload');
SELECT differ('loose'), count(*) FROM loose;
-- what goes from another window puts a row into this one, once and each time
CREATE FUNCTION put_in() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO watched.loose VALUES (CASE OLD.id WHEN 6 THEN 1006 ELSE 6 END, CASE OLD.w WHEN 1 THEN 100 ELSE 1 END); RETURN NULL; END $$;
CREATE OR REPLACE TRIGGER d AFTER DELETE ON loose FOR EACH ROW WHEN (OLD.w = 100) EXECUTE FUNCTION put_in();
CALL load('loose', 'reload');
SELECT differ('loose'), count(*) FROM loose;
UPDATE loose SET w = 100 WHERE id = 6;
CREATE OR REPLACE TRIGGER d AFTER DELETE ON loose FOR EACH ROW WHEN (OLD.w = 100 OR OLD.id > 1000) EXECUTE FUNCTION put_in();
CALL load('loose', 'reload');

-- what is written deletes and changes rows that are as they should be, and adds others
CREATE TABLE eats (id int PRIMARY KEY, w int, v text);
CREATE FUNCTION eat() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.id = 5 AND NEW.v <> 'v5' THEN
        EXECUTE format('DELETE FROM %s WHERE id = 6', TG_RELID::regclass);
        EXECUTE format('UPDATE %s SET v = ''bitten'' WHERE id = 7', TG_RELID::regclass);
        EXECUTE format('INSERT INTO %s VALUES (1000, 1, ''more'')', TG_RELID::regclass);
    END IF;
    RETURN NEW; END $$;
CREATE TRIGGER b BEFORE INSERT OR UPDATE ON eats FOR EACH ROW EXECUTE FUNCTION eat();
\set five 'SELECT id, w, v || CASE id WHEN 5 THEN \'!\' ELSE \'\' END AS v FROM src'
CALL load('eats', 'reload');
CALL load('eats', 'reload', source => :'five');
SELECT differ('eats', :'five');
UPDATE eats SET v = 'v5' WHERE id = 5;
CALL load('eats', 'upsert', source => :'five');
SELECT differ('eats', :'five'), count(*) FROM eats;
-- where the server does not count what is done to rows, too
SET track_counts = off;
DELETE FROM eats WHERE id = 1000;
UPDATE eats SET v = 'v5' WHERE id = 5;
CALL load('eats', 'reload', source => :'five');
CALL load('eats', 'reload', source => :'five');
RESET track_counts;
SELECT differ('eats', :'five');
-- in an empty window; what came after it was written has been altered, as ever
TRUNCATE eats;
CALL load('eats', 'reload', source => :'five');
SELECT differ('eats', :'five');
TRUNCATE eats;
CALL load('eats', 'reload', source => :'five' || ' ORDER BY id DESC');
SELECT * FROM eats EXCEPT SELECT * FROM src WHERE id <> 5 ORDER BY id;
-- once a statement has ended, by a key that may be NULL, and through a view
CREATE TABLE eats_later (id int, w int, v text, UNIQUE NULLS NOT DISTINCT (id));
CREATE VIEW glass AS SELECT * FROM eats_later;
CREATE FUNCTION eat_later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM watched.eats_later WHERE id = 5 AND v = 'v5!') THEN
        DELETE FROM watched.eats_later WHERE id = 6 OR id IS NULL AND pg_trigger_depth() = 1; END IF; RETURN NULL; END $$;
CREATE TRIGGER a AFTER UPDATE ON eats_later EXECUTE FUNCTION eat_later();
CALL load('glass', 'reload', source => 'SELECT nullif(id, 8) AS id, w, v FROM src');
CALL load('glass', 'reload', source => replace(:'five', 'id, w', 'nullif(id, 8) AS id, w'));
SELECT differ('eats_later', replace(:'five', 'id, w', 'nullif(id, 8) AS id, w'));
-- with all of another partition, of which no row is counted
CREATE TABLE halves (id int, w int, v text, PRIMARY KEY (id, w)) PARTITION BY RANGE (w);
CREATE TABLE halves1 PARTITION OF halves FOR VALUES FROM (0) TO (5);
CREATE TABLE halves2 PARTITION OF halves FOR VALUES FROM (5) TO (10);
CREATE FUNCTION wipe() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN TRUNCATE watched.halves2; RETURN NEW; END $$;
CALL load('halves', 'reload', '{id,w}');
CREATE TRIGGER b BEFORE INSERT ON halves1 FOR EACH ROW EXECUTE FUNCTION wipe();
DELETE FROM halves WHERE id = 1;
CALL load('halves', 'reload', '{id,w}');
SELECT differ('halves');
-- by an action of a foreign key: a code moves to another row
CREATE TABLE coded (id int PRIMARY KEY, w int, v text, code int UNIQUE, ref int REFERENCES coded (code) ON UPDATE SET NULL);
CALL load('coded', 'reload', source => 'SELECT *, id AS code, CASE id WHEN 2 THEN 1 END AS ref FROM src');
CALL load('coded', 'reload', source => $$SELECT *, CASE id WHEN 1 THEN 100 WHEN 61 THEN 1 ELSE id END AS code, CASE id WHEN 2 THEN 1 END AS ref
    FROM (TABLE src UNION ALL VALUES (61, 1, 'v61')) s$$);
SELECT id, code, ref FROM coded WHERE id IN (1, 2, 61) ORDER BY id;
-- a row that is moved out of the window by each upsert is there all the same
CREATE TABLE moves (id int PRIMARY KEY, w int, v text);
CREATE INDEX ON moves (w);
CREATE FUNCTION carry() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.id = 5 THEN NEW.w := 100; DELETE FROM watched.moves WHERE id = 6; END IF; RETURN NEW; END $$;
CREATE TRIGGER b BEFORE INSERT OR UPDATE ON moves FOR EACH ROW EXECUTE FUNCTION carry();
CALL load('moves', 'upsert', source => 'SELECT * FROM src ORDER BY id DESC');
CALL load('moves', 'upsert');
SELECT * FROM moves EXCEPT TABLE src;
-- without end
CREATE TABLE rivals (id int PRIMARY KEY, w int, v text);
CREATE FUNCTION oust() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    DELETE FROM watched.rivals WHERE id = 11 - NEW.id AND id IN (5, 6); RETURN NEW; END $$;
CREATE TRIGGER b BEFORE INSERT OR UPDATE ON rivals FOR EACH ROW EXECUTE FUNCTION oust();
CALL load('rivals', 'upsert');
CALL load('rivals', 'reload');
DROP TRIGGER b ON rivals;
CALL load('rivals', 'upsert');
CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE watched.rivals SET v = 'spoilt' WHERE id = NEW.id + 1; RETURN NULL; END $$;
CREATE TRIGGER a AFTER UPDATE ON rivals FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION spoil();
CALL load('rivals', 'upsert', source => :'five');
CALL load('rivals', 'reload', source => 'SELECT id, w, v || CASE id WHEN 55 THEN ''!'' ELSE '''' END AS v FROM src WHERE id > 54');
-- without an index over the keys, and without keys, nothing tells which row is missing: an error
CREATE TABLE eats_loose (id int, w int, v text);
CREATE TRIGGER b BEFORE INSERT ON eats_loose FOR EACH ROW EXECUTE FUNCTION eat();
CALL load('eats_loose', 'reload');
CALL load('eats_loose', 'reload', source => :'five');
CALL load('eats_loose', 'reload', NULL, :'five');
CREATE FUNCTION eat_one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM watched.eats_loose WHERE id = 6; RETURN NEW; END $$;
CREATE OR REPLACE TRIGGER b BEFORE INSERT ON eats_loose FOR EACH ROW WHEN (NEW.id = 60) EXECUTE FUNCTION eat_one();
CALL load('eats_loose', 'reload', NULL, :'five');
CALL load('eats_loose', 'reload', source => :'five');
TRUNCATE eats_loose;
CALL load('eats_loose', 'reload', NULL);
SELECT count(*) FROM eats_loose;

-- rows that a view's filter hides once they are written
CREATE TABLE behind (id int PRIMARY KEY, w int, v text, tenant int DEFAULT 1);
CREATE VIEW inner_view AS SELECT id, w, v FROM behind WHERE tenant = 2;
CREATE VIEW ours AS SELECT * FROM inner_view WHERE w < 100;
CALL load('ours', 'upsert');
CALL load('ours', 'upsert', source => 'SELECT * FROM src WHERE id < 20');
CALL load('ours', 'reload');
CALL load('ours', 'reload', NULL);
ALTER VIEW ours SET (check_option = local);
CALL load('ours', 'reload', NULL);
ALTER VIEW inner_view SET (check_option = local);
CALL load('ours', 'reload', NULL);
ALTER VIEW inner_view RESET (check_option);
ALTER VIEW watched.ours SET (check_option = cascaded);
CALL load('ours', 'reload', NULL);
CALL load('ours', 'upsert');
SELECT count(*) FROM behind;
ALTER TABLE behind ALTER tenant SET DEFAULT 2;
CALL load('ours', 'reload', NULL);
CALL load('ours', 'reload', NULL);
CALL load('ours', 'upsert');
SELECT differ('ours'), count(*) FROM behind;
ALTER VIEW ours RESET (check_option);
CALL load('ours', 'upsert', source => $$SELECT id, w, v || '!' AS v FROM src$$);
CREATE VIEW short AS SELECT * FROM behind WHERE length(v) < 5;
CALL load('short', 'upsert', source => $$SELECT id, w, v || CASE id WHEN 30 THEN '!!' ELSE '' END AS v FROM src$$);
CALL load('short', 'upsert', '{id}', $$SELECT id, w, v FROM src$$);
SELECT differ('short'), count(*) FROM behind;
-- a view without a filter needs nothing
CREATE VIEW everything AS SELECT id AS nr, w AS place, v FROM behind;
DO $$ BEGIN PERFORM idem_load('led', 'watched.everything', 'SELECT id AS nr, w AS place, v FROM watched.src', '[0,10)', 'reload', window_column => 'place', force => true); END $$;
SELECT differ('behind');

-- rows that row security hides once they are written
CREATE TABLE policed (id int, w int, v text);
CREATE TABLE policed_key (id int PRIMARY KEY, w int, v text);
ALTER TABLE policed ENABLE ROW LEVEL SECURITY; ALTER TABLE policed_key ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON policed USING (v <> 'v30') WITH CHECK (true);
CREATE POLICY p ON policed_key USING (v <> 'v30') WITH CHECK (true);
GRANT ALL ON policed, policed_key TO regress_idem_watched;
SET ROLE regress_idem_watched;
CALL load('policed', 'reload', NULL);
CALL load('policed', 'reload');
CALL load('policed_key', 'upsert');
CALL load('policed_key', 'reload', source => 'SELECT * FROM src WHERE id BETWEEN 20 AND 40');
CALL load('policed', 'reload', NULL, 'SELECT * FROM src WHERE id <> 30');
CALL load('policed', 'reload', NULL, 'SELECT * FROM src WHERE id <> 30');
RESET ROLE;
CREATE VIEW policed_view WITH (security_invoker) AS SELECT w, v, id FROM policed;
GRANT ALL ON policed_view TO regress_idem_watched;
SET ROLE regress_idem_watched;
CALL load('policed_view', 'reload', NULL);
RESET ROLE;
SELECT count(*) FROM policed; SELECT count(*) FROM policed_key;

-- triggers that move a row to another key or window: few rows and many, with an index and without
CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_ARGV[0] = 'key' THEN NEW.id := NEW.id + 1000; ELSE NEW.w := NEW.w + 10; END IF; RETURN NEW; END $$;
CREATE TABLE moved (id int, w int, v text);
CREATE TRIGGER i BEFORE INSERT ON moved FOR EACH ROW EXECUTE FUNCTION move('window');
CALL load('moved', 'reload', NULL);
CALL load('moved', 'reload', NULL);
CALL load('moved', 'reload');
CREATE OR REPLACE TRIGGER i BEFORE INSERT ON moved FOR EACH ROW WHEN (NEW.id = 30) EXECUTE FUNCTION move('key');
CALL load('moved', 'reload');
CALL load('moved', 'reload', NULL);
CREATE TABLE moved_key (id int PRIMARY KEY, w int, v text);
CREATE TRIGGER i BEFORE INSERT ON moved_key FOR EACH ROW WHEN (NEW.id = 30) EXECUTE FUNCTION move('window');
CALL load('moved_key', 'reload');
CALL load('moved_key', 'upsert');
CREATE OR REPLACE TRIGGER i BEFORE INSERT ON moved_key FOR EACH ROW WHEN (NEW.id = 30) EXECUTE FUNCTION move('key');
TRUNCATE moved_key;
CALL load('moved_key', 'reload');
CALL load('moved_key', 'upsert');
CALL load('moved_key', 'upsert', source => 'SELECT * FROM src WHERE id BETWEEN 20 AND 40');
CREATE OR REPLACE TRIGGER i BEFORE UPDATE ON moved_key FOR EACH ROW WHEN (OLD.id = 30) EXECUTE FUNCTION move('key');
CALL load('moved_key', 'upsert');
CALL load('moved_key', 'upsert', source => $$SELECT id, w, v || '!' AS v FROM src$$);
CREATE OR REPLACE TRIGGER i BEFORE UPDATE ON moved_key FOR EACH ROW WHEN (OLD.id = 30) EXECUTE FUNCTION move('window');
CALL load('moved_key', 'reload', source => $$SELECT id, w, v || '!' AS v FROM src$$);
SELECT differ('moved_key');

-- a trigger on one partition does as one on all
CREATE TABLE parts (id int, w int, v text) PARTITION BY RANGE (w);
CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (5);
CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (5) TO (10);
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER i BEFORE INSERT ON parts2 FOR EACH ROW WHEN (NEW.id = 6) EXECUTE FUNCTION swallow();
CALL load('parts', 'reload', NULL);
CALL load('parts', 'reload');
CREATE OR REPLACE TRIGGER i BEFORE INSERT ON parts2 FOR EACH ROW WHEN (NEW.id = 6) EXECUTE FUNCTION move('key');
CALL load('parts', 'reload');
DROP TRIGGER i ON parts2;
CREATE TRIGGER d AFTER DELETE ON parts2 FOR EACH ROW WHEN (OLD.id = 6) EXECUTE FUNCTION put_back();
CALL load('parts', 'reload', NULL);
CALL load('parts', 'reload', NULL, $$SELECT id, w, v || '!' AS v FROM src$$);
CREATE VIEW through AS SELECT * FROM parts;
CALL load('through', 'reload', NULL, $$SELECT id, w, v || '!' AS v FROM src$$);
CALL load('through', 'reload', source => $$SELECT id, w, v || '!' AS v FROM src$$);
SELECT differ('parts');

-- a foreign key without an action changes nothing, but objects to a row that is deleted and inserted again
CREATE TABLE refd (id int, w int, v text UNIQUE, PRIMARY KEY (id));
CREATE TABLE refs (id int REFERENCES refd);
CALL load('refd', 'reload');
INSERT INTO refs VALUES (1);
CALL load('refd', 'reload', source => $$SELECT id, w, 'v' || id % 60 + 1 AS v FROM src$$);
CALL load('refd', 'reload', source => 'SELECT * FROM src WHERE id < 60');
CALL load('refd', 'reload', source => 'SELECT * FROM src WHERE id > 1');
CREATE TABLE whole (id int, w int, v text, PRIMARY KEY (id, w)) PARTITION BY RANGE (w);
CREATE TABLE whole1 PARTITION OF whole FOR VALUES FROM (0) TO (10);
CREATE TABLE whole_refs (id int, w int, FOREIGN KEY (id, w) REFERENCES whole);
SET idem.allow_exclusive = on;
CALL load('whole', 'reload', NULL);
CALL load('whole', 'reload', NULL, $$SELECT id, w, v || '!' AS v FROM src$$);
RESET idem.allow_exclusive;

-- a deferred trigger runs when the transaction ends: it fails the load, and what it does otherwise is its own
CREATE TABLE deferred (id int PRIMARY KEY, w int, v text);
CREATE FUNCTION object() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no row %', NEW.id; END $$;
CREATE CONSTRAINT TRIGGER c AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.id = 30) EXECUTE FUNCTION object();
CALL idem_load_window('led', 'deferred', 'src', '[0,10)', 'upsert', keys => '{id}', window_column => 'w');
SELECT state, error_message FROM led WHERE pipeline = 'watched.deferred';
CALL idem_load_window('led', 'deferred', 'SELECT * FROM src WHERE id <> 30', '[0,10)', 'upsert', keys => '{id}', window_column => 'w');
SELECT count(*) FROM deferred;

SET client_min_messages = warning;
DROP SCHEMA watched CASCADE;
DROP ROLE regress_idem_watched;
