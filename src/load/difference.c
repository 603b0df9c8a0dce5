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
#include "miscadmin.h"
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

/*
 * Deletes what is gone.  Where that may delete or change rows that stay, or add others,
 * rows are compared again, and again until nothing is deleted any more.  They are compared
 * as the first time, with our own changes since, for what others write meanwhile is theirs.
 */
static void
delete_gone(IdemApply *apply, IdemPiece *piece, IdemDifference *difference, Snapshot since)
{
	int round;

	for (round = 0; difference->gone.count > 0; round++)
	{
		int64 deleted = idem_delete_rows(apply, piece, &difference->gone);

		piece->run->deleted_rows += deleted;
		if (deleted == 0 || !apply->target->acts_on_delete)
			break;
		if (round == IDEM_MAX_ROUNDS)
			idem_report_kept(apply, &difference->gone);
		CHECK_FOR_INTERRUPTS();
		idem_free_difference(difference);
		*difference = idem_compare_window(apply, piece, since);
	}
}

/* Compares, deletes what is gone, and returns what is to be written then. */
static IdemDifference
find_difference(IdemApply *apply, IdemPiece *piece)
{
	Snapshot since = apply->target->acts_on_delete ? idem_take_snapshot() : NULL;
	IdemDifference difference = idem_compare_window(apply, piece, since);

	delete_gone(apply, piece, &difference, since);
	if (since)
		idem_release_snapshot(since);
	return difference;
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

/* Deletes, updates and inserts, in this order, so that a unique value can move. */
static void
run_difference(IdemApply *apply, IdemPiece *piece)
{
	IdemDifference difference;

	idem_collapse_piece(apply, piece);
	difference = find_difference(apply, piece);
	if (difference.changed.count > 0)
		write_changed(apply, piece, &difference.changed);
	if (difference.missing.count > 0)
		idem_insert_rows(apply, piece, &difference.missing);
	idem_free_difference(&difference);
}

const IdemMethod idem_method_difference = {"difference", difference_applies, run_difference};
