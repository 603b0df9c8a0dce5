/*
 * load.c
 *		A load: the request, cut into pieces, each claimed, applied and completed.
 *
 * request → what the pieces share (prepare.c) → gaps → pieces (windows.c) → each run
 * (runner.c), and what is done when one fails (failure.c).
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "ledger/table.h"
#include "load/failure.h"
#include "load/load.h"
#include "load/prepare.h"
#include "load/progress.h"
#include "load/runner.h"
#include "load/schema.h"
#include "load/zone.h"
#include "miscadmin.h"
#include "server/scope.h"
#include "server/transaction.h"
#include "utils/guc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* What a call begins with. */
static IdemLoad
begin_load(const IdemRequest *request, bool atomic, IdemSummary *summary)
{
	IdemLoad load = {
		.request = request,
		.atomic = atomic,
		.context = CurrentMemoryContext,
		.summary = summary,
		.pace = {.together = 1},
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
	bool planned; /* its windows are known */
} Opening;

static void
open_request_as(void *arg)
{
	Opening *opening = arg;
	IdemLoad *load = opening->load;

	idem_prepare_ledger(load);
	if (load->pipeline)
		opening->found = opening->planned = idem_plan_windows(&load->plan);
	idem_prepare_load(load);
	idem_check_zone(&load->plan, load->time_zone);
	if (opening->found || load->request->next_windows)
		idem_check_schema(load);
}

/* Looks up what is requested, as whom it is requested. */
static void
open_request(void *arg)
{
	Opening *opening = arg;
	IdemLoad *load = opening->load;

	idem_run_as(&load->request->identity, open_request_as, opening);
	if (!opening->found && load->request->next_windows == NULL)
		idem_check_load_rights(load);
}

/* Keeps a failure to open, in the caller's transaction, past its rollback. */
static void
open_here(Opening *opening)
{
	IdemLoad *load = opening->load;

	PG_TRY();
	{
		open_request(opening);
	}
	PG_CATCH();
	{
		if (opening->planned && !load->request->rehearsed)
			idem_remember_unread(load);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * Opens a request to load it; false if there is nothing to load.  What fails is booked for
 * the first window that would have been loaded; columns that were added are committed, for
 * the lock on the target is not kept while the source runs.
 */
static bool
open_to_load(IdemLoad *load)
{
	Opening opening = {load};
	ErrorData *error;

	load->appends = true;
	if (load->atomic)
	{
		open_here(&opening);
		return opening.found;
	}
	error = idem_try_any(open_request, &opening, load->context);
	if (error && (!opening.planned || idem_is_cancel(error->sqlerrcode)))
		ReThrowError(error);
	if (error)
		idem_handle_unread(load, error);
	if (load->appended)
		idem_commit();
	MemoryContextSwitchTo(load->context);
	return opening.found;
}

/* Says that windows stay complete whose rows are gone after a crash. */
static void
note_unlogged(const IdemLoad *load)
{
	if (!load->target->is_unlogged || load->request->rehearsed || get_rel_persistence(load->ledger->relid) != RELPERSISTENCE_PERMANENT)
		return;
	ereport(NOTICE,
			(errmsg("target %s is unlogged, ledger %s is not", load->target->name, load->ledger->name),
			 errdetail("After a crash of the server the target is empty, and its windows are complete."),
			 errhint("Then SELECT idem_invalidate(%s, %s, range_merge(idem_coverage(%s, %s, '(,)'::%s))).",
					 quote_literal_cstr(load->ledger->name), quote_literal_cstr(load->pipeline),
					 quote_literal_cstr(load->ledger->name), quote_literal_cstr(load->pipeline),
					 format_type_be_qualified(load->type->range))));
}

void
idem_check_load(const IdemRequest *request)
{
	IdemSummary summary;
	IdemLoad load = begin_load(request, false, &summary);
	Opening opening = {&load};

	open_request(&opening);
}

bool
idem_find_pieces(const IdemRequest *request, IdemPieces *pieces, int64 *total)
{
	IdemSummary summary;
	IdemLoad load = begin_load(request, false, &summary);
	Opening opening = {&load};
	IdemQueue *queue;

	open_request(&opening);
	if (!opening.found)
		return false;
	queue = idem_open_queue(&load.plan, load.plan.window, request->step != NULL);
	*pieces = queue->pieces;
	*total = queue->total;
	return *total > 0;
}

/* Keeps a setting as it is now, unless it is named. */
static void
keep_setting(const char **value, const char *name)
{
	if (*value == NULL)
		*value = pstrdup(GetConfigOption(name, false, false));
}

/*
 * The same request as whom, and under which settings, it is made.  The commit of the first
 * piece ends what was SET LOCAL around the call: the role too, and what the next pieces run
 * may be that role's code.
 */
static IdemRequest
keep_identity(const IdemRequest *request)
{
	IdemRequest kept = *request;

	if (!OidIsValid(kept.identity.role))
		kept.identity.role = GetUserId();
	kept.in_session_zone = kept.identity.time_zone == NULL;
	keep_setting(&kept.identity.search_path, "search_path");
	keep_setting(&kept.identity.time_zone, "timezone");
	keep_setting(&kept.identity.date_style, "datestyle");
	keep_setting(&kept.identity.interval_style, "intervalstyle");
	return kept;
}

void
idem_run_load(const IdemRequest *request, bool atomic,
			  IdemReport report, void *report_arg, IdemSummary *summary)
{
	IdemRequest kept = atomic ? *request : keep_identity(request);
	IdemLoad load = begin_load(&kept, atomic, summary);

	load.report = report;
	load.report_arg = report_arg;
	if (!open_to_load(&load) && request->next_windows == NULL)
		return;
	note_unlogged(&load);
	idem_progress_begin(load.ledger, load.pipeline, request->target);
	PG_TRY();
	{
		if (request->next_windows)
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
