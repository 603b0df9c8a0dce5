/*
 * due.h
 *		Which windows of a pipeline are due, and a turn that loads them.
 */
#ifndef IDEM_PIPELINE_DUE_H
#define IDEM_PIPELINE_DUE_H

#include "pipeline/frontier.h"
#include "pipeline/pipeline.h"

/* The windows that have closed: the grid's cells from lower up to upper. */
typedef struct IdemDue
{
	const IdemRangeType *type;
	IdemStep step;
	IdemWindow window;		/* empty if none has closed */
	int64 look_from;		/* what lies before is known to be complete; its lower bound if nothing is */
	TimestampTz next_close; /* when the next one will; 0: nobody knows */
} IdemDue;

/*
 * Finds out what is due now, by the clock or the watermark, for who is the pipeline's owner
 * already.  frontier is NULL for who wants to know everything.
 */
extern void idem_find_due_here(const IdemPipeline *pipeline, const IdemRangeType *type,
							   const IdemFrontier *frontier, IdemDue *due);

/* Where to look for gaps and failures in what is due; a range, not empty if something is due. */
extern Datum idem_due_range(const IdemDue *due);

/*
 * What is due for longer than so many microseconds, by the clock, which offsets do not have;
 * for who is the pipeline's owner.
 */
extern IdemWindow idem_find_late_here(const IdemPipeline *pipeline, const IdemRangeType *type, int64 late);

/*
 * Checks what makes a pipeline a pipeline: its grid, lag and watermark; and returns
 * its start in the form in which it is stored.
 */
extern char *idem_check_schedule(const IdemPipeline *pipeline);

/* How often a pipeline's worker was lost in a row, and whether it was lately: see state.h. */
typedef struct IdemCrashes
{
	int in_a_row;
	bool lately;
} IdemCrashes;

/* Loads all that is due of a pipeline, as its owner, whatever has been postponed. */
extern void idem_run_by_hand(const IdemPipeline *pipeline, bool atomic, IdemSummary *summary);

/*
 * A worker's turn: loads what is due beyond the frontier, some of it.  Its windows
 * are tried one in a turn after its worker was lost, and after too many times in a row the
 * next one is blocked.  Returns when the next turn is due, 0 for never.
 */
extern TimestampTz idem_run_turn(const IdemPipeline *pipeline, const IdemFrontier *frontier,
								 const IdemCrashes *crashes, IdemSummary *summary);

#endif /* IDEM_PIPELINE_DUE_H */
