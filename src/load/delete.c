/*
 * delete.c
 *		Rows deleted, each accounted for.
 *
 * Where nothing but other sessions comes between a statement and its rows, what it leaves
 * are rows that others have deleted meanwhile.  Elsewhere a trigger or a policy may keep
 * rows, and a trigger put them back.  So what a snapshot from before the statement shows
 * is looked at again, with our own changes since: whatever another session has inserted
 * or put back by then is his, and not to be seen.  What is left is tried again, for he may
 * have deleted or moved it before we came; after some rounds it is an error.
 */
#include "postgres.h"

#include "load/apply.h"
#include "miscadmin.h"

/* How to delete, and how to see what is left; which rows, NULL is all of the window. */
typedef struct Deletion
{
	IdemApply *apply;
	IdemPiece *piece;
	const IdemRows *rows;
	IdemCommand command;
	IdemCommand look;
	bool found;	   /* each row has been found, once */
	int64 deleted; /* so far */
	IdemRows left; /* by the last round */
} Deletion;

/* Deletes, and counts what it deleted. */
static void
run_delete(void *arg)
{
	Deletion *deletion = arg;

	deletion->deleted += idem_run_command(deletion->apply, deletion->piece, deletion->rows, deletion->command);
}

/* True if a statement that deleted so many rows has left none. */
static bool
deleted_all(const Deletion *deletion, int64 deleted)
{
	return deletion->found && !deletion->apply->target->acts_on_delete && deleted == deletion->rows->count;
}

/* Deletes once, and sets what is left. */
static void
delete_round(Deletion *deletion)
{
	Snapshot since = idem_take_snapshot();
	int64 before = deletion->deleted;
	IdemRows left;

	run_delete(deletion);
	if (deleted_all(deletion, deletion->deleted - before))
		left = idem_make_rows(deletion->apply->desc);
	else
		left = idem_collect_rows(deletion->apply, deletion->look, deletion->piece, deletion->rows, since);
	idem_release_snapshot(since);
	if (deletion->left.store)
		idem_free_rows(&deletion->left);
	deletion->left = left;
}

/* Fails for what is left after all rounds. */
static void
report_left(const Deletion *deletion)
{
	if (deletion->rows)
		idem_report_kept(deletion->apply, &deletion->left);
	else
		idem_report_left(deletion->apply, deletion->piece);
}

/* Deletes until nothing is left. */
static void
delete_rounds(Deletion *deletion)
{
	int round;

	delete_round(deletion);
	for (round = 1; deletion->left.count > 0; round++)
	{
		CHECK_FOR_INTERRUPTS();
		if (round == IDEM_MAX_ROUNDS)
			report_left(deletion);
		if (deletion->rows)
			deletion->rows = &deletion->left;
		delete_round(deletion);
	}
	idem_free_rows(&deletion->left);
}

/* Deletes, and sees to it that it is done; returns how many rows. */
static int64
run_deletion(Deletion *deletion)
{
	if (!deletion->apply->target->is_plain)
		delete_rounds(deletion);
	else if (deletion->found)
		idem_run_found(deletion->apply, run_delete, deletion);
	else
		run_delete(deletion);
	return deletion->deleted;
}

/* Builds: DELETE FROM target d USING idem_source s WHERE d.k = s.k */
void
idem_build_delete_everywhere(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "DELETE FROM %s d USING %s s WHERE ", apply->target->name, IDEM_ROWS);
	idem_append_same_key(sql, apply, "d", "s");
}

/* Builds it of rows in the window. */
void
idem_build_delete_gone(StringInfo sql, IdemApply *apply)
{
	idem_build_delete_everywhere(sql, apply);
	idem_append_by_window(sql, apply, " AND ");
}

/* Appends: SELECT s.c, … FROM idem_source s WHERE EXISTS (SELECT FROM target d WHERE d.k = s.k */
static void
append_kept(StringInfo sql, IdemApply *apply)
{
	appendStringInfoString(sql, "SELECT ");
	idem_append_columns(sql, apply->target, "s.");
	appendStringInfo(sql, " FROM %s s WHERE EXISTS (SELECT FROM %s d WHERE ", IDEM_ROWS, apply->target->name);
	idem_append_same_key(sql, apply, "d", "s");
}

/* Builds it of rows in the window. */
void
idem_build_kept(StringInfo sql, IdemApply *apply)
{
	append_kept(sql, apply);
	idem_append_by_window(sql, apply, " AND ");
	appendStringInfoChar(sql, ')');
}

int64
idem_delete_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	Deletion deletion = {apply, piece, rows, IDEM_DELETE_GONE, IDEM_KEPT, true};

	return run_deletion(&deletion);
}

/* Builds it of rows anywhere. */
void
idem_build_kept_everywhere(StringInfo sql, IdemApply *apply)
{
	append_kept(sql, apply);
	appendStringInfoChar(sql, ')');
}

int64
idem_delete_everywhere(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	Deletion deletion = {apply, piece, rows, IDEM_DELETE_EVERYWHERE, IDEM_KEPT_EVERYWHERE, false};

	return run_deletion(&deletion);
}

/* Builds: DELETE FROM target d WHERE in window */
void
idem_build_delete_old(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "DELETE FROM %s d WHERE ", apply->target->name);
	idem_append_in_window(sql, apply->target, "d");
}

/* Builds: SELECT columns FROM target d WHERE d.w >= $1 AND d.w < $2 LIMIT 1 */
void
idem_build_left(StringInfo sql, IdemApply *apply)
{
	idem_build_window(sql, apply);
	appendStringInfoString(sql, " LIMIT 1");
}

int64
idem_delete_window(IdemApply *apply, IdemPiece *piece)
{
	Deletion deletion = {apply, piece, NULL, IDEM_DELETE_OLD, IDEM_LEFT, false};

	return run_deletion(&deletion);
}
