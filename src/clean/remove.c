/*
 * remove.c
 *		Moving the rows that have been found into the quarantine, in batches.
 *
 * A row goes if it is the version that was found (ctid and xmin), if the row that is kept
 * still is, and if both, read again, have the same keys, whose hash is the one that was
 * written down: after VACUUM FULL another row may lie in that place with the same xmin.
 *
 * Nobody is waited for: while a batch waited, others would wait for the rows it has locked.
 * Locks that are not got within LOCK_WAIT end the batch, and it is tried again with the rows
 * that are free; the others are found again in the next round.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "clean/find.h"
#include "clean/remove.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "server/compat.h"
#include "server/scope.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define LOCK_WAIT "100ms"
#define FIRST_ROWS 500
/* A batch of fewer costs little less: it is planned, and commits. */
#define LEAST_ROWS 20
#define MOST_ROWS 200000
#define ATTEMPTS 100

/* A batch, as an argument of idem_try. */
typedef struct Batch
{
	const IdemTable *table;
	IdemJob *job;
	int64 size;		/* rows at most */
	bool careful;	/* leave the rows that somebody has locked */
	Oid leaf;		/* InvalidOid: there are no rows left */
	int64 end;		/* the last of them */
	bool rewritten;
} Batch;

void
idem_next_transaction(void)
{
	idem_commit();
	XactIsoLevel = XACT_READ_COMMITTED;
}

/*
 * WITH b AS (SELECT n, leaf FROM rows WHERE round = $1 AND n > $2 ORDER BY n LIMIT $3)
 *     SELECT min(leaf), (SELECT max(n) FROM b WHERE leaf = (SELECT min(leaf) FROM b)) FROM b
 */
static void
choose_rows(Batch *batch)
{
	static const Oid types[] = {INT4OID, INT8OID, INT8OID};
	Datum args[] = {Int32GetDatum(batch->job->round), Int64GetDatum(batch->job->position), Int64GetDatum(batch->size)};
	Datum values[2];
	bool nulls[2] = {true, true};

	(void) idem_fetch(idem_make_statement(psprintf("WITH b AS (SELECT r.n, r.leaf FROM %s r WHERE r.round OPERATOR(pg_catalog.=) $1 AND r.n OPERATOR(pg_catalog.>) $2 ORDER BY r.n LIMIT $3)"
												   " SELECT pg_catalog.min(b.leaf), (SELECT pg_catalog.max(c.n) FROM b c WHERE c.leaf OPERATOR(pg_catalog.=) (SELECT pg_catalog.min(e.leaf) FROM b e)) FROM b",
												   batch->job->rows),
										  lengthof(types), types, IDEM_SNAPSHOT_NEW),
					  args, NULL, 2, values, nulls);
	batch->leaf = nulls[0] ? InvalidOid : DatumGetObjectId(values[0]);
	batch->end = nulls[1] ? 0 : DatumGetInt64(values[1]);
}

/* Appends: prefix c, … of all columns */
static void
append_columns(StringInfo sql, const IdemTable *table, const char *prefix)
{
	int i;

	for (i = 0; i < table->ncolumns; i++)
		appendStringInfo(sql, "%s%s%s", i > 0 ? ", " : "", prefix, table->columns[i].name);
}

/*
 * Appends the batch and the rows that are kept, which are locked so that nobody deletes them
 *
 *     WITH v AS MATERIALIZED (SELECT … FROM rows WHERE round = $1 AND n > $2 AND n <= $3),
 *     k AS MATERIALIZED (SELECT k.ctid AS idem_place, k.xmin AS idem_born, ROW(k, …) AS idem_keys, k.*
 *         FROM ONLY leaf k WHERE k.ctid = ANY (ARRAY(SELECT keeper FROM v)) FOR KEY SHARE SKIP LOCKED)
 *
 * or FOR NO KEY UPDATE, where what refers to a row is changed before the row goes; and those
 * that go, if only free ones are to be taken
 *
 *     , l AS MATERIALIZED (SELECT d.ctid AS idem_place FROM ONLY leaf d WHERE … FOR UPDATE SKIP LOCKED)
 */
static void
append_batch(StringInfo sql, const Batch *batch, const char *leaf)
{
	const IdemTable *table = batch->table;

	appendStringInfo(sql, "WITH v AS MATERIALIZED (SELECT r.n, r.place, r.born, r.keeper, r.keeper_born, r.hash, r.same FROM %s r"
						  " WHERE r.round OPERATOR(pg_catalog.=) $1 AND r.n OPERATOR(pg_catalog.>) $2 AND r.n OPERATOR(pg_catalog.<=) $3),"
						  " k AS MATERIALIZED (SELECT k.ctid AS idem_place, k.xmin AS idem_born, ",
					 batch->job->rows);
	idem_append_key_row(sql, table, true);
	appendStringInfoString(sql, " AS idem_keys, ");
	append_columns(sql, table, "k.");
	appendStringInfo(sql, " FROM ONLY %s k WHERE k.ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT v.keeper FROM v)) FOR %s SKIP LOCKED)",
					 leaf, table->repoint ? "NO KEY UPDATE" : "KEY SHARE");
	if (batch->careful)
		appendStringInfo(sql, ", l AS MATERIALIZED (SELECT d.ctid AS idem_place FROM ONLY %s d WHERE d.ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT v.place FROM v)) FOR UPDATE SKIP LOCKED)", leaf);
}

/* Appends the condition that row d goes, and k is the row that is kept. */
static void
append_condition(StringInfo sql, const Batch *batch)
{
	const IdemTable *table = batch->table;

	appendStringInfo(sql, "d.ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT %s)) AND v.place OPERATOR(pg_catalog.=) d.ctid AND v.born OPERATOR(pg_catalog.=) d.xmin"
						  " AND k.idem_place OPERATOR(pg_catalog.=) v.keeper AND k.idem_born OPERATOR(pg_catalog.=) v.keeper_born AND pg_catalog.record_eq(",
					 batch->careful ? "l.idem_place FROM l" : "v.place FROM v");
	idem_append_key_row(sql, table, false);
	appendStringInfoString(sql, ", k.idem_keys) AND ");
	idem_append_key_hash(sql, table, false);
	appendStringInfoString(sql, " OPERATOR(pg_catalog.=) v.hash AND (NOT v.same OR ");
	idem_append_same(sql, table);
	appendStringInfoChar(sql, ')');
}

/*
 * Builds: WITH v …, k …,
 *     g AS (DELETE FROM ONLY leaf d USING v, k WHERE condition RETURNING v.n AS idem_n, keys AS idem_key, d.*),
 *     q AS (INSERT INTO quarantine (idem_job, idem_key, idem_removed_at, …) SELECT $4, g.idem_key, now(), … FROM g RETURNING idem_job),
 *     s AS (UPDATE rows r SET skipped = true FROM v WHERE r.n = v.n AND NOT EXISTS (SELECT FROM g WHERE g.idem_n = v.n))
 *     SELECT (SELECT count(*) FROM g), (SELECT count(*) FROM q)
 */
static const char *
build_remove(const Batch *batch, const char *leaf)
{
	const IdemTable *table = batch->table;
	StringInfoData sql;

	initStringInfo(&sql);
	append_batch(&sql, batch, leaf);
	appendStringInfo(&sql, ", g AS (DELETE FROM ONLY %s d USING v, k WHERE ", leaf);
	append_condition(&sql, batch);
	appendStringInfoString(&sql, " RETURNING v.n AS idem_n, ");
	idem_append_key_array(&sql, table);
	appendStringInfoString(&sql, " AS idem_key, ");
	append_columns(&sql, table, "d.");
	appendStringInfo(&sql, "), q AS (INSERT INTO %s (idem_job, idem_key, idem_removed_at, ", batch->job->quarantine);
	append_columns(&sql, table, "");
	appendStringInfoString(&sql, ") SELECT $4, g.idem_key, pg_catalog.now(), ");
	append_columns(&sql, table, "g.");
	appendStringInfo(&sql, " FROM g RETURNING idem_job),"
						   " s AS (UPDATE %s r SET skipped = true FROM v WHERE r.round OPERATOR(pg_catalog.=) $1 AND r.n OPERATOR(pg_catalog.=) v.n"
						   " AND NOT EXISTS (SELECT FROM g WHERE g.idem_n OPERATOR(pg_catalog.=) v.n))"
						   " SELECT (SELECT pg_catalog.count(*) FROM g), (SELECT pg_catalog.count(*) FROM q)",
					 batch->job->rows);
	return sql.data;
}

/*
 * Builds: WITH v …, k …,
 *     p AS MATERIALIZED (SELECT d.r AS o0, k.r AS n0, … FROM ONLY leaf d, v, k WHERE condition)
 *     UPDATE child c SET f = p.n0, … FROM p WHERE p.o0 = c.f AND …
 */
static const char *
build_repoint(const Batch *batch, const char *leaf, const IdemReference *reference)
{
	StringInfoData sql;
	int i;

	initStringInfo(&sql);
	append_batch(&sql, batch, leaf);
	appendStringInfoString(&sql, ", p AS MATERIALIZED (SELECT ");
	for (i = 0; i < reference->ncolumns; i++)
		appendStringInfo(&sql, "%sd.%s AS o%d, k.%s AS n%d", i > 0 ? ", " : "", reference->referred[i], i, reference->referred[i], i);
	appendStringInfo(&sql, " FROM ONLY %s d, v, k WHERE ", leaf);
	append_condition(&sql, batch);
	appendStringInfo(&sql, ") UPDATE %s c SET ", reference->child);
	for (i = 0; i < reference->ncolumns; i++)
		appendStringInfo(&sql, "%s%s = p.n%d", i > 0 ? ", " : "", reference->columns[i], i);
	appendStringInfoString(&sql, " FROM p WHERE ");
	for (i = 0; i < reference->ncolumns; i++)
	{
		if (i > 0)
			appendStringInfoString(&sql, " AND ");
		generate_operator_clause(&sql, psprintf("p.o%d", i), reference->referred_types[i], reference->operators[i],
								 psprintf("c.%s", reference->columns[i]), reference->types[i]);
	}
	return sql.data;
}

/*
 * Locks the rows that go and those that are kept, so that until the end of the transaction both
 * are what they were when what refers to them was changed.  Returns how many go.
 */
static int64
lock_rows(const Batch *batch, const char *leaf, const Datum *args)
{
	static const Oid types[] = {INT4OID, INT8OID, INT8OID};
	StringInfoData sql;
	Datum value = 0;
	bool isnull;

	initStringInfo(&sql);
	append_batch(&sql, batch, leaf);
	appendStringInfo(&sql, " SELECT pg_catalog.count(*) FROM ONLY %s d, v, k WHERE ", leaf);
	append_condition(&sql, batch);
	(void) idem_fetch(idem_make_statement(sql.data, lengthof(types), types, IDEM_SNAPSHOT_NEW), args, NULL, 1, &value, &isnull);
	return DatumGetInt64(value);
}

/* Fails if what referred to a row refers to another now, and the row is still there. */
static void
check_repointed(const Batch *batch, int64 locked, int64 removed)
{
	const IdemTable *table = batch->table;
	int i;

	/* of a table that refers to itself the change moves rows that are to go: the next round has them */
	for (i = 0; i < table->nreferences; i++)
	{
		if (table->references[i].is_own)
			return;
	}
	if (removed < locked)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("%lld rows of %s were not removed, but what referred to them refers to others", (long long) (locked - removed), table->name),
				 errdetail("A trigger has kept or changed them; nothing of this batch is left."),
				 errhint("Disable the trigger, of %s or of a table that refers to it, and make the same call again.", table->name)));
}

/* Has what refers to the rows that go refer to those that are kept. */
static void
repoint(Batch *batch, const char *leaf, const Datum *args)
{
	static const Oid types[] = {INT4OID, INT8OID, INT8OID};
	int i;

	for (i = 0; batch->table->repoint && i < batch->table->nreferences; i++)
		batch->job->repointed += idem_run(idem_make_statement(build_repoint(batch, leaf, &batch->table->references[i]), lengthof(types), types, IDEM_SNAPSHOT_NEW), args, NULL);
}

/*
 * Removes the rows of a batch.  Of places the planner expects ten, whatever number there is,
 * and would compare each with each.
 */
static void
remove_rows(Batch *batch, Relation leaf)
{
	static const IdemSetting settings[] = {{"enable_nestloop", "off"}, {NULL, NULL}};
	static const Oid types[] = {INT4OID, INT8OID, INT8OID, INT8OID};
	const char *name = idem_qualified_name(leaf);
	IdemJob *job = batch->job;
	Datum args[] = {Int32GetDatum(job->round), Int64GetDatum(job->position), Int64GetDatum(batch->end), Int64GetDatum(job->id)};
	Datum counts[2];
	bool nulls[2];
	IdemTask removal = {.args = args, .ncols = lengthof(counts), .values = counts, .nulls = nulls};
	int64 locked;

	batch->careful |= batch->table->repoint;
	locked = batch->table->repoint ? lock_rows(batch, name, args) : 0;
	repoint(batch, name, args);
	removal.statement = idem_make_statement(build_remove(batch, name), lengthof(types), types, IDEM_SNAPSHOT_NEW);
	idem_run_under(settings, idem_run_task, &removal);
	if (counts[0] != counts[1])
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("quarantine %s has not taken all rows", job->quarantine),
				 errhint("ALTER TABLE %s DISABLE TRIGGER USER;", job->quarantine)));
	if (batch->table->repoint)
		check_repointed(batch, locked, DatumGetInt64(counts[0]));
	job->removed += DatumGetInt64(counts[0]);
}

/* True for the table or a partition of it: the list of rows may be that of a table that had its name. */
static bool
is_part(const IdemTable *table, Oid leaf)
{
	return leaf == table->relid || (table->partitioned && list_member_oid(find_all_inheritors(table->relid, AccessShareLock, NULL), leaf));
}

/* Runs a batch: what it says of the job is in the same transaction. */
static void
run_batch(void *arg)
{
	Batch *batch = arg;
	Relation leaf;

	idem_hold_job(batch->job);
	choose_rows(batch);
	if (!OidIsValid(batch->leaf))
		return;
	/* nobody changes or rewrites it from here on */
	idem_check_unchanged(batch->table, &batch->job->changes);
	leaf = try_relation_open(batch->leaf, RowExclusiveLock);
	if (leaf)
		idem_require_own(leaf);
	batch->rewritten = leaf == NULL || !is_part(batch->table, batch->leaf) || strcmp(idem_table_files(batch->table), batch->job->files) != 0;
	if (!batch->rewritten)
	{
		remove_rows(batch, leaf);
		idem_advance_job(batch->job, "removing", batch->job->round, batch->end);
	}
	if (leaf)
		relation_close(leaf, NoLock);
}

/* The same, so that rows are fetched by their places and nobody is waited for. */
static void
run_batch_under(void *arg)
{
	static const IdemSetting settings[] = {
		{"lock_timeout", LOCK_WAIT}, {"enable_seqscan", "off"}, {"jit", "off"}, {NULL, NULL}};

	idem_run_under(settings, run_batch, arg);
}

/* True for an error that another attempt may not meet. */
static bool
is_passing(const Batch *batch, int sqlerrcode)
{
	return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		   sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		   (sqlerrcode == ERRCODE_FOREIGN_KEY_VIOLATION && batch->table->repoint);
}

void
idem_wait(int64 ms)
{
	while (ms > 0)
	{
		long step = Min(ms, 60000);

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, step, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		ms -= step;
	}
}

/* Tries a batch until it succeeds; smaller, and only with rows that are free, each time. */
static void
try_batch(Batch *batch)
{
	IdemJob before = *batch->job;
	int attempt;

	for (attempt = 1;; attempt++)
	{
		ErrorData *error = idem_try(run_batch_under, batch, CurrentMemoryContext);

		if (error == NULL)
			return;
		*batch->job = before;
		if (!is_passing(batch, error->sqlerrcode) || attempt == ATTEMPTS)
			ReThrowError(error);
		batch->careful = true;
		batch->size = Max(batch->size / 2, 1);
		idem_next_transaction();
		idem_wait(10 * attempt);
	}
}

/* How large the next batch is, if one of this size took so many milliseconds. */
static int64
next_size(int64 size, double ms, int batch_ms)
{
	double fit = size * (batch_ms / Max(ms, 1.0));

	fit = Min(fit, 2.0 * size);
	return (int64) Max((double) LEAST_ROWS, Min(fit, (double) MOST_ROWS));
}

IdemRemoval
idem_remove(const IdemTable *table, IdemJob *job, int batch_ms, int64 pause)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "idem batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	IdemRemoval result = IDEM_REMOVED;
	int64 size = FIRST_ROWS;

	for (;;)
	{
		Batch batch = {.table = table, .job = job, .size = size};
		instr_time begin;
		instr_time took;

		CHECK_FOR_INTERRUPTS();
		INSTR_TIME_SET_CURRENT(begin);
		try_batch(&batch);
		idem_next_transaction();
		INSTR_TIME_SET_CURRENT(took);
		INSTR_TIME_SUBTRACT(took, begin);
		if (batch.rewritten)
			result = IDEM_REWRITTEN;
		if (batch.rewritten || !OidIsValid(batch.leaf))
			break;
		size = next_size(batch.size, INSTR_TIME_GET_MILLISEC(took), batch_ms);
		MemoryContextReset(context);
		idem_wait(pause);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return result;
}

int64
idem_count_left(const IdemJob *job)
{
	Datum value;
	bool isnull;

	idem_hold_job(job);
	(void) idem_fetch(idem_make_statement(psprintf("SELECT pg_catalog.count(*) FROM %s r WHERE r.round OPERATOR(pg_catalog.=) %d AND r.skipped", job->rows, job->round),
										  0, NULL, IDEM_SNAPSHOT_NEW),
					  NULL, NULL, 1, &value, &isnull);
	return DatumGetInt64(value);
}
