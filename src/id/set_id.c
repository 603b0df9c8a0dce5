/*
 * set_id.c
 *		idem_set_id(): a trigger that fills a column with the row's deterministic ID.
 *
 * CREATE TRIGGER … BEFORE INSERT OR UPDATE ON t FOR EACH ROW
 *     EXECUTE FUNCTION idem_set_id('event_id', 'k1', 'k2', …);
 *
 * It calls idem_hash() or idem_uuid(), whichever fits the column's type, on the
 * row as it will be stored, so the column equals what a query would compute.  The
 * executor does not look at what a trigger put into a row, so the column's length
 * and its domain's constraints are checked here.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(idem_set_id);

extern Datum idem_hash_record(PG_FUNCTION_ARGS);
extern Datum idem_uuid_record(PG_FUNCTION_ARGS);

/* Digits of an ID as text. */
#define ID_LENGTH 64

/* What a trigger keeps from row to row: the call of the hash function. */
typedef struct SetIdCall
{
	int attno;		   /* the column to set */
	int32 padded;	   /* typmod of a char(n), which is filled up; else -1 */
	Oid domain;		   /* the column's, if it is one */
	void *constraints; /* domain_check()'s */
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

/*
 * Returns the function that makes an ID of a type: text that has room for it, or
 * uuid.  Fails for any other.
 */
static PGFunction
find_function(Relation rel, const char *column, Oid type, int32 typmod)
{
	if (type == UUIDOID)
		return idem_uuid_record;
	if (type != TEXTOID && type != VARCHAROID && type != BPCHAROID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of relation \"%s\" must be text or uuid to hold an ID",
						column, RelationGetRelationName(rel)),
				 errhint("Make the column text, character(%d) or uuid.", ID_LENGTH)));
	if (type != TEXTOID && typmod >= 0 && typmod < ID_LENGTH + (int32) VARHDRSZ)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("value too long for column \"%s\" of type %s",
						column, format_type_with_typemod(type, typmod)),
				 errdetail("An ID has %d characters.", ID_LENGTH),
				 errhint("Make the column text, character(%d) or uuid.", ID_LENGTH)));
	return idem_hash_record;
}

/* Finds the column to set and how its type takes the ID. */
static void
find_column(SetIdCall *call, Relation rel, const char *column)
{
	Form_pg_attribute att;
	int32 typmod;
	Oid type;

	call->attno = SPI_fnumber(RelationGetDescr(rel), column);
	if (call->attno <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						column, RelationGetRelationName(rel))));
	att = TupleDescAttr(RelationGetDescr(rel), call->attno - 1);
	if (att->attgenerated)
		ereport(ERROR,
				(errcode(ERRCODE_GENERATED_ALWAYS),
				 errmsg("generated column \"%s\" cannot be set by idem_set_id", column),
				 errdetail("It is computed after BEFORE triggers have run."),
				 errhint("Name a column that is not generated.")));
	typmod = att->atttypmod;
	type = getBaseTypeAndTypmod(att->atttypid, &typmod);
	call->function.fn_addr = find_function(rel, column, type, typmod);
	call->domain = type == att->atttypid ? InvalidOid : att->atttypid;
	call->padded = type == BPCHAROID ? typmod : -1;
}

/* Makes the state of a trigger on rel. */
static SetIdCall *
make_call(FmgrInfo *flinfo, Relation rel, Trigger *trigger)
{
	MemoryContext old = MemoryContextSwitchTo(flinfo->fn_mcxt);
	SetIdCall *call = palloc0(sizeof(SetIdCall));
	Datum *keys = palloc(trigger->tgnargs * sizeof(Datum));
	int i;

	find_column(call, rel, trigger->tgargs[0]);
	for (i = 1; i < trigger->tgnargs; i++)
	{
		check_key(rel, trigger->tgargs[i], trigger->tgargs[0]);
		keys[i - 1] = CStringGetTextDatum(trigger->tgargs[i]);
	}
	call->keys = PointerGetDatum(construct_array(keys, trigger->tgnargs - 1, TEXTOID,
												 -1, false, TYPALIGN_INT));
	call->function.fn_nargs = 2;
	call->function.fn_strict = true;
	call->function.fn_mcxt = flinfo->fn_mcxt;
	MemoryContextSwitchTo(old);
	return call;
}

/* Returns the ID of a row, as the column takes it. */
static Datum
make_id(SetIdCall *call, Relation rel, HeapTuple row)
{
	Datum id = FunctionCall2(&call->function,
							 heap_copy_tuple_as_datum(row, RelationGetDescr(rel)), call->keys);

	if (call->padded >= 0)
		id = DirectFunctionCall3(bpchar, id, Int32GetDatum(call->padded), BoolGetDatum(false));
	if (OidIsValid(call->domain))
		domain_check(id, false, call->domain, &call->constraints, call->function.fn_mcxt);
	return id;
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
	id = make_id(call, rel, row);
	return PointerGetDatum(heap_modify_tuple_by_cols(row, RelationGetDescr(rel), 1,
													 &call->attno, &id, &isnull));
}
