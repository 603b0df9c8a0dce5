/*
 * schedule.c
 *		The scheduler of a database: at most one, found by the lock it holds; and how
 *		processes are started.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "server/compat.h"
#include "server/schedule.h"
#include "server/shared.h"
#include "storage/dsm.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

/*
 * Advisory locks of SQL have 1 or 2 in the last field of their tag; ours are other
 * classes, which SQL cannot take.  The first numbers are "idem" in ASCII.
 */
#define LOCK_CLASS 0x6964
#define PLACE_CLASS 0x6965
#define HOLDER_CLASS 0x6966
#define LOCK_KEY 0x6964656d

/* The tag of this database's lock. */
static LOCKTAG
scheduler_tag(void)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, LOCK_KEY, 0, LOCK_CLASS);
	return tag;
}

bool
idem_become_scheduler(void)
{
	LOCKTAG tag = scheduler_tag();

	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

int
idem_scheduler_pid(void)
{
	LOCKTAG tag = scheduler_tag();
	LockData *locks = GetLockStatusData();
	int i;

	for (i = 0; i < locks->nelements; i++)
	{
		if (memcmp(&locks->locks[i].locktag, &tag, sizeof(LOCKTAG)) == 0 &&
			locks->locks[i].holdMask != 0)
			return locks->locks[i].pid;
	}
	return 0;
}

/* The tag of a place, of no database; place 0 is the queue for them. */
static LOCKTAG
place_tag(int place)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, InvalidOid, LOCK_KEY, place, PLACE_CLASS);
	return tag;
}

/* The tag that says for which role a place is taken. */
static LOCKTAG
holder_tag(int place, Oid role)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, InvalidOid, role, place, HOLDER_CLASS);
	return tag;
}

/* Takes a lock for the session if it is free and not the session's already. */
static bool
take_free(const LOCKTAG *tag)
{
	switch (LockAcquire(tag, ExclusiveLock, true, true))
	{
		case LOCKACQUIRE_OK:
			return true;
		case LOCKACQUIRE_NOT_AVAIL:
			return false;
		default:
			/* one lock of it is enough */
			(void) LockRelease(tag, ExclusiveLock, true);
			return false;
	}
}

/* Says for which role a place is taken that was free; without saying so it is given back. */
static void
name_holder(int place, Oid role)
{
	LOCKTAG place_lock = place_tag(place);
	LOCKTAG holder_lock = holder_tag(place, role);

	PG_TRY();
	{
		(void) LockAcquire(&holder_lock, ExclusiveLock, true, false);
	}
	PG_CATCH();
	{
		(void) LockRelease(&place_lock, ExclusiveLock, true);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
idem_queue_for_places(void)
{
	LOCKTAG tag = place_tag(0);

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

void
idem_leave_queue(void)
{
	LOCKTAG tag = place_tag(0);

	(void) LockRelease(&tag, ExclusiveLock, false);
}

int
idem_take_place(int max, Oid role)
{
	int place;

	for (place = 1; place <= max; place++)
	{
		LOCKTAG tag = place_tag(place);

		if (!take_free(&tag))
			continue;
		name_holder(place, role);
		return place;
	}
	return 0;
}

void
idem_give_place_back(int place, Oid role)
{
	LOCKTAG place_lock = place_tag(place);
	LOCKTAG holder_lock = holder_tag(place, role);

	(void) LockRelease(&holder_lock, ExclusiveLock, true);
	(void) LockRelease(&place_lock, ExclusiveLock, true);
}

List *
idem_place_holders(void)
{
	LockData *locks = GetLockStatusData();
	List *roles = NIL;
	int i;

	for (i = 0; i < locks->nelements; i++)
	{
		const LOCKTAG *tag = &locks->locks[i].locktag;

		if (tag->locktag_type == LOCKTAG_ADVISORY && tag->locktag_field4 == HOLDER_CLASS &&
			locks->locks[i].holdMask != 0)
			roles = lappend_oid(roles, tag->locktag_field2);
	}
	return roles;
}

static bool wake_at_end = false;

void
idem_wake_scheduler(void)
{
	PGPROC *proc = BackendPidGetProc(idem_scheduler_pid());

	if (proc)
		SetLatch(&proc->procLatch);
}

/* Called when a transaction has ended. */
static void
wake_scheduler(XactEvent event, void *arg)
{
	if (!wake_at_end || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT))
		return;
	wake_at_end = false;
	idem_wake_scheduler();
}

void
idem_wake_at_end(void)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(wake_scheduler, NULL);
	registered = true;
	wake_at_end = true;
}

void
idem_fill_worker(BackgroundWorker *worker, const char *function, const char *type,
				 const IdemWorkerArgs *args)
{
	StaticAssertStmt(sizeof(IdemWorkerArgs) <= BGW_EXTRALEN, "a worker is given too much");
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	worker->bgw_notify_pid = MyProcPid;
	strlcpy(worker->bgw_library_name, "idem", sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, function, sizeof(worker->bgw_function_name));
	strlcpy(worker->bgw_type, type, sizeof(worker->bgw_type));
	idem_copy_text(worker->bgw_name, psprintf("%s: %s", type, args->name), BGW_MAXLEN);
	memcpy(worker->bgw_extra, args, sizeof(*args));
}

const IdemWorkerArgs *
idem_worker_args(void)
{
	return (const IdemWorkerArgs *) MyBgworkerEntry->bgw_extra;
}

const IdemWorkerArgs *
idem_begin_process(const char *application)
{
	const IdemWorkerArgs *args = idem_worker_args();

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(args->database, args->role, IDEM_BYPASS_LOGIN_CHECK);
	/* he is its owner, whatever he is in his other sessions */
	(void) set_config_option("role", "none", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
	(void) set_config_option("application_name", application, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SET, true, 0, false);
	(void) set_config_option("default_transaction_isolation", "read committed", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SET, true, 0, false);
	MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "idem process", ALLOCSET_DEFAULT_SIZES));
	return args;
}

void *
idem_attach_segment(uint32 handle)
{
	MemoryContext context = CurrentMemoryContext;
	dsm_segment *segment;

	StartTransactionCommand();
	segment = dsm_attach(handle);
	if (segment)
		dsm_pin_mapping(segment);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return segment ? dsm_segment_address(segment) : NULL;
}
