/*
 * collect.h
 *		Rows of a statement, collected to be looked at when the identity it ran as is gone.
 */
#ifndef IDEM_SERVER_COLLECT_H
#define IDEM_SERVER_COLLECT_H

#include "access/tupdesc.h"
#include "tcop/dest.h"
#include "utils/tuplestore.h"

/* A receiver and what it has received; lives on its user's stack. */
typedef struct IdemCollector
{
	DestReceiver pub;	   /* to be given to what runs the statement */
	MemoryContext context; /* of the rows; the executor has one of its own */
	TupleDesc desc;
	Tuplestorestate *store;
} IdemCollector;

/* Begins it, in the current memory context. */
extern void idem_begin_collector(IdemCollector *collector);

/*
 * Calls visit for each row, in its own memory context, which is gone after it: what is kept
 * is to be copied; and frees the rows.
 */
extern void idem_visit_rows(IdemCollector *collector,
							void (*visit)(void *arg, const Datum *values, const bool *nulls), void *arg);

#endif /* IDEM_SERVER_COLLECT_H */
