# IDs do not depend on the server's encoding.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

# characters that each encoding has, written as escapes so that this file is ASCII
my %text = (
	UTF8 => '\00e9\00df \6f22\5b57 \+01f600',
	LATIN1 => '\00e9\00df\00ff\00a0',
	EUC_JP => '\6f22\5b57\3042\ff8a');

# UTF8 comes first: the others are compared with it
foreach my $encoding ('UTF8', 'LATIN1', 'EUC_JP')
{
	my $db = lc $encoding;
	$node->safe_psql('postgres', "CREATE DATABASE $db ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	$node->safe_psql($db, 'CREATE EXTENSION idem CASCADE');

	foreach my $characters ($text{$encoding}, 'plain')
	{
		my $query = qq{SELECT idem_canonical(r, '{k}'), idem_hash(r, '{k}'),
			idem_hash(jsonb_build_object('k', k), '{k}'), idem_hash(jsonb_build_object('k', 1, U&'$characters', 2), ARRAY['k', U&'$characters'])
			FROM (SELECT U&'$characters' AS k) r};
		is($node->safe_psql($db, $query), $node->safe_psql('utf8', $query), "$encoding: $characters");
	}

	# a json value may escape characters that the encoding does not have
	is($node->safe_psql($db, q{SELECT idem_canonical(r, '{j}') FROM (SELECT '{"\u6f22": "\u00e9\ud83d\ude00", "a": 1}'::json AS j) r}),
		'{"j": {"a": 1, "\u6f22": "\u00e9\ud83d\ude00"}}', "$encoding: escapes in json");

	# a column's name is text too
	$node->safe_psql($db, qq{DO \$\$ BEGIN EXECUTE format('CREATE TABLE t (z int, %I int)', U&'$text{$encoding}'); END \$\$; INSERT INTO t VALUES (1, 2)});
	like($node->safe_psql($db, "SELECT idem_canonical(ROW(t), '{f1}') FROM t"), qr/^\{"f1": \{"z": 1, "\\u[0-9a-f\\u ]+": 2\}\}$/, "$encoding: column names");
}

$node->safe_psql('postgres', "CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0");
$node->safe_psql('ascii', 'CREATE EXTENSION idem CASCADE');
is($node->safe_psql('ascii', q{SELECT idem_canonical(r, '{k}') FROM (SELECT E'\xc3\xa9'::text AS k) r}),
	'{"k": "\u00e9"}', 'SQL_ASCII: taken as UTF-8');
my ($rc, $out, $err) = $node->psql('ascii', q{SELECT idem_canonical(r, '{k}') FROM (SELECT E'\xe9'::text AS k) r});
like($err, qr/invalid byte sequence for encoding "UTF8"/, 'SQL_ASCII: what is not UTF-8 is an error');

$node->stop;
done_testing();
