# One scheduler for many: what one role does, or one pipeline's row, is no other's trouble;
# who may have pipelines that run by themselves; and how many workers each may take.

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
max_worker_processes = 16
max_prepared_transactions = 2
log_min_messages = log
});
$node->start;

sub sql { return $node->safe_psql('postgres', shift); }

sub await { return await_true($node, @_); }

my $before17 = sql('SHOW server_version_num') < 170000;
my ($rc, $out, $err);

sql(q{
	CREATE EXTENSION idem CASCADE;
	CREATE ROLE etl LOGIN;
	GRANT CREATE, USAGE ON SCHEMA public TO etl;
	SELECT idem_create_ledger('led', 'int8range');
	GRANT SELECT, INSERT, UPDATE ON led TO PUBLIC; GRANT USAGE ON SEQUENCE led_run_id_seq TO PUBLIC;
	CREATE TABLE tgt (id bigint PRIMARY KEY, v text CHECK (v <> 'bad'));
	GRANT SELECT, INSERT, UPDATE ON tgt TO PUBLIC;
});

# failures of many roles, one after another: each has them written down by a session of its own
sub fail_as
{
	my $role = shift;
	$node->psql('postgres', qq{SET ROLE $role; BEGIN; CALL idem_load_window('led', 'tgt', 'SELECT \$1 AS id, ''bad'' AS v', '[0,10)', 'upsert', keys => '{id}', pipeline => '$role');});
}

foreach my $role (map { "role$_" } 1 .. 4)
{
	sql("CREATE ROLE $role LOGIN");
	fail_as($role);
	await("SELECT count(*) = 1 FROM led WHERE pipeline = '$role' AND state = 'failed' AND run_by = '$role'", "a failure of $role is recorded");
	await("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'idem recorder'", 'and the recorder ends');
}
fail_as('role1');
await("SELECT count(*) = 2 FROM led WHERE pipeline = 'role1'", 'another one of the first, too');

# of a role that may not log in, where the server lets it have a session
sql('CREATE ROLE sleeper NOLOGIN');
fail_as('sleeper');
if ($before17)
{
	ok($node->wait_for_log(qr/failures of role "sleeper" in transactions of its callers are not recorded.*may not log in/s), 'of a role that may not log in nothing is recorded, and the log says so');
	unlike(slurp_file($node->logfile), qr/FATAL/, 'nor tried');
}
else
{
	await("SELECT count(*) = 1 FROM led WHERE pipeline = 'sleeper' AND run_by = 'sleeper'", 'a failure of a role that may not log in is recorded');
}

$node->stop;
done_testing();
