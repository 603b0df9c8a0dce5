/*
 * functions.c
 *		idem_check_load() and idem_differences_load(): a check by a load's own arguments.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "id/keys.h"
#include "load/call.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "watch/results.h"

PG_FUNCTION_INFO_V1(idem_check_load_text);
PG_FUNCTION_INFO_V1(idem_differences_load);

/* The arguments, in order; the last is the one's depth, the other's max_rows. */
enum
{
	ARG_LEDGER,
	ARG_TARGET,
	ARG_SOURCE,
	ARG_WINDOW_RANGE,
	ARG_MODE,
	ARG_KEYS,
	ARG_WINDOW_COLUMN,
	ARG_PIPELINE,
	ARG_VERSION_COLUMN,
	ARG_TIME_ZONE,
	ARG_LAST,
};

/* Reads the arguments. */
static IdemRequest
read_request(FunctionCallInfo fcinfo)
{
	static const char *const needed[] = {"ledger", "target", "source"};
	static const char *const modes[] = {"upsert", "reload", NULL};
	IdemRequest request = {.schema = get_func_namespace(fcinfo->flinfo->fn_oid)};
	int arg;

	for (arg = ARG_LEDGER; arg <= ARG_SOURCE; arg++)
		idem_require_argument(fcinfo, arg, needed[arg]);
	request.ledger = PG_GETARG_OID(ARG_LEDGER);
	request.target = PG_GETARG_OID(ARG_TARGET);
	request.source = idem_text_argument(fcinfo, ARG_SOURCE);
	idem_read_window_argument(fcinfo, ARG_WINDOW_RANGE, true, &request);
	request.reload = idem_choice_argument(fcinfo, ARG_MODE, "mode", modes) == 1;
	if (!PG_ARGISNULL(ARG_KEYS))
		request.keys = idem_read_keys(PG_GETARG_ARRAYTYPE_P(ARG_KEYS), &request.nkeys);
	request.window_column = idem_text_argument(fcinfo, ARG_WINDOW_COLUMN);
	request.pipeline = idem_text_argument(fcinfo, ARG_PIPELINE);
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
	request = read_request(fcinfo);
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
	request = read_request(fcinfo);
	idem_return_differences(fcinfo, &request, idem_read_max_rows(fcinfo, ARG_LAST));
	idem_finish();
	return (Datum) 0;
}
