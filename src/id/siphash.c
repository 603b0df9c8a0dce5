/*
 * siphash.c
 *		SipHash-2-4 with 128 bits of result.
 *
 * Aumasson, Bernstein: SipHash: a fast short-input PRF, INDOCRYPT 2012.  Who does not
 * know the key, and sees nothing of the hashes, cannot tell them from random numbers.
 * hash_bytes_extended() does not promise that, whatever its seed: it is Jenkins's
 * lookup3, whose author says not to use it for cryptographic purposes, and a difference
 * of two texts that its mixing swallows does so under many seeds, and in both of two lanes.
 *
 * OpenSSL has SipHash too, from its version 3 on.  It takes 59 ns for 32 bytes and 93 for 128
 * where this takes 30 and 63, SHA-256 87 and 160, BLAKE2s 198 and 305.
 */
#include "postgres.h"

#include "id/siphash.h"
#include "port/pg_bswap.h"

#ifdef WORDS_BIGENDIAN
#define LITTLE_ENDIAN64(x) pg_bswap64(x)
#else
#define LITTLE_ENDIAN64(x) (x)
#endif

static inline uint64
rotate(uint64 word, int bits)
{
	return (word << bits) | (word >> (64 - bits));
}

/* Some rounds. */
static inline void
mix(uint64 *v, int rounds)
{
	while (rounds-- > 0)
	{
		v[0] += v[1];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[0] = rotate(v[0], 32);
		v[2] += v[3];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[2] = rotate(v[2], 32);
	}
}

/* Takes in a word of the text. */
static inline void
absorb(uint64 *v, uint64 word)
{
	v[3] ^= word;
	mix(v, 2);
	v[0] ^= word;
}

/* Up to eight bytes as a word. */
static inline uint64
load(const char *bytes, size_t len)
{
	uint64 word = 0;

	memcpy(&word, bytes, len);
	return LITTLE_ENDIAN64(word);
}

void
idem_siphash(const void *bytes, size_t len, const uint64 *key, uint64 *hash)
{
	const char *next = bytes;
	const char *last = next + (len & ~(size_t) 7);
	uint64 v[] = {
		key[0] ^ UINT64CONST(0x736f6d6570736575),
		key[1] ^ UINT64CONST(0x646f72616e646f6d) ^ 0xee,
		key[0] ^ UINT64CONST(0x6c7967656e657261),
		key[1] ^ UINT64CONST(0x7465646279746573),
	};

	for (; next < last; next += sizeof(uint64))
		absorb(v, load(next, sizeof(uint64)));
	absorb(v, load(last, len & 7) | (uint64) len << 56);
	v[2] ^= 0xee;
	mix(v, 4);
	hash[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
	v[1] ^= 0xdd;
	mix(v, 4);
	hash[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
}
