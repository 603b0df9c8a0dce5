/*
 * monitor.h
 *		Monitors: what checks have found, kept, and the alerts that come of it.
 *
 * A monitor is two tables of its owner's: NAME, a row for each check, and NAME_alerts.  All
 * SQL on them is in monitor.c; it runs as their owner and restricted, as what he has attached to
 * them does, and only for who may become him.  Everything here needs idem_connect.
 */
#ifndef IDEM_WATCH_MONITOR_H
#define IDEM_WATCH_MONITOR_H

#include "watch/check.h"

typedef struct IdemMonitor IdemMonitor;

/*
 * Opens a monitor; schema is the extension's.  Raises 42809 for a relation that is none,
 * 42P01 if its alerts are gone, 42501 for who may not become its owner.
 */
extern IdemMonitor *idem_open_monitor(Oid relid, Oid schema);

/* The kinds of alerts. */
enum
{
	IDEM_DUPLICATES,
	IDEM_SURPLUS,
	IDEM_MISSING,
	IDEM_EXTRA,
	IDEM_DIFFERENT,
	IDEM_GROWTH,
	IDEM_NULL_KEYS,
	IDEM_SOURCE_CHANGED,
	IDEM_TARGET_CHANGED,
	IDEM_CHECK_FAILED,
	IDEM_CHECK_KINDS, /* so many are of checks */
	IDEM_LATE = IDEM_CHECK_KINDS,
	IDEM_BLOCKED,
	IDEM_KINDS,
};

/* What the checks of one call have found, of one pipeline. */
typedef struct IdemFindings
{
	const IdemRangeType *type;
	const char *pipeline;
	const IdemExpect *expect;
	int64 last_check;
	IdemWindow *checked[IDEM_KINDS]; /* so closely that it would have been found */
	int nchecked[IDEM_KINDS];
	IdemWindow *found[IDEM_KINDS];
	int nfound[IDEM_KINDS];
	int64 value[IDEM_KINDS];   /* how many rows or keys it is about */
	int64 allowed[IDEM_KINDS]; /* and how many of them may be wrong */
	Datum samples[IDEM_KINDS]; /* keys, of the first window that has some, a jsonb; 0: none */
} IdemFindings;

/* Begins findings of at most n windows. */
extern IdemFindings idem_begin_findings(const IdemRangeType *type, const char *pipeline, const IdemExpect *expect, int n);

/* Adds what was found of the pipeline, and not of a window that is complete: windows that are not. */
extern void idem_add_findings(IdemFindings *findings, int kind, IdemWindow *windows, int n);

/* Keeps a check, and adds what it has found; its result may be "check_failed". */
extern void idem_keep_check(IdemMonitor *monitor, Oid ledger, const IdemCheck *check, IdemFindings *findings);

/* When windows were checked last, in this order, and whether something was wrong then. */
typedef struct IdemLastCheck
{
	TimestampTz at; /* DT_NOBEGIN: never */
	bool bad;
} IdemLastCheck;

extern void idem_read_last_checks(IdemMonitor *monitor, const IdemRangeType *type, const char *pipeline,
								  const IdemWindow *windows, int n, IdemLastCheck *last);

/*
 * Opens alerts for what was found, and closes those of which every window was checked and
 * found clean, or is not among the complete ones, a multirange, any more.  What has opened, has got
 * worse or has closed is sent on the channel idem, and once a day what is still open.  Returns how many are open.
 */
extern int64 idem_update_alerts(IdemMonitor *monitor, const IdemFindings *findings, Datum complete);

/* The kinds, a text[]; and a pipeline's alerts that are open, arrays of the same length. */
extern Datum idem_alert_kinds(void);
typedef struct IdemOpenAlerts
{
	Datum kinds;
	Datum values;
	Datum opened_at;
	Datum last_seen_at;
	Datum acknowledged;
} IdemOpenAlerts;
extern IdemOpenAlerts idem_read_open_alerts(IdemMonitor *monitor, const char *pipeline);

/* An alert as it is kept; what its owner has written there may be anything. */
typedef struct IdemAlert
{
	int64 alert_id;
	const char *pipeline;
	const char *kind;
	const char *windows; /* the text of a multirange, in UTC */
	int64 value;
	int64 times;
	TimestampTz opened_at; /* 0: unknown, as the others */
	TimestampTz last_seen_at;
	TimestampTz snoozed_until;
	TimestampTz closed_at; /* 0: it is open */
	const char *acknowledged_by; /* NULL: nobody */
} IdemAlert;

/* Visits the alerts that are open, or those that have closed, the last first; at most so many. */
extern void idem_visit_alerts(IdemMonitor *monitor, bool open, int max, void (*visit)(void *arg, const IdemAlert *alert), void *arg);

/* What the last check of a window has counted. */
typedef struct IdemCountedWindow
{
	IdemWindow window;
	int64 source_rows; /* IDEM_NOT_COUNTED if it has not */
	int64 target_rows;
	TimestampTz checked_at;
} IdemCountedWindow;

/* Visits those of a pipeline's windows that overlap a range, in order.  Raises 22P02 for a window that is none of the type. */
extern void idem_visit_last_checks(IdemMonitor *monitor, const IdemRangeType *type, const char *pipeline, Datum range,
								   void (*visit)(void *arg, const IdemCountedWindow *check), void *arg);

/* The monitor's name, qualified and quoted. */
extern const char *idem_monitor_name(const IdemMonitor *monitor);

#endif /* IDEM_WATCH_MONITOR_H */
