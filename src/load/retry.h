/*
 * retry.h
 *		When a window that has failed is tried again.
 */
#ifndef IDEM_LOAD_RETRY_H
#define IDEM_LOAD_RETRY_H

#include "load/load.h"

/*
 * Sets when a failure's window is to be tried again, or that it is blocked, given
 * how often it has failed before.
 */
extern void idem_plan_retry(const IdemRetryPolicy *policy, int64 failed_before,
							IdemFailure *failure);

/* The time to wait after n failures in a row, n from 1, in microseconds, with jitter. */
extern int64 idem_retry_delay(int64 base, int64 max, int64 n);

#endif /* IDEM_LOAD_RETRY_H */
