/*
 * canonical.c
 *		A value or a row as Python's json.dumps() writes it.
 *
 * One writer per type, found in a table by the type's OID or, for the types that
 * are made of others, by what they are made of.  A type's output function is
 * never called: its volatility label does not prove that it ignores settings
 * (float8out and byteaout are marked immutable and obey some).
 *
 * This file must not know how the text is used, hashed or otherwise.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "id/canonical.h"
#include "id/decimal.h"
#include "id/json.h"
#include "id/jsonstring.h"
#include "id/time.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "server/compat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

typedef void (*WriteFunction)(StringInfo buf, IdemWriter *writer, Datum value);

struct IdemWriter
{
	WriteFunction write;
	const char *column; /* for messages */
	Oid type;
	MemoryContext context; /* where the writer, and what it makes later, lives */
	IdemWriter *element;   /* of an array, or the bound of a range */
	int16 element_len;	   /* storage of an array's element */
	bool element_byval;
	char element_align;
	TypeCacheEntry *range;
	IdemShape shape; /* of a composite */
};

static void
write_bool(StringInfo buf, IdemWriter *writer, Datum value)
{
	appendStringInfoString(buf, DatumGetBool(value) ? "true" : "false");
}

static void
write_int8(StringInfo buf, IdemWriter *writer, Datum value)
{
	char digits[MAXINT8LEN + 1];

	appendBinaryStringInfo(buf, digits, pg_lltoa(DatumGetInt64(value), digits));
}

static void
write_int4(StringInfo buf, IdemWriter *writer, Datum value)
{
	char digits[12];

	appendBinaryStringInfo(buf, digits, pg_ltoa(DatumGetInt32(value), digits));
}

static void
write_int2(StringInfo buf, IdemWriter *writer, Datum value)
{
	write_int4(buf, writer, Int32GetDatum(DatumGetInt16(value)));
}

static void
write_float8(StringInfo buf, IdemWriter *writer, Datum value)
{
	idem_append_float8(buf, DatumGetFloat8(value));
}

static void
write_float4(StringInfo buf, IdemWriter *writer, Datum value)
{
	idem_append_float4(buf, DatumGetFloat4(value));
}

static void
write_numeric(StringInfo buf, IdemWriter *writer, Datum value)
{
	char *text = DatumGetCString(DirectFunctionCall1(numeric_out, value));

	idem_append_numeric_text(buf, text);
	pfree(text);
}

static void
write_text(StringInfo buf, IdemWriter *writer, Datum value)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(value);

	idem_append_json_string(buf, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
	if ((Pointer) text != DatumGetPointer(value))
		pfree(text);
}

/* a literal that nothing gave a type, as in ROW('a') */
static void
write_unknown(StringInfo buf, IdemWriter *writer, Datum value)
{
	const char *literal = DatumGetCString(value);

	idem_append_json_string(buf, literal, strlen(literal));
}

/* char(n) without its padding, as the server compares it */
static void
write_bpchar(StringInfo buf, IdemWriter *writer, Datum value)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(value);

	idem_append_json_string(buf, VARDATA_ANY(text),
							bpchartruelen(VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text)));
}

static void
write_name(StringInfo buf, IdemWriter *writer, Datum value)
{
	const char *name = NameStr(*DatumGetName(value));

	idem_append_json_string(buf, name, strlen(name));
}

static void
write_enum(StringInfo buf, IdemWriter *writer, Datum value)
{
	HeapTuple label = SearchSysCache1(ENUMOID, value);
	const char *name;

	if (!HeapTupleIsValid(label))
		elog(ERROR, "cache lookup failed for enum value %u", DatumGetObjectId(value));
	name = NameStr(((Form_pg_enum) GETSTRUCT(label))->enumlabel);
	idem_append_json_string(buf, name, strlen(name));
	ReleaseSysCache(label);
}

static void
write_date(StringInfo buf, IdemWriter *writer, Datum value)
{
	appendStringInfoChar(buf, '"');
	idem_append_date(buf, DatumGetDateADT(value));
	appendStringInfoChar(buf, '"');
}

static void
write_time(StringInfo buf, IdemWriter *writer, Datum value)
{
	appendStringInfoChar(buf, '"');
	idem_append_time(buf, DatumGetTimeADT(value));
	appendStringInfoChar(buf, '"');
}

static void
write_timestamp(StringInfo buf, IdemWriter *writer, Datum value)
{
	appendStringInfoChar(buf, '"');
	idem_append_timestamp(buf, DatumGetTimestamp(value), false);
	appendStringInfoChar(buf, '"');
}

static void
write_timestamptz(StringInfo buf, IdemWriter *writer, Datum value)
{
	appendStringInfoChar(buf, '"');
	idem_append_timestamp(buf, DatumGetTimestampTz(value), true);
	appendStringInfoChar(buf, '"');
}

static void
write_interval(StringInfo buf, IdemWriter *writer, Datum value)
{
	appendStringInfoChar(buf, '"');
	idem_append_interval(buf, DatumGetIntervalP(value));
	appendStringInfoChar(buf, '"');
}

static void
write_uuid(StringInfo buf, IdemWriter *writer, Datum value)
{
	char *text = DatumGetCString(DirectFunctionCall1(uuid_out, value));

	idem_append_json_ascii(buf, text);
	pfree(text);
}

static void
write_bytea(StringInfo buf, IdemWriter *writer, Datum value)
{
	bytea *bytes = DatumGetByteaPP(value);
	int len = VARSIZE_ANY_EXHDR(bytes);

	appendStringInfoChar(buf, '"');
	enlargeStringInfo(buf, 2 * len + 1);
	hex_encode(VARDATA_ANY(bytes), len, buf->data + buf->len);
	buf->len += 2 * len;
	appendStringInfoChar(buf, '"');
}

static void
write_json(StringInfo buf, IdemWriter *writer, Datum value)
{
	char *document = TextDatumGetCString(value);

	idem_append_json(buf, document);
	pfree(document);
}

static void
write_jsonb(StringInfo buf, IdemWriter *writer, Datum value)
{
	idem_append_jsonb(buf, &DatumGetJsonbP(value)->root);
}

/* The simple types. */
static const struct
{
	Oid type;
	WriteFunction write;
} writers[] = {
	{BOOLOID, write_bool},
	{INT2OID, write_int2},
	{INT4OID, write_int4},
	{INT8OID, write_int8},
	{FLOAT4OID, write_float4},
	{FLOAT8OID, write_float8},
	{NUMERICOID, write_numeric},
	{TEXTOID, write_text},
	{VARCHAROID, write_text},
	{UNKNOWNOID, write_unknown},
	{BPCHAROID, write_bpchar},
	{NAMEOID, write_name},
	{DATEOID, write_date},
	{TIMEOID, write_time},
	{TIMESTAMPOID, write_timestamp},
	{TIMESTAMPTZOID, write_timestamptz},
	{INTERVALOID, write_interval},
	{UUIDOID, write_uuid},
	{BYTEAOID, write_bytea},
	{JSONOID, write_json},
	{JSONBOID, write_jsonb},
};

/* Appends one dimension of an array, from its flat elements. */
static void
write_dimension(StringInfo buf, IdemWriter *writer, int ndims, const int *dims,
				Datum **values, bool **nulls)
{
	int i;

	appendStringInfoChar(buf, '[');
	for (i = 0; i < dims[0]; i++)
	{
		if (i > 0)
			appendStringInfoString(buf, ", ");
		if (ndims > 1)
			write_dimension(buf, writer, ndims - 1, dims + 1, values, nulls);
		else
			idem_write_value(buf, writer->element, *(*values)++, *(*nulls)++);
	}
	appendStringInfoChar(buf, ']');
}

static void
write_array(StringInfo buf, IdemWriter *writer, Datum value)
{
	ArrayType *array = DatumGetArrayTypeP(value);
	Datum *values;
	bool *nulls;
	int n;

	deconstruct_array(array, ARR_ELEMTYPE(array), writer->element_len,
					  writer->element_byval, writer->element_align,
					  &values, &nulls, &n);
	if (n == 0)
		appendStringInfoString(buf, "[]");
	else
		write_dimension(buf, writer, ARR_NDIM(array), ARR_DIMS(array), &values, &nulls);
}

static void
write_composite(StringInfo buf, IdemWriter *writer, Datum value)
{
	HeapTupleHeader row = DatumGetHeapTupleHeader(value);

	check_stack_depth();
	idem_fit_shape(&writer->shape, row, NULL, 0, writer->context);
	idem_write_row(buf, &writer->shape, row);
}

/*
 * Appends one bound as range_out() would, quoted where it must be, but from the
 * bound's canonical form.
 */
static void
append_bound(StringInfo buf, IdemWriter *writer, const RangeBound *bound)
{
	StringInfoData json;
	const char *text;
	const char *end;

	if (bound->infinite)
		return;
	initStringInfo(&json);
	idem_write_value(&json, writer->element, bound->val, false);
	text = json.data;
	end = text + json.len;
	if (*text == '"')
	{
		text++;
		end--;
	}
	if (text < end && strcspn(text, "\"\\()[], ") >= (size_t) (end - text))
		appendBinaryStringInfo(buf, text, end - text);
	else
	{
		appendStringInfoChar(buf, '"');
		for (; text < end; text++)
		{
			if (*text == '"' || *text == '\\')
				appendStringInfoChar(buf, *text);
			appendStringInfoChar(buf, *text);
		}
		appendStringInfoChar(buf, '"');
	}
	pfree(json.data);
}

static void
write_range(StringInfo buf, IdemWriter *writer, Datum value)
{
	RangeBound lower;
	RangeBound upper;
	bool empty;
	StringInfoData text;

	range_deserialize(writer->range, DatumGetRangeTypeP(value), &lower, &upper, &empty);
	initStringInfo(&text);
	if (empty)
		appendStringInfoString(&text, "empty");
	else
	{
		appendStringInfoChar(&text, lower.inclusive ? '[' : '(');
		append_bound(&text, writer, &lower);
		appendStringInfoChar(&text, ',');
		append_bound(&text, writer, &upper);
		appendStringInfoChar(&text, upper.inclusive ? ']' : ')');
	}
	idem_append_json_utf8(buf, text.data, text.len);
	pfree(text.data);
}

/* The function that writes a type's binary form. */
static char *
send_function(Oid type)
{
	Oid function;
	bool varlena;

	getTypeBinaryOutputInfo(type, &function, &varlena);
	return get_func_name(function);
}

/*
 * Returns an expression that gives a column of a type without a canonical form one
 * that no setting changes; NULL if we know none.  The text of a geometric type obeys
 * extra_float_digits, that of reg* search_path, that of a multirange DateStyle.
 */
static char *
suggest_expression(const char *column, Oid type, Oid column_type)
{
	bool array = type != column_type;
	const char *suffix = array ? "[]" : "";
	char category;
	bool preferred;

	if (type >= FirstGenbkiObjectId || (array && get_element_type(column_type) != type))
		return NULL; /* who knows what its output function does */
	get_type_category_preferred(type, &category, &preferred);
	switch (category)
	{
		case TYPCATEGORY_NUMERIC: /* oid and its aliases */
			return psprintf("%s::bigint%s", column, suffix);
		case TYPCATEGORY_GEOMETRIC:
			return psprintf("%s(%s)", send_function(column_type), column);
		case TYPCATEGORY_RANGE:
			return array ? NULL : psprintf("ARRAY(SELECT unnest(%s))", column);
		case TYPCATEGORY_PSEUDOTYPE:
			return NULL;
		default:
			return psprintf("%s::text%s", column, suffix);
	}
}

/* Fails for a column that is, or is made of, a type without a canonical form. */
static void
fail_no_form(const char *column, Oid type, Oid column_type)
{
	const char *name = quote_identifier(column);
	const char *expression = NULL;

	if (type != MONEYOID)
		expression = suggest_expression(name, type, column_type);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("column \"%s\" of type %s has no canonical form",
					column, format_type_be(column_type)),
			 type == MONEYOID ? errhint("Store it as numeric: what money is worth follows the setting lc_monetary, as does %s::numeric.", name)
			 : expression	  ? errhint("Convert it to a type that has one, for example %s.", expression)
							  : errhint("Convert it to a type that has one, such as %s::text if no setting changes that.", name)));
}

static IdemWriter *make_writer(Oid type, const char *column, Oid column_type, MemoryContext context);

/* Finds the writer of a type that is made of others, or fails. */
static void
make_derived_writer(IdemWriter *writer, Oid column_type)
{
	Oid element = get_element_type(writer->type);
	MemoryContext cxt = writer->context;

	if (OidIsValid(element))
	{
		writer->write = write_array;
		writer->element = make_writer(element, writer->column, column_type, cxt);
		get_typlenbyvalalign(element, &writer->element_len, &writer->element_byval,
							 &writer->element_align);
	}
	else if (type_is_rowtype(writer->type))
		writer->write = write_composite;
	else if (type_is_range(writer->type))
	{
		writer->write = write_range;
		writer->range = lookup_type_cache(writer->type, TYPECACHE_RANGE_INFO);
		writer->element = make_writer(writer->range->rngelemtype->type_id,
									  writer->column, column_type, cxt);
	}
	else if (type_is_enum(writer->type))
		writer->write = write_enum;
	else if (IsBinaryCoercible(writer->type, TEXTOID))
		writer->write = write_text; /* citext and its like */
	else
		fail_no_form(writer->column, writer->type, column_type);
}

/* Makes the writer of a column's type, or of a type that it is made of. */
static IdemWriter *
make_writer(Oid type, const char *column, Oid column_type, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	IdemWriter *writer = palloc0(sizeof(IdemWriter));
	size_t i;

	check_stack_depth();
	writer->type = getBaseType(type);
	writer->column = pstrdup(column);
	writer->context = context;
	for (i = 0; i < lengthof(writers) && writer->write == NULL; i++)
	{
		if (writers[i].type == writer->type)
			writer->write = writers[i].write;
	}
	if (writer->write == NULL)
		make_derived_writer(writer, column_type);
	MemoryContextSwitchTo(old);
	return writer;
}

IdemWriter *
idem_make_writer(Oid type, const char *column, MemoryContext context)
{
	return make_writer(type, column, getBaseType(type), context);
}

void
idem_write_value(StringInfo buf, IdemWriter *writer, Datum value, bool isnull)
{
	CHECK_FOR_INTERRUPTS();
	if (isnull)
		appendBinaryStringInfo(buf, "null", 4);
	else
		writer->write(buf, writer, value);
}

/* Orders members by name: UTF-8's bytes sort by code point, as Python does. */
static int
compare_members(const void *a, const void *b, void *arg)
{
	return strcmp(((const IdemMember *) a)->name, ((const IdemMember *) b)->name);
}

void
idem_sort_members(IdemMember *members, int nmembers)
{
	StringInfoData prefix;
	int i;

	qsort_interruptible(members, nmembers, sizeof(IdemMember), compare_members, NULL);
	initStringInfo(&prefix);
	for (i = 0; i < nmembers; i++)
	{
		CHECK_FOR_INTERRUPTS();
		resetStringInfo(&prefix);
		appendStringInfoString(&prefix, i == 0 ? "{" : ", ");
		idem_append_json_utf8(&prefix, members[i].name, strlen(members[i].name));
		appendStringInfoString(&prefix, ": ");
		members[i].prefix = pnstrdup(prefix.data, prefix.len);
		members[i].prefix_len = prefix.len;
	}
	pfree(prefix.data);
}

/* Fills in the member that stands for a column. */
static void
set_member(IdemMember *member, TupleDesc desc, int index)
{
	const char *name = NameStr(TupleDescAttr(desc, index)->attname);
	int len;

	member->name = pstrdup(idem_to_utf8(name, strlen(name), &len));
	member->index = index;
	member->writer = idem_make_writer(TupleDescAttr(desc, index)->atttypid, name,
									  CurrentMemoryContext);
}

/* Finds a column by name. */
static int
find_column(TupleDesc desc, const char *name)
{
	int i;

	for (i = 0; i < desc->natts; i++)
	{
		if (!TupleDescAttr(desc, i)->attisdropped &&
			strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("record has no column \"%s\"", name),
			 errhint("Keys are column names of the record, in their exact case.")));
}

void
idem_build_members(IdemShape *shape, TupleDesc desc, char **keys, int nkeys)
{
	int i;

	shape->nmembers = 0;
	shape->natts = 0;
	shape->members = palloc(Max(nkeys > 0 ? nkeys : desc->natts, 1) * sizeof(IdemMember));
	if (nkeys > 0)
	{
		for (i = 0; i < nkeys; i++)
			set_member(&shape->members[shape->nmembers++], desc, find_column(desc, keys[i]));
	}
	else
	{
		for (i = 0; i < desc->natts; i++)
		{
			if (!TupleDescAttr(desc, i)->attisdropped)
				set_member(&shape->members[shape->nmembers++], desc, i);
		}
	}
	for (i = 0; i < shape->nmembers; i++)
		shape->natts = Max(shape->natts, shape->members[i].index + 1);
	idem_sort_members(shape->members, shape->nmembers);
}

/*
 * The version of a row's type.  The type cache says it of a named type without a
 * lookup: its entries stay where they are, and one that is no longer right has no
 * identifier.
 */
static uint64
row_version(IdemShape *shape, Oid type, int32 typmod)
{
	if (shape->cached && shape->cached->type_id == type && shape->cached->tupDesc_identifier != 0)
		return shape->cached->tupDesc_identifier;
	shape->cached = type == RECORDOID ? NULL : lookup_type_cache(type, TYPECACHE_TUPDESC);
	return assign_record_type_identifier(type, typmod);
}

void
idem_fit_shape(IdemShape *shape, HeapTupleHeader row,
			   char **keys, int nkeys, MemoryContext parent)
{
	Oid type = HeapTupleHeaderGetTypeId(row);
	int32 typmod = HeapTupleHeaderGetTypMod(row);
	uint64 identifier = row_version(shape, type, typmod);
	MemoryContext old;
	TupleDesc desc;

	if (shape->context && shape->identifier == identifier)
		return;
	/* if making it fails, what is half made fits no row */
	shape->identifier = 0;
	if (shape->context)
		MemoryContextDelete(shape->context);
	shape->context = NULL;
	shape->context = AllocSetContextCreate(parent, "idem row shape",
										   ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(shape->context);

	/* our own copy is not reference-counted, so the slot may hold on to it */
	desc = lookup_rowtype_tupdesc_copy(type, typmod);
	idem_build_members(shape, desc, keys, nkeys);
	shape->slot = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
	shape->identifier = identifier;
	MemoryContextSwitchTo(old);
}

void
idem_write_row(StringInfo buf, IdemShape *shape, HeapTupleHeader row)
{
	HeapTupleData tuple;
	int i;

	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = row;
	ExecStoreHeapTuple(&tuple, shape->slot, false);
	slot_getsomeattrs(shape->slot, shape->natts);
	for (i = 0; i < shape->nmembers; i++)
	{
		const IdemMember *m = &shape->members[i];

		appendBinaryStringInfo(buf, m->prefix, m->prefix_len);
		idem_write_value(buf, m->writer, shape->slot->tts_values[m->index],
						 shape->slot->tts_isnull[m->index]);
	}
	appendStringInfoString(buf, shape->nmembers > 0 ? "}" : "{}");
	ExecClearTuple(shape->slot);
}
