/*
 * schedule.h
 *		The scheduler of a database: at most one, found by the lock it holds; and how
 *		processes are started.
 *
 * A heavyweight lock needs no shared memory of ours, is released by the server
 * however its holder ends, and exists on no standby.
 */
#ifndef IDEM_SERVER_SCHEDULE_H
#define IDEM_SERVER_SCHEDULE_H

#include "nodes/pg_list.h"

/* Makes this session the scheduler of its database; false if there is one already. */
extern bool idem_become_scheduler(void);

/* The process of this database's scheduler; 0 if there is none. */
extern int idem_scheduler_pid(void);

/*
 * Takes one of max places for workers of backfills that all sessions of the server share,
 * for a role, until it is given back or the session ends; returns its number, or 0 if none
 * is free.
 */
extern int idem_take_place(int max, Oid role);
extern void idem_give_place_back(int place, Oid role);

/* The roles for which places are taken, each as often as it has some. */
extern List *idem_place_holders(void);

/*
 * Who looks at who has places before he takes one does both in the queue, so that nobody
 * takes one in between.  It is left by the end of the transaction at the latest.
 */
extern void idem_queue_for_places(void);
extern void idem_leave_queue(void);

/* Wakes this database's scheduler, now. */
extern void idem_wake_scheduler(void);

/* Wakes this database's scheduler when the current transaction has ended. */
extern void idem_wake_at_end(void);

/*
 * What a worker is told in the 128 bytes that a background worker can be given, and
 * how it is started: by idem_scheduler_main, idem_worker_main and so on.  Its name is cut
 * between two characters where the server has no room for it.
 */
typedef struct IdemWorkerArgs
{
	Oid database;
	Oid role;		 /* whose session it is */
	uint32 segment;	 /* handle of what it shares, with a backfill's other workers or its caller */
	char name[96];	 /* of the pipeline; or the path of the database's files */
} IdemWorkerArgs;

struct BackgroundWorker;
extern void idem_fill_worker(struct BackgroundWorker *worker, const char *function,
							 const char *type, const IdemWorkerArgs *args);

/* The arguments of the worker this is. */
extern const IdemWorkerArgs *idem_worker_args(void);

/*
 * Begins a process that runs a role's code: connects as that role, and as nobody else.
 * The current memory context is then one that lives as long as the process.
 */
extern const IdemWorkerArgs *idem_begin_process(const char *application);

/*
 * What such a process shares with who has started it, from the handle that it was given: for
 * as long as it lives; NULL if that one has gone.
 */
extern void *idem_attach_segment(uint32 handle);

#endif /* IDEM_SERVER_SCHEDULE_H */
