/*
 * time.c
 *		Dates and times as Python's isoformat() writes them.
 *
 * The server's EncodeDateTime() obeys DateStyle and trims fractions, so we write
 * from its broken-down values.
 */
#include "postgres.h"

#include "id/time.h"
#include "server/compat.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

/* Room for the longest date or time: years have six digits at most. */
#define MAX_FIELD 32

/* Writes YYYY-MM-DD and returns its end. */
static char *
write_ymd(char *to, int year, int month, int day)
{
	if (year < 0)
		*to++ = '-';
	to = pg_ultostr_zeropad(to, abs(year), 4);
	*to++ = '-';
	to = pg_ultostr_zeropad(to, month, 2);
	*to++ = '-';
	return pg_ultostr_zeropad(to, day, 2);
}

/* Writes HH:MM:SS, and the microseconds if there are any, and returns its end. */
static char *
write_hms(char *to, int hour, int minute, int second, int fraction)
{
	to = pg_ultostr_zeropad(to, hour, 2);
	*to++ = ':';
	to = pg_ultostr_zeropad(to, minute, 2);
	*to++ = ':';
	to = pg_ultostr_zeropad(to, second, 2);
	if (fraction != 0)
	{
		*to++ = '.';
		to = pg_ultostr_zeropad(to, fraction, 6);
	}
	return to;
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
		char text[MAX_FIELD];

		j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
		appendBinaryStringInfo(buf, text, write_ymd(text, year, month, day) - text);
	}
}

void
idem_append_time(StringInfo buf, TimeADT time)
{
	char text[MAX_FIELD];
	char *end = write_hms(text, time / USECS_PER_HOUR, time / USECS_PER_MINUTE % MINS_PER_HOUR,
						  time / USECS_PER_SEC % SECS_PER_MINUTE, time % USECS_PER_SEC);

	appendBinaryStringInfo(buf, text, end - text);
}

void
idem_append_timestamp(StringInfo buf, Timestamp timestamp, bool utc)
{
	struct pg_tm tm;
	fsec_t fraction;
	char text[2 * MAX_FIELD];
	char *end;

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
		end = write_ymd(text, tm.tm_year, tm.tm_mon, tm.tm_mday);
		*end++ = 'T';
		end = write_hms(end, tm.tm_hour, tm.tm_min, tm.tm_sec, fraction);
		appendBinaryStringInfo(buf, text, end - text);
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
		appendStringInfo(buf, ".%0*d", width, (int) fraction);
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
