/*
 * truncate.c
 *		Method "truncate": empty the partitions that the window consists of.
 *
 * Only where the user allows it: TRUNCATE locks readers out until the transaction
 * ends, and a transaction with an older snapshot finds the partition empty.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "load/apply.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "server/settings.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"

/* The place of a bound in the partitions' bounds, -1 if it is none of them. */
static int
find_bound(const IdemApply *apply, PartitionBoundInfo bounds, int64 bound)
{
	Oid type = getBaseType(apply->target->window->type);
	int i;

	for (i = 0; i < bounds->ndatums; i++)
	{
		if (bounds->kind[i][0] == PARTITION_RANGE_DATUM_VALUE &&
			idem_value_bound(apply->type, type, bounds->datums[i][0]) == bound)
			return i;
	}
	return -1;
}

/* The partitions that a window consists of, exactly; NIL if it does not. */
static List *
window_partitions(const IdemApply *apply, Relation rel, IdemWindow window)
{
	PartitionKey key = RelationGetPartitionKey(rel);
	PartitionDesc desc;
	PartitionBoundInfo bounds;
	List *result = NIL;
	int first;
	int last;
	int i;

	if (key == NULL || get_partition_strategy(key) != PARTITION_STRATEGY_RANGE ||
		get_partition_natts(key) != 1 ||
		get_partition_col_attnum(key, 0) != apply->target->window->base_attno)
		return NIL;
	desc = RelationGetPartitionDesc(rel, true);
	bounds = desc->boundinfo;
	if (bounds == NULL)
		return NIL;
	first = find_bound(apply, bounds, window.lower);
	last = find_bound(apply, bounds, window.upper);

	/* the partition of the range below bound i is number indexes[i] */
	for (i = first + 1; first >= 0 && i <= last; i++)
	{
		if (bounds->indexes[i] < 0)
			return NIL; /* a hole, whose rows are in the default partition */
		result = lappend_oid(result, desc->oids[bounds->indexes[i]]);
	}
	return result;
}

/* True if the current user may truncate all of them. */
static bool
may_truncate(List *relids)
{
	ListCell *lc;

	foreach (lc, relids)
	{
		if (pg_class_aclcheck(lfirst_oid(lc), GetUserId(), ACL_TRUNCATE) != ACLCHECK_OK)
			return false;
	}
	return relids != NIL;
}

/* Builds: TRUNCATE ONLY … for the partitions, or NULL if the window is none. */
static char *
truncate_sql(const IdemApply *apply, IdemWindow window)
{
	Relation rel = table_open(apply->target->relid, AccessShareLock);
	List *relids = window_partitions(apply, rel, window);
	const char *separator = "TRUNCATE ";
	StringInfoData sql;
	ListCell *lc;

	table_close(rel, NoLock);
	if (!may_truncate(relids))
		return NULL;
	initStringInfo(&sql);
	foreach (lc, relids)
	{
		Relation partition = table_open(lfirst_oid(lc), AccessShareLock);

		appendStringInfo(&sql, "%s%s", separator, idem_qualified_name(partition));
		separator = ", ";
		table_close(partition, NoLock);
	}
	return sql.data;
}

/* Fits a reload of whole partitions of a table that nothing watches. */
static bool
truncate_applies(IdemApply *apply, IdemPiece *piece)
{
	if (!idem_allow_exclusive || !apply->reload || !apply->target->is_plain ||
		apply->target->is_referenced || idem_may_move(apply->target) ||
		truncate_sql(apply, piece->run->window) == NULL)
		return false;
	piece->reason = "The window consists of whole partitions, and idem.allow_exclusive is on.";
	return true;
}

/* Truncates, then inserts. */
static void
run_truncate(IdemApply *apply, IdemPiece *piece)
{
	idem_collapse_piece(apply, piece);
	idem_run_once(truncate_sql(apply, piece->run->window));
	piece->run->deleted_rows = IDEM_UNKNOWN_COUNT;
	idem_insert_rows(apply, piece, &piece->rows);
}

const IdemMethod idem_method_truncate = {"truncate", truncate_applies, run_truncate};
