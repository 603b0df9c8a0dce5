/*
 * apply.c
 *		How rows are applied to the target: the choice of a method.
 *
 * This file must not know sources, ledgers' columns or transactions.
 */
#include "postgres.h"

#include "catalog/pg_attribute.h"
#include "executor/tuptable.h"
#include "load/apply.h"
#include "server/query.h"
#include "server/settings.h"
#include "utils/memutils.h"

/* In order of preference; the last one always applies. */
static const IdemMethod *const methods[] = {
	&idem_method_insert,
	&idem_method_unchanged,
	&idem_method_difference,
	&idem_method_truncate,
	&idem_method_replace,
};

/* Finds the keys that can be NULL. */
static void
set_nullable(IdemApply *apply)
{
	const IdemTarget *target = apply->target;
	int i;

	apply->nullable = palloc(Max(target->nkeys, 1) * sizeof(int));
	for (i = 0; i < target->nkeys; i++)
	{
		if (!target->keys[i]->not_null)
			apply->nullable[apply->nnullable++] = idem_column_index(apply->desc, target->keys[i]->name);
	}
}

IdemApply *
idem_make_apply(const IdemTarget *target, const IdemRangeType *type, TupleDesc desc,
				bool reload)
{
	IdemApply *apply = palloc0(sizeof(IdemApply));
	int i;

	apply->context = CurrentMemoryContext;
	apply->statements = AllocSetContextCreate(apply->context, "idem statements", ALLOCSET_DEFAULT_SIZES);
	apply->target = target;
	apply->type = type;
	apply->collapse = idem_make_collapse(target, desc);
	apply->desc = desc;
	apply->reload = reload;
	apply->by_window = reload || target->window_indexed;
	for (i = 0; i < target->ncolumns; i++)
		apply->overriding |= target->columns[i].in_source &&
							 target->columns[i].identity == ATTRIBUTE_IDENTITY_ALWAYS;
	set_nullable(apply);
	apply->key = idem_draw_key();
	apply->replaceable = reload && idem_is_replaceable(target);
	if (reload)
		idem_check_reload(target);
	return apply;
}

/* True if the keys' index will say whether a key is there twice, so that nobody else needs to. */
static bool
index_will_tell(const IdemApply *apply, const IdemPiece *piece)
{
	return piece->empty && apply->target->has_arbiter && apply->target->is_plain && !apply->keys_repeat;
}

/*
 * Builds: SELECT FROM target d WHERE d.w >= $1 AND d.w < $2 LIMIT 1
 * or, for an upsert without a window column, the same of the whole target.
 */
static void
build_occupied(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "SELECT FROM %s d", apply->target->name);
	if (apply->target->window)
	{
		appendStringInfoString(sql, " WHERE ");
		idem_append_in_window(sql, apply->target, "d");
	}
	appendStringInfoString(sql, " LIMIT 1");
}

/* Checks the rights that a statement needs, which is made for nothing else. */
static void
check_statement(IdemApply *apply, IdemBuild build)
{
	IdemStatement *statement = NULL;

	idem_check_statement(idem_get_statement(apply, &statement, 0, build));
	apply->places = list_delete_last(apply->places);
}

/*
 * Raises 42501 unless the user has every right that the load may need, whatever the
 * data: it must not work today and fail tomorrow.
 */
static void
check_rights(IdemApply *apply)
{
	IdemRows none = idem_make_rows(apply->desc);
	const IdemTarget *target = apply->target;

	idem_show_rows(&none);
	check_statement(apply, idem_append_insert);
	if (target->has_arbiter && idem_has_updates(target))
		check_statement(apply, idem_append_update);
	if (apply->reload)
		check_statement(apply, target->has_arbiter ? idem_append_delete : idem_append_delete_window);
	idem_hide_rows();
	idem_free_rows(&none);
	apply->checked = true;
}

void
idem_begin_piece(IdemApply *apply, IdemPiece *piece, IdemRun *run)
{
	if (!apply->checked)
		check_rights(apply);
	piece->run = run;
	piece->bounds[0] = idem_bound_datum(apply->type, run->window.lower);
	piece->bounds[1] = idem_bound_datum(apply->type, run->window.upper);
	piece->empty = idem_run_apply(apply, piece, NULL, &apply->occupied, build_occupied) == 0;
	piece->is_summed = idem_is_worth_summing(apply, piece);
	piece->watched = true;
	idem_begin_watch(apply->collapse);
}

void
idem_take_row(IdemApply *apply, IdemPiece *piece, TupleTableSlot *slot)
{
	if (++piece->taken == IDEM_MIN_PLAIN && index_will_tell(apply, piece))
	{
		idem_end_watch(apply->collapse);
		piece->watched = false;
	}
	idem_note_keys(apply, slot->tts_isnull);
	if (piece->watched)
		idem_watch_row(apply->collapse, slot);
}

void
idem_collapse_piece(IdemApply *apply, IdemPiece *piece)
{
	int64 removed;

	if (piece->collapsed || apply->target->nkeys == 0)
		return;
	removed = idem_collapse_rows(apply->collapse, &piece->rows);
	piece->run->duplicate_rows += removed;
	piece->collapsed = true;
	apply->keys_repeat |= removed > 0;
}

/* Says which method a piece took. */
static void
explain_method(const IdemApply *apply, const IdemPiece *piece)
{
	const IdemRun *run = piece->run;

	if (idem_explain_method)
		ereport(NOTICE,
				(errmsg("window %s of pipeline \"%s\": method %s",
						idem_window_text(apply->type, run->window), run->pipeline, run->method),
				 errdetail_internal("%s", piece->reason)));
}

void
idem_apply_piece(IdemApply *apply, IdemPiece *piece)
{
	IdemRun *run = piece->run;
	size_t i = 0;

	while (i < lengthof(methods) - 1 && !methods[i]->applies(apply, piece))
		i++;
	run->method = methods[i]->name;
	methods[i]->run(apply, piece);
	run->unchanged_rows = Max(0, piece->rows.count - run->inserted_rows - run->updated_rows);
	apply->written += run->inserted_rows + run->updated_rows;
	explain_method(apply, piece);
	idem_free_rows(&piece->rows);
}

void
idem_append_same_key(StringInfo sql, IdemApply *apply, const char *left, const char *right)
{
	idem_append_match(sql, apply->target, apply->match_nulls, left, right);
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

/* Appends the rows that w, which has a flag for them, tells were written, or were not. */
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

/* Forgets the statements, which were made for rows without NULL keys. */
static void
forget_statements(IdemApply *apply)
{
	ListCell *lc;

	foreach (lc, apply->places)
		*((IdemStatement **) lfirst(lc)) = NULL;
	apply->places = NIL;
	MemoryContextReset(apply->statements);
	apply->match_nulls = true;
}

/* The statement kept in *place, which may have to be made. */
static IdemStatement *
get_statement(IdemApply *apply, IdemStatement **place, int64 rows, IdemBuild build, bool returning)
{
	if (apply->null_keys && !apply->match_nulls)
		forget_statements(apply);
	if (*place == NULL)
	{
		Oid types[] = {apply->type->bound, apply->type->bound};
		MemoryContext old = MemoryContextSwitchTo(apply->statements);
		StringInfoData sql;

		initStringInfo(&sql);
		if (returning)
			append_returning(&sql, apply, build);
		else
			build(&sql, apply);
		*place = idem_make_statement(sql.data, lengthof(types), types, IDEM_SNAPSHOT_NEW);
		apply->places = lappend(apply->places, place);
		MemoryContextSwitchTo(old);
	}
	idem_fit_statement(*place, rows, apply->written);
	return *place;
}

IdemStatement *
idem_get_statement(IdemApply *apply, IdemStatement **place, int64 rows, IdemBuild build)
{
	return get_statement(apply, place, rows, build, false);
}

IdemStatement *
idem_get_returning(IdemApply *apply, IdemStatement **place, int64 rows, IdemBuild build)
{
	return get_statement(apply, place, rows, build, true);
}

uint64
idem_run_apply(IdemApply *apply, IdemPiece *piece, const IdemRows *rows,
			   IdemStatement **place, IdemBuild build)
{
	IdemStatement *statement = idem_get_statement(apply, place, rows ? rows->count : 0, build);
	uint64 processed;

	if (rows)
		idem_show_rows(rows);
	processed = idem_run(statement, piece->bounds, NULL);
	if (rows)
		idem_hide_rows();
	return processed;
}

void
idem_run_on_rows(IdemStatement *statement, IdemPiece *piece, const IdemRows *rows, Snapshot since,
				 DestReceiver *receiver)
{
	if (rows)
		idem_show_rows(rows);
	if (since)
		idem_run_since(statement, since, piece->bounds, receiver);
	else
		idem_run_into(statement, piece->bounds, receiver);
	if (rows)
		idem_hide_rows();
}

void
idem_append_insert(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "INSERT INTO %s AS d (", apply->target->name);
	idem_append_columns(sql, apply->target, "");
	appendStringInfo(sql, ")%s SELECT ", apply->overriding ? " OVERRIDING SYSTEM VALUE" : "");
	idem_append_columns(sql, apply->target, "s.");
	appendStringInfo(sql, " FROM %s s", IDEM_ROWS);
}

bool
idem_may_move(const IdemTarget *target)
{
	return target->nkeys > 0 && !target->has_arbiter;
}

bool
idem_has_updates(const IdemTarget *target)
{
	int i;

	for (i = 0; i < target->ncolumns; i++)
	{
		if (idem_is_updated_column(&target->columns[i]))
			return true;
	}
	return false;
}

void
idem_append_set(StringInfo sql, const IdemTarget *target, const char *new)
{
	const char *separator = " SET ";
	int i;

	for (i = 0; i < target->ncolumns; i++)
	{
		const IdemColumn *column = &target->columns[i];

		if (!idem_is_updated_column(column))
			continue;
		appendStringInfo(sql, "%s%s = %s.%s", separator, column->quoted, new, column->quoted);
		separator = ", ";
	}
}

void
idem_append_update(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "UPDATE %s d", apply->target->name);
	idem_append_set(sql, apply->target, "s");
	appendStringInfo(sql, " FROM %s s WHERE ", IDEM_ROWS);
	idem_append_same_key(sql, apply, "d", "s");
	appendStringInfoString(sql, " AND ");
	idem_append_changed(sql, apply->target, "d", "s", !apply->reload);
}

void
idem_append_by_window(StringInfo sql, IdemApply *apply, const char *prefix)
{
	if (!apply->by_window)
		return;
	appendStringInfoString(sql, prefix);
	idem_append_in_window(sql, apply->target, "d");
}
