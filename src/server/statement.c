/*
 * statement.c
 *		idem's own SQL: prepare, run, expect.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/objectaddress.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "server/compat.h"
#include "server/plan.h"
#include "server/scope.h"
#include "server/statement.h"
#include "server/unseen.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

struct IdemStatement
{
	const char *sql;
	int nargs;
	Oid types[IDEM_MAX_ARGS];
	IdemSnapshot snapshot;
	bool asks_indexes;
	SPIPlanPtr plan;
	int64 rows;	  /* for which it was planned */
	int64 growth; /* after which it was planned */
};

Relation
idem_open_relation(Oid relid)
{
	Relation rel = try_relation_open(relid, AccessShareLock);

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid),
				 errhint("Name it instead, for example 'schema.table'.")));
	return rel;
}

void
idem_check_any_right(Oid relid)
{
	const AclMode rights = ACL_SELECT | ACL_INSERT | ACL_UPDATE | ACL_DELETE;
	const char *name = get_rel_name(relid);

	if (name == NULL || pg_class_aclmask(relid, GetUserId(), rights, ACLMASK_ANY) != 0 ||
		pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT | ACL_INSERT | ACL_UPDATE, ACLMASK_ANY) == ACLCHECK_OK)
		return;
	aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(get_rel_relkind(relid)), name);
}

Relation
idem_open_permitted(Oid relid)
{
	Relation rel;

	idem_check_any_right(relid);
	rel = idem_open_relation(relid);
	/* it may have been another's when we waited for the lock */
	idem_check_any_right(relid);
	return rel;
}

char *
idem_qualified_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

IdemStatement *
idem_make_statement(const char *sql, int nargs, const Oid *types, IdemSnapshot snapshot)
{
	IdemStatement *statement = palloc0(sizeof(IdemStatement));

	Assert(nargs <= IDEM_MAX_ARGS);
	statement->sql = sql;
	statement->nargs = nargs;
	if (nargs > 0)
		memcpy(statement->types, types, nargs * sizeof(Oid));
	statement->snapshot = snapshot;
	idem_own_plan(&statement->plan);
	return statement;
}

void
idem_ask_indexes(IdemStatement *statement)
{
	statement->asks_indexes = true;
}

/* True if one number is many times the other, not counting small ones. */
static bool
is_far(int64 a, int64 b, int times)
{
	return Max(a, b) > times * (Min(a, b) + 100);
}

void
idem_fit_statement(IdemStatement *statement, int64 rows, int64 growth)
{
	if (statement->plan && !is_far(rows, statement->rows, 10) &&
		!is_far(growth, statement->growth, 2))
		return;
	idem_drop_plan(&statement->plan);
	statement->rows = rows;
	statement->growth = growth;
}

/* Prepares a statement, unless it is prepared and valid. */
static void
prepare_statement(IdemStatement *statement)
{
	if (statement->plan && !SPI_plan_is_valid(statement->plan))
		idem_drop_plan(&statement->plan);
	if (statement->plan == NULL)
		statement->plan = idem_prepare_plan(statement->sql, NULL, statement->nargs,
											statement->types);
}

/* Checks what the current user may do with the relations of a query and those in it. */
static bool
check_rights(Node *node, void *context)
{
	Query *query = (Query *) node;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, check_rights, context);
	idem_check_range_table(query->rtable, idem_query_rights(query));
	return query_tree_walker(query, check_rights, context, 0);
}

void
idem_check_query(Query *query)
{
	(void) check_rights((Node *) query, NULL);
}

static void
check_statement(void *arg)
{
	IdemStatement *statement = arg;
	ListCell *source;
	ListCell *query;

	prepare_statement(statement);
	foreach (source, SPI_plan_get_plan_sources(statement->plan))
	{
		foreach (query, ((CachedPlanSource *) lfirst(source))->query_list)
			(void) check_rights(lfirst(query), NULL);
	}
}

void
idem_check_statement(IdemStatement *statement)
{
	idem_run_unseen(statement->sql, check_statement, statement);
}

/* How a statement is run, as an argument of idem_run_unseen. */
typedef struct Execution
{
	IdemStatement *statement;
	const Datum *args;
	const bool *isnull;		/* NULL: none is */
	DestReceiver *receiver; /* of what it returns, if it has one */
	bool read_only;			/* and then, under the active snapshot */
} Execution;

/* Runs a statement; its rows, if any, are in SPI_tuptable. */
static void
execute(void *arg)
{
	Execution *execution = arg;
	IdemStatement *statement = execution->statement;
	const Datum *args = execution->args;
	char nulls[IDEM_MAX_ARGS];
	int i;
	int result;

	prepare_statement(statement);
	for (i = 0; i < statement->nargs; i++)
		nulls[i] = execution->isnull && execution->isnull[i] ? 'n' : ' ';
	if (statement->snapshot == IDEM_SNAPSHOT_LATEST)
		result = SPI_execute_snapshot(statement->plan, unconstify(Datum *, args), nulls,
									  GetLatestSnapshot(), InvalidSnapshot,
									  true, false, 0);
	else
		result = SPI_execute_plan(statement->plan, unconstify(Datum *, args), nulls,
								  statement->snapshot == IDEM_SNAPSHOT_CALLER, 0);
	if (result < 0)
		elog(ERROR, "could not run statement: %s: %s",
			 SPI_result_code_string(result), statement->sql);
}

/* The same for a statement that asks indexes. */
static void
execute_by_index(void *arg)
{
	static const IdemSetting settings[] = {
		{"enable_seqscan", "off"}, {"enable_bitmapscan", "off"}, {"jit", "off"}, {NULL, NULL}};

	idem_run_under(settings, execute, arg);
}

/* The same, in the current memory context. */
static uint64
run_statement(IdemStatement *statement, const Datum *args, const bool *isnull)
{
	MemoryContext old = CurrentMemoryContext;
	Execution execution = {statement, args, isnull};

	idem_run_unseen(statement->sql, statement->asks_indexes ? execute_by_index : execute, &execution);
	MemoryContextSwitchTo(old);
	return SPI_processed;
}

uint64
idem_run(IdemStatement *statement, const Datum *args, const bool *isnull)
{
	uint64 processed = run_statement(statement, args, isnull);

	SPI_freetuptable(SPI_tuptable);
	return processed;
}

/* Runs a statement into a receiver. */
static void
execute_into(void *arg)
{
	Execution *execution = arg;
	IdemStatement *statement = execution->statement;
	SPIExecuteOptions options = {.read_only = execution->read_only, .dest = execution->receiver};

	prepare_statement(statement);
	options.params = idem_make_params(statement->nargs, statement->types, execution->args);
	idem_execute_plan(statement->plan, &options, statement->sql);
}

/* The same. */
static void
run_into(IdemStatement *statement, const Datum *args, DestReceiver *receiver, bool read_only)
{
	Execution execution = {statement, args, .receiver = receiver, .read_only = read_only};

	idem_run_unseen(statement->sql, execute_into, &execution);
}

void
idem_run_into(IdemStatement *statement, const Datum *args, DestReceiver *receiver)
{
	run_into(statement, args, receiver, false);
}

Snapshot
idem_take_snapshot(void)
{
	return RegisterSnapshot(GetTransactionSnapshot());
}

void
idem_release_snapshot(Snapshot snapshot)
{
	UnregisterSnapshot(snapshot);
}

void
idem_enter_snapshot(Snapshot snapshot)
{
	PushCopiedSnapshot(snapshot);
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
}

void
idem_leave_snapshot(void)
{
	PopActiveSnapshot();
}

void
idem_run_since(IdemStatement *statement, Snapshot snapshot, const Datum *args,
			   DestReceiver *receiver)
{
	idem_enter_snapshot(snapshot);
	run_into(statement, args, receiver, true);
	idem_leave_snapshot();
}

void
idem_run_at(IdemStatement *statement, Snapshot snapshot, const Datum *args,
			DestReceiver *receiver)
{
	PushActiveSnapshot(snapshot);
	run_into(statement, args, receiver, true);
	PopActiveSnapshot();
}

bool
idem_fetch(IdemStatement *statement, const Datum *args, const bool *isnull,
		   int ncols, Datum *values, bool *nulls)
{
	bool found = run_statement(statement, args, isnull) > 0 && SPI_tuptable;
	int i;

	/* a rule on the table may have put another statement in place of ours */
	if (found && SPI_tuptable->tupdesc->natts < ncols)
		elog(ERROR, "statement returned %d columns instead of %d: %s",
			 SPI_tuptable->tupdesc->natts, ncols, statement->sql);

	for (i = 0; found && i < ncols; i++)
	{
		TupleDesc desc = SPI_tuptable->tupdesc;

		values[i] = SPI_getbinval(SPI_tuptable->vals[0], desc, i + 1, &nulls[i]);
		if (!nulls[i])
			values[i] = datumCopy(values[i], TupleDescAttr(desc, i)->attbyval,
								  TupleDescAttr(desc, i)->attlen);
	}
	SPI_freetuptable(SPI_tuptable);
	return found;
}

static void
execute_once(void *arg)
{
	const char *sql = arg;
	int result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "SPI_execute failed: %s: %s", SPI_result_code_string(result), sql);
}

void
idem_run_task(void *arg)
{
	IdemTask *task = arg;

	if (task->receiver && task->since)
		idem_run_since(task->statement, task->since, task->args, task->receiver);
	else if (task->receiver)
		idem_run_into(task->statement, task->args, task->receiver);
	else if (task->ncols == 0)
		task->processed = idem_run(task->statement, task->args, task->isnull);
	else
		task->processed = idem_fetch(task->statement, task->args, task->isnull, task->ncols, task->values, task->nulls);
}

void
idem_run_once(const char *sql)
{
	MemoryContext old = CurrentMemoryContext;

	idem_run_unseen(sql, execute_once, unconstify(char *, sql));
	MemoryContextSwitchTo(old);
}

void
idem_register_rows(const char *name, TupleDesc desc, Tuplestorestate *rows, double nrows)
{
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));
	int result;

	relation->md.name = pstrdup(name);
	relation->md.tupdesc = desc;
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = nrows;
	relation->reldata = rows;
	result = SPI_register_relation(relation);
	if (result != SPI_OK_REL_REGISTER)
		elog(ERROR, "SPI_register_relation failed: %s", SPI_result_code_string(result));
}

void
idem_unregister_rows(const char *name)
{
	(void) SPI_unregister_relation(name);
}
