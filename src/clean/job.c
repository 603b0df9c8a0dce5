/*
 * job.c
 *		The tables of a cleaning: jobs, rows that are to go, quarantine.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "clean/job.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "server/compat.h"
#include "server/extension.h"
#include "server/statement.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

/* "idem" in ASCII: a lock on no object that there is, which nobody can take by SQL. */
#define LOCK_CLASS 0x6964656d

/* Fails for a table that is another's. */
static void
check_owner(Relation rel)
{
	if (rel->rd_rel->relowner != GetUserId())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table %s is not owned by role \"%s\"", idem_qualified_name(rel), GetUserNameFromId(GetUserId(), false)),
				 errhint("SET ROLE %s, or ALTER TABLE %s OWNER TO CURRENT_USER;", quote_identifier(GetUserNameFromId(rel->rd_rel->relowner, true)), idem_qualified_name(rel))));
}

/* Fails before a lock is taken on what is another's. */
static void
check_name(const RangeVar *name, Oid relid, Oid old, void *arg)
{
	HeapTuple tuple = OidIsValid(relid) ? SearchSysCache1(RELOID, ObjectIdGetDatum(relid)) : NULL;
	bool other = HeapTupleIsValid(tuple) && ((Form_pg_class) GETSTRUCT(tuple))->relowner != GetUserId();

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (other)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table %s is not owned by role \"%s\"", quote_qualified_identifier(name->schemaname, name->relname), GetUserNameFromId(GetUserId(), false)),
				 errhint("ALTER TABLE %s OWNER TO CURRENT_USER;", quote_qualified_identifier(name->schemaname, name->relname))));
}

/*
 * Locks a table of ours by its name until the end of the transaction, and fails unless it still
 * is a table of the caller's: whoever owns its schema may have put another in its place.
 */
static Oid
hold_table(const char *name, LOCKMODE mode, bool missing_ok)
{
	RangeVar *relation = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(name)));
	Oid relid = RangeVarGetRelidExtended(relation, mode, missing_ok ? RVR_MISSING_OK : 0, check_name, NULL);
	Relation rel;

	if (!OidIsValid(relid))
		return InvalidOid;
	rel = relation_open(relid, NoLock);
	check_owner(rel);
	if (rel->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a table any more", name),
				 errhint("Rename it: a job makes a table of that name.")));
	relation_close(rel, NoLock);
	return relid;
}

void
idem_hold_job(const IdemJob *job)
{
	(void) hold_table(job->jobs, RowExclusiveLock, false);
	(void) hold_table(job->rows, RowExclusiveLock, true);
	(void) hold_table(job->quarantine, RowExclusiveLock, false);
}

/*
 * True if a table of ours is there; type NULL: any table will do.  It must be the caller's,
 * for what others may attach to theirs would run as him.
 */
static bool
has_table(const IdemTable *table, Oid namespace, const char *name, const char *type)
{
	Oid relid = get_relname_relid(name, namespace);
	Relation rel;

	if (!OidIsValid(relid))
		return false;
	rel = idem_open_relation(relid);
	check_owner(rel);
	if (rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table %s is not logged", idem_qualified_name(rel)),
				 errdetail("Its rows would be gone after a crash."),
				 errhint("ALTER TABLE %s SET LOGGED;", idem_qualified_name(rel))));
	if (rel->rd_rel->relkind != RELKIND_RELATION || (type && rel->rd_rel->reloftype != idem_own_type(type, table->schema)))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("%s is not what a job to clean %s keeps", idem_qualified_name(rel), table->name),
				 errhint("Rename it: a job makes a table of that name.")));
	relation_close(rel, NoLock);
	return true;
}

/* CREATE TABLE s.t OF idem_dedupe_… (constraints) */
static void
create_table(const IdemTable *table, const char *name, const char *type, const char *constraints)
{
	idem_run_once(psprintf("CREATE TABLE %s OF %s (%s)", name,
						   quote_qualified_identifier(get_namespace_name(table->schema), type), constraints));
}

/* A name made of the table's. */
static char *
own_name(const IdemTable *table, const char *suffix)
{
	return makeObjectName(table->relname, NULL, suffix);
}

/* Fails for a quarantine that is an older one, of a table that has got columns since. */
static void
check_quarantine(const IdemTable *table, const char *name, Oid relid)
{
	static const char *const ours[] = {"idem_job", "idem_key", "idem_removed_at"};
	Relation rel = relation_open(relid, NoLock);
	int i;

	for (i = 0; i < lengthof(ours); i++)
	{
		if (get_attnum(relid, ours[i]) <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("%s is not a quarantine", name),
					 errdetail("It has no column \"%s\".", ours[i]),
					 errhint("Name a table that is not there: it will be made.")));
	}
	for (i = 0; i < table->ncolumns; i++)
	{
		const IdemColumn *wanted = &table->columns[i];
		const char *column = wanted->name;
		const char *type = format_type_with_typemod(wanted->type, wanted->typmod);
		AttrNumber attno = get_attnum(relid, wanted->plain_name);
		Form_pg_attribute att = attno > 0 ? TupleDescAttr(RelationGetDescr(rel), attno - 1) : NULL;

		if (att && att->attgenerated != '\0')
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("column %s of quarantine %s is generated", column, name),
					 errdetail("It would not take the value of a row that is removed."),
					 errhint("Name another quarantine: it will be made.")));
		if (att && att->atttypid == wanted->type && att->atttypmod == wanted->typmod && att->attcollation == wanted->collation)
			continue;
		if (OidIsValid(wanted->collation) && wanted->collation != get_typcollation(wanted->type))
			type = psprintf("%s COLLATE %s", type, generate_collation_name(wanted->collation));
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("quarantine %s has no column %s as %s has", name, column, table->name),
				 attno > 0 ? errhint("ALTER TABLE %s ALTER %s TYPE %s; or name another quarantine.", name, column, type)
						   : errhint("ALTER TABLE %s ADD %s %s;", name, column, type)));
	}
	relation_close(rel, NoLock);
}

/*
 * CREATE TABLE q AS SELECT 0::bigint AS idem_job, …, d.* FROM target d WITH NO DATA
 *
 * It has the columns, and no constraint that a row could violate.
 */
static const char *
open_quarantine(const IdemTable *table, const char *quarantine)
{
	Oid namespace = get_namespace_oid(table->nspname, false);
	char *relname = own_name(table, "removed");
	const char *name;

	if (quarantine)
	{
		RangeVar *relation = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(quarantine)));

		namespace = RangeVarGetCreationNamespace(relation);
		relname = relation->relname;
	}
	name = quote_qualified_identifier(get_namespace_name(namespace), relname);
	if (isAnyTempNamespace(namespace))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("quarantine \"%s\" would be temporary", relname),
				 errhint("Name its schema: quarantine => %s.", quote_literal_cstr(quote_qualified_identifier(table->nspname, relname)))));
	if (has_table(table, namespace, relname, NULL))
		check_quarantine(table, name, get_relname_relid(relname, namespace));
	else
	{
		idem_run_once(psprintf("CREATE TABLE %s AS SELECT 0::pg_catalog.int8 AS idem_job, NULL::pg_catalog.jsonb AS idem_key,"
							   " NULL::pg_catalog.timestamptz AS idem_removed_at, d.* FROM %s d WITH NO DATA",
							   name, table->name));
		idem_run_once(psprintf("COMMENT ON TABLE %s IS %s", name, quote_literal_cstr(psprintf("idem: rows removed from %s", table->name))));
	}
	return name;
}

IdemJob *
idem_open_job(const IdemTable *table, const char *quarantine, const char *arguments)
{
	IdemJob *job = palloc0(sizeof(IdemJob));
	Oid namespace = get_namespace_oid(table->nspname, false);
	char *jobs = own_name(table, "dedupe");
	char *rows = own_name(table, "dedupe_rows");

	job->jobs = quote_qualified_identifier(table->nspname, jobs);
	job->rows = quote_qualified_identifier(table->nspname, rows);
	job->arguments = arguments;
	(void) has_table(table, namespace, rows, "idem_dedupe_row");
	if (!has_table(table, namespace, jobs, "idem_dedupe_job"))
	{
		create_table(table, job->jobs, "idem_dedupe_job", "PRIMARY KEY (job_id)");
		idem_run_once(psprintf("COMMENT ON TABLE %s IS %s", job->jobs, quote_literal_cstr(psprintf("idem: jobs that removed duplicates from %s", table->name))));
	}
	job->quarantine = open_quarantine(table, quarantine);
	return job;
}

/*
 * Takes the job up again that was begun with the same arguments; false if there is none.  If
 * another table has had the name since, and a job, the list of rows is that one's.
 */
static bool
resume_job(const IdemTable *table, IdemJob *job)
{
	static const Oid types[] = {TEXTOID, OIDOID, TEXTOID};
	Datum args[] = {CStringGetTextDatum(job->arguments), ObjectIdGetDatum(table->relid), CStringGetTextDatum(job->quarantine)};
	Datum values[9];
	bool nulls[9];

	if (!idem_fetch(idem_make_statement(psprintf("SELECT job_id, phase, round, rows_tried, rows_found, rows_removed, rows_repointed, files, index_name FROM %s j"
												 " WHERE finished_at IS NULL AND arguments OPERATOR(pg_catalog.=) $1 AND target OPERATOR(pg_catalog.=) $2"
												 " AND quarantine OPERATOR(pg_catalog.=) $3"
												 " AND NOT EXISTS (SELECT FROM %s o WHERE o.job_id OPERATOR(pg_catalog.>) j.job_id AND o.target OPERATOR(pg_catalog.<>) $2)"
												 " ORDER BY job_id DESC LIMIT 1",
												 job->jobs, job->jobs),
										lengthof(types), types, IDEM_SNAPSHOT_NEW),
					args, NULL, lengthof(values), values, nulls))
		return false;
	job->id = DatumGetInt64(values[0]);
	job->phase = TextDatumGetCString(values[1]);
	job->round = DatumGetInt32(values[2]);
	job->position = DatumGetInt64(values[3]);
	job->total = DatumGetInt64(values[4]);
	job->removed = DatumGetInt64(values[5]);
	job->repointed = DatumGetInt64(values[6]);
	job->files = nulls[7] ? NULL : TextDatumGetCString(values[7]);
	job->index = nulls[8] ? NULL : TextDatumGetCString(values[8]);
	return true;
}

/* Ends all other jobs of the table that have no end. */
static void
abandon_jobs(const IdemTable *table, const IdemJob *job)
{
	idem_run_once(psprintf("UPDATE %s SET phase = 'abandoned', finished_at = pg_catalog.clock_timestamp()"
						   " WHERE finished_at IS NULL AND target OPERATOR(pg_catalog.=) %u AND job_id OPERATOR(pg_catalog.<>) " INT64_FORMAT,
						   job->jobs, table->relid, job->id));
}

void
idem_begin_job(const IdemTable *table, IdemJob *job)
{
	static const Oid types[] = {OIDOID, TEXTOID, TEXTOID, TEXTOID};
	Datum args[] = {
		ObjectIdGetDatum(table->relid),
		CStringGetTextDatum(table->name),
		CStringGetTextDatum(job->arguments),
		CStringGetTextDatum(job->quarantine),
	};
	Datum value;
	bool isnull;

	if (!resume_job(table, job))
	{
		/* who has chosen before has committed: its number is seen */
		(void) hold_table(job->quarantine, ShareRowExclusiveLock, false);
		if (!idem_fetch(idem_make_statement(psprintf("INSERT INTO %s (job_id, target, target_name, arguments, phase, round, rows_found, rows_tried, rows_removed,"
													 " rows_repointed, quarantine, started_at, updated_at, run_by)"
													 " SELECT GREATEST((SELECT pg_catalog.max(j.job_id) FROM %s j), (SELECT pg_catalog.max(q.idem_job) FROM %s q),"
													 " (SELECT pg_catalog.max(o.job_id) FROM %s() o WHERE o.quarantine OPERATOR(pg_catalog.=) $4), 0) OPERATOR(pg_catalog.+) 1,"
													 " $1, $2, $3, 'finding', 0, 0, 0, 0, 0, $4, pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp(), CURRENT_USER RETURNING job_id",
													 job->jobs, job->jobs, job->quarantine, quote_qualified_identifier(get_namespace_name(table->schema), "idem_dedupe_jobs")),
											lengthof(types), types, IDEM_SNAPSHOT_NEW),
						args, NULL, 1, &value, &isnull))
			elog(ERROR, "a row of %s has been swallowed", job->jobs);
		job->id = DatumGetInt64(value);
		job->phase = "finding";
	}
	abandon_jobs(table, job);
}

void
idem_drop_row_list(const IdemTable *table, const IdemJob *job)
{
	if (has_table(table, get_namespace_oid(table->nspname, false), own_name(table, "dedupe_rows"), "idem_dedupe_row"))
		idem_run_once(psprintf("DROP TABLE %s", job->rows));
}

void
idem_make_row_list(const IdemTable *table, const IdemJob *job)
{
	idem_drop_row_list(table, job);
	create_table(table, job->rows, "idem_dedupe_row", "PRIMARY KEY (round, n)");
}

void
idem_advance_job(IdemJob *job, const char *phase, int round, int64 position)
{
	static const Oid types[] = {INT8OID, TEXTOID, INT4OID, INT8OID, TEXTOID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID};
	Datum args[] = {
		Int64GetDatum(job->id),
		CStringGetTextDatum(job->phase),
		Int32GetDatum(job->round),
		Int64GetDatum(job->position),
		CStringGetTextDatum(phase),
		Int32GetDatum(round),
		Int64GetDatum(position),
		Int64GetDatum(job->total),
		Int64GetDatum(job->removed),
		Int64GetDatum(job->repointed),
		job->files ? CStringGetTextDatum(job->files) : (Datum) 0,
	};
	bool isnull[lengthof(types)] = {false};

	isnull[10] = job->files == NULL;
	idem_hold_job(job);
	if (idem_run(idem_make_statement(psprintf("UPDATE %s SET phase = $5, round = $6, rows_tried = $7, rows_found = $8, rows_removed = $9, rows_repointed = $10, files = $11,"
											  " updated_at = pg_catalog.clock_timestamp(), finished_at = CASE WHEN $5 OPERATOR(pg_catalog.=) 'done' THEN pg_catalog.clock_timestamp() END"
											  " WHERE job_id OPERATOR(pg_catalog.=) $1 AND phase OPERATOR(pg_catalog.=) $2 AND round OPERATOR(pg_catalog.=) $3"
											  " AND rows_tried OPERATOR(pg_catalog.=) $4",
											  job->jobs),
									 lengthof(types), types, IDEM_SNAPSHOT_NEW),
				 args, isnull) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("job %lld of %s has been changed by another session", (long long) job->id, job->jobs),
				 errhint("Call idem_dedupe again.")));
	job->phase = phase;
	job->round = round;
	job->position = position;
}

void
idem_book_index(IdemJob *job, const char *index)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	Datum args[] = {Int64GetDatum(job->id), CStringGetTextDatum(index)};

	idem_hold_job(job);
	(void) idem_run(idem_make_statement(psprintf("UPDATE %s SET index_name = $2, updated_at = pg_catalog.clock_timestamp() WHERE job_id OPERATOR(pg_catalog.=) $1", job->jobs),
										lengthof(types), types, IDEM_SNAPSHOT_NEW),
					args, NULL);
	job->index = index;
}

IdemJob *
idem_find_job(const IdemTable *table, int64 id)
{
	static const Oid types[] = {INT8OID, OIDOID};
	IdemJob *job = palloc0(sizeof(IdemJob));
	char *jobs = own_name(table, "dedupe");
	Datum args[] = {Int64GetDatum(id), ObjectIdGetDatum(table->relid)};
	Datum values[3];
	bool nulls[3];

	job->jobs = quote_qualified_identifier(table->nspname, jobs);
	job->rows = quote_qualified_identifier(table->nspname, own_name(table, "dedupe_rows"));
	if (!has_table(table, get_namespace_oid(table->nspname, false), jobs, "idem_dedupe_job") ||
		!idem_fetch(idem_make_statement(psprintf("SELECT job_id, quarantine, index_name FROM %s WHERE phase OPERATOR(pg_catalog.<>) 'undone' AND target OPERATOR(pg_catalog.=) $2"
												 " AND CASE WHEN $1 OPERATOR(pg_catalog.=) 0 THEN rows_removed OPERATOR(pg_catalog.>) 0 ELSE job_id OPERATOR(pg_catalog.=) $1 END"
												 " ORDER BY job_id DESC LIMIT 1",
												 job->jobs),
										lengthof(types), types, IDEM_SNAPSHOT_NEW),
					args, NULL, lengthof(values), values, nulls))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA),
				 errmsg("there is no job of %s that could be undone", table->name),
				 errhint("SELECT * FROM idem_dedupe_status; lists the jobs.")));
	job->id = DatumGetInt64(values[0]);
	job->quarantine = TextDatumGetCString(values[1]);
	job->index = nulls[2] ? NULL : TextDatumGetCString(values[2]);
	idem_hold_job(job);
	return job;
}

void
idem_book_undone(const IdemTable *table, const IdemJob *job)
{
	idem_run_once(psprintf("UPDATE %s SET phase = 'undone', updated_at = pg_catalog.clock_timestamp(), finished_at = pg_catalog.clock_timestamp()"
						   " WHERE job_id OPERATOR(pg_catalog.=) " INT64_FORMAT,
						   job->jobs, job->id));
	abandon_jobs(table, job);
	idem_drop_row_list(table, job);
}

const char *
idem_table_files(const IdemTable *table)
{
	static const Oid types[] = {OIDOID};
	Datum arg = ObjectIdGetDatum(table->relid);
	Datum value;
	bool isnull;

	if (!idem_fetch(idem_make_statement("SELECT pg_catalog.string_agg(pg_catalog.format('%s:%s', p.relid::pg_catalog.oid, pg_catalog.pg_relation_filenode(p.relid)), ' ' ORDER BY p.relid)"
										" FROM pg_catalog.pg_partition_tree($1) p WHERE p.isleaf",
										1, types, IDEM_SNAPSHOT_NEW),
					&arg, NULL, 1, &value, &isnull) || isnull)
		return "";
	return TextDatumGetCString(value);
}

/* The tag of the lock. */
static LOCKTAG
table_tag(const IdemTable *table)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, LOCK_CLASS, table->relid, 1);
	return tag;
}

void
idem_lock_table(const IdemTable *table, bool beyond)
{
	LOCKTAG tag = table_tag(table);

	/* beyond commits the server releases it if the call ends by an error that nobody catches */
	if (LockAcquire(&tag, ExclusiveLock, beyond, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("%s is being cleaned by another session", table->name),
				 errhint("SELECT * FROM idem_dedupe_status shows how far it is.")));
}

void
idem_unlock_table(const IdemTable *table)
{
	LOCKTAG tag = table_tag(table);

	(void) LockRelease(&tag, ExclusiveLock, true);
}
