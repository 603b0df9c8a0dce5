/*
 * status.c
 *		idem_pipeline_status(): how each pipeline is doing, for the view idem_status.
 *
 * A pipeline whose ledger or watermark cannot be read is shown with the error, and
 * does not hide the others.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "ledger/table.h"
#include "pipeline/due.h"
#include "pipeline/pipeline.h"
#include "pipeline/state.h"
#include "server/extension.h"
#include "server/scope.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(idem_pipeline_status);

/* The result's columns. */
enum
{
	STATUS_NAME,
	STATUS_OWNER,
	STATUS_STATE,
	STATUS_COMPLETE_TO,
	STATUS_GAPS,
	STATUS_FAILED,
	STATUS_BLOCKED,
	STATUS_LAST_ERROR,
	STATUS_LAST_RUN,
	STATUS_LAG,
	STATUS_NEXT_RUN,
	STATUS_WAITING_FOR,
	STATUS_COLUMNS,
};

/* One row of it. */
typedef struct StatusRow
{
	const char *schema;
	const char *name;
	Datum values[STATUS_COLUMNS];
	bool nulls[STATUS_COLUMNS];
} StatusRow;

/* Sets a column. */
static void
set_value(StatusRow *row, int column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

/* Sets a text column, unless the text is NULL. */
static void
set_text(StatusRow *row, int column, const char *text)
{
	if (text)
		set_value(row, column, CStringGetTextDatum(text));
}

/* Sets a column to a moment, unless it is 0. */
static void
set_time(StatusRow *row, int column, TimestampTz time)
{
	if (time != 0)
		set_value(row, column, TimestampTzGetDatum(time));
}

/* Sets how far the pipeline is complete, and how far that lies behind. */
static void
set_complete_to(StatusRow *row, const IdemDue *due, int64 bound)
{
	set_text(row, STATUS_COMPLETE_TO, idem_bound_text(due->type, bound));
	if (due->type->bound != INT8OID)
		set_value(row, STATUS_LAG,
				  DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(GetCurrentTimestamp()),
									  TimestampTzGetDatum(idem_bound_time(due->type, bound))));
}

/* Sets what the ledger says. */
static void
set_coverage(StatusRow *row, IdemLedger *ledger, const IdemDue *due)
{
	Datum range = idem_window_datum(due->type, due->window);
	Datum gaps = idem_ledger_gaps(ledger, row->name, range, idem_parse_range(due->type, "empty"),
								  idem_parse_multirange(due->type, "{}"));
	IdemPostponed failures = idem_ledger_failures(ledger, row->name, range);
	int n;
	IdemWindow *windows = idem_read_windows(due->type, gaps, &n);

	set_complete_to(row, due, n > 0 ? windows[0].lower : due->window.upper);
	set_text(row, STATUS_GAPS, idem_multirange_text(due->type, gaps));
	set_value(row, STATUS_FAILED, Int64GetDatum(failures.failed));
	set_value(row, STATUS_BLOCKED, Int64GetDatum(failures.blocked));
	if (row->nulls[STATUS_LAST_ERROR])
		set_text(row, STATUS_LAST_ERROR, failures.last_error);
}

/* A row to be filled in, as an argument of idem_run_as. */
typedef struct CoverageFill
{
	StatusRow *row;
	const IdemPipeline *pipeline;
	IdemDue due;
} CoverageFill;

static void
fill_coverage_as(void *arg)
{
	CoverageFill *fill = arg;
	IdemLedger *ledger = idem_open_ledger(fill->pipeline->ledger,
										  get_namespace_oid(fill->row->schema, false), false);

	set_time(fill->row, STATUS_LAST_RUN, idem_last_run_time(ledger, fill->pipeline->name));
	if (fill->due.window.lower < fill->due.window.upper)
		set_coverage(fill->row, ledger, &fill->due);
}

/* Fills in what can go wrong: the clock or watermark, and the ledger. */
static void
fill_coverage(void *arg)
{
	StatusRow *row = arg;
	IdemPipeline *pipeline = idem_open_pipeline(row->schema, row->name);
	CoverageFill fill = {row, pipeline, idem_find_due(pipeline)};

	idem_run_as(&pipeline->identity, fill_coverage_as, &fill);
}

/* Adds a pipeline's row to the result. */
static void
put_status(ReturnSetInfo *rsinfo, const char *schema, const char *name)
{
	IdemPipelineState state = idem_read_pipeline_state(schema, name);
	StatusRow row = {.schema = schema, .name = name};
	ErrorData *error;

	memset(row.nulls, true, sizeof(row.nulls));
	set_text(&row, STATUS_NAME, name);
	set_value(&row, STATUS_OWNER, ObjectIdGetDatum(state.owner));
	set_text(&row, STATUS_STATE, state.state);
	set_text(&row, STATUS_LAST_ERROR, state.last_error);
	set_time(&row, STATUS_NEXT_RUN, state.next_run_at);
	set_text(&row, STATUS_WAITING_FOR, state.waiting_for);
	error = idem_try(fill_coverage, &row, CurrentMemoryContext);
	if (error)
		set_text(&row, STATUS_LAST_ERROR, error->message);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row.values, row.nulls);
}

/* SQL: idem_pipeline_status() */
Datum
idem_pipeline_status(PG_FUNCTION_ARGS)
{
	char *schema = idem_function_schema(fcinfo);
	char **names;
	int n;
	int i;

	InitMaterializedSRF(fcinfo, 0);
	idem_connect(true);
	names = idem_pipeline_names(schema, &n);
	for (i = 0; i < n; i++)
		put_status(castNode(ReturnSetInfo, fcinfo->resultinfo), schema, names[i]);
	idem_finish();
	return (Datum) 0;
}
