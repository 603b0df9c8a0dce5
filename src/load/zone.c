/*
 * zone.c
 *		The time zone that a load runs under, which stays its pipeline's.
 *
 * A source may convert times by the session's zone, and nobody can tell from its text.
 * Under another zone than before, its windows would not be the ones that are complete:
 * rows at their edges would be loaded twice, or never.
 *
 * This file must not know sources or targets.
 */
#include "postgres.h"

#include "load/zone.h"
#include "pgtime.h"
#include "utils/builtins.h"

const char *
idem_current_zone(void)
{
	return pstrdup(pg_get_timezone_name(session_timezone));
}

/* True if two zones have one name, or one offset from UTC that never changes. */
static bool
is_same_zone(const char *a, const char *b)
{
	pg_tz *zones[] = {pg_tzset(a), pg_tzset(b)};
	long offsets[2];

	if (zones[0] == NULL || zones[1] == NULL)
		return false;
	return zones[0] == zones[1] ||
		   (pg_get_timezone_offset(zones[0], &offsets[0]) &&
			pg_get_timezone_offset(zones[1], &offsets[1]) && offsets[0] == offsets[1]);
}

/* From the first to the last window of a pipeline that are complete, as text. */
static const char *
complete_window(const IdemPlan *plan)
{
	const IdemRangeType *type = plan->ledger->type;
	IdemWindow window;
	IdemWindow *windows;
	int n;

	windows = idem_read_windows(type, idem_ledger_coverage(plan->ledger, plan->pipeline, idem_parse_range(type, "(,)")), &n);
	if (n == 0)
		return "(,)";
	window.lower = windows[0].lower;
	window.upper = windows[n - 1].upper;
	return idem_window_text(type, window);
}

void
idem_check_zone(const IdemPlan *plan, const char *zone)
{
	const char *last = idem_last_zone(plan->ledger, plan->pipeline, idem_reopened_range(plan));
	const char *complete;

	if (last == NULL || is_same_zone(last, zone))
		return;
	/* before the error begins: the ledger's own code may catch errors, which would end it */
	complete = complete_window(plan);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("pipeline \"%s\" was last loaded under time zone \"%s\", not \"%s\"",
					plan->pipeline, last, zone),
			 errdetail("What the source makes of times may follow the zone: its windows would not fit together."),
			 errhint("To go on as before, time_zone => %s. To load all of it under the new one, first SELECT idem_invalidate(%s, %s, %s).",
					 quote_literal_cstr(last), quote_literal_cstr(plan->ledger->name),
					 quote_literal_cstr(plan->pipeline), quote_literal_cstr(complete))));
}
