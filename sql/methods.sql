-- Which method loads a window, and why
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY';
CREATE SCHEMA methods; SET search_path = methods, public;
SELECT idem_create_ledger('led', 'int8range');
CREATE TABLE src (id int, w int, v text);
INSERT INTO src SELECT i, i, 'v' || i FROM generate_series(0, 7999) i;
CREATE TABLE tgt (id int PRIMARY KEY, w int NOT NULL, v text);
CREATE TABLE tgt2 (LIKE tgt INCLUDING ALL);
CREATE INDEX ON tgt2 (w);

-- how many rows of a target differ from the source's
CREATE FUNCTION differ(target regclass) RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint; BEGIN
    EXECUTE format('SELECT count(*) FROM ((TABLE %s EXCEPT ALL TABLE src) UNION ALL (TABLE src EXCEPT ALL TABLE %1$s)) d', target) INTO n;
    RETURN n; END $$;
CREATE PROCEDURE load(target regclass, mode text, keys text[] DEFAULT '{id}', wc text DEFAULT 'w', win text DEFAULT '[0,8000)') LANGUAGE sql AS $$
    CALL idem_load_window('led', target, 'SELECT * FROM src WHERE w >= $1 AND w < $2', win, mode, keys => keys, window_column => wc, force => true) $$;
SET idem.explain_method = on;

-- nothing there
CALL load('tgt', 'upsert');
-- the same again: compared, nothing written
CALL load('tgt', 'upsert');
CALL load('tgt', 'reload');
-- a little differs
UPDATE src SET v = v || '!' WHERE id % 10 = 0;
CALL load('tgt', 'upsert');
UPDATE src SET v = v || '!' WHERE id % 10 = 1; DELETE FROM src WHERE id % 10 = 2;
CALL load('tgt', 'reload');
-- all differs: an upsert still deletes nothing
UPDATE src SET v = 'all';
CALL load('tgt', 'upsert');
UPDATE src SET v = 'all again';
CALL load('tgt', 'reload');
SELECT differ('tgt');
-- what the source lacks stays, and a trigger sees updates
ALTER TABLE tgt ADD COLUMN mine int;
UPDATE tgt SET mine = id;
UPDATE src SET v = 'and again';
CALL load('tgt', 'reload');
SELECT count(*) FROM tgt WHERE mine IS DISTINCT FROM id;
ALTER TABLE tgt DROP COLUMN mine;
CREATE FUNCTION ignore() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER ignore BEFORE UPDATE ON tgt FOR EACH ROW EXECUTE FUNCTION ignore();
UPDATE src SET v = 'with a trigger';
CALL load('tgt', 'reload');
SELECT differ('tgt');
DROP TABLE tgt;

-- no keys, or none that an index enforces
CREATE TABLE bag (id int, w int, v text);
CALL load('bag', 'reload', keys => NULL);
CALL load('bag', 'reload', keys => NULL);
UPDATE src SET v = 'bag' WHERE id = 3;
SET idem.force_statements = on;
CALL load('bag', 'reload', keys => NULL);
-- where rows can be written where they lie, they are told apart by their hashes
UPDATE src SET v = 'a bag' WHERE id = 3;
SET idem.force_statements = off;
CALL load('bag', 'reload', keys => NULL);
SELECT differ('bag');
RESET idem.force_statements;
UPDATE src SET v = 'bags' WHERE id = 3;
CALL load('bag', 'reload');
SELECT differ('bag');
-- without keys nothing says that equal rows are one; but what the source lacks must become its default
INSERT INTO src SELECT * FROM src WHERE id = 4; INSERT INTO bag SELECT * FROM bag WHERE id = 4;
CALL load('bag', 'reload', keys => NULL);
SELECT count(*) FROM bag WHERE id = 4;
DELETE FROM src a USING src b WHERE a.id = 4 AND b.id = 4 AND a.ctid > b.ctid;
ALTER TABLE bag ADD COLUMN mine int; UPDATE bag SET mine = 1;
CALL load('bag', 'reload', keys => NULL);
SELECT count(mine) FROM bag;
ALTER TABLE bag DROP COLUMN mine;

-- one row of many differs, and one row more, one less
CALL load('tgt2', 'upsert');
UPDATE src SET v = 'one' WHERE id = 4711;
CALL load('tgt2', 'upsert');
UPDATE tgt2 SET v = NULL WHERE id = 4713;
CALL load('tgt2', 'reload');
DELETE FROM tgt2 WHERE id = 4714; INSERT INTO tgt2 VALUES (-1, 1, 'one more');
CALL load('tgt2', 'upsert');
SELECT differ('tgt2');
CALL load('tgt2', 'reload');
SELECT differ('tgt2');
-- a NULL for a column that cannot be NULL is an error here too, not an unchanged row
ALTER TABLE tgt2 ALTER v SET NOT NULL; UPDATE src SET v = NULL WHERE id = 4711;
CALL load('tgt2', 'upsert');
UPDATE src SET v = 'one' WHERE id = 4711;

-- the target's emptiness is asked of the window, if there is a window column
CREATE TABLE tgt (id int PRIMARY KEY, w int NOT NULL, v text);
CALL load('tgt', 'upsert', wc => NULL, win => '[0,4000)');
CALL load('tgt', 'upsert', wc => NULL, win => '[4000,8000)');
TRUNCATE tgt; CREATE INDEX tgt_w ON tgt (w);
CALL load('tgt', 'upsert', win => '[0,4000)');
CALL load('tgt', 'upsert', win => '[4000,8000)');
SELECT differ('tgt');

-- an insertion meets a key of another window, or one that comes twice: the careful way
-- (not in parallel, where rows are not written as they come)
SELECT count(set_config(name, 'off', false)) < 2 AS serial FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SET idem.force_statements = off;
UPDATE tgt SET w = 1 WHERE id BETWEEN 5000 AND 5003; DELETE FROM tgt WHERE id >= 4000 AND w <> 1;
CALL load('tgt', 'upsert', win => '[4000,8000)');
SELECT differ('tgt');
-- an upsert whose windows nothing finds: after new rows new ones are expected, and it is seen where they are not
DROP INDEX tgt_w; DELETE FROM tgt WHERE id < 4000; UPDATE tgt SET v = 'old' WHERE id = 5001;
CALL idem_load_window('led', 'tgt', 'src', '[0,8000)', 'upsert', keys => '{id}', window_column => 'w', step => '2000', force => true);
SELECT differ('tgt');
TRUNCATE tgt;
INSERT INTO src SELECT * FROM src WHERE id % 1000 = 3;
CALL load('tgt', 'upsert');
SELECT count(*), details FROM tgt, (SELECT details - 'time_zone' AS details FROM led ORDER BY run_id DESC LIMIT 1) d GROUP BY 2;
SELECT count(set_config(name, reset_val, false)) < 2 AS "as before" FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
-- two differ: refused, and the target is as it was
UPDATE src SET v = v || ctid WHERE id = 7003; TRUNCATE tgt;
CALL load('tgt', 'upsert');
SELECT count(*) FROM tgt;
-- a source that calls a volatile function runs once, as does one that reads the target
UPDATE src SET v = 'v' || id; CREATE SEQUENCE calls;
CREATE PROCEDURE once(source text) LANGUAGE sql AS $$
    CALL idem_load_window('led', 'tgt', source, '[0,8000)', 'upsert', keys => '{id}', window_column => 'w', force => true) $$;
CALL once('SELECT * FROM src WHERE w >= $1 AND w < $2 AND nextval(''calls'') > 0');
SELECT last_value, (SELECT count(*) FROM tgt) AS count, (SELECT details - 'time_zone' FROM led ORDER BY run_id DESC LIMIT 1) AS details FROM calls;
TRUNCATE tgt;
CALL once('SELECT * FROM src s WHERE w >= $1 AND w < $2 AND NOT EXISTS (SELECT FROM tgt t WHERE t.id = s.id)');
SELECT count(*), (SELECT details - 'time_zone' FROM led ORDER BY run_id DESC LIMIT 1) AS details FROM tgt;
TRUNCATE tgt;
RESET idem.force_statements;
DELETE FROM src a USING src b WHERE a.id = b.id AND a.ctid > b.ctid;

-- whole partitions, only where it is allowed; without checksums no window is known to be unchanged
SET idem.source_digest = off;
CREATE TABLE parts (id int, w int NOT NULL, v text, PRIMARY KEY (id, w)) PARTITION BY RANGE (w);
CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (1000);
CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (1000) TO (2000);
CREATE TABLE parts3 PARTITION OF parts FOR VALUES FROM (2000) TO (8000);
CREATE TABLE nokeys (id int, w int NOT NULL, v text) PARTITION BY RANGE (w);
CREATE TABLE nokeys1 PARTITION OF nokeys FOR VALUES FROM (MINVALUE) TO (1000);
CREATE TABLE nokeys2 PARTITION OF nokeys FOR VALUES FROM (1000) TO (2000);
CREATE TABLE nokeys3 PARTITION OF nokeys DEFAULT;
INSERT INTO parts SELECT * FROM src; INSERT INTO nokeys SELECT * FROM src;
CALL load('nokeys', 'reload', keys => NULL, win => '[1000,2000)');
SET idem.allow_exclusive = on;
CALL load('nokeys', 'reload', keys => NULL, win => '[1000,2000)');
SELECT source_rows, inserted_rows, deleted_rows FROM led ORDER BY run_id DESC LIMIT 1;
-- what is there differs: keys, but nothing of it is needed
UPDATE src SET v = 'parts';
CALL load('parts', 'reload', keys => '{id,w}', win => '[0,8000)');
CALL load('nokeys', 'reload', keys => NULL, win => '[1000,2000)');
-- not exactly partitions; open at an end; in the default partition
CALL load('nokeys', 'reload', keys => NULL, win => '[1000,1999)');
CALL load('nokeys', 'reload', keys => NULL, win => '[0,1000)');
CALL load('nokeys', 'reload', keys => NULL, win => '[2000,8000)');
SELECT differ('parts'), differ('nokeys');
-- a trigger, or no right to truncate
CREATE TRIGGER ignore BEFORE INSERT ON nokeys2 FOR EACH ROW EXECUTE FUNCTION ignore();
CALL load('nokeys', 'reload', keys => NULL, win => '[1000,2000)');
DROP TRIGGER ignore ON nokeys2;
CREATE ROLE regress_idem_reloader;
GRANT USAGE ON SCHEMA methods TO regress_idem_reloader;
GRANT SELECT, INSERT, UPDATE ON led TO regress_idem_reloader; GRANT USAGE ON led_run_id_seq TO regress_idem_reloader;
GRANT SELECT ON src TO regress_idem_reloader; GRANT SELECT, INSERT, DELETE ON nokeys TO regress_idem_reloader;
SET ROLE regress_idem_reloader;
CALL load('nokeys', 'reload', keys => NULL, win => '[1000,2000)');
RESET ROLE; DROP OWNED BY regress_idem_reloader; DROP ROLE regress_idem_reloader;
SELECT differ('nokeys');
-- an empty table is filled before its indexes are built, which gives them new files; not one that has rows, or is another's
CREATE TABLE filled (id int PRIMARY KEY, w int NOT NULL, v text);
CREATE UNIQUE INDEX ON filled (lower(v), id) WHERE w > 10;
CREATE FUNCTION files() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(pg_relation_filenode(indexrelid)::text, ' ' ORDER BY indexrelid) FROM pg_index WHERE indrelid = 'filled'::regclass AND indisvalid $$;
CREATE FUNCTION fill() RETURNS TABLE (inserted bigint, differ bigint, built boolean) LANGUAGE plpgsql AS $$
DECLARE before text := files();
BEGIN
    RETURN QUERY SELECT inserted_rows, differ('filled'), before <> files()
        FROM idem_load('led', 'filled', 'SELECT * FROM src WHERE w >= $1 AND w < $2', '[0,8000)', 'upsert', keys => '{id}', window_column => 'w', force => true);
END $$;
SET client_min_messages = warning; SET idem.force_statements = off;
SELECT * FROM fill();
SELECT indexdef FROM pg_indexes WHERE tablename = 'filled' ORDER BY 1;
SET enable_seqscan = off; SELECT id FROM filled WHERE lower(v) = 'parts' AND w > 10 ORDER BY lower(v), id LIMIT 1; RESET enable_seqscan;
TRUNCATE filled; INSERT INTO filled VALUES (-1, -1, 'there');
SELECT * FROM fill();
-- a row that is there twice: all of it is taken back, and one of the two inserted
TRUNCATE filled; INSERT INTO src SELECT * FROM src WHERE id = 7999;
SELECT * FROM fill();
DELETE FROM src a USING src b WHERE a.id = b.id AND a.ctid > b.ctid;
CREATE ROLE regress_idem_filler; TRUNCATE filled;
GRANT USAGE ON SCHEMA methods TO regress_idem_filler; GRANT SELECT, INSERT, UPDATE ON led, filled TO regress_idem_filler;
GRANT USAGE ON led_run_id_seq TO regress_idem_filler; GRANT SELECT ON src TO regress_idem_filler;
SET ROLE regress_idem_filler;
SELECT * FROM fill();
RESET ROLE; DROP OWNED BY regress_idem_filler; DROP ROLE regress_idem_filler;
RESET idem.force_statements; RESET client_min_messages;
RESET idem.allow_exclusive;
RESET idem.source_digest;

-- many keys in little memory: they are counted in the database instead
SET work_mem = '64kB'; SET hash_mem_multiplier = 1;
CALL load('tgt', 'reload', keys => '{id}');
INSERT INTO src SELECT * FROM src WHERE id = 7999;
CALL load('tgt', 'reload', keys => '{id}');
SELECT details - 'time_zone' AS details FROM led ORDER BY run_id DESC LIMIT 1;

-- the digest of the source's rows is that of idem_digest over them
DELETE FROM src WHERE id = 7999;
CALL load('tgt', 'reload');
SELECT source_digest = (SELECT idem_digest(src) FROM src) AS same FROM led ORDER BY run_id DESC LIMIT 1;
SET idem.source_digest = off;
CALL load('tgt', 'reload');
SELECT source_digest IS NULL AS off FROM led ORDER BY run_id DESC LIMIT 1;

-- some rows are looked up by their keys, wherever they are: the target is not read for them, with statistics or without
SET client_min_messages = warning;
SET work_mem = '64MB';
CREATE TABLE looked (id uuid PRIMARY KEY, v int);
ALTER TABLE looked SET (autovacuum_enabled = off);
INSERT INTO looked SELECT md5(i::text)::uuid, i FROM generate_series(1, 20000) i;
SELECT idem_create_ledger('looks', 'int8range');
CREATE FUNCTION look(since int) RETURNS text LANGUAGE sql AS $$
    SELECT format('CALL idem_load_window(''looks'', ''looked'', ''SELECT md5(i::text)::uuid AS id, i::int + %s AS v FROM generate_series($1 + 1, $2) i'', ''[0,3000)'', ''upsert'', keys => ''{id}'', step => ''500'', force => true)', since) $$;
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT look(0) \gexec
SELECT look(1) \gexec
ANALYZE looked;
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT look(1) \gexec
SELECT look(2) \gexec
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT seq_tup_read < 100 AS not_read FROM pg_stat_user_tables WHERE relname = 'looked';
SELECT method, unchanged_rows, updated_rows, count(*) FROM looks GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
RESET work_mem;
DROP TABLE looked, looks;
DROP FUNCTION look;
