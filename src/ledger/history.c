/*
 * history.c
 *		What a ledger tells of the past, for who looks at it: failures and changed columns.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "ledger/access.h"
#include "ledger/history.h"
#include "ledger/table.h"
#include "server/collect.h"
#include "utils/builtins.h"
#include "utils/rangetypes.h"
#include "utils/timestamp.h"

/* So many bytes of a text are of use to who looks. */
#define MAX_TEXT "600"

/* Rows that are read into an array. */
typedef struct Reading
{
	MemoryContext context; /* of the array and its texts */
	const IdemRangeType *type;
	void *rows;
	int n;
} Reading;

/* Runs a statement of a pipeline's name and a maximum, and visits its rows. */
static void
read_history(IdemLedger *ledger, const char *template, const char *pipeline, int max,
			 void (*visit)(void *arg, const Datum *values, const bool *nulls), Reading *reading)
{
	static const Oid types[] = {TEXTOID, INT4OID};
	Datum args[] = {CStringGetTextDatum(pipeline), Int32GetDatum(max)};
	IdemCollector collector;

	idem_check_ledger(ledger);
	idem_begin_collector(&collector);
	idem_read_ledger_rows(ledger, idem_make_statement(psprintf(template, ledger->name), lengthof(types), types, ledger->read_snapshot),
						  NULL, args, &collector.pub);
	idem_visit_rows(&collector, visit, reading);
}

/* A column's text, in the array's memory context; NULL if it is. */
static const char *
keep_text(const Reading *reading, const Datum *values, const bool *nulls, int column)
{
	return nulls[column] ? NULL : MemoryContextStrdup(reading->context, TextDatumGetCString(values[column]));
}

/* A column that is a window; one that is none, which nobody but the owner can have written, is empty. */
static IdemWindow
read_window(const Reading *reading, Datum value, bool isnull)
{
	IdemWindow window = {0, 0};

	if (!isnull && !RangeIsEmpty(DatumGetRangeTypeP(value)))
		(void) idem_read_window(reading->type, value, &window);
	return window;
}

static void
keep_error(void *arg, const Datum *values, const bool *nulls)
{
	Reading *reading = arg;
	IdemErrorHistory *error = (IdemErrorHistory *) reading->rows + reading->n++;

	*error = (IdemErrorHistory){
		.code = keep_text(reading, values, nulls, 0),
		.message = keep_text(reading, values, nulls, 1),
		.runs = DatumGetInt64(values[2]),
		.windows = DatumGetInt64(values[3]),
		.last = read_window(reading, values[4], nulls[4]),
		.last_at = nulls[5] ? 0 : DatumGetTimestampTz(values[5]),
	};
}

/* Counts and the last of each error; texts that differ after some characters are one. */
IdemErrorHistory *
idem_read_error_history(IdemLedger *ledger, const char *pipeline, int max, int *n)
{
	Reading reading = {CurrentMemoryContext, ledger->type, palloc(max * sizeof(IdemErrorHistory))};

	read_history(ledger,
				 "SELECT e.error_code, e.message, e.runs, e.windows, l.window_range, l.finished_at FROM ("
				 "SELECT f.error_code, pg_catalog.left(f.error_message, " MAX_TEXT ") AS message, pg_catalog.count(*) AS runs,"
				 " pg_catalog.count(DISTINCT f.window_range) AS windows, pg_catalog.max(f.run_id) AS last_run"
				 " FROM ONLY %1$s f WHERE f.pipeline OPERATOR(pg_catalog.=) $1 AND f.state OPERATOR(pg_catalog.=) 'failed'"
				 " GROUP BY 1, 2 ORDER BY last_run DESC LIMIT $2) e"
				 " JOIN ONLY %1$s l ON l.run_id OPERATOR(pg_catalog.=) e.last_run ORDER BY e.last_run DESC",
				 pipeline, max, keep_error, &reading);
	*n = reading.n;
	return reading.rows;
}

static void
keep_schema(void *arg, const Datum *values, const bool *nulls)
{
	Reading *reading = arg;
	IdemSchemaHistory *schema = (IdemSchemaHistory *) reading->rows + reading->n++;

	*schema = (IdemSchemaHistory){
		.window = read_window(reading, values[0], nulls[0]),
		.at = nulls[1] ? 0 : DatumGetTimestampTz(values[1]),
		.added = keep_text(reading, values, nulls, 2),
		.dropped = keep_text(reading, values, nulls, 3),
		.changed = keep_text(reading, values, nulls, 4),
		.first = nulls[5] || DatumGetBool(values[5]),
	};
}

/* Columns of one that another lacks, or has as another type, as a text. */
#define COLUMNS(one, other, text, condition)                                                                           \
	"(SELECT pg_catalog.left(pg_catalog.string_agg(" text ", ', ' ORDER BY o.key), " MAX_TEXT ")"                      \
	" FROM pg_catalog.jsonb_each_text(CASE WHEN pg_catalog.jsonb_typeof(" one ") OPERATOR(pg_catalog.=) 'object' THEN " one " END) o" \
	" LEFT JOIN pg_catalog.jsonb_each_text(CASE WHEN pg_catalog.jsonb_typeof(" other ") OPERATOR(pg_catalog.=) 'object' THEN " other " END) p" \
	" ON p.key OPERATOR(pg_catalog.=) o.key WHERE " condition ")"

/* A part of a run's details. */
#define DETAIL(run, name) run ".details OPERATOR(pg_catalog.->) '" name "'::pg_catalog.text"

/*
 * Every run has a digest of its source's columns; the columns themselves have those whose are
 * accepted, and those whose differ from them: what another run had is what was accepted last.
 */
#define COLUMNS_OF_RUN                                                                                 \
	"COALESCE(" DETAIL("r", "source_schema") ", " DETAIL("r", "accepted_schema") ","                   \
	" (SELECT " DETAIL("a", "accepted_schema") " FROM ONLY %1$s a"                                     \
	" WHERE a.pipeline OPERATOR(pg_catalog.=) $1 AND a.run_id OPERATOR(pg_catalog.<) r.run_id"         \
	" AND a.details OPERATOR(pg_catalog.?) 'accepted_schema' ORDER BY a.run_id DESC LIMIT 1))"

IdemSchemaHistory *
idem_read_schema_history(IdemLedger *ledger, const char *pipeline, int max, int *n)
{
	Reading reading = {CurrentMemoryContext, ledger->type, palloc(max * sizeof(IdemSchemaHistory))};

	read_history(ledger,
				 "SELECT c.window_range, c.finished_at,"
				 " " COLUMNS("c.now", "c.before", "pg_catalog.concat(o.key, ' ', o.value)", "p.key IS NULL") ","
				 " " COLUMNS("c.before", "c.now", "pg_catalog.concat(o.key, ' ', o.value)", "p.key IS NULL") ","
				 " " COLUMNS("c.before", "c.now", "pg_catalog.concat(o.key, ': ', o.value, ' -> ', p.value)", "p.value OPERATOR(pg_catalog.<>) o.value") ","
				 " c.digest_before IS NULL FROM ("
				 "SELECT r.run_id, r.window_range, r.finished_at, r.digest_before, " COLUMNS_OF_RUN " AS now,"
				 " pg_catalog.lag(" COLUMNS_OF_RUN ") OVER (ORDER BY r.run_id) AS before FROM ("
				 "SELECT d.* FROM (SELECT s.run_id, s.window_range, s.finished_at, s.details, s.source_schema,"
				 " pg_catalog.lag(s.source_schema) OVER (ORDER BY s.run_id) AS digest_before"
				 " FROM ONLY %1$s s WHERE s.pipeline OPERATOR(pg_catalog.=) $1 AND s.source_schema IS NOT NULL"
				 " AND s.state OPERATOR(pg_catalog.=) ANY ('{complete,superseded}')) d"
				 " WHERE d.digest_before IS NULL OR d.digest_before OPERATOR(pg_catalog.<>) d.source_schema"
				 " ORDER BY d.run_id DESC LIMIT $2 OPERATOR(pg_catalog.+) 1) r) c"
				 " ORDER BY c.run_id DESC LIMIT $2",
				 pipeline, max, keep_schema, &reading);
	*n = reading.n;
	return reading.rows;
}
