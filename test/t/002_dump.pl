# pg_dump and pg_restore carry ledgers, pipelines and IDs over, whoever runs them, and loads go on.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

$node->safe_psql('postgres', q{
	CREATE ROLE etl LOGIN;
	CREATE DATABASE a;
});
$node->safe_psql('a', q{
	CREATE EXTENSION idem CASCADE;
	CREATE SCHEMA "Ware House" AUTHORIZATION etl;
	SET ROLE etl;
	CREATE TABLE "Ware House".src (id int, ts timestamptz, v text);
	INSERT INTO "Ware House".src SELECT i, '2024-01-01'::timestamptz + i * interval '1 hour', 'v' || i FROM generate_series(0, 99) i;
	CREATE TABLE "Ware House".tgt (id int PRIMARY KEY, ts timestamptz NOT NULL, v text, hash text);
	CREATE INDEX ON "Ware House".src (idem_hash(src, '{id,ts}'));
	CREATE TRIGGER set_id BEFORE INSERT OR UPDATE ON "Ware House".tgt FOR EACH ROW EXECUTE FUNCTION idem_set_id('hash', 'id', 'ts');
	SELECT idem_create_ledger('"Ware House".led'), idem_create_ledger('"Ware House".led8', 'int8range'),
		idem_create_ledger('"Ware House".ledd', 'daterange'), idem_create_ledger('"Ware House".ledt', 'tsrange');
	SET search_path = "Ware House", public;
	CALL idem_load_window('led', 'tgt', 'src', '[2024-01-01,2024-01-03)', 'upsert', keys => '{id}', window_column => 'ts', step => '1 day');
});
$node->psql('a', q{SET ROLE etl; SET search_path = "Ware House", public; SELECT 1;
	\c - etl
	SET search_path = "Ware House", public;
	CALL idem_load_window('led', 'tgt', 'SELECT 1/0 AS id, $1 AS ts', '[2024-01-03,2024-01-04)', 'upsert', keys => '{id}', window_column => 'ts');});

my $snapshot = q{SET timezone = 'UTC'; SELECT run_id, pipeline, window_range, state, target, mode, method, source_rows, error_code FROM "Ware House".led ORDER BY 1};
my $before = $node->safe_psql('a', $snapshot);
like($before, qr/failed/, 'a failed run is in the ledger');

# as the owner of the data and as superuser, as plain SQL and as an archive
foreach my $case ([ 'b', 'postgres', 'c' ], [ 'c', 'postgres', 'p' ])
{
	my ($db, $user, $format) = @$case;
	my $file = $node->backup_dir . "/$db.dump";

	mkdir $node->backup_dir;
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	$node->command_ok([ 'pg_dump', '-U', $user, '-F', $format, '-f', $file, '-d', $node->connstr('a') ],
		"pg_dump -F $format");
	$node->command_ok(
		$format eq 'p'
		? [ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-f', $file ]
		: [ 'pg_restore', '-e', '-d', $node->connstr($db), $file ],
		'restore');
	is($node->safe_psql($db, $snapshot), $before, 'the ledger is the same');
	my ($rc, $out, $err) = $node->psql($db, q{
		SET SESSION AUTHORIZATION etl; SET search_path = "Ware House", public;
		CALL idem_load_window('led', 'tgt', 'src', '[2024-01-01,2024-01-05)', 'upsert', keys => '{id}', window_column => 'ts', step => '1 day');});
	like($err, qr/loaded 2 windows, source rows: 48, inserted: 48,/, 'a load goes on where it stopped');
	is($node->safe_psql($db, q{SELECT bool_and(hash = public.idem_hash(t, '{id,ts}')) FROM "Ware House".tgt t}), 't', 'IDs are the same');
	is($node->safe_psql($db, q{SELECT bool_and(public.idem_gaps(c.oid, 'x', 'empty') = '{}') FROM pg_class c WHERE relname ~ '^led' AND relkind = 'r'}), 't', 'every ledger is one');
}

# the owner of the data alone can dump it
$node->command_ok([ 'pg_dump', '-U', 'etl', '-n', '"Ware House"', '-f', $node->backup_dir . '/owner.sql', '-d', $node->connstr('a') ],
	'pg_dump by the owner');

# A database owner who is no superuser, with pipelines of his own and of others: he dumps all of it, and restores it.
my $pipeline = sub {
	my ($name, $owner) = @_;
	return qq{
		SET ROLE $owner; SET search_path = $owner, public; SET datestyle = 'SQL, DMY'; SET intervalstyle = 'sql_standard';
		CREATE TABLE tgt (id bigint PRIMARY KEY, v text);
		SELECT idem_create_ledger('led', 'int8range');
		SELECT idem_create_pipeline(\$\$$name\$\$, 'led', 'tgt', 'SELECT i AS id, ''it''''s'' AS v FROM generate_series(\$1, \$2 - 1) i', 'upsert', '{id}',
			step => '10', start => '0', watermark => 'SELECT 19::bigint', enabled => false, check_every => '1 0:00:01');
		CALL idem_run_pipeline(\$\$$name\$\$);
		RESET ROLE; RESET datestyle; RESET intervalstyle;
	};
};
$node->safe_psql('postgres', q{
	CREATE ROLE dbo LOGIN CREATEDB; CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader;
	CREATE DATABASE owned OWNER dbo;
});
$node->safe_psql('owned', 'GRANT ALL ON SCHEMA public TO PUBLIC; CREATE SCHEMA dbo AUTHORIZATION dbo; CREATE SCHEMA etl AUTHORIZATION etl');
$node->safe_psql('owned', 'SET SESSION AUTHORIZATION dbo; CREATE EXTENSION idem SCHEMA public CASCADE');
$node->safe_psql('owned', $pipeline->('his', 'dbo') . $pipeline->("another's", 'etl'));

my $definitions = "SET intervalstyle = 'iso_8601'; SELECT p FROM idem_pipeline p ORDER BY name";
my $defined = $node->safe_psql('owned', $definitions);
my $ledgers = q{SET timezone = 'UTC'; SELECT run_id, pipeline, window_range, state, target_name, started_at, run_by FROM dbo.led UNION ALL
	SELECT run_id, pipeline, window_range, state, target_name, started_at, run_by FROM etl.led ORDER BY 2, 1};
my $runs = $node->safe_psql('owned', $ledgers);

# Dumps the database as a role, restores it into a new one of his; returns what was said.
my $copy = sub {
	my ($to, $owner, $format, @options) = @_;
	my $file = $node->backup_dir . "/$to.dump";
	my ($out, $err);

	$node->safe_psql('postgres', "CREATE DATABASE $to OWNER $owner");
	$node->safe_psql($to, 'GRANT ALL ON SCHEMA public TO PUBLIC');
	$node->command_ok([ 'pg_dump', '-U', $owner, '-F', $format, @options, '-f', $file, '-d', $node->connstr('owned') ], "$to: pg_dump of all of it by $owner");
	ok(IPC::Run::run(
			$format eq 'p'
			? [ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-U', $owner, '-d', $node->connstr($to), '-f', $file ]
			: [ 'pg_restore', '-e', @options, '-U', $owner, '-d', $node->connstr($to), $file ],
			'>', \$out, '2>', \$err), "$to: restored by $owner") or diag($err);
	return $err;
};

$node->safe_psql('postgres', 'GRANT etl TO dbo');
foreach my $format ('p', 'c')
{
	my $db = "whole_$format";

	is($copy->($db, 'dbo', $format), '', "$db: nothing is said");
	is($node->safe_psql($db, $definitions), $defined, 'the definitions are the same');
	is($node->safe_psql($db, $ledgers), $runs, 'so are the ledgers');
	is($node->safe_psql($db, 'SELECT count(*) FROM idem_pipeline_state'), '0', 'what the scheduler knows stays where it was');
	$node->safe_psql($db, 'GRANT EXECUTE ON FUNCTION idem_enable_pipeline(text) TO etl');
	is($node->safe_psql($db, q{SET SESSION AUTHORIZATION etl; SELECT idem_enable_pipeline($$another's$$); SELECT state FROM idem_status}), "\npaused", 'nothing runs by itself');
	is($node->safe_psql($db, q{SET SESSION AUTHORIZATION etl; SELECT idem_resume(); SELECT state FROM idem_status}), "1\nidle", 'until its owner says so');
	my ($rc, $out, $err) = $node->psql($db, q{SET SESSION AUTHORIZATION etl;
		SELECT idem_alter_pipeline($$another's$$, watermark => 'SELECT 29::bigint'); CALL idem_run_pipeline($$another's$$)});
	like($err, qr/loaded 1 window, source rows: 10, inserted: 10/, 'a pipeline goes on where it stopped');
}

# who may read all of it, but not act as others, restores what is his
$node->safe_psql('postgres', 'REVOKE etl FROM dbo; GRANT pg_read_all_data TO dbo');
like($copy->('his_own', 'dbo', 'p', '--no-owner'),
	qr/WARNING:  pipeline "another's" is left out: it belongs to role "etl"\nDETAIL:  Role "dbo" may not act as it\.\nHINT:  .*idem_pipeline_calls\('another''s'\)/, 'he is told what is left out');
is($node->safe_psql('his_own', 'SELECT name, owner FROM idem_pipeline'), 'his|dbo', 'his own is there');
$node->command_ok([ 'pg_dump', '-U', 'reader', '-f', $node->backup_dir . '/reader.sql', '-d', $node->connstr('owned') ], 'pg_dump by who may only read');

# what has no owner any more is left out: there may be another role of its number
$node->safe_psql('postgres', 'CREATE ROLE gone');
$node->safe_psql('owned', 'CREATE SCHEMA gone AUTHORIZATION gone;' . $pipeline->('lost', 'gone') . 'DROP OWNED BY gone; DROP ROLE gone');
$node->command_ok([ 'pg_dump', '-f', $node->backup_dir . '/lost.sql', '-d', $node->connstr('owned') ], 'pg_dump of a pipeline whose owner has been dropped');
is(join(' ', sort(slurp_file($node->backup_dir . '/lost.sql') =~ /^(lost|his|another's)\t/mg)), "another's his", 'it is not in it');
$node->safe_psql('owned', "SELECT idem_drop_pipeline('lost')");

# the calls that make the definitions are another dump
my $calls = $node->backup_dir . '/calls.sql';
my $portable = "SET intervalstyle = 'iso_8601'; SELECT to_jsonb(p) - '{system_identifier,database_oid}'::text[] FROM idem_pipeline p ORDER BY name";
$node->command_ok([ 'psql', '-XAtq', '-U', 'reader', '-o', $calls, '-c', 'SELECT idem_pipeline_calls()', '-d', $node->connstr('owned') ], 'the calls');
$node->safe_psql('whole_p', 'SELECT idem_drop_pipeline(name) FROM idem_pipeline');
$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', $calls, '-d', $node->connstr('whole_p') ], 'they run');
is($node->safe_psql('whole_p', $portable), $node->safe_psql('owned', $portable), 'the definitions are the same');
is($node->safe_psql('whole_p', 'SELECT DISTINCT oid = database_oid FROM idem_pipeline, pg_database WHERE datname = current_database()'), 't', 'and at home here');

$node->stop;
done_testing();
