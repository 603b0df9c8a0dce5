/*
 * functions.c
 *		CALL idem_load_window(…) and idem_load(…): the load called by SQL.
 *
 * Both read the same arguments, in the same order, and differ in what they may do
 * with the transaction and in how they report.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "id/keys.h"
#include "load/call.h"
#include "nodes/parsenodes.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rangetypes.h"

PG_FUNCTION_INFO_V1(idem_load_window);
PG_FUNCTION_INFO_V1(idem_load_window_text);
PG_FUNCTION_INFO_V1(idem_load);
PG_FUNCTION_INFO_V1(idem_load_text);

/* The arguments, in order, from those on that a check has too. */
enum
{
	ARG_STEP = IDEM_ARG_PIPELINE + 1,
	ARG_VERSION_COLUMN,
	ARG_AUDIT,
	ARG_LOOKBACK,
	ARG_FORCE,
	ARG_TIME_ZONE,
	ARG_ON_BUSY,
	ARG_ON_ERROR,
	ARG_ON_SCHEMA_CHANGE,
	ARG_DEAD_LETTERS,
	ARG_MAX_DEAD,
};

void
idem_require_argument(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument %s must not be NULL", name)));
}

char *
idem_text_argument(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

int
idem_choice_argument(FunctionCallInfo fcinfo, int arg, const char *name, const char *const *choices)
{
	idem_require_argument(fcinfo, arg, name);
	return idem_read_choice(idem_text_argument(fcinfo, arg), name, choices);
}

int
idem_read_choice(const char *value, const char *name, const char *const *choices)
{
	StringInfoData hint;
	int i;

	for (i = 0; choices[i]; i++)
	{
		if (strcmp(value, choices[i]) == 0)
			return i;
	}
	initStringInfo(&hint);
	for (i = 0; choices[i]; i++)
		appendStringInfo(&hint, "%s'%s'",
						 i == 0 ? "" : choices[i + 1] ? ", "
													  : " or ",
						 choices[i]);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for argument %s: \"%s\"", name, value),
			 errhint("Use %s.", hint.data)));
}

void
idem_read_window_argument(FunctionCallInfo fcinfo, int arg, bool is_text, IdemRequest *request)
{
	idem_require_argument(fcinfo, arg, "window_range");
	if (is_text)
		request->window_text = idem_text_argument(fcinfo, arg);
	else
	{
		request->window = RangeTypePGetDatum(PG_GETARG_RANGE_P_COPY(arg));
		request->window_type = RangeTypeGetOid(DatumGetRangeTypeP(request->window));
	}
}

IdemOnBusy
idem_read_on_busy(FunctionCallInfo fcinfo, int arg)
{
	static const char *const on_busy[] = {"wait", "skip", "error", NULL};

	return (IdemOnBusy) idem_choice_argument(fcinfo, arg, "on_busy", on_busy);
}

const char *const idem_schema_changes[] = {"fail", "append", "notify", "ignore", NULL};

/* Reads what to do where the source has other columns than before. */
static IdemOnSchemaChange
read_on_schema_change(FunctionCallInfo fcinfo, int arg)
{
	return (IdemOnSchemaChange) idem_choice_argument(fcinfo, arg, "on_schema_change", idem_schema_changes);
}

IdemRequest
idem_read_request(FunctionCallInfo fcinfo, bool is_text)
{
	static const char *const needed[] = {"ledger", "target", "source"};
	static const char *const modes[] = {"upsert", "reload", NULL};
	IdemRequest request = {.schema = get_func_namespace(fcinfo->flinfo->fn_oid)};
	int arg;

	for (arg = IDEM_ARG_LEDGER; arg <= IDEM_ARG_SOURCE; arg++)
		idem_require_argument(fcinfo, arg, needed[arg]);
	request.ledger = PG_GETARG_OID(IDEM_ARG_LEDGER);
	request.target = PG_GETARG_OID(IDEM_ARG_TARGET);
	request.source = idem_text_argument(fcinfo, IDEM_ARG_SOURCE);
	idem_read_window_argument(fcinfo, IDEM_ARG_WINDOW_RANGE, is_text, &request);
	request.reload = idem_choice_argument(fcinfo, IDEM_ARG_MODE, "mode", modes) == 1;
	if (!PG_ARGISNULL(IDEM_ARG_KEYS))
		request.keys = idem_read_keys(PG_GETARG_ARRAYTYPE_P(IDEM_ARG_KEYS), &request.nkeys);
	request.window_column = idem_text_argument(fcinfo, IDEM_ARG_WINDOW_COLUMN);
	request.pipeline = idem_text_argument(fcinfo, IDEM_ARG_PIPELINE);
	return request;
}

/* Reads all arguments. */
static IdemRequest
read_load(FunctionCallInfo fcinfo, bool is_text)
{
	static const char *const on_error[] = {"stop", "continue", NULL};
	IdemRequest request = idem_read_request(fcinfo, is_text);

	request.step = idem_text_argument(fcinfo, ARG_STEP);
	request.version_column = idem_text_argument(fcinfo, ARG_VERSION_COLUMN);
	request.audit = idem_text_argument(fcinfo, ARG_AUDIT);
	request.lookback = idem_text_argument(fcinfo, ARG_LOOKBACK);
	idem_require_argument(fcinfo, ARG_FORCE, "force");
	request.force = PG_GETARG_BOOL(ARG_FORCE);
	request.identity.time_zone = idem_text_argument(fcinfo, ARG_TIME_ZONE);
	request.on_busy = idem_read_on_busy(fcinfo, ARG_ON_BUSY);
	request.continue_on_error = idem_choice_argument(fcinfo, ARG_ON_ERROR, "on_error", on_error) == 1;
	request.on_schema_change = read_on_schema_change(fcinfo, ARG_ON_SCHEMA_CHANGE);
	if (!PG_ARGISNULL(ARG_DEAD_LETTERS))
		request.dead_letters = PG_GETARG_OID(ARG_DEAD_LETTERS);
	idem_require_argument(fcinfo, ARG_MAX_DEAD, "max_dead");
	request.max_dead = idem_text_argument(fcinfo, ARG_MAX_DEAD);
	return request;
}

/* What a notice has to say beside the numbers, which add up by it. */
static int
explain_total(const IdemRun *total, bool atomic)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (total->duplicate_rows > 0)
		appendStringInfo(&buf, "Source rows left out because another has their key: %lld.", (long long) total->duplicate_rows);
	if (total->dead_rows > 0)
		appendStringInfo(&buf, "%sSource rows that cannot be loaded and are dead letters now: %lld.", buf.len > 0 ? " " : "",
						 (long long) total->dead_rows);
	if (atomic)
		appendStringInfo(&buf, "%sThe load is complete when the calling transaction commits.", buf.len > 0 ? " " : "");
	return buf.len > 0 ? errdetail_internal("%s", buf.data) : 0;
}

void
idem_notice_summary(const IdemSummary *summary, bool atomic)
{
	const IdemRun *total = &summary->total;

	if (summary->busy > 0)
		ereport(NOTICE,
				(errmsg_plural("pipeline \"%s\": skipped %lld window that another session is loading",
							   "pipeline \"%s\": skipped %lld windows that other sessions are loading",
							   (unsigned long) summary->busy,
							   summary->pipeline, (long long) summary->busy)));
	if (summary->blocked > 0)
		ereport(NOTICE,
				(errmsg_plural("pipeline \"%s\": %lld window is blocked after it has failed",
							   "pipeline \"%s\": %lld windows are blocked after they have failed",
							   (unsigned long) summary->blocked,
							   summary->pipeline, (long long) summary->blocked),
				 errhint("SELECT idem_retry(%s) when the reason is gone.", quote_literal_cstr(summary->pipeline))));
	if (summary->loaded == 0)
	{
		ereport(NOTICE,
				(errmsg("pipeline \"%s\": nothing to load", summary->pipeline)));
		return;
	}
	ereport(NOTICE,
			(errmsg_plural("pipeline \"%s\": loaded %lld window, source rows: %lld, inserted: %lld, updated: %lld, deleted: %lld, unchanged: %lld",
						   "pipeline \"%s\": loaded %lld windows, source rows: %lld, inserted: %lld, updated: %lld, deleted: %lld, unchanged: %lld",
						   (unsigned long) summary->loaded,
						   summary->pipeline, (long long) summary->loaded,
						   (long long) total->source_rows, (long long) total->inserted_rows,
						   (long long) total->updated_rows, (long long) total->deleted_rows,
						   (long long) total->unchanged_rows),
			 explain_total(total, atomic)));
}

bool
idem_call_is_atomic(FunctionCallInfo fcinfo)
{
	if (fcinfo->context && IsA(fcinfo->context, CallContext))
		return castNode(CallContext, fcinfo->context)->atomic || IsSubTransaction();
	return true;
}

/* The procedure, in both forms. */
static Datum
call_load(FunctionCallInfo fcinfo, bool is_text)
{
	bool atomic = idem_call_is_atomic(fcinfo);
	IdemRequest request;
	IdemSummary summary;

	idem_connect(atomic);
	request = read_load(fcinfo, is_text);
	idem_run_load(&request, atomic, NULL, NULL, &summary);
	idem_notice_summary(&summary, atomic);
	idem_finish();
	return (Datum) 0;
}

/* Adds the result row of one window. */
static void
report_row(void *arg, const IdemRangeType *type, const IdemRun *run, bool busy)
{
	ReturnSetInfo *rsinfo = arg;
	bool nulls[9] = {busy, false, false, busy, busy, busy, busy, busy, busy};
	Datum values[9] = {
		Int64GetDatum(run->run_id),
		CStringGetTextDatum(idem_window_text(type, run->window)),
		CStringGetTextDatum(busy ? "busy" : "loaded"),
		busy ? (Datum) 0 : CStringGetTextDatum(run->method),
		Int64GetDatum(run->source_rows),
		Int64GetDatum(run->inserted_rows),
		Int64GetDatum(run->updated_rows),
		Int64GetDatum(run->deleted_rows),
		Int64GetDatum(run->unchanged_rows),
	};

	nulls[7] |= run->deleted_rows == IDEM_UNKNOWN_COUNT;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* The function, in both forms. */
static Datum
select_load(FunctionCallInfo fcinfo, bool is_text)
{
	IdemRequest request;
	IdemSummary summary;

	InitMaterializedSRF(fcinfo, 0);
	idem_connect(true);
	request = read_load(fcinfo, is_text);
	idem_run_load(&request, true, report_row, fcinfo->resultinfo, &summary);
	idem_finish();
	return (Datum) 0;
}

/* SQL: CALL idem_load_window(…), the window as a range */
Datum
idem_load_window(PG_FUNCTION_ARGS)
{
	return call_load(fcinfo, false);
}

/* SQL: CALL idem_load_window(…), the window as text */
Datum
idem_load_window_text(PG_FUNCTION_ARGS)
{
	return call_load(fcinfo, true);
}

/* SQL: idem_load(…), the window as a range */
Datum
idem_load(PG_FUNCTION_ARGS)
{
	return select_load(fcinfo, false);
}

/* SQL: idem_load(…), the window as text */
Datum
idem_load_text(PG_FUNCTION_ARGS)
{
	return select_load(fcinfo, true);
}
