/*
 * insert.c
 *		Method "insert": the window, or the target, is empty.
 *
 * A plain INSERT costs half of what INSERT … ON CONFLICT does, which looks every
 * key up before it writes and logs every row twice.  So many rows are inserted
 * plainly, in a subtransaction: if a key is there already, or there twice, it is
 * undone, and the careful way taken.
 */
#include "postgres.h"

#include "load/apply.h"
#include "server/transaction.h"

/* Appends INSERT … SELECT … FROM idem_source s ON CONFLICT (k, …) DO */
static void
append_insert_or(StringInfo sql, IdemApply *apply)
{
	idem_append_insert(sql, apply);
	appendStringInfoString(sql, " ON CONFLICT (");
	idem_append_keys(sql, apply->target, "");
	appendStringInfoString(sql, ") DO ");
}

/* Builds: INSERT … ON CONFLICT (k, …) DO NOTHING */
static void
build_insert_new(StringInfo sql, IdemApply *apply)
{
	append_insert_or(sql, apply);
	appendStringInfoString(sql, "NOTHING");
}

/* Builds: INSERT … ON CONFLICT (k, …) DO UPDATE SET c = excluded.c, … WHERE changed */
static void
build_upsert(StringInfo sql, IdemApply *apply)
{
	append_insert_or(sql, apply);
	appendStringInfoString(sql, "UPDATE");
	idem_append_set(sql, apply->target, "excluded");
	appendStringInfoString(sql, " WHERE ");
	idem_append_changed(sql, apply->target, "d", "excluded", !apply->reload);
}

/* An attempt to insert, as an argument of idem_try. */
typedef struct Attempt
{
	IdemApply *apply;
	IdemPiece *piece;
	const IdemRows *rows;
} Attempt;

static void
insert_plainly(void *arg)
{
	Attempt *attempt = arg;

	attempt->piece->run->inserted_rows += idem_run_apply(attempt->apply, attempt->piece, attempt->rows,
														 &attempt->apply->insert, idem_append_insert);
}

/* Inserts all rows, or none if a unique index objects; then returns false. */
static bool
try_insert(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	Attempt attempt = {apply, piece, rows};
	ErrorData *error = idem_try(insert_plainly, &attempt, CurrentMemoryContext);

	if (error == NULL)
		return true;
	if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
		ReThrowError(error);
	FreeErrorData(error);
	idem_hide_rows();
	return false;
}

/* Inserts the rows whose keys are not there; returns how many it was. */
static int64
insert_new(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	int64 inserted = idem_run_apply(apply, piece, rows, &apply->insert_new, build_insert_new);

	piece->run->inserted_rows += inserted;
	return inserted;
}

/*
 * Inserts what is not there, then updates what is: two statements, so that each can be
 * counted.  A row that somebody deletes between the two has to be inserted after all.
 * Where every key can be NULL no index finds the rows for an UPDATE, so the arbiter
 * does, and such a row is counted as updated.
 */
void
idem_upsert_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	IdemRun *run = piece->run;

	if (insert_new(apply, piece, rows) == rows->count || !idem_has_updates(apply->target))
		return;
	if (!idem_has_not_null_key(apply->target))
	{
		run->updated_rows += idem_run_apply(apply, piece, rows, &apply->upsert, build_upsert);
		return;
	}
	do
	{
		run->updated_rows += idem_run_apply(apply, piece, rows, &apply->update_any, idem_append_update);
	} while (insert_new(apply, piece, rows) > 0);
}

void
idem_insert_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	Attempt attempt = {apply, piece, rows};

	if (!apply->target->has_arbiter)
		insert_plainly(&attempt);
	else if (rows->count < IDEM_MIN_PLAIN || !try_insert(apply, piece, rows))
		idem_upsert_rows(apply, piece, rows);
}

/* Fits where there is nothing yet, and no row can come from elsewhere unnoticed. */
static bool
insert_applies(IdemApply *apply, IdemPiece *piece)
{
	if (!piece->empty || idem_may_move(apply->target))
		return false;
	piece->reason = apply->target->window ? "The window is empty." : "The target is empty.";
	return true;
}

/*
 * Inserts the rows.  Where their keys have not been watched, an objection means
 * that some are there twice, or in the target: outside the window, or written by
 * another session meanwhile.
 */
static void
run_insert(IdemApply *apply, IdemPiece *piece)
{
	if (piece->watched)
	{
		idem_collapse_piece(apply, piece);
		idem_insert_rows(apply, piece, &piece->rows);
	}
	else if (!try_insert(apply, piece, &piece->rows))
	{
		idem_collapse_piece(apply, piece);
		idem_upsert_rows(apply, piece, &piece->rows);
	}
}

const IdemMethod idem_method_insert = {"insert", insert_applies, run_insert};
