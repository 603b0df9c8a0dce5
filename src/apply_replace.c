/*
 * apply_replace.c
 *		Method "replace": delete what the window holds, insert the rows.
 *
 * For a reload without keys, or with keys that no unique index enforces, where the
 * target may hold anything and nothing tells which row was which.
 */
#include "postgres.h"

#include "apply.h"

/* Builds: DELETE FROM target d WHERE d.w >= $1 AND d.w < $2 */
static void
build_delete(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "DELETE FROM %s d WHERE ", apply->target->name);
	idem_append_in_window(sql, apply->target, "d");
}

/* Fits whatever there is: an upsert has an arbiter and never comes here. */
static bool
replace_applies(IdemApply *apply, IdemPiece *piece)
{
	Assert(apply->reload);
	return true;
}

/* Deletes, then inserts. */
static void
run_replace(IdemApply *apply, IdemPiece *piece)
{
	piece->run->deleted_rows = idem_run_apply(apply, piece, &apply->delete_all, build_delete);
	piece->run->inserted_rows = idem_run_apply(apply, piece, &apply->insert,
											   idem_append_insert);
}

const IdemMethod idem_method_replace = {"replace", replace_applies, run_replace};
