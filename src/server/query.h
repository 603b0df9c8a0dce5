/*
 * query.h
 *		Queries that a user wrote: source, audit and watermark.
 *
 * They are parsed under the search_path that is current when they are first used,
 * prepared once, run many times, and prepared anew from their text when the server has
 * invalidated the plan.  Plans live as long as the memory context that was current when
 * the query was made.  Everything here must be called between idem_connect and
 * idem_finish.
 */
#ifndef IDEM_SERVER_QUERY_H
#define IDEM_SERVER_QUERY_H

#include "nodes/parsenodes.h"
#include "tcop/dest.h"
#include "utils/snapshot.h"

typedef struct IdemQuery IdemQuery;

/*
 * Makes a query of the user's text with two parameters of type bound, $1 and $2.
 * what ("source" or "audit") names it in messages.  Anything but one SELECT that
 * writes nothing raises 42601 or 0A000.  Literals of unknown type keep it, so that
 * they can take the type of the column they are assigned to.
 */
extern IdemQuery *idem_make_query(const char *what, const char *text, Oid bound);

/*
 * The query after parse analysis, and the descriptor of its rows, whose names are the
 * query's: the descriptor that a receiver gets has those of the plan's top node.  Both
 * are the server's, and are gone when the query is prepared anew: copy what is kept.
 */
extern Query *idem_query_tree(IdemQuery *query);
extern TupleDesc idem_query_desc(IdemQuery *query);

/*
 * The same descriptor while the query runs, for its receiver: that of the plan that runs,
 * which another session's ALTER may have made anew just before.
 */
extern TupleDesc idem_running_desc(const IdemQuery *query);

/* True if it calls a function that is volatile. */
extern bool idem_is_volatile_query(IdemQuery *query);

/* The relations that a query depends on, views included; a list of OIDs. */
extern List *idem_query_relations(IdemQuery *query);

/*
 * Runs a query into receiver, since a snapshot (idem_enter_snapshot) or under a new one;
 * limit 0 means all rows.
 */
extern void idem_run_query(IdemQuery *query, Datum lower, Datum upper, Snapshot since,
						   DestReceiver *receiver, uint64 limit);

/* The start, and the end, of a receiver that lives on its user's stack: they do nothing. */
extern void idem_start_receiver(DestReceiver *self, int operation, TupleDesc desc);
extern void idem_keep_receiver(DestReceiver *self);

#endif /* IDEM_SERVER_QUERY_H */
