# What several of the tests need.

package IdemTest;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

our @EXPORT = qw(await_true await_end);

# A server on a loaded machine may take its time to start and to stop.
$ENV{PGCTLTIMEOUT} //= 300;

# Waits until a query of a node is true, for some minutes; if it is not, shows how its pipelines are doing.
sub await_true
{
	my ($node, $query, $what) = @_;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;
	while (time < $until)
	{
		my ($rc, $out) = $node->psql('postgres', $query);
		return ok(1, $what) if defined $out && $out eq 't';
		usleep(50_000);
	}
	diag(($node->psql('postgres', "SELECT row_to_json(p) FROM idem_pipeline_state p"))[1]);
	diag(($node->psql('postgres', "SELECT json_agg(p) FROM idem_status p"))[1]);
	diag((slurp_file($node->logfile)) =~ s/.*(?=(.{4000})$)//sr);
	return ok(0, $what);
}

# Waits until a process is gone, that is, also reaped by its parent.
sub await_end
{
	my $pid = shift;
	my $until = time + $PostgreSQL::Test::Utils::timeout_default;

	while (kill 0, $pid)
	{
		die "process $pid does not end" if time > $until;
		usleep(10_000);
	}
	return;
}

1;
