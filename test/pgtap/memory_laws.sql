-- A load of many windows has no more memory at its end than after its first ones.
-- Not in one transaction, for every window is one.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS idem CASCADE;
CREATE SCHEMA memory_laws;
SET search_path = memory_laws, public;
SELECT plan(8);

SELECT idem_create_ledger('led', 'int8range');
CREATE TABLE sink (id bigint NOT NULL, v text);
CREATE UNIQUE INDEX ON sink (id);
CREATE SEQUENCE at_ten; -- sequences survive the rollback of a window that fails
CREATE SEQUENCE at_end;
CREATE FUNCTION note(i bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF i IN (10, 999) THEN
        PERFORM pg_catalog.setval(CASE i WHEN 10 THEN 'memory_laws.at_ten' ELSE 'memory_laws.at_end' END, sum(total_bytes - free_bytes)::bigint) FROM pg_backend_memory_contexts;
    END IF;
    RETURN i;
END $$;
CREATE FUNCTION growth() RETURNS bigint LANGUAGE sql AS
$$ SELECT b.last_value - a.last_value FROM memory_laws.at_ten a, memory_laws.at_end b $$;

CALL idem_load_window('led', 'sink', 'SELECT $1 AS id, note($1) AS v', '[0,1000)', 'upsert', keys => '{id}', step => '1', pipeline => 'upsert');
SELECT cmp_ok(growth(), '<', 40000::bigint, 'a thousand windows by upsert');
CALL idem_load_window('led', 'sink', 'SELECT $1 AS id, note($1) AS v', '[0,1000)', 'reload', keys => '{id}', window_column => 'id', step => '1', pipeline => 'reload');
SELECT cmp_ok(growth(), '<', 40000::bigint, 'a thousand windows by reload');
CALL idem_load_window('led', 'sink', 'SELECT $1 AS id, note($1) AS v', '[0,1000)', 'reload', window_column => 'id', step => '1', pipeline => 'keyless', audit => 'SELECT 1 WHERE $1 < 0');
SELECT cmp_ok(growth(), '<', 40000::bigint, 'a thousand windows without keys, with an audit');
CALL idem_load_window('led', 'sink', 'SELECT $1 AS id, note($1) AS v', '[0,1000)', 'reload', window_column => 'id', step => '1', pipeline => 'keyless', force => true);
SELECT cmp_ok(growth(), '<', 40000::bigint, 'a thousand windows that are unchanged');
-- the target is looked at again in each window, and is another one in each
CREATE FUNCTION touch(i bigint) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('ALTER TABLE memory_laws.sink SET (fillfactor = %s)', 50 + i % 50);
    RETURN memory_laws.note(i);
END $$;
CALL idem_load_window('led', 'sink', 'SELECT $1 AS id, touch($1) AS v', '[0,1000)', 'reload', keys => '{id}', window_column => 'id', step => '1', pipeline => 'reload', force => true);
SELECT cmp_ok(growth(), '<', 40000::bigint, 'a thousand windows of a target that is touched');
CREATE TABLE ticks (i bigint);
CREATE FUNCTION tick(i bigint) RETURNS text LANGUAGE sql AS $$ INSERT INTO memory_laws.ticks VALUES (i); SELECT memory_laws.note(i) $$;
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.i % 2 = 0 THEN ALTER TABLE memory_laws.sink ALTER v SET NOT NULL; ELSE ALTER TABLE memory_laws.sink ALTER v DROP NOT NULL; END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER change AFTER INSERT ON ticks DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION change();
CALL idem_load_window('led', 'sink', 'SELECT $1 AS id, tick($1) AS v', '[0,1000)', 'reload', keys => '{id}', window_column => 'id', step => '1', pipeline => 'reload', force => true);
SELECT cmp_ok(growth(), '<', 40000::bigint, 'a thousand windows of a target that is another one each time');
-- elsewhere, for it ends with an error
CREATE FUNCTION fails(i bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT length(memory_laws.note(i)) / 0 $$;
\setenv PGDATABASE :DBNAME
\! psql -Xq -c "CALL idem_load_window('memory_laws.led', 'memory_laws.sink', 'SELECT memory_laws.fails(\$1) AS id, NULL AS v', '[0,1000)', 'upsert', keys => '{id}', step => '1', pipeline => 'fails', on_error => 'continue')" >/dev/null 2>&1
SELECT cmp_ok(growth(), '<', 40000::bigint, 'a thousand windows that fail');
SELECT is(count(*), 1000::bigint, 'and have failed') FROM led WHERE state = 'failed';

SELECT * FROM finish();
DROP SCHEMA memory_laws CASCADE;
