# Many sessions that run random scripts until a moment, and violence against them.

package IdemTorture;

use strict;
use warnings;

use Exporter 'import';
use IdemTest;
use IPC::Run ();
use POSIX ();
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(one_of random_window change_procedure begin_torture torturing start_child await_children disturb);

my ($node, $deadline, $results);
my %expected;
my @children;

# One of several things.
sub one_of { return $_[ int rand @_ ]; }

# A window within [0, size), now and then exactly some partitions.
sub random_window
{
	my ($size, $longest) = @_;
	my $lo = int rand($size - 1);
	my $hi = $lo + 1 + int rand $longest;

	($lo, $hi) = (100 * int($lo / 100), 100 * int($lo / 100) + 100) if rand() < 0.2;
	return ($lo, $hi > $size ? $size : $hi);
}

# SQL for a procedure that changes the source, with the windows it touches reopened in the same transaction,
# for all of some pipelines; a deletion takes a share of the rows.
sub change_procedure
{
	my ($share, @pipelines) = @_;
	my $all = join ',', @pipelines;

	return qq{
	CREATE PROCEDURE change(kind int, lo int, hi int, invalidate_first bool) LANGUAGE plpgsql AS \$\$
	DECLARE
		reopen text := 'SELECT idem_invalidate(''led'', p, int8range(\$1, \$2)) FROM unnest(''{$all}''::text[]) p';
		source text := CASE kind
			WHEN 0 THEN 'UPDATE src SET v = md5(random()::text) WHERE w >= \$1 AND w < \$2'
			WHEN 1 THEN 'DELETE FROM src WHERE w >= \$1 AND w < \$2 AND random() < $share'
			WHEN 2 THEN 'INSERT INTO src (id, w, v) SELECT nextval(''new_id''), w, ''new'' FROM generate_series(\$1, \$2 - 1) w'
			ELSE 'UPDATE src SET w = \$1 + (w - \$1 + 1) % (\$2 - \$1) WHERE w >= \$1 AND w < \$2' END;
	BEGIN
		IF invalidate_first THEN
			EXECUTE reopen USING lo, hi;
		END IF;
		EXECUTE source USING lo, hi;
		IF NOT invalidate_first THEN
			EXECUTE reopen USING lo, hi;
		END IF;
	END \$\$};
}

# Says which server is tortured, for how many seconds, and with which SQLSTATEs a session may end.
sub begin_torture
{
	($node, my $seconds, my @codes) = @_;
	$deadline = time + $seconds;
	$results = PostgreSQL::Test::Utils::tempdir();
	%expected = map { $_ => 1 } qw(ok lost), @codes;
	return;
}

# Whether it goes on.
sub torturing { return time < $deadline; }

# Runs a script and returns what it ended with: ok, lost, an SQLSTATE that is expected, or all that was said.
sub run_script
{
	my $script = shift;
	my ($out, $err);

	IPC::Run::run(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose',
			'-d', $node->connstr('postgres') . " application_name=torture",
			map { ('-c', $_) } split /;\n/, $script ],
		'>', \$out, '2>', \$err);
	return $expected{$1} ? $1 : $err if $err =~ /(?:ERROR|FATAL|WARNING):  ([0-9A-Z]{5})/;
	return 'lost' if $err =~ /connection|server|FATAL/;
	return $err =~ /\S/ ? $err : 'ok';
}

# Starts a process that runs random scripts until the end, and then writes how they ended.
sub start_child
{
	my $make_script = shift;
	my $pid = fork();
	my %ended;

	die "fork: $!" unless defined $pid;
	if ($pid)
	{
		push @children, $pid;
		return;
	}
	srand($$ ^ time);
	while (torturing())
	{
		my $end = eval { run_script($make_script->()) } || "died: $@";
		$end =~ s/\s+/ /g;
		$ended{$end}++;
		sleep(0.2) if $end eq 'lost';
	}
	open my $file, '>', "$results/$$" or POSIX::_exit(1);
	print $file "$_ $ended{$_}\n" foreach keys %ended;
	close $file;
	POSIX::_exit(0);    # not exit, which would stop the server
}

# Waits for them all, and returns how many scripts ended how: those that may, and those that may not.
sub await_children
{
	my (%good, %bad);

	waitpid $_, 0 foreach @children;
	foreach my $file (glob "$results/*")
	{
		foreach my $line (split /\n/, slurp_file($file))
		{
			next unless $line =~ /^(.*) (\d+)$/s;
			if ($expected{$1}) { $good{$1} += $2 }
			else { $bad{$1} += $2 }
		}
	}
	return (\%good, \%bad);
}

# Stops the server, or cancels, terminates or kills one of the processes that a query of pids finds.
# Returns whether there was one.
sub disturb
{
	my ($how, $pids) = @_;
	my ($rc, $pid);

	if ($how eq 'stop')
	{
		$node->stop('immediate');
		$node->start;
		return 1;
	}
	($rc, $pid) = $node->psql('postgres', "$pids ORDER BY random() LIMIT 1");
	return 0 if $rc || $pid !~ /^\d+$/;
	if ($how eq 'SIGKILL')
	{
		kill 'KILL', $pid;
		await_end($pid);
	}
	else
	{
		$node->psql('postgres', "SELECT pg_${how}_backend($pid)");
	}
	return 1;
}

1;
