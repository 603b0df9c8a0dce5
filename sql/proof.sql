-- A row that a load did not write is there as it should be, or the window is not complete
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY';
CREATE SCHEMA proof; SET search_path = proof, public;
SELECT idem_create_ledger('led', 'int8range');
CREATE TABLE src (id int, w int, v text);
INSERT INTO src SELECT i, i % 10, 'v' || i FROM generate_series(1, 60) i;
CREATE ROLE regress_idem_proof;
GRANT USAGE ON SCHEMA proof TO regress_idem_proof;
GRANT SELECT, INSERT, UPDATE ON led TO regress_idem_proof; GRANT USAGE ON led_run_id_seq TO regress_idem_proof;
GRANT SELECT ON src TO regress_idem_proof;

-- one load of window [0,10), and what it says
CREATE PROCEDURE load(target regclass, mode text, keys text[] DEFAULT '{id}', source text DEFAULT 'SELECT * FROM src',
                      window_column text DEFAULT 'w') LANGUAGE plpgsql AS $$
DECLARE d text; h text; r record;
BEGIN
    SELECT * INTO r FROM idem_load('led', target, source, '[0,10)', mode, keys => keys, window_column => window_column, force => true);
    RAISE NOTICE '% % %: % inserted, % updated, % deleted, % unchanged', target, mode, r.method,
        r.inserted_rows, r.updated_rows, r.deleted_rows, r.unchanged_rows;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
    RAISE WARNING '% % | % | %', SQLSTATE, SQLERRM, d, h;
END $$;
GRANT EXECUTE ON PROCEDURE load TO regress_idem_proof;

-- rows that row security hides: in each mode, few and many, in an empty window and not
CREATE TABLE hidden (id int PRIMARY KEY, w int, v text);
ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON hidden USING (v <> 'hidden') WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON hidden TO regress_idem_proof;
INSERT INTO hidden VALUES (7, 7, 'hidden');
SET ROLE regress_idem_proof;
CALL load('hidden', 'upsert');
CALL load('hidden', 'reload');
CALL load('hidden', 'upsert', source => 'SELECT * FROM src WHERE id < 20');
CALL load('hidden', 'upsert', window_column => NULL);
RESET ROLE;
INSERT INTO hidden VALUES (1, 1, 'old'), (2, 2, 'v2');
SET ROLE regress_idem_proof;
CALL load('hidden', 'upsert');
CALL load('hidden', 'reload');
CALL load('hidden', 'upsert', source => 'SELECT * FROM src WHERE id <> 7');
CALL load('hidden', 'upsert', source => 'SELECT * FROM src WHERE id <> 7');
RESET ROLE;
SELECT count(*), count(*) FILTER (WHERE v = 'hidden') AS hidden FROM hidden;
-- seen, but not to be updated or deleted
CREATE TABLE kept (id int PRIMARY KEY, w int, v text);
ALTER TABLE kept ENABLE ROW LEVEL SECURITY;
CREATE POLICY s ON kept FOR SELECT USING (true);
CREATE POLICY i ON kept FOR INSERT WITH CHECK (true);
CREATE POLICY u ON kept FOR UPDATE USING (id > 1);
CREATE POLICY d ON kept FOR DELETE USING (id < 1000);
GRANT SELECT, INSERT, UPDATE, DELETE ON kept TO regress_idem_proof;
INSERT INTO kept VALUES (1, 1, 'old'), (2, 2, 'old');
SET ROLE regress_idem_proof;
CALL load('kept', 'upsert');
RESET ROLE;
UPDATE kept SET v = 'v1' WHERE id = 1;
INSERT INTO kept VALUES (1000, 1, 'gone?');
SET ROLE regress_idem_proof;
CALL load('kept', 'upsert');
CALL load('kept', 'reload');
CALL load('kept', 'reload', NULL);
RESET ROLE;
DELETE FROM kept WHERE id = 1000;
SET ROLE regress_idem_proof;
CALL load('kept', 'reload');
RESET ROLE;

-- a view that hides rows
CREATE TABLE behind (id int PRIMARY KEY, w int, v text, tenant int DEFAULT 1);
INSERT INTO behind VALUES (3, 3, 'theirs', 2);
CREATE VIEW ours AS SELECT id, w, v FROM behind WHERE tenant = 1;
CALL load('ours', 'upsert');
CALL load('ours', 'reload');
DELETE FROM behind;
CALL load('ours', 'upsert');
CALL load('ours', 'reload');

-- triggers that swallow rows, with an index over the keys and without
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TABLE swallowed (id int PRIMARY KEY, w int, v text);
CREATE TABLE loose (id int, w int, v text);
CREATE TRIGGER i BEFORE INSERT ON swallowed FOR EACH ROW WHEN (NEW.id = 5) EXECUTE FUNCTION swallow();
CREATE TRIGGER i BEFORE INSERT ON loose FOR EACH ROW WHEN (NEW.id = 5) EXECUTE FUNCTION swallow();
CALL load('swallowed', 'upsert');
CALL load('swallowed', 'reload', source => 'SELECT * FROM src WHERE id < 20');
CALL load('loose', 'reload');
CALL load('loose', 'reload', NULL);
SELECT count(*) FROM swallowed; SELECT count(*) FROM loose;
DROP TRIGGER i ON swallowed; DROP TRIGGER i ON loose;
CALL load('swallowed', 'upsert'); CALL load('loose', 'reload');
CREATE TRIGGER u BEFORE UPDATE ON swallowed FOR EACH ROW WHEN (NEW.id = 5) EXECUTE FUNCTION swallow();
CREATE TRIGGER d BEFORE DELETE ON swallowed FOR EACH ROW WHEN (OLD.id = 6) EXECUTE FUNCTION swallow();
CREATE TRIGGER d BEFORE DELETE ON loose FOR EACH ROW WHEN (OLD.id = 6) EXECUTE FUNCTION swallow();
CALL load('swallowed', 'upsert', source => $$SELECT id, w, v || '!' AS v FROM src$$);
CALL load('swallowed', 'reload', source => 'SELECT * FROM src WHERE id <> 6');
CALL load('loose', 'reload', NULL, $$SELECT id, w, v || '!' AS v FROM src$$);
CALL load('loose', 'reload', '{id}', $$SELECT id, w, v || '!' AS v FROM src$$);
UPDATE loose SET w = 100 WHERE id = 6;
CALL load('loose', 'reload');
SELECT count(*), count(DISTINCT id) FROM loose;
DROP TRIGGER u ON swallowed; DROP TRIGGER d ON swallowed;

-- a trigger that does it itself is no obstacle, nor is one that alters what is written
CREATE TABLE itself (id int PRIMARY KEY, w int, v text);
CREATE FUNCTION write_itself() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF pg_trigger_depth() > 1 THEN RETURN NEW; END IF;
    INSERT INTO proof.itself VALUES (NEW.id, NEW.w, NEW.v) ON CONFLICT (id) DO UPDATE SET v = excluded.v;
    RETURN NULL; END $$;
CREATE TRIGGER i BEFORE INSERT ON itself FOR EACH ROW EXECUTE FUNCTION write_itself();
CALL load('itself', 'upsert');
CALL load('itself', 'upsert');
SELECT count(*) FROM itself JOIN src USING (id, w, v);
CREATE TABLE altered (id int PRIMARY KEY, w int, v text);
CREATE FUNCTION alter_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := upper(NEW.v); RETURN NEW; END $$;
CREATE TRIGGER i BEFORE INSERT OR UPDATE ON altered FOR EACH ROW EXECUTE FUNCTION alter_it();
INSERT INTO altered VALUES (1, 1, 'old');
CALL load('altered', 'upsert');
CALL load('altered', 'reload');
DELETE FROM altered WHERE id > 3; UPDATE altered SET w = 50 WHERE id = 3;
CALL load('altered', 'reload');
SELECT count(*), bool_and(v = 'V' || id) FROM altered;

-- partitions' own triggers, and keys that can all be NULL
CREATE TABLE parts (id int, w int, v text, UNIQUE NULLS NOT DISTINCT (id, w)) PARTITION BY RANGE (w);
CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (5);
CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (5) TO (10);
CALL load('parts', 'reload', '{id,w}', 'SELECT nullif(id, 9) AS id, w, v FROM src');
CREATE TRIGGER u BEFORE UPDATE ON parts2 FOR EACH ROW WHEN (OLD.id IS NULL) EXECUTE FUNCTION swallow();
CALL load('parts', 'reload', '{id,w}', 'SELECT nullif(id, 9) AS id, w, v || 1 AS v FROM src');
CALL load('parts', 'upsert', '{id,w}', 'SELECT nullif(id, 9) AS id, w, v || 1 AS v FROM src');
DROP TRIGGER u ON parts2;
CALL load('parts', 'upsert', '{id,w}', 'SELECT nullif(id, 9) AS id, w, v || 1 AS v FROM src');

-- keys that no FULL JOIN can compare
CREATE TABLE coins (m money NOT NULL, k int, w int, v text, UNIQUE NULLS NOT DISTINCT (m, k));
CALL load('coins', 'reload', '{m,k}', 'SELECT id::money AS m, NULL::int AS k, w, v FROM src');
CALL load('coins', 'reload', '{m,k}', 'SELECT id::money AS m, NULL::int AS k, w, v || 1 AS v FROM src WHERE id < 55');
SELECT count(*), bool_and(v LIKE '%1') FROM coins;
ALTER TABLE coins ALTER m DROP NOT NULL;
CALL load('coins', 'reload', '{m,k}', 'SELECT id::money AS m, NULL::int AS k, w, v FROM src WHERE id < 50 UNION ALL SELECT NULL, NULL, 1, NULL');
SELECT count(*), count(m) FROM coins;

-- values that change places under another constraint
CREATE TABLE slots (id int PRIMARY KEY, w int, v text UNIQUE);
CALL load('slots', 'reload');
CALL load('slots', 'reload', source => $$SELECT id, w, 'v' || id % 60 + 1 AS v FROM src$$);
SELECT count(*) FROM slots WHERE v = 'v' || id % 60 + 1;
CALL load('slots', 'upsert');
CALL load('slots', 'reload', source => $$SELECT id, w, 'v' || least(id, 59) AS v FROM src$$);
ALTER TABLE slots DROP CONSTRAINT slots_v_key, ADD UNIQUE (v) DEFERRABLE;
CALL load('slots', 'upsert');
CREATE TRIGGER t AFTER UPDATE ON slots FOR EACH ROW EXECUTE FUNCTION swallow();
ALTER TABLE slots DROP CONSTRAINT slots_v_key, ADD UNIQUE (v);
CALL load('slots', 'reload', source => $$SELECT id, w, 'v' || id % 60 + 1 AS v FROM src$$);
CREATE TABLE rooms (id int PRIMARY KEY, w int, v int4range, EXCLUDE USING gist (v WITH &&));
CALL load('rooms', 'reload', source => 'SELECT id, w, int4range(id, id + 1) AS v FROM src');
CALL load('rooms', 'reload', source => 'SELECT id, w, int4range(id % 60 + 1, id % 60 + 2) AS v FROM src');
CALL load('rooms', 'upsert', source => 'SELECT id, w, int4range(id, id + 1) AS v FROM src');

-- an index that could serve but for a deferrable one beside it
CREATE TABLE beside (id int PRIMARY KEY, w int, v text, CONSTRAINT "Late" UNIQUE (id) DEFERRABLE);
CALL load('beside', 'upsert');
CALL load('beside', 'reload');
CALL load('beside', 'reload', source => 'SELECT * FROM src WHERE id < 10');
ALTER TABLE proof.beside DROP CONSTRAINT "Late";
CALL load('beside', 'upsert');
CREATE TABLE late (id int PRIMARY KEY DEFERRABLE, w int, v text);
CALL load('late', 'upsert');
ALTER TABLE proof.late DROP CONSTRAINT late_pkey; CREATE UNIQUE INDEX ON proof.late (id);
CALL load('late', 'upsert');

-- an AFTER trigger that takes a row away again each time
CREATE TABLE taken (id int PRIMARY KEY, w int, v text);
CREATE FUNCTION take_away() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM proof.taken WHERE id = NEW.id; RETURN NULL; END $$;
CREATE TRIGGER a AFTER INSERT ON taken FOR EACH ROW WHEN (NEW.id = 3) EXECUTE FUNCTION take_away();
CALL load('taken', 'upsert');
CALL load('taken', 'reload');

-- rows of others that go along
CREATE TABLE parent (id int PRIMARY KEY, w int, v text);
INSERT INTO parent SELECT * FROM src;
CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE); INSERT INTO child VALUES (1), (2), (60);
CALL load('parent', 'reload', NULL);
CALL load('parent', 'reload', '{id,w}');
CALL load('parent', 'reload', source => 'SELECT * FROM src WHERE id < 60');
SELECT count(*) FROM child;
CREATE TABLE child2 (id int, w int, FOREIGN KEY (id, w) REFERENCES parts2 (id, w) ON DELETE SET NULL);
ALTER TABLE parts DROP CONSTRAINT parts_id_w_key CASCADE;
ALTER TABLE parts2 ADD UNIQUE (id, w);
ALTER TABLE child2 ADD FOREIGN KEY (id, w) REFERENCES parts2 (id, w) ON DELETE SET NULL;
CALL load('parts', 'reload', NULL);
ALTER TABLE child2 DROP CONSTRAINT child2_id_w_fkey;
CALL load('parts', 'reload', NULL);

-- rules put other statements in place of the load's
CREATE TABLE ruled (id int PRIMARY KEY, w int, v text);
CREATE RULE r AS ON DELETE TO ruled DO ALSO NOTHING;
CALL load('ruled', 'reload');

-- what rights a load needs does not depend on the data, and is known before a row is read
CREATE TABLE guarded (id int PRIMARY KEY, w int, v text, other text);
CREATE FUNCTION reading(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'a row was read'; RETURN i; END $$;
GRANT SELECT (id, w, v), INSERT (id, w, v) ON guarded TO regress_idem_proof;
SET ROLE regress_idem_proof;
CALL load('guarded', 'upsert', source => $$SELECT reading(1) AS id, 1 AS w, 'v' AS v$$);
RESET ROLE;
GRANT UPDATE (id, w, v) ON guarded TO regress_idem_proof;
SET ROLE regress_idem_proof;
CALL load('guarded', 'upsert', source => $$SELECT reading(1) AS id, 1 AS w, 'v' AS v$$);
CALL load('guarded', 'reload', source => $$SELECT reading(1) AS id, 1 AS w, 'v' AS v$$);
CALL load('guarded', 'upsert', source => $$SELECT reading(1) AS id, 1 AS w, 'v' AS v, 'x' AS other$$);
RESET ROLE;
CREATE VIEW guarded_view WITH (security_invoker) AS SELECT * FROM guarded;
GRANT ALL ON guarded_view TO regress_idem_proof;
SET ROLE regress_idem_proof;
CALL load('guarded_view', 'reload', source => $$SELECT reading(1) AS id, 1 AS w, 'v' AS v$$);
RESET ROLE;

-- a NOT NULL that nobody has validated (18) says nothing of the rows that are there
CREATE TABLE unvalidated (id int, w int, v text); CREATE UNIQUE INDEX ON unvalidated (id);
INSERT INTO unvalidated VALUES (NULL, 5, 'old'), (1, 1, 'old');
DO $$ BEGIN EXECUTE 'ALTER TABLE unvalidated ADD CONSTRAINT n NOT NULL id NOT VALID'; EXCEPTION WHEN syntax_error THEN NULL; END $$;
CALL idem_load_window('led', 'unvalidated', $$SELECT 1 AS id, 1 AS w, 'new' AS v$$, '[0,10)', 'reload', keys => '{id}', window_column => 'w');
TABLE unvalidated;
-- nor are values of bpchar without a length the same because they are equal
CREATE TABLE unpadded (id int PRIMARY KEY, w int, v bpchar);
CALL idem_load_window('led', 'unpadded', $$SELECT 1 AS id, 1 AS w, 'a'::bpchar AS v$$, '[0,10)', 'reload', keys => '{id}', window_column => 'w');
SET idem.source_digest = off;
CALL idem_load_window('led', 'unpadded', $$SELECT 1 AS id, 1 AS w, 'a  '::bpchar AS v$$, '[0,10)', 'reload', keys => '{id}', window_column => 'w', force => true);
RESET idem.source_digest;
SELECT octet_length(v) FROM unpadded;

-- a name that no index of the ledger holds, and the longest that each does, however well it can be compressed
SELECT idem_load('led', 'guarded', 'src', '[0,10)', 'reload', window_column => 'w', pipeline => repeat('x', 2001));
SELECT result FROM idem_load('led', 'guarded', 'SELECT 1 AS id, $1 AS w WHERE false', '[0,10)', 'reload', window_column => 'w', pipeline => (SELECT left(string_agg(md5(i::text), ''), 2000) FROM generate_series(1, 100) i));

-- what the source itself puts into a window that was empty is not in it in the end
SELECT idem_create_ledger('filled_led', 'int8range');
CREATE TABLE filled (id int PRIMARY KEY, w int);
CREATE TABLE filled_bag (id int, w int);
CREATE FUNCTION fill(tbl regclass, i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('INSERT INTO %s VALUES (99, 5)', tbl); RETURN i; END $$;
CALL idem_load_window('filled_led', 'filled', $$SELECT CASE i WHEN 1 THEN proof.fill('proof.filled', 1) ELSE i END AS id, 3 AS w FROM generate_series(1, 60) i$$, '[0,10)', 'reload', keys => '{id}', window_column => 'w');
CALL idem_load_window('filled_led', 'filled_bag', $$SELECT proof.fill('proof.filled_bag', 1) AS id, 3 AS w$$, '[0,10)', 'reload', window_column => 'w');
SELECT count(*), max(id) FROM filled;
TABLE filled_bag;

SET client_min_messages = warning;
DROP SCHEMA proof CASCADE;
DROP ROLE regress_idem_proof;
