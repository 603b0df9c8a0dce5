# A load that is killed, at any point, leaves either a complete window or nothing;
# running it again loads only what is missing, and nothing twice.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IdemTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nlog_min_messages = fatal");
$node->start;

$node->safe_psql('postgres', q{
	CREATE EXTENSION idem CASCADE;
	CREATE TABLE src (id int, ts date, v text);
	INSERT INTO src SELECT i, '2024-01-01'::date + i / 1000, 'v' || i FROM generate_series(0, 9999) i;
	CREATE TABLE tgt (id int PRIMARY KEY, ts date NOT NULL, v text);
	CREATE TABLE bag (id int, ts date NOT NULL, v text);
	SELECT idem_create_ledger('led', 'daterange');
	CREATE UNLOGGED TABLE uptime (x int);
});

# The sources and audits wait on an advisory lock, at the day that is asked for.
my $upsert = q{CALL idem_load_window('led', 'tgt', %s, '[2024-01-01,2024-01-11)', 'upsert', keys => '{id}', window_column => 'ts', step => '1 day', audit => %s)};
my $reload = q{CALL idem_load_window('led', 'bag', %s, '[2024-01-01,2024-01-11)', 'reload', window_column => 'ts', step => '1 day', audit => %s)};
my $source = 'SELECT * FROM src WHERE ts >= $1 AND ts < $2';
my $source_waits = q{SELECT s.* FROM src s, (SELECT CASE WHEN $1 = '2024-01-05' THEN pg_advisory_xact_lock(1) END) w WHERE ts >= $1 AND ts < $2};
my $audit_waits = q{SELECT 1 FROM (SELECT CASE WHEN $1 = '2024-01-05' THEN pg_advisory_xact_lock(1) END AS x OFFSET 0) w WHERE x IS NULL AND x IS NOT NULL};

sub quoted { my $text = shift; return defined $text ? "\$q\$$text\$q\$" : 'NULL'; }

# Starts a load that will wait, returns its session's pid once it does.
sub start_load
{
	my ($template, $src, $audit) = @_;
	my $session = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
			sprintf($template, quoted($src), quoted($audit)) ],
		'>', \my $out, '2>', \my $err);
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
	  or die "the load did not reach its wait point";
	my $pid = $node->safe_psql('postgres',
		"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
	return ($session, $pid);
}

# Kills a backend and waits until the server has noticed, and recovered: that empties unlogged
# tables.  Returns how many it has killed: none if it had ended by itself, which shows only
# when it is reaped; until then it can be killed without effect.
sub crash
{
	my $pid = shift;
	$node->safe_psql('postgres', 'INSERT INTO uptime VALUES (1)');
	my $killed = kill 'KILL', $pid;
	await_end($pid);
	# the server does not let anybody in between reaping a killed process and its restart
	$node->poll_query_until('postgres', 'SELECT true') or die 'no restart';
	my $survived = $node->safe_psql('postgres', 'SELECT count(*) FROM uptime');
	$node->safe_psql('postgres', 'TRUNCATE uptime');
	return $killed && !$survived ? 1 : 0;
}

# How many rows differ between a target and the source, before a day.
sub differences
{
	my ($table, $until) = @_;
	return $node->safe_psql('postgres', qq{
		SELECT count(*) FROM ((TABLE $table EXCEPT ALL SELECT * FROM src WHERE ts < '$until')
			UNION ALL (SELECT * FROM src WHERE ts < '$until' EXCEPT ALL TABLE $table)) d});
}

sub reset_all
{
	$node->safe_psql('postgres', 'TRUNCATE tgt, bag, led');
	return;
}

foreach my $case (
	[ 'upsert, in the source', $upsert, 'tgt', $source_waits, undef ],
	[ 'upsert, before completion', $upsert, 'tgt', $source, $audit_waits ],
	[ 'reload, in the source', $reload, 'bag', $source_waits, undef ],
	[ 'reload, before completion', $reload, 'bag', $source, $audit_waits ])
{
	my ($name, $template, $table, $src, $audit) = @$case;

	foreach my $how ('SIGKILL', 'immediate stop', 'terminate', 'cancel')
	{
		reset_all();
		my $holder = $node->background_psql('postgres');
		$holder->query_safe('SELECT pg_advisory_lock(1)');
		my ($session, $pid) = start_load($template, $src, $audit);

		if ($how eq 'SIGKILL')
		{
			crash($pid) or die 'a load that waits was not killed';
			$session->finish;
			eval { $holder->quit };
		}
		elsif ($how eq 'immediate stop')
		{
			$node->stop('immediate');
			$session->finish;
			eval { $holder->quit };
			$node->start;
		}
		else
		{
			my $function = $how eq 'cancel' ? 'pg_cancel_backend' : 'pg_terminate_backend';
			$node->safe_psql('postgres', "SELECT $function($pid)");
			$session->finish;
			$holder->quit;
		}

		is(differences($table, '2024-01-05'), '0', "$name, $how: what was complete is there, and no more");
		is($node->safe_psql('postgres',
				"SELECT count(*) FILTER (WHERE state = 'complete'), count(*) FILTER (WHERE state = 'running'),
					count(*) FILTER (WHERE state = 'failed') FROM led"),
			$how eq 'cancel' ? '4|0|1' : '4|0|0', "$name, $how: the ledger says so");

		my ($rc, $out, $err) = $node->psql('postgres',
			sprintf($template, quoted($source), 'NULL'));
		like($err, qr/loaded 6 windows, source rows: 6000, inserted: 6000,/, "$name, $how: again, only the missing windows are loaded");
		is(differences($table, '2025-01-01'), '0', "$name, $how: nothing is missing, nothing is there twice");
	}
}

# In a batch: windows 2 to 5 are loaded together, and the fifth waits for a key that somebody else writes.
foreach my $how ('SIGKILL', 'immediate stop', 'terminate', 'cancel')
{
	reset_all();
	my $holder = $node->background_psql('postgres');
	$holder->query_safe("BEGIN; INSERT INTO tgt VALUES (4500, '2024-01-05', 'not committed')");
	my $session = do
	{
		local $ENV{PGOPTIONS} = '-c idem.batch_time=10min';
		IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', sprintf($upsert, quoted($source), 'NULL') ],
			'>', \my $out, '2>', \my $err);
	};
	my $waiting = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL idem_load_window%' AND wait_event_type = 'Lock'";
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($waiting) w") or die 'the batch did not reach its wait point';
	my $pid = $node->safe_psql('postgres', $waiting);

	is($node->safe_psql('postgres', "SELECT idem_gaps('led', 'public.tgt', '[2024-01-01,2024-01-11)'), count(*) FROM tgt"),
		'{[2024-01-02,2024-01-11)}|1000', "batch, $how: nothing is seen of it");
	if ($how eq 'SIGKILL') { crash($pid) or die 'a load that waits was not killed' }
	elsif ($how eq 'immediate stop')
	{
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		my $function = $how eq 'cancel' ? 'pg_cancel_backend' : 'pg_terminate_backend';
		$node->safe_psql('postgres', "SELECT $function($pid)");
	}
	$session->finish;
	eval { $holder->quit };
	is(differences('tgt', '2024-01-02'), '0', "batch, $how: nothing of it is there");
	is($node->safe_psql('postgres', "SELECT string_agg(window_range || ' ' || state, ', ' ORDER BY run_id) FROM led"),
		'[2024-01-01,2024-01-02) complete' . ($how eq 'cancel' ? ', [2024-01-05,2024-01-06) failed' : ''), "batch, $how: the ledger says so");

	my ($rc, $out, $err) = $node->psql('postgres', sprintf($upsert, quoted($source), 'NULL'));
	like($err, qr/loaded 9 windows, source rows: 9000, inserted: 9000,/, "batch, $how: again, only the missing windows are loaded");
	is(differences('tgt', '2025-01-01'), '0', "batch, $how: nothing is missing, nothing is there twice");
}

# Kill in the middle of a first load whose rows are written as they come: it waits for a session
# that inserts one of its keys.
reset_all();
{
	my $holder = $node->background_psql('postgres');
	my $stream = q{CALL idem_load_window('led', 'tgt', 'src', '[2024-01-01,2024-01-11)', 'upsert', keys => '{id}', window_column => 'ts')};

	$holder->query_safe(q{BEGIN; INSERT INTO tgt VALUES (9500, '2024-01-10', 'another')});
	my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $stream ], '>', \my $out, '2>', \my $err);
	my $waiting = q{FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted};
	$node->poll_query_until('postgres', "SELECT count(*) = 1 $waiting") or die 'the load did not reach the key';
	cmp_ok($node->safe_psql('postgres', q{SELECT pg_relation_size('tgt')}), '>', 100000, 'rows are written while the source runs');
	crash($node->safe_psql('postgres', "SELECT pid $waiting")) or die 'a load that waits was not killed';
	$session->finish;
	eval { $holder->quit };
	is($node->safe_psql('postgres', 'SELECT count(*) FROM tgt'), '0', 'first load, killed: nothing of it is there');
	$node->safe_psql('postgres', $stream);
	is(differences('tgt', '2025-01-01'), '0', 'first load, killed: again, all is there');
	$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');
	is($node->safe_psql('postgres', q{SELECT bt_index_check('tgt_pkey', true)}), '', 'first load, killed: the index has every row');
}

# Kill at random moments of a load that does not wait; many small windows.
reset_all();
my $loads = 0;
my $kills = 0;
my $load = q{CALL idem_load_window('led', 'tgt', 'src', '[2024-01-01,2024-01-11)', 'upsert', keys => '{id}', window_column => 'ts', step => '1 day')};
for my $try (1 .. 10)
{
	my $session = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $load ],
		'>', \my $out, '2>', \my $err);
	usleep(1000 * (10 + 10 * $try));
	my $pid = $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL idem_load_window%' AND state = 'active'");
	$kills += crash($pid) if $pid;
	$session->finish;
	$loads++;
}
$node->safe_psql('postgres', $load);
is(differences('tgt', '2025-01-01'), '0', "after $kills kills in $loads loads the target is the source");
is($node->safe_psql('postgres', 'SELECT count(*), sum(source_rows) FROM led'), '10|10000', 'each window is there once');

$node->stop;
done_testing();
