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

#include "catalog/namespace.h"
#include "fmgr.h"
#include "funcapi.h"
#include "ledger/table.h"
#include "miscadmin.h"
#include "pipeline/coverage.h"
#include "pipeline/pipeline.h"
#include "pipeline/state.h"
#include "server/extension.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
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

/* As many ledgers are kept open. */
#define MAX_LEDGERS 64

/* A ledger that has been opened, with its statements. */
typedef struct OpenLedger
{
	Oid relid;
	IdemLedger *ledger; /* NULL: it could not be */
} OpenLedger;

/* The status that is being told. */
typedef struct Status
{
	char *schema;
	ReturnSetInfo *rsinfo;
	MemoryContext context; /* of the ledgers */
	HTAB *ledgers;
} Status;

/* One row of it. */
typedef struct StatusRow
{
	Status *status;
	const IdemPipelineRow *pipeline;
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

/* Closes the ledgers that are open, if any, and makes room for others. */
static void
reset_ledgers(Status *status)
{
	HASHCTL control = {.keysize = sizeof(Oid), .entrysize = sizeof(OpenLedger), .hcxt = status->context};

	MemoryContextReset(status->context);
	status->ledgers = hash_create("idem ledgers", MAX_LEDGERS, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * A pipeline's ledger, opened for reading.  Many pipelines may share one, whose statements
 * are then made once; it is looked at each time, for a watermark may have changed it.
 */
static IdemLedger *
open_ledger(Status *status, Oid relid)
{
	Oid schema = get_namespace_oid(status->schema, false);
	IdemLedger *now = idem_open_ledger(relid, schema, false);
	MemoryContext old;
	OpenLedger *entry;
	bool found;

	if (hash_get_num_entries(status->ledgers) >= MAX_LEDGERS)
		reset_ledgers(status);
	entry = hash_search(status->ledgers, &relid, HASH_ENTER, &found);
	if (found && entry->ledger && entry->ledger->type == now->type &&
		strcmp(entry->ledger->name, now->name) == 0)
		return entry->ledger;
	entry->ledger = NULL;
	old = MemoryContextSwitchTo(status->context);
	entry->ledger = idem_open_ledger(relid, schema, false);
	MemoryContextSwitchTo(old);
	return entry->ledger;
}

/* A row to be filled in from ledger and clock, as an argument of idem_try. */
static void
fill_now(void *arg)
{
	StatusRow *row = arg;
	IdemPipeline *pipeline = idem_open_pipeline_row(row->status->schema, row->pipeline);
	IdemPipelineCoverage coverage = idem_read_coverage(pipeline, open_ledger(row->status, pipeline->ledger), NULL);

	set_coverage(row, &coverage);
}

/* Adds a pipeline's row to the result. */
static void
put_status(void *arg, const IdemPipelineRow *pipeline, const IdemPipelineState *state)
{
	Status *status = arg;
	StatusRow row = {.status = status, .pipeline = pipeline};
	ErrorData *error = NULL;

	memset(row.nulls, true, sizeof(row.nulls));
	set_value(&row, STATUS_NAME, pipeline->values[PIPELINE_NAME]);
	set_value(&row, STATUS_OWNER, ObjectIdGetDatum(state->owner));
	set_text(&row, STATUS_STATE, state->state);
	set_text(&row, STATUS_LAST_ERROR, state->last_error);
	set_time(&row, STATUS_NEXT_RUN, state->next_run_at);
	set_text(&row, STATUS_WAITING_FOR, state->waiting_for);
	if (!OidIsValid(state->owner))
		set_text(&row, STATUS_LAST_ERROR, "its owner is not a role here");
	if (state->owner == GetUserId())
		error = idem_try(fill_now, &row, CurrentMemoryContext);
	else
		set_coverage(&row, &state->coverage);
	if (error)
		set_text(&row, STATUS_LAST_ERROR, error->message);
	tuplestore_putvalues(status->rsinfo->setResult, status->rsinfo->setDesc, row.values, row.nulls);
}

/* SQL: idem_pipeline_status() */
Datum
idem_pipeline_status(PG_FUNCTION_ARGS)
{
	Status status = {
		.schema = idem_function_schema(fcinfo),
		.rsinfo = castNode(ReturnSetInfo, fcinfo->resultinfo),
	};

	InitMaterializedSRF(fcinfo, 0);
	idem_connect(true);
	status.context = AllocSetContextCreate(CurrentMemoryContext, "idem ledgers", ALLOCSET_DEFAULT_SIZES);
	reset_ledgers(&status);
	idem_visit_pipelines(status.schema, put_status, &status);
	MemoryContextDelete(status.context);
	idem_finish();
	return (Datum) 0;
}
