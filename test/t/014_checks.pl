# Checks beside writers: ledger, source and target are read in one snapshot, so that what
# somebody else is changing is never taken for a difference.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'log_min_messages = fatal');
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION idem CASCADE;
	CREATE TABLE src (id int PRIMARY KEY, w int NOT NULL, v int);
	INSERT INTO src SELECT i, i % 4, 0 FROM generate_series(1, 400) i;
	CREATE TABLE tgt (id int PRIMARY KEY, w int NOT NULL, v int);
	CREATE TABLE bag (id int, w int NOT NULL, v int);
	SELECT idem_create_ledger('led', 'int8range');
	CREATE FUNCTION load(target regclass, keys text[]) RETURNS void LANGUAGE sql AS $$
		SELECT FROM idem_load('led', target, 'SELECT * FROM src WHERE w >= $1 AND w < $2', '[0,4)', 'reload', keys => keys, window_column => 'w', step => '2', pipeline => target::text, force => true) $$;
	CREATE TABLE stop ();
	-- changes the source and loads it, time after time, in one transaction
	CREATE PROCEDURE keep_loading(target regclass, keys text[]) LANGUAGE plpgsql AS $$ BEGIN
		LOOP
			UPDATE src SET v = v + 1 WHERE id % 10 = (random() * 9)::int;
			DELETE FROM src WHERE id = (random() * 400)::int;
			INSERT INTO src SELECT i, i % 4, 0 FROM (SELECT 1 + (random() * 399)::int) r(i) ON CONFLICT DO NOTHING;
			PERFORM load(target, keys);
			COMMIT;
			EXIT WHEN to_regclass('stop') IS NULL;
		END LOOP;
	END $$;
	CREATE PROCEDURE keep_checking(target regclass, keys text[], wrong OUT int, checked OUT int) LANGUAGE plpgsql AS $$ DECLARE c record; BEGIN
		wrong := 0; checked := 0;
		FOR i IN 1 .. 100 LOOP
			FOR c IN SELECT * FROM idem_check_load('led', target, 'SELECT * FROM src WHERE w >= $1 AND w < $2', '[0,4)', 'reload', keys => keys, window_column => 'w', pipeline => target::text,
				depth => CASE WHEN i % 2 = 0 THEN 'rows' ELSE 'auto' END) LOOP
				checked := checked + 1;
				wrong := wrong + (c.result <> 'ok')::int;
			END LOOP;
			COMMIT;
		END LOOP;
	END $$;
});
foreach my $try ([ 'tgt', "'{id}'" ], [ 'bag', 'NULL' ])
{
	my ($target, $keys) = @$try;
	$node->safe_psql('postgres', "SELECT load('$target', $keys)");
	my $before = $node->safe_psql('postgres', "SELECT count(*) FROM led WHERE pipeline = '$target'");
	my $loader = $node->background_psql('postgres', on_error_stop => 0);
	$loader->query_until(qr/begun/, "\\echo begun\nCALL keep_loading('$target', $keys);\n");
	my ($wrong, $checked) = split /\|/, $node->safe_psql('postgres', "CALL keep_checking('$target', $keys, NULL, NULL)");
	$node->safe_psql('postgres', 'DROP TABLE stop');
	$loader->quit;
	my $loads = $node->safe_psql('postgres', "SELECT count(*) FROM led WHERE pipeline = '$target'") - $before;
	note "$target: $checked windows checked beside $loads loads";
	is($wrong, 0, "nothing is wrong with $target beside a loader");
	cmp_ok($checked, '>', 50, 'and many windows were checked');
	cmp_ok($loads, '>', 10, 'beside many loads');
	$node->safe_psql('postgres', 'CREATE TABLE stop ()');
}

# what becomes of alerts is told in ids and counts, once: opened, worse, closed, opened again; not while it is the same, nor to who has said that he knows
$node->safe_psql('postgres', q{SELECT idem_create_monitor('mon');
	SELECT idem_create_pipeline('p', 'led', 'tgt', 'SELECT * FROM src WHERE w >= $1 AND w < $2', 'upsert', '{id}', 'w', '1', '0', watermark => 'SELECT 4::bigint', enabled => false);
	CALL idem_load_window('p', '[0,4)')});
my @told;
sub told
{
	my ($what, $expected) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "LISTEN idem; SET client_min_messages = warning; $what; CALL idem_reconcile('mon', 'p')");
	@told = $out =~ /payload "(.*?)" received/g;
	is($err, '', $what);
	is(join(' ', map { /"event": "(\w+)"/ } @told), $expected, "tells: $expected");
}
told('SELECT 1', '');
told('DELETE FROM tgt WHERE id = (SELECT min(id) FROM tgt JOIN src USING (id))', 'alert_opened');
is($told[0], '{"event": "alert_opened", "monitor": "public.mon", "pipeline": "p", "kind": "missing", "alert_id": 1, "value": 1}', 'with what there is to look up');
told('SELECT 1', '');
told('DELETE FROM tgt WHERE id = (SELECT min(id) FROM tgt JOIN src USING (id))', 'alert_worse');
told(q{SELECT idem_acknowledge('mon', 1, '2999-01-01'); DELETE FROM tgt WHERE id = (SELECT max(id) FROM tgt JOIN src USING (id))}, '');
told(q{SET idem.wait_for_writers = off; CALL idem_load_window('p', '[0,4)', true)}, 'alert_closed');
told('DELETE FROM tgt WHERE id = (SELECT min(id) FROM tgt JOIN src USING (id))', 'alert_opened');
is($node->safe_psql('postgres', q{SELECT alert_id FROM mon_alerts WHERE closed_at IS NULL}), 1, 'what comes back soon is the same alert');
told(q{UPDATE mon_alerts SET snoozed_until = NULL, notified_at = notified_at - interval '23 hours'}, '');
told(q{UPDATE mon_alerts SET notified_at = notified_at - interval '1 hour'}, 'alert_reminder');
told('SELECT 1', '');

$node->stop;
done_testing();
