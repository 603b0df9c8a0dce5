/*
 * window.c
 *		Windows: ranges of time, dates or offsets, and how they are cut.
 *
 * Pieces lie on a grid that starts at the lower bound of the requested window:
 * the n-th line is origin + n * step, computed from the origin each time, for a
 * month added to a month is not two months added (Jan 31, Feb 28, Mar 28).
 *
 * This file must not run SQL and must not know ledgers or loads.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "fmgr.h"
#include "ledger/window.h"
#include "server/compat.h"
#include "server/scope.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/multirangetypes.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

static const IdemRangeType range_types[] = {
	{TSTZRANGEOID, TSTZMULTIRANGEOID, TIMESTAMPTZOID,
	 "tstzrange", "tstzmultirange", "idem_ledger"},
	{TSRANGEOID, TSMULTIRANGEOID, TIMESTAMPOID,
	 "tsrange", "tsmultirange", "idem_ledger_ts"},
	{DATERANGEOID, DATEMULTIRANGEOID, DATEOID,
	 "daterange", "datemultirange", "idem_ledger_date"},
	{INT8RANGEOID, INT8MULTIRANGEOID, INT8OID,
	 "int8range", "int8multirange", "idem_ledger_int8"},
};

const IdemRangeType *
idem_range_type(Oid range)
{
	size_t i;

	for (i = 0; i < lengthof(range_types); i++)
	{
		if (range_types[i].range == range)
			return &range_types[i];
	}
	return NULL;
}

const IdemRangeType *
idem_range_type_of_ledger(const char *ledger_type)
{
	size_t i;

	for (i = 0; i < lengthof(range_types); i++)
	{
		if (strcmp(range_types[i].ledger, ledger_type) == 0)
			return &range_types[i];
	}
	return NULL;
}

Datum
idem_bound_datum(const IdemRangeType *type, int64 bound)
{
	if (type->bound == DATEOID)
		return DateADTGetDatum((DateADT) bound);
	return Int64GetDatum(bound);
}

/* A datum as its type's output function writes it. */
static char *
datum_text(Oid type, Datum datum)
{
	Oid output;
	bool is_varlena;

	getTypeOutputInfo(type, &output, &is_varlena);
	return OidOutputFunctionCall(output, datum);
}

char *
idem_bound_text(const IdemRangeType *type, int64 bound)
{
	return datum_text(type->bound, idem_bound_datum(type, bound));
}

/* The int64 of a bound datum. */
static int64
datum_bound(const IdemRangeType *type, Datum datum)
{
	if (type->bound == DATEOID)
		return DatumGetDateADT(datum);
	return DatumGetInt64(datum);
}

/* True if a bound is not one of the type's infinities. */
static bool
is_finite(const IdemRangeType *type, int64 bound)
{
	if (type->bound == INT8OID)
		return true;
	if (type->bound == DATEOID)
		return !DATE_NOT_FINITE((DateADT) bound);
	return !TIMESTAMP_NOT_FINITE(bound);
}

Datum
idem_window_datum(const IdemRangeType *type, IdemWindow window)
{
	RangeBound lower = {idem_bound_datum(type, window.lower), false, true, true};
	RangeBound upper = {idem_bound_datum(type, window.upper), false, false, false};

	return RangeTypePGetDatum(idem_make_range(lookup_type_cache(type->range,
																TYPECACHE_RANGE_INFO),
											  &lower, &upper, false));
}

char *
idem_window_text(const IdemRangeType *type, IdemWindow window)
{
	return datum_text(type->range, idem_window_datum(type, window));
}

char *
idem_multirange_text(const IdemRangeType *type, Datum multirange)
{
	return datum_text(type->multirange, multirange);
}

Datum
idem_make_multirange(const IdemRangeType *type, const IdemWindow *windows, int n)
{
	RangeType **ranges = palloc(Max(n, 1) * sizeof(RangeType *));
	int i;

	for (i = 0; i < n; i++)
		ranges[i] = DatumGetRangeTypeP(idem_window_datum(type, windows[i]));
	return MultirangeTypePGetDatum(make_multirange(type->multirange,
												   lookup_type_cache(type->range, TYPECACHE_RANGE_INFO),
												   n, ranges));
}

/* Reads a datum by its type's input function. */
static Datum
parse_datum(Oid type, const char *text)
{
	Oid input;
	Oid param;

	getTypeInputInfo(type, &input, &param);
	return OidInputFunctionCall(input, unconstify(char *, text), param, -1);
}

Datum
idem_parse_range(const IdemRangeType *type, const char *text)
{
	return parse_datum(type->range, text);
}

Datum
idem_parse_multirange(const IdemRangeType *type, const char *text)
{
	return parse_datum(type->multirange, text);
}

int64
idem_parse_bound(const IdemRangeType *type, const char *text)
{
	int64 bound = datum_bound(type, parse_datum(type->bound, text));

	if (!is_finite(type, bound))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("bound must be finite: \"%s\"", text)));
	return bound;
}

/* Takes a window from a range; false if it is empty, an error if it is not fit. */
static bool
range_window(const IdemRangeType *type, TypeCacheEntry *typcache, RangeType *range,
			 IdemWindow *window)
{
	RangeBound lower;
	RangeBound upper;
	bool empty;

	range_deserialize(typcache, range, &lower, &upper, &empty);
	if (empty)
		return false;
	if (lower.infinite || upper.infinite ||
		!is_finite(type, datum_bound(type, lower.val)) ||
		!is_finite(type, datum_bound(type, upper.val)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("window must have finite bounds"),
				 errhint("Write both bounds, for example [2024-01-01,2024-02-01).")));
	if (!lower.inclusive || upper.inclusive)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("window must include its lower bound and exclude its upper bound"),
				 errhint("Write it as [lower,upper).")));
	window->lower = datum_bound(type, lower.val);
	window->upper = datum_bound(type, upper.val);
	return true;
}

bool
idem_read_window(const IdemRangeType *type, Datum range, IdemWindow *window)
{
	return range_window(type, lookup_type_cache(type->range, TYPECACHE_RANGE_INFO),
						DatumGetRangeTypeP(range), window);
}

IdemWindow *
idem_read_windows(const IdemRangeType *type, Datum multirange, int *n)
{
	TypeCacheEntry *typcache = lookup_type_cache(type->range, TYPECACHE_RANGE_INFO);
	RangeType **ranges;
	IdemWindow *windows;
	int i;

	multirange_deserialize(typcache, DatumGetMultirangeTypeP(multirange), n, &ranges);
	windows = palloc(Max(*n, 1) * sizeof(IdemWindow));
	for (i = 0; i < *n; i++)
		(void) range_window(type, typcache, ranges[i], &windows[i]);
	return windows;
}

bool
idem_is_window_column_type(const IdemRangeType *type, Oid column)
{
	switch (type->bound)
	{
		case INT8OID:
			return column == INT8OID || column == INT4OID || column == INT2OID;
		case TIMESTAMPOID:
			return column == TIMESTAMPOID || column == DATEOID;
		default:
			return column == type->bound;
	}
}

int64
idem_value_bound(const IdemRangeType *type, Oid column, Datum value)
{
	switch (column)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case DATEOID:
			if (type->bound == DATEOID)
				return DatumGetDateADT(value);
			return DatumGetTimestamp(DirectFunctionCall1(date_timestamp, value));
		default:
			return DatumGetInt64(value);
	}
}

/* True if an interval adds time, whatever the calendar. */
static bool
is_positive(const Interval *i)
{
	return i->month >= 0 && i->day >= 0 && i->time >= 0 &&
		   (i->month > 0 || i->day > 0 || i->time > 0) &&
		   !idem_interval_is_infinite(i);
}

/* True if the last word of an interval is a bare number, which the server takes for seconds. */
static bool
lacks_unit(const char *text)
{
	static const char space[] = " \t\n\r\f\v";
	const char *end = text + strlen(text);
	const char *word;
	char *number_end;

	while (end > text && strchr(space, end[-1]))
		end--;
	for (word = end; word > text && !strchr(space, word[-1]);)
		word--;
	(void) strtod(word, &number_end);
	return word < end && number_end == end && strspn(word, "+-.0123456789eE") >= end - word;
}

/* Reads an interval that says of what it is so many. */
static Interval
parse_interval(const char *argument, const char *text)
{
	if (lacks_unit(text))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s needs a unit: \"%s\"", argument, text),
				 errhint("Write for example %s => '1 second' or %s => '1 day'.", argument, argument)));
	return *DatumGetIntervalP(DirectFunctionCall3(interval_in,
												  CStringGetDatum(text),
												  ObjectIdGetDatum(InvalidOid),
												  Int32GetDatum(-1)));
}

IdemStep
idem_parse_step(const IdemRangeType *type, const char *argument, const char *text)
{
	IdemStep step = {0};
	bool positive;

	if (type->bound == INT8OID)
	{
		step.count = DatumGetInt64(DirectFunctionCall1(int8in, CStringGetDatum(text)));
		positive = step.count > 0;
	}
	else
	{
		step.interval = parse_interval(argument, text);
		positive = is_positive(&step.interval);
	}
	if (!positive)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be positive: \"%s\"", argument, text)));
	if (type->bound == DATEOID && step.interval.time != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a date window must be whole days: \"%s\"", argument, text)));
	return step;
}

/* Fails for a sum that no bound can hold. */
idem_noreturn static void
report_out_of_range(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("window bound out of range")));
}

/* Returns step * n. */
static Interval
multiply_interval(const Interval *step, int64 n)
{
	Interval product;

	if (n > INT_MAX || n < INT_MIN ||
		pg_mul_s32_overflow(step->month, (int32) n, &product.month) ||
		pg_mul_s32_overflow(step->day, (int32) n, &product.day) ||
		pg_mul_s64_overflow(step->time, n, &product.time))
		report_out_of_range();
	return product;
}

int64
idem_add_steps(const IdemRangeType *type, int64 bound, const IdemStep *step, int64 n)
{
	Interval span;
	int64 offset;
	Datum sum;

	if (type->bound == INT8OID)
	{
		if (pg_mul_s64_overflow(step->count, n, &offset) ||
			pg_add_s64_overflow(bound, offset, &bound))
			report_out_of_range();
		return bound;
	}
	span = multiply_interval(&step->interval, n);
	switch (type->bound)
	{
		case DATEOID:
			sum = DirectFunctionCall2(date_pl_interval, DateADTGetDatum((DateADT) bound),
									  IntervalPGetDatum(&span));
			return DatumGetDateADT(DirectFunctionCall1(timestamp_date, sum));
		case TIMESTAMPOID:
			return DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval,
														 TimestampGetDatum(bound),
														 IntervalPGetDatum(&span)));
		default:
			return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
														   TimestampTzGetDatum(bound),
														   IntervalPGetDatum(&span)));
	}
}

void
idem_begin_pieces(IdemPieces *pieces, const IdemRangeType *type, const IdemStep *step,
				  int64 origin, const IdemWindow *windows, int nwindows)
{
	pieces->type = type;
	pieces->step = step;
	pieces->origin = origin;
	pieces->windows = windows;
	pieces->nwindows = nwindows;
	pieces->current = 0;
	pieces->position = nwindows > 0 ? windows[0].lower : 0;
	pieces->cell = 0;
}

/*
 * Returns a cell that does not lie beyond the position.  A month has 31 days at
 * most; the hours that days lack or have in surplus do not add up, two days are
 * more than any time zone ever moved.
 */
static int64
earliest_cell(const IdemPieces *pieces)
{
	const Interval *step = &pieces->step->interval;
	double distance = (double) pieces->position - (double) pieces->origin;
	double days = step->month * 31.0 + step->day;

	if (pieces->type->bound == INT8OID)
		distance /= pieces->step->count;
	else if (pieces->type->bound == DATEOID)
		distance /= days;
	else
		distance = (distance - 2.0 * USECS_PER_DAY) / (days * USECS_PER_DAY + step->time);
	return (int64) (distance - 1);
}

/*
 * Finds the end of the grid cell that holds the position, by walking from a cell
 * that is not beyond it; grid lines grow with n.
 */
static int64
cell_end(IdemPieces *pieces)
{
	int64 end;

	pieces->cell = Max(pieces->cell, earliest_cell(pieces));
	for (;;)
	{
		end = idem_add_steps(pieces->type, pieces->origin, pieces->step, pieces->cell + 1);
		if (end > pieces->position)
			return end;
		pieces->cell++;
	}
}

bool
idem_next_piece(IdemPieces *pieces, IdemWindow *piece)
{
	if (pieces->current < pieces->nwindows &&
		pieces->position >= pieces->windows[pieces->current].upper)
	{
		if (++pieces->current < pieces->nwindows)
			pieces->position = pieces->windows[pieces->current].lower;
	}
	if (pieces->current >= pieces->nwindows)
		return false;
	piece->lower = pieces->position;
	piece->upper = pieces->windows[pieces->current].upper;
	if (pieces->step)
		piece->upper = Min(piece->upper, cell_end(pieces));
	pieces->position = piece->upper;
	return true;
}

int64
idem_grid_line(const IdemRangeType *type, const IdemStep *step, int64 origin,
			   int64 bound, int64 *next)
{
	IdemPieces pieces = {.type = type, .step = step, .origin = origin, .position = Max(bound, origin)};

	*next = cell_end(&pieces);
	return idem_add_steps(type, origin, step, pieces.cell);
}

int64
idem_time_bound(const IdemRangeType *type, TimestampTz time)
{
	Datum value = TimestampTzGetDatum(time);

	if (type->bound == DATEOID)
		return DatumGetDateADT(DirectFunctionCall1(timestamptz_date, value));
	if (type->bound == TIMESTAMPOID)
		return DatumGetTimestamp(DirectFunctionCall1(timestamptz_timestamp, value));
	return time;
}

TimestampTz
idem_bound_time(const IdemRangeType *type, int64 bound)
{
	Datum value = idem_bound_datum(type, bound);

	if (type->bound == DATEOID)
		return DatumGetTimestampTz(DirectFunctionCall1(date_timestamptz, value));
	if (type->bound == TIMESTAMPOID)
		return DatumGetTimestampTz(DirectFunctionCall1(timestamp_timestamptz, value));
	return bound;
}

/* A bound to be written, as an argument of idem_run_pinned. */
typedef struct BoundText
{
	const IdemRangeType *type;
	int64 bound;
	char *text;
} BoundText;

static void
write_bound(void *arg)
{
	BoundText *text = arg;

	text->text = idem_bound_text(text->type, text->bound);
}

char *
idem_bound_iso(const IdemRangeType *type, int64 bound)
{
	BoundText text = {type, bound, NULL};

	idem_run_pinned("UTC", write_bound, &text);
	return text.text;
}
