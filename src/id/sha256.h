/*
 * sha256.h
 *		SHA-256, by OpenSSL where the server has it.
 */
#ifndef IDEM_ID_SHA256_H
#define IDEM_ID_SHA256_H

#include "common/sha2.h"

/* Writes the SHA-256 of len bytes to result, PG_SHA256_DIGEST_LENGTH bytes. */
extern void idem_sha256(const char *data, int len, uint8 *result);

#endif /* IDEM_ID_SHA256_H */
