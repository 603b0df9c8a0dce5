/*
 * time.h
 *		Dates and times as Python's isoformat() writes them.
 *
 * Six digits of fraction or none, "T" between date and time, a timestamp with
 * time zone in UTC with "+00:00", infinity as "infinity" and "-infinity".  Years
 * that Python does not have follow ISO 8601: more digits after 9999, and the year
 * before 0001 is 0000, then -0001.  Intervals are ISO 8601 durations.  All append
 * bare ASCII, without quotes, and depend on no setting.
 */
#ifndef IDEM_ID_TIME_H
#define IDEM_ID_TIME_H

#include "lib/stringinfo.h"
#include "utils/date.h"
#include "utils/timestamp.h"

extern void idem_append_date(StringInfo buf, DateADT date);
extern void idem_append_time(StringInfo buf, TimeADT time);
extern void idem_append_timestamp(StringInfo buf, Timestamp timestamp, bool utc);
extern void idem_append_interval(StringInfo buf, const Interval *interval);

#endif /* IDEM_ID_TIME_H */
