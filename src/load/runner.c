/*
 * runner.c
 *		Runs the pieces of a load: each claimed, loaded, audited and completed.
 *
 * At top level each piece is a transaction.  SPI cannot roll back from inside a
 * PG_CATCH when the error came from a nested SPI level (a PL/pgSQL trigger, say),
 * so each piece runs in a subtransaction, whose rollback unwinds those levels.
 * What a failure means for the rest is failure.c's.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "ledger/notify.h"
#include "ledger/table.h"
#include "load/batch.h"
#include "load/failure.h"
#include "load/prepare.h"
#include "load/progress.h"
#include "load/recorder.h"
#include "load/runner.h"
#include "load/schema.h"
#include "load/sift.h"
#include "load/writers.h"
#include "miscadmin.h"
#include "server/scope.h"
#include "server/settings.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* A piece, and what it came to. */
typedef struct PieceResult
{
	IdemLoad *load;
	IdemIdentity identity; /* as whom it is loaded */
	IdemRun run;
	IdemClaim claim;
} PieceResult;

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
	IdemLoad *load;
	IdemRun *run;
	IdemPiece *piece;
	IdemImage image;
} Intake;

/* Adds a row to the digest of the source's rows. */
static void
sum_row(Intake *intake, TupleTableSlot *slot)
{
	IdemDigest hash;

	idem_make_image(&intake->image, idem_source_desc(intake->load->source), slot->tts_values, slot->tts_isnull);
	hash = idem_hash_image(&intake->image, NULL);
	idem_add_digest(&intake->run->digest, &hash);
}

/* Takes one row; false if it need not be kept. */
static bool
take_row(void *arg, TupleTableSlot *slot)
{
	Intake *intake = arg;

	idem_progress_read();
	slot_getallattrs(slot);
	if (intake->run->has_digest)
		sum_row(intake, slot);
	return idem_take_row(intake->load->apply, intake->piece, slot, intake->run->has_digest ? &intake->image : NULL);
}

/* Runs the source, also a second time. */
static void
fetch_rows(void *arg)
{
	Intake *intake = arg;

	idem_empty_rows(&intake->piece->rows);
	intake->piece->taken = 0;
	intake->piece->sum = (IdemDigest){0};
	intake->run->digest = (IdemDigest){0};
	idem_run_source(intake->load->source, intake->run->window, NULL, &intake->piece->rows, take_row, intake);
}

/* True if the source may run twice, the first time while its rows are written. */
static bool
is_repeatable(const IdemLoad *load)
{
	return idem_is_quiet_source(load->source) &&
		   !list_member_oid(idem_source_relations(load->source), load->target->base);
}

/*
 * Runs the source, whose rows are written as they come if they can be.  What keeps them is
 * made first: it outlives the subtransaction of a stream.
 */
static void
stream_or_fetch(Intake *intake)
{
	IdemLoad *load = intake->load;

	intake->piece->rows = idem_make_rows(idem_source_desc(load->source));
	if (!idem_may_stream(load->apply, intake->piece) || !is_repeatable(load) ||
		!idem_stream_piece(load->apply, intake->piece, fetch_rows, intake))
		fetch_rows(intake);
}

/*
 * Fetches and applies the rows of a claimed window.  Only now is the target locked: who
 * waits for a claim, or for writers, must not keep others from altering it.
 */
static void
load_rows(IdemLoad *load, IdemRun *run)
{
	IdemPiece piece = {0};
	Intake intake = {load, run, &piece};

	idem_renew_load(load);
	run->source_schema = load->source_schema;
	run->accepted_schema = load->accepted_schema;
	run->other_schema = load->other_schema;
	run->has_digest = idem_source_digest;
	idem_init_image(&intake.image);
	idem_begin_piece(load->apply, &piece, run);
	idem_progress_phase(IDEM_PHASE_SOURCE);
	if (load->letters)
	{
		idem_sift_piece(load, &piece, take_row, &intake);
		return;
	}
	stream_or_fetch(&intake);
	idem_check_target(load->target);
	run->source_rows = piece.rows.count;
	idem_progress_phase(IDEM_PHASE_APPLY);
	idem_apply_piece(load->apply, &piece);
}

/*
 * When its rows are written, our statements hold a lock on every partition and index that
 * they touched: whatever changed in between is committed by then and seen, and nothing
 * more can come.
 */
void
idem_fill_window(IdemLoad *load, IdemRun *run)
{
	load_rows(load, run);
	if (load->audit)
	{
		idem_progress_phase(IDEM_PHASE_AUDIT);
		idem_run_audit(load->audit, load->type, run->window);
	}
	idem_check_target(load->target);
	run->finished_at = GetCurrentTimestamp();
}

void
idem_say_complete(const IdemLoad *load, const IdemRun *run)
{
	idem_remember_success(run);
	if (load->request->notify)
		idem_notify_complete(load->type, run);
	idem_notify_schema(load, run);
}

/* Loads, audits and completes a window that has been claimed. */
static void
load_claimed(IdemLoad *load, IdemRun *run)
{
	if (idem_wait_for_writers)
	{
		idem_progress_phase(IDEM_PHASE_WRITERS);
		idem_wait_for_source_writers(idem_source_relations(load->source));
	}
	load->pace.began = GetCurrentTimestamp();
	idem_fill_window(load, run);
	if (load->letters)
		idem_post_letters(load, run);
	idem_complete_run(load->ledger, run);
	idem_say_complete(load, run);
}

/* Does one piece, as its identity. */
static void
load_piece_as(void *arg)
{
	PieceResult *result = arg;
	IdemLoad *load = result->load;

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

/* Counts and reports a window that was loaded or left alone. */
void
idem_report_run(IdemLoad *load, const IdemRun *run, bool busy)
{
	IdemRun *total = &load->summary->total;

	if (busy)
		load->summary->busy++;
	else
	{
		load->summary->loaded++;
		/* the ledger has it now */
		load->accepted_schema = NULL;
		load->says_schema = false;
	}
	total->source_rows += run->source_rows;
	total->inserted_rows += run->inserted_rows;
	total->updated_rows += run->updated_rows;
	total->deleted_rows += Max(run->deleted_rows, 0);
	total->unchanged_rows += run->unchanged_rows;
	total->duplicate_rows += run->duplicate_rows;
	total->dead_rows += run->dead_rows;
	if (load->report)
		load->report(load->report_arg, load->type, run, busy);
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
		if (result->run.run_id != 0 && !result->load->request->rehearsed)
			idem_remember_failure(result->load->type, &result->run, &result->identity);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

IdemIdentity
idem_load_identity(const IdemLoad *load)
{
	IdemIdentity identity = load->request->identity;

	if (!OidIsValid(identity.role))
		identity.role = GetUserId();
	if (identity.search_path == NULL)
		identity.search_path = pstrdup(namespace_search_path);
	return identity;
}

IdemRun
idem_make_run(const IdemLoad *load, IdemWindow window)
{
	return (IdemRun){
		.ledger = load->ledger->relid,
		.pipeline = load->pipeline,
		.window = window,
		.target = load->target->relid,
		.time_zone = load->time_zone,
		.mode = load->request->reload ? "reload" : "upsert",
		.redo = window.lower < load->plan.reopened.upper && load->plan.reopened.lower < window.upper,
	};
}

/* Loads one piece; returns false if some of it is complete by now. */
static bool
run_piece(IdemLoad *load, IdemWindow window)
{
	PieceResult result = {.load = load, .run = idem_make_run(load, window)};
	ErrorData *volatile error = NULL;
	ErrorContextCallback context = {error_context_stack, add_context, &result};

	MemoryContextReset(load->piece_context);
	MemoryContextSwitchTo(load->piece_context);
	result.identity = idem_load_identity(load);
	result.run.rerun = load->pace.rerun > 0;
	error_context_stack = &context;
	idem_progress_window(window);
	idem_enter_run(load->ledger, &result.run);
	PG_TRY();
	{
		if (load->atomic)
			load_piece_here(&result);
		else
			error = idem_try_transaction(load, load_piece, &result);
	}
	PG_FINALLY();
	{
		idem_leave_run(&result.run);
	}
	PG_END_TRY();
	error_context_stack = context.previous;
	if (error)
		idem_handle_failure(load, &result.run, error);
	else if (result.claim != IDEM_CLAIM_COMPLETE)
		idem_report_run(load, &result.run, result.claim == IDEM_CLAIM_BUSY);
	if (!load->again)
		idem_progress_done(result.run.inserted_rows + result.run.updated_rows + Max(result.run.deleted_rows, 0));
	MemoryContextSwitchTo(load->context);
	return error || result.claim != IDEM_CLAIM_COMPLETE;
}

/* Loads one piece, or what another session has left of it. */
static void
finish_piece(IdemLoad *load, IdemWindow window)
{
	do
	{
		CHECK_FOR_INTERRUPTS();
		load->again = false;
		if (!run_piece(load, window))
			idem_load_gaps(load, window, false);
	} while (load->again);
}

/* Loads the next pieces together, or one of them; returns how many. */
static int
load_next(IdemLoad *load, const IdemWindow *windows, int n)
{
	int loaded = idem_load_batch(load, windows, n);

	if (loaded > 0)
		return loaded;
	finish_piece(load, windows[0]);
	idem_keep_pace(load);
	return 1;
}

/* Loads the pieces that have been made, up to a number; returns how many. */
static int64
load_queue(IdemLoad *load, const IdemQueue *queue, int64 max, bool condemn)
{
	int n = Min(queue->n, max);
	int i = 0;

	if (condemn && n > 0)
		idem_condemn_window(load, queue->made[i++]);
	while (i < n)
		i += load_next(load, queue->made + i, n - i);
	return n;
}

void
idem_load_gaps(IdemLoad *load, IdemWindow window, bool cut)
{
	IdemQueue *queue = idem_open_queue(&load->plan, window, cut);
	int64 max = cut && load->request->max_windows > 0 ? load->request->max_windows : PG_INT64_MAX;
	int64 done = 0;

	if (queue->total == 0 && !load->request->scheduled)
		idem_check_load_rights(load);
	idem_progress_total(Min(queue->total, max));
	while (done < max && idem_fill_queue(queue))
		done += load_queue(load, queue, max - done, done == 0 && cut && load->request->condemn);
	if (done == max && queue->total > max)
		load->summary->more = true;
	idem_close_queue(queue);
}

void
idem_load_given(IdemLoad *load)
{
	const IdemRequest *request = load->request;
	IdemWindow windows[IDEM_MAX_TOGETHER];
	int n;
	int i;

	while ((n = request->next_windows(request->next_windows_arg, windows, idem_batch_size(load))) > 0)
	{
		for (i = 0; i < n;)
		{
			int done = load_next(load, windows + i, n - i);

			i += done;
			load->summary->tried += done;
		}
	}
}
