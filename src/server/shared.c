/*
 * shared.c
 *		Shared memory: who may have it, and how it is got.
 *
 * From 17 on any session can ask the server for a named segment; before, a library
 * must be preloaded to reserve its share when the server starts.  No LWLocks are in
 * it: the parts are guarded by spinlocks that are held for a memory copy at most.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "server/compat.h"
#include "server/shared.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#define MAX_PARTS 8

static const IdemSharedPart *parts[MAX_PARTS];
static int nparts = 0;

/* The beginning of all parts; NULL while this process has not attached. */
static char *shared = NULL;

void
idem_add_shared_part(const IdemSharedPart *part)
{
	Assert(nparts < MAX_PARTS);
	parts[nparts++] = part;
}

/* The size of the first n parts. */
static Size
parts_size(int n)
{
	Size size = 0;
	int i;

	for (i = 0; i < n; i++)
		size = add_size(size, MAXALIGN(parts[i]->size()));
	return size;
}

/* Initializes all parts. */
static void
init_parts(void *memory)
{
	int i;

	for (i = 0; i < nparts; i++)
		parts[i]->init((char *) memory + parts_size(i));
}

#if IDEM_HAS_DSM_REGISTRY

void
idem_request_shared(void)
{
}

/* Finds the memory, or makes it. */
static void
attach_shared(void)
{
	bool found;

	shared = idem_named_segment("idem", parts_size(nparts), init_parts, &found);
}

#else

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/* Asks for the memory. */
static void
request_memory(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(parts_size(nparts));
}

/* Makes the memory. */
static void
make_memory(void)
{
	bool found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("idem", parts_size(nparts), &found);
	if (!found)
		init_parts(shared);
	LWLockRelease(AddinShmemInitLock);
}

void
idem_request_shared(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = make_memory;
}

/* It was made when the server started, or never will be. */
static void
attach_shared(void)
{
}

#endif

void *
idem_shared_part(const IdemSharedPart *part)
{
	int i = 0;

	if (shared == NULL)
		attach_shared();
	if (shared == NULL)
		return NULL;
	while (parts[i] != part)
		i++;
	return shared + parts_size(i);
}

void
idem_copy_text(char *to, const char *from, int size)
{
	strlcpy(to, from, pg_mbcliplen(from, strlen(from), size - 1) + 1);
}
