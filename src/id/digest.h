/*
 * digest.h
 *		An order-independent checksum of a multiset of rows.
 */
#ifndef IDEM_ID_DIGEST_H
#define IDEM_ID_DIGEST_H

#include "access/tupdesc.h"
#include "lib/stringinfo.h"

/* The sum of its rows' hashes, each lane mod 2^64; zero for no rows. */
typedef struct IdemDigest
{
	uint64 lanes[2];
} IdemDigest;

/* Bytes of a digest as bytea. */
#define IDEM_DIGEST_SIZE 16

/*
 * The hash of one row, by the images of its columns: 1.0 and 1.00 differ, a value
 * and its compressed or toasted form do not.  buf is scratch space.  Detoasted
 * values are left in the current memory context.
 */
extern IdemDigest idem_hash_row(StringInfo buf, TupleDesc desc,
								const Datum *values, const bool *nulls);

/* Adds rows to a digest, or the digest of other rows. */
static inline void
idem_add_digest(IdemDigest *digest, const IdemDigest *more)
{
	digest->lanes[0] += more->lanes[0];
	digest->lanes[1] += more->lanes[1];
}

/* A digest as bytea, in network byte order. */
extern Datum idem_digest_bytea(const IdemDigest *digest);

#endif /* IDEM_ID_DIGEST_H */
