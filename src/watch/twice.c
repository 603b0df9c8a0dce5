/*
 * twice.c
 *		Which of many hashes come more than once.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "server/compat.h"
#include "storage/buffile.h"
#include "utils/memutils.h"
#include "watch/twice.h"

#define ST_SORT sort_hashes
#define ST_ELEMENT_TYPE uint64
#define ST_COMPARE(a, b) ((*(a) > *(b)) - (*(a) < *(b)))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* So many parts there are; their number is that of the first bits. */
#define PART_BITS 8
#define PARTS (1 << PART_BITS)
#define PART_OF(hash) ((hash) >> (64 - PART_BITS))

/* The least room of a part, in hashes. */
#define LEAST_ROOM 64

/* The hashes with the same first bits. */
typedef struct Part
{
	uint64 *hashes; /* that are in memory */
	int n;
	int room;
	BufFile *file; /* NULL while there is none */
	int64 nfile;   /* hashes in it */
	int64 first;   /* of those that come more than once, where its own begin */
} Part;

struct IdemTwice
{
	MemoryContext context; /* of all this */
	int most;			   /* hashes of a part in memory */
	Part parts[PARTS];
	uint64 *found; /* in order */
	int64 nfound;
	int64 room;
};

IdemTwice *
idem_begin_twice(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "idem twice", ALLOCSET_DEFAULT_SIZES);
	IdemTwice *twice = MemoryContextAllocZero(context, sizeof(IdemTwice));

	twice->context = context;
	twice->most = (int) Min(Max((int64) work_mem * 1024 / PARTS / (int64) sizeof(uint64), LEAST_ROOM), MaxAllocSize / (int64) sizeof(uint64));
	return twice;
}

/* Makes room for one more: in memory, or by writing what is there to a file. */
static void
make_room(IdemTwice *twice, Part *part)
{
	MemoryContext old = MemoryContextSwitchTo(twice->context);

	if (part->room < twice->most)
	{
		part->room = Min(Max(part->room * 2, LEAST_ROOM), twice->most);
		part->hashes = part->hashes ? repalloc(part->hashes, part->room * sizeof(uint64)) : palloc(part->room * sizeof(uint64));
	}
	else
	{
		if (part->file == NULL)
			part->file = BufFileCreateTemp(false);
		BufFileWrite(part->file, part->hashes, part->n * sizeof(uint64));
		part->nfile += part->n;
		part->n = 0;
	}
	MemoryContextSwitchTo(old);
}

void
idem_add_hash(IdemTwice *twice, uint64 hash)
{
	Part *part = &twice->parts[PART_OF(hash)];

	if (part->n == part->room)
		make_room(twice, part);
	part->hashes[part->n++] = hash;
}

/* Reads the hashes of a part back that are in its file, behind those in memory. */
static uint64 *
read_back(Part *part)
{
	uint64 *hashes = part->hashes;
	size_t size = part->nfile * sizeof(uint64);

	if (part->file == NULL)
		return hashes;
	hashes = repalloc_huge(hashes, (part->n + part->nfile) * sizeof(uint64));
	if (BufFileSeek(part->file, 0, 0, SEEK_SET) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not rewind temporary file of hashes")));
	idem_read_buffile(part->file, hashes + part->n, size);
	BufFileClose(part->file);
	part->file = NULL;
	return hashes;
}

/* Remembers one that comes more than once; false if there are too many. */
static bool
remember(IdemTwice *twice, uint64 hash)
{
	if (twice->nfound == twice->room)
	{
		if (twice->room * (int64) sizeof(uint64) >= (int64) work_mem * 1024)
			return false;
		twice->room = Max(twice->room * 2, LEAST_ROOM);
		twice->found = twice->found ? repalloc_huge(twice->found, twice->room * sizeof(uint64))
									: MemoryContextAllocHuge(twice->context, twice->room * sizeof(uint64));
	}
	twice->found[twice->nfound++] = hash;
	return true;
}

/* Finds those of a part; false if there are too many. */
static bool
find_of_part(IdemTwice *twice, Part *part)
{
	int64 n = part->n + part->nfile;
	int64 i;

	part->first = twice->nfound;
	if (n == 0)
		return true;
	part->hashes = read_back(part);
	sort_hashes(part->hashes, n);
	for (i = 1; i < n; i++)
	{
		if (part->hashes[i] == part->hashes[i - 1] && (i == 1 || part->hashes[i] != part->hashes[i - 2]) &&
			!remember(twice, part->hashes[i]))
			return false;
	}
	pfree(part->hashes);
	part->hashes = NULL;
	return true;
}

int64
idem_find_twice(IdemTwice *twice)
{
	int i;

	for (i = 0; i < PARTS; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!find_of_part(twice, &twice->parts[i]))
			return -1;
	}
	return twice->nfound;
}

bool
idem_comes_twice(const IdemTwice *twice, uint64 hash)
{
	int part = PART_OF(hash);
	int64 low = twice->parts[part].first;
	int64 high = part + 1 < PARTS ? twice->parts[part + 1].first : twice->nfound;

	while (low < high)
	{
		int64 middle = low + (high - low) / 2;

		if (twice->found[middle] == hash)
			return true;
		if (twice->found[middle] < hash)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* Files that are left are closed with it. */
void
idem_end_twice(IdemTwice *twice)
{
	int i;

	for (i = 0; i < PARTS; i++)
	{
		if (twice->parts[i].file)
			BufFileClose(twice->parts[i].file);
	}
	MemoryContextDelete(twice->context);
}
