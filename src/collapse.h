/*
 * collapse.h
 *		One row per key: what to do with duplicates in the source.
 */
#ifndef IDEM_COLLAPSE_H
#define IDEM_COLLAPSE_H

#include "rows.h"

typedef struct IdemCollapse IdemCollapse;

/* Prepares collapsing for a target whose columns are matched to the source. */
extern IdemCollapse *idem_make_collapse(const IdemTarget *target, TupleDesc desc);

/*
 * Leaves one row for each key in *rows, or, without keys, one of those that are
 * identical, and returns how many it removed.  Of rows with one key and different
 * content the one with the highest version stays; without a version column, or on
 * a tie, they raise 21000 and the key is named.
 */
extern int64 idem_collapse_rows(IdemCollapse *collapse, IdemRows *rows);

#endif /* IDEM_COLLAPSE_H */
