# The scheduler checks what pipelines that name a monitor have loaded: as their owners, where no load waits, and never
# for long.

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
$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'idem'
idem.databases = 'postgres'
idem.max_workers = 2
idem.crash_delay = 200
restart_after_crash = on
max_worker_processes = 16
});
$node->start;

sub sql { return $node->safe_psql('postgres', shift); }
sub await { return await_true($node, @_); }

# the pipeline's owner; and who takes notes of as whom his code and the monitor's runs
sql(q{CREATE EXTENSION idem CASCADE; CREATE ROLE alice LOGIN; GRANT EXECUTE ON FUNCTION idem_enable_pipeline(text) TO alice;
	CREATE SCHEMA alice AUTHORIZATION alice; CREATE TABLE other (id int); CREATE TABLE mark (w bigint); INSERT INTO mark VALUES (4); GRANT SELECT ON mark TO alice;
	CREATE TABLE seen (what text, who text, login text); GRANT INSERT, SELECT ON seen TO PUBLIC});
sub alice { return sql("SET SESSION AUTHORIZATION alice; SET search_path = alice, public; SET client_min_messages = warning; $_[0]"); }
alice(q{SELECT idem_create_ledger('led', 'int8range'); SELECT idem_create_monitor('mon');
	CREATE TABLE src AS SELECT i AS id, i / 10 AS w, 'v' AS v FROM generate_series(0, 99) i; CREATE TABLE tgt (id int PRIMARY KEY, w int NOT NULL, v text);
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES ('monitor', current_user, session_user); RETURN NEW; END $$;
	CREATE TRIGGER note BEFORE INSERT ON mon FOR EACH ROW EXECUTE FUNCTION note();
	SELECT idem_create_pipeline('p', 'led', 'tgt', 'SELECT s.* FROM src s, (SELECT pg_advisory_xact_lock_shared(CASE WHEN $1 = 3 AND current_setting(''application_name'') = ''idem check'' THEN 3 ELSE 0 END)) z WHERE w >= $1 AND w < $2',
		'reload', '{id}', 'w', '1', '0', watermark => 'SELECT w FROM public.mark', check_every => '1 second', monitor => 'mon', checks => '{"every": "1 second", "budget": "5 seconds", "max_seconds": 600}')});

# each window when it has become complete, and then again
await("SELECT count(*) = 5 AND min(n) >= 2 AND bool_and(ok) FROM (SELECT window_range, count(*) AS n, bool_and(result = 'ok') AS ok FROM alice.mon GROUP BY 1) c", 'all windows are checked, again and again');
sql('UPDATE mark SET w = 5');
await("SELECT count(*) > 0 FROM alice.mon WHERE window_range = '[5,6)'", 'and a new one');
is(sql("SELECT string_agg(DISTINCT concat_ws(' ', what, who, login), ',') FROM seen"), 'monitor alice alice', 'in sessions that are the owner\'s');
# what is loaded by hand and by a backfill is checked soon, and not when it is time again
alice(q{SELECT idem_alter_pipeline('p', checks => '{"every": "1 day"}')});
my $last = "(SELECT max(checked_at) FROM alice.mon WHERE window_range = '[1,2)')";
foreach my $load (q{CALL idem_load_window('p', '[1,2)', force => true)}, q{SELECT idem_invalidate('led', 'p', '[1,2)'); CALL idem_backfill('p', '[1,2)', 1)})
{
	my $before = sql("SELECT $last");
	alice($load);
	await("SELECT $last > '$before'", "checked after: $load");
}
alice(q{SELECT idem_alter_pipeline('p', checks => '{"every": "1 second", "budget": "5 seconds", "max_seconds": 600}')});

sql("DELETE FROM alice.tgt WHERE id = 7");
await("SELECT count(*) = 1 FROM alice.mon_alerts WHERE kind = 'missing' AND closed_at IS NULL AND windows = '{[0,1)}' AND sample = '[{\"id\": 7}]'", 'what is missing opens an alert');
await("SELECT open = 1 AND value = 1 FROM idem_alert_metrics WHERE kind = 'missing'", 'which who watches servers sees');
alice("CALL idem_load_window('p', '[0,1)', force => true)");
await("SELECT count(*) = 1 FROM alice.mon_alerts WHERE kind = 'missing' AND closed_at IS NOT NULL AND close_reason = 'clean'", 'a reload closes it');

# no checks, where there are to be none
sub set { my ($name, $value) = @_; $node->append_conf('postgresql.conf', "$name = $value"); $node->reload; return; }
my $checking = "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'idem check')";
my $due = "(SELECT next_run_at < clock_timestamp() AND turn_started_at IS NULL FROM idem_check_state WHERE name = 'p')";
set('idem.max_check_workers', 0);
await("SELECT $due", 'without workers that may check it is due');
my $checks = sql('SELECT count(*) FROM alice.mon');
sql("UPDATE mark SET w = 6");
await("SELECT count(*) = 7 FROM alice.led WHERE state = 'complete'", 'and goes on to load');
is(sql("SELECT count(*) - $checks FROM alice.mon"), 0, 'but is not checked');

# nor where loads wait for a worker
alice(q{SELECT idem_create_ledger('slow_led', 'int8range'); CREATE TABLE slow (id bigint PRIMARY KEY, v text)});
my $holder = $node->background_psql('postgres', on_error_stop => 0);
$holder->query_safe('SELECT pg_advisory_lock(5)');
alice(qq{SELECT idem_create_pipeline('slow$_', 'slow_led', 'slow', 'SELECT \$1 + $_ AS id, pg_advisory_xact_lock_shared(5)::text AS v', 'upsert', '{id}', step => '1', start => '0', watermark => 'SELECT 0::bigint', check_every => '1 day')}) foreach 1 .. 3;
await("SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type = 'idem worker' AND wait_event = 'advisory'", 'two loads have the workers');
await("SELECT count(*) > 0 FROM idem_pipeline_state WHERE waiting_for LIKE 'its turn%'", 'another one waits');
set('idem.max_check_workers', 2);
sql("SELECT idem_alter_pipeline('slow1', max_attempts => 10)"); # a round of the scheduler's
await("SELECT count(*) = 0 FROM idem_wakeup", 'the scheduler has looked');
is(sql("SELECT $checking"), 0, 'no check begins while loads wait');
$holder->query_safe('SELECT pg_advisory_unlock(5)');
await("SELECT count(*) > $checks FROM alice.mon", 'it does when they have ended');
alice("SELECT count(idem_drop_pipeline(name)) FROM idem_pipeline WHERE name LIKE 'slow_'");

# a check that hangs: it does not keep an index from being built for longer than it may take, nor is it ok
alice(q{SELECT idem_alter_pipeline('p', checks => '{"every": "1 second", "budget": "5 seconds", "max_seconds": 2}')});
$holder->query_safe('SELECT pg_advisory_lock(3)');
my $hangs = "SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'idem check' AND wait_event = 'advisory'";
await($hangs, 'a check hangs');
sql('CREATE INDEX CONCURRENTLY ON other (id)');
await("SELECT count(*) = 1 FROM alice.mon_alerts WHERE kind = 'check_failed' AND closed_at IS NULL AND windows = '{[3,4)}'", 'it is no clean one');
is(sql("SELECT count(*) FROM alice.mon WHERE window_range = '[3,4)' AND result = 'ok' AND checked_at > (SELECT opened_at FROM alice.mon_alerts WHERE kind = 'check_failed')"), 0, 'nor a later one');

# its process is lost with the server
alice(q{SELECT idem_alter_pipeline('p', checks => '{"every": "1 second", "budget": "5 seconds", "max_seconds": 3600}')});
await($hangs . " AND (SELECT turn_started_at IS NOT NULL FROM idem_check_state WHERE name = 'p')", 'another one hangs');
my $pid = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'idem check'");
kill 9, $pid;
await_end($pid);
$node->poll_query_until('postgres', 'SELECT true');
await("SELECT count(*) = 0 FROM alice.mon_alerts WHERE closed_at IS NULL", 'after the crash it is checked, and found clean');
is(sql("SELECT crashes FROM idem_check_state WHERE name = 'p'"), 0, 'a turn that ends is no crash');

# a monitor that is gone is told, and keeps nothing from being loaded
alice('ALTER TABLE mon_alerts RENAME TO elsewhere');
await("SELECT last_error LIKE 'monitor: monitor \"mon\" has no table \"mon_alerts\"%' FROM idem_status WHERE pipeline = 'p'", 'what is wrong with a monitor is told');
sql('UPDATE mark SET w = 7');
await("SELECT count(*) = 8 FROM alice.led WHERE state = 'complete'", 'and the pipeline goes on to load');
alice('ALTER TABLE elsewhere RENAME TO mon_alerts');
await("SELECT last_error IS NULL FROM idem_status WHERE pipeline = 'p'", 'until it is there again');

# who owns a monitor runs no code as others: the owner of a pipeline may not write it any more
sql('CREATE ROLE mallory LOGIN; ALTER TABLE alice.mon OWNER TO mallory; ALTER TABLE alice.mon_alerts OWNER TO mallory; TRUNCATE seen');
await("SELECT last_error LIKE 'monitor: permission denied for monitor %' FROM idem_status WHERE pipeline = 'p'", 'a monitor of another role is not written');
is(sql('SELECT count(*) FROM seen'), 0, 'and none of its triggers runs');

# a pipeline that is disabled is not checked
sql('ALTER TABLE alice.mon OWNER TO alice; ALTER TABLE alice.mon_alerts OWNER TO alice');
alice("SELECT idem_disable_pipeline('p')");
is(sql("SELECT next_run_at IS NULL FROM idem_check_state WHERE name = 'p'"), 't', 'a pipeline that is disabled is not checked');
alice("SELECT idem_drop_pipeline('p')");
await('SELECT count(*) = 0 FROM idem_check_state', 'nothing is left of one that is dropped');

$holder->quit;
$node->stop;
done_testing();
