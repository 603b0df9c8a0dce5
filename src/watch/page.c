/*
 * page.c
 *		The page of idem_report: pipelines, what is wrong with them, and the statement that mends it.
 *
 * It is for who is told that something is wrong, and wants to know at a glance what, and what
 * to type.  SQL in it is quoted as SQL first and then as HTML.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "watch/html.h"
#include "watch/page.h"

/* Of a longer text so many bytes are shown, and of many windows so many. */
#define MAX_TEXT 600
#define MAX_WINDOWS 3

/* What mends an alert. */
typedef enum Cure
{
	CURE_RELOAD,
	CURE_FOLLOW, /* a reload, if the target is to follow the source */
	CURE_LOOK,
	CURE_NONE,
} Cure;

/* What the kinds mean: of one, and of %s many. */
static const struct
{
	const char *kind;
	const char *one;
	const char *many;
	Cure cure;
} meanings[] = {
	{"duplicates", "a key is in the target more than once", "%s keys are in the target more than once", CURE_RELOAD},
	{"surplus", "the target has one row more than the source has keys", "the target has %s rows more than the source has keys", CURE_RELOAD},
	{"missing", "a row of the source is not in the target", "%s rows of the source are not in the target", CURE_RELOAD},
	{"extra", "a row of the target is not in the source", "%s rows of the target are not in the source", CURE_RELOAD},
	{"different", "a row differs between source and target", "%s rows differ between source and target", CURE_RELOAD},
	{"growth", "the target has grown by a row without a load, and the source has not", "the target has grown to %s rows too many without a load, and the source has not", CURE_RELOAD},
	{"target_changed", "somebody has written to the target since a window was loaded", "somebody has written to the target since %s windows were loaded", CURE_RELOAD},
	{"source_changed", "the source returns other rows than when a window was loaded", "the source returns other rows than when %s windows were loaded", CURE_FOLLOW},
	{"null_keys", "a row of the source or the target has a key that is NULL", "%s rows of source or target have a key that is NULL", CURE_NONE},
	{"late", "a window is due for longer than expected, and not complete", "%s windows are due for longer than expected, and not complete", CURE_NONE},
	{"blocked", "a window has failed too often, and is not tried again", "%s windows have failed too often, and are not tried again", CURE_NONE},
	{"check_failed", "a check failed, and nobody knows how the window is", "%s checks failed, and nobody knows how their windows are", CURE_LOOK},
};

/* The meaning of a kind; -1 for one that has none here. */
static int
find_meaning(const char *kind)
{
	int i;

	for (i = 0; i < lengthof(meanings); i++)
		if (kind && strcmp(kind, meanings[i].kind) == 0)
			return i;
	return -1;
}

static Cure
cure_of(const char *kind)
{
	int i = find_meaning(kind);

	return i < 0 ? CURE_NONE : meanings[i].cure;
}

int
idem_page_urgency(const IdemPagePipeline *pipeline)
{
	int urgency = 0;
	int i;

	for (i = 0; i < pipeline->nalerts; i++)
		urgency = Max(urgency, pipeline->alerts[i].alert.acknowledged_by ? 1 : cure_of(pipeline->alerts[i].alert.kind) == CURE_RELOAD ? 6 : 4);
	if (pipeline->blocked > 0)
		urgency = Max(urgency, 5);
	if (pipeline->trouble || pipeline->failed > 0 || (pipeline->last_error && pipeline->failed == 0))
		urgency = Max(urgency, 3);
	if (strcmp(pipeline->state, "paused") == 0 || strcmp(pipeline->state, "waiting") == 0)
		urgency = Max(urgency, 2);
	return urgency;
}

/* Appends a number of things: 1 window, 2 windows. */
static void
put_number(StringInfo buf, int64 n, const char *thing)
{
	idem_html_count(buf, n);
	appendStringInfo(buf, " %s%s", thing, n == 1 ? "" : "s");
}

/* Appends a tile. */
static void
put_tile(StringInfo buf, const char *class, int64 n, const char *label)
{
	appendStringInfo(buf, "<div class=\"%s\"><dt>%s</dt><dd>", class, label);
	idem_html_count(buf, n);
	appendStringInfoString(buf, "</dd></div>");
}

void
idem_page_head(StringInfo buf, const IdemPage *page, IdemPagePipeline *pipelines, int n)
{
	int64 alerts = 0;
	int64 failed = 0;
	int64 blocked = 0;
	int64 gaps = 0;
	int64 known = 0;
	int i;

	for (i = 0; i < n; i++)
	{
		known += pipelines[i].owner != NULL;
		alerts += pipelines[i].nalerts;
		failed += pipelines[i].failed - pipelines[i].blocked;
		blocked += pipelines[i].blocked;
		gaps += pipelines[i].ngaps;
	}
	idem_html_begin(buf, psprintf("idem: pipelines of %s", page->database));
	appendStringInfoString(buf, "<header><div class=\"brand\">idem</div><h1>Pipelines of ");
	idem_html_text(buf, page->database, MAX_TEXT);
	appendStringInfoString(buf, "</h1><p class=\"soft\">as of ");
	idem_html_time(buf, page->now, page->zone);
	appendStringInfoChar(buf, ' ');
	idem_html_text(buf, pg_get_timezone_name(page->zone), 0);
	appendStringInfoString(buf, " &middot; monitor ");
	idem_html_text(buf, page->monitor, MAX_TEXT);
	appendStringInfoString(buf, " &middot; as role ");
	idem_html_text(buf, page->role, 0);
	appendStringInfoString(buf, "</p></header><dl class=\"tiles\">");
	put_tile(buf, alerts > 0 ? "bad" : "ok", alerts, alerts == 1 ? "open alert" : "open alerts");
	put_tile(buf, blocked > 0 ? "bad" : "ok", blocked, "blocked windows");
	put_tile(buf, failed > 0 ? "warn" : "ok", failed, "failed windows");
	put_tile(buf, gaps > 0 ? "warn" : "ok", gaps, gaps == 1 ? "gap" : "gaps");
	put_tile(buf, "", known, known == 1 ? "pipeline" : "pipelines");
	appendStringInfoString(buf, "</dl>");
}

/* A bound as SQL reads it in the pipeline's time zone, in which it is now: a date where it is midnight. */
static const char *
sql_bound(const IdemRangeType *type, int64 bound)
{
	char *text = idem_bound_text(type, bound);
	char *midnight = strstr(text, " 00:00:00");

	if (midnight && (midnight[9] == '\0' || midnight[9] == '+' || midnight[9] == '-'))
		*midnight = '\0';
	return text;
}

/* A window as a literal. */
static char *
sql_window(const IdemRangeType *type, IdemWindow window)
{
	const char *lower = sql_bound(type, window.lower);
	const char *upper = sql_bound(type, window.upper);
	bool quote = strchr(lower, ' ') || strchr(upper, ' ');

	return quote_literal_cstr(psprintf(quote ? "[\"%s\",\"%s\")" : "[%s,%s)", lower, upper));
}

/* The statements for some windows. */
static void
append_calls(StringInfo sql, const IdemPage *page, const IdemPagePipeline *pipeline, const IdemWindow *windows, int n, const char *format)
{
	char *name = quote_literal_cstr(pipeline->name);
	int i;

	for (i = 0; i < Min(n, MAX_WINDOWS); i++)
		appendStringInfo(sql, format, page->prefix, name, sql_window(pipeline->cells.type, windows[i]));
	if (n > MAX_WINDOWS)
		appendStringInfo(sql, "-- and %d windows more\n", n - MAX_WINDOWS);
}

/* Which window comes first. */
static int
compare_windows(const void *a, const void *b)
{
	const IdemWindow *one = a;
	const IdemWindow *other = b;

	return one->lower != other->lower ? (one->lower < other->lower ? -1 : 1) : (one->upper > other->upper) - (one->upper < other->upper);
}

/* The windows of all alerts with a cure, each once however many there are about it. */
static IdemWindow *
windows_to_cure(const IdemPagePipeline *pipeline, Cure cure, int *n)
{
	IdemWindow *windows;
	int all = 0;
	int i;
	int j;

	for (i = 0; i < pipeline->nalerts; i++)
		all += pipeline->alerts[i].nwindows;
	windows = palloc(mul_size(Max(all, 1), sizeof(IdemWindow)));
	for (i = 0, all = 0; i < pipeline->nalerts; i++)
		for (j = 0; cure_of(pipeline->alerts[i].alert.kind) == cure && j < pipeline->alerts[i].nwindows; j++)
			windows[all++] = pipeline->alerts[i].windows[j];
	qsort(windows, all, sizeof(IdemWindow), compare_windows);
	for (i = 0, *n = 0; i < all; i++)
	{
		if (*n > 0 && windows[i].lower < windows[*n - 1].upper)
			windows[*n - 1].upper = Max(windows[*n - 1].upper, windows[i].upper);
		else
			windows[(*n)++] = windows[i];
	}
	return windows;
}

/* A unique index over the keys, where something is there twice, so that it cannot be again. */
static void
append_index(StringInfo sql, const IdemPagePipeline *pipeline)
{
	bool duplicates = false;
	int i;

	for (i = 0; i < pipeline->nalerts; i++)
		duplicates |= pipeline->alerts[i].alert.kind && strcmp(pipeline->alerts[i].alert.kind, "duplicates") == 0;
	if (!duplicates || pipeline->nkeys == 0 || pipeline->target == NULL)
		return;
	appendStringInfo(sql, "-- so that no key can be there twice again\nCREATE UNIQUE INDEX ON %s (", pipeline->target);
	for (i = 0; i < pipeline->nkeys; i++)
		appendStringInfo(sql, "%s%s", i ? ", " : "", quote_identifier(pipeline->keys[i]));
	appendStringInfoString(sql, ");\n");
}

/* What to type about the alerts with a cure. */
static void
append_cure(StringInfo sql, const IdemPage *page, const IdemPagePipeline *pipeline, Cure cure)
{
	int n;
	IdemWindow *windows = windows_to_cure(pipeline, cure, &n);
	StringInfoData loads;

	initStringInfo(&loads);
	append_calls(&loads, page, pipeline, windows, n, "CALL %sidem_load_window(%s, %s, force => true);\n");
	/* what is loaded again anyway follows the source */
	if (n == 0 || (cure == CURE_FOLLOW && strstr(sql->data, loads.data)))
		return;
	if (cure == CURE_LOOK)
	{
		appendStringInfoString(sql, "-- raises what the check failed of\n");
		append_calls(sql, page, pipeline, windows, n, "SELECT * FROM %sidem_check(%s, %s);\n");
		return;
	}
	appendStringInfoString(sql, "-- which rows it is about\n");
	append_calls(sql, page, pipeline, windows, n, "SELECT * FROM %sidem_differences(%s, %s);\n");
	appendStringInfoString(sql, cure == CURE_FOLLOW ? "-- if the target is to follow the source\n" : "-- load again what the source has\n");
	appendStringInfoString(sql, loads.data);
	if (cure == CURE_RELOAD)
		append_index(sql, pipeline);
}

/* Appends statements, their comments softer. */
static void
put_sql(StringInfo buf, const char *sql)
{
	char *copy = pstrdup(sql);
	char *line;
	char *rest = copy;

	appendStringInfoString(buf, "<pre><code>");
	while ((line = strsep(&rest, "\n")) != NULL && (rest || *line))
	{
		bool comment = strncmp(line, "-- ", 3) == 0;

		appendStringInfoString(buf, comment ? "<span class=\"c\">" : "");
		idem_html_text(buf, line, 0);
		appendStringInfoString(buf, comment ? "</span>\n" : "\n");
	}
	appendStringInfoString(buf, "</code></pre>");
}

/* Appends windows, some of them. */
static void
put_windows(StringInfo buf, const IdemRangeType *type, const IdemWindow *windows, int n)
{
	int i;

	for (i = 0; i < Min(n, MAX_WINDOWS); i++)
	{
		appendStringInfoString(buf, i ? ", " : "");
		idem_html_text(buf, idem_window_label(type, windows[i]), 0);
	}
	if (n > MAX_WINDOWS)
		appendStringInfo(buf, " and %d more", n - MAX_WINDOWS);
}

/* Appends what an alert says. */
static void
put_meaning(StringInfo buf, const IdemAlert *alert)
{
	int i = find_meaning(alert->kind);
	StringInfoData count;

	if (i < 0)
	{
		appendStringInfoString(buf, "more than is allowed: ");
		idem_html_count(buf, alert->value);
		return;
	}
	initStringInfo(&count);
	idem_html_count(&count, alert->value);
	appendStringInfo(buf, alert->value == 1 ? meanings[i].one : meanings[i].many, count.data);
}

/* Appends an alert as an item of a list. */
static void
put_alert(StringInfo buf, const IdemPage *page, const IdemRangeType *type, const IdemPageAlert *alert)
{
	const IdemAlert *a = &alert->alert;

	appendStringInfo(buf, "<li><span class=\"tag %s\">", a->acknowledged_by ? "" : cure_of(a->kind) == CURE_RELOAD ? "bad" : "warn");
	idem_html_text(buf, a->kind ? a->kind : "?", 60);
	appendStringInfoString(buf, "</span> ");
	put_meaning(buf, a);
	appendStringInfoString(buf, "<div class=\"soft small\">");
	if (alert->nwindows > 0)
		put_windows(buf, type, alert->windows, alert->nwindows);
	else
		idem_html_text(buf, a->windows ? a->windows : "", MAX_TEXT);
	appendStringInfoString(buf, " &middot; open since ");
	idem_html_time(buf, a->opened_at, page->zone);
	appendStringInfoString(buf, " &middot; seen ");
	put_number(buf, a->times, "time");
	if (a->acknowledged_by)
	{
		appendStringInfoString(buf, " &middot; acknowledged by ");
		idem_html_text(buf, a->acknowledged_by, 80);
	}
	else if (a->alert_id > 0)
		appendStringInfo(buf, " &middot; alert " INT64_FORMAT, a->alert_id);
	appendStringInfoString(buf, "</div></li>");
}

/* Appends windows that fail, or are blocked. */
static void
put_failures(StringInfo buf, const IdemPagePipeline *pipeline)
{
	if (pipeline->failed > 0)
	{
		appendStringInfo(buf, "<li><span class=\"tag %s\">%s</span> ", pipeline->blocked > 0 ? "bad" : "warn", pipeline->blocked > 0 ? "blocked" : "failed");
		put_number(buf, pipeline->failed, "window");
		appendStringInfoString(buf, pipeline->failed == 1 ? " has failed" : " have failed");
		if (pipeline->blocked > 0)
		{
			appendStringInfoString(buf, ", of which ");
			idem_html_count(buf, pipeline->blocked);
			appendStringInfoString(buf, pipeline->blocked == 1 ? " is not tried again" : " are not tried again");
		}
	}
	else if (pipeline->last_error)
		appendStringInfoString(buf, "<li><span class=\"tag warn\">error</span> its last turn could not begin");
	else
		return;
	if (pipeline->last_error)
	{
		appendStringInfoString(buf, "<div class=\"soft small\">");
		idem_html_text(buf, pipeline->last_error, MAX_TEXT);
		appendStringInfoString(buf, "</div>");
	}
	appendStringInfoString(buf, "</li>");
}

/* Appends what else keeps it. */
static void
put_trouble(StringInfo buf, const IdemPagePipeline *pipeline)
{
	if (pipeline->trouble)
	{
		appendStringInfoString(buf, "<li><span class=\"tag warn\">unreadable</span> what is complete could not be read<div class=\"soft small\">");
		idem_html_text(buf, pipeline->trouble, MAX_TEXT);
		appendStringInfoString(buf, "</div></li>");
	}
	if (strcmp(pipeline->state, "paused") == 0)
		appendStringInfoString(buf, "<li><span class=\"tag warn\">paused</span> it came with a database that was restored or copied, and does not run here</li>");
	if (strcmp(pipeline->state, "waiting") == 0)
	{
		appendStringInfoString(buf, "<li><span class=\"tag warn\">waiting</span> ");
		idem_html_text(buf, pipeline->waiting_for ? pipeline->waiting_for : "it is due and does not run", MAX_TEXT);
		appendStringInfoString(buf, "</li>");
	}
}

/* Appends the statements that mend it, each once, whatever number of alerts it is for. */
static void
put_mending(StringInfo buf, const IdemPage *page, const IdemPagePipeline *pipeline)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (pipeline->cells.type)
	{
		append_cure(&sql, page, pipeline, CURE_RELOAD);
		append_cure(&sql, page, pipeline, CURE_FOLLOW);
		append_cure(&sql, page, pipeline, CURE_LOOK);
	}
	if (pipeline->failed > 0)
		appendStringInfo(&sql, "-- when the cause of the failure is mended, to try again at once\nSELECT %sidem_retry(%s);\n", page->prefix, quote_literal_cstr(pipeline->name));
	if (sql.len > 0 && pipeline->nalerts > 0)
		appendStringInfo(&sql, "-- then look again, which closes what is right\nCALL %sidem_reconcile(%s, %s);\n", page->prefix,
						 quote_literal_cstr(page->monitor), quote_literal_cstr(pipeline->name));
	if (strcmp(pipeline->state, "paused") == 0)
		appendStringInfo(&sql, "-- lets all pipelines that were restored run here\nSELECT %sidem_resume();\n", page->prefix);
	if (sql.len == 0)
		return;
	appendStringInfoString(buf, "<h4 class=\"mend\">What mends it</h4>");
	put_sql(buf, sql.data);
}

/* Appends a pipeline's name, a link to its section if it has one. */
static void
put_name(StringInfo buf, const IdemPagePipeline *pipeline)
{
	if (pipeline->id > 0)
		appendStringInfo(buf, "<a href=\"#p%d\">", pipeline->id);
	idem_html_text(buf, pipeline->name, MAX_TEXT);
	appendStringInfoString(buf, pipeline->id > 0 ? "</a>" : "");
}

void
idem_page_care(StringInfo buf, const IdemPage *page, const IdemPagePipeline *pipeline)
{
	int i;

	appendStringInfo(buf, "<article class=\"card care%s\"><div class=\"head\"><h3>", idem_page_urgency(pipeline) < 5 ? " warn" : "");
	put_name(buf, pipeline);
	appendStringInfoString(buf, "</h3>");
	if (pipeline->target)
	{
		appendStringInfoString(buf, "<span class=\"soft\">target ");
		idem_html_text(buf, pipeline->target, MAX_TEXT);
		appendStringInfoString(buf, "</span>");
	}
	appendStringInfoString(buf, "</div><ul class=\"list\">");
	for (i = 0; i < pipeline->nalerts; i++)
		put_alert(buf, page, pipeline->cells.type, &pipeline->alerts[i]);
	put_failures(buf, pipeline);
	put_trouble(buf, pipeline);
	appendStringInfoString(buf, "</ul>");
	put_mending(buf, page, pipeline);
	appendStringInfoString(buf, "</article>\n");
}

void
idem_page_fine(StringInfo buf, int n)
{
	appendStringInfoString(buf, n == 0 ? "<p class=\"card\">There are no pipelines that you may act as."
									   : "<p class=\"card fine\"><span class=\"ok\">Nothing.</span> No alert is open, no window has failed.");
	appendStringInfoString(buf, "</p>\n");
}

/* The class of a state's tag. */
static const char *
state_class(const char *state)
{
	if (strcmp(state, "running") == 0)
		return "run";
	return strcmp(state, "paused") == 0 || strcmp(state, "waiting") == 0 ? "warn" : "";
}

/* Appends a cell of a table that is a number, hot where it is not 0. */
static void
put_hot(StringInfo buf, const char *label, int64 n)
{
	appendStringInfo(buf, "<td class=\"num%s\" data-l=\"%s\">", n > 0 ? " hot" : "", label);
	idem_html_count(buf, n);
	appendStringInfoString(buf, "</td>");
}

/* Appends a pipeline's line of the table. */
static void
put_overview_line(StringInfo buf, const IdemPage *page, const IdemPagePipeline *pipeline)
{
	appendStringInfoString(buf, "<tr><td>");
	put_name(buf, pipeline);
	appendStringInfo(buf, "</td><td data-l=\"state\"><span class=\"tag %s\">", state_class(pipeline->state));
	idem_html_text(buf, pipeline->state, 0);
	appendStringInfoString(buf, "</span></td><td data-l=\"windows\">");
	if (pipeline->cells.n > 0)
		idem_html_strip(buf, &pipeline->cells);
	appendStringInfoString(buf, "</td><td data-l=\"complete to\">");
	if (pipeline->complete_at != 0)
		idem_html_time(buf, pipeline->complete_at, page->zone);
	else
		idem_html_text(buf, pipeline->complete_to ? pipeline->complete_to : "", 80);
	appendStringInfoString(buf, "</td><td class=\"num nb\" data-l=\"lag\">");
	if (pipeline->complete_at != 0)
		idem_html_span(buf, (page->now - pipeline->complete_at) / USECS_PER_SEC);
	appendStringInfoString(buf, "</td>");
	put_hot(buf, "gaps", pipeline->ngaps);
	put_hot(buf, "failed", pipeline->failed);
	put_hot(buf, "alerts", pipeline->nalerts);
	appendStringInfoString(buf, "<td data-l=\"last check\">");
	if (pipeline->last_check != 0)
		idem_html_time(buf, pipeline->last_check, page->zone);
	else
		appendStringInfoString(buf, "<span class=\"none\">never</span>");
	appendStringInfoString(buf, "</td></tr>\n");
}

void
idem_page_overview(StringInfo buf, const IdemPage *page, IdemPagePipeline *pipelines, int n)
{
	int i;

	appendStringInfoString(buf, "<h2>Pipelines</h2><div class=\"card over\"><table class=\"wide\"><thead><tr><th scope=\"col\">name</th><th scope=\"col\">state</th>"
								"<th scope=\"col\">windows</th><th scope=\"col\">complete to</th><th scope=\"col\" class=\"num\">lag</th><th scope=\"col\" class=\"num\">gaps</th>"
								"<th scope=\"col\" class=\"num\">failed</th><th scope=\"col\" class=\"num\">alerts</th><th scope=\"col\">last check</th></tr></thead><tbody>\n");
	for (i = 0; i < n; i++)
		if (pipelines[i].owner)
			put_overview_line(buf, page, &pipelines[i]);
	appendStringInfoString(buf, "</tbody></table></div>\n");
}

/* Appends what a pipeline is. */
static void
put_definition(StringInfo buf, const IdemPagePipeline *pipeline)
{
	int i;

	appendStringInfoString(buf, "<span class=\"soft\">");
	idem_html_text(buf, pipeline->mode ? pipeline->mode : "", 0);
	appendStringInfoString(buf, " into ");
	idem_html_text(buf, pipeline->target ? pipeline->target : "?", MAX_TEXT);
	for (i = 0; i < pipeline->nkeys; i++)
	{
		appendStringInfoString(buf, i ? ", " : " by ");
		idem_html_text(buf, pipeline->keys[i], 80);
	}
	appendStringInfoString(buf, " &middot; windows of ");
	idem_html_text(buf, pipeline->step ? pipeline->step : "?", 80);
	if (pipeline->zone)
	{
		appendStringInfoString(buf, ", ");
		idem_html_text(buf, pipeline->zone, 80);
	}
	appendStringInfoString(buf, " &middot; ledger ");
	idem_html_text(buf, pipeline->ledger ? pipeline->ledger : "?", MAX_TEXT);
	appendStringInfoString(buf, " &middot; owner ");
	idem_html_text(buf, pipeline->owner ? pipeline->owner : "?", 80);
	appendStringInfoString(buf, "</span>");
}

/* Appends the calendar, and the lines of rows beside it. */
static void
put_pictures(StringInfo buf, const IdemPagePipeline *pipeline)
{
	appendStringInfoString(buf, "<div class=\"two\"><div><h4>Windows</h4>");
	if (pipeline->cells.n > 0)
	{
		if (pipeline->earlier > 0)
		{
			appendStringInfoString(buf, "<p class=\"soft small\">");
			put_number(buf, pipeline->earlier, "earlier window");
			appendStringInfoString(buf, " left out</p>");
		}
		idem_html_calendar(buf, &pipeline->cells, pipeline->id);
		idem_html_legend(buf);
	}
	else
		appendStringInfoString(buf, "<p class=\"none\">There is no window to show.</p>");
	appendStringInfoString(buf, "</div><div><h4>Rows of source and target, at the last check of each window</h4>");
	if (pipeline->npoints > 0)
		idem_html_chart(buf, pipeline->cells.type, pipeline->points, pipeline->npoints);
	else
		appendStringInfoString(buf, "<p class=\"none\">No check has counted them.</p>");
	appendStringInfoString(buf, "</div></div>");
}

/* Appends failed runs, by error. */
static void
put_errors(StringInfo buf, const IdemPage *page, const IdemPagePipeline *pipeline)
{
	int i;

	if (pipeline->nerrors == 0)
		return;
	appendStringInfoString(buf, "<div class=\"more\"><h4>Runs that failed, by error</h4><table class=\"wide\"><thead><tr><th scope=\"col\">error</th><th scope=\"col\" class=\"num\">runs</th>"
								"<th scope=\"col\" class=\"num\">windows</th><th scope=\"col\">last window</th><th scope=\"col\">last time</th></tr></thead><tbody>");
	for (i = 0; i < pipeline->nerrors; i++)
	{
		const IdemErrorHistory *error = &pipeline->errors[i];

		appendStringInfoString(buf, "<tr><td><code>");
		idem_html_text(buf, error->code ? error->code : "", 20);
		appendStringInfoString(buf, "</code> ");
		idem_html_text(buf, error->message ? error->message : "", 300);
		appendStringInfoString(buf, "</td><td class=\"num\" data-l=\"runs\">");
		idem_html_count(buf, error->runs);
		appendStringInfoString(buf, "</td><td class=\"num\" data-l=\"windows\">");
		idem_html_count(buf, error->windows);
		appendStringInfoString(buf, "</td><td data-l=\"last window\">");
		idem_html_text(buf, idem_window_label(pipeline->cells.type, error->last), 0);
		appendStringInfoString(buf, "</td><td data-l=\"last time\">");
		idem_html_time(buf, error->last_at, page->zone);
		appendStringInfoString(buf, "</td></tr>");
	}
	appendStringInfoString(buf, "</tbody></table></div>");
}

/* Appends columns that came, went or changed, if there are some. */
static void
put_columns(StringInfo buf, const char *what, const char *columns)
{
	if (columns == NULL)
		return;
	appendStringInfo(buf, "<div><span class=\"tag\">%s</span> ", what);
	idem_html_text(buf, columns, MAX_TEXT);
	appendStringInfoString(buf, "</div>");
}

/* Appends how the source's columns have changed. */
static void
put_schemas(StringInfo buf, const IdemPage *page, const IdemPagePipeline *pipeline)
{
	int i;

	if (pipeline->nschemas == 0)
		return;
	appendStringInfoString(buf, "<div class=\"more\"><h4>Columns of the source</h4><ul class=\"list\">");
	for (i = 0; i < pipeline->nschemas; i++)
	{
		const IdemSchemaHistory *schema = &pipeline->schemas[i];

		if (!schema->added && !schema->dropped && !schema->changed)
			continue; /* nobody has kept which */
		appendStringInfoString(buf, "<li>");
		put_columns(buf, schema->first ? "first" : "added", schema->added);
		put_columns(buf, "dropped", schema->dropped);
		put_columns(buf, "changed", schema->changed);
		appendStringInfoString(buf, "<div class=\"soft small\">since ");
		idem_html_time(buf, schema->at, page->zone);
		appendStringInfoString(buf, ", window ");
		idem_html_text(buf, idem_window_label(pipeline->cells.type, schema->window), 0);
		appendStringInfoString(buf, "</div></li>");
	}
	appendStringInfoString(buf, "</ul></div>");
}

void
idem_page_pipeline(StringInfo buf, const IdemPage *page, const IdemPagePipeline *pipeline)
{
	appendStringInfo(buf, "<section class=\"card pipe\" id=\"p%d\"><div class=\"head\"><h3>", pipeline->id);
	idem_html_text(buf, pipeline->name, MAX_TEXT);
	appendStringInfoString(buf, "</h3>");
	put_definition(buf, pipeline);
	appendStringInfoString(buf, "</div>");
	if (pipeline->cells.type == NULL)
	{
		appendStringInfoString(buf, "<p class=\"none\">");
		idem_html_text(buf, pipeline->trouble ? pipeline->trouble : "Nothing is known of its windows.", MAX_TEXT);
		appendStringInfoString(buf, "</p>");
	}
	else
	{
		put_pictures(buf, pipeline);
		put_errors(buf, page, pipeline);
		put_schemas(buf, page, pipeline);
	}
	appendStringInfoString(buf, "</section>\n");
}

void
idem_page_closed(StringInfo buf, const IdemPage *page, const IdemPageAlert *alerts, int n)
{
	int i;

	if (n == 0)
		return;
	appendStringInfoString(buf, "<h2>Alerts that have closed</h2><div class=\"card over\"><table class=\"wide\"><thead><tr><th scope=\"col\">pipeline</th><th scope=\"col\">kind</th>"
								"<th scope=\"col\">opened</th><th scope=\"col\">closed</th></tr></thead><tbody>");
	for (i = 0; i < n; i++)
	{
		const IdemAlert *alert = &alerts[i].alert;

		appendStringInfoString(buf, "<tr><td>");
		idem_html_text(buf, alert->pipeline ? alert->pipeline : "?", MAX_TEXT);
		appendStringInfoString(buf, "</td><td data-l=\"kind\">");
		idem_html_text(buf, alert->kind ? alert->kind : "?", 60);
		appendStringInfoString(buf, "</td><td data-l=\"opened\">");
		idem_html_time(buf, alert->opened_at, page->zone);
		appendStringInfoString(buf, "</td><td data-l=\"closed\">");
		idem_html_time(buf, alert->closed_at, page->zone);
		appendStringInfoString(buf, "</td></tr>");
	}
	appendStringInfoString(buf, "</tbody></table></div>\n");
}

void
idem_page_foot(StringInfo buf, const IdemPage *page)
{
	appendStringInfoString(buf, "<footer>Made by <code>");
	idem_html_text(buf, psprintf("SELECT %sidem_report(%s)", page->prefix, quote_literal_cstr(page->monitor)), 0);
	appendStringInfoString(buf, "</code>; it is what was true at its time, and asks nobody for anything.</footer>\n");
	idem_html_end(buf);
}
