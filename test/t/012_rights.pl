# What mallory, a role with nothing but LOGIN, can do to alice's session, pipelines, ledger and scheduler:
# of each function of the extension what she gets, and that everything of alice's stays as it was.  And
# what her own code can do in the session of a superuser who uses her pipeline, or just looks at her ledger.

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
$node->append_conf('postgresql.conf', "max_worker_processes = 16\nmax_prepared_transactions = 2\nlog_min_messages = warning");
$node->start;

sub sql { return $node->safe_psql('postgres', shift); }

# What a role gets: the first SQLSTATE, else the last line.
sub attempt
{
	my ($role, $statement) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\nSET client_min_messages = error;\n$statement", on_error_stop => 0, extra_params => [ '-U', $role ]);
	return $1 if $err =~ /(?:ERROR|FATAL|PANIC):  (\w+)/;
	return (split /\n/, $out)[-1] // '';
}

sql(q{
	CREATE EXTENSION idem CASCADE;
	CREATE ROLE alice LOGIN; CREATE ROLE mallory LOGIN;
	GRANT EXECUTE ON FUNCTION idem_enable_pipeline(text) TO alice;
	CREATE SCHEMA alice AUTHORIZATION alice; CREATE SCHEMA mallory AUTHORIZATION mallory;
});
foreach my $role ('alice', 'mallory')
{
	my $enabled = $role eq 'alice' ? 'true' : 'false';
	sql(qq{SET SESSION AUTHORIZATION $role; SET search_path = $role, public;
		CREATE TABLE src AS SELECT i::bigint AS id, '$role' || i AS v FROM generate_series(0, 39) i;
		CREATE TABLE tgt (id bigint PRIMARY KEY, v text);
		SELECT idem_create_ledger('led', 'int8range'); SELECT idem_create_monitor('mon');
		SELECT idem_create_pipeline('$role', 'led', 'tgt', 'src', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT 29::bigint', enabled => $enabled)});
}
sql('SELECT idem_start_worker()');
await_true($node, 'SELECT count(*) = 30 FROM alice.tgt', "alice's pipeline has run");
await_true($node, "SELECT turn_started_at IS NULL FROM idem_pipeline_state WHERE name = 'alice'", 'her turn is over');
sql(q{INSERT INTO alice.led (pipeline, window_range, state, finished_at) VALUES ('alice', '[0,10)', 'superseded', now() - interval '1 day')});

# everything that is alice's, and the scheduler; what it writes by itself, such as when it looks at the watermark again, is left out
my $hers = q{SELECT (SELECT array_agg(t ORDER BY id) FROM alice.tgt t), (SELECT array_agg(l ORDER BY run_id) FROM alice.led l), (SELECT array_agg(s ORDER BY id) FROM alice.src s),
	(SELECT p FROM idem_pipeline p WHERE name = 'alice'), (SELECT row(last_error, failures, silent_turns, crashes, complete_to, gaps) FROM idem_pipeline_state WHERE name = 'alice'),
	(SELECT array_agg(pid) FROM pg_stat_activity WHERE backend_type = 'idem scheduler'),
	(SELECT array_agg(row(relname, relacl, relowner, relhastriggers)) FROM pg_class WHERE relnamespace = 'alice'::regnamespace),
	(SELECT count(*) FROM idem_pipeline), (SELECT count(*) FROM idem_wakeup)};
my $before = sql($hers);

# by OID, for to name them she would need the schema
my %oid = map { split /=/ } split /\n/, sql(q{SELECT relname || '=' || oid FROM pg_class WHERE relnamespace = 'alice'::regnamespace AND relkind = 'r'});
my $led = "$oid{led}::regclass";
my $tgt = "$oid{tgt}::regclass";
my $own = "'mallory.led', 'mallory.tgt'";
my $query = q{'SELECT 1::bigint AS id, ''evil'' AS v'};
my $more = 'text[],text,text,text,text,text,text,boolean,text,text,text,text,regclass,text';
my $definition = 'text,text,text,text,text,text,text,text,text,text,regclass,text,boolean,integer,interval,interval,interval,integer,boolean,regclass,jsonb,boolean';

# what takes or returns what no SQL has is refused, by newer minor versions of the server when it is called
my $internal = qr/^(42883|0A000)$/;
my @attempts = (
	# functions of their arguments alone, and what only aggregates, planner and triggers may call
	[ 'idem_hash(record,text[])' => q{SELECT length(idem_hash(r, '{a}')) FROM (SELECT 1 AS a) r} => 64 ],
	[ 'idem_hash(jsonb,text[])' => q{SELECT length(idem_hash('{"a": 1}'::jsonb, '{a}'))} => 64 ],
	[ 'idem_canonical(record,text[])' => q{SELECT idem_canonical(r, '{a}') FROM (SELECT 1 AS a) r} => '{"a": 1}' ],
	[ 'idem_canonical(jsonb,text[])' => q{SELECT idem_canonical('{"a": 1}'::jsonb, '{a}')} => '{"a": 1}' ],
	[ 'idem_uuid(record,text[])' => q{SELECT length(idem_uuid(r, '{a}')::text) FROM (SELECT 1 AS a) r} => 36 ],
	[ 'idem_uuid(jsonb,text[])' => q{SELECT length(idem_uuid('{"a": 1}'::jsonb, '{a}')::text)} => 36 ],
	[ 'idem_hash_values(text[],"any")' => q{SELECT length(idem_hash_values('{a}', 1))} => 64 ],
	[ 'idem_uuid_values(text[],"any")' => q{SELECT length(idem_uuid_values('{a}', 1)::text)} => 36 ],
	[ 'idem_of_row(oid,anyelement)' => q{SELECT idem_of_row(1, 'a'::text)} => 'a' ],
	[ 'idem_hash_support(internal)' => 'SELECT idem_hash_support(NULL)' => $internal ],
	[ 'idem_hash(record,text[])' => "SELECT idem_hash(t, '{id}') FROM alice.tgt t" => 42501 ],
	[ 'idem_digest(record)' => 'SELECT idem_digest(t) FROM alice.tgt t' => 42501 ],
	[ 'idem_digest_add(internal,record)' => 'SELECT idem_digest_add(NULL, r) FROM (SELECT 1) r' => $internal ],
	[ 'idem_digest_add_values(internal,"any")' => 'SELECT idem_digest_add_values(NULL, 1)' => $internal ],
	[ 'idem_digest_values("any")' => 'SELECT idem_digest_values(t.id, t.v) FROM alice.tgt t' => 42501 ],
	[ 'idem_digest_combine(internal,internal)' => 'SELECT idem_digest_combine(NULL, NULL)' => $internal ],
	[ 'idem_digest_serialize(internal)' => 'SELECT idem_digest_serialize(NULL)' => $internal ],
	[ 'idem_digest_deserialize(bytea,internal)' => q{SELECT idem_digest_deserialize('\x00', NULL)} => $internal ],
	[ 'idem_digest_result(internal)' => 'SELECT idem_digest_result(NULL)' => $internal ],
	[ 'idem_set_id()' => 'SELECT idem_set_id()' => '39P01' ],
	[ 'idem_set_id()' => q{CREATE TRIGGER t BEFORE INSERT ON alice.tgt FOR EACH ROW EXECUTE FUNCTION idem_set_id('v', 'id')} => 42501 ],
	[ 'idem_restore_pipeline()' => 'SELECT idem_restore_pipeline()' => '39P01' ],
	# as the trigger of another table it would take her columns for what they are not
	[ 'idem_restore_pipeline()' => q{CREATE TABLE mallory.forged (name bigint, owner text); CREATE TRIGGER t BEFORE INSERT ON mallory.forged FOR EACH ROW EXECUTE FUNCTION idem_restore_pipeline(); INSERT INTO mallory.forged VALUES (42, 'alice')} => '39P01' ],
	[ 'idem_guard_table()' => 'SELECT idem_guard_table()' => '39P01' ],
	# definitions that say that they are alice's are left out; her own do not run before she says so, which takes the right
	[ 'idem_restore_pipeline()' => q{CREATE TEMP TABLE d AS SELECT * FROM idem_pipeline WHERE name = 'alice'; ALTER TABLE d DROP owner_id; UPDATE d SET name = 'stolen', source = 'evil'; INSERT INTO idem_pipeline TABLE d; SELECT count(*) FROM idem_pipeline WHERE name = 'stolen'} => 0 ],
	[ 'idem_restore_pipeline()' => q{CREATE TEMP TABLE d AS SELECT * FROM idem_pipeline WHERE name = 'alice'; ALTER TABLE d DROP owner_id; UPDATE d SET owner = 'mallory'; INSERT INTO idem_pipeline TABLE d; SELECT count(*) FROM idem_pipeline WHERE owner = 'mallory'::regrole AND name = 'alice'} => 0 ],
	# ledgers
	[ 'idem_create_ledger(text,regtype)' => q{SELECT idem_create_ledger('alice.mine')} => 42501 ],
	[ 'idem_create_ledger(text,regtype)' => q{SELECT idem_create_ledger('pg_catalog.mine')} => 42501 ],
	[ 'idem_gaps(regclass,text,anyrange)' => "SELECT idem_gaps($led, 'alice', int8range(0, 10))" => 42501 ],
	[ 'idem_gaps(regclass,text,text)' => "SELECT idem_gaps($led, 'alice', '[0,10)')" => 42501 ],
	[ 'idem_coverage(regclass,text,anyrange)' => "SELECT idem_coverage($led, 'alice', int8range(0, 10))" => 42501 ],
	[ 'idem_coverage(regclass,text,text)' => "SELECT idem_coverage($led, 'alice', '[0,10)')" => 42501 ],
	[ 'idem_invalidate(regclass,text,anyrange)' => "SELECT idem_invalidate($led, 'alice', int8range(0, 10))" => 42501 ],
	[ 'idem_invalidate(regclass,text,text)' => "SELECT idem_invalidate($led, 'alice', '[0,10)')" => 42501 ],
	[ 'idem_adopt(regclass,text,regclass)' => "SELECT idem_adopt($led, 'alice', 'mallory.tgt')" => 42501 ],
	[ 'idem_prune(regclass,interval)' => "SELECT idem_prune($led, '0 seconds')" => 42501 ],
	[ 'idem_accept_schema(regclass,text)' => "SELECT idem_accept_schema($led, 'alice')" => 42501 ],
	[ 'idem_create_dead_letters(text,regclass)' => q{SELECT idem_create_dead_letters('alice.mine', 'mallory.led')} => 42501 ],
	[ 'idem_replay(regclass,text)' => "SELECT idem_replay('mallory.led', 'alice')" => 42704 ],
	[ 'idem_calendar(regclass,text,text,text,text)' => "SELECT idem_calendar($led, 'alice', '0', '100', '10')" => 42501 ],
	[ 'idem_calendar(regclass,text,anyelement,anyelement,text)' => "SELECT idem_calendar($led, 'alice', 0, 100, '10')" => 42501 ],
	# her own ledger may have a pipeline of alice's name: to reopen it makes alice's no sooner due
	[ 'idem_invalidate(regclass,text,text)' => q{INSERT INTO mallory.led (pipeline, window_range, state) VALUES ('alice', '[0,10)', 'complete'); SELECT idem_invalidate('mallory.led', 'alice', '[0,10)')} => 1 ],
	# loads
	(map {
		my ($signature, $call) = @$_;
		(	[ $signature => sprintf($call, "$led, 'mallory.tgt'", $query) => 42501 ],
			[ $signature => sprintf($call, "'mallory.led', $tgt", $query) => 42501 ],
			[ $signature => sprintf($call, $own, q{'SELECT * FROM alice.src'}) => 42501 ],
			[ $signature => sprintf($call, $own, q{'SELECT 1::bigint AS id, last_error AS v FROM public.idem_pipeline_state'}) => 42501 ])
	} (
		[ "idem_load_window(regclass,regclass,text,text,text,$more)" => q{CALL idem_load_window(%s, %s, '[0,10)', 'upsert', '{id}')} ],
		[ "idem_load_window(regclass,regclass,text,anyrange,text,$more)" => q{CALL idem_load_window(%s, %s, int8range(0, 10), 'upsert', '{id}')} ],
		[ "idem_load(regclass,regclass,text,text,text,$more)" => q{SELECT idem_load(%s, %s, '[0,10)', 'upsert', '{id}')} ],
		[ "idem_load(regclass,regclass,text,anyrange,text,$more)" => q{SELECT idem_load(%s, %s, int8range(0, 10), 'upsert', '{id}')} ])),
	# checks
	[ 'idem_dedupe(regclass,text[],text,text,text[],text,text,integer,interval,boolean,boolean)' => "CALL idem_dedupe($oid{tgt}::regclass, '{id}', dry_run => true)" => 42501 ],
	[ 'idem_dedupe_undo(regclass,bigint)' => "CALL idem_dedupe_undo($oid{tgt}::regclass)" => 42501 ],
	[ 'idem_dedupe_jobs()' => 'SELECT idem_dedupe_jobs()' => '' ],
	[ 'idem_duplicates(regclass,text[],text,text)' => "SELECT idem_duplicates($tgt, '{id}')" => 42501 ],
	(map {
		my ($function, $last) = @$_;
		my $signature = "$function(regclass,regclass,text,text,text,text[],text,text,text,text,$last)";
		my $led_of_hers = q{INSERT INTO mallory.led (pipeline, window_range, state) VALUES ('checked', '[0,10)', 'complete') ON CONFLICT DO NOTHING; };
		(	[ $signature => "SELECT $function($led, 'mallory.tgt', $query, '[0,10)', 'upsert', '{id}')" => 42501 ],
			[ $signature => "$led_of_hers SELECT $function('mallory.led', $tgt, $query, '[0,10)', 'upsert', '{id}', pipeline => 'checked')" => 42501 ],
			[ $signature => "SELECT $function($own, 'SELECT * FROM alice.src', '[0,10)', 'upsert', '{id}', pipeline => 'checked')" => 42501 ])
	} ([ 'idem_check_load', 'text,text,text,bigint,bigint,bigint,double precision' ], [ 'idem_differences_load', 'bigint' ])),
	[ 'idem_check(text,text,text,text,text,bigint,bigint,bigint,double precision)' => "SELECT idem_check('alice', '[0,10)')" => 42704 ],
	[ 'idem_differences(text,text,bigint)' => "SELECT idem_differences('alice', '[0,10)')" => 42704 ],
	# monitors
	[ 'idem_create_monitor(text)' => q{SELECT idem_create_monitor('alice.mine')} => 42501 ],
	[ 'idem_reconcile(regclass,text,text,text,interval)' => "CALL idem_reconcile($oid{mon}::regclass, 'mallory')" => 42501 ],
	[ 'idem_reconcile(regclass,text,text,text,interval)' => q{CALL idem_reconcile('mallory.mon', 'alice')} => 42704 ],
	[ 'idem_report(regclass,text,text)' => "SELECT idem_report($oid{mon}::regclass)" => 42501 ],
	[ 'idem_report(regclass,text,text)' => q{SELECT idem_report('mallory.mon') ~ 'alice'} => 'f' ],
	[ 'idem_acknowledge(regclass,bigint,timestamp with time zone)' => "SELECT idem_acknowledge($oid{mon}::regclass, 1)" => 42501 ],
	# tests
	(map { [ "$_->[0]" => "SELECT $_->[1]('alice', '[0,10)')" => 42704 ] } (
		[ 'idem_test_rerun(text,text)' => 'idem_test_rerun' ], [ 'idem_test_overlap(text,text,text)' => 'idem_test_overlap' ],
		[ 'idem_test_split(text,text,text)' => 'idem_test_split' ], [ 'idem_test_order(text,text,text)' => 'idem_test_order' ],
		[ 'idem_test_all(text,text,text,text)' => 'idem_test_all' ])),
	[ 'idem_tap(text)' => q{SELECT idem_tap('SELECT v, true, v FROM alice.tgt')} => 42501 ],
	# pipelines: alice's is not hers
	[ "idem_create_pipeline(text,regclass,regclass,text,text,text[],$definition)" => "SELECT idem_create_pipeline('m', $led, 'mallory.tgt', $query, 'upsert', '{id}', step => '10', start => '0', watermark => 'SELECT 1::bigint', enabled => false); CALL idem_run_pipeline('m'); SELECT idem_drop_pipeline('m')" => 42501 ],
	[ "idem_create_pipeline(text,regclass,regclass,text,text,text[],$definition)" => "SELECT idem_create_pipeline('m', 'mallory.led', $tgt, $query, 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT 1::bigint', enabled => false); CALL idem_run_pipeline('m'); SELECT idem_drop_pipeline('m')" => 42501 ],
	[ "idem_create_pipeline(text,regclass,regclass,text,text,text[],$definition)" => "SELECT idem_create_pipeline('alice', $own, $query, 'upsert', '{id}', step => '10', start => '0', watermark => 'SELECT 1::bigint', enabled => false)" => 42710 ],
	[ "idem_create_pipeline(text,regclass,regclass,text,text,text[],$definition)" => "SELECT idem_create_pipeline('m', $own, $query, 'upsert', '{id}', step => '10', start => '0', watermark => 'SELECT 1::bigint', enabled => true)" => 42501 ],
	[ "idem_create_pipeline(text,regclass,regclass,text,text,text[],$definition)" => "SELECT idem_create_pipeline('m', $own, $query, 'upsert', '{id}', step => '10', start => '0', watermark => 'SELECT 1::bigint', enabled => false, monitor => $oid{mon}::regclass)" => 42501 ],
	[ "idem_alter_pipeline(text,regclass,regclass,text,text,text[],$definition)" => "SELECT idem_alter_pipeline('alice', source => 'SELECT 1')" => 42704 ],
	[ "idem_alter_pipeline(text,regclass,regclass,text,text,text[],$definition)" => "SELECT idem_alter_pipeline('mallory', enabled => true)" => 42501 ],
	[ "idem_alter_pipeline(text,regclass,regclass,text,text,text[],$definition)" => "SELECT idem_alter_pipeline('mallory', target => $tgt); CALL idem_run_pipeline('mallory'); SELECT idem_alter_pipeline('mallory', target => 'mallory.tgt')" => 42501 ],
	[ 'idem_drop_pipeline(text)' => "SELECT idem_drop_pipeline('alice')" => 42704 ],
	[ 'idem_enable_pipeline(text)' => "SELECT idem_enable_pipeline('alice')" => 42501 ],
	[ 'idem_enable_pipeline(text)' => "SELECT idem_enable_pipeline('mallory')" => 42501 ],
	[ 'idem_disable_pipeline(text)' => "SELECT idem_disable_pipeline('alice')" => 42704 ],
	[ 'idem_resume()' => 'SELECT idem_resume()' => 0 ],
	[ 'idem_retry(text,text)' => "SELECT idem_retry('alice')" => 42704 ],
	[ 'idem_run_pipeline(text)' => "CALL idem_run_pipeline('alice')" => 42704 ],
	[ 'idem_load_window(text,text,boolean,text)' => "CALL idem_load_window('alice', '[0,10)', true)" => 42704 ],
	[ 'idem_load_window(text,anyrange,boolean,text)' => "CALL idem_load_window('alice', int8range(0, 10), true)" => 42704 ],
	[ 'idem_backfill(text,text,integer,boolean)' => "CALL idem_backfill('alice', '[0,10)')" => 42704 ],
	# definitions are no secret, what the scheduler knows and what is loaded is
	[ 'idem_pipeline_calls(text)' => "SELECT count(*) FROM idem_pipeline_calls('alice')" => 1 ],
	[ 'idem_pipeline_status()' => "SELECT count(*) FROM idem_status WHERE pipeline = 'alice'" => 0 ],
	[ 'idem_metrics_rows()' => "SELECT count(*) FROM idem_metrics WHERE pipeline = 'alice'" => 0 ],
	[ 'idem_alert_metrics_rows()' => "SELECT count(*) FROM idem_alert_metrics WHERE pipeline = 'alice'" => 0 ],
	[ 'idem_progress_rows()' => 'SELECT count(*) FROM idem_progress' => 0 ],
	# what a definition names is looked up for whoever asks, as regclass and regrole are
	[ 'idem_relation_in(cstring)' => q{SELECT 'alice.nothing'::idem_relation::oid} => 0 ],
	[ 'idem_relation_out(idem_relation)' => q{SELECT 'alice.nothing'::idem_relation} => 'alice.nothing' ],
	[ 'idem_relation(regclass)' => "SELECT ${tgt}::idem_relation" => 'alice.tgt' ],
	[ 'idem_relation_oid(idem_relation)' => "SELECT 'alice.tgt'::idem_relation::oid = $tgt" => 't' ],
	[ 'idem_role_in(cstring)' => q{SELECT 'nobody.of this name'::idem_role::oid} => 0 ],
	[ 'idem_role_out(idem_role)' => q{SELECT 'alice'::idem_role} => 'alice' ],
	[ 'idem_role(regrole)' => q{SELECT 'alice'::regrole::idem_role} => 'alice' ],
	[ 'idem_role_oid(idem_role)' => q{SELECT 'alice'::idem_role::regrole} => 'alice' ],
	# the scheduler
	[ 'idem_start_worker()' => 'SELECT idem_start_worker()' => 42501 ],
	[ 'idem_stop_worker()' => 'SELECT idem_stop_worker()' => 42501 ]);

foreach my $try (@attempts)
{
	my ($function, $statement, $expected) = @$try;
	my $said = substr($statement, 0, 100) =~ s/\n/ /gr;
	my $got = attempt('mallory', $statement);
	ref $expected ? like($got, $expected, $said) : is($got, $expected, $said);
	is(sql($hers), $before, "and all of alice's is as it was");
}
my %tried = map { $_->[0] => 1 } @attempts;
is(join("\n", grep { !$tried{$_} } split /\n/, sql(q{SELECT p.oid::regprocedure FROM pg_proc p
	JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND extname = 'idem'})), '', 'every function has been tried');

# who may write every table may not say as whom a worker runs, nor what
sql('CREATE ROLE writer LOGIN; GRANT pg_write_all_data, pg_read_all_data TO writer');
foreach my $try (
	[ q{UPDATE idem_pipeline SET owner = 'postgres', enabled = true WHERE name = 'mallory'} => 42501 ],
	[ q{INSERT INTO idem_pipeline (name) VALUES ('mallory') ON CONFLICT (name) DO UPDATE SET source = 'evil'} => 42501 ],
	[ 'DELETE FROM idem_pipeline' => 42501 ],
	[ q{UPDATE idem_pipeline_state SET owner = 'postgres'} => 42501 ],
	[ q{INSERT INTO idem_alert_state VALUES ('alice', 'missing', true, 1, now(), now(), false, now())} => 42501 ],
	[ 'DELETE FROM idem_pipeline_state' => 42501 ],
	[ q{INSERT INTO idem_wakeup VALUES ('alice')} => 42501 ],
	[ q{UPDATE idem_check_state SET next_run_at = now()} => 42501 ])
{
	my ($statement, $expected) = @$try;
	is(attempt('writer', $statement), $expected, "who may write every table: $statement");
	is(sql($hers), $before, "and all of alice's is as it was");
}

# beside the functions: the tables, locks on them, and the scheduler's process
foreach my $try (
	[ 'UPDATE idem_pipeline SET enabled = false' => 42501 ],
	[ 'DELETE FROM idem_pipeline' => 42501 ],
	[ 'TRUNCATE idem_pipeline' => 42501 ],
	[ 'BEGIN; LOCK TABLE idem_pipeline IN SHARE MODE' => 42501 ],
	[ 'ALTER TABLE idem_pipeline DISABLE TRIGGER ALL' => 42501 ],
	[ 'CREATE TRIGGER t AFTER INSERT ON idem_pipeline FOR EACH ROW EXECUTE FUNCTION idem_restore_pipeline()' => 42501 ],
	[ q{SET session_replication_role = replica} => 42501 ],
	[ 'SELECT * FROM idem_pipeline_state' => 42501 ],
	[ 'UPDATE idem_pipeline_state SET crashes = 2147483647' => 42501 ],
	[ 'BEGIN; LOCK TABLE idem_pipeline_state IN ACCESS SHARE MODE' => 42501 ],
	[ q{INSERT INTO idem_wakeup VALUES ('alice')} => 42501 ],
	[ 'SELECT * FROM idem_wakeup' => 42501 ],
	[ q{INSERT INTO idem_check_state (name, owner) VALUES ('alice', 'alice')} => 42501 ],
	[ 'SELECT * FROM idem_check_state' => 42501 ],
	[ 'SELECT * FROM idem_alert_state' => 42501 ],
	[ q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted)} => 42501 ],
	[ 'SELECT pg_advisory_unlock_all(); SELECT count(*) FROM idem_status' => 1 ])
{
	my ($statement, $expected) = @$try;
	is(attempt('mallory', $statement), $expected, $statement);
	is(sql($hers), $before, "and all of alice's is as it was");
}

# who inherits alice's rights may not act as her, where servers tell the one from the other
if (sql('SHOW server_version_num') >= 160000)
{
	sql('CREATE ROLE heir LOGIN; GRANT alice TO heir WITH INHERIT TRUE, SET FALSE');
	foreach my $try (
		[ q{SELECT idem_alter_pipeline('alice', max_windows => 7)} => 42704 ],
		[ q{SELECT idem_drop_pipeline('alice')} => 42704 ],
		[ q{CALL idem_run_pipeline('alice')} => 42704 ],
		[ q{SELECT idem_retry('alice')} => 42704 ],
		[ q{SELECT idem_resume()} => 0 ],
		[ q{SELECT count(*) FROM idem_status} => 0 ],
		[ q{CREATE TEMP TABLE d AS SELECT * FROM idem_pipeline WHERE name = 'alice'; ALTER TABLE d DROP owner_id; UPDATE d SET name = 'heirs'; INSERT INTO idem_pipeline TABLE d; SELECT count(*) FROM idem_pipeline WHERE name = 'heirs'} => 0 ])
	{
		my ($statement, $expected) = @$try;
		is(attempt('heir', $statement), $expected, "who may not become alice: $statement");
		is(sql($hers), $before, "and all of alice's is as it was");
	}
}

# her code, in her own pipeline and on her own tables, in the session of a superuser who uses it: it gets neither his rights nor his settings
attempt('mallory', q{SET search_path = mallory, public;
	CREATE TABLE reached (who text, session text, at text);
	DELETE FROM tgt WHERE id = 3;
	CREATE FUNCTION bad(at text) RETURNS bigint LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO mallory.reached VALUES (current_user, session_user, at);
		PERFORM set_config(name, value, false) FROM (VALUES ('search_path', 'mallory, pg_catalog, public'), ('datestyle', 'German'), ('intervalstyle', 'iso_8601'), ('timezone', 'Asia/Tokyo'),
			('default_transaction_read_only', 'on'), ('statement_timeout', '1h'), ('lock_timeout', '1h'), ('app.tenant', 'mallory')) s (name, value);
		BEGIN EXECUTE 'ALTER ROLE mallory SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
		BEGIN EXECUTE 'SET ROLE NONE'; EXECUTE 'ALTER ROLE mallory SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
		BEGIN EXECUTE 'RESET SESSION AUTHORIZATION'; EXECUTE 'ALTER ROLE mallory SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
		BEGIN EXECUTE 'CREATE TEMP TABLE pg_roles (x int)'; EXCEPTION WHEN OTHERS THEN NULL; END;
		BEGIN EXECUTE 'PREPARE later AS ALTER ROLE mallory SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
		BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT mallory.bad($c$later$c$)'; EXCEPTION WHEN OTHERS THEN NULL; END;
		RETURN 29;
	END $$;
	CREATE FUNCTION bad_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.bad(TG_TABLE_NAME); RETURN NEW; END $$;
	CREATE TRIGGER bad BEFORE INSERT OR UPDATE ON led FOR EACH ROW EXECUTE FUNCTION bad_row();
	CREATE TRIGGER bad BEFORE INSERT OR UPDATE ON tgt FOR EACH ROW EXECUTE FUNCTION bad_row();
	CREATE FUNCTION bad_index(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.bad('index'); RETURN 1; END $$;
	CREATE INDEX ON tgt (bad_index(id)); CREATE INDEX ON tgt (id) WHERE bad_index(1) = 1;
	ALTER TABLE tgt ADD d bigint, ALTER d SET DEFAULT bad('default');
	INSERT INTO mon_alerts (pipeline, kind, windows, value, times) VALUES ('mallory', 'missing', '{[0,10)}', 1, 1);
	CREATE TRIGGER bad BEFORE INSERT ON mon FOR EACH ROW EXECUTE FUNCTION bad_row();
	CREATE TRIGGER bad BEFORE INSERT OR UPDATE ON mon_alerts FOR EACH ROW EXECUTE FUNCTION bad_row();
	SELECT idem_alter_pipeline('mallory', source => 'SELECT id, v || bad(''source'') AS v FROM src WHERE id >= $1 AND id < $2', watermark => 'SELECT bad(''watermark'')',
		audit => 'SELECT 1 WHERE bad(''audit'') < 0')});
my $mine = q{SELECT array_agg(name || '=' || setting ORDER BY name) FROM pg_settings WHERE name IN ('search_path', 'DateStyle', 'IntervalStyle', 'TimeZone', 'default_transaction_read_only', 'statement_timeout', 'lock_timeout');
	SELECT coalesce(current_setting('app.tenant', true), '') || current_user || session_user, count(*) FROM pg_prepared_statements; SELECT count(*) FROM pg_class WHERE relname = 'pg_roles'; SELECT count(*) FROM pg_cursors WHERE name = 'c'};
my $untouched = sql($mine);
foreach my $use (
	q{CALL idem_run_pipeline('mallory')},
	q{CALL idem_load_window('mallory', '[0,10)', true)},
	q{CALL idem_load_window('mallory', int8range(0, 10), true)},
	q{CALL idem_backfill('mallory', '[30,40)', 1)},
	q{SELECT idem_check('mallory', '[0,10)')},
	q{SELECT idem_test_all('mallory', '[0,10)')},
	q{CALL idem_reconcile('mallory.mon', 'mallory')},
	q{SELECT idem_report('mallory.mon')},
	q{SELECT idem_retry('mallory')},
	q{SELECT idem_alter_pipeline('mallory', max_windows => 5)},
	q{SELECT count(*) FROM idem_status},
	q{SELECT count(*) FROM idem_metrics},
	q{SELECT count(*) FROM idem_alert_metrics},
	q{SELECT count(*) FROM idem_pipeline_calls()},
	q{SELECT idem_disable_pipeline('mallory')})
{
	my ($rc, $out, $err) = $node->psql('postgres', "SET client_min_messages = error;\n\\o /dev/null\n$use;\n\\o\n$mine");
	unlike($err, qr/FATAL|PANIC/, "a superuser: $use");
	is($out, $untouched, 'his session is what it was');
}
# he copies it; to look at a ledger's index is to compute her functions, and they may change the role that he has set
attempt('mallory', q{SET search_path = mallory, public;
	CREATE FUNCTION rise() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'RESET ROLE'; EXECUTE 'ALTER ROLE mallory SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END $$;
	CREATE FUNCTION constant() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.rise(); RETURN 1; END $$;
	CREATE INDEX ON led (run_id) WHERE constant() = 1});
my $calls = sql(q{SELECT idem_pipeline_calls('mallory')});
my ($copied, undef, $why) = $node->psql('postgres', "SELECT idem_drop_pipeline('mallory');\n$calls");
is($copied, 0, 'a superuser copies her pipeline') or diag($why);
is(sql(q{SELECT string_agg(DISTINCT who, ' ') FROM mallory.reached}), 'mallory', 'her code was never anybody else');
is(sql(q{SELECT string_agg(DISTINCT at, ' ' ORDER BY at) FROM mallory.reached WHERE session <> 'mallory'}), 'audit default index led mon mon_alerts source tgt watermark', 'and it did run, everywhere, but not at the end of his transaction');
is(sql(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'}), 'f', 'she is what she was');
# all that can be attached to a ledger says as whom it is run, and tries to rise; whoever uses the ledger, it is as its owner and restricted
attempt('mallory', q{SET search_path = mallory, public;
	CREATE FUNCTION seen(at text) RETURNS boolean LANGUAGE plpgsql AS $$
	DECLARE who text := current_user; restricted boolean := false;
	BEGIN
		BEGIN EXECUTE 'RESET ROLE'; EXCEPTION WHEN insufficient_privilege THEN restricted := true; END;
		BEGIN EXECUTE 'ALTER ROLE mallory SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
		BEGIN PERFORM mine(); EXCEPTION WHEN undefined_function THEN NULL; END;
		RAISE WARNING 'seen: % by % as % restricted %', at, session_user, who, restricted;
		RETURN NULL;
	END $$;
	CREATE FUNCTION one(at text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.seen(at); RETURN 1; END $$;
	CREATE FUNCTION of_row(bigint) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.seen('key'); RETURN 1; END $$;
	CREATE FUNCTION on_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.seen('trigger'); RETURN coalesce(NEW, OLD); END $$;
	SELECT idem_create_ledger('trap', 'int8range');
	INSERT INTO trap (pipeline, window_range, state, finished_at) VALUES ('su', '[0,10)', 'superseded', '2024-01-01');
	CREATE INDEX ON trap ((of_row(run_id))); CREATE INDEX ON trap ((one('index') + run_id)); CREATE INDEX ON trap (run_id) WHERE one('predicate') = 1;
	CREATE STATISTICS of_trap ON (one('statistics') + run_id), state FROM trap;
	ALTER TABLE trap ADD CHECK (one('check') = 1), ALTER blocked SET DEFAULT seen('default');
	CREATE TRIGGER before BEFORE INSERT OR UPDATE OR DELETE ON trap FOR EACH ROW EXECUTE FUNCTION on_row();
	CREATE TRIGGER after AFTER INSERT OR UPDATE OR DELETE ON trap FOR EACH STATEMENT EXECUTE FUNCTION on_row();
	CREATE RULE gone AS ON DELETE TO trap DO ALSO SELECT seen('rule')});
is(attempt('mallory', $_), 42809, "a ledger's columns are those of its type: $_") foreach
	'ALTER TABLE mallory.trap ADD COLUMN own text', 'ALTER TABLE mallory.trap ALTER run_by TYPE varchar';
sql(q{CREATE TABLE su_tgt (id bigint PRIMARY KEY, v text);
	SELECT idem_create_pipeline('su', 'mallory.trap', 'su_tgt', 'SELECT $1 AS id, ''v'' AS v', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT 29::bigint', enabled => false)});
my $loads = q{('mallory.trap', 'su_tgt', 'SELECT 1::bigint AS id, ''v'' AS v', %s, 'upsert', '{id}', pipeline => 'su', force => true)};
my @uses = (
	[ 'idem_gaps(regclass,text,anyrange)' => q{SELECT idem_gaps('mallory.trap', 'su', int8range(0, 10))} ],
	[ 'idem_gaps(regclass,text,text)' => q{SELECT idem_gaps('mallory.trap', 'su', '[0,10)')} ],
	[ 'idem_coverage(regclass,text,anyrange)' => q{SELECT idem_coverage('mallory.trap', 'su', int8range(0, 10))} ],
	[ 'idem_coverage(regclass,text,text)' => q{SELECT idem_coverage('mallory.trap', 'su', '[0,10)')} ],
	[ 'idem_calendar(regclass,text,text,text,text)' => q{SELECT idem_calendar('mallory.trap', 'su', '0', '100', '10')} ],
	[ 'idem_calendar(regclass,text,anyelement,anyelement,text)' => q{SELECT idem_calendar('mallory.trap', 'su', 0, 100, '10')} ],
	[ "idem_load_window(regclass,regclass,text,text,text,$more)" => 'CALL idem_load_window' . sprintf($loads, q{'[0,10)'}) ],
	[ "idem_load_window(regclass,regclass,text,anyrange,text,$more)" => 'CALL idem_load_window' . sprintf($loads, 'int8range(0, 10)') ],
	[ "idem_load(regclass,regclass,text,text,text,$more)" => 'SELECT idem_load' . sprintf($loads, q{'[0,10)'}) ],
	[ "idem_load(regclass,regclass,text,anyrange,text,$more)" => 'SELECT idem_load' . sprintf($loads, 'int8range(0, 10)') ],
	(map { [ "idem_$_->[0](regclass,regclass,text,text,text,text[],text,text,text,text,$_->[1])" => "SELECT idem_$_->[0]" . q{('mallory.trap', 'su_tgt', 'SELECT 1::bigint AS id, ''v'' AS v', '[0,10)', 'upsert', '{id}', pipeline => 'su')} ] } [ 'check_load', 'text,text,text,bigint,bigint,bigint,double precision' ], [ 'differences_load', 'bigint' ]),
	[ 'idem_adopt(regclass,text,regclass)' => q{SELECT idem_adopt('mallory.trap', 'su', 'mallory.tgt')}, q{SELECT idem_adopt('mallory.trap', 'su', 'su_tgt')} ],
	[ 'idem_invalidate(regclass,text,anyrange)' => q{SELECT idem_invalidate('mallory.trap', 'su', int8range(0, 10))} ],
	[ 'idem_invalidate(regclass,text,text)' => q{SELECT idem_invalidate('mallory.trap', 'su', '[0,10)')} ],
	[ 'idem_prune(regclass,interval)' => q{SELECT idem_prune('mallory.trap', '1 day')} ],
	[ 'idem_accept_schema(regclass,text)' => q{SELECT idem_accept_schema('mallory.trap', 'su')} ],
	[ 'idem_create_dead_letters(text,regclass)' => q{SELECT idem_create_dead_letters('su_dead', 'mallory.trap')} ],
	[ "idem_create_pipeline(text,regclass,regclass,text,text,text[],$definition)" => q{SELECT idem_create_pipeline('su2', 'mallory.trap', 'su_tgt', 'SELECT $1 AS id', 'upsert', '{id}', 'id', '10', '0', watermark => 'SELECT 29::bigint', enabled => false)} ],
	[ "idem_alter_pipeline(text,regclass,regclass,text,text,text[],$definition)" => q{SELECT idem_alter_pipeline('su', ledger => 'mallory.trap')} ],
	# a pipeline of his on her ledger
	[ run => q{CALL idem_run_pipeline('su')} ],
	[ window => q{CALL idem_load_window('su', '[0,10)', true)} ],
	[ check => q{SELECT idem_check('su', '[0,10)'), idem_differences('su', '[0,10)')} ],
	[ test => q{SELECT idem_test_all('su', '[0,10)')} ],
	[ backfill => q{CALL idem_backfill('su', '[30,40)', 1)} ],
	[ status => q{SELECT count(*) FROM idem_status} ],
	[ failure => q{SELECT idem_alter_pipeline('su', source => 'SELECT 1/0 AS id, ''v'' AS v')}, q{CALL idem_load_window('su', '[50,60)')} ],
	[ retry => q{SELECT idem_retry('su')} ]);
my %used = map { $_->[0] => 1 } @uses;
is(join("\n", grep { !$used{$_} } split /\n/, sql(q{SELECT p.oid::regprocedure FROM pg_proc p
	JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND extname = 'idem' WHERE 'regclass'::regtype = ANY (p.proargtypes) AND 'ledger' = ANY (p.proargnames)})), '', 'every function that is given a ledger is used');

# runs statements as a role in a new session, for what has been looked up is kept, and returns what was seen, each once
sub what_is_seen
{
	my ($role, @statements) = @_;
	my $log = -s $node->logfile;
	my ($rc, $out, $err) = $node->psql('postgres', join(";\n", 'SET constraint_exclusion = on', '\o /dev/null', @statements), on_error_stop => 0, extra_params => [ '-U', $role ]);
	my %seen = map { $_ => 1 } slurp_file($node->logfile, $log) =~ /seen: (.*)/g;
	return ($err, sort keys %seen);
}
my %everything;
foreach my $use (@uses)
{
	my ($function, @statements) = @$use;
	my ($err, @seen) = what_is_seen('postgres', @statements);
	unlike($err, $function eq 'failure' ? qr/FATAL|PANIC/ : qr/ERROR|FATAL|PANIC/, "a superuser uses her ledger: $function");
	is(join("\n", grep { !/ by postgres as mallory restricted t$/ } @seen), '', 'all that it runs is her, and restricted');
	is(sql(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'}), 'f', 'she is what she was');
	sql('ALTER ROLE mallory NOSUPERUSER');
	$everything{s/ by .*//r} = 1 foreach @seen;
}
is(join(' ', sort keys %everything), 'check default index key predicate rule statistics trigger', 'and it did run, all of it');
is(sql(q{SELECT string_agg(DISTINCT run_by, ' ') FROM mallory.trap WHERE run_by IS NOT NULL}), 'postgres', 'the ledger says who it was');
is(sql(q{SELECT string_agg(DISTINCT details ->> 'superseded_by', ' ') FROM mallory.trap}), 'postgres', 'and who superseded it');

# who may only read it finds out no less, nor lends her his rights, nor his functions to her code; who may not gets nothing
sql(q{GRANT USAGE ON SCHEMA mallory TO alice; GRANT SELECT (pipeline, window_range, state) ON mallory.trap TO alice;
	CREATE FUNCTION alice.mine() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'seen: alice''s function by % as % restricted -', session_user, current_user; END $$;
	GRANT USAGE ON SCHEMA alice TO PUBLIC});
foreach my $use (grep { $_->[0] =~ /^idem_(?:gaps|coverage|calendar)/ } @uses)
{
	my ($err, @seen) = what_is_seen('alice', 'SET search_path = alice, public', @{$use}[1 .. $#$use]);
	unlike($err, qr/ERROR/, "alice uses mallory's ledger: $use->[0]");
	isnt(scalar(@seen), 0, 'which runs something');
	is(join("\n", grep { !/ by alice as mallory restricted t$/ } @seen), '', 'but all of it is her, and restricted, and her own');
}
sql('REVOKE SELECT (state) ON mallory.trap FROM alice');
is(attempt('alice', $_->[1]), 42501, "alice lacks the right to a column: $_->[0]") foreach grep { $_->[0] =~ /^idem_(?:gaps|coverage|calendar)/ } @uses;

# who may become her writes as she; who may only write sets off what any other INSERT of his would
sql(q{CREATE ROLE deputy LOGIN; GRANT mallory TO deputy; CREATE ROLE aloof LOGIN NOINHERIT; GRANT mallory TO aloof; GRANT USAGE ON SCHEMA mallory TO aloof;
	GRANT SELECT, INSERT, UPDATE ON mallory.trap TO alice; GRANT USAGE ON mallory.trap_run_id_seq TO alice});
foreach my $try ([ deputy => '(?:key|check|default|trigger|index|predicate|statistics) by deputy as mallory restricted t' ],
	[ alice => '(?:index|predicate|statistics|check) by alice as mallory restricted t|(?:key|check|default|trigger|index|predicate|statistics) by alice as alice restricted f' ])
{
	my ($role, $expected) = @$try;
	my ($err, @seen) = what_is_seen($role, q{SELECT idem_invalidate('mallory.trap', 'su', '[0,10)')});
	unlike($err, qr/ERROR/, "$role invalidates a window of her ledger");
	is(join("\n", grep { !/^(?:$expected)$/ && !/^alice's function by alice as alice / } @seen), '', 'and what runs is whose it should be');
	is(scalar(grep { /trigger/ } @seen), 1, 'triggers too');
	is(sql("SELECT count(*) FROM mallory.trap WHERE mode = 'invalidate' AND run_by = '$role'"), 1, 'the ledger says who it was');
}
is(attempt('aloof', q{SELECT idem_invalidate('mallory.trap', 'su', '[0,10)')}), 42501, 'who may become her, but has not her rights before');
foreach my $try ([ aloof => 'SET ROLE mallory' ], [ postgres => 'SET ROLE mallory' ], [ postgres => 'SET SESSION AUTHORIZATION mallory' ])
{
	my ($role, $become) = @$try;
	my ($err, @seen) = what_is_seen($role, $become, map { @{$_}[1 .. $#$_] } grep { $_->[0] =~ /^idem_(?:gaps|invalidate|prune)/ } @uses);
	unlike($err, qr/ERROR/, "$role uses her ledger: $become");
	is(join("\n", grep { !/ as mallory restricted t$/ } @seen), '', 'and her code cannot become who she was before');
	is(scalar(grep { /trigger/ } @seen), 1, 'triggers neither');
}
{
	my ($err, @seen) = what_is_seen('mallory', q{SELECT idem_invalidate('mallory.trap', 'su', '[0,10)')});
	is(scalar(grep { /trigger by mallory as mallory restricted f/ } @seen), 1, 'in her own session her writes are as any others of hers');
}

# what would run at the end of a superuser's transaction is refused; policies run for nobody but the owner
sql(q{SET ROLE mallory; CREATE CONSTRAINT TRIGGER later AFTER INSERT ON mallory.trap DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION mallory.on_row()});
is(attempt('postgres', q{SELECT idem_invalidate('mallory.trap', 'su', '[0,10)')}), 42501, 'a trigger that is to run when the transaction ends');
sql(q{SET ROLE mallory; DROP TRIGGER later ON mallory.trap; ALTER TABLE mallory.trap ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON mallory.trap USING (mallory.seen('policy') IS NULL);
	GRANT SELECT ON mallory.trap TO alice});
foreach my $try ([ 'postgres', '' ], [ 'alice', '' ], [ 'postgres', 'FORCE' ])
{
	my ($role, $force) = @$try;
	sql("ALTER TABLE mallory.trap $force ROW LEVEL SECURITY") if $force;
	my ($err, @seen) = what_is_seen($role, $uses[0][1]);
	$role eq 'postgres' && !$force ? unlike($err, qr/ERROR/, "$role reads it past policies") : like($err, qr/has row security/, "$role does not read it past policies $force");
	is(join("\n", grep { /policy/ || !/ by $role as mallory restricted t$/ } @seen), '', 'and they do not run');
}
sql(q{SELECT idem_drop_pipeline('su'), idem_drop_pipeline('su2'); DROP TABLE mallory.trap; REVOKE USAGE ON SCHEMA alice FROM PUBLIC; DROP FUNCTION alice.mine()});

is(sql($hers), $before, "all of alice's is as it was");
sql(q{SET SESSION AUTHORIZATION alice; SELECT idem_alter_pipeline('alice', watermark => 'SELECT 39::bigint')});
await_true($node, 'SELECT count(*) = 40 FROM alice.tgt', 'and her pipeline runs');

$node->stop;
done_testing();
