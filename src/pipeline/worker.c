/*
 * worker.c
 *		The process that runs a pipeline's turn; and what all processes that run somebody's
 *		code begin with.
 *
 * It connects as the pipeline's owner, so it has no rights but his from the first
 * moment on.  Servers before 17 do not let a role connect that may not log in; there the
 * pipeline of such a role cannot run by itself.
 *
 * SIGTERM ends it as it ends any session: the window it is at is rolled back.
 */
#include "postgres.h"

#include "access/xact.h"
#include "load/retry.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "pipeline/coverage.h"
#include "pipeline/due.h"
#include "pipeline/metrics.h"
#include "pipeline/pipeline.h"
#include "pipeline/reconcile.h"
#include "pipeline/state.h"
#include "pipeline/worker.h"
#include "server/compat.h"
#include "server/extension.h"
#include "server/schedule.h"
#include "server/shared.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* The longest pause after turns that could not even begin, in microseconds. */
#define MAX_PAUSE (600 * USECS_PER_SEC)

bool
idem_start_pipeline_worker(IdemDuty duty, const char *pipeline, Oid owner, BackgroundWorkerHandle **handle)
{
	IdemWorkerArgs args = {.database = MyDatabaseId, .role = owner};
	BackgroundWorker worker;

	idem_copy_text(args.name, pipeline, sizeof(args.name));
	if (duty == IDEM_CHECKING)
		idem_fill_worker(&worker, "idem_check_main", "idem check", &args);
	else
		idem_fill_worker(&worker, "idem_worker_main", "idem worker", &args);
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

void
idem_begin_work(bool atomic)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	idem_keep_snapshot();
	idem_connect(atomic);
}

void
idem_end_work(void)
{
	idem_finish();
	idem_drop_snapshot();
	CommitTransactionCommand();
}

/* Logs what a turn has done, if it has done anything. */
static void
log_summary(const IdemSummary *summary)
{
	if (summary->failed > 0)
		ereport(LOG,
				(errmsg("pipeline \"%s\": loaded %lld windows, %lld failed",
						summary->pipeline, (long long) summary->loaded, (long long) summary->failed),
				 summary->first_error ? errdetail("Window %s: %s", summary->first_failed, summary->first_error->message) : 0));
	else if (summary->loaded > 0)
		ereport(DEBUG1,
				(errmsg("pipeline \"%s\": loaded %lld windows",
						summary->pipeline, (long long) summary->loaded)));
}

/* Coverage to be read, as an argument of idem_try. */
typedef struct CoverageReading
{
	const IdemPipeline *pipeline;
	const IdemFrontier *frontier;
	IdemPipelineCoverage coverage;
} CoverageReading;

static void
read_coverage(void *arg)
{
	CoverageReading *reading = arg;

	reading->coverage = idem_read_coverage(reading->pipeline, NULL, reading->frontier);
}

/* Books how the pipeline is doing, for those who may look at it but not run its code. */
static void
book_coverage(const IdemPipeline *pipeline, const IdemFrontier *frontier)
{
	CoverageReading reading = {pipeline, frontier};

	if (idem_try(read_coverage, &reading, CurrentMemoryContext) == NULL)
		idem_book_coverage(pipeline->schema, pipeline->name, &reading.coverage, frontier);
}

/* Runs a turn and books it; raises whatever goes wrong. */
static void
run_turn(const char *name)
{
	IdemSummary summary;
	IdemPipeline *pipeline;
	IdemFrontier frontier;
	IdemCrashes crashes;
	TimestampTz next;
	char *schema;

	idem_begin_work(false);
	schema = idem_find_schema();
	if (schema)
	{
		pipeline = idem_open_pipeline(schema, name);
		frontier = idem_find_frontier(pipeline);
		crashes = (IdemCrashes){idem_pipeline_crashes(schema, name), idem_crashed_lately(schema, name)};
		next = idem_run_turn(pipeline, &frontier, &crashes, &summary);
		book_coverage(pipeline, &frontier);
		idem_book_work(schema, name, &summary);
		idem_book_turn(schema, IDEM_LOADING, name, next, NULL);
		if (summary.loaded > 0)
			idem_wake_checks(pipeline);
		log_summary(&summary);
	}
	idem_end_work();
}

/* Runs a turn that checks, and books it; raises whatever goes wrong. */
static void
run_check_turn(const char *name)
{
	TimestampTz swept_at;
	TimestampTz next = 0;
	IdemPipeline *pipeline;
	char *schema;

	idem_begin_work(false);
	schema = idem_find_schema();
	if (schema)
	{
		pipeline = idem_open_pipeline(schema, name);
		swept_at = idem_swept_at(schema, name);
		if (OidIsValid(pipeline->monitor))
			next = idem_run_check_turn(pipeline, &swept_at);
		idem_book_turn(schema, IDEM_CHECKING, name, next, NULL);
		idem_book_sweep(schema, name, swept_at);
	}
	idem_end_work();
}

/* Books a turn that ended in an error: the pause before the next one grows. */
static void
book_error(IdemDuty duty, const char *name, const ErrorData *error)
{
	char *schema;

	idem_begin_work(true);
	schema = idem_find_schema();
	if (schema)
	{
		int failures = idem_pipeline_failures(schema, duty, name);
		int64 pause = idem_retry_delay(USECS_PER_SEC, MAX_PAUSE, failures + 1);

		idem_book_turn(schema, duty, name, GetCurrentTimestamp() + pause,
					   error->detail ? psprintf("%s (%s)", error->message, error->detail) : error->message);
	}
	idem_end_work();
}

/* Runs a turn, whatever comes of it. */
static void
run_and_book(IdemDuty duty, const char *name)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData *volatile error = NULL;

	PG_TRY();
	{
		if (duty == IDEM_CHECKING)
			run_check_turn(name);
		else
			run_turn(name);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	if (error)
		book_error(duty, name, error);
}

/* Main function of a worker's process. */
void
idem_worker_main(Datum arg)
{
	const IdemWorkerArgs *args = idem_begin_process("idem worker");

	pgstat_report_activity(STATE_RUNNING, psprintf("pipeline %s", args->name));
	run_and_book(IDEM_LOADING, args->name);
	proc_exit(0);
}

/* Main function of a process that checks. */
void
idem_check_main(Datum arg)
{
	const IdemWorkerArgs *args = idem_begin_process("idem check");

	pgstat_report_activity(STATE_RUNNING, psprintf("check of pipeline %s", args->name));
	run_and_book(IDEM_CHECKING, args->name);
	proc_exit(0);
}
