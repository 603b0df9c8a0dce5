/*
 * state.c
 *		When pipelines run: the columns of idem_pipeline that the scheduler keeps.
 *
 * Rows are changed only where they can be locked at once (SKIP LOCKED): who drops
 * several pipelines in one transaction must never deadlock with the scheduler.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "pipeline/state.h"
#include "server/schedule.h"
#include "server/statement.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Pipelines of this database of this cluster: others were restored or cloned, and paused. */
#define NOT_PAUSED                                       \
	" p.enabled"                                         \
	" AND p.system_identifier OPERATOR(pg_catalog.=) $1" \
	" AND p.database_oid OPERATOR(pg_catalog.=) $2"

/* The row of the pipeline named $1, if nobody else has locked it. */
#define THIS_UNLOCKED                         \
	" WHERE name OPERATOR(pg_catalog.=) ("    \
	"SELECT p.name FROM @.idem_pipeline p"    \
	" WHERE p.name OPERATOR(pg_catalog.=) $1" \
	" FOR NO KEY UPDATE SKIP LOCKED)"

/* Makes a statement of a template, in which @ is the schema. */
static IdemStatement *
make_statement(const char *schema, const char *template, int nargs, const Oid *types)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (; *template; template ++)
	{
		if (*template == '@')
			appendStringInfoString(&sql, quote_identifier(schema));
		else
			appendStringInfoChar(&sql, *template);
	}
	return idem_make_statement(sql.data, nargs, types, IDEM_SNAPSHOT_NEW);
}

/* Runs a statement whose only parameter is a pipeline's name. */
static uint64
run_by_name(const char *schema, const char *template, const char *name)
{
	static const Oid types[] = {TEXTOID};
	Datum args[] = {CStringGetTextDatum(name)};

	return idem_run(make_statement(schema, template, lengthof(types), types), args, NULL);
}

/* Fetches a pipeline's column that is a number. */
static int
fetch_number(const char *schema, const char *column, const char *name)
{
	static const Oid types[] = {TEXTOID};
	Datum args[] = {CStringGetTextDatum(name)};
	const char *template = psprintf("SELECT p.%s FROM @.idem_pipeline p"
									" WHERE p.name OPERATOR(pg_catalog.=) $1",
									column);
	Datum value;
	bool isnull;

	if (!idem_fetch(make_statement(schema, template, lengthof(types), types), args, NULL,
					1, &value, &isnull))
		return 0;
	return isnull ? 0 : DatumGetInt32(value);
}

/* Where this database is, as NOT_PAUSED wants to know it. */
static const Oid here_types[] = {INT8OID, OIDOID, INT4OID};
#define HERE Int64GetDatum((int64) GetSystemIdentifier()), ObjectIdGetDatum(MyDatabaseId)

int
idem_find_due_pipelines(const char *schema, int max, IdemDuePipeline *due)
{
	IdemStatement *statement = make_statement(schema,
											  "SELECT p.name, p.owner::pg_catalog.oid"
											  " FROM @.idem_pipeline p WHERE" NOT_PAUSED
											  " AND p.turn_started_at IS NULL"
											  " AND p.next_run_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp()"
											  " ORDER BY p.next_run_at USING OPERATOR(pg_catalog.<)"
											  " LIMIT 1 OFFSET $3 FOR NO KEY UPDATE SKIP LOCKED",
											  lengthof(here_types), here_types);
	int n = 0;

	while (n < max)
	{
		Datum args[] = {HERE, Int32GetDatum(n)};
		Datum values[2];
		bool nulls[2];

		if (!idem_fetch(statement, args, NULL, lengthof(values), values, nulls))
			break;
		due[n].name = TextDatumGetCString(values[0]);
		due[n].owner = DatumGetObjectId(values[1]);
		n++;
	}
	return n;
}

TimestampTz
idem_next_due_time(const char *schema)
{
	Datum args[] = {HERE};
	Datum value;
	bool isnull;

	(void) idem_fetch(make_statement(schema,
									 "SELECT pg_catalog.min(p.next_run_at) FROM @.idem_pipeline p"
									 " WHERE p.turn_started_at IS NULL AND" NOT_PAUSED,
									 2, here_types),
					  args, NULL, 1, &value, &isnull);
	return isnull ? 0 : DatumGetTimestampTz(value);
}

bool
idem_book_turn_start(const char *schema, const char *name)
{
	return run_by_name(schema,
					   "UPDATE @.idem_pipeline SET turn_started_at = pg_catalog.clock_timestamp(),"
					   " waiting_for = NULL" THIS_UNLOCKED,
					   name) > 0;
}

/*
 * A worker that could not even say what came of its turn leaves the pipeline due: it is
 * given some seconds, more each time, so that it is not started in a loop.
 */
bool
idem_book_turn_end(const char *schema, const char *name)
{
	return run_by_name(schema,
					   "UPDATE @.idem_pipeline SET turn_started_at = NULL, crashes = 0,"
					   " silent_turns = CASE WHEN turn_booked THEN 0 ELSE silent_turns OPERATOR(pg_catalog.+) 1 END,"
					   " next_run_at = CASE WHEN turn_booked THEN next_run_at ELSE"
					   " pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs =>"
					   " LEAST(600, pg_catalog.power(2::pg_catalog.float8, LEAST(silent_turns, 10)))) END,"
					   " turn_booked = false" THIS_UNLOCKED,
					   name) > 0;
}

int64
idem_book_lost_turns(const char *schema, int delay)
{
	static const Oid types[] = {INT4OID};
	Datum args[] = {Int32GetDatum(delay)};

	return idem_run(make_statement(schema,
								   "UPDATE @.idem_pipeline SET turn_started_at = NULL, turn_booked = false,"
								   " crashes = crashes OPERATOR(pg_catalog.+) 1,"
								   " next_run_at = pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+)"
								   " pg_catalog.make_interval(secs => $1 OPERATOR(pg_catalog.*)"
								   " pg_catalog.power(2::pg_catalog.float8, LEAST(crashes, 10))"
								   " OPERATOR(pg_catalog./) 1000)"
								   " WHERE turn_started_at IS NOT NULL",
								   lengthof(types), types),
					args, NULL);
}

int
idem_pipeline_crashes(const char *schema, const char *name)
{
	return fetch_number(schema, "crashes", name);
}

int
idem_pipeline_failures(const char *schema, const char *name)
{
	return fetch_number(schema, "failures", name);
}

void
idem_book_turn(const char *schema, const char *name, TimestampTz next_run_at, const char *error)
{
	static const Oid types[] = {TEXTOID, TIMESTAMPTZOID, TEXTOID};
	Datum args[] = {CStringGetTextDatum(name), TimestampTzGetDatum(next_run_at),
					error ? CStringGetTextDatum(error) : (Datum) 0};
	bool isnull[] = {false, next_run_at == 0, error == NULL};

	(void) idem_run(make_statement(schema,
								   "UPDATE @.idem_pipeline SET last_error = $3,"
								   " next_run_at = CASE WHEN next_run_at OPERATOR(pg_catalog.>) turn_started_at"
								   " THEN LEAST(next_run_at, $2) ELSE $2 END,"
								   " failures = CASE WHEN $3 IS NULL THEN 0 ELSE failures OPERATOR(pg_catalog.+) 1 END,"
								   " last_run_at = pg_catalog.clock_timestamp(), turn_booked = true" THIS_UNLOCKED,
								   lengthof(types), types),
					args, isnull);
}

bool
idem_book_waiting(const char *schema, const char *name, const char *why)
{
	static const Oid types[] = {TEXTOID, TEXTOID};
	Datum args[] = {CStringGetTextDatum(name), CStringGetTextDatum(why)};

	return idem_run(make_statement(schema,
								   "UPDATE @.idem_pipeline SET waiting_for = $2" THIS_UNLOCKED
								   " AND waiting_for IS DISTINCT FROM $2",
								   lengthof(types), types),
					args, NULL) > 0;
}

/* Inserts, for whoever has locked the pipeline's row would keep it from running. */
void
idem_make_due(const char *schema, const char *name)
{
	(void) run_by_name(schema,
					   "INSERT INTO @.idem_wakeup (pipeline) SELECT p.name FROM @.idem_pipeline p"
					   " WHERE p.name OPERATOR(pg_catalog.=) $1",
					   name);
}

void
idem_wake_pipeline(const char *schema, const char *name)
{
	idem_make_due(schema, name);
	idem_wake_at_end();
}

bool
idem_take_wakeups(const char *schema, bool *taken)
{
	bool any = idem_run(make_statement(schema,
									   "WITH unlocked AS (SELECT p.name FROM @.idem_pipeline p"
									   " WHERE EXISTS (SELECT FROM @.idem_wakeup w WHERE w.pipeline OPERATOR(pg_catalog.=) p.name)"
									   " FOR NO KEY UPDATE SKIP LOCKED), taken AS ("
									   "DELETE FROM @.idem_wakeup w WHERE EXISTS ("
									   "SELECT FROM unlocked u WHERE u.name OPERATOR(pg_catalog.=) w.pipeline)"
									   " OR NOT EXISTS (SELECT FROM @.idem_pipeline p WHERE p.name OPERATOR(pg_catalog.=) w.pipeline))"
									   " UPDATE @.idem_pipeline p SET next_run_at = pg_catalog.clock_timestamp()"
									   " FROM unlocked u WHERE u.name OPERATOR(pg_catalog.=) p.name",
									   0, NULL),
						NULL, NULL) > 0;

	if (taken)
		*taken |= any;
	return idem_run(make_statement(schema, "SELECT FROM @.idem_wakeup LIMIT 1", 0, NULL), NULL, NULL) == 0;
}

int64
idem_adopt_pipelines(const char *schema)
{
	Datum args[] = {HERE};

	return idem_run(make_statement(schema,
								   "UPDATE @.idem_pipeline SET system_identifier = $1, database_oid = $2,"
								   " turn_started_at = NULL, crashes = 0,"
								   " next_run_at = pg_catalog.clock_timestamp()"
								   " WHERE system_identifier OPERATOR(pg_catalog.<>) $1"
								   " OR database_oid OPERATOR(pg_catalog.<>) $2",
								   2, here_types),
					args, NULL);
}

bool
idem_pipeline_exists(const char *schema, const char *name)
{
	return run_by_name(schema,
					   "SELECT FROM @.idem_pipeline p WHERE p.name OPERATOR(pg_catalog.=) $1",
					   name) > 0;
}

char **
idem_pipeline_names(const char *schema, int *n)
{
	Datum array;
	bool isnull;
	Datum *elements;
	char **names;
	int i;

	(void) idem_fetch(make_statement(schema,
									 "SELECT pg_catalog.array_agg(p.name ORDER BY p.name) FROM @.idem_pipeline p",
									 0, NULL),
					  NULL, NULL, 1, &array, &isnull);
	*n = 0;
	if (isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, n);
	names = palloc(*n * sizeof(char *));
	for (i = 0; i < *n; i++)
		names[i] = TextDatumGetCString(elements[i]);
	return names;
}

IdemPipelineState
idem_read_pipeline_state(const char *schema, const char *name)
{
	static const Oid types[] = {INT8OID, OIDOID, TEXTOID};
	Datum args[] = {HERE, CStringGetTextDatum(name)};
	IdemPipelineState state = {.state = "gone"};
	Datum values[5];
	bool nulls[5];

	if (!idem_fetch(make_statement(schema,
								   "SELECT p.owner::pg_catalog.oid, CASE"
								   " WHEN p.turn_started_at IS NOT NULL THEN 'running'"
								   " WHEN NOT p.enabled THEN 'disabled'"
								   " WHEN NOT (" NOT_PAUSED ") THEN 'paused'"
								   " WHEN p.waiting_for IS NOT NULL THEN 'waiting'"
								   " ELSE 'idle' END,"
								   " p.waiting_for, p.last_error,"
								   " CASE WHEN" NOT_PAUSED " THEN p.next_run_at END"
								   " FROM @.idem_pipeline p WHERE p.name OPERATOR(pg_catalog.=) $3",
								   lengthof(types), types),
					args, NULL, lengthof(values), values, nulls))
		return state;
	state.owner = DatumGetObjectId(values[0]);
	state.state = TextDatumGetCString(values[1]);
	state.waiting_for = nulls[2] ? NULL : TextDatumGetCString(values[2]);
	state.last_error = nulls[3] ? NULL : TextDatumGetCString(values[3]);
	state.next_run_at = nulls[4] ? 0 : DatumGetTimestampTz(values[4]);
	return state;
}
