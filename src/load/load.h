/*
 * load.h
 *		A load: the request, cut into pieces, each claimed, applied and completed.
 */
#ifndef IDEM_LOAD_LOAD_H
#define IDEM_LOAD_LOAD_H

#include "ledger/ledger.h"
#include "server/scope.h"

/* When a window that has failed is tried again; times in microseconds. */
typedef struct IdemRetryPolicy
{
	int64 base; /* after the first failure; doubled after each more, */
	int64 max;	/* up to this */
	int max_attempts;
} IdemRetryPolicy;

/* What to do where the source has other columns than those its pipeline was accepted with. */
typedef enum IdemOnSchemaChange
{
	IDEM_SCHEMA_FAIL,	/* where one is new or lost */
	IDEM_SCHEMA_APPEND, /* add new ones to the target, fail where one is lost */
	IDEM_SCHEMA_NOTIFY, /* load those that both have, and say so */
	IDEM_SCHEMA_IGNORE, /* load those that both have */
} IdemOnSchemaChange;

/* What the user asked for, checked as far as that goes without looking anything up. */
typedef struct IdemRequest
{
	Oid schema; /* the extension's */
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
	const char *grid_start; /* where the grid of steps begins; NULL: at the window's lower bound */
	const char *version_column;
	const char *audit;
	const char *lookback;
	bool force;
	IdemOnBusy on_busy;
	bool continue_on_error;
	bool rehearsed; /* into copies that will not stay: nothing is written down of what fails */
	IdemOnSchemaChange on_schema_change;
	Oid dead_letters;	  /* where rows go that cannot be loaded; 0: they fail their window */
	const char *max_dead; /* how many of a window may */
	IdemIdentity identity;								/* as whom */
	bool in_session_zone;								/* its time zone was not named, but is the session's */
	const IdemRetryPolicy *retry;						/* NULL: failures are recorded, and that is all */
	bool scheduled;										/* nobody waits for it: see below */
	IdemPostpone postpone;								/* which windows to leave alone */
	bool condemn;										/* block the first window instead of loading it */
	bool newest_first;									/* in which order pieces are loaded */
	int64 max_windows;									/* 0: as many as there are */
	bool looks_from;									/* what lies before look_from is known to be complete, */
	int64 look_from;									/* and so is what begins there: see below */
	bool notify;										/* NOTIFY idem of every window */
	bool one_by_one;									/* small windows are not loaded together */
	int (*next_windows)(void *arg, IdemWindow *windows, int max); /* gives the windows, if not NULL: some that follow each other */
	void *next_windows_arg;
} IdemRequest;

/*
 * A scheduled load redoes its lookback only when a new window has closed, takes a
 * cancel for no failure, and leaves it to its caller to raise an error for windows that
 * failed.  condemn is for a window that took its worker down whenever it was tried.
 *
 * look_from spares a load to read from the ledger what its caller knows.  The end of what is
 * complete is looked for from there, so something that ends after it must be complete; and
 * lookback reopens as much as ever, also of what lies before.
 */

/* What came of it. */
typedef struct IdemSummary
{
	const char *pipeline;
	int64 loaded; /* windows */
	int64 busy;	  /* windows left to another session */
	int64 failed; /* windows */
	int64 tried;  /* windows that next_windows gave, whatever came of them */
	ErrorData *first_error;
	const char *first_failed; /* its window */
	int64 blocked;			  /* windows of a pipeline that are left alone until idem_retry */
	bool more;				  /* max_windows left some for another time */
	IdemRun total;			  /* the counts of all loaded windows */
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

/*
 * Finds the windows that a load would load, and how many there are at most; false if
 * there are none.  They are cut as whom the request is made.
 */
extern bool idem_find_pieces(const IdemRequest *request, IdemPieces *pieces, int64 *total);

/* Raises whatever is wrong with a request, without loading anything. */
extern void idem_check_load(const IdemRequest *request);

#endif /* IDEM_LOAD_LOAD_H */
