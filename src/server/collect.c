/*
 * collect.c
 *		Rows of a statement, collected to be looked at when the identity it ran as is gone.
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "miscadmin.h"
#include "server/collect.h"
#include "server/query.h"
#include "utils/memutils.h"

static void
start_collector(DestReceiver *self, int operation, TupleDesc desc)
{
	IdemCollector *collector = (IdemCollector *) self;
	MemoryContext old = MemoryContextSwitchTo(collector->context);

	collector->desc = CreateTupleDescCopy(desc);
	MemoryContextSwitchTo(old);
}

static bool
collect_row(TupleTableSlot *slot, DestReceiver *self)
{
	tuplestore_puttupleslot(((IdemCollector *) self)->store, slot);
	return true;
}

void
idem_begin_collector(IdemCollector *collector)
{
	*collector = (IdemCollector){
		.pub = {collect_row, start_collector, idem_keep_receiver, idem_keep_receiver, DestNone},
		.context = CurrentMemoryContext,
		.store = tuplestore_begin_heap(false, false, work_mem),
	};
}

void
idem_visit_rows(IdemCollector *collector, void (*visit)(void *arg, const Datum *values, const bool *nulls), void *arg)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(collector->desc, &TTSOpsMinimalTuple);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "idem row", ALLOCSET_DEFAULT_SIZES);

	/* a slot frees its tuple itself, which must not be in the context that is reset */
	while (tuplestore_gettupleslot(collector->store, true, false, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		visit(arg, slot->tts_values, slot->tts_isnull);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(collector->store);
}
