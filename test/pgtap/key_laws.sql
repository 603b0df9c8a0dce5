-- Keys of any types, NULL or not: a load matches them as IS NOT DISTINCT FROM does, in a time that follows the rows.
-- Not in one transaction, for it makes too many tables.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS idem CASCADE;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE SCHEMA key_laws;
SET search_path = key_laws, public;
SELECT plan(59);

SELECT setseed(0.4);
SELECT idem_create_ledger('led', 'int8range');
CREATE TYPE mood AS ENUM ('sad', 'fair', 'glad');
CREATE TYPE pair AS (x int, y text);
CREATE DOMAIN word AS text;
CREATE DOMAIN moods AS mood;
CREATE DOMAIN numbers AS int[];
CREATE DOMAIN code AS char(3);
CREATE DOMAIN bits AS bit(3);

-- what must be in the target: the source's rows, and after an upsert those whose key it does not mention
CREATE FUNCTION expected(reload boolean, keys text[], compared text) RETURNS text LANGUAGE sql AS $$
    SELECT 'SELECT s::text FROM src s' || CASE WHEN reload THEN '' ELSE ' UNION ALL SELECT d::text FROM was d WHERE NOT EXISTS (SELECT FROM src s WHERE '
        || (SELECT string_agg(format('d.%1$I::%2$s IS NOT DISTINCT FROM s.%1$I::%2$s', k, compared), ' AND ') FROM unnest(keys) k) || ')' END $$;

-- Loads random rows with the keys a, b, c, of which those of an upper-case letter can be NULL, over other random rows; some
-- are the same, some differ, some are on one side alone.  Says what is wrong.
CREATE FUNCTION differs(nullable text, type text, vals text[], reload boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE keys text[] := string_to_array(lower(nullable), NULL); k text; missing bigint; surplus bigint; compared text := CASE type WHEN 'moods' THEN 'mood' ELSE type END;
BEGIN
    DROP TABLE IF EXISTS target, src, was;
    EXECUTE format('CREATE TABLE target (%s, w int NOT NULL, v text)', (SELECT string_agg(format('%s %s', x, type), ', ') FROM unnest(keys) x));
    FOREACH k IN ARRAY string_to_array(nullable, NULL) LOOP
        EXECUTE CASE WHEN k = lower(k) THEN format('ALTER TABLE target ALTER %s SET NOT NULL', k) ELSE 'SELECT 1' END;
    END LOOP;
    EXECUTE format('CREATE UNIQUE INDEX ON target (%s) NULLS NOT DISTINCT', array_to_string(keys, ', '));
    CREATE TABLE src (LIKE target);
    EXECUTE format('INSERT INTO src SELECT DISTINCT ON (%s) %s, (random() * 9)::int, (random() < 0.5)::text FROM generate_series(1, 40) i ORDER BY %1$s',
        array_to_string(keys, ', '), (SELECT string_agg(format('%s AS %s', CASE WHEN x = lower(x) THEN '' ELSE 'CASE WHEN random() < 0.6 THEN ' END
            || format('(%L::text[])[1 + floor(random() * %s)]::%s', vals, array_length(vals, 1), type) || CASE WHEN x = lower(x) THEN '' ELSE ' END' END, lower(x)), ', ')
            FROM unnest(string_to_array(nullable, NULL)) x));
    INSERT INTO target TABLE src;
    UPDATE target SET v = 'old' WHERE random() < 0.3;
    DELETE FROM src WHERE random() < 0.3;
    DELETE FROM target WHERE random() < 0.3;
    CREATE TABLE was AS TABLE target;
    PERFORM idem_load('led', 'target', 'src', '[0,10)', CASE WHEN reload THEN 'reload' ELSE 'upsert' END, keys => keys, window_column => 'w', force => true, pipeline => 'differs');
    EXECUTE format('SELECT count(*) FROM (%s EXCEPT ALL SELECT t::text FROM target t) x', expected(reload, keys, compared)) INTO missing;
    EXECUTE format('SELECT count(*) FROM (SELECT t::text FROM target t EXCEPT ALL (%s)) x', expected(reload, keys, compared)) INTO surplus;
    RETURN nullif(format('%s missing, %s surplus', missing, surplus), '0 missing, 0 surplus');
END $$;
CREATE FUNCTION all_differ(type text, vals text[]) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s %s: %s', n, reload, d), '; ')
    FROM unnest('{A,aB,Ab,AB,aBC,AbC}'::text[]) n, unnest('{t,f}'::boolean[]) reload, differs(n, type, vals, reload) d WHERE d IS NOT NULL $$;

SELECT format('SELECT is(all_differ(%L, %L), NULL, %1$L)', type, vals) FROM (VALUES
    ('smallint', '{0,1,-1}'), ('integer', '{0,1,2147483647}'), ('bigint', '{0,1,2}'), ('oid', '{0,1,4294967295}'), ('real', '{0,NaN,-Infinity,1}'), ('float8', '{0,NaN,Infinity,1e300}'),
    ('numeric', '{0,1,1.5,NaN}'), ('text', '{"",a,b}'), ('varchar(3)', '{"",a,b}'), ('char(3)', '{"",a,b}'), ('name', '{"",a,b}'), ('citext', '{"",a,B}'), ('bytea', '{"",a,b}'),
    ('boolean', '{t,f}'), ('uuid', '{00000000-0000-0000-0000-000000000000,10000000-0000-0000-0000-000000000000}'), ('date', '{1970-01-01,infinity,2024-01-01}'),
    ('timestamp', '{1970-01-01,infinity,2024-01-01}'), ('timestamptz', '{1970-01-01Z,infinity,2024-01-01Z}'), ('time', '{0:00,1:00,24:00}'), ('timetz', '{0:00Z,1:00Z,24:00Z}'),
    ('interval', '{0,1 day,1 month}'), ('mood', '{sad,fair,glad}'), ('moods', '{sad,fair,glad}'), ('word', '{"",a,b}'), ('code', '{"",aa,ab}'), ('bits', '{100,101,111}'), ('inet', '{0.0.0.0,10.0.0.1,::1}'), ('macaddr', '{00:00:00:00:00:00,08:00:2b:01:02:03}'),
    ('money', '{0,1,2}'), ('bit(2)', '{00,01,11}'), ('varbit', '{"",0,1}'), ('jsonb', '{"null","{}","[]",1}'), ('tsvector', '{"",a,b}'), ('"char"', '{"",a,b}'), ('pg_lsn', '{0/0,1/0}'),
    ('integer[]', '{"{}","{NULL}","{1,2}","{{1},{2}}","[0:1]={1,2}"}'), ('text[]', '{"{}","{NULL}","{a}"}'), ('mood[]', '{"{}","{sad}"}'), ('money[]', '{"{}","{1}"}'), ('numbers', '{"{}","{1}","{2}"}'),
    ('int4range', '{empty,"(,)","[1,2)"}'), ('numrange', '{empty,"(,)","[1,2)"}'), ('int4multirange', '{"{}","{(,)}"}'), ('pair', '{"(1,a)","(,a)","(1,)"}'), ('oidvector', '{"",1,"1 2"}'), ('xid8', '{0,1,2}')) x(type, vals) \gexec
SELECT is(all_differ('pair', '{"(,)","(1,a)"}'), NULL, 'a row of NULLs is not NULL');

-- a domain over an enum has no operators of its own
CREATE TABLE moody (id int PRIMARY KEY, w int, m moods, rev moods NOT NULL);
SELECT is((SELECT string_agg(r.updated_rows::text, ' ') FROM unnest('{sad,glad,fair}'::text[]) m, idem_load('led', 'moody',
    format('SELECT i AS id, i AS w, %1$L::moods AS m, %1$L::moods AS rev FROM generate_series($1, $2 - 1) i', m), '[0,3)', 'upsert', keys => '{id}', window_column => 'w', version_column => 'rev', force => true) r),
    '0 3 0', 'columns that are domains over an enum');

-- Rows of which one key has a single value, and others NULLs: compared each with each they would take minutes.
SET statement_timeout = '60s';
SET idem.source_digest = off;
CREATE FUNCTION load_many(nullable text, expression text, type text, reload boolean, analyzed boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE keys text[] := string_to_array(lower(nullable), NULL); last text := right(lower(nullable), 1); k text; result text;
BEGIN
    DROP TABLE IF EXISTS target, src;
    EXECUTE format('CREATE TABLE target (%s, w int NOT NULL, v int)', (SELECT string_agg(format('%s %s', x, CASE WHEN x = 'a' AND cardinality(keys) > 1 THEN 'int' ELSE type END), ', ') FROM unnest(keys) x));
    FOREACH k IN ARRAY string_to_array(nullable, NULL) LOOP
        EXECUTE CASE WHEN k = lower(k) THEN format('ALTER TABLE target ALTER %s SET NOT NULL', k) ELSE 'SELECT 1' END;
    END LOOP;
    CREATE TABLE src (LIKE target);
    EXECUTE format('INSERT INTO src SELECT %s, i, 0 FROM generate_series(1, 40000) i', (SELECT string_agg(CASE WHEN x = last THEN expression WHEN x = 'a' THEN '1' ELSE 'CASE WHEN i % 2 = 0 THEN ' || expression || ' END' END, ', ') FROM unnest(keys) x));
    EXECUTE CASE WHEN last = right(nullable, 1) THEN 'SELECT 1' ELSE format('UPDATE src SET %I = NULL WHERE w = 7', last) END;
    INSERT INTO target SELECT * FROM src WHERE w <= 39000;
    EXECUTE format('CREATE UNIQUE INDEX ON target (%s) NULLS NOT DISTINCT', array_to_string(keys, ', '));
    UPDATE target SET v = 1 WHERE w > 38000;
    DELETE FROM src WHERE w <= 1000;
    INSERT INTO src SELECT * FROM target WHERE w = 7;
    EXECUTE CASE WHEN analyzed THEN 'ANALYZE target' ELSE 'SELECT 1' END;
    SELECT format('%s %s %s %s', inserted_rows, updated_rows, deleted_rows, unchanged_rows) INTO result
    FROM idem_load('led', 'target', 'src', '[0,40001)', CASE WHEN reload THEN 'reload' ELSE 'upsert' END, keys => keys, window_column => 'w', pipeline => format('%s %s %s %s', nullable, type, reload, analyzed));
    RETURN result;
END $$;
SELECT format('SELECT is(load_many(%L, %L, %L, %L, %L), %L, %L)', nullable, expression, type, reload, analyzed, CASE WHEN reload THEN '1000 1000 999 37001' ELSE '1000 1000 0 37001' END,
    format('many rows, keys %s, %s, %s, %s', nullable, type, CASE WHEN reload THEN 'reload' ELSE 'upsert' END, CASE WHEN analyzed THEN 'analyzed' ELSE 'not analyzed' END))
FROM (VALUES ('aB', 'i', 'int', true, false), ('aB', 'i', 'int', false, true), ('aBC', 'i', 'int', true, true), ('aBC', 'i', 'int', false, false),
    ('aB', 'make_interval(secs => i)', 'interval', true, true), ('aB', 'make_interval(secs => i)', 'interval', false, false), ('A', 'make_interval(secs => i)', 'interval', false, true),
    ('aB', 'i::money', 'money', true, false), ('aB', 'i::money', 'money', false, true)) x(nullable, expression, type, reload, analyzed) \gexec

-- Few rows of many differ: no index is gone by in the order of its first key, which has one value.
CREATE TABLE many (a int NOT NULL, b int, v int);
INSERT INTO many SELECT 1, nullif(i, 7), 0 FROM generate_series(1, 2000000) i;
CREATE UNIQUE INDEX ON many (a, b) NULLS NOT DISTINCT;
ANALYZE many;
CREATE TABLE few AS SELECT * FROM many WHERE b <= 600 OR b IS NULL;
CREATE FUNCTION load_few(value int) RETURNS text LANGUAGE sql AS $$
    SELECT format('%s %s', inserted_rows, updated_rows) FROM idem_load('led', 'many', format('SELECT a, b, %s AS v FROM few', value), '[0,1)', 'upsert', keys => '{a,b}', pipeline => 'few', force => true) $$;
SET statement_timeout = '30s';
SELECT is(load_few(1), '0 600', 'few rows differ');
CREATE FUNCTION passes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER t BEFORE INSERT OR UPDATE ON many FOR EACH ROW EXECUTE FUNCTION passes();
SELECT is(load_few(2), '0 600', 'few rows differ, and are watched');

SELECT * FROM finish();
