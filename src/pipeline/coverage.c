/*
 * coverage.c
 *		How a pipeline is doing, told from its ledger and its clock or watermark.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "ledger/table.h"
#include "pipeline/coverage.h"
#include "pipeline/due.h"
#include "server/scope.h"

/* What is to be found out, as an argument of idem_run_as. */
typedef struct Reading
{
	const IdemPipeline *pipeline;
	IdemLedger *ledger; /* NULL: not opened yet */
	const IdemFrontier *frontier;
	IdemDue due;
	IdemPipelineCoverage coverage;
} Reading;

/* Reads what the ledger says of what is due. */
static void
read_due(Reading *reading, IdemLedger *ledger)
{
	const IdemDue *due = &reading->due;
	IdemPipelineCoverage *coverage = &reading->coverage;
	const char *name = reading->pipeline->name;
	Datum range = idem_due_range(due);
	Datum gaps = idem_ledger_gaps(ledger, name, range, idem_parse_range(due->type, "empty"),
								  idem_parse_multirange(due->type, "{}"));
	IdemPostponed failures = idem_ledger_failures(ledger, name, range);
	int n;
	IdemWindow *windows = idem_read_windows(due->type, gaps, &n);
	int64 bound = n > 0 ? windows[0].lower : due->window.upper;

	coverage->complete_to = idem_bound_text(due->type, bound);
	coverage->frontier = idem_bound_iso(due->type, bound);
	if (due->type->bound != INT8OID)
		coverage->complete_at = idem_bound_time(due->type, bound);
	coverage->gaps = idem_windows_text(due->type, windows, n);
	coverage->ngaps = n;
	coverage->failed = failures.failed;
	coverage->blocked = failures.blocked;
	coverage->last_failure = failures.last_error;
}

static void
read_coverage(void *arg)
{
	Reading *reading = arg;
	const IdemPipeline *pipeline = reading->pipeline;
	IdemLedger *ledger = reading->ledger;

	if (ledger == NULL)
		ledger = idem_open_ledger(pipeline->ledger, get_namespace_oid(pipeline->schema, false), false);
	idem_find_due_here(pipeline, ledger->type, reading->frontier, &reading->due);
	reading->coverage.last_run = idem_last_run_time(ledger, pipeline->name);
	if (reading->due.window.lower < reading->due.window.upper)
		read_due(reading, ledger);
}

IdemPipelineCoverage
idem_read_coverage(const IdemPipeline *pipeline, IdemLedger *ledger, const IdemFrontier *frontier)
{
	Reading reading = {pipeline, ledger, frontier};

	idem_run_as(&pipeline->identity, read_coverage, &reading);
	return reading.coverage;
}
