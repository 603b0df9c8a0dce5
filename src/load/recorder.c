/*
 * recorder.c
 *		A failure outlives the rollback of the transaction it happened in.
 *
 * A caller may catch a load's error, by a savepoint or an exception handler, and load the
 * window again.  Then the failure is forgotten, if what made it good is committed: not if
 * that is rolled back itself, to a savepoint or with the whole transaction.
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
static uint64 failed = 0; /* serial of the last one */

/* A window that has been loaded after some of it had failed in this transaction. */
typedef struct Success
{
	SubTransactionId subid; /* whose rollback undoes it */
	uint64 after;			/* serial of the last failure before it */
	Oid ledger;
	IdemWindow window;
	char pipeline[IDEM_MAX_REMEMBERED_NAME];
} Success;

/* If there are more, what they made good is recorded as failed none the less. */
#define MAX_SUCCESSES 256

static Success *successes = NULL;
static int nsuccesses = 0;

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

/* The i-th failure of the ring, from the oldest on. */
static IdemRemembered *
nth_failure(Ring *ring, int i)
{
	return &ring->failures[(ring->first + i) % MAX_FAILURES];
}

/* Takes the i-th failure out of the ring, filling the hole with those before it. */
static void
remove_failure(Ring *ring, int i)
{
	for (; i > 0; i--)
		*nth_failure(ring, i) = *nth_failure(ring, i - 1);
	ring->first = (ring->first + 1) % MAX_FAILURES;
	ring->n--;
}

/* True if two failures are the same role's in the same database. */
static bool
are_of_one(const IdemRemembered *one, const IdemRemembered *other)
{
	return one->database == other->database && one->role == other->role;
}

/*
 * Which failure of a full ring goes for a new one: the oldest of the role that would have
 * most, so that the many of one role never push out the few of another.
 */
static int
choose_victim(Ring *ring, const IdemRemembered *failure)
{
	int victim = 0;
	int most = 0;
	int i;
	int j;

	for (i = 0; i < ring->n; i++)
	{
		const IdemRemembered *one = nth_failure(ring, i);
		int n = are_of_one(one, failure);

		for (j = i; j < ring->n; j++)
			n += are_of_one(one, nth_failure(ring, j));
		if (n <= most)
			continue;
		most = n;
		victim = i;
	}
	return victim;
}

/* Puts a failure into the ring. */
static void
put_failure(Ring *ring, const IdemRemembered *failure)
{
	SpinLockAcquire(&ring->mutex);
	if (ring->n == MAX_FAILURES)
	{
		remove_failure(ring, choose_victim(ring, failure));
		ring->lost++;
	}
	*nth_failure(ring, ring->n) = *failure;
	nth_failure(ring, ring->n)->serial = ++ring->serial;
	ring->n++;
	SpinLockRelease(&ring->mutex);
}

/* True if a success is of some of a failure's window, and came later. */
static bool
makes_good(const Success *success, const IdemRemembered *failure)
{
	return success->after >= failure->serial && success->ledger == failure->ledger &&
		   strcmp(success->pipeline, failure->pipeline) == 0 &&
		   success->window.lower < failure->window.upper && failure->window.lower < success->window.upper;
}

/* True if all of a failure's window has been loaded later. */
static bool
is_made_good(const IdemRemembered *failure)
{
	int64 lower = failure->window.lower;
	bool moved = true;
	int i;

	while (moved && lower < failure->window.upper)
	{
		moved = false;
		for (i = 0; i < nsuccesses; i++)
		{
			if (makes_good(&successes[i], failure) && successes[i].window.lower <= lower &&
				lower < successes[i].window.upper)
			{
				lower = successes[i].window.upper;
				moved = true;
			}
		}
	}
	return lower >= failure->window.upper;
}

/* Leaves what has failed in the transaction that ends; also where its errors were caught. */
static void
leave_pending(XactEvent event, void *arg)
{
	Ring *ring;
	int i;

	if ((npending == 0 && lost_pending == 0) ||
		(event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE))
		return;
	ring = idem_shared_part(&idem_recorder_part);
	for (i = 0; ring && i < npending; i++)
	{
		if (event == XACT_EVENT_ABORT || !is_made_good(&pending[i]))
			put_failure(ring, &pending[i]);
	}
	if (ring)
	{
		SpinLockAcquire(&ring->mutex);
		ring->lost += lost_pending;
		SpinLockRelease(&ring->mutex);
	}
	npending = nsuccesses = 0;
	lost_pending = 0;
	idem_wake_scheduler();
}

/* What a subtransaction made good is its parent's when it ends, or as if it had not been. */
static void
end_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	int kept = 0;
	int i;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	for (i = 0; i < nsuccesses; i++)
	{
		bool ours = successes[i].subid == subid;

		if (ours && event == SUBXACT_EVENT_ABORT_SUB)
			continue;
		successes[kept] = successes[i];
		if (ours)
			successes[kept].subid = parent;
		kept++;
	}
	nsuccesses = kept;
}

/* Keeps a failure until the transaction ends; one without a name is counted only. */
static void
keep_pending(const IdemRemembered *failure)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(leave_pending, NULL);
		RegisterSubXactCallback(end_subtransaction, NULL);
	}
	registered = true;
	if (pending == NULL)
		pending = MemoryContextAlloc(TopMemoryContext, MAX_FAILURES * sizeof(IdemRemembered));
	if (failure->pipeline[0] == '\0')
	{
		lost_pending++;
		return;
	}
	if (npending == MAX_FAILURES)
	{
		memmove(pending, pending + 1, --npending * sizeof(IdemRemembered));
		lost_pending++;
	}
	pending[npending] = *failure;
	pending[npending++].serial = ++failed;
}

/* Adds a success, to the last one where it goes on. */
static void
add_success(const Success *success)
{
	Success *last = nsuccesses > 0 ? &successes[nsuccesses - 1] : NULL;

	if (last && last->subid == success->subid && last->after == success->after &&
		last->ledger == success->ledger && strcmp(last->pipeline, success->pipeline) == 0 &&
		last->window.lower <= success->window.upper && success->window.lower <= last->window.upper)
	{
		last->window.lower = Min(last->window.lower, success->window.lower);
		last->window.upper = Max(last->window.upper, success->window.upper);
		return;
	}
	if (successes == NULL)
		successes = MemoryContextAlloc(TopMemoryContext, MAX_SUCCESSES * sizeof(Success));
	if (nsuccesses < MAX_SUCCESSES)
		successes[nsuccesses++] = *success;
}

void
idem_remember_success(const IdemRun *run)
{
	Success success = {
		.subid = GetCurrentSubTransactionId(),
		.after = failed,
		.ledger = run->ledger,
		.window = run->window,
	};
	int i;

	if (npending == 0 || strlen(run->pipeline) >= sizeof(success.pipeline))
		return;
	strcpy(success.pipeline, run->pipeline);
	for (i = 0; i < npending; i++)
	{
		if (makes_good(&success, &pending[i]))
		{
			add_success(&success);
			return;
		}
	}
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
	if (strlen(run->pipeline) < sizeof(failure.pipeline))
		strcpy(failure.pipeline, run->pipeline);
	idem_copy_text(failure.message, error->message ? error->message : "", sizeof(failure.message));
	if (strlen(identity->search_path) < sizeof(failure.search_path))
		strcpy(failure.search_path, identity->search_path);
	FreeErrorData(error);
	keep_pending(&failure);
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
		IdemRemembered *one = nth_failure(ring, i);

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
		const IdemRemembered *one = nth_failure(ring, i);

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
		const IdemRemembered *one = nth_failure(ring, i);

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
