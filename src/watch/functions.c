/*
 * functions.c
 *		idem_check_load() and idem_differences_load(): a check by a load's own arguments.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "load/call.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "watch/results.h"

PG_FUNCTION_INFO_V1(idem_check_load_text);
PG_FUNCTION_INFO_V1(idem_differences_load);

/* The arguments after those that a load has too; the last is the one's depth, the other's max_rows. */
enum
{
	ARG_VERSION_COLUMN = IDEM_ARG_PIPELINE + 1,
	ARG_TIME_ZONE,
	ARG_LAST,
};

/* Reads the arguments but the last. */
static IdemRequest
read_check(FunctionCallInfo fcinfo)
{
	IdemRequest request = idem_read_request(fcinfo, true);

	request.version_column = idem_text_argument(fcinfo, ARG_VERSION_COLUMN);
	request.identity.time_zone = idem_text_argument(fcinfo, ARG_TIME_ZONE);
	return request;
}

/* SQL: idem_check_load(…) */
Datum
idem_check_load_text(PG_FUNCTION_ARGS)
{
	IdemExpect expect = idem_expect_nothing;
	IdemRequest request;

	InitMaterializedSRF(fcinfo, 0);
	idem_connect(true);
	request = read_check(fcinfo);
	idem_read_expect(fcinfo, ARG_LAST + 1, &expect);
	idem_return_checks(fcinfo, &request, idem_read_depth(fcinfo, ARG_LAST), &expect);
	idem_finish();
	return (Datum) 0;
}

/* SQL: idem_differences_load(…) */
Datum
idem_differences_load(PG_FUNCTION_ARGS)
{
	IdemRequest request;

	InitMaterializedSRF(fcinfo, 0);
	idem_connect(true);
	request = read_check(fcinfo);
	idem_return_differences(fcinfo, &request, idem_read_max_rows(fcinfo, ARG_LAST));
	idem_finish();
	return (Datum) 0;
}
