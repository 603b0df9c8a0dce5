/*
 * pipeline.c
 *		Pipelines: loads that are stored under a name.
 *
 * Ledger and target are stored by OID, so that they can be renamed; what the source
 * and the other queries name is looked up each time under the search_path that its
 * owner had when he wrote them, as a function's body with SET search_path would be; and
 * so are dates and intervals read under his DateStyle and IntervalStyle.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "id/keys.h"
#include "ledger/table.h"
#include "load/call.h"
#include "pipeline/frontier.h"
#include "pipeline/own.h"
#include "pipeline/pipeline.h"
#include "server/compat.h"
#include "server/extension.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

static const struct
{
	const char *name;
	Oid type;
} columns[] = {
	{"name", TEXTOID},
	{"ledger", REGCLASSOID},
	{"target", REGCLASSOID},
	{"source", TEXTOID},
	{"mode", TEXTOID},
	{"keys", TEXTARRAYOID},
	{"window_column", TEXTOID},
	{"step", TEXTOID},
	{"start", TEXTOID},
	{"time_zone", TEXTOID},
	{"lag", TEXTOID},
	{"lookback", TEXTOID},
	{"watermark", TEXTOID},
	{"version_column", TEXTOID},
	{"audit", TEXTOID},
	{"on_schema_change", TEXTOID},
	{"dead_letters", REGCLASSOID},
	{"max_dead", TEXTOID},
	{"newest_first", BOOLOID},
	{"max_windows", INT4OID},
	{"check_every", INTERVALOID},
	{"retry_base", INTERVALOID},
	{"retry_max", INTERVALOID},
	{"max_attempts", INT4OID},
	{"notify", BOOLOID},
	{"monitor", REGCLASSOID},
	{"checks", JSONBOID},
	{"enabled", BOOLOID},
	{"owner", REGROLEOID},
	{"search_path", TEXTOID},
	{"date_style", TEXTOID},
	{"interval_style", TEXTOID},
	{"system_identifier", INT8OID},
	{"database_oid", OIDOID},
};

StaticAssertDecl(lengthof(columns) == PIPELINE_COLUMNS, "a column's name and type is missing");

const char *
idem_pipeline_column(int column)
{
	return columns[column].name;
}

/* True for a column that names something, and is stored as idem_relation or idem_role. */
static bool
is_name(int column)
{
	return columns[column].type == REGCLASSOID || columns[column].type == REGROLEOID;
}

char *
idem_pipeline_value(const char *table, int column)
{
	return psprintf("%s.%s%s", table, columns[column].name, is_name(column) ? "::pg_catalog.oid" : "");
}

/* The types of a row's columns, in their order. */
static const Oid *
row_types(void)
{
	static Oid types[PIPELINE_COLUMNS];
	int i;

	for (i = 0; i < PIPELINE_COLUMNS; i++)
		types[i] = columns[i].type;
	return types;
}

static const Oid name_types[] = {TEXTOID};

/* Fails for a pipeline that is not there, or not to be seen. */
static void
report_missing(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("pipeline \"%s\" does not exist", name),
			 errdetail("There is none of this name that you own."),
			 errhint("SELECT name FROM idem_pipeline shows yours; idem_create_pipeline makes one.")));
}

/* Reads the row of a pipeline that is the current role's, locked as it says. */
static void
read_row(const char *schema, const char *name, const char *locking, IdemPipelineRow *row)
{
	StringInfoData sql;
	Datum args[] = {CStringGetTextDatum(name)};
	int i;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	for (i = 0; i < PIPELINE_COLUMNS; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", idem_pipeline_value("p", i));
	appendStringInfo(&sql, " FROM @.idem_pipeline p WHERE p.name OPERATOR(pg_catalog.=) $1%s", locking);
	if (!idem_fetch_own(schema, sql.data, lengthof(name_types), name_types, args, NULL,
						PIPELINE_COLUMNS, row->values, row->nulls) ||
		!idem_may_act_as(DatumGetObjectId(row->values[PIPELINE_OWNER])))
		report_missing(name);
}

/*
 * Whose it is, is asked before the row is locked, and again afterwards: a role that has no
 * business with it neither waits for its owner nor has him wait.
 */
void
idem_read_pipeline_row(const char *schema, const char *name, bool lock, IdemPipelineRow *row)
{
	read_row(schema, name, "", row);
	if (lock)
		read_row(schema, name, " FOR NO KEY UPDATE", row);
}

/* Whether a row is being inserted here, and not by somebody who restores a dump. */
static bool inserting = false;

bool
idem_inserts_pipeline(void)
{
	return inserting;
}

static uint64
run_insertion(const char *schema, const char *template, int nargs, const Oid *types, const Datum *args,
			  const bool *isnull)
{
	uint64 inserted;

	inserting = true;
	PG_TRY();
	{
		inserted = idem_run_own(schema, template, nargs, types, args, isnull);
	}
	PG_FINALLY();
	{
		inserting = false;
	}
	PG_END_TRY();
	return inserted;
}

bool
idem_insert_stored_row(const char *schema, const Oid *types, const Datum *values, const bool *nulls)
{
	StringInfoData sql;
	int i;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "INSERT INTO @.idem_pipeline (");
	for (i = 0; i < PIPELINE_COLUMNS; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", columns[i].name);
	appendStringInfoString(&sql, ") VALUES (");
	for (i = 0; i < PIPELINE_COLUMNS; i++)
		appendStringInfo(&sql, "%s$%d", i > 0 ? ", " : "", i + 1);
	appendStringInfoString(&sql, ") ON CONFLICT (name) DO NOTHING");
	return run_insertion(schema, sql.data, PIPELINE_COLUMNS, types, values, nulls) > 0;
}

void
idem_insert_pipeline_row(const char *schema, const IdemPipelineRow *row)
{
	StringInfoData sql;
	int i;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "WITH new AS (INSERT INTO @.idem_pipeline (");
	for (i = 0; i < PIPELINE_COLUMNS; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", columns[i].name);
	appendStringInfoString(&sql, ") VALUES (");
	for (i = 0; i < PIPELINE_COLUMNS; i++)
		appendStringInfo(&sql, "%s$%d", i > 0 ? ", " : "", i + 1);
	appendStringInfoString(&sql, ") ON CONFLICT (name) DO NOTHING RETURNING name, owner_id, enabled)"
								 " INSERT INTO @.idem_pipeline_state (name, owner, next_run_at)"
								 " SELECT n.name, n.owner_id, CASE WHEN n.enabled THEN pg_catalog.clock_timestamp() END FROM new n");
	if (run_insertion(schema, sql.data, PIPELINE_COLUMNS, row_types(), row->values, row->nulls) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("pipeline \"%s\" already exists",
						TextDatumGetCString(row->values[PIPELINE_NAME])),
				 errhint("Change it with idem_alter_pipeline, or take another name.")));
}

/* Adds the assignment of a column; of what is not there, the name stays. */
static void
append_assignment(StringInfo sql, int column)
{
	const char *name = columns[column].name;

	appendStringInfoString(sql, column > PIPELINE_LEDGER ? ", " : " ");
	if (is_name(column))
		appendStringInfo(sql, "%s = CASE WHEN $%d OPERATOR(pg_catalog.=) 0::pg_catalog.oid THEN %s ELSE @.%s($%d) END", name,
						 column + 1, name, columns[column].type == REGROLEOID ? "idem_role" : "idem_relation",
						 column + 1);
	else
		appendStringInfo(sql, "%s = $%d", name, column + 1);
}

void
idem_update_pipeline_row(const char *schema, const IdemPipelineRow *row)
{
	StringInfoData sql;
	int i;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "WITH new AS (UPDATE @.idem_pipeline SET");
	for (i = PIPELINE_LEDGER; i < PIPELINE_COLUMNS; i++)
		append_assignment(&sql, i);
	appendStringInfoString(&sql, " WHERE name OPERATOR(pg_catalog.=) $1 RETURNING name, enabled),"
								 " due AS (UPDATE @.idem_pipeline_state s SET"
								 " next_run_at = CASE WHEN n.enabled THEN pg_catalog.clock_timestamp() END, last_error = NULL, " IDEM_FORGET_FRONTIER("s.")
								 " FROM new n WHERE s.name OPERATOR(pg_catalog.=) n.name)"
								 " SELECT FROM new");
	if (idem_run_own(schema, sql.data, PIPELINE_COLUMNS, row_types(), row->values, row->nulls) == 0)
		report_missing(TextDatumGetCString(row->values[PIPELINE_NAME]));
}

void
idem_delete_pipeline_row(const char *schema, const char *name)
{
	Datum args[] = {CStringGetTextDatum(name)};
	IdemPipelineRow row;

	idem_read_pipeline_row(schema, name, true, &row);
	(void) idem_run_own(schema, "DELETE FROM @.idem_pipeline WHERE name OPERATOR(pg_catalog.=) $1",
						lengthof(name_types), name_types, args, NULL);
}

/* A text column, NULL if it is. */
static char *
row_text(const IdemPipelineRow *row, int column)
{
	return row->nulls[column] ? NULL : TextDatumGetCString(row->values[column]);
}

/* An interval in microseconds, or as much of it as fits; a month has thirty days. */
static int64
row_microseconds(const IdemPipelineRow *row, int column)
{
	const Interval *interval = DatumGetIntervalP(row->values[column]);
	int64 days = interval->day + INT64CONST(30) * interval->month;
	int64 result;

	if (pg_mul_s64_overflow(days, USECS_PER_DAY, &result))
		return days > 0 ? PG_INT64_MAX : PG_INT64_MIN;
	if (pg_add_s64_overflow(result, interval->time, &result))
		return interval->time > 0 ? PG_INT64_MAX : PG_INT64_MIN;
	return result;
}

/* Adds a value to a hash; NULL has one of its own. */
static uint64
hash_column(const IdemPipelineRow *row, int column, uint64 hash)
{
	Datum value = row->values[column];
	int16 length;
	bool by_value;

	if (row->nulls[column])
		return hash_combine64(hash, 1);
	get_typlenbyval(columns[column].type, &length, &by_value);
	if (by_value)
		return hash_combine64(hash, hash_bytes_uint32_extended((uint32) value, (uint64) value >> 32));
	if (length > 0)
		return hash_combine64(hash, hash_bytes_extended((unsigned char *) DatumGetPointer(value), length, 0));
	value = PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
	return hash_combine64(hash, hash_bytes_extended((unsigned char *) VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), 0));
}

/* What is to be loaded, and how: whether it runs by itself is another thing. */
static uint64
row_fingerprint(const IdemPipelineRow *row)
{
	uint64 hash = 0;
	int i;

	for (i = 0; i < PIPELINE_COLUMNS; i++)
	{
		if (i != PIPELINE_ENABLED && i != PIPELINE_MONITOR && i != PIPELINE_CHECKS)
			hash = hash_column(row, i, hash);
	}
	return hash;
}

/* What to do where its source has other columns than before; raises 22023 for another text. */
static IdemOnSchemaChange
read_on_schema_change(const IdemPipelineRow *row)
{
	return (IdemOnSchemaChange) idem_read_choice(row_text(row, PIPELINE_ON_SCHEMA_CHANGE), "on_schema_change", idem_schema_changes);
}

IdemPipeline *
idem_make_pipeline(const char *schema, const IdemPipelineRow *row)
{
	IdemPipeline *pipeline = palloc0(sizeof(IdemPipeline));

	pipeline->schema = schema;
	pipeline->fingerprint = row_fingerprint(row);
	pipeline->name = row_text(row, PIPELINE_NAME);
	pipeline->ledger = DatumGetObjectId(row->values[PIPELINE_LEDGER]);
	pipeline->target = DatumGetObjectId(row->values[PIPELINE_TARGET]);
	pipeline->source = row_text(row, PIPELINE_SOURCE);
	pipeline->mode = row_text(row, PIPELINE_MODE);
	if (!row->nulls[PIPELINE_KEYS])
		pipeline->keys = idem_read_keys(DatumGetArrayTypeP(row->values[PIPELINE_KEYS]),
										&pipeline->nkeys);
	pipeline->window_column = row_text(row, PIPELINE_WINDOW_COLUMN);
	pipeline->step = row_text(row, PIPELINE_STEP);
	pipeline->start = row_text(row, PIPELINE_START);
	pipeline->lag = row_text(row, PIPELINE_LAG);
	pipeline->lookback = row_text(row, PIPELINE_LOOKBACK);
	pipeline->watermark = row_text(row, PIPELINE_WATERMARK);
	pipeline->version_column = row_text(row, PIPELINE_VERSION_COLUMN);
	pipeline->audit = row_text(row, PIPELINE_AUDIT);
	pipeline->on_schema_change = read_on_schema_change(row);
	if (!row->nulls[PIPELINE_DEAD_LETTERS])
		pipeline->dead_letters = DatumGetObjectId(row->values[PIPELINE_DEAD_LETTERS]);
	pipeline->max_dead = row_text(row, PIPELINE_MAX_DEAD);
	pipeline->newest_first = DatumGetBool(row->values[PIPELINE_NEWEST_FIRST]);
	pipeline->max_windows = DatumGetInt32(row->values[PIPELINE_MAX_WINDOWS]);
	pipeline->check_every = row_microseconds(row, PIPELINE_CHECK_EVERY);
	pipeline->retry.base = row_microseconds(row, PIPELINE_RETRY_BASE);
	pipeline->retry.max = row_microseconds(row, PIPELINE_RETRY_MAX);
	pipeline->retry.max_attempts = DatumGetInt32(row->values[PIPELINE_MAX_ATTEMPTS]);
	pipeline->notify = DatumGetBool(row->values[PIPELINE_NOTIFY]);
	if (!row->nulls[PIPELINE_MONITOR])
		pipeline->monitor = DatumGetObjectId(row->values[PIPELINE_MONITOR]);
	if (!row->nulls[PIPELINE_CHECKS])
		pipeline->checks = row->values[PIPELINE_CHECKS];
	pipeline->enabled = DatumGetBool(row->values[PIPELINE_ENABLED]);
	pipeline->identity.role = DatumGetObjectId(row->values[PIPELINE_OWNER]);
	pipeline->identity.search_path = row_text(row, PIPELINE_SEARCH_PATH);
	pipeline->identity.time_zone = row_text(row, PIPELINE_TIME_ZONE);
	pipeline->identity.date_style = row_text(row, PIPELINE_DATE_STYLE);
	pipeline->identity.interval_style = row_text(row, PIPELINE_INTERVAL_STYLE);
	return pipeline;
}

/* Fails for a ledger or target that is no more, or was not restored. */
static void
check_relation(const IdemPipeline *pipeline, int column, Oid relation)
{
	if (!OidIsValid(relation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("%s of pipeline \"%s\" is not in this database", columns[column].name, pipeline->name),
				 errdetail("The definition came with a dump that did not have it."),
				 errhint("SELECT %s FROM %s WHERE name = %s shows its name; SELECT idem_alter_pipeline(%s, %s => '…') names another one.",
						 columns[column].name, quote_qualified_identifier(pipeline->schema, "idem_pipeline"),
						 quote_literal_cstr(pipeline->name), quote_literal_cstr(pipeline->name), columns[column].name)));
	if (get_rel_name(relation) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("%s of pipeline \"%s\" has been dropped", columns[column].name, pipeline->name),
				 errhint("SELECT idem_alter_pipeline(%s, %s => '…') names another one.",
						 quote_literal_cstr(pipeline->name), columns[column].name)));
}

void
idem_check_relations(const IdemPipeline *pipeline)
{
	check_relation(pipeline, PIPELINE_LEDGER, pipeline->ledger);
	check_relation(pipeline, PIPELINE_TARGET, pipeline->target);
}

void
idem_check_owner(const IdemPipeline *pipeline)
{
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(pipeline->identity.role)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 OidIsValid(pipeline->identity.role)
				 ? errmsg("the owner of pipeline \"%s\" has been dropped", pipeline->name)
				 : errmsg("the owner of pipeline \"%s\" is not a role here", pipeline->name),
				 errhint("A superuser gives it another one: UPDATE %s SET owner = '…' WHERE name = %s.",
						 quote_qualified_identifier(pipeline->schema, "idem_pipeline"),
						 quote_literal_cstr(pipeline->name))));
}

IdemPipeline *
idem_open_pipeline_row(const char *schema, const IdemPipelineRow *row)
{
	IdemPipeline *pipeline = idem_make_pipeline(schema, row);

	idem_check_owner(pipeline);
	idem_check_relations(pipeline);
	if (!row->nulls[PIPELINE_DEAD_LETTERS])
		check_relation(pipeline, PIPELINE_DEAD_LETTERS, pipeline->dead_letters);
	return pipeline;
}

IdemPipeline *
idem_open_pipeline(const char *schema, const char *name)
{
	IdemPipelineRow row;

	idem_read_pipeline_row(schema, name, false, &row);
	return idem_open_pipeline_row(schema, &row);
}

IdemPipeline *
idem_argument_pipeline(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument pipeline must not be NULL")));
	return idem_open_pipeline(idem_function_schema(fcinfo),
							  text_to_cstring(PG_GETARG_TEXT_PP(0)));
}

IdemRequest
idem_pipeline_request(const IdemPipeline *pipeline)
{
	IdemRequest request = {
		.schema = get_namespace_oid(pipeline->schema, false),
		.ledger = pipeline->ledger,
		.target = pipeline->target,
		.source = pipeline->source,
		.reload = strcmp(pipeline->mode, "reload") == 0,
		.keys = pipeline->keys,
		.nkeys = pipeline->nkeys,
		.window_column = pipeline->window_column,
		.pipeline = pipeline->name,
		.version_column = pipeline->version_column,
		.audit = pipeline->audit,
		.on_schema_change = pipeline->on_schema_change,
		.dead_letters = pipeline->dead_letters,
		.max_dead = pipeline->max_dead,
		.on_busy = IDEM_BUSY_WAIT,
		.identity = pipeline->identity,
		.retry = &pipeline->retry,
		.newest_first = pipeline->newest_first,
		.notify = pipeline->notify,
	};

	return request;
}

const IdemRangeType *
idem_pipeline_range_type(const IdemPipeline *pipeline)
{
	return idem_ledger_range_type(pipeline->ledger, get_namespace_oid(pipeline->schema, false));
}

void
idem_run_as_typed(const IdemPipeline *pipeline, void (*work)(void *arg), void *arg)
{
	IdemIdentity identity = {.time_zone = pipeline->identity.time_zone};

	idem_run_as(&identity, work, arg);
}

/* A range to be read, as an argument of idem_run_as_typed. */
typedef struct RangeReading
{
	const IdemRangeType *type;
	const char *text;
	Datum range;
} RangeReading;

static void
read_range(void *arg)
{
	RangeReading *reading = arg;

	reading->range = idem_parse_window(reading->type, reading->text);
}

Datum
idem_read_typed_window(const IdemPipeline *pipeline, const char *text)
{
	RangeReading reading = {idem_pipeline_range_type(pipeline), text};

	idem_run_as_typed(pipeline, read_range, &reading);
	return reading.range;
}

void
idem_request_window(const IdemPipeline *pipeline, FunctionCallInfo fcinfo, int arg, bool is_text,
					IdemRequest *request)
{
	idem_read_window_argument(fcinfo, arg, is_text, request);
	if (!is_text)
		return;
	request->window = idem_read_typed_window(pipeline, request->window_text);
	request->window_type = idem_pipeline_range_type(pipeline)->range;
	request->window_text = NULL;
}
