/*
 * heap.h
 *		Rows written straight into a plain heap table, without a statement.
 *
 * What a statement does on the way is done here too: rights, defaults, generated columns,
 * NOT NULL and CHECK constraints, the partition's own, TOAST, every index.  Triggers, rules
 * and row security are not: a target that has any is not direct.
 *
 * Whoever writes does it in a subtransaction, so that a row which the table or an index
 * objects to leaves nothing behind; the statements, which are the reference, then say what
 * is wrong with it.
 */
#ifndef IDEM_LOAD_HEAP_H
#define IDEM_LOAD_HEAP_H

#include "load/apply.h"
#include "nodes/execnodes.h"
#include "nodes/parsenodes.h"

/*
 * True if rows of a target can be written by these rights (ACL_INSERT, ACL_UPDATE,
 * ACL_DELETE) without a statement, and idem.force_statements is off.  Looked at anew each
 * time; the target must be locked.
 */
extern bool idem_is_direct(const IdemTarget *target, AclMode rights);

typedef struct IdemHeap IdemHeap;

/*
 * Opens a direct target for writing, in the current memory context.  Raises 42501 unless
 * the user has the rights, for insertions those on the columns that the source has, for
 * updates those on the columns that an update writes; and what a statement raises for a
 * table that publishes its changes without a replica identity.
 *
 * Where the table is to be filled alone, it is locked against everybody if it is empty, the
 * user owns it and nobody else is using it; its indexes are built when it is closed.
 */
extern IdemHeap *idem_open_heap(IdemApply *apply, AclMode rights, bool alone);

/* The table, its executor state and its indexes; for insertions the latter may not be open. */
extern ResultRelInfo *idem_heap_result(IdemHeap *heap);
extern EState *idem_heap_estate(IdemHeap *heap);

/*
 * A row of the table made of one of the source's: defaults for columns that it lacks,
 * generated columns, all constraints checked.  The slot is virtual, with values that lie
 * where the row's did, and is good until the next one is made.
 */
extern TupleTableSlot *idem_make_tuple(IdemHeap *heap, const Datum *values, const bool *nulls);

/*
 * Inserts a row of the source's; it is written with others, at the latest when the table is
 * closed.  A row is not seen by a statement that was running when it was written.
 */
extern void idem_insert_tuple(IdemHeap *heap, const Datum *values, const bool *nulls);

/* The same for all of some rows. */
extern void idem_insert_spool(IdemHeap *heap, const IdemRows *rows);

/* Writes what is left, and closes the table.  Returns how many rows were inserted. */
extern int64 idem_close_heap(IdemHeap *heap);

/*
 * True for an error that is about what was written, so that a statement, or the careful
 * way, is to be tried after it.
 */
extern bool idem_is_objection(const ErrorData *error);

#endif /* IDEM_LOAD_HEAP_H */
