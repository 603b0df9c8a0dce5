/*
 * replace.c
 *		Method "replace": delete what is there, insert the rows.
 *
 * For a reload without keys, or with keys that no unique index enforces, where the
 * target may hold anything and nothing tells which row was which.
 */
#include "postgres.h"

#include "load/apply.h"

/* Builds: DELETE FROM target d WHERE d.w >= $1 AND d.w < $2 */
static void
build_delete_old(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "DELETE FROM %s d WHERE ", apply->target->name);
	idem_append_in_window(sql, apply->target, "d");
}

/* Builds: DELETE FROM target d USING idem_source s WHERE d.k = s.k */
static void
build_delete_moved(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "DELETE FROM %s d USING %s s WHERE ", apply->target->name, IDEM_ROWS);
	idem_append_match(sql, apply->target, "d", "s");
}

/* Fits whatever there is. */
static bool
replace_applies(IdemApply *apply, IdemPiece *piece)
{
	return true;
}

/*
 * Deletes, then inserts.  Rows that come from another window are deleted there: no
 * index would object to a key that is in both.
 */
static void
run_replace(IdemApply *apply, IdemPiece *piece)
{
	IdemRun *run = piece->run;

	idem_collapse_piece(apply, piece);
	run->deleted_rows = idem_run_apply(apply, piece, NULL, &apply->delete_old, build_delete_old);
	if (apply->target->nkeys > 0)
		run->deleted_rows += idem_run_apply(apply, piece, &piece->rows, &apply->delete_moved,
											build_delete_moved);
	idem_insert_rows(apply, piece, &piece->rows);
	piece->reason = "No unique index over keys tells which row is which.";
}

const IdemMethod idem_method_replace = {"replace", replace_applies, run_replace};
