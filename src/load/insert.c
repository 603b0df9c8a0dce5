/*
 * insert.c
 *		Method "insert": the window, or the target, is empty, or holds no such rows.
 *
 * A plain INSERT costs half of what INSERT … ON CONFLICT does, which looks every
 * key up before it writes and logs every row twice.  So many rows are inserted
 * plainly, in a subtransaction: if a key is there already, or there twice, it is
 * undone, and the careful way taken.
 */
#include "postgres.h"

#include "load/apply.h"
#include "server/touched.h"

/*
 * True if the source, by a function that it calls, has put rows into a window that a reload
 * found empty.  Of one that is streamed it has been looked at already.
 */
static bool
is_filled_by_source(IdemApply *apply, IdemPiece *piece)
{
	return apply->reload && !piece->streamed &&
		   (piece->touched < 0 || piece->touched != idem_count_touched(apply->target->base)) &&
		   idem_run_command(apply, piece, NULL, IDEM_OCCUPIED) > 0;
}

/* Fits where there is nothing yet, and no row can come from elsewhere unnoticed. */
static bool
insert_applies(IdemApply *apply, IdemPiece *piece)
{
	if (!piece->empty || idem_may_move(apply->target) || is_filled_by_source(apply, piece))
		return false;
	piece->reason = apply->by_window   ? "The window is empty."
					: apply->occupied ? "The rows of the window before were all new."
									  : "The target is empty.";
	return true;
}

/*
 * Inserts the rows.  Where their keys have not been watched, an objection means
 * that some are there twice, or in the target: outside the window, or written by
 * another session meanwhile.  So does one that came while they were streamed, and if none
 * is there twice they are in the target.
 */
static void
insert_rows(IdemApply *apply, IdemPiece *piece)
{
	if (piece->streamed)
		return;
	if (piece->watched)
	{
		idem_collapse_piece(apply, piece);
		if (piece->repeated && apply->target->has_arbiter && piece->run->duplicate_rows == 0)
			idem_upsert_rows(apply, piece, &piece->rows);
		else
			idem_insert_rows(apply, piece, &piece->rows);
	}
	else if (!idem_try_insert(apply, piece, &piece->rows))
	{
		idem_collapse_piece(apply, piece);
		idem_upsert_rows(apply, piece, &piece->rows);
	}
}

/* Inserts them, and sees what came of it. */
static void
run_insert(IdemApply *apply, IdemPiece *piece)
{
	IdemSettling settling;

	idem_begin_settling(apply, piece, &settling);
	insert_rows(apply, piece);
	idem_end_settling(apply, piece, &settling);
}

const IdemMethod idem_method_insert = {"insert", insert_applies, run_insert};
