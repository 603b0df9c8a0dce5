/*
 * calendar.c
 *		idem_calendar(): a ledger's coverage as text to look at.
 *
 * A character for each window of the grid, a line for each month where windows are
 * days or longer, for each day where they are shorter, and for each hundred of
 * offsets' windows.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "ledger/table.h"
#include "miscadmin.h"
#include "pipeline/marks.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(idem_calendar);

#define OFFSETS_PER_LINE 100

/* More windows than this nobody looks at. */
#define MAX_WINDOWS 1000000

typedef struct Calendar
{
	const IdemRangeType *type;
	IdemWindowMarks marks;
	int per_line; /* of offsets; 0: by date */
	bool by_day;  /* else by month */
	StringInfoData label;
	StringInfoData line;
	int n; /* windows in the line */
	ReturnSetInfo *rsinfo;
} Calendar;

/* A day or a month; there is no year 0. */
static char *
date_label(const struct pg_tm *tm, bool by_day)
{
	int year = tm->tm_year > 0 ? tm->tm_year : 1 - tm->tm_year;
	const char *era = tm->tm_year > 0 ? "" : " BC";

	return by_day ? psprintf("%04d-%02d-%02d%s", year, tm->tm_mon, tm->tm_mday, era)
				  : psprintf("%04d-%02d%s", year, tm->tm_mon, era);
}

/* The line that a window belongs to. */
static char *
line_label(const Calendar *calendar, IdemWindow window)
{
	struct pg_tm tm;
	fsec_t fsec;
	int tz;

	if (calendar->per_line > 0)
		return calendar->n < calendar->per_line && calendar->label.len > 0
				   ? pstrdup(calendar->label.data)
				   : psprintf(INT64_FORMAT, window.lower);
	if (timestamp2tm(idem_bound_time(calendar->type, window.lower), &tz, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return date_label(&tm, calendar->by_day);
}

/* Adds the line to the result and begins a new one. */
static void
end_line(Calendar *calendar)
{
	Datum values[2];
	bool nulls[2] = {false};

	if (calendar->n > 0)
	{
		values[0] = CStringGetTextDatum(calendar->label.data);
		values[1] = CStringGetTextDatum(calendar->line.data);
		tuplestore_putvalues(calendar->rsinfo->setResult, calendar->rsinfo->setDesc, values, nulls);
	}
	resetStringInfo(&calendar->label);
	resetStringInfo(&calendar->line);
	calendar->n = 0;
}

/* Adds a window. */
static void
put_window(Calendar *calendar, IdemWindow window)
{
	char *label = line_label(calendar, window);

	if (strcmp(label, calendar->label.data) != 0)
	{
		end_line(calendar);
		appendStringInfoString(&calendar->label, label);
	}
	appendStringInfoChar(&calendar->line, idem_window_mark(&calendar->marks, window));
	calendar->n++;
	pfree(label);
}

/* Sets how the windows are put into lines. */
static void
set_layout(Calendar *calendar, const IdemStep *step)
{
	if (calendar->type->bound == INT8OID)
		calendar->per_line = OFFSETS_PER_LINE;
	else
		calendar->by_day = step->interval.month == 0 && step->interval.day == 0;
	initStringInfo(&calendar->label);
	initStringInfo(&calendar->line);
}

/* A bound from an argument: text, or a value whose text the bound's type reads. */
static int64
bound_argument(FunctionCallInfo fcinfo, int arg, const char *name, const IdemRangeType *type)
{
	Oid given = get_fn_expr_argtype(fcinfo->flinfo, arg);
	Oid output;
	bool is_varlena;

	if (given == TEXTOID)
		return idem_parse_bound(type, name, text_to_cstring(PG_GETARG_TEXT_PP(arg)));
	getTypeOutputInfo(given, &output, &is_varlena);
	return idem_parse_bound(type, name, OidOutputFunctionCall(output, PG_GETARG_DATUM(arg)));
}

/* Puts the windows of a range, of which there may be so many. */
static void
put_windows(Calendar *calendar, IdemWindow window, const IdemStep *step)
{
	IdemPieces pieces;
	IdemCursor cursor = {0};
	IdemWindow piece;

	idem_begin_pieces(&pieces, calendar->type, step, window.lower, &window,
					  window.lower < window.upper ? 1 : 0, false);
	if (idem_count_pieces(&pieces) > MAX_WINDOWS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a calendar of " INT64_FORMAT " windows is too long", idem_count_pieces(&pieces)),
				 errdetail("It can have %d.", MAX_WINDOWS),
				 errhint("Ask for a shorter range, or for a longer step.")));
	while (idem_next_piece(&pieces, &cursor, &piece))
	{
		CHECK_FOR_INTERRUPTS();
		put_window(calendar, piece);
	}
	end_line(calendar);
}

/* SQL: idem_calendar(ledger, pipeline, from_bound, to_bound, step) */
Datum
idem_calendar(PG_FUNCTION_ARGS)
{
	char *pipeline = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char *step_text = text_to_cstring(PG_GETARG_TEXT_PP(4));
	Calendar calendar = {.rsinfo = castNode(ReturnSetInfo, fcinfo->resultinfo)};
	IdemLedger *ledger;
	IdemWindow window;
	IdemStep step;

	InitMaterializedSRF(fcinfo, 0);
	idem_connect(true);
	ledger = idem_open_ledger(PG_GETARG_OID(0), get_func_namespace(fcinfo->flinfo->fn_oid), false);
	calendar.type = ledger->type;
	window.lower = bound_argument(fcinfo, 2, "from_bound", ledger->type);
	window.upper = bound_argument(fcinfo, 3, "to_bound", ledger->type);
	step = idem_parse_step(ledger->type, "step", step_text);
	set_layout(&calendar, &step);
	if (window.lower < window.upper)
		calendar.marks = idem_read_window_marks(ledger, pipeline, window);
	put_windows(&calendar, window, &step);
	idem_finish();
	return (Datum) 0;
}
