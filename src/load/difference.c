/*
 * difference.c
 *		Method "difference": write only what differs.
 *
 * One join by key of rows and target finds what is to be written; then what is
 * gone is deleted (reload), what differs updated, what is missing inserted.  Each
 * of these looks again, for another session may write the same keys meanwhile: it
 * neither breaks the load nor loses what the source does not mention.
 *
 * Where rows can be written where they lie, the scan that would have found the window
 * unchanged has found the same by hashes, and nothing is joined: see map.c and mapped.c.
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
	const IdemRows *changed; /* NULL: those of the map */
} Update;

static void
update_changed(void *arg)
{
	Update *update = arg;

	if (update->changed)
		idem_update_rows(update->apply, update->piece, update->changed);
	else
		idem_update_mapped(update->apply, update->piece);
}

/* True for an error that rows which change places under another constraint make. */
static bool
is_conflict(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_UNIQUE_VIOLATION || sqlerrcode == ERRCODE_EXCLUSION_VIOLATION;
}

/* Deletes rows and inserts them again, which counts as updated. */
static void
write_again(IdemApply *apply, IdemPiece *piece, const IdemRows *changed)
{
	(void) idem_delete_rows(apply, piece, changed);
	idem_insert_rows(apply, piece, changed);
	piece->run->updated_rows = changed->count;
	piece->run->inserted_rows = 0;
}

/* The same of those of the map. */
static void
write_mapped_again(IdemApply *apply, IdemPiece *piece)
{
	IdemRows changed = idem_mapped_rows(piece, IDEM_CHANGED);

	write_again(apply, piece, &changed);
	idem_free_rows(&changed);
}

/*
 * Updates what differs, or, where its values change places under another unique or
 * exclusion constraint and nobody can notice, deletes all of it and inserts it again.
 * Without rows it is the map's.
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
	if (changed)
		write_again(apply, piece, changed);
	else
		write_mapped_again(apply, piece);
}

/* What a comparison has found, to be written. */
typedef struct Writing
{
	IdemApply *apply;
	IdemPiece *piece;
	const IdemDifference *difference;
	int64 deleted; /* rows of those that are gone */
} Writing;

static void
write_gone(Writing *writing)
{
	if (writing->difference->gone.count > 0)
		writing->deleted = idem_delete_rows(writing->apply, writing->piece, &writing->difference->gone);
	writing->piece->run->deleted_rows += writing->deleted;
}

static void
write_missing(Writing *writing)
{
	if (writing->difference->missing.count > 0)
		idem_insert_rows(writing->apply, writing->piece, &writing->difference->missing);
}

/* Inserts, updates and deletes, in this order: no row that is there refers to one that is not. */
static void
write_referred_first(void *arg)
{
	Writing *writing = arg;

	write_missing(writing);
	if (writing->difference->changed.count > 0)
		write_changed(writing->apply, writing->piece, &writing->difference->changed);
	write_gone(writing);
}

/* The same, or nothing: then false, where a unique value moves to a row that was written first. */
static bool
try_referred_first(Writing *writing)
{
	IdemRun before = *writing->piece->run;
	ErrorData *error = idem_try(write_referred_first, writing, CurrentMemoryContext);

	if (error == NULL)
		return true;
	if (!is_conflict(error->sqlerrcode))
		ReThrowError(error);
	FreeErrorData(error);
	idem_hide_rows();
	*writing->piece->run = before;
	writing->deleted = 0;
	return false;
}

/* Writes in the order that lets a unique value move. */
static void
write_moved_first(Writing *writing)
{
	write_gone(writing);
	if (writing->difference->changed.count > 0)
		write_changed(writing->apply, writing->piece, &writing->difference->changed);
	write_missing(writing);
}

/*
 * Of a table that references itself rows may come to refer to new ones, and away from what is
 * gone: a foreign key is checked, or acts, at the end of each statement.
 */
bool
idem_write_difference(IdemApply *apply, IdemPiece *piece, const IdemDifference *difference)
{
	Writing writing = {apply, piece, difference, 0};

	if (!apply->target->refers_to_itself || !try_referred_first(&writing))
		write_moved_first(&writing);
	return writing.deleted > 0 || difference->changed.count > 0 || difference->missing.count > 0;
}

/* Writes what a comparison finds, and what others have done then. */
static void
write_compared(IdemApply *apply, IdemPiece *piece)
{
	IdemDifference difference;
	IdemSettling settling;

	idem_begin_settling(apply, piece, &settling);
	difference = idem_compare_window(apply, piece, NULL);
	idem_note_written(apply, &settling, &difference);
	(void) idem_write_difference(apply, piece, &difference);
	idem_free_difference(&difference);
	idem_end_settling(apply, piece, &settling);
}

/* Deletes what the map has found to be gone. */
static void
delete_gone(IdemApply *apply, IdemPiece *piece)
{
	IdemRows rest = idem_make_rows(apply->desc);

	piece->run->deleted_rows += idem_delete_mapped(apply, piece, &rest);
	if (rest.count > 0)
		piece->run->deleted_rows += idem_delete_rows(apply, piece, &rest);
	idem_free_rows(&rest);
}

/* Writes what the map has found, of a target where nothing acts on what is written. */
static void
write_mapped(IdemApply *apply, IdemPiece *piece)
{
	if (apply->reload && idem_count_gone(piece->map) > 0)
		delete_gone(apply, piece);
	if (idem_count_fate(piece->map, IDEM_CHANGED) > 0)
		write_changed(apply, piece, NULL);
	if (idem_count_fate(piece->map, IDEM_MISSING) > 0)
	{
		IdemRows missing = idem_mapped_rows(piece, IDEM_MISSING);

		idem_insert_rows(apply, piece, &missing);
		idem_free_rows(&missing);
	}
}

static void
run_difference(IdemApply *apply, IdemPiece *piece)
{
	bool mapped;

	idem_collapse_piece(apply, piece);
	mapped = idem_can_use_map(apply, piece);
	if (mapped)
		write_mapped(apply, piece);
	if (!mapped || piece->misled)
		write_compared(apply, piece);
}

const IdemMethod idem_method_difference = {"difference", difference_applies, run_difference};
