/*
 * record.h
 *		The process that writes down failures which a rollback would have taken along.
 */
#ifndef IDEM_PIPELINE_RECORD_H
#define IDEM_PIPELINE_RECORD_H

#include "nodes/pg_list.h"
#include "utils/palloc.h"

/* The processes that are at it: at most one a role. */
typedef struct IdemWriters
{
	MemoryContext context; /* of what is kept about them */
	List *list;
	Oid last; /* role that was given one */
} IdemWriters;

/*
 * Has the failures written down that sessions have left in shared memory: by workers that
 * are sessions of the same roles, for a ledger's triggers are code of others.  False if
 * there is no slot for one of them.
 */
extern bool idem_have_failures_written(IdemWriters *writers);

extern PGDLLEXPORT void idem_record_main(Datum arg);

#endif /* IDEM_PIPELINE_RECORD_H */
