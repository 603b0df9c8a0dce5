/*
 * apply_insert.c
 *		Method "insert": the window, or the target, is empty.
 */
#include "postgres.h"

#include "apply.h"

/*
 * Builds: SELECT FROM target d WHERE d.w >= $1 AND d.w < $2 LIMIT 1
 * or, for an upsert without a window column, the same of the whole target.
 */
static void
build_occupied(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "SELECT FROM %s d", apply->target->name);
	if (apply->target->window)
	{
		appendStringInfoString(sql, " WHERE ");
		idem_append_in_window(sql, apply->target, "d");
	}
	appendStringInfoString(sql, " LIMIT 1");
}

/* Builds: INSERT … SELECT … FROM idem_source s [ON CONFLICT (k, …) DO NOTHING] */
static void
build_insert(StringInfo sql, IdemApply *apply)
{
	idem_append_insert(sql, apply);
	if (apply->target->has_arbiter)
	{
		appendStringInfoString(sql, " ON CONFLICT (");
		idem_append_keys(sql, apply->target, "");
		appendStringInfoString(sql, ") DO NOTHING");
	}
}

/* Fits where there is nothing yet. */
static bool
insert_applies(IdemApply *apply, IdemPiece *piece)
{
	return idem_run_apply(apply, piece, &apply->occupied, build_occupied) == 0;
}

/*
 * Inserts the rows.  Fewer than there are means that some keys exist, outside the
 * window or by a writer in between: then the difference is to be written.
 */
static void
run_insert(IdemApply *apply, IdemPiece *piece)
{
	piece->run->inserted_rows = idem_run_apply(apply, piece, &apply->insert, build_insert);
	if (piece->run->inserted_rows < piece->rows && apply->target->has_arbiter)
	{
		piece->run->method = idem_method_difference.name;
		idem_method_difference.run(apply, piece);
	}
}

const IdemMethod idem_method_insert = {"insert", insert_applies, run_insert};
