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
#include "apply.h"
#include "audit.h"
#include "guc.h"
#include "ledger_table.h"
#include "load.h"
#include "miscadmin.h"
#include "source.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "writers.h"

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
	IdemWindow reopened; /* complete windows in it are redone; may be empty */
	IdemReport report;
	void *report_arg;
	IdemSummary *summary;
	int64 failed; /* windows */
	ErrorData *first_error;
	char *first_failed; /* its window */
} Load;

/* A piece, and what it came to. */
typedef struct PieceResult
{
	Load *load;
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

/* Looks everything up that the pieces share; all that can be wrong is found here. */
static void
prepare_load(Load *load)
{
	const IdemRequest *request = load->request;

	check_request(request);
	check_isolation();
	load->ledger = idem_open_ledger(request->ledger, request->function, true);
	load->type = load->ledger->type;
	load->target = idem_open_target(request->target, request->keys, request->nkeys,
									request->window_column, request->version_column,
									load->type);
	check_foreign(load);
	if (!request->reload)
		idem_require_arbiter(load->target);
	load->source = idem_open_source(request->source, load->target, load->type,
									load->target->has_arbiter);
	load->apply = idem_make_apply(load->target, load->type, idem_source_desc(load->source),
								  request->reload);
	if (request->audit)
		load->audit = idem_make_query("audit", request->audit, load->type->bound);
	load->pipeline = request->pipeline ? request->pipeline : load->target->name;
	load->summary->pipeline = load->pipeline;
}

/* Reads the requested window; false if it is empty. */
static bool
read_request_window(const Load *load, IdemWindow *window)
{
	const IdemRequest *request = load->request;
	Datum range = request->window;

	if (request->window_text)
		range = idem_parse_range(load->type, request->window_text);
	else
		idem_check_range_type(load->ledger, request->window_type);
	return idem_read_window(load->type, range, window);
}

/* The range datum of a window that may be empty. */
static Datum
range_datum(const Load *load, IdemWindow window)
{
	if (window.lower >= window.upper)
		return idem_parse_range(load->type, "empty");
	return idem_window_datum(load->type, window);
}

/*
 * What of the request to redo although it is complete: all of it (force), or so
 * much at the end of what is complete (lookback), or nothing.
 */
static IdemWindow
reopened_window(const Load *load, IdemWindow window)
{
	IdemWindow none = {0, 0};
	IdemWindow *complete;
	IdemStep lookback;
	int n;

	if (load->request->force)
		return window;
	if (load->request->lookback == NULL)
		return none;
	lookback = idem_parse_step(load->type, "lookback", load->request->lookback);
	complete = idem_read_windows(load->type,
								 idem_ledger_coverage(load->ledger, load->pipeline,
													  idem_window_datum(load->type, window)),
								 &n);
	if (n == 0)
		return none;
	none.upper = complete[n - 1].upper;
	none.lower = Max(window.lower, idem_add_steps(load->type, none.upper, &lookback, -1));
	return none;
}

/* Returns what of a window is still to be loaded. */
static IdemWindow *
find_gaps(const Load *load, IdemWindow window, int *n)
{
	return idem_read_windows(load->type,
							 idem_ledger_gaps(load->ledger, load->pipeline,
											  idem_window_datum(load->type, window),
											  range_datum(load, load->reopened)),
							 n);
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
	bool hashed; /* rows are hashed: for the digest, or because there are no keys */
	StringInfoData buf;
} Intake;

/* Takes one row. */
static void
take_row(void *arg, TupleTableSlot *slot)
{
	Intake *intake = arg;
	IdemDigest hash = {{0, 0}};

	slot_getallattrs(slot);
	if (intake->hashed)
		hash = idem_hash_row(&intake->buf, slot->tts_tupleDescriptor, slot->tts_values,
							 slot->tts_isnull);
	if (intake->run->has_digest)
		idem_add_digest(&intake->run->digest, &hash);
	idem_take_row(intake->load->apply, intake->piece, slot, hash.lanes[0]);
}

/* Fetches and applies the rows of a claimed window. */
static void
load_rows(Load *load, IdemRun *run)
{
	IdemPiece piece = {0};
	Intake intake = {load, run, &piece};

	run->has_digest = idem_source_digest;
	intake.hashed = run->has_digest || load->target->nkeys == 0;
	initStringInfo(&intake.buf);
	idem_begin_piece(load->apply, &piece, run);
	piece.rows = idem_run_source(load->source, run->window, take_row, &intake);
	run->source_rows = piece.rows.count;
	idem_apply_piece(load->apply, &piece);
}

/* Does one piece, in the current transaction. */
static void
load_piece(void *arg)
{
	PieceResult *result = arg;
	Load *load = result->load;
	IdemRun *run = &result->run;

	result->claim = idem_claim_window(load->ledger, run, load->request->on_busy);
	if (result->claim == IDEM_CLAIMED)
	{
		if (idem_wait_for_writers)
			idem_wait_for_source_writers(idem_source_relations(load->source));
		load_rows(load, run);
		if (load->audit)
			idem_run_audit(load->audit, load->type, run->window);
		idem_complete_run(load->ledger, run);
	}
}

/*
 * Does work in a transaction of its own, and commits.  If it fails, everything is
 * rolled back and the error returned, copied to the load's context.
 */
static ErrorData *
run_transaction(Load *load, void (*work)(void *arg), void *arg)
{
	ErrorData *volatile error = idem_try(work, arg, load->context);

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
		MemoryContextSwitchTo(load->context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(load->piece_context);
	return error;
}

/* What record_failure needs. */
typedef struct Failure
{
	IdemLedger *ledger;
	const IdemRun *run;
	const ErrorData *error;
} Failure;

/* Writes a failure to the ledger, in the current transaction. */
static void
record_failure(void *arg)
{
	const Failure *failure = arg;

	idem_record_failure(failure->ledger, failure->run, failure->error);
}

/* True for an error after which the user does not want us to go on. */
static bool
is_cancel(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		   error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		   error->sqlerrcode == ERRCODE_CRASH_SHUTDOWN;
}

/*
 * Books a failed piece, and raises its error unless the load is to go on.  A run
 * begins with its claim: one that did not get it leaves no trace.
 */
static void
handle_failure(Load *load, const IdemRun *run, ErrorData *error)
{
	Failure failure = {load->ledger, run, error};
	ErrorData *second = NULL;

	if (run->run_id != 0)
		second = run_transaction(load, record_failure, &failure);
	if (second)
		ereport(WARNING,
				(errcode(second->sqlerrcode),
				 errmsg("could not record the failure of window %s of pipeline \"%s\": %s",
						idem_window_text(load->type, run->window), run->pipeline,
						second->message)));
	if (!load->request->continue_on_error || is_cancel(error))
		ReThrowError(error);
	if (load->failed++ == 0)
	{
		MemoryContextSwitchTo(load->context);
		load->first_error = error;
		load->first_failed = idem_window_text(load->type, run->window);
		MemoryContextSwitchTo(load->piece_context);
	}
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
			.mode = load->request->reload ? "reload" : "upsert",
			.redo = window.lower < load->reopened.upper && load->reopened.lower < window.upper,
		}};
	ErrorData *volatile error = NULL;
	ErrorContextCallback context = {error_context_stack, add_context, &result};

	MemoryContextReset(load->piece_context);
	MemoryContextSwitchTo(load->piece_context);
	error_context_stack = &context;
	idem_enter_run(load->ledger, &result.run);
	PG_TRY();
	{
		if (load->atomic)
			load_piece(&result);
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
	MemoryContextSwitchTo(load->context);
	return error || result.claim != IDEM_CLAIM_COMPLETE;
}

/* Loads a window's gaps, in pieces of a step, or each as one piece if step is NULL. */
static void
load_gaps(Load *load, IdemWindow window, const IdemStep *step)
{
	IdemPieces pieces;
	IdemWindow piece;
	IdemWindow *gaps;
	int n;

	gaps = find_gaps(load, window, &n);
	idem_begin_pieces(&pieces, load->type, step, window.lower, gaps, n);
	while (idem_next_piece(&pieces, &piece))
	{
		CHECK_FOR_INTERRUPTS();

		/* another session completed some of the piece: load what it left */
		if (!run_piece(load, piece))
			load_gaps(load, piece, NULL);
	}
	pfree(gaps);
}

/* Raises one error for all windows that failed. */
static void
report_failures(const Load *load)
{
	if (load->failed == 0)
		return;
	ereport(ERROR,
			(errcode(load->first_error->sqlerrcode),
			 errmsg("%lld of %lld windows of pipeline \"%s\" failed",
					(long long) load->failed,
					(long long) (load->failed + load->summary->loaded + load->summary->busy),
					load->pipeline),
			 errdetail("Window %s: %s", load->first_failed, load->first_error->message),
			 errhint("SELECT window_range, error_code, error_message FROM %s WHERE pipeline = %s AND state = 'failed';",
					 load->ledger->name, quote_literal_cstr(load->pipeline))));
}

void
idem_run_load(const IdemRequest *request, bool atomic,
			  IdemReport report, void *report_arg, IdemSummary *summary)
{
	Load load = {
		.request = request,
		.atomic = atomic,
		.context = CurrentMemoryContext,
		.report = report,
		.report_arg = report_arg,
		.summary = summary,
	};
	IdemWindow window;
	IdemStep step;

	memset(summary, 0, sizeof(*summary));
	load.piece_context = AllocSetContextCreate(load.context, "idem piece",
											   ALLOCSET_DEFAULT_SIZES);
	prepare_load(&load);
	if (request->step)
		step = idem_parse_step(load.type, "step", request->step);
	if (!read_request_window(&load, &window))
		return;
	idem_check_window(load.ledger, load.pipeline, window);
	load.reopened = reopened_window(&load, window);
	load_gaps(&load, window, request->step ? &step : NULL);
	report_failures(&load);
}
