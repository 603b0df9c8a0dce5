-- dedupe.sql: duplicates removed from :rows rows, 5 % of them surplus, by idem_dedupe and by one DELETE with row_number
\set surplus :rows / 20
CREATE TABLE bench.cfresh AS SELECT i::bigint AS id, 'code ' || i % (:rows - :surplus) AS code, '2024-01-01'::timestamptz + i % (:rows - :surplus) * interval '1 second' AS ts, md5((i % (:rows - :surplus))::text) AS filler
FROM generate_series(0, :rows - 1) i;
CREATE TABLE bench.chand (LIKE bench.cfresh);
CREATE TABLE bench.cidem (LIKE bench.cfresh);
INSERT INTO bench.chand TABLE bench.cfresh ORDER BY md5(id::text);
INSERT INTO bench.cidem TABLE bench.chand;
DROP TABLE bench.cfresh;
CREATE TABLE bench.cprobe (id bigint PRIMARY KEY);
ALTER TABLE bench.chand ADD PRIMARY KEY (id);
ALTER TABLE bench.cidem ADD PRIMARY KEY (id);
CREATE INDEX ON bench.cidem (ts);
CREATE INDEX ON bench.chand (ts);
VACUUM ANALYZE bench.chand, bench.cidem;
CREATE TABLE bench.cbefore AS SELECT idem_digest(c) AS digest, count(*) AS rows FROM bench.cidem c;
CHECKPOINT;
