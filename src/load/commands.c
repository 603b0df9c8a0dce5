/*
 * commands.c
 *		The statements that loads run on the target, and which loads run which.
 *
 * What a load needs must not depend on the data: it must not work today and fail tomorrow.
 * So the rights for all that it may run are checked before a row is read, and nothing is
 * run that is not in the table.
 */
#include "postgres.h"

#include "load/apply.h"
#include "server/query.h"
#include "server/scope.h"
#include "utils/guc.h"
#include "utils/memutils.h"

/*
 * Builds: SELECT FROM target d WHERE d.w >= $1 AND d.w < $2 LIMIT 1
 * or, where rows are looked for everywhere, the same of the whole target.
 */
static void
build_occupied(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "SELECT FROM %s d", apply->target->name);
	idem_append_by_window(sql, apply, " WHERE ");
	appendStringInfoString(sql, " LIMIT 1");
}

/* Appends: the row of w was written under the key of s, in a reload inside the window. */
static void
append_written(StringInfo sql, IdemApply *apply)
{
	idem_append_same_key(sql, apply, "w", "s");
	if (!apply->reload)
		return;
	appendStringInfoString(sql, " AND ");
	idem_append_in_window(sql, apply->target, "w");
}

/* Appends the rows that were written, as w tells, or those that were not; with a flag which. */
static void
append_sorted(StringInfo sql, IdemApply *apply, bool written)
{
	appendStringInfoString(sql, "SELECT ");
	idem_append_columns(sql, apply->target, "s.");
	appendStringInfo(sql, ", (SELECT pg_catalog.count(*) FROM w), %s FROM %s s WHERE %s (SELECT FROM w WHERE ",
					 written ? "true" : "false", IDEM_ROWS, written ? "EXISTS" : "NOT EXISTS");
	append_written(sql, apply);
	appendStringInfoChar(sql, ')');
}

/*
 * Appends: WITH w AS (write RETURNING d.k, …, d.w)
 *     SELECT s.c, …, (SELECT count(*) FROM w), false
 *     FROM idem_source s WHERE NOT EXISTS (SELECT FROM w WHERE w.k = s.k AND w.w in window)
 * and, where a view may hide them, those that were written, with true.
 */
static void
append_returning(StringInfo sql, IdemApply *apply, IdemBuild build)
{
	appendStringInfoString(sql, "WITH w AS (");
	build(sql, apply);
	appendStringInfoString(sql, " RETURNING ");
	idem_append_keys(sql, apply->target, "d.");
	if (apply->reload && !apply->target->window->is_key)
		appendStringInfo(sql, ", d.%s", apply->target->window->quoted);
	appendStringInfoString(sql, ") ");
	append_sorted(sql, apply, false);
	if (!apply->target->may_hide)
		return;
	appendStringInfoString(sql, " UNION ALL ");
	append_sorted(sql, apply, true);
}

/* Which loads may run a command. */
static bool
always(const IdemApply *apply)
{
	return true;
}

static bool
with_keys(const IdemApply *apply)
{
	return apply->target->nkeys > 0;
}

static bool
with_arbiter(const IdemApply *apply)
{
	return apply->target->has_arbiter;
}

static bool
plainly_or_by_key(const IdemApply *apply)
{
	return apply->target->is_plain || with_keys(apply);
}

static bool
counted(const IdemApply *apply)
{
	return !plainly_or_by_key(apply);
}

static bool
with_updates(const IdemApply *apply)
{
	return with_arbiter(apply) && idem_has_updates(apply->target);
}

static bool
updates_by_index(const IdemApply *apply)
{
	return with_updates(apply) && idem_has_not_null_key(apply->target);
}

static bool
updates_by_arbiter(const IdemApply *apply)
{
	return with_updates(apply) && !idem_has_not_null_key(apply->target);
}

/* A load sees what others than its own statements do by key, or by the window. */
static bool
counts_windows(const IdemApply *apply)
{
	return idem_may_be_unchanged(apply) || (apply->acts && !with_arbiter(apply));
}

static bool
settles_rows(const IdemApply *apply)
{
	return apply->acts && with_arbiter(apply);
}

static bool
deletes_rows(const IdemApply *apply)
{
	return apply->reload && with_arbiter(apply);
}

static bool
deletes_windows(const IdemApply *apply)
{
	return apply->reload && !with_arbiter(apply);
}

static bool
deletes_everywhere(const IdemApply *apply)
{
	return apply->reload && idem_may_move(apply->target);
}

/* How a command's statement is made, which loads may run it, and of which targets. */
typedef struct Command
{
	IdemBuild build;
	bool (*may_run)(const IdemApply *apply);
	bool reads;		/* and nothing else */
	bool watched;	/* only where something watches the target */
	bool returning; /* there it returns what it did not write */
} Command;

static const Command commands[IDEM_COMMANDS] = {
	[IDEM_OCCUPIED] = {build_occupied, always, .reads = true},
	[IDEM_WINDOW] = {idem_build_window, counts_windows, .reads = true},
	[IDEM_COMPARE] = {idem_build_compare, with_keys, .reads = true},
	[IDEM_LOOK] = {idem_build_look, with_keys, .reads = true},
	[IDEM_OTHERS] = {idem_build_others, settles_rows, .reads = true},
	[IDEM_INSERT] = {idem_build_insert, plainly_or_by_key, .returning = true},
	[IDEM_INSERT_COUNTED] = {idem_build_insert_counted, counted},
	[IDEM_INSERT_NEW] = {idem_build_insert_new, with_arbiter, .returning = true},
	[IDEM_UPSERT] = {idem_build_upsert, updates_by_arbiter, .returning = true},
	[IDEM_UPDATE] = {idem_build_update, with_updates, .returning = true},
	[IDEM_UPDATE_ANY] = {idem_build_update_any, updates_by_index, .returning = true},
	[IDEM_DELETE_GONE] = {idem_build_delete_gone, deletes_rows},
	[IDEM_KEPT] = {idem_build_kept, deletes_rows, .reads = true, .watched = true},
	[IDEM_DELETE_OLD] = {idem_build_delete_old, deletes_windows},
	[IDEM_LEFT] = {idem_build_left, deletes_windows, .reads = true, .watched = true},
	[IDEM_DELETE_EVERYWHERE] = {idem_build_delete_everywhere, deletes_everywhere},
	[IDEM_KEPT_EVERYWHERE] = {idem_build_kept_everywhere, deletes_everywhere, .reads = true, .watched = true},
};

/* True if a load may run a command. */
static bool
may_run(const IdemApply *apply, const Command *command)
{
	return command->may_run(apply) && !(command->watched && apply->target->is_plain);
}

/* Makes the statement of a command. */
static IdemStatement *
make_statement(IdemApply *apply, const Command *command)
{
	Oid types[] = {apply->type->bound, apply->type->bound};
	StringInfoData sql;

	Assert(may_run(apply, command));
	initStringInfo(&sql);
	if (command->returning && !apply->target->is_plain)
		append_returning(&sql, apply, command->build);
	else
		command->build(&sql, apply);
	return idem_make_statement(sql.data, lengthof(types), types, IDEM_SNAPSHOT_NEW);
}

/* Forgets the statements. */
static void
forget_statements(IdemApply *apply)
{
	memset(apply->made, 0, sizeof(apply->made));
	MemoryContextReset(apply->statements);
}

IdemStatement *
idem_get_statement(IdemApply *apply, IdemCommand command, int64 rows)
{
	MemoryContext old;

	if (apply->null_keys && !apply->match_nulls)
	{
		forget_statements(apply);
		apply->match_nulls = true;
	}
	old = MemoryContextSwitchTo(apply->statements);
	if (apply->made[command] == NULL)
		apply->made[command] = make_statement(apply, &commands[command]);
	MemoryContextSwitchTo(old);
	idem_fit_statement(apply->made[command], rows, apply->written);
	return apply->made[command];
}

/* The statements are not kept: they are planned for as many rows as there will be. */
void
idem_check_rights(IdemApply *apply)
{
	IdemRows none = idem_make_rows(apply->desc);
	int i;

	idem_show_rows(&none);
	idem_show_written(&none);
	for (i = 0; i < IDEM_COMMANDS; i++)
	{
		if (may_run(apply, &commands[i]))
			idem_check_statement(idem_get_statement(apply, i, 0));
	}
	idem_hide_rows();
	idem_free_rows(&none);
	forget_statements(apply);
	apply->checked = true;
}

/* A statement that is run, and under which settings it is planned. */
typedef struct Running
{
	IdemStatement *statement;
	const Datum *bounds;
	Snapshot since; /* NULL: a new one */
	DestReceiver *receiver; /* NULL: the rows are counted */
	uint64 processed;
	IdemSetting settings[4]; /* the last names none */
} Running;

/* Runs it under them. */
static void
run_planned(void *arg)
{
	Running *running = arg;

	if (running->receiver == NULL)
		running->processed = idem_run(running->statement, running->bounds, NULL);
	else if (running->since)
		idem_run_since(running->statement, running->since, running->bounds, running->receiver);
	else
		idem_run_into(running->statement, running->bounds, running->receiver);
}

/* Adds a setting. */
static void
set(Running *running, const char *name, const char *value)
{
	size_t i = 0;

	while (running->settings[i].name)
		i++;
	Assert(i < lengthof(running->settings) - 1);
	running->settings[i] = (IdemSetting){name, value};
}

/*
 * True if a command looks each row up by its key wherever it is, by an index that has all
 * of them.
 */
static bool
is_looked_up(const IdemApply *apply, IdemCommand command)
{
	return (!apply->by_window || command == IDEM_LOOK || command == IDEM_UPDATE_ANY) &&
		   apply->target->has_arbiter && !apply->match_nulls;
}

/*
 * What a page costs that is fetched by a key.  By the server's price of a random page the
 * whole target would be hashed for some thousand rows: of a million 3.4 s for 8 windows of
 * 5,000, where ON CONFLICT, which fetches the same pages whatever they cost, takes 0.23.
 */
static const char *
page_cost(void)
{
	return psprintf("%g", strtod(GetConfigOption("seq_page_cost", false, false), NULL) / 10);
}

/*
 * Says how the planner is to plan.  Keys that may be NULL are joined by expressions, of
 * which it has no statistics.  It expects few values, and then sorts both sides, which
 * takes much longer than to hash one; or it goes by an index that has only the keys that
 * are not NULL, of which there may be few values, in order or for row after row; and the
 * price that it expects is worth compiling the statement, which takes longer than to run
 * it.  And where one of the keys cannot be hashed, to hash the others compares all rows
 * that are equal in them: to sort by all of them does not.
 *
 * Some rows may be looked up, though.  And what a trigger does meanwhile is planned under
 * the same settings: of those there are as few as possible.
 */
static void
guide_planner(const IdemApply *apply, IdemCommand command, int64 rows, Running *running)
{
	bool alone = commands[command].reads || apply->target->is_plain;

	if (!idem_can_hash_all_keys(apply->target))
		set(running, "enable_hashjoin", "off");
	else if (apply->match_nulls)
		set(running, "enable_mergejoin", "off");
	else if (alone && is_looked_up(apply, command))
	{
		/* in order of its index all of the target would be read, as cheaply as it seems */
		set(running, "enable_mergejoin", "off");
		set(running, "random_page_cost", page_cost());
	}
	if (!apply->match_nulls || rows < IDEM_MIN_PLAIN || !alone)
		return;
	set(running, "enable_nestloop", "off");
	set(running, "jit", "off");
}

/* Runs a command. */
static uint64
run_command(IdemApply *apply, IdemCommand command, IdemPiece *piece, const IdemRows *rows,
			Snapshot since, DestReceiver *receiver)
{
	int64 count = rows ? rows->count : 0;
	Running running = {idem_get_statement(apply, command, count), piece->bounds, since, receiver};

	if (rows)
	{
		guide_planner(apply, command, count, &running);
		idem_show_rows(rows);
	}
	idem_run_under(running.settings, run_planned, &running);
	if (rows)
		idem_hide_rows();
	return running.processed;
}

uint64
idem_run_command(IdemApply *apply, IdemPiece *piece, const IdemRows *rows, IdemCommand command)
{
	return run_command(apply, command, piece, rows, NULL, NULL);
}

void
idem_run_on_rows(IdemApply *apply, IdemCommand command, IdemPiece *piece, const IdemRows *rows,
				 Snapshot since, DestReceiver *receiver)
{
	(void) run_command(apply, command, piece, rows, since, receiver);
}

/* Collects rows. */
typedef struct RowCollector
{
	IdemRowReceiver base;
	IdemRows rows;
} RowCollector;

static bool
collect_row(TupleTableSlot *slot, DestReceiver *self)
{
	slot_getallattrs(slot);
	idem_put_row(&((RowCollector *) self)->rows, slot->tts_values, slot->tts_isnull);
	return true;
}

IdemRows
idem_collect_rows(IdemApply *apply, IdemCommand command, IdemPiece *piece, const IdemRows *rows, Snapshot since)
{
	RowCollector collector = {
		.base = {{collect_row, idem_start_rows, idem_keep_receiver, idem_keep_receiver, DestNone}, apply->target, apply->desc},
		.rows = idem_make_rows(apply->desc),
	};

	idem_run_on_rows(apply, command, piece, rows, since, &collector.base.pub);
	return collector.rows;
}
