/*
 * reconcile.c
 *		CALL idem_reconcile(): a pipeline's windows checked, what is found kept, alerts brought up to date.
 *
 * Source and ledger are the pipeline's owner's code and run as he; what is attached to the
 * monitor is that of its owner, and runs as that one; both only for who may become them.
 * Each window is a transaction of its own where CALL is at top level.
 */
#include "postgres.h"

#include "fmgr.h"
#include "ledger/table.h"
#include "load/call.h"
#include "load/rows.h"
#include "miscadmin.h"
#include "pipeline/metrics.h"
#include "pipeline/pipeline.h"
#include "server/extension.h"
#include "server/scope.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "watch/monitor.h"

PG_FUNCTION_INFO_V1(idem_reconcile);

/* One call. */
typedef struct Reconciliation
{
	IdemIdentity caller;
	MemoryContext context; /* lives as long as the call */
	const char *schema;	   /* the extension's */
	Oid monitor_oid;
	IdemMonitor *monitor;
	IdemRequest request; /* of the window that is checked */
	Datum range;		 /* that is asked for */
	IdemDepth depth;
	IdemExpect expect;
	TimestampTz deadline; /* when to stop; 0: never */
	IdemWindow *windows;  /* to be checked */
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

	reconciliation->windows = palloc(mul_size(reconciliation->n, sizeof(IdemWindow)));
	for (i = 0; i < reconciliation->n; i++)
		reconciliation->windows[i] = runs[i].window;
	reconciliation->findings = idem_begin_findings(ledger->type, request->pipeline, reconciliation->n);
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

	reconciliation->check = *check;
	reconciliation->check.pipeline = reconciliation->request.pipeline;
	reconciliation->check.result = pstrdup(check->result);
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

/* What is complete of all there is, as the pipeline's owner. */
typedef struct Coverage
{
	const IdemRequest *request;
	Datum multirange;
} Coverage;

static void
read_coverage_as(void *arg)
{
	Coverage *coverage = arg;
	IdemLedger *ledger = idem_open_ledger(coverage->request->ledger, coverage->request->schema, false);

	coverage->multirange = idem_ledger_coverage(ledger, coverage->request->pipeline, idem_parse_range(ledger->type, "(,)"));
}

/* Brings the alerts up to date. */
static void
update_alerts(void *arg)
{
	Reconciliation *reconciliation = arg;
	Coverage coverage = {&reconciliation->request};

	idem_run_as(&reconciliation->request.identity, read_coverage_as, &coverage);
	reconciliation->open = idem_update_alerts(reconciliation->monitor, &reconciliation->findings, coverage.multirange);
	idem_book_alerts(reconciliation->schema, reconciliation->request.pipeline, reconciliation->monitor);
}

/* Orders the windows. */
static void
order_windows(void *arg)
{
	Reconciliation *reconciliation = arg;

	idem_order_windows(reconciliation->monitor, reconciliation->findings.type, reconciliation->request.pipeline,
					   reconciliation->windows, reconciliation->n);
}

/* Checks what is complete, as far as the budget goes. */
static void
reconcile(Reconciliation *reconciliation, bool atomic)
{
	int i;

	open_monitor(reconciliation);
	idem_run_as(&reconciliation->request.identity, find_windows_as, reconciliation);
	idem_run_pinned("UTC", order_windows, reconciliation);
	for (i = 0; i < reconciliation->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (reconciliation->deadline && GetCurrentTimestamp() >= reconciliation->deadline)
			break;
		check_window(reconciliation, reconciliation->windows[i]);
		if (!atomic)
			idem_commit();
	}
	open_monitor(reconciliation);
	idem_run_pinned("UTC", update_alerts, reconciliation);
	ereport(NOTICE,
			(errmsg("pipeline \"%s\": checked %d of %d windows, open alerts: " INT64_FORMAT, reconciliation->request.pipeline,
					reconciliation->findings.nchecked[IDEM_CHECK_FAILED], reconciliation->n, reconciliation->open)));
}

/* Reads the window, which may be left out, and the budget. */
static void
read_range(Reconciliation *reconciliation, const IdemPipeline *pipeline, FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(2))
		reconciliation->range = idem_parse_range(idem_pipeline_range_type(pipeline), "(,)");
	else
		reconciliation->range = idem_read_typed_window(pipeline, idem_text_argument(fcinfo, 2));
	if (!PG_ARGISNULL(4))
		reconciliation->deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
																		   TimestampTzGetDatum(GetCurrentTimestamp()),
																		   PG_GETARG_DATUM(4)));
}

/* SQL: CALL idem_reconcile(monitor regclass, pipeline text, window_range text, depth text, budget interval) */
Datum
idem_reconcile(PG_FUNCTION_ARGS)
{
	bool atomic = idem_call_is_atomic(fcinfo);
	Reconciliation reconciliation = {.caller = {.role = GetUserId()}, .expect = idem_expect_nothing};
	IdemPipeline *pipeline;

	idem_require_argument(fcinfo, 0, "monitor");
	idem_require_argument(fcinfo, 1, "pipeline");
	idem_require_writable("reconcile");
	idem_connect(atomic);
	reconciliation.context = CurrentMemoryContext;
	reconciliation.schema = idem_function_schema(fcinfo);
	pipeline = idem_open_pipeline(reconciliation.schema, idem_text_argument(fcinfo, 1));
	reconciliation.monitor_oid = PG_GETARG_OID(0);
	reconciliation.request = idem_pipeline_request(pipeline);
	reconciliation.depth = idem_read_depth(fcinfo, 3);
	read_range(&reconciliation, pipeline, fcinfo);
	reconcile(&reconciliation, atomic);
	idem_finish();
	return (Datum) 0;
}
