/*
 * functions.c
 *		idem_hash(), idem_uuid() and idem_canonical(): a record's deterministic ID.
 *
 * The ID is the SHA-256 of the canonical JSON of the record's key columns, so it
 * agrees with sha256(json.dumps({k: r[k] for k in keys}, sort_keys=True)) in
 * Python.  Everything that depends on the row type and the keys is prepared once
 * and kept in fn_extra; per row the keys are taken out, written and hashed.
 */
#include "postgres.h"

#include "fmgr.h"
#include "id/canonical.h"
#include "id/json.h"
#include "id/jsonstring.h"
#include "id/keys.h"
#include "id/sha256.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

/* What one call site keeps from row to row. */
typedef struct HashCall
{
	StringInfoData buf;			/* the canonical form of the current record */
	bool constant_keys;			/* the keys argument cannot change */
	MemoryContext keys_context; /* holds the next four */
	ArrayType *array;			/* the keys, as they were given */
	char **keys;
	int nkeys;
	IdemMember *members; /* the keys, sorted: for jsonb and values */
	bool has_writers;	 /* the members have: for values */
	IdemShape shape;	 /* for records */
} HashCall;

/*
 * True if the keys of a call site are a constant.  An argument that the server
 * calls stable is not one: a PL/pgSQL variable is a parameter, which changes while
 * fn_extra stays.
 */
static bool
has_constant_keys(FmgrInfo *flinfo, int argument)
{
	Node *call = flinfo->fn_expr;

	return call && IsA(call, FuncExpr) && IsA(list_nth(((FuncExpr *) call)->args, argument), Const);
}

/* Returns the call site's state, made at its first call; keys is the number of that argument. */
static HashCall *
get_call(FunctionCallInfo fcinfo, int keys)
{
	HashCall *call = fcinfo->flinfo->fn_extra;
	MemoryContext cxt = fcinfo->flinfo->fn_mcxt;
	MemoryContext old;

	if (call != NULL)
		return call;
	old = MemoryContextSwitchTo(cxt);
	call = palloc0(sizeof(HashCall));
	initStringInfo(&call->buf);
	call->constant_keys = has_constant_keys(fcinfo->flinfo, keys);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = call;
	return call;
}

/* Makes the jsonb members of the keys: their sorted names and prefixes. */
static void
make_members(HashCall *call)
{
	int i;

	call->members = palloc0(call->nkeys * sizeof(IdemMember));
	for (i = 0; i < call->nkeys; i++)
	{
		int len;

		CHECK_FOR_INTERRUPTS();
		call->members[i].name = idem_to_utf8(call->keys[i], strlen(call->keys[i]), &len);
		call->members[i].index = i;
	}
	idem_sort_members(call->members, call->nkeys);
}

/* Makes the call's keys those of the array, if they are not. */
static void
fit_keys(HashCall *call, Datum keys, MemoryContext parent)
{
	ArrayType *array;
	MemoryContext old;

	if (call->members && call->constant_keys)
		return;
	array = DatumGetArrayTypeP(keys);
	if (call->members && VARSIZE(array) == VARSIZE(call->array) &&
		memcmp(array, call->array, VARSIZE(array)) == 0)
		return;

	call->members = NULL;
	call->has_writers = false; /* they and the shape were made for other keys */
	call->shape.identifier = 0;
	if (call->keys_context)
		MemoryContextReset(call->keys_context);
	else
		call->keys_context = AllocSetContextCreate(parent, "idem keys",
												   ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(call->keys_context);
	call->array = (ArrayType *) PG_DETOAST_DATUM_COPY(PointerGetDatum(array));
	call->keys = idem_read_keys(call->array, &call->nkeys);
	make_members(call);
	MemoryContextSwitchTo(old);
}

/* Writes the canonical form of the record argument into the call's buffer. */
static HashCall *
write_record(FunctionCallInfo fcinfo)
{
	HashCall *call = get_call(fcinfo, 1);
	HeapTupleHeader row = PG_GETARG_HEAPTUPLEHEADER(0);

	fit_keys(call, PG_GETARG_DATUM(1), fcinfo->flinfo->fn_mcxt);
	idem_fit_shape(&call->shape, row, call->keys, call->nkeys, fcinfo->flinfo->fn_mcxt);
	resetStringInfo(&call->buf);
	idem_write_row(&call->buf, &call->shape, row);
	return call;
}

/* The same for a jsonb argument. */
static HashCall *
write_jsonb_object(FunctionCallInfo fcinfo)
{
	HashCall *call = get_call(fcinfo, 1);
	Jsonb *object = PG_GETARG_JSONB_P(0);
	int i;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("record is not a JSON object"),
				 errhint("Pass an object, for example '{\"id\": 1}'.")));
	fit_keys(call, PG_GETARG_DATUM(1), fcinfo->flinfo->fn_mcxt);
	resetStringInfo(&call->buf);
	for (i = 0; i < call->nkeys; i++)
	{
		const IdemMember *m = &call->members[i];
		const char *key = call->keys[m->index];
		JsonbValue value;

		CHECK_FOR_INTERRUPTS();
		if (getKeyJsonValueFromContainer(&object->root, key, strlen(key), &value) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("record has no key \"%s\"", key),
					 errhint("A key without a value must be present as null.")));
		appendBinaryStringInfo(&call->buf, m->prefix, m->prefix_len);
		idem_append_jsonb_value(&call->buf, &value);
	}
	appendStringInfoChar(&call->buf, '}');
	return call;
}

/* Makes the members' writers, of the arguments' types. */
static void
make_value_writers(HashCall *call, FunctionCallInfo fcinfo)
{
	MemoryContext old;
	int i;

	if (get_fn_expr_variadic(fcinfo->flinfo) || PG_NARGS() != call->nkeys + 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d keys need as many values", call->nkeys),
				 errhint("Pass the value of each key, in the keys' order and not as an array.")));
	old = MemoryContextSwitchTo(call->keys_context);
	for (i = 0; i < call->nkeys; i++)
	{
		IdemMember *m = &call->members[i];

		m->writer = idem_make_writer(get_fn_expr_argtype(fcinfo->flinfo, m->index + 1),
									 call->keys[m->index], call->keys_context);
	}
	MemoryContextSwitchTo(old);
	call->has_writers = true;
}

/* Writes the canonical form of the arguments after the first, which has their names. */
static HashCall *
write_values(FunctionCallInfo fcinfo)
{
	HashCall *call = get_call(fcinfo, 0);
	int i;

	fit_keys(call, PG_GETARG_DATUM(0), fcinfo->flinfo->fn_mcxt);
	if (!call->has_writers)
		make_value_writers(call, fcinfo);
	resetStringInfo(&call->buf);
	for (i = 0; i < call->nkeys; i++)
	{
		const IdemMember *m = &call->members[i];

		appendBinaryStringInfo(&call->buf, m->prefix, m->prefix_len);
		idem_write_value(&call->buf, m->writer, PG_GETARG_DATUM(m->index + 1), PG_ARGISNULL(m->index + 1));
	}
	appendStringInfoChar(&call->buf, '}');
	return call;
}

/* Returns the text of what was written. */
static Datum
canonical_result(HashCall *call)
{
	/* a buffer may hold a few bytes more than a text */
	if (call->buf.len > MaxAllocSize - VARHDRSZ)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("canonical form of %d bytes is too long for a text", call->buf.len),
				 errhint("Use idem_hash() or idem_uuid().")));
	return PointerGetDatum(cstring_to_text_with_len(call->buf.data, call->buf.len));
}

/* The two digits of each byte, "00" to "ff". */
#define PAIRS(d) d "0" d "1" d "2" d "3" d "4" d "5" d "6" d "7" d "8" d "9" d "a" d "b" d "c" d "d" d "e" d "f"
static const char pairs[] =
	PAIRS("0") PAIRS("1") PAIRS("2") PAIRS("3") PAIRS("4") PAIRS("5") PAIRS("6") PAIRS("7")
	PAIRS("8") PAIRS("9") PAIRS("a") PAIRS("b") PAIRS("c") PAIRS("d") PAIRS("e") PAIRS("f");

/* Returns the 64 hex digits of the SHA-256 of what was written. */
static Datum
hash_result(HashCall *call)
{
	text *result = palloc(VARHDRSZ + 2 * PG_SHA256_DIGEST_LENGTH);
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	int i;

	idem_sha256(call->buf.data, call->buf.len, digest);
	SET_VARSIZE(result, VARHDRSZ + 2 * PG_SHA256_DIGEST_LENGTH);
	for (i = 0; i < PG_SHA256_DIGEST_LENGTH; i++)
		memcpy(VARDATA(result) + 2 * i, pairs + 2 * digest[i], 2);
	return PointerGetDatum(result);
}

/* Returns the first 16 bytes of the SHA-256 as a UUID of version 8, RFC 9562. */
static Datum
uuid_result(HashCall *call)
{
	pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));
	uint8 digest[PG_SHA256_DIGEST_LENGTH];

	idem_sha256(call->buf.data, call->buf.len, digest);
	memcpy(uuid->data, digest, UUID_LEN);
	uuid->data[6] = (uuid->data[6] & 0x0f) | 0x80;
	uuid->data[8] = (uuid->data[8] & 0x3f) | 0x80;
	return UUIDPGetDatum(uuid);
}

PG_FUNCTION_INFO_V1(idem_canonical_record);
PG_FUNCTION_INFO_V1(idem_canonical_jsonb);
PG_FUNCTION_INFO_V1(idem_hash_record);
PG_FUNCTION_INFO_V1(idem_hash_jsonb);
PG_FUNCTION_INFO_V1(idem_uuid_record);
PG_FUNCTION_INFO_V1(idem_uuid_jsonb);
PG_FUNCTION_INFO_V1(idem_hash_values);
PG_FUNCTION_INFO_V1(idem_uuid_values);

/* SQL: idem_canonical(record, text[]) returns text */
Datum
idem_canonical_record(PG_FUNCTION_ARGS)
{
	return canonical_result(write_record(fcinfo));
}

/* SQL: idem_canonical(jsonb, text[]) returns text */
Datum
idem_canonical_jsonb(PG_FUNCTION_ARGS)
{
	return canonical_result(write_jsonb_object(fcinfo));
}

/* SQL: idem_hash(record, text[]) returns text */
Datum
idem_hash_record(PG_FUNCTION_ARGS)
{
	return hash_result(write_record(fcinfo));
}

/* SQL: idem_hash(jsonb, text[]) returns text */
Datum
idem_hash_jsonb(PG_FUNCTION_ARGS)
{
	return hash_result(write_jsonb_object(fcinfo));
}

/* SQL: idem_uuid(record, text[]) returns uuid */
Datum
idem_uuid_record(PG_FUNCTION_ARGS)
{
	return uuid_result(write_record(fcinfo));
}

/* SQL: idem_uuid(jsonb, text[]) returns uuid */
Datum
idem_uuid_jsonb(PG_FUNCTION_ARGS)
{
	return uuid_result(write_jsonb_object(fcinfo));
}

/* SQL: idem_hash_values(text[], VARIADIC "any") returns text */
Datum
idem_hash_values(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	return hash_result(write_values(fcinfo));
}

/* SQL: idem_uuid_values(text[], VARIADIC "any") returns uuid */
Datum
idem_uuid_values(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	return uuid_result(write_values(fcinfo));
}
