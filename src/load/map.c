/*
 * map.c
 *		Which rows of a window are the same in source and target, by their hashes.
 *
 * The rows of both are listed in the order in which they come, which costs no cache miss,
 * and mostly is the same: two lists in one order are joined as they are read, over gaps of
 * some rows.  What is left over, of rows in other orders or that have moved, is joined by
 * a table over the source's.
 *
 * Rows of the target lie in a unique index, and those of the source have been found
 * distinct.  Two keys of one hash may be joined wrongly, which who looks at the rows sees:
 * a row that is called the same is the same.
 */
#include "postgres.h"

#include "load/map.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Over gaps of how many rows two lists are joined as they are read. */
#define MAX_GAP 16

/* Bytes for a row of the source in the table of what is left over, when it is fullest. */
#define SLOT_SIZE (sizeof(uint32) * 3 / 2)

/* What is known of a row: at first its hash, then where the target's is. */
typedef struct Mapped
{
	uint64 key;
	union
	{
		IdemDigest hash;
		ItemPointerData place;
	} row;
} Mapped;

/* The rows of one side. */
typedef struct Side
{
	Mapped *rows;
	int64 count;
	int64 room;
} Side;

struct IdemMap
{
	MemoryContext context;
	Side source;
	Side target;
	uint8 *fates;			 /* of the source's rows */
	ItemPointerData *places; /* of the target's rows; invalid where one has been found for it */
	int64 places_room;
	int64 count[IDEM_FATES];
	int64 gone;
	bool overflown;
};

IdemMap *
idem_make_map(void)
{
	IdemMap *map = palloc0(sizeof(IdemMap));

	map->context = AllocSetContextCreate(CurrentMemoryContext, "idem map", ALLOCSET_DEFAULT_SIZES);
	return map;
}

void
idem_free_map(IdemMap *map)
{
	MemoryContextDelete(map->context);
	pfree(map);
}

bool
idem_has_overflown(const IdemMap *map)
{
	return map->overflown;
}

/* True if so many more rows fit, of which the table over the source's may be needed. */
static bool
has_room(const IdemMap *map)
{
	int64 bytes = map->source.count * (sizeof(Mapped) + sizeof(uint8) + SLOT_SIZE) +
				  map->target.count * (sizeof(Mapped) + sizeof(ItemPointerData));

	return bytes < (int64) maintenance_work_mem * 1024 && map->source.count < PG_INT32_MAX;
}

/* Makes an array larger, or makes it. */
static void *
grow(IdemMap *map, void *array, int64 room, Size size)
{
	if (array)
		return repalloc_huge(array, room * size);
	return MemoryContextAllocHuge(map->context, room * size);
}

/* Adds a row to one side. */
static void
add_row(IdemMap *map, Side *side, uint64 key, const IdemDigest *row)
{
	if (side->count == side->room)
	{
		side->room = Max(1024, 2 * side->room);
		side->rows = grow(map, side->rows, side->room, sizeof(Mapped));
	}
	side->rows[side->count].key = key;
	side->rows[side->count].row.hash = *row;
	side->count++;
}

/* Keeps nothing more. */
static void
give_up(IdemMap *map)
{
	MemoryContextReset(map->context);
	map->overflown = true;
}

/* True if a row may be added; else nothing is kept. */
static bool
take_room(IdemMap *map)
{
	if (!map->overflown && !has_room(map))
		give_up(map);
	return !map->overflown;
}

void
idem_map_source(IdemMap *map, uint64 key, const IdemDigest *row)
{
	if (take_room(map))
		add_row(map, &map->source, key, row);
}

void
idem_map_target(IdemMap *map, uint64 key, const IdemDigest *row, ItemPointer place)
{
	if (!take_room(map))
		return;
	add_row(map, &map->target, key, row);
	if (map->places_room < map->target.room)
	{
		map->places_room = map->target.room;
		map->places = grow(map, map->places, map->places_room, sizeof(ItemPointerData));
	}
	map->places[map->target.count - 1] = *place;
}

/* Joins a row of the source to one of the target. */
static void
join_rows(IdemMap *map, int64 s, int64 t)
{
	Mapped *row = &map->source.rows[s];
	bool same = memcmp(&row->row.hash, &map->target.rows[t].row.hash, sizeof(IdemDigest)) == 0;

	map->fates[s] = same ? IDEM_SAME : IDEM_CHANGED;
	map->count[IDEM_MISSING]--;
	map->count[map->fates[s]]++;
	map->gone--;
	row->row.place = map->places[t];
	ItemPointerSetInvalid(&map->places[t]);
}

/* The place of a key in the next rows of a side; -1 if it is in none of them. */
static int64
find_ahead(const Side *side, int64 from, uint64 key)
{
	int64 end = Min(side->count, from + MAX_GAP);
	int64 i;

	for (i = from; i < end; i++)
	{
		if (side->rows[i].key == key)
			return i;
	}
	return -1;
}

/* Joins the two lists as they are read. */
static void
join_lists(IdemMap *map)
{
	int64 s = 0;
	int64 t = 0;

	while (s < map->source.count && t < map->target.count)
	{
		uint64 source_key = map->source.rows[s].key;
		uint64 target_key = map->target.rows[t].key;
		int64 ahead;

		if (source_key == target_key)
			join_rows(map, s++, t++);
		else if ((ahead = find_ahead(&map->target, t + 1, source_key)) >= 0)
			t = ahead;
		else if ((ahead = find_ahead(&map->source, s + 1, target_key)) >= 0)
			s = ahead;
		else
		{
			s++;
			t++;
		}
	}
}

/* A table of what is left over of the source's rows: their numbers from 1 on, 0 is none. */
typedef struct Table
{
	uint32 *slots;
	uint64 size;
	int64 steps; /* that may be taken in it */
} Table;

/* The slot of a key, where looking for it begins. */
static inline uint64
first_slot(const Table *table, uint64 key)
{
	/* of a hash that a type makes, some bits may differ less than others */
	key *= UINT64CONST(0x9e3779b97f4a7c15);
	return (key >> 32) * table->size >> 32;
}

/* The slot after another. */
static inline uint64
next_slot(Table *table, uint64 slot)
{
	table->steps--;
	return slot + 1 == table->size ? 0 : slot + 1;
}

/* Makes room for the table, and for as many steps as a good hash function is far from taking. */
static Table
make_table(const IdemMap *map)
{
	uint64 size = map->count[IDEM_MISSING] * 3 / 2 + 1;
	Table table = {.size = size, .steps = 100 * (map->count[IDEM_MISSING] + map->gone + 1000)};

	table.slots = MemoryContextAllocExtended(map->context, size * sizeof(uint32), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	return table;
}

/* Fills it. */
static void
fill_table(const IdemMap *map, Table *table)
{
	int64 s;

	for (s = idem_next_with_fate(map, IDEM_MISSING, 0); s >= 0; s = idem_next_with_fate(map, IDEM_MISSING, s + 1))
	{
		uint64 slot = first_slot(table, map->source.rows[s].key);

		while (table->slots[slot] != 0 && table->steps > 0)
			slot = next_slot(table, slot);
		if (table->steps <= 0)
			return;
		table->slots[slot] = s + 1;
	}
}

/* Joins a row of the target to the one of the source that has its key, if it is left over. */
static void
join_by_table(IdemMap *map, Table *table, int64 t)
{
	uint64 key = map->target.rows[t].key;
	uint64 slot = first_slot(table, key);

	for (; table->slots[slot] != 0 && table->steps > 0; slot = next_slot(table, slot))
	{
		int64 s = (int64) table->slots[slot] - 1;

		if (map->source.rows[s].key == key && map->fates[s] == IDEM_MISSING)
		{
			join_rows(map, s, t);
			return;
		}
	}
}

/* Joins what is left over; false if keys of one hash would make it endless. */
static bool
join_rest(IdemMap *map)
{
	Table table = make_table(map);
	int64 t;

	fill_table(map, &table);
	for (t = 0; t < map->target.count && table.steps > 0; t++)
	{
		if (ItemPointerIsValid(&map->places[t]))
			join_by_table(map, &table, t);
		if (t % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	pfree(table.slots);
	return table.steps > 0;
}

bool
idem_join_map(IdemMap *map)
{
	if (map->overflown)
		return false;
	map->fates = MemoryContextAllocExtended(map->context, Max(map->source.count, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	map->count[IDEM_MISSING] = map->source.count;
	map->gone = map->target.count;
	join_lists(map);
	if (map->count[IDEM_MISSING] > 0 && map->gone > 0 && !join_rest(map))
		give_up(map);
	return !map->overflown;
}

int64
idem_count_fate(const IdemMap *map, IdemFate fate)
{
	return map->count[fate];
}

int64
idem_count_gone(const IdemMap *map)
{
	return map->gone;
}

int64
idem_next_with_fate(const IdemMap *map, IdemFate fate, int64 from)
{
	for (; from < map->source.count; from++)
	{
		if (map->fates[from] == fate)
			return from;
	}
	return -1;
}

ItemPointer
idem_place_of(const IdemMap *map, int64 row)
{
	return &map->source.rows[row].row.place;
}

ItemPointer
idem_next_gone(const IdemMap *map, int64 *from)
{
	while (*from < map->target.count)
	{
		ItemPointer place = &map->places[(*from)++];

		if (ItemPointerIsValid(place))
			return place;
	}
	return NULL;
}
