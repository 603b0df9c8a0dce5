/*
 * changed.c
 *		Whether the table still is what was looked up.
 *
 * A call commits often, and others may do in between what they like: give the table a column
 * that no statement of ours knows, a foreign key that deletes elsewhere, or its name to another.
 */
#include "postgres.h"

#include "access/relation.h"
#include "clean/table.h"
#include "lib/stringinfo.h"
#include "rewrite/prs2lock.h"
#include "server/changes.h"
#include "server/statement.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"

/* Appends the columns, also those that are dropped. */
static void
append_columns(StringInfo text, TupleDesc desc)
{
	int i;

	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		appendStringInfo(text, "column %s %u %d %u %d %d\n", NameStr(att->attname), att->atttypid, att->atttypmod, att->attcollation,
						 att->attisdropped, att->attgenerated);
	}
}

/* Appends the foreign keys to the table. */
static void
append_references(StringInfo text, const IdemTable *table)
{
	int i;
	int j;

	for (i = 0; i < table->nreferences; i++)
	{
		const IdemReference *reference = &table->references[i];

		appendStringInfo(text, "reference %s %s %c\n", reference->child, reference->constraint, reference->action);
		for (j = 0; j < reference->ncolumns; j++)
			appendStringInfo(text, "%s %u = %s %u\n", reference->columns[j], reference->types[j], reference->referred[j], reference->referred_types[j]);
	}
}

/* Appends what else runs or decides with a DELETE: triggers, rules, row security. */
static void
append_attached(StringInfo text, Relation rel)
{
	int i;

	for (i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		appendStringInfo(text, "trigger %u %u %d %c\n", trigger->tgoid, trigger->tgfoid, trigger->tgtype, trigger->tgenabled);
	}
	for (i = 0; rel->rd_rules && i < rel->rd_rules->numLocks; i++)
		appendStringInfo(text, "rule %u %c\n", rel->rd_rules->rules[i]->ruleId, rel->rd_rules->rules[i]->enabled);
	appendStringInfo(text, "security %d %d\n", rel->rd_rel->relrowsecurity, rel->rd_rel->relforcerowsecurity);
}

const char *
idem_describe_table(const IdemTable *table, Relation rel)
{
	StringInfoData text;
	int i;

	initStringInfo(&text);
	appendStringInfo(&text, "%s %u\n", table->name, rel->rd_rel->relowner);
	append_columns(&text, RelationGetDescr(rel));
	for (i = 0; i < table->nkeys; i++)
		appendStringInfo(&text, "key %s %u\n", table->keys[i].of_row, table->keys[i].type);
	appendStringInfo(&text, "order %s\n", table->order);
	append_references(&text, table);
	append_attached(&text, rel);
	return text.data;
}

void
idem_check_unchanged(const IdemTable *table, uint64 *changes)
{
	Relation rel = try_relation_open(table->relid, RowExclusiveLock);
	uint64 now = idem_catalog_changes();

	if (rel)
		relation_close(rel, NoLock);
	if (rel && now == *changes)
		return;
	/* of a table that is gone this raises the error */
	if (strcmp(idem_open_table(table->relid, table->schema, table->args)->fingerprint, table->fingerprint) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s was changed while its duplicates were removed", table->name),
				 errdetail("It has another name, or other columns, triggers, rules or foreign keys to it, than when the call began."),
				 errhint("The same call goes on.")));
	*changes = now;
}
