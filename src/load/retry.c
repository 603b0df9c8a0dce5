/*
 * retry.c
 *		When a window that has failed is tried again.
 *
 * Exponential backoff with jitter, so that what failed together is not tried again
 * together.  Errors that only say "somebody was in the way" are tried again at once,
 * a few times.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "load/retry.h"
#include "utils/timestamp.h"

/* So often are conflicts tried again at once. */
#define MAX_AT_ONCE 3

/* True for an error that is gone when the other transaction is. */
static bool
is_conflict(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		   sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		   sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

int64
idem_retry_delay(int64 base, int64 max, int64 n)
{
	double delay = base;

	/* from the sixtieth on it is the maximum, whatever the base */
	delay *= (double) (INT64CONST(1) << Min(n - 1, 60));
	delay = Min(delay, (double) max);
	return (int64) (delay * (0.75 + 0.5 * pg_prng_double(&pg_global_prng_state)));
}

void
idem_plan_retry(const IdemRetryPolicy *policy, int64 failed_before, IdemFailure *failure)
{
	int64 n = failed_before + 1;

	failure->next_attempt_at = GetCurrentTimestamp();
	if (n >= policy->max_attempts)
		failure->blocked = true;
	else if (!is_conflict(failure->error->sqlerrcode) || n > MAX_AT_ONCE)
		failure->next_attempt_at += idem_retry_delay(policy->base, policy->max, n);
}
