/*
 * schema.c
 *		The columns of a source: whether they are those that its pipeline was accepted with.
 *
 * What is asked of the ledger first is the newest complete run alone: if that was of the
 * same columns, and had nothing to say of them, they are the accepted ones.  Only else the
 * accepted run is looked for, which may be the first of all.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "ledger/notify.h"
#include "load/schema.h"
#include "load/source.h"
#include "server/scope.h"
#include "server/statement.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* How long the lock is waited for under which columns are added: others wait behind it. */
#define APPEND_TIMEOUT "1s"

/*
 * How the source's columns differ from the accepted ones; names, NIL if none.  What has come
 * or gone in the target too has been answered.
 */
typedef struct Change
{
	List *lost;		/* which the target has */
	List *left_out; /* new, which the target lacks */
	List *changed;	/* of another type */
	bool answered;	/* others have come, or gone */
} Change;

/* True if there is something that nobody has answered. */
static bool
is_open(const Change *change)
{
	return change->lost || change->left_out || change->changed;
}

/* A source's type of a column; NULL if it has none of the name. */
static const char *
find_type(const IdemSchema *schema, const char *name)
{
	int i;

	for (i = 0; i < schema->n; i++)
	{
		if (strcmp(schema->names[i], name) == 0)
			return schema->types[i];
	}
	return NULL;
}

/* True for a literal, which takes the type of the column that it is assigned to. */
static bool
is_literal(const char *type)
{
	return strcmp(type, "unknown") == 0;
}

/* Compares one of the accepted columns. */
static void
compare_column(const IdemTarget *target, const IdemSchema *now, const char *name, const char *type, Change *change)
{
	const char *found = find_type(now, name);
	const IdemColumn *column = idem_find_column(target, name);

	if (found && strcmp(found, type) != 0 && !is_literal(found) && !is_literal(type))
		change->changed = lappend(change->changed, pstrdup(name));
	else if (found == NULL && column && !column->generated)
		change->lost = lappend(change->lost, pstrdup(name));
	else if (found == NULL)
		change->answered = true;
}

/* Compares the source's columns with accepted ones, as the ledger has them. */
static Change
compare_schemas(const IdemTarget *target, const IdemSchema *now, Datum accepted)
{
	JsonbIterator *it = JsonbIteratorInit(&DatumGetJsonbP(accepted)->root);
	List *names = NIL;
	Change change = {0};
	JsonbIteratorToken token;
	JsonbValue value;
	char *name = NULL;
	int i;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			name = pnstrdup(value.val.string.val, value.val.string.len);
			names = lappend(names, makeString(name));
		}
		else if (token == WJB_VALUE && value.type == jbvString)
			compare_column(target, now, name, pnstrdup(value.val.string.val, value.val.string.len), &change);
	}
	for (i = 0; i < now->n; i++)
	{
		char *added = unconstify(char *, now->names[i]);

		if (list_member(names, makeString(added)))
			continue;
		if (idem_find_column(target, added))
			change.answered = true;
		else
			change.left_out = lappend(change.left_out, added);
	}
	return change;
}

/* Appends "what: a, b" to what has changed. */
static void
append_names(StringInfo buf, const char *what, List *names)
{
	ListCell *lc;

	foreach (lc, names)
		appendStringInfo(buf, "%s%s", lc == list_head(names) ? psprintf("%s%s: ", buf->len > 0 ? "; " : "", what) : ", ",
						 quote_identifier(lfirst(lc)));
}

/* What has changed, in words. */
static const char *
describe_change(const Change *change)
{
	StringInfoData buf;

	initStringInfo(&buf);
	append_names(&buf, "new, and left out", change->left_out);
	append_names(&buf, "of another type", change->changed);
	append_names(&buf, "gone", change->lost);
	return buf.data;
}

/* The SQL that accepts what is there. */
static const char *
accept_call(const IdemLoad *load)
{
	return psprintf("SELECT idem_accept_schema(%s, %s)", quote_literal_cstr(load->ledger->name),
					quote_literal_cstr(load->pipeline));
}

/* Fails for a column that the source has lost, if that is not to be ignored. */
static void
check_lost(IdemLoad *load, const IdemSchema *now, const Change *change)
{
	const char *lost;

	if (change->lost == NIL || load->request->on_schema_change >= IDEM_SCHEMA_NOTIFY)
		return;
	lost = linitial(change->lost);
	load->other_schema = MemoryContextStrdup(load->context, now->columns);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("source of pipeline \"%s\" has no longer a column \"%s\"", load->pipeline, lost),
			 errdetail("It had one when its columns were accepted, and target %s has one.", load->target->name),
			 errhint("Have the source return it, if need be as NULL AS %s, or drop it from the target; if it is meant to be gone, %s.",
					 quote_identifier(lost), accept_call(load))));
}

/* The accepted columns of the pipeline's source; false if there are none. */
static bool
read_accepted(const IdemLoad *load, Datum *accepted)
{
	return idem_accepted_schema(load->ledger, load->pipeline, load->request->target, accepted);
}

/* Tells the caller that columns have changed, and others when a run is complete. */
static void
say_changed(IdemLoad *load, const Change *change)
{
	if (load->request->on_schema_change == IDEM_SCHEMA_IGNORE)
		return;
	load->says_schema = true;
	ereport(NOTICE,
			(errmsg("source of pipeline \"%s\" has changed its columns", load->pipeline),
			 errdetail_internal("%s.", describe_change(change)),
			 errhint("If that is meant, %s.", accept_call(load))));
}

void
idem_check_schema(IdemLoad *load)
{
	const IdemSchema *now = idem_source_schema(load->source);
	bool differed = false;
	const char *last = idem_last_schema(load->ledger, load->pipeline, load->request->target, &differed);
	Change change;
	Datum accepted;

	load->accepted_schema = load->other_schema = NULL;
	load->says_schema = false;
	if (last && strcmp(last, now->digest) == 0 && !differed)
		return;
	if (read_accepted(load, &accepted))
	{
		change = compare_schemas(load->target, now, accepted);
		check_lost(load, now, &change);
		if (is_open(&change))
		{
			load->other_schema = MemoryContextStrdup(load->context, now->columns);
			if (last == NULL || strcmp(last, now->digest) != 0)
				say_changed(load, &change);
			return;
		}
		if (!change.answered)
			return;
	}
	load->accepted_schema = MemoryContextStrdup(load->context, now->columns);
}

/* Fails for a target to which no column can be added. */
static void
check_appendable(const IdemLoad *load)
{
	char kind = get_rel_relkind(load->request->target);

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("columns cannot be added to target %s", load->target->name),
				 errdetail("It is not a table of this database."),
				 errhint("Add them by hand, or use on_schema_change => 'notify' to load it without them.")));
}

/* ALTER TABLE target ADD COLUMN IF NOT EXISTS name type, …: another load may be doing the same. */
static void
add_columns(void *arg)
{
	idem_run_once(arg);
}

void
idem_append_missing(IdemLoad *load)
{
	static const IdemSetting settings[] = {{"lock_timeout", APPEND_TIMEOUT}, {"client_min_messages", "warning"}, {NULL}};
	const IdemSchema *now;
	List *missing = idem_missing_columns(load->request->source, load->target, load->type, &now);
	StringInfoData sql;
	StringInfoData added;
	Datum accepted;
	ListCell *lc;

	if (missing == NIL)
		return;
	if (read_accepted(load, &accepted))
	{
		Change change = compare_schemas(load->target, now, accepted);

		check_lost(load, now, &change);
	}
	check_appendable(load);
	initStringInfo(&sql);
	initStringInfo(&added);
	foreach (lc, missing)
	{
		const char *separator = lc == list_head(missing) ? "" : ", ";

		appendStringInfo(&sql, "%sADD COLUMN IF NOT EXISTS %s", separator, (char *) lfirst(lc));
		appendStringInfo(&added, "%s%s", separator, (char *) lfirst(lc));
	}
	idem_run_under(settings, add_columns, psprintf("ALTER TABLE %s %s", load->target->name, sql.data));
	load->appended = true;
	ereport(NOTICE,
			(errmsg_plural("added %d column to target %s", "added %d columns to target %s",
						   list_length(missing), list_length(missing), load->target->name),
			 errdetail_internal("%s.", added.data),
			 errhint("New columns are NULL in windows that were loaded before: to load those again, SELECT idem_invalidate(%s, %s, …).",
					 quote_literal_cstr(load->ledger->name), quote_literal_cstr(load->pipeline))));
}

void
idem_notify_schema(const IdemLoad *load, const IdemRun *run)
{
	if (load->says_schema)
		idem_notify_schema_change(load->type, run);
}
