/*
 * careful.c
 *		Rows written in parts, so that those the target refuses are found.
 *
 * A part is written in a subtransaction.  One that is refused is halved until a row is alone;
 * the longer none is, the larger are the next.  Of rows that only one of can be
 * there, by another unique index for example, the first stays.  A row may be refused for want
 * of one that is written later, so those that were refused are tried again, as long as that
 * helps.
 *
 * Nothing of it stays: the others are applied as any rows are, all together, when it is known
 * which those are.
 *
 * This file must not know sources, letters or transactions.
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "load/careful.h"
#include "load/heap.h"
#include "miscadmin.h"
#include "server/transaction.h"

/* How many rows the first part has, and the last may have. */
#define FIRST_ROWS 256
#define MOST_ROWS 16384

/* A part may be larger when so many times as many rows have been written since one was refused. */
#define PATIENCE 16

/* A piece that is written so. */
typedef struct Careful
{
	IdemApply *apply;
	IdemPiece *piece;
	const IdemRows *part;
	int64 most;		  /* rows that may be refused */
	IdemRows refused; /* in this round, */
	List *errors;	  /* and why each was */
	IdemRefused report;
	void *arg;
	int64 nreported;
	bool stopped;
} Careful;

/* Writes a part. */
static void
write_part(void *arg)
{
	Careful *careful = arg;

	if (careful->apply->target->has_arbiter && !careful->piece->empty)
		idem_upsert_rows(careful->apply, careful->piece, careful->part);
	else
		idem_insert_rows(careful->apply, careful->piece, careful->part);
}

/* Tries to write a part; returns why its rows are refused, of which nothing is left then. */
static ErrorData *
try_part(Careful *careful, const IdemRows *part)
{
	IdemRun before = *careful->piece->run;
	ErrorData *error;

	careful->part = part;
	error = idem_try(write_part, careful, CurrentMemoryContext);
	if (error == NULL)
		return NULL;
	idem_hide_rows();
	*careful->piece->run = before;
	if (!idem_is_of_row(error->sqlerrcode))
		ReThrowError(error);
	return error;
}

/* Some rows of others, from where those are read. */
static IdemRows
next_rows(const IdemRows *rows, int64 n, TupleTableSlot *slot)
{
	IdemRows part = idem_make_rows(rows->desc);

	while (part.count < n && tuplestore_gettupleslot(rows->store, true, false, slot))
	{
		tuplestore_puttupleslot(part.store, slot);
		part.count++;
	}
	ExecClearTuple(slot);
	return part;
}

/* Writes a part, or what of it is not refused; true if all of it was written. */
static bool
write_or_halve(Careful *careful, IdemRows *part, TupleTableSlot *slot)
{
	ErrorData *error = careful->stopped ? NULL : try_part(careful, part);
	IdemRows half;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (error == NULL)
		return true;
	tuplestore_rescan(part->store);
	if (part->count == 1)
	{
		(void) tuplestore_gettupleslot(part->store, true, false, slot);
		tuplestore_puttupleslot(careful->refused.store, slot);
		careful->errors = lappend(careful->errors, error);
		careful->stopped = ++careful->refused.count > careful->most;
		ExecClearTuple(slot);
	}
	else
	{
		IdemRows rest;

		half = next_rows(part, part->count / 2, slot);
		rest = next_rows(part, part->count, slot);
		(void) write_or_halve(careful, &half, slot);
		idem_free_rows(&half);
		(void) write_or_halve(careful, &rest, slot);
		idem_free_rows(&rest);
		FreeErrorData(error);
	}
	return false;
}

/* Writes rows, and collects those that are refused. */
static void
write_parts(Careful *careful, const IdemRows *rows)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(rows->desc, &TTSOpsMinimalTuple);
	int64 size = FIRST_ROWS;
	int64 good = 0;

	careful->refused = idem_make_rows(rows->desc);
	careful->errors = NIL;
	tuplestore_rescan(rows->store);
	for (;;)
	{
		IdemRows part = next_rows(rows, size, slot);
		bool empty = part.count == 0;

		if (!empty)
			good = write_or_halve(careful, &part, slot) ? good + part.count : 0;
		size = good == 0 ? FIRST_ROWS : good >= size * PATIENCE ? Min(size * 4, MOST_ROWS) : size;
		idem_free_rows(&part);
		if (empty || careful->stopped)
			break;
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* Takes from the window what a reload would. */
static void
delete_old(Careful *careful)
{
	IdemApply *apply = careful->apply;
	IdemPiece *piece = careful->piece;

	if (apply->target->has_arbiter)
	{
		IdemDifference difference = idem_compare_window(apply, piece, NULL);

		(void) idem_delete_rows(apply, piece, &difference.gone);
		idem_free_difference(&difference);
		return;
	}
	(void) idem_delete_window(apply, piece);
	if (apply->target->nkeys > 0)
		(void) idem_delete_everywhere(apply, piece, &piece->rows);
}

/* Reports the rows that are refused in the end. */
static void
report_refused(Careful *careful)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(careful->refused.desc, &TTSOpsMinimalTuple);
	ListCell *lc;

	tuplestore_rescan(careful->refused.store);
	foreach (lc, careful->errors)
	{
		(void) tuplestore_gettupleslot(careful->refused.store, true, false, slot);
		slot_getallattrs(slot);
		careful->report(careful->arg, slot, "write", lfirst(lc));
		careful->nreported++;
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* All of it, to be taken back. */
static void
try_all(void *arg)
{
	Careful *careful = arg;
	const IdemPiece *piece = careful->piece;
	int64 before = piece->rows.count;

	if (careful->apply->reload && (!piece->empty || idem_may_move(careful->apply->target)))
		delete_old(careful);
	write_parts(careful, &piece->rows);
	while (!careful->stopped && careful->refused.count > 0 && careful->refused.count < before)
	{
		IdemRows again = careful->refused;

		before = again.count;
		write_parts(careful, &again);
		idem_free_rows(&again);
	}
	report_refused(careful);
}

void
idem_find_refused(IdemApply *apply, IdemPiece *piece, int64 most, IdemRefused refused, void *arg)
{
	Careful careful = {.apply = apply, .piece = piece, .most = most, .report = refused, .arg = arg};
	IdemRun before;
	ErrorData *error;

	idem_collapse_piece(apply, piece);
	before = *piece->run;
	error = idem_try_out(try_all, &careful, CurrentMemoryContext);
	idem_hide_rows();
	*piece->run = before;
	if (error && (careful.nreported > 0 || !idem_is_of_row(error->sqlerrcode)))
		ReThrowError(error);
}
