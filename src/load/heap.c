/*
 * heap.c
 *		Rows written straight into a plain heap table, without a statement.
 *
 * Rows are collected and written together: one entry of WAL a page instead of one a row,
 * and one look for room.
 *
 * Defaults that call volatile functions, but nextval, are left to statements: such a
 * function may look at the table, and would see rows that a statement had not written yet.
 * So are exclusion constraints and, as they have triggers, constraints that can be deferred.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "load/entries.h"
#include "load/heap.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteHandler.h"
#include "server/compat.h"
#include "server/settings.h"
#include "server/transaction.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Rows are written when there are so many, or so many bytes of them. */
#define MAX_ROWS 1000
#define MAX_BYTES 65536

/* What a column takes that the source lacks. */
typedef struct Default
{
	int attno;
	ExprState *value;
} Default;

struct IdemHeap
{
	MemoryContext context;
	Relation rel;
	EState *estate;
	ResultRelInfo *result;
	int ncolumns; /* of the source's rows, */
	int *attnos;  /* and which of the table's they are */
	int ndefaults;
	Default *defaults;
	bool generates; /* it has columns that are generated when a row is written */
	TupleTableSlot *row;

	/* of insertions */
	bool alone;			  /* the table is filled alone: indexes are built at the end */
	IdemEntries *entries; /* else */
	BulkInsertState bulk;
	MemoryContext writing; /* reset when rows have been written */
	TupleTableSlot **slots;
	int nslots; /* that have been made */
	int n;		/* rows that are not written yet, */
	Size bytes; /* and their size */
	int64 inserted;
};

/* The expression that makes a column which the source lacks; NULL: it is NULL. */
static Expr *
column_default(Relation rel, int attno)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attno - 1);
	Node *expr = build_column_default(rel, attno);

	if (expr == NULL && get_typtype(att->atttypid) == TYPTYPE_DOMAIN)
		expr = coerce_null_to_domain(att->atttypid, att->atttypmod, att->attcollation, att->attlen, att->attbyval);
	return expr ? expression_planner((Expr *) expr) : NULL;
}

/* True for a column of the table that is to be made, for the source does not have it. */
static bool
is_defaulted(const IdemColumn *column)
{
	return !column->in_source && !column->generated;
}

/* True if no default does what only a statement can. */
static bool
has_simple_defaults(const IdemTarget *target, Relation rel)
{
	int i;

	for (i = 0; i < target->ncolumns; i++)
	{
		const IdemColumn *column = &target->columns[i];

		if (is_defaulted(column) &&
			contain_volatile_functions_not_nextval((Node *) column_default(rel, column->base_attno)))
			return false;
	}
	return true;
}

/* True if the table has no trigger that hears of what is done by some rights. */
static bool
is_unheard(Relation rel, AclMode rights)
{
	const TriggerDesc *triggers = rel->trigdesc;

	if (triggers == NULL)
		return true;
	return rights == ACL_INSERT && !triggers->trig_insert_before_row && !triggers->trig_insert_after_row &&
		   !triggers->trig_insert_before_statement && !triggers->trig_insert_after_statement;
}

/* True if the table has an exclusion constraint. */
static bool
has_exclusion(Relation rel)
{
	ListCell *lc;
	bool found = false;

	foreach (lc, RelationGetIndexList(rel))
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		found |= index->rd_index->indisexclusion;
		index_close(index, AccessShareLock);
	}
	return found;
}

/* The same of an open table. */
static bool
is_direct(const IdemTarget *target, Relation rel, AclMode rights)
{
	return rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_rel->relam == HEAP_TABLE_AM_OID &&
		   rel->rd_rules == NULL && !rel->rd_rel->relrowsecurity && is_unheard(rel, rights) &&
		   !idem_has_virtual_columns(RelationGetDescr(rel)) && !has_exclusion(rel) &&
		   has_simple_defaults(target, rel);
}

bool
idem_is_direct(const IdemTarget *target, AclMode rights)
{
	Relation rel;
	bool result;

	if (idem_force_statements || !target->is_plain || target->is_hypertable)
		return false;
	rel = table_open(target->relid, NoLock);
	result = is_direct(target, rel, rights);
	table_close(rel, NoLock);
	return result;
}

/* The columns that rows are written to, or those that an update writes, as the server counts them. */
static Bitmapset *
written_columns(const IdemTarget *target, bool updated)
{
	Bitmapset *result = NULL;
	int i;

	for (i = 0; i < target->ncolumns; i++)
	{
		const IdemColumn *column = &target->columns[i];

		if (updated ? idem_is_updated_column(column) : column->in_source)
			result = bms_add_member(result, column->base_attno - FirstLowInvalidHeapAttributeNumber);
	}
	return result;
}

/* Says to the executor what is written, and checks that the user may. */
static void
init_range_table(IdemHeap *heap, const IdemTarget *target, AclMode rights)
{
	RangeTblEntry *entry = makeNode(RangeTblEntry);
	List *entries = list_make1(entry);
	List *infos = NIL;
	IdemRights *checked;

	entry->rtekind = RTE_RELATION;
	entry->relid = target->relid;
	entry->relkind = RELKIND_RELATION;
	entry->rellockmode = RowExclusiveLock;
	checked = idem_add_rights(&infos, entry);
	checked->requiredPerms = rights;
	if (rights & ACL_INSERT)
		checked->insertedCols = written_columns(target, false);
	if (rights & ACL_UPDATE)
		checked->updatedCols = written_columns(target, true);
	idem_check_range_table(entries, infos);
	idem_init_range_table(heap->estate, entries, infos);
}

/* Fails where the table publishes what is done to it and cannot say to which row. */
static void
check_published(IdemHeap *heap, AclMode rights)
{
	if (rights & ACL_INSERT)
		idem_check_result(heap->result, CMD_INSERT);
	if (rights & ACL_UPDATE)
		idem_check_result(heap->result, CMD_UPDATE);
	if (rights & ACL_DELETE)
		idem_check_result(heap->result, CMD_DELETE);
}

/* Finds the columns of the source's rows in the table. */
static void
set_columns(IdemHeap *heap, const IdemApply *apply)
{
	int i;

	heap->ncolumns = apply->desc->natts;
	heap->attnos = palloc(Max(heap->ncolumns, 1) * sizeof(int));
	for (i = 0; i < heap->ncolumns; i++)
		heap->attnos[i] = idem_find_column(apply->target, NameStr(TupleDescAttr(apply->desc, i)->attname))->base_attno;
}

/* Prepares for what makes the others. */
static void
set_defaults(IdemHeap *heap, const IdemTarget *target)
{
	int i;

	heap->defaults = palloc(Max(target->ncolumns, 1) * sizeof(Default));
	for (i = 0; i < target->ncolumns; i++)
	{
		const IdemColumn *column = &target->columns[i];
		Expr *expr = is_defaulted(column) ? column_default(heap->rel, column->base_attno) : NULL;

		if (expr)
			heap->defaults[heap->ndefaults++] = (Default){column->base_attno, ExecInitExpr(expr, NULL)};
	}
}

/* True if every index of a table can be built anew, and nobody has one of them open. */
static bool
can_build_indexes(Relation rel)
{
	ListCell *lc;
	bool result = true;

	foreach (lc, RelationGetIndexList(rel))
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		result &= index->rd_index->indisvalid && index->rd_index->indisready && index->rd_refcnt == 1;
		index_close(index, AccessShareLock);
	}
	return result;
}

/*
 * True if the table is locked against everybody now, and empty.  Nobody is waited for: it is
 * a way to be faster.
 */
static bool
lock_alone(Relation rel)
{
	return idem_allow_exclusive && idem_owns_relation(RelationGetRelid(rel), GetUserId()) &&
		   RelationGetNumberOfBlocks(rel) == 0 && can_build_indexes(rel) &&
		   ConditionalLockRelation(rel, AccessExclusiveLock) && RelationGetNumberOfBlocks(rel) == 0;
}

/* Prepares for insertions. */
static void
begin_inserting(IdemHeap *heap, bool alone)
{
	heap->alone = alone && lock_alone(heap->rel);
	if (!heap->alone)
	{
		ExecOpenIndices(heap->result, false);
		heap->entries = idem_open_entries(heap->result, heap->estate);
	}
	heap->bulk = GetBulkInsertState();
	heap->writing = AllocSetContextCreate(heap->context, "idem rows", ALLOCSET_DEFAULT_SIZES);
	heap->slots = palloc(MAX_ROWS * sizeof(TupleTableSlot *));
}

IdemHeap *
idem_open_heap(IdemApply *apply, AclMode rights, bool alone)
{
	const IdemTarget *target = apply->target;
	IdemHeap *heap = palloc0(sizeof(IdemHeap));

	heap->context = CurrentMemoryContext;
	heap->estate = CreateExecutorState();
	init_range_table(heap, target, rights);
	heap->result = makeNode(ResultRelInfo);
	ExecInitResultRelation(heap->estate, heap->result, 1);
	heap->rel = heap->result->ri_RelationDesc;
	check_published(heap, rights);
	set_columns(heap, apply);
	set_defaults(heap, target);
	heap->generates = RelationGetDescr(heap->rel)->constr && RelationGetDescr(heap->rel)->constr->has_generated_stored;
	heap->row = MakeSingleTupleTableSlot(RelationGetDescr(heap->rel), &TTSOpsVirtual);
	heap->row->tts_tableOid = target->relid;
	if (rights & ACL_INSERT)
		begin_inserting(heap, alone);
	return heap;
}

ResultRelInfo *
idem_heap_result(IdemHeap *heap)
{
	return heap->result;
}

EState *
idem_heap_estate(IdemHeap *heap)
{
	return heap->estate;
}

/* Puts the values of a row's columns into place, in the row's memory. */
static void
fill_row(IdemHeap *heap, const Datum *values, const bool *nulls)
{
	TupleTableSlot *row = heap->row;
	ExprContext *context = GetPerTupleExprContext(heap->estate);
	int i;

	ExecClearTuple(row);
	memset(row->tts_isnull, true, RelationGetDescr(heap->rel)->natts * sizeof(bool));
	for (i = 0; i < heap->ncolumns; i++)
	{
		row->tts_values[heap->attnos[i] - 1] = values[i];
		row->tts_isnull[heap->attnos[i] - 1] = nulls[i];
	}
	for (i = 0; i < heap->ndefaults; i++)
	{
		const Default *made = &heap->defaults[i];

		row->tts_values[made->attno - 1] = ExecEvalExpr(made->value, context, &row->tts_isnull[made->attno - 1]);
	}
	ExecStoreVirtualTuple(row);
}

TupleTableSlot *
idem_make_tuple(IdemHeap *heap, const Datum *values, const bool *nulls)
{
	MemoryContext old;

	ResetPerTupleExprContext(heap->estate);
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(heap->estate));
	fill_row(heap, values, nulls);
	if (heap->generates)
		ExecComputeStoredGenerated(heap->result, heap->estate, heap->row, CMD_INSERT);
	if (RelationGetDescr(heap->rel)->constr)
		ExecConstraints(heap->result, heap->row, heap->estate);
	if (heap->rel->rd_rel->relispartition)
		(void) ExecPartitionCheck(heap->result, heap->row, heap->estate, true);
	MemoryContextSwitchTo(old);
	return heap->row;
}

/* Writes the rows that have been collected. */
static void
write_rows(IdemHeap *heap)
{
	MemoryContext old = MemoryContextSwitchTo(heap->writing);

	table_multi_insert(heap->rel, heap->slots, heap->n, GetCurrentCommandId(true), 0, heap->bulk);
	MemoryContextSwitchTo(old);
	MemoryContextReset(heap->writing);
	if (heap->entries)
		idem_add_entries(heap->entries, heap->slots, heap->n);
	heap->inserted += heap->n;
	heap->n = 0;
	heap->bytes = 0;
}

/* A slot for the next row, which the last one of this number leaves. */
static TupleTableSlot *
next_slot(IdemHeap *heap)
{
	if (heap->n == heap->nslots)
		heap->slots[heap->nslots++] = MakeSingleTupleTableSlot(RelationGetDescr(heap->rel), &TTSOpsHeapTuple);
	return heap->slots[heap->n++];
}

void
idem_insert_tuple(IdemHeap *heap, const Datum *values, const bool *nulls)
{
	TupleTableSlot *row = idem_make_tuple(heap, values, nulls);
	MemoryContext old = MemoryContextSwitchTo(heap->context);
	HeapTuple tuple = heap_form_tuple(RelationGetDescr(heap->rel), row->tts_values, row->tts_isnull);

	ExecStoreHeapTuple(tuple, next_slot(heap), true);
	heap->bytes += tuple->t_len;
	MemoryContextSwitchTo(old);
	if (heap->n == MAX_ROWS || heap->bytes >= MAX_BYTES)
		write_rows(heap);
}

void
idem_insert_spool(IdemHeap *heap, const IdemRows *rows)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(rows->desc, &TTSOpsMinimalTuple);

	tuplestore_rescan(rows->store);
	while (tuplestore_gettupleslot(rows->store, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		idem_insert_tuple(heap, slot->tts_values, slot->tts_isnull);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* Ends insertions, but for the building of indexes. */
static void
end_inserting(IdemHeap *heap)
{
	int i;

	if (heap->n > 0)
		write_rows(heap);
	if (heap->entries)
		idem_close_entries(heap->entries);
	FreeBulkInsertState(heap->bulk);
	table_finish_bulk_insert(heap->rel, 0);
	for (i = 0; i < heap->nslots; i++)
		ExecDropSingleTupleTableSlot(heap->slots[i]);
	MemoryContextDelete(heap->writing);
}

/* Builds the indexes of a table that has been filled without them. */
static void
build_indexes(List *indexes, char persistence)
{
	ReindexParams params = {0};
	ListCell *lc;

	foreach (lc, indexes)
	{
		CHECK_FOR_INTERRUPTS();
		idem_reindex_index(lfirst_oid(lc), persistence, &params);
		CommandCounterIncrement();
	}
}

/* Closes the table; its locks stay. */
static void
close_relations(IdemHeap *heap)
{
	ExecDropSingleTupleTableSlot(heap->row);
	ExecCloseResultRelations(heap->estate);
	ExecCloseRangeTableRelations(heap->estate);
	FreeExecutorState(heap->estate);
}

int64
idem_close_heap(IdemHeap *heap)
{
	List *indexes = heap->alone ? RelationGetIndexList(heap->rel) : NIL;
	char persistence = heap->rel->rd_rel->relpersistence;
	int64 inserted;

	PushActiveSnapshot(GetTransactionSnapshot());
	if (heap->slots)
		end_inserting(heap);
	close_relations(heap);
	CommandCounterIncrement();
	if (indexes)
		build_indexes(indexes, persistence);
	PopActiveSnapshot();
	inserted = heap->inserted;
	pfree(heap);
	return inserted;
}

bool
idem_is_objection(const ErrorData *error)
{
	return idem_is_of_row(error->sqlerrcode) || ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_PLPGSQL_ERROR ||
		   error->sqlerrcode == ERRCODE_OBJECT_IN_USE;
}
