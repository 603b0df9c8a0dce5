# pg_dump and pg_restore carry ledgers, pipelines' history and IDs over, and loads go on.

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

$node->stop;
done_testing();
