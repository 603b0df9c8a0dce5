# One scheduler for many: what one role does, or one pipeline's row, is no other's trouble;
# who may have pipelines that run by themselves; and how many workers each may take.

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
idem.max_workers = 2
max_worker_processes = 16
idem.crash_delay = 100
max_prepared_transactions = 2
});
$node->start;

sub sql { return $node->safe_psql('postgres', shift); }

sub await { return await_true($node, @_); }

# the process of a kind, such as 'idem scheduler'
sub pid_of { return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = '$_[0]'"); }

# SQL for a pipeline of the role that runs it, which waits at advisory lock number $lock in each window
sub pipeline
{
	my ($name, $lock) = @_;
	return qq{SELECT idem_create_pipeline('$name', 'led', 'tgt', 'SELECT hashtext(''$name'')::bigint AS id, pg_advisory_xact_lock_shared($lock)::text AS v', 'upsert', '{id}',
		step => '10', start => '0', watermark => 'SELECT 9::bigint', check_every => '1 day');};
}

# invalidates a window of every pipeline of some, and waits until they are loaded
sub run_all
{
	my $which = shift // 'true';
	my $last = sql('SELECT clock_timestamp()');
	sql("SELECT count(idem_invalidate('led', name, '[0,10)')) FROM idem_pipeline WHERE enabled AND $which");
	return await("SELECT bool_and(last_run_at > '$last' AND turn_started_at IS NULL) FROM idem_pipeline_state s JOIN idem_pipeline USING (name) WHERE enabled AND $which", 'every pipeline has another turn');
}
my $before17 = sql('SHOW server_version_num') < 170000;
my ($rc, $out, $err);

sql(q{
	CREATE EXTENSION idem CASCADE;
	CREATE ROLE etl LOGIN; CREATE ROLE role1 LOGIN; CREATE ROLE role2 LOGIN; CREATE ROLE role3 LOGIN; CREATE ROLE role4 LOGIN;
	GRANT CREATE, USAGE ON SCHEMA public TO etl;
	GRANT EXECUTE ON FUNCTION idem_enable_pipeline(text) TO etl, role1, role2;
	SELECT idem_create_ledger('led', 'int8range');
	GRANT SELECT, INSERT, UPDATE ON led TO PUBLIC; GRANT USAGE ON SEQUENCE led_run_id_seq TO PUBLIC;
	CREATE TABLE tgt (id bigint PRIMARY KEY, v text CHECK (v <> 'bad'));
	GRANT SELECT, INSERT, UPDATE ON tgt TO PUBLIC;
});

# failures of many roles, one after another: each has them written down by a session of its own
sub fail_as
{
	my $role = shift;
	$node->psql('postgres', qq{SET ROLE $role; BEGIN; CALL idem_load_window('led', 'tgt', 'SELECT \$1 AS id, ''bad'' AS v', '[0,10)', 'upsert', keys => '{id}', pipeline => '$role');});
}

foreach my $role (map { "role$_" } 1 .. 4)
{
	fail_as($role);
	await("SELECT count(*) = 1 FROM led WHERE pipeline = '$role' AND state = 'failed' AND run_by = '$role'", "a failure of $role is recorded");
	await("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'idem recorder'", 'and the recorder ends');
}
fail_as('role1');
await("SELECT count(*) = 2 FROM led WHERE pipeline = 'role1'", 'another one of the first, too');

# of a role that may not log in, where the server lets it have a session
sql('CREATE ROLE sleeper NOLOGIN');
fail_as('sleeper');
if ($before17)
{
	ok($node->wait_for_log(qr/failures of loads by role "sleeper" in their callers' transactions are not recorded.*HINT:  ALTER ROLE sleeper LOGIN/s), 'of a role that may not log in nothing is recorded, and the log says so');
	unlike(slurp_file($node->logfile), qr/FATAL/, 'nor tried');
}
else
{
	await("SELECT count(*) = 1 FROM led WHERE pipeline = 'sleeper' AND run_by = 'sleeper'", 'a failure of a role that may not log in is recorded');
}


# errors that are caught: forgotten if what made them good is committed, and not otherwise
sub load_call
{
	my ($pipeline, $value, $window, $force) = @_;
	$force //= 'false';
	return qq{CALL idem_load_window('led', 'tgt', 'SELECT \$1 + 5000 + hashtext(''$pipeline'') AS id, ''$value'' AS v', '$window', 'upsert', keys => '{id}', pipeline => '$pipeline', force => $force);};
}
sub as_role1
{
	my $transaction = shift;
	$node->psql('postgres', "SET client_min_messages = warning; SET ROLE role1; BEGIN; $transaction", on_error_stop => 0);
}
sub caught { return 'SAVEPOINT s; ' . load_call(@_) . 'ROLLBACK TO s; '; }

as_role1(caught('made good', 'bad', '[0,10)') . load_call('made good', 'good', '[0,10)') . 'COMMIT');
as_role1(caught('made good in parts', 'bad', '[0,10)') . load_call('made good in parts', 'good', '[5,10)') . 'SAVEPOINT s;' . load_call('made good in parts', 'good', '[0,5)') . 'RELEASE s; COMMIT');
as_role1(caught('good in vain', 'bad', '[0,10)') . load_call('good in vain', 'good', '[0,10)') . 'ROLLBACK');
as_role1(caught('taken back', 'bad', '[0,10)') . 'SAVEPOINT t; SAVEPOINT u;' . load_call('taken back', 'good', '[0,10)') . 'RELEASE u; ROLLBACK TO t; COMMIT');
as_role1(caught('a part', 'bad', '[0,10)') . load_call('a part', 'good', '[0,5)') . 'COMMIT');
as_role1(load_call('good before', 'good', '[0,10)') . caught('good before', 'bad', '[0,10)', 'true') . 'COMMIT');
as_role1(qq{DO \$do\$ BEGIN BEGIN } . load_call('handled', 'bad', '[0,10)') . q{ EXCEPTION WHEN check_violation THEN NULL; END; } . load_call('handled', 'good', '[0,10)') . q{ END $do$; COMMIT});
as_role1(qq{DO \$do\$ BEGIN BEGIN } . load_call('handled, not made good', 'bad', '[0,10)') . q{ EXCEPTION WHEN check_violation THEN NULL; END; END $do$; COMMIT});
as_role1(load_call('x' x 256, 'bad', '[0,10)'));
as_role1(load_call('the last', 'bad', '[0,10)'));
await("SELECT count(*) = 1 FROM led WHERE pipeline = 'the last' AND state = 'failed'", 'the last failure is recorded');
is(sql("SELECT string_agg(pipeline || ': ' || states, E'\\n' ORDER BY pipeline COLLATE \"C\") FROM (SELECT pipeline, string_agg(window_range || ' ' || state, ', ' ORDER BY run_id) AS states
	FROM led WHERE pipeline !~ '^(role|sleeper)' GROUP BY pipeline) p"), join("\n",
		'a part: [0,5) complete, [0,10) failed',
		'good before: [0,10) complete, [0,10) failed',
		'good in vain: [0,10) failed',
		'handled: [0,10) complete',
		'handled, not made good: [0,10) failed',
		'made good: [0,10) complete',
		'made good in parts: [5,10) complete, [0,5) complete',
		'taken back: [0,10) failed',
		'the last: [0,10) failed'), 'errors that are caught are forgotten when what made them good is committed, and not otherwise');
is(sql("SELECT DISTINCT details FROM led WHERE state = 'failed' AND pipeline <> 'sleeper'"), q({"context": "in its caller's transaction"}), 'with no SQL of ours');
ok($node->wait_for_log(qr/1 failures of loads in their callers' transactions could not be kept/), 'a name too long to be kept is not cut');

# an error over one pipeline's row ends no round
sql(q{CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.name = 'bad' THEN RAISE 'spoilt'; END IF; RETURN NEW; END $$;
	CREATE TRIGGER spoil BEFORE UPDATE ON idem_pipeline_state FOR EACH ROW EXECUTE FUNCTION spoil();});
sql('SET ROLE etl;' . pipeline('bad', 1) . pipeline('good', 1));
await("SELECT last_run_at IS NOT NULL FROM idem_pipeline_state WHERE name = 'good'", 'a row that cannot be written does not keep other pipelines from their turns');
ok($node->wait_for_log(qr/pipeline "bad" is left alone for a minute: spoilt/), 'the log names it');
is(() = slurp_file($node->logfile) =~ /left alone/g, 1, 'once');
my $good_ran = sql("SELECT last_run_at FROM idem_pipeline_state WHERE name = 'good'");
sql(q{SET ROLE etl; SELECT idem_retry('bad'), idem_retry('good')});
await("SELECT last_run_at > '$good_ran' FROM idem_pipeline_state WHERE name = 'good'", 'nor does one that cannot be made due keep others from being made so');
ok($node->wait_for_log(qr/pipeline "bad" is not made due: spoilt/), 'the log names it');
is(sql('SELECT count(*) FROM idem_wakeup'), '0', 'and it is not tried in every round');
sql("DROP TRIGGER spoil ON idem_pipeline_state");

# what is kept of gaps has a bound, however many there are
sql(q{SET ROLE etl; SELECT idem_create_ledger('holes', 'int8range');
	INSERT INTO holes (pipeline, window_range, state, blocked) SELECT 'holes', int8range(i, i + 1), CASE WHEN i % 2 = 0 THEN 'complete' ELSE 'failed' END::idem_state, i % 2 = 1 FROM generate_series(0, 3999) i;
	SELECT idem_create_pipeline('holes', 'holes', 'tgt', 'SELECT 1::bigint AS id', 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT 3999::bigint', check_every => '1 day')});
await("SELECT gaps IS NOT NULL FROM idem_pipeline_state WHERE name = 'holes'", 'a pipeline with many gaps has had its turn');
like(sql("SELECT gaps FROM idem_status WHERE pipeline = 'holes'"), qr/^\{\[1,2\),(?=.{9950,10010}$).*,\[\d+,\d+\), \.\.\.\}$/, 'what others see of them are the first');
is(sql("SET SESSION AUTHORIZATION etl; SELECT gaps::int8multirange = idem_gaps('holes', 'holes', int8range(0, 4000)) FROM idem_status WHERE pipeline = 'holes'"), 't', 'its owner sees all');
sql(q{SET ROLE etl; SELECT idem_drop_pipeline('holes'); DROP TABLE holes});

# who holds a lock on a row, in a prepared transaction even, does not keep the scheduler from starting
my $lock = $node->background_psql('postgres');
$lock->query_safe('SELECT pg_advisory_lock(2)');
sql('SET ROLE etl;' . pipeline('held', 2));
my $waits = "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
await($waits, 'a pipeline is in its turn');
sql("SET ROLE etl; BEGIN; SELECT idem_alter_pipeline('held', max_windows => 5); PREPARE TRANSACTION 'lock'");
my $scheduler = pid_of('idem scheduler');
sql("SELECT pg_terminate_backend($scheduler)");
await("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idem scheduler' AND pid <> $scheduler", 'the scheduler is replaced');
sql('SET ROLE etl;' . pipeline('other', 1));
await("SELECT last_run_at IS NOT NULL FROM idem_pipeline_state WHERE name = 'other'", 'and works');
is(sql("SELECT turn_started_at IS NOT NULL FROM idem_pipeline_state WHERE name = 'held'"), 't', 'what is locked waits');
sql("COMMIT PREPARED 'lock'");
$lock->query_safe('SELECT pg_advisory_unlock(2)');
await("SELECT last_run_at IS NOT NULL AND turn_started_at IS NULL FROM idem_pipeline_state WHERE name = 'held'", 'until it is not');

# a cancel is for a statement: scheduler and launcher have none, and do not end
$lock->query_safe('SELECT pg_advisory_lock(2)');
sql("SELECT idem_invalidate('led', 'held', '[0,10)')");
await($waits, 'a turn is under way');
my %pid = map { $_ => pid_of($_) } 'idem scheduler', 'idem launcher';
sql("SELECT pg_cancel_backend($_)") foreach values %pid;
$lock->query_safe('SELECT pg_advisory_unlock(2)');
await("SELECT turn_started_at IS NULL FROM idem_pipeline_state WHERE name = 'held'", 'the turn ends');
is(pid_of($_), $pid{$_}, "the $_ is the same") foreach sort keys %pid;
is(sql("SELECT crashes FROM idem_pipeline_state WHERE name = 'held'"), '0', 'and nothing is taken for a crash');

# what a database's owner sets for its sessions is not for the scheduler
sql("ALTER DATABASE postgres SET role = 'sleeper'; ALTER DATABASE postgres SET default_transaction_read_only = on; ALTER DATABASE postgres SET exit_on_error = on;
	SELECT pg_terminate_backend($pid{'idem scheduler'})");
my $reset = 'SET ROLE NONE; SET default_transaction_read_only = off;';
await("$reset SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idem scheduler' AND pid <> $pid{'idem scheduler'}", 'a scheduler starts in spite of them');
sql("$reset SELECT idem_invalidate('led', 'held', '[0,10)')");
await("$reset SELECT turn_started_at IS NOT NULL OR silent_turns > 0 OR last_error IS NOT NULL FROM idem_pipeline_state WHERE name = 'held'", 'and begins turns');
$node->safe_psql('template1', 'ALTER DATABASE postgres RESET ALL');

# that pipelines run by themselves is a right, which can be taken away
sql('SET ROLE role1;' . pipeline('mine', 3));
await("SELECT last_run_at IS NOT NULL FROM idem_pipeline_state WHERE name = 'mine'", 'a role that has the right has pipelines that run by themselves');
sql("REVOKE EXECUTE ON FUNCTION idem_enable_pipeline(text) FROM role1; SELECT idem_invalidate('led', 'mine', '[0,10)')");
await("SELECT state = 'waiting' AND waiting_for LIKE '%GRANT EXECUTE ON FUNCTION public.idem_enable_pipeline(text) TO role1' FROM idem_status WHERE pipeline = 'mine'", 'when it is taken away, they wait for it, and say so');
is(sql("SELECT idem_gaps('led', 'mine', '[0,10)')"), '{[0,10)}', 'and do not run');
sql('CREATE ROLE loaders; GRANT loaders TO role1; GRANT EXECUTE ON FUNCTION idem_enable_pipeline(text) TO loaders');
sql("SET ROLE role1; SELECT idem_enable_pipeline('mine')");
await("SELECT idem_gaps('led', 'mine', '[0,10)') = '{}'", 'a role may have it from another one');

# it is dumped
my $dump = $node->backup_dir . '/rights.sql';
mkdir $node->backup_dir;
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restore');
is($node->safe_psql('restored', "SELECT r, has_function_privilege(r, 'idem_enable_pipeline(text)', 'EXECUTE') FROM unnest('{etl,loaders,role3}'::text[]) r"), "etl|t\nloaders|t\nrole3|f", 'the right is dumped and restored');

# one worker is kept for who has none: the slow pipelines of one role do not keep out others
$lock->query_safe('SELECT pg_advisory_lock(4)');
sql('SET ROLE role2;' . join('', map { pipeline("slow $_", 4) } 1 .. 3));
await($waits, 'a slow pipeline runs');
sql('SET ROLE role1;' . pipeline('fast', 1));
await("SELECT last_run_at IS NOT NULL FROM idem_pipeline_state WHERE name = 'fast'", 'beside the slow pipelines of one role another one gets a worker');
await("SELECT count(*) = 1 FROM idem_status WHERE state = 'waiting' AND waiting_for LIKE 'its turn: the last of idem.max_workers is kept for other roles'", 'for which they wait');
is(sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"), '1', 'one at a time');
$lock->query_safe('SELECT pg_advisory_unlock(4)');
await("SELECT bool_and(last_run_at IS NOT NULL) FROM idem_pipeline_state", 'in the end all have run');

# backfills: so many workers together, so that those of pipelines that run by themselves are left
sub backfill
{
	my ($role, $call) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe("SET client_min_messages = warning; SET SESSION AUTHORIZATION $role");
	$session->query_until(qr/started/, "\\echo started\n$call;\n");
	return $session;
}
my $busy = "SELECT count(*) = %s FROM pg_stat_activity WHERE backend_type = 'idem backfill' AND wait_event = 'advisory'";
$lock->query_safe('SELECT pg_advisory_lock(5)');
sql(qq{SET ROLE $_; SELECT idem_create_pipeline('old of $_', 'led', 'tgt', 'SELECT \$1 + hashtext(current_user) AS id, pg_advisory_xact_lock_shared(5)::text AS v', 'upsert', '{id}', step => '1', start => '0',
	watermark => 'SELECT 9::bigint', enabled => false)}) foreach 'role2', 'role3';
my $backfill = backfill('role2', q{CALL idem_backfill('old of role2', '[0,10)', workers => 100)});
await(sprintf($busy, 1), 'a backfill takes idem.max_backfill_workers but for the last');
my $run = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "CALL idem_backfill('old of role3', '[0,10)', workers => 2)" ], '>', \$out, '2>', \$err);
await(sprintf($busy, 2), 'which another role has');
my (undef, undef, $refused) = $node->psql('postgres', q{\set VERBOSITY verbose
	CALL idem_backfill('old of role3', '[0,10)')});
like($refused, qr/ERROR:  53400: no worker is free for a backfill: all of idem.max_backfill_workers, 2, are busy\nHINT:  Try again when other backfills have ended, or increase idem.max_backfill_workers/, 'they are those of all backfills together');
ok(run_all("name = 'fast'"), 'a pipeline that runs by itself has its worker');
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL idem_backfill(''old of role2''%'");
await(sprintf($busy, 1), 'a backfill whose session is ended ends');
eval { $backfill->quit };
$backfill = backfill('role2', q{CALL idem_backfill('old of role2', '[0,10)', workers => 2)});
await(sprintf($busy, 2), 'and leaves its places to others');
$lock->query_safe('SELECT pg_advisory_unlock(5)');
$run->finish;
like($err, qr/NOTICE:  backfill of pipeline "old of role3" runs in 1 of 2 workers\nHINT:  More need a higher idem.max_backfill_workers.*loaded 10 windows/s, 'who gets fewer than he asked for is told');
$backfill->query_safe('SELECT 1');
$backfill->quit;
is(sql("SELECT idem_gaps('led', 'old of role2', '[0,10)')"), '{}', 'all is loaded');
$node->append_conf('postgresql.conf', 'idem.max_backfill_workers = 0');
$node->reload;
sql("SELECT idem_invalidate('led', 'old of role3', '[0,10)')");
ok($node->poll_query_until('postgres', "SELECT current_setting('idem.max_backfill_workers') = '0'"), 'there may be none');
($rc, $out, $err) = $node->psql('postgres', "CALL idem_backfill('old of role3', '[0,10)')");
like($err, qr/no worker is free for a backfill: all of idem.max_backfill_workers, 0, are busy/, 'then backfills are refused');
$node->append_conf('postgresql.conf', 'idem.max_backfill_workers = 3');
$node->reload;

# an owner who may not log in has no workers where the server lets him have none
sql("GRANT ALL ON SCHEMA public TO sleeper; SET ROLE sleeper; SELECT idem_create_pipeline('asleep', 'led', 'tgt', 'SELECT \$1 - 1000 AS id', 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT 9::bigint', enabled => false)");
($rc, $out, $err) = $node->psql('postgres', q{\set VERBOSITY verbose
	SET ROLE sleeper; CALL idem_backfill('asleep', '[0,10)')});
like($err, $before17
	? qr/ERROR:  42501: pipeline "asleep" cannot be loaded by workers: role "sleeper" may not log in\nDETAIL:  .*\nHINT:  ALTER ROLE sleeper LOGIN, or CALL idem_load_window\('asleep'/
	: qr/loaded 10 windows/, 'an owner who may not log in');

# texts that do not fit are cut between two characters
my $long = 'x' . "\xc3\xa9" x 47;
sql(qq{SET client_encoding = 'UTF8'; SET ROLE role1; SELECT idem_create_pipeline('$long', 'led', 'tgt', 'SELECT \$1 - 100 AS id, complain(pg_advisory_xact_lock_shared(6)::text) AS v', 'upsert', '{id}', step => '1', start => '0',
	watermark => 'SELECT 9::bigint', enabled => false);}) if sql(q{CREATE FUNCTION complain(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE '%', repeat(chr(233), 400); END $$}) eq '';
($rc, $out, $err) = $node->psql('postgres', "SET client_encoding = 'UTF8'; CALL idem_backfill('$long', '[0,1)')");
my ($detail) = $err =~ /DETAIL:  The first error was: (.*)/;
ok($detail && utf8::decode($detail), 'an error');
is(length $detail, 255, 'of which there is room for so much');
$lock->query_safe('SELECT pg_advisory_lock(6)');
$run = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SET client_encoding = 'UTF8'", '-c', "CALL idem_backfill('$long', '[0,1)')" ], '>', \$out, '2>', \$err);
await(sprintf($busy, 1), 'a worker runs');
SKIP:
{
	my $title = '/proc/' . pid_of('idem backfill') . '/cmdline';
	skip 'no /proc', 1 if !-e $title;
	# the server shows bytes that are not ASCII as question marks
	like(slurp_file($title), qr/idem backfill: x\?{78}(?!\?)/, 'its process, too');
}
sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'idem backfill'");
$run->finish;
$lock->query_safe('SELECT pg_advisory_unlock(6)');
sql("SELECT idem_drop_pipeline('$long')");

# an error's text is of any length, but not what the scheduler keeps of it
sql(q{CREATE FUNCTION shout() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE '%', repeat(chr(233), 100000); END $$; SET ROLE etl;
	SELECT idem_alter_pipeline('good', watermark => 'SELECT shout()')});
await("SELECT octet_length(last_error) = 2000 FROM idem_pipeline_state WHERE name = 'good'", 'of a long error the beginning is kept');
sql("SET ROLE etl; SELECT idem_alter_pipeline('good', watermark => 'SELECT 9::bigint')");

# memory: of a turn that has ended nothing is left
sub scheduler_memory
{
	my $from = -s $node->logfile;
	sql("SELECT pg_log_backend_memory_contexts(pid) FROM pg_stat_activity WHERE backend_type = 'idem scheduler'");
	$node->wait_for_log(qr/Grand total: /, $from);
	my $log = slurp_file($node->logfile, $from);
	$log =~ /idem scheduler: .*; (\d+) used/ or die $log;
	return ($1, scalar(() = $log =~ /idem turn/g));
}

run_all() foreach 1 .. 3;
my ($before) = scheduler_memory();
run_all() foreach 1 .. 10;
my ($after, $turns) = scheduler_memory();
cmp_ok($after - $before, '<', 1000, 'the scheduler keeps nothing of turns that have ended');
is($turns, 0, 'nor of the last');

$node->stop;
done_testing();
