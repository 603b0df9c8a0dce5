/*
 * write.c
 *		Rows written under their keys, each accounted for.
 *
 * A statement that wrote as many rows as it was given has proven all of them.  If it
 * wrote fewer, the others are looked at: those that are in the target as they should be
 * are proven by that snapshot, and what is missing or differs is written again, for
 * another session may have moved, changed or deleted it meanwhile.  A row that is still
 * neither written nor there after some rounds was swallowed by a trigger, or is hidden
 * by row security or a view: an error, for the window is not complete without it.
 *
 * Where nothing but other sessions comes between a statement and its rows, a count is
 * enough: what was written is locked by us, and seen equal the next time.  Elsewhere a
 * trigger may alter what is written, so statements return which rows they wrote.
 */
#include "postgres.h"

#include "load/apply.h"
#include "miscadmin.h"
#include "server/scope.h"
#include "server/transaction.h"
#include "utils/guc.h"

/* How often other sessions may get in the way of one row. */
#define MAX_ROUNDS 8

/* Appends INSERT … SELECT … FROM idem_source s ON CONFLICT (k, …) DO */
static void
append_insert_or(StringInfo sql, IdemApply *apply)
{
	idem_append_insert(sql, apply);
	appendStringInfoString(sql, " ON CONFLICT (");
	idem_append_keys(sql, apply->target, "");
	appendStringInfoString(sql, ") DO ");
}

/* Builds: INSERT … ON CONFLICT (k, …) DO NOTHING */
static void
build_insert_new(StringInfo sql, IdemApply *apply)
{
	append_insert_or(sql, apply);
	appendStringInfoString(sql, "NOTHING");
}

/* Builds: INSERT … ON CONFLICT (k, …) DO UPDATE SET c = excluded.c, … WHERE changed */
static void
build_upsert(StringInfo sql, IdemApply *apply)
{
	append_insert_or(sql, apply);
	appendStringInfoString(sql, "UPDATE");
	idem_append_set(sql, apply->target, "excluded");
	appendStringInfoString(sql, " WHERE ");
	idem_append_changed(sql, apply->target, "d", "excluded", !apply->reload);
}

/* Which rows to write, and how. */
typedef struct Write
{
	IdemApply *apply;
	IdemPiece *piece;
	const IdemRows *rows;
	IdemStatement **place;
	IdemBuild build;
	int64 *count; /* to which what was written is added */
	int round;
} Write;

/* Writes, and counts what it wrote. */
static void
run_write(void *arg)
{
	Write *write = arg;

	*write->count += idem_run_apply(write->apply, write->piece, write->rows, write->place, write->build);
}

/* The same, and returns the rows that were not written. */
static IdemRows
run_returning(const Write *write)
{
	IdemStatement *statement = idem_get_returning(write->apply, write->place, write->rows->count, write->build);
	IdemRows rest = idem_collect_rows(write->apply, write->piece, write->rows, statement);

	*write->count += write->rows->count - rest.count;
	return rest;
}

static void settle_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows, int round);

/* Writes, and settles the rows that may not have been written. */
static void
write_rows(void *arg)
{
	Write *write = arg;

	if (write->apply->target->is_plain)
	{
		int64 before = *write->count;

		run_write(write);
		if (*write->count - before < write->rows->count)
			settle_rows(write->apply, write->piece, write->rows, write->round);
	}
	else
	{
		IdemRows rest = run_returning(write);

		if (rest.count > 0)
			settle_rows(write->apply, write->piece, &rest, write->round);
		idem_free_rows(&rest);
	}
}

/* Inserts the rows whose keys are not there. */
static void
insert_new(IdemApply *apply, IdemPiece *piece, const IdemRows *rows, int round)
{
	Write write = {apply, piece, rows, &apply->insert_new, build_insert_new,
				   &piece->run->inserted_rows, round};

	write_rows(&write);
}

/*
 * Updates rows that are there and differ.  Where every key can be NULL no index finds
 * them for an UPDATE, so the arbiter does, and one that is inserted after all counts as
 * updated.
 */
static void
update_again(IdemApply *apply, IdemPiece *piece, const IdemRows *rows, int round)
{
	bool found = idem_has_not_null_key(apply->target);
	Write write = {apply, piece, rows, found ? &apply->update_any : &apply->upsert,
				   found ? idem_append_update : build_upsert, &piece->run->updated_rows, round};

	write_rows(&write);
}

/* Looks at rows that may not have been written, and writes those that were not. */
static void
settle_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows, int round)
{
	IdemDifference difference = idem_compare_rows(apply, piece, rows);

	CHECK_FOR_INTERRUPTS();
	if (round == MAX_ROUNDS)
		idem_prove_none(apply, &difference);
	if (difference.changed.count > 0)
		update_again(apply, piece, &difference.changed, round + 1);
	if (difference.missing.count > 0)
		insert_new(apply, piece, &difference.missing, round + 1);
	idem_free_difference(&difference);
}

void
idem_upsert_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	insert_new(apply, piece, rows, 0);
}

/* Adds to a message that values which change places want a constraint that can wait. */
static void
add_hint(void *arg)
{
	if (geterrcode() == ERRCODE_UNIQUE_VIOLATION || geterrcode() == ERRCODE_EXCLUSION_VIOLATION)
		errhint("If rows change places under a constraint, make it DEFERRABLE: then it is checked after all of them are written.");
}

/*
 * The pages of rows that a join has just found are in memory now, and the planner does
 * not know it: at its usual price of a random page it would rather read the window again
 * than look some rows up (1 % of a million rows changed: 1.4 s, else 1.2).  A trigger's
 * statements keep the session's prices.
 */
static void
run_found(const IdemApply *apply, void (*work)(void *arg), void *arg)
{
	idem_run_with(apply->target->is_plain ? "random_page_cost" : NULL,
				  GetConfigOption("seq_page_cost", false, false), work, arg);
}

void
idem_update_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows,
				 IdemStatement **place, IdemBuild build)
{
	Write write = {apply, piece, rows, place, build, &piece->run->updated_rows, 0};
	ErrorContextCallback context = {error_context_stack, add_hint, NULL};

	error_context_stack = &context;
	run_found(apply, write_rows, &write);
	error_context_stack = context.previous;
}

int64
idem_delete_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	int64 deleted = 0;
	Write write = {apply, piece, rows, &apply->delete_gone, idem_append_delete, &deleted};

	run_found(apply, run_write, &write);
	return deleted;
}

/* An attempt to insert, as an argument of idem_try. */
typedef struct Attempt
{
	Write write;
	bool ran; /* the statement did, without an error */
} Attempt;

/* Inserts; raises an error if not all rows were, so that the others are undone. */
static void
insert_all(void *arg)
{
	Attempt *attempt = arg;
	const Write *write = &attempt->write;

	run_write(&attempt->write);
	attempt->ran = true;
	if (*write->count < write->rows->count)
		idem_report_short(write->apply->target, *write->count, write->rows->count);
}

/*
 * Inserts all rows; or none, if a unique index objects or a trigger swallows some, and
 * returns false: the careful way says which.
 */
bool
idem_try_insert(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	int64 inserted = 0;
	Attempt attempt = {{apply, piece, rows, &apply->insert, idem_append_insert, &inserted}};
	ErrorData *error = idem_try(insert_all, &attempt, CurrentMemoryContext);

	if (error == NULL)
	{
		piece->run->inserted_rows += inserted;
		return true;
	}
	if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION && !attempt.ran)
		ReThrowError(error);
	FreeErrorData(error);
	idem_hide_rows();
	return false;
}

/* Inserts rows that no index looks for.  If some are swallowed, they must be there. */
static void
insert_plainly(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	int64 inserted = idem_run_apply(apply, piece, rows, &apply->insert, idem_append_insert);

	piece->run->inserted_rows += inserted;
	if (inserted == rows->count)
		return;
	if (apply->target->nkeys > 0)
	{
		IdemDifference difference = idem_compare_rows(apply, piece, rows);

		idem_prove_none(apply, &difference);
		idem_free_difference(&difference);
	}
	else
		idem_report_short(apply->target, inserted, rows->count);
}

void
idem_insert_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	if (!apply->target->has_arbiter)
		insert_plainly(apply, piece, rows);
	else if (rows->count < IDEM_MIN_PLAIN || !idem_try_insert(apply, piece, rows))
		idem_upsert_rows(apply, piece, rows);
}
