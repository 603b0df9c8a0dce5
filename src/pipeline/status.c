/*
 * status.c
 *		idem_pipeline_status(): how each pipeline is doing, for the view idem_status.
 *
 * Of one's own pipelines it is told as of now.  Ledger and watermark of another role are
 * that role's code, which does not run in the session of whoever looks: of these it is
 * told as of the end of their last turn.  A pipeline whose ledger or watermark cannot be
 * read is shown with the error, and does not hide the others.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pipeline/coverage.h"
#include "pipeline/pipeline.h"
#include "pipeline/state.h"
#include "server/extension.h"
#include "server/transaction.h"
#include "utils/builtins.h"
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

/* Sets what is known of the pipeline's windows. */
static void
set_coverage(StatusRow *row, const IdemPipelineCoverage *coverage)
{
	set_time(row, STATUS_LAST_RUN, coverage->last_run);
	if (coverage->complete_to == NULL)
		return;
	set_text(row, STATUS_COMPLETE_TO, coverage->complete_to);
	set_text(row, STATUS_GAPS, coverage->gaps);
	set_value(row, STATUS_FAILED, Int64GetDatum(coverage->failed));
	set_value(row, STATUS_BLOCKED, Int64GetDatum(coverage->blocked));
	if (row->nulls[STATUS_LAST_ERROR])
		set_text(row, STATUS_LAST_ERROR, coverage->last_failure);
	if (coverage->complete_at != 0)
		set_value(row, STATUS_LAG,
				  DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(GetCurrentTimestamp()),
									  TimestampTzGetDatum(coverage->complete_at)));
}

/* A row to be filled in from ledger and clock, as an argument of idem_try. */
static void
fill_now(void *arg)
{
	StatusRow *row = arg;
	IdemPipelineCoverage coverage = idem_read_coverage(idem_open_pipeline(row->schema, row->name));

	set_coverage(row, &coverage);
}

/* Adds a pipeline's row to the result. */
static void
put_status(ReturnSetInfo *rsinfo, const char *schema, const char *name)
{
	IdemPipelineState state = idem_read_pipeline_state(schema, name);
	StatusRow row = {.schema = schema, .name = name};
	ErrorData *error = NULL;

	memset(row.nulls, true, sizeof(row.nulls));
	set_text(&row, STATUS_NAME, name);
	set_value(&row, STATUS_OWNER, ObjectIdGetDatum(state.owner));
	set_text(&row, STATUS_STATE, state.state);
	set_text(&row, STATUS_LAST_ERROR, state.last_error);
	set_time(&row, STATUS_NEXT_RUN, state.next_run_at);
	set_text(&row, STATUS_WAITING_FOR, state.waiting_for);
	if (state.owner == GetUserId())
		error = idem_try(fill_now, &row, CurrentMemoryContext);
	else
		set_coverage(&row, &state.coverage);
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
