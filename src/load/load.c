/*
 * load.c
 *		A load: the request, cut into pieces, each claimed, applied and completed.
 *
 * request → gaps → pieces (windows.c) → each run (runner.c), and what is done when one
 * fails (failure.c).  Here is what comes before: everything is looked up and checked.
 */
#include "postgres.h"

#include "access/xact.h"
#include "ledger/table.h"
#include "load/failure.h"
#include "load/load.h"
#include "load/progress.h"
#include "load/runner.h"
#include "load/zone.h"
#include "server/query.h"
#include "server/scope.h"
#include "server/settings.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Fails where the transaction's snapshot would be older than the wait for writers. */
static void
check_isolation(void)
{
	if (idem_wait_for_writers && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a load that waits for writers cannot run under isolation level %s",
						XactIsoLevel == XACT_SERIALIZABLE ? "serializable" : "repeatable read"),
				 errdetail("Its snapshot would be older than the wait, and rows committed in between would be missed for good."),
				 errhint("Use READ COMMITTED, or SET idem.wait_for_writers = off if nobody writes to the source of a window that is loaded.")));
}

/* Fails for arguments that do not go together. */
static void
check_request(const IdemRequest *request)
{
	if (!request->reload && request->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mode \"upsert\" needs keys"),
				 errhint("Name the columns that identify a row, for example keys => '{id}'.")));
	if (request->reload && request->window_column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mode \"reload\" needs window_column"),
				 errhint("Name the target column that places a row in a window, for example window_column => 'ts'.")));
	if (request->version_column && request->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("version_column needs keys"),
				 errhint("Name the columns that identify a row, for example keys => '{id}'.")));
}

/* Fails where the other server's snapshot may be older than the claim. */
static void
check_foreign(const IdemLoad *load)
{
	if (load->atomic && load->target->is_foreign)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("target %s, which is on another server, cannot be loaded inside a transaction",
						load->target->name),
				 errdetail("The other server's snapshot may be older than the claim, and rows that it does not show would be there twice."),
				 errhint("CALL idem_load_window by itself, not in a transaction block or a function.")));
}

/* Fails where a load would write to the ledger that it is booked in. */
static void
check_not_ledger(const IdemLoad *load)
{
	if (load->target->base == load->ledger->relid)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("ledger %s cannot be the target of its own load", load->ledger->name),
				 errhint("Name another target, or another ledger.")));
}

/*
 * Fails for a name that no index of the ledger holds: to look for a very long one takes
 * the server a second between two interrupts.
 */
static void
check_name(const char *pipeline)
{
	if (strlen(pipeline) >= BLCKSZ)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("pipeline name of %zu bytes is too long", strlen(pipeline)),
				 errhint("Give the argument pipeline at most %d bytes.", BLCKSZ - 1)));
}

/* Looks everything up that the pieces share; all that can be wrong is found here. */
static void
prepare_load(IdemLoad *load)
{
	const IdemRequest *request = load->request;

	check_request(request);
	check_isolation();
	load->ledger = idem_open_ledger(request->ledger, request->schema, true);
	load->type = load->ledger->type;
	load->target = idem_open_target(request->target, request->keys, request->nkeys,
									request->window_column, request->version_column,
									load->type);
	check_foreign(load);
	check_not_ledger(load);
	if (!request->reload)
		idem_require_arbiter(load->target);
	load->source = idem_open_source(request->source, load->target, load->type,
									load->target->has_arbiter, request->identity.time_zone);
	load->apply = idem_make_apply(load->target, load->type, idem_source_desc(load->source),
								  request->reload);
	if (request->audit)
		load->audit = idem_make_query("audit", request->audit, load->type->bound);
	load->pipeline = request->pipeline ? request->pipeline : load->target->name;
	check_name(load->pipeline);
	load->source_schema = idem_source_schema(load->source);
	load->time_zone = idem_current_zone();
	load->summary->pipeline = load->pipeline;
}

/*
 * Fails if a reload's source has lost a column that it had when the pipeline's last
 * complete window was loaded: a window without its values would not be the source's.
 */
static void
check_lost_column(const IdemLoad *load, IdemWindow window)
{
	const char *lost;

	if (!load->request->reload || idem_is_whole(load->target))
		return;
	lost = idem_lost_column(load->ledger, load->pipeline, window, load->target->relid,
							idem_absent_columns(load->target));
	if (lost)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("source of pipeline \"%s\" has no longer a column \"%s\"", load->pipeline, lost),
				 errdetail("It had one when the pipeline was last loaded into %s.", load->target->name),
				 errhint("Have the source return it, if need be as NULL AS %s, or drop it from the target.",
						 quote_identifier(lost))));
}

/* What a call begins with. */
static IdemLoad
begin_load(const IdemRequest *request, bool atomic, IdemSummary *summary)
{
	IdemLoad load = {
		.request = request,
		.atomic = atomic,
		.context = CurrentMemoryContext,
		.summary = summary,
	};

	memset(summary, 0, sizeof(*summary));
	load.piece_context = AllocSetContextCreate(load.context, "idem piece",
											   ALLOCSET_DEFAULT_SIZES);
	return load;
}

/* A request to be opened, as an argument of idem_run_as. */
typedef struct Opening
{
	IdemLoad *load;
	bool found;
} Opening;

static void
open_request_as(void *arg)
{
	Opening *opening = arg;
	IdemLoad *load = opening->load;

	prepare_load(load);
	load->plan = (IdemPlan){load->request, load->ledger, load->pipeline};
	opening->found = idem_plan_windows(&load->plan);
	idem_check_zone(&load->plan, load->time_zone);
	if (opening->found)
		check_lost_column(load, load->plan.window);
	if (opening->found && !load->request->force)
		idem_check_coverage_target(load->ledger, load->pipeline, load->plan.window,
								   load->target->relid);
}

/* Looks up what is requested, as whom it is requested; false if the window is empty. */
static bool
open_request(IdemLoad *load)
{
	Opening opening = {load, false};

	idem_run_as(&load->request->identity, open_request_as, &opening);
	return opening.found;
}

void
idem_check_load(const IdemRequest *request)
{
	IdemSummary summary;
	IdemLoad load = begin_load(request, false, &summary);

	(void) open_request(&load);
}

bool
idem_find_pieces(const IdemRequest *request, IdemPieces *pieces, int64 *total)
{
	IdemSummary summary;
	IdemLoad load = begin_load(request, false, &summary);
	IdemQueue *queue;

	if (!open_request(&load))
		return false;
	queue = idem_open_queue(&load.plan, load.plan.window, request->step != NULL);
	*pieces = queue->pieces;
	*total = queue->total;
	return *total > 0;
}

void
idem_run_load(const IdemRequest *request, bool atomic,
			  IdemReport report, void *report_arg, IdemSummary *summary)
{
	IdemLoad load = begin_load(request, atomic, summary);

	load.report = report;
	load.report_arg = report_arg;
	if (!open_request(&load) && request->next_window == NULL)
		return;
	idem_progress_begin(load.ledger, load.pipeline, request->target);
	PG_TRY();
	{
		if (request->next_window)
			idem_load_given(&load);
		else
			idem_load_gaps(&load, load.plan.window, request->step != NULL);
	}
	PG_FINALLY();
	{
		idem_progress_end();
	}
	PG_END_TRY();
	idem_raise_failures(&load);
}
