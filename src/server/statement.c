/*
 * statement.c
 *		The only place that runs SQL: prepare, run, expect.
 *
 * Plans are kept (SPI_keepplan), because only kept plans notice that a table has
 * changed, and freed by a callback of the memory context they belong to, so that
 * an error frees them too.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "executor/spi_priv.h"
#include "parser/parse_param.h"
#include "server/statement.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

struct IdemStatement
{
	const char *sql;
	int nargs;
	Oid types[IDEM_MAX_ARGS];
	IdemSnapshot snapshot;
	SPIPlanPtr plan;
	int64 rows;	  /* for which it was planned */
	int64 growth; /* after which it was planned */
};

struct IdemQuery
{
	const char *what; /* "source" or "audit" */
	const char *text;
	Oid types[2]; /* of $1 and $2 */
	SPIPlanPtr plan;
};

void
idem_connect(bool atomic)
{
	if (SPI_connect_ext(atomic ? 0 : SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

void
idem_finish(void)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/* Whether this process has no portal, and so keeps a snapshot itself. */
static bool keeps_snapshot = false;

void
idem_keep_snapshot(void)
{
	keeps_snapshot = true;
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
idem_drop_snapshot(void)
{
	keeps_snapshot = false;
	PopActiveSnapshot();
}

/* Ends the transaction and begins another one, which there is also after an error. */
static void
end_transaction(void (*end)(void))
{
	if (keeps_snapshot)
		PopActiveSnapshot();
	PG_TRY();
	{
		end();
	}
	PG_FINALLY();
	{
		if (keeps_snapshot)
			PushActiveSnapshot(GetTransactionSnapshot());
	}
	PG_END_TRY();
}

void
idem_commit(void)
{
	end_transaction(SPI_commit);
}

void
idem_rollback(void)
{
	end_transaction(SPI_rollback);
}

char *
idem_qualified_name(Relation rel)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
									  RelationGetRelationName(rel));
}

ErrorData *
idem_try(void (*work)(void *arg), void *arg, MemoryContext context)
{
	ErrorData *volatile error = NULL;
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(old);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return error;
}

/* Frees a plan, if there is one. */
static void
drop_plan(SPIPlanPtr *plan)
{
	if (*plan != NULL)
		SPI_freeplan(*plan);
	*plan = NULL;
}

/* Memory context callback of drop_plan. */
static void
drop_plan_callback(void *arg)
{
	drop_plan(arg);
}

/* Sees to it that a plan is freed with the current memory context. */
static void
own_plan(SPIPlanPtr *plan)
{
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	callback->func = drop_plan_callback;
	callback->arg = plan;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
}

/*
 * Prepares and keeps a plan.  Between a commit and the next command there is no
 * snapshot, and parse analysis may run functions that want one.
 */
static SPIPlanPtr
prepare_plan(const char *text, const SPIPrepareOptions *options, int nargs, Oid *types)
{
	bool pushed = !ActiveSnapshotSet();
	SPIPlanPtr plan;

	if (pushed)
		PushActiveSnapshot(GetTransactionSnapshot());
	plan = options ? SPI_prepare_extended(text, options) : SPI_prepare(text, nargs, types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s: %s", SPI_result_code_string(SPI_result), text);
	SPI_keepplan(plan);
	if (pushed)
		PopActiveSnapshot();
	return plan;
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
	own_plan(&statement->plan);
	return statement;
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
	drop_plan(&statement->plan);
	statement->rows = rows;
	statement->growth = growth;
}

/* Makes a parameter list of values that are not NULL. */
static ParamListInfo
make_params(int n, const Oid *types, const Datum *values)
{
	ParamListInfo params = makeParamList(n);
	int i;

	for (i = 0; i < n; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = types[i];
	}
	return params;
}

/* Prepares a statement, unless it is prepared and valid. */
static void
prepare_statement(IdemStatement *statement)
{
	if (statement->plan && !SPI_plan_is_valid(statement->plan))
		drop_plan(&statement->plan);
	if (statement->plan == NULL)
		statement->plan = prepare_plan(statement->sql, NULL, statement->nargs,
									   statement->types);
}

/* Runs a statement; its rows, if any, are in SPI_tuptable. */
static uint64
run_statement(IdemStatement *statement, const Datum *args, const bool *isnull)
{
	char nulls[IDEM_MAX_ARGS];
	int i;
	int result;

	prepare_statement(statement);
	for (i = 0; i < statement->nargs; i++)
		nulls[i] = isnull && isnull[i] ? 'n' : ' ';
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
	return SPI_processed;
}

uint64
idem_run(IdemStatement *statement, const Datum *args, const bool *isnull)
{
	uint64 processed = run_statement(statement, args, isnull);

	SPI_freetuptable(SPI_tuptable);
	return processed;
}

void
idem_run_into(IdemStatement *statement, const Datum *args, DestReceiver *receiver)
{
	SPIExecuteOptions options = {0};
	int result;

	prepare_statement(statement);
	options.params = make_params(statement->nargs, statement->types, args);
	options.dest = receiver;
	result = SPI_execute_plan_extended(statement->plan, &options);
	if (result < 0)
		elog(ERROR, "could not run statement: %s: %s",
			 SPI_result_code_string(result), statement->sql);
}

void
idem_keep_receiver(DestReceiver *self)
{
}

bool
idem_fetch(IdemStatement *statement, const Datum *args, const bool *isnull,
		   int ncols, Datum *values, bool *nulls)
{
	bool found = run_statement(statement, args, isnull) > 0;
	int i;

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

void
idem_run_once(const char *sql)
{
	int result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "SPI_execute failed: %s: %s", SPI_result_code_string(result), sql);
}

/* Parser hook: $1 and $2 are the bounds, and literals may stay unknown. */
static void
setup_query_parser(ParseState *pstate, void *arg)
{
	IdemQuery *query = arg;

	setup_parse_fixed_parameters(pstate, query->types, lengthof(query->types));
	pstate->p_resolve_unknowns = false;
}

/* Fails unless the query is a single one that only reads. */
static void
check_query(IdemQuery *query)
{
	Query *tree;

	if (list_length(query->plan->plancache_list) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("%s must be one query", query->what),
				 errdetail("It consists of %d statements.",
						   list_length(query->plan->plancache_list)),
				 errhint("Pass a single SELECT.")));
	tree = idem_query_tree(query);
	if (tree->commandType != CMD_SELECT || tree->hasModifyingCTE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s must not write", query->what),
				 errhint("Pass a SELECT without INSERT, UPDATE, DELETE or INTO.")));
}

/* Prepares a query, unless it is prepared and valid. */
static void
prepare_query(IdemQuery *query)
{
	SPIPrepareOptions options = {0};

	if (query->plan && SPI_plan_is_valid(query->plan))
		return;
	drop_plan(&query->plan);
	options.parserSetup = setup_query_parser;
	options.parserSetupArg = query;
	options.cursorOptions = CURSOR_OPT_PARALLEL_OK;
	query->plan = prepare_plan(query->text, &options, 0, NULL);
	check_query(query);
}

IdemQuery *
idem_make_query(const char *what, const char *text, Oid bound)
{
	IdemQuery *query = palloc0(sizeof(IdemQuery));

	query->what = what;
	query->text = text;
	query->types[0] = bound;
	query->types[1] = bound;
	own_plan(&query->plan);
	prepare_query(query);
	return query;
}

/* The server's entry for a query. */
static CachedPlanSource *
plan_source(IdemQuery *query)
{
	prepare_query(query);
	return linitial(SPI_plan_get_plan_sources(query->plan));
}

Query *
idem_query_tree(IdemQuery *query)
{
	/* called by check_query, so it must not prepare */
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(query->plan));

	return linitial_node(Query, source->query_list);
}

TupleDesc
idem_query_desc(IdemQuery *query)
{
	return plan_source(query)->resultDesc;
}

List *
idem_query_relations(IdemQuery *query)
{
	return plan_source(query)->relationOids;
}

void
idem_run_query(IdemQuery *query, Datum lower, Datum upper,
			   DestReceiver *receiver, uint64 limit)
{
	SPIExecuteOptions options = {0};
	Datum args[] = {lower, upper};
	int result;

	prepare_query(query);
	options.params = make_params(lengthof(query->types), query->types, args);
	options.params->parserSetup = setup_query_parser;
	options.params->parserSetupArg = query;
	options.dest = receiver;
	options.tcount = limit;
	result = SPI_execute_plan_extended(query->plan, &options);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s: %s",
			 SPI_result_code_string(result), query->text);
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
