/*
 * table.c
 *		The table that is cleaned: its keys, what is kept of them, and what refers to it.
 *
 * Keys and order are the user's text.  Each is parsed alone and must be what it is said to
 * be, one expression or one ORDER BY; what is put into statements is what the server makes
 * of the parsed tree, with every column qualified, so that it means the same everywhere.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator.h"
#include "clean/table.h"
#include "executor/executor.h"
#include "id/keys.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "server/compat.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* What the longest name of a table beside it leaves. */
#define LONGEST_NAME (NAMEDATALEN - sizeof("_dedupe_rows"))

/* A clause of the user's, as an argument of parse_clause. */
typedef struct Clause
{
	const char *argument;
	const char *text;
	const char *sql; /* it stands in */
	Query *query;
} Clause;

/* Parses a statement that a clause stands in; it must have nothing but what the clause adds. */
static void
parse_clause(Clause *clause, bool is_order)
{
	List *raw = raw_parser(clause->sql, RAW_PARSE_DEFAULT);
	SelectStmt *select = list_length(raw) == 1 ? (SelectStmt *) linitial_node(RawStmt, raw)->stmt : NULL;

	if (select == NULL || !IsA(select, SelectStmt) || select->op != SETOP_NONE || select->distinctClause || select->intoClause ||
		list_length(select->fromClause) != 1 || select->whereClause || select->groupClause || select->havingClause ||
		select->windowClause || select->valuesLists || select->limitCount || select->limitOffset ||
		select->lockingClause || select->withClause ||
		(is_order ? select->targetList != NIL || select->sortClause == NIL
				  : list_length(select->targetList) != 1 || select->sortClause || linitial_node(ResTarget, select->targetList)->name))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg(is_order ? "\"%s\" is not an order of rows" : "\"%s\" is not an expression", clause->text)));
	clause->query = parse_analyze_fixedparams(linitial_node(RawStmt, raw), clause->sql, NULL, 0, NULL);
	if (clause->query->hasAggs || clause->query->hasWindowFuncs || clause->query->hasTargetSRFs || clause->query->hasSubLinks)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" is more than an expression of a row", clause->text),
				 errhint("Use no subqueries, aggregates, window functions or functions that return sets.")));
}

/* The same, but an error names the argument and shows no statement of ours. */
static Query *
read_clause(Clause *clause, bool is_order)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		parse_clause(clause, is_order);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		error->cursorpos = 0;
		if (error->detail == NULL)
			error->detail = psprintf("It is in argument %s: \"%s\".", clause->argument, clause->text);
		ReThrowError(error);
	}
	PG_END_TRY();
	return clause->query;
}

/* The text of an expression, of an alias of the table. */
static const char *
expression_text(const IdemTable *table, Node *expr, const char *alias)
{
	return psprintf("(%s)", deparse_expression(expr, deparse_context_for(alias, table->relid), true, false));
}

/* The column of a name, as an expression; NULL if there is none. */
static Node *
column_expression(Relation rel, const char *name)
{
	AttrNumber attno = get_attnum(RelationGetRelid(rel), name);
	Form_pg_attribute att;

	if (attno <= 0)
		return NULL;
	att = TupleDescAttr(RelationGetDescr(rel), attno - 1);
	return (Node *) makeVar(1, attno, att->atttypid, att->atttypmod, att->attcollation, 0);
}

/* True for an expression that has the whole row, or a system column, in it. */
static bool
has_no_column(Node *expr)
{
	Bitmapset *columns = NULL;
	int column;

	pull_varattnos(expr, 1, &columns);
	column = bms_next_member(columns, -1);
	return column >= 0 && column + FirstLowInvalidHeapAttributeNumber <= 0;
}

/* Fails for keys that cannot have an index. */
static void
check_key(const IdemCleanKey *key, const char *text)
{
	if (has_no_column(key->expr))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("key \"%s\" is a system column or the whole row", text),
				 errhint("Name the columns.")));
	if (!OidIsValid(lookup_type_cache(key->type, TYPECACHE_LT_OPR)->lt_opr))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("\"%s\" of type %s cannot be a key", text, format_type_be(key->type)),
				 errdetail("The type has no ordering."),
				 errhint("Name other columns as keys.")));
	if (contain_mutable_functions(key->expr))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("key \"%s\" calls a function that is not IMMUTABLE", text),
				 errhint("Use functions that depend on nothing but their arguments: no unique index could hold the key either.")));
}

/* Reads a key: a column of that name, or an expression. */
static void
set_key(IdemTable *table, Relation rel, IdemCleanKey *key, const char *text)
{
	bool nullable = true;

	key->expr = column_expression(rel, text);
	if (key->expr)
	{
		key->attno = ((Var *) key->expr)->varattno;
		nullable = !idem_is_not_null(RelationGetDescr(rel), key->attno - 1);
	}
	else
	{
		Clause clause = {"keys", text, psprintf("SELECT (%s\n) FROM %s d", text, table->name)};

		key->expr = (Node *) linitial_node(TargetEntry, read_clause(&clause, false)->targetList)->expr;
	}
	if (IsA(key->expr, Var))
		key->attno = ((Var *) key->expr)->varattno;
	key->type = exprType(key->expr);
	check_key(key, text);
	key->hashable = OidIsValid(lookup_type_cache(key->type, TYPECACHE_HASH_EXTENDED_PROC)->hash_extended_proc);
	key->of_row = expression_text(table, key->expr, "d");
	key->of_keeper = expression_text(table, key->expr, "k");
	key->in_index = psprintf("(%s)", deparse_expression(key->expr, deparse_context_for("d", table->relid), false, false));
	key->collation = exprCollation(key->expr);
	table->nullable |= nullable;
}

/* Reads the keys. */
static void
set_keys(IdemTable *table, Relation rel, ArrayType *keys)
{
	char **names = idem_read_keys(keys, &table->nkeys);
	int i;

	table->keys = palloc0(mul_size(table->nkeys, sizeof(IdemCleanKey)));
	for (i = 0; i < table->nkeys; i++)
		set_key(table, rel, &table->keys[i], names[i]);
}

/* An operator's name, qualified. */
static const char *
operator_name(Oid operator)
{
	HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form = (Form_pg_operator) GETSTRUCT(tuple);
	const char *name = psprintf("%s.%s", quote_identifier(get_namespace_name(form->oprnamespace)), NameStr(form->oprname));

	ReleaseSysCache(tuple);
	return name;
}

/* Appends an item of an order: expr USING OPERATOR(s.op) NULLS FIRST */
static void
append_order(StringInfo order, const IdemTable *table, const SortGroupClause *item, Query *query)
{
	Node *expr = get_sortgroupclause_expr(unconstify(SortGroupClause *, item), query->targetList);

	if (contain_mutable_functions(expr))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keep calls a function that is not IMMUTABLE"),
				 errhint("Order by columns, or by functions that depend on nothing but their arguments.")));
	appendStringInfo(order, "%s USING OPERATOR(%s) NULLS %s, ", expression_text(table, expr, "d"), operator_name(item->sortop),
					 item->nulls_first ? "FIRST" : "LAST");
}

/* Reads what is kept; tableoid and ctid break ties. */
static void
set_order(IdemTable *table, const char *keep)
{
	StringInfoData order;

	initStringInfo(&order);
	if (keep)
	{
		bool is_column = get_attnum(table->relid, keep) > 0;
		Clause clause = {"keep", keep, psprintf("SELECT FROM %s d ORDER BY %s\n", table->name, is_column ? quote_identifier(keep) : keep)};
		Query *query = read_clause(&clause, true);
		ListCell *lc;

		foreach (lc, query->sortClause)
			append_order(&order, table, lfirst_node(SortGroupClause, lc), query);
	}
	appendStringInfoString(&order, "d.tableoid, d.ctid");
	table->order = order.data;
}

/* Marks the columns that do not make rows different. */
static void
set_ignored(IdemTable *table, ArrayType *ignore)
{
	int n;
	char **names = idem_read_keys(ignore, &n);
	int i;
	int c;

	for (i = 0; i < n; i++)
	{
		for (c = 0; c < table->ncolumns && strcmp(table->columns[c].name, quote_identifier(names[i])) != 0; c++)
			;
		if (c == table->ncolumns)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("relation %s has no column \"%s\"", table->name, names[i]),
					 errdetail("It is named in ignore.")));
		table->columns[c].is_ignored = true;
	}
}

/* Fails for a name that a column of the quarantine has, or one of a statement of ours. */
static void
check_column_name(const IdemTable *table, const char *name)
{
	static const char *const ours[] = {"idem_job", "idem_key", "idem_removed_at", "idem_place", "idem_born", "idem_keys", "idem_n"};
	int i;

	for (i = 0; i < lengthof(ours); i++)
	{
		if (strcmp(name, ours[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" of %s has the name of one of its quarantine's", name, table->name),
					 errhint("Rename it.")));
	}
}

/* Reads the columns. */
static void
set_columns(IdemTable *table, Relation rel)
{
	TupleDesc desc = RelationGetDescr(rel);
	int i;

	table->columns = palloc0(mul_size(desc->natts, sizeof(IdemColumn)));
	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		table->columns[table->ncolumns++] = (IdemColumn){
			.name = quote_identifier(pstrdup(NameStr(att->attname))),
			.plain_name = pstrdup(NameStr(att->attname)),
			.has_equality = OidIsValid(lookup_type_cache(att->atttypid, TYPECACHE_EQ_OPR)->eq_opr),
			.is_generated = att->attgenerated != '\0',
			.type = att->atttypid,
			.typmod = att->atttypmod,
			.collation = att->attcollation,
		};
		check_column_name(table, NameStr(att->attname));
	}
}

void
idem_require_own(Relation rel)
{
	if (rel->rd_rel->relowner != GetUserId())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table %s", idem_qualified_name(rel)),
				 errhint("Let its owner call it, or SET ROLE %s.", quote_identifier(GetUserNameFromId(rel->rd_rel->relowner, true)))));
}

/* Opens a table of the caller's own. */
static Relation
open_owned(Oid relid)
{
	Relation rel = idem_open_permitted(relid);

	idem_require_own(rel);
	return rel;
}

/* Fails for what is no table of the user's. */
static void
check_kind(const IdemTable *table, Relation rel)
{
	if (rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a table", table->name),
				 errhint("Only the rows of tables can be removed one by one.")));
	if (strlen(table->relname) > LONGEST_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("name of %s is too long", table->name),
				 errdetail("Tables beside it have its name and \"_dedupe_rows\": no more than %d bytes are left for it.", (int) LONGEST_NAME),
				 errhint("ALTER TABLE %s RENAME TO …;", table->name)));
	if (IsSystemRelation(rel))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("%s is a system catalog", table->name)));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" is temporary", table->relname),
				 errhint("CREATE TABLE … AS SELECT DISTINCT ON (…) makes another one without duplicates.")));
	if (rel->rd_rel->relkind == RELKIND_RELATION && has_subclass(table->relid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s has tables that inherit from it", table->name),
				 errdetail("No unique index holds the rows of all of them."),
				 errhint("Clean each of the tables that have none.")));
}

/* Fails for what decides beside us which rows are seen, or what a DELETE does. */
static void
check_others(const IdemTable *table, Relation rel)
{
	int i;

	if (check_enable_rls(table->relid, InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("row-level security of %s applies to role \"%s\"", table->name, GetUserNameFromId(GetUserId(), false)),
				 errdetail("Rows that it hides would be left."),
				 errhint("ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;", table->name)));
	for (i = 0; rel->rd_rules && i < rel->rd_rules->numLocks; i++)
	{
		if (rel->rd_rules->rules[i]->event == CMD_DELETE && rel->rd_rules->rules[i]->enabled != 'D')
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("%s has a rule for DELETE", table->name),
					 errhint("SELECT rulename FROM pg_rules WHERE tablename = %s; and ALTER TABLE %s DISABLE RULE …;", quote_literal_cstr(table->relname), table->name)));
	}
}

/* Whether rows may be deleted as far as publications are concerned. */
static void
try_replica_identity(void *arg)
{
	CheckCmdReplicaIdentity(arg, CMD_DELETE);
}

/* Fails for a part that has no places that we know, or whose deletions cannot be published. */
static void
check_part(const IdemTable *table, Relation part)
{
	ErrorData *error;

	if (part->rd_rel->relkind == RELKIND_FOREIGN_TABLE || part->rd_rel->relam != HEAP_TABLE_AM_OID)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s is not a table of this server's own kind", idem_qualified_name(part)),
				 errdetail("Its rows have no places that are known to be theirs."),
				 errhint("Clean it where its rows are, or each of the other partitions.")));
	error = idem_try(try_replica_identity, part, CurrentMemoryContext);
	if (error)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s is published and has no replica identity", idem_qualified_name(part)),
				 errdetail("%s.", error->message),
				 errhint("ALTER TABLE %s REPLICA IDENTITY FULL;", idem_qualified_name(part))));
}

/* True if a column is one of the keys. */
static bool
is_key(const IdemTable *table, const char *column)
{
	int i;

	for (i = 0; i < table->nkeys; i++)
	{
		if (table->keys[i].attno > 0 && strcmp(get_attname(table->relid, table->keys[i].attno, false), column) == 0)
			return true;
	}
	return false;
}

/* Fails for a partition key that is not among the keys: no unique index could be on them. */
static void
check_partition_key(const IdemTable *table, Relation part)
{
	PartitionKey key = RelationGetPartitionKey(part);
	int i;

	for (i = 0; i < key->partnatts; i++)
	{
		const char *column = key->partattrs[i] == 0 ? NULL : NameStr(TupleDescAttr(RelationGetDescr(part), key->partattrs[i] - 1)->attname);

		if (column && is_key(table, column))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("keys of %s do not include its partition key", table->name),
				 errdetail("Rows of one key could be in several partitions, and no unique index would keep them out."),
				 column ? errhint("Add \"%s\" to keys, or clean each partition.", column)
						: errhint("%s is partitioned by an expression: clean each partition.", idem_qualified_name(part))));
	}
}

/* Looks the partitions over, or the table itself. */
static void
check_parts(const IdemTable *table)
{
	List *parts = find_all_inheritors(table->relid, AccessShareLock, NULL);
	ListCell *lc;

	foreach (lc, parts)
	{
		Relation part = relation_open(lfirst_oid(lc), NoLock);

		idem_require_own(part);
		if (part->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
			check_partition_key(table, part);
		else
			check_part(table, part);
		relation_close(part, NoLock);
	}
}

/* True if an index finds the rows of a foreign key. */
static bool
finds_references(Relation index, const AttrNumber *columns, int n)
{
	int i;
	int j;

	if (!index->rd_index->indisvalid || RelationGetIndexPredicate(index) != NIL || index->rd_index->indnkeyatts < n)
		return false;
	for (i = 0; i < n; i++)
	{
		for (j = 0; j < n && columns[j] != index->rd_index->indkey.values[i]; j++)
			;
		if (j == n)
			return false;
	}
	return true;
}

/*
 * Fails for a child of another's, or one with partitions of another's: his triggers and
 * policies would run as the caller.
 */
static void
check_child_owner(const IdemTable *table, Relation child, const char *constraint)
{
	ListCell *lc;

	foreach (lc, find_all_inheritors(RelationGetRelid(child), AccessShareLock, NULL))
	{
		Relation part = relation_open(lfirst_oid(lc), NoLock);

		if (part->rd_rel->relowner != GetUserId())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("foreign key \"%s\" refers to %s from %s, which role \"%s\" does not own", constraint, table->name, idem_qualified_name(part), GetUserNameFromId(GetUserId(), false)),
					 errdetail("Triggers and policies of another's would run with the rights of who calls."),
					 errhint("ALTER TABLE %s OWNER TO %s; or let its owner drop the foreign key, and add it again afterwards.", idem_qualified_name(part), quote_identifier(GetUserNameFromId(GetUserId(), false)))));
		relation_close(part, NoLock);
	}
}

/* Fails unless an index of the child finds the rows of a foreign key. */
static void
check_child_index(const IdemTable *table, Relation child, const IdemReference *reference, const AttrNumber *columns)
{
	StringInfoData list;
	ListCell *lc;
	int i;

	foreach (lc, RelationGetIndexList(child))
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);
		bool found = finds_references(index, columns, reference->ncolumns);

		index_close(index, NoLock);
		if (found)
			return;
	}
	initStringInfo(&list);
	for (i = 0; i < reference->ncolumns; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", reference->columns[i]);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("foreign key \"%s\" of %s has no index", reference->constraint, reference->child),
			 errdetail("Each row removed from %s would read all of %s.", table->name, reference->child),
			 errhint("CREATE INDEX %sON %s (%s);", child->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ? "" : "CONCURRENTLY ", reference->child, list.data)));
}

/* Fails for a foreign key that removes or changes rows of the child. */
static void
check_action(const IdemTable *table, const IdemReference *reference, char action)
{
	static const char *const names[] = {"CASCADE", "SET NULL", "SET DEFAULT"};
	const char *which = action == FKCONSTR_ACTION_CASCADE ? names[0] : action == FKCONSTR_ACTION_SETNULL ? names[1]
																								  : names[2];
	StringInfoData columns;
	StringInfoData referred;
	int i;

	if (action == FKCONSTR_ACTION_NOACTION || action == FKCONSTR_ACTION_RESTRICT)
		return;
	initStringInfo(&columns);
	initStringInfo(&referred);
	for (i = 0; i < reference->ncolumns; i++)
	{
		appendStringInfo(&columns, "%s%s", i > 0 ? ", " : "", reference->columns[i]);
		appendStringInfo(&referred, "%s%s", i > 0 ? ", " : "", reference->referred[i]);
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("foreign key \"%s\" of %s is ON DELETE %s", reference->constraint, reference->child, which),
			 errdetail("Rows of %s would change or go with those that are removed.", reference->child),
			 errhint("ALTER TABLE %s DROP CONSTRAINT %s, ADD CONSTRAINT %s FOREIGN KEY (%s) REFERENCES %s (%s) NOT VALID; and the same with ON DELETE %s afterwards.",
					 reference->child, quote_identifier(reference->constraint), quote_identifier(reference->constraint), columns.data, table->name, referred.data, which)));
}

/* Reads a foreign key to the table. */
static void
read_reference(IdemTable *table, HeapTuple tuple)
{
	Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);
	IdemReference *reference = &table->references[table->nreferences++];
	AttrNumber columns[INDEX_MAX_KEYS];
	AttrNumber referred[INDEX_MAX_KEYS];
	AttrNumber set_columns[INDEX_MAX_KEYS];
	Oid operators[INDEX_MAX_KEYS];
	Oid others[INDEX_MAX_KEYS];
	Oid more[INDEX_MAX_KEYS];
	int nset;
	int n;
	int i;
	Relation child = table_open(form->conrelid, AccessShareLock);

	check_child_owner(table, child, NameStr(form->conname));
	DeconstructFkConstraintRow(tuple, &n, columns, referred, operators, others, more, &nset, set_columns);
	*reference = (IdemReference){
		.child = idem_qualified_name(child),
		.constraint = pstrdup(NameStr(form->conname)),
		.ncolumns = n,
		.columns = palloc(n * sizeof(char *)),
		.referred = palloc(n * sizeof(char *)),
		.types = palloc(n * sizeof(Oid)),
		.referred_types = palloc(n * sizeof(Oid)),
		.operators = palloc(n * sizeof(Oid)),
		.is_own = list_member_oid(find_all_inheritors(table->relid, NoLock, NULL), form->conrelid),
		.action = form->confdeltype,
	};
	for (i = 0; i < n; i++)
	{
		reference->columns[i] = quote_identifier(get_attname(form->conrelid, columns[i], false));
		reference->referred[i] = quote_identifier(get_attname(form->confrelid, referred[i], false));
		reference->types[i] = get_atttype(form->conrelid, columns[i]);
		reference->referred_types[i] = get_atttype(form->confrelid, referred[i]);
		reference->operators[i] = operators[i];
	}
	check_action(table, reference, form->confdeltype);
	check_child_index(table, child, reference, columns);
	table_close(child, NoLock);
}

/* Reads the foreign keys to a relation, without those that belong to another one's. */
static void
read_references(IdemTable *table, Relation constraints, Oid relid)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_constraint_confrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(constraints, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);

		if (form->contype != CONSTRAINT_FOREIGN || OidIsValid(form->conparentid))
			continue;
		table->references = table->references ? repalloc(table->references, (table->nreferences + 1) * sizeof(IdemReference)) : palloc(sizeof(IdemReference));
		read_reference(table, tuple);
	}
	systable_endscan(scan);
}

/* Reads the foreign keys to the table and to its partitions. */
static void
set_references(IdemTable *table)
{
	Relation constraints = table_open(ConstraintRelationId, AccessShareLock);
	ListCell *lc;

	foreach (lc, find_all_inheritors(table->relid, AccessShareLock, NULL))
		read_references(table, constraints, lfirst_oid(lc));
	table_close(constraints, AccessShareLock);
}

/* Looks up what a table is called. */
static IdemTable *
make_table(Relation rel, Oid schema)
{
	IdemTable *table = palloc0(sizeof(IdemTable));

	*table = (IdemTable){
		.relid = RelationGetRelid(rel),
		.schema = schema,
		.nspname = get_namespace_name(RelationGetNamespace(rel)),
		.relname = pstrdup(RelationGetRelationName(rel)),
		.name = idem_qualified_name(rel),
		.partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE,
	};
	return table;
}

IdemTable *
idem_open_plain_table(Oid relid, Oid schema)
{
	Relation rel = open_owned(relid);
	IdemTable *table = make_table(rel, schema);

	check_kind(table, rel);
	set_columns(table, rel);
	relation_close(rel, NoLock);
	return table;
}

IdemTable *
idem_open_table(Oid relid, Oid schema, const IdemTableArgs *args)
{
	Relation rel = open_owned(relid);
	IdemTable *table = make_table(rel, schema);

	table->args = args;
	table->conflicts = args->conflicts;
	table->repoint = args->repoint;
	check_kind(table, rel);
	check_others(table, rel);
	set_columns(table, rel);
	set_keys(table, rel, args->keys);
	set_order(table, args->keep);
	if (args->ignore)
		set_ignored(table, args->ignore);
	check_parts(table);
	set_references(table);
	table->fingerprint = idem_describe_table(table, rel);
	relation_close(rel, NoLock);
	return table;
}
