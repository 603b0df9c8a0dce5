/*
 * sift.h
 *		A piece of which rows that cannot be loaded become dead letters.
 *
 * The source's rows are kept as they are, then made, checked and applied.  Only errors of
 * the classes 22 and 23, and different rows of one key, are a row's; any other is the
 * window's, as ever.
 */
#ifndef IDEM_LOAD_SIFT_H
#define IDEM_LOAD_SIFT_H

#include "load/runner.h"

/* How many rows of a window may be dead: so many, or so many of a hundred. */
typedef struct IdemMaxDead
{
	bool is_percent;
	double value;
} IdemMaxDead;

/* Reads it; raises 22023 for what is neither '1000' nor '1%'. */
extern IdemMaxDead idem_read_max_dead(const char *text);

/*
 * Loads the rows of a piece that has begun; take sees each that is alive, as idem_run_source's
 * does.  Raises 54000 if more are dead than max_dead; then load->too_many is true.
 */
extern void idem_sift_piece(IdemLoad *load, IdemPiece *piece, IdemTakeRow take, void *arg);

/* Writes the letters of a run, and closes those of its window that it has not seen. */
extern void idem_post_letters(IdemLoad *load, const IdemRun *run);

/* Writes those of a run that failed for them. */
extern void idem_post_failed_letters(IdemLoad *load, const IdemRun *run, int64 run_id);

#endif /* IDEM_LOAD_SIFT_H */
