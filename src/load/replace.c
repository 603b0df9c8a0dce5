/*
 * replace.c
 *		Method "replace": delete what is there, insert the rows.
 *
 * For a reload without keys, or with keys that no unique index enforces, where the
 * target may hold anything and nothing tells which row was which.
 */
#include "postgres.h"

#include "load/apply.h"

/*
 * Deletes the window's rows, and with keys their rows in other windows too, for no index
 * would object to a key that is in both.  Where that may put rows into the window it is
 * done again, until nothing is deleted elsewhere.
 */
static int64
delete_old(IdemApply *apply, IdemPiece *piece)
{
	int64 deleted = 0;
	int round;

	for (round = 0; round < IDEM_MAX_ROUNDS; round++)
	{
		int64 elsewhere;

		deleted += idem_delete_window(apply, piece);
		if (apply->target->nkeys == 0)
			return deleted;
		elsewhere = idem_delete_everywhere(apply, piece, &piece->rows);
		deleted += elsewhere;
		if (elsewhere == 0 || !apply->target->acts_on_delete)
			return deleted;
	}
	idem_report_left(apply, piece);
	return deleted;
}

/* Fits whatever there is. */
static bool
replace_applies(IdemApply *apply, IdemPiece *piece)
{
	return true;
}

/* Deletes, then inserts. */
static void
run_replace(IdemApply *apply, IdemPiece *piece)
{
	IdemRun *run = piece->run;
	IdemSettling settling;

	idem_collapse_piece(apply, piece);
	run->deleted_rows = delete_old(apply, piece);
	idem_begin_settling(apply, piece, &settling);
	idem_insert_rows(apply, piece, &piece->rows);
	idem_end_settling(apply, piece, &settling);
	piece->reason = "No unique index over keys tells which row is which.";
}

const IdemMethod idem_method_replace = {"replace", replace_applies, run_replace};
