# A standby that is promoted after a load, or in the middle of one, holds for each
# window both the rows and the ledger's word, or neither, and loads go on there.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->start;
$primary->safe_psql('postgres', q{
	CREATE EXTENSION idem CASCADE;
	CREATE TABLE src (id int, ts date, v text);
	INSERT INTO src SELECT i, '2024-01-01'::date + i / 100, 'v' || i FROM generate_series(0, 999) i;
	CREATE TABLE tgt (id int PRIMARY KEY, ts date NOT NULL, v text);
	SELECT idem_create_ledger('led', 'daterange');
});
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $load = q{CALL idem_load_window('led', 'tgt', %s, '%s', 'upsert', keys => '{id}', window_column => 'ts', step => '1 day')};
$primary->safe_psql('postgres', sprintf($load, "'src'", '[2024-01-01,2024-01-04)'));
$primary->wait_for_catchup($standby);

# on the standby the ledger can be read, and a load is refused
is($standby->safe_psql('postgres', "SELECT idem_gaps('led', 'public.tgt', '[2024-01-01,2024-01-06)')"),
	'{[2024-01-04,2024-01-06)}', 'a standby knows the gaps');
my ($rc, $out, $err) = $standby->psql('postgres', sprintf($load, "'src'", '[2024-01-01,2024-01-11)'));
like($err, qr/ERROR:  cannot load in a read-only transaction\nHINT:  This server is a standby: do it on its primary\./, 'a standby does not load');

# the primary dies in the middle of a load
my $holder = $primary->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(1)');
my $waits = q{$q$SELECT s.* FROM src s, (SELECT CASE WHEN $1 = '2024-01-07' THEN pg_advisory_xact_lock(1) END) w WHERE ts >= $1 AND ts < $2$q$};
my $session = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $primary->connstr('postgres'), '-c', sprintf($load, $waits, '[2024-01-01,2024-01-11)') ],
	'>', \my $o, '2>', \my $e);
$primary->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
$primary->wait_for_catchup($standby);
$primary->stop('immediate');
$session->finish;
eval { $holder->quit };
$standby->promote;

is($standby->safe_psql('postgres', q{
		SELECT count(*) FROM ((TABLE tgt EXCEPT ALL SELECT * FROM src WHERE ts < '2024-01-07')
			UNION ALL (SELECT * FROM src WHERE ts < '2024-01-07' EXCEPT ALL TABLE tgt)) d}),
	'0', 'the promoted standby has the complete windows, and no more');
is($standby->safe_psql('postgres', "SELECT string_agg(DISTINCT state::text, ','), count(*) FROM led"),
	'complete|6', 'its ledger says so');
($rc, $out, $err) = $standby->psql('postgres', sprintf($load, "'src'", '[2024-01-01,2024-01-11)'));
like($err, qr/loaded 4 windows, source rows: 400, inserted: 400,/, 'it loads the rest');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM (TABLE tgt EXCEPT ALL TABLE src) d'), '0', 'nothing is there twice');

$standby->stop;
done_testing();
