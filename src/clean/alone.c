/*
 * alone.c
 *		Commands that cannot run inside a procedure: CREATE INDEX CONCURRENTLY and its like.
 *
 * They commit by themselves, which the server allows at top level only.  So a background
 * worker runs them, connected as the caller, who waits without a snapshot.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "clean/alone.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "server/compat.h"
#include "server/schedule.h"
#include "server/shared.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* What caller and worker share. */
typedef struct Alone
{
	bool done;
	int sqlerrcode; /* 0: it succeeded */
	char message[1024];
	char detail[1024];
	char memory[32]; /* maintenance_work_mem */
	Size path;		 /* where search_path begins in text; the command is before it */
	char text[FLEXIBLE_ARRAY_MEMBER];
} Alone;

bool
idem_can_run_alone(void)
{
	HeapTuple tuple;
	bool result;

	if (IDEM_BYPASS_LOGIN_CHECK != 0)
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	result = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
}

/* Runs the command as the server runs one that a client has sent. */
static void
run_command(const char *sql)
{
	MemoryContext context = CurrentMemoryContext;
	PlannedStmt *planned = makeNode(PlannedStmt);
	RawStmt *raw = linitial_node(RawStmt, pg_parse_query(sql));

	planned->commandType = CMD_UTILITY;
	planned->utilityStmt = raw->stmt;
	planned->stmt_location = raw->stmt_location;
	planned->stmt_len = raw->stmt_len;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(context);
	ProcessUtility(planned, sql, false, PROCESS_UTILITY_TOPLEVEL, NULL, NULL, None_Receiver, NULL);
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/* Runs it, and leaves its error for the caller, who raises it. */
static void
run_for_caller(Alone *alone)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		run_command(alone->text);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		alone->sqlerrcode = error->sqlerrcode;
		idem_copy_text(alone->message, error->message ? error->message : "", sizeof(alone->message));
		idem_copy_text(alone->detail, error->detail ? error->detail : "", sizeof(alone->detail));
	}
	PG_END_TRY();
	alone->done = true;
}

/* Main function of the worker's process. */
void
idem_alone_main(Datum arg)
{
	const IdemWorkerArgs *args = idem_begin_process("idem index");
	Alone *alone = idem_attach_segment(args->segment);

	if (alone)
	{
		(void) set_config_option("search_path", alone->text + alone->path, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
		(void) set_config_option("maintenance_work_mem", alone->memory, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
		pgstat_report_activity(STATE_RUNNING, alone->text);
		run_for_caller(alone);
	}
	proc_exit(0);
}

/* Stops the worker and waits until it is gone; also when the caller is ended. */
static void
stop_worker(int code, Datum arg)
{
	BackgroundWorkerHandle *handle = (BackgroundWorkerHandle *) DatumGetPointer(arg);

	TerminateBackgroundWorker(handle);
	HOLD_INTERRUPTS();
	(void) WaitForBackgroundWorkerShutdown(handle);
	RESUME_INTERRUPTS();
}

/* Starts the worker. */
static BackgroundWorkerHandle *
start_worker(dsm_segment *segment)
{
	IdemWorkerArgs args = {
		.database = MyDatabaseId,
		.role = GetUserId(),
		.segment = dsm_segment_handle(segment),
		.name = "index",
	};
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;

	idem_fill_worker(&worker, "idem_alone_main", "idem index", &args);
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker is free to build an index"),
				 errhint("A higher max_worker_processes; then the same call goes on.")));
	return handle;
}

/* The error that the worker has left. */
static ErrorData *
read_error(const Alone *alone)
{
	ErrorData *error;

	if (!alone->done)
		ereport(ERROR,
				(errcode(ERRCODE_OPERATOR_INTERVENTION),
				 errmsg("the process that built an index has ended"),
				 errhint("See the log; then the same call goes on.")));
	if (alone->sqlerrcode == 0)
		return NULL;
	error = palloc0(sizeof(ErrorData));
	error->sqlerrcode = alone->sqlerrcode;
	error->message = pstrdup(alone->message);
	error->detail = alone->detail[0] ? pstrdup(alone->detail) : NULL;
	return error;
}

ErrorData *
idem_run_alone(const char *sql)
{
	const char *path = GetConfigOption("search_path", false, false);
	dsm_segment *segment = dsm_create(add_size(offsetof(Alone, text), strlen(sql) + strlen(path) + 2), 0);
	Alone *alone = dsm_segment_address(segment);
	BackgroundWorkerHandle *handle;
	ErrorData *error;

	memset(alone, 0, offsetof(Alone, text));
	strlcpy(alone->memory, GetConfigOption("maintenance_work_mem", false, false), sizeof(alone->memory));
	alone->path = strlen(sql) + 1;
	strcpy(alone->text, sql);
	strcpy(alone->text + alone->path, path);
	handle = start_worker(segment);
	PG_ENSURE_ERROR_CLEANUP(stop_worker, PointerGetDatum(handle));
	{
		InvalidateCatalogSnapshot();
		(void) WaitForBackgroundWorkerShutdown(handle);
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_worker, PointerGetDatum(handle));
	error = read_error(alone);
	dsm_detach(segment);
	return error;
}
