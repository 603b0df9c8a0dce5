/*
 * load.h
 *		A load: the request, cut into pieces, each claimed, applied and completed.
 */
#ifndef IDEM_LOAD_H
#define IDEM_LOAD_H

#include "ledger.h"

/* What the user asked for, checked as far as that goes without looking anything up. */
typedef struct IdemRequest
{
	Oid function; /* which of idem's functions was called */
	Oid ledger;
	Oid target;
	const char *source;
	const char *window_text; /* the window as text, */
	Datum window;			 /* or as a range */
	Oid window_type;		 /* of this type */
	bool reload;			 /* mode */
	char **keys;
	int nkeys;
	const char *window_column;
	const char *pipeline; /* NULL: the target's name */
	const char *step;
	const char *version_column;
	const char *audit;
	const char *lookback;
	bool force;
	IdemOnBusy on_busy;
	bool continue_on_error;
} IdemRequest;

/* What came of it. */
typedef struct IdemSummary
{
	const char *pipeline;
	int64 loaded;  /* windows */
	int64 busy;	   /* windows left to another session */
	IdemRun total; /* the counts of all loaded windows */
} IdemSummary;

/* Called for each window that was loaded, or, with busy, left alone. */
typedef void (*IdemReport)(void *arg, const IdemRangeType *type,
						   const IdemRun *run, bool busy);

/*
 * Runs a load.  If atomic, everything happens in the caller's transaction and an
 * error is the caller's.  Otherwise each piece is a transaction; one that fails is
 * recorded in the ledger before the error is raised.  Memory is allocated in the
 * current context, which must outlive transactions if not atomic.
 */
extern void idem_run_load(const IdemRequest *request, bool atomic,
						  IdemReport report, void *report_arg, IdemSummary *summary);

#endif /* IDEM_LOAD_H */
