# The scheduler: pipelines load themselves, again after failures, as their owners, and
# come back whatever is killed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IdemTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'idem'
idem.databases = 'postgres'
idem.crash_delay = 200
restart_after_crash = on
max_worker_processes = 16
log_min_messages = log
});
$node->start;

sub sql { return $node->safe_psql('postgres', shift); }

sub await { return await_true($node, @_); }

sub scheduler_pid
{
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'idem scheduler' AND datname = current_database()");
}

sub worker_pid
{
	return sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'idem worker'");
}

# an extension that is created later is noticed when it is used
await("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idem scheduler'", 'the launcher starts a scheduler');
sql(q{
	CREATE EXTENSION idem CASCADE;
	CREATE ROLE etl LOGIN; CREATE ROLE sleeper NOLOGIN;
	GRANT CREATE, USAGE ON SCHEMA public TO etl, sleeper;
	GRANT EXECUTE ON FUNCTION idem_enable_pipeline(text) TO etl, sleeper;
	SET ROLE etl;
	CREATE TABLE src (id bigint, v text);
	INSERT INTO src SELECT i, 'v' || i FROM generate_series(0, 99) i;
	CREATE TABLE tgt (id bigint PRIMARY KEY, v text CHECK (v <> 'bad'));
	CREATE TABLE mark (w bigint); INSERT INTO mark VALUES (99);
	SELECT idem_create_ledger('led', 'int8range');
	SELECT idem_create_pipeline('p', 'led', 'tgt', 'src', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT w FROM mark',
		check_every => '1 second', retry_base => '0.2 seconds', retry_max => '1 second', max_attempts => 3, notify => true);
});
await("SELECT count(*) = 100 FROM tgt", 'a pipeline that is created is run at once');
is(sql("SELECT DISTINCT run_by FROM led"), 'etl', 'by its owner');
sql("INSERT INTO src SELECT i, 'v' || i FROM generate_series(100, 149) i; UPDATE mark SET w = 149");
await("SELECT count(*) = 150 FROM tgt", 'new windows are loaded as they close');
sql("UPDATE src SET v = 'late' WHERE id = 7; SELECT idem_invalidate('led', 'p', '[0,10)')");
await("SELECT v = 'late' FROM tgt WHERE id = 7", 'an invalidated window is loaded again at once');

my $writer = $node->background_psql('postgres');
$writer->query_safe("BEGIN; SELECT idem_invalidate('led', 'p', '[10,20)'); UPDATE src SET v = 'later' WHERE id = 17");
my $invalidated = sql('SELECT clock_timestamp()');
await("SELECT last_run_at > '$invalidated' FROM idem_pipeline_state WHERE name = 'p'", "turn $_: who invalidates in a long transaction does not keep the pipeline from its turns") and $invalidated = sql('SELECT clock_timestamp()') foreach 1 .. 2;
$writer->query_safe('COMMIT');
$writer->quit;
await("SELECT v = 'later' FROM tgt WHERE id = 17", 'and his window is loaded again when he commits');

# failures: backoff, then blocked; the others go on
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN idem');
sql("INSERT INTO src SELECT i, CASE i WHEN 155 THEN 'bad' ELSE 'v' || i END FROM generate_series(150, 179) i; UPDATE mark SET w = 179");
await("SELECT blocked_windows = 1 AND failed_windows = 1 FROM idem_status WHERE pipeline = 'p'", 'a window that fails again and again is blocked');
is(sql("SELECT count(*) FROM led WHERE state = 'failed'"), '3', 'after so many attempts');
is(sql("SELECT idem_gaps('led', 'p', '[0,180)')"), '{[150,160)}', 'the others are loaded');
like(sql("SELECT last_error FROM idem_status WHERE pipeline = 'p'"), qr/violates check constraint/, 'the status says why');
my $gaps = sql(q{SELECT array_agg(extract(epoch FROM finished_at - before) > 0.1) FROM
	(SELECT finished_at, lag(finished_at) OVER (ORDER BY run_id) AS before FROM led WHERE state = 'failed') f WHERE before IS NOT NULL});
is($gaps, '{t,t}', 'each attempt waits');
sleep 1;
is(sql("SELECT count(*) FROM led WHERE state = 'failed'"), '3', 'a blocked window is left alone');
sql("UPDATE src SET v = 'good' WHERE id = 155; SELECT idem_retry('p', '[150,160)')");
await("SELECT count(*) = 180 FROM tgt", 'until somebody says to retry');
my $notes = $listener->query('SELECT 1');
like($notes, qr/"event": "failed".*"event": "blocked".*"event": "complete"/s, 'NOTIFY tells of failed, blocked and complete windows') or diag($notes);
my @failed = $notes =~ /"event": "(?:failed|blocked)", "pipeline": "p", "window": "\[150,160\)", "run_id": (\d+), "error_code": "23514"\}/g;
is(join(',', @failed), sql("SELECT string_agg(run_id::text, ',' ORDER BY run_id) FROM led WHERE pipeline = 'p' AND error_code = '23514'"), 'each failure with its run_id, and without its text');
$listener->quit;

# conflicts are tried again at once, a cancel is no failure
sql(q{SET ROLE etl; CREATE TABLE script (step int, what text);
	CREATE FUNCTION act(lower bigint) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
		IF lower = 180 AND (SELECT count(*) FROM led WHERE state = 'failed' AND error_code = '40001') < 2 THEN RAISE EXCEPTION USING errcode = '40001'; END IF;
		IF lower = 190 THEN PERFORM pg_advisory_xact_lock_shared(7); END IF;
		RETURN true; END $$;
	SELECT idem_alter_pipeline('p', source => 'SELECT * FROM src WHERE id >= $1 AND id < $2 AND act($1)', retry_base => '1 hour', retry_max => '1 hour', max_attempts => 100);});
my $blocker = $node->background_psql('postgres');
$blocker->query_safe('SELECT pg_advisory_lock(7)');
sql("INSERT INTO src SELECT i, 'v' || i FROM generate_series(180, 199) i; UPDATE mark SET w = 199");
await("SELECT state = 'complete' FROM led WHERE window_range = '[180,190)' ORDER BY run_id DESC LIMIT 1", 'a serialization failure is tried again at once, in spite of an hour of retry_base');
await("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 'the worker is in the middle of a window');
my $worker = worker_pid();
is(sql("SELECT pg_cancel_backend($worker)"), 't', 'it is cancelled');
await("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid <> $worker", 'and runs again');
is(sql("SELECT count(*) FROM led WHERE window_range = '[190,200)'"), '0', 'a cancel is no failure');

# SIGTERM: at once, the window, which would never end, rolled back; and everything comes back
my $old = scheduler_pid();
$worker = worker_pid();
is(sql("SELECT pg_terminate_backend($old)"), 't', 'the scheduler is terminated');
await("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid IN ($old, $worker))", 'it and its worker end');
$blocker->query_safe('SELECT pg_advisory_unlock(7)');
await("SELECT count(*) = 200 FROM tgt", 'another one goes on');
isnt(scheduler_pid(), $old, 'it is another process');
my $launcher = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'idem launcher'");
sql("SELECT pg_terminate_backend($launcher)");
await("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idem launcher' AND pid <> $launcher", 'a launcher that is terminated comes back');
await("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idem scheduler'", 'with one scheduler');
sql("INSERT INTO src SELECT i, 'v' || i FROM generate_series(200, 209) i; UPDATE mark SET w = 209");
await("SELECT count(*) = 210 FROM tgt", 'that works');

# two schedulers never run in one database
is(sql("SELECT idem_start_worker() = (SELECT pid FROM pg_stat_activity WHERE backend_type = 'idem scheduler')"), 't', 'a second one is not started');
my ($rc, $out, $err) = $node->psql('postgres', 'SELECT idem_stop_worker()');
like($err, qr/kept running by idem.databases.*HINT:  Take the database out of the setting/s, 'the launcher\'s scheduler is not stopped by hand');

# a crash of the worker restarts the server; the pipeline is tried again, one window at a time
sql(q{SET ROLE etl; CREATE UNLOGGED TABLE uptime (x int);
	SELECT idem_alter_pipeline('p', source => 'SELECT s.* FROM src s, (SELECT pg_sleep(CASE WHEN $1 = 210 AND (SELECT count(*) < 3 FROM crashes) THEN 600 ELSE 0 END)) z WHERE id >= $1 AND id < $2')})
  if sql("CREATE TABLE crashes (at timestamptz DEFAULT now()); GRANT SELECT ON crashes TO etl") eq '';
sub crash_worker
{
	await("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idem worker' AND wait_event = 'PgSleep'", 'the worker is at the window that kills it');
	sql("INSERT INTO uptime VALUES (1)");
	kill 'KILL', worker_pid();
	await('SELECT count(*) = 0 FROM uptime', 'the server restarts');
}
sql("INSERT INTO src SELECT i, 'v' || i FROM generate_series(210, 229) i; UPDATE mark SET w = 229");
crash_worker();
await("SELECT crashes = 1 FROM idem_pipeline_state", 'the crash is counted');
crash_worker();
crash_worker();
await("SELECT count(*) = 1 FROM led WHERE window_range = '[210,220)' AND state = 'failed' AND error_code = '57P02' AND blocked", 'a window that kills its worker three times is blocked');
await("SELECT count(*) = 1 FROM led WHERE window_range = '[220,230)' AND state = 'complete'", 'the next one is loaded');
sql("INSERT INTO crashes SELECT now() FROM generate_series(1, 3); SELECT idem_retry('p')");
await("SELECT count(*) = 230 FROM tgt", 'and the blocked one when it may');
await("SELECT crashes = 0 FROM idem_pipeline_state", 'the crashes are forgotten');

# owners: NOLOGIN, dropped; before 17 a role must be one that may log in
sql('ALTER ROLE sleeper LOGIN') if sql('SHOW server_version_num') < 170000;
sql(q{SET ROLE sleeper;
	CREATE TABLE s_tgt (id bigint PRIMARY KEY, v text);
	SELECT idem_create_ledger('s_led', 'int8range');
	SELECT idem_create_pipeline('nologin', 's_led', 's_tgt', 'SELECT i AS id, session_user || '' '' || current_user AS v FROM generate_series($1, $2 - 1) i', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT 9::bigint');});
await("SELECT count(*) = 10 FROM s_tgt", 'a pipeline whose owner may not log in runs');
like(sql("SELECT DISTINCT v FROM s_tgt"), qr/ sleeper$/, 'as its owner');
sql("SELECT idem_drop_pipeline('nologin')");
sql("CREATE ROLE gone LOGIN; GRANT ALL ON SCHEMA public TO gone; GRANT EXECUTE ON FUNCTION idem_enable_pipeline(text) TO gone; SET ROLE gone; CREATE TABLE g_tgt (id bigint PRIMARY KEY); SELECT idem_create_ledger('g_led', 'int8range');
	SELECT idem_create_pipeline('gone', 'g_led', 'g_tgt', 'SELECT 1::bigint AS id', 'upsert', '{id}', step => '10', start => '0', watermark => 'SELECT 0::bigint'); RESET ROLE;
	DROP OWNED BY gone; DROP ROLE gone; UPDATE idem_pipeline_state SET next_run_at = now() WHERE name = 'gone'");
sql("SELECT idem_resume(); SELECT idem_alter_pipeline('p', notify => false)");
await("SELECT waiting_for LIKE '%owner%dropped' FROM idem_pipeline_state WHERE name = 'gone'", 'a pipeline without an owner says so');
foreach my $use ("CALL idem_run_pipeline('gone')", "CALL idem_backfill('gone', '[0,1)')", "SELECT idem_alter_pipeline('gone', max_windows => 1)", "SELECT idem_enable_pipeline('gone')")
{
	($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$use");
	like($err, qr/ERROR:  42704: the owner of pipeline "gone" has been dropped\nHINT:  A superuser gives it another one: UPDATE public.idem_pipeline SET owner = '…' WHERE name = 'gone'\./, "so does $use");
}
sql("SELECT idem_disable_pipeline('gone'), idem_drop_pipeline('gone')");

# settings are reread, and a database that is taken out of the list is left alone
$node->safe_psql('postgres', "ALTER SYSTEM SET idem.databases = ''");
$node->reload;
await("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'idem scheduler'", 'a database that is taken out of idem.databases loses its scheduler');
sql("SELECT idem_start_worker()");
await("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idem scheduler'", 'one can be started by hand');
is(sql("SELECT idem_stop_worker()"), 't', 'and stopped');
is(sql("SELECT idem_stop_worker()"), 'f', 'there is none to stop');
sleep 1;
is(sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'idem scheduler'"), '0', 'it does not come back');
$node->safe_psql('postgres', "ALTER SYSTEM SET idem.databases = 'postgres, nowhere'");
($rc, $out, $err) = $node->psql('postgres', "ALTER SYSTEM SET idem.databases = 'a,,b'");
like($err, qr/invalid value for parameter "idem.databases".*List syntax is invalid/s, 'the list is checked');
$node->reload;
await("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idem scheduler'", 'and the launcher can start it again, beside a database that does not exist');

# a slow pipeline holds up no other, and does not pile up; a load by hand waits for it, then finds its window complete
eval { $blocker->quit };
$blocker = $node->background_psql('postgres');
$blocker->query_safe('SELECT pg_advisory_lock(8)');
sql(q{SET ROLE etl; CREATE TABLE slow (id bigint PRIMARY KEY, v text); CREATE TABLE fast (LIKE slow INCLUDING ALL);
	SELECT idem_create_pipeline('slow', 'led', 'slow', 'SELECT $1 AS id, pg_advisory_xact_lock_shared(8)::text AS v', 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT 0::bigint', check_every => '1 second');
	SELECT idem_create_pipeline('fast', 'led', 'fast', 'SELECT $1 AS id, NULL::text AS v', 'upsert', '{id}', step => '1', start => '0', newest_first => true,
		watermark => 'SELECT 9::bigint', check_every => '1 second');});
await("SELECT count(*) = 10 FROM fast", 'a fast pipeline gets its turn beside a slow one');
is(sql("SELECT array_agg(lower(window_range) ORDER BY run_id) FROM led WHERE pipeline = 'fast'"), '{9,8,7,6,5,4,3,2,1,0}', 'newest first, where it wants so');
await("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idem worker' AND query = 'pipeline slow' AND wait_event = 'advisory'", 'a slow one is running, once');
# what is changed while a pipeline is in its turn is not forgotten at its end
sql("SELECT idem_alter_pipeline('slow', watermark => 'SELECT 1::bigint', check_every => '1 hour')");
my $by_hand = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "CALL idem_load_window('slow', '[0,1)')" ], '>', \$out, '2>', \$err);
await("SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL idem_load_window%' AND wait_event_type = 'Lock'", 'a load by hand waits for it');
$blocker->query_safe('SELECT pg_advisory_unlock(8)');
$blocker->quit;
$by_hand->finish;
like($err, qr/pipeline "slow": nothing to load/, 'and finds its window complete');
is(sql("SELECT count(*) FROM led WHERE pipeline = 'slow' AND window_range = '[0,1)'"), '1', 'it has run once');
await("SELECT count(*) = 2 FROM slow", 'a pipeline that is altered in its turn has another one at once');
sql("SELECT idem_drop_pipeline('slow'), idem_drop_pipeline('fast')");

# an owner who may not connect any more: nothing is hidden, nothing spins
sql("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; SELECT idem_retry('p')");
await("SELECT waiting_for = 'its owner''s right to connect: GRANT CONNECT ON DATABASE postgres TO etl' FROM idem_status WHERE pipeline = 'p'", 'whose owner cannot connect says so');
foreach my $refused ([ "SELECT idem_enable_pipeline('p')", 'run by itself' ], [ "CALL idem_backfill('p', '[0,10)')", 'be loaded by workers' ])
{
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$refused->[0]");
	like($err, qr/ERROR:  42501: pipeline "p" cannot $refused->[1]: role "etl" may not connect to the database\nHINT:  GRANT CONNECT ON DATABASE postgres TO etl\.\n/, "so does $refused->[0]");
}
sql("GRANT CONNECT ON DATABASE postgres TO PUBLIC; SELECT idem_retry('p')");
await("SELECT waiting_for IS NULL AND state = 'idle' FROM idem_status WHERE pipeline = 'p'", 'until it can');

# whoever he is in his other sessions, in a worker an owner is himself
sql("CREATE ROLE etl_group; GRANT etl_group TO etl; ALTER ROLE etl SET role = etl_group; SELECT idem_invalidate('led', 'p', '[0,10)'), idem_retry('p')");
await("SELECT count(*) = 1 FROM led WHERE pipeline = 'p' AND state = 'complete' AND window_range = '[0,10)'", 'an owner who sets his role has his pipelines run');

# a failure that was left for a ledger of another range type is not written into it as another window
$node->psql('postgres', q{SELECT idem_create_ledger('retyped'); CREATE TABLE retyped_tgt (id int PRIMARY KEY);
	BEGIN; SAVEPOINT a;
	SELECT * FROM idem_load('retyped', 'retyped_tgt', 'SELECT 1/0 AS id', '[2024-01-01,2024-01-02)', 'upsert', '{id}', pipeline => 'retyped');
	ROLLBACK TO a;
	ALTER TABLE retyped NOT OF; ALTER TABLE retyped DROP CONSTRAINT retyped_window_range_check;
	ALTER TABLE retyped ALTER window_range TYPE daterange USING daterange(lower(window_range)::date, upper(window_range)::date);
	ALTER TABLE retyped OF idem_ledger_date;
	COMMIT;}, on_error_stop => 0);
ok($node->wait_for_log(qr/could not record the failure of pipeline "retyped": ledger public\.retyped has another range type than it had/), 'it is logged');
is(sql('SELECT count(*) FROM retyped'), '0', 'and the ledger has no row of it');

# many pipelines at once, few workers, all get their turn
sql(q{SET ROLE etl; CREATE TABLE many (id bigint PRIMARY KEY, p int);
	SELECT count(idem_create_pipeline('many ' || i, 'led', 'many', format('SELECT $1 * 1000 + %s AS id, %1$s AS p', i), 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT 4::bigint', max_windows => 2))
	FROM generate_series(1, 200) i});
await("SELECT count(*) = 1000 AND count(DISTINCT p) = 200 FROM many", '200 pipelines of 5 windows each');
is(sql("SELECT count(*) FROM led WHERE pipeline LIKE 'many %' AND state = 'failed'"), '0', 'none of which failed');
# dropping many in one transaction does not deadlock with the scheduler
sql("BEGIN; UPDATE idem_pipeline_state SET next_run_at = now() WHERE name LIKE 'many%'; SELECT idem_drop_pipeline(name) FROM idem_pipeline WHERE name LIKE 'many %' ORDER BY random(); COMMIT");
is(sql("SELECT count(*) FROM idem_pipeline WHERE name LIKE 'many%'"), '0', 'are dropped in one transaction');

# a standby is silent, and works when it is promoted
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'idem%'"), '0', 'nothing runs on a standby');
$node->stop('immediate');
$standby->promote;
$node = $standby;
sql("INSERT INTO src SELECT i, 'v' || i FROM generate_series(230, 239) i; UPDATE mark SET w = 239");
await("SELECT count(*) = 240 FROM tgt", 'its pipelines run when it is promoted');

# a database that is copied is paused
sql("SELECT idem_disable_pipeline('p')");
sql("ALTER SYSTEM SET idem.databases = ''");
$node->reload;
await("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'idem scheduler'", 'nobody is connected');
$node->safe_psql('template1', 'CREATE DATABASE copy TEMPLATE postgres');
sql("SELECT idem_enable_pipeline('p')");
$node->safe_psql('copy', "SELECT idem_enable_pipeline('p'); INSERT INTO src VALUES (240, 'copied'); UPDATE mark SET w = 249");
$node->safe_psql('copy', "SELECT idem_start_worker()");
sleep 1;
is($node->safe_psql('copy', "SELECT count(*) FROM tgt"), '240', 'a copied database does not start loading by itself');
is($node->safe_psql('copy', "SELECT state FROM idem_status"), 'paused', 'and says so');
$node->safe_psql('copy', "SELECT idem_resume()");
ok($node->poll_query_until('copy', "SELECT count(*) = 241 FROM tgt"), 'until it is told to');

# DROP EXTENSION and DROP DATABASE while it runs
$node->safe_psql('copy', "DROP EXTENSION idem CASCADE; CREATE EXTENSION idem");
is($node->safe_psql('copy', "SELECT count(*) FROM idem_pipeline"), '0', 'the extension can be dropped while the scheduler runs');
is($node->safe_psql('copy', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'idem scheduler' AND datname = 'copy'"), '1', 'which goes on');
$node->safe_psql('postgres', "DROP DATABASE copy WITH (FORCE)");
sleep 6;
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'idem scheduler'"), '0', 'a database can be dropped, and its scheduler does not come back');
unlike(slurp_file($node->logfile), qr/database \d+ does not exist/, 'and does not try to');

$node->stop;
done_testing();
