/*
 * statement.h
 *		idem's own SQL: prepare, run, expect.
 *
 * Every name in a statement is qualified.  It is prepared once, run many times and
 * prepared anew from its text when the server has invalidated the plan.  Plans live as
 * long as the memory context that was current when they were made.  Everything here must
 * be called between idem_connect and idem_finish, and leaves the memory context as it was.
 */
#ifndef IDEM_SERVER_STATEMENT_H
#define IDEM_SERVER_STATEMENT_H

#include "nodes/parsenodes.h"
#include "tcop/dest.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"
#include "utils/tuplestore.h"

/*
 * Opens a relation; raises 42P01 for an OID that is none, where the server says XX000.  The
 * lock stays, so who may do nothing with it must not have it: idem_open_permitted, and
 * idem_check_any_right for one that is open, raise 42501 unless the current user has some
 * right on it, or on a column.
 */
extern Relation idem_open_relation(Oid relid);
extern void idem_check_any_right(Oid relid);
extern Relation idem_open_permitted(Oid relid);

/* A relation's name for SQL: qualified and quoted. */
extern char *idem_qualified_name(Relation rel);

typedef struct IdemStatement IdemStatement;

#define IDEM_MAX_ARGS 48

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
 * Has a statement ask indexes for one row at a time, whatever the planner believes: no
 * table is read from its beginning and no bitmap is made if there is an index, and
 * nothing is compiled (jit), which high estimates would lead to.
 */
extern void idem_ask_indexes(IdemStatement *statement);

/*
 * Has a statement planned anew if it was planned for something very different: rows
 * is how many it is given, growth by how many its table has grown since the call
 * began, which the server tells nobody before the table is analyzed.
 */
extern void idem_fit_statement(IdemStatement *statement, int64 rows, int64 growth);

/* Raises 42501 unless the current user has the rights that a statement, or a query, needs. */
extern void idem_check_statement(IdemStatement *statement);
extern void idem_check_query(Query *query);

/* Runs a statement and returns how many rows it returned or changed. */
extern uint64 idem_run(IdemStatement *statement, const Datum *args, const bool *isnull);

/* Runs a statement and sends the rows it returns to receiver. */
extern void idem_run_into(IdemStatement *statement, const Datum *args,
						  DestReceiver *receiver);

/*
 * The state of now, for idem_run_since: to be released in the same subtransaction, if
 * that does not fail.
 */
extern Snapshot idem_take_snapshot(void);
extern void idem_release_snapshot(Snapshot snapshot);

/*
 * What is read in between with SPI's read_only is the state of a snapshot with what this
 * transaction has changed since; what others have committed since it does not show.
 */
extern void idem_enter_snapshot(Snapshot snapshot);
extern void idem_leave_snapshot(void);

/* Runs a statement so. */
extern void idem_run_since(IdemStatement *statement, Snapshot snapshot, const Datum *args,
						   DestReceiver *receiver);

/* The same without what this transaction has changed since. */
extern void idem_run_at(IdemStatement *statement, Snapshot snapshot, const Datum *args,
						DestReceiver *receiver);

/*
 * Runs a statement of ncols columns and copies its first row to values and
 * nulls, in the current memory context.  Returns false if there is none.
 */
extern bool idem_fetch(IdemStatement *statement, const Datum *args, const bool *isnull,
					   int ncols, Datum *values, bool *nulls);

/*
 * A statement to be run, as an argument of idem_run_as: idem_run_task takes the first row,
 * sends all to a receiver, or only counts them.
 */
typedef struct IdemTask
{
	IdemStatement *statement;
	const Datum *args;
	const bool *isnull;
	int ncols; /* to be fetched; 0: none */
	Datum *values;
	bool *nulls;
	DestReceiver *receiver; /* NULL: rows are not collected */
	Snapshot since;			/* for a receiver; NULL: now */
	uint64 processed;		/* rows that it returned or changed, or 1 for one that was fetched */
} IdemTask;

extern void idem_run_task(void *arg);

/* Runs a statement that has no parameters and is used once. */
extern void idem_run_once(const char *sql);

/*
 * Makes the rows of a tuplestore visible to statements under a relation's name
 * that needs no catalog entry, and takes it away again.
 */
extern void idem_register_rows(const char *name, TupleDesc desc,
							   Tuplestorestate *rows, double nrows);
extern void idem_unregister_rows(const char *name);

#endif /* IDEM_SERVER_STATEMENT_H */
