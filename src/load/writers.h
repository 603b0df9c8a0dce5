/*
 * writers.h
 *		Waits until nobody who began earlier can still commit rows into a window.
 */
#ifndef IDEM_LOAD_WRITERS_H
#define IDEM_LOAD_WRITERS_H

#include "nodes/pg_list.h"

/*
 * Waits for every transaction that holds a lock on one of the relations with
 * which it could have written, or on a partition or child of one.  Whoever starts
 * to write later is not waited for.  Raises 40P01 where two would wait for each
 * other, and obeys cancel.
 */
extern void idem_wait_for_source_writers(List *relations);

/* True if there is a transaction for which that would wait. */
extern bool idem_has_source_writers(List *relations);

#endif /* IDEM_LOAD_WRITERS_H */
