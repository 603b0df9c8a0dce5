# A pipeline runs under the settings it was created under, whoever runs it: by hand, in a worker of
# the scheduler, in those of a backfill.

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
$node->append_conf('postgresql.conf', "max_worker_processes = 16\ndatestyle = 'ISO, MDY'\nintervalstyle = 'postgres'\ntimezone = 'UTC'");
$node->start;

sub sql { return $node->safe_psql('postgres', shift); }

# dates and intervals as text, in the source, the audit and the watermark: 2024-04-03 and -1 day -02:03:04 are what is meant
sql(q{
	CREATE EXTENSION idem CASCADE;
	CREATE TABLE raw (id bigint, d text, i text);
	INSERT INTO raw SELECT i, '03/04/2024', '-1 2:03:04' FROM generate_series(0, 5) i;
	SELECT idem_create_ledger('led', 'int8range');
});
my @pipelines = ('by hand', 'worker', 'backfill');
foreach my $pipeline (@pipelines)
{
	sql(qq{
		CREATE TABLE "$pipeline" (id bigint PRIMARY KEY, d date, i interval, shown text, zone timestamptz);
		SET datestyle = 'SQL, DMY'; SET intervalstyle = 'sql_standard'; SET timezone = 'Asia/Tokyo';
		SELECT idem_create_pipeline('$pipeline', 'led', '"$pipeline"',
			\$\$SELECT id, d::date AS d, i::interval AS i, d::date || ' ' || i::interval AS shown, '01/02/2024'::timestamptz AS zone FROM raw WHERE id >= \$1 AND id < \$2\$\$,
			'upsert', '{id}', step => '1', start => '0', enabled => false,
			watermark => \$\$SELECT ('04/03/2024'::date - '01/03/2024'::date)::bigint\$\$,
			audit => \$\$SELECT id, d FROM "$pipeline" WHERE d <> '03/04/2024' OR i::text <> '-1 2:03:04'\$\$);
	});
}
is(sql(q{SELECT DISTINCT date_style || '; ' || interval_style || '; ' || time_zone FROM idem_pipeline}), 'SQL, DMY; sql_standard; Asia/Tokyo', 'the settings are stored');

my $want = join("\n", map { "$_|2024-04-03|-1 days -02:03:04|03/04/2024 -1 2:03:04|2024-01-31 15:00:00+00" } 0 .. 3);
my $rows = 'SELECT * FROM "%s" ORDER BY id';

sql(q{SET datestyle = 'German'; SET intervalstyle = 'iso_8601'; SET timezone = 'America/New_York'; CALL idem_run_pipeline('by hand')});
is(sql(sprintf($rows, 'by hand')), $want, 'run by hand under other settings');

sql(q{CALL idem_backfill('backfill', '[0,4)', workers => 2)});
is(sql(sprintf($rows, 'backfill')), $want, 'by a backfill, whose workers have the settings of the server');

sql(q{SELECT idem_enable_pipeline('worker'), idem_start_worker()});
await_true($node, 'SELECT count(*) = 4 FROM worker', 'the scheduler runs it');
is(sql(sprintf($rows, 'worker')), $want, 'under the same settings');
await_true($node, q{SELECT complete_to = '4' FROM idem_pipeline_state WHERE name = 'worker'}, 'its watermark too');
is(sql('SELECT idem_stop_worker()'), 't', 'the scheduler is stopped');

# settings of one's own are passed through
sql(q{CREATE TABLE tenant (id bigint PRIMARY KEY, t text);
	SELECT idem_create_pipeline('tenant', 'led', 'tenant', $$SELECT $1 AS id, current_setting('app.tenant', true) AS t$$, 'upsert', '{id}', step => '1', start => '0', enabled => false, watermark => 'SELECT 0::bigint');
	SET app.tenant = 'acme'; CALL idem_run_pipeline('tenant')});
is(sql('SELECT t FROM tenant'), 'acme', 'a custom setting is passed through');

# a change of a query in another session says where names are looked up, not how dates are read
sql(q{SET search_path = pg_catalog, public; SET datestyle = 'ISO, MDY'; SELECT idem_alter_pipeline('by hand', audit => '')});
is(sql(q{SELECT search_path || '; ' || date_style || '; ' || interval_style FROM idem_pipeline WHERE name = 'by hand'}), 'pg_catalog, public; SQL, DMY; sql_standard', 'alteration keeps the styles');

$node->stop;
done_testing();
