/*
 * replace.c
 *		Method "replace": delete what is there, insert the rows.
 *
 * For a reload without keys, or with keys that no unique index enforces, where the
 * target may hold anything and nothing tells which row was which.
 */
#include "postgres.h"

#include "load/apply.h"

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

	idem_collapse_piece(apply, piece);
	run->deleted_rows = idem_delete_window(apply, piece);
	if (apply->target->nkeys > 0) /* no index would object to a key that is in another window too */
		run->deleted_rows += idem_delete_everywhere(apply, piece, &piece->rows);
	idem_insert_rows(apply, piece, &piece->rows);
	piece->reason = "No unique index over keys tells which row is which.";
}

const IdemMethod idem_method_replace = {"replace", replace_applies, run_replace};
