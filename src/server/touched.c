/*
 * touched.c
 *		How many rows of a table have been written.
 *
 * The server counts them for its statistics, where track_counts is on, and keeps its counts
 * until the transaction ends.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "nodes/pg_list.h"
#include "pgstat.h"
#include "server/touched.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

/* The same of one table. */
static int64
count_of(Oid relid)
{
	Datum table = ObjectIdGetDatum(relid);

	return DatumGetInt64(OidFunctionCall1(F_PG_STAT_GET_XACT_TUPLES_INSERTED, table)) +
		   DatumGetInt64(OidFunctionCall1(F_PG_STAT_GET_XACT_TUPLES_UPDATED, table)) +
		   DatumGetInt64(OidFunctionCall1(F_PG_STAT_GET_XACT_TUPLES_DELETED, table));
}

int64
idem_count_touched(Oid relid)
{
	List *relids;
	ListCell *lc;
	int64 count = 0;

	if (!pgstat_track_counts)
		return -1;
	relids = find_all_inheritors(relid, NoLock, NULL);
	foreach (lc, relids)
	{
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_FOREIGN_TABLE)
			return -1;
		count += count_of(lfirst_oid(lc));
	}
	list_free(relids);
	return count;
}
