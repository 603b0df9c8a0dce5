/*
 * unchanged.c
 *		Method "unchanged": the window in the target holds exactly the rows.
 *
 * The rows are hashed as they come, under a key that is drawn for the call and forgotten
 * with it, and the hashes added up; if that of the window in the target gives the same sum,
 * there is nothing to do.  To add up a window's rows takes a third of the time of joining
 * them to the source's, and no memory.  Whatever the rows, whoever chose them and whatever
 * is known of earlier loads, two sums agree by chance once in 2^128: see digest.c.  The
 * checksum that goes into the ledger does not tell that: rows can be made to fit it.  Who
 * wants every row compared switches idem.source_digest off, and nothing is hashed.
 *
 * If something has changed, the scan was in vain.  So it is tried until it has been
 * in vain once in this call.
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "load/apply.h"
#include "server/query.h"
#include "utils/memutils.h"

/* Builds: SELECT columns FROM target d WHERE d.w >= $1 AND d.w < $2 */
void
idem_build_window(StringInfo sql, IdemApply *apply)
{
	appendStringInfoString(sql, "SELECT ");
	idem_append_columns(sql, apply->target, "d.");
	appendStringInfo(sql, " FROM %s d WHERE ", apply->target->name);
	idem_append_in_window(sql, apply->target, "d");
}

/* Adds up the window's rows. */
typedef struct WindowReceiver
{
	DestReceiver pub;
	TupleDesc desc;		   /* of the rows, by the target's names */
	MemoryContext context; /* reset for each row */
	IdemImage image;
	const IdemKey *key;
	int64 count;
	IdemDigest sum;
} WindowReceiver;

/* Takes one row. */
static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	WindowReceiver *receiver = (WindowReceiver *) self;
	MemoryContext old = MemoryContextSwitchTo(receiver->context);
	IdemDigest hash;

	slot_getallattrs(slot);
	idem_make_image(&receiver->image, receiver->desc, slot->tts_values, slot->tts_isnull);
	hash = idem_hash_image(&receiver->image, receiver->key);
	idem_add_digest(&receiver->sum, &hash);
	receiver->count++;
	MemoryContextSwitchTo(old);
	MemoryContextReset(receiver->context);
	return true;
}

/* True if the window in the target holds exactly the piece's rows. */
static bool
is_same_window(IdemApply *apply, const IdemPiece *piece)
{
	WindowReceiver receiver = {
		.pub = {receive_row, idem_start_receiver, idem_keep_receiver, idem_keep_receiver, DestNone},
		.desc = apply->desc,
		.key = &apply->key,
		.context = AllocSetContextCreate(CurrentMemoryContext, "idem window row",
										 ALLOCSET_SMALL_SIZES),
	};

	idem_init_image(&receiver.image);
	idem_run_into(idem_get_statement(apply, IDEM_WINDOW, piece->rows.count),
				  piece->bounds, &receiver.pub);
	MemoryContextDelete(receiver.context);
	return receiver.count == piece->rows.count &&
		   memcmp(&receiver.sum, &piece->sum, sizeof(IdemDigest)) == 0;
}

bool
idem_may_be_unchanged(const IdemApply *apply)
{
	const IdemTarget *target = apply->target;

	return target->window && apply->by_window && (target->has_arbiter || idem_is_whole(target));
}

/* Into an empty window rows are inserted, unless they may be in another. */
bool
idem_is_worth_summing(const IdemApply *apply, const IdemPiece *piece)
{
	return piece->run->has_digest && !apply->mismatched && idem_may_be_unchanged(apply) &&
		   (!piece->empty || idem_may_move(apply->target));
}

/*
 * Fits where the sums agree.  A unique index says that no key is there twice;
 * without one, rows that are there twice must become one, and columns that the
 * source lacks take their defaults.
 */
static bool
unchanged_applies(IdemApply *apply, IdemPiece *piece)
{
	if (!piece->is_summed)
		return false;
	if (!apply->target->has_arbiter)
	{
		idem_collapse_piece(apply, piece);
		if (piece->run->duplicate_rows > 0)
			return false;
	}
	if (!is_same_window(apply, piece))
	{
		apply->mismatched = true;
		return false;
	}
	piece->reason = "The rows of the window in the target add up to the same as the source's.";
	return true;
}

/* Nothing is left to do. */
static void
run_unchanged(IdemApply *apply, IdemPiece *piece)
{
}

const IdemMethod idem_method_unchanged = {"unchanged", unchanged_applies, run_unchanged};
