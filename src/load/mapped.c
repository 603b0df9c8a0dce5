/*
 * mapped.c
 *		What a map of rows and window has found, written where it lies.
 *
 * The map lists the source's rows in the order in which they are kept, so that the rows of
 * one fate are read in one walk.  Where they lie in another order, they are sorted by it
 * before they are updated.  Rows that another session has changed or deleted since
 * the window was read are left to the statements, which look again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "load/apply.h"
#include "load/places.h"
#include "miscadmin.h"
#include "server/compat.h"
#include "utils/tuplesort.h"

/* The map is of the rows as they came: if some have been removed, it is of no use. */
bool
idem_can_use_map(IdemApply *apply, IdemPiece *piece)
{
	return piece->map && piece->since && piece->run->duplicate_rows == 0 && idem_join_map(piece->map);
}

/* A walk through the rows of one fate. */
typedef struct Walk
{
	const IdemPiece *piece;
	IdemFate fate;
	TupleTableSlot *slot;
	int64 row;	/* the number of that in the slot, */
	int64 next; /* and of the next one in the store */
} Walk;

static Walk
begin_walk(const IdemPiece *piece, IdemFate fate)
{
	Walk walk = {piece, fate, MakeSingleTupleTableSlot(piece->rows.desc, &TTSOpsMinimalTuple)};

	tuplestore_rescan(piece->rows.store);
	return walk;
}

/* Goes to the next row, whose columns are fetched; returns false if there is none. */
static bool
walk_on(Walk *walk)
{
	Tuplestorestate *store = walk->piece->rows.store;

	CHECK_FOR_INTERRUPTS();
	walk->row = idem_next_with_fate(walk->piece->map, walk->fate, walk->next);
	if (walk->row < 0)
		return false;
	if (walk->row > walk->next)
		(void) tuplestore_skiptuples(store, walk->row - walk->next, true);
	if (!tuplestore_gettupleslot(store, true, false, walk->slot))
		elog(ERROR, "row " INT64_FORMAT " of " INT64_FORMAT " is missing", walk->row, walk->piece->rows.count);
	slot_getallattrs(walk->slot);
	walk->next = walk->row + 1;
	return true;
}

static void
end_walk(Walk *walk)
{
	ExecDropSingleTupleTableSlot(walk->slot);
}

IdemRows
idem_mapped_rows(const IdemPiece *piece, IdemFate fate)
{
	IdemRows rows = idem_make_rows(piece->rows.desc);
	Walk walk = begin_walk(piece, fate);

	while (walk_on(&walk))
	{
		tuplestore_puttupleslot(rows.store, walk.slot);
		rows.count++;
	}
	end_walk(&walk);
	return rows;
}

/* An update, as an argument of idem_run_update. */
typedef struct Update
{
	IdemApply *apply;
	IdemPiece *piece;
	IdemRows rest; /* that are left to statements */
} Update;

/* Updates what lies at a place to a row. */
static void
update_row(Update *update, IdemPlaces *places, ItemPointer place, TupleTableSlot *row)
{
	IdemPiece *piece = update->piece;

	switch (idem_update_place(places, place, row))
	{
		case IDEM_PLACED:
			piece->run->updated_rows++;
			break;
		case IDEM_KEPT_NEWER:
			break;
		case IDEM_OTHER_KEY:
			piece->misled = true;
			break;
		case IDEM_DISTURBED:
		case IDEM_VANISHED:
			idem_put_row(&update->rest, row->tts_values, row->tts_isnull);
			break;
	}
}

/* True if more than one in ten of the rows that differ lies before the one before it. */
static bool
is_disordered(IdemMap *map)
{
	ItemPointer last = NULL;
	int64 disorder = 0;
	int64 row;

	for (row = idem_next_with_fate(map, IDEM_CHANGED, 0); row >= 0; row = idem_next_with_fate(map, IDEM_CHANGED, row + 1))
	{
		ItemPointer place = idem_place_of(map, row);

		disorder += last && ItemPointerCompare(place, last) < 0;
		last = place;
	}
	return disorder > idem_count_fate(map, IDEM_CHANGED) / 10;
}

/* Updates all that differ, in the order of the source. */
static void
update_as_read(Update *update, IdemPlaces *places)
{
	Walk walk = begin_walk(update->piece, IDEM_CHANGED);

	while (walk_on(&walk))
		update_row(update, places, idem_place_of(update->piece->map, walk.row), walk.slot);
	end_walk(&walk);
}

/* The descriptor of rows with their places after them. */
static TupleDesc
placed_desc(TupleDesc desc)
{
	TupleDesc placed = CreateTemplateTupleDesc(desc->natts + 1);
	int i;

	for (i = 1; i <= desc->natts; i++)
		TupleDescCopyEntry(placed, i, desc, i);
	TupleDescInitEntry(placed, i, "place", INT8OID, -1, 0);
	idem_finalize_desc(placed);
	return placed;
}

/* Sorts all that differ by where it lies. */
static Tuplesortstate *
sort_by_place(const IdemPiece *piece, TupleDesc desc)
{
	AttrNumber column = desc->natts;
	Oid less = Int8LessOperator;
	Oid collation = InvalidOid;
	bool nulls_first = false;
	Tuplesortstate *sort = tuplesort_begin_heap(desc, 1, &column, &less, &collation, &nulls_first, work_mem, NULL, TUPLESORT_NONE);
	TupleTableSlot *placed = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
	Walk walk = begin_walk(piece, IDEM_CHANGED);

	while (walk_on(&walk))
	{
		ExecClearTuple(placed);
		memcpy(placed->tts_values, walk.slot->tts_values, piece->rows.desc->natts * sizeof(Datum));
		memcpy(placed->tts_isnull, walk.slot->tts_isnull, piece->rows.desc->natts * sizeof(bool));
		placed->tts_values[column - 1] = Int64GetDatum(itemptr_encode(idem_place_of(piece->map, walk.row)));
		placed->tts_isnull[column - 1] = false;
		tuplesort_puttupleslot(sort, ExecStoreVirtualTuple(placed));
	}
	end_walk(&walk);
	ExecDropSingleTupleTableSlot(placed);
	tuplesort_performsort(sort);
	return sort;
}

/* The same in the order of the target, so that neither its pages nor those of its indexes are hopped over. */
static void
update_as_placed(Update *update, IdemPlaces *places)
{
	TupleDesc desc = placed_desc(update->piece->rows.desc);
	Tuplesortstate *sort = sort_by_place(update->piece, desc);
	TupleTableSlot *row = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	while (tuplesort_gettupleslot(sort, true, false, row, NULL))
	{
		ItemPointerData place;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(row);
		itemptr_decode(&place, DatumGetInt64(row->tts_values[desc->natts - 1]));
		update_row(update, places, &place, row);
	}
	ExecDropSingleTupleTableSlot(row);
	tuplesort_end(sort);
}

/* Updates all that differ. */
static void
update_places(void *arg)
{
	Update *update = arg;
	IdemPlaces *places = idem_open_places(update->apply, update->piece->since, ACL_UPDATE);

	if (is_disordered(update->piece->map))
		update_as_placed(update, places);
	else
		update_as_read(update, places);
	idem_close_places(places);
}

void
idem_update_mapped(IdemApply *apply, IdemPiece *piece)
{
	Update update = {apply, piece, idem_make_rows(apply->desc)};

	idem_run_update(update_places, &update);
	if (update.rest.count > 0)
		idem_update_rows(apply, piece, &update.rest);
	idem_free_rows(&update.rest);
}

/*
 * Deletes what lies at a place, or keeps it for a statement.  What another session has
 * deleted is gone, and what he may have put into the window again is his; where the
 * transaction keeps its snapshot, the statement says that this cannot be.
 */
static bool
delete_row(IdemApply *apply, IdemPlaces *places, ItemPointer place, IdemRows *rest)
{
	IdemPlaced result = idem_delete_place(places, place);
	TupleTableSlot *found;

	if (result == IDEM_PLACED || (result == IDEM_VANISHED && !IsolationUsesXactSnapshot()))
		return result == IDEM_PLACED;
	found = idem_found_row(places, place);
	idem_note_keys(apply, found->tts_isnull);
	idem_put_row(rest, found->tts_values, found->tts_isnull);
	return false;
}

int64
idem_delete_mapped(IdemApply *apply, IdemPiece *piece, IdemRows *rest)
{
	IdemPlaces *places = idem_open_places(apply, piece->since, ACL_DELETE);
	ItemPointer place;
	int64 deleted = 0;
	int64 from = 0;

	while ((place = idem_next_gone(piece->map, &from)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		deleted += delete_row(apply, places, place, rest);
	}
	idem_close_places(places);
	return deleted;
}
