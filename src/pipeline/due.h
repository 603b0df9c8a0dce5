/*
 * due.h
 *		Which windows of a pipeline are due, and a turn that loads them.
 */
#ifndef IDEM_PIPELINE_DUE_H
#define IDEM_PIPELINE_DUE_H

#include "pipeline/pipeline.h"

/* The windows that have closed: the grid's cells from lower up to upper. */
typedef struct IdemDue
{
	const IdemRangeType *type;
	IdemStep step;
	IdemWindow window;		/* empty if none has closed */
	TimestampTz next_close; /* when the next one will; 0: nobody knows */
} IdemDue;

/*
 * Finds out what is due now, by the clock or the watermark; as the pipeline's owner, or
 * for who is that already.
 */
extern IdemDue idem_find_due(const IdemPipeline *pipeline);
extern void idem_find_due_here(const IdemPipeline *pipeline, const IdemRangeType *type, IdemDue *due);

/*
 * Checks what makes a pipeline a pipeline: its grid, lag and watermark; and returns
 * its start in the form in which it is stored.
 */
extern char *idem_check_schedule(const IdemPipeline *pipeline);

/* How a turn is run: by hand, or by a worker. */
typedef enum IdemTurnKind
{
	IDEM_TURN_BY_HAND,
	IDEM_TURN_SCHEDULED,
} IdemTurnKind;

/*
 * Loads what is due of a pipeline, as its owner.  crashes is how often its worker was
 * lost in a row: after one its windows are tried one at a time, after too many the
 * next one is blocked.  Returns when the next turn is due, 0 for never.
 */
extern TimestampTz idem_run_turn(const IdemPipeline *pipeline, IdemTurnKind kind, bool atomic,
								 int crashes, IdemSummary *summary);

#endif /* IDEM_PIPELINE_DUE_H */
