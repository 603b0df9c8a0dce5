# Hypertables of TimescaleDB as target and as source, where it is installed.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub finish { done_testing(); exit 0; }

chomp(my $share = `pg_config --sharedir`);
if (!-e "$share/extension/timescaledb.control")
{
	SKIP: { skip 'TimescaleDB is not installed', 1; }
	finish();
}

my $node = PostgreSQL::Test::Cluster->new('timescaledb');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'timescaledb'\ntimescaledb.telemetry_level = off\ntimezone = 'UTC'\nmax_worker_processes = 20\n");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION timescaledb;
	CREATE EXTENSION idem CASCADE;
	SELECT idem_create_ledger('led');
	CREATE TABLE src (id int, ts timestamptz, v float8);
	INSERT INTO src SELECT i % 10, '2024-01-01'::timestamptz + i * interval '1 hour', i FROM generate_series(0, 71) i;
	CREATE TABLE m (id int NOT NULL, ts timestamptz NOT NULL, v float8, PRIMARY KEY (id, ts));
	CREATE TABLE keyless (id int NOT NULL, ts timestamptz NOT NULL, v float8);
	SELECT create_hypertable('m', 'ts', chunk_time_interval => interval '1 day'), create_hypertable('keyless', 'ts', chunk_time_interval => interval '1 day');
	CREATE FUNCTION differences(target regclass) RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint; BEGIN
		EXECUTE format('SELECT count(*) FROM ((SELECT * FROM src EXCEPT ALL SELECT * FROM %1$s) UNION ALL (SELECT * FROM %1$s EXCEPT ALL SELECT * FROM src)) d', target) INTO n;
		RETURN n; END $$;
});

my $whole = '[2024-01-01,2024-01-04)';
my $keyed = "window_column => 'ts', keys => '{id,ts}'";

# Loads and returns what it says.
sub load
{
	my ($target, $mode, $arguments, $source) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "CALL idem_load_window('led', '$target', '" . ($source // 'src') . "', '$whole', '$mode', $arguments)");

	return $err;
}

# Changes the source, loads, and expects what that says and the target to be the source.
sub loads
{
	my ($change, $target, $mode, $arguments, $said, $what) = @_;

	$node->safe_psql('postgres', $change) if $change;
	like(load($target, $mode, $arguments), qr/$said/, $what);
	is($node->safe_psql('postgres', "SELECT differences('$target')"), '0', "$what: the target is the source");
	return;
}

my $change = 'UPDATE src SET v = -v - 1 WHERE id = 3; DELETE FROM src WHERE ts = (SELECT max(ts) FROM src); INSERT INTO src SELECT max(id) + 1, \'2024-01-02 12:34\', 1 FROM src';

# pieces of a day: from the second on the hypertable has chunks
loads('', 'm', 'reload', "$keyed, step => '1 day'", 'loaded 3 windows, source rows: 72, inserted: 72', 'first load, a chunk for each window');
loads('', 'm', 'reload', "$keyed, force => true", 'inserted: 0, updated: 0, deleted: 0, unchanged: 72', 'again, unchanged');
loads($change, 'm', 'reload', "$keyed, force => true", 'inserted: 1, updated: 7, deleted: 1, unchanged: 64', 'changed rows');
loads('UPDATE src SET v = v + 1 WHERE id = 3', 'm', 'upsert', "$keyed, force => true", 'inserted: 0, updated: 7, deleted: 0, unchanged: 65', 'upsert');
loads('', 'keyless', 'reload', "window_column => 'ts', step => '1 day'", 'inserted: 72', 'without keys');
loads($change, 'keyless', 'reload', "window_column => 'ts', force => true", 'inserted: 72, updated: 0, deleted: 72', 'without keys, changed');
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT method, ' ' ORDER BY method) FROM led"), 'difference insert replace unchanged', 'every method but truncate');

# what cannot be
like(load('keyless', 'upsert', "window_column => 'ts', keys => '{id}', force => true"), qr/partitioned by column "ts", which a unique index must have/, 'a key without the time');
$node->safe_psql('postgres', 'CREATE TABLE mother (id int PRIMARY KEY, ts timestamptz); CREATE TABLE daughter () INHERITS (mother)');
like(load('mother', 'reload', $keyed), qr/has inheritance children/, 'other tables with children are refused as before');

# chunks that are dropped are not noticed, but loaded again
$node->safe_psql('postgres', "SELECT drop_chunks('m', older_than => '2024-01-03'::timestamptz)");
is($node->safe_psql('postgres', "SELECT idem_gaps('led', 'public.m', '$whole')"), '{}', 'the ledger knows nothing of dropped chunks');
loads('', 'm', 'reload', "$keyed, force => true", 'inserted: 50, ', 'dropped chunks are loaded again');

# a trigger of the user's watches; those of TimescaleDB do not
$node->safe_psql('postgres', q{
	CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
	CREATE TRIGGER swallow BEFORE INSERT ON m FOR EACH ROW WHEN (NEW.id = 99) EXECUTE FUNCTION swallow();
	INSERT INTO src VALUES (99, '2024-01-01 01:01', 1);
});
like(load('m', 'upsert', "$keyed, force => true"), qr/row for key \(id, ts\)=\(99, 2024-01-01 01:01:00\+00\) was not written/, 'a row that a trigger swallows');
$node->safe_psql('postgres', 'DROP TRIGGER swallow ON m; DELETE FROM src WHERE id = 99');

# as source, by its name and behind a query; who writes to a chunk is waited for
$node->safe_psql('postgres', 'CREATE TABLE copied (id int, ts timestamptz, v float8)');
like(load('copied', 'reload', "window_column => 'ts', step => '1 day'", 'm'), qr/loaded 3 windows, source rows: 72/, 'as source');
is($node->safe_psql('postgres', "SELECT differences('copied')"), '0', 'as source: the target is the source');
my $writer = $node->background_psql('postgres');
$writer->query_safe("BEGIN; INSERT INTO m VALUES (1000, '2024-01-02 00:01', 1)");
is(($node->psql('postgres', "SET lock_timeout = '200ms'; CALL idem_load_window('led', 'copied', 'm', '$whole', 'reload', window_column => 'ts', force => true)"))[0], 3, 'a writer of the hypertable is waited for');
$writer->query_safe('ROLLBACK');
$writer->quit;

# a chunk is no target
my $chunk = $node->safe_psql('postgres', "SELECT min(c::text) FROM show_chunks('m') c");
like(load($chunk, 'reload', $keyed), qr/managed by TimescaleDB and cannot be the target/, 'a chunk is no target');

# what only the community license has
SKIP:
{
	skip 'this TimescaleDB has no continuous aggregates and no compression', 16 if $node->safe_psql('postgres', 'SHOW timescaledb.license') ne 'timescale';
	$node->safe_psql('postgres', q{
		CREATE MATERIALIZED VIEW daily WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS
			SELECT time_bucket('1 day', ts) AS ts, id, sum(v) AS v FROM m GROUP BY 1, 2 WITH NO DATA;
	});
	like(load('daily', 'reload', $keyed), qr/managed by TimescaleDB and cannot be the target/, 'an empty continuous aggregate is no target');
	$node->safe_psql('postgres', "CALL refresh_continuous_aggregate('daily', NULL, NULL)");
	like(load('daily', 'reload', $keyed), qr/managed by TimescaleDB and cannot be the target/, 'nor is one that is filled');
	$node->safe_psql('postgres', 'CREATE TABLE days (id int, ts timestamptz, v float8, PRIMARY KEY (id, ts))');
	my $wrong = q{SELECT count(*) FROM (SELECT id, time_bucket('1 day', ts) AS ts, sum(v) AS v FROM src GROUP BY 1, 2 EXCEPT SELECT * FROM days) d};
	like(load('days', 'reload', $keyed, 'daily'), qr/loaded 1 window/, 'a continuous aggregate is a source');
	is($node->safe_psql('postgres', $wrong), '0', '… of what it holds');
	loads($change, 'm', 'reload', "$keyed, force => true", 'inserted: 1, updated: 7', 'what a load changes');
	$node->safe_psql('postgres', "CALL refresh_continuous_aggregate('daily', NULL, NULL)");
	like(load('days', 'reload', "$keyed, force => true", 'daily'), qr/loaded 1 window/, '… is refreshed');
	is($node->safe_psql('postgres', $wrong), '0', '… and loaded');

	$node->safe_psql('postgres', "ALTER TABLE $_ SET (timescaledb.compress, timescaledb.compress_segmentby = 'id', timescaledb.compress_orderby = 'ts'); SELECT compress_chunk(c, true) FROM show_chunks('$_') c") foreach qw(m keyless);
	loads('', 'm', 'reload', "$keyed, force => true", 'inserted: 0, updated: 0, deleted: 0', 'compressed chunks, unchanged');
	loads($change, 'm', 'reload', "$keyed, force => true", 'inserted: 1, updated: 7, deleted: 1', 'compressed chunks, changed');
	$node->safe_psql('postgres', "SELECT compress_chunk(c, true) FROM show_chunks('m') c");
	loads('UPDATE src SET v = v + 1 WHERE id = 3', 'm', 'upsert', "$keyed, force => true", 'updated: 7', 'compressed chunks, upsert');
	my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM src');
	my $old = $node->safe_psql('postgres', 'SELECT count(*) FROM keyless');
	like(load('keyless', 'reload', "window_column => 'ts', force => true"), qr/inserted: $rows, updated: 0, deleted: $old,/, 'compressed chunks, without keys');
	is($node->safe_psql('postgres', "SELECT differences('keyless')"), '0', '… the target is the source');
}
done_testing();
