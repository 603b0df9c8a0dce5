/*
 * state.h
 *		When pipelines run: the table idem_pipeline_state, which the scheduler keeps.
 *
 * A pipeline has turns of two kinds, that load and that check; those that check are kept in
 * idem_check_state, in the same way.  The scheduler never waits for a user's lock on a row: a pipeline that somebody is
 * altering or dropping is left for later.  Everything here needs idem_connect and
 * takes the extension's schema.
 */
#ifndef IDEM_PIPELINE_STATE_H
#define IDEM_PIPELINE_STATE_H

#include "pipeline/frontier.h"
#include "pipeline/pipeline.h"
#include "nodes/pg_list.h"

/*
 * What locks states p and their definitions d before the states are written, as far as that
 * needs no waiting.  The definition too: a row that a transaction writes twice has its
 * reference checked, which locks the definition; who deletes it meanwhile holds that lock,
 * and waits for the row.
 */
#define IDEM_LOCK_TO_WRITE " FOR NO KEY UPDATE OF p SKIP LOCKED FOR KEY SHARE OF d SKIP LOCKED"

/* The name of the pipeline $1, its state locked so; NULL where somebody else has locked it. */
#define IDEM_STATE_TO_WRITE                                                              \
	"(SELECT p.name FROM @.idem_pipeline_state p JOIN @.idem_pipeline d"                 \
	" ON d.name OPERATOR(pg_catalog.=) p.name WHERE p.name OPERATOR(pg_catalog.=) $1"    \
	IDEM_LOCK_TO_WRITE ")"

/* What a turn does. */
typedef enum IdemDuty
{
	IDEM_LOADING,
	IDEM_CHECKING,
} IdemDuty;

/* A pipeline that is due. */
typedef struct IdemDuePipeline
{
	char *name;
	Oid owner;
} IdemDuePipeline;

/*
 * The owners of all pipelines, and of those that will be due: they are enabled, not paused,
 * and not in their turn.  Lists of OIDs, each once.
 */
extern List *idem_pipeline_owners(const char *schema);
extern List *idem_waiting_owners(const char *schema, IdemDuty duty);

/* What the scheduler looks for: pipelines of some owners (OIDs), but for some (names). */
typedef struct IdemDueSearch
{
	IdemDuty duty;
	List *owners;
	List *without;
	List *busy; /* the owners of turns, each as often as it has some */
} IdemDueSearch;

/*
 * The pipelines that are due, owners by turns and the longest waiting first, at most so
 * many; they are not paused, and not in their turn.  Allocated in the current memory
 * context.
 */
extern IdemDuePipeline *idem_find_due_pipelines(const char *schema, const IdemDueSearch *search,
												int max, int *n);

/* When the next one will be due; 0: never. */
extern TimestampTz idem_next_due_time(const char *schema, const IdemDueSearch *search);

/* A turn begins and ends; false if the row is locked or gone. */
extern bool idem_book_turn_start(const char *schema, IdemDuty duty, const char *name);
extern bool idem_book_turn_end(const char *schema, IdemDuty duty, const char *name);

/* The pipelines that are booked as in their turn, without some. */
extern char **idem_open_turns(const char *schema, IdemDuty duty, List *without, int *n);

/*
 * Books that a turn was lost with the server: that is a crash, and the pipeline has to
 * wait for delay (milliseconds), doubled for each crash before.  False if the row is
 * locked or gone.
 */
extern bool idem_book_lost_turn(const char *schema, IdemDuty duty, const char *name, int delay);

/* True if there is such a pipeline that the current role can see. */
extern bool idem_pipeline_exists(const char *schema, IdemDuty duty, const char *name);

/* The pipelines that the current role may act as and that name a monitor, in the order of their names. */
extern List *idem_monitored_pipelines(const char *schema, Oid monitor);

/* How a pipeline was doing when its last turn ended, as its owner saw it. */
typedef struct IdemPipelineCoverage
{
	const char *complete_to; /* NULL: nothing is known */
	const char *frontier;	 /* the same bound, as any session reads it alike */
	TimestampTz complete_at; /* 0: it is no time */
	const char *gaps;
	int64 ngaps;
	int64 failed;
	int64 blocked;
	const char *last_failure; /* NULL: none */
	TimestampTz last_run;
} IdemPipelineCoverage;

/*
 * Books it, and with it the frontier, as far as it still says anything: the coverage was
 * read beyond the one that is given, or all of it.
 */
extern void idem_book_coverage(const char *schema, const char *name,
							   const IdemPipelineCoverage *coverage, const IdemFrontier *frontier);

/*
 * The frontier as it is stored.  Nothing is known where somebody has made the pipeline due
 * and the scheduler has not noticed yet.
 */
extern IdemFrontier idem_stored_frontier(const char *schema, const char *name);

/* What idem_status shows of a pipeline that is not in its ledger. */
typedef struct IdemPipelineState
{
	Oid owner;
	const char *state; /* running, waiting, idle, disabled, paused */
	const char *waiting_for;
	const char *last_error;
	TimestampTz next_run_at; /* 0: none is due */
	IdemPipelineCoverage coverage;
} IdemPipelineState;

/*
 * Calls visit for each pipeline that the current role may act as, in the order of their
 * names, with its definition and its state as they are now.  Each visit has its own
 * memory context.
 */
extern void idem_visit_pipelines(const char *schema,
								 void (*visit)(void *arg, const IdemPipelineRow *row,
											   const IdemPipelineState *state),
								 void *arg);

/* How often a pipeline's worker was lost in a row. */
extern int idem_pipeline_crashes(const char *schema, const char *name);

/*
 * True if its worker was lost within an hour: then its windows are loaded one by one, for a
 * window that takes its worker down takes those along that are loaded together with it, and
 * which of them it is would be found out by a crash for each.
 */
extern bool idem_crashed_lately(const char *schema, const char *name);

/*
 * Books what came of a turn: when the next one is due, 0 for never, unless somebody has
 * made the pipeline due since it began; and the error that ended it, NULL if none did.
 * failures counts turns in a row that ended so.
 */
extern void idem_book_turn(const char *schema, IdemDuty duty, const char *name, TimestampTz next_run_at,
						   const char *error);
extern int idem_pipeline_failures(const char *schema, IdemDuty duty, const char *name);

/* Says why a pipeline that is due does not run; false if that was known. */
extern bool idem_book_waiting(const char *schema, IdemDuty duty, const char *name, const char *why);

/* The same of all pipelines of an owner. */
extern void idem_book_owner_waiting(const char *schema, Oid owner, const char *why);

/*
 * Makes a pipeline due at once, if it is there and the current role owns it, when the
 * scheduler next takes wake-ups; if it is to load, its frontier is forgotten then, also if it is disabled.
 * Taking them returns false if it has to come back for some, whose pipelines somebody has
 * locked, and sets *taken if it took some.
 */
extern void idem_make_due(const char *schema, IdemDuty duty, const char *name);
extern bool idem_take_wakeups(const char *schema, IdemDuty duty, bool *taken);

/*
 * Says that the pipelines which were restored or cloned with the database are at home
 * here; returns how many there were.  One that was restored has no state before that,
 * even if it comes back to the database it was dumped from.
 */
extern int64 idem_adopt_pipelines(const char *schema);

/* Makes a pipeline due, if there is one of the name, and wakes the scheduler at commit. */
extern void idem_wake_pipeline(const char *schema, const char *name);

/*
 * The same for one whose windows in a ledger have become gaps: whoever may do that need not
 * own it, if the ledger is its.
 */
extern void idem_wake_reopened(const char *schema, Oid ledger, const char *name);

/*
 * Follows a definition: a pipeline that is enabled and names a monitor is to be checked, and
 * at once; any other never.
 */
extern void idem_schedule_checks(const char *schema, const char *name);

/* What has been loaded is to be checked, if the pipeline is one that the scheduler checks. */
extern void idem_wake_checks(const IdemPipeline *pipeline);

/* When windows that were not due were checked last, 0 for never; and that they have been. */
extern TimestampTz idem_swept_at(const char *schema, const char *name);
extern void idem_book_sweep(const char *schema, const char *name, TimestampTz swept_at);

#endif /* IDEM_PIPELINE_STATE_H */
