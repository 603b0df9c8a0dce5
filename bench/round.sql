-- round.sql: one round of windows.sql; a CALL that commits must stand at top level
CHECKPOINT;
\set job windows
\set variant 'DELETE, INSERT, COMMIT by hand'
\set call :hand
\ir timed.sql
\set variant 'upsert'
\set call :upsert
\ir timed.sql
\set variant 'reload'
\set call :reload
\ir timed.sql
\set variant 'reload without keys'
\set call :nokeys
\ir timed.sql
\set variant 'upsert, 100,000 windows in the ledger'
\set call :full
\ir timed.sql
\set job again
\set variant 'few windows in the ledger'
\set call :again
\ir timed.sql
\set variant '100,000 windows in the ledger'
\set call :again_full
\ir timed.sql
