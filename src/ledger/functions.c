/*
 * functions.c
 *		idem_gaps(), idem_coverage() and idem_invalidate(): the ledger asked by SQL.
 *
 * Each has a twin that takes the window as text and reads it as the ledger's range
 * type, so that an untyped literal or a driver's parameter works.
 */
#include "postgres.h"

#include "access/relation.h"
#include "fmgr.h"
#include "ledger/table.h"
#include "server/argument.h"
#include "server/extension.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rangetypes.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(idem_gaps);
PG_FUNCTION_INFO_V1(idem_gaps_text);
PG_FUNCTION_INFO_V1(idem_coverage);
PG_FUNCTION_INFO_V1(idem_coverage_text);
PG_FUNCTION_INFO_V1(idem_invalidate);
PG_FUNCTION_INFO_V1(idem_invalidate_text);
PG_FUNCTION_INFO_V1(idem_prune);
PG_FUNCTION_INFO_V1(idem_adopt);
PG_FUNCTION_INFO_V1(idem_accept_schema);

/* The arguments that all of these functions have. */
typedef struct LedgerCall
{
	IdemLedger *ledger;
	const char *pipeline;
	Datum range;		  /* of the ledger's range type */
	MemoryContext caller; /* where a result must go */
} LedgerCall;

/* Reads the arguments; connects, so that idem_finish is the caller's to call. */
static LedgerCall
begin_call(FunctionCallInfo fcinfo, bool is_text, bool for_writing)
{
	LedgerCall call;

	call.caller = CurrentMemoryContext;
	call.pipeline = text_to_cstring(PG_GETARG_TEXT_PP(1));
	idem_connect(true);
	call.ledger = idem_open_ledger(PG_GETARG_OID(0),
								   get_func_namespace(fcinfo->flinfo->fn_oid), for_writing);
	if (is_text)
		call.range = idem_parse_window(call.ledger->type,
									  text_to_cstring(PG_GETARG_TEXT_PP(2)));
	else
	{
		idem_check_range_type(call.ledger, RangeTypeGetOid(PG_GETARG_RANGE_P(2)));
		call.range = PG_GETARG_DATUM(2);
	}
	return call;
}

/* Returns a multirange as it is, or as text, from a function that connected. */
static Datum
end_call(LedgerCall *call, Datum multirange, bool as_text)
{
	Datum result;
	Oid output;
	bool is_varlena;
	MemoryContext old = MemoryContextSwitchTo(call->caller);

	if (as_text)
	{
		getTypeOutputInfo(call->ledger->type->multirange, &output, &is_varlena);
		result = CStringGetTextDatum(OidOutputFunctionCall(output, multirange));
	}
	else
		result = PointerGetDatum(PG_DETOAST_DATUM_COPY(multirange));
	MemoryContextSwitchTo(old);
	idem_finish();
	return result;
}

/* idem_gaps in both forms */
static Datum
gaps(FunctionCallInfo fcinfo, bool is_text)
{
	LedgerCall call = begin_call(fcinfo, is_text, false);
	Datum reopened = idem_parse_range(call.ledger->type, "empty");
	Datum postponed = idem_parse_multirange(call.ledger->type, "{}");

	return end_call(&call, idem_ledger_gaps(call.ledger, call.pipeline, call.range, reopened, postponed),
					is_text);
}

/* idem_coverage in both forms */
static Datum
coverage(FunctionCallInfo fcinfo, bool is_text)
{
	LedgerCall call = begin_call(fcinfo, is_text, false);

	return end_call(&call, idem_ledger_coverage(call.ledger, call.pipeline, call.range),
					is_text);
}

/* idem_invalidate in both forms */
static Datum
invalidate(FunctionCallInfo fcinfo, bool is_text)
{
	LedgerCall call = begin_call(fcinfo, is_text, true);
	IdemWindow window;
	int64 superseded = 0;

	if (idem_read_window(call.ledger->type, call.range, &window))
		superseded = idem_invalidate_window(call.ledger, call.pipeline, window);
	if (superseded > 0)
		idem_window_reopened(idem_function_schema(fcinfo), call.ledger->relid, call.pipeline);
	idem_finish();
	return Int64GetDatum(superseded);
}

/* SQL: idem_gaps(regclass, text, anyrange) returns anymultirange */
Datum
idem_gaps(PG_FUNCTION_ARGS)
{
	return gaps(fcinfo, false);
}

/* SQL: idem_gaps(regclass, text, text) returns text */
Datum
idem_gaps_text(PG_FUNCTION_ARGS)
{
	return gaps(fcinfo, true);
}

/* SQL: idem_coverage(regclass, text, anyrange) returns anymultirange */
Datum
idem_coverage(PG_FUNCTION_ARGS)
{
	return coverage(fcinfo, false);
}

/* SQL: idem_coverage(regclass, text, text) returns text */
Datum
idem_coverage_text(PG_FUNCTION_ARGS)
{
	return coverage(fcinfo, true);
}

/* SQL: idem_invalidate(regclass, text, anyrange) returns bigint */
Datum
idem_invalidate(PG_FUNCTION_ARGS)
{
	return invalidate(fcinfo, false);
}

/* SQL: idem_invalidate(regclass, text, text) returns bigint */
Datum
idem_invalidate_text(PG_FUNCTION_ARGS)
{
	return invalidate(fcinfo, true);
}

/* The moment before which there is nothing to keep, as an argument of idem_read_argument. */
typedef struct PruneTime
{
	Datum older_than;
	TimestampTz before;
} PruneTime;

static void
compute_prune_time(void *arg)
{
	PruneTime *time = arg;

	time->before = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
														   TimestampTzGetDatum(GetCurrentTimestamp()),
														   time->older_than));
}

/* Reads it from the argument older_than. */
static TimestampTz
prune_time(Datum older_than)
{
	const Interval *interval = DatumGetIntervalP(older_than);
	const char *text = DatumGetCString(DirectFunctionCall1(interval_out, older_than));
	PruneTime time = {older_than};

	if (interval->month < 0 || interval->day < 0 || interval->time < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("older_than must not be negative: \"%s\"", text),
				 errhint("Write for example older_than => '90 days'.")));
	idem_read_argument("older_than", text, compute_prune_time, &time);
	return time.before;
}

/* SQL: idem_prune(regclass, interval) returns bigint */
Datum
idem_prune(PG_FUNCTION_ARGS)
{
	TimestampTz before = prune_time(PG_GETARG_DATUM(1));
	int64 deleted;

	idem_connect(true);
	deleted = idem_prune_history(idem_open_ledger(PG_GETARG_OID(0),
												  get_func_namespace(fcinfo->flinfo->fn_oid), true),
								 before);
	idem_finish();
	PG_RETURN_INT64(deleted);
}

/* SQL: idem_adopt(regclass, text, regclass) returns bigint */
Datum
idem_adopt(PG_FUNCTION_ARGS)
{
	Oid target = PG_GETARG_OID(2);
	int64 adopted;

	idem_connect(true);
	relation_close(idem_open_permitted(target), NoLock);
	adopted = idem_adopt_coverage(idem_open_ledger(PG_GETARG_OID(0),
												   get_func_namespace(fcinfo->flinfo->fn_oid), true),
								  text_to_cstring(PG_GETARG_TEXT_PP(1)), target);
	idem_finish();
	PG_RETURN_INT64(adopted);
}

/* SQL: idem_accept_schema(regclass, text) returns boolean */
Datum
idem_accept_schema(PG_FUNCTION_ARGS)
{
	bool accepted;

	idem_connect(true);
	accepted = idem_accept_columns(idem_open_ledger(PG_GETARG_OID(0),
													get_func_namespace(fcinfo->flinfo->fn_oid), true),
								   text_to_cstring(PG_GETARG_TEXT_PP(1)));
	idem_finish();
	PG_RETURN_BOOL(accepted);
}
