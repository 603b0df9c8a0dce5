/*
 * check.c
 *		idem_check() and idem_differences(): is what a pipeline has loaded still right?
 *
 * Source and ledger are its owner's code: they run as he, and only for who may become him.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "load/call.h"
#include "pipeline/pipeline.h"
#include "server/transaction.h"
#include "watch/results.h"

PG_FUNCTION_INFO_V1(idem_check);
PG_FUNCTION_INFO_V1(idem_differences);

/* What is to be checked: the pipeline that the first argument names, the window that the second does. */
static IdemRequest
read_request(FunctionCallInfo fcinfo)
{
	IdemPipeline *pipeline = idem_argument_pipeline(fcinfo);
	IdemRequest request = idem_pipeline_request(pipeline);

	idem_request_window(pipeline, fcinfo, 1, true, &request);
	return request;
}

/* SQL: idem_check(pipeline text, window_range text, depth text, fanout text, …) */
Datum
idem_check(PG_FUNCTION_ARGS)
{
	IdemExpect expect = idem_expect_nothing;
	IdemRequest request;

	InitMaterializedSRF(fcinfo, 0);
	idem_connect(true);
	request = read_request(fcinfo);
	idem_read_expect(fcinfo, 3, &expect);
	idem_return_checks(fcinfo, &request, idem_read_depth(fcinfo, 2), &expect);
	idem_finish();
	return (Datum) 0;
}

/* SQL: idem_differences(pipeline text, window_range text, max_rows bigint) */
Datum
idem_differences(PG_FUNCTION_ARGS)
{
	IdemRequest request;

	InitMaterializedSRF(fcinfo, 0);
	idem_connect(true);
	request = read_request(fcinfo);
	idem_return_differences(fcinfo, &request, idem_read_max_rows(fcinfo, 2));
	idem_finish();
	return (Datum) 0;
}
