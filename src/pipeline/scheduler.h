/*
 * scheduler.h
 *		The scheduler: starts a worker for each pipeline that is due.
 */
#ifndef IDEM_PIPELINE_SCHEDULER_H
#define IDEM_PIPELINE_SCHEDULER_H

extern PGDLLEXPORT void idem_scheduler_main(Datum arg);

#endif /* IDEM_PIPELINE_SCHEDULER_H */
