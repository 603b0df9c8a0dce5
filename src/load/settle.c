/*
 * settle.c
 *		What a method's writing did to other rows is made good.
 *
 * A row is proven by the statement that wrote it, or by the comparison that found it as it
 * should be.  What triggers and the actions of foreign keys do to others when a row is
 * written is proven by neither: they delete what was found, change it, put rows into the
 * window.  So where the target has such, and the server has counted more rows of it than
 * we have written, rows and target are compared once more, and what was not written by us
 * and is not as it should be is written again; that may act on others again, and so on for
 * some rounds.  What we have written may come out altered, as ever.
 *
 * It is the state of now that is compared: an older snapshot shows a row that another
 * session has updated since although a trigger of ours has deleted it then.  A row that he
 * has deleted or changed is so put right too; but it is no failure of ours: what the last
 * round finds is looked at as of the round before, with our own changes since.  And rows
 * that he has put into the window stay: gone is what a snapshot from before shows.
 *
 * Where no index over keys tells which row is which, the window has been emptied, and all
 * must be in it that was inserted, and nothing else.
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "load/apply.h"
#include "miscadmin.h"
#include "server/changes.h"
#include "server/query.h"
#include "server/touched.h"

/* Builds: SELECT s.c, … FROM idem_source s WHERE NOT EXISTS (SELECT FROM idem_written w WHERE w.k = s.k) */
void
idem_build_others(StringInfo sql, IdemApply *apply)
{
	appendStringInfoString(sql, "SELECT ");
	idem_append_columns(sql, apply->target, "s.");
	appendStringInfo(sql, " FROM %s s WHERE NOT EXISTS (SELECT FROM %s w WHERE ", IDEM_ROWS, IDEM_WRITTEN);
	idem_append_same_key(sql, apply, "w", "s");
	appendStringInfoChar(sql, ')');
}

/* How many rows we have written. */
static int64
count_reported(const IdemPiece *piece)
{
	return piece->run->inserted_rows + piece->run->updated_rows + piece->run->deleted_rows;
}

/* Begins to count. */
static void
begin_count(const IdemApply *apply, const IdemPiece *piece, IdemSettling *settling)
{
	settling->touched = idem_count_touched(apply->target->base);
	settling->reported = count_reported(piece);
	settling->changes = idem_catalog_changes();
}

/*
 * True if more may have happened to the target since than we have written.  Rows that go
 * with a TRUNCATE, of another partition, are not counted, but the catalogs change.
 */
static bool
has_acted(const IdemApply *apply, const IdemPiece *piece, const IdemSettling *settling)
{
	int64 touched = idem_count_touched(apply->target->base);

	return touched < 0 || settling->touched < 0 || settling->changes != idem_catalog_changes() ||
		   touched - settling->touched != count_reported(piece) - settling->reported;
}

void
idem_begin_settling(IdemApply *apply, IdemPiece *piece, IdemSettling *settling)
{
	memset(settling, 0, sizeof(IdemSettling));
	if (!apply->acts)
		return;
	settling->since = idem_take_snapshot();
	begin_count(apply, piece, settling);
}

/* Adds rows to others. */
static void
add_rows(IdemRows *to, const IdemRows *rows)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(rows->desc, &TTSOpsMinimalTuple);

	tuplestore_rescan(rows->store);
	while (tuplestore_gettupleslot(rows->store, true, false, slot))
		tuplestore_puttupleslot(to->store, slot);
	to->count += rows->count;
	ExecDropSingleTupleTableSlot(slot);
}

void
idem_note_written(IdemApply *apply, IdemSettling *settling, const IdemDifference *difference)
{
	if (!apply->acts)
		return;
	if (settling->written.store == NULL)
		settling->written = idem_make_rows(apply->desc);
	add_rows(&settling->written, &difference->changed);
	add_rows(&settling->written, &difference->missing);
}

/* Leaves of some rows those that we have not written. */
static void
leave_others(IdemApply *apply, IdemPiece *piece, IdemRows *rows, const IdemSettling *settling)
{
	IdemRows others;

	if (rows->count > 0 && settling->written.store)
	{
		idem_show_written(&settling->written);
		others = idem_collect_rows(apply, IDEM_OTHERS, piece, rows, NULL);
	}
	else
		others = idem_make_rows(apply->desc);
	idem_free_rows(rows);
	*rows = others;
}

/*
 * Looks for the rows of an upsert that are not in the window elsewhere in the target: a
 * trigger may have moved them, and so may others.
 */
static void
look_elsewhere(IdemApply *apply, IdemPiece *piece, IdemDifference *difference)
{
	IdemDifference elsewhere;

	if (apply->reload || !apply->by_window || difference->missing.count == 0)
		return;
	elsewhere = idem_compare_rows(apply, piece, &difference->missing, NULL);
	add_rows(&difference->changed, &elsewhere.changed);
	idem_free_rows(&difference->missing);
	difference->missing = elsewhere.missing;
	idem_free_rows(&elsewhere.changed);
	idem_free_rows(&elsewhere.gone);
}

/* Leaves of what is gone what others have not put there meanwhile. */
static void
leave_ours(IdemApply *apply, IdemPiece *piece, IdemDifference *difference, const IdemSettling *settling)
{
	IdemDifference ours;

	if (difference->gone.count == 0)
		return;
	ours = idem_compare_window(apply, piece, settling->since);
	idem_free_rows(&difference->gone);
	difference->gone = ours.gone;
	idem_free_rows(&ours.changed);
	idem_free_rows(&ours.missing);
}

/* Compares once more, as of now or since a snapshot. */
static IdemDifference
compare_again(IdemApply *apply, IdemPiece *piece, const IdemSettling *settling, Snapshot since)
{
	IdemDifference difference = idem_compare_window(apply, piece, since);

	look_elsewhere(apply, piece, &difference);
	leave_others(apply, piece, &difference.changed, settling);
	leave_ours(apply, piece, &difference, settling);
	return difference;
}

/* Fails for what is still not as it should be, and that by our own doing. */
static void
report_unsettled(IdemApply *apply, IdemPiece *piece, const IdemSettling *settling)
{
	IdemDifference difference = compare_again(apply, piece, settling, settling->seen);

	idem_report_unwritten(apply, &difference.missing);
	idem_report_unwritten(apply, &difference.changed);
	idem_report_kept(apply, &difference.gone);
	idem_free_difference(&difference);
}

/* Compares, and writes what differs; returns false if nothing does. */
static bool
settle_once(IdemApply *apply, IdemPiece *piece, IdemSettling *settling)
{
	IdemDifference difference;
	bool result;

	if (settling->seen)
		idem_release_snapshot(settling->seen);
	settling->seen = idem_take_snapshot();
	begin_count(apply, piece, settling);
	difference = compare_again(apply, piece, settling, NULL);
	if (settling->written.store)
		idem_note_written(apply, settling, &difference);
	result = idem_write_difference(apply, piece, &difference);
	idem_free_difference(&difference);
	return result;
}

/* Compares and writes until nothing else happens. */
static void
settle_rows(IdemApply *apply, IdemPiece *piece, IdemSettling *settling)
{
	int round = 0;

	while (has_acted(apply, piece, settling) && settle_once(apply, piece, settling))
	{
		CHECK_FOR_INTERRUPTS();
		if (++round < IDEM_MAX_ROUNDS)
			continue;
		report_unsettled(apply, piece, settling);
		break;
	}
}

/* Counts the rows that a statement returns. */
typedef struct CountReceiver
{
	DestReceiver pub;
	int64 count;
} CountReceiver;

static bool
count_row(TupleTableSlot *slot, DestReceiver *self)
{
	((CountReceiver *) self)->count++;
	return true;
}

/* How many rows are in the window, by a snapshot, without or with our own changes since. */
static int64
count_window(IdemApply *apply, IdemPiece *piece, Snapshot snapshot, bool ours)
{
	CountReceiver receiver = {
		.pub = {count_row, idem_start_receiver, idem_keep_receiver, idem_keep_receiver, DestNone},
	};
	IdemStatement *statement = idem_get_statement(apply, IDEM_WINDOW, piece->rows.count);

	(ours ? idem_run_since : idem_run_at)(statement, snapshot, piece->bounds, &receiver.pub);
	return receiver.count;
}

/*
 * Fails if the rows, which have been inserted, are not in the window, or others are.
 * Another server shows but one state, with all that we have done: there the window was
 * empty before, and nobody else's rows are seen.
 */
static void
check_window(IdemApply *apply, IdemPiece *piece, const IdemSettling *settling)
{
	int64 before = apply->target->is_foreign ? 0 : count_window(apply, piece, settling->since, false);
	int64 added = count_window(apply, piece, settling->since, true) - before;

	if (apply->target->nkeys > 0)
	{
		IdemDifference difference = idem_compare_window(apply, piece, NULL);

		idem_report_unwritten(apply, &difference.missing);
		idem_free_difference(&difference);
	}
	if (added < piece->rows.count)
		idem_report_short(apply, piece, added);
	if (added > piece->rows.count)
		idem_report_left(apply, piece);
}

void
idem_end_settling(IdemApply *apply, IdemPiece *piece, IdemSettling *settling)
{
	if (!apply->acts)
		return;
	if (apply->target->has_arbiter)
		settle_rows(apply, piece, settling);
	else if (has_acted(apply, piece, settling))
		check_window(apply, piece, settling);
	if (settling->written.store)
		idem_free_rows(&settling->written);
	if (settling->seen)
		idem_release_snapshot(settling->seen);
	idem_release_snapshot(settling->since);
}
