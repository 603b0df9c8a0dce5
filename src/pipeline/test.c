/*
 * test.c
 *		idem_test_rerun() and its like: is a pipeline idempotent?
 *
 * Source, ledger and target are its owner's code: they run as he, and only for who may
 * become him.
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "load/call.h"
#include "nodes/execnodes.h"
#include "pipeline/pipeline.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "watch/rehearsal.h"

PG_FUNCTION_INFO_V1(idem_test_rerun);
PG_FUNCTION_INFO_V1(idem_test_overlap);
PG_FUNCTION_INFO_V1(idem_test_split);
PG_FUNCTION_INFO_V1(idem_test_order);
PG_FUNCTION_INFO_V1(idem_test_all);

/* Adds a check to the result. */
static void
put_trial(void *arg, const char *check, bool ok, const char *detail)
{
	ReturnSetInfo *rsinfo = arg;
	Datum values[] = {CStringGetTextDatum(check), BoolGetDatum(ok), 0};
	bool nulls[] = {false, false, detail == NULL};

	if (detail)
		values[2] = CStringGetTextDatum(detail);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Tests what the first two arguments name; the step is that of an argument, or else the pipeline's. */
static Datum
test_pipeline(FunctionCallInfo fcinfo, int trials, int overlap, int step)
{
	IdemPipeline *pipeline;
	IdemRequest request;
	IdemRehearsal rehearsal = {&request, trials};

	InitMaterializedSRF(fcinfo, 0);
	idem_connect(true);
	idem_require_argument(fcinfo, 1, "window_range");
	pipeline = idem_argument_pipeline(fcinfo);
	request = idem_pipeline_request(pipeline);
	idem_request_window(pipeline, fcinfo, 1, true, &request);
	rehearsal.step = step > 0 ? idem_text_argument(fcinfo, step) : NULL;
	if (rehearsal.step == NULL)
		rehearsal.step = pipeline->step;
	rehearsal.overlap = overlap > 0 ? idem_text_argument(fcinfo, overlap) : NULL;
	if (rehearsal.overlap == NULL)
		rehearsal.overlap = pipeline->step;
	idem_rehearse(&rehearsal, put_trial, castNode(ReturnSetInfo, fcinfo->resultinfo));
	idem_finish();
	return (Datum) 0;
}

/* SQL: idem_test_rerun(pipeline text, window_range text) */
Datum
idem_test_rerun(PG_FUNCTION_ARGS)
{
	return test_pipeline(fcinfo, IDEM_TRIAL_RERUN, 0, 0);
}

/* SQL: idem_test_overlap(pipeline text, window_range text, overlap text) */
Datum
idem_test_overlap(PG_FUNCTION_ARGS)
{
	return test_pipeline(fcinfo, IDEM_TRIAL_OVERLAP, 2, 0);
}

/* SQL: idem_test_split(pipeline text, window_range text, step text) */
Datum
idem_test_split(PG_FUNCTION_ARGS)
{
	return test_pipeline(fcinfo, IDEM_TRIAL_SPLIT, 0, 2);
}

/* SQL: idem_test_order(pipeline text, window_range text, step text) */
Datum
idem_test_order(PG_FUNCTION_ARGS)
{
	return test_pipeline(fcinfo, IDEM_TRIAL_ORDER, 0, 2);
}

/* SQL: idem_test_all(pipeline text, window_range text, overlap text, step text) */
Datum
idem_test_all(PG_FUNCTION_ARGS)
{
	return test_pipeline(fcinfo, IDEM_TRIAL_STATIC | IDEM_TRIAL_RERUN | IDEM_TRIAL_OVERLAP | IDEM_TRIAL_SPLIT | IDEM_TRIAL_ORDER, 2, 3);
}
