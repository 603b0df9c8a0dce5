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

/* What a digest cannot be foreseen without: random, and never stored. */
typedef struct IdemKey
{
	uint64 words[2];
} IdemKey;

/* Draws a key.  Raises XX000 where the server has no random numbers. */
extern IdemKey idem_draw_key(void);

/* A value that is part of an image by its hash. */
typedef struct IdemLongValue
{
	int place; /* of the hash in the image */
	const char *bytes;
	uint32 len;
} IdemLongValue;

/* The image of one row at a time: its columns' images, each with its length. */
typedef struct IdemImage
{
	StringInfoData buf;
	IdemLongValue *longs;
	int nlongs;
	int room; /* for so many */
} IdemImage;

/* Prepares for images, in the current memory context. */
extern void idem_init_image(IdemImage *image);

/*
 * Makes the image of a row: of 1.0 and 1.00 there are two, of a value and its compressed
 * or toasted form there is one.  Detoasted values are left in the current memory context,
 * and are needed until the image has been hashed.
 */
extern void idem_make_image(IdemImage *image, TupleDesc desc, const Datum *values, const bool *nulls);

/* The hash of a row, by its image: under a key or, if key is NULL, the one that is the same everywhere. */
extern IdemDigest idem_hash_image(IdemImage *image, const IdemKey *key);

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
