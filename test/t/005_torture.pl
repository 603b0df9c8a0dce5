# Many sessions load overlapping windows of four targets while others change the
# source, and backends are cancelled, terminated and killed and the server stopped:
# what the ledger calls complete must at all times be what the source holds.
#
# IDEM_TORTURE is the duration in seconds.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IdemTorture;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $seconds = $ENV{IDEM_TORTURE} || 30;
my $loaders = 6;
my $writers = 2;
my $size = 1000;    # windows lie in [0, size)

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
restart_after_crash = on
deadlock_timeout = 50ms
log_min_messages = log
log_statement = none
max_wal_size = 1GB
});
$node->start;

$node->safe_psql('postgres', qq{
	CREATE EXTENSION idem CASCADE;
	CREATE TABLE src (id int PRIMARY KEY, w int NOT NULL, v text);
	CREATE INDEX ON src (w);
	CREATE SEQUENCE new_id START 10000;
	INSERT INTO src SELECT i, i % $size, md5(i::text) FROM generate_series(0, 4999) i;
	CREATE TABLE up (LIKE src INCLUDING ALL);
	CREATE TABLE re (LIKE src INCLUDING ALL);
	CREATE TABLE bag (LIKE src);
	CREATE TABLE parts (LIKE src) PARTITION BY RANGE (w);
	SELECT format('CREATE TABLE parts%s PARTITION OF parts FOR VALUES FROM (%s) TO (%s)', i, i * 100, i * 100 + 100)
		FROM generate_series(0, @{[$size / 100 - 1]}) i \\gexec
	SELECT idem_create_ledger('led', 'int8range');
});
$node->safe_psql('postgres', change_procedure(0.3, qw(up re bag parts)));

# The arguments of one random load.
sub arguments
{
	my ($lo, $hi) = random_window($size, 300);
	my $target = one_of(qw(up re bag parts));
	my $keys = one_of("'{id}'", 'NULL');
	my %more = (
		step => one_of('NULL', "'" . (5 + int rand 200) . "'", "'" . (1 + int rand 5) . "'"),
		force => one_of('false', 'false', 'false', 'true'),
		lookback => one_of('NULL', 'NULL', "'20'"),
		on_busy => one_of("'wait'", "'wait'", "'skip'", "'error'"),
		on_error => one_of("'stop'", "'continue'"));

	$keys = "'{id}'" if $target eq 'up' || $target eq 're';
	return "'led', '$target', '" . one_of('src', 'SELECT * FROM src WHERE w >= $1 AND w < $2') .
		"', '[$lo,$hi)', '" . ($target eq 'up' ? 'upsert' : 'reload') .
		"', keys => $keys, window_column => 'w', pipeline => '$target'" .
		join('', map { ", $_ => $more{$_}" } sort keys %more);
}

# What a loader does in one session.
sub load_script
{
	my $script = "SET client_min_messages = warning;\nSET idem.allow_exclusive = " . one_of('on', 'off') .
		";\nSET work_mem = " . one_of("'64kB'", "'4MB'") .
		";\nSET idem.source_digest = " . one_of('on', 'on', 'off') .
		";\nSET idem.force_statements = " . one_of('on', 'off', 'off') .
		";\nSET idem.batch_time = " . one_of("'0'", "'50ms'", "'10s'") . ";\n";

	$script .= 'SET statement_timeout = ' . (5 + int rand 100) . ";\n" if rand() < 0.1;
	$script .= 'SET lock_timeout = ' . (1 + int rand 20) . ";\n" if rand() < 0.1;
	return $script . 'CALL idem_load_window(' . arguments() . ");\n" if rand() < 0.7;
	return $script . "BEGIN;\n" .
		join('', map { 'SELECT FROM idem_load(' . arguments() . ");\n" } 0 .. int rand 3) .
		one_of('COMMIT', 'COMMIT', 'ROLLBACK') . ";\n";
}

# What a writer does in one session.
sub change_script
{
	my ($lo, $hi) = random_window($size, 20);

	return sprintf "CALL change(%d, %d, %d, %s);\n", int rand 4, $lo, $hi, one_of('true', 'false');
}

# What is complete is what the source holds, in one snapshot that no TRUNCATE can slip under.
my $check = q{
	BEGIN;
	LOCK TABLE parts IN ACCESS SHARE MODE;
	WITH covered AS MATERIALIZED (SELECT pipeline, range_agg(window_range) AS windows FROM led WHERE state = 'complete' GROUP BY pipeline),
	want AS (SELECT pipeline, id, w, v FROM src, covered WHERE windows @> w::bigint),
	have AS (SELECT * FROM (SELECT 'up' AS pipeline, * FROM up UNION ALL SELECT 're', * FROM re
		UNION ALL SELECT 'bag', * FROM bag UNION ALL SELECT 'parts', * FROM parts) t
		JOIN covered USING (pipeline) WHERE windows @> w::bigint)
	SELECT (SELECT count(*) FROM (TABLE want EXCEPT ALL SELECT pipeline, id, w, v FROM have) missing),
		(SELECT count(*) FROM (SELECT pipeline, id, w, v FROM have WHERE pipeline <> 'up' EXCEPT ALL TABLE want) surplus),
		(SELECT count(*) FROM led WHERE state = 'running');
	COMMIT;
};

my %done = map { $_ => 0 } qw(cancel terminate SIGKILL stop check);
my @wrong;

# One act of violence, or a check; which one is chosen, unless it is given.
sub act
{
	my $how = shift || one_of(qw(cancel cancel cancel terminate terminate check check SIGKILL),
		rand() < 0.3 ? 'stop' : 'cancel');
	my ($rc, $out);

	if ($how eq 'check')
	{
		# while the server recovers, psql may be gone before it has been given the query
		eval { ($rc, $out) = $node->psql('postgres', $check); 1 } or return;
		return if $rc;
		push @wrong, $out if $out ne '0|0|0';
	}
	else
	{
		disturb($how, "SELECT pid FROM pg_stat_activity WHERE application_name = 'torture' AND state = 'active'") or return;
	}
	$done{$how}++;
	return;
}

# A session may end by cancel and timeouts, busy, deadlock, and with a lost server.
begin_torture($node, $seconds, qw(57014 55P03 40P01 57P01 57P02 57P03));
start_child(\&load_script) foreach 1 .. $loaders;
start_child(\&change_script) foreach 1 .. $writers;
act('SIGKILL') until $done{SIGKILL};
while (torturing())
{
	sleep(rand() * 0.4);
	act();
}
my ($ended, $otherwise) = await_children();
$node->poll_query_until('postgres', 'SELECT true') or die 'the server did not come back';

note join ', ', map { "$_: $done{$_}" } sort keys %done;
note 'sessions ended with ', join ', ', map { "$_: $ended->{$_}" } sort keys %$ended;
note $node->safe_psql('postgres', q{SELECT format('%s %s by %s: %s', state, pipeline, coalesce(method, mode), count(*))
	FROM led GROUP BY state, pipeline, coalesce(method, mode) ORDER BY 1});

cmp_ok($ended->{ok} || 0, '>', $seconds, 'many loads succeeded');
cmp_ok($done{SIGKILL}, '>', 0, 'backends were killed');
is(join("\n", @wrong), '', 'what was complete was right at all times');
is(join("\n", keys %$otherwise), '', 'no session ended otherwise than it may');
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT error_code, ',') FROM led
	WHERE state = 'failed' AND error_code NOT IN ('57014', '55P03', '40P01')}), '', 'no window failed otherwise than it may');

# the rest, in peace; then everything is right
foreach my $target (qw(up re bag parts))
{
	my $mode = $target eq 'up' ? 'upsert' : 'reload';
	$node->safe_psql('postgres', "CALL idem_load_window('led', '$target', 'src', '[0,$size)', '$mode',
		keys => '{id}', window_column => 'w', pipeline => '$target')");
}
like($node->safe_psql('postgres', $check), qr/^0\|0\|0$/m, 'in the end all of the source is there, and nothing else');
is($node->safe_psql('postgres', 'SELECT count(*) FROM ((TABLE up EXCEPT TABLE src) EXCEPT SELECT up.* FROM up WHERE id NOT IN (SELECT id FROM src)) d'),
	'0', 'what an upsert has kept is not in the source');
is($node->safe_psql('postgres', "SELECT pipeline FROM led WHERE state = 'complete' GROUP BY 1 HAVING range_agg(window_range) <> '{[0,$size)}'"),
	'', 'every window is complete');
is($node->safe_psql('postgres', q{
		SELECT run_id, source_rows, n, source_digest, digest FROM led,
			LATERAL (SELECT count(*) AS n, idem_digest(src) AS digest FROM src WHERE window_range @> w::bigint) s
		WHERE state = 'complete' AND source_rows IS NOT NULL
			AND (source_rows <> n OR source_digest <> digest OR inserted_rows + updated_rows + unchanged_rows <> n)}),
	'', 'the counts and digests of complete windows are right');
is($node->safe_psql('postgres', q{
		SELECT pipeline, sum(inserted_rows) - sum(deleted_rows), n FROM led JOIN
			(SELECT 'up' AS pipeline, count(*) AS n FROM up UNION ALL SELECT 're', count(*) FROM re UNION ALL SELECT 'bag', count(*) FROM bag) t USING (pipeline)
		WHERE source_rows IS NOT NULL GROUP BY pipeline, n HAVING sum(inserted_rows) - sum(deleted_rows) <> n}),
	'', 'what was inserted and not deleted is there');

$node->stop;
done_testing();
