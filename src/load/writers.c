/*
 * writers.c
 *		Waits until nobody who began earlier can still commit rows into a window.
 *
 * A row that is inserted before a window is read, and committed after it, would be
 * missed for good once the window is complete.  A writer holds ROW EXCLUSIVE until
 * it ends, so we wait for its holders' virtual transactions, as CREATE INDEX
 * CONCURRENTLY does.  The lock modes that conflict with SHARE include SHARE UPDATE
 * EXCLUSIVE, which VACUUM and ANALYZE hold for hours and never write rows under:
 * those that hold nothing stronger are not waited for.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/catalog.h"
#include "catalog/pg_inherits.h"
#include "load/writers.h"
#include "miscadmin.h"
#include "server/compat.h"
#include "storage/lmgr.h"
#include "storage/lock.h"

/* The modes under which rows are written. */
#define WRITE_LOCKS (LOCKBIT_ON(RowExclusiveLock) | LOCKBIT_ON(ShareRowExclusiveLock) | \
					 LOCKBIT_ON(ExclusiveLock) | LOCKBIT_ON(AccessExclusiveLock))

/* True if a virtual transaction holds one of WRITE_LOCKS on the relation. */
static bool
is_writer(const LockData *locks, const LOCKTAG *tag, VirtualTransactionId vxid)
{
	int i;

	for (i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];

		if (memcmp(&lock->locktag, tag, sizeof(LOCKTAG)) == 0 &&
			(lock->holdMask & WRITE_LOCKS) != 0 &&
			idem_lock_vxid_proc(lock) == idem_vxid_proc(vxid) &&
			idem_lock_vxid_xid(lock) == vxid.localTransactionId)
			return true;
	}
	return false;
}

/* Waits for the writers of one relation, or returns whether there is one. */
static bool
meet_writers(Oid relid, bool wait)
{
	VirtualTransactionId *holders;
	LockData *locks;
	LOCKTAG tag;
	int n;

	SET_LOCKTAG_RELATION(tag, IsSharedRelation(relid) ? InvalidOid : MyDatabaseId, relid);
	holders = GetLockConflicts(&tag, ShareLock, &n);
	if (n == 0)
		return false;
	locks = GetLockStatusData();
	for (; VirtualTransactionIdIsValid(*holders); holders++)
	{
		if (!is_writer(locks, &tag, *holders))
			continue;
		if (!wait)
			return true;
		VirtualXactLock(*holders, true);
	}
	return false;
}

/*
 * A relation and those that inherit from it; none if it has been dropped, of which the
 * source will say what there is to say.  No lock is kept: who is waited for may want one.
 */
static List *
family(Oid relid)
{
	Relation rel = try_relation_open(relid, AccessShareLock);
	List *relids;

	if (rel == NULL)
		return NIL;
	relids = find_all_inheritors(relid, NoLock, NULL);
	relation_close(rel, AccessShareLock);
	return relids;
}

/* The same for relations and those that inherit from them. */
static bool
meet_all_writers(List *relations, bool wait)
{
	ListCell *lc;
	ListCell *child;

	foreach (lc, relations)
	{
		foreach (child, family(lfirst_oid(lc)))
		{
			CHECK_FOR_INTERRUPTS();
			if (meet_writers(lfirst_oid(child), wait))
				return true;
		}
	}
	return false;
}

void
idem_wait_for_source_writers(List *relations)
{
	(void) meet_all_writers(relations, true);
}

bool
idem_has_source_writers(List *relations)
{
	return meet_all_writers(relations, false);
}
