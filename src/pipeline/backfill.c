/*
 * backfill.c
 *		Many windows at once, in parallel workers.
 *
 * The caller puts the gaps and the grid into a shared segment, and each worker cuts off
 * the next window, or some small ones at once, until none is left.  They are claimed and
 * committed as always, so whoever else loads some of them meanwhile does no harm.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "ledger/table.h"
#include "load/call.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "pipeline/backfill.h"
#include "pipeline/due.h"
#include "pipeline/pipeline.h"
#include "pipeline/right.h"
#include "pipeline/state.h"
#include "pipeline/worker.h"
#include "port/atomics.h"
#include "server/extension.h"
#include "server/schedule.h"
#include "server/scope.h"
#include "server/settings.h"
#include "server/shared.h"
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
	uint64 fingerprint;		 /* of the definition by which it is loaded */
	Oid range;				 /* what is cut: its type, */
	IdemPieces pieces;		 /* how, but for the pointers in it, */
	int64 total;			 /* and into how many windows at most */
	pg_atomic_uint64 loaded; /* windows, */
	pg_atomic_uint64 failed;
	pg_atomic_uint64 done; /* and those that have been taken and ended somehow */
	slock_t mutex;		   /* guards the rest */
	IdemCursor cursor;	   /* how far they have been taken */
	uint64 taken;		   /* windows */
	int sqlerrcode;		   /* of the first error; 0 if there was none */
	char message[512];
	IdemWindow gaps[FLEXIBLE_ARRAY_MEMBER];
} Backfill;

/* A backfill as its caller sees it. */
typedef struct Crew
{
	Backfill *shared;
	dsm_segment *segment;
	Oid owner; /* as whom the workers run */
	int nplaces;
	int places[MAX_WORKERS]; /* of idem.max_backfill_workers */
	int nworkers;
	BackgroundWorkerHandle *handles[MAX_WORKERS];
} Crew;

/* The windows of a backfill, as this process sees them. */
static IdemPieces
shared_pieces(const Backfill *shared)
{
	IdemPieces pieces = shared->pieces;

	pieces.type = idem_range_type(shared->range);
	pieces.windows = shared->gaps;
	return pieces;
}

/* Where the workers are by now. */
static IdemCursor
read_cursor(Backfill *shared)
{
	IdemCursor cursor;

	SpinLockAcquire(&shared->mutex);
	cursor = shared->cursor;
	SpinLockRelease(&shared->mutex);
	return cursor;
}

/* Moves the cursor over so many windows, unless somebody has meanwhile. */
static bool
move_cursor(Backfill *shared, const IdemCursor *from, const IdemCursor *to, int n)
{
	bool same;

	SpinLockAcquire(&shared->mutex);
	same = shared->cursor.taken == from->taken &&
		   shared->cursor.rest.lower == from->rest.lower &&
		   shared->cursor.rest.upper == from->rest.upper;
	if (same)
	{
		shared->cursor = *to;
		shared->taken += n;
	}
	SpinLockRelease(&shared->mutex);
	return same;
}

/* What a worker takes windows from, and those that it takes. */
typedef struct Taking
{
	const IdemPipeline *pipeline;
	Backfill *shared;
	IdemWindow *windows;
	int max;
	int n;
} Taking;

/* So many times as many windows as a worker takes at once are left for the others. */
#define FAIR_SHARE 8

/* As many windows a worker takes at once: few of the last, of which the others want some. */
static int
fair_number(Backfill *shared, int max)
{
	int64 rest;

	SpinLockAcquire(&shared->mutex);
	rest = shared->total - (int64) shared->taken;
	SpinLockRelease(&shared->mutex);
	return Max(1, Min(max, rest / FAIR_SHARE));
}

static void
take_windows_as(void *arg)
{
	Taking *taking = arg;
	IdemPieces pieces = shared_pieces(taking->shared);
	int max = fair_number(taking->shared, taking->max);
	IdemCursor from;
	IdemCursor to;

	do
	{
		CHECK_FOR_INTERRUPTS();
		from = to = read_cursor(taking->shared);
		for (taking->n = 0; taking->n < max; taking->n++)
		{
			if (!idem_next_piece(&pieces, &to, &taking->windows[taking->n]))
				break;
		}
	} while (taking->n > 0 && !move_cursor(taking->shared, &from, &to, taking->n));
}

/* Takes the next windows, by the pipeline's time zone; none are left if it returns 0. */
static int
take_windows(void *arg, IdemWindow *windows, int max)
{
	Taking *taking = arg;

	taking->windows = windows;
	taking->max = max;
	idem_run_as(&taking->pipeline->identity, take_windows_as, taking);
	return taking->n;
}

/* Counts a window. */
static void
count_window(void *arg, const IdemRangeType *type, const IdemRun *run, bool busy)
{
	Taking *taking = arg;

	pg_atomic_fetch_add_u64(&taking->shared->loaded, 1);
}

/* Keeps the first error for the caller. */
static void
keep_error(Backfill *shared, const ErrorData *error)
{
	char message[sizeof(shared->message)];

	idem_copy_text(message, error->message ? error->message : "", sizeof(message));
	SpinLockAcquire(&shared->mutex);
	if (shared->sqlerrcode == 0)
	{
		shared->sqlerrcode = error->sqlerrcode;
		strcpy(shared->message, message);
	}
	SpinLockRelease(&shared->mutex);
}

/* Fails for a definition that is not the caller's: its windows would be others. */
static void
check_unaltered(const IdemPipeline *pipeline, const Backfill *shared)
{
	if (pipeline->fingerprint != shared->fingerprint ||
		idem_pipeline_range_type(pipeline)->range != shared->range)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pipeline \"%s\" has been altered since the backfill began", pipeline->name),
				 errhint("CALL idem_backfill again.")));
}

/* Loads windows until there are none left. */
static void
load_windows(const char *name, Backfill *shared)
{
	IdemPipeline *pipeline;
	IdemRequest request;
	IdemSummary summary;
	Taking taking = {.shared = shared};
	char *schema;

	idem_begin_work(false);
	schema = idem_find_schema();
	if (schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"idem\" has been dropped")));
	pipeline = idem_open_pipeline(schema, name);
	check_unaltered(pipeline, shared);
	request = idem_pipeline_request(pipeline);
	request.window_text = "empty";
	request.scheduled = true;
	request.continue_on_error = true;
	request.next_windows = take_windows;
	request.next_windows_arg = &taking;
	taking.pipeline = pipeline;
	idem_run_load(&request, false, count_window, &taking, &summary);
	pg_atomic_fetch_add_u64(&shared->failed, summary.failed);
	pg_atomic_fetch_add_u64(&shared->done, summary.tried);
	if (summary.first_error)
		keep_error(shared, summary.first_error);
	idem_end_work();
}

/* Loads windows until there are none left, or what there is of them has an error. */
static void
load_part(const char *pipeline, Backfill *shared)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		load_windows(pipeline, shared);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		keep_error(shared, error);
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
}

void
idem_backfill_main(Datum arg)
{
	const IdemWorkerArgs *args = idem_begin_process("idem backfill");
	Backfill *shared = idem_attach_segment(args->segment);

	pgstat_report_activity(STATE_RUNNING, psprintf("pipeline %s", args->name));
	if (shared)
		load_part(args->name, shared);
	proc_exit(0);
}

/* Starts one of them; false if there is no slot for it. */
static bool
start_part(const IdemPipeline *pipeline, dsm_segment *segment, BackgroundWorkerHandle **handle)
{
	IdemWorkerArgs args = {
		.database = MyDatabaseId,
		.role = pipeline->identity.role,
		.segment = dsm_segment_handle(segment),
	};
	BackgroundWorker worker;

	idem_copy_text(args.name, pipeline->name, sizeof(args.name));
	idem_fill_worker(&worker, "idem_backfill_main", "idem backfill", &args);
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/* Puts what is to be loaded into a shared segment. */
static void
share_windows(Crew *crew, uint64 fingerprint, const IdemPieces *pieces, int64 total)
{
	Size size = add_size(offsetof(Backfill, gaps), mul_size(pieces->nwindows, sizeof(IdemWindow)));
	Backfill *shared;

	crew->segment = dsm_create(size, 0);
	shared = crew->shared = dsm_segment_address(crew->segment);
	memset(shared, 0, offsetof(Backfill, gaps));
	shared->fingerprint = fingerprint;
	shared->range = pieces->type->range;
	shared->pieces = *pieces;
	shared->total = total;
	pg_atomic_init_u64(&shared->loaded, 0);
	pg_atomic_init_u64(&shared->failed, 0);
	pg_atomic_init_u64(&shared->done, 0);
	SpinLockInit(&shared->mutex);
	memcpy(shared->gaps, pieces->windows, pieces->nwindows * sizeof(IdemWindow));
}

/* True if not all windows have been taken, or one was whose worker did not say its end. */
static bool
is_unfinished(Backfill *shared)
{
	IdemCursor cursor = read_cursor(shared);

	return pg_atomic_read_u64(&shared->done) < shared->taken ||
		   cursor.taken < shared->pieces.nwindows || cursor.rest.lower < cursor.rest.upper;
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
	crew->nworkers = 0;
	while (crew->nplaces > 0)
		idem_give_place_back(crew->places[--crew->nplaces], crew->owner);
}

/* True if a role has no place but may have pipelines that run by themselves. */
static bool
is_kept_for(const char *schema, Oid role, const List *holders)
{
	return !list_member_oid(holders, role) && idem_why_not_run(schema, role) == NULL;
}

/*
 * True if an owner who has places has to leave the last one to others.  It is kept for a
 * role that has none and the right to have workers, as long as there is one: otherwise
 * the long backfills of one role would keep all others from theirs.
 */
static bool
must_leave_last(const char *schema, Oid owner, const List *owners)
{
	List *holders = idem_place_holders();
	ListCell *lc;

	if (idem_max_backfill_workers - list_length(holders) != 1 || !list_member_oid(holders, owner))
		return false;
	foreach (lc, owners)
	{
		if (is_kept_for(schema, lfirst_oid(lc), holders))
			return true;
	}
	return false;
}

/* Takes so many places, or as many as are free; nobody's code runs while we hold them. */
static void
take_places(Crew *crew, const IdemPipeline *pipeline, int workers)
{
	List *owners = idem_pipeline_owners(pipeline->schema);
	int place = -1;

	crew->owner = pipeline->identity.role;
	idem_queue_for_places();
	while (place != 0 && crew->nplaces < workers && !must_leave_last(pipeline->schema, crew->owner, owners))
	{
		place = idem_take_place(idem_max_backfill_workers, crew->owner);
		if (place != 0)
			crew->places[crew->nplaces++] = place;
	}
	idem_leave_queue();
	if (crew->nplaces > 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 place == 0
			 ? errmsg("no worker is free for a backfill: all of idem.max_backfill_workers, %d, are busy",
					  idem_max_backfill_workers)
			 : errmsg("no worker is free for a backfill: the last of idem.max_backfill_workers, %d, is kept for other roles",
					  idem_max_backfill_workers),
			 errhint("Try again when other backfills have ended, or increase idem.max_backfill_workers.")));
}

/* Starts so many workers, or as many as there are places and slots for. */
static void
start_crew(Crew *crew, const IdemPipeline *pipeline, int workers)
{
	const char *setting;

	take_places(crew, pipeline, workers);
	while (crew->nworkers < crew->nplaces &&
		   start_part(pipeline, crew->segment, &crew->handles[crew->nworkers]))
		crew->nworkers++;
	setting = crew->nworkers < crew->nplaces ? "max_worker_processes" : "idem.max_backfill_workers";
	if (crew->nworkers == 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker slot is free for a backfill"),
				 errhint("Try again when others have ended, or increase max_worker_processes.")));
	if (crew->nworkers < workers)
		ereport(NOTICE,
				(errmsg("backfill of pipeline \"%s\" runs in %d of %d workers",
						pipeline->name, crew->nworkers, workers),
				 errhint("More need a higher %s.", setting)));
}

/* Waits for the workers. */
static void
await_crew(Crew *crew)
{
	int i;

	for (i = 0; i < crew->nworkers; i++)
	{
		if (WaitForBackgroundWorkerShutdown(crew->handles[i]) == BGWH_POSTMASTER_DIED)
			proc_exit(1);
	}
}

/* Says what has come of it, by an error if not everything went well. */
static void
report_backfill(const IdemPipeline *pipeline, const Crew *crew)
{
	Backfill *shared = crew->shared;
	uint64 loaded = pg_atomic_read_u64(&shared->loaded);
	uint64 failed = pg_atomic_read_u64(&shared->failed);

	if (failed > 0 || shared->sqlerrcode != 0)
		ereport(ERROR,
				(errcode(shared->sqlerrcode != 0 ? shared->sqlerrcode : ERRCODE_INTERNAL_ERROR),
				 errmsg(UINT64_FORMAT " of " INT64_FORMAT " windows of pipeline \"%s\" failed, " UINT64_FORMAT " were loaded",
						failed, shared->total, pipeline->name, loaded),
				 errdetail("The first error was: %s", shared->message),
				 errhint("The ledger has the others; CALL idem_backfill again loads what is missing.")));
	if (is_unfinished(shared))
		ereport(ERROR,
				(errcode(ERRCODE_OPERATOR_INTERVENTION),
				 errmsg("backfill of pipeline \"%s\" lost a worker: " UINT64_FORMAT " of " INT64_FORMAT " windows were loaded",
						pipeline->name, loaded, shared->total),
				 errhint("CALL idem_backfill again loads what is missing.")));
	ereport(NOTICE,
			(errmsg_plural("pipeline \"%s\": loaded " UINT64_FORMAT " window",
						   "pipeline \"%s\": loaded " UINT64_FORMAT " windows",
						   loaded, pipeline->name, loaded)));
}

/* Loads the windows that are missing. */
static void
backfill(const IdemPipeline *pipeline, const IdemPieces *pieces, int64 total, int workers)
{
	Crew crew = {0};

	share_windows(&crew, pipeline->fingerprint, pieces, total);
	PG_ENSURE_ERROR_CLEANUP(stop_crew, PointerGetDatum(&crew));
	{
		start_crew(&crew, pipeline, Min(workers, total));
		await_crew(&crew);
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_crew, PointerGetDatum(&crew));
	stop_crew(0, PointerGetDatum(&crew));
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
	IdemPieces pieces;
	int64 total;
	bool found;

	check_call(fcinfo);
	idem_connect(false);
	pipeline = idem_argument_pipeline(fcinfo);
	idem_check_can_have_worker(pipeline->name, pipeline->identity.role);
	request = idem_pipeline_request(pipeline);
	request.step = pipeline->step;
	request.grid_start = pipeline->start;
	request.newest_first = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	idem_request_window(pipeline, fcinfo, 1, true, &request);
	found = idem_find_pieces(&request, &pieces, &total);

	/* keeps no lock that a worker could need */
	idem_commit();
	if (!found)
		ereport(NOTICE,
				(errmsg("pipeline \"%s\": nothing to load", pipeline->name)));
	else
	{
		backfill(pipeline, &pieces, total, workers);
		idem_wake_checks(pipeline);
	}
	idem_finish();
	return (Datum) 0;
}
