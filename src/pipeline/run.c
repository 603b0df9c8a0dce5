/*
 * run.c
 *		Pipelines run by SQL: idem_run_pipeline, idem_load_window(pipeline => …) and
 *		idem_retry.
 */
#include "postgres.h"

#include "fmgr.h"
#include "ledger/table.h"
#include "load/call.h"
#include "pipeline/due.h"
#include "pipeline/pipeline.h"
#include "pipeline/state.h"
#include "server/schedule.h"
#include "server/scope.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rangetypes.h"

PG_FUNCTION_INFO_V1(idem_run_pipeline);
PG_FUNCTION_INFO_V1(idem_load_pipeline_window);
PG_FUNCTION_INFO_V1(idem_load_pipeline_window_text);
PG_FUNCTION_INFO_V1(idem_retry);

/* SQL: CALL idem_run_pipeline(pipeline) */
Datum
idem_run_pipeline(PG_FUNCTION_ARGS)
{
	bool atomic = idem_call_is_atomic(fcinfo);
	IdemPipeline *pipeline;
	IdemSummary summary;

	idem_require_writable("load");
	idem_connect(atomic);
	pipeline = idem_argument_pipeline(fcinfo);
	idem_run_by_hand(pipeline, atomic, &summary);
	if (summary.loaded > 0)
		idem_wake_checks(pipeline);
	idem_notice_summary(&summary, atomic);
	idem_finish();
	return (Datum) 0;
}

/* CALL idem_load_window(pipeline, window_range, force, on_busy), in both forms */
static Datum
load_pipeline_window(FunctionCallInfo fcinfo, bool is_text)
{
	bool atomic = idem_call_is_atomic(fcinfo);
	IdemPipeline *pipeline;
	IdemRequest request;
	IdemSummary summary;

	idem_connect(atomic);
	pipeline = idem_argument_pipeline(fcinfo);
	request = idem_pipeline_request(pipeline);
	request.step = pipeline->step;
	request.grid_start = pipeline->start;
	idem_request_window(pipeline, fcinfo, 1, is_text, &request);
	request.force = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	request.on_busy = idem_read_on_busy(fcinfo, 3);
	idem_run_load(&request, atomic, NULL, NULL, &summary);
	if (summary.loaded > 0)
		idem_wake_checks(pipeline);
	idem_notice_summary(&summary, atomic);
	idem_finish();
	return (Datum) 0;
}

/* SQL: the window as a range */
Datum
idem_load_pipeline_window(PG_FUNCTION_ARGS)
{
	return load_pipeline_window(fcinfo, false);
}

/* SQL: the window as text */
Datum
idem_load_pipeline_window_text(PG_FUNCTION_ARGS)
{
	return load_pipeline_window(fcinfo, true);
}

/* The range that an optional text argument names, or all there is. */
static Datum
optional_range(FunctionCallInfo fcinfo, int arg, const IdemPipeline *pipeline)
{
	return idem_read_typed_window(pipeline, PG_ARGISNULL(arg) ? "(,)" : text_to_cstring(PG_GETARG_TEXT_PP(arg)));
}

/* Failures to be forgotten, as an argument of idem_run_as. */
typedef struct Forgetting
{
	const IdemPipeline *pipeline;
	Datum range;
	int64 forgotten;
} Forgetting;

static void
forget_failures_as(void *arg)
{
	Forgetting *forgetting = arg;
	const IdemPipeline *pipeline = forgetting->pipeline;
	IdemLedger *ledger = idem_open_ledger(pipeline->ledger, idem_pipeline_request(pipeline).schema, true);

	forgetting->forgotten = idem_forget_failures(ledger, pipeline->name, forgetting->range);
}

/* SQL: idem_retry(pipeline, window_range): forget failures, and try again at once */
Datum
idem_retry(PG_FUNCTION_ARGS)
{
	IdemPipeline *pipeline;
	Forgetting forgetting;

	idem_connect(true);
	pipeline = idem_argument_pipeline(fcinfo);
	forgetting = (Forgetting){pipeline, optional_range(fcinfo, 1, pipeline), 0};
	idem_run_as(&pipeline->identity, forget_failures_as, &forgetting);
	idem_wake_pipeline(pipeline->schema, pipeline->name);
	idem_finish();
	PG_RETURN_INT64(forgetting.forgotten);
}
