/*
 * rows.c
 *		The rows of one piece, on their way from the source to the target.
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "fmgr.h"
#include "load/rows.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "server/statement.h"
#include "utils/lsyscache.h"

/* Longest value shown in a message, in bytes. */
#define MAX_SHOWN 64

IdemRows
idem_make_rows(TupleDesc desc)
{
	IdemRows rows = {tuplestore_begin_heap(true, false, work_mem), desc, 0};

	return rows;
}

void
idem_put_row(IdemRows *rows, const Datum *values, const bool *nulls)
{
	tuplestore_putvalues(rows->store, rows->desc, unconstify(Datum *, values), unconstify(bool *, nulls));
	rows->count++;
}

/* A domain's values lie in memory as those of its base type. */
void
idem_check_column(const IdemTarget *target, TupleDesc desc, int column, Oid type)
{
	Oid found = column < desc->natts ? TupleDescAttr(desc, column)->atttypid : InvalidOid;

	if (found != type && getBaseType(found) != getBaseType(type))
		idem_report_changed(target);
}

void
idem_start_rows(DestReceiver *self, int operation, TupleDesc desc)
{
	const IdemRowReceiver *receiver = (IdemRowReceiver *) self;
	int natts = receiver->desc ? receiver->desc->natts : 0;
	int i;

	for (i = 0; i < natts; i++)
		idem_check_column(receiver->target, desc, i, TupleDescAttr(receiver->desc, i)->atttypid);
}

void
idem_empty_rows(IdemRows *rows)
{
	tuplestore_clear(rows->store);
	rows->count = 0;
}

void
idem_free_rows(IdemRows *rows)
{
	tuplestore_end(rows->store);
	rows->store = NULL;
}

void
idem_show_rows(const IdemRows *rows)
{
	idem_register_rows(IDEM_ROWS, rows->desc, rows->store, rows->count);
}

void
idem_hide_rows(void)
{
	idem_unregister_rows(IDEM_ROWS);
	idem_unregister_rows(IDEM_WRITTEN);
}

void
idem_show_written(const IdemRows *rows)
{
	idem_register_rows(IDEM_WRITTEN, rows->desc, rows->store, rows->count);
}

int
idem_column_index(TupleDesc desc, const char *name)
{
	int i = 0;

	while (strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) != 0)
		i++;
	return i;
}

/* Appends a value, clipped. */
static void
append_value(StringInfo buf, TupleDesc desc, TupleTableSlot *slot, int index)
{
	bool isnull;
	Datum value = slot_getattr(slot, index + 1, &isnull);
	Oid output;
	bool is_varlena;
	char *text;
	int len;

	if (isnull)
	{
		appendStringInfoString(buf, "null");
		return;
	}
	getTypeOutputInfo(TupleDescAttr(desc, index)->atttypid, &output, &is_varlena);
	text = OidOutputFunctionCall(output, value);
	len = pg_mbcliplen(text, strlen(text), MAX_SHOWN);
	appendBinaryStringInfo(buf, text, len);
	if (text[len])
		appendStringInfoString(buf, "...");
}

/* True if a column belongs into the description of a row; the source's may be none of the target's. */
static bool
is_described(const IdemTarget *target, const char *name)
{
	const IdemColumn *column;

	if (target == NULL || target->nkeys == 0)
		return true;
	column = idem_find_column(target, name);
	return column && column->is_key;
}

char *
idem_describe_row(const IdemTarget *target, TupleDesc desc, TupleTableSlot *slot)
{
	StringInfoData names;
	StringInfoData values;
	int i;

	initStringInfo(&names);
	initStringInfo(&values);
	for (i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (!is_described(target, name))
			continue;
		if (names.len > 0)
		{
			appendStringInfoString(&names, ", ");
			appendStringInfoString(&values, ", ");
		}
		appendStringInfoString(&names, name);
		append_value(&values, desc, slot, i);
	}
	return psprintf("(%s)=(%s)", names.data, values.data);
}
