/*
 * tap.c
 *		idem_tap(): checks as lines of TAP, which prove and CI systems read.
 *
 * The query is the caller's, and runs as he.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "load/call.h"
#include "nodes/execnodes.h"
#include "server/query.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(idem_tap);

/* Takes the checks. */
typedef struct Receiver
{
	DestReceiver pub;
	ReturnSetInfo *rsinfo;
	int64 checks; /* so far */
} Receiver;

/* Adds a line. */
static void
put_line(Receiver *receiver, const char *line)
{
	Datum values[] = {CStringGetTextDatum(line)};
	bool nulls[] = {false};

	tuplestore_putvalues(receiver->rsinfo->setResult, receiver->rsinfo->setDesc, values, nulls);
}

/* A column as text, "" for NULL, of one line, in which no # is taken for a directive. */
static char *
column_text(TupleTableSlot *slot, int column, bool escape)
{
	Oid output;
	bool is_varlena;
	StringInfoData text;
	const char *c;

	initStringInfo(&text);
	if (slot->tts_isnull[column])
		return text.data;
	getTypeOutputInfo(TupleDescAttr(slot->tts_tupleDescriptor, column)->atttypid, &output, &is_varlena);
	for (c = OidOutputFunctionCall(output, slot->tts_values[column]); *c; c++)
	{
		if (escape && (*c == '#' || *c == '\\'))
			appendStringInfoChar(&text, '\\');
		appendStringInfoChar(&text, *c == '\n' || *c == '\r' ? ' ' : *c);
	}
	return text.data;
}

/* Fails for a query that returns no checks. */
static void
check_columns(TupleDesc desc)
{
	if (desc->natts != 3 || TupleDescAttr(desc, 1)->atttypid != BOOLOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("argument query must return a name, a boolean and a detail"),
				 errhint("For example 'SELECT * FROM idem_test_all(''pipeline'', ''[2024-03-01,2024-03-08)'')'.")));
}

static void
start_checks(DestReceiver *self, int operation, TupleDesc desc)
{
	check_columns(desc);
}

/* A check whose ok is NULL has not succeeded. */
static bool
receive_check(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver *receiver = (Receiver *) self;
	bool ok;
	char *detail;

	slot_getallattrs(slot);
	ok = !slot->tts_isnull[1] && DatumGetBool(slot->tts_values[1]);
	put_line(receiver, psprintf("%s " INT64_FORMAT " - %s", ok ? "ok" : "not ok", ++receiver->checks,
								column_text(slot, 0, true)));
	detail = column_text(slot, 2, false);
	if (*detail)
		put_line(receiver, psprintf("# %s", detail));
	return true;
}

/* SQL: idem_tap(query text) */
Datum
idem_tap(PG_FUNCTION_ARGS)
{
	Receiver receiver = {
		.pub = {receive_check, start_checks, idem_keep_receiver, idem_keep_receiver, DestNone},
		.rsinfo = castNode(ReturnSetInfo, fcinfo->resultinfo),
	};

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	idem_require_argument(fcinfo, 0, "query");
	idem_connect(true);
	idem_run_into(idem_make_statement(idem_text_argument(fcinfo, 0), 0, NULL, IDEM_SNAPSHOT_NEW), NULL, &receiver.pub);
	put_line(&receiver, psprintf("1.." INT64_FORMAT, receiver.checks));
	idem_finish();
	return (Datum) 0;
}
