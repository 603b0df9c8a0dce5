/*
 * load.c
 *		A load: the request, cut into pieces, each claimed, applied and completed.
 *
 * request → gaps → pieces → for each: claim → wait for writers → snapshot →
 * source → apply → audit → complete → commit.
 *
 * At top level each piece is a transaction.  SPI cannot roll back from inside a
 * PG_CATCH when the error came from a nested SPI level (a PL/pgSQL trigger, say),
 * so each piece runs in a subtransaction, whose rollback unwinds those levels.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "ledger/notify.h"
#include "ledger/table.h"
#include "load/apply.h"
#include "load/audit.h"
#include "load/load.h"
#include "load/progress.h"
#include "load/recorder.h"
#include "load/retry.h"
#include "load/source.h"
#include "load/windows.h"
#include "load/writers.h"
#include "miscadmin.h"
#include "server/query.h"
#include "server/scope.h"
#include "server/settings.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

typedef struct Load
{
	const IdemRequest *request;
	bool atomic;
	MemoryContext context;		 /* lives as long as the call */
	MemoryContext piece_context; /* reset for each piece */
	IdemLedger *ledger;
	const IdemRangeType *type;
	IdemTarget *target;
	IdemSource *source;
	IdemApply *apply;
	IdemQuery *audit; /* NULL if there is none */
	const char *pipeline;
	const char *source_schema;
	bool again;	   /* the piece has failed by a conflict: try it once more */
	IdemPlan plan; /* of its windows */
	IdemReport report;
	void *report_arg;
	IdemSummary *summary;
} Load;

/* A piece, and what it came to. */
typedef struct PieceResult
{
	Load *load;
	IdemIdentity identity; /* as whom it is loaded */
	IdemRun run;
	IdemClaim claim;
} PieceResult;

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
check_foreign(const Load *load)
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
check_not_ledger(const Load *load)
{
	if (load->target->base == load->ledger->relid)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("ledger %s cannot be the target of its own load", load->ledger->name),
				 errhint("Name another target, or another ledger.")));
}

/* Looks everything up that the pieces share; all that can be wrong is found here. */
static void
prepare_load(Load *load)
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
	load->source_schema = idem_source_schema(load->source);
	load->summary->pipeline = load->pipeline;
}

/*
 * Fails if a reload's source has lost a column that it had when the pipeline's last
 * complete window was loaded: a window without its values would not be the source's.
 */
static void
check_lost_column(const Load *load, IdemWindow window)
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

/* Adds to a message in which window of which pipeline it happened. */
static void
add_context(void *arg)
{
	const PieceResult *result = arg;

	errcontext("window %s of pipeline \"%s\"",
			   idem_window_text(result->load->type, result->run.window),
			   result->run.pipeline);
}

/* What happens to a row between source and target. */
typedef struct Intake
{
	Load *load;
	IdemRun *run;
	IdemPiece *piece;
	StringInfoData buf;
} Intake;

/* Takes one row. */
static void
take_row(void *arg, TupleTableSlot *slot)
{
	Intake *intake = arg;

	idem_progress_read();
	slot_getallattrs(slot);
	if (intake->run->has_digest)
	{
		IdemDigest hash = idem_hash_row(&intake->buf, idem_source_desc(intake->load->source),
										slot->tts_values, slot->tts_isnull);

		idem_add_digest(&intake->run->digest, &hash);
	}
	idem_take_row(intake->load->apply, intake->piece, slot);
}

/* Fetches and applies the rows of a claimed window. */
static void
load_rows(Load *load, IdemRun *run)
{
	IdemPiece piece = {0};
	Intake intake = {load, run, &piece};

	run->has_digest = idem_source_digest;
	initStringInfo(&intake.buf);
	idem_begin_piece(load->apply, &piece, run);
	idem_progress_phase(IDEM_PHASE_SOURCE);
	piece.rows = idem_run_source(load->source, run->window, take_row, &intake);
	idem_check_target(load->target);
	run->source_rows = piece.rows.count;
	idem_progress_phase(IDEM_PHASE_APPLY);
	idem_apply_piece(load->apply, &piece);
}

/* Loads, audits and completes a window that has been claimed. */
static void
load_claimed(Load *load, IdemRun *run)
{
	if (idem_wait_for_writers)
	{
		idem_progress_phase(IDEM_PHASE_WRITERS);
		idem_wait_for_source_writers(idem_source_relations(load->source));
	}
	load_rows(load, run);
	if (load->audit)
	{
		idem_progress_phase(IDEM_PHASE_AUDIT);
		idem_run_audit(load->audit, load->type, run->window);
	}
	idem_complete_run(load->ledger, run);
	idem_forget_failure(run);
	if (load->request->notify)
		idem_notify_complete(load->type, run);
}

/* Does one piece, as its identity. */
static void
load_piece_as(void *arg)
{
	PieceResult *result = arg;
	Load *load = result->load;

	idem_progress_phase(IDEM_PHASE_CLAIM);
	result->claim = idem_claim_window(load->ledger, &result->run, load->request->on_busy);
	if (result->claim == IDEM_CLAIMED)
		load_claimed(load, &result->run);
}

/* Does one piece, in the current transaction. */
static void
load_piece(void *arg)
{
	PieceResult *result = arg;

	idem_run_as(&result->load->request->identity, load_piece_as, result);
}

/*
 * Does work in a transaction of its own, and commits.  If it fails, everything is
 * rolled back and the error returned, copied to the piece's context.
 */
static ErrorData *
run_transaction(Load *load, void (*work)(void *arg), void *arg)
{
	ErrorData *volatile error = idem_try_any(work, arg, load->piece_context);

	if (error)
	{
		idem_hide_rows();
		idem_rollback();
		return error;
	}
	PG_TRY();
	{
		idem_commit();
	}
	PG_CATCH();
	{
		/* a deferred constraint, say: rolled back already */
		MemoryContextSwitchTo(load->piece_context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(load->piece_context);
	return error;
}

/* What record_failure needs. */
typedef struct FailureRecord
{
	Load *load;
	IdemFailure failure;
} FailureRecord;

/* Writes a failure to the ledger, as the load's identity. */
static void
record_failure_as(void *arg)
{
	FailureRecord *record = arg;
	Load *load = record->load;
	IdemFailure *failure = &record->failure;

	if (load->request->retry && !failure->blocked)
		idem_plan_retry(load->request->retry, idem_count_failures(load->ledger, failure->run),
						failure);
	idem_record_failure(load->ledger, failure);
	if (load->request->notify)
		idem_notify_failure(load->type, failure);
}

/* Writes a failure to the ledger, in the current transaction. */
static void
record_failure(void *arg)
{
	idem_run_as(&((FailureRecord *) arg)->load->request->identity, record_failure_as, arg);
}

/* Counts a failure; of the first it is kept what the call's own error will say. */
static void
count_failure(Load *load, const IdemRun *run, const ErrorData *error)
{
	IdemSummary *summary = load->summary;
	MemoryContext old;

	if (summary->failed++ > 0)
		return;
	old = MemoryContextSwitchTo(load->context);
	summary->first_error = palloc0(sizeof(ErrorData));
	summary->first_error->sqlerrcode = error->sqlerrcode;
	summary->first_error->message = pstrdup(error->message);
	summary->first_failed = idem_window_text(load->type, run->window);
	MemoryContextSwitchTo(old);
}

/*
 * Books a failed piece, and raises its error unless the load is to go on.  A run
 * begins with its claim: one that did not get it leaves no trace.  A conflict of a
 * pipeline's window is booked too, but tried again at once, a few times.
 */
static void
handle_failure(Load *load, const IdemRun *run, ErrorData *error)
{
	FailureRecord record = {load, {run, error}};
	ErrorData *second = NULL;

	if (run->run_id != 0 && !(load->request->scheduled && idem_is_cancel(error->sqlerrcode)))
		second = run_transaction(load, record_failure, &record);
	if (second)
		ereport(WARNING,
				(errcode(second->sqlerrcode),
				 errmsg("could not record the failure of window %s of pipeline \"%s\": %s",
						idem_window_text(load->type, run->window), run->pipeline,
						second->message)));
	load->again = second == NULL && record.failure.next_attempt_at != 0 && !record.failure.blocked &&
				  record.failure.next_attempt_at <= GetCurrentTimestamp();
	if (load->again)
		return;
	if (!load->request->continue_on_error || idem_is_cancel(error->sqlerrcode))
		ReThrowError(error);
	count_failure(load, run, error);
}

/* Counts and reports a piece that was loaded or left alone. */
static void
report_piece(Load *load, const PieceResult *result)
{
	IdemRun *total = &load->summary->total;
	const IdemRun *run = &result->run;

	if (result->claim == IDEM_CLAIM_BUSY)
		load->summary->busy++;
	else
		load->summary->loaded++;
	total->source_rows += run->source_rows;
	total->inserted_rows += run->inserted_rows;
	total->updated_rows += run->updated_rows;
	total->deleted_rows += Max(run->deleted_rows, 0);
	total->unchanged_rows += run->unchanged_rows;
	if (load->report)
		load->report(load->report_arg, load->type, run, result->claim == IDEM_CLAIM_BUSY);
}

/* Does one piece in the caller's transaction; a failure outlives its rollback. */
static void
load_piece_here(PieceResult *result)
{
	PG_TRY();
	{
		load_piece(result);
	}
	PG_CATCH();
	{
		if (result->run.run_id != 0)
			idem_remember_failure(result->load->type, &result->run, &result->identity);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* As whom, and under which search_path, a load runs. */
static IdemIdentity
current_identity(const Load *load)
{
	IdemIdentity identity = load->request->identity;

	if (!OidIsValid(identity.role))
		identity.role = GetUserId();
	if (identity.search_path == NULL)
		identity.search_path = pstrdup(namespace_search_path);
	return identity;
}

/* Loads one piece; returns false if some of it is complete by now. */
static bool
run_piece(Load *load, IdemWindow window)
{
	PieceResult result = {
		.load = load,
		.run = {
			.pipeline = load->pipeline,
			.window = window,
			.target = load->target->relid,
			.source_schema = load->source_schema,
			.mode = load->request->reload ? "reload" : "upsert",
			.redo = window.lower < load->plan.reopened.upper && load->plan.reopened.lower < window.upper,
		}};
	ErrorData *volatile error = NULL;
	ErrorContextCallback context = {error_context_stack, add_context, &result};

	MemoryContextReset(load->piece_context);
	MemoryContextSwitchTo(load->piece_context);
	result.identity = current_identity(load);
	error_context_stack = &context;
	idem_progress_window(window);
	idem_enter_run(load->ledger, &result.run);
	PG_TRY();
	{
		if (load->atomic)
			load_piece_here(&result);
		else
			error = run_transaction(load, load_piece, &result);
	}
	PG_FINALLY();
	{
		idem_leave_run(&result.run);
	}
	PG_END_TRY();
	error_context_stack = context.previous;
	if (error)
		handle_failure(load, &result.run, error);
	else if (result.claim != IDEM_CLAIM_COMPLETE)
		report_piece(load, &result);
	if (!load->again)
		idem_progress_done(result.run.inserted_rows + result.run.updated_rows + Max(result.run.deleted_rows, 0));
	MemoryContextSwitchTo(load->context);
	return error || result.claim != IDEM_CLAIM_COMPLETE;
}

/*
 * Blocks a window that took its worker down whenever it was tried, as if it had been
 * tried once more.
 */
static void
condemn_window(Load *load, IdemWindow window)
{
	IdemRun run = {
		.pipeline = load->pipeline,
		.window = window,
		.target = load->target->relid,
		.mode = load->request->reload ? "reload" : "upsert",
		.started_at = GetCurrentTimestamp(),
	};
	ErrorData error = {
		.sqlerrcode = ERRCODE_CRASH_SHUTDOWN,
		.message = "the worker was lost each time it loaded this window",
		.hint = "Find out why in the server's log, then SELECT idem_retry(pipeline, window_range).",
	};
	FailureRecord record = {load, {.run = &run, .error = &error, .blocked = true}};
	ErrorData *second = run_transaction(load, record_failure, &record);

	if (second)
		ReThrowError(second);
	load->summary->failed++;
	MemoryContextSwitchTo(load->context);
}

static void load_gaps(Load *load, IdemWindow window, bool cut);

/* Loads one piece, or what another session has left of it. */
static void
finish_piece(Load *load, IdemWindow window)
{
	do
	{
		CHECK_FOR_INTERRUPTS();
		load->again = false;
		if (!run_piece(load, window))
			load_gaps(load, window, false);
	} while (load->again);
}

/* Loads the pieces that have been made, up to a number; returns how many. */
static int64
load_queue(Load *load, const IdemQueue *queue, int64 max, bool condemn)
{
	int n = Min(queue->n, max);
	int i;

	for (i = 0; i < n; i++)
	{
		if (i == 0 && condemn)
			condemn_window(load, queue->made[i]);
		else
			finish_piece(load, queue->made[i]);
	}
	return n;
}

/* Loads a window's gaps, in pieces of a step, or each as one piece. */
static void
load_gaps(Load *load, IdemWindow window, bool cut)
{
	IdemQueue *queue = idem_open_queue(&load->plan, window, cut);
	int64 max = cut && load->request->max_windows > 0 ? load->request->max_windows : PG_INT64_MAX;
	int64 done = 0;

	idem_progress_total(Min(queue->total, max));
	while (done < max && idem_fill_queue(queue))
		done += load_queue(load, queue, max - done, done == 0 && cut && load->request->condemn);
	if (done == max && queue->total > max)
		load->summary->more = true;
	idem_close_queue(queue);
}

/* Loads the windows that the request gives one by one. */
static void
load_given(Load *load)
{
	IdemWindow window;

	while (load->request->next_window(load->request->next_window_arg, &window))
	{
		finish_piece(load, window);
		load->summary->tried++;
	}
}

/* Raises one error for all windows that failed. */
static void
report_failures(const Load *load)
{
	const IdemSummary *summary = load->summary;

	if (summary->failed == 0 || load->request->scheduled)
		return;
	ereport(ERROR,
			(errcode(summary->first_error->sqlerrcode),
			 errmsg("%lld of %lld windows of pipeline \"%s\" failed",
					(long long) summary->failed,
					(long long) (summary->failed + summary->loaded + summary->busy),
					load->pipeline),
			 errdetail("Window %s: %s", summary->first_failed, summary->first_error->message),
			 errhint("SELECT window_range, error_code, error_message FROM %s WHERE pipeline = %s AND state = 'failed';",
					 load->ledger->name, quote_literal_cstr(load->pipeline))));
}

/* What a call begins with. */
static Load
begin_load(const IdemRequest *request, bool atomic, IdemSummary *summary)
{
	Load load = {
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
	Load *load;
	bool found;
} Opening;

static void
open_request_as(void *arg)
{
	Opening *opening = arg;
	Load *load = opening->load;

	prepare_load(load);
	load->plan = (IdemPlan){load->request, load->ledger, load->pipeline};
	opening->found = idem_plan_windows(&load->plan);
	if (opening->found)
		check_lost_column(load, load->plan.window);
	if (opening->found && !load->request->force)
		idem_check_coverage_target(load->ledger, load->pipeline, load->plan.window,
								   load->target->relid);
}

/* Looks up what is requested, as whom it is requested; false if the window is empty. */
static bool
open_request(Load *load)
{
	Opening opening = {load, false};

	idem_run_as(&load->request->identity, open_request_as, &opening);
	return opening.found;
}

void
idem_check_load(const IdemRequest *request)
{
	IdemSummary summary;
	Load load = begin_load(request, false, &summary);

	(void) open_request(&load);
}

bool
idem_find_pieces(const IdemRequest *request, IdemPieces *pieces, int64 *total)
{
	IdemSummary summary;
	Load load = begin_load(request, false, &summary);
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
	Load load = begin_load(request, atomic, summary);

	load.report = report;
	load.report_arg = report_arg;
	if (!open_request(&load) && request->next_window == NULL)
		return;
	idem_progress_begin(load.pipeline, request->target, load.type);
	PG_TRY();
	{
		if (request->next_window)
			load_given(&load);
		else
			load_gaps(&load, load.plan.window, request->step != NULL);
	}
	PG_FINALLY();
	{
		idem_progress_end();
	}
	PG_END_TRY();
	report_failures(&load);
}
