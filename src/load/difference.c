/*
 * difference.c
 *		Method "difference": write only what differs.
 *
 * One join by key of rows and target finds what is to be written; then what is
 * gone is deleted (reload), what differs updated, what is missing inserted.  Each
 * of these looks again, for another session may write the same keys meanwhile: it
 * neither breaks the load nor loses what the source does not mention.
 */
#include "postgres.h"

#include "load/apply.h"
#include "server/transaction.h"

/* Builds: UPDATE target d SET c = s.c, … FROM idem_source s WHERE d.k = s.k AND changed AND in window */
void
idem_build_update(StringInfo sql, IdemApply *apply)
{
	idem_build_update_any(sql, apply);
	idem_append_by_window(sql, apply, " AND ");
}

/* Fits where the keys identify a row of the target. */
static bool
difference_applies(IdemApply *apply, IdemPiece *piece)
{
	if (!apply->target->has_arbiter)
		return false;
	piece->reason = "The keys have a unique index.";
	return true;
}

/* An update, as an argument of idem_try. */
typedef struct Update
{
	IdemApply *apply;
	IdemPiece *piece;
	const IdemRows *changed;
} Update;

static void
update_changed(void *arg)
{
	Update *update = arg;

	idem_update_rows(update->apply, update->piece, update->changed);
}

/* True for an error that rows which change places under another constraint make. */
static bool
is_conflict(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_UNIQUE_VIOLATION || sqlerrcode == ERRCODE_EXCLUSION_VIOLATION;
}

/*
 * Updates what differs, or, where its values change places under another unique or
 * exclusion constraint and nobody can notice, deletes all of it and inserts it again.
 */
static void
write_changed(IdemApply *apply, IdemPiece *piece, const IdemRows *changed)
{
	Update update = {apply, piece, changed};
	ErrorData *error;

	if (!apply->replaceable)
	{
		update_changed(&update);
		return;
	}
	error = idem_try(update_changed, &update, CurrentMemoryContext);
	if (error == NULL)
		return;
	if (!is_conflict(error->sqlerrcode))
		ReThrowError(error);
	FreeErrorData(error);
	idem_hide_rows();
	(void) idem_delete_rows(apply, piece, changed);
	idem_insert_rows(apply, piece, changed);
	piece->run->updated_rows = changed->count;
	piece->run->inserted_rows = 0;
}

bool
idem_write_difference(IdemApply *apply, IdemPiece *piece, const IdemDifference *difference)
{
	int64 deleted = 0;

	if (difference->gone.count > 0)
		deleted = idem_delete_rows(apply, piece, &difference->gone);
	piece->run->deleted_rows += deleted;
	if (difference->changed.count > 0)
		write_changed(apply, piece, &difference->changed);
	if (difference->missing.count > 0)
		idem_insert_rows(apply, piece, &difference->missing);
	return deleted > 0 || difference->changed.count > 0 || difference->missing.count > 0;
}

/* Writes what differs, and what others have done then. */
static void
run_difference(IdemApply *apply, IdemPiece *piece)
{
	IdemDifference difference;
	IdemSettling settling;

	idem_collapse_piece(apply, piece);
	idem_begin_settling(apply, piece, &settling);
	difference = idem_compare_window(apply, piece, NULL);
	idem_note_written(apply, &settling, &difference);
	(void) idem_write_difference(apply, piece, &difference);
	idem_free_difference(&difference);
	idem_end_settling(apply, piece, &settling);
}

const IdemMethod idem_method_difference = {"difference", difference_applies, run_difference};
