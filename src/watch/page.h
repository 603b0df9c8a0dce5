/*
 * page.h
 *		The page of idem_report: pipelines, what is wrong with them, and the statement that mends it.
 *
 * Pure: from what has been read to HTML.  What it is given may be anything that anybody has
 * written somewhere: all of it is text, and becomes text.
 */
#ifndef IDEM_WATCH_PAGE_H
#define IDEM_WATCH_PAGE_H

#include "ledger/history.h"
#include "pgtime.h"
#include "watch/chart.h"
#include "watch/monitor.h"
#include "watch/strip.h"

/* What there is to say of all. */
typedef struct IdemPage
{
	const char *monitor;  /* its name, qualified and quoted */
	const char *database;
	const char *role;	  /* who looks */
	const char *prefix;	  /* of names of idem's functions in SQL: its schema and a dot, or nothing */
	TimestampTz now;
	pg_tz *zone;		  /* of moments; windows are in the session's, which is to be their pipeline's */
} IdemPage;

/* An alert, as text; parsed windows only where its pipeline is known. */
typedef struct IdemPageAlert
{
	IdemAlert alert;
	IdemWindow *windows;
	int nwindows; /* 0: unknown */
} IdemPageAlert;

/* A pipeline, as far as it is known; a text that is NULL is not. */
typedef struct IdemPagePipeline
{
	int id; /* of its section; 0: it has none */
	const char *name;
	const char *owner; /* NULL: it is none that the caller may act as, and of which only alerts are known */
	const char *state;
	const char *target; /* qualified and quoted, as ledger */
	const char *ledger;
	const char *mode;
	const char *step;
	const char *zone;
	const char **keys;
	int nkeys;
	const char *complete_to;
	TimestampTz complete_at;
	int64 ngaps;
	int64 failed;
	int64 blocked;
	const char *last_error;
	const char *waiting_for;
	TimestampTz last_check; /* 0: never */
	const char *trouble;	/* what kept it from being read */
	IdemCells cells;		/* type NULL: unknown */
	int64 earlier;			/* windows before these */
	IdemPoint *points;
	int npoints;
	IdemErrorHistory *errors;
	int nerrors;
	IdemSchemaHistory *schemas;
	int nschemas;
	IdemPageAlert *alerts; /* that are open */
	int nalerts;
} IdemPagePipeline;

/* How much a pipeline needs somebody: 0 for not at all. */
extern int idem_page_urgency(const IdemPagePipeline *pipeline);

/* The parts, in their order.  Those of one pipeline are to be made in its time zone. */
extern void idem_page_head(StringInfo buf, const IdemPage *page, IdemPagePipeline *pipelines, int n);
extern void idem_page_care(StringInfo buf, const IdemPage *page, const IdemPagePipeline *pipeline);
extern void idem_page_fine(StringInfo buf, int n);
extern void idem_page_overview(StringInfo buf, const IdemPage *page, IdemPagePipeline *pipelines, int n);
extern void idem_page_pipeline(StringInfo buf, const IdemPage *page, const IdemPagePipeline *pipeline);
extern void idem_page_closed(StringInfo buf, const IdemPage *page, const IdemPageAlert *alerts, int n);
extern void idem_page_foot(StringInfo buf, const IdemPage *page);

#endif /* IDEM_WATCH_PAGE_H */
