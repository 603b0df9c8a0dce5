# The figures of pipelines as Prometheus and Grafana get them: the configuration of Debian's
# prometheus-sql-exporter in examples/, scraped, where it is installed; every query of the dashboard.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../t";

use HTTP::Tiny;
use IdemTest;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $examples = "$FindBin::RealBin/../../examples/prometheus";
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 16\ntimezone = 'UTC'\n");
$node->start;

sub sql { return $node->safe_psql('postgres', shift); }

# a pipeline that runs by itself, with a window that fails; it belongs to somebody else than who looks
sql(q{
	CREATE EXTENSION idem CASCADE;
	CREATE ROLE loader LOGIN; GRANT CREATE ON SCHEMA public TO loader;
	GRANT EXECUTE ON FUNCTION idem_enable_pipeline(text) TO loader;
	CREATE ROLE prometheus LOGIN; GRANT pg_read_all_stats TO prometheus;
	SET SESSION AUTHORIZATION loader;
	CREATE TABLE src AS SELECT i AS id, timestamptz '2024-03-01' + i * interval '1 hour' AS at FROM generate_series(0, 71) i;
	CREATE TABLE tgt (id int PRIMARY KEY, at timestamptz NOT NULL, CHECK (id < 60));
	SELECT idem_create_ledger('ledger'); SELECT idem_create_monitor('watch');
	SELECT idem_create_pipeline('it''s "mine"', 'ledger', 'tgt', 'SELECT * FROM src WHERE at >= $1 AND at < $2', 'reload', '{id}', 'at', step => '1 day', start => '2024-03-01',
		watermark => 'SELECT timestamptz ''2024-03-04''', retry_base => '1 hour');
	GRANT SELECT ON watch, ledger TO prometheus;
});
sql('SELECT idem_start_worker()');
await_true($node, q{SELECT windows_loaded_total >= 2 AND failed_windows = 1 AND running = 0 FROM idem_metrics}, 'the pipeline has had its turn');
sql(q{DELETE FROM tgt WHERE id = 5; SET client_min_messages = error; CALL idem_reconcile('watch', 'it''s "mine"')});
is(sql(q{SELECT windows_loaded_total, windows_failed_total, source_rows_total, inserted_rows_total, gaps, failed_windows, blocked_windows, failures, lag_seconds > 0, complete_to_seconds, open_alerts FROM idem_metrics}),
	'2|1|48|48|1|1|0|0|t|1709424000|3', 'figures of its turn');
my ($rc, $seen) = $node->psql('postgres', 'SELECT pipeline, owner FROM idem_metrics', extra_params => [ '-U', 'prometheus' ]);
is($seen, q{it's "mine"|loader}, 'who may read statistics sees it');

# What the exporter says, once every query has been run.
sub scrape
{
	my ($config) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $log = "$PostgreSQL::Test::Utils::tmp_check/log/exporter.log";
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	my $said = '';
	my $pid = fork // die "no process for the exporter: $!";

	if ($pid == 0)
	{
		open STDOUT, '>', $log or die;
		open STDERR, '>&', \*STDOUT or die;
		exec 'prometheus-sql-exporter', '-config.file', $config, '-web.listen-address', "127.0.0.1:$port" or die;
	}
	while ($said !~ /^sql_idem_alert\{/m && time < $until)
	{
		usleep(100_000);
		$said = HTTP::Tiny->new->get("http://127.0.0.1:$port/metrics")->{content};
	}
	# once more, for its queries do not end all at once
	usleep(100_000) until time > $until || ($said = HTTP::Tiny->new->get("http://127.0.0.1:$port/metrics")->{content}) && 6 == (() = $said =~ /^sql_exporter_last_scrape_failed\{/mg);
	kill 'TERM', $pid;
	waitpid $pid, 0;
	return ($said, slurp_file($log));
}

SKIP:
{
	skip 'prometheus-sql-exporter is not installed', 26 if system('command -v prometheus-sql-exporter >/dev/null') != 0;
	my $yaml = slurp_file("$examples/sql-exporter.yml");
	my ($host, $port) = ($node->host, $node->port);
	ok($yaml =~ s{postgres://prometheus\@/postgres\?host=/var/run/postgresql}{postgres://prometheus\@/postgres?host=$host&port=$port}, 'the configuration names a connection');
	$yaml =~ s/interval: '30s'/interval: '1s'/;
	my $config = "$PostgreSQL::Test::Utils::tmp_check/exporter.yml";
	append_to_file($config, $yaml);
	my ($said, $log) = scrape($config);
	unlike($log, qr/"(?:level":"error|err)"/, 'the exporter logs no error');
	is(join(' ', sort map { /query="(\w+)".* 0$/ ? $1 : () } $said =~ /^sql_exporter_last_scrape_failed.*$/mg),
		'idem_alert idem_pipeline idem_pipeline_checks idem_pipeline_lag idem_pipeline_turn idem_pipeline_windows', 'no query failed');
	my %values = map { /^sql_(\w+)\{col="(\w+)",.*?(?:kind="(\w+)",)?owner="loader",pipeline="it's \\"mine\\"",.*\} (\S+)$/ ? (join('.', grep { defined } $1, $2, $3) => $4) : () } split /\n/, $said;
	is($values{"idem_pipeline.$_->[0]"}, $_->[1], "pipeline: $_->[0]") foreach [ enabled => 1 ], [ paused => 0 ], [ failures => 0 ], [ windows_loaded_total => 2 ], [ windows_failed_total => 1 ], [ inserted_rows_total => 48 ];
	is($values{"idem_pipeline_windows.$_->[0]"}, $_->[1], "windows: $_->[0]") foreach [ gaps => 1 ], [ failed_windows => 1 ], [ blocked_windows => 0 ];
	is($values{'idem_pipeline_lag.complete_to_seconds'} + 0, 1709424000, 'complete to');
	cmp_ok(abs($values{'idem_pipeline_lag.lag_seconds'} + $values{'idem_pipeline_lag.complete_to_seconds'} - time), '<', 300, 'lag');
	cmp_ok(abs($values{'idem_pipeline_turn.last_run_seconds'} - time), '<', 600, 'last turn');
	cmp_ok(abs($values{'idem_pipeline_checks.last_check_seconds'} - time), '<', 600, 'last check');
	is($values{'idem_pipeline_checks.open_alerts'}, 3, 'open alerts');
	is($values{"idem_alert.open.$_->[0]"}, $_->[1], "alert: $_->[0]") foreach [ missing => 1 ], [ target_changed => 1 ], [ late => 1 ], [ duplicates => 0 ];
	is($values{'idem_alert.value.missing'}, 1, 'how many rows are missing');
	is($values{'idem_alert.acknowledged.missing'}, 0, 'nobody knows');
	unlike($said, qr/2024-03/, 'no label is of a window');

	# what the page says to alert on is there
	my @wanted = sort keys %{{ map { $_ => 1 } slurp_file("$examples/README.md") =~ /\b(sql_\w+(?:\{col="\w+"\})?)/g }};
	my @missing = grep { my ($name, $col) = /^(\w+?)(?:\{col="(\w+)"\})?$/; $said !~ ($col ? qr/^$name\{col="$col"/m : qr/^$name\{/m) } grep { !/\{pipeline/ && $_ ne 'sql_idem_pipeline_lag' } @wanted;
	cmp_ok(scalar(@wanted), '>', 7, 'series to alert on');
	is("@missing", '', 'each of them is scraped');
}

# The dashboard's variables and macros, as Grafana replaces them.
sub expand
{
	my ($query) = @_;
	my %variables = ('monitor:raw' => 'public.watch', 'ledger:raw' => 'public.ledger', 'pipeline:sqlstring' => q{'it''s "mine"'});

	$query =~ s/\$__timeFilter\(((?:[^()]|\([^()]*\))*)\)/$1 BETWEEN '2024-01-01T00:00:00Z' AND '2100-01-01T00:00:00Z'/g;
	$query =~ s/\$\{([\w:]+)\}/$variables{$1} \/\/ die "variable $1"/ge;
	return $query;
}

my $dashboard = decode_json(slurp_file("$examples/grafana.json"));
my @panels = @{$dashboard->{panels}};
is(scalar(@panels), 10, 'panels of the dashboard');
foreach my $panel (@panels)
{
	foreach my $target (@{$panel->{targets}})
	{
		my ($failed, $out, $err) = $node->psql('postgres', expand($target->{rawSql}), extra_params => [ '-U', 'prometheus' ]);
		is($err, '', "$panel->{title}: the query runs");
		isnt($out, '', "$panel->{title}: and shows something");
		is($target->{datasource}{uid}, '${datasource}', "$panel->{title}: of the data source that is chosen");
	}
}
my ($variable) = grep { $_->{type} eq 'query' } @{$dashboard->{templating}{list}};
is(($node->psql('postgres', $variable->{query}, extra_params => [ '-U', 'prometheus' ]))[1], q{it's "mine"}, 'pipelines to choose from');
is_deeply([ map { $_->{name} } @{$dashboard->{templating}{list}} ], [qw(datasource pipeline monitor ledger)], 'what is to be named');

# offsets have no time, and are left out of what is drawn over it
sql(q{SET SESSION AUTHORIZATION loader; CREATE TABLE numbers (n bigint NOT NULL); SELECT idem_create_ledger('offsets', 'int8range');
	SELECT idem_create_pipeline('numbers', 'offsets', 'numbers', 'SELECT generate_series($1, $2 - 1) AS n', 'reload', NULL, 'n', '10', '0', watermark => 'SELECT 20::bigint', enabled => false);
	SET client_min_messages = error; CALL idem_run_pipeline('numbers'); CALL idem_reconcile('watch', 'numbers')});
my ($drawn) = grep { $_->{title} =~ /by window/ } @panels;
my ($failed, $out, $err) = $node->psql('postgres', expand($drawn->{targets}[0]{rawSql} =~ s/\$\{pipeline:sqlstring\}/'numbers'/r), extra_params => [ '-U', 'prometheus' ]);
is("$out$err", '', 'offsets are not drawn over time');

$node->stop;
done_testing();
