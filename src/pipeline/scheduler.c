/*
 * scheduler.c
 *		The scheduler: starts a worker for each pipeline that is due.
 *
 * A pipeline that names a monitor has turns of a second kind, that check what is complete;
 * they begin where no load waits for a worker.
 *
 * It reads and writes nothing but the tables of pipelines, sleeps until the next pipeline is due
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
#include "pipeline/right.h"
#include "pipeline/scheduler.h"
#include "pipeline/state.h"
#include "pipeline/worker.h"
#include "postmaster/interrupt.h"
#include "server/compat.h"
#include "server/extension.h"
#include "server/schedule.h"
#include "server/settings.h"
#include "server/shared.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(idem_start_worker);
PG_FUNCTION_INFO_V1(idem_stop_worker);

/* How soon to try again what a lock or a missing slot prevented, in milliseconds. */
#define SOON 1000

/* However long nothing is due, in milliseconds. */
#define LONGEST_SLEEP 600000

/* How long idem_start_worker and idem_stop_worker wait, in milliseconds; */
#define PATIENCE 10000

/* and how long of that a scheduler that ends has for its workers. */
#define END_PATIENCE 5000

/* Without idem.databases, the server starts a lost scheduler again after so many seconds. */
#define RESTART_SECONDS 5

/* A pipeline whose row raised an error is left alone for so long, in milliseconds. */
#define ASIDE_TIME 60000

/* Whether an owner may run his pipelines now is looked at again after so long. */
#define LOOK_AGAIN 60000

/* A pipeline in its turn. */
typedef struct Turn
{
	MemoryContext context; /* of all this */
	IdemDuty duty;
	char *name;
	Oid owner;
	BackgroundWorkerHandle *handle; /* NULL if the worker has not been started */
	bool done;						/* its end is booked, if the transaction commits */
} Turn;

/* A pipeline that is left alone for a while. */
typedef struct Aside
{
	MemoryContext context; /* of all this */
	IdemDuty duty;
	char *name;
	TimestampTz until;
} Aside;

typedef struct Scheduler
{
	MemoryContext context;		/* lives as long as the process */
	MemoryContext loop_context; /* reset in each round */
	List *turns;
	List *asides;
	IdemWriters writers; /* of failures */
	bool lost;			 /* turns of before may be booked still */
	bool waiting;		 /* something is due for which there is no slot */
	bool soon;			 /* something has to be tried again soon */
	bool later;			 /* some owner's pipelines wait for a right */
	bool overdue;		 /* something was due when the last round ended */
	bool wrote;			 /* something was written: see run_round */
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

/* True if a pipeline is left alone for now. */
static bool
is_aside(const Scheduler *scheduler, IdemDuty duty, const char *name)
{
	ListCell *lc;

	foreach (lc, scheduler->asides)
	{
		const Aside *aside = lfirst(lc);

		if (aside->duty == duty && strcmp(aside->name, name) == 0)
			return true;
	}
	return false;
}

/* Leaves a pipeline alone for a while. */
static void
put_aside(Scheduler *scheduler, IdemDuty duty, const char *name)
{
	MemoryContext context = AllocSetContextCreate(scheduler->context, "idem aside", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Aside *aside = palloc0(sizeof(Aside));

	aside->context = context;
	aside->duty = duty;
	aside->name = pstrdup(name);
	aside->until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ASIDE_TIME);
	MemoryContextSwitchTo(scheduler->context);
	scheduler->asides = lappend(scheduler->asides, aside);
	MemoryContextSwitchTo(old);
}

/* Takes those back that have been left alone for long enough. */
static void
end_asides(Scheduler *scheduler)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell *lc;

	foreach (lc, scheduler->asides)
	{
		Aside *aside = lfirst(lc);

		if (aside->until > now)
			continue;
		scheduler->asides = foreach_delete_current(scheduler->asides, lc);
		MemoryContextDelete(aside->context);
	}
}

/* What is done with one pipeline's row, and whether it was. */
typedef struct RowWork
{
	const char *schema;
	IdemDuty duty;
	const char *name;
	bool (*work)(const char *schema, IdemDuty duty, const char *name);
	bool done;
} RowWork;

static void
work_on_row(void *arg)
{
	RowWork *row = arg;

	row->done = row->work(row->schema, row->duty, row->name);
}

/* How something done with a row came out. */
typedef enum Outcome
{
	ROW_DONE,
	ROW_LOCKED, /* by somebody: to be tried again soon */
	ROW_ASIDE,	/* it raised an error, which ends only what was done with it */
} Outcome;

/* Does something with a pipeline's row, in a subtransaction. */
static Outcome
try_row(Scheduler *scheduler, const char *schema, IdemDuty duty, const char *name,
		bool (*work)(const char *schema, IdemDuty duty, const char *name))
{
	RowWork row = {schema, duty, name, work};
	ErrorData *error = idem_try(work_on_row, &row, CurrentMemoryContext);

	if (error)
	{
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("pipeline \"%s\" is left alone for a minute: %s", name, error->message),
				 errdetail("What the scheduler keeps about it could not be written.")));
		put_aside(scheduler, duty, name);
		return ROW_ASIDE;
	}
	if (!row.done)
	{
		scheduler->soon = true;
		return ROW_LOCKED;
	}
	scheduler->wrote = true;
	return ROW_DONE;
}

/* Books a turn's end, unless its pipeline is gone. */
static bool
end_turn(const char *schema, IdemDuty duty, const char *name)
{
	return idem_book_turn_end(schema, duty, name) || !idem_pipeline_exists(schema, duty, name);
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
		if (!is_aside(scheduler, turn->duty, turn->name))
			turn->done = try_row(scheduler, schema, turn->duty, turn->name, end_turn) == ROW_DONE;
	}
}

/* Forgets turns whose end is booked: not before that is committed, or it would be lost. */
static void
forget_done_turns(Scheduler *scheduler)
{
	ListCell *lc;

	foreach (lc, scheduler->turns)
	{
		Turn *turn = lfirst(lc);

		if (!turn->done)
			continue;
		scheduler->turns = foreach_delete_current(scheduler->turns, lc);
		MemoryContextDelete(turn->context);
	}
}

/* The pipelines that are in their turn or left alone. */
static List *
names_in_hand(const Scheduler *scheduler, IdemDuty duty)
{
	List *names = NIL;
	ListCell *lc;

	foreach (lc, scheduler->turns)
	{
		if (((Turn *) lfirst(lc))->duty == duty)
			names = lappend(names, ((Turn *) lfirst(lc))->name);
	}
	foreach (lc, scheduler->asides)
	{
		if (((Aside *) lfirst(lc))->duty == duty)
			names = lappend(names, ((Aside *) lfirst(lc))->name);
	}
	return names;
}

/* Books a turn that was lost with the server, or with the scheduler before us. */
static bool
book_lost_turn(const char *schema, IdemDuty duty, const char *name)
{
	return idem_book_lost_turn(schema, duty, name, idem_crash_delay);
}

/*
 * Books the turns that were lost; those whose rows somebody has locked, in a prepared
 * transaction perhaps, stay booked as begun until he ends it.  False if there are some.
 */
static bool
book_lost_turns(Scheduler *scheduler, const char *schema, IdemDuty duty)
{
	int n;
	int i;
	int lost = 0;
	char **names = idem_open_turns(schema, duty, names_in_hand(scheduler, duty), &n);

	for (i = 0; i < n; i++)
		lost += try_row(scheduler, schema, duty, names[i], book_lost_turn) == ROW_DONE;
	if (lost > 0)
		ereport(LOG,
				(duty == IDEM_CHECKING ? errmsg("%d pipelines were being checked when their worker was lost", lost)
									   : errmsg("%d pipelines were in their turn when their worker was lost", lost),
				 duty == IDEM_CHECKING ? errhint("They are checked again after idem.crash_delay.")
									   : errhint("They are tried again after idem.crash_delay, one window at a time.")));
	return lost == n;
}

static void
book_all_lost_turns(Scheduler *scheduler, const char *schema)
{
	bool loads;

	if (!scheduler->lost)
		return;
	loads = book_lost_turns(scheduler, schema, IDEM_LOADING);
	scheduler->lost = !book_lost_turns(scheduler, schema, IDEM_CHECKING) || !loads;
}

/* Begins a pipeline's turn: books it, so that its loss would be noticed. */
static bool
begin_turn(Scheduler *scheduler, const char *schema, IdemDuty duty, const IdemDuePipeline *due)
{
	MemoryContext context;
	MemoryContext old;
	Turn *turn;

	if (try_row(scheduler, schema, duty, due->name, idem_book_turn_start) != ROW_DONE)
		return false;
	context = AllocSetContextCreate(scheduler->context, "idem turn", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	turn = palloc0(sizeof(Turn));
	turn->context = context;
	turn->duty = duty;
	turn->name = pstrdup(due->name);
	turn->owner = due->owner;
	MemoryContextSwitchTo(scheduler->context);
	scheduler->turns = lappend(scheduler->turns, turn);
	MemoryContextSwitchTo(old);
	return true;
}

/* How many turns there are; of an owner, or of all if it is InvalidOid. */
static int
count_turns(const Scheduler *scheduler, Oid owner)
{
	int n = 0;
	ListCell *lc;

	foreach (lc, scheduler->turns)
	{
		const Turn *turn = lfirst(lc);

		n += !turn->done && (!OidIsValid(owner) || turn->owner == owner);
	}
	return n;
}

/* How many of them check. */
static int
count_checks(const Scheduler *scheduler)
{
	int n = 0;
	ListCell *lc;

	foreach (lc, scheduler->turns)
	{
		const Turn *turn = lfirst(lc);

		n += !turn->done && turn->duty == IDEM_CHECKING;
	}
	return n;
}

/*
 * Why an owner's pipeline that is due has to wait for others, or NULL.  The last worker
 * is kept for who has none, as long as there is somebody: otherwise a role whose windows
 * take hours would keep all others from running.
 */
static const char *
must_wait(const Scheduler *scheduler, Oid owner, const List *owners)
{
	int room = idem_max_workers - count_turns(scheduler, InvalidOid);
	ListCell *lc;

	if (room <= 0)
		return "its turn: idem.max_workers are busy";
	if (room > 1 || count_turns(scheduler, owner) == 0)
		return NULL;
	foreach (lc, owners)
	{
		if (count_turns(scheduler, lfirst_oid(lc)) == 0)
			return "its turn: the last of idem.max_workers is kept for other roles";
	}
	return NULL;
}

/* Begins the turns of pipelines that are due, as far as idem.max_workers allows. */
static void
begin_due_turns(Scheduler *scheduler, const char *schema, const IdemDueSearch *search)
{
	int n;
	int i;
	int room = Max(idem_max_workers - count_turns(scheduler, InvalidOid), 0);
	/* one more than there is room for, to see whether somebody has to wait */
	IdemDuePipeline *due = idem_find_due_pipelines(schema, search, room + 1, &n);

	for (i = 0; i < n; i++)
	{
		const char *why = must_wait(scheduler, due[i].owner, search->owners);

		if (why == NULL)
			(void) begin_turn(scheduler, schema, IDEM_LOADING, &due[i]);
		else
		{
			scheduler->wrote |= idem_book_waiting(schema, IDEM_LOADING, due[i].name, why);
			scheduler->waiting = true;
			break;
		}
	}
}

/* How many checks may begin: none where a load waits. */
static int
room_for_checks(Scheduler *scheduler)
{
	if (scheduler->waiting)
		return 0;
	return Min(idem_max_check_workers - count_checks(scheduler), idem_max_workers - count_turns(scheduler, InvalidOid));
}

/* Begins checks that are due, so many at most.  False if one more has to wait, until a worker ends. */
static bool
begin_due_checks(Scheduler *scheduler, const char *schema, const IdemDueSearch *search, int room)
{
	int n;
	int i;
	IdemDuePipeline *due = idem_find_due_pipelines(schema, search, room + 1, &n);

	for (i = 0; i < n; i++)
	{
		if (i == room || must_wait(scheduler, due[i].owner, search->owners))
			return false;
		(void) begin_turn(scheduler, schema, IDEM_CHECKING, &due[i]);
	}
	return true;
}

/* The owners whose pipelines may run by themselves; of the others' it is said why not. */
static List *
find_able_owners(Scheduler *scheduler, const char *schema, IdemDuty duty)
{
	List *able = NIL;
	ListCell *lc;

	foreach (lc, idem_waiting_owners(schema, duty))
	{
		const char *why = idem_why_not_run(schema, lfirst_oid(lc));

		if (why == NULL)
			able = lappend_oid(able, lfirst_oid(lc));
		else
		{
			if (duty == IDEM_LOADING)
				idem_book_owner_waiting(schema, lfirst_oid(lc), why);
			scheduler->later = true;
		}
	}
	return able;
}

/* The owners of turns, each as often as it has some. */
static List *
find_busy_owners(const Scheduler *scheduler)
{
	List *busy = NIL;
	ListCell *lc;

	foreach (lc, scheduler->turns)
	{
		if (!((Turn *) lfirst(lc))->done)
			busy = lappend_oid(busy, ((Turn *) lfirst(lc))->owner);
	}
	return busy;
}

/* What is looked for. */
static IdemDueSearch
search_for(Scheduler *scheduler, const char *schema, IdemDuty duty)
{
	return (IdemDueSearch){
		.duty = duty,
		.owners = find_able_owners(scheduler, schema, duty),
		.without = names_in_hand(scheduler, duty),
		.busy = find_busy_owners(scheduler),
	};
}

/* The earlier of two moments, of which 0 is never. */
static TimestampTz
earlier(TimestampTz a, TimestampTz b)
{
	return a == 0 || b == 0 ? Max(a, b) : Min(a, b);
}

/* Begins what is due; returns when there will be more. */
static TimestampTz
begin_what_is_due(Scheduler *scheduler, const char *schema)
{
	IdemDueSearch loads = search_for(scheduler, schema, IDEM_LOADING);
	IdemDueSearch checks;
	TimestampTz next;
	int room;

	begin_due_turns(scheduler, schema, &loads);
	loads.without = names_in_hand(scheduler, IDEM_LOADING);
	next = idem_next_due_time(schema, &loads);
	room = room_for_checks(scheduler);
	if (room <= 0)
		return next;
	checks = search_for(scheduler, schema, IDEM_CHECKING);
	if (checks.owners == NIL || !begin_due_checks(scheduler, schema, &checks, room))
		return next;
	checks.without = names_in_hand(scheduler, IDEM_CHECKING);
	return earlier(next, idem_next_due_time(schema, &checks));
}

/* Takes a turn back for which there is no worker slot. */
static bool
take_turn_back(const char *schema, IdemDuty duty, const char *name)
{
	if (!idem_book_turn_end(schema, duty, name))
		return false;
	idem_make_due(schema, duty, name);
	(void) idem_take_wakeups(schema, duty, NULL);
	(void) idem_book_waiting(schema, duty, name, "a worker slot: increase max_worker_processes");
	return true;
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
			turn->done = try_row(scheduler, schema, turn->duty, turn->name, take_turn_back) == ROW_DONE;
	}
	idem_end_work();
	forget_done_turns(scheduler);
	scheduler->soon = true;
}

/* Starts workers for the turns that have been booked; those that get none are taken back. */
static void
start_workers(Scheduler *scheduler)
{
	MemoryContext old = CurrentMemoryContext;
	bool all = true;
	ListCell *lc;

	foreach (lc, scheduler->turns)
	{
		Turn *turn = lfirst(lc);

		MemoryContextSwitchTo(turn->context);
		if (turn->handle == NULL && !is_aside(scheduler, turn->duty, turn->name) &&
			!idem_start_pipeline_worker(turn->duty, turn->name, turn->owner, &turn->handle))
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

		if (turn->handle && GetBackgroundWorkerPid(turn->handle, &pid) == BGWH_STOPPED &&
			!is_aside(scheduler, turn->duty, turn->name))
			return true;
	}
	return false;
}

/* How long to sleep at most, whatever is due. */
static long
longest_sleep(const Scheduler *scheduler)
{
	long longest = scheduler->later ? LOOK_AGAIN : LONGEST_SLEEP;

	return scheduler->asides != NIL ? Min(longest, ASIDE_TIME) : longest;
}

/*
 * How long to sleep when something is due already: it has become so since this round
 * looked, or somebody has locked its row, for as long as he likes.
 */
static long
time_to_look_again(Scheduler *scheduler)
{
	if (scheduler->overdue)
		return SOON;
	scheduler->overdue = true;
	return 1;
}

/* How long to sleep, in milliseconds. */
static long
time_to_sleep(Scheduler *scheduler, TimestampTz next_due)
{
	long longest = longest_sleep(scheduler);
	long until_due;

	if (scheduler->soon)
		return SOON;
	if (scheduler->wrote || has_ended_turn(scheduler))
		return 0;
	if (scheduler->waiting || next_due == 0)
		return longest; /* a worker that ends will wake us */
	until_due = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next_due);
	if (until_due == 0)
		return time_to_look_again(scheduler);
	scheduler->overdue = false;
	return Min(until_due, longest);
}

/*
 * One round: book what has ended, begin what is due; returns how long to sleep.  An
 * error over one pipeline's row ends that row's turn and not the round.
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
	scheduler->later = false;
	scheduler->wrote = false;
	end_asides(scheduler);
	idem_begin_work(true);
	scheduler->soon |= !idem_have_failures_written(&scheduler->writers);
	schema = idem_find_schema();
	if (schema)
	{
		book_all_lost_turns(scheduler, schema);
		book_ended_turns(scheduler, schema);
		scheduler->soon |= !idem_take_wakeups(schema, IDEM_LOADING, &scheduler->wrote);
		scheduler->soon |= !idem_take_wakeups(schema, IDEM_CHECKING, &scheduler->wrote);
		next_due = begin_what_is_due(scheduler, schema);
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

/*
 * Waits for a turn's worker that was told to end, for as much as is left of our patience.
 * It may be at something that cannot be interrupted.
 */
static void
await_end(const Turn *turn, int *patience)
{
	BgwHandleStatus status;
	pid_t pid = 0;

	while ((status = GetBackgroundWorkerPid(turn->handle, &pid)) != BGWH_STOPPED && *patience > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		QueryCancelPending = false;
		CHECK_FOR_INTERRUPTS();
		*patience -= 10;
	}
	if (status != BGWH_STOPPED)
		ereport(LOG,
				(errmsg("the worker of pipeline \"%s\" does not end", turn->name),
				 errdetail("Its PID is %d. Its turn is given up as lost.", (int) pid)));
}

/* Stops all workers, and books that their turns have ended. */
static void
end_turns(Scheduler *scheduler)
{
	int patience = END_PATIENCE;
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
			await_end(lfirst(lc), &patience);
	}
	if (scheduler->turns == NIL)
		return;
	idem_begin_work(true);
	schema = idem_find_schema();
	if (schema)
		book_ended_turns(scheduler, schema);
	idem_end_work();
}

/*
 * Sets up the session, whatever a database's owner has set for its sessions: our own
 * rights, safe names, and no long wait for anybody's lock.
 */
static void
set_up_session(void)
{
	static const char *const settings[][2] = {
		{"application_name", "idem scheduler"},
		{"role", "none"},
		{"exit_on_error", "off"},
		{"search_path", "pg_catalog, pg_temp"},
		{"lock_timeout", "1s"},
		{"idle_in_transaction_session_timeout", "0"},
		{"statement_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		IDEM_NO_TRANSACTION_TIMEOUT
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
	QueryCancelPending = false; /* there is none */
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
	scheduler.lost = true;
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
	idem_copy_text(worker.bgw_name, psprintf("idem scheduler: %s", get_database_name(MyDatabaseId)), BGW_MAXLEN);
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
