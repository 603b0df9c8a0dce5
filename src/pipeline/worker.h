/*
 * worker.h
 *		The process that runs a pipeline's turn, or its part of a backfill.
 */
#ifndef IDEM_PIPELINE_WORKER_H
#define IDEM_PIPELINE_WORKER_H

#include "postmaster/bgworker.h"
#include "utils/memutils.h"

/*
 * Starts a worker for a pipeline, as its owner; false if there is no slot for it.  The
 * handle is allocated in the current memory context.
 */
extern bool idem_start_pipeline_worker(const char *pipeline, Oid owner, uint32 backfill,
									   BackgroundWorkerHandle **handle);

/* Begins and ends a transaction of a background worker, with SPI in it. */
extern void idem_begin_work(bool atomic);
extern void idem_end_work(void);

extern PGDLLEXPORT void idem_worker_main(Datum arg);

#endif /* IDEM_PIPELINE_WORKER_H */
