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

# What one definition names is not everywhere: a temporary or a toast table, a table that is left out of the dump, a role of
# this cluster.  It is restored by its name, for none may keep the others from being restored.
my $other = PostgreSQL::Test::Cluster->new('other');
$other->init;
$other->start;
$other->safe_psql('postgres', 'CREATE ROLE dbo LOGIN; CREATE ROLE mallory LOGIN');
$node->safe_psql('postgres', 'CREATE ROLE mallory LOGIN');
$node->safe_psql('owned', 'CREATE SCHEMA mallory AUTHORIZATION mallory;' . $pipeline->('hostile', 'mallory') . $pipeline->('a renamed one', 'mallory') =~ s/CREATE TABLE.*?\n|SELECT idem_create_ledger.*?\n|CALL.*?\n//gr);
$node->safe_psql('owned', q{ALTER TABLE dbo.tgt RENAME TO "Renamed"; ALTER TABLE dbo.led RENAME TO "Led"});
my $session = $node->background_psql('owned', on_error_stop => 1);
$session->query_safe(q{SET SESSION AUTHORIZATION mallory; SET client_min_messages = error; SET search_path = mallory, public; CREATE TEMP TABLE passing (id bigint PRIMARY KEY, v text);
	SELECT idem_create_pipeline('temporary', 'led', 'passing', 'SELECT $1 AS id, $2::text AS v', 'upsert', '{id}', step => '10', start => '0', watermark => 'SELECT 9::bigint', enabled => false);
	CREATE TABLE hostile AS SELECT * FROM idem_pipeline WHERE name = 'hostile'; ALTER TABLE hostile DROP owner_id;
	UPDATE hostile SET name = 'toast', target = (SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'led'::regclass);
	INSERT INTO idem_pipeline TABLE hostile;
	UPDATE hostile SET name = E'odd\tone', ledger = '"', target = E'\\\t\n..';
	INSERT INTO idem_pipeline TABLE hostile;
	DROP TABLE hostile;});
my $archive = $node->backup_dir . '/other.dump';
$node->command_ok([ 'pg_dump', '-F', 'c', '-T', 'etl.tgt', '-f', $archive, '-d', $node->connstr('owned') ], 'pg_dump of what others lack');
is($session->query_safe(q{SELECT target::regclass IS NOT NULL FROM idem_pipeline WHERE name = 'temporary'}), 't', 'while a definition names a temporary table');
$session->quit;

# pg_restore shows warnings only if it is verbose
my $restore = sub {
	my ($db, $between) = @_;
	my ($out, $err) = ('', '');

	$other->safe_psql('postgres', "CREATE DATABASE $db");
	foreach my $section ('pre-data', 'data', 'post-data')
	{
		$other->safe_psql($db, $between) if $section eq 'data' && $between;
		ok(IPC::Run::run([ 'pg_restore', '--verbose', '-e', '--no-owner', '--no-privileges', '--section', $section, '-d', $other->connstr($db), $archive ],
				'>>', \$out, '2>>', \$err), "$db: $section") or diag($err);
	}
	return $err;
};
my $said = $restore->('lacking', undef);
is($other->safe_psql('lacking', 'SELECT name, owner, ledger, target FROM idem_pipeline ORDER BY name') =~ s/pg_(toast\.pg_toast|temp)_\d+/pg_$1_N/gr, <<'EOT' =~ s/\n$//r, 'all definitions are there');
a renamed one|mallory|mallory.led|mallory.tgt
another's|etl|etl.led|etl.tgt
his|dbo|dbo."Led"|dbo."Renamed"
hostile|mallory|mallory.led|mallory.tgt
odd	one|mallory|"|\t
..
temporary|mallory|mallory.led|pg_temp_N.passing
toast|mallory|mallory.led|pg_toast.pg_toast_N
EOT
is($other->safe_psql('lacking', q{SELECT name FROM idem_pipeline WHERE 0 IN (owner::oid, ledger::oid, target::oid) ORDER BY name}), "another's\nodd\tone\ntemporary\ntoast", 'what some name is not');
like($said, qr/WARNING:  pipeline "another's" cannot run here: its owner, etl, does not exist\nHINT:  Create it, then SELECT idem_resume\(\)\./, 'an owner that is not there is told');
like($said, qr/WARNING:  pipeline "another's" cannot run here: its target, etl.tgt, does not exist/, 'so is a table');
unlike($said, qr/ERROR:|left out/, 'and that is all');
is($other->safe_psql('lacking', q{SELECT pipeline, owner, state, last_error FROM idem_status WHERE pipeline ~ 'another'}), q{another's|-|disabled|its owner is not a role here}, 'the status says so');
my ($rc, $out, $err) = $other->psql('lacking', 'SELECT idem_resume()');
is($out, 3, 'what is all there is resumed');
like($err, qr/WARNING:  pipeline "another's" stays paused: there is no role etl, target etl.tgt\n/, 'and of the others it is said why not');
$other->safe_psql('lacking', q{CREATE ROLE etl LOGIN; GRANT ALL ON SCHEMA etl, public TO etl; ALTER TABLE etl.led OWNER TO etl; SET ROLE etl; CREATE TABLE etl.tgt (id bigint PRIMARY KEY, v text)});
is($other->safe_psql('lacking', q{SET SESSION AUTHORIZATION etl; SELECT idem_resume()}), 1, 'when it is there too, so is this one');
($rc, $out, $err) = $other->psql('lacking', q{ALTER TABLE etl.tgt RENAME TO later; SET SESSION AUTHORIZATION etl; SELECT idem_adopt('etl.led', $$another's$$, 'etl.later'); CALL idem_load_window($$another's$$, '[20,30)'); SELECT target FROM idem_pipeline WHERE name ~ 'another'});
like($err, qr/loaded 1 window/, 'and runs');
like($out, qr/^later$/m, 'by its number, whatever its name is from then on');

# who takes a definition's name while a dump is restored has it; the others are restored
like($restore->('squatted', q{GRANT ALL ON SCHEMA public TO mallory; SET ROLE mallory;
		INSERT INTO idem_pipeline (name, owner, ledger, target, source, mode, step, start, time_zone, on_schema_change, max_dead, newest_first, max_windows, check_every, retry_base, retry_max, max_attempts, notify, enabled, search_path, date_style, interval_style, system_identifier, database_oid)
		VALUES ('his', 'mallory', 'x', 'x', 'x', 'reload', '1', '1', 'UTC', 'fail', '1000', false, 1, '1s', '1s', '1s', 1, false, false, 'x', 'x', 'x', 1, 1)}),
	qr/WARNING:  pipeline "his" is left out: there is one of this name already\n/, 'one of the same name is told');
is($other->safe_psql('squatted', 'SELECT count(*) FROM idem_pipeline'), 7, 'and the others are there');
$other->stop;

# whatever the schema is called, and is called later: nothing of another's that has taken its old name is run
$node->safe_psql('postgres', 'CREATE DATABASE renamed');
$node->safe_psql('renamed', q{CREATE SCHEMA "we%sird"; CREATE EXTENSION idem SCHEMA "we%sird" CASCADE; SET search_path = "we%sird"; SELECT idem_create_ledger('led', 'int8range'); CREATE TABLE tgt (id bigint PRIMARY KEY);
	SELECT idem_create_pipeline('p', 'led', 'tgt', 'SELECT $1 AS id', 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT 9::bigint', enabled => false);
	ALTER SCHEMA "we%sird" RENAME TO "100%"; CREATE SCHEMA "we%sird"; CREATE VIEW "we%sird".idem_pipeline AS SELECT 1 / 0 AS name});
like($node->safe_psql('renamed', 'SELECT "100%".idem_pipeline_calls()'), qr/SELECT "100%"\.idem_create_pipeline\(name => 'p',\n    ledger => '"100%"\.led'/, 'the calls follow the name of the schema');

$node->stop;
done_testing();
