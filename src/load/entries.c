/*
 * entries.c
 *		The index entries of rows that are written without a statement.
 *
 * Entries that come in an index's order are added at once: each lands beside the last one.
 * Where they come in another, each would be looked for through the whole index, in pages
 * that are not in the processor's cache, if they are in memory at all; so those of a B-tree
 * are kept back, sorted, and added in order (1M rows by a random key: 0.4 of the time).
 * Whether they come in order is asked for each index and batch of rows, of a sample: then
 * each is the highest until then.  To be higher than the one before is not enough: values
 * that rise again and again are as scattered.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/itup.h"
#include "access/nbtree.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "load/entries.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplesort.h"

/* With fewer rows in a batch it is not asked, and entries are added as they come. */
#define MIN_ASKED 100

/* How many rows a batch is judged by, and how many of them may be out of order. */
#define MAX_SAMPLE 32
#define MAX_DISORDER 8

/* An entry: the values of an index's columns. */
typedef struct Entry
{
	Datum values[INDEX_MAX_KEYS];
	bool nulls[INDEX_MAX_KEYS];
} Entry;

/* One of the table's indexes. */
typedef struct EachIndex
{
	Relation rel;
	IndexInfo *info;
	ExprState *predicate;  /* NULL: every row has an entry */
	Tuplesortstate *sort;  /* of the entries that are kept back; NULL: none are */
	IndexTuple highest;	   /* of the entries that have been looked at; NULL: none has */
	IndexUniqueCheck check;
} EachIndex;

struct IdemEntries
{
	Relation rel;
	EState *estate;
	MemoryContext context;
	int nindexes;
	EachIndex *indexes;
	int nsorts; /* how many may keep entries back */
};

/* True if entries of an index can be sorted as it does. */
static bool
can_sort(const EachIndex *index)
{
	return index->rel->rd_rel->relam == BTREE_AM_OID;
}

/* Prepares for one index. */
static void
open_index(IdemEntries *entries, EachIndex *index, Relation rel, IndexInfo *info)
{
	index->rel = rel;
	index->info = info;
	index->check = rel->rd_index->indisunique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO;
	if (info->ii_Predicate != NIL)
		index->predicate = ExecPrepareQual(info->ii_Predicate, entries->estate);
	entries->nsorts += can_sort(index);
}

IdemEntries *
idem_open_entries(ResultRelInfo *result, EState *estate)
{
	IdemEntries *entries = palloc0(sizeof(IdemEntries));
	int i;

	entries->rel = result->ri_RelationDesc;
	entries->estate = estate;
	entries->context = CurrentMemoryContext;
	entries->indexes = palloc0(Max(result->ri_NumIndices, 1) * sizeof(EachIndex));
	for (i = 0; i < result->ri_NumIndices; i++)
	{
		IndexInfo *info = result->ri_IndexRelationInfo[i];

		/* one that is being built is not written yet */
		if (info->ii_ReadyForInserts)
			open_index(entries, &entries->indexes[entries->nindexes++], result->ri_IndexRelationDescs[i], info);
	}
	return entries;
}

/* Makes a row's entry, in the row's memory; false if the index has none for it. */
static bool
make_entry(const IdemEntries *entries, const EachIndex *index, TupleTableSlot *slot, Entry *entry)
{
	ExprContext *context = GetPerTupleExprContext(entries->estate);

	context->ecxt_scantuple = slot;
	if (index->predicate && !ExecQual(index->predicate, context))
		return false;
	FormIndexDatum(index->info, slot, entries->estate, entry->values, entry->nulls);
	return true;
}

/* Compares two entries as their B-tree does. */
static int
compare_entries(const EachIndex *index, const Entry *a, const Entry *b)
{
	int i;

	for (i = 0; i < IndexRelationGetNumberOfKeyAttributes(index->rel); i++)
	{
		int16 option = index->rel->rd_indoption[i];
		int32 order;

		if (a->nulls[i] && b->nulls[i])
			continue;
		if (a->nulls[i] || b->nulls[i])
			return a->nulls[i] == ((option & INDOPTION_NULLS_FIRST) != 0) ? -1 : 1;
		order = DatumGetInt32(FunctionCall2Coll(index_getprocinfo(index->rel, i + 1, BTORDER_PROC),
												index->rel->rd_indcollation[i], a->values[i], b->values[i]));
		if (order != 0)
			return (order > 0) == ((option & INDOPTION_DESC) != 0) ? -1 : 1;
	}
	return 0;
}

/* True if an entry is lower than the highest, which it becomes otherwise. */
static bool
is_lower(const IdemEntries *entries, EachIndex *index, Entry *entry)
{
	TupleDesc desc = RelationGetDescr(index->rel);
	MemoryContext old;
	Entry highest;

	if (index->highest)
	{
		index_deform_tuple(index->highest, desc, highest.values, highest.nulls);
		if (compare_entries(index, entry, &highest) < 0)
			return true;
		pfree(index->highest);
	}
	old = MemoryContextSwitchTo(entries->context);
	index->highest = index_form_tuple(desc, entry->values, entry->nulls);
	MemoryContextSwitchTo(old);
	return false;
}

/* True if many entries of a batch are out of order. */
static bool
is_disordered(const IdemEntries *entries, EachIndex *index, TupleTableSlot **slots, int n)
{
	int step = Max(n / MAX_SAMPLE, 1);
	int disorder = 0;
	Entry entry;
	int i;

	for (i = 0; i < n && disorder <= MAX_DISORDER; i += step)
	{
		ResetPerTupleExprContext(entries->estate);
		if (make_entry(entries, index, slots[i], &entry))
			disorder += is_lower(entries, index, &entry);
	}
	return disorder > MAX_DISORDER;
}

/* Begins to keep entries of an index back. */
static void
begin_sort(IdemEntries *entries, EachIndex *index)
{
	MemoryContext old = MemoryContextSwitchTo(entries->context);
	int memory = Max(maintenance_work_mem / entries->nsorts, 64);

	index->sort = tuplesort_begin_index_btree(entries->rel, index->rel, false, false, memory, NULL, TUPLESORT_NONE);
	MemoryContextSwitchTo(old);
}

/* Adds an entry, or keeps it back. */
static void
put_entry(const IdemEntries *entries, EachIndex *index, Entry *entry, ItemPointer tid)
{
	if (index->sort)
		tuplesort_putindextuplevalues(index->sort, index->rel, tid, entry->values, entry->nulls);
	else
		(void) index_insert(index->rel, entry->values, entry->nulls, tid, entries->rel, index->check, false, index->info);
}

/* Adds the entries of some rows into one index. */
static void
add_to_index(IdemEntries *entries, EachIndex *index, TupleTableSlot **slots, int n)
{
	MemoryContext old = CurrentMemoryContext;
	Entry entry;
	int i;

	if (index->sort == NULL && can_sort(index) && n >= MIN_ASKED && is_disordered(entries, index, slots, n))
		begin_sort(entries, index);
	for (i = 0; i < n; i++)
	{
		ResetPerTupleExprContext(entries->estate);
		MemoryContextSwitchTo(GetPerTupleMemoryContext(entries->estate));
		if (make_entry(entries, index, slots[i], &entry))
			put_entry(entries, index, &entry, &slots[i]->tts_tid);
	}
	MemoryContextSwitchTo(old);
}

void
idem_add_entries(IdemEntries *entries, TupleTableSlot **slots, int n)
{
	int i;

	for (i = 0; i < entries->nindexes; i++)
		add_to_index(entries, &entries->indexes[i], slots, n);
}

/* Adds the entries of an index that have been kept back. */
static void
add_sorted(IdemEntries *entries, EachIndex *index)
{
	MemoryContext row = GetPerTupleMemoryContext(entries->estate);
	TupleDesc desc = RelationGetDescr(index->rel);
	IndexTuple tuple;
	Entry entry;

	tuplesort_performsort(index->sort);
	while ((tuple = tuplesort_getindextuple(index->sort, true)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(row);

		CHECK_FOR_INTERRUPTS();
		index_deform_tuple(tuple, desc, entry.values, entry.nulls);
		(void) index_insert(index->rel, entry.values, entry.nulls, &tuple->t_tid, entries->rel, index->check, false, index->info);
		MemoryContextSwitchTo(old);
		ResetPerTupleExprContext(entries->estate);
	}
	tuplesort_end(index->sort);
	index->sort = NULL;
}

void
idem_close_entries(IdemEntries *entries)
{
	int i;

	for (i = 0; i < entries->nindexes; i++)
	{
		if (entries->indexes[i].sort)
			add_sorted(entries, &entries->indexes[i]);
	}
	pfree(entries->indexes);
	pfree(entries);
}
