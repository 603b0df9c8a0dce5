/*
 * rows.h
 *		The rows of one piece, on their way from the source to the target.
 *
 * They have the target's types already, one column for each that the source has,
 * in the target's order, and lie in a tuplestore that spills to disk beyond
 * work_mem.  Statements read them under the name IDEM_ROWS.
 */
#ifndef IDEM_LOAD_ROWS_H
#define IDEM_LOAD_ROWS_H

#include "load/target.h"
#include "tcop/dest.h"
#include "utils/tuplestore.h"

#define IDEM_ROWS "idem_source"
#define IDEM_WRITTEN "idem_written"

typedef struct IdemRows
{
	Tuplestorestate *store;
	TupleDesc desc;
	int64 count;
} IdemRows;

/* Makes rows of a descriptor, empty, that can be read more than once. */
extern IdemRows idem_make_rows(TupleDesc desc);

/* Adds a row, of which there may be more values than columns. */
extern void idem_put_row(IdemRows *rows, const Datum *values, const bool *nulls);

/*
 * How a receiver begins that takes rows of a target from a statement, whose first columns are
 * those of a descriptor; NULL: it does not look at them.  The statement is planned by what the
 * target is when it runs, and code of others may have changed that since it was looked up: so
 * idem_start_rows, for rStartup, compares the types, and raises 55000; idem_check_column does
 * it of one, which is counted from 0.
 */
typedef struct IdemRowReceiver
{
	DestReceiver pub;
	const IdemTarget *target;
	TupleDesc desc;
} IdemRowReceiver;

extern void idem_start_rows(DestReceiver *self, int operation, TupleDesc desc);
extern void idem_check_column(const IdemTarget *target, TupleDesc desc, int column, Oid type);

/* Takes all rows away again. */
extern void idem_empty_rows(IdemRows *rows);

/* Frees the rows' memory and files. */
extern void idem_free_rows(IdemRows *rows);

/*
 * Makes rows visible to statements as IDEM_ROWS, and takes them away again.  At
 * most one set of rows is visible at a time.  A statement that failed leaves its
 * rows visible; hiding where nothing is visible does no harm.
 */
extern void idem_show_rows(const IdemRows *rows);
extern void idem_hide_rows(void);

/* Makes rows visible as IDEM_WRITTEN beside those that are shown then; they are hidden with them. */
extern void idem_show_written(const IdemRows *rows);

/* The index of a column that a descriptor is known to have, by name. */
extern int idem_column_index(TupleDesc desc, const char *name);

/*
 * A row for a message: "(key, …)=(value, …)", or every column if there are no keys
 * or target is NULL.  Long values are clipped.  The names and types are those of desc:
 * the slot's own are those of the plan's top node.
 */
extern char *idem_describe_row(const IdemTarget *target, TupleDesc desc, TupleTableSlot *slot);

#endif /* IDEM_LOAD_ROWS_H */
