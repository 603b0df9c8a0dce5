/*
 * sha256.h
 *		SHA-256, by OpenSSL where the server has it.
 *
 * A digest is made once for a statement and used for every row: creating a
 * context per call costs more than hashing a short text.
 */
#ifndef IDEM_ID_SHA256_H
#define IDEM_ID_SHA256_H

#include "common/sha2.h"

typedef struct IdemSha256 IdemSha256;

/* Makes a digest that lives as long as context.  Raises 53200 out of memory. */
extern IdemSha256 *idem_make_sha256(MemoryContext context);

/* Writes the SHA-256 of len bytes to result, PG_SHA256_DIGEST_LENGTH bytes. */
extern void idem_sha256(IdemSha256 *sha, const char *data, int len, uint8 *result);

#endif /* IDEM_ID_SHA256_H */
