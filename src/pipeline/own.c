/*
 * own.c
 *		Statements on the tables of pipelines, which nobody but idem writes.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pipeline/own.h"
#include "server/collect.h"
#include "server/compat.h"
#include "server/scope.h"
#include "server/statement.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(idem_guard_table);

/*
 * SQL: the trigger that keeps others from writing our tables: a member of pg_write_all_data
 * would say as whom a worker runs, and what.
 */
Datum
idem_guard_table(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("idem_guard_table must be called as a BEFORE STATEMENT trigger")));
	if (trigger->tg_relation->rd_rel->relowner != GetUserId() && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table %s is written by idem alone", idem_qualified_name(trigger->tg_relation)),
				 errhint("Use idem_alter_pipeline, idem_drop_pipeline, idem_enable_pipeline or idem_disable_pipeline.")));
	return PointerGetDatum(NULL);
}

/* The owner of the table of pipelines. */
static Oid
tables_owner(const char *schema)
{
	Oid relid = get_relname_relid("idem_pipeline", get_namespace_oid(schema, false));
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "table idem_pipeline is not there");
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* Replaces @ by the schema. */
static char *
expand_template(const char *schema, const char *template)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (; *template; template ++)
	{
		if (*template == '@')
			appendStringInfoString(&sql, quote_identifier(schema));
		else
			appendStringInfoChar(&sql, *template);
	}
	return sql.data;
}

/* Runs what is to be run. */
static void
run_as_owner(const char *schema, const char *template, int nargs, const Oid *types, IdemTask *task)
{
	IdemIdentity identity = {.role = tables_owner(schema), .search_path = "pg_catalog, pg_temp"};

	task->statement = idem_make_statement(expand_template(schema, template), nargs, types,
										 IDEM_SNAPSHOT_NEW);
	idem_run_as(&identity, idem_run_task, task);
}

uint64
idem_run_own(const char *schema, const char *template, int nargs, const Oid *types,
			 const Datum *args, const bool *isnull)
{
	IdemTask task = {.args = args, .isnull = isnull};

	run_as_owner(schema, template, nargs, types, &task);
	return task.processed;
}

bool
idem_fetch_own(const char *schema, const char *template, int nargs, const Oid *types,
			   const Datum *args, const bool *isnull, int ncols, Datum *values, bool *nulls)
{
	IdemTask task = {.args = args, .isnull = isnull, .ncols = ncols, .values = values, .nulls = nulls};

	run_as_owner(schema, template, nargs, types, &task);
	return task.processed > 0;
}

IdemCollector
idem_collect_own(const char *schema, const char *template, int nargs, const Oid *types,
				 const Datum *args)
{
	IdemCollector collector;
	IdemTask task = {.args = args, .receiver = &collector.pub};

	idem_begin_collector(&collector);
	run_as_owner(schema, template, nargs, types, &task);
	return collector;
}

bool
idem_may_act_as(Oid role)
{
	return idem_can_set_role(GetUserId(), role);
}
