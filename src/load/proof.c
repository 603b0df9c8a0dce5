/*
 * proof.c
 *		What a load says when the target does not do as it is told.
 *
 * Rights and references are looked at before a row is read; rows that stay where they
 * should be gone, or were not written, afterwards.
 */
#include "postgres.h"

#include "access/relation.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "load/apply.h"
#include "utils/rel.h"

void
idem_check_references(const IdemTarget *target)
{
	if (target->takes_along && !target->has_arbiter)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("target %s cannot be reloaded without a unique index over its keys", target->name),
				 errdetail("Rows are deleted and inserted again, and table \"%s\", which references them, would lose its rows by its ON DELETE action although they stay.",
						   target->takes_along),
				 errhint("Name keys that have a unique index: then only rows that are gone are deleted.")));
	if (target->takes_own)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("target %s cannot be reloaded: it references itself", target->name),
				 errdetail("The ON DELETE action of rows that are gone would delete or change rows that stay."),
				 errhint("Make the foreign key ON DELETE NO ACTION, or use mode \"upsert\", which deletes nothing.")));
}

/* True if some of a target's rows may be hidden from the user. */
static bool
may_hide(const IdemTarget *target)
{
	Relation base = relation_open(target->base, AccessShareLock);
	bool result = target->base != target->relid || base->rd_rel->relrowsecurity;

	relation_close(base, AccessShareLock);
	return result;
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

/* Fails for the first of some rows, if there is one. */
static void
report_first(IdemApply *apply, const char *what, const IdemRows *rows)
{
	TupleTableSlot *slot;

	if (rows->count == 0)
		return;
	slot = MakeSingleTupleTableSlot(apply->desc, &TTSOpsMinimalTuple);
	(void) tuplestore_gettupleslot(rows->store, true, false, slot);
	report_row(apply->target, what, idem_describe_row(apply->target, apply->desc, slot));
}

void
idem_prove_none(IdemApply *apply, const IdemDifference *difference)
{
	report_first(apply, "written to", &difference->missing);
	report_first(apply, "written to", &difference->changed);
}

void
idem_report_short(const IdemTarget *target, int64 inserted, int64 rows)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("target %s took %lld of %lld rows", target->name,
					(long long) inserted, (long long) rows),
			 errdetail("A trigger of the target did not let the others through."),
			 errhint("Leave the rows out of the source, or let the trigger write them.")));
}

/* Appends: SELECT s.c, … FROM idem_source s WHERE EXISTS (SELECT FROM target d WHERE d.k = s.k */
static void
append_kept(StringInfo sql, IdemApply *apply)
{
	appendStringInfoString(sql, "SELECT ");
	idem_append_columns(sql, apply->target, "s.");
	appendStringInfo(sql, " FROM %s s WHERE EXISTS (SELECT FROM %s d WHERE ", IDEM_ROWS, apply->target->name);
	idem_append_match(sql, apply->target, "d", "s");
}

/* Builds it of rows in the window, and of rows anywhere. */
static void
build_kept(StringInfo sql, IdemApply *apply)
{
	append_kept(sql, apply);
	idem_append_by_window(sql, apply, " AND ");
	appendStringInfoString(sql, ") LIMIT 1");
}

static void
build_kept_anywhere(StringInfo sql, IdemApply *apply)
{
	append_kept(sql, apply);
	appendStringInfoString(sql, ") LIMIT 1");
}

/* Fails if a statement finds one of the rows in the target. */
static void
prove_gone(IdemApply *apply, IdemPiece *piece, const IdemRows *rows, IdemStatement **place,
		   IdemBuild build)
{
	IdemRows kept = idem_collect_rows(apply, piece, rows, idem_get_statement(apply, place, rows->count, build));

	report_first(apply, "deleted from", &kept);
	idem_free_rows(&kept);
}

void
idem_prove_gone(IdemApply *apply, IdemPiece *piece, const IdemRows *gone)
{
	prove_gone(apply, piece, gone, &apply->kept, build_kept);
}

void
idem_prove_moved(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	prove_gone(apply, piece, rows, &apply->kept_anywhere, build_kept_anywhere);
}

/* Builds: SELECT FROM target d WHERE in window LIMIT 1 */
static void
build_left(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "SELECT FROM %s d WHERE ", apply->target->name);
	idem_append_in_window(sql, apply->target, "d");
	appendStringInfoString(sql, " LIMIT 1");
}

void
idem_prove_empty(IdemApply *apply, IdemPiece *piece)
{
	if (idem_run_apply(apply, piece, NULL, &apply->left, build_left) == 0)
		return;
	ereport(ERROR,
			(errcode(may_hide(apply->target) ? ERRCODE_INSUFFICIENT_PRIVILEGE : ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("rows of window %s were not deleted from target %s",
					idem_window_text(apply->type, piece->run->window), apply->target->name),
			 errdetail("A trigger or a policy of the target kept rows that a reload replaces."),
			 errhint("Let it delete them, or use mode \"upsert\", which deletes nothing.")));
}
