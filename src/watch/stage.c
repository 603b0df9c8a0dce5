/*
 * stage.c
 *		A copy of a request's target, with a ledger of its own, for a rehearsal.
 *
 * The tables are no temporary ones: what runs as a pipeline's owner in another's session may
 * not make such.  They are rolled back, and unlogged where that is up to us.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "server/statement.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "watch/stage.h"

/* True if the current role may create tables in a schema. */
static bool
can_create(Oid schema)
{
	return DatumGetBool(DirectFunctionCall2(has_schema_privilege_id, ObjectIdGetDatum(schema),
											CStringGetTextDatum("CREATE")));
}

/* The schema in which to create them. */
static Oid
find_schema(const IdemRequest *request)
{
	Oid schemas[] = {get_rel_namespace(request->target), get_rel_namespace(request->ledger)};
	int i;

	for (i = 0; i < lengthof(schemas); i++)
	{
		if (can_create(schemas[i]))
			return schemas[i];
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" cannot create a copy of the target for a test", GetUserNameFromId(GetUserId(), false)),
			 errdetail("It may create tables neither in the target's schema nor in the ledger's."),
			 errhint("GRANT CREATE ON SCHEMA %s TO %s, or test in a schema of its own.",
					 quote_identifier(get_namespace_name(schemas[0])),
					 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

/* A name in a schema that nobody has. */
static char *
free_name(Oid schema, const char *what)
{
	char *name;
	int n = 0;

	do
		name = psprintf("idem_test_%s_%d_%d", what, MyProcPid, ++n);
	while (OidIsValid(get_relname_relid(name, schema)));
	return name;
}

/* A sequence in place of each that an expression takes values from. */
typedef struct Replacing
{
	Oid schema;
	int replaced;
} Replacing;

static Node *
replace_sequences(Node *node, void *arg)
{
	Replacing *replacing = arg;

	if (node == NULL)
		return NULL;
	if (IsA(node, FuncExpr) && ((FuncExpr *) node)->funcid == F_NEXTVAL)
	{
		FuncExpr *call = copyObject((FuncExpr *) node);
		char *name = free_name(replacing->schema, "sequence");

		idem_run_once(psprintf("CREATE SEQUENCE %s",
							   quote_qualified_identifier(get_namespace_name(replacing->schema), name)));
		call->args = list_make1(makeConst(REGCLASSOID, -1, InvalidOid, sizeof(Oid),
										  ObjectIdGetDatum(get_relname_relid(name, replacing->schema)), false, true));
		replacing->replaced++;
		return (Node *) call;
	}
	return expression_tree_mutator(node, replace_sequences, arg);
}

/* Gives a copy sequences of its own: ALTER TABLE copy ALTER c SET DEFAULT nextval('new') */
static void
renew_sequences(Oid relid, Oid schema)
{
	Relation rel = relation_open(relid, AccessShareLock);
	TupleDesc desc = CreateTupleDescCopy(RelationGetDescr(rel));
	List *context = deparse_context_for(RelationGetRelationName(rel), relid);
	List *commands = NIL;
	ListCell *lc;
	int i;

	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		Replacing replacing = {schema};
		Node *value;

		if (att->attisdropped || att->attgenerated || att->attidentity)
			continue;
		value = replace_sequences(build_column_default(rel, i + 1), &replacing);
		if (replacing.replaced > 0)
			commands = lappend(commands, psprintf("ALTER TABLE %s ALTER %s SET DEFAULT %s", idem_qualified_name(rel),
												  quote_identifier(NameStr(att->attname)),
												  deparse_expression(value, context, false, false)));
	}
	relation_close(rel, AccessShareLock);
	foreach (lc, commands)
		idem_run_once(lfirst(lc));
}

/* Creates the copy of the target. */
static Oid
copy_target(const IdemRequest *request, Oid schema)
{
	Relation rel = idem_open_relation(request->target);
	char *name = free_name(schema, "target");
	Oid result;

	idem_run_once(psprintf("CREATE UNLOGGED TABLE %s (LIKE %s INCLUDING ALL)",
						   quote_qualified_identifier(get_namespace_name(schema), name), idem_qualified_name(rel)));
	relation_close(rel, NoLock);
	result = get_relname_relid(name, schema);
	renew_sequences(result, schema);
	return result;
}

/* Creates the ledger. */
static Oid
make_ledger(const IdemRequest *request, const IdemRangeType *type, Oid schema)
{
	char *name = free_name(schema, "ledger");
	char *qualified = quote_qualified_identifier(get_namespace_name(schema), name);

	idem_run_once(psprintf("SELECT %s(%s, %s::pg_catalog.regtype)",
						   quote_qualified_identifier(get_namespace_name(request->schema), "idem_create_ledger"),
						   quote_literal_cstr(qualified),
						   quote_literal_cstr(psprintf("pg_catalog.%s", type->name))));
	return get_relname_relid(name, schema);
}

IdemRequest
idem_set_stage(const IdemRequest *request, const IdemRangeType *type)
{
	IdemRequest staged = *request;
	Oid schema = find_schema(request);

	staged.target = copy_target(request, schema);
	staged.ledger = make_ledger(request, type, schema);
	staged.audit = NULL;
	staged.retry = NULL;
	staged.notify = false;
	staged.step = NULL;
	staged.lookback = NULL;
	staged.rehearsed = true;
	return staged;
}

/*
 * SELECT string_agg(w, ', ' ORDER BY w) FROM (
 *     SELECT concat('trigger ', quote_ident(tgname)) AS w FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal
 *     UNION ALL … rules, foreign keys, row security) l
 */
char *
idem_left_out(const IdemRequest *request)
{
	const Oid types[] = {OIDOID};
	const Datum args[] = {ObjectIdGetDatum(request->target)};
	IdemStatement *statement = idem_make_statement(
		"SELECT pg_catalog.string_agg(l.w, ', ' ORDER BY l.w) FROM ("
		"SELECT pg_catalog.concat('trigger ', pg_catalog.quote_ident(tgname)) AS w FROM pg_catalog.pg_trigger"
		" WHERE tgrelid OPERATOR(pg_catalog.=) $1 AND NOT tgisinternal"
		" UNION ALL SELECT pg_catalog.concat('rule ', pg_catalog.quote_ident(rulename)) FROM pg_catalog.pg_rewrite"
		" WHERE ev_class OPERATOR(pg_catalog.=) $1 AND rulename OPERATOR(pg_catalog.<>) '_RETURN'"
		" UNION ALL SELECT pg_catalog.concat('foreign key ', pg_catalog.quote_ident(conname)) FROM pg_catalog.pg_constraint"
		" WHERE conrelid OPERATOR(pg_catalog.=) $1 AND contype OPERATOR(pg_catalog.=) 'f'"
		" UNION ALL SELECT 'row security' FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) $1 AND relrowsecurity"
		") l",
		lengthof(types), types, IDEM_SNAPSHOT_NEW);
	Datum value;
	bool isnull;
	char *result;

	if (!idem_fetch(statement, args, NULL, 1, &value, &isnull) || isnull)
		return request->audit ? pstrdup("audit") : NULL;
	result = TextDatumGetCString(value);
	return request->audit ? psprintf("audit, %s", result) : result;
}
