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
#include "miscadmin.h"
#include "pgtime.h"
#include "server/argument.h"
#include "server/compat.h"
#include "server/scope.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
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

/* Writes a timestamp, in the session's time zone if it has one. */
static void
write_timestamp(Timestamp time, bool zoned, char *buf)
{
	struct pg_tm tm;
	fsec_t fsec;
	int tz = 0;
	const char *zone = NULL;

	if (timestamp2tm(time, zoned ? &tz : NULL, &tm, &fsec, zoned ? &zone : NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	EncodeDateTime(&tm, fsec, zoned, tz, zone, USE_ISO_DATES, buf);
}

/* Writes a date. */
static void
write_date(DateADT date, char *buf)
{
	struct pg_tm tm;

	j2date(date + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	EncodeDateOnly(&tm, USE_ISO_DATES, buf);
}

/* Not by the type's output function, which obeys DateStyle. */
char *
idem_bound_text(const IdemRangeType *type, int64 bound)
{
	char buf[MAXDATELEN + 1];

	if (type->bound == INT8OID)
		snprintf(buf, sizeof(buf), INT64_FORMAT, bound);
	else if (!is_finite(type, bound))
		strlcpy(buf, bound < 0 ? "-infinity" : "infinity", sizeof(buf));
	else if (type->bound == DATEOID)
		write_date((DateADT) bound, buf);
	else
		write_timestamp(bound, type->bound == TIMESTAMPTZOID, buf);
	return pstrdup(buf);
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

/* Appends a bound as a range's output function would, quoted if need be. */
static void
append_bound(StringInfo buf, const IdemRangeType *type, int64 bound)
{
	const char *text = idem_bound_text(type, bound);
	const char *quote = strchr(text, ' ') ? "\"" : "";

	appendStringInfo(buf, "%s%s%s", quote, text, quote);
}

/* Appends a window. */
static void
append_window(StringInfo buf, const IdemRangeType *type, IdemWindow window)
{
	appendStringInfoChar(buf, '[');
	append_bound(buf, type, window.lower);
	appendStringInfoChar(buf, ',');
	append_bound(buf, type, window.upper);
	appendStringInfoChar(buf, ')');
}

char *
idem_window_text(const IdemRangeType *type, IdemWindow window)
{
	StringInfoData buf;

	initStringInfo(&buf);
	append_window(&buf, type, window);
	return buf.data;
}

char *
idem_windows_text(const IdemRangeType *type, const IdemWindow *windows, int n)
{
	StringInfoData buf;
	int i;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	for (i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i > 0)
			appendStringInfoChar(&buf, ',');
		append_window(&buf, type, windows[i]);
	}
	appendStringInfoChar(&buf, '}');
	return buf.data;
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

/* A text to be read, as an argument of idem_read_argument. */
typedef struct TextReading
{
	Oid type;
	const char *text;
	Datum datum;
} TextReading;

static void
read_text(void *arg)
{
	TextReading *reading = arg;

	reading->datum = parse_datum(reading->type, reading->text);
}

/* Reads what the user gave as an argument. */
static Datum
parse_argument(Oid type, const char *argument, const char *text)
{
	TextReading reading = {type, text};

	idem_read_argument(argument, text, read_text, &reading);
	return reading.datum;
}

Datum
idem_parse_range(const IdemRangeType *type, const char *text)
{
	return parse_datum(type->range, text);
}

Datum
idem_parse_window(const IdemRangeType *type, const char *text)
{
	return parse_argument(type->range, "window_range", text);
}

Datum
idem_parse_multirange(const IdemRangeType *type, const char *text)
{
	return parse_datum(type->multirange, text);
}

int64
idem_parse_bound(const IdemRangeType *type, const char *argument, const char *text)
{
	int64 bound = datum_bound(type, parse_argument(type->bound, argument, text));

	if (!is_finite(type, bound))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be finite: \"%s\"", argument, text)));
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
		   (i->month > 0 || i->day > 0 || i->time > 0);
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

/* Reads an interval that says of what it is so many, and has an end. */
static Interval
parse_interval(const char *argument, const char *text)
{
	Interval interval;

	if (lacks_unit(text))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s needs a unit: \"%s\"", argument, text),
				 errhint("Write for example %s => '1 second' or %s => '1 day'.", argument, argument)));
	interval = *DatumGetIntervalP(parse_argument(INTERVALOID, argument, text));
	if (idem_interval_is_infinite(&interval))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be finite: \"%s\"", argument, text)));
	return interval;
}

IdemStep
idem_parse_step(const IdemRangeType *type, const char *argument, const char *text)
{
	IdemStep step = {0};
	bool positive;

	if (type->bound == INT8OID)
	{
		step.count = DatumGetInt64(parse_argument(INT8OID, argument, text));
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

/* The last bound of a type that is one, and the first. */
static int64
last_bound(const IdemRangeType *type)
{
	if (type->bound == INT8OID)
		return PG_INT64_MAX;
	if (type->bound == DATEOID)
		return DATE_END_JULIAN - POSTGRES_EPOCH_JDATE - 1;
	return END_TIMESTAMP - 1;
}

static int64
first_bound(const IdemRangeType *type)
{
	if (type->bound == INT8OID)
		return PG_INT64_MIN;
	if (type->bound == DATEOID)
		return DATETIME_MIN_JULIAN - POSTGRES_EPOCH_JDATE;
	return MIN_TIMESTAMP;
}

/* True if a sum is a bound. */
static bool
is_in_range(const IdemRangeType *type, int64 bound)
{
	return bound >= first_bound(type) && bound <= last_bound(type);
}

/* The day of a bound by the calendar, and the time of that day. */
static bool
read_day(const IdemRangeType *type, int64 bound, struct pg_tm *tm, fsec_t *fsec)
{
	int tz;

	memset(tm, 0, sizeof(*tm));
	if (type->bound != DATEOID)
		return timestamp2tm(bound, type->bound == TIMESTAMPTZOID ? &tz : NULL,
							tm, fsec, NULL, NULL) == 0;
	j2date(bound + POSTGRES_EPOCH_JDATE, &tm->tm_year, &tm->tm_mon, &tm->tm_mday);
	return true;
}

/* The bound of a day and a time of it; false if there is none. */
static bool
write_day(const IdemRangeType *type, struct pg_tm *tm, fsec_t fsec, int64 *bound)
{
	int tz;

	if (!IS_VALID_JULIAN(tm->tm_year, tm->tm_mon, tm->tm_mday))
		return false;
	if (type->bound == DATEOID)
		*bound = date2j(tm->tm_year, tm->tm_mon, tm->tm_mday) - POSTGRES_EPOCH_JDATE;
	else if (type->bound == TIMESTAMPOID)
		return tm2timestamp(tm, fsec, NULL, bound) == 0;
	else
	{
		tz = DetermineTimeZoneOffset(tm, session_timezone);
		return tm2timestamp(tm, fsec, &tz, bound) == 0;
	}
	return true;
}

/* Moves a bound by months, to the month's last day at most; false beyond the type's end. */
static bool
move_months(const IdemRangeType *type, int64 *bound, int64 months)
{
	struct pg_tm tm;
	fsec_t fsec = 0;
	int64 month;

	if (months == 0)
		return true;
	if (!read_day(type, *bound, &tm, &fsec))
		return false;
	month = (tm.tm_year + (int64) JULIAN_MAXYEAR) * MONTHS_PER_YEAR + tm.tm_mon - 1 + months;
	if (month < 0 || month >= (int64) 2 * JULIAN_MAXYEAR * MONTHS_PER_YEAR)
		return false;
	tm.tm_year = month / MONTHS_PER_YEAR - JULIAN_MAXYEAR;
	tm.tm_mon = month % MONTHS_PER_YEAR + 1;
	tm.tm_mday = Min(tm.tm_mday, day_tab[isleap(tm.tm_year)][tm.tm_mon - 1]);
	return write_day(type, &tm, fsec, bound);
}

/* Moves a bound by days; false beyond the type's end. */
static bool
move_days(const IdemRangeType *type, int64 *bound, int64 days)
{
	struct pg_tm tm;
	fsec_t fsec = 0;
	int64 julian;

	if (days == 0)
		return true;
	if (!read_day(type, *bound, &tm, &fsec))
		return false;
	julian = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) + days;
	if (julian < 0 || julian >= DATE_END_JULIAN)
		return false;
	j2date(julian, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	return write_day(type, &tm, fsec, bound);
}

/*
 * Adds n steps to a bound as the server's + does; false if the sum is beyond the type's
 * end, for which the server has only errors.
 */
static bool
add_steps(const IdemRangeType *type, int64 *bound, const IdemStep *step, int64 n)
{
	Interval span = {0};
	int64 months;
	int64 days;

	if (type->bound == INT8OID)
		return !pg_mul_s64_overflow(step->count, n, &span.time) &&
			   !pg_add_s64_overflow(*bound, span.time, bound);
	if (pg_mul_s64_overflow(step->interval.month, n, &months) || months > INT_MAX || months < -INT_MAX ||
		pg_mul_s64_overflow(step->interval.day, n, &days) || days > INT_MAX || days < -INT_MAX ||
		pg_mul_s64_overflow(step->interval.time, n, &span.time))
		return false;
	return move_months(type, bound, months) && move_days(type, bound, days) &&
		   !pg_add_s64_overflow(*bound, span.time, bound) && is_in_range(type, *bound);
}

int64
idem_add_steps(const IdemRangeType *type, int64 bound, const IdemStep *step, int64 n)
{
	if (!is_finite(type, bound))
		return bound;
	if (add_steps(type, &bound, step, n))
		return bound;
	return n < 0 ? first_bound(type) : last_bound(type);
}

/*
 * The length of a step that is always as long, which steps of months are not, nor those
 * of days where clocks are changed: then 0.
 */
static uint64
fixed_length(const IdemRangeType *type, const IdemStep *step)
{
	int64 length;

	if (type->bound == INT8OID)
		return step->count;
	if (step->interval.month != 0)
		return 0;
	if (type->bound == DATEOID)
		return step->interval.day;
	if (type->bound == TIMESTAMPTZOID && step->interval.day != 0)
		return 0;
	if (pg_mul_s64_overflow(step->interval.day, USECS_PER_DAY, &length) ||
		pg_add_s64_overflow(length, step->interval.time, &length))
		return PG_INT64_MAX;
	return length;
}

/* A cell of a grid, and the how manieth it is. */
typedef struct Cell
{
	uint64 n;
	IdemWindow window;
} Cell;

/* The cell that holds a position not below origin, where all are as long. */
static Cell
find_fixed_cell(const IdemRangeType *type, uint64 length, int64 origin, int64 position)
{
	uint64 distance = (uint64) position - (uint64) origin;
	Cell cell = {distance / length};

	/* unsigned numbers wrap round, and the sums are in range */
	cell.window.lower = (int64) ((uint64) origin + cell.n * length);
	if ((uint64) last_bound(type) - (uint64) cell.window.lower < length)
		cell.window.upper = last_bound(type);
	else
		cell.window.upper = (int64) ((uint64) cell.window.lower + length);
	return cell;
}

/* True if the n-th line of a grid is above the position, or beyond the type's end. */
static bool
is_above(const IdemRangeType *type, const IdemStep *step, int64 origin, int64 n, int64 position)
{
	return !add_steps(type, &origin, step, n) || origin > position;
}

/* About how manieth the cell is that holds a position, by the mean length of a month. */
static int64
guess_cell(const IdemRangeType *type, const IdemStep *step, int64 origin, int64 position)
{
	double distance = (double) position - (double) origin;
	double days = step->interval.month * (365.2425 / MONTHS_PER_YEAR) + step->interval.day;

	if (type->bound == DATEOID)
		return distance / days;
	return distance / (days * USECS_PER_DAY + step->interval.time);
}

/*
 * The cell that holds a position not below origin; one that the type's end cuts off ends
 * there.  Lines do not fall as n grows, so the last one that is not above the position
 * is found by halving the distance of two lines around it.  A guess only saves work.
 */
static Cell
find_cell(const IdemRangeType *type, const IdemStep *step, int64 origin, int64 position)
{
	uint64 length = fixed_length(type, step);
	int64 below;
	int64 above;
	int64 width;
	Cell cell;

	if (length > 0)
		return find_fixed_cell(type, length, origin, position);
	above = guess_cell(type, step, origin, position) + 2;
	below = Max(above - 4, 0);
	for (width = 4; below > 0 && is_above(type, step, origin, below, position); width *= 2)
	{
		above = below;
		below = Max(below - width, 0);
	}
	for (width = 4; !is_above(type, step, origin, above, position); width *= 2)
	{
		below = above;
		above += width;
	}
	while (above - below > 1)
	{
		int64 middle = below + (above - below) / 2;

		if (is_above(type, step, origin, middle, position))
			above = middle;
		else
			below = middle;
	}
	cell.n = below;
	cell.window.lower = idem_add_steps(type, origin, step, below);
	cell.window.upper = idem_add_steps(type, origin, step, above);
	return cell;
}

void
idem_begin_pieces(IdemPieces *pieces, const IdemRangeType *type, const IdemStep *step,
				  int64 origin, const IdemWindow *windows, int nwindows, bool backwards)
{
	memset(pieces, 0, sizeof(*pieces));
	pieces->type = type;
	pieces->cut = step != NULL;
	if (step)
		pieces->step = *step;
	pieces->origin = origin;
	pieces->windows = windows;
	pieces->nwindows = nwindows;
	pieces->backwards = backwards;
}

bool
idem_next_piece(const IdemPieces *pieces, IdemCursor *cursor, IdemWindow *piece)
{
	IdemWindow *rest = &cursor->rest;
	IdemWindow cell;

	if (rest->lower >= rest->upper)
	{
		if (cursor->taken >= pieces->nwindows)
			return false;
		*rest = pieces->windows[pieces->backwards ? pieces->nwindows - 1 - cursor->taken : cursor->taken];
		cursor->taken++;
	}
	*piece = *rest;
	if (pieces->cut)
	{
		cell = find_cell(pieces->type, &pieces->step, pieces->origin,
						 pieces->backwards ? rest->upper - 1 : rest->lower)
				   .window;
		piece->lower = Max(piece->lower, cell.lower);
		piece->upper = Min(piece->upper, cell.upper);
	}
	if (pieces->backwards)
		rest->upper = piece->lower;
	else
		rest->lower = piece->upper;
	return true;
}

int64
idem_count_pieces(const IdemPieces *pieces)
{
	int64 count = pieces->nwindows;
	int i;

	for (i = 0; i < pieces->nwindows && pieces->cut; i++)
	{
		IdemWindow window = pieces->windows[i];
		uint64 first = find_cell(pieces->type, &pieces->step, pieces->origin, window.lower).n;
		uint64 last = find_cell(pieces->type, &pieces->step, pieces->origin, window.upper - 1).n;

		CHECK_FOR_INTERRUPTS();
		if (last - first > (uint64) (PG_INT64_MAX - count))
			return PG_INT64_MAX;
		count += last - first;
	}
	return count;
}

int64
idem_grid_line(const IdemRangeType *type, const IdemStep *step, int64 origin,
			   int64 bound, int64 *next)
{
	Cell cell = find_cell(type, step, origin, Max(origin, Min(bound, last_bound(type))));

	*next = cell.window.upper;
	return cell.window.lower;
}

int64
idem_time_bound(const IdemRangeType *type, TimestampTz time)
{
	Datum value = TimestampTzGetDatum(time);

	if (time <= MIN_TIMESTAMP + USECS_PER_DAY)
		return first_bound(type);
	if (type->bound == DATEOID)
		return DatumGetDateADT(DirectFunctionCall1(timestamptz_date, value));
	if (type->bound == TIMESTAMPOID)
		return DatumGetTimestamp(DirectFunctionCall1(timestamptz_timestamp, value));
	return time;
}

TimestampTz
idem_bound_time(const IdemRangeType *type, int64 bound)
{
	int64 per_day = type->bound == DATEOID ? 1 : USECS_PER_DAY;
	Datum value = idem_bound_datum(type, bound);

	/* no time zone is as much as a day from another, so the rest can be converted */
	if (type->bound != TIMESTAMPTZOID && bound >= END_TIMESTAMP / USECS_PER_DAY * per_day - per_day)
		return END_TIMESTAMP - 1;
	if (type->bound != TIMESTAMPTZOID && bound <= MIN_TIMESTAMP / USECS_PER_DAY * per_day + per_day)
		return MIN_TIMESTAMP;
	if (type->bound == DATEOID)
		return DatumGetTimestampTz(DirectFunctionCall1(date_timestamptz, value));
	if (type->bound == TIMESTAMPOID)
		return DatumGetTimestampTz(DirectFunctionCall1(timestamp_timestamptz, value));
	return bound;
}

/* A range to be written, as an argument of idem_run_pinned. */
typedef struct RangeText
{
	const IdemRangeType *type;
	Datum range;
	char *text;
} RangeText;

static void
write_range(void *arg)
{
	RangeText *text = arg;
	Oid output;
	bool is_varlena;

	getTypeOutputInfo(text->type->range, &output, &is_varlena);
	text->text = OidOutputFunctionCall(output, text->range);
}

char *
idem_range_text(const IdemRangeType *type, Datum range)
{
	RangeText text = {type, range, NULL};

	idem_run_pinned(NULL, write_range, &text);
	return text.text;
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
