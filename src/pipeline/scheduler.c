/*
 * scheduler.c
 *		The scheduler: starts a worker for each pipeline that is due.
 *
 * It reads and writes nothing but idem_pipeline, sleeps until the next pipeline is due
 * and is woken by whoever creates, alters or resumes one and by every worker that
 * ends.  What is due it asks the table each time; what a pipeline's turn has to do, the
 * ledger.  So nothing is lost when it ends, and nothing is done twice: that the ledger
 * sees to, whoever loads.
 *
 * It is a superuser's session and runs no code of anybody else's: turns run in workers
 * that are their owners', and so do the failures that sessions left to be written down.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "ledger/table.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "pipeline/pipeline.h"
#include "pipeline/record.h"
#include "pipeline/scheduler.h"
#include "pipeline/state.h"
#include "pipeline/worker.h"
#include "postmaster/interrupt.h"
#include "server/compat.h"
#include "server/extension.h"
#include "server/schedule.h"
#include "server/settings.h"
#include "server/statement.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(idem_start_worker);
PG_FUNCTION_INFO_V1(idem_stop_worker);

/* How soon to try again what a lock or a missing slot prevented, in milliseconds. */
#define SOON 1000

/* However long nothing is due, in milliseconds. */
#define LONGEST_SLEEP 600000

/* How long idem_start_worker and idem_stop_worker wait, in milliseconds. */
#define PATIENCE 10000

/* Without idem.databases, the server starts a lost scheduler again after so many seconds. */
#define RESTART_SECONDS 5

/* A pipeline in its turn. */
typedef struct Turn
{
	char *name;
	Oid owner;
	BackgroundWorkerHandle *handle; /* NULL if the worker has not been started */
	bool done;						/* its end is booked, if the transaction commits */
} Turn;

typedef struct Scheduler
{
	MemoryContext context;		/* lives as long as the process */
	MemoryContext loop_context; /* reset in each round */
	List *turns;
	IdemWriters writers; /* of failures */
	bool waiting; /* something is due for which there is no slot */
	bool soon;	  /* something has to be tried again soon */
	bool wrote;	  /* something was written: see run_round */
} Scheduler;

static volatile sig_atomic_t stop_requested = false;

/* Signal handler: end, and do not come back. */
static void
handle_stop(SIGNAL_ARGS)
{
	int save_errno = errno;

	stop_requested = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

/* Books the turns whose workers have ended, or were never started. */
static void
book_ended_turns(Scheduler *scheduler, const char *schema)
{
	ListCell *lc;
	pid_t pid;

	foreach (lc, scheduler->turns)
	{
		Turn *turn = lfirst(lc);

		turn->done = false;
		if (turn->handle && GetBackgroundWorkerPid(turn->handle, &pid) != BGWH_STOPPED)
			continue;
		turn->done = idem_book_turn_end(schema, turn->name) ||
					 !idem_pipeline_exists(schema, turn->name);
		if (turn->done)
			scheduler->wrote = true;
		else
			scheduler->soon = true; /* somebody has locked it */
	}
}

/* Forgets turns whose end is booked: not before that is committed, or it would be lost. */
static void
forget_done_turns(Scheduler *scheduler)
{
	ListCell *lc;

	foreach (lc, scheduler->turns)
	{
		if (((Turn *) lfirst(lc))->done)
			scheduler->turns = foreach_delete_current(scheduler->turns, lc);
	}
}

/* Begins a pipeline's turn: books it, so that its loss would be noticed. */
static void
begin_turn(Scheduler *scheduler, const char *schema, const IdemDuePipeline *due)
{
	MemoryContext old;
	Turn *turn;

	scheduler->wrote = true;
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(due->owner)))
	{
		idem_book_turn(schema, due->name, GetCurrentTimestamp() + USECS_PER_HOUR,
					   "its owner has been dropped");
		return;
	}
	if (!idem_book_turn_start(schema, due->name))
	{
		scheduler->soon = true;
		return;
	}
	old = MemoryContextSwitchTo(scheduler->context);
	turn = palloc0(sizeof(Turn));
	turn->name = pstrdup(due->name);
	turn->owner = due->owner;
	scheduler->turns = lappend(scheduler->turns, turn);
	MemoryContextSwitchTo(old);
}

/* How many more turns there is room for. */
static int
count_room(const Scheduler *scheduler)
{
	int room = idem_max_workers;
	ListCell *lc;

	foreach (lc, scheduler->turns)
		room -= !((Turn *) lfirst(lc))->done;
	return Max(room, 0);
}

/* Begins the turns of pipelines that are due, as far as idem.max_workers allows. */
static void
begin_due_turns(Scheduler *scheduler, const char *schema)
{
	int room = count_room(scheduler);
	IdemDuePipeline *due;
	int n;
	int i;

	/* one more than there is room for, to see whether somebody has to wait */
	due = palloc((room + 1) * sizeof(IdemDuePipeline));
	n = idem_find_due_pipelines(schema, room + 1, due);
	for (i = 0; i < n; i++)
	{
		if (i < room)
			begin_turn(scheduler, schema, &due[i]);
		else
		{
			scheduler->wrote |= idem_book_waiting(schema, due[i].name, "its turn: idem.max_workers are busy");
			scheduler->waiting = true;
		}
	}
}

/* Takes a turn back for which there is no worker slot. */
static void
take_turn_back(const char *schema, Turn *turn)
{
	turn->done = idem_book_turn_end(schema, turn->name);
	idem_make_due(schema, turn->name);
	(void) idem_take_wakeups(schema, NULL);
	(void) idem_book_waiting(schema, turn->name, "a worker slot: increase max_worker_processes");
}

/* Takes back the turns that got no worker. */
static void
take_turns_back(Scheduler *scheduler)
{
	ListCell *lc;
	char *schema;

	idem_begin_work(true);
	schema = idem_find_schema();
	foreach (lc, scheduler->turns)
	{
		Turn *turn = lfirst(lc);

		if (schema && turn->handle == NULL)
			take_turn_back(schema, turn);
	}
	idem_end_work();
	forget_done_turns(scheduler);
	scheduler->soon = true;
}

/* Starts workers for the turns that have been booked; those that get none are taken back. */
static void
start_workers(Scheduler *scheduler)
{
	MemoryContext old = MemoryContextSwitchTo(scheduler->context);
	bool all = true;
	ListCell *lc;

	foreach (lc, scheduler->turns)
	{
		Turn *turn = lfirst(lc);

		if (turn->handle == NULL &&
			!idem_start_pipeline_worker(turn->name, turn->owner, 0, &turn->handle))
		{
			turn->handle = NULL;
			all = false;
		}
	}
	MemoryContextSwitchTo(old);
	if (!all)
		take_turns_back(scheduler);
}

/* True if the worker of a turn has ended since it was last looked at. */
static bool
has_ended_turn(const Scheduler *scheduler)
{
	ListCell *lc;
	pid_t pid;

	foreach (lc, scheduler->turns)
	{
		Turn *turn = lfirst(lc);

		if (turn->handle && GetBackgroundWorkerPid(turn->handle, &pid) == BGWH_STOPPED)
			return true;
	}
	return false;
}

/* How long to sleep, in milliseconds. */
static long
time_to_sleep(const Scheduler *scheduler, TimestampTz next_due)
{
	long until_due;

	if (scheduler->soon)
		return SOON;
	if (scheduler->wrote || has_ended_turn(scheduler))
		return 0;
	if (scheduler->waiting || next_due == 0)
		return LONGEST_SLEEP; /* a worker that ends will wake us */
	until_due = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next_due);
	return Max(1, Min(until_due, LONGEST_SLEEP));
}

/*
 * One round: book what has ended, begin what is due; returns how long to sleep.
 *
 * A statement that has to wait for a lock, for more room in the table perhaps, takes
 * the latch's news with it: what has happened since this round looked is then only
 * seen by another one.  So a round that wrote is followed by one that finds nothing to
 * write.
 */
static long
run_round(Scheduler *scheduler)
{
	TimestampTz next_due = 0;
	char *schema;

	scheduler->waiting = false;
	scheduler->soon = false;
	scheduler->wrote = false;
	idem_begin_work(true);
	scheduler->soon |= !idem_have_failures_written(&scheduler->writers);
	schema = idem_find_schema();
	if (schema)
	{
		book_ended_turns(scheduler, schema);
		scheduler->soon |= !idem_take_wakeups(schema, &scheduler->wrote);
		begin_due_turns(scheduler, schema);
		next_due = idem_next_due_time(schema);
	}
	idem_end_work();
	forget_done_turns(scheduler);
	start_workers(scheduler);
	return time_to_sleep(scheduler, next_due);
}

/* A round that survives its errors. */
static long
run_round_safely(Scheduler *scheduler)
{
	volatile long sleep = SOON;

	MemoryContextReset(scheduler->loop_context);
	MemoryContextSwitchTo(scheduler->loop_context);
	PG_TRY();
	{
		sleep = run_round(scheduler);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(scheduler->loop_context);
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(scheduler->loop_context);
	return sleep;
}

/* Books the turns that were lost with the server, or with the scheduler before us. */
static void
book_lost_turns(void)
{
	char *schema;
	int64 lost = 0;

	idem_begin_work(true);
	schema = idem_find_schema();
	if (schema)
		lost = idem_book_lost_turns(schema, idem_crash_delay);
	idem_end_work();
	if (lost > 0)
		ereport(LOG,
				(errmsg("%lld pipelines were in their turn when their worker was lost",
						(long long) lost),
				 errhint("They are tried again after idem.crash_delay, one window at a time.")));
}

/* Stops all workers, and books that their turns have ended. */
static void
end_turns(Scheduler *scheduler)
{
	ListCell *lc;
	char *schema;

	foreach (lc, scheduler->turns)
	{
		if (((Turn *) lfirst(lc))->handle)
			TerminateBackgroundWorker(((Turn *) lfirst(lc))->handle);
	}
	foreach (lc, scheduler->turns)
	{
		if (((Turn *) lfirst(lc))->handle)
			(void) WaitForBackgroundWorkerShutdown(((Turn *) lfirst(lc))->handle);
	}
	if (scheduler->turns == NIL)
		return;
	idem_begin_work(true);
	schema = idem_find_schema();
	if (schema)
		book_ended_turns(scheduler, schema);
	idem_end_work();
}

/* Sets up the session: safe names, and no long wait for anybody's lock. */
static void
set_up_session(void)
{
	static const char *const settings[][2] = {
		{"application_name", "idem scheduler"},
		{"search_path", "pg_catalog, pg_temp"},
		{"lock_timeout", "1s"},
		{"idle_in_transaction_session_timeout", "0"},
		{"statement_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
	};
	size_t i;

	for (i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_SET, true, 0, false);
}

/* Connects to the database: by its name, or by its OID if it is still there. */
static void
connect_to_database(const IdemWorkerArgs *args)
{
	struct stat st;

	if (!OidIsValid(args->database))
		BackgroundWorkerInitializeConnection(args->name, NULL, 0);
	else
	{
		/* dropped since the server was told to start us again whenever we end */
		if (stat(args->name, &st) != 0 && errno == ENOENT)
			proc_exit(0);
		BackgroundWorkerInitializeConnectionByOid(args->database, InvalidOid, 0);
	}
}

/* Sleeps, and takes notice of a changed configuration. */
static void
sleep_until(long sleep)
{
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = idem_wait_event("IdemScheduler");
	pgstat_report_activity(STATE_IDLE, NULL);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_TIMEOUT, sleep, wait_event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* Main function of a scheduler's process. */
void
idem_scheduler_main(Datum arg)
{
	Scheduler scheduler = {0};

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGUSR2, handle_stop);
	BackgroundWorkerUnblockSignals();
	connect_to_database(idem_worker_args());
	set_up_session();
	if (!idem_become_scheduler())
		proc_exit(0);
	scheduler.context = AllocSetContextCreate(TopMemoryContext, "idem scheduler",
											  ALLOCSET_DEFAULT_SIZES);
	scheduler.loop_context = AllocSetContextCreate(scheduler.context, "idem round",
												   ALLOCSET_DEFAULT_SIZES);
	scheduler.writers.context = scheduler.context;
	MemoryContextSwitchTo(scheduler.loop_context);
	book_lost_turns();
	while (!ShutdownRequestPending && !stop_requested)
		sleep_until(run_round_safely(&scheduler));
	MemoryContextSwitchTo(scheduler.loop_context);
	end_turns(&scheduler);

	/* ended by anybody but idem_stop_worker, it is to come back */
	proc_exit(stop_requested ? 0 : 1);
}

/* Waits until this database has, or has no, scheduler; returns its process. */
static int
await_scheduler(bool running)
{
	int pid = idem_scheduler_pid();
	int waited;

	for (waited = 0; (pid != 0) != running && waited < PATIENCE; waited += 10)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		pid = idem_scheduler_pid();
	}
	return pid;
}

/* SQL: idem_start_worker(): a scheduler for this database, until idem_stop_worker */
Datum
idem_start_worker(PG_FUNCTION_ARGS)
{
	IdemWorkerArgs args = {.database = MyDatabaseId};
	BackgroundWorkerHandle *handle;
	BackgroundWorker worker;
	int pid = idem_scheduler_pid();

	if (pid != 0)
		PG_RETURN_INT32(pid);
	strlcpy(args.name, DatabasePath, sizeof(args.name));
	idem_fill_worker(&worker, "idem_scheduler_main", "idem scheduler", &args);
	snprintf(worker.bgw_name, BGW_MAXLEN, "idem scheduler: %s", get_database_name(MyDatabaseId));
	worker.bgw_restart_time = RESTART_SECONDS;
	worker.bgw_notify_pid = 0;
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker slot is free for the scheduler"),
				 errhint("Increase max_worker_processes.")));
	pid = await_scheduler(true);
	if (pid == 0)
	{
		TerminateBackgroundWorker(handle);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the scheduler did not start"),
				 errhint("See the server's log.")));
	}
	PG_RETURN_INT32(pid);
}

/* SQL: idem_stop_worker(): ends it, and its workers; false if there is none */
Datum
idem_stop_worker(PG_FUNCTION_ARGS)
{
	int pid = idem_scheduler_pid();

	if (idem_is_scheduled_database(get_database_name(MyDatabaseId)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the scheduler of database \"%s\" is kept running by idem.databases",
						get_database_name(MyDatabaseId)),
				 errhint("Take the database out of the setting and reload the configuration.")));
	if (pid == 0)
		PG_RETURN_BOOL(false);
	if (kill(pid, SIGUSR2) != 0 || await_scheduler(false) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the scheduler with PID %d does not end", pid)));
	PG_RETURN_BOOL(true);
}
