/*
 * collapse.h
 *		One row per key: what to do with duplicates in the source.
 */
#ifndef IDEM_LOAD_COLLAPSE_H
#define IDEM_LOAD_COLLAPSE_H

#include "load/rows.h"

typedef struct IdemCollapse IdemCollapse;

/* Prepares collapsing for a target whose columns are matched to the source. */
extern IdemCollapse *idem_make_collapse(const IdemTarget *target, TupleDesc desc);

/*
 * Watches the rows of a piece as they arrive, so that nothing is left to do if no
 * two have one key.  Without keys there is nothing to watch.
 */
extern void idem_begin_watch(IdemCollapse *collapse);
extern void idem_watch_row(IdemCollapse *collapse, TupleTableSlot *slot);

/* Ends watching without a result, and frees what it took. */
extern void idem_end_watch(IdemCollapse *collapse);

/*
 * Leaves one row for each key in *rows, which need keys, and returns how many it
 * removed.  Of rows with one key and different
 * content the one with the highest version stays; without a version column, or on
 * a tie, they raise 21000 and the key is named.
 */
extern int64 idem_collapse_rows(IdemCollapse *collapse, IdemRows *rows);

/*
 * Finds the rows, of some that need keys, whose key others have that differ from them, of no
 * lower version; and with them all rows of that key.  Ends watching.
 */
extern void idem_find_conflicts(IdemCollapse *collapse, const IdemRows *rows,
								void (*found)(void *arg, TupleTableSlot *slot), void *arg);

/*
 * Of rows whose columns have been fetched: the hash of the keys, the same for keys that are
 * equal, if their types have one; do two have one key; and is the first, which has the
 * second's key, of a higher version.
 */
extern bool idem_can_hash_rows(const IdemCollapse *collapse);
extern uint64 idem_hash_row_keys(const IdemCollapse *collapse, const TupleTableSlot *slot);
extern bool idem_same_row_keys(const IdemCollapse *collapse, const TupleTableSlot *a, const TupleTableSlot *b);
extern bool idem_is_newer_row(const IdemCollapse *collapse, const TupleTableSlot *kept, const TupleTableSlot *row);

#endif /* IDEM_LOAD_COLLAPSE_H */
