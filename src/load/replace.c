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
 * Builds: WITH w AS (DELETE … RETURNING 1)
 *     SELECT (SELECT count(*) FROM w), count(*) FROM target d WHERE d.w >= $1 AND d.w < $2
 * Both numbers are of one snapshot, so that other sessions' rows do not count.
 */
static void
build_delete_counted(StringInfo sql, IdemApply *apply)
{
	appendStringInfoString(sql, "WITH w AS (");
	idem_append_delete_window(sql, apply);
	appendStringInfo(sql, " RETURNING 1) SELECT (SELECT pg_catalog.count(*) FROM w), pg_catalog.count(*) FROM %s d WHERE ",
					 apply->target->name);
	idem_append_in_window(sql, apply->target, "d");
}

/* Builds: DELETE FROM target d USING idem_source s WHERE d.k = s.k */
static void
build_delete_moved(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "DELETE FROM %s d USING %s s WHERE ", apply->target->name, IDEM_ROWS);
	idem_append_match(sql, apply->target, "d", "s");
}

/* Deletes the window's rows; returns how many, and fails if something keeps some. */
static int64
delete_old(IdemApply *apply, IdemPiece *piece)
{
	Datum counts[2];
	bool nulls[2];

	if (apply->target->is_plain)
		return idem_run_apply(apply, piece, NULL, &apply->delete_old, idem_append_delete_window);
	(void) idem_fetch(idem_get_statement(apply, &apply->delete_old, 0, build_delete_counted),
					  piece->bounds, NULL, lengthof(counts), counts, nulls);
	if (DatumGetInt64(counts[0]) < DatumGetInt64(counts[1]))
		idem_prove_empty(apply, piece);
	return DatumGetInt64(counts[0]);
}

/* Deletes the rows' keys wherever else they are: no index would object to a key that is in both. */
static int64
delete_moved(IdemApply *apply, IdemPiece *piece)
{
	int64 deleted = idem_run_apply(apply, piece, &piece->rows, &apply->delete_moved, build_delete_moved);

	if (!apply->target->is_plain)
		idem_prove_moved(apply, piece, &piece->rows);
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

	idem_collapse_piece(apply, piece);
	run->deleted_rows = delete_old(apply, piece);
	if (apply->target->nkeys > 0)
		run->deleted_rows += delete_moved(apply, piece);
	idem_insert_rows(apply, piece, &piece->rows);
	piece->reason = "No unique index over keys tells which row is which.";
}

const IdemMethod idem_method_replace = {"replace", replace_applies, run_replace};
