/*
 * proof.c
 *		What a load says when the target does not do as it is told.
 *
 * Rights and references are looked at before a row is read; rows that stay where they
 * should be gone, or were not written, afterwards.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "load/apply.h"
#include "server/query.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* True if a trigger changes other tables' rows when a row is deleted. */
static bool
takes_along(const Trigger *trigger)
{
	return trigger->tgfoid == F_RI_FKEY_CASCADE_DEL ||
		   trigger->tgfoid == F_RI_FKEY_SETNULL_DEL ||
		   trigger->tgfoid == F_RI_FKEY_SETDEFAULT_DEL;
}

/* Fails if rows of others go along with those of rel; with by_key, only if they are the target's own. */
static void
check_triggers(const IdemTarget *target, Relation rel, List *own, bool by_key)
{
	int i;

	for (i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (!takes_along(trigger))
			continue;
		if (!by_key)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("target %s cannot be reloaded without a unique index over its keys", target->name),
					 errdetail("Rows are deleted and inserted again, and table \"%s\", which references them, would lose its rows by its ON DELETE action although they stay.",
							   get_rel_name(trigger->tgconstrrelid)),
					 errhint("Name keys that have a unique index: then only rows that are gone are deleted.")));
		if (list_member_oid(own, trigger->tgconstrrelid))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("target %s cannot be reloaded: it references itself", target->name),
					 errdetail("The ON DELETE action of rows that are gone would delete or change rows that stay."),
					 errhint("Make the foreign key ON DELETE NO ACTION, or use mode \"upsert\", which deletes nothing.")));
	}
}

void
idem_check_references(const IdemTarget *target)
{
	List *own = find_all_inheritors(target->base, AccessShareLock, NULL);
	ListCell *lc;

	foreach (lc, own)
	{
		Relation rel = relation_open(lfirst_oid(lc), NoLock);

		check_triggers(target, rel, own, target->has_arbiter);
		relation_close(rel, NoLock);
	}
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

void
idem_prove_none(IdemApply *apply, const IdemDifference *difference)
{
	const IdemRows *rows = difference->missing.count > 0 ? &difference->missing : &difference->changed;
	TupleTableSlot *slot;

	if (rows->count == 0)
		return;
	slot = MakeSingleTupleTableSlot(apply->desc, &TTSOpsMinimalTuple);
	(void) tuplestore_gettupleslot(rows->store, true, false, slot);
	report_row(apply->target, "written to", idem_describe_row(apply->target, apply->desc, slot));
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

/* Reports the first row it gets. */
typedef struct KeptReceiver
{
	DestReceiver pub;
	const IdemApply *apply;
} KeptReceiver;

static void
startup_receiver(DestReceiver *self, int operation, TupleDesc desc)
{
}

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	const IdemApply *apply = ((KeptReceiver *) self)->apply;

	report_row(apply->target, "deleted from", idem_describe_row(apply->target, apply->desc, slot));
	return false;
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
	KeptReceiver receiver = {
		.pub = {receive_row, startup_receiver, idem_keep_receiver, idem_keep_receiver, DestNone},
		.apply = apply,
	};

	idem_show_rows(rows);
	idem_run_into(idem_get_statement(apply, place, rows->count, build), piece->bounds, &receiver.pub);
	idem_hide_rows();
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
