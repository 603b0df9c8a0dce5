/*
 * batch.c
 *		Small windows that follow each other, loaded together in one transaction.
 *
 * To claim a window, to complete it and to commit takes as long as to load a hundred rows.
 * So a range of windows is claimed by one row of the ledger, which stands for all of them
 * until they are loaded; then it becomes the first one's, and the others' are inserted.  A
 * transaction goes on for so long (idem.batch_time) and no longer, and a range is as many windows
 * as are likely to be done by then: others who want one of them hardly wait.
 *
 * Nobody must be able to tell it from windows that are loaded one by one, but for that they
 * become visible together.  So nothing is claimed by the way but what is a gap and follows
 * without another between; nobody waits in a batch, neither for another session's window
 * nor for writers; and whatever goes wrong, a window that fails or a row that is in the
 * way, rolls the batch back, and its windows are loaded one by one.
 *
 * This file must not know how a window is loaded.
 */
#include "postgres.h"

#include "access/xact.h"
#include "ledger/table.h"
#include "load/apply.h"
#include "load/batch.h"
#include "load/failure.h"
#include "load/progress.h"
#include "load/source.h"
#include "load/writers.h"
#include "miscadmin.h"
#include "server/compat.h"
#include "server/query.h"
#include "server/scope.h"
#include "server/settings.h"
#include "server/transaction.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* How many times as many windows the next batch may have. */
#define GROWTH 4

/* How long a batch goes on, in microseconds. */
static int64
max_time(void)
{
	return idem_batch_time * INT64CONST(1000);
}

/* Windows that are loaded together. */
typedef struct Batch
{
	IdemLoad *load;
	IdemRun range; /* that is claimed */
	IdemRun *runs; /* of its windows, in their order */
	int n;
	int begun;
	int done;
	bool quiet;
	const char *source_schema; /* of all of them */
	MemoryContext context;	   /* in which that is */
} Batch;

/* Adds to a message in which window of which pipeline it happened. */
static void
add_context(void *arg)
{
	const Batch *batch = arg;

	if (batch->begun > 0)
		errcontext("window %s of pipeline \"%s\"",
				   idem_window_text(batch->load->type, batch->runs[batch->begun - 1].window),
				   batch->range.pipeline);
}

/* True if a load may have batches, as far as one knows without looking anything up. */
static bool
may_batch(const IdemLoad *load)
{
	return idem_batch_time > 0 && !load->atomic && !load->request->one_by_one && load->letters == NULL &&
		   load->target->is_plain && !IsolationUsesXactSnapshot();
}

/*
 * True if nothing can tell one transaction from several: what is volatile could, and so
 * could who looks at the ledger's rows.
 */
static bool
is_quiet(const IdemLoad *load)
{
	return idem_is_quiet_source(load->source) &&
		   !list_member_oid(idem_source_relations(load->source), load->ledger->relid) &&
		   (load->audit == NULL || !idem_is_volatile_query(load->audit)) &&
		   idem_may_claim_range(load->ledger);
}

/* True if somebody writes to the source, for whom each window has to wait. */
static bool
has_writers(const IdemLoad *load)
{
	return idem_wait_for_writers && idem_has_source_writers(idem_source_relations(load->source));
}

/* How many of some windows follow each other, up or down, and are not complete. */
static int
count_adjacent(const IdemLoad *load, const IdemWindow *windows, int n)
{
	int i;

	for (i = 0; i < n; i++)
	{
		if (idem_make_run(load, windows[i]).redo)
			break;
		if (i > 0 && windows[i].lower != windows[i - 1].upper && windows[i].upper != windows[i - 1].lower)
			break;
	}
	return i;
}

/* Fails where windows cannot be loaded together; nobody sees it. */
idem_noreturn static void
give_up(const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg_internal("windows cannot be loaded together: %s", why)));
}

/* Claims the range, if it may be; the first window too would have to wait for writers. */
static void
begin_batch(void *arg)
{
	Batch *batch = arg;
	IdemLoad *load = batch->load;

	batch->quiet = is_quiet(load);
	if (!batch->quiet || has_writers(load))
		return;
	idem_progress_phase(IDEM_PHASE_CLAIM);
	if (!idem_claim_range(load->ledger, &batch->range))
		give_up("some are complete, busy or have failed");
}

/* Loads the next window. */
static void
fill_next(void *arg)
{
	Batch *batch = arg;
	IdemLoad *load = batch->load;
	IdemRun *run = &batch->runs[batch->done];

	run->started_at = GetCurrentTimestamp();
	idem_fill_window(load, run);
	if (batch->done == 0)
		batch->source_schema = MemoryContextStrdup(batch->context, run->source_schema);
	else if (strcmp(run->source_schema, batch->source_schema) != 0)
		give_up("the source has changed");
	run->source_schema = batch->source_schema;
}

/* Completes those that are loaded. */
static void
complete_range(void *arg)
{
	Batch *batch = arg;
	int i;

	idem_complete_range(batch->load->ledger, &batch->range, batch->runs, batch->done);
	for (i = 0; i < batch->done; i++)
		idem_say_complete(batch->load, &batch->runs[i]);
}

/*
 * True if a batch goes on.  Whoever has begun to write to the source must be waited for,
 * and who waits must not hold rows that the other may want.
 */
static bool
goes_on(const Batch *batch)
{
	if (batch->done == 0)
		return true;
	return batch->done < batch->n && GetCurrentTimestamp() < batch->range.started_at + max_time() &&
		   !has_writers(batch->load);
}

/* Does it, in the current transaction. */
static void
load_batch(void *arg)
{
	Batch *batch = arg;
	IdemLoad *load = batch->load;
	const IdemIdentity *identity = &load->request->identity;

	idem_run_as(identity, begin_batch, batch);
	if (batch->range.run_id == 0)
		return;
	if (has_writers(load))
		give_up("somebody writes to the source");
	while (goes_on(batch))
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(load->piece_context);
		idem_progress_window(batch->runs[batch->begun++].window);
		idem_run_as(identity, fill_next, batch);
		batch->done++;
	}
	MemoryContextReset(load->piece_context);
	idem_run_as(identity, complete_range, batch);
}

/* A batch of some windows, in the current memory context. */
static Batch
make_batch(IdemLoad *load, const IdemWindow *windows, int n)
{
	IdemWindow range = {
		Min(windows[0].lower, windows[n - 1].lower),
		Max(windows[0].upper, windows[n - 1].upper),
	};
	Batch batch = {
		.load = load,
		.range = idem_make_run(load, range),
		.runs = palloc(n * sizeof(IdemRun)),
		.n = n,
		.context = CurrentMemoryContext,
	};
	int i;

	for (i = 0; i < n; i++)
		batch.runs[i] = idem_make_run(load, windows[i]);
	return batch;
}

/* Does it in a transaction of its own; returns what went wrong. */
static ErrorData *
try_batch(Batch *batch)
{
	IdemLoad *load = batch->load;
	ErrorData *volatile error = NULL;
	ErrorContextCallback context = {error_context_stack, add_context, batch};

	error_context_stack = &context;
	idem_enter_run(load->ledger, &batch->range);
	PG_TRY();
	{
		error = idem_try_transaction(load, load_batch, batch);
	}
	PG_FINALLY();
	{
		idem_leave_run(&batch->range);
	}
	PG_END_TRY();
	error_context_stack = context.previous;
	return error;
}

/* As many windows are next loaded together as can be done in the time, if they are like these. */
static void
set_pace(IdemLoad *load, int done, int64 elapsed)
{
	int64 most = done * max_time() / Max(elapsed, 1);

	load->pace.together = Max(1, Min(most, Min(done * GROWTH, IDEM_MAX_TOGETHER)));
}

/* What comes of a batch that was loaded. */
static void
report_batch(const Batch *batch)
{
	IdemLoad *load = batch->load;
	int i;

	for (i = 0; i < batch->done; i++)
	{
		const IdemRun *run = &batch->runs[i];

		idem_report_run(load, run, false);
		idem_progress_done(run->inserted_rows + run->updated_rows + Max(run->deleted_rows, 0));
	}
	set_pace(load, batch->done, GetCurrentTimestamp() - batch->range.started_at);
}

/*
 * A cancel is the end of the call, and a failure of the window that was being loaded;
 * anything else is nobody's but the batch's.
 */
static void
handle_error(Batch *batch, ErrorData *error)
{
	IdemRun *run = &batch->runs[Max(batch->begun, 1) - 1];

	if (!idem_is_cancel(error->sqlerrcode))
		return;
	run->run_id = batch->range.run_id;
	run->started_at = Max(run->started_at, batch->range.started_at);
	idem_handle_failure(batch->load, run, error);
}

/* Has the windows of a batch that was not loaded loaded one by one. */
static void
load_alone(const Batch *batch)
{
	IdemPace *pace = &batch->load->pace;

	pace->together = batch->quiet ? 1 : 0;
	pace->alone = batch->n;
	pace->rerun = batch->begun;
}

int
idem_batch_size(const IdemLoad *load)
{
	return load->pace.alone == 0 && may_batch(load) ? Max(1, load->pace.together) : 1;
}

int
idem_load_batch(IdemLoad *load, const IdemWindow *windows, int n)
{
	int together = load->pace.alone > 0 ? 0 : Min(n, load->pace.together);
	bool mismatched = load->apply->mismatched;
	ErrorData *error;
	Batch batch;

	if (together > 1)
		together = may_batch(load) ? count_adjacent(load, windows, together) : 0;
	if (together < 2)
		return 0;
	MemoryContextSwitchTo(AllocSetContextCreate(load->context, "idem batch", ALLOCSET_DEFAULT_SIZES));
	batch = make_batch(load, windows, together);
	MemoryContextSwitchTo(load->piece_context);
	error = try_batch(&batch);
	MemoryContextSwitchTo(load->context);
	if (error)
	{
		handle_error(&batch, error);
		load->apply->mismatched = mismatched;
		batch.done = 0;
	}
	if (batch.done > 0)
		report_batch(&batch);
	else
		load_alone(&batch);
	MemoryContextDelete(batch.context);
	return batch.done;
}

void
idem_keep_pace(IdemLoad *load)
{
	IdemPace *pace = &load->pace;
	int64 elapsed = GetCurrentTimestamp() - pace->began;

	pace->rerun = Max(0, pace->rerun - 1);
	pace->alone = Max(0, pace->alone - 1);
	if (pace->began == 0)
		return;
	if (elapsed > max_time())
		pace->together = 0;
	else if (pace->alone == 0 && pace->together == 1)
		set_pace(load, 1, elapsed);
	pace->began = 0;
}
