/*
 * stream.c
 *		A first load's rows are written as they come from the source.
 *
 * Rows for an empty window go straight into the table, in a subtransaction, without lying
 * in a spool first.  If one meets its key, in the source or the target, or anything else
 * objects to one, all of it is taken back, and the source runs a second time, as for any
 * other piece: so only one that calls no volatile function and does not read the target is
 * streamed, and of a call's pieces none after such a surprise.  To call no volatile function is
 * what the source's functions say: if one of them does, and has written to the target, the
 * server's count tells, and that is a surprise too.
 *
 * The source's snapshot is older than what is written, so that it sees none of it.  Few rows
 * are kept, and so are those of a source that runs in parallel, for nothing can be written
 * while it does: they are written as any others are.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/tuptable.h"
#include "load/heap.h"
#include "server/touched.h"
#include "server/transaction.h"

bool
idem_may_stream(const IdemApply *apply, const IdemPiece *piece)
{
	return piece->empty && piece->touched >= 0 && !idem_may_move(apply->target) && !apply->surprised &&
		   idem_is_direct(apply->target, ACL_INSERT);
}

/* A piece that is streamed. */
struct IdemStream
{
	IdemApply *apply;
	IdemPiece *piece;
	void (*fetch)(void *arg); /* makes its rows pass idem_stream_row */
	void *arg;
	MemoryContext context;
	IdemHeap *heap;	 /* NULL until there are enough rows */
	bool is_writing; /* what fails is the writing, not the source */
	bool is_filled;	 /* it is that the source has written to the target */
};

/* Opens the table, and writes the rows that have been kept until now. */
static void
begin_writing(IdemStream *stream)
{
	MemoryContext old = MemoryContextSwitchTo(stream->context);

	/* what the source calls may have changed it; from here on the server will not let it */
	idem_check_target(unconstify(IdemTarget *, stream->apply->target));
	stream->heap = idem_open_heap(stream->apply, ACL_INSERT, true);
	idem_insert_spool(stream->heap, &stream->piece->rows);
	tuplestore_clear(stream->piece->rows.store);
	MemoryContextSwitchTo(old);
}

bool
idem_stream_row(IdemPiece *piece, TupleTableSlot *slot)
{
	IdemStream *stream = piece->stream;

	if (stream == NULL || piece->taken < IDEM_MIN_PLAIN || IsInParallelMode())
		return false;
	stream->is_writing = true;
	if (stream->heap == NULL)
		begin_writing(stream);
	idem_insert_tuple(stream->heap, slot->tts_values, slot->tts_isnull);
	stream->is_writing = false;
	return true;
}

/* Fails if more rows of a reload's target have been written than those that are streamed. */
static void
check_filled(IdemStream *stream)
{
	const IdemPiece *piece = stream->piece;

	stream->is_filled = stream->apply->reload &&
						idem_count_touched(stream->apply->target->base) != piece->touched + piece->run->inserted_rows;
	if (stream->is_filled)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg_internal("the source has written to target %s", stream->apply->target->name)));
}

/* Has the rows fetched, and writes what is left of them. */
static void
run_stream(void *arg)
{
	IdemStream *stream = arg;

	stream->fetch(stream->arg);
	stream->is_writing = true;
	if (stream->heap == NULL)
		return;
	stream->piece->run->inserted_rows = idem_close_heap(stream->heap);
	check_filled(stream);
}

bool
idem_stream_piece(IdemApply *apply, IdemPiece *piece, void (*fetch)(void *arg), void *arg)
{
	IdemStream stream = {apply, piece, fetch, arg, CurrentMemoryContext};
	ErrorData *error;

	piece->stream = &stream;
	error = idem_try(run_stream, &stream, CurrentMemoryContext);
	piece->stream = NULL;
	piece->streamed = error == NULL && stream.heap;
	if (error == NULL)
		return true;
	if (!stream.is_filled && (!stream.is_writing || !idem_is_objection(error)))
		ReThrowError(error);
	piece->run->inserted_rows = 0;
	piece->repeated = error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION;
	piece->refused = !piece->repeated;
	FreeErrorData(error);
	piece->watched = true;
	idem_begin_watch(apply->collapse);
	piece->run->rerun = true;
	apply->surprised = true;
	return false;
}
