/*
 * index.c
 *		The unique index that keeps duplicates out afterwards.
 *
 * It is built concurrently, of a partitioned table one on each partition; the index of the
 * whole then only takes these, which is done in a moment.  What an earlier call has left,
 * an invalid index of ours, is dropped first.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "clean/alone.h"
#include "clean/index.h"
#include "clean/remove.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "server/scope.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#define LOCK_WAIT "100ms"
#define ATTEMPTS 300

/* An index that is there. */
typedef struct Standing
{
	const char *valid;	 /* qualified and quoted; NULL: none */
	const char *invalid; /* of ours, and left unfinished */
} Standing;

/* The text of a column of an index, as that of a key of alias d. */
static const char *
index_column(Relation rel, Relation index, int i, ListCell **expression)
{
	AttrNumber attno = index->rd_index->indkey.values[i];
	Node *expr;

	if (attno != 0)
		return psprintf("(d.%s)", quote_identifier(get_attname(RelationGetRelid(rel), attno, false)));
	expr = lfirst(*expression);
	*expression = lnext(RelationGetIndexExpressions(index), *expression);
	return psprintf("(%s)", deparse_expression(expr, deparse_context_for("d", RelationGetRelid(rel)), true, false));
}

/* True if a key is compared by an index as by its own type. */
static bool
has_equality(const IdemCleanKey *key, Relation index, int i)
{
	return index->rd_indcollation[i] == key->collation &&
		   index->rd_opfamily[i] == get_opclass_family(GetDefaultOpClass(key->type, BTREE_AM_OID));
}

/* True if an index keeps the keys unique, in any order of them, once it is valid. */
static bool
is_ours(const IdemTable *table, Relation rel, Relation index)
{
	ListCell *expression = list_head(RelationGetIndexExpressions(index));
	int i;
	int k;

	if (!index->rd_index->indisunique || !index->rd_index->indimmediate || index->rd_rel->relam != BTREE_AM_OID ||
		RelationGetIndexPredicate(index) != NIL || index->rd_index->indnkeyatts != table->nkeys ||
		(table->nullable && !index->rd_index->indnullsnotdistinct))
		return false;
	for (i = 0; i < table->nkeys; i++)
	{
		const char *column = index_column(rel, index, i, &expression);

		for (k = 0; k < table->nkeys && strcmp(column, table->keys[k].of_row) != 0; k++)
			;
		if (k == table->nkeys || !has_equality(&table->keys[k], index, i))
			return false;
	}
	return true;
}

/* The name of the index that we build, without a number behind it. */
static char *
base_name(Relation rel)
{
	return makeObjectName(RelationGetRelationName(rel), "dedupe", "key");
}

/* Looks for indexes on the keys. */
static Standing
look_up(const IdemTable *table, Relation rel)
{
	Standing standing = {NULL, NULL};
	char *ours = base_name(rel);
	ListCell *lc;

	foreach (lc, RelationGetIndexList(rel))
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		if (!is_ours(table, rel, index))
			;
		else if (index->rd_index->indisvalid)
			standing.valid = idem_qualified_name(index);
		else if (strncmp(RelationGetRelationName(index), ours, strlen(ours)) == 0)
			standing.invalid = idem_qualified_name(index);
		index_close(index, NoLock);
	}
	return standing;
}

/* A name for a new index, unqualified and quoted. */
static const char *
new_name(Relation rel)
{
	return quote_identifier(ChooseRelationName(RelationGetRelationName(rel), "dedupe", "key", RelationGetNamespace(rel), false));
}

/* CREATE UNIQUE INDEX [CONCURRENTLY] name ON rel (k, …) [NULLS NOT DISTINCT] */
static const char *
create_command(const IdemTable *table, const char *name, const char *rel, bool concurrently)
{
	StringInfoData sql;
	int i;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE UNIQUE INDEX %s%s ON %s (", concurrently ? "CONCURRENTLY " : "", name, rel);
	for (i = 0; i < table->nkeys; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", table->keys[i].in_index);
	appendStringInfo(&sql, ")%s", table->nullable ? " NULLS NOT DISTINCT" : "");
	return sql.data;
}

/* Runs a command alone, and raises its error. */
static void
run_alone(const char *sql)
{
	ErrorData *error;

	idem_next_transaction();
	error = idem_run_alone(sql);
	if (error)
		ereport(ERROR,
				(errcode(error->sqlerrcode),
				 errmsg("%s", error->message),
				 error->detail ? errdetail("%s", error->detail) : 0,
				 errhint("%s; is what was tried. The same call goes on.", sql)));
}

/* Builds the index of a table, or of a partition; false if there are duplicates. */
static bool
build_part(const IdemTable *table, IdemJob *job, Oid relid)
{
	Relation rel = idem_open_relation(relid);
	Standing standing = look_up(table, rel);
	const char *name = idem_qualified_name(rel);
	const char *schema = get_namespace_name(RelationGetNamespace(rel));
	const char *index;
	const char *qualified;
	ErrorData *error;

	relation_close(rel, NoLock);
	if (standing.invalid)
	{
		run_alone(psprintf("DROP INDEX CONCURRENTLY IF EXISTS %s", standing.invalid));
		return build_part(table, job, relid);
	}
	if (standing.valid && relid == table->relid)
		idem_book_index(job, standing.valid);
	if (standing.valid)
		return true;
	rel = idem_open_relation(relid);
	index = new_name(rel);
	relation_close(rel, NoLock);
	qualified = psprintf("%s.%s", quote_identifier(schema), index);
	if (relid == table->relid)
		idem_book_index(job, qualified);
	idem_next_transaction();
	error = idem_run_alone(create_command(table, index, name, true));
	if (error == NULL)
		return true;
	run_alone(psprintf("DROP INDEX CONCURRENTLY IF EXISTS %s", qualified));
	if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
		ereport(ERROR,
				(errcode(error->sqlerrcode),
				 errmsg("%s", error->message),
				 error->detail ? errdetail("%s", error->detail) : 0,
				 errhint("The same call goes on.")));
	return false;
}

/* A command, as an argument of idem_try. */
static void
run_once(void *arg)
{
	idem_run_once(arg);
}

/* The same, without making others wait for long. */
static void
run_briefly(void *arg)
{
	idem_run_with("lock_timeout", LOCK_WAIT, run_once, arg);
}

/* Makes the index of the whole of those of the partitions; false if there are duplicates. */
static bool
build_whole(const IdemTable *table, IdemJob *job)
{
	Relation rel = idem_open_relation(table->relid);
	Standing standing = look_up(table, rel);
	const char *index = new_name(rel);
	const char *sql = create_command(table, index, table->name, false);
	int attempt;

	relation_close(rel, NoLock);
	if (standing.valid)
	{
		idem_book_index(job, standing.valid);
		return true;
	}
	for (attempt = 1;; attempt++)
	{
		ErrorData *error;

		idem_next_transaction();
		error = idem_try(run_briefly, unconstify(char *, sql), CurrentMemoryContext);
		if (error == NULL)
			break;
		if (error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION)
			return false;
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || attempt == ATTEMPTS)
			ReThrowError(error);
		idem_next_transaction();
		idem_wait(10 * Min(attempt, 50));
	}
	idem_book_index(job, psprintf("%s.%s", quote_identifier(table->nspname), index));
	return true;
}

/* Says what to type where no process can build it; the rows are removed all the same. */
static void
report_login(const IdemTable *table)
{
	Relation rel = idem_open_relation(table->relid);

	ereport(WARNING,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("no unique index is built: role \"%s\" may not log in", GetUserNameFromId(GetUserId(), false)),
			 errhint("%s;", create_command(table, new_name(rel), table->name, !table->partitioned))));
	relation_close(rel, NoLock);
}

bool
idem_build_index(const IdemTable *table, IdemJob *job)
{
	List *parts = find_all_inheritors(table->relid, AccessShareLock, NULL);
	Relation rel = idem_open_relation(table->relid);
	Standing standing = look_up(table, rel);
	ListCell *lc;

	relation_close(rel, NoLock);
	if (standing.valid == NULL && !idem_can_run_alone())
	{
		report_login(table);
		return true;
	}
	foreach (lc, parts)
	{
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION && !build_part(table, job, lfirst_oid(lc)))
			return false;
	}
	return !table->partitioned || build_whole(table, job);
}
