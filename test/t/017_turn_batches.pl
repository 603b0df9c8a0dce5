# Small windows are loaded together in scheduled turns and by the workers of a backfill too;
# a window that takes its worker down is still found, at the price of one crash more.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IdemTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'idem'
idem.databases = 'postgres'
idem.crash_delay = 200
idem.batch_time = '1s'
restart_after_crash = on
max_worker_processes = 16
});
$node->start;

sub sql { return $node->safe_psql('postgres', shift); }
sub await { return await_true($node, @_); }

# So many transactions have completed a pipeline's windows, which hold the rows that they should.
sub transactions
{
	my ($pipeline, $target, $windows) = @_;

	is(sql("SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || min(id) || ' ' || max(id) FROM $target"), "$windows $windows 0 @{[$windows - 1]}", "$pipeline: each row is there once");
	is(sql("SELECT count(*) FROM led WHERE pipeline = '$pipeline' AND state = 'complete' AND source_rows = 1 AND inserted_rows = 1"), $windows, 'each window has its row in the ledger');
	return sql("SELECT count(DISTINCT xmin::text) FROM led WHERE pipeline = '$pipeline'");
}

sql(q{
	CREATE EXTENSION idem CASCADE;
	SELECT idem_create_ledger('led', 'int8range');
	CREATE TABLE mark (w bigint); INSERT INTO mark VALUES (999);
	CREATE TABLE turned (id bigint PRIMARY KEY);
	CREATE TABLE filled (id bigint PRIMARY KEY);
	CREATE TABLE crashed (id bigint PRIMARY KEY);
	CREATE TABLE crashes (at timestamptz); CREATE UNLOGGED TABLE uptime (x int);
	SELECT idem_create_pipeline('turn', 'led', 'turned', 'SELECT $1 AS id', 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT w FROM mark', max_windows => 300);
});
await("SELECT count(*) = 1000 FROM led WHERE pipeline = 'turn' AND state = 'complete'", 'turns load a thousand windows');
cmp_ok(transactions('turn', 'turned', 1000), '<', 200, 'in fewer transactions');

sql(q{SELECT idem_create_pipeline('fill', 'led', 'filled', 'SELECT $1 AS id', 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT w FROM mark', enabled => false)});
sql("CALL idem_backfill('fill', '[0,1000)', workers => 2)");
cmp_ok(transactions('fill', 'filled', 1000), '<', 200, 'so does a backfill');
sql("SELECT idem_invalidate('led', 'fill', '[0,1000)')");
sql('TRUNCATE filled');
sql("CALL idem_backfill('fill', '[0,1000)', workers => 3, newest_first => true)");
is(transactions('fill', 'filled', 1000) < 300, 1, 'and one that begins with the newest');

# a function that says it is stable lies as well as any
sql(q{CREATE FUNCTION stop(lower bigint) RETURNS bool STABLE LANGUAGE plpgsql AS $$ BEGIN
		IF lower = 50 AND (SELECT count(*) FROM crashes) < 10 THEN PERFORM pg_sleep(600); END IF;
		RETURN true; END $$;
	SELECT idem_create_pipeline('crash', 'led', 'crashed', 'SELECT i AS id FROM generate_series($1, $2 - 1) i WHERE stop($1)', 'upsert', '{id}', step => '1', start => '0',
		watermark => 'SELECT w / 10 FROM mark', max_attempts => 3)});

# Takes the worker down that is at the window; returns how many were complete.
sub crash_worker
{
	my $what = shift;

	await("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idem worker' AND wait_event = 'PgSleep'", $what);
	my $complete = sql("SELECT count(*) FROM led WHERE pipeline = 'crash' AND state = 'complete'");
	sql('INSERT INTO uptime VALUES (1)');
	kill 'KILL', sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'idem worker' AND wait_event = 'PgSleep'");
	await('SELECT count(*) = 0 FROM uptime', 'the server restarts');
	return $complete;
}
my $before = crash_worker('a worker is lost at a window');
cmp_ok($before, '<', 50, 'with others before it that were loaded together');
is(crash_worker('it is tried again'), 50, 'one by one');
is(crash_worker('and again'), 50, 'by itself');
is(crash_worker('a third time'), 50, 'by itself');
await("SELECT count(*) = 1 FROM led WHERE pipeline = 'crash' AND window_range = '[50,51)' AND blocked AND error_code = '57P02'", 'then it is blocked');
await("SELECT count(*) = 99 FROM led WHERE pipeline = 'crash' AND state = 'complete'", 'and the others are loaded');
is(sql("SELECT count(*) = count(DISTINCT xmin::text) FROM led WHERE pipeline = 'crash' AND state = 'complete' AND lower(window_range) >= $before"), 't', 'each in its own transaction');
sql("INSERT INTO crashes SELECT now() FROM generate_series(1, 10); UPDATE idem_pipeline_state SET crashed_at = crashed_at - interval '1 hour' WHERE name = 'crash'; SELECT idem_retry('crash')");
await("SELECT count(*) = 100 FROM led WHERE pipeline = 'crash' AND state = 'complete'", 'it too, when it may');
is(sql('SELECT count(*) FROM crashed'), '100', 'nothing is missing');
sql("UPDATE mark SET w = 4999; UPDATE idem_pipeline_state SET next_run_at = now() WHERE name = 'crash'; SELECT idem_retry('crash')");
await("SELECT count(*) = 500 FROM led WHERE pipeline = 'crash' AND state = 'complete'", 'an hour later');
cmp_ok(sql("SELECT count(DISTINCT xmin::text) FROM led WHERE pipeline = 'crash' AND lower(window_range) >= 100"), '<', 100, 'windows are loaded together again');

$node->stop;
done_testing();
