/*
 * call.c
 *		CALL idem_dedupe(…): finds, removes, and finds again what is left.
 *
 * While rows are found and removed, others write: some rows move, and are left.  They are
 * found again by the hashes of their keys, in rounds that are ever smaller.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "clean/find.h"
#include "clean/index.h"
#include "clean/job.h"
#include "clean/remove.h"
#include "clean/table.h"
#include "fmgr.h"
#include "load/call.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(idem_dedupe);

#define MAX_ROUNDS 5
#define MAX_BUILDS 3
#define DAY_MS (SECS_PER_DAY * 1000.0)

/* The arguments, in order. */
enum
{
	ARG_TARGET,
	ARG_KEYS,
	ARG_KEEP,
	ARG_CONFLICTS,
	ARG_IGNORE,
	ARG_ON_REFERENCES,
	ARG_QUARANTINE,
	ARG_BATCH_MS,
	ARG_PAUSE,
	ARG_UNIQUE_INDEX,
	ARG_DRY_RUN,
};

/* What the call wants besides what is looked up of the table. */
typedef struct Call
{
	Oid relid;
	Oid schema;
	IdemTableArgs table;
	const char *quarantine;
	int batch_ms;
	int64 pause; /* milliseconds */
	bool unique_index;
	bool dry_run;
} Call;

/* Reads a pause. */
static int64
read_pause(const Interval *pause)
{
	int64 days = (int64) pause->month * DAYS_PER_MONTH + pause->day;
	double ms = (double) pause->time / 1000 + (double) days * DAY_MS;

	if (ms < 0 || ms > DAY_MS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("pause must be between 0 and a day"),
				 errhint("'100 milliseconds', for example.")));
	return (int64) ms;
}

/* Fails for arguments that do not go together. */
static void
check_call(const Call *call)
{
	if (call->batch_ms < 1 || call->batch_ms > 60000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch_ms must be between 1 and 60000"),
				 errhint("It is how long a batch takes, in milliseconds: the longest that somebody waits for a row.")));
	if (call->table.conflicts == IDEM_CONFLICTS_KEEP && call->table.keep == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("conflicts => 'keep' needs keep"),
				 errhint("Say which row of a key is kept, as an order of which it is the first: keep => 'updated_at DESC, id'.")));
	if (call->table.conflicts == IDEM_CONFLICTS_LEAVE && call->unique_index && !call->dry_run)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("conflicts => 'leave' leaves duplicates, and no unique index can be built"),
				 errhint("unique_index => false")));
}

/* Reads the arguments. */
static Call
read_call(FunctionCallInfo fcinfo)
{
	static const char *const conflicts[] = {"refuse", "keep", "leave", NULL};
	static const char *const references[] = {"refuse", "repoint", NULL};
	Call call = {.schema = get_func_namespace(fcinfo->flinfo->fn_oid)};

	idem_require_argument(fcinfo, ARG_TARGET, "target");
	idem_require_argument(fcinfo, ARG_KEYS, "keys");
	idem_require_argument(fcinfo, ARG_BATCH_MS, "batch_ms");
	idem_require_argument(fcinfo, ARG_PAUSE, "pause");
	idem_require_argument(fcinfo, ARG_UNIQUE_INDEX, "unique_index");
	idem_require_argument(fcinfo, ARG_DRY_RUN, "dry_run");
	call.relid = PG_GETARG_OID(ARG_TARGET);
	call.table.keys = PG_GETARG_ARRAYTYPE_P(ARG_KEYS);
	call.table.keep = idem_text_argument(fcinfo, ARG_KEEP);
	call.table.conflicts = idem_choice_argument(fcinfo, ARG_CONFLICTS, "conflicts", conflicts);
	if (!PG_ARGISNULL(ARG_IGNORE))
		call.table.ignore = PG_GETARG_ARRAYTYPE_P(ARG_IGNORE);
	call.table.repoint = idem_choice_argument(fcinfo, ARG_ON_REFERENCES, "on_references", references) == 1;
	call.quarantine = idem_text_argument(fcinfo, ARG_QUARANTINE);
	call.batch_ms = PG_GETARG_INT32(ARG_BATCH_MS);
	call.pause = read_pause(PG_GETARG_INTERVAL_P(ARG_PAUSE));
	call.unique_index = PG_GETARG_BOOL(ARG_UNIQUE_INDEX);
	call.dry_run = PG_GETARG_BOOL(ARG_DRY_RUN);
	check_call(&call);
	return call;
}

/* The text of an array of texts. */
static const char *
array_text(ArrayType *array)
{
	return quote_literal_cstr(OidOutputFunctionCall(F_ARRAY_OUT, PointerGetDatum(array)));
}

/* The arguments that say what a job does, as they are typed: by them a call finds its job again. */
static const char *
describe_call(const Call *call)
{
	static const char *const conflicts[] = {"refuse", "keep", "leave"};
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "keys => %s, conflicts => '%s'", array_text(call->table.keys), conflicts[call->table.conflicts]);
	if (call->table.keep)
		appendStringInfo(&text, ", keep => %s", quote_literal_cstr(call->table.keep));
	if (call->table.ignore)
		appendStringInfo(&text, ", ignore => %s", array_text(call->table.ignore));
	appendStringInfo(&text, ", on_references => '%s'", call->table.repoint ? "repoint" : "refuse");
	if (call->quarantine)
		appendStringInfo(&text, ", quarantine => %s", quote_literal_cstr(call->quarantine));
	appendStringInfo(&text, ", unique_index => %s", call->unique_index ? "true" : "false");
	return text.data;
}

/* Fails for rows that five rounds have not removed. */
static void
report_left(const IdemTable *table, const IdemJob *job)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%lld rows of %s could not be removed in %d rounds", (long long) idem_count_left(job), table->name, MAX_ROUNDS),
			 errdetail("They were locked or changed each time, or a trigger keeps them."),
			 errhint("The same call goes on where this one ends.")));
}

/* Finds the rows of another round, and commits. */
static void
find_round(const IdemTable *table, IdemJob *job, bool everything)
{
	idem_find(table, job, everything);
	idem_advance_job(job, "removing", job->round + 1, 0);
	idem_next_transaction();
}

/* Removes until nothing is left. */
static void
remove_all(const IdemTable *table, IdemJob *job, const Call *call)
{
	int rounds = 0;

	if (strcmp(job->phase, "indexing") == 0)
		return;
	if (strcmp(job->phase, "removing") != 0)
		find_round(table, job, true);
	for (;;)
	{
		bool rewritten = idem_remove(table, job, call->batch_ms, call->pause) == IDEM_REWRITTEN;

		if (!rewritten && idem_count_left(job) == 0)
			return;
		if (++rounds == MAX_ROUNDS)
			report_left(table, job);
		find_round(table, job, rewritten);
	}
}

/* Builds the unique index; of duplicates that arrived meanwhile a round more is made. */
static void
build_index(const IdemTable *table, IdemJob *job, const Call *call)
{
	int builds;

	for (builds = 1;; builds++)
	{
		idem_check_unchanged(table, &job->changes);
		idem_advance_job(job, "indexing", job->round, job->position);
		idem_next_transaction();
		if (idem_build_index(table, job))
			return;
		if (builds == MAX_BUILDS)
			ereport(ERROR,
					(errcode(ERRCODE_UNIQUE_VIOLATION),
					 errmsg("duplicates arrived in %s each of %d times its unique index was built", table->name, MAX_BUILDS),
					 errhint("Stop what writes them, and make the same call again.")));
		find_round(table, job, true);
		remove_all(table, job, call);
	}
}

/* Says what has been done. */
static void
notice_job(const IdemTable *table, const IdemJob *job)
{
	StringInfoData more;

	initStringInfo(&more);
	if (job->repointed > 0)
		appendStringInfo(&more, "; references changed: %lld", (long long) job->repointed);
	if (job->index)
		appendStringInfo(&more, "; unique index: %s", job->index);
	ereport(NOTICE,
			(errmsg("job %lld of %s: rows removed: %lld, now in %s%s", (long long) job->id, table->name, (long long) job->removed, job->quarantine, more.data)));
}

/* Does the job, or what is left of it. */
static void
run_job(const Call *call)
{
	IdemTable *table;
	IdemJob *job;

	idem_next_transaction();
	table = idem_open_table(call->relid, call->schema, &call->table);
	idem_lock_table(table, true);
	job = idem_open_job(table, call->quarantine, describe_call(call));
	idem_begin_job(table, job);
	idem_next_transaction();
	remove_all(table, job, call);
	if (call->unique_index)
		build_index(table, job, call);
	idem_advance_job(job, "done", job->round, job->position);
	idem_drop_row_list(table, job);
	idem_next_transaction();
	notice_job(table, job);
	idem_unlock_table(table);
}

/* SQL: CALL idem_dedupe(…) */
Datum
idem_dedupe(PG_FUNCTION_ARGS)
{
	bool atomic = idem_call_is_atomic(fcinfo);
	Call call;

	idem_connect(atomic);
	call = read_call(fcinfo);
	if (call.dry_run)
		idem_report(idem_open_table(call.relid, call.schema, &call.table));
	else if (atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("idem_dedupe cannot run inside a transaction block"),
				 errdetail("It commits each batch."),
				 errhint("CALL it at top level, or with dry_run => true.")));
	else
	{
		idem_require_writable("remove duplicates");
		run_job(&call);
	}
	idem_finish();
	PG_RETURN_VOID();
}
