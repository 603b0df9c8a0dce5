/*
 * batch.h
 *		Small windows that follow each other, loaded together in one transaction.
 */
#ifndef IDEM_LOAD_BATCH_H
#define IDEM_LOAD_BATCH_H

#include "load/runner.h"

/*
 * As many windows may be loaded together: each may take a subtransaction, and of more than
 * 64 the server does not tell other sessions, which then have to look them up.
 */
#define IDEM_MAX_TOGETHER 60

/* As many would be loaded together next, if they follow each other; 1 if none would. */
extern int idem_batch_size(const IdemLoad *load);

/*
 * Loads the first of some windows together, or none where that may not be or does not
 * work out; returns how many.  The next window is then to be loaded alone.
 */
extern int idem_load_batch(IdemLoad *load, const IdemWindow *windows, int n);

/* Called when a window has been tried alone, whatever came of it. */
extern void idem_keep_pace(IdemLoad *load);

#endif /* IDEM_LOAD_BATCH_H */
