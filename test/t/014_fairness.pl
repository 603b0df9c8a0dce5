# What all roles share: processes that write failures down, room for failures, workers of backfills, the names
# of pipelines, and the scheduler that is told to end.  No role keeps the others from their part for long.

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
idem.max_workers = 2
idem.max_backfill_workers = 3
max_worker_processes = 16
});
$node->start;

sub sql { return $node->safe_psql('postgres', shift); }

sub await { return await_true($node, @_); }

# the SQLSTATE that a role gets
sub sqlstate
{
	my ($role, $statement) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\nSET client_min_messages = error;\n$statement", extra_params => [ '-U', $role ]);
	return $err =~ /ERROR:  (\w+)/ ? $1 : $err;
}

# the honest roles come first, the others have what they may have: LOGIN
sql('CREATE EXTENSION idem CASCADE; CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE mallory1 LOGIN; CREATE ROLE mallory2 LOGIN;
	GRANT EXECUTE ON FUNCTION idem_enable_pipeline(text) TO alice, bob');
foreach my $role (qw(alice bob mallory1 mallory2))
{
	sql(qq{CREATE SCHEMA $role AUTHORIZATION $role; SET SESSION AUTHORIZATION $role;
		CREATE TABLE $role.tgt (id bigint PRIMARY KEY, v text CHECK (v <> 'bad'));
		SELECT idem_create_ledger('$role.led', 'int8range');
		SELECT idem_create_pipeline('$role', '$role.led', '$role.tgt', 'SELECT \$1 AS id, pg_advisory_xact_lock_shared(1)::text AS v', 'upsert', '{id}', step => '1', start => '0',
			watermark => 'SELECT 9::bigint', enabled => false)});
}

# so many loads of a role fail in one transaction, which catches their errors
sub fail_often
{
	my ($role, $n) = @_;
	return sql(qq{SET SESSION AUTHORIZATION $role; DO \$do\$ BEGIN FOR i IN 1 .. $n LOOP
		BEGIN
			CALL idem_load_window('$role.led', '$role.tgt', 'SELECT \$1 AS id, ''bad'' AS v', format('[%s,%s)', i, i + 1), 'upsert', keys => '{id}', pipeline => 'in vain');
		EXCEPTION WHEN check_violation THEN NULL; END;
	END LOOP; END \$do\$});
}
sub failures { return "(SELECT count(*) FROM $_[0].led WHERE pipeline = 'in vain' AND state = 'failed' AND run_by = '$_[0]')"; }

# room: the many failures of one role push out no other's
fail_often('alice', 2);
fail_often('mallory1', 100) foreach 1 .. 3;
sql('SELECT idem_start_worker()');
await('SELECT ' . failures('mallory1') . ' = 126', 'of many failures the last are recorded');
await('SELECT ' . failures('alice') . ' = 2', 'and all of another role, which were there before them');
ok($node->wait_for_log(qr/174 failures of loads in their callers' transactions could not be kept/), 'the others are counted');
await("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'idem recorder'", 'the recorders end');

# recorders: a trigger that catches the cancel is ended with its process, and then it is others' turn
foreach my $role (qw(mallory1 mallory2))
{
	sql(qq{SET SESSION AUTHORIZATION $role;
		CREATE FUNCTION $role.hold() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN LOOP BEGIN PERFORM pg_sleep(3600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END \$\$;
		CREATE TRIGGER hold BEFORE INSERT ON $role.led FOR EACH ROW WHEN (NEW.state = 'failed') EXECUTE FUNCTION $role.hold()});
	fail_often($role, 10);
}
my $held = "SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'idem recorder' AND usename LIKE 'mallory_' AND wait_event = 'PgSleep'";
await($held, 'all of idem.max_workers write down failures of roles whose triggers never end');
fail_often('alice', 3);

# meanwhile: a definition that its owner has locked is nobody's who does not own it, and he waits for nobody else
my $owner = $node->background_psql('postgres', extra_params => [ '-U', 'alice' ]);
$owner->query_safe("BEGIN; SELECT idem_alter_pipeline('alice', max_windows => 7)");
is(sqlstate('mallory1', "SET lock_timeout = '5s'; SELECT $_"), '42704', "whose it is, is asked before it is locked: $_")
  foreach "idem_alter_pipeline('alice', max_windows => 1)", "idem_drop_pipeline('alice')", "idem_disable_pipeline('alice')";
is(sqlstate('alice', "SET lock_timeout = '10ms'; SELECT idem_drop_pipeline('alice')"), '55P03', 'its owner waits');
$owner->query_safe('COMMIT');
$owner->quit;

# backfills: the last place is kept for a role that has none
my @backfills;
sub backfill
{
	my ($role, $workers) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', $role ]);
	$session->query_safe('SET client_min_messages = warning');
	$session->query_until(qr/started/, "\\echo started\nCALL idem_backfill('$role', '[0,10)', workers => $workers);\n");
	push @backfills, $session;
	return;
}
sub places
{
	return q{SELECT string_agg(format('%s %s', usename, n), ', ' ORDER BY usename) = '} . shift . q{' FROM
		(SELECT usename, count(*) AS n FROM pg_stat_activity WHERE backend_type = 'idem backfill' AND wait_event = 'advisory' GROUP BY 1) b};
}
my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(1)');
backfill('mallory1', 100);
await(places('mallory1 2'), 'a backfill leaves the last place to others');
my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nCALL idem_backfill('mallory1', '[0,10)')", extra_params => [ '-U', 'mallory1' ]);
like($err, qr/ERROR:  53400: no worker is free for a backfill: the last of idem.max_backfill_workers, 3, is kept for other roles\nHINT:  Try again when other backfills have ended, or increase idem.max_backfill_workers/, 'so does another one of the same role');
backfill('alice', 2);
await(places('alice 1, mallory1 2'), 'who has none gets it');
is(sqlstate('bob', "CALL idem_backfill('bob', '[0,10)')"), '53400', 'then all are busy');
$lock->query_safe('SELECT pg_advisory_unlock(1)');
$_->query_safe('SELECT 1') foreach @backfills;
$_->quit foreach @backfills;
@backfills = ();
is(sql("SELECT idem_gaps('alice.led', 'alice', '[0,10)'), idem_gaps('mallory1.led', 'mallory1', '[0,10)')"), '{}|{}', 'all is loaded');
sql("SELECT idem_drop_pipeline('alice'), idem_drop_pipeline('bob')");
$lock->query_safe('SELECT pg_advisory_lock(1)');
backfill('mallory2', 100);
await(places('mallory2 3'), 'where nobody else may have workers, none is kept');
$lock->query_safe('SELECT pg_advisory_unlock(1)');
$_->query_safe('SELECT 1') foreach @backfills;
$_->quit foreach @backfills;

# the recorders again
await('SELECT ' . failures('alice') . ' = 5', 'failures of another role are recorded when those have had their time');
ok($node->wait_for_log(qr/could not record the failure of pipeline "in vain": the process that writes it down was ended\n.*DETAIL:  It had failed with: new row for relation "tgt" violates check constraint/), 'the log says which were not');
is(sql("SELECT count(*) FROM mallory1.led WHERE pipeline = 'in vain'"), '126', 'and they are not');

# who has locked a pipeline that is due does not keep the scheduler busy
sql(q{SET SESSION AUTHORIZATION bob; SELECT idem_create_pipeline('held', 'bob.led', 'bob.tgt', 'SELECT $1 AS id', 'upsert', '{id}', step => '1', start => '100', watermark => 'SELECT 100::bigint', check_every => '1 day')});
my $holder = $node->background_psql('postgres', extra_params => [ '-U', 'bob' ]);
await("SELECT last_run_at IS NOT NULL AND turn_started_at IS NULL FROM idem_pipeline_state WHERE name = 'held'", 'a pipeline has run');
sql('SELECT idem_stop_worker()');
sql("UPDATE idem_pipeline_state SET next_run_at = now() WHERE name = 'held'");
$holder->query_safe("BEGIN; SELECT idem_alter_pipeline('held', check_every => '1 hour')");
sql('SELECT idem_start_worker()');
SKIP:
{
	my $status = '/proc/' . sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'idem scheduler'") . '/status';
	skip 'no /proc', 1 if !-e $status;
	my ($before) = slurp_file($status) =~ /^voluntary_ctxt_switches:\s*(\d+)/m;
	sleep 3;
	my ($after) = slurp_file($status) =~ /^voluntary_ctxt_switches:\s*(\d+)/m;
	cmp_ok($after - $before, '<', 100, 'the scheduler looks at it again now and then');
}
$holder->query_safe('COMMIT');
$holder->quit;
sql("SELECT idem_drop_pipeline('held')");

# who drops a pipeline while its turn is booked waits for that, and neither of them is a deadlock's victim
sql(q{CREATE FUNCTION public.booking() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(2); RETURN NULL; END $$;
	CREATE TRIGGER booking AFTER UPDATE OF complete_to ON idem_pipeline_state FOR EACH ROW EXECUTE FUNCTION public.booking()});
$lock->query_safe('SELECT pg_advisory_lock(2)');
sql(q{SET SESSION AUTHORIZATION bob; SELECT idem_create_pipeline('booked', 'bob.led', 'bob.tgt', 'SELECT $1 AS id', 'upsert', '{id}', step => '1', start => '200', watermark => 'SELECT 201::bigint')});
await("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idem worker' AND wait_event = 'advisory'", 'a turn is being booked');
my $dropper = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'bob' ]);
$dropper->query_until(qr/started/, "\\echo started\nSELECT idem_drop_pipeline('booked');\n");
await("SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'bob' AND backend_type = 'client backend' AND wait_event_type = 'Lock'", 'who drops the pipeline waits');
$lock->query_safe('SELECT pg_advisory_unlock(2)');
$dropper->query('SELECT 1');
is($dropper->{stderr}, '', 'until it is booked');
$dropper->quit;
is(sql("SELECT count(*) FROM idem_pipeline_state WHERE name = 'booked'"), '0', 'then it is gone');
ok(slurp_file($node->logfile) !~ /deadlock detected/, 'nor does the worker meet a deadlock');
sql('DROP FUNCTION public.booking() CASCADE');

# many pipelines that are not due cost the turns of one that is nothing
sql('SELECT idem_stop_worker()');
sql(q{CREATE SEQUENCE public.turns; GRANT ALL ON SEQUENCE public.turns TO bob; SET SESSION AUTHORIZATION bob;
	SELECT count(idem_create_pipeline('later ' || i, 'bob.led', 'bob.tgt', 'SELECT $1 AS id', 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT 0::bigint')) FROM generate_series(1, 1000) i;
	SELECT idem_create_pipeline('ticks', 'bob.led', 'bob.tgt', 'SELECT $1 AS id', 'upsert', '{id}', step => '1', start => '1000000', watermark => 'SELECT nextval(''public.turns'')', check_every => '1 second')});
sql("UPDATE idem_pipeline_state SET next_run_at = now() + interval '1 day' WHERE name LIKE 'later %'; ANALYZE idem_pipeline; ANALYZE idem_pipeline_state");
sql('SELECT pg_stat_reset()');
sql('SELECT idem_start_worker()');
await('SELECT last_value > 20 FROM public.turns', 'one pipeline of a thousand has turns');
sql('SELECT idem_stop_worker()');
await("SELECT sum(idx_scan) > 20 FROM pg_stat_user_tables WHERE relname IN ('idem_pipeline', 'idem_pipeline_state')", 'the scheduler has said what it has read');
cmp_ok(sql("SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables WHERE relname IN ('idem_pipeline', 'idem_pipeline_state')"), '<', 20000, 'it does not read the others each time');
sql("UPDATE idem_pipeline SET owner = 'alice' WHERE name = 'ticks'; SELECT idem_drop_pipeline(name) FROM idem_pipeline WHERE name LIKE 'later %'");
is(sql("SELECT owner FROM idem_pipeline_state WHERE name = 'ticks'"), 'alice', 'another owner of a pipeline is that of its state');
sql("SELECT idem_disable_pipeline('ticks')");
is(sql("SELECT next_run_at FROM idem_pipeline_state WHERE name = 'ticks'"), '', 'what is disabled is never due');
sql("SELECT idem_drop_pipeline('ticks'), idem_start_worker()");

# a worker that does not end does not keep the scheduler from ending
$lock->query_safe('SELECT pg_advisory_lock(1)');
sql(q{SET SESSION AUTHORIZATION bob; SELECT idem_create_pipeline('stopped', 'bob.led', 'bob.tgt', 'SELECT $1 AS id, pg_advisory_xact_lock_shared(1)::text AS v', 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT 9::bigint')});
await("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idem worker' AND wait_event = 'advisory'", 'a worker runs');
my $worker = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'idem worker'");
kill 'STOP', $worker;
is(sql('SELECT idem_stop_worker()'), 't', 'the scheduler ends though its worker does not');
kill 'CONT', $worker;
ok($node->wait_for_log(qr/the worker of pipeline "stopped" does not end\n.*DETAIL:  Its PID is $worker/), 'which the log says');
await("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $worker", 'until it can');

$lock->quit;
$node->stop;
done_testing();
