/*
 * failure.c
 *		What happens when a piece fails: it is undone, booked, and then the load tries
 *		it once more, goes on with the next, or ends with its error.
 */
#include "postgres.h"

#include "ledger/notify.h"
#include "ledger/table.h"
#include "load/failure.h"
#include "load/recorder.h"
#include "load/retry.h"
#include "load/rows.h"
#include "load/sift.h"
#include "server/scope.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

ErrorData *
idem_try_transaction(IdemLoad *load, void (*work)(void *arg), void *arg)
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
	IdemLoad *load;
	IdemFailure failure;
} FailureRecord;

static void
post_letters(void *arg)
{
	FailureRecord *record = arg;

	idem_post_failed_letters(record->load, record->failure.run, record->failure.run_id);
}

/* Writes the letters of a failure, which is to be booked even if they cannot be written. */
static void
try_to_post_letters(FailureRecord *record)
{
	ErrorData *error = idem_try(post_letters, record, CurrentMemoryContext);

	if (error)
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("could not write the dead letters of window %s of pipeline \"%s\": %s",
						idem_window_text(record->load->type, record->failure.run->window), record->load->pipeline, error->message)));
}

/* Writes a failure to the ledger, as the load's identity. */
static void
record_failure_as(void *arg)
{
	FailureRecord *record = arg;
	IdemLoad *load = record->load;
	IdemFailure *failure = &record->failure;

	if (load->request->retry && !failure->blocked && !failure->unread)
		idem_plan_retry(load->request->retry, idem_count_failures(load->ledger, failure->run),
						failure);
	failure->run_id = idem_record_failure(load->ledger, failure);
	if (load->too_many && failure->run_id != 0)
		try_to_post_letters(record);
	load->too_many = false;
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
count_failure(IdemLoad *load, const IdemRun *run, const ErrorData *error)
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

void
idem_handle_failure(IdemLoad *load, const IdemRun *run, ErrorData *error)
{
	FailureRecord record = {load, {run, error}};
	ErrorData *second = NULL;

	if (run->run_id != 0 && !(load->request->scheduled && idem_is_cancel(error->sqlerrcode)))
		second = idem_try_transaction(load, record_failure, &record);
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

/* A run of a window that has not begun. */
static IdemRun
unread_run(const IdemLoad *load, IdemWindow window)
{
	return (IdemRun){
		.pipeline = load->pipeline,
		.window = window,
		.target = load->request->target,
		.time_zone = load->time_zone,
		.mode = load->request->reload ? "reload" : "upsert",
		.other_schema = load->other_schema,
		.started_at = GetCurrentTimestamp(),
	};
}

/* An error to be booked that came before anything was read. */
typedef struct UnreadRecord
{
	IdemLoad *load;
	const ErrorData *error;
} UnreadRecord;

static void
record_unread(void *arg)
{
	UnreadRecord *unread = arg;
	IdemLoad *load = unread->load;
	IdemQueue *queue = idem_open_queue(&load->plan, load->plan.window, load->request->step != NULL);
	IdemRun run;

	if (!idem_fill_queue(queue))
		return;
	run = unread_run(load, queue->made[0]);
	record_failure(&(FailureRecord){load, {.run = &run, .error = unread->error, .unread = true}});
}

void
idem_handle_unread(IdemLoad *load, ErrorData *error)
{
	UnreadRecord unread = {load, error};
	ErrorData *second;

	MemoryContextSwitchTo(load->piece_context);
	idem_rollback();
	second = idem_try_transaction(load, record_unread, &unread);
	if (second)
		ereport(WARNING,
				(errcode(second->sqlerrcode),
				 errmsg("could not record the failure of pipeline \"%s\": %s", load->pipeline, second->message)));
	ReThrowError(error);
	pg_unreachable();
}

void
idem_remember_unread(const IdemLoad *load)
{
	IdemRun run = unread_run(load, load->plan.window);
	IdemIdentity identity = idem_load_identity(load);

	run.ledger = load->ledger->relid;
	idem_remember_failure(load->type, &run, &identity);
}

void
idem_condemn_window(IdemLoad *load, IdemWindow window)
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
	ErrorData *second = idem_try_transaction(load, record_failure, &record);

	if (second)
		ReThrowError(second);
	load->summary->failed++;
	MemoryContextSwitchTo(load->context);
}

void
idem_raise_failures(const IdemLoad *load)
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
