/*
 * apply.c
 *		How rows are applied to the target: the choice of a method.
 *
 * This file must not know sources, ledgers' columns or transactions.
 */
#include "postgres.h"

#include "apply.h"
#include "catalog/pg_attribute.h"

/* In order of preference; the last one always applies. */
static const IdemMethod *const methods[] = {
	&idem_method_insert,
	&idem_method_difference,
	&idem_method_replace,
};

IdemApply *
idem_make_apply(const IdemTarget *target, const IdemRangeType *type, bool reload)
{
	IdemApply *apply = palloc0(sizeof(IdemApply));
	int i;

	apply->context = CurrentMemoryContext;
	apply->target = target;
	apply->type = type;
	apply->reload = reload;
	for (i = 0; i < target->ncolumns; i++)
		apply->overriding |= target->columns[i].in_source &&
							 target->columns[i].identity == ATTRIBUTE_IDENTITY_ALWAYS;
	return apply;
}

/* Has the statements planned anew if they were planned for a very different row count. */
static void
fit_plans(IdemApply *apply, int64 rows)
{
	if (rows <= 10 * (apply->planned_rows + 100) && apply->planned_rows <= 10 * (rows + 100))
		return;
	idem_replan(apply->insert);
	idem_replan(apply->insert_missing);
	idem_replan(apply->update);
	idem_replan(apply->delete_gone);
	apply->planned_rows = rows;
}

void
idem_apply_piece(IdemApply *apply, IdemPiece *piece)
{
	size_t i;

	fit_plans(apply, piece->rows);
	for (i = 0; i < lengthof(methods) - 1 && !methods[i]->applies(apply, piece);)
		i++;
	piece->run->method = methods[i]->name;
	methods[i]->run(apply, piece);
	piece->run->unchanged_rows = Max(0, piece->rows - piece->run->inserted_rows -
											piece->run->updated_rows);
}

uint64
idem_run_apply(IdemApply *apply, IdemPiece *piece, IdemStatement **place,
			   void (*build)(StringInfo sql, IdemApply *apply))
{
	if (*place == NULL)
	{
		Oid types[] = {apply->type->bound, apply->type->bound};
		MemoryContext old = MemoryContextSwitchTo(apply->context);
		StringInfoData sql;

		initStringInfo(&sql);
		build(&sql, apply);
		*place = idem_make_statement(sql.data, lengthof(types), types, IDEM_SNAPSHOT_NEW);
		MemoryContextSwitchTo(old);
	}
	return idem_run(*place, piece->bounds, NULL);
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
	return separator[0] == ',';
}
