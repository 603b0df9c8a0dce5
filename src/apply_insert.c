/*
 * apply_insert.c
 *		Method "insert": the window, or the target, is empty.
 *
 * A plain INSERT costs half of what INSERT … ON CONFLICT does, which looks every
 * key up before it writes and logs every row twice.  So many rows are inserted
 * plainly, in a subtransaction: if a key is there already, or there twice, it is
 * undone, and the careful way taken.
 */
#include "postgres.h"

#include "apply.h"

/*
 * Builds: INSERT … SELECT … FROM idem_source s
 *             ON CONFLICT (k, …) DO UPDATE SET c = excluded.c, … WHERE changed
 */
static void
append_upsert(StringInfo sql, IdemApply *apply)
{
	StringInfoData set;

	idem_append_insert(sql, apply);
	appendStringInfoString(sql, " ON CONFLICT (");
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

/*
 * Builds the upsert with its counts: rows written, and those of them that are
 * updated, which the statement's snapshot sees as they were.
 *
 * WITH w AS (upsert RETURNING true)
 *     SELECT (SELECT count(*) FROM w),
 *            (SELECT count(*) FROM idem_source s, target d WHERE d.k = s.k AND changed)
 */
static void
build_upsert(StringInfo sql, IdemApply *apply)
{
	appendStringInfoString(sql, "WITH w AS (");
	append_upsert(sql, apply);
	appendStringInfo(sql, " RETURNING true) SELECT (SELECT pg_catalog.count(*) FROM w),"
						  " (SELECT pg_catalog.count(*) FROM %s s, %s d WHERE ",
					 IDEM_ROWS, apply->target->name);
	idem_append_match(sql, apply->target, "d", "s");
	appendStringInfoString(sql, " AND ");
	idem_append_changed(sql, apply->target, "d", "s", !apply->reload);
	appendStringInfoChar(sql, ')');
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

	attempt->piece->run->inserted_rows += idem_run_plan(attempt->apply, attempt->piece, attempt->rows,
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

void
idem_upsert_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	IdemStatement *statement = idem_fit_plan(apply, &apply->upsert, rows->count, build_upsert);
	Datum counts[2]; /* written, updated */
	bool nulls[2];
	int64 updated;

	idem_show_rows(rows);
	(void) idem_fetch(statement, piece->bounds, NULL, lengthof(counts), counts, nulls);
	idem_hide_rows();
	updated = Min(DatumGetInt64(counts[0]), DatumGetInt64(counts[1]));
	piece->run->updated_rows += updated;
	piece->run->inserted_rows += DatumGetInt64(counts[0]) - updated;
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

/* Fits where there is nothing yet. */
static bool
insert_applies(IdemApply *apply, IdemPiece *piece)
{
	piece->reason = apply->target->window ? "The window is empty." : "The target is empty.";
	return piece->empty;
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
		idem_insert_rows(apply, piece, &piece->rows);
	else if (!try_insert(apply, piece, &piece->rows))
	{
		idem_collapse_piece(apply, piece);
		idem_upsert_rows(apply, piece, &piece->rows);
	}
}

const IdemMethod idem_method_insert = {"insert", insert_applies, run_insert};
