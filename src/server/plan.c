/*
 * plan.c
 *		Plans that SPI keeps: what idem's statements and the user's queries share.
 *
 * Plans are kept (SPI_keepplan), because only kept plans notice that a table has
 * changed, and freed by a callback of the memory context they belong to, so that
 * an error frees them too.
 */
#include "postgres.h"

#include "server/plan.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

void
idem_drop_plan(SPIPlanPtr *plan)
{
	if (*plan != NULL)
		(void) SPI_freeplan(*plan);
	*plan = NULL;
}

/* Memory context callback of idem_drop_plan. */
static void
drop_plan_callback(void *arg)
{
	idem_drop_plan(arg);
}

void
idem_own_plan(SPIPlanPtr *plan)
{
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	callback->func = drop_plan_callback;
	callback->arg = plan;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
}

/*
 * Between a commit and the next command there is no
 * snapshot, and parse analysis may run functions that want one.
 */
SPIPlanPtr
idem_prepare_plan(const char *text, const SPIPrepareOptions *options, int nargs, Oid *types)
{
	MemoryContext old = CurrentMemoryContext;
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
	MemoryContextSwitchTo(old);
	return plan;
}

ParamListInfo
idem_make_params(int n, const Oid *types, const Datum *values)
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

void
idem_execute_plan(SPIPlanPtr plan, const SPIExecuteOptions *options, const char *text)
{
	MemoryContext old = CurrentMemoryContext;
	int result = SPI_execute_plan_extended(plan, options);

	MemoryContextSwitchTo(old);
	if (result < 0)
		elog(ERROR, "could not run: %s: %s", SPI_result_code_string(result), text);
}
