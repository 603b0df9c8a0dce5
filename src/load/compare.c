/*
 * compare.c
 *		One join by key of rows and target: what is to be written.
 *
 * What it does not return is proven by its snapshot: those rows are in the target as
 * they should be.
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "load/apply.h"
#include "server/query.h"
#include "utils/builtins.h"

/* A name that no column of the target has, for the flag that a row is there. */
static const char *
flag_name(const IdemTarget *target)
{
	const char *name = "here";

	while (idem_find_column(target, name))
		name = psprintf("%s_", name);
	return quote_identifier(name);
}

/* Appends the rows as s, or the target as d, each with the flag. */
static void
append_rows(StringInfo sql, IdemApply *apply)
{
	appendStringInfoString(sql, "(SELECT ");
	idem_append_columns(sql, apply->target, "s.");
	appendStringInfo(sql, ", true AS %s FROM %s s) s", flag_name(apply->target), IDEM_ROWS);
}

static void
append_target(StringInfo sql, IdemApply *apply, bool by_window)
{
	appendStringInfoString(sql, "(SELECT ");
	idem_append_columns(sql, apply->target, "d.");
	appendStringInfo(sql, ", true AS %s FROM %s d", flag_name(apply->target), apply->target->name);
	if (by_window)
		idem_append_by_window(sql, apply, " WHERE ");
	appendStringInfoString(sql, ") d");
}

/*
 * Appends the join: s.*, d's keys if rows can be gone, is it gone, is it missing
 *
 * SELECT s.c, …, d.k, …, s.here IS NULL, d.here IS NULL
 *     FROM (SELECT c, …, true AS here FROM idem_source s) s
 *     FULL JOIN (SELECT c, …, true AS here FROM target d WHERE d.w >= $1 AND d.w < $2) d
 *     ON d.k = s.k
 *     WHERE s.here IS NULL OR d.here IS NULL OR changed
 */
static void
append_join(StringInfo sql, IdemApply *apply, const char *join, bool by_window, bool gone)
{
	const IdemTarget *target = apply->target;
	const char *here = flag_name(target);

	appendStringInfoString(sql, "SELECT ");
	idem_append_columns(sql, target, "s.");
	if (gone)
	{
		appendStringInfoString(sql, ", ");
		idem_append_keys(sql, target, "d.");
	}
	appendStringInfo(sql, ", s.%s IS NULL, d.%s IS NULL FROM ", here, here);
	append_rows(sql, apply);
	appendStringInfo(sql, " %s JOIN ", join);
	append_target(sql, apply, by_window);
	appendStringInfoString(sql, " ON ");
	idem_append_same_key(sql, apply, "d", "s");
	appendStringInfo(sql, " WHERE s.%s IS NULL OR d.%s IS NULL OR (", here, here);
	idem_append_changed(sql, target, "d", "s", !apply->reload);
	appendStringInfoChar(sql, ')');
}

/* Appends: UNION ALL SELECT NULL, …, d.k, …, true, false FROM target d WHERE no row has its key */
static void
append_gone(StringInfo sql, IdemApply *apply)
{
	int i;

	appendStringInfoString(sql, " UNION ALL SELECT ");
	for (i = 0; i < apply->desc->natts; i++)
		appendStringInfoString(sql, "NULL, ");
	idem_append_keys(sql, apply->target, "d.");
	appendStringInfo(sql, ", true, false FROM %s d WHERE NOT EXISTS (SELECT FROM %s s WHERE ",
					 apply->target->name, IDEM_ROWS);
	idem_append_same_key(sql, apply, "d", "s");
	appendStringInfoChar(sql, ')');
	idem_append_by_window(sql, apply, " AND ");
}

/*
 * Builds it for a window.  An upsert leaves rows that the source does not mention.
 * Where no key can be hashed the server may have no FULL JOIN, and what is gone is asked
 * for beside what is not.
 */
void
idem_build_compare(StringInfo sql, IdemApply *apply)
{
	bool full = apply->reload && idem_can_hash_keys(apply->target);

	append_join(sql, apply, full ? "FULL" : "LEFT", true, apply->reload);
	if (apply->reload && !full)
		append_gone(sql, apply);
}

/* Builds it for rows wherever they are in the target. */
void
idem_build_look(StringInfo sql, IdemApply *apply)
{
	append_join(sql, apply, "LEFT", false, false);
}

/* Sorts the join's rows by what is to be done. */
typedef struct DifferenceReceiver
{
	DestReceiver pub;
	IdemApply *apply;
	IdemDifference *difference;
	int *keys;	   /* places of the keys in a row */
	Datum *values; /* of a row that is gone, */
	bool *nulls;   /* all NULL but the keys */
} DifferenceReceiver;

static void
startup_receiver(DestReceiver *self, int operation, TupleDesc desc)
{
	DifferenceReceiver *receiver = (DifferenceReceiver *) self;
	const IdemTarget *target = receiver->apply->target;
	int natts = receiver->apply->desc->natts;
	int i;

	for (i = 0; i < natts; i++)
		idem_check_column(target, desc, i, TupleDescAttr(receiver->apply->desc, i)->atttypid);
	receiver->keys = palloc(target->nkeys * sizeof(int));
	for (i = 0; i < target->nkeys; i++)
	{
		receiver->keys[i] = idem_column_index(receiver->apply->desc, target->keys[i]->name);
		/* but where none is asked for */
		if (desc->natts > natts + 2)
			idem_check_column(target, desc, natts + i, TupleDescAttr(receiver->apply->desc, receiver->keys[i])->atttypid);
	}
	receiver->values = palloc0(natts * sizeof(Datum));
	receiver->nulls = palloc(natts * sizeof(bool));
	memset(receiver->nulls, true, natts * sizeof(bool));
}

/* Adds a row that is gone; its keys are columns of the slot from first on. */
static void
put_gone(DifferenceReceiver *receiver, TupleTableSlot *slot, int first)
{
	int i;

	for (i = 0; i < receiver->apply->target->nkeys; i++)
	{
		receiver->values[receiver->keys[i]] = slot->tts_values[first + i];
		receiver->nulls[receiver->keys[i]] = slot->tts_isnull[first + i];
	}
	idem_note_keys(receiver->apply, receiver->nulls);
	idem_put_row(&receiver->difference->gone, receiver->values, receiver->nulls);
}

/* Takes one row. */
static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	DifferenceReceiver *receiver = (DifferenceReceiver *) self;
	IdemDifference *difference = receiver->difference;
	int natts = receiver->apply->desc->natts;
	int flags = slot->tts_tupleDescriptor->natts - 2;

	slot_getallattrs(slot);
	if (DatumGetBool(slot->tts_values[flags]))
		put_gone(receiver, slot, natts);
	else
		idem_put_row(DatumGetBool(slot->tts_values[flags + 1]) ? &difference->missing : &difference->changed,
					 slot->tts_values, slot->tts_isnull);
	return true;
}

static void
shutdown_receiver(DestReceiver *self)
{
	DifferenceReceiver *receiver = (DifferenceReceiver *) self;

	pfree(receiver->keys);
	pfree(receiver->values);
	pfree(receiver->nulls);
}

/* Runs a comparison. */
static IdemDifference
compare(IdemApply *apply, IdemPiece *piece, const IdemRows *rows, IdemCommand command, Snapshot since)
{
	IdemDifference difference = {
		idem_make_rows(apply->desc),
		idem_make_rows(apply->desc),
		idem_make_rows(apply->desc),
	};
	DifferenceReceiver receiver = {
		.pub = {receive_row, startup_receiver, shutdown_receiver, idem_keep_receiver, DestNone},
		.apply = apply,
		.difference = &difference,
	};

	idem_run_on_rows(apply, command, piece, rows, since, &receiver.pub);
	return difference;
}

IdemDifference
idem_compare_window(IdemApply *apply, IdemPiece *piece, Snapshot since)
{
	return compare(apply, piece, &piece->rows, IDEM_COMPARE, since);
}

IdemDifference
idem_compare_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows, Snapshot since)
{
	return compare(apply, piece, rows, IDEM_LOOK, since);
}

void
idem_free_difference(IdemDifference *difference)
{
	idem_free_rows(&difference->changed);
	idem_free_rows(&difference->missing);
	idem_free_rows(&difference->gone);
}
