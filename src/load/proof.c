/*
 * proof.c
 *		What a load says when the target does not do as it is told.
 *
 * Rights and references are looked at before a row is read; rows that stay where they
 * should be gone, or were not written, afterwards.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "executor/tuptable.h"
#include "load/apply.h"

/* Fails if rows that stay would take others along, for they are deleted and inserted again. */
static void
check_references(const IdemTarget *target)
{
	if (target->takes_along && !target->has_arbiter)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("target %s cannot be reloaded without a unique index over its keys", target->name),
				 errdetail("Rows are deleted and inserted again, and table \"%s\", which references them, would lose its rows by its ON DELETE action although they stay.",
						   target->takes_along),
				 errhint("Name keys that have a unique index: then only rows that are gone are deleted.")));
}

void
idem_check_reload(const IdemTarget *target)
{
	check_references(target);
	if (target->may_hide && target->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("target %s cannot be reloaded without keys", target->name),
				 errdetail("Its filter, or that of a view behind it, may hide rows once they are written, and each load would add them again."),
				 errhint("ALTER VIEW %s SET (check_option = cascaded); or name keys.", target->name)));
}

/* True if some of a target's rows may be hidden from the user. */
static bool
may_hide(const IdemTarget *target)
{
	return target->base != target->relid || target->has_policies;
}

/* Fails for a row that what should have been done to, and was not. */
static void
report_row(const IdemTarget *target, const char *what, const char *row)
{
	if (may_hide(target))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row for key %s was not %s target %s", row, what, target->name),
				 errdetail("Row-level security, the view or a trigger stands in its way."),
				 errhint("Load as a role, or into a relation, that may see and write every row of the source.")));
	if (target->is_plain)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("row for key %s was not %s target %s", row, what, target->name),
				 errdetail("Other sessions changed it each time."),
				 errhint("Load again.")));
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("row for key %s was not %s target %s", row, what, target->name),
			 errdetail("A trigger of the target let nothing happen, or took it back."),
			 errhint("Leave the row out of the source, or let the trigger do it.")));
}

/* Describes the first of some rows. */
static char *
describe_first(IdemApply *apply, const IdemRows *rows)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(apply->desc, &TTSOpsMinimalTuple);

	tuplestore_rescan(rows->store);
	(void) tuplestore_gettupleslot(rows->store, true, false, slot);
	return idem_describe_row(apply->target, apply->desc, slot);
}

/* Fails for the first of some rows, if there is one. */
static void
report_first(IdemApply *apply, const char *what, const IdemRows *rows)
{
	if (rows->count > 0)
		report_row(apply->target, what, describe_first(apply, rows));
}

void
idem_report_unwritten(IdemApply *apply, const IdemRows *rows)
{
	report_first(apply, "written to", rows);
}

void
idem_report_refused(IdemApply *apply, const IdemRows *rows, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("row for key %s was not written to target %s", describe_first(apply, rows), apply->target->name),
			 errdetail_internal("%s.", why),
			 errhint("Load as a role that may write and see every row of the source, or leave the row out of it.")));
}

void
idem_report_kept(IdemApply *apply, const IdemRows *rows)
{
	report_first(apply, "deleted from", rows);
}

void
idem_report_moved(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	IdemDifference difference = idem_compare_rows(apply, piece, rows, NULL);
	const IdemRows *moved = difference.missing.count > 0	 ? &difference.missing
							: difference.changed.count > 0 ? &difference.changed
															 : rows;

	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("row for key %s was not written to target %s as it is",
					describe_first(apply, moved), apply->target->name),
			 errdetail("A trigger of the target gave it another key, or moved it out of the window."),
			 errhint("Let the source return what the trigger makes of it, or the trigger leave keys and window column alone.")));
}

void
idem_report_short(const IdemApply *apply, const IdemPiece *piece, int64 inserted)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("target %s took %lld of %lld rows of window %s", apply->target->name,
					(long long) inserted, (long long) piece->rows.count,
					idem_window_text(apply->type, piece->run->window)),
			 errdetail("A trigger of the target did not let the others through, or moved them out of the window."),
			 errhint("Leave the rows out of the source, or let the trigger write them as they are.")));
}

void
idem_report_left(const IdemApply *apply, const IdemPiece *piece)
{
	ereport(ERROR,
			(errcode(may_hide(apply->target) ? ERRCODE_INSUFFICIENT_PRIVILEGE : ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("rows of window %s were not deleted from target %s",
					idem_window_text(apply->type, piece->run->window), apply->target->name),
			 errdetail("A trigger or a policy of the target kept rows that a reload replaces, or put rows into the window."),
			 errhint("Let it delete them, or use mode \"upsert\", which deletes nothing.")));
}
