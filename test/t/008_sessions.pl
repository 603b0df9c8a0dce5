# What several sessions see and do at once: failures that outlive a rollback, progress,
# backfills in parallel workers, and servers with too few slots.

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
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'idem'
idem.databases = 'postgres'
max_worker_processes = 12
idem.max_backfill_workers = 8
log_min_messages = log
});
$node->start;

sub sql { return $node->safe_psql('postgres', shift); }

sub await { return await_true($node, @_); }

# does something for which there is but one slot, and that it may not share: nothing runs by itself meanwhile, and
# a pipeline that is in no turn has given its slot back
sub undisturbed
{
	my $work = shift;
	my $names = sql('SELECT array_agg(name) FROM idem_pipeline WHERE enabled');
	sql("SELECT idem_disable_pipeline(n) FROM unnest('$names'::text[]) n");
	await('SELECT count(*) = 0 FROM idem_pipeline_state WHERE turn_started_at IS NOT NULL', 'nothing runs by itself for now');
	$work->();
	return sql("SELECT idem_enable_pipeline(n) FROM unnest('$names'::text[]) n");
}

# a session in the background, as a role
sub session
{
	my $role = shift;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe("SET client_min_messages = warning; SET SESSION AUTHORIZATION $role");
	return $session;
}

sql(q{
	CREATE EXTENSION idem CASCADE;
	CREATE ROLE etl LOGIN; CREATE ROLE other LOGIN; CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
	GRANT CREATE, USAGE ON SCHEMA public TO etl, other, watcher;
	GRANT EXECUTE ON FUNCTION idem_enable_pipeline(text) TO etl;
	SET ROLE etl;
	CREATE TABLE src (id bigint PRIMARY KEY, v text);
	INSERT INTO src SELECT i, 'v' || i FROM generate_series(0, 9999) i;
	CREATE TABLE tgt (id bigint PRIMARY KEY, v text CHECK (v <> 'bad'));
	SELECT idem_create_ledger('led', 'int8range');
});

# a failure in the caller's transaction is recorded in spite of the rollback
my $load = q{CALL idem_load_window('led', 'tgt', %s, '%s', 'upsert', keys => '{id}', window_column => 'id', pipeline => 'in transaction')};
my $bad = q{$$SELECT id, 'bad' AS v FROM src WHERE id >= $1 AND id < $2$$};
my ($rc, $out, $err) = $node->psql('postgres', 'BEGIN; ' . sprintf($load, $bad, '[0,10)') . '; COMMIT',
	extra_params => [ '-U', 'etl' ]);
like($err, qr/violates check constraint/, 'a load in a transaction fails');
await("SELECT count(*) = 1 FROM led WHERE state = 'failed' AND error_code = '23514' AND error_message LIKE '%violates check%' AND run_by = 'etl' AND window_range = '[0,10)'", 'and its failure is in the ledger');
$node->psql('postgres', 'SET SESSION AUTHORIZATION etl; SELECT * FROM ' . (sprintf($load, $bad, '[10,20)') =~ s/CALL idem_load_window/idem_load/r));
await("SELECT count(*) = 2 FROM led WHERE state = 'failed'", 'the function\'s too');
# a failure of a ledger that has been rolled back itself goes to the log
$node->psql('postgres', q{BEGIN; SELECT idem_create_ledger('led2', 'int8range'); } . (sprintf($load, $bad, '[10,20)') =~ s/'led'/'led2'/r));
ok($node->wait_for_log(qr/could not record the failure of pipeline "in transaction"/), 'a failure that cannot be recorded is logged');
# as the role that failed: who cannot write the ledger cannot have his failure written to it
$node->psql('postgres', q{SET SESSION AUTHORIZATION other; BEGIN; } . sprintf($load, $bad, '[30,40)'));
is(sql("SELECT count(*) FROM led WHERE run_by = 'other'"), '0', 'nobody writes to a ledger that he may not write to');
# a function that raises the error with higher rights does not lend them to the record
sql(q{CREATE FUNCTION boom(bigint) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RAISE EXCEPTION 'boom'; END $$;
	SET ROLE etl; SELECT idem_create_ledger('etl_led', 'int8range'); CREATE TABLE who (r text);
	CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO who VALUES (current_user); RETURN NULL; END $$;
	CREATE TRIGGER who AFTER INSERT ON etl_led FOR EACH ROW WHEN (NEW.state = 'failed') EXECUTE FUNCTION who();});
$node->psql('postgres', q{SET SESSION AUTHORIZATION etl; BEGIN; SELECT * FROM idem_load('etl_led', 'tgt', 'SELECT id, boom(id) AS v FROM src WHERE id >= $1 AND id < $2', '[0,10)', 'upsert', keys => '{id}', window_column => 'id');});
await("SELECT count(*) = 1 FROM etl_led WHERE state = 'failed' AND error_message = 'boom'", 'a failure within a SECURITY DEFINER function is recorded');
is(sql("SELECT array_agg(r) FROM who"), '{etl}', 'with the rights of the role that loaded');
# a flood: the newest are kept, the others counted, nobody waits
my $scheduler = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'idem scheduler'");
kill 'STOP', $scheduler;
sql(qq{SET SESSION AUTHORIZATION etl; SET client_min_messages = warning; DO \$x\$ BEGIN
	FOR i IN 1..300 LOOP
		BEGIN
			CALL idem_load_window('led', 'tgt', 'SELECT id, ''bad'' AS v FROM src WHERE id >= \$1 AND id < \$2', int8range(1000 + i, 1001 + i), 'upsert', keys => '{id}', pipeline => 'flood');
		EXCEPTION WHEN check_violation THEN NULL;
		END;
	END LOOP; END \$x\$});
kill 'CONT', $scheduler;
await("SELECT count(*) = 128 AND max(lower(window_range)) = 1300 FROM led WHERE pipeline = 'flood' AND state = 'failed'", 'of a flood of failures the newest are kept');
ok($node->wait_for_log(qr/172 failures of loads in their callers' transactions could not be kept/), 'and the others counted');

# progress, while a load runs: own ones, and all for pg_monitor
my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(1)');
my $loader = session('etl');
$loader->query_until(qr/started/, q{\echo started
CALL idem_load_window('led', 'tgt', 'SELECT s.* FROM src s, (SELECT pg_advisory_xact_lock_shared(CASE WHEN $1 = 2000 THEN 1 ELSE 2 END)) l WHERE id >= $1 AND id < $2', '[0,10000)', 'upsert', keys => '{id}', window_column => 'id', pipeline => 'watched', step => '1000');
});
await("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted", 'a load is in its third window');
my $progress = "SELECT pipeline, target, window_range, phase, windows_done, windows_total, rows_read, rows_written, estimated_end > started_at FROM idem_progress";
my $expected = 'watched|tgt|[2000,3000)|reading the source|2|10|2000|2000|t';
is(sql($progress), $expected, 'a superuser sees it');
is(sql("SET ROLE etl; $progress"), $expected, 'its role sees it');
is(sql("SET ROLE watcher; $progress"), $expected, 'pg_monitor sees it');
is(sql("SET ROLE other; $progress"), '', 'nobody else does');
is(sql("SELECT windows FROM idem_calendar('led', 'watched', '0', '10000', '1000')"), '##>.......', 'the calendar shows it');
sql("SET ROLE other; SELECT idem_create_ledger('their_led', 'int8range')");
is(sql("SET ROLE other; SELECT windows FROM idem_calendar('their_led', 'watched', '0', '10000', '1000')"), '..........', 'that of another ledger, whose pipeline has the same name, does not');
$lock->query_safe('SELECT pg_advisory_unlock(1)');
await("SELECT count(*) = 0 FROM idem_progress", 'it is gone when the load is done');
is(sql("SELECT count(*) FROM tgt"), '10000', 'which has loaded everything');
$loader->quit;
$lock->query_safe('SELECT pg_advisory_lock(1)');
$loader = session('etl');
$loader->query_until(qr/started/, q{\echo started
CALL idem_load_window('led', 'tgt', 'SELECT s.* FROM src s, (SELECT pg_advisory_xact_lock_shared(1)) l WHERE id >= $1 AND id < $2', '[0,10)', 'upsert', keys => '{id}', window_column => 'id', pipeline => repeat('killed', 100));
});
await("SELECT count(*) = 1 FROM idem_progress", 'another load runs');
is(sql("SELECT n, windows FROM unnest(ARRAY[99, 100]) n, idem_calendar('led', repeat('killed', n), '0', '20', '10')"), "99|..\n100|>.", 'long names are told apart');
sql("SELECT pg_terminate_backend(pid) FROM idem_progress");
await("SELECT count(*) = 0 FROM idem_progress", 'one that is terminated is gone too');
eval { $loader->quit };

# backfill: in parallel, beside a load of the same windows by hand
sql(q{SET ROLE etl; TRUNCATE tgt;
	SELECT idem_create_pipeline('b', 'led', 'tgt', 'SELECT s.* FROM src s, (SELECT pg_sleep(0.05), pg_advisory_xact_lock_shared(9)) z WHERE id >= $1 AND id < $2', 'upsert', '{id}', 'id', '100', '0',
		watermark => 'SELECT NULL::bigint', notify => true);});
my $by_hand = session('etl');
$by_hand->query_until(qr/started/, q{\echo started
CALL idem_load_window('b', '[3000,6000)');
});
($rc, $out, $err) = $node->psql('postgres', "CALL idem_backfill('b', '[0,10000)', workers => 3)");
is($rc, 0, 'a backfill beside a load by hand') or diag($err);
like($err, qr/loaded \d+ windows/, 'says what it has done');
$by_hand->query_safe('SELECT 1');
is(sql("SELECT count(*), idem_gaps('led', 'b', '[0,10000)') FROM tgt"), '10000|{}', 'everything is loaded');
is(sql("SELECT count(*), sum(inserted_rows) FROM led WHERE pipeline = 'b'"), '100|10000', 'each window once');
is(sql("SELECT DISTINCT run_by FROM led WHERE pipeline = 'b'"), 'etl', 'as the owner');
($rc, $out, $err) = $node->psql('postgres', "CALL idem_backfill('b', '[0,10000)', workers => 3)");
like($err, qr/nothing to load/, 'a backfill of what is complete has nothing to do');
$by_hand->quit;
# errors: in the ledger, and one for all
sql("TRUNCATE tgt; DELETE FROM led; UPDATE src SET v = 'bad' WHERE id IN (150, 950)");
($rc, $out, $err) = $node->psql('postgres', "CALL idem_backfill('b', '[0,1000)', workers => 2, newest_first => true)");
like($err, qr/ERROR:  2 of 10 windows of pipeline "b" failed, 8 were loaded.*DETAIL:  The first error was: new row for relation "tgt" violates.*HINT:  The ledger has the others/s, 'errors end in one');
is(sql("SELECT array_agg(window_range ORDER BY run_id) FROM led WHERE state = 'failed'"), '{"[900,1000)","[100,200)"}', 'and are in the ledger, newest first');
sql("UPDATE src SET v = 'good' WHERE id IN (150, 950)");
# cancelled: the workers, which wait at a lock, stop
$lock->query_safe('SELECT pg_advisory_lock(9)');
my $caller = $node->background_psql('postgres', on_error_stop => 0);
$caller->query_until(qr/started/, q{\echo started
CALL idem_backfill('b', '[0,10000)', workers => 2);
});
await("SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'idem backfill'", 'two workers run');
sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL idem_backfill%'");
await("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'idem backfill'", 'a backfill that is cancelled stops them');
$caller->query_until(qr/started/, q{\echo started
CALL idem_backfill('b', '[0,10000)', workers => 2);
});
await("SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'idem backfill'", 'two workers run again');
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL idem_backfill%'");
await("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'idem backfill'", 'so does one whose session is terminated');
eval { $caller->quit };
# a worker that is lost
my $run = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "CALL idem_backfill('b', '[0,3000)', workers => 1)" ], '>', \my $o, '2>', \my $e);
await("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idem backfill'", 'one worker runs');
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'idem backfill'");
$run->finish;
$lock->query_safe('SELECT pg_advisory_unlock(9)');
like($e, qr/ERROR:  backfill of pipeline "b" lost a worker: \d+ of \d+ windows were loaded.*HINT:  CALL idem_backfill again/s, 'a backfill says that it lost a worker');
sql("CALL idem_backfill('b', '[0,10000)', workers => 4)");
is(sql("SELECT count(*), idem_gaps('led', 'b', '[0,10000)') FROM tgt"), '10000|{}', 'called again it loads the rest');

# too few slots: pipelines wait and say so, then run; backfills take what there is
$node->append_conf('postgresql.conf', "max_worker_processes = 4\nidem.max_workers = 8");
eval { $lock->quit };
$node->restart;
$lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(9)');
sql(q{SET ROLE etl; CREATE TABLE w (id bigint PRIMARY KEY, v text);
	SELECT count(idem_create_pipeline('w' || i, 'led', 'w', format('SELECT %s::bigint AS id, pg_advisory_xact_lock_shared(9)::text AS v WHERE $1 = 0', i), 'upsert', '{id}', step => '10', start => '0', watermark => 'SELECT 9::bigint'))
	FROM generate_series(1, 4) i});
await("SELECT count(*) > 0 FROM idem_status WHERE state = 'waiting' AND waiting_for LIKE 'a worker slot%'", 'a pipeline without a worker slot waits and says so');
$lock->query_safe('SELECT pg_advisory_unlock(9)');
await("SELECT count(*) = 4 FROM w", 'and gets its turn');
undisturbed(sub {
	sql("SELECT idem_invalidate('led', 'b', '[0,500)')");
	($rc, $out, $err) = $node->psql('postgres', "CALL idem_backfill('b', '[0,500)', workers => 5)");
	like($err, qr/NOTICE:  backfill of pipeline "b" runs in 1 of 5 workers.*HINT:  More need a higher max_worker_processes.*loaded 5 windows/s, 'a backfill makes do with the workers there are');
});
$node->append_conf('postgresql.conf', "idem.max_workers = 1");
$node->reload;
$lock->query_safe('SELECT pg_advisory_lock(9)');
sql("UPDATE idem_pipeline_state SET next_run_at = now() WHERE name LIKE 'w%'; SELECT idem_invalidate('led', 'w1', '[0,10)'), idem_invalidate('led', 'w2', '[0,10)'), idem_invalidate('led', 'w3', '[0,10)')");
await("SELECT count(*) > 0 FROM idem_status WHERE state = 'waiting' AND waiting_for LIKE 'its turn%'", 'a pipeline that waits for its turn says so');
$lock->query_safe('SELECT pg_advisory_unlock(9)');
await("SELECT count(*) = 0 FROM idem_status WHERE gaps <> '{}' AND pipeline LIKE 'w%'", 'and gets it');

$lock->quit;

# a definition that is altered between the call and its workers is not taken for the caller's: its windows are others
sql(q{SELECT idem_create_ledger('days', 'daterange'); CREATE TABLE day_tgt (d date PRIMARY KEY); CREATE TABLE number_tgt (id bigint PRIMARY KEY); SELECT idem_create_ledger('numbers', 'int8range');
	SELECT idem_create_pipeline('altered', 'numbers', 'number_tgt', 'SELECT $1 AS id', 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT 9::bigint', enabled => false);});
my ($late_out, $late_err) = ('', '');
undisturbed(sub {
	my $altering = $node->background_psql('postgres', on_error_stop => 1);
	$altering->query_safe('BEGIN; LOCK TABLE numbers IN ACCESS EXCLUSIVE MODE');
	my $late = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'), '-c', "CALL idem_backfill('altered', '[0,5)', workers => 1)" ], '>', \$late_out, '2>', \$late_err);
	await("SELECT count(*) = 1 FROM pg_locks WHERE relation = 'numbers'::regclass AND NOT granted", 'a backfill has read its definition');
	$altering->query_safe(q{SELECT idem_alter_pipeline('altered', ledger => 'days', target => 'day_tgt', keys => '{d}', source => 'SELECT $1 AS d', step => '1 day', start => '2024-01-01', watermark => ''); COMMIT});
	$altering->quit;
	$late->finish;
});
like($late_err, qr/ERROR:  55000: 0 of 5 windows of pipeline "altered" failed, 0 were loaded\nDETAIL:  The first error was: pipeline "altered" has been altered since the backfill began\nHINT:  .*CALL idem_backfill again/, 'its worker refuses it');
is(sql('SELECT (SELECT count(*) FROM days) + (SELECT count(*) FROM numbers)'), '0', 'and loads nothing');

# no slot at all for a backfill
$node->append_conf('postgresql.conf', "max_worker_processes = 2");
$node->restart;
ok($node->wait_for_log(qr/no background worker slot for the idem scheduler of database "postgres".*HINT:  Increase max_worker_processes/s), 'without a slot for a scheduler the launcher says so');
sql("SELECT idem_disable_pipeline(name) FROM idem_pipeline; SELECT idem_invalidate('led', 'b', '[0,200)')");
($rc, $out, $err) = $node->psql('postgres', "CALL idem_backfill('b', '[0,10000)')");
like($err, qr/ERROR:  no background worker slot is free for a backfill.*HINT:  .*increase max_worker_processes/s, 'without a slot a backfill says so');

# definitions are dumped, and paused where they are restored
my $file = $node->backup_dir . '/pipelines.sql';
mkdir $node->backup_dir;
$node->command_ok([ 'pg_dump', '-f', $file, '-d', $node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $file ], 'restore');
my $definitions = "SELECT name, owner, ledger, target, source, keys, step, start, time_zone, search_path, watermark, retry_base, max_attempts FROM idem_pipeline ORDER BY name";
is($node->safe_psql('restored', $definitions), sql($definitions), 'pipelines are dumped and restored');
is($node->safe_psql('restored', "SELECT idem_enable_pipeline('b'); SELECT state FROM idem_status WHERE pipeline = 'b'") =~ s/\n//gr, 'paused', 'and paused there');
($rc, $out, $err) = $node->psql('restored', "CALL idem_load_window('b', '[0,100)')");
like($err, qr/loaded 1 window, source rows: 100/, 'by hand they run');

# nothing is preloaded: the scheduler is started by hand, and comes back by itself
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\nmax_worker_processes = 8");
$node->restart;
is(sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'idem%'"), '0', 'nothing runs by itself');
my $pid = sql("SELECT idem_start_worker()");
sql("SELECT idem_enable_pipeline('b')");
await("SELECT idem_gaps('led', 'b', '[0,10000)') = '{[0,200)}' AND last_run_at > now() - interval '1 minute' FROM idem_pipeline_state WHERE name = 'b'", 'a scheduler that was started by hand runs pipelines');
sql("SELECT pg_terminate_backend($pid)");
await("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idem scheduler' AND pid <> $pid", 'terminated, it comes back');
is(sql("SELECT idem_stop_worker()"), 't', 'stopped, it does not');
$node->append_conf('postgresql.conf', "max_worker_processes = 0");
$node->restart;
($rc, $out, $err) = $node->psql('postgres', 'SELECT idem_start_worker()');
like($err, qr/ERROR:  no background worker slot is free for the scheduler.*HINT:  Increase max_worker_processes/s, 'without a slot there is no scheduler');
($rc, $out, $err) = $node->psql('postgres', 'SET ROLE other; SELECT idem_start_worker()');
like($err, qr/permission denied/, 'not everybody may start it');

$node->stop;
done_testing();
