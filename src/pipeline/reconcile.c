/*
 * reconcile.c
 *		CALL idem_reconcile(): a pipeline's windows checked, what is found kept, alerts brought up to date.
 *
 * Source and ledger are the pipeline's owner's code and run as he; what is attached to the
 * monitor is that of its owner, and runs as that one; both only for who may become them.
 * Each window is a transaction of its own where CALL is at top level.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "ledger/table.h"
#include "load/call.h"
#include "load/rows.h"
#include "miscadmin.h"
#include "pipeline/due.h"
#include "pipeline/metrics.h"
#include "pipeline/pipeline.h"
#include "pipeline/reconcile.h"
#include "pipeline/state.h"
#include "server/extension.h"
#include "server/scope.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "watch/monitor.h"

PG_FUNCTION_INFO_V1(idem_reconcile);

/* So many keys an alert names. */
#define MAX_SAMPLES 10

/* So long, in milliseconds, the check of a window may take that the scheduler begins, if nobody says. */
#define MAX_TIME 60000

/* A window that may be checked. */
typedef struct Candidate
{
	IdemWindow window;
	TimestampTz completed_at; /* 0 if nobody knows */
	IdemLastCheck last;
	bool due;
	int place; /* among the windows */
} Candidate;

/* One call, or turn. */
typedef struct Reconciliation
{
	IdemIdentity caller;
	MemoryContext context; /* lives as long as the call */
	const IdemPipeline *pipeline;
	Oid monitor_oid;
	IdemMonitor *monitor;
	IdemRequest request; /* of the window that is checked */
	Datum range;		 /* that is asked for */
	IdemDepth depth;
	IdemExpect expect;
	TimestampTz deadline; /* when to stop; 0: never */
	bool scheduled;		  /* nobody has called */
	bool only_due;		  /* windows that are not due are not checked */
	Candidate *candidates;
	int n;
	IdemCheck check; /* what the last one has found; type NULL if its window is complete no more */
	IdemFindings findings;
	int64 open; /* alerts */
} Reconciliation;

/* Finds what is complete, as the pipeline's owner. */
static void
find_windows_as(void *arg)
{
	Reconciliation *reconciliation = arg;
	const IdemRequest *request = &reconciliation->request;
	IdemLedger *ledger = idem_open_ledger(request->ledger, request->schema, false);
	IdemComplete *runs = idem_complete_runs(ledger, request->pipeline, reconciliation->range, NULL, &reconciliation->n);
	int i;

	reconciliation->candidates = palloc0(mul_size(reconciliation->n, sizeof(Candidate)));
	for (i = 0; i < reconciliation->n; i++)
	{
		reconciliation->candidates[i].window = runs[i].window;
		reconciliation->candidates[i].completed_at = runs[i].completed_at;
		reconciliation->candidates[i].place = i;
	}
	reconciliation->findings = idem_begin_findings(ledger->type, request->pipeline, &reconciliation->expect, reconciliation->n);
}

/* Opens the monitor, in each transaction anew, as whoever calls. */
static void
open_monitor_as(void *arg)
{
	Reconciliation *reconciliation = arg;

	reconciliation->monitor = idem_open_monitor(reconciliation->monitor_oid, reconciliation->request.schema);
}

static void
open_monitor(Reconciliation *reconciliation)
{
	idem_run_as(&reconciliation->caller, open_monitor_as, reconciliation);
}

/* Remembers what a check has found. */
static void
take_check(void *arg, const IdemCheck *check)
{
	Reconciliation *reconciliation = arg;
	MemoryContext old = MemoryContextSwitchTo(reconciliation->context);
	int i;

	reconciliation->check = *check;
	reconciliation->check.pipeline = reconciliation->request.pipeline;
	reconciliation->check.result = pstrdup(check->result);
	for (i = 0; i < IDEM_SAMPLES; i++)
	{
		if (check->samples[i])
			reconciliation->check.samples[i] = PointerGetDatum(PG_DETOAST_DATUM_COPY(check->samples[i]));
	}
	if (check->source_digest)
		reconciliation->check.source_digest = PointerGetDatum(DatumGetByteaPCopy(check->source_digest));
	if (check->target_digest)
		reconciliation->check.target_digest = PointerGetDatum(DatumGetByteaPCopy(check->target_digest));
	MemoryContextSwitchTo(old);
}

static void
run_check(void *arg)
{
	Reconciliation *reconciliation = arg;

	(void) idem_check_windows(&reconciliation->request, reconciliation->depth, &reconciliation->expect, take_check, reconciliation);
}

/* Keeps it; in UTC, so that a window has one text in whatever session. */
static void
keep_check(void *arg)
{
	Reconciliation *reconciliation = arg;

	idem_keep_check(reconciliation->monitor, reconciliation->request.ledger, &reconciliation->check, &reconciliation->findings);
}

/* Checks a window. */
static void
check_window(Reconciliation *reconciliation, IdemWindow window)
{
	ErrorData *error;

	open_monitor(reconciliation);
	reconciliation->request.window = idem_window_datum(reconciliation->findings.type, window);
	reconciliation->request.window_type = reconciliation->findings.type->range;
	reconciliation->check.type = NULL;
	error = idem_try(run_check, reconciliation, reconciliation->context);
	if (error)
	{
		idem_hide_rows();
		reconciliation->check = idem_failed_check(reconciliation->findings.type, reconciliation->request.pipeline, window,
												  reconciliation->depth, error);
	}
	if (reconciliation->check.type)
		idem_run_pinned("UTC", keep_check, reconciliation);
}

/* What is complete of a pipeline, what is late and what is blocked, as its owner. */
typedef struct Standing
{
	const Reconciliation *reconciliation;
	Datum complete; /* a multirange */
	IdemWindow *late;
	int nlate;
	IdemWindow *blocked;
	int nblocked;
} Standing;

static void
find_standing_as(void *arg)
{
	Standing *standing = arg;
	const IdemPipeline *pipeline = standing->reconciliation->pipeline;
	const IdemExpect *expect = &standing->reconciliation->expect;
	IdemLedger *ledger = idem_open_ledger(pipeline->ledger, standing->reconciliation->request.schema, false);
	Datum all = idem_parse_range(ledger->type, "(,)");
	IdemWindow late = {0};

	standing->complete = idem_ledger_coverage(ledger, pipeline->name, all);
	standing->blocked = idem_read_windows(ledger->type, idem_postponed_windows(ledger, pipeline->name, all, IDEM_POSTPONE_BLOCKED),
										 &standing->nblocked);
	if (expect->late >= 0 || pipeline->enabled)
		late = idem_find_late_here(pipeline, ledger->type, expect->late >= 0 ? expect->late : USECS_PER_HOUR);
	if (late.lower < late.upper)
		standing->late = idem_read_windows(ledger->type,
										  idem_ledger_gaps(ledger, pipeline->name, idem_window_datum(ledger->type, late),
														   idem_parse_range(ledger->type, "empty"),
														   idem_parse_multirange(ledger->type, "{}")),
										  &standing->nlate);
}

/* Brings the alerts up to date. */
static void
update_alerts(void *arg)
{
	Reconciliation *reconciliation = arg;
	Standing standing = {reconciliation};

	idem_run_as(&reconciliation->request.identity, find_standing_as, &standing);
	idem_add_findings(&reconciliation->findings, IDEM_LATE, standing.late, standing.nlate);
	idem_add_findings(&reconciliation->findings, IDEM_BLOCKED, standing.blocked, standing.nblocked);
	reconciliation->open = idem_update_alerts(reconciliation->monitor, &reconciliation->findings, standing.complete);
	idem_book_alerts(reconciliation->pipeline->schema, reconciliation->request.pipeline, reconciliation->monitor);
}

/* How long after a window has become complete it is checked. */
static const int64 stages[] = {0, USECS_PER_HOUR, USECS_PER_DAY, 7 * USECS_PER_DAY};

/* True if a moment at which a window is to be checked has passed since it was. */
static bool
is_due(const Candidate *candidate, TimestampTz now)
{
	int i;

	if (candidate->last.at == DT_NOBEGIN)
		return true;
	for (i = 0; i < lengthof(stages); i++)
	{
		if (candidate->completed_at + stages[i] <= now && candidate->last.at < candidate->completed_at + stages[i])
			return true;
	}
	return false;
}

/* When it will be the next time; 0: never. */
static TimestampTz
next_stage(const Candidate *candidate, TimestampTz now)
{
	int i;

	for (i = 0; i < lengthof(stages); i++)
	{
		if (candidate->completed_at + stages[i] > now)
			return candidate->completed_at + stages[i];
	}
	return 0;
}

/*
 * Those first that are due, then those that were not checked for longest: of which something
 * was wrong, a day sooner.
 */
static int
compare_candidates(const void *a, const void *b)
{
	const Candidate *left = a;
	const Candidate *right = b;

	if (left->due != right->due)
		return left->due ? -1 : 1;
	if (left->last.at != right->last.at)
		return left->last.at < right->last.at ? -1 : 1;
	return left->place - right->place;
}

/* Puts the windows into the order in which they are to be checked. */
static void
order_windows(void *arg)
{
	Reconciliation *reconciliation = arg;
	IdemWindow *windows = palloc(mul_size(reconciliation->n, sizeof(IdemWindow)));
	IdemLastCheck *last = palloc(mul_size(reconciliation->n, sizeof(IdemLastCheck)));
	TimestampTz now = GetCurrentTimestamp();
	int i;

	for (i = 0; i < reconciliation->n; i++)
		windows[i] = reconciliation->candidates[i].window;
	idem_read_last_checks(reconciliation->monitor, reconciliation->findings.type, reconciliation->request.pipeline,
						  windows, reconciliation->n, last);
	for (i = 0; i < reconciliation->n; i++)
	{
		reconciliation->candidates[i].last = last[i];
		if (!reconciliation->scheduled)
			continue;
		reconciliation->candidates[i].due = is_due(&reconciliation->candidates[i], now);
		if (last[i].bad)
			reconciliation->candidates[i].last.at -= USECS_PER_DAY;
	}
	qsort(reconciliation->candidates, reconciliation->n, sizeof(Candidate), compare_candidates);
}

/* Checks what is complete, as far as the time goes; returns how many windows it was. */
static int
check_windows(Reconciliation *reconciliation, bool atomic)
{
	int i;

	open_monitor(reconciliation);
	idem_run_as(&reconciliation->request.identity, find_windows_as, reconciliation);
	idem_run_pinned("UTC", order_windows, reconciliation);
	for (i = 0; i < reconciliation->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if ((reconciliation->only_due && !reconciliation->candidates[i].due) ||
			(reconciliation->deadline && GetCurrentTimestamp() >= reconciliation->deadline))
			break;
		check_window(reconciliation, reconciliation->candidates[i].window);
		if (!atomic)
			idem_commit();
	}
	open_monitor(reconciliation);
	idem_run_pinned("UTC", update_alerts, reconciliation);
	return i;
}

/* What a monitor is to do with a pipeline. */
static Reconciliation
begin_reconciliation(const IdemPipeline *pipeline, Oid monitor)
{
	Reconciliation reconciliation = {
		.caller = {.role = GetUserId()},
		.context = CurrentMemoryContext,
		.pipeline = pipeline,
		.monitor_oid = monitor,
		.request = idem_pipeline_request(pipeline),
		.expect = pipeline->checks ? idem_read_checks(pipeline->checks) : idem_expect_nothing,
	};

	reconciliation.expect.max_samples = MAX_SAMPLES;
	return reconciliation;
}

/* When the pipeline is to be checked again. */
static TimestampTz
next_turn(const Reconciliation *reconciliation, int checked, TimestampTz began, TimestampTz swept_at)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = swept_at + reconciliation->expect.every;
	int i;

	/* at most half of the time, even if its owner throws away what is kept */
	if (checked < reconciliation->n && reconciliation->candidates[checked].due)
		return now + Max(now - began, USECS_PER_SEC);
	for (i = 0; i < reconciliation->n; i++)
	{
		TimestampTz stage = next_stage(&reconciliation->candidates[i], now);

		if (stage != 0 && stage < next)
			next = stage;
	}
	return Max(next, now + USECS_PER_SEC);
}

TimestampTz
idem_run_check_turn(const IdemPipeline *pipeline, TimestampTz *swept_at)
{
	Reconciliation reconciliation = begin_reconciliation(pipeline, pipeline->monitor);
	TimestampTz began = GetCurrentTimestamp();
	int checked;

	reconciliation.range = idem_parse_range(idem_pipeline_range_type(pipeline), "(,)");
	reconciliation.deadline = began + reconciliation.expect.budget;
	reconciliation.scheduled = true;
	reconciliation.only_due = *swept_at + reconciliation.expect.every > began;
	if (reconciliation.expect.max_time == 0)
		reconciliation.expect.max_time = MAX_TIME;
	checked = check_windows(&reconciliation, false);
	if (!reconciliation.only_due && (checked == reconciliation.n || !reconciliation.candidates[checked].due))
		*swept_at = began;
	return next_turn(&reconciliation, checked, began, *swept_at);
}

/* Reconciles a pipeline for who calls, and says what has come of it. */
static void
reconcile(const IdemPipeline *pipeline, TimestampTz deadline, FunctionCallInfo fcinfo, bool atomic)
{
	Reconciliation reconciliation = begin_reconciliation(pipeline, PG_GETARG_OID(0));
	int checked;

	reconciliation.depth = idem_read_depth(fcinfo, 3);
	reconciliation.deadline = deadline;
	if (PG_ARGISNULL(2))
		reconciliation.range = idem_parse_range(idem_pipeline_range_type(pipeline), "(,)");
	else
		reconciliation.range = idem_read_typed_window(pipeline, idem_text_argument(fcinfo, 2));
	checked = check_windows(&reconciliation, atomic);
	ereport(NOTICE,
			(errmsg("pipeline \"%s\": checked %d of %d windows, open alerts: " INT64_FORMAT, pipeline->name, checked,
					reconciliation.n, reconciliation.open)));
}

/* When a budget is used up; 0: never. */
static TimestampTz
read_deadline(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(4))
		return 0;
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(GetCurrentTimestamp()),
												   PG_GETARG_DATUM(4)));
}

/* Reconciles all pipelines that name the monitor, of which each has the same share of the time that is left. */
static void
reconcile_all(FunctionCallInfo fcinfo, bool atomic)
{
	char *schema = idem_function_schema(fcinfo);
	TimestampTz deadline = read_deadline(fcinfo);
	List *names = idem_monitored_pipelines(schema, PG_GETARG_OID(0));
	int left = list_length(names);
	ListCell *lc;

	if (names == NIL)
		ereport(NOTICE,
				(errmsg("nothing to reconcile: no pipeline of yours names monitor %s", get_rel_name(PG_GETARG_OID(0))),
				 errhint("SELECT idem_alter_pipeline('…', monitor => '…') does; or pass pipeline => '…'.")));
	foreach (lc, names)
	{
		TimestampTz now = GetCurrentTimestamp();

		reconcile(idem_open_pipeline(schema, lfirst(lc)), deadline ? now + Max(deadline - now, 0) / left-- : 0, fcinfo, atomic);
		if (!atomic)
			idem_commit();
	}
}

/* Fails for a monitor that is none, also where there is nothing to do. */
static void
check_monitor(FunctionCallInfo fcinfo)
{
	idem_require_argument(fcinfo, 0, "monitor");
	(void) idem_open_monitor(PG_GETARG_OID(0), get_namespace_oid(idem_function_schema(fcinfo), false));
}

/* SQL: CALL idem_reconcile(monitor regclass, pipeline text, window_range text, depth text, budget interval) */
Datum
idem_reconcile(PG_FUNCTION_ARGS)
{
	bool atomic = idem_call_is_atomic(fcinfo);

	idem_require_writable("reconcile");
	idem_connect(atomic);
	if (PG_ARGISNULL(1))
	{
		check_monitor(fcinfo);
		reconcile_all(fcinfo, atomic);
	}
	else
	{
		idem_require_argument(fcinfo, 0, "monitor");
		reconcile(idem_open_pipeline(idem_function_schema(fcinfo), idem_text_argument(fcinfo, 1)), read_deadline(fcinfo), fcinfo, atomic);
	}
	idem_finish();
	return (Datum) 0;
}
