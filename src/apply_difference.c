/*
 * apply_difference.c
 *		Method "difference": write only what differs.
 *
 * Rows and target are joined by key; rows that are gone are deleted (reload),
 * those that differ updated, those that are missing inserted.  The insertion has
 * the keys' unique index as arbiter, so another session that writes the same keys
 * meanwhile makes us update its row, not fail.
 */
#include "postgres.h"

#include "apply.h"

/*
 * Builds: DELETE FROM target d WHERE d.w >= $1 AND d.w < $2
 *             AND NOT EXISTS (SELECT FROM idem_source s WHERE d.k = s.k)
 */
static void
build_delete(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "DELETE FROM %s d WHERE ", apply->target->name);
	idem_append_in_window(sql, apply->target, "d");
	appendStringInfo(sql, " AND NOT EXISTS (SELECT FROM %s s WHERE ", IDEM_ROWS);
	idem_append_match(sql, apply->target, "d", "s");
	appendStringInfoChar(sql, ')');
}

/* Builds: UPDATE target d SET c = s.c, … FROM idem_source s WHERE d.k = s.k AND changed */
static void
build_update(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "UPDATE %s d", apply->target->name);
	(void) idem_append_set(sql, apply->target, "s");
	appendStringInfo(sql, " FROM %s s WHERE ", IDEM_ROWS);
	idem_append_match(sql, apply->target, "d", "s");
	appendStringInfoString(sql, " AND ");
	idem_append_changed(sql, apply->target, "d", "s", !apply->reload);
}

/*
 * Builds: INSERT … SELECT … FROM idem_source s
 *             WHERE NOT EXISTS (SELECT FROM target d WHERE d.k = s.k)
 *             ON CONFLICT (k, …) DO UPDATE SET c = excluded.c, … WHERE changed
 */
static void
build_insert_missing(StringInfo sql, IdemApply *apply)
{
	StringInfoData set;

	idem_append_insert(sql, apply);
	appendStringInfo(sql, " WHERE NOT EXISTS (SELECT FROM %s o WHERE ", apply->target->name);
	idem_append_match(sql, apply->target, "o", "s");
	appendStringInfoString(sql, ") ON CONFLICT (");
	idem_append_keys(sql, apply->target, "");
	appendStringInfoString(sql, ") DO ");
	initStringInfo(&set);
	if (idem_append_set(&set, apply->target, "excluded"))
	{
		appendStringInfo(sql, "UPDATE%s WHERE ", set.data);
		idem_append_changed(sql, apply->target, "d", "excluded", !apply->reload);
	}
	else
		appendStringInfoString(sql, "NOTHING");
}

/* Fits where the keys identify a row of the target. */
static bool
difference_applies(IdemApply *apply, IdemPiece *piece)
{
	return apply->target->has_arbiter;
}

/* True if there is anything an update could write. */
static bool
has_updates(const IdemTarget *target)
{
	int i;

	for (i = 0; i < target->ncolumns; i++)
	{
		if (idem_is_updated_column(&target->columns[i]))
			return true;
	}
	return false;
}

/* Deletes, updates and inserts, in this order, so that a unique value can move. */
static void
run_difference(IdemApply *apply, IdemPiece *piece)
{
	IdemRun *run = piece->run;

	if (apply->reload)
		run->deleted_rows = idem_run_apply(apply, piece, &apply->delete_gone, build_delete);
	if (has_updates(apply->target))
		run->updated_rows = idem_run_apply(apply, piece, &apply->update, build_update);
	run->inserted_rows += idem_run_apply(apply, piece, &apply->insert_missing,
										 build_insert_missing);
}

const IdemMethod idem_method_difference = {"difference", difference_applies, run_difference};
