/*
 * suspect.c
 *		What makes a load come out otherwise each time, as far as one can read it.
 *
 * Functions that are volatile, and those that tell the time: within a transaction now() is
 * always the same, so that no second run in it shows what it does.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_proc.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "watch/suspect.h"

/* Adds a name, once. */
static void
add_name(List **names, char *name)
{
	ListCell *lc;

	foreach (lc, *names)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return;
	}
	*names = lappend(*names, name);
}

/* Adds a function that is volatile or tells the time. */
static bool
check_function(Oid function, void *names)
{
	if (function == F_NOW || function == F_TRANSACTION_TIMESTAMP || function == F_STATEMENT_TIMESTAMP ||
		func_volatile(function) == PROVOLATILE_VOLATILE)
		add_name(names, psprintf("%s()", get_func_name(function)));
	return false;
}

static bool
suspect_walker(Node *node, void *names)
{
	if (node == NULL)
		return false;
	(void) check_functions_in_node(node, check_function, names);
	if (IsA(node, SQLValueFunction) && ((SQLValueFunction *) node)->op <= SVFOP_LOCALTIMESTAMP_N)
		add_name(names, "now()");
	if (IsA(node, NextValueExpr))
		add_name(names, "nextval()");
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, suspect_walker, names, 0);
	return expression_tree_walker(node, suspect_walker, names);
}

char *
idem_suspects(Node *node)
{
	List *names = NIL;
	StringInfoData text;
	ListCell *lc;

	(void) suspect_walker(node, &names);
	if (names == NIL)
		return NULL;
	initStringInfo(&text);
	foreach (lc, names)
		appendStringInfo(&text, "%s%s", text.len > 0 ? ", " : "", (char *) lfirst(lc));
	return text.data;
}

char *
idem_suspect_defaults(const IdemTarget *target)
{
	Relation rel = relation_open(target->relid, AccessShareLock);
	StringInfoData text;
	int i;

	initStringInfo(&text);
	for (i = 0; i < target->ncolumns; i++)
	{
		const IdemColumn *column = &target->columns[i];
		char *suspects;

		if (column->in_source || column->generated)
			continue;
		suspects = idem_suspects(build_column_default(rel, get_attnum(target->relid, column->name)));
		if (suspects)
			appendStringInfo(&text, "%scolumn \"%s\" by %s", text.len > 0 ? ", " : "", column->name, suspects);
	}
	relation_close(rel, NoLock);
	return text.len > 0 ? text.data : NULL;
}
