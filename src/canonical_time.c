/*
 * canonical_time.c
 *		Dates and times as Python's isoformat() writes them.
 *
 * The server's EncodeDateTime() obeys DateStyle and trims fractions, so we write
 * from its broken-down values.
 */
#include "postgres.h"

#include "canonical_time.h"
#include "compat.h"
#include "utils/datetime.h"

/* Appends value with at least width digits. */
static void
append_padded(StringInfo buf, int value, int width)
{
	char digits[16];
	int i = sizeof(digits);

	for (; value > 0 || width > 0; value /= 10, width--)
		digits[--i] = '0' + value % 10;
	appendBinaryStringInfo(buf, digits + i, sizeof(digits) - i);
}

/* Appends YYYY-MM-DD. */
static void
append_ymd(StringInfo buf, int year, int month, int day)
{
	if (year < 0)
		appendStringInfoChar(buf, '-');
	append_padded(buf, abs(year), 4);
	appendStringInfoChar(buf, '-');
	append_padded(buf, month, 2);
	appendStringInfoChar(buf, '-');
	append_padded(buf, day, 2);
}

/* Appends HH:MM:SS, and the microseconds if there are any. */
static void
append_hms(StringInfo buf, int hour, int minute, int second, int fraction)
{
	append_padded(buf, hour, 2);
	appendStringInfoChar(buf, ':');
	append_padded(buf, minute, 2);
	appendStringInfoChar(buf, ':');
	append_padded(buf, second, 2);
	if (fraction != 0)
	{
		appendStringInfoChar(buf, '.');
		append_padded(buf, fraction, 6);
	}
}

void
idem_append_date(StringInfo buf, DateADT date)
{
	int year;
	int month;
	int day;

	if (DATE_IS_NOBEGIN(date))
		appendStringInfoString(buf, "-infinity");
	else if (DATE_IS_NOEND(date))
		appendStringInfoString(buf, "infinity");
	else
	{
		j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
		append_ymd(buf, year, month, day);
	}
}

void
idem_append_time(StringInfo buf, TimeADT time)
{
	append_hms(buf, time / USECS_PER_HOUR, time / USECS_PER_MINUTE % MINS_PER_HOUR,
			   time / USECS_PER_SEC % SECS_PER_MINUTE, time % USECS_PER_SEC);
}

void
idem_append_timestamp(StringInfo buf, Timestamp timestamp, bool utc)
{
	struct pg_tm tm;
	fsec_t fraction;

	if (TIMESTAMP_IS_NOBEGIN(timestamp))
		appendStringInfoString(buf, "-infinity");
	else if (TIMESTAMP_IS_NOEND(timestamp))
		appendStringInfoString(buf, "infinity");
	else
	{
		/* without a zone pointer the value is taken as UTC */
		if (timestamp2tm(timestamp, NULL, &tm, &fraction, NULL, NULL) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
					 errmsg("timestamp out of range")));
		append_ymd(buf, tm.tm_year, tm.tm_mon, tm.tm_mday);
		appendStringInfoChar(buf, 'T');
		append_hms(buf, tm.tm_hour, tm.tm_min, tm.tm_sec, fraction);
		if (utc)
			appendStringInfoString(buf, "+00:00");
	}
}

/* Appends one field of a duration, if it is not zero. */
static void
append_duration_field(StringInfo buf, int64 value, char unit)
{
	if (value != 0)
		appendStringInfo(buf, INT64_FORMAT "%c", value, unit);
}

/* Appends the seconds of a duration with their fraction, trimmed. */
static void
append_duration_seconds(StringInfo buf, int64 micros)
{
	int64 fraction = micros % USECS_PER_SEC;
	int width = 6;

	if (micros == 0)
		return;
	appendStringInfo(buf, "%s%d", micros < 0 ? "-" : "",
					 (int) (micros < 0 ? -(micros / USECS_PER_SEC) : micros / USECS_PER_SEC));
	if (fraction != 0)
	{
		fraction = fraction < 0 ? -fraction : fraction;
		for (; fraction % 10 == 0; fraction /= 10)
			width--;
		appendStringInfoChar(buf, '.');
		append_padded(buf, (int) fraction, width);
	}
	appendStringInfoChar(buf, 'S');
}

/*
 * An interval has three parts that do not convert into each other, so neither do
 * the parts of the duration: '1 day' and '24 hours' stay different.
 */
void
idem_append_interval(StringInfo buf, const Interval *interval)
{
	int64 time = interval->time;

	if (idem_interval_is_infinite(interval))
	{
		appendStringInfoString(buf, interval->month < 0 ? "-infinity" : "infinity");
		return;
	}
	appendStringInfoChar(buf, 'P');
	append_duration_field(buf, interval->month / MONTHS_PER_YEAR, 'Y');
	append_duration_field(buf, interval->month % MONTHS_PER_YEAR, 'M');
	append_duration_field(buf, interval->day, 'D');
	if (time != 0)
	{
		appendStringInfoChar(buf, 'T');
		append_duration_field(buf, time / USECS_PER_HOUR, 'H');
		append_duration_field(buf, time / USECS_PER_MINUTE % MINS_PER_HOUR, 'M');
		append_duration_seconds(buf, time % USECS_PER_MINUTE);
	}
	else if (interval->month == 0 && interval->day == 0)
		appendStringInfoString(buf, "T0S");
}
