# A turn does not read again what is known to be complete, and yet nothing is skipped:
# whatever makes a window far behind a gap, it is loaded.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IdemTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'idem'
idem.databases = 'postgres'
idem.crash_delay = 200
restart_after_crash = on
max_worker_processes = 16
max_prepared_transactions = 4
});
$node->start;

sub sql { return $node->safe_psql('postgres', shift); }
sub await { return await_true($node, @_); }

# What is known of the pipeline.
my $known = "(SELECT coalesce(frontier, 'nothing') FROM idem_pipeline_state WHERE name = 'p')";

# So many rows come, up to the watermark, and are loaded in a turn that ends.
my $rows = 0;
sub turn
{
	my $what = shift;

	sql("INSERT INTO src SELECT i, 'v' FROM generate_series($rows, $rows + 9) i; UPDATE mark SET w = $rows + 9");
	$rows += 10;
	return await("SELECT (SELECT count(*) = 1 FROM led WHERE pipeline = 'p' AND window_range = '[@{[$rows - 10]},$rows)' AND state = 'complete')
		AND (SELECT turn_started_at IS NULL FROM idem_pipeline_state WHERE name = 'p')", $what);
}

# Turns, until one that has read everything says how far all is complete.
sub know
{
	turn('a turn') until $rows > 0 && sql("SELECT $known = '$rows'") eq 't';
	return;
}

# A row of a window far behind is lost, without anybody's knowledge.
sub lose { return sql("DELETE FROM tgt WHERE id = 7"); }
my $loaded = "SELECT count(*) = 1 FROM tgt WHERE id = 7";

sql(q{
	CREATE EXTENSION idem CASCADE;
	CREATE ROLE etl LOGIN; CREATE ROLE late LOGIN; CREATE ROLE stranger LOGIN;
	GRANT CREATE, USAGE ON SCHEMA public TO etl, stranger;
	GRANT EXECUTE ON FUNCTION idem_enable_pipeline(text) TO etl;
	SET ROLE etl;
	CREATE TABLE src (id bigint, v text);
	CREATE TABLE tgt (id bigint PRIMARY KEY, v text);
	CREATE TABLE mark (w bigint); INSERT INTO mark VALUES (-1);
	SELECT idem_create_ledger('led', 'int8range');
	GRANT SELECT, INSERT, UPDATE ON led TO late;
	SELECT idem_create_pipeline('p', 'led', 'tgt', 'src', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT w FROM mark',
		check_every => '1 second', retry_base => '0.2 seconds', retry_max => '0.2 seconds', max_attempts => 100);
});
sql('GRANT USAGE ON SEQUENCE ' . sql("SELECT pg_get_serial_sequence('led', 'run_id')") . ' TO late') if sql("SELECT pg_get_serial_sequence('led', 'run_id') IS NOT NULL") eq 't';
turn('a window') foreach 1 .. 5;
is(sql("SELECT $known"), $rows, 'it is known up to where all is complete');
my $read_at = sql("SELECT frontier_at FROM idem_pipeline_state WHERE name = 'p'");
turn('a turn');
is(sql("SELECT $known || ' ' || (frontier_at = '$read_at') FROM idem_pipeline_state WHERE name = 'p'"), "$rows true", 'a turn does not read everything, and moves on');

# what others do to the ledger
lose();
sql("SELECT idem_invalidate('led', 'p', '[0,10)')");
await($loaded, 'a window far behind that is invalidated is loaded at the next turn');
know();
lose();
$node->safe_psql('postgres', "SELECT idem_invalidate('led', 'p', '[0,10)')", extra_params => [ '-U', 'late' ]);
await($loaded, 'also if who invalidates it does not own the pipeline');
know();
my $held = $node->background_psql('postgres');
$held->query_safe("BEGIN; SELECT idem_invalidate('led', 'p', '[0,10)')");
lose();
turn('a turn, while somebody invalidates') foreach 1 .. 2;
is(sql("SELECT $known"), $rows, 'which is not known before he commits');
$held->query_safe('COMMIT');
$held->quit;
await($loaded, 'but then');
know();
sql("BEGIN; DELETE FROM tgt WHERE id = 7; SELECT idem_invalidate('led', 'p', '[0,10)'); PREPARE TRANSACTION 'late'");
turn('a turn, while somebody has prepared to');
sql("COMMIT PREPARED 'late'");
turn('a turn, which nobody has woken');
await($loaded, 'loads it too');

# somebody invalidates while a turn reads what is complete: what it has read is not kept
know();
like(sql(q{SET ROLE etl; CREATE FUNCTION held(bigint) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(9); RETURN true; END $$;
	BEGIN; SELECT idem_alter_pipeline('p', source => 'SELECT * FROM src WHERE id >= $1 AND id < $2 AND held($1)'); RESET ROLE; SELECT } . "$known; COMMIT"),
	qr/nothing/, 'who alters a pipeline has everything read');
know();
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(9)');
sql("INSERT INTO src VALUES ($rows, 'v'); UPDATE mark SET w = $rows + 9");
$rows += 10;
await("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 'a turn is in its window');
lose();
sql("SELECT idem_invalidate('led', 'p', '[0,10)')");
await("SELECT count(*) = 0 FROM idem_wakeup", 'the scheduler knows');
is(sql("SELECT $known"), 'nothing', 'and has forgotten what was known');
$gate->query_safe('SELECT pg_advisory_unlock(9)');
await($loaded, 'the window is loaded when the turn has ended');

# a window that fails stays a gap, and is tried again
know();
sql("DELETE FROM tgt WHERE id = 7; UPDATE src SET v = 'bad' WHERE id = 7; ALTER TABLE tgt ADD CONSTRAINT good CHECK (v <> 'bad') NOT VALID; SELECT idem_invalidate('led', 'p', '[0,10)')");
await("SELECT failed_windows = 1 FROM idem_pipeline_state WHERE name = 'p'", 'it fails');
turn('a turn') foreach 1 .. 2;
is(sql("SELECT $known"), '0', 'nothing is known beyond a window that has failed');
sql("UPDATE src SET v = 'v' WHERE id = 7");
await($loaded, 'it is loaded when it can be');

# lookback reaches behind the frontier, as far as ever
know();
sql("SELECT idem_alter_pipeline('p', lookback => '25')");
turn('a turn') foreach 1 .. 4;
know();
sql("UPDATE tgt SET v = 'old' WHERE id >= $rows - 30");
turn('a turn with lookback');
is(sql("SELECT count(*) || ' ' || max(id) - $rows FROM tgt WHERE v = 'old'"), '5 -36', 'lookback redoes what it always did');
sql("UPDATE tgt SET v = 'v'; SELECT idem_alter_pipeline('p', lookback => '')");

# the owner of the ledger edits it: within an hour
know();
sql("DELETE FROM tgt WHERE id = 7; DELETE FROM led WHERE pipeline = 'p' AND window_range = '[0,10)' AND state = 'complete'");
turn('a turn');
is(sql($loaded), 'f', 'what the owner of a ledger deletes far behind is not noticed at once');
sql("UPDATE idem_pipeline_state SET frontier_at = frontier_at - interval '59 minutes' WHERE name = 'p'");
turn('a turn');
is(sql($loaded), 'f', 'nor for most of an hour');
sql("UPDATE idem_pipeline_state SET frontier_at = frontier_at - interval '1 minute' WHERE name = 'p'");
await($loaded, 'but after it');
know();
sql("DELETE FROM tgt WHERE id = 7; DELETE FROM led WHERE pipeline = 'p' AND window_range = '[0,10)' AND state = 'complete'");
sql("CALL idem_run_pipeline('p')");
is(sql($loaded), 't', 'a run by hand reads everything');
sql("DELETE FROM tgt WHERE id = 7; DELETE FROM led WHERE pipeline = 'p' AND window_range = '[0,10)' AND state = 'complete'; SELECT idem_retry('p')");
await($loaded, 'so does the turn after idem_retry');
know();
sql("DELETE FROM tgt WHERE id = 7; DELETE FROM led WHERE pipeline = 'p' AND window_range = '[0,10)' AND state = 'complete';
	UPDATE idem_pipeline_state SET frontier_at = frontier_at + interval '1 day' WHERE name = 'p'");
await($loaded, 'and one whose clock has been set back');
know();
sql("UPDATE idem_pipeline_state SET frontier = 'nonsense' WHERE name = 'p'");
know();
is(sql("SELECT last_error FROM idem_status WHERE pipeline = 'p'"), '', 'a frontier that cannot be read is dropped');

# disabled
know();
lose();
sql("SELECT idem_disable_pipeline('p'), idem_invalidate('led', 'p', '[0,10)')");
await('SELECT count(*) = 0 FROM idem_wakeup', 'the scheduler takes notice');
is(sql("SELECT next_run_at FROM idem_pipeline_state WHERE name = 'p'"), '', 'of a disabled pipeline too, which is not due');
sql("SELECT idem_enable_pipeline('p')");
await($loaded, 'it is loaded when it is enabled');

# a stranger's ledger does not wake it, whatever he calls his pipeline
know();
$read_at = sql("SELECT resets FROM idem_pipeline_state WHERE name = 'p'");
$node->safe_psql('postgres', q{SELECT idem_create_ledger('own', 'int8range');
	INSERT INTO own (pipeline, window_range, state) VALUES ('p', '[0,10)', 'complete'); SELECT idem_invalidate('own', 'p', '[0,10)')},
	extra_params => [ '-U', 'stranger' ]);
is(sql("SELECT resets || ' ' || (SELECT count(*) FROM idem_wakeup) FROM idem_pipeline_state WHERE name = 'p'"), "$read_at 0", 'a ledger of somebody else does not make a pipeline due');

# a crash
know();
lose();
sql("UPDATE idem_pipeline_state SET next_run_at = now() + interval '1 hour' WHERE name = 'p'; SELECT idem_invalidate('led', 'p', '[0,10)')");
$node->stop('immediate');
$node->start;
await($loaded, 'after a crash');
know();

# an unlogged ledger is empty after one
sql(q{SET ROLE etl; CREATE TABLE u_tgt (id bigint PRIMARY KEY, v text); SELECT idem_create_ledger('u_led', 'int8range'); ALTER TABLE u_led SET UNLOGGED;
	SELECT idem_create_pipeline('u', 'u_led', 'u_tgt', 'src', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT w FROM mark', check_every => '1 second')});
await("SELECT turn_started_at IS NULL AND frontier IS NOT NULL FROM idem_pipeline_state WHERE name = 'u'", 'an unlogged ledger');
sql("DELETE FROM u_tgt WHERE id = 7");
$node->stop('immediate');
$node->start;
await("SELECT count(*) = 1 FROM u_tgt WHERE id = 7", 'is not believed in after a crash');
sql("SELECT idem_drop_pipeline('u')");

# a standby
know();
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "restart_after_crash = on");
$standby->start;
lose();
sql("UPDATE idem_pipeline_state SET next_run_at = now() + interval '1 hour' WHERE name = 'p'; BEGIN; SELECT idem_invalidate('led', 'p', '[0,10)'); COMMIT");
$node->wait_for_catchup($standby);
$node->stop('immediate');
$standby->promote;
await_true($standby, $loaded, 'a standby that is promoted loads it');
$standby->stop;

done_testing();
