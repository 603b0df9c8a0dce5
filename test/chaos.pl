# Everything at once, for test/hostile: loads of several targets, by hand, in prepared transactions,
# by pipelines and in backfills; DDL on source, target and ledger; triggers, rules and policies that
# get in the way; cancels, terminations, kills, an immediate stop.  A load may fail, with an error that
# is the user's to understand; what the ledger calls complete is at all times what the source holds,
# no two complete windows overlap, and in the end, when all that stood in the way is gone, the rest
# is loaded.  That no server said a word about itself, test/run looks up in the log.
#
# IDEM_CHAOS is the duration in seconds.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/t";

use IdemTest;
use IdemTorture;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $seconds = $ENV{IDEM_CHAOS} || 180;
my $size = 1000;    # windows lie in [0, size)
my @targets = qw(up re bag parts vw);
my @pipelines = qw(p1 p2);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'idem'
idem.databases = 'postgres'
idem.crash_delay = 200
restart_after_crash = on
max_prepared_transactions = 10
max_worker_processes = 16
deadlock_timeout = 50ms
max_wal_size = 1GB
});
$node->start;

$node->safe_psql('postgres', qq{
	CREATE EXTENSION idem CASCADE;
	CREATE ROLE etl LOGIN;
	GRANT CREATE, USAGE ON SCHEMA public TO etl;
	GRANT EXECUTE ON FUNCTION idem_enable_pipeline(text) TO etl;
	SET ROLE etl;
	CREATE TABLE src (id int PRIMARY KEY, w int NOT NULL, v text);
	CREATE INDEX ON src (w);
	CREATE SEQUENCE new_id START 10000;
	INSERT INTO src SELECT i, i % $size, md5(i::text) FROM generate_series(0, 2999) i;
	CREATE VIEW sv AS SELECT * FROM src;
	CREATE FUNCTION sf(lo bigint, hi bigint) RETURNS TABLE (id int, w int, v text) LANGUAGE sql STABLE AS 'SELECT id, w, v FROM src WHERE w >= lo AND w < hi';
	CREATE TABLE up (LIKE src); ALTER TABLE up ADD CONSTRAINT up_key PRIMARY KEY (id);
	CREATE TABLE re (LIKE src); ALTER TABLE re ADD CONSTRAINT re_key PRIMARY KEY (id);
	CREATE TABLE bag (LIKE src); CREATE INDEX ON bag (w);
	CREATE TABLE parts (LIKE src) PARTITION BY RANGE (w);
	SELECT format('CREATE TABLE parts%s PARTITION OF parts FOR VALUES FROM (%s) TO (%s)', i, i * 100, i * 100 + 100)
		FROM generate_series(0, @{[$size / 100 - 1]}) i \\gexec
	CREATE TABLE base (LIKE src, hidden int DEFAULT 1); ALTER TABLE base ADD CONSTRAINT base_key PRIMARY KEY (id);
	CREATE VIEW vw AS SELECT id, w, v FROM base;
	CREATE TABLE t1 (LIKE src INCLUDING ALL);
	CREATE TABLE t2 (LIKE src);
	SELECT idem_create_ledger('led', 'int8range');
	SELECT idem_create_pipeline('p1', 'led', 't1', 'sv', 'reload', '{id}', 'w', '50', '0', watermark => 'SELECT $size',
		check_every => '1 second', retry_base => '0.1 seconds', retry_max => '1 second', max_attempts => 1000);
	SELECT idem_create_pipeline('p2', 'led', 't2', 'SELECT * FROM src WHERE w >= \$1 AND w < \$2', 'reload', NULL, 'w', '70', '0', watermark => 'SELECT $size',
		check_every => '1 second', retry_base => '0.1 seconds', retry_max => '1 second', max_attempts => 1000, notify => true);

	-- what gets in the way of a row: nothing, a swallowed row, an error, an altered setting, DDL, the end of the session
	CREATE FUNCTION harm() RETURNS trigger LANGUAGE plpgsql AS \$\$
	DECLARE
		what text := TG_ARGV[0];
	BEGIN
		IF random() < 0.02 THEN
			CASE what
				WHEN 'swallow' THEN RETURN NULL;
				WHEN 'raise' THEN RAISE EXCEPTION 'not today';
				WHEN 'set' THEN PERFORM set_config(s, v, false) FROM (VALUES ('DateStyle', 'German'), ('search_path', 'pg_catalog'), ('TimeZone', 'Asia/Tokyo'), ('work_mem', '64kB')) x (s, v);
				WHEN 'alter' THEN EXECUTE format('ALTER TABLE %I.%I SET (fillfactor = 90)', TG_TABLE_SCHEMA, TG_TABLE_NAME);
				WHEN 'exit' THEN PERFORM pg_terminate_backend(pg_backend_pid());
				WHEN 'read' THEN PERFORM count(*) FROM src;
				ELSE NULL;
			END CASE;
		END IF;
		RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
	END \$\$;
});
$node->safe_psql('postgres', 'SET ROLE etl; ' . change_procedure(0.2, @targets, @pipelines));

# The arguments of one random load, with a source of one of many shapes.
sub arguments
{
	my ($lo, $hi) = random_window($size, 300);
	my $target = one_of(@targets);
	my $keys = one_of("'{id}'", 'NULL');
	my $source = one_of('src', 'sv',
		'SELECT * FROM src WHERE w >= $1 AND w < $2',
		'SELECT v, w, id FROM sv WHERE w >= $1 AND w < $2',
		'SELECT * FROM sf($1, $2)',
		'WITH s AS MATERIALIZED (SELECT * FROM src) SELECT v AS v, id AS id, w AS w FROM s WHERE w >= $1 AND w < $2',
		'SELECT id, w, v FROM src WHERE w >= $1 AND w < $2 AND id % 2 = 0 UNION ALL SELECT id, w, v FROM sv WHERE w >= $1 AND w < $2 AND id % 2 <> 0');
	my %more = (
		step => one_of('NULL', "'" . (5 + int rand 200) . "'"),
		force => one_of('false', 'false', 'false', 'true'),
		lookback => one_of('NULL', 'NULL', "'20'"),
		on_busy => one_of("'wait'", "'wait'", "'skip'", "'error'"),
		on_error => one_of("'stop'", "'continue'"));

	$keys = "'{id}'" if $target eq 'up' || $target eq 're';
	return "'led', '$target', '$source', '[$lo,$hi)', '" . ($target eq 'up' ? 'upsert' : 'reload') .
		"', keys => $keys, window_column => 'w', pipeline => '$target'" .
		join('', map { ", $_ => $more{$_}" } sort keys %more);
}

# What every session begins with: the owner, whom policies bind, or a superuser.
sub settings
{
	return "SET client_min_messages = error;\n" . one_of('', "SET SESSION AUTHORIZATION etl;\n") .
		"SET lock_timeout = @{[100 + int rand 2000]};\nSET statement_timeout = @{[one_of(50, 500, 20000, 20000)]};\n";
}

# What a loader does in one session.
my $prepared = 0;

sub load_script
{
	my $script = settings() . 'SET idem.allow_exclusive = ' . one_of('on', 'off') .
		";\nSET work_mem = " . one_of("'64kB'", "'4MB'") .
		";\nSET idem.source_digest = " . one_of('on', 'on', 'off') . ";\n";

	return $script . 'CALL idem_load_window(' . arguments() . ");\n" if rand() < 0.7;
	return $script . "BEGIN;\n" .
		join('', map { 'SELECT FROM idem_load(' . arguments() . ");\n" } 0 .. int rand 3) .
		one_of('COMMIT', 'ROLLBACK', "PREPARE TRANSACTION 'p$$ " . ++$prepared . "'") . ";\n";
}

# What a writer of the source does in one session.
sub change_script
{
	my ($lo, $hi) = random_window($size, 20);

	return settings() . sprintf "CALL change(%d, %d, %d, %s);\n", int rand 4, $lo, $hi, one_of('true', 'false');
}

# Ends a prepared transaction, if there is one.
sub finish_script
{
	my ($rc, $gid) = $node->psql('postgres', 'SELECT gid FROM pg_prepared_xacts ORDER BY random() LIMIT 1');

	sleep(0.1);
	return $rc || $gid eq '' ? "SELECT 1;\n" : one_of('COMMIT', 'COMMIT', 'ROLLBACK') . " PREPARED '$gid';\n";
}

# What who runs the pipelines does: all there is to call.
sub operate_script
{
	my ($lo, $hi) = random_window($size, 400);
	my $pipeline = one_of(@pipelines);

	return settings() . one_of(
		"CALL idem_backfill('$pipeline', '[$lo,$hi)', workers => @{[1 + int rand 3]}, newest_first => @{[one_of('true', 'false')]})",
		"CALL idem_load_window('$pipeline', '[$lo,$hi)', force => @{[one_of('true', 'false')]})",
		"CALL idem_run_pipeline('$pipeline')",
		"SELECT idem_retry('$pipeline')",
		"SELECT idem_disable_pipeline('$pipeline')",
		"SELECT idem_enable_pipeline('$pipeline')",
		"SELECT idem_enable_pipeline('$pipeline')",
		"SELECT idem_alter_pipeline('$pipeline', step => '@{[10 + int rand 100]}')",
		"SELECT idem_alter_pipeline('$pipeline', lookback => '@{[1 + int rand 100]}')",
		"SELECT idem_invalidate('led', '@{[one_of(@targets, @pipelines)]}', '[$lo,$hi)')",
		"SELECT idem_adopt('led', 'up', 'up')",
		"SELECT idem_prune('led', '@{[one_of('1 second', '1 hour')]}')",
		"SELECT idem_gaps('led', 'up', '[$lo,$hi)'), idem_coverage('led', 're', '[$lo,$hi)')",
		'SELECT * FROM idem_status', 'SELECT * FROM idem_status', 'SELECT * FROM idem_progress',
		"SELECT * FROM idem_calendar('led', '$pipeline', '0', '$size', '10')",
		'SELECT idem_start_worker()', 'SELECT idem_stop_worker()') . ";\n";
}

# What can be done to a relation, and how it is undone.
my @ddl = (
	[ 'ALTER TABLE src ADD COLUMN x int', 'ALTER TABLE src DROP COLUMN x' ],
	[ 'ALTER TABLE src ADD COLUMN y text DEFAULT clock_timestamp()::text', 'ALTER TABLE src DROP COLUMN y' ],
	[ 'ALTER TABLE src RENAME id TO ident', 'ALTER TABLE src RENAME ident TO id' ],
	[ 'ALTER TABLE src RENAME TO gone', 'ALTER TABLE gone RENAME TO src' ],
	[ 'DROP INDEX src_w_idx', 'CREATE INDEX src_w_idx ON src (w)' ],
	[ 'CREATE OR REPLACE VIEW sv AS SELECT id, w, v FROM src UNION ALL SELECT id, w, v FROM src WHERE false', 'CREATE OR REPLACE VIEW sv AS SELECT id, w, v FROM src' ],
	[ 'CREATE OR REPLACE VIEW sv AS WITH s AS MATERIALIZED (SELECT v, w, id FROM src) SELECT id, w, v FROM s', 'CREATE OR REPLACE VIEW sv AS SELECT id, w, v FROM src' ],
	[ 'DROP VIEW sv; CREATE VIEW sv AS SELECT v, w, id FROM src', 'DROP VIEW IF EXISTS sv; CREATE VIEW sv AS SELECT id, w, v FROM src' ],
	[ 'DROP VIEW sv; ALTER TABLE src ALTER v TYPE varchar, ALTER w TYPE bigint; CREATE VIEW sv AS SELECT * FROM src',
		'DROP VIEW IF EXISTS sv; ALTER TABLE src ALTER v TYPE text, ALTER w TYPE int; CREATE VIEW sv AS SELECT id, w, v FROM src' ],
	[ 'CREATE OR REPLACE FUNCTION sf(lo bigint, hi bigint) RETURNS TABLE (id int, w int, v text) LANGUAGE plpgsql AS $$BEGIN RETURN QUERY SELECT s.id, s.w::int, s.v::text FROM src s WHERE s.w >= lo AND s.w < hi; END$$',
		q{CREATE OR REPLACE FUNCTION sf(lo bigint, hi bigint) RETURNS TABLE (id int, w int, v text) LANGUAGE sql STABLE AS 'SELECT id, w::int, v::text FROM src WHERE w >= lo AND w < hi'} ],
	[ 'ALTER TABLE re DROP CONSTRAINT re_key', 'ALTER TABLE re ADD CONSTRAINT re_key PRIMARY KEY (id)' ],
	[ 'ALTER TABLE up DROP CONSTRAINT up_key', 'ALTER TABLE up ADD CONSTRAINT up_key PRIMARY KEY (id)' ],
	[ 'ALTER TABLE up DROP CONSTRAINT up_key; ALTER TABLE up ADD CONSTRAINT up_key PRIMARY KEY (id) DEFERRABLE', 'ALTER TABLE up DROP CONSTRAINT IF EXISTS up_key; ALTER TABLE up ADD CONSTRAINT up_key PRIMARY KEY (id)' ],
	[ 'CREATE RULE r AS ON INSERT TO up DO INSTEAD NOTHING', 'DROP RULE r ON up' ],
	[ 'ALTER TABLE up ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY hide ON up USING (id % 7 <> 0) WITH CHECK (true)', 'DROP POLICY IF EXISTS hide ON up; ALTER TABLE up DISABLE ROW LEVEL SECURITY' ],
	[ 'ALTER TABLE led ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY hide ON led USING (run_id % 7 <> 0) WITH CHECK (true)', 'DROP POLICY IF EXISTS hide ON led; ALTER TABLE led DISABLE ROW LEVEL SECURITY' ],
	[ q{ALTER TABLE led ADD CONSTRAINT no CHECK (run_id % 11 <> 0) NOT VALID}, 'ALTER TABLE led DROP CONSTRAINT no' ],
	[ 'CREATE INDEX led_state ON led (state)', 'DROP INDEX led_state' ],
	[ 'ALTER TABLE led RENAME TO ledger_of_another_name', 'ALTER TABLE ledger_of_another_name RENAME TO led' ],
	[ 'ALTER TABLE parts DETACH PARTITION parts3; ALTER TABLE parts ATTACH PARTITION parts3 FOR VALUES FROM (300) TO (400)', 'SELECT 1' ],
	[ 'ALTER VIEW vw RENAME v TO v9', 'ALTER VIEW vw RENAME v9 TO v' ],
	[ 'CREATE OR REPLACE VIEW vw AS SELECT id, w, v FROM base WHERE hidden = 1', 'CREATE OR REPLACE VIEW vw AS SELECT id, w, v FROM base' ],
	[ 'ALTER TABLE base RENAME w TO ww', 'ALTER TABLE base RENAME ww TO w' ],
	(map { ([ "ALTER TABLE $_ ADD COLUMN x int", "ALTER TABLE $_ DROP COLUMN x" ],
		[ "ALTER TABLE $_ RENAME v TO u", "ALTER TABLE $_ RENAME u TO v" ],
		[ "ALTER TABLE $_ ALTER v TYPE varchar, ALTER id TYPE bigint", "ALTER TABLE $_ ALTER v TYPE text, ALTER id TYPE int" ],
		[ "ALTER TABLE $_ ADD CONSTRAINT no CHECK (v <> 'new') NOT VALID", "ALTER TABLE $_ DROP CONSTRAINT no" ],
		[ "ALTER TABLE $_ RENAME TO other_$_", "ALTER TABLE other_$_ RENAME TO $_" ]) } qw(up re bag parts t1)),
	(map { my $table = $_; map { [ "CREATE TRIGGER harm_$_ BEFORE INSERT OR UPDATE OR DELETE ON $table FOR EACH ROW EXECUTE FUNCTION harm('$_')",
		"DROP TRIGGER harm_$_ ON $table" ] } qw(none swallow raise set alter exit read) } qw(up re bag parts base t1 t2 led)),
	(map { [ one_of("VACUUM FULL $_", "REINDEX TABLE $_", "ANALYZE $_", "VACUUM (FREEZE) $_"), 'SELECT 1' ] } qw(src up re bag parts base t1 led)));

# Undoes what was done, whether it was or not.
sub undo
{
	$node->psql('postgres', "SET SESSION AUTHORIZATION etl; SET lock_timeout = '$_[1]'; $_[0]", on_error_stop => 0);
	return;
}

# What who changes the schema does in one session: something, its undoing, or both in one transaction.  A
# session that was killed in between may have left what keeps all others from going on: it is undone first.
my $last;

sub ddl_script
{
	undo($last, '1s') if $last;
	my ($do, $undo) = @{ one_of(@ddl) };
	my $script = "SET client_min_messages = error;\nSET lock_timeout = 500;\n" .
		($do =~ /^(VACUUM|ANALYZE|REINDEX)/ ? '' : "SET SESSION AUTHORIZATION etl;\n");

	$last = $undo;
	sleep(0.1);
	return $script . "$do;\n" if $undo eq 'SELECT 1';
	return $script . "$do;\n" . "SELECT pg_sleep(@{[rand 0.3]});\n$undo;\n" if rand() < 0.7;
	return $script . "BEGIN;\n$do;\nSELECT pg_sleep(@{[rand 0.1]});\n$undo;\n" . one_of('COMMIT', 'ROLLBACK') . ";\n" if rand() < 0.7;
	return $script . "$do;\n";
}

# What is complete is what the source holds, and complete windows do not overlap; all locked first, for a
# table that is rewritten is empty to snapshots from before.
my $check = q{
	BEGIN;
	LOCK TABLE src, up, re, bag, parts, base, t1, t2, led IN ACCESS SHARE MODE;
	WITH covered AS MATERIALIZED (SELECT pipeline, range_agg(window_range) AS windows FROM led WHERE state = 'complete' GROUP BY pipeline),
	want AS (SELECT pipeline, id, w, v FROM src, covered WHERE windows @> w::bigint),
	have AS (SELECT * FROM (SELECT 'up' AS pipeline, id, w, v FROM up UNION ALL SELECT 're', id, w, v FROM re
		UNION ALL SELECT 'bag', id, w, v FROM bag UNION ALL SELECT 'parts', id, w, v FROM parts UNION ALL SELECT 'vw', id, w, v FROM base
		UNION ALL SELECT 'p1', id, w, v FROM t1 UNION ALL SELECT 'p2', id, w, v FROM t2) t
		JOIN covered USING (pipeline) WHERE windows @> w::bigint)
	SELECT (SELECT string_agg(DISTINCT pipeline, ',') FROM (TABLE want EXCEPT ALL SELECT pipeline, id, w, v FROM have) missing),
		(SELECT string_agg(DISTINCT pipeline, ',') FROM (SELECT pipeline, id, w, v FROM have WHERE pipeline <> 'up' EXCEPT ALL TABLE want) surplus),
		(SELECT count(*) FROM led a JOIN led b ON a.pipeline = b.pipeline AND a.run_id < b.run_id AND a.window_range && b.window_range
			WHERE a.state = 'complete' AND b.state = 'complete');
	COMMIT;
};

my %done = map { $_ => 0 } qw(cancel terminate SIGKILL stop check);
my @wrong;

# One act of violence, or a check, which is possible only now and then.
sub act
{
	my $how = one_of(qw(cancel cancel cancel terminate terminate check check check), rand() < 0.5 ? 'SIGKILL' : rand() < 0.2 ? 'stop' : 'check');
	my ($rc, $out);

	if ($how eq 'check')
	{
		($rc, $out) = $node->psql('postgres', "SET lock_timeout = 1000;$check");
		return if $rc;
		push @wrong, $out if $out ne '||0';
	}
	else
	{
		disturb($how, q{SELECT pid FROM pg_stat_activity
			WHERE (application_name = 'torture' AND state = 'active') OR backend_type LIKE 'idem%'}) or return;
	}
	$done{$how}++;
	return;
}

# Besides what the violence ends with: what is busy, missing, altered, not there yet or not any more, forbidden,
# refused by a constraint or a trigger; but no internal error, and no lost row.
begin_torture($node, $seconds, qw(57014 55P03 40P01 57P01 57P02 57P03 40001
	09000 0A000 21000 23502 23505 23514 25006 27000 2BP01 42501 42601 42611 42701 42702 42703 42704 42710 42723 42804 42809 42830 42846 42883 42P01 42P07 42P10 42P16
	53400 55000 55006 55P04 P0001));
start_child(\&load_script) foreach 1 .. 4;
start_child(\&change_script) foreach 1 .. 2;
start_child(\&ddl_script) foreach 1 .. 2;
start_child(\&operate_script);
start_child(\&finish_script);
while (torturing())
{
	sleep(rand() * 0.5);
	act();
}
my ($ended, $otherwise) = await_children();
$node->poll_query_until('postgres', 'SELECT true') or die 'the server did not come back';

note join ', ', map { "$_: $done{$_}" } sort keys %done;
note 'sessions ended with ', join ', ', map { "$_: $ended->{$_}" } sort keys %$ended;
note $node->safe_psql('postgres', q{SELECT format('%s %s %s by %s: %s', state, pipeline, error_code, coalesce(method, mode), count(*))
	FROM led GROUP BY state, pipeline, error_code, coalesce(method, mode) ORDER BY 1}) if !$node->psql('postgres', 'TABLE led LIMIT 0');
cmp_ok($ended->{ok} || 0, '>', $seconds / 2, 'many sessions succeeded');
cmp_ok($done{check}, '>', 0, 'what is complete was looked at');
is(join("\n", @wrong), '', 'what was complete was right at all times');
is(join("\n", map { "$_ ($otherwise->{$_})" } sort keys %$otherwise), '', 'no session ended otherwise than it may');

# the rest, in peace; then everything is right
foreach my $gid (split /\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts'))
{
	$node->safe_psql('postgres', "ROLLBACK PREPARED '$gid'");
}
my %seen;
undo($_, '60s') foreach grep { !$seen{$_}++ } map { $_->[1] } @ddl;
$node->safe_psql('postgres', 'SELECT idem_start_worker()');
$node->safe_psql('postgres', "SELECT idem_alter_pipeline('$_', step => '10'), idem_retry('$_'), idem_enable_pipeline('$_')") foreach @pipelines;
await_true($node, "SELECT count(*) = 0 FROM unnest('{p1,p2}'::text[]) p WHERE idem_gaps('led', p, '[0,$size)') <> '{}'", 'the scheduler loads the rest of the pipelines');
foreach my $target (@targets)
{
	my $mode = $target eq 'up' ? 'upsert' : 'reload';
	$node->safe_psql('postgres', "CALL idem_load_window('led', '$target', 'src', '[0,$size)', '$mode',
		keys => '{id}', window_column => 'w', pipeline => '$target')");
}
is($node->safe_psql('postgres', $check), '||0', 'in the end all of the source is there, nothing else, and no windows overlap');
is($node->safe_psql('postgres', "SELECT pipeline, range_agg(window_range) FROM led WHERE state = 'complete' GROUP BY 1 HAVING NOT range_agg(window_range) @> '{[0,$size)}'::int8multirange"),
	'', 'every window is complete');
is($node->safe_psql('postgres', "SELECT count(*) FROM led WHERE state = 'running'"), '0', 'nothing is left running');
is($node->safe_psql('postgres', q{
		SELECT run_id, source_rows, n, source_digest, digest FROM led,
			LATERAL (SELECT count(*) AS n, idem_digest(s) AS digest FROM (SELECT id, w, v FROM src) s WHERE window_range @> w::bigint) s
		WHERE state = 'complete' AND source_rows IS NOT NULL AND source_rows <> n}),
	'', 'the counts of complete windows are right');

$node->stop;
done_testing();
