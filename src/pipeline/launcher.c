/*
 * launcher.c
 *		The launcher: a scheduler for each database in idem.databases.
 *
 * It is started with the server if the library is preloaded, connects to the server but
 * to no database, so that it is seen in pg_stat_activity and can be signalled, and looks after the schedulers: one that ends, for whatever reason, is started
 * again, after a pause that grows while it ends at once (its database is not there
 * yet, say).  Being terminated ends it with an error code, so that the server starts
 * it again too.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "pipeline/launcher.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "server/compat.h"
#include "server/schedule.h"
#include "server/settings.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

/* The pauses before a scheduler is started again, in milliseconds. */
#define MIN_PAUSE 1000
#define MAX_PAUSE 300000

/* A scheduler that ran so long has not failed at once. */
#define LONG_RUN 60000

/* A database of the list, and its scheduler. */
typedef struct Watched
{
	char *name;
	bool listed;					/* is it still in the list */
	BackgroundWorkerHandle *handle; /* NULL if it does not run */
	TimestampTz started_at;
	TimestampTz start_at; /* not before */
	int pause;			  /* milliseconds */
} Watched;

static List *watched = NIL;

void
idem_register_launcher(void)
{
	IdemWorkerArgs args = {.name = "launcher"};
	BackgroundWorker worker;

	idem_fill_worker(&worker, "idem_launcher_main", "idem launcher", &args);
	worker.bgw_restart_time = 1;
	worker.bgw_notify_pid = 0;
	strlcpy(worker.bgw_name, "idem launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/* Finds a database among those watched; makes it one if it is not. */
static Watched *
watch_database(const char *name)
{
	Watched *database;
	ListCell *lc;

	foreach (lc, watched)
	{
		database = lfirst(lc);
		if (strcmp(database->name, name) == 0)
			return database;
	}
	database = palloc0(sizeof(Watched));
	database->name = pstrdup(name);
	database->pause = MIN_PAUSE;
	watched = lappend(watched, database);
	return database;
}

/* Reads the list of databases. */
static void
read_databases(void)
{
	char *list = pstrdup(idem_databases);
	List *names;
	ListCell *lc;

	foreach (lc, watched)
		((Watched *) lfirst(lc))->listed = false;
	if (SplitIdentifierString(list, ',', &names)) /* else the setting's check has said so */
	{
		foreach (lc, names)
			watch_database(lfirst(lc))->listed = true;
	}
	list_free(names);
	pfree(list);
}

/* Notices that a scheduler has ended, and when it may start again. */
static void
note_end(Watched *database)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now - database->started_at > LONG_RUN * INT64CONST(1000))
		database->pause = MIN_PAUSE;
	database->start_at = TimestampTzPlusMilliseconds(now, database->pause);
	database->pause = Min(2 * database->pause, MAX_PAUSE);
	pfree(database->handle);
	database->handle = NULL;
}

/* Starts a scheduler; if there is no slot for it, later. */
static void
start_scheduler(Watched *database)
{
	IdemWorkerArgs args = {0};
	BackgroundWorker worker;

	strlcpy(args.name, database->name, sizeof(args.name));
	idem_fill_worker(&worker, "idem_scheduler_main", "idem scheduler", &args);
	database->started_at = GetCurrentTimestamp();
	if (!RegisterDynamicBackgroundWorker(&worker, &database->handle))
	{
		database->handle = NULL;
		database->start_at = TimestampTzPlusMilliseconds(database->started_at, database->pause);
		if (database->pause == MIN_PAUSE)
			ereport(LOG,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("no background worker slot for the idem scheduler of database \"%s\"", database->name),
					 errhint("Increase max_worker_processes.")));
		database->pause = Min(2 * database->pause, MAX_PAUSE);
	}
}

/* Looks after one database; returns how long it can be left alone, in milliseconds, or -1. */
static long
look_after(Watched *database)
{
	pid_t pid;

	if (database->handle && GetBackgroundWorkerPid(database->handle, &pid) == BGWH_STOPPED)
		note_end(database);
	if (!database->listed)
	{
		if (database->handle)
			TerminateBackgroundWorker(database->handle);
		return -1;
	}
	if (database->handle)
		return -1;
	if (GetCurrentTimestamp() >= database->start_at)
		start_scheduler(database);
	if (database->handle)
		return -1;
	return Max(1, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), database->start_at));
}

/* Looks after all databases; returns how long it can sleep, or -1. */
static long
look_after_all(void)
{
	long sleep = -1;
	ListCell *lc;

	foreach (lc, watched)
	{
		long one = look_after(lfirst(lc));

		if (one >= 0 && (sleep < 0 || one < sleep))
			sleep = one;
	}
	return sleep;
}

/* Ends the schedulers, so that the launcher after us finds none in its way. */
static void
end_schedulers(void)
{
	ListCell *lc;

	foreach (lc, watched)
	{
		if (((Watched *) lfirst(lc))->handle)
			TerminateBackgroundWorker(((Watched *) lfirst(lc))->handle);
	}
	foreach (lc, watched)
	{
		if (((Watched *) lfirst(lc))->handle)
			(void) WaitForBackgroundWorkerShutdown(((Watched *) lfirst(lc))->handle);
	}
}

/* Main function of the launcher's process. */
void
idem_launcher_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("idem launcher");
	MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "idem launcher",
												ALLOCSET_DEFAULT_SIZES));
	read_databases();
	while (!ShutdownRequestPending)
	{
		long sleep = look_after_all();

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (sleep >= 0 ? WL_TIMEOUT : 0),
						 sleep, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		QueryCancelPending = false; /* there is none */
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			read_databases();
		}
	}
	end_schedulers();
	proc_exit(1);
}
