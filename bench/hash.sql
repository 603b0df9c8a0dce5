-- hash.sql: the cost of an ID per row, over three keys (bigint, text, timestamptz), the scan included
CREATE TABLE bench.r AS
SELECT i::bigint AS a, md5(i::text) AS b, '2024-01-01'::timestamptz + i * interval '1 second' AS c, i % 7 AS other
FROM generate_series(1, :rows) i;
VACUUM ANALYZE bench.r;

CALL bench.measure('hash', '{scan,idem_hash,idem_uuid,md5,sha256}', ARRAY[
    'SELECT count(r) FROM bench.r',
    'SELECT count(idem_hash(r, ''{a,b,c}'')) FROM bench.r',
    'SELECT count(idem_uuid(r, ''{a,b,c}'')) FROM bench.r',
    'SELECT count(md5(coalesce(a::text, '''') || ''-'' || coalesce(b::text, '''') || ''-'' || coalesce(c::text, ''''))) FROM bench.r',
    'SELECT count(encode(sha256(convert_to(json_build_object(''a'', a, ''b'', b, ''c'', c)::text, ''UTF8'')), ''hex'')) FROM bench.r']);

\echo
\echo IDs over three keys (bigint, text, timestamptz), ns per row with the scan, median of five
WITH cost AS (SELECT n.variant AS v, percentile_cont(0.5) WITHIN GROUP (ORDER BY n.ms) * 1e6 / :rows AS ns, percentile_cont(0.5) WITHIN GROUP (ORDER BY h.ms / n.ms) AS ratio
    FROM bench.result n JOIN bench.result h USING (job, round) WHERE job = 'hash' AND h.variant = 'idem_hash' GROUP BY 1)
SELECT CASE v WHEN 'scan' THEN 'the scan alone, which forms a record' WHEN 'md5' THEN 'md5(a || ''-'' || b || ''-'' || c), with coalesces' WHEN 'sha256' THEN 'sha256(json_build_object(…)::text)' ELSE v END AS variant,
    ns::int AS ns_per_row, CASE WHEN v <> 'scan' THEN round(ratio::numeric, 2) END AS idem_hash_against_it, CASE v WHEN 'md5' THEN 0.25 WHEN 'sha256' THEN 0.15 END AS goal
FROM cost ORDER BY ns;
