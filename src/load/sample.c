/*
 * sample.c
 *		A few rows of many, each as likely as any other.
 *
 * Reservoir sampling by Vitter's algorithm Z, which is the server's: after the
 * first rows it says how many to skip, so that a row costs a comparison.
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "load/sample.h"
#include "utils/memutils.h"
#include "utils/sampling.h"

/* The standard error of a half is three percent; one changed row in a hundred is rarely missed. */
#define SAMPLE_ROWS 300

struct IdemSample
{
	TupleDesc desc;
	MemoryContext context; /* the rows */
	ReservoirStateData state;
	double seen;
	double skip; /* how many rows to pass over; negative: not known yet */
	int nrows;
	MinimalTuple rows[SAMPLE_ROWS];
};

IdemSample *
idem_make_sample(TupleDesc desc)
{
	IdemSample *sample = palloc0(sizeof(IdemSample));

	sample->desc = desc;
	sample->context = AllocSetContextCreate(CurrentMemoryContext, "idem sample",
											ALLOCSET_SMALL_SIZES);
	return sample;
}

void
idem_begin_sample(IdemSample *sample)
{
	MemoryContextReset(sample->context);
	reservoir_init_selection_state(&sample->state, SAMPLE_ROWS);
	sample->seen = 0;
	sample->skip = -1;
	sample->nrows = 0;
}

/* Copies a row to a place in the sample. */
static void
keep_row(IdemSample *sample, int place, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(sample->context);

	sample->rows[place] = ExecCopySlotMinimalTuple(slot);
	MemoryContextSwitchTo(old);
}

void
idem_sample_row(IdemSample *sample, TupleTableSlot *slot)
{
	if (sample->nrows < SAMPLE_ROWS)
		keep_row(sample, sample->nrows++, slot);
	else
	{
		if (sample->skip < 0)
			sample->skip = reservoir_get_next_S(&sample->state, sample->seen, SAMPLE_ROWS);
		if (sample->skip <= 0)
		{
			int place = (int) (SAMPLE_ROWS * sampler_random_fract(&sample->state.randstate));

			pfree(sample->rows[place]);
			keep_row(sample, place, slot);
		}
		sample->skip -= 1;
	}
	sample->seen += 1;
}

IdemRows
idem_sampled_rows(IdemSample *sample)
{
	IdemRows rows = idem_make_rows(sample->desc);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(sample->desc, &TTSOpsMinimalTuple);
	int i;

	for (i = 0; i < sample->nrows; i++)
	{
		ExecStoreMinimalTuple(sample->rows[i], slot, false);
		tuplestore_puttupleslot(rows.store, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	rows.count = sample->nrows;
	return rows;
}
