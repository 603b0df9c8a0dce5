/*
 * sha256.c
 *		SHA-256, by OpenSSL where the server has it.
 *
 * Its functions for this one algorithm keep their state on the stack.  The server's
 * pg_cryptohash makes a context for each text and ties it to the current resource owner,
 * so that it cannot be kept from row to row.
 */
#include "postgres.h"

#include "id/sha256.h"

#ifdef USE_OPENSSL
#include <openssl/sha.h>

void
idem_sha256(const char *data, int len, uint8 *result)
{
	SHA256_CTX context;

	if (SHA256_Init(&context) != 1 || SHA256_Update(&context, data, len) != 1 ||
		SHA256_Final(result, &context) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute SHA-256")));
}

#else /* !USE_OPENSSL */
#include "common/cryptohash.h"

void
idem_sha256(const char *data, int len, uint8 *result)
{
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);

	if (context == NULL ||
		pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) data, len) < 0 ||
		pg_cryptohash_final(context, result, PG_SHA256_DIGEST_LENGTH) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute SHA-256")));
	pg_cryptohash_free(context);
}

#endif
