/*
 * map.h
 *		Which rows of a window are the same in source and target, by their hashes.
 *
 * Of each row there is a hash of its key, under which equal keys are one, and a hash of
 * all of it, under the call's own key.  Rows of one hash are the same; for rows of one
 * key's hash only, whose keys may differ by chance, that is to be looked at.
 */
#ifndef IDEM_LOAD_MAP_H
#define IDEM_LOAD_MAP_H

#include "id/digest.h"
#include "storage/itemptr.h"

typedef struct IdemMap IdemMap;

/* What the target has under the key of a row of the source. */
typedef enum IdemFate
{
	IDEM_MISSING, /* nothing */
	IDEM_SAME,	  /* the row */
	IDEM_CHANGED, /* another row */
	IDEM_FATES,	  /* how many there are */
} IdemFate;

/* Makes a map, in the current memory context; it takes no more than maintenance_work_mem. */
extern IdemMap *idem_make_map(void);

/* Frees its memory. */
extern void idem_free_map(IdemMap *map);

/*
 * Add a row of the source, in their order, and of the target.  What does not fit frees all
 * of it: then it has overflown, and adding does nothing.
 */
extern void idem_map_source(IdemMap *map, uint64 key, const IdemDigest *row);
extern void idem_map_target(IdemMap *map, uint64 key, const IdemDigest *row, ItemPointer place);
extern bool idem_has_overflown(const IdemMap *map);

/* Finds the fate of each row, once, when adding has ended.  Returns false if it has overflown, or does. */
extern bool idem_join_map(IdemMap *map);

/* How many rows of the source have a fate; and how many of the target have none's key. */
extern int64 idem_count_fate(const IdemMap *map, IdemFate fate);
extern int64 idem_count_gone(const IdemMap *map);

/*
 * The number of the first row of the source from a number on that has a fate, -1 if there
 * is none; and where the row is that the target has in its place.
 */
extern int64 idem_next_with_fate(const IdemMap *map, IdemFate fate, int64 from);
extern ItemPointer idem_place_of(const IdemMap *map, int64 row);

/* Where the first row of the target from a number on is that is gone; *from becomes the next number. */
extern ItemPointer idem_next_gone(const IdemMap *map, int64 *from);

#endif /* IDEM_LOAD_MAP_H */
