/*
 * query.c
 *		Queries that a user wrote: source, audit and watermark.
 */
#include "postgres.h"

#include "executor/spi_priv.h"
#include "optimizer/optimizer.h"
#include "parser/parse_param.h"
#include "server/plan.h"
#include "server/query.h"
#include "server/statement.h"
#include "utils/plancache.h"

struct IdemQuery
{
	const char *what; /* "source" or "audit" */
	const char *text;
	Oid types[2]; /* of $1 and $2 */
	SPIPlanPtr plan;
};

/* Parser hook: $1 and $2 are the bounds, and literals may stay unknown. */
static void
setup_query_parser(ParseState *pstate, void *arg)
{
	IdemQuery *query = arg;

	setup_parse_fixed_parameters(pstate, query->types, lengthof(query->types));
	pstate->p_resolve_unknowns = false;
}

/*
 * Fails unless the query is a single one that only reads.  The text itself must be a
 * SELECT: a rule can make one of an INSERT, or leave nothing of it at all.
 */
static void
check_query(const IdemQuery *query)
{
	CachedPlanSource *source;
	Query *tree;

	if (list_length(query->plan->plancache_list) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("%s must be one query", query->what),
				 errdetail("It consists of %d statements.",
						   list_length(query->plan->plancache_list)),
				 errhint("Pass a single SELECT.")));
	source = linitial(query->plan->plancache_list);
	tree = list_length(source->query_list) == 1 ? linitial_node(Query, source->query_list) : NULL;
	if (source->raw_parse_tree == NULL || !IsA(source->raw_parse_tree->stmt, SelectStmt) ||
		tree == NULL || tree->commandType != CMD_SELECT || tree->hasModifyingCTE ||
		source->resultDesc == NULL)
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
	idem_drop_plan(&query->plan);
	options.parserSetup = setup_query_parser;
	options.parserSetupArg = query;
	options.cursorOptions = CURSOR_OPT_PARALLEL_OK;
	query->plan = idem_prepare_plan(query->text, &options, 0, NULL);
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
	idem_own_plan(&query->plan);
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
	return linitial_node(Query, plan_source(query)->query_list);
}

TupleDesc
idem_query_desc(IdemQuery *query)
{
	return plan_source(query)->resultDesc;
}

TupleDesc
idem_running_desc(const IdemQuery *query)
{
	return ((CachedPlanSource *) linitial(query->plan->plancache_list))->resultDesc;
}

bool
idem_is_volatile_query(IdemQuery *query)
{
	return contain_volatile_functions((Node *) idem_query_tree(query));
}

List *
idem_query_relations(IdemQuery *query)
{
	return plan_source(query)->relationOids;
}

void
idem_run_query(IdemQuery *query, Datum lower, Datum upper, Snapshot since,
			   DestReceiver *receiver, uint64 limit)
{
	SPIExecuteOptions options = {0};
	Datum args[] = {lower, upper};

	prepare_query(query);
	options.params = idem_make_params(lengthof(query->types), query->types, args);
	options.params->parserSetup = setup_query_parser;
	options.params->parserSetupArg = query;
	options.dest = receiver;
	options.tcount = limit;
	options.read_only = since != NULL;
	if (since)
		idem_enter_snapshot(since);
	idem_execute_plan(query->plan, &options, query->text);
	if (since)
		idem_leave_snapshot();
}

void
idem_start_receiver(DestReceiver *self, int operation, TupleDesc desc)
{
}

void
idem_keep_receiver(DestReceiver *self)
{
}
