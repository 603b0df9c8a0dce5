/*
 * collapse.c
 *		One row per key: what to do with duplicates in the source.
 *
 * Sources rarely hold duplicates, so first the distinct keys are counted.  Only if
 * there are fewer than rows are the rows sorted by key and version and every run
 * of one key is looked at: content is compared image by image, because which of
 * two merely equal rows (1.0 and 1.00) is loaded must not be left to chance.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "collapse.h"
#include "executor/executor.h"
#include "statement.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

struct IdemCollapse
{
	MemoryContext context; /* where all of this lives */
	const IdemTarget *target;
	TupleDesc desc;
	IdemStatement *count; /* distinct keys */
	IdemQuery *sorted;
	int nkeys;
	int *keys;		  /* indexes in desc */
	FmgrInfo *equals; /* of each key */
	int version;	  /* index in desc, or -1 */
	FmgrInfo compare; /* of versions */
};

/* Builds: SELECT count(*) FROM (SELECT FROM idem_source s GROUP BY s.k, …) k */
static char *
count_sql(const IdemTarget *target)
{
	StringInfoData sql;
	const char *separator = "";
	int i;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT pg_catalog.count(*) FROM (SELECT FROM %s s GROUP BY ",
					 IDEM_ROWS);
	for (i = 0; i < target->ncolumns; i++)
	{
		const IdemColumn *column = &target->columns[i];

		if (!(target->nkeys > 0 ? column->is_key : column->in_source))
			continue;
		/* json and its like have no equality; their text has */
		appendStringInfo(&sql, "%ss.%s%s", separator, column->quoted,
						 column->equals ? "" : "::pg_catalog.text");
		separator = ", ";
	}
	appendStringInfoString(&sql, ") k");
	return sql.data;
}

/*
 * Builds: SELECT s.* FROM idem_source s ORDER BY s.k, …, s.version DESC NULLS LAST
 * or, without keys, ordered by the rows' images, which every type has.
 */
static char *
sorted_sql(const IdemTarget *target)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT s.* FROM %s s ORDER BY ", IDEM_ROWS);
	if (target->nkeys > 0)
	{
		idem_append_keys(&sql, target, "s.");
		if (target->version)
			appendStringInfo(&sql, ", s.%s DESC NULLS LAST", target->version->quoted);
	}
	else
		appendStringInfoString(&sql, "s USING OPERATOR(pg_catalog.*<)");
	return sql.data;
}

/* Looks up how keys and versions are compared. */
static void
set_comparisons(IdemCollapse *collapse)
{
	const IdemTarget *target = collapse->target;
	TypeCacheEntry *type;
	int i;

	collapse->nkeys = target->nkeys;
	collapse->keys = palloc(Max(target->nkeys, 1) * sizeof(int));
	collapse->equals = palloc0(Max(target->nkeys, 1) * sizeof(FmgrInfo));
	for (i = 0; i < target->nkeys; i++)
	{
		collapse->keys[i] = idem_column_index(collapse->desc, target->keys[i]->name);
		type = lookup_type_cache(target->keys[i]->type, TYPECACHE_EQ_OPR_FINFO);
		fmgr_info_copy(&collapse->equals[i], &type->eq_opr_finfo, CurrentMemoryContext);
	}
	collapse->version = -1;
	if (target->version)
	{
		collapse->version = idem_column_index(collapse->desc, target->version->name);
		type = lookup_type_cache(target->version->type, TYPECACHE_CMP_PROC_FINFO);
		fmgr_info_copy(&collapse->compare, &type->cmp_proc_finfo, CurrentMemoryContext);
	}
}

IdemCollapse *
idem_make_collapse(const IdemTarget *target, TupleDesc desc)
{
	IdemCollapse *collapse = palloc0(sizeof(IdemCollapse));

	collapse->context = CurrentMemoryContext;
	collapse->target = target;
	collapse->desc = desc;
	collapse->count = idem_make_statement(count_sql(target), 0, NULL, IDEM_SNAPSHOT_NEW);
	set_comparisons(collapse);
	return collapse;
}

/* Receives the sorted rows and passes on the first of each run. */
typedef struct CollapseReceiver
{
	DestReceiver pub;
	IdemCollapse *collapse;
	IdemRows *rows;		  /* what stays */
	TupleTableSlot *kept; /* the last row that stayed */
} CollapseReceiver;

static void
startup_receiver(DestReceiver *self, int operation, TupleDesc desc)
{
	CollapseReceiver *receiver = (CollapseReceiver *) self;

	receiver->kept = MakeSingleTupleTableSlot(receiver->collapse->desc, &TTSOpsHeapTuple);
}

/* True if two rows have one key; never, if there are no keys. */
static bool
same_key(IdemCollapse *collapse, TupleTableSlot *a, TupleTableSlot *b)
{
	int i;

	for (i = 0; i < collapse->nkeys; i++)
	{
		int k = collapse->keys[i];

		if (a->tts_isnull[k] != b->tts_isnull[k])
			return false;
		if (!a->tts_isnull[k] &&
			!DatumGetBool(FunctionCall2Coll(&collapse->equals[i],
											TupleDescAttr(collapse->desc, k)->attcollation,
											a->tts_values[k], b->tts_values[k])))
			return false;
	}
	return collapse->nkeys > 0;
}

/* True if two rows are the same, image by image. */
static bool
same_image(IdemCollapse *collapse, TupleTableSlot *a, TupleTableSlot *b)
{
	int i;

	for (i = 0; i < collapse->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(collapse->desc, i);

		if (a->tts_isnull[i] != b->tts_isnull[i])
			return false;
		if (!a->tts_isnull[i] &&
			!datum_image_eq(a->tts_values[i], b->tts_values[i], att->attbyval, att->attlen))
			return false;
	}
	return true;
}

/* True if kept, which sorts first, is of a higher version than row. */
static bool
is_newer(IdemCollapse *collapse, TupleTableSlot *kept, TupleTableSlot *row)
{
	int v = collapse->version;

	if (v < 0 || kept->tts_isnull[v])
		return false;
	return row->tts_isnull[v] ||
		   DatumGetInt32(FunctionCall2Coll(&collapse->compare,
										   TupleDescAttr(collapse->desc, v)->attcollation,
										   kept->tts_values[v], row->tts_values[v])) > 0;
}

/* Fails for two rows of one key that differ. */
static void
report_conflict(const IdemTarget *target, TupleTableSlot *row)
{
	ereport(ERROR,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("source has different rows for key %s", idem_describe_row(target, row)),
			 target->version ? errdetail("They have the same version in column \"%s\".", target->version->name) : errdetail("Which of them to load is not known."),
			 target->version ? errhint("Make the source return one row for a key.") : errhint("Make the source return one row for a key, or name a version_column: the highest version is loaded.")));
}

/* Takes one row. */
static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	CollapseReceiver *receiver = (CollapseReceiver *) self;
	IdemCollapse *collapse = receiver->collapse;
	TupleTableSlot *kept = receiver->kept;

	slot_getallattrs(slot);
	if (!TTS_EMPTY(kept))
	{
		slot_getallattrs(kept);
		if (same_image(collapse, kept, slot))
			return true;
		if (same_key(collapse, kept, slot))
		{
			if (!is_newer(collapse, kept, slot))
				report_conflict(collapse->target, slot);
			return true;
		}
	}
	ExecCopySlot(kept, slot);
	tuplestore_puttupleslot(receiver->rows->store, slot);
	receiver->rows->count++;
	return true;
}

static void
shutdown_receiver(DestReceiver *self)
{
	ExecDropSingleTupleTableSlot(((CollapseReceiver *) self)->kept);
}

/* The receiver is on its user's stack. */
static void
destroy_receiver(DestReceiver *self)
{
}

/* Counts the distinct keys of the rows that are shown. */
static int64
count_keys(IdemCollapse *collapse)
{
	Datum count;
	bool isnull;

	(void) idem_fetch(collapse->count, NULL, NULL, 1, &count, &isnull);
	return DatumGetInt64(count);
}

/* Returns the query that sorts, made at its first use: its rows must be shown. */
static IdemQuery *
get_sorted(IdemCollapse *collapse)
{
	if (collapse->sorted == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(collapse->context);

		collapse->sorted = idem_make_query("source", sorted_sql(collapse->target), INT8OID);
		MemoryContextSwitchTo(old);
	}
	return collapse->sorted;
}

int64
idem_collapse_rows(IdemCollapse *collapse, IdemRows *rows)
{
	IdemRows kept;
	int64 removed;
	CollapseReceiver receiver = {
		.pub = {receive_row, startup_receiver, shutdown_receiver, destroy_receiver, DestNone},
		.collapse = collapse,
		.rows = &kept,
	};

	if (count_keys(collapse) == rows->count)
		return 0;
	kept = idem_make_rows(rows->desc);
	idem_run_query(get_sorted(collapse), 0, 0, &receiver.pub, 0);
	removed = rows->count - kept.count;
	idem_hide_rows();
	idem_free_rows(rows);
	*rows = kept;
	idem_show_rows(rows);
	return removed;
}
