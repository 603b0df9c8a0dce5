-- clean.sql: dead letters among :rows rows of a first load, beside the same load without any
CREATE TABLE bench.csrc AS
SELECT i::bigint AS id, '2024-01-01'::timestamptz + i * interval '1 second' AS ts, 'customer ' || i % 1000 AS name, i % 100 AS n FROM generate_series(1, :rows) i;
CREATE TABLE bench.ctgt (id bigint PRIMARY KEY, ts timestamptz NOT NULL, name text NOT NULL, n int CHECK (n >= 0));
CREATE INDEX ON bench.ctgt (ts);
SELECT idem_create_ledger('bench.cled') \g /dev/null
SELECT idem_create_dead_letters('bench.cdead', 'bench.cled') \g /dev/null
VACUUM ANALYZE bench.csrc;
CREATE FUNCTION bench.dead(every bigint, letters boolean DEFAULT true) RETURNS text LANGUAGE sql AS $$
    SELECT format('SELECT count(*) FROM idem_load(''bench.cled'', ''bench.ctgt'', ''SELECT id, ts, name, CASE WHEN id %% %s = 0 THEN -1 ELSE n END AS n FROM bench.csrc'', ''[2024-01-01,2030-01-01)'', ''upsert'', keys => ''{id}'', window_column => ''ts'', pipeline => ''clean'', force => true %s)',
        every, CASE WHEN letters THEN ', dead_letters => ''bench.cdead'', max_dead => ''1%''' ELSE '' END) $$;
SELECT ARRAY[bench.dead(2 * :rows, false), bench.dead(2 * :rows), bench.dead(:rows / 2 + 1), bench.dead(greatest(:rows / 1000, 1))] AS loads \gset
CALL bench.measure('dead', '{no letters,0 bad,1 bad,1000 bad}', :'loads', 'TRUNCATE bench.ctgt, bench.cdead');
ALTER TABLE bench.ctgt DROP CONSTRAINT ctgt_n_check;
CREATE FUNCTION bench.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.n < 0 THEN RAISE check_violation; END IF; RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON bench.ctgt FOR EACH ROW EXECUTE FUNCTION bench.refuse();
CALL bench.measure('dead, trigger', '{no letters,0 bad,1 bad,1000 bad}', :'loads', 'TRUNCATE bench.ctgt, bench.cdead');

\echo
\echo Dead letters: a first load with bad rows, beside the same load without letters and without bad rows
SELECT j.job, v.variant, bench.median(j.job, v.variant)::int AS ms, bench.ratio(j.job, v.variant, '{no letters}') AS ratio, v.goals[j.n] AS goal
FROM (VALUES (1, 'dead'), (2, 'dead, trigger')) j (n, job),
    (VALUES (1, 'no letters', '{}'::text[]), (2, '0 bad', '{1.10,1.6}'), (3, '1 bad', '{1.15,1.6}'), (4, '1000 bad', '{1.20,1.6}')) v (n, variant, goals)
ORDER BY j.n, v.n;
