/*
 * report.c
 *		idem_report(): what the page is made of.
 *
 * The monitor is read as its owner, a ledger as its pipeline's, both restricted, and only for
 * who may become them.  A watermark is the owner's own query: it is asked in his own session
 * alone, and what is due of others' pipelines is what was when their last turn ended.
 * One that cannot be read is shown with its error, and hides no other.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "ledger/history.h"
#include "ledger/table.h"
#include "load/call.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "pipeline/coverage.h"
#include "pipeline/due.h"
#include "pipeline/marks.h"
#include "pipeline/pipeline.h"
#include "pipeline/state.h"
#include "server/extension.h"
#include "server/scope.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "watch/html.h"
#include "watch/page.h"

PG_FUNCTION_INFO_V1(idem_report_page);

#define MAX_ALERTS 1000
#define MAX_CLOSED 10
#define MAX_SECTIONS 50
#define MAX_HISTORY 8

/* So many windows of one pipeline are drawn, and of the later ones where there are many pipelines. */
#define MAX_CELLS 10000
#define ALL_CELLS 200000
#define FEW_CELLS 400

/* The report that is being made. */
typedef struct Report
{
	MemoryContext context; /* of all that is kept */
	const char *schema;
	IdemPage page;
	IdemMonitor *monitor;
	const char *from; /* bounds as they were given; NULL: none */
	const char *to;
	ErrorData *bound_error; /* of the first pipeline whose type they are not */
	bool bounds_read;		/* by one at least */
	IdemPageAlert *alerts;	/* that are open */
	int nalerts;
	IdemPageAlert *closed;
	int nclosed;
	IdemPagePipeline *pipelines;
	int n;
	int room;
	int64 ncells; /* of all */
} Report;

/* One pipeline that is being read, as an argument of idem_try and idem_run_as. */
typedef struct Reading
{
	Report *report;
	const IdemPipelineRow *row;
	IdemPipeline *pipeline;
	bool own; /* it is the caller's */
	IdemPagePipeline *to;
	IdemLedger *ledger;
	IdemWindow range; /* that is shown */
	int room;		  /* of points, or of alerts */
	int64 from;		  /* bounds that were given */
	int64 upto;
	bool bounded; /* they are known */
	const char *text; /* to be parsed */
} Reading;

/* A text that is kept, or NULL. */
static const char *
keep(const char *text)
{
	return text ? pstrdup(text) : NULL;
}

/* Keeps an alert. */
static void
keep_alert(IdemPageAlert *to, const IdemAlert *alert)
{
	*to = (IdemPageAlert){.alert = *alert};
	to->alert.pipeline = keep(alert->pipeline);
	to->alert.kind = keep(alert->kind);
	to->alert.windows = keep(alert->windows);
	to->alert.acknowledged_by = keep(alert->acknowledged_by);
}

static void
take_open_alert(void *arg, const IdemAlert *alert)
{
	Report *report = arg;
	MemoryContext old = MemoryContextSwitchTo(report->context);

	keep_alert(&report->alerts[report->nalerts++], alert);
	MemoryContextSwitchTo(old);
}

static void
take_closed_alert(void *arg, const IdemAlert *alert)
{
	Report *report = arg;
	MemoryContext old = MemoryContextSwitchTo(report->context);

	keep_alert(&report->closed[report->nclosed++], alert);
	MemoryContextSwitchTo(old);
}

/* Reads the alerts, as the monitor's owner. */
static void
read_alerts(Report *report)
{
	report->alerts = palloc(MAX_ALERTS * sizeof(IdemPageAlert));
	report->closed = palloc(MAX_CLOSED * sizeof(IdemPageAlert));
	idem_visit_alerts(report->monitor, true, MAX_ALERTS, take_open_alert, report);
	idem_visit_alerts(report->monitor, false, MAX_CLOSED, take_closed_alert, report);
}

/* A relation's name for SQL; NULL if it is gone. */
static const char *
relation_name(Oid relid)
{
	char *name = get_rel_name(relid);

	return name ? quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name) : NULL;
}

/* What a pipeline is by its definition. */
static void
read_definition(Reading *reading)
{
	const IdemPipeline *pipeline = reading->pipeline;
	IdemPagePipeline *to = reading->to;

	to->target = relation_name(pipeline->target);
	to->ledger = relation_name(pipeline->ledger);
	to->mode = pipeline->mode;
	to->step = pipeline->step;
	to->zone = pipeline->identity.time_zone;
	to->keys = (const char **) pipeline->keys;
	to->nkeys = pipeline->nkeys;
}

/* What is known of its windows, now or since the last turn. */
static void
take_coverage(IdemPagePipeline *to, const IdemPipelineCoverage *coverage)
{
	to->complete_to = keep(coverage->complete_to);
	to->complete_at = coverage->complete_at;
	to->ngaps = coverage->gaps ? coverage->ngaps : 0;
	to->failed = coverage->failed;
	to->blocked = coverage->blocked;
	if (to->last_error == NULL)
		to->last_error = keep(coverage->last_failure);
}

/* Up to where the windows of a pipeline of somebody else's go: what is complete of them. */
static int64
last_complete(IdemLedger *ledger, const char *name, int64 start)
{
	int n;
	IdemWindow *windows = idem_read_windows(ledger->type, idem_ledger_coverage(ledger, name, idem_parse_range(ledger->type, "(,)")), &n);

	return n > 0 ? Max(start, windows[n - 1].upper) : start;
}

/* The grid, and the range of it that there is to show. */
static void
find_range(Reading *reading)
{
	const IdemPipeline *pipeline = reading->pipeline;
	const IdemRangeType *type = reading->ledger->type;
	IdemCells *cells = &reading->to->cells;
	IdemDue due;
	int64 next;

	cells->type = type;
	cells->step = idem_parse_step(type, "step", pipeline->step);
	cells->origin = idem_parse_bound(type, "start", pipeline->start);
	if (reading->own)
		idem_find_due_here(pipeline, type, NULL, &due);
	reading->range = (IdemWindow){cells->origin, cells->origin};
	if (!reading->own)
		reading->range.upper = last_complete(reading->ledger, pipeline->name, cells->origin);
	else if (due.window.lower < due.window.upper)
		reading->range.upper = due.window.upper;
	if (!reading->bounded)
		return;
	if (reading->report->from && reading->from > reading->range.lower)
		reading->range.lower = idem_grid_line(type, &cells->step, cells->origin, reading->from, &next);
	if (reading->report->to)
		reading->range.upper = Min(reading->range.upper, reading->upto);
}

/* Leaves out the earlier windows of too many. */
static void
shorten_range(Reading *reading, int64 max)
{
	IdemCells *cells = &reading->to->cells;
	IdemPieces pieces;
	int64 next;
	int64 lower;

	idem_begin_pieces(&pieces, cells->type, &cells->step, cells->origin, &reading->range, 1, false);
	reading->to->earlier = idem_count_pieces(&pieces) - max;
	if (reading->to->earlier <= 0)
	{
		reading->to->earlier = 0;
		return;
	}
	lower = idem_add_steps(cells->type, reading->range.upper, &cells->step, -max);
	reading->range.lower = Max(idem_grid_line(cells->type, &cells->step, cells->origin, lower, &next), reading->range.lower);
}

/* Cuts the range into cells, and marks them. */
static void
mark_cells(Reading *reading)
{
	IdemPagePipeline *to = reading->to;
	IdemCells *cells = &to->cells;
	Datum range = idem_window_datum(cells->type, reading->range);
	IdemWindowMarks marks = idem_read_window_marks(reading->ledger, to->name, reading->range);
	IdemMarks blocked = idem_make_marks(cells->type, idem_postponed_windows(reading->ledger, to->name, range, IDEM_POSTPONE_BLOCKED));
	IdemPieces pieces;
	IdemCursor cursor = {0};
	IdemCell *cell;
	int64 room;

	idem_begin_pieces(&pieces, cells->type, &cells->step, cells->origin, &reading->range, 1, false);
	room = idem_count_pieces(&pieces);
	cells->cells = palloc(mul_size(room, sizeof(IdemCell)));
	for (cell = cells->cells; cells->n < room && idem_next_piece(&pieces, &cursor, &cell->window); cell++)
	{
		cell->mark = idem_window_mark(&marks, cell->window);
		cell->alert = false;
		if (cell->mark == '!' && idem_covered(&blocked, cell->window) > 0)
			cell->mark = 'x';
		cells->n++;
	}
	reading->report->ncells += cells->n;
}

/* Reads the ledger, as the pipeline's owner and in its time zone. */
static void
read_ledger_as(void *arg)
{
	Reading *reading = arg;
	IdemPagePipeline *to = reading->to;

	reading->ledger = idem_open_ledger(reading->pipeline->ledger, get_namespace_oid(reading->report->schema, false), false);
	find_range(reading);
	to->errors = idem_read_error_history(reading->ledger, to->name, MAX_HISTORY, &to->nerrors);
	to->schemas = idem_read_schema_history(reading->ledger, to->name, MAX_HISTORY, &to->nschemas);
	if (reading->range.lower >= reading->range.upper)
		return;
	shorten_range(reading, reading->report->ncells > ALL_CELLS ? FEW_CELLS : MAX_CELLS);
	mark_cells(reading);
}

/* Reads the bounds that were given as the type's. */
static void
parse_bounds_typed(void *arg)
{
	Reading *reading = arg;
	const IdemRangeType *type = idem_pipeline_range_type(reading->pipeline);

	if (reading->report->from)
		reading->from = idem_parse_bound(type, "from_bound", reading->report->from);
	if (reading->report->to)
		reading->upto = idem_parse_bound(type, "to_bound", reading->report->to);
}

static void
parse_bounds(void *arg)
{
	Reading *reading = arg;

	idem_run_as_typed(reading->pipeline, parse_bounds_typed, reading);
}

/* The same, or remembers that they are none. */
static void
read_bounds(Reading *reading)
{
	Report *report = reading->report;
	ErrorData *error;

	if (report->from == NULL && report->to == NULL)
		return;
	error = idem_try(parse_bounds, reading, report->context);
	reading->bounded = error == NULL;
	report->bounds_read |= reading->bounded;
	if (report->bound_error == NULL)
		report->bound_error = error;
}

/* Keeps what a check has counted. */
static void
take_check(void *arg, const IdemCountedWindow *check)
{
	Reading *reading = arg;
	IdemPagePipeline *to = reading->to;
	MemoryContext old = MemoryContextSwitchTo(reading->report->context);

	to->last_check = Max(to->last_check, check->checked_at);
	if (check->source_rows >= 0 && check->target_rows >= 0)
	{
		if (to->npoints == reading->room)
		{
			reading->room = Max(reading->room * 2, 64);
			to->points = to->points ? repalloc(to->points, mul_size(reading->room, sizeof(IdemPoint))) : palloc(mul_size(reading->room, sizeof(IdemPoint)));
		}
		to->points[to->npoints++] = (IdemPoint){check->window, check->source_rows, check->target_rows};
	}
	MemoryContextSwitchTo(old);
}

/* Reads what is to be read of a pipeline, as an argument of idem_try. */
static void
read_pipeline(void *arg)
{
	Reading *reading = arg;
	Report *report = reading->report;

	reading->pipeline = idem_open_pipeline_row(report->schema, reading->row);
	read_definition(reading);
	if (reading->own)
	{
		IdemPipelineCoverage coverage = idem_read_coverage(reading->pipeline, NULL, NULL);

		take_coverage(reading->to, &coverage);
	}
	read_bounds(reading);
	idem_run_as(&reading->pipeline->identity, read_ledger_as, reading);
	if (reading->range.lower < reading->range.upper)
		idem_visit_last_checks(report->monitor, reading->to->cells.type, reading->to->name,
							   idem_window_datum(reading->to->cells.type, reading->range), take_check, reading);
}

/* Parses the windows of an alert, as an argument of idem_try: its text may be anything. */
static void
parse_windows(void *arg)
{
	Reading *reading = arg;
	const IdemRangeType *type = reading->to->cells.type;
	IdemPageAlert *alert = &reading->to->alerts[reading->to->nalerts];

	alert->windows = idem_read_windows(type, idem_parse_multirange(type, reading->text), &alert->nwindows);
}

/* Marks the cells that an alert is about. */
static void
mark_alert(IdemCells *cells, const IdemPageAlert *alert)
{
	IdemMarks marks = idem_make_marks(cells->type, idem_make_multirange(cells->type, alert->windows, alert->nwindows));
	int i;

	for (i = 0; i < cells->n; i++)
		cells->cells[i].alert |= idem_covered(&marks, cells->cells[i].window) > 0;
}

/* Takes the pipeline's alerts, and marks the cells that they are about. */
static void
take_alerts(Reading *reading)
{
	Report *report = reading->report;
	IdemPagePipeline *to = reading->to;
	IdemPageAlert *alert;
	int i;

	to->alerts = palloc(mul_size(Max(report->nalerts, 1), sizeof(IdemPageAlert)));
	for (i = 0; i < report->nalerts; i++)
	{
		if (report->alerts[i].alert.pipeline == NULL || strcmp(report->alerts[i].alert.pipeline, to->name) != 0)
			continue;
		alert = &to->alerts[to->nalerts];
		*alert = report->alerts[i];
		report->alerts[i].alert.pipeline = NULL; /* it has been taken */
		reading->text = alert->alert.windows;
		if (to->cells.type && reading->text && idem_try(parse_windows, reading, report->context))
			alert->nwindows = 0;
		to->nalerts++;
		if (alert->nwindows > 0)
			mark_alert(&to->cells, alert);
	}
}

/* Room for one pipeline more. */
static IdemPagePipeline *
add_pipeline(Report *report)
{
	if (report->n == report->room)
	{
		report->room = Max(report->room * 2, 16);
		report->pipelines = report->pipelines ? repalloc(report->pipelines, mul_size(report->room, sizeof(IdemPagePipeline)))
											  : palloc(mul_size(report->room, sizeof(IdemPagePipeline)));
	}
	memset(&report->pipelines[report->n], 0, sizeof(IdemPagePipeline));
	return &report->pipelines[report->n++];
}

/* Takes a pipeline that the caller may act as. */
static void
take_pipeline(void *arg, const IdemPipelineRow *row, const IdemPipelineState *state)
{
	Report *report = arg;
	MemoryContext old = MemoryContextSwitchTo(report->context);
	IdemPagePipeline *to = add_pipeline(report);
	Reading reading = {.report = report, .row = row, .to = to, .own = state->owner == GetUserId()};
	ErrorData *error;

	to->name = TextDatumGetCString(row->values[PIPELINE_NAME]);
	to->owner = OidIsValid(state->owner) ? GetUserNameFromId(state->owner, true) : NULL;
	if (to->owner == NULL)
		to->owner = "a role that is gone";
	to->state = keep(state->state);
	to->last_error = keep(state->last_error);
	to->waiting_for = keep(state->waiting_for);
	if (!reading.own)
		take_coverage(to, &state->coverage);
	error = idem_try(read_pipeline, &reading, report->context);
	if (error)
		to->trouble = error->message;
	take_alerts(&reading);
	MemoryContextSwitchTo(old);
}

/* Alerts of pipelines that are gone, or that the caller may not act as. */
static void
take_others(Report *report)
{
	int i;

	for (i = 0; i < report->nalerts; i++)
	{
		IdemPagePipeline *to;
		Reading reading = {.report = report};

		if (report->alerts[i].alert.pipeline == NULL)
			continue;
		to = reading.to = add_pipeline(report);
		to->name = report->alerts[i].alert.pipeline;
		to->state = "";
		take_alerts(&reading);
	}
}

/* Who needs somebody most comes first. */
static int
compare_pipelines(const void *a, const void *b)
{
	const IdemPagePipeline *one = a;
	const IdemPagePipeline *other = b;
	int difference = idem_page_urgency(other) - idem_page_urgency(one);

	return difference != 0 ? difference : strcmp(one->name, other->name);
}

/* A part of the page to be written in a pipeline's time zone. */
typedef struct Part
{
	StringInfo buf;
	const IdemPage *page;
	const IdemPagePipeline *pipeline;
	void (*write)(StringInfo buf, const IdemPage *page, const IdemPagePipeline *pipeline);
} Part;

static void
write_part(void *arg)
{
	Part *part = arg;

	part->write(part->buf, part->page, part->pipeline);
}

/* Writes it. */
static void
put_part(StringInfo buf, const Report *report, const IdemPagePipeline *pipeline,
		 void (*write)(StringInfo buf, const IdemPage *page, const IdemPagePipeline *pipeline))
{
	Part part = {buf, &report->page, pipeline, write};

	idem_run_pinned(pipeline->zone, write_part, &part);
}

/* Writes the page. */
static void
write_page(StringInfo buf, Report *report)
{
	int needy = 0;
	int i;

	qsort(report->pipelines, report->n, sizeof(IdemPagePipeline), compare_pipelines);
	for (i = 0; i < report->n; i++)
	{
		report->pipelines[i].id = i < MAX_SECTIONS && report->pipelines[i].owner ? i + 1 : 0;
		needy += idem_page_urgency(&report->pipelines[i]) > 0;
	}
	idem_page_head(buf, &report->page, report->pipelines, report->n);
	appendStringInfoString(buf, "<h2>What needs somebody</h2>\n");
	for (i = 0; i < Min(needy, MAX_SECTIONS); i++)
		put_part(buf, report, &report->pipelines[i], idem_page_care);
	if (needy > MAX_SECTIONS)
		appendStringInfo(buf, "<p class=\"soft\">And %d pipelines more, in the table.</p>\n", needy - MAX_SECTIONS);
	if (needy == 0)
		idem_page_fine(buf, report->n);
	idem_page_overview(buf, &report->page, report->pipelines, report->n);
	if (report->n > 0)
		appendStringInfoString(buf, "<h2>Window by window</h2>\n");
	for (i = 0; i < report->n; i++)
		if (report->pipelines[i].id > 0)
			put_part(buf, report, &report->pipelines[i], idem_page_pipeline);
	if (report->n > MAX_SECTIONS)
		appendStringInfo(buf, "<p class=\"soft\">Those of %d pipelines more are left out: a role sees its own alone.</p>\n", report->n - MAX_SECTIONS);
	idem_page_closed(buf, &report->page, report->closed, report->nclosed);
	idem_page_foot(buf, &report->page);
}

/* What is the same for all of it. */
static void
begin_report(Report *report, FunctionCallInfo fcinfo)
{
	Oid schema;

	report->context = CurrentMemoryContext;
	report->schema = idem_function_schema(fcinfo);
	schema = get_namespace_oid(report->schema, false);
	report->from = PG_ARGISNULL(1) ? NULL : idem_text_argument(fcinfo, 1);
	report->to = PG_ARGISNULL(2) ? NULL : idem_text_argument(fcinfo, 2);
	report->monitor = idem_open_monitor(PG_GETARG_OID(0), schema);
	report->page = (IdemPage){
		.monitor = idem_monitor_name(report->monitor),
		.database = get_database_name(MyDatabaseId),
		.role = GetUserNameFromId(GetUserId(), false),
		.prefix = list_member_oid(fetch_search_path(false), schema) ? "" : psprintf("%s.", quote_identifier(report->schema)),
		.now = GetCurrentTimestamp(),
		.zone = session_timezone,
	};
}

/* SQL: idem_report(monitor regclass, from_bound text, to_bound text) */
Datum
idem_report_page(PG_FUNCTION_ARGS)
{
	Report report = {0};
	StringInfoData buf;
	text *result;
	MemoryContext caller = CurrentMemoryContext;

	idem_require_argument(fcinfo, 0, "monitor");
	idem_connect(true);
	begin_report(&report, fcinfo);
	read_alerts(&report);
	idem_visit_pipelines(report.schema, take_pipeline, &report);
	take_others(&report);
	if (report.bound_error && !report.bounds_read)
		ReThrowError(report.bound_error);
	initStringInfo(&buf);
	write_page(&buf, &report);
	MemoryContextSwitchTo(caller);
	result = cstring_to_text_with_len(buf.data, buf.len);
	idem_finish();
	PG_RETURN_TEXT_P(result);
}
