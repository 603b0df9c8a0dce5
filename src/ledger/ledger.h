/*
 * ledger.h
 *		The ledger: which windows of which pipeline are complete.
 *
 * All SQL on a ledger is here, and nobody else knows its columns.  The row that a
 * load inserts, not yet committed, is its claim on the window: the exclusion
 * constraint lets nobody else insert one that overlaps until the transaction ends.
 * It is inserted as complete, which nobody can see before it is true.
 * Functions that run SQL need idem_connect.
 */
#ifndef IDEM_LEDGER_LEDGER_H
#define IDEM_LEDGER_LEDGER_H

#include "id/digest.h"
#include "ledger/window.h"
#include "server/statement.h"

typedef struct IdemLedgerStatements IdemLedgerStatements;

typedef struct IdemLedger
{
	Oid relid;
	Oid owner;					  /* as whom it is read */
	const IdemRangeType *type;	  /* of its windows */
	const char *name;			  /* qualified and quoted */
	const char *claim_constraint; /* quoted; NULL if opened for reading */
	IdemSnapshot read_snapshot;	  /* under which gaps and coverage are read */
	Oid of_type;				  /* of which it is a table */
	uint64 seen;				  /* the changes of the catalogs before it was looked up */
	IdemLedgerStatements *statements;
} IdemLedger;

/* Gives an opened ledger its statements, in the current memory context. */
extern void idem_init_ledger_statements(IdemLedger *ledger);

/*
 * What of the range is complete, or is not; a multirange datum.  Gaps within
 * reopened, a range too, count as gaps whatever is complete there; what lies in
 * postponed, a multirange, does not.
 */
extern Datum idem_ledger_coverage(IdemLedger *ledger, const char *pipeline, Datum range);
extern Datum idem_ledger_gaps(IdemLedger *ledger, const char *pipeline, Datum range,
							  Datum reopened, Datum postponed);

/*
 * The same gaps, and whether some of what is complete may be in another relation than the
 * target, of which idem_check_coverage_target says more.
 */
extern Datum idem_gaps_of_target(IdemLedger *ledger, const char *pipeline, Datum range, Datum reopened,
								 Datum postponed, Oid target, bool *elsewhere);

/* What to do where another session holds an overlapping window. */
typedef enum IdemOnBusy
{
	IDEM_BUSY_WAIT,
	IDEM_BUSY_SKIP,
	IDEM_BUSY_ERROR,
} IdemOnBusy;

/* A count that nobody took: NULL in the ledger. */
#define IDEM_UNKNOWN_COUNT (-1)

/* One run of one window, on its way through the ledger. */
typedef struct IdemRun
{
	const struct IdemRun *outer; /* run in whose source, trigger or audit this one is */
	Oid ledger;
	int64 run_id; /* 0 until the window is claimed */
	const char *pipeline;
	IdemWindow window;
	Oid target;
	const char *mode;
	const char *method; /* known once the rows have been applied */
	TimestampTz started_at;
	bool redo; /* supersede what is complete in the window */
	int64 source_rows;
	int64 inserted_rows;
	int64 updated_rows;
	int64 deleted_rows;
	int64 unchanged_rows;
	int64 duplicate_rows; /* source rows that collapsed into others */
	int64 dead_rows;	  /* source rows that became dead letters */
	const char *source_schema; /* a digest of the source's columns and their types, in hex */
	const char *accepted_schema; /* these, as JSON, where they are accepted by this run; */
	const char *other_schema;	 /* or differ from the accepted ones; NULL: neither */
	const char *time_zone;	   /* under which it runs */
	TimestampTz finished_at;
	bool rerun; /* its source has run before, for a batch that was rolled back or a row that could not be written as it came */
	bool has_digest;
	IdemDigest digest; /* of the source rows */
} IdemRun;

/*
 * Raises 55006 if the window overlaps one that this session is loading: a source, a
 * trigger or an audit must not load or invalidate the window it belongs to, whose
 * row it would take for complete.
 */
extern void idem_check_window(const IdemLedger *ledger, const char *pipeline,
							  IdemWindow window);

/*
 * The source_schema of the pipeline's last complete run into the target, and whether that
 * differed from the accepted columns; NULL if there is none, or if nobody has recorded it.
 */
extern const char *idem_last_schema(IdemLedger *ledger, const char *pipeline, Oid target, bool *differed);

/* The columns that were accepted last, a jsonb; false if none were. */
extern bool idem_accepted_schema(IdemLedger *ledger, const char *pipeline, Oid target, Datum *columns);

/*
 * Accepts the columns of the pipeline's last run that differed, if none was accepted after
 * it; returns whether there is one.
 */
extern bool idem_accept_columns(IdemLedger *ledger, const char *pipeline);

/*
 * The time zone under which the pipeline's last complete run ran that does not lie within
 * redone, a range; NULL if there is none, or if nobody has recorded it.
 */
extern const char *idem_last_zone(IdemLedger *ledger, const char *pipeline, Datum redone);

/* Says that a run begins, and that it has ended, by an error perhaps. */
extern void idem_enter_run(const IdemLedger *ledger, IdemRun *run);
extern void idem_leave_run(const IdemRun *run);

typedef enum IdemClaim
{
	IDEM_CLAIMED,		 /* the window is ours until the transaction ends */
	IDEM_CLAIM_COMPLETE, /* some of it is complete by now: look again */
	IDEM_CLAIM_BUSY,	 /* another session holds some of it (skip only) */
} IdemClaim;

/*
 * Claims the run's window and sets its run_id.  Raises 55P03 if the window is
 * busy and on_busy says so, 55006 if somebody has written that it is running, and
 * 40001 if the transaction's snapshot is too old to see what an earlier run left.
 */
extern IdemClaim idem_claim_window(IdemLedger *ledger, IdemRun *run, IdemOnBusy on_busy);

/* Completes a claimed run: writes its counts, and when it finished. */
extern void idem_complete_run(IdemLedger *ledger, const IdemRun *run);

/*
 * Claims several windows that follow each other as one, the run's, without waiting.  False
 * if somebody else holds or has completed some of it, or some of it has failed: then what
 * has been done is to be rolled back.  What the rows of several windows say must be said
 * by nobody but us, so only where idem_may_claim_range.
 */
extern bool idem_claim_range(IdemLedger *ledger, IdemRun *range);

/*
 * Completes the first windows of a claimed range, n of them, by a row for each, and gives
 * up the rest.  Sets their run_ids.
 */
extern void idem_complete_range(IdemLedger *ledger, const IdemRun *range, IdemRun *runs, int n);

/*
 * Records a run that failed with error, in a transaction after its own.  Its window
 * is postponed until next_attempt_at, 0 for not at all, or for good if it is blocked.
 */
typedef struct IdemFailure
{
	const IdemRun *run;
	const ErrorData *error;
	TimestampTz next_attempt_at;
	bool blocked;
	bool unread;  /* it failed before its source was run, which does not count as an attempt */
	int64 run_id; /* under which it was recorded; 0 if a trigger would not have it */
} IdemFailure;

/* Records it, and returns its run_id. */
extern int64 idem_record_failure(IdemLedger *ledger, const IdemFailure *failure);

/* How often a run of just this window has failed since one of it did not. */
extern int64 idem_count_failures(IdemLedger *ledger, const IdemRun *run);

/* Which windows whose last run has failed a load leaves alone. */
typedef enum IdemPostpone
{
	IDEM_POSTPONE_NONE,
	IDEM_POSTPONE_BLOCKED,
	IDEM_POSTPONE_NOT_DUE, /* and those */
} IdemPostpone;

/* These windows in a range; a multirange. */
extern Datum idem_postponed_windows(IdemLedger *ledger, const char *pipeline, Datum range,
									IdemPostpone postpone);

/* What there is to know of them. */
typedef struct IdemPostponed
{
	int64 failed;				 /* windows whose last run has failed, */
	int64 blocked;				 /* and how many of them are blocked */
	TimestampTz next_attempt_at; /* of those that are not; 0 if there is none */
	const char *last_error;		 /* the last failure of all; NULL if there is none */
} IdemPostponed;

extern IdemPostponed idem_ledger_failures(IdemLedger *ledger, const char *pipeline, Datum range);

/* When the pipeline's newest run ended; 0 if there is none. */
extern TimestampTz idem_last_run_time(IdemLedger *ledger, const char *pipeline);

/* The windows in a range that are in a state; a multirange. */
extern Datum idem_windows_in_state(IdemLedger *ledger, const char *pipeline, Datum range,
								   const char *state);

/* A run that is complete, as a check needs to know it. */
typedef struct IdemComplete
{
	int64 run_id;
	IdemWindow window;
	Datum digest;			   /* of its source rows, a bytea; 0 if none can be compared */
	const char *source_schema; /* as a run's; NULL if it was not recorded */
	TimestampTz completed_at;  /* 0 if that was not recorded */
} IdemComplete;

/*
 * The pipeline's complete runs that overlap a range, in order, since a snapshot or now; n
 * is how many.
 */
extern IdemComplete *idem_complete_runs(IdemLedger *ledger, const char *pipeline, Datum range,
										Snapshot since, int *n);

/*
 * Forgets the failures of a window, so that it is tried again at once; returns how
 * many there were.  They turn superseded.
 */
extern int64 idem_forget_failures(IdemLedger *ledger, const char *pipeline, Datum range);

/* Deletes the history that ended before a time; returns how many rows it was. */
extern int64 idem_prune_history(IdemLedger *ledger, TimestampTz before);

/*
 * Raises 55000 if something in the window is complete, but in another relation than the
 * target: what is complete says nothing of it.  What was restored from elsewhere belongs
 * to the relation of its name, and from then on to the target itself.
 */
extern void idem_check_coverage_target(IdemLedger *ledger, const char *pipeline,
									   IdemWindow window, Oid target);

/* Says that what is complete is in this relation; returns how many runs it concerns. */
extern int64 idem_adopt_coverage(IdemLedger *ledger, const char *pipeline, Oid target);

/*
 * Makes the window a gap again, waiting for a load in flight; returns how many
 * complete rows it superseded.
 */
extern int64 idem_invalidate_window(IdemLedger *ledger, const char *pipeline,
									IdemWindow window);

/*
 * Called when complete windows of a pipeline have become gaps in a ledger, with the
 * extension's schema: it may be one that runs by itself.  Set by the room that knows
 * pipelines.
 */
extern void (*idem_window_reopened)(const char *schema, Oid ledger, const char *pipeline);

#endif /* IDEM_LEDGER_LEDGER_H */
