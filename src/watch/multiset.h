/*
 * multiset.h
 *		Two multisets of rows compared by a hash of each row.
 *
 * The hashes are sorted, in memory or on disk, so that it does not matter of which types
 * the rows are, nor how many there are.
 */
#ifndef IDEM_WATCH_MULTISET_H
#define IDEM_WATCH_MULTISET_H

#include "id/digest.h"

/* The two sides. */
enum
{
	IDEM_SOURCE,
	IDEM_TARGET,
	IDEM_SIDES,
};

typedef struct IdemMultiset IdemMultiset;

/* Begins a comparison; adds a row to a side. */
extern IdemMultiset *idem_begin_multiset(void);
extern void idem_add_row(IdemMultiset *multiset, int side, const IdemDigest *hash);

/*
 * Compares: sets how many rows are in a side only, and remembers the hashes of at most max
 * of each.  To be called once.
 */
extern void idem_compare_multiset(IdemMultiset *multiset, int64 max, int64 *only);

/* True if a row of a side is one of those, which it then is no more. */
extern bool idem_take_only(IdemMultiset *multiset, int side, const IdemDigest *hash);

extern void idem_end_multiset(IdemMultiset *multiset);

#endif /* IDEM_WATCH_MULTISET_H */
