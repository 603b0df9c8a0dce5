-- timed.sql: runs :call into an empty target and notes its time
TRUNCATE bench.wtgt;
DELETE FROM bench.wled WHERE pipeline = 'bench';
DELETE FROM bench.wfull WHERE pipeline = 'bench';
VACUUM bench.wled; VACUUM bench.wfull;
SELECT clock_timestamp() AS started \gset
:call;
INSERT INTO bench.result SELECT :'job', :'variant', :round, 1000 * extract(epoch FROM clock_timestamp() - :'started'::timestamptz), 0 WHERE :round > 0;
