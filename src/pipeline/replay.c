/*
 * replay.c
 *		idem_replay(): rows of dead letters loaded from what was kept of them.
 *
 * For sources that cannot be read again, once the target, or the record itself, has been put
 * right.  A pipeline that upserts and has a version column alone can be replayed: any other
 * might put an old row over a newer one.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "funcapi.h"
#include "ledger/letters.h"
#include "load/once.h"
#include "miscadmin.h"
#include "pipeline/pipeline.h"
#include "server/compat.h"
#include "server/extension.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(idem_replay);

/* The letters of a pipeline to be replayed, as an argument of idem_run_as. */
typedef struct Replay
{
	const IdemPipeline *pipeline;
	Oid relid;
	ReturnSetInfo *result;
	IdemRequest request; /* of the letter that is tried */
	IdemWindow window;
} Replay;

/* Fails for a pipeline that might put an old row over a newer one. */
static void
check_replayable(const IdemPipeline *pipeline)
{
	if (strcmp(pipeline->mode, "upsert") == 0 && pipeline->version_column)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("dead letters of pipeline \"%s\" cannot be replayed", pipeline->name),
			 errdetail("It needs mode \"upsert\" and a version_column: else an old row might replace a newer one."),
			 errhint("Have its windows loaded again: CALL idem_load_window(%s, window_range, force => true).",
					 quote_literal_cstr(pipeline->name))));
}

/* Builds: SELECT 'text'::pg_catalog.text AS c, … of a record */
static char *
record_query(const char *record)
{
	Datum json = DirectFunctionCall1(jsonb_in, CStringGetDatum(record));
	JsonbIterator *it = JsonbIteratorInit(&DatumGetJsonbP(json)->root);
	JsonbIteratorToken token;
	JsonbValue value;
	StringInfoData sql;
	const char *name = "";

	initStringInfo(&sql);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
			appendStringInfo(&sql, "%s%s::pg_catalog.text AS %s", sql.len == 0 ? "SELECT " : ", ",
							 value.type == jbvString ? quote_literal_cstr(pnstrdup(value.val.string.val, value.val.string.len)) : "NULL",
							 quote_identifier(name));
	}
	return sql.len > 0 ? sql.data : "SELECT";
}

static void
load_record(void *arg)
{
	Replay *replay = arg;

	idem_apply_once(&replay->request, replay->window);
}

/* Tells what became of a letter. */
static void
report_letter(Replay *replay, int64 letter_id, const ErrorData *error)
{
	Datum values[] = {Int64GetDatum(letter_id), CStringGetTextDatum(error ? "failed" : "replayed"),
					  error ? CStringGetTextDatum(error->message) : (Datum) 0};
	bool nulls[] = {false, false, error == NULL};

	tuplestore_putvalues(replay->result->setResult, replay->result->setDesc, values, nulls);
}

static void
replay_as(void *arg)
{
	Replay *replay = arg;
	const IdemPipeline *pipeline = replay->pipeline;
	IdemLetters *letters = idem_open_letters(replay->relid, get_namespace_oid(pipeline->schema, false),
											 idem_pipeline_range_type(pipeline));
	int64 letter_id = 0;
	char *record;

	while (idem_next_letter(letters, pipeline->name, letter_id, &letter_id, &replay->window, &record))
	{
		ErrorData *error;

		CHECK_FOR_INTERRUPTS();
		replay->request = idem_pipeline_request(pipeline);
		replay->request.source = record_query(record);
		replay->request.on_schema_change = IDEM_SCHEMA_IGNORE;
		replay->request.dead_letters = replay->relid;
		error = idem_try(load_record, replay, CurrentMemoryContext);
		if (error && !idem_is_of_row(error->sqlerrcode))
			ReThrowError(error);
		idem_end_letter(letters, letter_id, error);
		report_letter(replay, letter_id, error);
	}
}

/* SQL: idem_replay(dead_letters regclass, pipeline text) returns table (letter_id, result, error_message) */
Datum
idem_replay(PG_FUNCTION_ARGS)
{
	Replay replay = {.relid = PG_GETARG_OID(0), .result = (ReturnSetInfo *) fcinfo->resultinfo};

	InitMaterializedSRF(fcinfo, 0);
	idem_require_writable("replay dead letters");
	idem_connect(true);
	replay.pipeline = idem_open_pipeline(idem_function_schema(fcinfo), text_to_cstring(PG_GETARG_TEXT_PP(1)));
	check_replayable(replay.pipeline);
	idem_run_as(&replay.pipeline->identity, replay_as, &replay);
	idem_finish();
	return (Datum) 0;
}
