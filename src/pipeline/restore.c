/*
 * restore.c
 *		The trigger of idem_pipeline, through which a dump's definitions come.
 *
 * Everybody may INSERT, for that is how a dump is restored, by one COPY: an error would
 * lose all definitions, so one that cannot be had is left out with a warning.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pipeline/name.h"
#include "pipeline/own.h"
#include "pipeline/pipeline.h"
#include "server/extension.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(idem_restore_pipeline);

/* A row to be restored. */
typedef struct Restoration
{
	const char *schema;
	Oid types[PIPELINE_COLUMNS];
	IdemPipelineRow stored; /* as it is in the table */
	IdemPipelineRow row;	/* and with what it names looked up */
} Restoration;

/* A column as it is in the table. */
static Datum
stored_column(Relation rel, HeapTuple tuple, int column, Oid *type, bool *isnull)
{
	AttrNumber attno = get_attnum(RelationGetRelid(rel), idem_pipeline_column(column));

	if (attno == InvalidAttrNumber)
		elog(ERROR, "table idem_pipeline has no column \"%s\"", idem_pipeline_column(column));
	*type = TupleDescAttr(RelationGetDescr(rel), attno - 1)->atttypid;
	return heap_getattr(tuple, attno, RelationGetDescr(rel), isnull);
}

/* Looks up what a column names. */
static void
look_up(Restoration *restoration, int column, Oid (*named)(Datum value))
{
	if (!restoration->stored.nulls[column])
		restoration->row.values[column] = ObjectIdGetDatum(named(restoration->stored.values[column]));
}

/* Reads a row of the table. */
static void
read_tuple(Relation rel, HeapTuple tuple, Restoration *restoration)
{
	int i;

	for (i = 0; i < PIPELINE_COLUMNS; i++)
		restoration->stored.values[i] = stored_column(rel, tuple, i, &restoration->types[i],
													  &restoration->stored.nulls[i]);
	restoration->row = restoration->stored;
	look_up(restoration, PIPELINE_OWNER, idem_role_named);
	look_up(restoration, PIPELINE_LEDGER, idem_relation_named);
	look_up(restoration, PIPELINE_TARGET, idem_relation_named);
	look_up(restoration, PIPELINE_MONITOR, idem_relation_named);
	look_up(restoration, PIPELINE_DEAD_LETTERS, idem_relation_named);
}

/* The name of a row's pipeline. */
static const char *
row_name(const IdemPipelineRow *row)
{
	return row->nulls[PIPELINE_NAME] ? "" : TextDatumGetCString(row->values[PIPELINE_NAME]);
}

/* Fails for a pipeline of somebody else. */
static void
check_owner(const Restoration *restoration)
{
	if (idem_may_act_as(DatumGetObjectId(restoration->row.values[PIPELINE_OWNER])))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("it belongs to role \"%s\"", idem_role_text(restoration->stored.values[PIPELINE_OWNER])),
			 errdetail("Role \"%s\" may not act as it.", GetUserNameFromId(GetUserId(), false)),
			 errhint("Have its owner or a superuser run what SELECT idem_pipeline_calls(%s) returns where it comes from.",
					 quote_literal_cstr(row_name(&restoration->row)))));
}

static void
restore_row(void *arg)
{
	const Restoration *restoration = arg;

	idem_check_definition(&restoration->row);
	check_owner(restoration);
	if (!idem_insert_stored_row(restoration->schema, restoration->types, restoration->stored.values,
								restoration->stored.nulls))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("there is one of this name already"),
				 errhint("Take another name in what SELECT idem_pipeline_calls(%s) returns where it comes from, and run it.",
						 quote_literal_cstr(row_name(&restoration->row)))));
}

/* Says that a definition is left out. */
static void
report_left_out(const Restoration *restoration, const ErrorData *error)
{
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("pipeline \"%s\" is left out: %s", row_name(&restoration->row), error->message),
			 error->detail ? errdetail("%s", error->detail) : 0,
			 error->hint ? errhint("%s", error->hint) : 0));
}

/* Says what a definition names that is not there. */
static void
report_unresolved(const Restoration *restoration, int column, const char *name)
{
	if (!OidIsValid(DatumGetObjectId(restoration->row.values[column])))
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("pipeline \"%s\" cannot run here: its %s, %s, does not exist",
						row_name(&restoration->row), idem_pipeline_column(column), name),
				 errhint("Create it, then SELECT idem_resume().")));
}

/* Without a monitor it can run, but is not checked. */
static void
report_no_monitor(const Restoration *restoration)
{
	if (!restoration->row.nulls[PIPELINE_MONITOR] && !OidIsValid(DatumGetObjectId(restoration->row.values[PIPELINE_MONITOR])))
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("pipeline \"%s\" is not checked here: its monitor, %s, does not exist", row_name(&restoration->row),
						idem_relation_text(restoration->stored.values[PIPELINE_MONITOR])),
				 errhint("SELECT idem_alter_pipeline(%s, monitor => '…') names another one.",
						 quote_literal_cstr(row_name(&restoration->row)))));
}

/* Restores a row, or says why not. */
static void
restore(Restoration *restoration)
{
	const IdemPipelineRow *stored = &restoration->stored;
	ErrorData *error;

	idem_connect(true);
	error = idem_try(restore_row, restoration, CurrentMemoryContext);
	if (error)
		report_left_out(restoration, error);
	else
	{
		report_unresolved(restoration, PIPELINE_OWNER, idem_role_text(stored->values[PIPELINE_OWNER]));
		report_unresolved(restoration, PIPELINE_LEDGER, idem_relation_text(stored->values[PIPELINE_LEDGER]));
		report_unresolved(restoration, PIPELINE_TARGET, idem_relation_text(stored->values[PIPELINE_TARGET]));
		report_no_monitor(restoration);
		if (!stored->nulls[PIPELINE_DEAD_LETTERS])
			report_unresolved(restoration, PIPELINE_DEAD_LETTERS, idem_relation_text(stored->values[PIPELINE_DEAD_LETTERS]));
	}
	idem_finish();
}

/* Fails as the trigger of any other table, whose columns it would take for what they are not. */
static void
check_trigger(FunctionCallInfo fcinfo)
{
	const TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ||
		RelationGetRelid(trigger->tg_relation) !=
			get_relname_relid("idem_pipeline", get_func_namespace(fcinfo->flinfo->fn_oid)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("idem_restore_pipeline must be called as the trigger of idem_pipeline")));
}

/* SQL: the trigger of idem_pipeline, BEFORE INSERT of each row */
Datum
idem_restore_pipeline(PG_FUNCTION_ARGS)
{
	const TriggerData *trigger = (TriggerData *) fcinfo->context;
	Restoration restoration = {0};

	check_trigger(fcinfo);
	if (idem_inserts_pipeline())
		return PointerGetDatum(trigger->tg_trigtuple);
	restoration.schema = idem_function_schema(fcinfo);
	read_tuple(trigger->tg_relation, trigger->tg_trigtuple, &restoration);
	restore(&restoration);
	return PointerGetDatum(NULL);
}
