/*
 * replace.c
 *		Method "replace": delete what is there, insert the rows.
 *
 * For a reload without keys, or with keys that no unique index enforces, where the
 * target may hold anything and nothing tells which row was which; and where most
 * rows differ, because to delete and insert a row costs less than to update it.
 */
#include "postgres.h"

#include "load/apply.h"

/*
 * Builds: DELETE FROM target d WHERE d.w >= $1 AND d.w < $2
 * or, for an upsert, DELETE FROM target d USING idem_source s WHERE d.k = s.k
 */
static void
build_delete_old(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "DELETE FROM %s d", apply->target->name);
	if (!apply->reload)
	{
		appendStringInfo(sql, " USING %s s WHERE ", IDEM_ROWS);
		idem_append_match(sql, apply->target, "d", "s");
	}
	idem_append_by_window(sql, apply, apply->reload ? " WHERE " : " AND ");
}

/* Fits whatever there is. */
static bool
replace_applies(IdemApply *apply, IdemPiece *piece)
{
	return true;
}

/* Deletes, then inserts.  What an upsert replaces is updated, to its user. */
static void
run_replace(IdemApply *apply, IdemPiece *piece)
{
	IdemRun *run = piece->run;
	uint64 deleted;

	idem_collapse_piece(apply, piece);
	deleted = idem_run_apply(apply, piece, &piece->rows, &apply->delete_old, build_delete_old);
	idem_insert_rows(apply, piece, &piece->rows);
	if (apply->reload)
		run->deleted_rows = deleted;
	else
	{
		run->updated_rows += deleted;
		run->inserted_rows -= deleted;
	}
	if (piece->reason == NULL)
		piece->reason = "No unique index over keys tells which row is which.";
}

const IdemMethod idem_method_replace = {"replace", replace_applies, run_replace};
