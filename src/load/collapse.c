/*
 * collapse.c
 *		One row per key: what to do with duplicates in the source.
 *
 * Without keys nothing says that equal rows are one, and they stay.
 *
 * Sources rarely hold duplicates, so the keys are watched first.  While each is greater
 * than the one before, or each less, none is there twice, and one comparison a row says
 * so.  When that order breaks, the hashes of the keys are kept: if none is there twice,
 * no key is.  If there are too many to keep, the distinct keys are counted.  Only if
 * there may be duplicates are the rows sorted by key and version and every run of one
 * key is looked at: content is compared image by image, because which of two merely
 * equal rows (1.0 and 1.00) is loaded must not be left to chance.
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
	WATCH_ORDERED,	/* each key after the one before */
	WATCH_DISTINCT, /* no hash twice, of the rows since they were in order */
	WATCH_REPEATED, /* a key, or a hash, twice */
} Watch;

/* A key of the last row, in room of our own unless it is passed by value. */
typedef struct LastKey
{
	Datum value;
	bool isnull;
	char *room;
	Size size; /* of the room */
} LastKey;

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
	FmgrInfo *orders; /* of each key */
	LastKey *last;
	Watch watch;
	int64 ordered;			/* rows that were in order; they are not among those seen */
	int direction;			/* of the order: 1 or -1, or 0 until there are two */
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
	collapse->orders = palloc0(Max(target->nkeys, 1) * sizeof(FmgrInfo));
	collapse->last = palloc0(Max(target->nkeys, 1) * sizeof(LastKey));
	collapse->hashable = true;
	for (i = 0; i < target->nkeys; i++)
	{
		collapse->keys[i] = idem_column_index(collapse->desc, target->keys[i]->name);
		type = lookup_type_cache(target->keys[i]->type,
								 TYPECACHE_EQ_OPR_FINFO | TYPECACHE_CMP_PROC_FINFO | TYPECACHE_HASH_EXTENDED_PROC_FINFO);
		fmgr_info_copy(&collapse->equals[i], &type->eq_opr_finfo, CurrentMemoryContext);
		fmgr_info_copy(&collapse->orders[i], &type->cmp_proc_finfo, CurrentMemoryContext);
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
	if (collapse->nkeys == 0)
		return;
	collapse->watch = WATCH_ORDERED;
	collapse->ordered = 0;
	collapse->direction = 0;

	/* the table doubles when it is nine tenths full, and both halves are there then */
	collapse->max_seen = get_hash_memory_limit() / sizeof(SeenHash) / 3;
}

bool
idem_can_hash_rows(const IdemCollapse *collapse)
{
	return collapse->nkeys > 0 && collapse->hashable;
}

uint64
idem_hash_row_keys(const IdemCollapse *collapse, const TupleTableSlot *slot)
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

/* Watching ends with a result. */
static void
conclude(IdemCollapse *collapse, Watch found)
{
	idem_end_watch(collapse);
	collapse->watch = found;
}

/* Adds the hash of a row's keys to those seen, unless the result is there. */
static void
see_row(IdemCollapse *collapse, const TupleTableSlot *slot)
{
	bool repeated;

	if (collapse->seen == NULL)
		return;
	(void) seen_insert(collapse->seen, idem_hash_row_keys(collapse, slot), &repeated);
	if (repeated)
		conclude(collapse, WATCH_REPEATED);
	else if (collapse->seen->members > collapse->max_seen)
		conclude(collapse, WATCH_NONE);
}

/* Compares a row's keys with the last row's; NULL is greater than any value. */
static int
compare_to_last(const IdemCollapse *collapse, const TupleTableSlot *slot)
{
	int i;

	for (i = 0; i < collapse->nkeys; i++)
	{
		const LastKey *last = &collapse->last[i];
		int k = collapse->keys[i];
		int result;

		if (slot->tts_isnull[k] || last->isnull)
			result = slot->tts_isnull[k] - last->isnull;
		else
			result = DatumGetInt32(FunctionCall2Coll(&collapse->orders[i],
													 TupleDescAttr(collapse->desc, k)->attcollation,
													 slot->tts_values[k], last->value));
		if (result != 0)
			return result > 0 ? 1 : -1;
	}
	return 0;
}

/* Copies a value that is passed by reference to the room of a key. */
static void
keep_value(const IdemCollapse *collapse, LastKey *last, Datum value, int16 len)
{
	Size size;

	if (len == -1)
		value = PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
	size = datumGetSize(value, false, len);
	if (size > last->size)
	{
		last->room = last->room ? repalloc(last->room, 2 * size) : MemoryContextAlloc(collapse->context, 2 * size);
		last->size = 2 * size;
	}
	memcpy(last->room, DatumGetPointer(value), size);
	last->value = PointerGetDatum(last->room);
}

/* Remembers a row's keys. */
static void
keep_keys(IdemCollapse *collapse, const TupleTableSlot *slot)
{
	int i;

	for (i = 0; i < collapse->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(collapse->desc, collapse->keys[i]);
		LastKey *last = &collapse->last[i];

		last->isnull = slot->tts_isnull[collapse->keys[i]];
		if (last->isnull)
			continue;
		if (att->attbyval)
			last->value = slot->tts_values[collapse->keys[i]];
		else
			keep_value(collapse, last, slot->tts_values[collapse->keys[i]], att->attlen);
	}
}

/* True if a row goes on in the order of those before. */
static bool
goes_on(IdemCollapse *collapse, const TupleTableSlot *slot)
{
	int direction;

	if (collapse->ordered == 0)
		return true;
	direction = compare_to_last(collapse, slot);
	if (collapse->ordered == 1)
		collapse->direction = direction;
	return direction != 0 && direction == collapse->direction;
}

void
idem_watch_row(IdemCollapse *collapse, TupleTableSlot *slot)
{
	if (collapse->watch == WATCH_ORDERED && goes_on(collapse, slot))
	{
		keep_keys(collapse, slot);
		collapse->ordered++;
		return;
	}
	if (collapse->watch == WATCH_ORDERED)
	{
		conclude(collapse, collapse->hashable ? WATCH_DISTINCT : WATCH_NONE);
		if (collapse->hashable)
			collapse->seen = seen_create(collapse->context, 256, NULL);
	}
	see_row(collapse, slot);
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

bool
idem_same_row_keys(const IdemCollapse *collapse, const TupleTableSlot *a, const TupleTableSlot *b)
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

bool
idem_is_newer_row(const IdemCollapse *collapse, const TupleTableSlot *kept, const TupleTableSlot *row)
{
	int v = collapse->version;

	if (v < 0 || kept->tts_isnull[v])
		return false;
	return row->tts_isnull[v] ||
		   DatumGetInt32(FunctionCall2Coll(unconstify(FmgrInfo *, &collapse->compare),
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
		if (idem_same_row_keys(collapse, kept, slot))
		{
			if (!idem_is_newer_row(collapse, kept, slot))
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

/* Adds the rows that came in order to those seen since. */
static void
see_ordered(IdemCollapse *collapse, const IdemRows *rows)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(rows->desc, &TTSOpsMinimalTuple);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "idem ordered row", ALLOCSET_SMALL_SIZES);
	int64 i;

	/* a slot frees its tuple itself, which must not be in the context that is reset */
	tuplestore_rescan(rows->store);
	for (i = 0; i < collapse->ordered && collapse->seen; i++)
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		(void) tuplestore_gettupleslot(rows->store, true, false, slot);
		old = MemoryContextSwitchTo(context);
		slot_getallattrs(slot);
		see_row(collapse, slot);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	ExecDropSingleTupleTableSlot(slot);
}

/* True if no two rows, which are shown, have one key. */
static bool
is_distinct(IdemCollapse *collapse, const IdemRows *rows)
{
	Datum count;
	bool isnull;

	see_ordered(collapse, rows);
	if (collapse->watch != WATCH_NONE)
		return collapse->watch != WATCH_REPEATED;
	idem_fit_statement(collapse->count, rows->count, 0);
	(void) idem_fetch(collapse->count, NULL, NULL, 1, &count, &isnull);
	return DatumGetInt64(count) == rows->count;
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
	distinct = is_distinct(collapse, rows);
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

/* Receives the sorted rows and passes on those that are in conflict. */
typedef struct ConflictReceiver
{
	DestReceiver pub;
	IdemCollapse *collapse;
	TupleTableSlot *first; /* of a key */
	bool conflicted;	   /* another of it differs */
	void (*found)(void *arg, TupleTableSlot *slot);
	void *arg;
} ConflictReceiver;

static void
startup_conflicts(DestReceiver *self, int operation, TupleDesc desc)
{
	ConflictReceiver *receiver = (ConflictReceiver *) self;

	receiver->first = MakeSingleTupleTableSlot(receiver->collapse->desc, &TTSOpsHeapTuple);
}

static bool
receive_conflict(TupleTableSlot *slot, DestReceiver *self)
{
	ConflictReceiver *receiver = (ConflictReceiver *) self;
	IdemCollapse *collapse = receiver->collapse;
	TupleTableSlot *first = receiver->first;

	slot_getallattrs(slot);
	if (!TTS_EMPTY(first))
		slot_getallattrs(first);
	if (TTS_EMPTY(first) || !idem_same_row_keys(collapse, first, slot))
	{
		ExecCopySlot(first, slot);
		receiver->conflicted = false;
		return true;
	}
	if (same_image(collapse, first, slot) || (!receiver->conflicted && idem_is_newer_row(collapse, first, slot)))
		return true;
	if (!receiver->conflicted)
		receiver->found(receiver->arg, first);
	receiver->conflicted = true;
	receiver->found(receiver->arg, slot);
	return true;
}

static void
shutdown_conflicts(DestReceiver *self)
{
	ExecDropSingleTupleTableSlot(((ConflictReceiver *) self)->first);
}

void
idem_find_conflicts(IdemCollapse *collapse, const IdemRows *rows, void (*found)(void *arg, TupleTableSlot *slot),
					void *arg)
{
	ConflictReceiver receiver = {
		.pub = {receive_conflict, startup_conflicts, shutdown_conflicts, idem_keep_receiver, DestNone},
		.collapse = collapse,
		.found = found,
		.arg = arg,
	};

	idem_end_watch(collapse);
	idem_show_rows(rows);
	idem_fit_statement(collapse->sorted, rows->count, 0);
	idem_run_into(collapse->sorted, NULL, &receiver.pub);
	idem_hide_rows();
}
