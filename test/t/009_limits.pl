# A statement_timeout ends everything, whatever sizes it is given; and nothing that is given to
# a function ends the server.  Every function of the extension has a case here.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;

use IdemTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $timeout = 2;
my $end = ($timeout + 1) * $PostgreSQL::Test::Utils::timeout_default / 180;    # what is allowed to pass; more where PG_TEST_TIMEOUT_DEFAULT says that all is slow
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "restart_after_crash = on\nmax_worker_processes = 4");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION idem CASCADE;
	SELECT idem_create_ledger('l'), idem_create_ledger('li', 'int8range'), idem_create_ledger('ld', 'daterange');
	CREATE TABLE t (id bigint PRIMARY KEY, ts timestamptz);
	CREATE TABLE h (id text PRIMARY KEY, k text);
	CREATE TRIGGER h BEFORE INSERT ON h FOR EACH ROW EXECUTE FUNCTION idem_set_id('id', 'k');
	INSERT INTO li (pipeline, window_range, state) SELECT 'holes', int8range(2 * i, 2 * i + 1), 'complete' FROM generate_series(1, 50000) i;
	SELECT idem_create_pipeline('p', 'li', 't', 'SELECT 1::bigint AS id WHERE false', 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT 9223372036854775000', enabled => false);
	CREATE FUNCTION deep(n int, leaf text) RETURNS text LANGUAGE sql AS $$ SELECT repeat('{"k":', n) || leaf || repeat('}', n) $$;
});

my $long = q{repeat('x', 100000000)};
my $many = q{(SELECT array_agg('some_prefix_' || i) FROM generate_series(1, 200000) i)};
my $deep = q{jsonb_build_object('a', deep(3000, '"' || repeat('x', 200000) || '"')::jsonb)};
my $wide = q{(SELECT jsonb_object_agg('some_prefix_' || i, i) FROM generate_series(1, 200000) i)};
my $nothing = q{'SELECT 1::bigint AS id WHERE false'};

my @cases = (
	[ idem_hash => "SELECT idem_hash('{\"a\": 1}'::jsonb, $many)" ],
	[ idem_hash => "SELECT idem_hash($wide, $many)" ],
	[ idem_hash => "SELECT idem_hash($deep, '{a}')" ],
	[ idem_hash => "SELECT idem_hash(r, '{v}') FROM (SELECT $long AS v) r" ],
	[ idem_hash => q{SELECT idem_hash(r, '{v}') FROM (SELECT 10::numeric ^ 100000 AS v) r} ],
	[ idem_hash => q{SELECT idem_hash(r, '{v}') FROM (SELECT array_agg(i) AS v FROM generate_series(1, 2000000) i) r} ],
	[ idem_canonical => "SELECT length(idem_canonical($deep, '{a}'))" ],
	[ idem_canonical => "SELECT length(idem_canonical(r, '{v}')) FROM (SELECT deep(6000, '1')::json AS v) r" ],
	[ idem_uuid => "SELECT idem_uuid($deep, '{a}')" ],
	[ idem_uuid => "SELECT idem_uuid(r, $many) FROM (SELECT 1 AS v) r" ],
	[ idem_set_id => "INSERT INTO h (k) SELECT $long" ],
	[ idem_digest => q{SELECT idem_digest(r) FROM (SELECT i, i::text FROM generate_series(1, 100000000) i) r} ],
	[ idem_digest => "SELECT idem_digest(r) FROM (SELECT $long AS v) r" ],
	[ idem_create_ledger => "SELECT idem_create_ledger(repeat('x', 1000000))" ],
	[ idem_create_ledger => 'SELECT idem_create_ledger(repeat(\'x.\', 1000000))' ],
	[ idem_gaps => q{SELECT length(idem_gaps('li', 'holes', '[-9223372036854775807,9223372036854775807)')::text)} ],
	[ idem_gaps => q{SELECT count(idem_gaps('li', 'holes', '(,)')) FROM generate_series(1, 1000)} ],
	[ idem_coverage => q{SELECT length(idem_coverage('li', 'holes', '[0,9223372036854775807)')::text)} ],
	[ idem_coverage => q{SELECT idem_coverage('l', repeat('p', 10000000), '[4713-01-01 BC,294276-12-31)')} ],
	[ idem_invalidate => q{SELECT idem_invalidate('li', 'holes', '[0,9223372036854775807)')} ],
	# the twins that take ranges
	[ idem_gaps => q{SELECT length(idem_gaps('li', 'holes', int8range(-9223372036854775807, 9223372036854775807))::text)} ],
	[ idem_gaps => q{SELECT idem_gaps('li', repeat('p', 10000000), int8range(NULL, NULL))} ],
	[ idem_coverage => q{SELECT length(idem_coverage('li', 'holes', int8range(NULL, NULL))::text)} ],
	[ idem_invalidate => q{SELECT idem_invalidate('li', 'holes', int8range(0, 9223372036854775807))} ],
	[ idem_invalidate => q{SELECT idem_invalidate('li', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 100000) i), int8range(0, 1))} ],
	[ idem_invalidate => q{SELECT idem_invalidate('l', 'x', tstzrange('-infinity', 'infinity'))} ],
	[ idem_load_window => "CALL idem_load_window('li', 't', $nothing, int8range(-9223372036854775808, 9223372036854775807), 'upsert', keys => '{id}', step => '1')" ],
	[ idem_load_window => q{CALL idem_load_window('p', int8range(0, 9223372036854775000))} ],
	[ idem_load => "SELECT count(*) FROM idem_load('l', 't', $nothing, tstzrange('4713-01-01 BC', '294276-12-31'), 'upsert', keys => '{id}', step => '1 microsecond')" ],
	[ idem_calendar => q{SELECT count(*) FROM idem_calendar('li', 'holes', 0, 9223372036854775807, '10000000000000')} ],
	[ idem_calendar => q{SELECT count(*) FROM idem_calendar('ld', 'p', date '4713-01-01 BC', date '5874897-12-31', '1 month')} ],
	# checks of many windows, of windows without an end, of relations that are large
	[ idem_digest_values => q{SELECT idem_digest_values(i, i::text) FROM generate_series(1, 100000000) i} ],
	[ idem_dedupe => "CALL idem_dedupe('t', $many)", "CALL idem_dedupe('t', ARRAY[$long])", "CALL idem_dedupe('t', '{id}', $long, 'keep')" ],
	[ idem_dedupe => q{CALL idem_dedupe('t', ARRAY[repeat('(', 100000)])}, q{CALL idem_dedupe('t', '{id}', quarantine => repeat('x.', 1000000))}, q{CALL idem_dedupe('t', '{id}', pause => '100000000 years')} ],
	[ idem_dedupe_undo => q{CALL idem_dedupe_undo('t', 9223372036854775807)} ],
	[ idem_dedupe_jobs => 'SELECT count(*) FROM idem_dedupe_jobs()' ],
	[ idem_metrics_rows => 'SELECT count(*) FROM idem_metrics' ],
	[ idem_alert_metrics_rows => 'SELECT count(*) FROM idem_alert_metrics' ],
	[ idem_duplicates => q{SELECT count(*) FROM idem_duplicates('li', '{window_range,pipeline}')} ],
	[ idem_duplicates => "SELECT count(*) FROM idem_duplicates('li', $many)" ],
	[ idem_duplicates => "SELECT count(*) FROM idem_duplicates('t', '{id}', $long, 'id')" ],
	[ idem_duplicates => q{SELECT count(*) FROM idem_duplicates('t', '{id}', '[-9223372036854775808,9223372036854775807)', 'id')} ],
	[ idem_check_load => "SELECT count(*) FROM idem_check_load('li', 't', $nothing, '[0,9223372036854775807)', 'upsert', keys => '{id}', pipeline => 'holes')" ],
	[ idem_check_load => "SELECT count(*) FROM idem_check_load('li', 't', 'SELECT i AS id FROM generate_series(1, 100000000) i', '[0,1)', 'upsert', keys => '{id}', pipeline => 'holes')" ],
	[ idem_differences_load => "SELECT count(*) FROM idem_differences_load('li', 't', $nothing, '[0,9223372036854775807)', 'upsert', keys => '{id}', pipeline => 'holes', max_rows => 9223372036854775807)" ],
	[ idem_check => "SELECT count(*) FROM idem_check($long, '[0,9223372036854775807)')" ],
	[ idem_check => q{SELECT count(*) FROM idem_check('p', '[-9223372036854775808,9223372036854775807)', 'rows')} ],
	[ idem_differences => "SELECT count(*) FROM idem_differences('p', $long)" ],
	# what no type can hold, and what is nothing
	[ idem_gaps => q{SELECT idem_gaps('li', 'holes', '[0,99999999999999999999)')} ],
	[ idem_coverage => "SELECT idem_coverage('li', 'holes', $long)" ],
	[ idem_prune => q{SELECT idem_prune('li', '10000 years')} ],
	[ idem_prune => q{SELECT idem_prune('li', '-170000000 years')} ],
	# intervals without an end, which servers have from 17 on
	[ idem_prune => q{SELECT idem_prune('li', 'infinity')} ],
	[ idem_prune => q{SELECT idem_prune('li', '-infinity')} ],
	[ idem_load_window => "CALL idem_load_window('l', 't', $nothing, '[2024-01-01,2025-01-01)', 'upsert', keys => '{id}', step => 'infinity', lookback => 'infinity')" ],
	[ idem_calendar => q{SELECT * FROM idem_calendar('l', 'p', '2024-01-01', '2025-01-01', 'infinity')} ],
	[ idem_alter_pipeline => q{SELECT idem_alter_pipeline('p', check_every => 'infinity')}, q{SELECT idem_alter_pipeline('p', retry_base => '-infinity')} ],
	[ idem_create_pipeline => "SELECT idem_create_pipeline('i', 'l', 't', $nothing, 'upsert', '{id}', step => '1 day', start => '2024-01-01', lag => 'infinity', lookback => '-infinity', enabled => false)" ],
	[ idem_calendar => "SELECT * FROM idem_calendar('li', 'holes', $long, '', '')" ],
	[ idem_calendar => "SELECT * FROM idem_calendar('l', 'p', '2024-01-01', '2025-01-01', $long)" ],
	[ idem_load_window => "CALL idem_load_window('l', 't', $nothing, '[2024-01-01,2025-01-01)', 'upsert', keys => '{id}', step => '99999999999 years')" ],
	[ idem_load => "SELECT idem_load('li', 't', $nothing, '[0,10)', 'upsert', keys => '{id}', step => '1', lookback => '9223372036854775807', force => true)" ],
	[ idem_create_pipeline => "SELECT idem_create_pipeline('e', 'l', 't', $nothing, 'upsert', '{id}', step => '178956970 years', start => '4713-01-01 BC', lag => '178956970 years', lookback => '178956970 years', enabled => false); CALL idem_run_pipeline('e')" ],
	[ idem_alter_pipeline => q{SELECT idem_alter_pipeline('e', watermark => 'SELECT ''infinity''::timestamptz'); CALL idem_run_pipeline('e')} ],
	[ idem_alter_pipeline => q{SELECT idem_alter_pipeline('p', retry_base => '1000 years', retry_max => '1000 years', max_attempts => 2147483647, max_windows => 2147483647)} ],
	[ idem_backfill => q{CALL idem_backfill('p', '', workers => -2147483648, newest_first => NULL)} ],
	[ idem_retry => q{SELECT idem_retry('p', '')} ],
	[ idem_create_ledger => q{SELECT idem_create_ledger('', 0)} ],
	[ idem_adopt => q{SELECT idem_adopt('li', repeat('p', 10000000), 0)} ],
	[ idem_adopt => q{SELECT idem_adopt('li', 'holes', 't')} ],
	[ idem_accept_schema => q{SELECT idem_accept_schema('li', repeat('p', 10000000))} ],
	[ idem_accept_schema => q{SELECT idem_accept_schema('li', '')} ],
	[ idem_create_dead_letters => q{SELECT idem_create_dead_letters(repeat('d', 1000000), 'li')} ],
	[ idem_replay => q{SELECT idem_replay('li', repeat('p', 1000000))} ],
	[ idem_replay => q{SELECT idem_replay(0, 'holes')} ],
	[ idem_prune => q{SELECT idem_prune('li', '170000000 years')} ],
	[ idem_prune => q{SELECT idem_prune('li', '0')} ],
	[ idem_load_window => "CALL idem_load_window('li', 't', $nothing, '[0,1700000000000000000)', 'upsert', keys => '{id}', step => '20000000000')" ],
	[ idem_load_window => "CALL idem_load_window('l', 't', $nothing, '[2024-01-01,2025-01-01)', 'upsert', keys => '{id}', step => '1 microsecond')" ],
	[ idem_load_window => "CALL idem_load_window('ld', 't', $nothing, '[4713-01-01 BC,5874897-12-31)', 'upsert', keys => '{id}', step => '1 day')" ],
	[ idem_load_window => "CALL idem_load_window('l', 't', $nothing, '[4713-01-01 BC,294276-12-31)', 'upsert', keys => '{id}', step => '170000000 years')" ],
	[ idem_load_window => "CALL idem_load_window('li', 't', $nothing, '[0,10)', 'upsert', keys => $many)" ],
	[ idem_load_window => "CALL idem_load_window('li', 't', $long, '[0,10)', 'upsert', keys => '{id}')" ],
	[ idem_load_window => q{CALL idem_load_window('p', '[0,9223372036854775000)')} ],
	[ idem_load => "SELECT count(*) FROM idem_load('li', 't', $nothing, '[0,9223372036854775807)', 'upsert', keys => '{id}', step => '1')" ],
	[ idem_load => "SELECT count(*) FROM idem_load('li', 't', 'SELECT i AS id FROM generate_series(1, 1000000000000) i', '[0,10)', 'upsert', keys => '{id}')" ],
	[ idem_load => "SELECT count(*) FROM idem_load('li', 't', 'SELECT 1 AS id', '[0,10)', 'upsert', keys => '{id}', pipeline => $long)" ],
	[ idem_create_pipeline => "SELECT idem_create_pipeline(repeat('x', 10000000), 'li', 't', $nothing, 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT 0::bigint', enabled => false)" ],
	[ idem_create_pipeline => "SELECT idem_create_pipeline('many', 'li', 't', $nothing, 'upsert', $many, step => '1', start => '0', watermark => 'SELECT 0::bigint', enabled => false)" ],
	[ idem_alter_pipeline => q{SELECT idem_alter_pipeline('p', check_every => '170000000 years')} ],
	[ idem_alter_pipeline => "SELECT idem_alter_pipeline('p', source => $long)" ],
	[ idem_run_pipeline => q{SELECT idem_run_pipeline('p')}, q{CALL idem_run_pipeline('p')} ],
	[ idem_pipeline_status => q{SELECT count(*) FROM idem_status} ],
	[ idem_backfill => q{CALL idem_backfill('p', '[0,9223372036854775000)', workers => 1)} ],
	[ idem_backfill => q{CALL idem_backfill('p', '[0,9223372036854775000)', workers => 2147483647)} ],
	[ idem_calendar => q{SELECT count(*) FROM idem_calendar('li', 'holes', '0', '9223372036854775807', '1')} ],
	[ idem_calendar => q{SELECT count(*) FROM idem_calendar('l', 'p', '4713-01-01 BC', '294276-12-31', '1 microsecond')} ],
	[ idem_progress_rows => q{SELECT count(*) FROM idem_progress} ],
	[ idem_enable_pipeline => "SELECT idem_enable_pipeline($long)" ],
	[ idem_disable_pipeline => "SELECT idem_disable_pipeline($long)" ],
	[ idem_drop_pipeline => "SELECT idem_drop_pipeline($long)" ],
	[ idem_retry => q{SELECT idem_retry('p', '[0,9223372036854775807)')} ],
	[ idem_resume => q{SELECT idem_resume()} ],
	[ idem_pipeline_calls => "SELECT count(*) FROM idem_pipeline_calls($long)" ],
	[ idem_restore_pipeline => q{SELECT idem_restore_pipeline()} ],
	[ idem_start_worker => q{SELECT idem_start_worker() > 0} ],
	[ idem_stop_worker => q{SELECT idem_stop_worker()} ],
	# what only an aggregate may call
	[ idem_digest_add => q{SELECT idem_digest_add(NULL, r) FROM (SELECT 1) r} ],
	[ idem_digest_add_values => q{SELECT idem_digest_add_values(NULL, 1)} ],
	# the test kit
	[ idem_test_rerun => "SELECT count(*) FROM idem_test_rerun('p', '[0,9223372036854775000)')" ],
	[ idem_test_overlap => "SELECT count(*) FROM idem_test_overlap('p', '[0,9223372036854775000)', '1')" ],
	[ idem_test_split => "SELECT count(*) FROM idem_test_split('p', '[0,9223372036854775000)', '1')" ],
	[ idem_test_order => "SELECT count(*) FROM idem_test_order('p', '[0,9223372036854775000)')" ],
	[ idem_test_all => "SELECT count(*) FROM idem_test_all('p', $long)" ],
	[ idem_tap => "SELECT count(*) FROM idem_tap(repeat('x', 10000000))" ],
	# monitors
	[ idem_create_monitor => "SELECT idem_create_monitor($long)" ],
	[ idem_create_monitor => q{SELECT idem_create_monitor(repeat('x.', 1000000))} ],
	[ idem_reconcile => "CALL idem_reconcile('t', 'p', $long)" ],
	[ idem_reconcile => q{CALL idem_reconcile('li', 'p', '[0,9223372036854775807)', budget => '100000000 years')} ],
	[ idem_report => "SELECT length(idem_report('t', $long, $long))" ],
	[ idem_report => "SELECT length(idem_report(NULL, '4713-01-01 BC', '294276-12-31'))" ],
	[ idem_acknowledge => q{SELECT idem_acknowledge('t', 9223372036854775807, 'infinity')} ],
	# what definitions name
	[ idem_relation_in => "SELECT ($long)::text::idem_relation" ],
	[ idem_relation_in => "SELECT (repeat('x.', 50000000))::text::idem_relation" ],
	[ idem_relation_out => "SELECT length(($long)::text::idem_relation::text)" ],
	[ idem_relation => q{SELECT 4294967295::oid::regclass::idem_relation} ],
	[ idem_relation_oid => "SELECT ($long)::text::idem_relation::oid" ],
	[ idem_role_in => "SELECT ($long)::text::idem_role" ],
	[ idem_role_out => "SELECT length((repeat('\"', 99999999))::text::idem_role::text)" ],
	[ idem_role => q{SELECT 4294967295::oid::regrole::idem_role} ],
	[ idem_role_oid => "SELECT ($long)::text::idem_role::oid" ],
	[ idem_of_row => "SELECT length(idem_of_row(1, $long))" ],
	[ idem_guard_table => 'SELECT idem_guard_table()' ],
	[ idem_digest_combine => q{SELECT idem_digest_combine(NULL, NULL)} ],
	[ idem_digest_serialize => q{SELECT idem_digest_serialize(NULL)} ],
	[ idem_digest_deserialize => q{SELECT idem_digest_deserialize('\x00', NULL)} ],
	[ idem_digest_result => q{SELECT idem_digest_result(NULL)} ],
	[ idem_hash_support => q{SELECT idem_hash_support(NULL)} ],
	# what the planner puts in idem_hash's place
	[ idem_hash_values => "SELECT idem_hash_values('{a}', $long)" ],
	[ idem_hash_values => "SELECT idem_hash_values($many, 1)" ],
	[ idem_uuid_values => "SELECT idem_uuid_values('{a,b}', $deep)" ],
	[ idem_uuid_values => "SELECT idem_uuid_values('{a}', VARIADIC ARRAY[$long])" ]);

my $uptime = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time(), pid FROM pg_stat_activity WHERE backend_type = \'checkpointer\'');

# what the machine itself takes: a query of the server alone that is made to wait
my $started = time;
$node->psql('postgres', "SET statement_timeout = '${timeout}s'; SELECT pg_sleep(60)");
my $slow = time - $started - $timeout;

foreach my $case (@cases)
{
	my ($function, @statements) = @$case;
	foreach my $statement (@statements)
	{
		my ($rc, $out, $err, $took);

		# a machine that is busy with something else may need a second try
		for (1 .. 3)
		{
			my $began = time;
			($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSET client_min_messages = warning; SET statement_timeout = '${timeout}s'; SET lock_timeout = '1s'; $statement");
			$took = time - $began;
			last if $rc == 2 || $took < $end + 10 * $slow;
		}
		my $said = substr($statement, 0, 110) =~ s/\n/ /gr;
		cmp_ok($took, '<', $end + 10 * $slow, "ends: $said") or diag($err // '');
		isnt($rc, 2, "the session outlives: $said") or diag($err // '');
		unlike($err // '', qr/XX\d\d\d/, "no error that cannot happen: $said");
	}
}
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT proname, ' ') FROM pg_proc p
	JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND extname = 'idem'
	WHERE proname <> ALL (ARRAY[} . join(', ', map { "'$_->[0]'" } @cases) . '])'), '', 'every function has a case');
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time(), pid FROM pg_stat_activity WHERE backend_type = \'checkpointer\''),
	$uptime, 'the server has not crashed');

$node->stop;
done_testing();
