/*
 * entries.h
 *		The index entries of rows that are written without a statement.
 */
#ifndef IDEM_LOAD_ENTRIES_H
#define IDEM_LOAD_ENTRIES_H

#include "executor/tuptable.h"
#include "nodes/execnodes.h"

typedef struct IdemEntries IdemEntries;

/* Prepares for entries into the indexes of a table, which are open, in the current memory context. */
extern IdemEntries *idem_open_entries(ResultRelInfo *result, EState *estate);

/*
 * Adds the entries of some rows that have just been written, in the order in which they
 * came.  Raises 23505 for a key that is there twice, if need be at the end.
 */
extern void idem_add_entries(IdemEntries *entries, TupleTableSlot **slots, int n);

/* Adds those that have been kept back.  Frees what they took. */
extern void idem_close_entries(IdemEntries *entries);

#endif /* IDEM_LOAD_ENTRIES_H */
