# SipHash is SipHash: the file computes what its authors' program does.

use strict;
use warnings;

use File::Temp qw(tempdir);
use PostgreSQL::Test::Utils;
use Test::More;

# of 0, 1, … 63 bytes 00 01 02 … under the key 00 01 … 0f: some of the reference's vectors_sip128
my %vectors = (
	0 => 'a3817f04ba25a8e66df67214c7550293',
	1 => 'da87c1d86b99af44347659119b22fc45',
	7 => 'a1f1ebbed8dbc153c0b84aa61ff08239',
	8 => '3b62a9ba6258f5610f83e264f31497b4',
	15 => '5493e99933b0a8117e08ec0f97cfc3d9',
	16 => '6ee2a4ca67b054bbfd3315bf85230577',
	63 => '5150d1772f50834a503e069a973fbd7c');

my $dir = tempdir(CLEANUP => 1);
open my $c, '>', "$dir/main.c" or die;
print $c <<'EOC';
#include "postgres.h"
#include "id/siphash.h"
#undef printf
int
main(void)
{
	unsigned char bytes[64], result[16];
	uint64 key[2], hash[2];
	int i, j;

	for (i = 0; i < 64; i++)
		bytes[i] = i;
	memcpy(key, bytes, sizeof(key));
	for (i = 0; i < 64; i++)
	{
		idem_siphash(bytes, i, key, hash);
		memcpy(result, hash, sizeof(result));
		printf("%d ", i);
		for (j = 0; j < 16; j++)
			printf("%02x", result[j]);
		printf("\n");
	}
	return 0;
}
EOC
close $c;
chomp(my $include = `pg_config --includedir-server`);
system('cc', '-O2', '-D_GNU_SOURCE', "-I$include", '-Isrc', '-o', "$dir/main", "$dir/main.c", 'src/id/siphash.c') == 0 or die 'cc failed';
my %got = map { split ' ' } split /\n/, `$dir/main`;
is($got{$_}, $vectors{$_}, "$_ bytes") foreach sort { $a <=> $b } keys %vectors;

done_testing();
