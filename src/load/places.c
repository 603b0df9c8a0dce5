/*
 * places.c
 *		Rows of a plain heap table updated and deleted where they lie, without a statement.
 *
 * To find rows once more by a join costs a statement more than to write them.  Who knows
 * where they lie hands each to the table's access method, with what the executor's own
 * ModifyTable does before and after; triggers there are none.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "load/heap.h"
#include "load/places.h"
#include "miscadmin.h"
#include "server/compat.h"
#include "utils/acl.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* A column of the source's rows. */
typedef struct PlaceColumn
{
	int attribute; /* in the table, from 0 on */
	bool updated;
} PlaceColumn;

struct IdemPlaces
{
	IdemApply *apply;
	IdemHeap *heap;
	Relation rel;
	EState *estate;
	ResultRelInfo *result;
	PlaceColumn *columns;  /* of the source's rows */
	TupleTableSlot *old;   /* what lies at a place, as the table has it */
	TupleTableSlot *found; /* and as the source would */
	TupleTableSlot *new;
};

/* The place of a row is a column that only who may read all of them may read. */
bool
idem_has_places(const IdemApply *apply)
{
	return pg_class_aclcheck(apply->target->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		   idem_is_direct(apply->target, ACL_UPDATE | ACL_DELETE);
}

/* Finds the source's columns in the table. */
static PlaceColumn *
find_columns(const IdemApply *apply)
{
	PlaceColumn *columns = palloc(apply->desc->natts * sizeof(PlaceColumn));
	int i;

	for (i = 0; i < apply->desc->natts; i++)
	{
		const IdemColumn *column = idem_find_column(apply->target, NameStr(TupleDescAttr(apply->desc, i)->attname));

		columns[i].attribute = column->base_attno - 1;
		columns[i].updated = idem_is_updated_column(column);
	}
	return columns;
}

IdemPlaces *
idem_open_places(IdemApply *apply, Snapshot since, AclMode right)
{
	IdemPlaces *places = palloc0(sizeof(IdemPlaces));

	places->apply = apply;
	places->columns = find_columns(apply);
	PushCopiedSnapshot(since);
	UpdateActiveSnapshotCommandId();
	places->heap = idem_open_heap(apply, right, false);
	places->result = idem_heap_result(places->heap);
	places->estate = idem_heap_estate(places->heap);
	places->estate->es_snapshot = GetActiveSnapshot();
	places->estate->es_output_cid = GetCurrentCommandId(true);
	places->rel = places->result->ri_RelationDesc;
	if (right == ACL_UPDATE)
		ExecOpenIndices(places->result, false);
	places->old = table_slot_create(places->rel, NULL);
	places->new = table_slot_create(places->rel, NULL);
	places->found = MakeSingleTupleTableSlot(apply->desc, &TTSOpsVirtual);
	return places;
}

void
idem_close_places(IdemPlaces *places)
{
	ExecDropSingleTupleTableSlot(places->old);
	ExecDropSingleTupleTableSlot(places->new);
	ExecDropSingleTupleTableSlot(places->found);
	(void) idem_close_heap(places->heap);
	PopActiveSnapshot();
}

TupleTableSlot *
idem_found_row(IdemPlaces *places, ItemPointer place)
{
	int i;

	if (!table_tuple_fetch_row_version(places->rel, place, SnapshotAny, places->old))
		elog(ERROR, "no row at (%u,%u) of relation \"%s\"", ItemPointerGetBlockNumber(place),
			 ItemPointerGetOffsetNumber(place), RelationGetRelationName(places->rel));
	slot_getallattrs(places->old);
	ExecClearTuple(places->found);
	for (i = 0; i < places->apply->desc->natts; i++)
	{
		places->found->tts_values[i] = places->old->tts_values[places->columns[i].attribute];
		places->found->tts_isnull[i] = places->old->tts_isnull[places->columns[i].attribute];
	}
	return ExecStoreVirtualTuple(places->found);
}

/* Makes the new version of what lies at a place of a row of the source's. */
static void
make_new(IdemPlaces *places, const TupleTableSlot *row)
{
	TupleDesc desc = RelationGetDescr(places->rel);
	TupleTableSlot *new = places->new;
	int i;

	ExecClearTuple(new);
	for (i = 0; i < desc->natts; i++)
	{
		new->tts_values[i] = places->old->tts_values[i];
		new->tts_isnull[i] = places->old->tts_isnull[i] || TupleDescAttr(desc, i)->attisdropped;
	}
	for (i = 0; i < places->apply->desc->natts; i++)
	{
		if (!places->columns[i].updated)
			continue;
		new->tts_values[places->columns[i].attribute] = row->tts_values[i];
		new->tts_isnull[places->columns[i].attribute] = row->tts_isnull[i];
	}
	ExecStoreVirtualTuple(new);
}

/* Makes its generated columns, and checks its constraints. */
static void
check_new(IdemPlaces *places)
{
	TupleConstr *constraints = RelationGetDescr(places->rel)->constr;

	places->new->tts_tableOid = RelationGetRelid(places->rel);
	if (constraints && constraints->has_generated_stored)
		ExecComputeStoredGenerated(places->result, places->estate, places->new, CMD_UPDATE);
	if (constraints)
		ExecConstraints(places->result, places->new, places->estate);
	if (places->rel->rd_rel->relispartition)
		(void) ExecPartitionCheck(places->result, places->new, places->estate, true);
}

/* What became of a row, by the access method's word. */
static IdemPlaced
take_result(const IdemPlaces *places, TM_Result result)
{
	if (result == TM_Ok)
		return IDEM_PLACED;
	if (result == TM_SelfModified)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("a row of target %s was changed by a function that was called to write it", places->apply->target->name),
				 errhint("Let indexes, constraints and generated columns call no function that writes.")));
	return result == TM_Deleted ? IDEM_VANISHED : IDEM_DISTURBED;
}

/* What a row found at a place says against writing another of the source's there; else IDEM_PLACED. */
static IdemPlaced
judge(IdemPlaces *places, const TupleTableSlot *found, const TupleTableSlot *row)
{
	const IdemCollapse *collapse = places->apply->collapse;
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(places->estate));
	IdemPlaced result = IDEM_PLACED;

	if (!idem_same_row_keys(collapse, found, row))
		result = IDEM_OTHER_KEY;
	else if (!places->apply->reload && idem_is_newer_row(collapse, found, row))
		result = IDEM_KEPT_NEWER;
	MemoryContextSwitchTo(old);
	return result;
}

IdemPlaced
idem_update_place(IdemPlaces *places, ItemPointer place, TupleTableSlot *row)
{
	IdemUpdatedIndexes indexes;
	TM_FailureData failure;
	LockTupleMode mode;
	IdemPlaced result;

	ResetPerTupleExprContext(places->estate);
	result = judge(places, idem_found_row(places, place), row);
	if (result != IDEM_PLACED)
		return result;
	make_new(places, row);
	check_new(places);
	result = take_result(places, idem_update_tuple(places->rel, place, places->new, places->estate->es_output_cid,
												   SnapshotAny, &failure, &mode, &indexes));
	if (result == IDEM_PLACED)
		(void) idem_update_indexes(places->result, places->new, places->estate, indexes);
	return result;
}

IdemPlaced
idem_delete_place(IdemPlaces *places, ItemPointer place)
{
	TM_FailureData failure;

	return take_result(places, idem_delete_tuple(places->rel, place, places->estate->es_output_cid, SnapshotAny, &failure));
}
