/*
 * results.c
 *		What checks found, as the rows of a function that returns a set.
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "funcapi.h"
#include "load/call.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "watch/results.h"

/* Puts a count, which may not have been taken. */
static void
put_count(Datum *values, bool *nulls, int column, int64 count)
{
	values[column] = Int64GetDatum(count);
	nulls[column] = count == IDEM_NOT_COUNTED;
}

/* Puts a digest, which there may not be. */
static void
put_digest(Datum *values, bool *nulls, int column, Datum digest)
{
	values[column] = digest;
	nulls[column] = digest == 0;
}

void
idem_make_check_row(const IdemCheck *check, Datum *values, bool *nulls)
{
	const int64 counts[] = {
		check->source_rows, check->source_keys, check->source_null_keys, check->target_rows,
		check->target_keys, check->target_null_keys, check->duplicate_keys, check->surplus_rows,
		check->max_per_key, check->missing_rows, check->extra_rows, check->different_rows,
	};
	int column = 0;
	int i;

	memset(nulls, false, IDEM_CHECK_COLUMNS * sizeof(bool));
	values[column++] = CStringGetTextDatum(check->pipeline);
	values[column++] = CStringGetTextDatum(idem_window_text(check->type, check->window));
	values[column++] = Int64GetDatum(check->run_id);
	values[column++] = CStringGetTextDatum(check->result);
	values[column++] = CStringGetTextDatum(idem_depth_name(check->depth));
	for (i = 0; i < lengthof(counts); i++)
		put_count(values, nulls, column++, counts[i]);
	put_digest(values, nulls, column++, check->source_digest);
	put_digest(values, nulls, column++, check->target_digest);
	values[column++] = BoolGetDatum(check->remote);
	values[column++] = TimestampTzGetDatum(check->checked_at);
	values[column++] = Float8GetDatum(check->seconds);
	Assert(column == IDEM_CHECK_COLUMNS);
}

/* Adds a check. */
static void
put_check(void *arg, const IdemCheck *check)
{
	ReturnSetInfo *rsinfo = arg;
	Datum values[IDEM_CHECK_COLUMNS];
	bool nulls[IDEM_CHECK_COLUMNS];

	idem_make_check_row(check, values, nulls);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Adds a difference. */
static void
put_difference(void *arg, const Datum *values, const bool *nulls)
{
	ReturnSetInfo *rsinfo = arg;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
						 unconstify(Datum *, values), unconstify(bool *, nulls));
}

/* Says that there was nothing to check. */
static void
notice_windows(int64 windows)
{
	if (windows == 0)
		ereport(NOTICE,
				(errmsg("nothing to check: no window of the request is complete"),
				 errhint("What is complete says idem_coverage.")));
}

void
idem_return_checks(FunctionCallInfo fcinfo, const IdemRequest *request, IdemDepth depth, const IdemExpect *expect)
{
	IdemExpect counting = *expect;

	counting.counts_windowless = true;
	notice_windows(idem_check_windows(request, depth, &counting, put_check, castNode(ReturnSetInfo, fcinfo->resultinfo)));
}

void
idem_return_differences(FunctionCallInfo fcinfo, const IdemRequest *request, int64 max_rows)
{
	notice_windows(idem_find_differences(request, max_rows, put_difference, castNode(ReturnSetInfo, fcinfo->resultinfo)));
}

int64
idem_read_max_rows(FunctionCallInfo fcinfo, int arg)
{
	int64 max_rows;

	idem_require_argument(fcinfo, arg, "max_rows");
	max_rows = PG_GETARG_INT64(arg);
	if (max_rows <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows must be positive"),
				 errhint("Leave it out for 1000.")));
	return max_rows;
}
