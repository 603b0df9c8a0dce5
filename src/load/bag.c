/*
 * bag.c
 *		Method "difference" of rows without keys: what the source has more of, or less.
 *
 * Nothing tells which row was which, but rows that are the same are as good as each other:
 * the map joins as many of them as both sides have.  What is left over in the target is
 * deleted, what is left over of the source inserted.
 *
 * If another session changes a row meanwhile that is to be deleted, there is no key to look
 * for it by: the window is replaced after all.
 */
#include "postgres.h"

#include "load/apply.h"

/*
 * Fits where the map has found what differs, if it is not by chance that two rows have half of
 * one hash.  To replace all is no dearer than to look for rows if few are the same.
 */
static bool
bag_applies(IdemApply *apply, IdemPiece *piece)
{
	if (apply->target->nkeys > 0 || piece->rows.count < IDEM_MIN_PLAIN || !idem_can_use_map(apply, piece) ||
		idem_count_fate(piece->map, IDEM_CHANGED) > 0)
		return false;
	apply->mapped_in_vain = idem_count_fate(piece->map, IDEM_SAME) < piece->rows.count / 4;
	if (apply->mapped_in_vain)
		return false;
	piece->reason = "Rows without keys are told apart by their hashes.";
	return true;
}

/* Inserts what the target has less of. */
static void
insert_missing(IdemApply *apply, IdemPiece *piece)
{
	IdemRows missing = idem_mapped_rows(piece, IDEM_MISSING);

	if (missing.count > 0)
		idem_insert_rows(apply, piece, &missing);
	idem_free_rows(&missing);
}

/* Deletes, then inserts. */
static void
run_bag(IdemApply *apply, IdemPiece *piece)
{
	IdemRows rest = idem_make_rows(apply->desc);
	int64 deleted = idem_delete_mapped(apply, piece, &rest);

	if (rest.count == 0)
		insert_missing(apply, piece);
	else
	{
		idem_method_replace.run(apply, piece);
		piece->run->method = idem_method_replace.name;
	}
	piece->run->deleted_rows += deleted;
	idem_free_rows(&rest);
}

const IdemMethod idem_method_bag = {"difference", bag_applies, run_bag};
