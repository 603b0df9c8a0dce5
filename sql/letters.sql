-- rows that cannot be loaded become dead letters, and the others are loaded
\set VERBOSITY default
SET client_min_messages = warning;
CREATE SCHEMA letters;
SET search_path = letters, public;
SET timezone = 'UTC';
SELECT idem_create_ledger('led', 'int8range');
SELECT idem_create_dead_letters('dead', 'led');
SELECT idem_create_dead_letters('dead', 'dead');
\d dead
CREATE DOMAIN small AS int CHECK (VALUE < 100);
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent SELECT generate_series(0, 50);
CREATE TABLE src (id text, w text, v text, amount text, at text, ref text);
INSERT INTO src SELECT i, i, 'v' || i, i, '2024-01-01', i % 50 FROM generate_series(0, 99) i;
CREATE TABLE tgt (id int PRIMARY KEY, w int NOT NULL, v varchar(8) NOT NULL, amount small CHECK (amount >= 0), at timestamptz, ref int, UNIQUE (v));
SET client_min_messages = notice;
CREATE PROCEDURE load(win text, max_dead text DEFAULT '1000', mode text DEFAULT 'reload', target regclass DEFAULT 'tgt', keys text[] DEFAULT '{id}', source text DEFAULT 'SELECT * FROM src WHERE length(w) > 0 AND w::int >= $1 AND w::int < $2') LANGUAGE plpgsql AS $$ BEGIN
    CALL idem_load_window('led', target, source, win, mode, keys => keys, window_column => 'w', pipeline => 'p', force => true, dead_letters => 'dead', max_dead => max_dead);
END $$;
CREATE VIEW runs AS SELECT run_id, window_range AS win, state, method, source_rows AS source, inserted_rows AS ins, updated_rows AS upd, unchanged_rows AS same, (details -> 'duplicate_rows')::int AS dup, dead_rows AS dead,
    source_rows = inserted_rows + updated_rows + unchanged_rows + coalesce((details -> 'duplicate_rows')::int, 0) + dead_rows AS adds_up FROM led ORDER BY run_id;
CREATE VIEW open AS SELECT letter_id AS n, window_range AS win, stage, error_code AS code, error_message, constraint_name AS "constraint", column_name AS "column", record, times, first_run_id AS first, last_run_id AS last, state FROM dead ORDER BY letter_id;

-- nothing is wrong: as any load, but that text is read
CALL load('[0,10)');
SELECT * FROM runs;
SELECT count(*) FROM dead;
-- each of the stages
UPDATE src SET amount = 'ten' WHERE id = '10';
UPDATE src SET at = '2024-02-30' WHERE id = '11';
UPDATE src SET v = 'much too long' WHERE id = '12';
UPDATE src SET amount = '100' WHERE id = '13';
UPDATE src SET amount = '-1' WHERE id = '14';
UPDATE src SET v = NULL WHERE id = '15';
INSERT INTO src VALUES ('16', '16', 'another', '16', '2024-01-01', '1'), ('17', '17', 'v17', '17', '2024-01-01', '17'), ('18', '18', 'v17', '18', '2024-01-01', '17');
UPDATE src SET v = 'v0' WHERE id = '19';
CALL load('[10,20)');
SELECT * FROM open;
SELECT id, v FROM tgt WHERE w >= 10 ORDER BY id;
SELECT * FROM runs ORDER BY run_id DESC LIMIT 1;
-- the same rows are the same letters; those that do not come again are gone
UPDATE src SET amount = '10' WHERE id = '10';
UPDATE src SET at = '2024-02-29' WHERE id = '11';
CALL load('[10,20)');
SELECT n, stage, times, first, last, state FROM open;
SELECT * FROM runs ORDER BY run_id DESC LIMIT 1;
SELECT record FROM dead WHERE letter_id = (SELECT min(letter_id) FROM dead);

-- more than so many, in rows or of a hundred: the window fails, and says with which
CALL load('[10,20)', '3');
\echo :SQLSTATE
CALL load('[10,20)', '10%');
CALL load('[10,20)', '100%');
CALL load('[10,20)', 'many');
CALL load('[10,20)', '101%');
CALL idem_load_window('led', 'tgt', 'SELECT * FROM src WHERE w::int >= $1 AND w::int < $2', '[10,20)', 'reload', keys => '{id}', window_column => 'w', pipeline => 'q', dead_letters => 'dead', max_dead => '2');
\echo :SQLSTATE
SELECT l.stage, l.state, r.state FROM dead l JOIN led r ON r.run_id = l.last_run_id WHERE l.pipeline = 'q' ORDER BY letter_id;
SELECT dead_rows, error_code FROM led WHERE pipeline = 'q';
-- inside a transaction they go down with it
BEGIN;
SELECT count(*) FROM idem_load('led', 'tgt', 'SELECT * FROM src WHERE w::int >= $1 AND w::int < $2', '[10,20)', 'reload', keys => '{id}', window_column => 'w', pipeline => 'r', dead_letters => 'dead', max_dead => '2');
ROLLBACK;
SELECT count(*) FROM dead WHERE pipeline = 'r';

-- a row outside of its window, or of none
CALL load('[20,30)', source => 'SELECT id, CASE WHEN id = ''20'' THEN NULL WHEN id = ''21'' THEN ''99'' ELSE w END AS w, v, amount, at, ref FROM src WHERE w::int >= $1 AND w::int < $2');
SELECT stage, code, error_message, record -> 'w' AS w FROM open WHERE win = '[20,30)';
-- an error inside the source has no row and is no letter; nor is what is no row's fault
CALL load('[30,40)', source => 'SELECT id::int / (id::int - 30) AS id, w, v, amount, at, ref FROM src WHERE w::int >= $1 AND w::int < $2');
\echo :SQLSTATE
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.id = 35 THEN RAISE EXCEPTION 'it is full' USING ERRCODE = TG_ARGV[0]; END IF;
    IF NEW.id = 37 THEN NEW.v := NULL; END IF;
    RETURN NEW;
END $$;
CREATE TABLE triggered (LIKE tgt INCLUDING ALL, FOREIGN KEY (ref) REFERENCES parent);
CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON triggered FOR EACH ROW EXECUTE FUNCTION fail('53100');
CALL load('[30,40)', target => 'triggered');
\echo :SQLSTATE
SELECT count(*) FROM dead WHERE window_range = '[30,40)';
SELECT count(*) FROM triggered;
-- what only a trigger, a foreign key or another unique index can tell; upserted, reloaded, with keys and without
DROP TRIGGER fail ON triggered;
CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON triggered FOR EACH ROW EXECUTE FUNCTION fail('23514');
UPDATE src SET ref = 77 WHERE id = '33';
UPDATE src SET v = 'v31' WHERE id = '32';
SELECT idem_adopt('led', 'p', 'triggered');
CALL load('[30,40)', mode => 'upsert', target => 'triggered');
SELECT stage, code, error_message, "constraint", record -> 'id' AS id FROM open WHERE win = '[30,40)';
SELECT array_agg(id ORDER BY id) FROM triggered;
SELECT * FROM runs ORDER BY run_id DESC LIMIT 1;
UPDATE triggered SET v = 'old' || id WHERE id < 35;
INSERT INTO triggered VALUES (300, 39, 'gone', 1, now(), 1);
CALL load('[30,40)', target => 'triggered');
SELECT array_agg(id ORDER BY id), array_agg(v ORDER BY id) FROM triggered;
SELECT * FROM runs ORDER BY run_id DESC LIMIT 1;
TRUNCATE triggered;
CALL load('[30,40)', target => 'triggered');
SELECT * FROM runs ORDER BY run_id DESC LIMIT 1;
ALTER TABLE triggered DROP CONSTRAINT triggered_pkey;
CALL load('[30,40)', target => 'triggered', keys => NULL);
SELECT array_agg(id ORDER BY id) FROM triggered;
SELECT * FROM runs ORDER BY run_id DESC LIMIT 1;
SELECT count(*), min(times) FROM dead WHERE window_range = '[30,40)' AND state = 'open';

-- a row whose key lies in another window is no bad one: it moves, with triggers too
CREATE TABLE moved (id int PRIMARY KEY, w int, v text);
CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON moved FOR EACH ROW EXECUTE FUNCTION fail('23514');
CREATE INDEX ON moved (w);
INSERT INTO moved VALUES (34, 100, 'there');
CALL load('[30,40)', mode => 'upsert', target => 'moved', source => 'SELECT id, w, v FROM src WHERE w::int >= $1 AND w::int < $2');
SELECT idem_adopt('led', 'p', 'moved');
SET client_min_messages = error;
CALL load('[30,40)', mode => 'upsert', target => 'moved', source => 'SELECT id, w, v FROM src WHERE w::int >= $1 AND w::int < $2');
SELECT id, w FROM moved ORDER BY id;
TRUNCATE moved;
INSERT INTO moved VALUES (34, 100, 'there');
CALL load('[30,40)', target => 'moved', source => 'SELECT id, w, v FROM src WHERE w::int >= $1 AND w::int < $2');
SET client_min_messages = notice;
SELECT id, w FROM moved ORDER BY id;
SELECT * FROM runs ORDER BY run_id DESC LIMIT 2;

-- a cast, or the CHECK of a domain, that changes the target while rows are made
CREATE TABLE altered (w bigint, x int, q int);
CREATE FUNCTION alters(v int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
    IF v = 1 THEN ALTER TABLE altered ALTER x TYPE text; END IF;
    RETURN true;
END $$;
CREATE DOMAIN altering AS int CHECK (alters(VALUE));
ALTER TABLE altered ADD y altering;
INSERT INTO altered VALUES (7, 1, 1, 0);
CALL load('[0,10)', target => 'altered', keys => NULL, source => 'SELECT 7::bigint AS w, 123456789 AS x, CASE g WHEN 3000 THEN 1 ELSE 0 END AS y FROM generate_series(1, 3000) g WHERE 7 >= $1 AND 7 < $2');
\echo :SQLSTATE
SELECT count(*) FROM altered;

-- the newest row of a key is refused: the one before it is loaded
CREATE TABLE versions (id int PRIMARY KEY, w int, v int, rev int);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.v = 666 THEN RAISE EXCEPTION 'refused' USING ERRCODE = '23514'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON versions FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE PROCEDURE refused(mode text, rows text, target regclass DEFAULT 'versions', keys text[] DEFAULT '{id}', columns text DEFAULT 'id, w, v, rev', version text DEFAULT 'rev') LANGUAGE plpgsql AS $$ BEGIN
    CALL idem_load_window('led', target, format('SELECT * FROM (VALUES %s) v (%s) WHERE w >= $1 AND w < $2', rows, columns), '[0,10)', mode, keys => keys, window_column => 'w', version_column => version, pipeline => 'v', force => true, dead_letters => 'dead');
END $$;
CREATE VIEW refusals AS SELECT record ->> 'id' AS id, record, stage, times, state FROM dead WHERE pipeline = 'v' AND state = 'open' ORDER BY letter_id;
SET client_min_messages = warning;
CALL refused('upsert', '(1, 1, 666, 2), (1, 1, 5, 1), (3, 3, 3, 1)');
SELECT * FROM versions ORDER BY id;
SELECT * FROM runs ORDER BY run_id DESC LIMIT 1;
TRUNCATE versions;
SELECT idem_adopt('led', 'v', 'versions');
CALL refused('reload', '(1, 1, 666, 2), (1, 1, 5, 1), (3, 3, 3, 1)');
SELECT * FROM versions ORDER BY id;
SELECT * FROM runs ORDER BY run_id DESC LIMIT 1;
SELECT * FROM refusals;
-- a row that a cast refuses at first and not later is loaded, or a letter; never neither
CREATE SEQUENCE tries;
CREATE FUNCTION tried(v int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN v <> 1 OR nextval('letters.tries') > 1; END $$;
CREATE DOMAIN trying AS int CHECK (tried(VALUE));
ALTER TABLE versions ADD tried trying;
TRUNCATE versions;
CALL refused('reload', '(1, 1, 1, 1, 1), (2, 2, 666, 1, 0), (3, 3, 3, 1, 0)', columns => 'id, w, v, rev, tried');
SELECT (SELECT array_agg(id ORDER BY id) FROM versions) AS loaded, (SELECT array_agg(id ORDER BY id) FROM refusals) AS dead;
SELECT adds_up FROM runs ORDER BY run_id DESC LIMIT 1;
-- rows that want others, which a trigger looks for: tried again when those are there
CREATE TABLE wants (id int PRIMARY KEY, w int, wants int);
CREATE FUNCTION wanted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.wants IS NOT NULL AND NOT EXISTS (SELECT FROM letters.wants WHERE id = NEW.wants) THEN RAISE EXCEPTION 'it is not there' USING ERRCODE = '23503'; END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER wanted AFTER INSERT OR UPDATE ON wants FOR EACH ROW EXECUTE FUNCTION wanted();
SELECT idem_adopt('led', 'v', 'wants');
CALL refused('reload', '(1, 1, 2), (2, 1, 3), (3, 1, 4), (4, 1, NULL), (5, 1, 99), (6, 1, 5)', target => 'wants', columns => 'id, w, wants', version => NULL);
SELECT array_agg(id ORDER BY id) FROM wants;
SELECT array_agg(id ORDER BY id) FROM refusals;
-- a target that refers to itself is loaded as a whole, or fails
CREATE TABLE tree (id int PRIMARY KEY, w int, parent int REFERENCES tree);
SELECT idem_adopt('led', 'v', 'tree');
CALL idem_load_window('led', 'tree', 'SELECT g AS id, 1 AS w, CASE g WHEN 601 THEN ''x'' ELSE (1 + (g + 299) % 600)::text END AS parent FROM generate_series(1, 601) g WHERE 1 >= $1 AND 1 < $2', '[0,10)', 'reload', keys => '{id}', window_column => 'w', pipeline => 'v', force => true, dead_letters => 'dead');
SELECT count(*) FROM tree;
SELECT id, stage FROM refusals;
CALL refused('upsert', '(700, 1, 701), (701, 1, 700), (702, 1, 99999)', target => 'tree', columns => 'id, w, parent', version => NULL);
\echo :SQLSTATE
SELECT count(*) FROM tree;
-- equal rows without keys, of which a unique index lets one in
CREATE TABLE equals (id int UNIQUE, w int, v int);
SELECT idem_adopt('led', 'v', 'equals');
CALL refused('reload', '(1, 1, 1), (1, 1, 1), (3, 3, 3), (1, 1, 1)', target => 'equals', keys => NULL, columns => 'id, w, v', version => NULL);
SELECT * FROM equals ORDER BY id;
SELECT id, stage, times FROM refusals;
SELECT source, ins, dead, adds_up FROM runs ORDER BY run_id DESC LIMIT 1;
CALL refused('reload', '(1, 1, 1), (1, 1, 1), (3, 3, 3), (1, 1, 1)', target => 'equals', keys => NULL, columns => 'id, w, v', version => NULL);
SELECT * FROM equals ORDER BY id;
SELECT source, ins, same, dead, adds_up FROM runs ORDER BY run_id DESC LIMIT 1;
SET client_min_messages = notice;

-- a trigger that keeps a letter from being written
CREATE TABLE silent (id int PRIMARY KEY, w int, v int CHECK (v > 0));
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER nothing BEFORE INSERT ON dead FOR EACH ROW EXECUTE FUNCTION nothing();
CALL load('[0,10)', target => 'silent', source => 'SELECT 1 AS id, 1 AS w, -1 AS v WHERE 1 >= $1 AND 1 < $2');
\echo :SQLSTATE
-- a window that fails is booked even if its letters are not
CALL idem_load_window('led', 'silent', 'SELECT i AS id, i AS w, -1 AS v FROM generate_series(1, 3) i WHERE i >= $1 AND i < $2', '[0,10)', 'reload', keys => '{id}', window_column => 'w', pipeline => 'silent', dead_letters => 'dead', max_dead => '2');
\echo :SQLSTATE
SELECT state, error_code FROM led WHERE pipeline = 'silent';
DROP TRIGGER nothing ON dead;
-- letters of windows that are loaded again in parts, or together
CREATE FUNCTION part(win text, id int, at int, v int) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    PERFORM idem_load('led', 'silent', format('SELECT %s AS id, ''%s''::text AS w, %s AS v WHERE %s >= $1 AND %s < $2', id, at, v, at, at), win::int8range, 'reload', keys => '{id}', window_column => 'w', pipeline => 'parts', force => true, dead_letters => 'dead');
END $$;
CREATE VIEW parts AS SELECT record ->> 'id' AS id, window_range AS win, times, state, closed_at IS NOT NULL AS closed FROM dead WHERE pipeline = 'parts' ORDER BY letter_id;
SELECT part('[100,110)', 104, 104, -1);
SELECT part('[100,105)', 104, 104, 1);
SELECT * FROM parts;
SELECT part('[105,110)', 104, 104, 1);
SELECT * FROM parts;
SELECT part('[120,130)', 128, 128, -1);
SELECT part('[123,126)', 128, 128, -1);
SELECT part('[115,125)', 128, 128, -1);
SELECT part('[125,135)', 128, 128, -1);
SELECT * FROM parts WHERE id = '128';
SELECT part('[110,140)', 128, 128, 1);
SELECT * FROM parts WHERE id = '128';
-- the same row in two windows is dead until neither has it
CALL idem_load_window('led', 'silent', 'SELECT 9 AS id, ''nowhere''::text AS w, 1 AS v', '[140,150)', 'reload', keys => '{id}', window_column => 'w', pipeline => 'parts', dead_letters => 'dead');
CALL idem_load_window('led', 'silent', 'SELECT 9 AS id, ''nowhere''::text AS w, 1 AS v', '[150,160)', 'reload', keys => '{id}', window_column => 'w', pipeline => 'parts', dead_letters => 'dead');
SELECT part('[150,160)', 9, 150, 1);
SELECT * FROM parts WHERE id = '9';
SELECT part('[140,150)', 9, 150, 1);
SELECT * FROM parts WHERE id = '9';

-- not a table of letters, or of other windows, or another's
SELECT idem_create_ledger('day', 'daterange');
SELECT idem_create_dead_letters('days', 'day');
CALL idem_load_window('led', 'tgt', 'SELECT * FROM src', '[90,91)', 'reload', window_column => 'w', dead_letters => 'days');
\echo :SQLSTATE
CALL idem_load_window('led', 'tgt', 'SELECT * FROM src', '[90,91)', 'reload', window_column => 'w', dead_letters => 'src');
CREATE ROLE regress_letters;
GRANT USAGE ON SCHEMA letters TO regress_letters;
GRANT ALL ON ALL TABLES IN SCHEMA letters TO regress_letters;
GRANT ALL ON ALL SEQUENCES IN SCHEMA letters TO regress_letters;
REVOKE ALL ON dead FROM regress_letters;
SET ROLE regress_letters;
CALL load('[10,20)');
\echo :SQLSTATE
RESET ROLE;

-- a pipeline has them too; and they can be replayed where no newer version can be lost
CREATE TABLE stream (id int, w int, v text, rev int);
INSERT INTO stream SELECT i, i, 'v' || i, 1 FROM generate_series(0, 9) i;
CREATE TABLE kept (id int PRIMARY KEY, w int, v text CHECK (v <> 'v3' AND v <> 'v4' AND v <> 'v5'), rev int);
SELECT idem_create_pipeline('sp', 'led', 'kept', 'stream', 'upsert', '{id}', 'w', step => '10', start => '0', watermark => 'SELECT 9::bigint', version_column => 'rev', enabled => false, dead_letters => 'dead', max_dead => '50%');
SELECT dead_letters, max_dead FROM idem_pipeline WHERE name = 'sp';
CALL idem_run_pipeline('sp');
SELECT n, stage, record FROM open WHERE record ? 'rev';
INSERT INTO kept VALUES (4, 4, 'newer', 2);
ALTER TABLE kept DROP CONSTRAINT kept_v_check, ADD CHECK (v <> 'v5');
SELECT result, error_message FROM idem_replay('dead', 'sp');
SELECT result, error_message FROM idem_replay('dead', 'sp');
SELECT id, v FROM kept WHERE id BETWEEN 3 AND 5 ORDER BY id;
SELECT record -> 'id' AS id, state, closed_at IS NOT NULL AS closed, times FROM dead WHERE pipeline = 'sp' ORDER BY letter_id;
SELECT idem_alter_pipeline('sp', version_column => '');
SELECT * FROM idem_replay('dead', 'sp');
SELECT idem_alter_pipeline('sp', max_dead => 'some');
SELECT idem_alter_pipeline('sp', dead_letters => '-');
SELECT dead_letters FROM idem_pipeline WHERE name = 'sp';
SELECT idem_drop_pipeline('sp');

-- letters that are another table in the middle of it
SELECT idem_create_dead_letters('swapped', 'led');
CREATE TABLE swaps (id int PRIMARY KEY, w int, v text, rev int);
SELECT idem_create_pipeline('sw', 'led', 'swaps', 'stream', 'upsert', '{id}', 'w', step => '10', start => '0', watermark => 'SELECT 9::bigint', version_column => 'rev', enabled => false, dead_letters => 'swapped');
CREATE FUNCTION swap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    DROP TABLE swapped;
    CREATE TABLE swapped (letter_id bigint, pipeline text, state text, record text, window_range int, times bigint, closed_at timestamptz, error_code text, error_message text, last_seen_at timestamptz);
    INSERT INTO swapped VALUES (100, 'sw', 'open', '{"id": "5", "w": "5", "v": "x", "rev": "1"}', 123456789, 1);
    RETURN NEW;
END $$;
CREATE TRIGGER swap BEFORE INSERT ON swaps FOR EACH ROW EXECUTE FUNCTION swap();
INSERT INTO swapped (pipeline, row_id, record, times, state, window_range) SELECT 'sw', gen_random_uuid(), format('{"id": "%s", "w": "%s", "v": "a", "rev": "1"}', i, i)::jsonb, 1, 'open', '[0,10)' FROM generate_series(7, 8) i;
SET client_min_messages = warning;
SELECT * FROM idem_replay('swapped', 'sw');
\echo :SQLSTATE
-- and so in a load, where they have another owner by then
CREATE FUNCTION give() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ALTER TABLE swapped OWNER TO regress_letters; RETURN NEW; END $$;
DROP TRIGGER swap ON swaps;
CREATE TRIGGER give BEFORE INSERT ON swaps FOR EACH ROW EXECUTE FUNCTION give();
CALL idem_load_window('led', 'swaps', 'SELECT i AS id, i AS w, ''a''::text AS v, CASE WHEN i = 2 THEN ''x'' ELSE ''1'' END AS rev FROM generate_series(1, 2) i WHERE i >= $1 AND i < $2', '[0,10)', 'upsert', keys => '{id}', window_column => 'w', dead_letters => 'swapped', pipeline => 'sw2');
\echo :SQLSTATE
SELECT count(*) FROM swaps;
SELECT idem_drop_pipeline('sw');
SET client_min_messages = notice;

-- rows of a relation that are in no window are counted, and said
INSERT INTO stream VALUES (100, NULL, 'lost', 1), (101, NULL, 'lost', 1);
SELECT result FROM idem_check_load('led', 'kept', 'stream', '[0,10)', 'upsert', '{id}', 'w', pipeline => 'sp');

SET client_min_messages = warning;
DROP SCHEMA letters CASCADE;
DROP OWNED BY regress_letters;
DROP ROLE regress_letters;
