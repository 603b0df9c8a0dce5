/*
 * changes.c
 *		Whether the catalogs have changed.
 *
 * What the server sends to whoever has looked something up is counted here, once a
 * session: to look again costs nothing as long as nothing has happened.  A number may
 * grow although nothing of interest has changed, for ANALYZE sends the same, and who
 * hears it compares.  Relations stand for their columns, indexes, triggers, rules,
 * policies and partitions; the other catalogs are those whose names and properties go
 * into statements without a relation being told.
 */
#include "postgres.h"

#include "server/changes.h"
#include "server/compat.h"
#include "utils/inval.h"
#include "utils/syscache.h"

static uint64 changes = 0;

/* Hears that a relation has changed, or that all may have. */
static void
relation_changed(Datum arg, Oid relid)
{
	changes++;
}

/* Hears that a row of a catalog has changed. */
static void
catalog_changed(Datum arg, idem_syscache cache, uint32 hash)
{
	changes++;
}

/* Begins to listen; a session never ends it. */
static void
listen(void)
{
	static const idem_syscache caches[] = {NAMESPACEOID, TYPEOID, OPEROID, CLAOID, AMPROCNUM};
	static bool listens = false;
	size_t i;

	if (listens)
		return;
	listens = true;
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	for (i = 0; i < lengthof(caches); i++)
		CacheRegisterSyscacheCallback(caches[i], catalog_changed, (Datum) 0);
}

uint64
idem_catalog_changes(void)
{
	listen();
	AcceptInvalidationMessages();
	return changes;
}
