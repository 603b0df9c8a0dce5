/*
 * batch.h
 *		Small windows that follow each other, loaded together in one transaction.
 */
#ifndef IDEM_LOAD_BATCH_H
#define IDEM_LOAD_BATCH_H

#include "load/runner.h"

/*
 * Loads the first of some windows together, or none where that may not be or does not
 * work out; returns how many.  The next window is then to be loaded alone.
 */
extern int idem_load_batch(IdemLoad *load, const IdemWindow *windows, int n);

/* Called when a window has been tried alone, whatever came of it. */
extern void idem_keep_pace(IdemLoad *load);

#endif /* IDEM_LOAD_BATCH_H */
