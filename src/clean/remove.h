/*
 * remove.h
 *		Moving the rows that have been found into the quarantine, in batches.
 */
#ifndef IDEM_CLEAN_REMOVE_H
#define IDEM_CLEAN_REMOVE_H

#include "clean/job.h"

/* How a round of batches ended. */
typedef enum IdemRemoval
{
	IDEM_REMOVED,	/* each row has been tried */
	IDEM_REWRITTEN, /* the table has other files now: places mean nothing any more */
} IdemRemoval;

/*
 * Tries the rows of the job's round that have not been tried, in batches of about batch_ms
 * milliseconds, each a transaction that is committed, with a pause (milliseconds) between
 * them.  What has changed since it was found is marked and left.
 */
extern IdemRemoval idem_remove(const IdemTable *table, IdemJob *job, int batch_ms, int64 pause);

/* How many rows of the round were left. */
extern int64 idem_count_left(const IdemJob *job);

/* Waits, so many milliseconds, in which the call can be cancelled. */
extern void idem_wait(int64 ms);

/* Commits, and begins a transaction that sees what is committed at each of its statements. */
extern void idem_next_transaction(void);

#endif /* IDEM_CLEAN_REMOVE_H */
