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
 * The scan also finds, where rows can be written where they lie, what has changed, and
 * where: see map.c.  Elsewhere, if something has changed, it was in vain.  So there it is
 * tried until it has been in vain once in this call.
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "load/apply.h"
#include "server/query.h"
#include "utils/memutils.h"

/*
 * Builds: SELECT columns FROM target d WHERE d.w >= $1 AND d.w < $2
 * or, where rows are written where they lie: SELECT columns, d.ctid FROM ONLY target d WHERE …
 */
void
idem_build_window(StringInfo sql, IdemApply *apply)
{
	appendStringInfoString(sql, "SELECT ");
	idem_append_columns(sql, apply->target, "d.");
	appendStringInfo(sql, apply->has_places ? ", d.ctid FROM ONLY %s d WHERE " : " FROM %s d WHERE ", apply->target->name);
	idem_append_in_window(sql, apply->target, "d");
}

/* Adds up the window's rows, and maps them. */
typedef struct WindowReceiver
{
	IdemRowReceiver base;
	IdemApply *apply;
	IdemPiece *piece;
	MemoryContext context; /* reset for each row */
	IdemImage image;
	int64 max; /* rows that are of interest */
	int64 count;
	IdemDigest sum;
} WindowReceiver;

/* True if a piece has a map that may be of use. */
static bool
has_map(const IdemPiece *piece)
{
	return piece->map && !idem_has_overflown(piece->map);
}

/* Takes one row. */
static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	WindowReceiver *receiver = (WindowReceiver *) self;
	IdemApply *apply = receiver->apply;
	MemoryContext old = MemoryContextSwitchTo(receiver->context);
	IdemDigest hash;

	slot_getallattrs(slot);
	idem_make_image(&receiver->image, apply->desc, slot->tts_values, slot->tts_isnull);
	hash = idem_hash_image(&receiver->image, &apply->key);
	idem_add_digest(&receiver->sum, &hash);
	if (has_map(receiver->piece))
		idem_map_target(receiver->piece->map, idem_map_key(apply, slot, &hash), &hash,
						(ItemPointer) DatumGetPointer(slot->tts_values[apply->desc->natts]));
	MemoryContextSwitchTo(old);
	MemoryContextReset(receiver->context);
	return ++receiver->count <= receiver->max;
}

/*
 * How many rows of the window are of interest: as many as the piece has, and one more.  The
 * map of a reload is of all of them; an upsert of few rows into a window of many would rather
 * look its rows up.
 */
static int64
max_rows(const IdemApply *apply, const IdemPiece *piece)
{
	if (!has_map(piece))
		return piece->rows.count;
	return apply->reload ? PG_INT64_MAX : 4 * piece->rows.count + 1000;
}

/* Runs the statement; for a map the state that it reads is kept. */
static void
scan_window(WindowReceiver *receiver)
{
	IdemPiece *piece = receiver->piece;
	IdemStatement *statement = idem_get_statement(receiver->apply, IDEM_WINDOW, piece->rows.count);

	if (has_map(piece))
	{
		piece->since = idem_take_snapshot();
		idem_run_since(statement, piece->since, piece->bounds, &receiver->base.pub);
	}
	else
		idem_run_into(statement, piece->bounds, &receiver->base.pub);
	if (has_map(piece) && receiver->count > receiver->max)
	{
		receiver->apply->mapped_in_vain = true;
		idem_free_map(piece->map);
		piece->map = NULL;
	}
}

/* True if the window in the target holds exactly the piece's rows. */
static bool
is_same_window(IdemApply *apply, IdemPiece *piece)
{
	WindowReceiver receiver = {
		.base = {{receive_row, idem_start_rows, idem_keep_receiver, idem_keep_receiver, DestNone}, apply->target, apply->desc},
		.apply = apply,
		.piece = piece,
		.context = AllocSetContextCreate(CurrentMemoryContext, "idem window row",
										 ALLOCSET_SMALL_SIZES),
		.max = max_rows(apply, piece),
	};

	idem_init_image(&receiver.image);
	scan_window(&receiver);
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
	if (!piece->is_summed || (apply->mismatched && !has_map(piece)))
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
