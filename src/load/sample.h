/*
 * sample.h
 *		A few rows of many, each as likely as any other.
 */
#ifndef IDEM_LOAD_SAMPLE_H
#define IDEM_LOAD_SAMPLE_H

#include "load/rows.h"

typedef struct IdemSample IdemSample;

/* Prepares for samples of rows of a descriptor, in the current memory context. */
extern IdemSample *idem_make_sample(TupleDesc desc);

/* Begins a new sample, offers it a row, and returns the rows that were chosen. */
extern void idem_begin_sample(IdemSample *sample);
extern void idem_sample_row(IdemSample *sample, TupleTableSlot *slot);
extern IdemRows idem_sampled_rows(IdemSample *sample);

#endif /* IDEM_LOAD_SAMPLE_H */
