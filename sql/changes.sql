-- A target that changes while it is loaded: in the source, in the audit, and between two windows
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY';
CREATE SCHEMA changes; SET search_path = changes, public;
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT idem_create_ledger('led', 'int8range');
CREATE FUNCTION run(command text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN EXECUTE command; RETURN true; END $$;
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE SCHEMA elsewhere;

CREATE TABLE t (id int NOT NULL, w int NOT NULL, v text, CONSTRAINT t_key PRIMARY KEY (id));
CREATE INDEX t_w ON t (w);
CREATE TABLE p (id int NOT NULL, w int NOT NULL, v text, UNIQUE (id, w)) PARTITION BY RANGE (w);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
CREATE TABLE s (id int PRIMARY KEY, w int NOT NULL, v text); ALTER TABLE s ENABLE ROW LEVEL SECURITY;
CREATE POLICY s_policy ON s USING (w < 100);
CREATE TABLE g (id int PRIMARY KEY, w int GENERATED ALWAYS AS (id) STORED, v text);
CREATE VIEW view AS SELECT id, w, v FROM t WHERE w < 100;
CREATE VIEW over AS SELECT * FROM view;
INSERT INTO t SELECT i, i, 'old' FROM generate_series(0, 19) i;
INSERT INTO p SELECT * FROM t;

-- in the middle of a window it is an error, whatever the change, unless it makes no difference
CREATE PROCEDURE change(target text, command text) LANGUAGE plpgsql AS $$
DECLARE place text; source text; said text[];
BEGIN
    FOREACH place IN ARRAY '{source,audit}'::text[] LOOP
        BEGIN
            source := 'SELECT i AS id' || CASE target WHEN 'g' THEN '' ELSE ', i AS w' END || ', ''new'' AS v FROM generate_series($1::int, 5) i';
            PERFORM idem_load('led', target::regclass, source || CASE place WHEN 'source' THEN format(' WHERE (SELECT run(%L))', command) ELSE '' END,
                '[0,10)', 'reload', keys => CASE WHEN target <> 'p' THEN '{id}'::text[] END, window_column => 'w',
                audit => CASE place WHEN 'audit' THEN format('SELECT 1 WHERE NOT run(%L)', command) END);
            said := said || 'loaded'::text;
            RAISE EXCEPTION 'undo';
        EXCEPTION WHEN OTHERS THEN
            IF SQLERRM <> 'undo' THEN said := said || (SQLSTATE || ' ' || SQLERRM); END IF;
        END;
    END LOOP;
    RAISE WARNING E'%:\n%', command, array_to_string(said, E'\n');
END $$;
CALL change('t', 'CREATE TRIGGER x BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION swallow()');
CALL change('t', 'ALTER TABLE t ENABLE ROW LEVEL SECURITY');
CALL change('t', 'ALTER TABLE t DROP CONSTRAINT t_key');
CALL change('t', 'DROP INDEX t_w');
CALL change('t', 'CREATE TABLE r (id int REFERENCES t ON DELETE CASCADE)');
CALL change('t', 'ALTER TABLE t RENAME TO gone');
CALL change('t', 'ALTER TABLE t RENAME v TO u');
CALL change('t', 'ALTER TABLE t ALTER v SET NOT NULL');
CALL change('t', 'ALTER TABLE t SET SCHEMA elsewhere');
CALL change('t', 'ALTER SCHEMA changes RENAME TO another; CREATE SCHEMA changes; CREATE TABLE changes.t (LIKE another.t INCLUDING ALL)');
CALL change('t', 'DROP TABLE t CASCADE');
CALL change('p', 'CREATE TRIGGER x BEFORE INSERT ON p1 FOR EACH ROW EXECUTE FUNCTION swallow()');
CALL change('p', 'ALTER TABLE p2 ENABLE ROW LEVEL SECURITY');
CALL change('p', 'CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (20) TO (30); CREATE TRIGGER x BEFORE INSERT ON p3 FOR EACH ROW EXECUTE FUNCTION swallow()');
CALL change('over', 'CREATE OR REPLACE VIEW over AS SELECT * FROM view WHERE id > 2');
CALL change('over', 'CREATE OR REPLACE VIEW view AS SELECT id, w, v FROM t WHERE id > 2');
CALL change('over', 'CREATE OR REPLACE VIEW view AS SELECT id, w, v FROM t LIMIT 2');
CALL change('s', 'DROP POLICY s_policy ON s');
CALL change('s', 'ALTER POLICY s_policy ON s USING (w < 50)');
CALL change('s', 'ALTER TABLE s FORCE ROW LEVEL SECURITY');
CALL change('g', 'ALTER TABLE g DROP w; ALTER TABLE g ADD w int GENERATED ALWAYS AS (id + 1) STORED');
CALL change('t', 'ANALYZE t');
CALL change('t', 'ALTER TABLE t SET (fillfactor = 70)');
CALL change('t', 'CREATE INDEX ON t (v); COMMENT ON TABLE t IS ''t''');
CALL change('t', 'ALTER TABLE t ADD CHECK (id < 1000)');
CALL change('p', 'CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (20) TO (30)');

-- between two windows the load goes on with what the target is then, or says what is wrong
CREATE TABLE ticks (w int8, command text);
CREATE FUNCTION tick(w int8, command text) RETURNS bool LANGUAGE sql AS $$ INSERT INTO changes.ticks VALUES (w, command); SELECT true $$;
CREATE FUNCTION run_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.w = 0 THEN EXECUTE NEW.command; END IF; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER run AFTER INSERT ON ticks DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION run_at_commit();
CREATE FUNCTION source(command text) RETURNS text LANGUAGE sql AS
$$ SELECT format('SELECT i AS id, i AS w, ''new'' AS v FROM generate_series($1::int, $1::int + 4) i WHERE (SELECT tick($1, %L))', command) $$;
CREATE FUNCTION outcome(name text, OUT target name, OUT rows text, OUT runs text) LANGUAGE sql AS $$
    SELECT name, (SELECT string_agg(n || ' ' || v, ', ' ORDER BY v) FROM (SELECT v, count(*) AS n FROM (SELECT v FROM t UNION ALL SELECT v FROM p) b GROUP BY v) b),
        (SELECT string_agg(window_range || ' ' || state || coalesce(' ' || method, '') || coalesce(' ' || error_code, ''), ', ' ORDER BY run_id) FROM led WHERE pipeline = name) $$;
\set load 'CALL idem_load_window(''led'', :''target'', source(:''command''), ''[0,20)'', :''mode'', keys => :keys, window_column => ''w'', step => ''10'', pipeline => :''name''); SELECT * FROM outcome(:''name'');'
\set keyless 'NULL::text[]'
\set keyed '''{id}''::text[]'

\set target t \set mode reload \set keys :keyless
ALTER TABLE t DROP CONSTRAINT t_key;
\set name 'delete trigger' \set command 'CREATE TRIGGER x BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION swallow()'
:load
DROP TRIGGER x ON t; TRUNCATE t; ALTER TABLE t ADD CONSTRAINT t_key PRIMARY KEY (id);
\set name 'foreign key' \set command 'CREATE TABLE r (id int REFERENCES t ON DELETE CASCADE)'
:load
DROP TABLE r; TRUNCATE t;
\set name 'not null' \set command 'ALTER TABLE t ADD x int NOT NULL DEFAULT 1; ALTER TABLE t ALTER x DROP DEFAULT'
:load
ALTER TABLE t DROP x; TRUNCATE t;
\set mode upsert \set keys :keyed
\set name 'no index' \set command 'ALTER TABLE t DROP CONSTRAINT t_key'
:load
\set mode reload
\set name 'an index' \set command 'ALTER TABLE t ADD CONSTRAINT t_key PRIMARY KEY (id)'
INSERT INTO t VALUES (12, 12, 'old');
:load
TRUNCATE t; INSERT INTO t SELECT i, i, 'old' FROM generate_series(0, 19) i;
\set name 'another index' \set command 'ALTER TABLE t DROP CONSTRAINT t_key; CREATE UNIQUE INDEX t_key ON t (id)'
:load
\set target view \set keys :keyless
CREATE OR REPLACE VIEW view AS SELECT id, w, v FROM t;
TRUNCATE t; INSERT INTO t SELECT i, i, 'old' FROM generate_series(0, 19) i;
\set name 'filter' \set command 'CREATE OR REPLACE VIEW view AS SELECT id, w, v FROM t WHERE id <> 17'
:load
TRUNCATE t; INSERT INTO t SELECT i, i, 'old' FROM generate_series(0, 19) i;
\set target t
\set name 'other schema' \set command 'ALTER TABLE t SET SCHEMA elsewhere; CREATE TABLE t (LIKE elsewhere.t)'
CALL idem_load_window('led', :'target', source(:'command'), '[0,20)', :'mode', window_column => 'w', step => '10', pipeline => :'name');
SELECT count(*) FROM t;
DROP TABLE t; ALTER TABLE elsewhere.t SET SCHEMA changes;
SELECT * FROM outcome(:'name');
\set name 'dropped' \set command 'DROP TABLE t CASCADE'
CALL idem_load_window('led', :'target', source(:'command'), '[0,20)', :'mode', window_column => 'w', step => '10', pipeline => :'name');
CREATE TABLE t (id int NOT NULL, w int NOT NULL, v text, CONSTRAINT t_key PRIMARY KEY (id));
\set target p
\set name 'a partition''s trigger' \set command 'CREATE TRIGGER x BEFORE INSERT ON p2 FOR EACH ROW EXECUTE FUNCTION swallow()'
:load
DROP TRIGGER x ON p2;
TRUNCATE p; INSERT INTO p SELECT i, i, 'old' FROM generate_series(0, 19) i;
DROP TABLE p2;
\set mode upsert \set keys '''{id,w}''::text[]'
\set name 'a new partition' \set command 'CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20); CREATE TRIGGER x BEFORE INSERT ON p2 FOR EACH ROW EXECUTE FUNCTION swallow()'
:load
DROP TRIGGER x ON p2;

-- the ledger too
CREATE PROCEDURE change_ledger(command text) LANGUAGE plpgsql AS $$
DECLARE place text; c text; h text; said text[];
BEGIN
    FOREACH place IN ARRAY '{source,audit}'::text[] LOOP
        BEGIN
            PERFORM idem_load('led', 't', 'SELECT 1 AS id, 1 AS w' || CASE place WHEN 'source' THEN format(' WHERE (SELECT run(%L))', command) ELSE '' END,
                '[0,10)', 'upsert', keys => '{id}', audit => CASE place WHEN 'audit' THEN format('SELECT 1 WHERE NOT run(%L)', command) END, pipeline => 'ledger');
            said := said || 'loaded'::text;
            RAISE EXCEPTION 'undo';
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS c = PG_EXCEPTION_CONTEXT, h = PG_EXCEPTION_HINT;
            IF SQLERRM <> 'undo' THEN said := said || (SQLSTATE || ' ' || regexp_replace(SQLERRM, '\d+', 'N') || E'\n' || h || E'\n' || split_part(c, E'\n', 1)); END IF;
        END;
    END LOOP;
    RAISE WARNING E'%:\n%', command, array_to_string(said, E'\n');
END $$;
CALL change_ledger('DROP TABLE led');
CALL change_ledger('ALTER TABLE led RENAME TO led2; SELECT idem_create_ledger(''led'', ''int8range'')');
CALL change_ledger('ALTER TABLE led NOT OF');
CALL change_ledger('ALTER TABLE led DROP CONSTRAINT led_pipeline_window_range_excl');
CALL change_ledger('DELETE FROM led');
CALL change_ledger('CREATE INDEX ON led (state); ANALYZE led');
SELECT idem_create_ledger('short', 'int8range');
CALL idem_load_window('short', 't', source('DROP TABLE short'), '[0,20)', 'upsert', keys => '{id}', step => '10');
\echo :SQLSTATE

-- an error shows what users wrote, and nothing that they have not
\set VERBOSITY default
\set SHOW_CONTEXT errors
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM NEW.id FROM nothing; RETURN NEW; END $$;
CREATE TRIGGER fail BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION fail();
CALL idem_load_window('led', 't', 'SELECT 90 AS id, 90 AS w', '[90,100)', 'upsert', keys => '{id}', pipeline => 'shown');
DROP TRIGGER fail ON t;
ALTER TABLE t ADD CONSTRAINT t_check CHECK (id < 1000 / w) NOT VALID;
CALL idem_load_window('led', 't', 'SELECT 95 AS id, 0 AS w', '[90,100)', 'upsert', keys => '{id}', pipeline => 'shown');
ALTER TABLE t DROP CONSTRAINT t_check;
CALL idem_load_window('led', 't', 'SELECT 1 / (i - 90) AS id, 90 AS w FROM generate_series($1, $2) i', '[90,100)', 'upsert', keys => '{id}', pipeline => 'shown');
CALL idem_load_window('led', 't', 'SELECT id FROM nothing', '[90,100)', 'upsert', keys => '{id}', pipeline => 'shown');
SELECT error_code, error_message, details - 'time_zone' AS details FROM led WHERE pipeline = 'shown' ORDER BY run_id;
CREATE ROLE regress_changes;
CREATE TABLE elsewhere.t (id int PRIMARY KEY, w int); GRANT ALL ON elsewhere.t TO regress_changes;
SELECT 'elsewhere.t'::regclass::oid AS hidden \gset
GRANT ALL ON SCHEMA changes TO regress_changes; GRANT ALL ON ALL TABLES IN SCHEMA changes TO regress_changes; GRANT ALL ON ALL SEQUENCES IN SCHEMA changes TO regress_changes;
SET ROLE regress_changes;
CALL idem_load_window('led', :hidden::oid::regclass, 'SELECT 1 AS id, 1 AS w', '[0,10)', 'upsert', keys => '{id}', window_column => 'w', pipeline => 'hidden');
RESET ROLE;
\set SHOW_CONTEXT never

-- row security that begins between two windows
TRUNCATE t, p; INSERT INTO t SELECT i, i, 'old' FROM generate_series(0, 19) i;
ALTER FUNCTION run_at_commit() SECURITY DEFINER;
\set target t \set mode reload \set keys :keyed
\set name 'row security' \set command 'ALTER TABLE changes.t ENABLE ROW LEVEL SECURITY; CREATE POLICY x ON changes.t USING (id <> 12)'
SET ROLE regress_changes;
CALL idem_load_window('led', :'target', source(:'command'), '[0,20)', :'mode', keys => :keys, window_column => 'w', step => '10', pipeline => :'name');
RESET ROLE;
SELECT * FROM outcome(:'name');

DROP SCHEMA changes, elsewhere CASCADE; DROP ROLE regress_changes;
