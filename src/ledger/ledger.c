/*
 * ledger.c
 *		The ledger: which windows of which pipeline are complete.
 *
 * The claim is INSERT … ON CONFLICT DO NOTHING, a statement of its own before any
 * that reads or writes the target: under READ COMMITTED everything the previous
 * holder committed is then visible.  A plain INSERT would do the same but lets two
 * simultaneous claims deadlock; the speculative insertion of ON CONFLICT does not.
 * The claim is inserted as complete, so that writing the counts at the end touches
 * no indexed column; it becomes visible to others when it is true, or never.
 *
 * This file must not know targets, sources or how rows are applied.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "ledger/access.h"
#include "ledger/ledger.h"
#include "ledger/table.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "server/query.h"
#include "server/compat.h"
#include "server/scope.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

void (*idem_window_reopened)(const char *schema, Oid ledger, const char *pipeline);

/* How long a claim waits before it calls a window busy, in ms. */
#define BUSY_TIMEOUT "10"

/* So often may a claim be refused in a row by nothing that can be seen. */
#define MAX_UNEXPLAINED 10

/* The runs l that overlap the window, which every statement knows as $1 and $2. */
#define WHERE_OVERLAPS                            \
	" WHERE l.pipeline OPERATOR(pg_catalog.=) $1" \
	" AND l.window_range OPERATOR(pg_catalog.&&) $2"

/* Says of runs l that they no longer count, by whom, the third argument, and since when. */
#define SET_SUPERSEDED                                             \
	"SET state = 'superseded',"                                    \
	" details = COALESCE(l.details, '{}') OPERATOR(pg_catalog.||)" \
	" pg_catalog.jsonb_build_object('superseded_by', $3,"          \
	" 'superseded_at', pg_catalog.clock_timestamp())"

/* The role that calls, which is not always the one that the statement is run as. */
#define CALLER CStringGetTextDatum(GetUserNameFromId(GetUserId(), false))

/* The number of this attempt at just the window: one more than have failed. */
#define ATTEMPT                                                            \
	" 1 OPERATOR(pg_catalog.+) (SELECT pg_catalog.count(*) FROM ONLY @L f" \
	" WHERE f.pipeline OPERATOR(pg_catalog.=) $1"                          \
	" AND f.window_range OPERATOR(pg_catalog.=) $2"                        \
	" AND f.state OPERATOR(pg_catalog.=) 'failed'"                         \
	" AND (f.details OPERATOR(pg_catalog.->) 'unread') IS NULL)"

/*
 * Another run n came after l and touched its window, or has completed it; NULL if none.
 * As a value, not as EXISTS: of that the planner would make a join, which compares every
 * run with every other.  The planner knows nothing of windows and believes that one in a
 * hundred touches; left alone it reads the table until it finds one, and mostly there is
 * none: 13 s for 1,000 failures in 100,000 runs, once they are analyzed.  So the
 * statements with this are get_history_statement's.
 */
#define TOUCHES                                    \
	"n.pipeline OPERATOR(pg_catalog.=) l.pipeline" \
	" AND n.window_range OPERATOR(pg_catalog.&&) l.window_range"
#define LATER "(SELECT true FROM ONLY @L n WHERE " TOUCHES                      \
			  " AND n.state OPERATOR(pg_catalog.=) ANY ('{failed,superseded}')" \
			  " AND n.run_id OPERATOR(pg_catalog.>) l.run_id LIMIT 1)"
#define COMPLETED "(SELECT true FROM ONLY @L n WHERE " TOUCHES \
				  " AND n.state OPERATOR(pg_catalog.=) 'complete' LIMIT 1)"

/* Whether a run l is the last that says which columns of the source were accepted. */
#define LAST_ACCEPTED                                                                            \
	"CASE WHEN pg_catalog.jsonb_exists(l.details, 'accepted_schema')"                            \
	" THEN (SELECT true FROM ONLY @L n WHERE n.pipeline OPERATOR(pg_catalog.=) l.pipeline"       \
	" AND n.run_id OPERATOR(pg_catalog.>) l.run_id"                                              \
	" AND CASE WHEN pg_catalog.jsonb_exists(n.details, 'accepted_schema') THEN"                  \
	" n.target IS NOT DISTINCT FROM l.target ELSE false END LIMIT 1) IS NULL ELSE false END"

/*
 * An aggregate of the runs n that overlap the window and are in a state.  For one state at
 * a time, because each of the GiST indexes has only some; and the newest run is a sum, which
 * the planner does not look for from the end of the table.
 */
#define OF_PAST_RUNS(aggregate, state)                          \
	" (SELECT " aggregate " FROM ONLY @L n"                     \
	" WHERE n.pipeline OPERATOR(pg_catalog.=) $1"               \
	" AND n.window_range OPERATOR(pg_catalog.&&) $2"            \
	" AND n.state OPERATOR(pg_catalog.=) '" state "')"
#define SUM "pg_catalog.concat(pg_catalog.count(*), ' ', pg_catalog.sum(n.run_id), ' ')"
#define NEWEST "pg_catalog.max(n.run_id OPERATOR(pg_catalog.+) 0)"

/* The runs l that overlap the window and have failed, and nothing came after them. */
#define WHERE_LAST_FAILED                                         \
	WHERE_OVERLAPS " AND l.state OPERATOR(pg_catalog.=) 'failed'" \
				   " AND " LATER " IS NULL AND " COMPLETED " IS NULL"

/*
 * Which relation a run loads: its OID, which is one only here, its name, and where here
 * is: after a restore elsewhere the OID may be another relation's.
 */
#define TARGET_COLUMNS "target, target_name, system_identifier, database_oid"
#define TARGET_TYPES OIDOID, TEXTOID, INT8OID, OIDOID
#define TARGET_ARGS(relid)                       \
	ObjectIdGetDatum(relid), target_name(relid), \
		Int64GetDatum((int64) GetSystemIdentifier()), ObjectIdGetDatum(MyDatabaseId)

/*
 * Whether a run l was into the relation that these arguments tell of, as the third to the
 * sixth: OIDs are compared where both are of this database, else names.
 */
#define IS_TARGET                                                                   \
	" CASE WHEN COALESCE(l.system_identifier, $5) OPERATOR(pg_catalog.=) $5"        \
	" AND COALESCE(l.database_oid, $6) OPERATOR(pg_catalog.=) $6"                   \
	" THEN l.target OPERATOR(pg_catalog.=) $3"                                      \
	" ELSE COALESCE(l.target_name, '') OPERATOR(pg_catalog.=) $4 END"

/* Whether that was in another database, from which the ledger has been restored. */
#define IS_RESTORED                                                             \
	" (COALESCE(l.system_identifier, $5) OPERATOR(pg_catalog.<>) $5"            \
	" OR COALESCE(l.database_oid, $6) OPERATOR(pg_catalog.<>) $6)"

/*
 * Complete runs l, the newest first, of which the first is wanted.  They come in the order
 * of the index on (pipeline, run_id).  In a CASE, which is taken for true of every second
 * row: of the state as such a planner without statistics believes that it is rare, and
 * fetches and sorts all runs, by the index of the claims or this one.
 */
#define COMPLETE_IN_ORDER(condition)                                                           \
	" WHERE l.pipeline OPERATOR(pg_catalog.=) $1"                                              \
	" AND CASE WHEN l.state OPERATOR(pg_catalog.=) 'complete' THEN " condition " ELSE false END" \
	" ORDER BY l.run_id DESC"

/* A relation's name as text; of one that is not there, no value at all. */
static Datum
target_name(Oid relid)
{
	const char *name = OidIsValid(relid) ? get_rel_name(relid) : NULL;
	const char *schema = name ? get_namespace_name(get_rel_namespace(relid)) : NULL;

	return CStringGetTextDatum(schema ? quote_qualified_identifier(schema, name) : "");
}

/* The ledger's statements, each made when it is first needed. */
struct IdemLedgerStatements
{
	MemoryContext context;
	int64 added; /* rows, by this call */
	IdemStatement *coverage;
	IdemStatement *gaps;
	IdemStatement *target_gaps;
	IdemStatement *claim;
	IdemStatement *running;
	IdemStatement *refused;
	IdemStatement *count_latest;
	IdemStatement *count;
	IdemStatement *supersede;
	IdemStatement *complete;
	IdemStatement *complete_range;
	IdemStatement *insert_complete;
	IdemStatement *any_failed;
	IdemStatement *fail;
	IdemStatement *failures;
	IdemStatement *postponed;
	IdemStatement *last_failures;
	IdemStatement *last_run;
	IdemStatement *in_state;
	IdemStatement *forget;
	IdemStatement *prune;
	IdemStatement *invalidated;
	IdemStatement *foreign;
	IdemStatement *adopt;
	IdemStatement *adopt_restored;
	IdemStatement *last_schema;
	IdemStatement *accepted_schema;
	IdemStatement *accept_schema;
	IdemStatement *last_zone;
	IdemStatement *complete_runs;
};

void
idem_init_ledger_statements(IdemLedger *ledger)
{
	ledger->statements = palloc0(sizeof(IdemLedgerStatements));
	ledger->statements->context = CurrentMemoryContext;
}

/* Replaces the words of a statement's template that depend on the ledger. */
static char *
expand_template(const IdemLedger *ledger, const char *template)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (; *template; template ++)
	{
		if (*template != '@')
			appendStringInfoChar(&sql, *template);
		else if (*++template == 'L')
			appendStringInfoString(&sql, ledger->name);
		else if (*template == 'C')
			appendStringInfoString(&sql, ledger->claim_constraint);
		else
			appendStringInfo(&sql, "pg_catalog.%s", ledger->type->multirange_name);
	}
	return sql.data;
}

/*
 * Returns the statement kept in *place, made from its template at the first use.
 * Every statement's parameters begin with the pipeline and the window.
 */
static IdemStatement *
get_statement(IdemLedger *ledger, IdemStatement **place, IdemSnapshot snapshot,
			  const char *template, int nmore, const Oid *more)
{
	idem_check_ledger(ledger);
	if (*place == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(ledger->statements->context);
		Oid types[IDEM_MAX_ARGS] = {TEXTOID, ledger->type->range};

		if (nmore > 0)
			memcpy(types + 2, more, nmore * sizeof(Oid));
		*place = idem_make_statement(expand_template(ledger, template),
									 nmore + 2, types, snapshot);
		MemoryContextSwitchTo(old);
	}
	idem_fit_statement(*place, 0, ledger->statements->added);
	return *place;
}

/* The same for one that asks of each run for those that touched its window. */
static IdemStatement *
get_history_statement(IdemLedger *ledger, IdemStatement **place, IdemSnapshot snapshot,
					  const char *template, int nmore, const Oid *more)
{
	IdemStatement *statement = get_statement(ledger, place, snapshot, template, nmore, more);

	idem_ask_indexes(statement);
	return statement;
}

/* Runs a statement that reads one value, not NULL, and returns it. */
static Datum
read_value(const IdemLedger *ledger, IdemStatement *statement, const Datum *args)
{
	Datum value;
	bool isnull;

	if (!idem_read_ledger(ledger, statement, args, 1, &value, &isnull) || isnull)
		elog(ERROR, "ledger statement returned no value");
	return value;
}

Datum
idem_ledger_coverage(IdemLedger *ledger, const char *pipeline, Datum range)
{
	Datum args[] = {CStringGetTextDatum(pipeline), range};

	return read_value(ledger,
					  get_statement(ledger, &ledger->statements->coverage,
									ledger->read_snapshot,
									"SELECT COALESCE(pg_catalog.range_agg(l.window_range), '{}'::@M)"
									" OPERATOR(pg_catalog.*) pg_catalog.multirange($2)"
									" FROM ONLY @L l" WHERE_OVERLAPS
									" AND l.state OPERATOR(pg_catalog.=) 'complete'",
									0, NULL),
					  args);
}

/* What of the window is a gap, by the complete runs l that overlap it. */
#define GAPS(reopened, postponed)                                                \
	"pg_catalog.multirange($2) OPERATOR(pg_catalog.-)"                           \
	" (COALESCE(pg_catalog.range_agg(l.window_range), '{}'::@M)"                 \
	" OPERATOR(pg_catalog.-) pg_catalog.multirange(" reopened "))"               \
	" OPERATOR(pg_catalog.-) " postponed

/* Whether a complete run l was into another relation, or may have been. */
#define IS_ELSEWHERE " l.target IS NOT NULL AND (NOT" IS_TARGET " OR" IS_RESTORED ")"

Datum
idem_ledger_gaps(IdemLedger *ledger, const char *pipeline, Datum range, Datum reopened,
				 Datum postponed)
{
	const Oid more[] = {ledger->type->range, ledger->type->multirange};
	Datum args[] = {CStringGetTextDatum(pipeline), range, reopened, postponed};

	return read_value(ledger,
					  get_statement(ledger, &ledger->statements->gaps,
									ledger->read_snapshot,
									"SELECT " GAPS("$3", "$4")
									" FROM ONLY @L l" WHERE_OVERLAPS
									" AND l.state OPERATOR(pg_catalog.=) 'complete'",
									lengthof(more), more),
					  args);
}

Datum
idem_gaps_of_target(IdemLedger *ledger, const char *pipeline, Datum range, Datum reopened,
					Datum postponed, Oid target, bool *elsewhere)
{
	const Oid more[] = {TARGET_TYPES, ledger->type->range, ledger->type->multirange};
	Datum args[] = {CStringGetTextDatum(pipeline), range, TARGET_ARGS(target), reopened, postponed};
	Datum values[2];
	bool nulls[2];

	if (!idem_read_ledger(ledger,
						  get_statement(ledger, &ledger->statements->target_gaps, ledger->read_snapshot,
										"SELECT " GAPS("$7", "$8") ", pg_catalog.bool_or(" IS_ELSEWHERE ")"
										" FROM ONLY @L l" WHERE_OVERLAPS
										" AND l.state OPERATOR(pg_catalog.=) 'complete'",
										lengthof(more), more),
						  args, lengthof(values), values, nulls) ||
		nulls[0])
		elog(ERROR, "ledger statement returned no value");
	*elsewhere = !nulls[1] && DatumGetBool(values[1]);
	return values[0];
}

/*
 * Supersedes the complete rows that overlap the window and keeps what they cover
 * outside of it complete, in rows of their own.  Returns how many it superseded.
 */
static int64
supersede_window(IdemLedger *ledger, const char *pipeline, IdemWindow window)
{
	static const Oid more[] = {TEXTOID};
	Datum args[] = {CStringGetTextDatum(pipeline),
					idem_window_datum(ledger->type, window), CALLER};
	IdemStatement *statement;
	Datum superseded;
	bool isnull;

	statement = get_statement(ledger, &ledger->statements->supersede, IDEM_SNAPSHOT_NEW,
							  "WITH old AS ("
							  "UPDATE ONLY @L l " SET_SUPERSEDED WHERE_OVERLAPS
							  " AND l.state OPERATOR(pg_catalog.=) 'complete'"
							  " RETURNING l.*), rest AS ("
							  "INSERT INTO @L (pipeline, window_range, state, target, target_name,"
							  " system_identifier, database_oid, mode,"
							  " method, attempt, started_at, finished_at, run_by, source_schema, details)"
							  " SELECT o.pipeline, r, 'complete', o.target, o.target_name,"
							  " o.system_identifier, o.database_oid, o.mode, o.method,"
							  " o.attempt, o.started_at, o.finished_at, o.run_by, o.source_schema,"
							  " pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object("
							  "'split_from', o.run_id, 'time_zone', o.details OPERATOR(pg_catalog.->) 'time_zone'))"
							  " FROM old o, LATERAL pg_catalog.unnest("
							  "pg_catalog.multirange(o.window_range) OPERATOR(pg_catalog.-)"
							  " pg_catalog.multirange($2)) r)"
							  " SELECT pg_catalog.count(*) FROM old",
							  lengthof(more), more);
	if (!idem_write_ledger_row(ledger, statement, args, NULL, 1, &superseded, &isnull))
		elog(ERROR, "ledger statement returned no value");
	return DatumGetInt64(superseded);
}

/* Fails for a ledger that does not do what it is told. */
idem_noreturn static void
report_claim(const IdemLedger *ledger, const IdemRun *run, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("ledger %s did not take the claim of window %s of pipeline \"%s\"",
					ledger->name, idem_window_text(ledger->type, run->window), run->pipeline),
			 errdetail_internal("%s", detail),
			 errhint("Look for a trigger or a rule on the ledger that swallows or changes rows, and for row security that hides them from role \"%s\".",
					 GetUserNameFromId(GetUserId(), false))));
}

/* Inserts the claim; false if an overlapping row is in the way. */
static bool
insert_claim(IdemLedger *ledger, IdemRun *run)
{
	static const Oid more[] = {TEXTOID, TIMESTAMPTZOID, TARGET_TYPES, TEXTOID};
	Datum args[] = {CStringGetTextDatum(run->pipeline),
					idem_window_datum(ledger->type, run->window),
					CStringGetTextDatum(run->mode), TimestampTzGetDatum(run->started_at),
					TARGET_ARGS(run->target), CALLER};
	bool isnull[lengthof(args)] = {false};
	Datum values[2];
	bool nulls[2];

	isnull[4] = isnull[5] = !OidIsValid(run->target);
	if (!idem_write_ledger_row(ledger,
							   get_statement(ledger, &ledger->statements->claim, IDEM_SNAPSHOT_NEW,
											 "INSERT INTO @L (pipeline, window_range, state,"
											 " mode, attempt, started_at, " TARGET_COLUMNS ", run_by)"
											 " VALUES ($1, $2, 'complete', $3," ATTEMPT ","
											 " $4, $5, $6, $7, $8, $9)"
											 " ON CONFLICT ON CONSTRAINT @C DO NOTHING"
											 " RETURNING run_id, pipeline OPERATOR(pg_catalog.=) $1"
											 " AND window_range OPERATOR(pg_catalog.=) $2"
											 " AND state OPERATOR(pg_catalog.=) 'complete'",
											 lengthof(more), more),
							   args, isnull, lengthof(values), values, nulls))
		return false;
	if (nulls[0] || nulls[1] || !DatumGetBool(values[1]))
		report_claim(ledger, run, "The row that was inserted is another one.");
	run->run_id = DatumGetInt64(values[0]);
	ledger->statements->added++;
	return true;
}

/* Fails if a row that was written by hand is running in the window. */
static void
check_not_running(IdemLedger *ledger, const char *pipeline, IdemWindow window)
{
	Datum args[] = {CStringGetTextDatum(pipeline),
					idem_window_datum(ledger->type, window)};
	Datum run_id;
	bool isnull;

	if (idem_read_ledger(ledger,
						 get_statement(ledger, &ledger->statements->running, IDEM_SNAPSHOT_NEW,
									   "SELECT l.run_id FROM ONLY @L l" WHERE_OVERLAPS
									   " AND l.state OPERATOR(pg_catalog.=) 'running' LIMIT 1",
									   0, NULL),
						 args, 1, &run_id, &isnull))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("window %s of pipeline \"%s\" overlaps run " INT64_FORMAT ", which is running",
						idem_window_text(ledger->type, window), pipeline,
						DatumGetInt64(run_id)),
				 errdetail("The row in ledger %s was written by hand.", ledger->name),
				 errhint("Set its state to failed.")));
}

/*
 * Called when a claim was not inserted, so often in a row.  A row that we can see explains
 * it, unless it should have been superseded and nothing was; so does one that has vanished
 * since, or was completed since, but not again and again.
 */
static void
check_claim_refused(IdemLedger *ledger, const IdemRun *run, bool stuck, int *unexplained)
{
	Datum args[] = {CStringGetTextDatum(run->pipeline),
					idem_window_datum(ledger->type, run->window)};

	bool visible = idem_read_ledger(ledger,
									get_statement(ledger, &ledger->statements->refused, IDEM_SNAPSHOT_NEW,
												  "SELECT FROM ONLY @L l" WHERE_OVERLAPS
												  " AND l.state OPERATOR(pg_catalog.=) ANY ('{running,complete}') LIMIT 1",
												  0, NULL),
									args, 0, NULL, NULL);

	if (visible && !stuck)
		*unexplained = 0;
	else if (++*unexplained >= MAX_UNEXPLAINED)
		report_claim(ledger, run,
					 visible ? "Rows that overlap the window are complete, and none could be superseded."
							 : "No row that overlaps the window can be seen, and yet none could be inserted.");
}

/* The runs of this session that have begun and not ended, innermost first. */
static const IdemRun *active_run = NULL;

void
idem_check_window(const IdemLedger *ledger, const char *pipeline, IdemWindow window)
{
	const IdemRun *run;

	for (run = active_run; run; run = run->outer)
	{
		if (run->ledger == ledger->relid && strcmp(run->pipeline, pipeline) == 0 &&
			run->window.lower < window.upper && window.lower < run->window.upper)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("window %s of pipeline \"%s\" is being loaded by this session",
							idem_window_text(ledger->type, run->window), pipeline),
					 errhint("A source, an audit or a trigger must not load or invalidate the window it belongs to.")));
	}
}

void
idem_enter_run(const IdemLedger *ledger, IdemRun *run)
{
	run->ledger = ledger->relid;
	run->outer = active_run;
	active_run = run;
}

void
idem_leave_run(const IdemRun *run)
{
	active_run = run->outer;
}

/* A try to claim, as an argument of idem_try. */
typedef struct ClaimTry
{
	IdemLedger *ledger;
	IdemRun *run;
	int64 superseded; /* rows, by this try */
	bool claimed;
} ClaimTry;

/* One try to claim: supersede what is to be redone, then insert. */
static void
try_claim(void *arg)
{
	ClaimTry *try = arg;

	try->superseded = try->run->redo ? supersede_window(try->ledger, try->run->pipeline, try->run->window) : 0;
	try->claimed = insert_claim(try->ledger, try->run);
}

/* Tries to claim under a short lock_timeout. */
static void
try_claim_briefly(void *arg)
{
	idem_run_with("lock_timeout", BUSY_TIMEOUT, try_claim, arg);
}

/*
 * Tries to claim without waiting: in a subtransaction, with a short lock_timeout.
 * Returns whether it would have had to wait.
 */
static bool
try_claim_nowait(ClaimTry *try)
{
	ErrorData *error = idem_try(try_claim_briefly, try, CurrentMemoryContext);

	if (error && error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	return error != NULL;
}

/* Fails for a window that another session holds. */
static void
report_busy(IdemLedger *ledger, const IdemRun *run)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("window %s of pipeline \"%s\" is being loaded by another session",
					idem_window_text(ledger->type, run->window), run->pipeline),
			 errhint("Use on_busy => 'wait' to wait for it, or 'skip' to go on without it.")));
}

/*
 * How many runs overlap the window, and the sum of their run_ids, under one of two snapshots:
 * where as many have come as old ones were pruned the sum has grown.
 */
static const char *
sum_runs(IdemLedger *ledger, const IdemRun *run, bool latest)
{
	Datum args[] = {CStringGetTextDatum(run->pipeline),
					idem_window_datum(ledger->type, run->window)};
	IdemLedgerStatements *all = ledger->statements;

	return TextDatumGetCString(read_value(ledger,
										  get_statement(ledger,
														latest ? &all->count_latest : &all->count,
														latest ? IDEM_SNAPSHOT_LATEST : IDEM_SNAPSHOT_NEW,
														"SELECT pg_catalog.concat(" OF_PAST_RUNS(SUM, "complete") ","
														OF_PAST_RUNS(SUM, "superseded") ")",
														0, NULL),
										  args));
}

/*
 * Fails if the transaction keeps a snapshot that is older than an earlier run of
 * the window.  The claim itself reports a conflict with a complete row that the
 * snapshot does not see; this finds one that has been superseded since.
 */
static void
check_snapshot_age(IdemLedger *ledger, const IdemRun *run)
{
	if (IsolationUsesXactSnapshot() &&
		strcmp(sum_runs(ledger, run, true), sum_runs(ledger, run, false)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access to window %s of pipeline \"%s\"",
						idem_window_text(ledger->type, run->window), run->pipeline),
				 errdetail("It was loaded after this transaction's snapshot was taken."),
				 errhint("Retry the transaction.")));
}

IdemClaim
idem_claim_window(IdemLedger *ledger, IdemRun *run, IdemOnBusy on_busy)
{
	int unexplained = 0;

	run->started_at = GetCurrentTimestamp();
	for (;;)
	{
		ClaimTry try = {.ledger = ledger, .run = run};
		bool busy = false;

		CHECK_FOR_INTERRUPTS();
		if (on_busy == IDEM_BUSY_WAIT)
			try_claim(&try);
		else
			busy = try_claim_nowait(&try);
		if (try.claimed && !busy)
		{
			check_snapshot_age(ledger, run);
			return IDEM_CLAIMED;
		}
		if (busy && on_busy == IDEM_BUSY_ERROR)
			report_busy(ledger, run);
		if (busy)
			return IDEM_CLAIM_BUSY;
		check_not_running(ledger, run->pipeline, run->window);
		check_claim_refused(ledger, run, run->redo && try.superseded == 0, &unexplained);
		if (!run->redo && unexplained == 0)
			return IDEM_CLAIM_COMPLETE;
		/* to be redone, but completed by another session meanwhile: again */
	}
}

/* What the ledger says of a run beside its columns. */
#define DETAILS(duplicates, zone, rerun, accepted, other)                           \
	"pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object("                   \
	"'duplicate_rows', " duplicates ", 'time_zone', " zone ", 'rerun', " rerun "," \
	" 'accepted_schema', " accepted ", 'source_schema', " other "))"

/* Of which kind a digest is; NULL if there is none. */
#define DIGEST_VERSION(digest) "CASE WHEN " digest " IS NOT NULL THEN 1 END"

/* Completes a run's row; more is what else is set of it. */
#define COMPLETE_RUN(more)                                                                 \
	"UPDATE ONLY @L SET " more "method = $4,"                                              \
	" source_rows = $5, inserted_rows = $6, updated_rows = $7,"                            \
	" deleted_rows = $8, unchanged_rows = $9, dead_rows = $18,"                            \
	" source_digest = $11, digest_version = " DIGEST_VERSION("$11") ","                    \
	" finished_at = $14, source_schema = pg_catalog.decode($12, 'hex'),"                   \
	" details = " DETAILS("$10", "$13", "$15", "$16::pg_catalog.jsonb",                    \
						  "$17::pg_catalog.jsonb")                                         \
	" WHERE run_id OPERATOR(pg_catalog.=) $3"                                              \
	" AND state OPERATOR(pg_catalog.=) 'complete'"

/* A text, or nothing. */
static Datum
optional_text(const char *text)
{
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

/* Completes a run that has been claimed, alone or as the first of a range. */
static void
complete_run(IdemLedger *ledger, const IdemRun *run, bool is_range)
{
	static const Oid more[] = {INT8OID, TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID,
							   INT8OID, INT8OID, BYTEAOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, BOOLOID,
							   TEXTOID, TEXTOID, INT8OID};
	IdemLedgerStatements *all = ledger->statements;
	Datum args[] = {CStringGetTextDatum(run->pipeline),
					idem_window_datum(ledger->type, run->window), Int64GetDatum(run->run_id),
					CStringGetTextDatum(run->method), Int64GetDatum(run->source_rows),
					Int64GetDatum(run->inserted_rows), Int64GetDatum(run->updated_rows),
					Int64GetDatum(run->deleted_rows), Int64GetDatum(run->unchanged_rows),
					Int64GetDatum(run->duplicate_rows),
					run->has_digest ? idem_digest_bytea(&run->digest) : (Datum) 0,
					optional_text(run->source_schema),
					CStringGetTextDatum(run->time_zone), TimestampTzGetDatum(run->finished_at),
					BoolGetDatum(run->rerun), optional_text(run->accepted_schema), optional_text(run->other_schema),
					Int64GetDatum(run->dead_rows)};
	bool isnull[lengthof(args)] = {false};

	isnull[7] = run->deleted_rows == IDEM_UNKNOWN_COUNT;
	isnull[9] = run->duplicate_rows == 0;
	isnull[10] = !run->has_digest;
	isnull[11] = run->source_schema == NULL;
	isnull[14] = !run->rerun;
	isnull[15] = run->accepted_schema == NULL;
	isnull[16] = run->other_schema == NULL;

	if (idem_write_ledger(ledger,
						  get_statement(ledger, is_range ? &all->complete_range : &all->complete, IDEM_SNAPSHOT_NEW,
										is_range ? COMPLETE_RUN("window_range = $2, ") : COMPLETE_RUN(""),
										lengthof(more), more),
						  args, isnull) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("run " INT64_FORMAT " has vanished from ledger %s",
						run->run_id, ledger->name),
				 errhint("A source, an audit or a trigger must not change the ledger; a row security policy must let its role update it.")));
}

void
idem_complete_run(IdemLedger *ledger, const IdemRun *run)
{
	complete_run(ledger, run, false);
}

bool
idem_claim_range(IdemLedger *ledger, IdemRun *range)
{
	ClaimTry try = {.ledger = ledger, .run = range};
	Datum args[] = {CStringGetTextDatum(range->pipeline),
					idem_window_datum(ledger->type, range->window)};

	range->started_at = GetCurrentTimestamp();
	return !try_claim_nowait(&try) && try.claimed &&
		   !idem_read_ledger(ledger,
							 get_history_statement(ledger, &ledger->statements->any_failed, IDEM_SNAPSHOT_NEW,
												   "SELECT FROM ONLY @L l" WHERE_OVERLAPS
												   " AND l.state OPERATOR(pg_catalog.=) 'failed' LIMIT 1",
												   0, NULL),
							 args, 0, NULL, NULL);
}

/* A value of a run, as an element of an array. */
typedef struct RunValue
{
	Datum value;
	bool isnull;
} RunValue;

#define RUN_VALUE(name, none, datum)                                 \
	static RunValue name(const IdemLedger *ledger, const IdemRun *run) \
	{                                                                  \
		return (RunValue){(none) ? (Datum) 0 : (datum), (none)};       \
	}
RUN_VALUE(window_of, false, idem_window_datum(ledger->type, run->window))
RUN_VALUE(method_of, false, CStringGetTextDatum(run->method))
RUN_VALUE(schema_of, run->source_schema == NULL, CStringGetTextDatum(run->source_schema))
RUN_VALUE(digest_of, !run->has_digest, idem_digest_bytea(&run->digest))
RUN_VALUE(source_rows_of, false, Int64GetDatum(run->source_rows))
RUN_VALUE(inserted_rows_of, false, Int64GetDatum(run->inserted_rows))
RUN_VALUE(updated_rows_of, false, Int64GetDatum(run->updated_rows))
RUN_VALUE(deleted_rows_of, run->deleted_rows == IDEM_UNKNOWN_COUNT, Int64GetDatum(run->deleted_rows))
RUN_VALUE(unchanged_rows_of, false, Int64GetDatum(run->unchanged_rows))
RUN_VALUE(duplicate_rows_of, run->duplicate_rows == 0, Int64GetDatum(run->duplicate_rows))
RUN_VALUE(started_at_of, false, TimestampTzGetDatum(run->started_at))
RUN_VALUE(finished_at_of, false, TimestampTzGetDatum(run->finished_at))

/* The arrays of values of runs that insert_complete passes, in its order; type 0: the ledger's windows'. */
static const struct
{
	Oid type;
	Oid array;
	RunValue (*value)(const IdemLedger *ledger, const IdemRun *run);
} run_arrays[] = {
	{InvalidOid, InvalidOid, window_of},
	{TEXTOID, TEXTARRAYOID, method_of},
	{TEXTOID, TEXTARRAYOID, schema_of},
	{BYTEAOID, BYTEAARRAYOID, digest_of},
	{INT8OID, INT8ARRAYOID, source_rows_of},
	{INT8OID, INT8ARRAYOID, inserted_rows_of},
	{INT8OID, INT8ARRAYOID, updated_rows_of},
	{INT8OID, INT8ARRAYOID, deleted_rows_of},
	{INT8OID, INT8ARRAYOID, unchanged_rows_of},
	{INT8OID, INT8ARRAYOID, duplicate_rows_of},
	{TIMESTAMPTZOID, TIMESTAMPTZARRAYOID, started_at_of},
	{TIMESTAMPTZOID, TIMESTAMPTZARRAYOID, finished_at_of},
};

/* Makes one of them. */
static Datum
make_array(const IdemLedger *ledger, const IdemRun *runs, int n, int which)
{
	Oid type = OidIsValid(run_arrays[which].type) ? run_arrays[which].type : ledger->type->range;
	Datum *values = palloc(n * sizeof(Datum));
	bool *nulls = palloc(n * sizeof(bool));
	int lower = 1;
	int16 len;
	bool byval;
	char align;
	int i;

	get_typlenbyvalalign(type, &len, &byval, &align);
	for (i = 0; i < n; i++)
	{
		RunValue value = run_arrays[which].value(ledger, &runs[i]);

		values[i] = value.value;
		nulls[i] = value.isnull;
	}
	return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower, type, len, byval, align));
}

/* Gives runs the run_ids in an array. */
static void
set_run_ids(const IdemLedger *ledger, IdemRun *runs, int n, Datum array)
{
	Datum *run_ids;
	int received;
	int i;

	deconstruct_array(DatumGetArrayTypeP(array), INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &run_ids, NULL, &received);
	if (received != n)
		elog(ERROR, "ledger %s took %d rows of %d", ledger->name, received, n);
	for (i = 0; i < n; i++)
		runs[i].run_id = DatumGetInt64(run_ids[i]);
}

/* Inserts the rows of complete runs, whose windows lie in a range that we have claimed. */
static void
insert_complete(IdemLedger *ledger, IdemRun *runs, int n)
{
	Oid more[IDEM_MAX_ARGS] = {TEXTOID, TEXTOID, TARGET_TYPES, TEXTOID, TEXTOID};
	Datum args[IDEM_MAX_ARGS] = {CStringGetTextDatum(runs->pipeline), idem_window_datum(ledger->type, runs->window),
								 CStringGetTextDatum(runs->mode), CStringGetTextDatum(runs->time_zone),
								 TARGET_ARGS(runs->target), CALLER, optional_text(runs->other_schema)};
	bool none[IDEM_MAX_ARGS] = {false};
	const int scalars = 10; /* pipeline, window, and the above */
	Datum run_ids;
	bool isnull;
	size_t i;

	none[scalars - 1] = runs->other_schema == NULL;
	for (i = 0; i < lengthof(run_arrays); i++)
	{
		more[scalars - 2 + i] = OidIsValid(run_arrays[i].array) ? run_arrays[i].array : get_array_type(ledger->type->range);
		args[scalars + i] = make_array(ledger, runs, n, i);
	}
	if (!idem_write_ledger_row(ledger,
							   get_statement(ledger, &ledger->statements->insert_complete, IDEM_SNAPSHOT_NEW,
											 "WITH i AS (INSERT INTO @L (pipeline, window_range, state, mode, attempt, run_by,"
											 " started_at, finished_at, method, source_rows, inserted_rows, updated_rows,"
											 " deleted_rows, unchanged_rows, dead_rows, source_digest, digest_version, source_schema,"
											 " details, " TARGET_COLUMNS ")"
											 " SELECT $1, r.w, 'complete', $3, 1, $9,"
											 " r.started, r.finished, r.method, r.source, r.inserted, r.updated,"
											 " r.deleted, r.unchanged, 0, r.digest, " DIGEST_VERSION("r.digest") ", pg_catalog.decode(r.schema, 'hex'),"
											 " " DETAILS("r.duplicates", "$4", "NULL", "NULL", "$10::pg_catalog.jsonb") ", $5, $6, $7, $8"
											 " FROM ROWS FROM (pg_catalog.unnest($11), pg_catalog.unnest($12), pg_catalog.unnest($13),"
											 " pg_catalog.unnest($14), pg_catalog.unnest($15), pg_catalog.unnest($16),"
											 " pg_catalog.unnest($17), pg_catalog.unnest($18), pg_catalog.unnest($19),"
											 " pg_catalog.unnest($20), pg_catalog.unnest($21), pg_catalog.unnest($22))"
											 " r(w, method, schema, digest, source, inserted, updated, deleted, unchanged, duplicates, started, finished)"
											 " RETURNING run_id) SELECT pg_catalog.array_agg(i.run_id ORDER BY i.run_id) FROM i",
											 scalars - 2 + lengthof(run_arrays), more),
							   args, none, 1, &run_ids, &isnull) ||
		isnull)
		elog(ERROR, "ledger %s took no rows", ledger->name);
	set_run_ids(ledger, runs, n, run_ids);
	ledger->statements->added += n;
}

/* First the claim becomes the first window's row, then nothing is in the others' way. */
void
idem_complete_range(IdemLedger *ledger, const IdemRun *range, IdemRun *runs, int n)
{
	runs[0].run_id = range->run_id;
	runs[0].started_at = range->started_at;
	complete_run(ledger, &runs[0], true);
	if (n > 1)
		insert_complete(ledger, runs + 1, n - 1);
}

int64
idem_record_failure(IdemLedger *ledger, const IdemFailure *failure)
{
	static const Oid more[] = {TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID,
							   TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, BOOLOID, TARGET_TYPES, TEXTOID,
							   TEXTOID, BOOLOID};
	const IdemRun *run = failure->run;
	const ErrorData *error = failure->error;
	const char *texts[] = {unpack_sql_state(error->sqlerrcode), error->message,
						   error->detail, error->hint, error->context, run->time_zone};
	const Datum target[] = {TARGET_ARGS(run->target), CALLER, optional_text(run->other_schema)};
	Datum args[19] = {CStringGetTextDatum(run->pipeline),
					  idem_window_datum(ledger->type, run->window),
					  CStringGetTextDatum(run->mode), TimestampTzGetDatum(run->started_at)};
	bool isnull[19] = {false};
	Datum run_id;
	bool none;
	size_t i;

	for (i = 0; i < lengthof(texts); i++)
	{
		isnull[4 + i] = texts[i] == NULL;
		if (texts[i])
			args[4 + i] = CStringGetTextDatum(texts[i]);
	}
	args[10] = TimestampTzGetDatum(failure->next_attempt_at);
	isnull[10] = failure->next_attempt_at == 0 || failure->blocked;
	args[11] = BoolGetDatum(true);
	isnull[11] = !failure->blocked;
	memcpy(args + 12, target, sizeof(target));
	isnull[12] = isnull[13] = !OidIsValid(run->target);
	isnull[17] = run->other_schema == NULL;
	args[18] = BoolGetDatum(true);
	isnull[18] = !failure->unread;
	if (!idem_write_ledger_row(ledger,
							   get_statement(ledger, &ledger->statements->fail, IDEM_SNAPSHOT_NEW,
											 "INSERT INTO @L (pipeline, window_range, state,"
											 " mode, attempt, started_at, finished_at,"
											 " error_code, error_message, details,"
											 " next_attempt_at, blocked, " TARGET_COLUMNS ", run_by)"
											 " VALUES ($1, $2, 'failed', $3," ATTEMPT ","
											 " $4, pg_catalog.clock_timestamp(),"
											 " $5, $6, NULLIF(pg_catalog.jsonb_strip_nulls("
											 "pg_catalog.jsonb_build_object('detail', $7,"
											 " 'hint', $8, 'context', $9, 'time_zone', $10,"
											 " 'source_schema', $18::pg_catalog.jsonb, 'unread', $19)), '{}'),"
											 " $11, $12, $13, $14, $15, $16, $17) RETURNING run_id",
											 lengthof(more), more),
							   args, isnull, 1, &run_id, &none) ||
		none)
		return 0;
	return DatumGetInt64(run_id);
}

int64
idem_count_failures(IdemLedger *ledger, const IdemRun *run)
{
	Datum args[] = {CStringGetTextDatum(run->pipeline),
					idem_window_datum(ledger->type, run->window)};

	return DatumGetInt64(read_value(ledger,
									get_statement(ledger, &ledger->statements->failures,
												  IDEM_SNAPSHOT_NEW,
												  "SELECT pg_catalog.count(*) FROM ONLY @L l"
												  " WHERE l.pipeline OPERATOR(pg_catalog.=) $1"
												  " AND l.window_range OPERATOR(pg_catalog.=) $2"
												  " AND l.state OPERATOR(pg_catalog.=) 'failed'"
												  " AND (l.details OPERATOR(pg_catalog.->) 'unread') IS NULL"
												  " AND l.run_id OPERATOR(pg_catalog.>) GREATEST(0,"
												  OF_PAST_RUNS(NEWEST, "complete") "," OF_PAST_RUNS(NEWEST, "superseded") ")",
												  0, NULL),
									args));
}

Datum
idem_postponed_windows(IdemLedger *ledger, const char *pipeline, Datum range,
					   IdemPostpone postpone)
{
	static const Oid more[] = {BOOLOID};
	Datum args[] = {CStringGetTextDatum(pipeline), range,
					BoolGetDatum(postpone == IDEM_POSTPONE_NOT_DUE)};

	if (postpone == IDEM_POSTPONE_NONE)
		return idem_parse_multirange(ledger->type, "{}");

	return read_value(ledger,
					  get_history_statement(ledger, &ledger->statements->postponed, IDEM_SNAPSHOT_NEW,
											"SELECT COALESCE(pg_catalog.range_agg(l.window_range), '{}'::@M)"
											" FROM ONLY @L l" WHERE_LAST_FAILED
											" AND (l.blocked"
											" OR $3 AND l.next_attempt_at OPERATOR(pg_catalog.>)"
											" pg_catalog.clock_timestamp())",
											lengthof(more), more),
					  args);
}

IdemPostponed
idem_ledger_failures(IdemLedger *ledger, const char *pipeline, Datum range)
{
	Datum args[] = {CStringGetTextDatum(pipeline), range};
	Datum values[4];
	bool nulls[4];
	IdemPostponed result = {0};

	(void) idem_read_ledger(ledger,
							get_history_statement(ledger, &ledger->statements->last_failures, ledger->read_snapshot,
												  "SELECT pg_catalog.count(*),"
												  " pg_catalog.count(*) FILTER (WHERE l.blocked),"
												  " pg_catalog.min(l.next_attempt_at),"
												  " (pg_catalog.array_agg(l.error_message ORDER BY l.run_id DESC))[1]"
												  " FROM ONLY @L l" WHERE_LAST_FAILED,
												  0, NULL),
							args, lengthof(values), values, nulls);
	result.failed = DatumGetInt64(values[0]);
	result.blocked = DatumGetInt64(values[1]);
	result.next_attempt_at = nulls[2] ? 0 : DatumGetTimestampTz(values[2]);
	result.last_error = nulls[3] ? NULL : TextDatumGetCString(values[3]);
	return result;
}

TimestampTz
idem_last_run_time(IdemLedger *ledger, const char *pipeline)
{
	Datum args[] = {CStringGetTextDatum(pipeline), idem_parse_range(ledger->type, "empty")};
	Datum value;
	bool isnull;

	if (!idem_read_ledger(ledger,
						  get_statement(ledger, &ledger->statements->last_run, ledger->read_snapshot,
										"SELECT l.finished_at FROM ONLY @L l"
										" WHERE l.pipeline OPERATOR(pg_catalog.=) $1"
										" ORDER BY l.run_id DESC LIMIT 1",
										0, NULL),
						  args, 1, &value, &isnull) ||
		isnull)
		return 0;
	return DatumGetTimestampTz(value);
}

Datum
idem_windows_in_state(IdemLedger *ledger, const char *pipeline, Datum range, const char *state)
{
	static const Oid more[] = {TEXTOID};
	Datum args[] = {CStringGetTextDatum(pipeline), range, CStringGetTextDatum(state)};

	return read_value(ledger,
					  get_statement(ledger, &ledger->statements->in_state, ledger->read_snapshot,
									"SELECT COALESCE(pg_catalog.range_agg(l.window_range), '{}'::@M)"
									" FROM ONLY @L l" WHERE_OVERLAPS
									" AND l.state::pg_catalog.text OPERATOR(pg_catalog.=) $3",
									lengthof(more), more),
					  args);
}

/* Collects complete runs. */
typedef struct CompleteReceiver
{
	DestReceiver pub;
	const IdemRangeType *type;
	MemoryContext context; /* of what is collected */
	IdemComplete *runs;
	int n;
	int room;
} CompleteReceiver;

static bool
receive_complete(TupleTableSlot *slot, DestReceiver *self)
{
	CompleteReceiver *receiver = (CompleteReceiver *) self;
	MemoryContext old = MemoryContextSwitchTo(receiver->context);
	IdemComplete *run;

	slot_getallattrs(slot);
	if (receiver->n == receiver->room)
	{
		receiver->room *= 2;
		receiver->runs = repalloc_huge(receiver->runs, receiver->room * sizeof(IdemComplete));
	}
	run = &receiver->runs[receiver->n];
	memset(run, 0, sizeof(*run));
	run->run_id = DatumGetInt64(slot->tts_values[0]);
	if (!slot->tts_isnull[2])
		run->digest = PointerGetDatum(DatumGetByteaPCopy(slot->tts_values[2]));
	if (!slot->tts_isnull[3])
		run->source_schema = TextDatumGetCString(slot->tts_values[3]);
	if (!slot->tts_isnull[4])
		run->completed_at = DatumGetTimestampTz(slot->tts_values[4]);
	if (idem_read_window(receiver->type, slot->tts_values[1], &run->window))
		receiver->n++;
	MemoryContextSwitchTo(old);
	return true;
}

/* Only digests of the version that is computed today are of any use. */
IdemComplete *
idem_complete_runs(IdemLedger *ledger, const char *pipeline, Datum range, Snapshot since, int *n)
{
	Datum args[] = {CStringGetTextDatum(pipeline), range};
	CompleteReceiver receiver = {
		.pub = {receive_complete, idem_start_receiver, idem_keep_receiver, idem_keep_receiver, DestNone},
		.type = ledger->type,
		.context = CurrentMemoryContext,
		.room = 64,
	};
	IdemStatement *statement = get_statement(ledger, &ledger->statements->complete_runs, ledger->read_snapshot,
											 "SELECT l.run_id, l.window_range,"
											 " CASE WHEN l.digest_version OPERATOR(pg_catalog.=) 1 THEN l.source_digest END,"
											 " pg_catalog.encode(l.source_schema, 'hex'), l.finished_at"
											 " FROM ONLY @L l" WHERE_OVERLAPS
											 " AND l.state OPERATOR(pg_catalog.=) 'complete'"
											 " ORDER BY pg_catalog.lower(l.window_range), l.run_id",
											 0, NULL);

	receiver.runs = palloc(receiver.room * sizeof(IdemComplete));
	idem_read_ledger_rows(ledger, statement, since, args, &receiver.pub);
	*n = receiver.n;
	return receiver.runs;
}

int64
idem_forget_failures(IdemLedger *ledger, const char *pipeline, Datum range)
{
	static const Oid more[] = {TEXTOID};
	Datum args[] = {CStringGetTextDatum(pipeline), range, CALLER};

	return idem_write_ledger(ledger,
							 get_statement(ledger, &ledger->statements->forget, IDEM_SNAPSHOT_NEW,
										   "UPDATE ONLY @L l " SET_SUPERSEDED WHERE_OVERLAPS
										   " AND l.state OPERATOR(pg_catalog.=) 'failed'",
										   lengthof(more), more),
							 args, NULL);
}

/* A failure that still says when to try again is not history. */
/* The first transaction whose rows somebody's snapshot may not show. */
static TransactionId
oldest_unseen(const IdemLedger *ledger)
{
	Relation rel = relation_open(ledger->relid, AccessShareLock);
	TransactionId result = GetOldestNonRemovableTransactionId(rel);

	relation_close(rel, NoLock);
	return result;
}

/*
 * What a transaction's snapshot does not show yet stays until that has ended: by it is told
 * that the snapshot is too old for a load (check_snapshot_age).
 */
int64
idem_prune_history(IdemLedger *ledger, TimestampTz before)
{
	static const Oid more[] = {TIMESTAMPTZOID, XIDOID};
	Datum args[] = {CStringGetTextDatum(""), idem_parse_range(ledger->type, "empty"),
					TimestampTzGetDatum(before), TransactionIdGetDatum(oldest_unseen(ledger))};

	return idem_write_ledger(ledger,
							 get_history_statement(ledger, &ledger->statements->prune, IDEM_SNAPSHOT_NEW,
												   "DELETE FROM ONLY @L l"
												   " WHERE l.finished_at OPERATOR(pg_catalog.<) $3"
												   " AND pg_catalog.age(l.xmin) OPERATOR(pg_catalog.>) pg_catalog.age($4)"
												   " AND (l.state OPERATOR(pg_catalog.=) 'superseded'"
												   " OR l.state OPERATOR(pg_catalog.=) 'failed'"
												   " AND (" LATER " OR " COMPLETED "))"
												   " AND NOT (" LAST_ACCEPTED ")",
												   lengthof(more), more),
							 args, NULL);
}

/*
 * Ends the run of an invalidation: it stays as a record, and its insertion still
 * keeps others out until we commit.
 */
static void
end_invalidation(IdemLedger *ledger, const IdemRun *run)
{
	static const Oid more[] = {INT8OID};
	Datum args[] = {CStringGetTextDatum(run->pipeline),
					idem_window_datum(ledger->type, run->window), Int64GetDatum(run->run_id)};

	if (idem_write_ledger(ledger,
						  get_statement(ledger, &ledger->statements->invalidated, IDEM_SNAPSHOT_NEW,
										"UPDATE ONLY @L SET state = 'superseded',"
										" finished_at = pg_catalog.clock_timestamp()"
										" WHERE run_id OPERATOR(pg_catalog.=) $3",
										lengthof(more), more),
						  args, NULL) != 1)
		report_claim(ledger, run, "Its row could not be superseded.");
}

int64
idem_invalidate_window(IdemLedger *ledger, const char *pipeline, IdemWindow window)
{
	IdemRun run = {.pipeline = pipeline, .window = window, .mode = "invalidate"};
	int64 superseded = 0;
	int unexplained = 0;

	/*
	 * What a load in flight completes while we wait for it must be reopened too,
	 * so supersede and claim until the claim holds.
	 */
	idem_check_window(ledger, pipeline, window);
	run.started_at = GetCurrentTimestamp();
	for (;;)
	{
		int64 rows;

		CHECK_FOR_INTERRUPTS();
		rows = supersede_window(ledger, pipeline, window);
		superseded += rows;
		if (insert_claim(ledger, &run))
			break;
		check_not_running(ledger, pipeline, window);
		check_claim_refused(ledger, &run, rows == 0, &unexplained);
	}
	end_invalidation(ledger, &run);
	return superseded;
}

/* Fails for a window that was loaded into another relation, of this name. */
idem_noreturn static void
report_other_target(const IdemLedger *ledger, const char *pipeline, const char *loaded,
					IdemWindow window, const char *other, const char *target)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("window %s of pipeline \"%s\" was loaded into another relation than %s",
					loaded, pipeline, target),
			 errdetail("It was loaded into %s%s.", other ? other : "an unknown one",
					   other && strcmp(other, target) == 0 ? ", which has been dropped and created again" : ""),
			 errhint("To load it again, SELECT idem_invalidate(%s, %s, %s); if its rows are there, SELECT idem_adopt(%s, %s, %s).",
					 quote_literal_cstr(ledger->name), quote_literal_cstr(pipeline),
					 quote_literal_cstr(idem_window_text(ledger->type, window)),
					 quote_literal_cstr(ledger->name), quote_literal_cstr(pipeline),
					 quote_literal_cstr(target))));
}

/*
 * Says of complete runs that were restored that they are in the relation of their name,
 * which may then be renamed.  Others may be doing so at once, and are not waited for.
 */
static void
adopt_restored(IdemLedger *ledger, const Datum *args)
{
	static const Oid more[] = {TARGET_TYPES};

	(void) idem_write_ledger(ledger,
							 get_statement(ledger, &ledger->statements->adopt_restored, IDEM_SNAPSHOT_NEW,
										   "UPDATE ONLY @L SET target = $3, system_identifier = $5, database_oid = $6"
										   " WHERE run_id OPERATOR(pg_catalog.=) ANY (ARRAY("
										   "SELECT l.run_id FROM ONLY @L l" WHERE_OVERLAPS
										   " AND l.state OPERATOR(pg_catalog.=) 'complete'"
										   " AND l.target_name OPERATOR(pg_catalog.=) $4 AND" IS_RESTORED
										   " FOR NO KEY UPDATE SKIP LOCKED))",
										   lengthof(more), more),
							 args, NULL);
}

void
idem_check_coverage_target(IdemLedger *ledger, const char *pipeline, IdemWindow window, Oid target)
{
	static const Oid more[] = {TARGET_TYPES};
	Datum args[] = {CStringGetTextDatum(pipeline), idem_window_datum(ledger->type, window),
					TARGET_ARGS(target)};
	Datum values[3];
	bool nulls[3];

	if (!idem_read_ledger(ledger,
						  get_statement(ledger, &ledger->statements->foreign, IDEM_SNAPSHOT_NEW,
										"SELECT l.target_name, l.window_range," IS_TARGET
										" FROM ONLY @L l" WHERE_OVERLAPS
										" AND l.state OPERATOR(pg_catalog.=) 'complete'"
										" AND" IS_ELSEWHERE
										" ORDER BY 3 LIMIT 1",
										lengthof(more), more),
						  args, lengthof(values), values, nulls))
		return;
	if (!nulls[2] && DatumGetBool(values[2]))
		adopt_restored(ledger, args);
	else
		report_other_target(ledger, pipeline, nulls[1] ? "" : idem_range_text(ledger->type, values[1]), window,
							nulls[0] ? NULL : TextDatumGetCString(values[0]),
							TextDatumGetCString(target_name(target)));
}

const char *
idem_last_schema(IdemLedger *ledger, const char *pipeline, Oid target, bool *differed)
{
	static const Oid more[] = {TARGET_TYPES};
	Datum args[] = {CStringGetTextDatum(pipeline), idem_parse_range(ledger->type, "empty"), TARGET_ARGS(target)};
	Datum values[2];
	bool nulls[2];

	if (!idem_read_ledger(ledger,
						  get_statement(ledger, &ledger->statements->last_schema, IDEM_SNAPSHOT_NEW,
										"SELECT pg_catalog.encode(l.source_schema, 'hex'),"
										" pg_catalog.jsonb_exists(l.details, 'source_schema') FROM ONLY @L l"
										COMPLETE_IN_ORDER(IS_TARGET " AND l.source_schema IS NOT NULL")
										" LIMIT 1",
										lengthof(more), more),
						  args, lengthof(values), values, nulls))
		return NULL;
	*differed = !nulls[1] && DatumGetBool(values[1]);
	return TextDatumGetCString(values[0]);
}

/* Runs l of the pipeline that say something of their columns, the newest first. */
#define SCHEMAS_IN_ORDER(condition)                                           \
	" WHERE l.pipeline OPERATOR(pg_catalog.=) $1"                             \
	" AND CASE WHEN " condition " ORDER BY l.run_id DESC LIMIT 1"

bool
idem_accepted_schema(IdemLedger *ledger, const char *pipeline, Oid target, Datum *columns)
{
	static const Oid more[] = {TARGET_TYPES};
	Datum args[] = {CStringGetTextDatum(pipeline), idem_parse_range(ledger->type, "empty"), TARGET_ARGS(target)};
	bool isnull;

	return idem_read_ledger(ledger,
							get_statement(ledger, &ledger->statements->accepted_schema, IDEM_SNAPSHOT_NEW,
										  "SELECT l.details OPERATOR(pg_catalog.->) 'accepted_schema' FROM ONLY @L l"
										  SCHEMAS_IN_ORDER("pg_catalog.jsonb_exists(l.details, 'accepted_schema')"
														   " THEN " IS_TARGET " ELSE false END"),
										  lengthof(more), more),
							args, 1, columns, &isnull) &&
		   !isnull;
}

bool
idem_accept_columns(IdemLedger *ledger, const char *pipeline)
{
	Datum args[] = {CStringGetTextDatum(pipeline), idem_parse_range(ledger->type, "empty")};

	return idem_write_ledger(ledger,
							 get_statement(ledger, &ledger->statements->accept_schema, IDEM_SNAPSHOT_NEW,
										   "UPDATE ONLY @L l SET details = (l.details OPERATOR(pg_catalog.-) 'source_schema')"
										   " OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object("
										   "'accepted_schema', l.details OPERATOR(pg_catalog.->) 'source_schema')"
										   " WHERE pg_catalog.jsonb_exists(l.details, 'source_schema')"
										   " AND l.run_id OPERATOR(pg_catalog.=) (SELECT l.run_id FROM ONLY @L l"
										   SCHEMAS_IN_ORDER("pg_catalog.jsonb_exists_any(l.details, '{accepted_schema,source_schema}')"
															" THEN true ELSE false END") ")",
										   0, NULL),
							 args, NULL) > 0;
}

const char *
idem_last_zone(IdemLedger *ledger, const char *pipeline, Datum redone)
{
	Datum args[] = {CStringGetTextDatum(pipeline), redone};
	Datum value;
	bool isnull;

	if (!idem_read_ledger(ledger,
						  get_statement(ledger, &ledger->statements->last_zone, IDEM_SNAPSHOT_NEW,
										"SELECT l.details OPERATOR(pg_catalog.->>) 'time_zone' FROM ONLY @L l"
										COMPLETE_IN_ORDER("NOT pg_catalog.range_contained_by(l.window_range, $2)")
										" LIMIT 1",
										0, NULL),
						  args, 1, &value, &isnull) ||
		isnull)
		return NULL;
	return TextDatumGetCString(value);
}

int64
idem_adopt_coverage(IdemLedger *ledger, const char *pipeline, Oid target)
{
	static const Oid more[] = {TARGET_TYPES};
	Datum args[] = {CStringGetTextDatum(pipeline), idem_parse_range(ledger->type, "empty"),
					TARGET_ARGS(target)};

	return idem_write_ledger(ledger,
							 get_statement(ledger, &ledger->statements->adopt, IDEM_SNAPSHOT_NEW,
										   "UPDATE ONLY @L l SET target = $3, target_name = $4,"
										   " system_identifier = $5, database_oid = $6"
										   " WHERE l.pipeline OPERATOR(pg_catalog.=) $1"
										   " AND l.state OPERATOR(pg_catalog.=) 'complete'"
										   " AND (l.target, l.target_name, l.system_identifier, l.database_oid)"
										   " IS DISTINCT FROM ($3, $4, $5, $6)",
										   lengthof(more), more),
							 args, NULL);
}
