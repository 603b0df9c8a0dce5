/*
 * multiset.c
 *		Two multisets of rows compared by a hash of each row.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "server/compat.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"
#include "utils/uuid.h"
#include "watch/multiset.h"

/* A hash of which one side has more, and how many more it still has to be found. */
typedef struct Only
{
	IdemDigest hash;
	int64 count[IDEM_SIDES];
} Only;

struct IdemMultiset
{
	MemoryContext context; /* of all this */
	Tuplesortstate *sorts[IDEM_SIDES];
	HTAB *only;
};

/* A hash is sorted as what has as many bytes. */
StaticAssertDecl(sizeof(IdemDigest) == UUID_LEN, "a hash of a row is as long as a uuid");

IdemMultiset *
idem_begin_multiset(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "idem multiset", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	IdemMultiset *multiset = palloc0(sizeof(IdemMultiset));
	Oid less = lookup_type_cache(UUIDOID, TYPECACHE_LT_OPR)->lt_opr;
	int side;

	multiset->context = context;
	for (side = 0; side < IDEM_SIDES; side++)
		multiset->sorts[side] = tuplesort_begin_datum(UUIDOID, less, InvalidOid, false, Max(64, work_mem / 2),
													  NULL, TUPLESORT_NONE);
	MemoryContextSwitchTo(old);
	return multiset;
}

void
idem_add_row(IdemMultiset *multiset, int side, const IdemDigest *hash)
{
	tuplesort_putdatum(multiset->sorts[side], PointerGetDatum(hash), false);
}

/* One side, read in order. */
typedef struct Reading
{
	Tuplesortstate *sort;
	bool found;
	IdemDigest hash;
} Reading;

/* Reads the next hash. */
static void
read_next(Reading *reading)
{
	Datum value;
	bool isnull;

	reading->found = idem_get_sorted(reading->sort, &value, &isnull);
	if (!reading->found)
		return;
	memcpy(&reading->hash, DatumGetPointer(value), sizeof(IdemDigest));
	pfree(DatumGetPointer(value));
}

/* Which of the two comes first; negative: the source's, 0: they are the same. */
static int
compare_readings(const Reading *readings)
{
	if (!readings[IDEM_SOURCE].found || !readings[IDEM_TARGET].found)
		return readings[IDEM_SOURCE].found ? -1 : 1;
	return memcmp(&readings[IDEM_SOURCE].hash, &readings[IDEM_TARGET].hash, sizeof(IdemDigest));
}

/* Remembers a hash that a side has once more. */
static void
remember_only(IdemMultiset *multiset, int side, const IdemDigest *hash)
{
	bool found;
	Only *only = hash_search(multiset->only, hash, HASH_ENTER, &found);

	if (!found)
		memset(only->count, 0, sizeof(only->count));
	only->count[side]++;
}

void
idem_compare_multiset(IdemMultiset *multiset, int64 max, int64 *only)
{
	HASHCTL control = {.keysize = sizeof(IdemDigest), .entrysize = sizeof(Only), .hcxt = multiset->context};
	Reading readings[IDEM_SIDES];
	int side;

	multiset->only = hash_create("idem multiset", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (side = 0; side < IDEM_SIDES; side++)
	{
		only[side] = 0;
		tuplesort_performsort(multiset->sorts[side]);
		readings[side].sort = multiset->sorts[side];
		read_next(&readings[side]);
	}
	while (readings[IDEM_SOURCE].found || readings[IDEM_TARGET].found)
	{
		int order = compare_readings(readings);

		CHECK_FOR_INTERRUPTS();
		side = order < 0 ? IDEM_SOURCE : IDEM_TARGET;
		if (order != 0 && only[side]++ < max)
			remember_only(multiset, side, &readings[side].hash);
		if (order <= 0)
			read_next(&readings[IDEM_SOURCE]);
		if (order >= 0)
			read_next(&readings[IDEM_TARGET]);
	}
}

bool
idem_take_only(IdemMultiset *multiset, int side, const IdemDigest *hash)
{
	Only *only = hash_search(multiset->only, hash, HASH_FIND, NULL);

	if (only == NULL || only->count[side] == 0)
		return false;
	only->count[side]--;
	return true;
}

void
idem_end_multiset(IdemMultiset *multiset)
{
	int side;

	for (side = 0; side < IDEM_SIDES; side++)
		tuplesort_end(multiset->sorts[side]);
	MemoryContextDelete(multiset->context);
}
