/*
 * collapse.c
 *		One row per key: what to do with duplicates in the source.
 *
 * Without keys nothing says that equal rows are one, and they stay.
 *
 * Sources rarely hold duplicates, so the hashes of the keys are watched first: if
 * none is there twice, no key is.  If there are too many to keep, the distinct keys
 * are counted.  Only if there may be duplicates are the rows sorted by key and
 * version and every run of one key is looked at: content is compared image by
 * image, because which of two merely equal rows (1.0 and 1.00) is loaded must not
 * be left to chance.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "executor/executor.h"
#include "load/collapse.h"
#include "miscadmin.h"
#include "server/query.h"
#include "server/statement.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

/* A hash that has been seen; the hash is its own key. */
typedef struct SeenHash
{
	uint64 hash;
	char status;
} SeenHash;

#define SH_PREFIX seen
#define SH_ELEMENT_TYPE SeenHash
#define SH_KEY_TYPE uint64
#define SH_KEY hash
#define SH_HASH_KEY(tb, key) ((uint32) (key))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* What watching has found. */
typedef enum Watch
{
	WATCH_NONE,		/* nothing: not watched, or too many rows */
	WATCH_DISTINCT, /* no hash twice */
	WATCH_REPEATED, /* a hash twice */
} Watch;

struct IdemCollapse
{
	MemoryContext context; /* where all of this lives */
	const IdemTarget *target;
	TupleDesc desc;
	IdemStatement *count; /* distinct keys */
	IdemStatement *sorted;
	int nkeys;
	int *keys;		  /* indexes in desc */
	FmgrInfo *equals; /* of each key */
	int version;	  /* index in desc, or -1 */
	FmgrInfo compare; /* of versions */
	bool hashable;	  /* every key has a hash function */
	FmgrInfo *hashes; /* of each key */
	Watch watch;
	struct seen_hash *seen; /* NULL unless WATCH_DISTINCT */
	uint64 max_seen;		/* as many as memory allows */
};

/* Builds: SELECT count(*) FROM (SELECT FROM idem_source s GROUP BY s.k, …) k */
static char *
count_sql(const IdemTarget *target)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT pg_catalog.count(*) FROM (SELECT FROM %s s GROUP BY ",
					 IDEM_ROWS);
	idem_append_keys(&sql, target, "s.");
	appendStringInfoString(&sql, ") k");
	return sql.data;
}

/* Builds: SELECT s.* FROM idem_source s ORDER BY s.k, …, s.version DESC NULLS LAST */
static char *
sorted_sql(const IdemTarget *target)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT s.* FROM %s s ORDER BY ", IDEM_ROWS);
	idem_append_keys(&sql, target, "s.");
	if (target->version)
		appendStringInfo(&sql, ", s.%s DESC NULLS LAST", target->version->quoted);
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
	collapse->hashes = palloc0(Max(target->nkeys, 1) * sizeof(FmgrInfo));
	collapse->hashable = true;
	for (i = 0; i < target->nkeys; i++)
	{
		collapse->keys[i] = idem_column_index(collapse->desc, target->keys[i]->name);
		type = lookup_type_cache(target->keys[i]->type,
								 TYPECACHE_EQ_OPR_FINFO | TYPECACHE_HASH_EXTENDED_PROC_FINFO);
		fmgr_info_copy(&collapse->equals[i], &type->eq_opr_finfo, CurrentMemoryContext);
		if (OidIsValid(type->hash_extended_proc))
			fmgr_info_copy(&collapse->hashes[i], &type->hash_extended_proc_finfo,
						   CurrentMemoryContext);
		else
			collapse->hashable = false;
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
	if (target->nkeys == 0)
		return collapse;
	collapse->count = idem_make_statement(count_sql(target), 0, NULL, IDEM_SNAPSHOT_NEW);
	collapse->sorted = idem_make_statement(sorted_sql(target), 0, NULL, IDEM_SNAPSHOT_NEW);
	set_comparisons(collapse);
	return collapse;
}

void
idem_end_watch(IdemCollapse *collapse)
{
	if (collapse->seen)
		seen_destroy(collapse->seen);
	collapse->seen = NULL;
	collapse->watch = WATCH_NONE;
}

void
idem_begin_watch(IdemCollapse *collapse)
{
	idem_end_watch(collapse);
	if (!collapse->hashable)
		return;
	collapse->seen = seen_create(collapse->context, 256, NULL);
	collapse->watch = WATCH_DISTINCT;

	/* the table doubles when it is nine tenths full, and both halves are there then */
	collapse->max_seen = get_hash_memory_limit() / sizeof(SeenHash) / 3;
}

/* The hash of a row's keys: the same for keys that are equal. */
static uint64
hash_keys(const IdemCollapse *collapse, const TupleTableSlot *slot)
{
	uint64 hash = 0;
	int i;

	for (i = 0; i < collapse->nkeys; i++)
	{
		int k = collapse->keys[i];
		uint64 one = 0;

		if (!slot->tts_isnull[k])
			one = DatumGetUInt64(FunctionCall2Coll(&collapse->hashes[i],
												   TupleDescAttr(collapse->desc, k)->attcollation,
												   slot->tts_values[k], Int64GetDatum(1)));
		hash = hash_combine64(hash, one);
	}
	return hash;
}

void
idem_watch_row(IdemCollapse *collapse, TupleTableSlot *slot)
{
	Watch found = WATCH_DISTINCT;
	bool repeated;

	if (collapse->seen == NULL)
		return;
	(void) seen_insert(collapse->seen, hash_keys(collapse, slot), &repeated);
	if (repeated)
		found = WATCH_REPEATED;
	else if (collapse->seen->members > collapse->max_seen)
		found = WATCH_NONE;
	if (found != WATCH_DISTINCT)
	{
		idem_end_watch(collapse);
		collapse->watch = found;
	}
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

/* True if two rows have one key. */
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
	return true;
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
report_conflict(const IdemCollapse *collapse, TupleTableSlot *row)
{
	const IdemTarget *target = collapse->target;

	ereport(ERROR,
			(errcode(ERRCODE_CARDINALITY_VIOLATION),
			 errmsg("source has different rows for key %s",
					idem_describe_row(target, collapse->desc, row)),
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
				report_conflict(collapse, slot);
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

/* True if no two rows, which are shown, have one key. */
static bool
is_distinct(IdemCollapse *collapse, int64 rows)
{
	Datum count;
	bool isnull;

	if (collapse->watch != WATCH_NONE)
		return collapse->watch == WATCH_DISTINCT;
	idem_fit_statement(collapse->count, rows, 0);
	(void) idem_fetch(collapse->count, NULL, NULL, 1, &count, &isnull);
	return DatumGetInt64(count) == rows;
}

int64
idem_collapse_rows(IdemCollapse *collapse, IdemRows *rows)
{
	IdemRows kept;
	int64 removed;
	bool distinct;
	CollapseReceiver receiver = {
		.pub = {receive_row, startup_receiver, shutdown_receiver, idem_keep_receiver, DestNone},
		.collapse = collapse,
		.rows = &kept,
	};

	idem_show_rows(rows);
	distinct = is_distinct(collapse, rows->count);
	idem_end_watch(collapse);
	if (!distinct)
	{
		kept = idem_make_rows(rows->desc);
		idem_fit_statement(collapse->sorted, rows->count, 0);
		idem_run_into(collapse->sorted, NULL, &receiver.pub);
	}
	idem_hide_rows();
	if (distinct)
		return 0;
	removed = rows->count - kept.count;
	idem_free_rows(rows);
	*rows = kept;
	return removed;
}
