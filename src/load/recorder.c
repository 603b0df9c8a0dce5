/*
 * recorder.c
 *		A failure outlives the rollback of the transaction it happened in.
 */
#include "postgres.h"

#include "load/recorder.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "server/schedule.h"
#include "server/scope.h"
#include "server/shared.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/memutils.h"

/* How many failures there is room for, in all databases together. */
#define MAX_FAILURES 128

/* A ring: the failures from first on, n of them. */
typedef struct Ring
{
	slock_t mutex;
	int first;
	int n;
	uint64 lost;
	IdemRemembered failures[MAX_FAILURES];
} Ring;

static Size
recorder_size(void)
{
	return sizeof(Ring);
}

static void
init_recorder(void *part)
{
	Ring *ring = part;

	memset(ring, 0, sizeof(Ring));
	SpinLockInit(&ring->mutex);
}

const IdemSharedPart idem_recorder_part = {recorder_size, init_recorder};

/* Copies a text into a field of so many bytes, clipped. */
static void
copy_text(char *to, const char *from, int size)
{
	strlcpy(to, from, pg_mbcliplen(from, strlen(from), size - 1) + 1);
}

/* Puts a failure into the ring. */
static void
put_failure(Ring *ring, const IdemRemembered *failure)
{
	SpinLockAcquire(&ring->mutex);
	if (ring->n == MAX_FAILURES)
	{
		ring->first = (ring->first + 1) % MAX_FAILURES;
		ring->n--;
		ring->lost++;
	}
	ring->failures[(ring->first + ring->n) % MAX_FAILURES] = *failure;
	ring->n++;
	SpinLockRelease(&ring->mutex);
}

void
idem_remember_failure(const IdemRangeType *type, const IdemRun *run,
					  const IdemIdentity *identity)
{
	Ring *ring = idem_shared_part(&idem_recorder_part);
	MemoryContext old;
	ErrorData *error;
	IdemRemembered failure = {
		.database = MyDatabaseId,
		.role = identity->role,
		.ledger = run->ledger,
		.target = run->target,
		.range = type->range,
		.window = run->window,
		.reload = strcmp(run->mode, "reload") == 0,
		.started_at = run->started_at,
	};

	if (ring == NULL)
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	error = CopyErrorData();
	MemoryContextSwitchTo(old);
	failure.sqlerrcode = error->sqlerrcode;
	copy_text(failure.pipeline, run->pipeline, sizeof(failure.pipeline));
	copy_text(failure.message, error->message ? error->message : "", sizeof(failure.message));
	if (strlen(identity->search_path) < sizeof(failure.search_path))
		strcpy(failure.search_path, identity->search_path);
	FreeErrorData(error);
	put_failure(ring, &failure);
	idem_wake_at_end();
}

bool
idem_take_failure(IdemRemembered *failure)
{
	Ring *ring = idem_shared_part(&idem_recorder_part);
	bool found = false;
	int i;

	if (ring == NULL)
		return false;
	SpinLockAcquire(&ring->mutex);
	for (i = 0; i < ring->n && !found; i++)
	{
		IdemRemembered *one = &ring->failures[(ring->first + i) % MAX_FAILURES];

		if (one->database != MyDatabaseId)
			continue;
		*failure = *one;
		found = true;

		/* fill the hole with those before it */
		for (; i > 0; i--)
			ring->failures[(ring->first + i) % MAX_FAILURES] = ring->failures[(ring->first + i - 1) % MAX_FAILURES];
		ring->first = (ring->first + 1) % MAX_FAILURES;
		ring->n--;
	}
	SpinLockRelease(&ring->mutex);
	return found;
}

uint64
idem_lost_failures(void)
{
	Ring *ring = idem_shared_part(&idem_recorder_part);
	uint64 lost = 0;

	if (ring == NULL)
		return 0;
	SpinLockAcquire(&ring->mutex);
	lost = ring->lost;
	ring->lost = 0;
	SpinLockRelease(&ring->mutex);
	return lost;
}
