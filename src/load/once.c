/*
 * once.c
 *		Rows applied outside of any run: without a claim, and with nothing in the ledger.
 *
 * For rows of windows that are complete without them: what the ledger says of those stays
 * as true as it was.
 */
#include "postgres.h"

#include "load/apply.h"
#include "load/once.h"
#include "load/prepare.h"
#include "load/source.h"

/* A piece on its way. */
typedef struct Once
{
	IdemApply *apply;
	IdemPiece piece;
} Once;

static bool
take_row(void *arg, TupleTableSlot *slot)
{
	Once *once = arg;

	slot_getallattrs(slot);
	return idem_take_row(once->apply, &once->piece, slot, NULL);
}

void
idem_apply_once(const IdemRequest *request, IdemWindow window)
{
	IdemSummary summary = {0};
	IdemLoad load = {.request = request, .atomic = true, .context = CurrentMemoryContext, .summary = &summary};
	Once once = {0};
	IdemRun run;

	idem_prepare_check(&load);
	idem_lock_target(load.target);
	run = idem_make_run(&load, window);
	once.apply = load.apply;
	idem_begin_piece(load.apply, &once.piece, &run);
	once.piece.rows = idem_make_rows(idem_source_desc(load.source));
	idem_run_source(load.source, window, NULL, &once.piece.rows, take_row, &once);
	idem_apply_piece(load.apply, &once.piece);
}
