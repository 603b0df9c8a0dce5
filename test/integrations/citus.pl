# Tables that Citus manages are no targets, but sources, where it is installed.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

chomp(my $share = `pg_config --sharedir`);
if (!-e "$share/extension/citus.control")
{
	SKIP: { skip 'Citus is not installed', 1; }
	done_testing();
	exit 0;
}

my $node = PostgreSQL::Test::Cluster->new('citus');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'citus'\nwal_level = logical\ncitus.node_conninfo = 'sslmode=disable'\ncitus.enable_statistics_collection = off\n");
$node->start;
my ($host, $port) = ($node->host, $node->port);
$node->safe_psql('postgres', 'CREATE EXTENSION citus; CREATE EXTENSION idem CASCADE');
$node->safe_psql('postgres', "SELECT citus_set_coordinator_host('$host', $port)");
$node->safe_psql('postgres', "SELECT citus_set_node_property('$host', $port, 'shouldhaveshards', true)");
$node->safe_psql('postgres', q{
	SELECT idem_create_ledger('led');
	CREATE TABLE distributed (id int PRIMARY KEY, ts timestamptz);
	CREATE TABLE reference (id int PRIMARY KEY, ts timestamptz);
	CREATE TABLE local (id int PRIMARY KEY, ts timestamptz);
	CREATE TABLE parted (id int, ts timestamptz) PARTITION BY RANGE (ts);
	CREATE TABLE part PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
	CREATE TABLE plain (id int PRIMARY KEY, ts timestamptz);
	SELECT create_distributed_table('distributed', 'id'), create_distributed_table('parted', 'id');
	SELECT create_reference_table('reference'), citus_add_local_table_to_metadata('local');
	CREATE VIEW over AS SELECT * FROM distributed;
	INSERT INTO distributed SELECT i, '2024-01-01'::timestamptz + i * interval '1 hour' FROM generate_series(0, 23) i;
	CREATE ROLE etl; GRANT ALL ON ALL TABLES IN SCHEMA public TO etl; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO etl;
});

# Loads a table; returns what that says.
sub load
{
	my ($target, $source) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSET ROLE etl; SET timezone = 'UTC'; CALL idem_load_window('led', '$target', '$source', '[2024-01-01,2024-01-02)', 'reload', keys => '{id}', window_column => 'ts')");

	return $err;
}

foreach my $target (qw(distributed reference local parted part over))
{
	like(load($target, 'SELECT 1 AS id, $1 AS ts'), qr/ERROR:  0A000: "\w+" is managed by Citus and cannot be the target of a load/, "$target is no target");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM led'), '0', 'nothing was claimed');
like(load('plain', 'distributed'), qr/loaded 1 window, source rows: 24, inserted: 24/, 'a distributed table is a source');
done_testing();
