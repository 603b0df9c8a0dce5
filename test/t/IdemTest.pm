# What several of the tests need.

package IdemTest;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

our @EXPORT = qw(await_true);

# Waits until a query of a node is true, for some seconds; if it is not, shows how its pipelines are doing.
sub await_true
{
	my ($node, $query, $what) = @_;
	my $until = time + 30;
	while (time < $until)
	{
		my ($rc, $out) = $node->psql('postgres', $query);
		return ok(1, $what) if defined $out && $out eq 't';
		usleep(50_000);
	}
	diag(($node->psql('postgres', "SELECT row_to_json(p) FROM idem_pipeline p"))[1]);
	diag(($node->psql('postgres', "SELECT json_agg(p) FROM idem_status p"))[1]);
	diag((slurp_file($node->logfile)) =~ s/.*(?=(.{4000})$)//sr);
	return ok(0, $what);
}

1;
