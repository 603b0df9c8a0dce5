/*
 * undo.c
 *		CALL idem_dedupe_undo(…) puts the rows of a job back; idem_dedupe_jobs() lists the jobs.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "clean/job.h"
#include "clean/table.h"
#include "fmgr.h"
#include "funcapi.h"
#include "load/call.h"
#include "miscadmin.h"
#include "server/compat.h"
#include "server/extension.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(idem_dedupe_undo);
PG_FUNCTION_INFO_V1(idem_dedupe_jobs);

/* The columns that can be written, with a prefix. */
static const char *
writable_columns(const IdemTable *table, const char *prefix)
{
	StringInfoData sql;
	int n = 0;
	int i;

	initStringInfo(&sql);
	for (i = 0; i < table->ncolumns; i++)
	{
		if (!table->columns[i].is_generated)
			appendStringInfo(&sql, "%s%s%s", n++ > 0 ? ", " : "", prefix, table->columns[i].name);
	}
	return sql.data;
}

/*
 * WITH q AS (DELETE FROM quarantine q WHERE q.idem_job = $1 RETURNING q.c, …),
 *     i AS (INSERT INTO target d (c, …) OVERRIDING SYSTEM VALUE SELECT q.c, … FROM q RETURNING 1)
 *     SELECT (SELECT count(*) FROM q), (SELECT count(*) FROM i)
 */
static int64
put_back(const IdemTable *table, const IdemJob *job)
{
	static const Oid types[] = {INT8OID};
	const char *columns = writable_columns(table, "q.");
	Datum arg = Int64GetDatum(job->id);
	Datum counts[2];
	bool nulls[2];

	(void) idem_fetch(idem_make_statement(psprintf("WITH q AS (DELETE FROM %s q WHERE q.idem_job OPERATOR(pg_catalog.=) $1 RETURNING %s),"
												   " i AS (INSERT INTO %s AS d (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM q RETURNING 1)"
												   " SELECT (SELECT pg_catalog.count(*) FROM q), (SELECT pg_catalog.count(*) FROM i)",
												   job->quarantine, columns, table->name, writable_columns(table, ""), columns),
										  lengthof(types), types, IDEM_SNAPSHOT_NEW),
					  &arg, NULL, 2, counts, nulls);
	if (counts[0] != counts[1])
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("%s has not taken all rows back", table->name),
				 errhint("A trigger keeps them out: ALTER TABLE %s DISABLE TRIGGER …;", table->name)));
	return DatumGetInt64(counts[0]);
}

/* Fails while the index stands that the job has built. */
static void
check_index(const IdemTable *table, const IdemJob *job)
{
	static const Oid types[] = {TEXTOID};
	Datum arg;
	Datum value;
	bool isnull = true;

	if (job->index == NULL)
		return;
	arg = CStringGetTextDatum(job->index);
	(void) idem_fetch(idem_make_statement("SELECT pg_catalog.to_regclass($1)::pg_catalog.oid", 1, types, IDEM_SNAPSHOT_NEW), &arg, NULL, 1, &value, &isnull);
	if (!isnull)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("unique index %s of %s would not take the rows", job->index, table->name),
				 errhint("DROP INDEX %s%s;", table->partitioned ? "" : "CONCURRENTLY ", job->index)));
}

/* SQL: CALL idem_dedupe_undo(target regclass, job bigint) */
Datum
idem_dedupe_undo(PG_FUNCTION_ARGS)
{
	IdemTable *table;
	IdemJob *job;
	int64 rows;

	idem_require_argument(fcinfo, 0, "target");
	idem_require_writable("put rows back");
	idem_connect(true);
	table = idem_open_plain_table(PG_GETARG_OID(0), get_func_namespace(fcinfo->flinfo->fn_oid));
	idem_lock_table(table, false);
	job = idem_find_job(table, PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1));
	check_index(table, job);
	rows = put_back(table, job);
	idem_book_undone(table, job);
	ereport(NOTICE,
			(errmsg("job %lld of %s: rows put back: %lld", (long long) job->id, table->name, (long long) rows)));
	idem_finish();
	PG_RETURN_VOID();
}

/* True if a table has the columns of the result, and nothing decides which rows are seen. */
static bool
is_readable(Relation rel, Oid type, TupleDesc desc)
{
	TupleDesc found = RelationGetDescr(rel);
	int i;

	if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP || rel->rd_rel->relrowsecurity ||
		rel->rd_rel->reloftype != type || rel->rd_rel->relam != HEAP_TABLE_AM_OID || found->natts != desc->natts ||
		!idem_can_set_role(GetUserId(), rel->rd_rel->relowner))
		return false;
	for (i = 0; i < found->natts; i++)
	{
		if (TupleDescAttr(found, i)->attisdropped || TupleDescAttr(found, i)->atttypid != TupleDescAttr(desc, i)->atttypid)
			return false;
	}
	return true;
}

/*
 * Returns the jobs of a table, if the caller may become its owner.  They are read without a
 * statement: nothing of the owner's runs, and no error of one table hides the others.
 */
static void
return_jobs(ReturnSetInfo *rsinfo, Oid type, Oid relid)
{
	Relation rel = try_relation_open(relid, AccessShareLock);
	TupleDesc desc = rsinfo->setDesc;
	SysScanDesc scan;
	HeapTuple tuple;

	if (rel == NULL)
		return;
	if (is_readable(rel, type, desc))
	{
		Datum *values = palloc(mul_size(desc->natts, sizeof(Datum)));
		bool *nulls = palloc(desc->natts);

		scan = systable_beginscan(rel, InvalidOid, false, GetActiveSnapshot(), 0, NULL);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
			tuplestore_putvalues(rsinfo->setResult, desc, values, nulls);
		}
		systable_endscan(scan);
	}
	relation_close(rel, NoLock);
}

/* The relations of a type that the caller may become the owner of. */
static List *
list_tables(Oid type)
{
	Relation relations = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(relations, InvalidOid, false, NULL, 0, NULL);
	List *result = NIL;
	HeapTuple tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->reloftype == type && form->relkind == RELKIND_RELATION && idem_can_set_role(GetUserId(), form->relowner))
			result = lappend_oid(result, form->oid);
	}
	systable_endscan(scan);
	table_close(relations, AccessShareLock);
	return result;
}

/* SQL: idem_dedupe_jobs() returns setof idem_dedupe_job */
Datum
idem_dedupe_jobs(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = castNode(ReturnSetInfo, fcinfo->resultinfo);
	Oid schema = get_func_namespace(fcinfo->flinfo->fn_oid);
	Oid type = idem_own_type("idem_dedupe_job", schema);
	ListCell *lc;

	InitMaterializedSRF(fcinfo, 0);
	if (OidIsValid(type))
	{
		foreach (lc, list_tables(type))
			return_jobs(rsinfo, type, lfirst_oid(lc));
	}
	return (Datum) 0;
}
