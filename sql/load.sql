-- Loading: both modes, every argument, what the ledger says afterwards
SET timezone = 'UTC'; SET datestyle = 'ISO, MDY';
CREATE SCHEMA loads; SET search_path = loads, public;

CREATE TABLE src (id int, ts timestamptz, v text, n numeric);
INSERT INTO src SELECT i, '2024-01-01'::timestamptz + i * interval '6 hours', 'v' || i, i / 4.0
FROM generate_series(0, 39) i;
CREATE TABLE tgt (id int PRIMARY KEY, ts timestamptz NOT NULL, v text, n numeric, loaded int DEFAULT 1);
SELECT idem_create_ledger('led');
CREATE VIEW runs AS SELECT run_id AS id, pipeline, lower(window_range)::date AS lo, upper(window_range)::date AS up,
    state, mode, method, attempt AS att, source_rows AS src, inserted_rows AS ins, updated_rows AS upd, deleted_rows AS del,
    unchanged_rows AS same, error_code AS err FROM led;
CREATE FUNCTION differences() RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FROM ((SELECT id, ts, v, n FROM src EXCEPT ALL SELECT id, ts, v, n FROM tgt)
        UNION ALL (SELECT id, ts, v, n FROM tgt EXCEPT ALL SELECT id, ts, v, n FROM src)) d $$;

-- a first load, the same again, a larger window
CALL idem_load_window('led', 'tgt', 'src', '[2024-01-01,2024-01-04)', 'upsert', keys => '{id}', window_column => 'ts');
CALL idem_load_window('led', 'tgt', 'src', '[2024-01-01,2024-01-04)', 'upsert', keys => '{id}', window_column => 'ts');
CALL idem_load_window('led', 'tgt', 'src', '[2023-12-30,2024-01-11)', 'upsert', keys => '{id}', window_column => 'ts', step => '3 days');
SELECT * FROM runs ORDER BY id;
SELECT differences();

-- force writes only what differs
UPDATE src SET v = 'new' WHERE id IN (3, 7); UPDATE src SET n = 2.500 WHERE id = 10; DELETE FROM src WHERE id = 4;
CALL idem_load_window('led', 'tgt', 'src', '[2024-01-01,2024-01-04)', 'upsert', keys => '{id}', window_column => 'ts', force => true);
SELECT differences(), (SELECT count(*) FROM tgt WHERE id = 4) AS stays, (SELECT n FROM tgt WHERE id = 10);
CALL idem_load_window('led', 'tgt', 'src', '[2024-01-01,2024-01-04)', 'reload', keys => '{id}', window_column => 'ts', force => true);
SELECT differences(), count(*) FROM tgt WHERE id = 4;
SELECT * FROM runs WHERE state <> 'superseded' ORDER BY id;

-- forcing a part of complete windows splits what is left of them
CALL idem_load_window('led', 'tgt', 'src', '[2024-01-05,2024-01-09)', 'reload', window_column => 'ts', force => true);
SELECT lo, up, l.state, l.method, src, details - '{superseded_at,superseded_by,time_zone}'::text[] AS details FROM runs JOIN led l ON run_id = id WHERE id > 8 ORDER BY id;
SELECT differences();

-- the function form, in the caller's transaction; the window as a range
BEGIN;
SELECT * FROM idem_load('led', 'tgt', 'SELECT * FROM src WHERE ts >= $1 AND ts < $2', tstzrange('2024-01-10', '2024-01-15'),
    'upsert', keys => '{id}', step => '2 days');
SELECT * FROM idem_load('led', 'tgt', 'SELECT * FROM src WHERE ts >= $1 AND ts < $2', '[2024-01-10,2024-01-15)',
    'upsert', keys => '{id}', step => '2 days');
ROLLBACK;
SELECT count(*) FROM led WHERE upper(window_range) > '2024-01-11';

-- CALL in a transaction block joins it; in DO it commits piece by piece
BEGIN;
CALL idem_load_window('led', 'tgt', 'src', '[2024-01-11,2024-01-12)', 'upsert', keys => '{id}', window_column => 'ts');
ROLLBACK;
SELECT count(*) FROM led WHERE upper(window_range) > '2024-01-11';
DO $$ BEGIN
    CALL idem_load_window('led', 'tgt', 'src', '[2024-01-11,2024-01-13)', 'upsert', keys => '{id}', window_column => 'ts', step => '1 day');
    ROLLBACK;
END $$;
DO $$ BEGIN
    BEGIN
        CALL idem_load_window('led', 'tgt', 'src', '[2024-01-13,2024-01-14)', 'upsert', keys => '{id}', window_column => 'ts');
        RAISE EXCEPTION 'taken back';
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
END $$;
SELECT lo, up, state FROM runs WHERE up > '2024-01-11' ORDER BY id;

-- an empty window, and one without source rows
CALL idem_load_window('led', 'tgt', 'src', 'empty', 'upsert', keys => '{id}', window_column => 'ts');
CALL idem_load_window('led', 'tgt', 'src', '[2025-01-01,2025-02-01)', 'reload', window_column => 'ts');
SELECT * FROM runs WHERE lo = '2025-01-01';

-- pipeline names keep windows apart
CALL idem_load_window('led', 'tgt', 'src', '[2024-01-01,2024-01-02)', 'upsert', keys => '{id}', window_column => 'ts', pipeline => 'Other "one"');
SELECT DISTINCT pipeline FROM led ORDER BY 1;

-- lookback reopens the end of what is complete
CREATE TABLE days (d date PRIMARY KEY, x int);
CREATE TABLE days_src (d date, x int);
INSERT INTO days_src SELECT '2024-01-01'::date + i, i FROM generate_series(0, 9) i;
SELECT idem_create_ledger('dled', 'daterange');
CALL idem_load_window('dled', 'days', 'days_src', '[2024-01-01,2024-01-08)', 'upsert', keys => '{d}', window_column => 'd', step => '1 day');
UPDATE days_src SET x = -x;
CALL idem_load_window('dled', 'days', 'days_src', '[2024-01-01,2024-01-11)', 'upsert', keys => '{d}', window_column => 'd', step => '1 day', lookback => '2 days');
SELECT window_range, state, method, updated_rows FROM dled ORDER BY run_id;
SELECT count(*) FILTER (WHERE x < 0) AS renewed, count(*) FROM days;
CALL idem_load_window('dled', 'days', 'days_src', '[2024-01-01,2024-01-11)', 'upsert', keys => '{d}', window_column => 'd', lookback => '1 year');

-- steps: months from the lower bound, days with their DST, offsets
CREATE TABLE hours (ts timestamptz PRIMARY KEY);
SELECT idem_create_ledger('mled');
CALL idem_load_window('mled', 'hours', 'SELECT $1 AS ts', '[2024-01-31,2024-06-15)', 'upsert', keys => '{ts}', step => '1 month', pipeline => 'months');
SELECT lower(window_range), upper(window_range) FROM mled ORDER BY 1;
SET timezone = 'Europe/Berlin';
CALL idem_load_window('mled', 'hours', 'SELECT $1 AS ts', '[2024-03-30,2024-04-02)', 'upsert', keys => '{ts}', step => '1 day', pipeline => 'dst');
SELECT lower(window_range), upper(window_range), upper(window_range) - lower(window_range) AS length FROM mled WHERE pipeline = 'dst' ORDER BY 1;
CALL idem_load_window('mled', 'hours', 'SELECT $1 AS ts', '[2024-10-27,2024-10-28)', 'upsert', keys => '{ts}', step => '5 hours', pipeline => 'dst hours');
SELECT lower(window_range), upper(window_range) - lower(window_range) AS length FROM mled WHERE pipeline = 'dst hours' ORDER BY 1;
SET timezone = 'UTC';
SELECT idem_create_ledger('oled', 'int8range');
CREATE TABLE nums (id bigint PRIMARY KEY);
CALL idem_load_window('oled', 'nums', 'SELECT generate_series($1, $2 - 1) AS id', '[10,35]', 'upsert', keys => '{id}', step => '10', window_column => 'id');
CALL idem_load_window('oled', 'nums', 'SELECT generate_series($1, $2 - 1) AS id', '[0,50)', 'upsert', keys => '{id}', step => '20', window_column => 'id');
SELECT window_range, state, source_rows FROM oled ORDER BY run_id;
SELECT count(*), min(id), max(id) FROM nums;
SELECT idem_create_ledger('tled', 'tsrange');
CREATE TABLE naive (ts timestamp, d date);
CALL idem_load_window('tled', 'naive', 'SELECT $1 + interval ''1 hour'' AS ts, $1::date AS d', '[2024-01-01,2024-01-03)', 'reload', window_column => 'ts', step => '1 day');
CALL idem_load_window('tled', 'naive', 'SELECT $1 + interval ''1 hour'' AS ts, $1::date AS d', '[2024-01-01,2024-01-03)', 'reload', window_column => 'd', step => '1 day', pipeline => 'by date');
SELECT * FROM naive ORDER BY 1;

-- audit: a row it returns takes the window back
CREATE TABLE audited (id int PRIMARY KEY, v int);
CALL idem_load_window('oled', 'audited', 'SELECT i::int AS id, i::int % 25 AS v FROM generate_series($1, $2 - 1) i', '[0,30)', 'upsert',
    keys => '{id}', step => '10', audit => 'SELECT id, ''odd'' AS why FROM audited WHERE id >= $1 AND id < $2 AND v = 3 AND id > 10');
SELECT count(*), max(id) FROM audited;
SELECT window_range, state, error_code, error_message, details->>'detail' AS detail FROM oled WHERE pipeline = 'loads.audited' ORDER BY run_id;

-- on_error => 'continue' goes on and fails at the end; attempts are counted
CALL idem_load_window('oled', 'nums', 'SELECT CASE WHEN i = 115 THEN i / 0 ELSE i END AS id FROM generate_series($1, $2 - 1) i',
    '[100,140)', 'upsert', keys => '{id}', step => '10', on_error => 'continue');
CALL idem_load_window('oled', 'nums', 'SELECT CASE WHEN i = 115 THEN i / 0 ELSE i END AS id FROM generate_series($1, $2 - 1) i',
    '[100,140)', 'upsert', keys => '{id}', step => '10');
CALL idem_load_window('oled', 'nums', 'SELECT i AS id FROM generate_series($1, $2 - 1) i',
    '[100,140)', 'upsert', keys => '{id}', step => '10');
SELECT window_range, state, attempt, error_code FROM oled WHERE pipeline = 'loads.nums' AND lower(window_range) >= 100 ORDER BY run_id;

-- a constraint that is checked at commit fails the window, and is recorded
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CALL idem_load_window('oled', 'child', 'SELECT $1::int AS id', '[1,2)', 'upsert', keys => '{id}');
INSERT INTO parent VALUES (1);
CALL idem_load_window('oled', 'child', 'SELECT $1::int AS id', '[1,2)', 'upsert', keys => '{id}');
SELECT window_range, state, attempt, error_code FROM oled WHERE pipeline = 'loads.child' ORDER BY run_id;

-- duplicates: with keys identical ones collapse, the highest version wins, others are an error
CREATE TABLE ver (k int PRIMARY KEY, rev int, v text);
CREATE TABLE ver_src (k int, rev int, v text);
INSERT INTO ver_src VALUES (1, 1, 'a'), (1, 1, 'a'), (2, 1, 'old'), (2, 3, 'new'), (2, NULL, 'none'), (2, 2, 'mid'), (3, NULL, 'x');
CALL idem_load_window('oled', 'ver', 'SELECT * FROM ver_src', '[0,1)', 'upsert', keys => '{k}', version_column => 'rev');
SELECT * FROM ver ORDER BY k;
SELECT source_rows, inserted_rows, details - 'time_zone' AS details FROM oled WHERE pipeline = 'loads.ver';
CALL idem_load_window('oled', 'ver', 'SELECT * FROM ver_src', '[1,2)', 'upsert', keys => '{k}');
INSERT INTO ver_src VALUES (2, 3, 'other');
CALL idem_load_window('oled', 'ver', 'SELECT * FROM ver_src', '[1,2)', 'upsert', keys => '{k}', version_column => 'rev');
-- an older version never replaces a newer one, an equal or unknown one is replaced
TRUNCATE ver_src;
INSERT INTO ver_src VALUES (1, 0, 'older'), (2, 3, 'same version'), (3, 1, 'now known'), (4, 1, 'first');
CALL idem_load_window('oled', 'ver', 'SELECT * FROM ver_src', '[2,3)', 'upsert', keys => '{k}', version_column => 'rev');
SELECT * FROM ver ORDER BY k;

-- whether keys arrive in order, in another from some row on, or in none: who is there twice is found; a bit string has no hash
CREATE TABLE turn (k int, g text, v text, UNIQUE NULLS NOT DISTINCT (k, g));
CREATE TABLE turn_bit (k int, g bit(4), v text, UNIQUE NULLS NOT DISTINCT (k, g));
CREATE FUNCTION turns(target regclass, source text) RETURNS TABLE (rows bigint, kept bigint, lost bigint, error text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'TRUNCATE ' || target;
    EXECUTE 'INSERT INTO ' || target || ' VALUES (-1)';
    SELECT source_rows, inserted_rows INTO rows, kept FROM idem_load('oled', target, source, '[0,1)', 'upsert', keys => '{k,g}', force => true);
    EXECUTE format('SELECT count(*) FROM (%s EXCEPT TABLE %s) m', source, target) INTO lost;
    RETURN NEXT;
EXCEPTION WHEN cardinality_violation THEN
    error := SQLERRM;
    RETURN NEXT;
END $$;
CREATE FUNCTION turn_source(type text, twice text, v text, o text) RETURNS text RETURN format('SELECT k, g, v FROM (SELECT nullif(k, 50) AS k,
    nullif(k & 3, 0)::bit(4)::%s AS g, %s::text AS v, n FROM generate_series(1, 100) k, generate_series(1, 1 + (k IN (%s))::int) n ORDER BY %s) s', type, v, twice, o);
SELECT target, o AS "order", t.rows, t.kept, t.lost, u.rows, u.kept, u.lost, e.error
FROM (VALUES ('turn', 'text'), ('turn_bit', 'bit(4)')) types(target, type),
    unnest('{k,k DESC,"n, k","k & 7, k","k > 90, k DESC","k = 1 DESC, k DESC","k = 50, k","2, k"}'::text[]) o,
    turns(target::regclass, turn_source(type, '0', '1', o)) t, turns(target::regclass, turn_source(type, '2,50,99', '1', o)) u,
    turns(target::regclass, turn_source(type, '99', 'n', o)) e
ORDER BY 1, 2;

-- reload without keys: identical rows collapse too, whatever their types
CREATE TABLE nokey (i int, j json, p point, n numeric);
CALL idem_load_window('oled', 'nokey', $$VALUES (1, '{"a": 1}'::json, '(1,2)'::point, 1.0)$$,
    '[0,10)', 'reload', window_column => 'i');
CALL idem_load_window('oled', 'nokey', $$SELECT 1 AS i, v.* FROM (VALUES ('{"a": 1}'::json, '(1,2)'::point, 1.0), ('{"a": 1}', '(1,2)', 1.0),
    ('{"a": 1}', '(1,2)', 1.00), ('{"a":1}', '(1,2)', 1.0)) v(j, p, n)$$,
    '[0,10)', 'reload', window_column => 'i');
SELECT * FROM nokey ORDER BY j::text, n::text;

-- NULL keys match each other
CREATE TABLE nk (a int, b text, v int, UNIQUE NULLS NOT DISTINCT (a, b));
CREATE TABLE nk_src (a int, b text, v int);
INSERT INTO nk_src VALUES (1, NULL, 1), (NULL, NULL, 2), (NULL, 'x', 3), (1, 'x', 4);
CALL idem_load_window('oled', 'nk', 'SELECT * FROM nk_src', '[0,1)', 'upsert', keys => '{a,b}');
UPDATE nk_src SET v = v + 10 WHERE a IS NULL;
CALL idem_load_window('oled', 'nk', 'SELECT * FROM nk_src', '[0,1)', 'upsert', keys => '{b,a}', force => true);
SELECT * FROM nk ORDER BY v;
SELECT method, inserted_rows, updated_rows, unchanged_rows FROM oled WHERE pipeline = 'loads.nk' ORDER BY run_id;
CREATE TABLE nk2 (a int NOT NULL, b text, v int, UNIQUE NULLS NOT DISTINCT (a, b));
DELETE FROM nk_src WHERE a IS NULL;
CALL idem_load_window('oled', 'nk2', 'SELECT * FROM nk_src', '[0,1)', 'upsert', keys => '{a,b}');
UPDATE nk_src SET v = v + 10 WHERE b IS NULL;
CALL idem_load_window('oled', 'nk2', 'SELECT * FROM nk_src', '[0,1)', 'upsert', keys => '{a,b}', force => true);
SELECT method, inserted_rows, updated_rows, unchanged_rows FROM oled WHERE pipeline = 'loads.nk2' ORDER BY run_id;

-- a key that moves from one window into another moves the row
CREATE TABLE mv (id int PRIMARY KEY, d int, v text);
CALL idem_load_window('oled', 'mv', $$SELECT 1 AS id, 5 AS d, 'a' AS v$$, '[0,10)', 'reload', keys => '{id}', window_column => 'd');
CALL idem_load_window('oled', 'mv', $$SELECT 1 AS id, 15 AS d, 'b' AS v$$, '[10,20)', 'reload', keys => '{id}', window_column => 'd');
SELECT * FROM mv;

-- the source: comments, a semicolon, unknown literals, casts that assignment makes, a CTE, a view, set operations
CREATE TABLE kinds (id bigint PRIMARY KEY, s varchar(5), d date, b boolean, f float8, j jsonb, c char(3));
CALL idem_load_window('oled', 'kinds', $$ -- a comment; with a semicolon
    SELECT 1::int AS id, 'abc' AS s, '2024-01-01' AS d, 'yes' AS b, 1 AS f, '{"a": 1}' AS j, 'x' AS c /* $3 */ ; $$, '[0,1)', 'upsert', keys => '{id}');
CALL idem_load_window('oled', 'kinds', 'WITH w AS (SELECT 2 AS id, NULL AS s) SELECT * FROM w UNION ALL SELECT 3, ''z''', '[1,2)', 'upsert', keys => '{id}', on_schema_change => 'ignore');
SELECT * FROM kinds ORDER BY id;
CALL idem_load_window('oled', 'kinds', $$SELECT 4 AS id, 'much too long'::text AS s$$, '[2,3)', 'upsert', keys => '{id}', on_schema_change => 'ignore');

-- deterministic IDs in a load: a table without a key gets one
CREATE TABLE strikes (id text PRIMARY KEY, airport text, d date);
CREATE TABLE strikes_src (airport text, d date);
INSERT INTO strikes_src VALUES ('A', '2024-01-01'), ('B', '2024-01-01'), ('A', '2024-01-01');
CALL idem_load_window('dled', 'strikes', 'SELECT idem_hash(s, ''{airport,d}'') AS id, s.* FROM strikes_src s WHERE d >= $1 AND d < $2',
    '[2024-01-01,2024-02-01)', 'upsert', keys => '{id}', window_column => 'd');
SELECT count(*) FROM strikes;

-- a source that loads another window of the same pipeline, and another pipeline: each is complete with it, or goes with it
CREATE TABLE inner_tgt (id int PRIMARY KEY, x int);
CALL idem_load_window('oled', 'kinds', $$SELECT 10 + r.source_rows AS id, left(r.method, 3) AS s FROM idem_load('oled', 'inner_tgt', 'SELECT 1 AS id, 1 AS x', '[0,1)', 'upsert', keys => '{id}') r
    UNION ALL SELECT 20 + r.source_rows, left(r.method, 3) FROM idem_load('oled', 'kinds', 'SELECT 30 AS id', '[4,5)', 'upsert', keys => '{id}', on_schema_change => 'ignore') r$$, '[3,4)', 'upsert', keys => '{id}', on_schema_change => 'ignore');
SELECT pipeline, window_range, state, source_rows FROM oled WHERE pipeline ~ 'inner' OR pipeline ~ 'kinds' AND window_range <> '[2,3)' ORDER BY run_id;
CALL idem_load_window('oled', 'kinds', $$SELECT 1 / 0 AS id FROM idem_load('oled', 'inner_tgt', 'SELECT 2 AS id, 1 AS x', '[1,2)', 'upsert', keys => '{id}') r$$, '[5,6)', 'upsert', keys => '{id}', on_schema_change => 'ignore');
SELECT idem_gaps('oled', 'loads.inner_tgt', '[0,3)'), (SELECT count(*) FROM inner_tgt), (SELECT id FROM kinds WHERE id = 30);
