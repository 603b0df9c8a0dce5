/*
 * functions.c
 *		Pipelines defined by SQL: create, alter, drop, enable, disable, resume.
 *
 * A definition is checked as a load would be: all that can be wrong with it is an
 * error when it is made, not in the middle of the night.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/namespace.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "pipeline/due.h"
#include "pipeline/own.h"
#include "pipeline/pipeline.h"
#include "pipeline/right.h"
#include "pipeline/state.h"
#include "server/compat.h"
#include "server/extension.h"
#include "server/schedule.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "watch/monitor.h"

PG_FUNCTION_INFO_V1(idem_create_pipeline);
PG_FUNCTION_INFO_V1(idem_alter_pipeline);
PG_FUNCTION_INFO_V1(idem_drop_pipeline);
PG_FUNCTION_INFO_V1(idem_enable_pipeline);
PG_FUNCTION_INFO_V1(idem_disable_pipeline);
PG_FUNCTION_INFO_V1(idem_resume);

/* A thousand years of twelve months of thirty days, in microseconds. */
#define LONGEST_PAUSE (1000 * INT64CONST(360) * USECS_PER_DAY)

/* Fails for a definition that lacks something. */
static void
require_columns(const IdemPipelineRow *row)
{
	static const struct
	{
		int column;
		const char *hint;
	} required[] = {
		{PIPELINE_NAME, "Give the pipeline a name."},
		{PIPELINE_LEDGER, "Name the ledger; idem_create_ledger makes one."},
		{PIPELINE_TARGET, "Name the table to load."},
		{PIPELINE_SOURCE, "Pass a query that uses $1 and $2, or the name of a relation."},
		{PIPELINE_MODE, "Use 'upsert' or 'reload'."},
		{PIPELINE_STEP, "Pass the size of a window, for example step => '1 day'."},
		{PIPELINE_START, "Pass where the first window begins, for example start => '2024-01-01'."},
		{PIPELINE_ON_SCHEMA_CHANGE, "Use 'fail', 'append', 'notify' or 'ignore'."},
		{PIPELINE_MAX_DEAD, "Pass how many rows of a window may be dead, '1000', or how many of a hundred, '1%'."},
		{PIPELINE_NEWEST_FIRST, "Use true or false."},
		{PIPELINE_MAX_WINDOWS, "Pass how many windows may be loaded in one turn."},
		{PIPELINE_CHECK_EVERY, "Pass an interval."},
		{PIPELINE_RETRY_BASE, "Pass an interval."},
		{PIPELINE_RETRY_MAX, "Pass an interval."},
		{PIPELINE_MAX_ATTEMPTS, "Pass a number."},
		{PIPELINE_NOTIFY, "Use true or false."},
		{PIPELINE_ENABLED, "Use true or false."},
	};
	size_t i;

	for (i = 0; i < lengthof(required); i++)
	{
		if (row->nulls[required[i].column])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument %s must not be NULL", idem_pipeline_column(required[i].column)),
					 errhint("%s", required[i].hint)));
	}
}

/* Fails for a number that must be positive. */
static void
require_positive(const IdemPipeline *pipeline, int column, int64 value)
{
	if (value <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of pipeline \"%s\" must be positive",
						idem_pipeline_column(column), pipeline->name)));
}

/* Fails for a pause that is none, or ends after the last moment there is. */
static void
require_pause(const IdemPipeline *pipeline, int column, int64 microseconds)
{
	require_positive(pipeline, column, microseconds);
	if (microseconds > LONGEST_PAUSE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of pipeline \"%s\" is too long", idem_pipeline_column(column), pipeline->name),
				 errhint("Pass at most '1000 years'.")));
}

/* Fails for a pipeline that is to run by itself, whose owner may not have such. */
static void
require_runnable(const IdemPipeline *pipeline)
{
	if (!pipeline->enabled)
		return;
	idem_check_owner(pipeline);
	idem_check_may_run(pipeline->schema, pipeline->name, pipeline->identity.role);
}

void
idem_check_definition(const IdemPipelineRow *row)
{
	IdemPipeline *pipeline;
	size_t len;

	require_columns(row);
	pipeline = idem_make_pipeline(NULL, row);
	len = strlen(pipeline->name);

	if (len == 0 || len > IDEM_MAX_PIPELINE_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid pipeline name: \"%s\"", pipeline->name),
				 errhint("A name has 1 to %d bytes.", IDEM_MAX_PIPELINE_NAME)));
	if (strcmp(pipeline->mode, "upsert") != 0 && strcmp(pipeline->mode, "reload") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument mode: \"%s\"", pipeline->mode),
				 errhint("Use 'upsert' or 'reload'.")));
	require_positive(pipeline, PIPELINE_MAX_WINDOWS, pipeline->max_windows);
	require_pause(pipeline, PIPELINE_CHECK_EVERY, pipeline->check_every);
	if (pipeline->check_every < USECS_PER_SEC)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("check_every of pipeline \"%s\" is too short", pipeline->name),
				 errdetail("Each time takes a worker of those that all roles share."),
				 errhint("Pass at least '1 second'.")));
	require_pause(pipeline, PIPELINE_RETRY_BASE, pipeline->retry.base);
	require_pause(pipeline, PIPELINE_RETRY_MAX, pipeline->retry.max);
	require_positive(pipeline, PIPELINE_MAX_ATTEMPTS, pipeline->retry.max_attempts);
	if (pipeline->checks)
		idem_check_expected(idem_read_checks(pipeline->checks), pipeline->nkeys > 0);
}

/* Fails for a monitor that is none, or is not the owner's to write. */
static void
check_monitor_as(void *arg)
{
	const IdemPipeline *pipeline = arg;

	(void) idem_open_monitor(pipeline->monitor, get_namespace_oid(pipeline->schema, false));
}

static void
check_monitor(IdemPipeline *pipeline)
{
	IdemIdentity owner = {.role = pipeline->identity.role, .restricted = true};

	if (OidIsValid(pipeline->monitor))
		idem_run_as(&owner, check_monitor_as, pipeline);
}

/* Sets a column. */
static void
set_column(IdemPipelineRow *row, int column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

/* Checks a definition whose row is complete, and puts its start into the form it is stored in. */
static void
check_row(const char *schema, IdemPipelineRow *row)
{
	IdemPipeline *pipeline;

	idem_check_definition(row);
	pipeline = idem_make_pipeline(schema, row);
	idem_check_owner(pipeline);
	idem_check_relations(pipeline);
	require_runnable(pipeline);
	check_monitor(pipeline);
	set_column(row, PIPELINE_START, CStringGetTextDatum(idem_check_schedule(pipeline)));
}

/* Says in which database of which cluster a pipeline is at home. */
static void
set_home(IdemPipelineRow *row)
{
	set_column(row, PIPELINE_SYSTEM_IDENTIFIER, Int64GetDatum((int64) GetSystemIdentifier()));
	set_column(row, PIPELINE_DATABASE, ObjectIdGetDatum(MyDatabaseId));
}

/* Sets a text column to the session's value of a setting. */
static void
set_setting(IdemPipelineRow *row, int column, const char *setting)
{
	set_column(row, column, CStringGetTextDatum(GetConfigOption(setting, false, false)));
}

/* Says where the names in its queries are to be looked up: as now. */
static void
set_search_path(IdemPipelineRow *row)
{
	set_setting(row, PIPELINE_SEARCH_PATH, "search_path");
}

/* Enters SPI to change what is kept of pipelines. */
static void
begin_writing(void)
{
	idem_require_writable("change pipelines");
	idem_connect(true);
}

/* SQL: idem_create_pipeline(name, ledger, target, source, mode, …) */
Datum
idem_create_pipeline(PG_FUNCTION_ARGS)
{
	char *schema = idem_function_schema(fcinfo);
	IdemPipelineRow row;
	int i;

	for (i = 0; i < PIPELINE_ARGUMENTS; i++)
	{
		row.values[i] = PG_GETARG_DATUM(i);
		row.nulls[i] = PG_ARGISNULL(i);
	}
	if (row.nulls[PIPELINE_TIME_ZONE])
		set_column(&row, PIPELINE_TIME_ZONE, CStringGetTextDatum(pg_get_timezone_name(session_timezone)));
	set_column(&row, PIPELINE_OWNER, ObjectIdGetDatum(GetUserId()));
	set_search_path(&row);
	set_setting(&row, PIPELINE_DATE_STYLE, "datestyle");
	set_setting(&row, PIPELINE_INTERVAL_STYLE, "intervalstyle");
	set_home(&row);
	begin_writing();
	check_row(schema, &row);
	idem_insert_pipeline_row(schema, &row);
	idem_schedule_checks(schema, TextDatumGetCString(row.values[PIPELINE_NAME]));
	idem_finish();
	idem_wake_at_end();
	PG_RETURN_VOID();
}

/* True for a text argument that is empty, or a relation that is none: the column is to become NULL. */
static bool
is_removal(FunctionCallInfo fcinfo, int column)
{
	switch (column)
	{
		case PIPELINE_WINDOW_COLUMN:
		case PIPELINE_LAG:
		case PIPELINE_LOOKBACK:
		case PIPELINE_WATERMARK:
		case PIPELINE_VERSION_COLUMN:
		case PIPELINE_AUDIT:
			return VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(column)) == 0;
		case PIPELINE_MONITOR:
		case PIPELINE_DEAD_LETTERS:
			return !OidIsValid(PG_GETARG_OID(column));
		default:
			return false;
	}
}

/* SQL: idem_alter_pipeline(name, …): what is NULL stays, an empty text removes */
Datum
idem_alter_pipeline(PG_FUNCTION_ARGS)
{
	char *schema = idem_function_schema(fcinfo);
	IdemPipelineRow row;
	int i;

	if (PG_ARGISNULL(PIPELINE_NAME))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument name must not be NULL")));
	begin_writing();
	idem_read_pipeline_row(schema, text_to_cstring(PG_GETARG_TEXT_PP(PIPELINE_NAME)), true, &row);
	for (i = PIPELINE_LEDGER; i < PIPELINE_ARGUMENTS; i++)
	{
		if (PG_ARGISNULL(i))
			continue;
		row.values[i] = PG_GETARG_DATUM(i);
		row.nulls[i] = is_removal(fcinfo, i);
	}
	if (!PG_ARGISNULL(PIPELINE_SOURCE) || !PG_ARGISNULL(PIPELINE_WATERMARK) ||
		!PG_ARGISNULL(PIPELINE_AUDIT))
		set_search_path(&row);
	check_row(schema, &row);
	idem_update_pipeline_row(schema, &row);
	idem_schedule_checks(schema, TextDatumGetCString(row.values[PIPELINE_NAME]));
	idem_finish();
	idem_wake_at_end();
	PG_RETURN_VOID();
}

/* SQL: idem_drop_pipeline(name): the definition goes, ledger and target stay */
Datum
idem_drop_pipeline(PG_FUNCTION_ARGS)
{
	begin_writing();
	idem_delete_pipeline_row(idem_function_schema(fcinfo), text_to_cstring(PG_GETARG_TEXT_PP(0)));
	idem_finish();
	PG_RETURN_VOID();
}

/* Switches a pipeline on or off, without checking it. */
static Datum
set_enabled(FunctionCallInfo fcinfo, bool enabled)
{
	char *schema = idem_function_schema(fcinfo);
	IdemPipelineRow row;

	begin_writing();
	idem_read_pipeline_row(schema, text_to_cstring(PG_GETARG_TEXT_PP(0)), true, &row);
	set_column(&row, PIPELINE_ENABLED, BoolGetDatum(enabled));
	require_runnable(idem_make_pipeline(schema, &row));
	idem_update_pipeline_row(schema, &row);
	idem_schedule_checks(schema, TextDatumGetCString(row.values[PIPELINE_NAME]));
	idem_finish();
	idem_wake_at_end();
	PG_RETURN_VOID();
}

/* SQL: idem_enable_pipeline(name) */
Datum
idem_enable_pipeline(PG_FUNCTION_ARGS)
{
	return set_enabled(fcinfo, true);
}

/* SQL: idem_disable_pipeline(name) */
Datum
idem_disable_pipeline(PG_FUNCTION_ARGS)
{
	return set_enabled(fcinfo, false);
}

/* SQL: idem_resume(): the pipelines of a restored or cloned database may run here */
Datum
idem_resume(PG_FUNCTION_ARGS)
{
	int64 resumed;

	begin_writing();
	resumed = idem_adopt_pipelines(idem_function_schema(fcinfo));
	idem_finish();
	idem_wake_at_end();
	PG_RETURN_INT64(resumed);
}
