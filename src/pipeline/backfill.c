/*
 * backfill.c
 *		Many windows at once, in parallel workers.
 *
 * The caller lists the windows that are missing in a shared segment, and each worker
 * takes the next one until none is left.  Every window is a transaction of its own and
 * claimed as always, so whoever else loads some of them meanwhile does no harm.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "ledger/table.h"
#include "load/call.h"
#include "miscadmin.h"
#include "pipeline/backfill.h"
#include "pipeline/due.h"
#include "pipeline/pipeline.h"
#include "pipeline/worker.h"
#include "port/atomics.h"
#include "server/extension.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(idem_backfill);

/* More workers than this are a mistake. */
#define MAX_WORKERS 256

/* What the caller and its workers share. */
typedef struct Backfill
{
	int nwindows;
	pg_atomic_uint32 next;	 /* window to take */
	pg_atomic_uint32 loaded; /* windows, */
	pg_atomic_uint32 failed;
	pg_atomic_uint32 done; /* and those that have been taken and ended somehow */
	slock_t mutex;		   /* guards the rest */
	int sqlerrcode;		   /* of the first error; 0 if there was none */
	char message[512];
	IdemWindow windows[FLEXIBLE_ARRAY_MEMBER];
} Backfill;

/* A backfill as its caller sees it. */
typedef struct Crew
{
	Backfill *shared;
	dsm_segment *segment;
	int nworkers;
	BackgroundWorkerHandle *handles[MAX_WORKERS];
} Crew;

/* Takes the next window; false if there is none. */
static bool
take_window(void *arg, IdemWindow *window)
{
	Backfill *shared = arg;
	uint32 i = pg_atomic_fetch_add_u32(&shared->next, 1);

	if (i >= shared->nwindows)
		return false;
	*window = shared->windows[i];
	return true;
}

/* Counts a window. */
static void
count_window(void *arg, const IdemRangeType *type, const IdemRun *run, bool busy)
{
	Backfill *shared = arg;

	pg_atomic_fetch_add_u32(&shared->loaded, 1);
}

/* Keeps the first error for the caller. */
static void
keep_error(Backfill *shared, const ErrorData *error)
{
	SpinLockAcquire(&shared->mutex);
	if (shared->sqlerrcode == 0)
	{
		shared->sqlerrcode = error->sqlerrcode;
		strlcpy(shared->message, error->message, sizeof(shared->message));
	}
	SpinLockRelease(&shared->mutex);
}

/* Loads windows until there are none left. */
static void
load_windows(const char *name, Backfill *shared)
{
	IdemPipeline *pipeline;
	IdemRequest request;
	IdemSummary summary;
	char *schema;

	idem_begin_work(false);
	schema = idem_find_schema();
	if (schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"idem\" has been dropped")));
	pipeline = idem_open_pipeline(schema, name);
	request = idem_pipeline_request(pipeline);
	request.window_text = "empty";
	request.scheduled = true;
	request.continue_on_error = true;
	request.next_window = take_window;
	request.next_window_arg = shared;
	idem_run_load(&request, false, count_window, shared, &summary);
	pg_atomic_fetch_add_u32(&shared->failed, summary.failed);
	pg_atomic_fetch_add_u32(&shared->done, summary.tried);
	if (summary.first_error)
		keep_error(shared, summary.first_error);
	idem_end_work();
}

void
idem_run_backfill_part(const char *pipeline, uint32 handle)
{
	MemoryContext context = CurrentMemoryContext;
	dsm_segment *segment;

	StartTransactionCommand();
	segment = dsm_attach(handle);
	if (segment == NULL)
		return; /* the caller has gone */
	dsm_pin_mapping(segment);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		load_windows(pipeline, dsm_segment_address(segment));
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		keep_error(dsm_segment_address(segment), error);
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
}

/* Puts the windows into a shared segment. */
static void
share_windows(Crew *crew, const IdemWindow *windows, int n)
{
	Size size = add_size(offsetof(Backfill, windows), mul_size(n, sizeof(IdemWindow)));
	Backfill *shared;

	crew->segment = dsm_create(size, 0);
	shared = crew->shared = dsm_segment_address(crew->segment);
	memset(shared, 0, offsetof(Backfill, windows));
	shared->nwindows = n;
	pg_atomic_init_u32(&shared->next, 0);
	pg_atomic_init_u32(&shared->loaded, 0);
	pg_atomic_init_u32(&shared->failed, 0);
	pg_atomic_init_u32(&shared->done, 0);
	SpinLockInit(&shared->mutex);
	memcpy(shared->windows, windows, n * sizeof(IdemWindow));
}

/* Stops the workers and waits until they are gone; also when the caller is ended. */
static void
stop_crew(int code, Datum arg)
{
	Crew *crew = (Crew *) DatumGetPointer(arg);
	int i;

	for (i = 0; i < crew->nworkers; i++)
		TerminateBackgroundWorker(crew->handles[i]);
	HOLD_INTERRUPTS();
	for (i = 0; i < crew->nworkers; i++)
		(void) WaitForBackgroundWorkerShutdown(crew->handles[i]);
	RESUME_INTERRUPTS();
}

/* Starts so many workers, or as many as there are slots for, and waits for them. */
static void
run_crew(Crew *crew, const IdemPipeline *pipeline, int workers)
{
	bool may_log_in = idem_role_may_log_in(pipeline->identity.role);
	int i;

	while (crew->nworkers < workers &&
		   idem_start_pipeline_worker(pipeline->name, pipeline->identity.role, may_log_in,
									  dsm_segment_handle(crew->segment), &crew->handles[crew->nworkers]))
		crew->nworkers++;
	if (crew->nworkers == 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker slot is free for a backfill"),
				 errhint("Try again when others have ended, or increase max_worker_processes.")));
	if (crew->nworkers < workers)
		ereport(NOTICE,
				(errmsg("backfill of pipeline \"%s\" runs in %d of %d workers",
						pipeline->name, crew->nworkers, workers),
				 errhint("More need a higher max_worker_processes.")));
	for (i = 0; i < crew->nworkers; i++)
	{
		if (WaitForBackgroundWorkerShutdown(crew->handles[i]) == BGWH_POSTMASTER_DIED)
			proc_exit(1);
	}
	crew->nworkers = 0; /* nobody is left to be stopped */
}

/* Says what has come of it, by an error if not everything went well. */
static void
report_backfill(const IdemPipeline *pipeline, const Crew *crew)
{
	Backfill *shared = crew->shared;
	uint32 loaded = pg_atomic_read_u32(&shared->loaded);
	uint32 failed = pg_atomic_read_u32(&shared->failed);
	uint32 done = pg_atomic_read_u32(&shared->done);

	if (failed > 0 || shared->sqlerrcode != 0)
		ereport(ERROR,
				(errcode(shared->sqlerrcode != 0 ? shared->sqlerrcode : ERRCODE_INTERNAL_ERROR),
				 errmsg("%u of %d windows of pipeline \"%s\" failed, %u were loaded",
						failed, shared->nwindows, pipeline->name, loaded),
				 errdetail("The first error was: %s", shared->message),
				 errhint("The ledger has the others; CALL idem_backfill again loads what is missing.")));
	if (done < shared->nwindows)
		ereport(ERROR,
				(errcode(ERRCODE_OPERATOR_INTERVENTION),
				 errmsg("backfill of pipeline \"%s\" lost a worker: %u of %d windows were loaded",
						pipeline->name, loaded, shared->nwindows),
				 errhint("CALL idem_backfill again loads what is missing.")));
	ereport(NOTICE,
			(errmsg_plural("pipeline \"%s\": loaded %u window",
						   "pipeline \"%s\": loaded %u windows",
						   loaded, pipeline->name, loaded)));
}

/* Loads the windows that are missing. */
static void
backfill(const IdemPipeline *pipeline, const IdemWindow *windows, int n, int workers)
{
	Crew crew = {0};

	share_windows(&crew, windows, n);
	PG_ENSURE_ERROR_CLEANUP(stop_crew, PointerGetDatum(&crew));
	{
		run_crew(&crew, pipeline, Min(workers, n));
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_crew, PointerGetDatum(&crew));
	report_backfill(pipeline, &crew);
	dsm_detach(crew.segment);
}

/* Fails for arguments that make no sense. */
static int
read_workers(FunctionCallInfo fcinfo)
{
	int workers = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);

	if (workers < 1 || workers > MAX_WORKERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("workers must be between 1 and %d", MAX_WORKERS)));
	return workers;
}

/* Fails for a call that workers cannot serve: they see only what is committed. */
static void
check_call(FunctionCallInfo fcinfo)
{
	if (idem_call_is_atomic(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("idem_backfill cannot run inside a transaction block"),
				 errdetail("Its workers are transactions of their own and see only what is committed."),
				 errhint("CALL it by itself, or use CALL idem_load_window.")));
}

/* SQL: CALL idem_backfill(pipeline, window_range, workers, newest_first) */
Datum
idem_backfill(PG_FUNCTION_ARGS)
{
	int workers = read_workers(fcinfo);
	IdemPipeline *pipeline;
	IdemRequest request;
	IdemWindow *windows;
	int n;

	check_call(fcinfo);
	idem_connect(false);
	pipeline = idem_argument_pipeline(fcinfo);
	request = idem_pipeline_request(pipeline);
	request.step = pipeline->step;
	request.grid_start = pipeline->start;
	request.newest_first = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	idem_read_window_argument(fcinfo, 1, true, &request);
	windows = idem_list_windows(&request, &n);

	/* keeps no lock that a worker could need */
	idem_commit();
	if (n == 0)
		ereport(NOTICE,
				(errmsg("pipeline \"%s\": nothing to load", pipeline->name)));
	else
		backfill(pipeline, windows, n, workers);
	idem_finish();
	return (Datum) 0;
}
