/*
 * siphash.h
 *		SipHash-2-4 with 128 bits of result.
 */
#ifndef IDEM_ID_SIPHASH_H
#define IDEM_ID_SIPHASH_H

/* Hashes bytes under a key; two words each, as they are in memory on a little-endian machine. */
extern void idem_siphash(const void *bytes, size_t len, const uint64 *key, uint64 *hash);

#endif /* IDEM_ID_SIPHASH_H */
