# What goes wrong around a load: timeouts, a full disk, another server, a backup.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "log_min_messages = fatal");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION idem CASCADE;
	CREATE TABLE src (id int, w int, v text);
	INSERT INTO src SELECT i, i % 100, md5(i::text) FROM generate_series(0, 9999) i;
	CREATE TABLE tgt (id int PRIMARY KEY, w int NOT NULL, v text);
	SELECT idem_create_ledger('led', 'int8range');
	CREATE FUNCTION differ(target text) RETURNS bigint LANGUAGE plpgsql AS $$ DECLARE n bigint; BEGIN
		EXECUTE format('SELECT count(*) FROM ((TABLE %s EXCEPT ALL TABLE src) UNION ALL (TABLE src EXCEPT ALL TABLE %1$s)) d', target) INTO n;
		RETURN n; END $$;
});
my $load = q{CALL idem_load_window('led', '%s', 'SELECT * FROM src WHERE w >= $1 AND w < $2', '[0,100)', '%s', keys => %s, window_column => 'w', step => '10', force => %s)};

# Runs a statement that fails, and returns its error in full, or its SQLSTATE.
sub failure
{
	my $sql = shift;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	return $err;
}

sub sqlstate
{
	my $err = failure(shift);
	return $err =~ /ERROR:  ([0-9A-Z]{5})/ ? $1 : "none: $err";
}

# what the ledger says of a target: complete windows, and the errors of failed ones
sub runs
{
	my $target = shift;
	return $node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE state = 'complete'), string_agg(error_code, ',') FROM led WHERE pipeline = 'public.$target'");
}

# A lock that is held: by a writer of the source, which is an error of the window; by another
# load, which is none, for this one has not begun.
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; INSERT INTO src VALUES (10000, 55, NULL)');
is(sqlstate("SET lock_timeout = 100; " . sprintf($load, 'tgt', 'upsert', "'{id}'", 'false')), '55P03', 'lock_timeout while waiting for a writer');
is(runs('tgt'), '0|55P03', 'it is recorded');
is(sqlstate("SET statement_timeout = 3000; " . sprintf($load, 'tgt', 'upsert', "'{id}'", 'false')), '57014', 'statement_timeout while waiting for a writer');
is(runs('tgt'), '0|55P03,57014', 'it is recorded');
$holder->query_safe('ROLLBACK');
$holder->query_safe('BEGIN; ' . "SELECT FROM idem_load('led', 'tgt', 'src', '[55,56)', 'upsert', keys => '{id}', window_column => 'w')");
is(sqlstate("SET lock_timeout = 100; " . sprintf($load, 'tgt', 'upsert', "'{id}'", 'false')), '55P03', 'lock_timeout while waiting for another load');
is(runs('tgt'), '5|55P03,57014', 'nothing is recorded for the window that was not begun');

# A backup of all that is there waits for no load, and no load for a backup (see the isolation tests).
command_ok([ 'pg_dump', '--lock-wait-timeout=1000', '-f', '/dev/null', $node->connstr('postgres') ], 'pg_dump while a load runs');
$holder->query_safe('COMMIT');
$holder->quit;
$node->safe_psql('postgres', sprintf($load, 'tgt', 'upsert', "'{id}'", 'false'));
is($node->safe_psql('postgres', "SELECT differ('tgt')"), '0', 'afterwards the rest is loaded');

# A full disk. IDEM_SMALL_DISK is an empty directory on a file system of some 8 MB.
SKIP:
{
	skip 'IDEM_SMALL_DISK is not set', 6 unless $ENV{IDEM_SMALL_DISK};
	$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$ENV{IDEM_SMALL_DISK}'");
	$node->safe_psql('postgres', q{
		CREATE TABLE on_small (id int PRIMARY KEY, w int NOT NULL, v text) TABLESPACE small;
		CREATE TABLE filler TABLESPACE small AS SELECT repeat(md5(i::text), 20) FROM generate_series(1, 7000) i;
		CREATE VIEW wide AS SELECT id, w, repeat(v, 15) AS v FROM src;
	});
	my $wide = sprintf($load, 'on_small', 'upsert', "'{id}'", 'false') =~ s/FROM src/FROM wide/r;
	is(sqlstate($wide), '53100', 'the disk is full');
	like(runs('on_small'), qr/^[1-9]\|53100$/, 'it is recorded, after what was complete');
	my $complete = $node->safe_psql('postgres', "SELECT range_agg(window_range) FROM led WHERE pipeline = 'public.on_small' AND state = 'complete'");
	is($node->safe_psql('postgres', "SELECT (SELECT count(*) FROM on_small), count(*) FROM src WHERE '$complete'::int8multirange @> w::bigint"),
		$node->safe_psql('postgres', "SELECT count(*), count(*) FROM src WHERE '$complete'::int8multirange @> w::bigint"), 'just the rows of complete windows are there');

	# the same for the rows on their way, which spill
	is(sqlstate("SET temp_tablespaces = small; SET work_mem = '64kB'; SET idem.wait_for_writers = off; "
			. q{CALL idem_load_window('led', 'tgt', 'SELECT i AS id, 500 AS w, repeat(''x'', 1000) AS v FROM generate_series(1000000, 1100000) i', '[500,501)', 'upsert', keys => '{id}', window_column => 'w')}),
		'53100', 'the disk is full before anything is written');
	$node->safe_psql('postgres', 'DROP TABLE filler; CHECKPOINT');
	$node->safe_psql('postgres', $wide);
	is($node->safe_psql('postgres', 'SELECT count(*), (SELECT count(*) FROM on_small) FROM (TABLE wide EXCEPT TABLE on_small) d'), '0|10000', 'with room again the rest is loaded');
	is(runs('on_small'), '10|53100', 'each window once');
	$node->safe_psql('postgres', 'DROP TABLE on_small; DROP TABLESPACE small');
}

# A target on another server: reload at top level, where nothing older than the claim is seen.
my ($host, $port) = ($node->host, $node->port);
$node->safe_psql('postgres', 'CREATE DATABASE far');
$node->safe_psql('far', 'CREATE TABLE there (id int PRIMARY KEY, w int NOT NULL, v text)');
$node->safe_psql('postgres', qq{
	CREATE EXTENSION postgres_fdw;
	CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'far');
	CREATE USER MAPPING FOR CURRENT_USER SERVER far;
	CREATE FOREIGN TABLE there (id int NOT NULL, w int NOT NULL, v text) SERVER far;
	CREATE TABLE mixed (id int, w int NOT NULL, v text) PARTITION BY RANGE (w);
	CREATE TABLE mixed_here PARTITION OF mixed FOR VALUES FROM (0) TO (50);
	CREATE FOREIGN TABLE mixed_there PARTITION OF mixed FOR VALUES FROM (50) TO (100) SERVER far OPTIONS (table_name 'other');
});
$node->safe_psql('far', 'CREATE TABLE other (id int, w int NOT NULL, v text)');
foreach my $target ('there', 'mixed')
{
	foreach my $keys ('NULL', "'{id}'")
	{
		$node->safe_psql('postgres', sprintf($load, $target, 'reload', $keys, 'true')) foreach 1 .. 2;
		is($node->safe_psql('postgres', "SELECT differ('$target')"), '0', "reload of $target, keys $keys");
	}
	like(failure(sprintf($load, $target, 'upsert', "'{id}'", 'true')),
		qr/ERROR:  42P10: target public\.$target has no unique index over its keys \(id\)\n.*\nHINT:  No index over these keys can be made: use mode "reload"\./,
		"upsert into $target is refused");
	like(failure('BEGIN; ' . sprintf($load, $target, 'reload', 'NULL', 'true')),
		qr/ERROR:  0A000: target public\.$target, which is on another server, cannot be loaded inside a transaction\n.*\nHINT:  CALL idem_load_window by itself, not in a transaction block or a function\./,
		"reload of $target in a transaction is refused");
}

# rows of the other server are not counted: what a trigger adds here does not go unseen where there are as many of them
$node->safe_psql('postgres', q{
	CREATE FUNCTION copies() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF pg_trigger_depth() = 1 THEN INSERT INTO mixed_here VALUES (NEW.id, NEW.w, 'copy'); END IF; RETURN NULL; END $$;
	CREATE TRIGGER copies AFTER INSERT ON mixed_here FOR EACH ROW EXECUTE FUNCTION copies();
	TRUNCATE mixed});
foreach my $n (20, 21)
{
	like(failure("CALL idem_load_window('led', 'mixed', 'SELECT i AS id, i AS w, ''x'' AS v FROM generate_series(40, 39 + $n) i', '[0,100)', 'reload', window_column => 'w', pipeline => 'copies')"),
		qr/ERROR:  09000: /, "10 rows of $n are here, and a trigger doubles them");
}
$node->safe_psql('postgres', 'DROP TRIGGER copies ON mixed_here');

# the other server fails: the window too; then it is loaded
$node->safe_psql('far', 'ALTER TABLE there ADD CHECK (w <> 33)  NOT VALID');
$node->safe_psql('postgres', "SELECT idem_invalidate('led', 'public.there', '[30,40)'); UPDATE src SET v = 'refused' WHERE w = 33");
is(sqlstate(sprintf($load, 'there', 'reload', 'NULL', 'false')), '23514', 'the other server refuses a row');
is($node->safe_psql('postgres', "SELECT idem_gaps('led', 'public.there', '[0,100)')"), '{[30,40)}', 'its window is not complete');
is($node->safe_psql('far', 'SELECT count(*) FROM there'), '10000', 'and as it was');
$node->safe_psql('far', 'ALTER TABLE there DROP CONSTRAINT there_w_check');
$node->safe_psql('postgres', sprintf($load, 'there', 'reload', 'NULL', 'false'));
is($node->safe_psql('postgres', "SELECT differ('there')"), '0', 'then it is loaded');

# a checksum of rows given as their columns is computed over there, grouped too
$node->safe_psql('far', 'CREATE EXTENSION idem CASCADE');
$node->safe_psql('postgres', "ALTER SERVER far OPTIONS (ADD extensions 'idem')");
like($node->safe_psql('postgres', 'EXPLAIN (VERBOSE) SELECT idem_digest_values(id, w, v) FROM there'), qr/Remote SQL: SELECT public\.idem_digest_values\(id, w, v\)/, 'the digest is remote');
like($node->safe_psql('postgres', 'EXPLAIN (VERBOSE) SELECT w, idem_digest_values(id, v) FROM there GROUP BY w'), qr/Remote SQL: SELECT w, public\.idem_digest_values\(id, v\).*GROUP BY/, 'and by groups');
is($node->safe_psql('postgres', 'SELECT (SELECT idem_digest_values(id, w, v) FROM there) = (SELECT idem_digest(s) FROM src s)'), 't', 'and that of the rows here');

# a trigger of ours on what lies there: it passes every row, or deletes one that has been written
$node->safe_psql('postgres', q{
	CREATE FUNCTION passes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.id = (SELECT max(id) FROM src) THEN EXECUTE TG_ARGV[0]; END IF; RETURN NEW; END $$;
	CREATE TRIGGER t BEFORE INSERT ON there FOR EACH ROW EXECUTE FUNCTION passes('SELECT 1');
	UPDATE src SET v = v || '!' WHERE w < 10;
});
foreach my $keys ('NULL', "'{id}'")
{
	$node->safe_psql('postgres', sprintf($load, 'there', 'reload', $keys, 'true'));
	is($node->safe_psql('postgres', "SELECT differ('there')"), '0', "a target there is loaded past a trigger here, keys $keys");
	$node->safe_psql('postgres', 'UPDATE src SET v = v || 1');
}
$node->safe_psql('postgres', q{CREATE OR REPLACE TRIGGER t BEFORE INSERT ON there FOR EACH ROW EXECUTE FUNCTION passes('DELETE FROM there WHERE id = (SELECT id FROM src WHERE w = (SELECT w FROM src ORDER BY id DESC LIMIT 1) ORDER BY id LIMIT 1)')});
is(sqlstate(sprintf($load, 'there', 'reload', $_, 'true')), '09000', "one that deletes a row there is an error, keys $_") foreach 'NULL', "'{id}'";

$node->stop;
done_testing();
