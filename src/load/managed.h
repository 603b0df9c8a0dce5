/*
 * managed.h
 *		Tables that another extension keeps: hypertables of TimescaleDB, tables of Citus.
 *
 * Where the extension is not installed, each of these costs a look into a cache.
 */
#ifndef IDEM_LOAD_MANAGED_H
#define IDEM_LOAD_MANAGED_H

#include "utils/relcache.h"

/* True for a hypertable, whose children are its chunks. */
extern bool idem_is_hypertable(Relation rel);

/*
 * A column by which a hypertable is cut into chunks and that is none of the keys, a
 * text[]; NULL if there is none.
 */
extern const char *idem_missing_dimension(Relation rel, Datum keys);

/* True for the function of a trigger that TimescaleDB itself puts on a table. */
extern bool idem_is_timescale_function(Oid function);

/*
 * Raises 0A000 for a table that Citus distributes or knows, and for one of TimescaleDB's
 * own: a chunk, or what is behind a continuous aggregate.
 */
extern void idem_check_unmanaged(Relation rel);

#endif /* IDEM_LOAD_MANAGED_H */
