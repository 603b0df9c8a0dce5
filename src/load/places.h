/*
 * places.h
 *		Rows of a plain heap table updated and deleted where they lie, without a statement.
 *
 * It is to updates and deletions what heap.h is to insertions, and for the same targets.
 *
 * Where a row lies a registered snapshot has shown, and it is registered still: no other row
 * can have come in its place.
 */
#ifndef IDEM_LOAD_PLACES_H
#define IDEM_LOAD_PLACES_H

#include "load/apply.h"
#include "nodes/parsenodes.h"
#include "storage/itemptr.h"

/* True if rows of a load's target can be written where they lie; the target must be locked. */
extern bool idem_has_places(const IdemApply *apply);

typedef struct IdemPlaces IdemPlaces;

/* What became of a row. */
typedef enum IdemPlaced
{
	IDEM_PLACED,
	IDEM_KEPT_NEWER, /* left alone: the target's is of a higher version */
	IDEM_OTHER_KEY,	 /* not written: what lies there has another key */
	IDEM_DISTURBED,	 /* not written: another session has changed it, */
	IDEM_VANISHED,	 /* or deleted it */
} IdemPlaced;

/*
 * Opens a load's target for ACL_UPDATE or ACL_DELETE of what a snapshot has shown, in the
 * current memory context.  Raises
 * 42501 unless the user has the right, and what a statement raises for a table that publishes
 * its changes without a replica identity.
 */
extern IdemPlaces *idem_open_places(IdemApply *apply, Snapshot since, AclMode right);

/* Updates what lies at a place to a row of the source's, whose columns have been fetched. */
extern IdemPlaced idem_update_place(IdemPlaces *places, ItemPointer place, TupleTableSlot *row);

/* Deletes what lies at a place. */
extern IdemPlaced idem_delete_place(IdemPlaces *places, ItemPointer place);

/* What lay there, as a row of the source's, until the next call. */
extern TupleTableSlot *idem_found_row(IdemPlaces *places, ItemPointer place);

/* Closes the target; what has been written is seen from now on. */
extern void idem_close_places(IdemPlaces *places);

#endif /* IDEM_LOAD_PLACES_H */
