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
#include "load/places.h"
#include "server/query.h"
#include "server/settings.h"
#include "server/touched.h"
#include "utils/memutils.h"

/* In order of preference; the last one always applies. */
static const IdemMethod *const methods[] = {
	&idem_method_insert,
	&idem_method_unchanged,
	&idem_method_difference,
	&idem_method_bag,
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

	apply->statements = AllocSetContextCreate(CurrentMemoryContext, "idem statements", ALLOCSET_DEFAULT_SIZES);
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
	apply->acts = target->acts_on_write || (reload && target->acts_on_delete);
	if (reload)
		idem_check_reload(target);
	return apply;
}

/* True if the keys' index will say whether a key is there twice, so that nobody else needs to. */
static bool
index_will_tell(const IdemApply *apply, const IdemPiece *piece)
{
	return piece->empty && apply->target->has_arbiter && apply->target->is_plain && !apply->keys_repeat &&
		   !piece->repeated;
}

/* True if where the window's rows lie is to be found, and written there what differs. */
static bool
is_worth_mapping(const IdemApply *apply, const IdemPiece *piece)
{
	return apply->has_places && !piece->empty && !apply->mapped_in_vain && piece->run->has_digest && idem_may_be_unchanged(apply) &&
		   (apply->target->has_arbiter ? idem_can_hash_rows(apply->collapse) : apply->target->nkeys == 0);
}

/*
 * True if none of the piece's rows are expected to be in the target, for then they are just
 * inserted.  A reload has to read the window anyway, and so the window is asked, as where it is
 * found without reading the whole target.  An upsert whose window nothing finds goes by the
 * keys: for it the target is empty, or the rows of the piece before were all new and so, it
 * seems, are these.  Else each of the pieces would read the whole target.
 */
static bool
is_nothing_there(IdemApply *apply, IdemPiece *piece)
{
	if (!apply->occupied && idem_run_command(apply, piece, NULL, IDEM_OCCUPIED) == 0)
		return true;
	apply->occupied = !apply->by_window;
	return apply->occupied && apply->all_new && !apply->acts;
}

void
idem_begin_piece(IdemApply *apply, IdemPiece *piece, IdemRun *run)
{
	if (!apply->checked)
	{
		apply->has_places = idem_has_places(apply);
		idem_check_rights(apply);
	}
	piece->run = run;
	piece->bounds[0] = idem_bound_datum(apply->type, run->window.lower);
	piece->bounds[1] = idem_bound_datum(apply->type, run->window.upper);
	piece->empty = is_nothing_there(apply, piece);
	piece->touched = piece->empty && apply->reload ? idem_count_touched(apply->target->base) : 0;
	if (is_worth_mapping(apply, piece))
		piece->map = idem_make_map();
	piece->is_summed = piece->map || idem_is_worth_summing(apply, piece);
	piece->watched = true;
	idem_begin_watch(apply->collapse);
}

/* What has been rolled back with a subtransaction is not to be freed. */
void
idem_restart_piece(IdemApply *apply, IdemPiece *piece)
{
	IdemRun *run = piece->run;

	if (piece->map)
	{
		idem_free_map(piece->map);
		piece->map = idem_make_map();
	}
	if (piece->own && piece->own == piece->rows.store)
		idem_free_rows(&piece->rows);
	piece->rows = idem_make_rows(apply->desc);
	piece->own = piece->rows.store;
	piece->sum = (IdemDigest){0};
	piece->since = NULL;
	piece->taken = 0;
	piece->collapsed = piece->misled = false;
	piece->watched = true;
	idem_end_watch(apply->collapse);
	idem_begin_watch(apply->collapse);
	run->digest = (IdemDigest){0};
	run->duplicate_rows = 0;
	run->inserted_rows = run->updated_rows = run->deleted_rows = run->unchanged_rows = 0;
}

/* Adds a row to the piece's sum, and to its map. */
static void
sum_row(IdemApply *apply, IdemPiece *piece, TupleTableSlot *slot, IdemImage *image)
{
	IdemDigest hash = idem_hash_image(image, &apply->key);

	idem_add_digest(&piece->sum, &hash);
	if (piece->map)
		idem_map_source(piece->map, idem_map_key(apply, slot, &hash), &hash);
}

bool
idem_take_row(IdemApply *apply, IdemPiece *piece, TupleTableSlot *slot, IdemImage *image)
{
	if (piece->is_summed)
		sum_row(apply, piece, slot, image);
	if (++piece->taken == IDEM_MIN_PLAIN && index_will_tell(apply, piece))
	{
		idem_end_watch(apply->collapse);
		piece->watched = false;
	}
	idem_note_keys(apply, slot->tts_isnull);
	if (idem_stream_row(piece, slot))
		return false;
	if (piece->watched)
		idem_watch_row(apply->collapse, slot);
	return true;
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
				 errdetail_internal("%s%s", piece->reason,
									piece->repeated || piece->refused ? " The source ran twice: a row could not be written as it came." : "")));
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
	if (piece->rows.count > 0)
		apply->all_new = run->inserted_rows == piece->rows.count;
	explain_method(apply, piece);
	if (piece->since)
		idem_release_snapshot(piece->since);
	if (piece->map)
		idem_free_map(piece->map);
	idem_free_rows(&piece->rows);
}

/* Builds: INSERT INTO target AS d (c, …) SELECT s.c, … FROM idem_source s */
void
idem_build_insert(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, "INSERT INTO %s AS d (", apply->target->name);
	idem_append_columns(sql, apply->target, "");
	appendStringInfo(sql, ")%s SELECT ", apply->overriding ? " OVERRIDING SYSTEM VALUE" : "");
	idem_append_columns(sql, apply->target, "s.");
	appendStringInfo(sql, " FROM %s s", IDEM_ROWS);
}

void
idem_append_same_key(StringInfo sql, IdemApply *apply, const char *left, const char *right)
{
	idem_append_match(sql, apply->target, apply->match_nulls, left, right);
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

/* Builds: UPDATE target d SET c = s.c, … FROM idem_source s WHERE d.k = s.k AND changed */
void
idem_build_update_any(StringInfo sql, IdemApply *apply)
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
