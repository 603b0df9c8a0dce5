/*
 * reconcile.h
 *		A pipeline's windows checked, what is found kept, alerts brought up to date.
 */
#ifndef IDEM_PIPELINE_RECONCILE_H
#define IDEM_PIPELINE_RECONCILE_H

#include "pipeline/pipeline.h"

/*
 * A turn of a worker that is the pipeline's owner: checks the windows that are due, and from
 * time to time others too, until its budget is used up, each in a transaction of its own.
 * swept_at is when others were last, 0 for never.  Returns when the next turn is due.
 */
extern TimestampTz idem_run_check_turn(const IdemPipeline *pipeline, TimestampTz *swept_at);

#endif /* IDEM_PIPELINE_RECONCILE_H */
