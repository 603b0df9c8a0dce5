/*
 * unchanged.c
 *		Method "unchanged": the window in the target holds exactly the rows.
 *
 * The checksum of the rows is known, because it goes into the ledger; if that of
 * the window in the target is the same, there is nothing to do.  To add up a
 * window's rows takes a third of the time of joining them to the source's, and no
 * memory.  Two 64-bit sums of hashes of whole rows agree by chance once in 2^128;
 * who does not want to rely on that switches idem.source_digest off.
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
static void
build_window(StringInfo sql, IdemApply *apply)
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
	StringInfoData buf;
	int64 count;
	IdemDigest digest;
} WindowReceiver;

/* Takes one row. */
static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	WindowReceiver *receiver = (WindowReceiver *) self;
	MemoryContext old = MemoryContextSwitchTo(receiver->context);
	IdemDigest hash;

	slot_getallattrs(slot);
	hash = idem_hash_row(&receiver->buf, receiver->desc, slot->tts_values,
						 slot->tts_isnull);
	idem_add_digest(&receiver->digest, &hash);
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
		.context = AllocSetContextCreate(CurrentMemoryContext, "idem window row",
										 ALLOCSET_SMALL_SIZES),
	};

	initStringInfo(&receiver.buf);
	idem_run_into(idem_get_statement(apply, &apply->window, piece->rows.count, build_window),
				  piece->bounds, &receiver.pub);
	MemoryContextDelete(receiver.context);
	return receiver.count == piece->rows.count &&
		   memcmp(&receiver.digest, &piece->run->digest, sizeof(IdemDigest)) == 0;
}

/* True if it is worth a try. */
static bool
is_likely(const IdemApply *apply, const IdemPiece *piece)
{
	if (!piece->run->has_digest || apply->target->window == NULL || !apply->by_window)
		return false;
	if (!apply->target->has_arbiter && !idem_is_whole(apply->target))
		return false;
	return !apply->mismatched;
}

/*
 * Fits where the checksums agree.  A unique index says that no key is there twice;
 * without one, rows that are there twice must become one, and columns that the
 * source lacks take their defaults.
 */
static bool
unchanged_applies(IdemApply *apply, IdemPiece *piece)
{
	if (!is_likely(apply, piece))
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
	piece->reason = "The window in the target has the checksum of the source's rows.";
	return true;
}

/* Nothing is left to do. */
static void
run_unchanged(IdemApply *apply, IdemPiece *piece)
{
}

const IdemMethod idem_method_unchanged = {"unchanged", unchanged_applies, run_unchanged};
