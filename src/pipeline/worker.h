/*
 * worker.h
 *		The process that runs a pipeline's turn; and what all processes that run somebody's
 *		code begin with.
 */
#ifndef IDEM_PIPELINE_WORKER_H
#define IDEM_PIPELINE_WORKER_H

#include "pipeline/state.h"
#include "postmaster/bgworker.h"
#include "server/schedule.h"

/*
 * Starts a worker for a pipeline's turn, as its owner; false if there is no slot for it.
 * The handle is allocated in the current memory context.
 */
extern bool idem_start_pipeline_worker(IdemDuty duty, const char *pipeline, Oid owner, BackgroundWorkerHandle **handle);

/* Begins and ends a transaction of a background worker, with SPI in it. */
extern void idem_begin_work(bool atomic);
extern void idem_end_work(void);

extern PGDLLEXPORT void idem_worker_main(Datum arg);
extern PGDLLEXPORT void idem_check_main(Datum arg);

#endif /* IDEM_PIPELINE_WORKER_H */
