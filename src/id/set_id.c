/*
 * set_id.c
 *		idem_set_id(): a trigger that fills a column with the row's deterministic ID.
 *
 * CREATE TRIGGER … BEFORE INSERT OR UPDATE ON t FOR EACH ROW
 *     EXECUTE FUNCTION idem_set_id('event_id', 'k1', 'k2', …);
 *
 * It calls idem_hash() or idem_uuid(), whichever fits the column's type, on the
 * row as it will be stored, so the column equals what a query would compute.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(idem_set_id);

extern Datum idem_hash_record(PG_FUNCTION_ARGS);
extern Datum idem_uuid_record(PG_FUNCTION_ARGS);

/* What a trigger keeps from row to row: the call of the hash function. */
typedef struct SetIdCall
{
	int attno;		   /* the column to set */
	Datum keys;		   /* text[] */
	FmgrInfo function; /* idem_hash_record or idem_uuid_record */
} SetIdCall;

/* Fails unless the function was called as such a trigger. */
static void
check_called_as_trigger(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("idem_set_id must be called by a trigger BEFORE INSERT OR UPDATE FOR EACH ROW")));
	if (trigger->tg_trigger->tgnargs < 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("trigger \"%s\" must name the column to set and at least one key",
						trigger->tg_trigger->tgname),
				 errhint("EXECUTE FUNCTION idem_set_id('id', 'key1', 'key2')")));
}

/* Fails for a key column whose value is not known yet or is the ID itself. */
static void
check_key(Relation rel, const char *key, const char *column)
{
	AttrNumber attno = SPI_fnumber(RelationGetDescr(rel), key);

	if (strcmp(key, column) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" cannot be a key of its own ID", column)));
	if (attno > 0 && TupleDescAttr(RelationGetDescr(rel), attno - 1)->attgenerated)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("generated column \"%s\" cannot be a key of idem_set_id", key),
				 errdetail("It is computed after BEFORE triggers have run."),
				 errhint("Name the columns that it is generated from.")));
}

/* Makes the state of a trigger on rel. */
static SetIdCall *
make_call(FmgrInfo *flinfo, Relation rel, Trigger *trigger)
{
	MemoryContext old = MemoryContextSwitchTo(flinfo->fn_mcxt);
	SetIdCall *call = palloc0(sizeof(SetIdCall));
	const char *column = trigger->tgargs[0];
	Datum *keys = palloc(trigger->tgnargs * sizeof(Datum));
	Oid type;
	int i;

	call->attno = SPI_fnumber(RelationGetDescr(rel), column);
	if (call->attno <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						column, RelationGetRelationName(rel))));
	type = SPI_gettypeid(RelationGetDescr(rel), call->attno);
	if (type != TEXTOID && type != VARCHAROID && type != UUIDOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of relation \"%s\" must be text or uuid to hold an ID",
						column, RelationGetRelationName(rel))));
	for (i = 1; i < trigger->tgnargs; i++)
	{
		check_key(rel, trigger->tgargs[i], column);
		keys[i - 1] = CStringGetTextDatum(trigger->tgargs[i]);
	}
	call->keys = PointerGetDatum(construct_array(keys, trigger->tgnargs - 1, TEXTOID,
												 -1, false, TYPALIGN_INT));
	call->function.fn_addr = type == UUIDOID ? idem_uuid_record : idem_hash_record;
	call->function.fn_nargs = 2;
	call->function.fn_strict = true;
	call->function.fn_mcxt = flinfo->fn_mcxt;
	MemoryContextSwitchTo(old);
	return call;
}

/* SQL: idem_set_id() returns trigger */
Datum
idem_set_id(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	SetIdCall *call = fcinfo->flinfo->fn_extra;
	Relation rel;
	HeapTuple row;
	Datum id;
	bool isnull = false;

	if (call == NULL)
	{
		check_called_as_trigger(fcinfo);
		call = make_call(fcinfo->flinfo, trigger->tg_relation, trigger->tg_trigger);
		fcinfo->flinfo->fn_extra = call;
	}
	rel = trigger->tg_relation;
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	id = FunctionCall2(&call->function,
					   heap_copy_tuple_as_datum(row, RelationGetDescr(rel)), call->keys);
	return PointerGetDatum(heap_modify_tuple_by_cols(row, RelationGetDescr(rel), 1,
													 &call->attno, &id, &isnull));
}
