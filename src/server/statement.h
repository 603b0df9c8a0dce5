/*
 * statement.h
 *		The only place that runs SQL: prepare, run, expect.
 *
 * Statements are idem's own SQL, with every name qualified; queries are the
 * user's, parsed under his search_path.  Both are prepared once, run many times
 * and prepared anew from their text when the server has invalidated the plan.
 * Plans live as long as the memory context that was current when they were made.
 * Everything here must be called between idem_connect and idem_finish.
 */
#ifndef IDEM_SERVER_STATEMENT_H
#define IDEM_SERVER_STATEMENT_H

#include "nodes/parsenodes.h"
#include "tcop/dest.h"
#include "utils/relcache.h"
#include "utils/tuplestore.h"

/* Enters and leaves SPI; atomic false allows idem_commit and idem_rollback. */
extern void idem_connect(bool atomic);
extern void idem_finish(void);
extern void idem_commit(void);
extern void idem_rollback(void);

/*
 * For a background worker, which has no portal to keep a snapshot while its statements
 * run: keeps one, across idem_commit and idem_rollback too, until it is dropped.
 */
extern void idem_keep_snapshot(void);
extern void idem_drop_snapshot(void);

/* A relation's name for SQL: qualified and quoted. */
extern char *idem_qualified_name(Relation rel);

/*
 * Does work in a subtransaction.  If it fails, all of it is rolled back, nested SPI
 * levels included, and the error returned, copied to context; else NULL.
 */
extern ErrorData *idem_try(void (*work)(void *arg), void *arg, MemoryContext context);

typedef struct IdemStatement IdemStatement;

#define IDEM_MAX_ARGS 32

/* Under which snapshot a statement runs. */
typedef enum IdemSnapshot
{
	IDEM_SNAPSHOT_NEW,	  /* one of its own, as any command of the session */
	IDEM_SNAPSHOT_CALLER, /* the caller's, as a STABLE function must */
	IDEM_SNAPSHOT_LATEST, /* the newest even where the transaction keeps one; reads only */
} IdemSnapshot;

/* Makes a statement of sql with parameters of the given types. */
extern IdemStatement *idem_make_statement(const char *sql, int nargs,
										  const Oid *types, IdemSnapshot snapshot);

/*
 * Has a statement planned anew if it was planned for something very different: rows
 * is how many it is given, growth by how many its table has grown since the call
 * began, which the server tells nobody before the table is analyzed.
 */
extern void idem_fit_statement(IdemStatement *statement, int64 rows, int64 growth);

/* Runs a statement and returns how many rows it returned or changed. */
extern uint64 idem_run(IdemStatement *statement, const Datum *args, const bool *isnull);

/* Runs a statement and sends the rows it returns to receiver. */
extern void idem_run_into(IdemStatement *statement, const Datum *args,
						  DestReceiver *receiver);

/* The end of a receiver that lives on its user's stack: does nothing. */
extern void idem_keep_receiver(DestReceiver *self);

/*
 * Runs a statement of ncols columns and copies its first row to values and
 * nulls, in the current memory context.  Returns false if there is none.
 */
extern bool idem_fetch(IdemStatement *statement, const Datum *args, const bool *isnull,
					   int ncols, Datum *values, bool *nulls);

/* Runs a statement that has no parameters and is used once. */
extern void idem_run_once(const char *sql);

typedef struct IdemQuery IdemQuery;

/*
 * Makes a query of the user's text with two parameters of type bound, $1 and $2.
 * what ("source" or "audit") names it in messages.  Anything but one SELECT that
 * writes nothing raises 42601 or 0A000.  Literals of unknown type keep it, so that
 * they can take the type of the column they are assigned to.
 */
extern IdemQuery *idem_make_query(const char *what, const char *text, Oid bound);

/* The query after parse analysis, and the descriptor of its rows. */
extern Query *idem_query_tree(IdemQuery *query);
extern TupleDesc idem_query_desc(IdemQuery *query);

/* The relations that a query depends on, views included; a list of OIDs. */
extern List *idem_query_relations(IdemQuery *query);

/* Runs a query into receiver, under a new snapshot; limit 0 means all rows. */
extern void idem_run_query(IdemQuery *query, Datum lower, Datum upper,
						   DestReceiver *receiver, uint64 limit);

/*
 * Makes the rows of a tuplestore visible to statements under a relation's name
 * that needs no catalog entry, and takes it away again.
 */
extern void idem_register_rows(const char *name, TupleDesc desc,
							   Tuplestorestate *rows, double nrows);
extern void idem_unregister_rows(const char *name);

#endif /* IDEM_SERVER_STATEMENT_H */
