/*
 * recorder.c
 *		A failure outlives the rollback of the transaction it happened in.
 */
#include "postgres.h"

#include "access/xact.h"
#include "load/recorder.h"
#include "miscadmin.h"
#include "server/schedule.h"
#include "server/scope.h"
#include "server/shared.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/memutils.h"

#define MAX_FAILURES IDEM_MAX_REMEMBERED

/* What has failed in the transaction that runs: the newest, and how many more. */
static IdemRemembered *pending = NULL;
static int npending = 0;
static uint64 lost_pending = 0;

/* A ring: the failures from first on, n of them. */
typedef struct Ring
{
	slock_t mutex;
	int first;
	int n;
	uint64 lost;
	uint64 serial; /* of the last one */
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
	ring->failures[(ring->first + ring->n) % MAX_FAILURES].serial = ++ring->serial;
	ring->n++;
	SpinLockRelease(&ring->mutex);
}

/* Leaves what has failed in the transaction that ends; also where its errors were caught. */
static void
leave_pending(XactEvent event, void *arg)
{
	Ring *ring;
	int i;

	if (npending == 0 || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE))
		return;
	ring = idem_shared_part(&idem_recorder_part);
	for (i = 0; ring && i < npending; i++)
		put_failure(ring, &pending[i]);
	if (ring)
	{
		SpinLockAcquire(&ring->mutex);
		ring->lost += lost_pending;
		SpinLockRelease(&ring->mutex);
	}
	npending = 0;
	lost_pending = 0;
	idem_wake_scheduler();
}

/* Keeps a failure until the transaction ends. */
static void
keep_pending(const IdemRemembered *failure)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(leave_pending, NULL);
	registered = true;
	if (pending == NULL)
		pending = MemoryContextAlloc(TopMemoryContext, MAX_FAILURES * sizeof(IdemRemembered));
	if (npending == MAX_FAILURES)
	{
		memmove(pending, pending + 1, --npending * sizeof(IdemRemembered));
		lost_pending++;
	}
	pending[npending++] = *failure;
}

void
idem_forget_failure(const IdemRun *run)
{
	int i;
	int kept = 0;

	for (i = 0; i < npending; i++)
	{
		const IdemRemembered *failure = &pending[i];

		if (failure->ledger != run->ledger || strcmp(failure->pipeline, run->pipeline) != 0 ||
			failure->window.lower >= run->window.upper || run->window.lower >= failure->window.upper)
			pending[kept++] = *failure;
	}
	npending = kept;
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
	idem_copy_text(failure.pipeline, run->pipeline, sizeof(failure.pipeline));
	idem_copy_text(failure.message, error->message ? error->message : "", sizeof(failure.message));
	if (strlen(identity->search_path) < sizeof(failure.search_path))
		strcpy(failure.search_path, identity->search_path);
	FreeErrorData(error);
	keep_pending(&failure);
}

/* Takes the i-th failure out of the ring, filling the hole with those before it. */
static void
remove_failure(Ring *ring, int i)
{
	for (; i > 0; i--)
		ring->failures[(ring->first + i) % MAX_FAILURES] = ring->failures[(ring->first + i - 1) % MAX_FAILURES];
	ring->first = (ring->first + 1) % MAX_FAILURES;
	ring->n--;
}

bool
idem_take_failure(Oid role, IdemRemembered *failure)
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

		if (one->database != MyDatabaseId || one->role != role)
			continue;
		*failure = *one;
		found = true;
		remove_failure(ring, i);
	}
	SpinLockRelease(&ring->mutex);
	return found;
}

int
idem_remembered_roles(Oid roles[IDEM_MAX_REMEMBERED])
{
	Ring *ring = idem_shared_part(&idem_recorder_part);
	int n = 0;
	int i;
	int j;

	if (ring == NULL)
		return 0;
	SpinLockAcquire(&ring->mutex);
	for (i = 0; i < ring->n; i++)
	{
		const IdemRemembered *one = &ring->failures[(ring->first + i) % MAX_FAILURES];

		for (j = 0; j < n && roles[j] != one->role; j++)
			;
		if (one->database == MyDatabaseId && j == n)
			roles[n++] = one->role;
	}
	SpinLockRelease(&ring->mutex);
	return n;
}

uint64
idem_oldest_remembered(Oid role)
{
	Ring *ring = idem_shared_part(&idem_recorder_part);
	uint64 serial = 0;
	int i;

	if (ring == NULL)
		return 0;
	SpinLockAcquire(&ring->mutex);
	for (i = 0; i < ring->n && serial == 0; i++)
	{
		const IdemRemembered *one = &ring->failures[(ring->first + i) % MAX_FAILURES];

		if (one->database == MyDatabaseId && one->role == role)
			serial = one->serial;
	}
	SpinLockRelease(&ring->mutex);
	return serial;
}

void
idem_drop_failures(Oid role)
{
	Ring *ring = idem_shared_part(&idem_recorder_part);
	IdemRemembered failure;

	while (idem_take_failure(role, &failure))
	{
		SpinLockAcquire(&ring->mutex);
		ring->lost++;
		SpinLockRelease(&ring->mutex);
	}
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
