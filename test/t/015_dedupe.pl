# Duplicates that are removed while others write, vacuum, rewrite and kill: no key is lost, and
# the same call ends as if nothing had happened.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use FindBin;
use lib $FindBin::RealBin;
use IdemTest;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "log_min_messages = fatal\nautovacuum = off\nrestart_after_crash = on\nmax_worker_processes = 16");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION idem CASCADE;
	CREATE FUNCTION wait_here() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN OLD; END $$;
	CREATE FUNCTION wait_to_find(k int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(2); RETURN k; END $$;
	CREATE TABLE before (k int, id int);
});

# A new table: keys 1 to 500, each twice, and 250 rows that have been deleted before; what was removed and what is kept is all.
my $call = "CALL idem_dedupe('t', '{k}', unique_index => false, ignore => '{id}'";
sub begin_table
{
	$node->safe_psql('postgres', q{
		DROP TABLE IF EXISTS t, t_removed, t_dedupe, t_dedupe_rows;
		CREATE TABLE t (k int, id int, filler text);
		INSERT INTO t SELECT 1000 + i, 0, 'x' FROM generate_series(1, 250) i;
		INSERT INTO t SELECT i % 500 + 1, i, 'x' FROM generate_series(0, 999) i;
		DELETE FROM t WHERE k > 1000;
		TRUNCATE before;
		INSERT INTO before SELECT k, id FROM t;
		CREATE TRIGGER wait_here BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION wait_here();
	});
}
my $proof = q{SELECT (SELECT count(*) FROM t) = 500 AND (SELECT count(DISTINCT k) FROM t) = 500 AND (SELECT count(*) FROM t_removed) = 500
	AND NOT EXISTS (SELECT FROM ((SELECT k, id FROM t UNION ALL SELECT k, id FROM t_removed) EXCEPT ALL TABLE before) d)
	AND to_regclass('t_dedupe_rows') IS NULL AND (SELECT bool_and(phase = 'done') FROM t_dedupe)};

# A call that has got to a phase and waits there: for lock 1 in each batch, which it tries again and again, for lock 2 while it finds.
my ($holder, $cleaner);
sub begin_call
{
	my ($lock, $phase, $sql) = @_;
	begin_table();
	$holder = $node->background_psql('postgres', on_error_stop => 0);
	$holder->query_safe("SELECT pg_advisory_lock($lock)");
	$cleaner = $node->background_psql('postgres', on_error_stop => 0);
	$cleaner->query_until(qr/begun/, "\\echo begun\n$sql;\n\\echo ended\n");
	await_true($node, "SELECT phase = '$phase' FROM t_dedupe ORDER BY job_id DESC LIMIT 1", "a call is $phase");
}
sub end_call
{
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	await_true($node, "SELECT finished_at IS NOT NULL FROM t_dedupe ORDER BY job_id DESC LIMIT 1", 'the call ends');
	$cleaner->quit;
	$holder->quit;
}
sub stop_call
{
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL idem_dedupe%' AND pid <> pg_backend_pid()");
	await_true($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE 'CALL idem_dedupe%' AND pid <> pg_backend_pid()", 'the call is ended');
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	$cleaner->{run}->finish;
	$holder->quit;
}

# one at a time
begin_call(1, 'removing', "$call)");
my ($rc, $out, $err) = $node->psql('postgres', "$call)");
like($err, qr/public.t is being cleaned by another session/, 'a second call is refused');
($rc, $out, $err) = $node->psql('postgres', "CALL idem_dedupe_undo('t')");
like($err, qr/public.t is being cleaned by another session/, 'and so is an undo');
# a rewrite between finding and deleting: places are others, and all rows have one xmin
$node->safe_psql('postgres', 'VACUUM FULL t');
end_call();
is($node->safe_psql('postgres', $proof), 't', 'after a rewrite beside it no other row is removed');
is($node->safe_psql('postgres', 'SELECT max(round) > 1 FROM t_dedupe'), 't', 'for rows were found again');

# the same where nobody notices that the files are others: keys and hash are read again
begin_call(1, 'removing', "$call)");
stop_call();
$node->safe_psql('postgres', q{VACUUM FULL t; UPDATE t_dedupe SET files = 't'::regclass::oid || ':' || pg_relation_filenode('t')});
is($node->safe_psql('postgres', q{SELECT count(*) > 0 FROM t_dedupe_rows r JOIN t ON t.ctid = r.place AND t.xmin = r.born WHERE hash_record_extended(ROW(t.k), 0) <> r.hash}), 't',
	'place and xmin are those of other rows now');
$node->safe_psql('postgres', "$call)");
is($node->safe_psql('postgres', $proof), 't', 'and these are not removed');

# places used again: rows of a new transaction where those were that had been found
begin_call(1, 'removing', "$call)");
stop_call();
$node->safe_psql('postgres', 'DELETE FROM t USING t_dedupe_rows r WHERE t.ctid = r.place');
$node->safe_psql('postgres', 'VACUUM t');
$node->safe_psql('postgres', "INSERT INTO t SELECT 2000 + i, i, 'new' FROM generate_series(1, 500) i");
is($node->safe_psql('postgres', 'SELECT count(*) > 0 FROM t_dedupe_rows r JOIN t ON t.ctid = r.place'), 't', 'others lie in the places that were found');
$node->safe_psql('postgres', "$call)");
is($node->safe_psql('postgres', q{SELECT count(*) = 1000 AND count(DISTINCT k) = 1000 FROM t}), 't', 'and stay');
is($node->safe_psql('postgres', q{SELECT count(*) FROM t_removed}), '0', 'all of them');

# the row that would be kept is deleted meanwhile, and changed
begin_call(1, 'removing', "$call)");
stop_call();
$node->safe_psql('postgres', 'DELETE FROM t USING t_dedupe_rows r WHERE t.ctid = r.keeper AND k <= 100; UPDATE t SET k = k + 5000 FROM t_dedupe_rows r WHERE t.ctid = r.keeper AND k BETWEEN 101 AND 200');
$node->safe_psql('postgres', "$call)");
is($node->safe_psql('postgres', q{SELECT count(DISTINCT k) || ' ' || count(*) || ' ' || count(*) FILTER (WHERE k <= 500) FROM t}), '600 600 500', 'who is left alone is kept');
is($node->safe_psql('postgres', q{SELECT count(*) FROM t_removed}), '300', 'and the others go');

# a row that is kept is being deleted by somebody who has not committed: nobody waits for him, and the other row stays
begin_table();
my $writer = $node->background_psql('postgres', on_error_stop => 0);
$writer->query_safe("BEGIN; DELETE FROM t WHERE id = 7; UPDATE t SET filler = 'y' WHERE id = 508");
($rc, $out, $err) = $node->psql('postgres', "$call)");
like($err, qr/2 rows of public.t could not be removed in 5 rounds/, 'rows that are locked are left');
$writer->query_safe('COMMIT');
($rc, $out, $err) = $node->psql('postgres', $call . ", conflicts => 'keep', keep => 'id')");
is($node->safe_psql('postgres', q{SELECT count(*) || ' ' || count(DISTINCT k) || ' ' || count(*) FILTER (WHERE id = 507) FROM t}), '500 500 1', 'and none is lost');
$writer->quit;

# the table is changed meanwhile: the call ends before it removes what it does not know, and the same call goes on, or says what is to be done
foreach my $try (
	[ 'a column', q{ALTER TABLE t ADD note text; UPDATE t SET note = 'note ' || id}, q{SELECT count(note) || ' ' || (SELECT count(*) FROM t_removed) FROM t}, '1000 0', qr/quarantine public.t_removed has no column note/ ],
	[ 'a foreign key', q{ALTER TABLE t ADD UNIQUE (id); CREATE TABLE kid (id int REFERENCES t (id) ON DELETE CASCADE); CREATE INDEX ON kid (id); INSERT INTO kid SELECT id FROM t},
		q{SELECT count(*) || ' ' || (SELECT count(*) FROM t_removed) FROM kid}, '1000 0', qr/is ON DELETE CASCADE/ ],
	[ 'another name', q{BEGIN; ALTER TABLE t RENAME TO old; CREATE TABLE t (LIKE old); INSERT INTO t VALUES (1, 1, 'other'), (1, 2, 'another'); COMMIT},
		q{SELECT count(*) || ' ' || (SELECT count(*) FROM t_removed) || ' ' || (SELECT count(*) FROM t) FROM old}, '1000 0 2', qr/differ/ ])
{
	my ($what, $change, $query, $expected, $message) = @$try;
	begin_call(1, 'removing', "$call)");
	$node->safe_psql('postgres', $change);
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	await_true($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE 'CALL idem_dedupe%' AND state = 'active' AND pid <> pg_backend_pid()", 'the call ends');
	is($node->safe_psql('postgres', $query), $expected, "$what: nothing is removed");
	$cleaner->quit;
	$holder->quit;
	($rc, $out, $err) = $node->psql('postgres', "$call)");
	like($err, $message, "$what: what to do is said");
	is($node->safe_psql('postgres', $query), $expected, "$what: and nothing is removed");
	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS kid, old');
}
# a trigger that is gone is a change too, and the same call goes on
begin_call(1, 'removing', "$call)");
$node->safe_psql('postgres', 'DROP TRIGGER wait_here ON t');
await_true($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE 'CALL idem_dedupe%' AND state = 'active' AND pid <> pg_backend_pid()", 'the call ends');
$cleaner->quit;
$holder->quit;
is($node->safe_psql('postgres', 'SELECT phase FROM t_dedupe'), 'removing', 'it has not gone on');
$node->safe_psql('postgres', "$call)");
is($node->safe_psql('postgres', $proof), 't', 'the same call does');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t_dedupe'), '1', 'as the same job');

# what refers to a row is changed, and somebody changes the row before it is deleted: he waits
$node->safe_psql('postgres', q{
	CREATE TABLE p (id int PRIMARY KEY, code text);
	INSERT INTO p VALUES (1, 'a'), (2, 'a');
	CREATE TABLE c (cid int PRIMARY KEY, pid int REFERENCES p);
	CREATE INDEX ON c (pid);
	INSERT INTO c VALUES (10, 1), (20, 2);
	CREATE FUNCTION wait_for_writer() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		WHILE NOT EXISTS (SELECT FROM p WHERE code = 'b') AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'UPDATE p SET%' AND wait_event_type = 'Lock') LOOP
			PERFORM pg_sleep(0.01);
			PERFORM pg_stat_clear_snapshot();
		END LOOP;
		RETURN NEW;
	END $$;
	CREATE TRIGGER wait_for_writer BEFORE UPDATE ON c FOR EACH ROW EXECUTE FUNCTION wait_for_writer();
});
$cleaner = $node->background_psql('postgres', on_error_stop => 0);
$cleaner->query_until(qr/begun/, "\\echo begun\nCALL idem_dedupe('p', '{code}', ignore => '{id}', on_references => 'repoint', unique_index => false);\n");
await_true($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE 'CALL idem_dedupe%'", 'references are being changed');
$node->safe_psql('postgres', q{UPDATE p SET code = 'b' WHERE id = 2});
await_true($node, 'SELECT finished_at IS NOT NULL FROM p_dedupe', 'the call ends');
$cleaner->quit;
is($node->safe_psql('postgres', q{SELECT string_agg(id || code, ' ') || ' ' || (SELECT string_agg(cid || '>' || pid, ' ' ORDER BY cid) FROM c) || ' ' || (SELECT count(*) FROM p_removed) FROM p}),
	'1a 10>1 20>1 1', 'no row is left that something referred to');
# a trigger that changes it: nothing of the batch is left
$node->safe_psql('postgres', q{
	DROP TRIGGER wait_for_writer ON c;
	INSERT INTO p VALUES (3, 'a');
	INSERT INTO c VALUES (30, 3);
	CREATE FUNCTION change_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE p SET code = 'c' WHERE id = OLD.pid; RETURN NEW; END $$;
	CREATE TRIGGER change_it BEFORE UPDATE ON c FOR EACH ROW EXECUTE FUNCTION change_it();
});
($rc, $out, $err) = $node->psql('postgres', "CALL idem_dedupe('p', '{code}', ignore => '{id}', on_references => 'repoint', unique_index => false)");
like($err, qr/1 rows of public.p were not removed, but what referred to them refers to others/, 'a trigger that changes what is to go is an error');
is($node->safe_psql('postgres', q{SELECT pid || ' ' || (SELECT code FROM p WHERE id = 3) FROM c WHERE cid = 30}), '3 a', 'and nothing has been changed');

# killed, in each phase
foreach my $try ([ 2, 'finding', "CALL idem_dedupe('t', '{wait_to_find(k)}', unique_index => false, ignore => '{id}')" ], [ 1, 'removing', "$call)" ])
{
	my ($lock, $phase, $sql) = @$try;
	begin_call($lock, $phase, $sql);
	my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL idem_dedupe%' AND pid <> pg_backend_pid()");
	kill 'KILL', $pid;
	await_end($pid);
	await_true($node, 'SELECT true', 'the server is back');
	$cleaner->{run}->finish;
	$holder->{run}->finish;
	$node->safe_psql('postgres', $sql);
	is($node->safe_psql('postgres', $proof), 't', "killed while $phase, the same call ends the same");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t_dedupe'), '1', 'as the same job');
	my $digest = $node->safe_psql('postgres', 'SELECT idem_digest(b) FROM before b');
	$node->safe_psql('postgres', "CALL idem_dedupe_undo('t')");
	is($node->safe_psql('postgres', 'SELECT idem_digest(d) FROM (SELECT k, id FROM t) d'), $digest, 'and is undone');
}

# beside writers that move rows and insert duplicates: no key is lost, and none is there twice when they have gone
$node->safe_psql('postgres', q{
	DROP TABLE IF EXISTS t, t_removed, t_dedupe, t_dedupe_rows;
	CREATE TABLE t (k int, id int, filler text);
	INSERT INTO t SELECT i % 5000, i, 'x' FROM generate_series(0, 19999) i;
	CREATE INDEX ON t (k);
	CREATE TABLE stop ();
	CREATE PROCEDURE keep_writing() LANGUAGE plpgsql AS $$ BEGIN
		WHILE to_regclass('stop') IS NOT NULL LOOP
			UPDATE t SET filler = filler || 'y' WHERE k = (random() * 5000)::int;
			COMMIT;
			INSERT INTO t SELECT k, -id, filler FROM t WHERE k = (random() * 5000)::int LIMIT 1;
			COMMIT;
		END LOOP;
	END $$;
});
my @writers = map { my $s = $node->background_psql('postgres', on_error_stop => 0); $s->query_until(qr/begun/, "\\echo begun\nCALL keep_writing();\n"); $s } 1 .. 2;
foreach (1 .. 5)
{
	($rc, $out, $err) = $node->psql('postgres', "CALL idem_dedupe('t', '{k}', 'id DESC', 'keep', unique_index => false, batch_ms => 20)");
	unlike($err, qr/ERROR:  (?!\d+ rows of public.t could not be removed)/, 'a call beside writers');
}
$node->safe_psql('postgres', 'DROP TABLE stop');
$_->quit foreach @writers;
$node->safe_psql('postgres', "CALL idem_dedupe('t', '{k}', 'id DESC', 'keep', unique_index => false)");
is($node->safe_psql('postgres', 'SELECT count(*) || chr(32) || count(DISTINCT k) FROM t'), '5000 5000', 'each key is there once');

# the index: others write while it is built, and a transaction that was there before is waited for; cancelled or killed, the same call builds it
my $building = "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'idem index' AND query LIKE 'CREATE UNIQUE INDEX CONCURRENTLY%'";
my $built = q{SELECT count(*) FILTER (WHERE indisvalid AND indisunique) || ' ' || count(*) FROM pg_index WHERE indrelid = 't'::regclass AND indisunique};
my $full = "CALL idem_dedupe('t', '{k}', ignore => '{id}')";
foreach my $end ('goes on', 'cancelled', 'terminated', 'killed')
{
	begin_table();
	my $old = $node->background_psql('postgres', on_error_stop => 0);
	$old->query_safe('BEGIN; INSERT INTO t VALUES (9999, 9999)');
	$cleaner = $node->background_psql('postgres', on_error_stop => 0);
	$cleaner->query_until(qr/begun/, "\\echo begun\n$full;\n");
	await_true($node, $building, 'an index is being built');
	$node->safe_psql('postgres', 'INSERT INTO t VALUES (9998, 9998)');
	my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE query LIKE 'CALL idem_dedupe%' AND pid <> pg_backend_pid()");
	if ($end eq 'killed')
	{
		kill 'KILL', $pid;
		await_end($pid);
		await_true($node, 'SELECT true', 'the server is back');
	}
	elsif ($end ne 'goes on')
	{
		$node->safe_psql('postgres', $end eq 'cancelled' ? "SELECT pg_cancel_backend($pid)" : "SELECT pg_terminate_backend($pid)");
		await_true($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'idem index'", 'the process that builds it ends too');
	}
	($end eq 'killed' ? $old->{run}->finish : $old->query_safe('COMMIT'));
	$old->quit unless $end eq 'killed';
	await_true($node, 'SELECT finished_at IS NOT NULL FROM t_dedupe', 'the call ends') if $end eq 'goes on';
	$end eq 'goes on' || $end eq 'cancelled' ? $cleaner->quit : $cleaner->{run}->finish;
	$node->safe_psql('postgres', $full);
	is($node->safe_psql('postgres', $built), '1 1', "$end: there is one index, and it is valid");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t_removed'), '500', "$end: and the rows are where they were");
}

# duplicates that arrive before the index holds: it is dropped, they are removed, and it is built again
begin_table();
my $late = $node->background_psql('postgres', on_error_stop => 0);
$late->query_safe('BEGIN; INSERT INTO t SELECT k, id FROM t WHERE id = 3');
$cleaner = $node->background_psql('postgres', on_error_stop => 0);
$cleaner->query_until(qr/begun/, "\\echo begun\nCALL idem_dedupe('t', '{k}', 'id', 'keep');\n");
await_true($node, $building, 'an index is being built');
$late->query_safe('COMMIT');
await_true($node, 'SELECT finished_at IS NOT NULL FROM t_dedupe', 'the call ends');
is($node->safe_psql('postgres', $built), '1 1', 'there is one index, and it is valid');
is($node->safe_psql('postgres', 'SELECT count(*) FROM t_removed'), '501', 'and the late row has gone too');
$late->quit;
$cleaner->quit;

done_testing();
