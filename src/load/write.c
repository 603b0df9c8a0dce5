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
 * trigger may alter what is written, so statements return which rows they wrote: those of
 * their keys, in a reload in the window.  A row that came out elsewhere is an error, for
 * each load would write it again.  What a statement returns a policy must let us see, or
 * the server objects, and does not say to which row: it is looked for, in subtransactions.
 * What a view's filter may hide is looked at.
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "load/apply.h"
#include "load/heap.h"
#include "miscadmin.h"
#include "server/query.h"
#include "server/scope.h"
#include "server/transaction.h"
#include "utils/guc.h"

/* Appends INSERT … SELECT … FROM idem_source s ON CONFLICT (k, …) DO */
static void
append_insert_or(StringInfo sql, IdemApply *apply)
{
	idem_build_insert(sql, apply);
	appendStringInfo(sql, " ON CONFLICT (%s) DO ", apply->target->conflict);
}

/* Builds: INSERT … ON CONFLICT (k, …) DO NOTHING */
void
idem_build_insert_new(StringInfo sql, IdemApply *apply)
{
	append_insert_or(sql, apply);
	appendStringInfoString(sql, "NOTHING");
}

/* Builds: INSERT … ON CONFLICT (k, …) DO UPDATE SET c = excluded.c, … WHERE changed */
void
idem_build_upsert(StringInfo sql, IdemApply *apply)
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
	IdemCommand command;
	int64 *count; /* to which what was written is added */
	int round;
} Write;

/* Inserts all rows without a statement. */
static void
insert_directly(void *arg)
{
	Write *write = arg;
	IdemTarget *target = unconstify(IdemTarget *, write->apply->target);
	IdemHeap *heap;

	/* what made the rows may have changed it, or what opening it runs; then the server will not let it */
	idem_check_target(target);
	heap = idem_open_heap(write->apply, ACL_INSERT, true);
	idem_check_target(target);
	idem_insert_spool(heap, write->rows);
	*write->count += idem_close_heap(heap);
}

/*
 * The same, if the target lets us and it is worth a subtransaction; otherwise false.  *error is what
 * objected to a row, and had all of them taken back; NULL: nothing did.
 */
static bool
try_directly(Write *write, ErrorData **error)
{
	if (write->command != IDEM_INSERT || write->rows->count < IDEM_MIN_PLAIN || write->piece->refused ||
		!idem_is_direct(write->apply->target, ACL_INSERT))
		return false;
	*error = idem_try(insert_directly, write, CurrentMemoryContext);
	if (*error && !idem_is_objection(*error))
		ReThrowError(*error);
	return true;
}

/* Writes by a statement, and counts what it wrote. */
static void
run_statement(void *arg)
{
	Write *write = arg;

	*write->count += idem_run_command(write->apply, write->piece, write->rows, write->command);
}

/*
 * Writes, and counts what it wrote, of a target where nothing but other sessions hinders it.
 * What is wrong with a row the statement says.
 */
static void
run_write(Write *write)
{
	ErrorData *error;

	if (try_directly(write, &error))
	{
		if (error == NULL)
			return;
		FreeErrorData(error);
	}
	run_statement(write);
}

/* True if an error says that a row is there already. */
static bool
is_repeated(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION;
}

/* Inserts all rows; or none, and returns what objected, which the statement says if it is no repeated row. */
static ErrorData *
try_plainly(Write *write)
{
	ErrorData *error;

	if (try_directly(write, &error))
	{
		if (error == NULL || is_repeated(error))
			return error;
		FreeErrorData(error);
	}
	return idem_try(run_statement, write, CurrentMemoryContext);
}

/* What a statement that returns rows says of them. */
typedef struct Written
{
	IdemRowReceiver base;
	IdemRows rest;	/* not written under their keys, in a reload in the window */
	IdemRows seen;	/* written through a view that may hide them */
	int64 count;	/* written in all, if some are not */
} Written;

/* Takes a row, how many were written, and whether it was. */
static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	Written *written = (Written *) self;
	int natts = written->rest.desc->natts;

	slot_getallattrs(slot);
	written->count = DatumGetInt64(slot->tts_values[natts]);
	idem_put_row(DatumGetBool(slot->tts_values[natts + 1]) ? &written->seen : &written->rest,
				 slot->tts_values, slot->tts_isnull);
	return true;
}

/* Fails for a row that was written and is not to be seen; what a trigger altered is. */
static void
prove_seen(const Write *write, const IdemRows *rows)
{
	IdemDifference difference = idem_compare_rows(write->apply, write->piece, rows, NULL);

	idem_report_unwritten(write->apply, &difference.missing);
	idem_free_difference(&difference);
}

/*
 * Writes, counts, and returns the rows that were not written; more rows than those that
 * were: a trigger wrote one elsewhere.
 */
static IdemRows
run_returning(const Write *write)
{
	Written written = {
		.base = {{receive_row, idem_start_rows, idem_keep_receiver, idem_keep_receiver, DestNone}, write->apply->target, write->apply->desc},
		.rest = idem_make_rows(write->apply->desc),
		.seen = idem_make_rows(write->apply->desc),
	};

	idem_run_on_rows(write->apply, write->command, write->piece, write->rows, NULL, &written.base.pub);
	if (written.count > write->rows->count - written.rest.count)
		idem_report_moved(write->apply, write->piece, &written.rest);
	if (written.seen.count > 0)
		prove_seen(write, &written.seen);
	idem_free_rows(&written.seen);
	*write->count += write->rows->count - written.rest.count;
	return written.rest;
}

static void settle_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows, int round);

/* Writes, and settles the rows that may not have been written. */
static void
write_settled(void *arg)
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

/* The same for some of the rows; returns what the server says of a row that it refuses, not of which. */
static ErrorData *
try_write(const Write *write, const IdemRows *rows)
{
	Write part = *write;
	ErrorData *error;

	part.rows = rows;
	error = idem_try(write_settled, &part, CurrentMemoryContext);
	if (error == NULL)
		return NULL;
	if (error->sqlerrcode != ERRCODE_INSUFFICIENT_PRIVILEGE || error->hint)
		ReThrowError(error);
	idem_hide_rows();
	return error;
}

/* The first half of some rows, or the second. */
static IdemRows
half_of(const IdemRows *rows, bool second)
{
	IdemRows half = idem_make_rows(rows->desc);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(rows->desc, &TTSOpsMinimalTuple);
	int64 i;

	tuplestore_rescan(rows->store);
	for (i = 0; i < rows->count; i++)
	{
		(void) tuplestore_gettupleslot(rows->store, true, false, slot);
		if ((i >= rows->count / 2) != second)
			continue;
		tuplestore_puttupleslot(half.store, slot);
		half.count++;
	}
	ExecDropSingleTupleTableSlot(slot);
	return half;
}

/*
 * Fails for the first row that is refused.  It is looked for by halves: a half that is
 * written has none.
 */
static void
report_refused(const Write *write, ErrorData *error)
{
	IdemRows rows = *write->rows;

	while (rows.count > 1)
	{
		IdemRows half = half_of(&rows, false);
		ErrorData *of_half = try_write(write, &half);

		rows = of_half ? half : half_of(&rows, true);
		error = of_half ? of_half : error;
	}
	idem_report_refused(write->apply, &rows, error->message);
}

/* Writes rows, and settles those that may not have been written; says which row a policy refuses. */
static void
write_rows(void *arg)
{
	Write *write = arg;
	ErrorData *error;

	if (!write->apply->target->has_policies)
		write_settled(write);
	else if ((error = try_write(write, write->rows)) != NULL)
		report_refused(write, error);
}

/* Inserts the rows whose keys are not there. */
static void
insert_new(IdemApply *apply, IdemPiece *piece, const IdemRows *rows, int round)
{
	Write write = {apply, piece, rows, IDEM_INSERT_NEW, &piece->run->inserted_rows, round};

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
	Write write = {apply, piece, rows, found ? IDEM_UPDATE_ANY : IDEM_UPSERT, &piece->run->updated_rows, round};

	write_rows(&write);
}

/* Looks at rows that may not have been written, and writes those that were not. */
static void
settle_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows, int round)
{
	IdemDifference difference = idem_compare_rows(apply, piece, rows, NULL);

	CHECK_FOR_INTERRUPTS();
	if (round == IDEM_MAX_ROUNDS)
	{
		idem_report_unwritten(apply, &difference.missing);
		idem_report_unwritten(apply, &difference.changed);
	}
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
void
idem_run_found(const IdemApply *apply, void (*work)(void *arg), void *arg)
{
	idem_run_with(apply->target->is_plain ? "random_page_cost" : NULL,
				  GetConfigOption("seq_page_cost", false, false), work, arg);
}

void
idem_run_update(void (*work)(void *arg), void *arg)
{
	ErrorContextCallback context = {error_context_stack, add_hint, NULL};

	error_context_stack = &context;
	work(arg);
	error_context_stack = context.previous;
}

/* Updates rows that a join has just found. */
static void
update_found(void *arg)
{
	Write *write = arg;

	idem_run_found(write->apply, write_rows, write);
}

void
idem_update_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	Write write = {apply, piece, rows, IDEM_UPDATE, &piece->run->updated_rows, 0};

	idem_run_update(update_found, &write);
}

/*
 * Inserts all rows; or none, if a unique index objects, and returns false: the careful way
 * says which.
 */
bool
idem_try_insert(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	int64 inserted = 0;
	Write write = {apply, piece, rows, IDEM_INSERT, &inserted};
	ErrorData *error = try_plainly(&write);

	if (error == NULL)
	{
		piece->run->inserted_rows += inserted;
		return true;
	}
	if (!is_repeated(error))
		ReThrowError(error);
	FreeErrorData(error);
	idem_hide_rows();
	return false;
}

/* Inserts rows under keys that no index looks for: what is not written must be there. */
static void
insert_once(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	Write write = {apply, piece, rows, IDEM_INSERT, &piece->run->inserted_rows, IDEM_MAX_ROUNDS};

	write_rows(&write);
}

/* Builds: WITH w AS (INSERT … RETURNING d.w) SELECT count(*) FROM w WHERE w.w in window */
void
idem_build_insert_counted(StringInfo sql, IdemApply *apply)
{
	appendStringInfoString(sql, "WITH w AS (");
	idem_build_insert(sql, apply);
	appendStringInfo(sql, " RETURNING d.%s) SELECT pg_catalog.count(*) FROM w WHERE ", apply->target->window->quoted);
	idem_append_in_window(sql, apply->target, "w");
}

/* Inserts, and returns how many rows then lie in the window; the server objects to what a policy hides. */
static int64
insert_counted(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	Datum count;
	bool isnull;

	idem_show_rows(rows);
	(void) idem_fetch(idem_get_statement(apply, IDEM_INSERT_COUNTED, rows->count),
					  piece->bounds, NULL, 1, &count, &isnull);
	idem_hide_rows();
	return DatumGetInt64(count);
}

/* Inserts rows that have no keys; all of them. */
static void
insert_keyless(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	int64 inserted = 0;
	Write write = {apply, piece, rows, IDEM_INSERT, &inserted};

	if (apply->target->is_plain)
		run_write(&write);
	else
		inserted = insert_counted(apply, piece, rows);
	if (inserted < rows->count)
		idem_report_short(apply, piece, inserted);
	piece->run->inserted_rows += inserted;
}

void
idem_insert_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows)
{
	if (apply->target->nkeys == 0)
		insert_keyless(apply, piece, rows);
	else if (!apply->target->has_arbiter)
		insert_once(apply, piece, rows);
	else if (!apply->target->is_plain || rows->count < IDEM_MIN_PLAIN || !idem_try_insert(apply, piece, rows))
		idem_upsert_rows(apply, piece, rows);
}
