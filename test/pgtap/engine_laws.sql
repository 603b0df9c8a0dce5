-- Rows written where they lie come out as by statements: random tables, rows and changes, each loaded both ways.
-- Not in one transaction, for what others and earlier transactions have left is part of it.  \set rounds for more.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS idem CASCADE;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE EXTENSION IF NOT EXISTS amcheck;
CREATE SCHEMA engine_laws;
SET search_path = engine_laws, public;
\if :{?rounds}
\else
    \set rounds 60
\endif
\if :{?seed}
\else
    \set seed 0.7
\endif
SELECT plan(6);

SELECT setseed(:seed);
SELECT idem_create_ledger('led', 'int8range');
CREATE TABLE verdict (round int, step int, mode text, method text, definition text, wrong text, fast text);

CREATE FUNCTION one_of(VARIADIC choices text[]) RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT choices[1 + floor(random() * array_length(choices, 1))] $$;
CREATE FUNCTION maybe(chance float8, choice text) RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT CASE WHEN random() < chance THEN choice ELSE '' END $$;

-- a value of a type for a number: equal numbers make equal values, which need not look the same
CREATE FUNCTION key_value(type text, i int) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT CASE type WHEN 'uuid' THEN md5(i::text) WHEN 'date' THEN ('2000-01-01'::date + i)::text WHEN 'timestamptz' THEN ('2000-01-01Z'::timestamptz + i * interval '1 hour')::text
        WHEN 'numeric' THEN i || one_of('', '.0', '.00') WHEN 'citext' THEN one_of('k', 'K') || i WHEN 'text' THEN 'k' || i WHEN 'bytea' THEN 'k' || i WHEN 'int[]' THEN '{' || i || ',7}'
        WHEN 'interval' THEN (i / 24) * one_of('1', '1') ::int || ' days ' || (i % 24) || ' hours' WHEN 'boolean' THEN (i % 2 = 0)::text ELSE i::text END $$;

-- a random definition of a table; %1$s is its name
CREATE FUNCTION definition(a text, b text, nullable boolean, keyed boolean) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT format('CREATE TABLE %%1$s (%s a %s%s, b %s%s, w int NOT NULL, u int, n numeric, t text, j json%s%s%s) WITH (fillfactor = %s);',
            maybe(0.3, 'gone_1 int,'), a, maybe(CASE WHEN nullable THEN 0 ELSE 1 END, ' NOT NULL'), b, maybe(CASE WHEN nullable THEN 0 ELSE 1 END, ' NOT NULL'),
            maybe(0.4, ', g int GENERATED ALWAYS AS (u * 2) STORED'), maybe(0.3, ', CHECK (u <> 13)'), maybe(0.3, ', d int DEFAULT 5'), one_of('100', '70', '30'))
        || format(CASE WHEN keyed THEN 'CREATE UNIQUE INDEX ON %%1$s (a, b) %1$s;' ELSE '' END || 'CREATE INDEX ON %%1$s USING %2$s (w);', maybe(CASE WHEN nullable THEN 1 ELSE 0.5 END, 'NULLS NOT DISTINCT'), one_of('btree', 'btree', 'brin'))
        || maybe(0.3, 'CREATE UNIQUE INDEX ON %1$s (u);') || maybe(0.3, 'CREATE INDEX ON %1$s (n);') || maybe(0.3, 'CREATE INDEX ON %1$s (lower(left(t, 20)));')
        || maybe(0.2, 'CREATE INDEX ON %1$s USING hash (t);') || maybe(0.2, 'CREATE INDEX ON %1$s USING gin (to_tsvector(''simple''::regconfig, left(t, 100)));')
        || maybe(0.2, 'CREATE INDEX ON %1$s (u) WHERE n > 10;') || maybe(0.2, 'ALTER TABLE %1$s ALTER t SET STORAGE external;')
        || maybe(0.2, 'CREATE INDEX ON %1$s USING brin (n);') || maybe(1, 'ALTER TABLE %1$s DROP COLUMN IF EXISTS gone_1;') $$;

-- changes the source at random: one row in so many, in some of its columns; some rows go, come, move
CREATE PROCEDURE change_source(a text, b text, nullable boolean, share float8) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE src SET n = round((random() * 20)::numeric, (random() * 2)::int) WHERE random() < share;
    IF random() < 0.6 THEN UPDATE src SET t = repeat(md5(random()::text), one_of('1', '1', '5', '200')::int) WHERE random() < share; END IF;
    IF random() < 0.4 THEN UPDATE src SET t = NULL, j = (random() > 0.5)::text::json WHERE random() < share; END IF;
    IF random() < 0.4 THEN UPDATE src SET u = nextval('us') WHERE random() < share; END IF;
    IF random() < 0.3 THEN UPDATE src SET w = (random() * 99)::int WHERE random() < share; END IF;
    IF random() < 0.5 THEN DELETE FROM src WHERE random() < share / 2; END IF;
    IF random() < 0.1 THEN UPDATE src SET u = 13 WHERE i = (SELECT min(i) FROM src); END IF;
    EXECUTE format('INSERT INTO src SELECT i, %s key_value(%L, i / 3)::%s, %s key_value(%L, i)::%s, (random() * 99)::int, nextval(''us''), i, ''born '' || i, ''{}''
        FROM (SELECT (SELECT max(i) FROM src) + g AS i FROM generate_series(1, (random() * 30)::int) g) x',
        CASE WHEN nullable THEN 'CASE WHEN i % 10 > 0 THEN' ELSE '' END, a, a || CASE WHEN nullable THEN ' END' ELSE '' END, '', b, b);
END $$;

-- loads one of the two tables, and says how it went; without keys the statements replace all
CREATE FUNCTION load_one(target text, source text, mode text, keys text[], version text, by_statements boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    said text;
BEGIN
    PERFORM set_config('idem.force_statements', by_statements::text, true), set_config('work_mem', one_of('64kB', '4MB'), true);
    SELECT format('%s: source %s, inserted %s, updated %s, deleted %s, unchanged %s', l.method, l.source_rows, l.inserted_rows, l.updated_rows, l.deleted_rows, l.unchanged_rows)
    INTO said FROM idem_load('led', target, source, '[0,100)', mode, keys => keys, window_column => 'w', version_column => version, force => true) l;
    RETURN said;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;

-- what differs between the two, and what is wrong with the indexes of the first
CREATE FUNCTION compare() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    here bigint;
    there bigint;
    index regclass;
BEGIN
    SELECT count(*) INTO here FROM (SELECT f::text FROM fast f EXCEPT ALL SELECT s::text FROM slow s) x;
    SELECT count(*) INTO there FROM (SELECT s::text FROM slow s EXCEPT ALL SELECT f::text FROM fast f) x;
    FOR index IN SELECT indexrelid FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = 'fast'::regclass AND relam = (SELECT oid FROM pg_am WHERE amname = 'btree') LOOP
        PERFORM bt_index_check(index, true);
    END LOOP;
    RETURN CASE WHEN here + there > 0 THEN format('%s rows here, %s there', here, there) END;
EXCEPTION WHEN index_corrupted OR data_corrupted THEN
    RETURN SQLERRM;
END $$;

CREATE PROCEDURE play(rounds int) LANGUAGE plpgsql AS $$
DECLARE
    keys text[]; a text; b text; nullable boolean; made text; mode text; source text; version text; fast text; slow text; share float8;
BEGIN
    FOR round IN 1..rounds LOOP
        a := one_of('int', 'bigint', 'text', 'uuid', 'numeric', 'citext', 'date', 'timestamptz', 'bytea', 'int[]', 'boolean');
        b := one_of('int', 'bigint', 'text', 'uuid', 'numeric', 'date', 'interval');
        nullable := random() < 0.4;
        keys := CASE WHEN random() < 0.8 THEN '{a,b}'::text[] END;
        made := definition(a, b, nullable, keys IS NOT NULL);
        mode := CASE WHEN keys IS NULL THEN 'reload' ELSE one_of('upsert', 'reload') END;
        version := CASE WHEN mode = 'upsert' AND random() < 0.3 THEN 'n' END;
        source := format('SELECT a, b, w, %s n, t, j FROM src%s WHERE w >= $1 AND w < $2 ORDER BY %s', maybe(0.8, 'u,'), CASE WHEN keys IS NULL THEN ', generate_series(1, 1 + i % 3)' END, one_of('i', 'i', 'i DESC', 'md5(i::text)', 'w', 'a, b'));
        DROP TABLE IF EXISTS fast, slow, src;
        DROP SEQUENCE IF EXISTS us;
        CREATE SEQUENCE us START 100;
        EXECUTE format(made, 'fast') || format(made, 'slow');
        EXECUTE format('CREATE TABLE src (i int, a %s, b %s, w int, u int, n numeric, t text, j json)', a, b);
        INSERT INTO src (i) VALUES (0);
        COMMIT;
        FOR step IN 1..6 LOOP
            share := one_of('0', '0.01', '0.1', '0.5', '1')::float8;
            FOR i IN 1..CASE WHEN step = 1 THEN 20 ELSE 1 END LOOP
                CALL change_source(a, b, nullable, share);
            END LOOP;
            DELETE FROM src WHERE w IS NULL;
            COMMIT;
            slow := load_one('slow', source, mode, keys, version, true);
            COMMIT;
            fast := load_one('fast', source, mode, keys, version, false);
            INSERT INTO verdict VALUES (round, step, mode, a || ' ' || b || ': ' || made, source,
                concat_ws('; ', compare(), CASE WHEN (keys IS NOT NULL OR fast !~ ':') AND fast IS DISTINCT FROM slow THEN format('by statements %s', slow) END), fast);
            COMMIT;
            EXECUTE one_of('SELECT 1', 'SELECT 1', 'DELETE FROM fast WHERE w % 10 = 3; DELETE FROM slow WHERE w % 10 = 3');
            COMMIT;
        END LOOP;
    END LOOP;
END $$;
CALL play(:rounds);

SELECT is((SELECT string_agg(format('round %s, step %s, %s of %s by %s: %s; %s', round, step, mode, method, definition, wrong, fast), E'\n' ORDER BY round, step) FROM verdict WHERE wrong <> ''),
    NULL, 'rows, counts and errors are the same, and the indexes sound');
SELECT cmp_ok((SELECT count(*) FROM verdict WHERE fast LIKE format('%%%s%%', what)), '>', 0::bigint, 'there were ' || what) FROM unnest('{difference,unchanged,insert}'::text[]) what;
SELECT cmp_ok((SELECT count(*) FROM verdict WHERE fast ~ '^difference.* updated [1-9].* deleted [1-9]'), '>', 0::bigint, 'rows were updated and deleted at once');
SELECT cmp_ok((SELECT count(*) FROM verdict WHERE fast !~ ':'), '>', 0::bigint, 'there were errors');
SELECT * FROM finish();
