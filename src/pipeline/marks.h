/*
 * marks.h
 *		What there is to say of each window of a range: complete, failed, being loaded.
 */
#ifndef IDEM_PIPELINE_MARKS_H
#define IDEM_PIPELINE_MARKS_H

#include "ledger/ledger.h"

/* Windows of one kind, in order, and how far they have been looked through. */
typedef struct IdemMarks
{
	IdemWindow *windows;
	int n;
	int current;
} IdemMarks;

/* The windows of a multirange, as marks. */
extern IdemMarks idem_make_marks(const IdemRangeType *type, Datum multirange);

/* How much of a window they cover: 0 nothing, 1 a part, 2 all of it; for one window after the other, in order. */
extern int idem_covered(IdemMarks *marks, IdemWindow window);

/* What a ledger says of a pipeline's windows. */
typedef struct IdemWindowMarks
{
	IdemMarks complete;
	IdemMarks failed;
	IdemMarks running;
} IdemWindowMarks;

/* Reads what there is to know of a range. */
extern IdemWindowMarks idem_read_window_marks(IdemLedger *ledger, const char *pipeline, IdemWindow range);

/*
 * The character that stands for a window: # complete, + partly, . missing, ! failed, > being
 * loaded; for one window after the other, in order.
 */
extern char idem_window_mark(IdemWindowMarks *marks, IdemWindow window);

#endif /* IDEM_PIPELINE_MARKS_H */
