/*
 * strip.c
 *		Windows drawn: a calendar with a cell for each, and a strip of all in one line.
 *
 * Cells of a line that are alike are one rectangle, filled with a pattern as wide as a cell,
 * and all rectangles of a mark are one path: ten thousand windows are some kilobytes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"
#include "watch/html.h"
#include "watch/strip.h"

#define LABEL_WIDTH 66
#define LINE_HEIGHT 14
#define TICKS_HEIGHT 13
#define GRID_WIDTH 357.0
#define OFFSETS_PER_LINE 50
#define OPEN_LINES 31 /* older ones are folded */
#define MAX_TITLES 400
#define MAX_BUCKETS 95

/* The marks, what is worse first. */
static const char marks[] = "x!.+>#";

/* What a line is of. */
typedef enum LineKind
{
	LINE_YEAR,
	LINE_MONTH,
	LINE_DAY,
	LINE_OFFSETS,
} LineKind;

/* A line: its cells, from first on. */
typedef struct Line
{
	int64 key;
	int first;
	int n;
} Line;

typedef struct Drawing
{
	const IdemCells *cells;
	LineKind kind;
	int *columns; /* of the cells */
	Line *lines;
	int nlines;
	int ncolumns;
	double pitch; /* width of a column */
	int id;
} Drawing;

/* What a mark means, in a word. */
static const char *
mark_name(char mark)
{
	switch (mark)
	{
		case '#':
			return "complete";
		case '+':
			return "partly complete";
		case '!':
			return "failed";
		case 'x':
			return "blocked";
		case '>':
			return "being loaded";
		default:
			return "missing";
	}
}

/* How many cells have a mark. */
static int
count_marks(const IdemCells *cells, char mark)
{
	int n = 0;
	int i;

	for (i = 0; i < cells->n; i++)
		n += cells->cells[i].mark == mark;
	return n;
}

/* A bound by the session's calendar; false for one that is beyond it. */
static bool
read_calendar(const IdemRangeType *type, int64 bound, struct pg_tm *tm)
{
	fsec_t fsec;
	int tz;

	return timestamp2tm(idem_bound_time(type, bound), &tz, tm, &fsec, NULL, NULL) == 0;
}

static bool
is_midnight(const struct pg_tm *tm)
{
	return tm->tm_hour == 0 && tm->tm_min == 0 && tm->tm_sec == 0;
}

/* True if one day is the next after another. */
static bool
is_next_day(const struct pg_tm *day, const struct pg_tm *next)
{
	return date2j(next->tm_year, next->tm_mon, next->tm_mday) == date2j(day->tm_year, day->tm_mon, day->tm_mday) + 1;
}

/* A bound as far as it says something: without a time at midnight, and without seconds that are 0. */
static char *
short_bound(const struct pg_tm *tm, bool with_time)
{
	if (!with_time)
		return psprintf("%04d-%02d-%02d", tm->tm_year, tm->tm_mon, tm->tm_mday);
	return psprintf(tm->tm_sec ? "%04d-%02d-%02d %02d:%02d:%02d" : "%04d-%02d-%02d %02d:%02d", tm->tm_year, tm->tm_mon, tm->tm_mday,
					tm->tm_hour, tm->tm_min, tm->tm_sec);
}

char *
idem_window_label(const IdemRangeType *type, IdemWindow window)
{
	struct pg_tm lower;
	struct pg_tm upper;
	bool days;

	if (type->bound == INT8OID)
		return psprintf(INT64_FORMAT " to " INT64_FORMAT, window.lower, window.upper);
	if (!read_calendar(type, window.lower, &lower) || !read_calendar(type, window.upper, &upper))
		return idem_window_text(type, window);
	days = is_midnight(&lower) && is_midnight(&upper);
	if (days && is_next_day(&lower, &upper))
		return short_bound(&lower, false);
	if (lower.tm_year == upper.tm_year && lower.tm_mon == upper.tm_mon && lower.tm_mday == upper.tm_mday && lower.tm_sec == 0 && upper.tm_sec == 0)
		return psprintf("%s to %02d:%02d", short_bound(&lower, true), upper.tm_hour, upper.tm_min);
	return psprintf("%s to %s", short_bound(&lower, !days), short_bound(&upper, !days));
}

/* What lines are of, for a step. */
static LineKind
line_kind(const IdemCells *cells)
{
	if (cells->type->bound == INT8OID)
		return LINE_OFFSETS;
	if (cells->step.interval.month != 0)
		return LINE_YEAR;
	if (cells->type->bound == DATEOID || cells->step.interval.day != 0 || cells->step.interval.time >= USECS_PER_DAY)
		return LINE_MONTH;
	return LINE_DAY;
}

/* The line and the column of a window; a step that does not divide its line moves cells on, never onto each other. */
static int64
place_window(const Drawing *drawing, IdemWindow window, int *column)
{
	const IdemStep *step = &drawing->cells->step;
	struct pg_tm tm = {0};
	int64 n;

	*column = 0;
	if (drawing->kind == LINE_OFFSETS)
	{
		n = (window.lower - drawing->cells->origin) / Max(step->count, 1);
		*column = (int) (n % OFFSETS_PER_LINE);
		return n / OFFSETS_PER_LINE;
	}
	if (!read_calendar(drawing->cells->type, window.lower, &tm))
		return 0;
	switch (drawing->kind)
	{
		case LINE_YEAR:
			*column = (tm.tm_mon - 1) / Max(step->interval.month, 1);
			return tm.tm_year;
		case LINE_MONTH:
			*column = (tm.tm_mday - 1) / Max(step->interval.day, 1);
			return (int64) tm.tm_year * 12 + tm.tm_mon - 1;
		default:
			*column = (int) (((tm.tm_hour * 60 + tm.tm_min) * 60 + tm.tm_sec) * USECS_PER_SEC / Max(step->interval.time, 1));
			return date2j(tm.tm_year, tm.tm_mon, tm.tm_mday);
	}
}

/* Puts the cells into lines. */
static void
place_cells(Drawing *drawing)
{
	const IdemCells *cells = drawing->cells;
	Line *line = NULL;
	int i;

	for (i = 0; i < cells->n; i++)
	{
		int column;
		int64 key = place_window(drawing, cells->cells[i].window, &column);

		if (line == NULL || line->key != key)
		{
			line = &drawing->lines[drawing->nlines++];
			*line = (Line){key, i, 0};
		}
		if (line->n > 0)
			column = Max(column, drawing->columns[i - 1] + 1);
		line->n++;
		drawing->columns[i] = column;
		drawing->ncolumns = Max(drawing->ncolumns, column + 1);
	}
}

/* What a line is called. */
static char *
line_label(const Drawing *drawing, const Line *line)
{
	int year;
	int month;
	int day;

	switch (drawing->kind)
	{
		case LINE_YEAR:
			return psprintf("%04d", (int) line->key);
		case LINE_MONTH:
			return psprintf("%04d-%02d", (int) (line->key / 12), (int) (line->key % 12) + 1);
		case LINE_DAY:
			j2date((int) line->key, &year, &month, &day);
			return psprintf("%04d-%02d-%02d", year, month, day);
		default:
			return psprintf(INT64_FORMAT, drawing->cells->cells[line->first].window.lower);
	}
}

/* What a cell of a mark looks like: not its colour alone tells them apart. */
static void
put_pattern(StringInfo buf, const Drawing *drawing, char mark, double width)
{
	const double x = (drawing->pitch - width) / 2;
	const double right = x + width;

	appendStringInfo(buf, "<pattern id=\"c%d%c\" patternUnits=\"userSpaceOnUse\" x=\"%d\" y=\"%d\" width=\"%.2f\" height=\"%d\">",
					 drawing->id, (int) (strchr(marks, mark) - marks) + 'a', LABEL_WIDTH, TICKS_HEIGHT, drawing->pitch, LINE_HEIGHT);
	switch (mark)
	{
		case '#':
			appendStringInfo(buf, "<rect class=\"f-ok\" x=\"%.2f\" y=\"1\" width=\"%.2f\" height=\"11\" rx=\"%.1f\"/>", x, width, width > 5 ? 1.5 : 0);
			break;
		case '+':
			appendStringInfo(buf, "<path class=\"s-none\" d=\"M%.2f 1.5h%.2fv10h-%.2fz\"/><rect class=\"f-ok\" x=\"%.2f\" y=\"6.5\" width=\"%.2f\" height=\"5.5\"/>", x + .5, width - 1, width - 1, x, width);
			break;
		case '.':
			appendStringInfo(buf, width > 5 ? "<rect class=\"s-none\" x=\"%.2f\" y=\"1.5\" width=\"%.2f\" height=\"10\" rx=\"1\"/>" : "<rect class=\"f-none\" x=\"%.2f\" y=\"9\" width=\"%.2f\" height=\"2\"/>",
							 width > 5 ? x + .5 : x, width > 5 ? width - 1 : width);
			break;
		case '>':
			appendStringInfo(buf, "<rect class=\"f-run\" x=\"%.2f\" y=\"4\" width=\"%.2f\" height=\"5\"/>", x, width);
			break;
		default:
			appendStringInfo(buf, "<rect class=\"f-bad\" x=\"%.2f\" y=\"1\" width=\"%.2f\" height=\"11\"/>", x, width);
			if (width > 5)
				appendStringInfo(buf, "<path class=\"s-card\" stroke-width=\"1.5\" d=\"M%.2f 10L%.2f 3%s\"/>", x + 2, right - 2,
								 mark == 'x' ? psprintf("M%.2f 3L%.2f 10", x + 2, right - 2) : "");
	}
	appendStringInfoString(buf, "</pattern>");
}

/* The patterns, of cells, and of an alert's dot. */
static void
put_patterns(StringInfo buf, const Drawing *drawing)
{
	double width = drawing->pitch >= 6 ? drawing->pitch - 2 : drawing->pitch * .85;
	const char *mark;

	appendStringInfoString(buf, "<defs>");
	for (mark = marks; *mark; mark++)
		if (count_marks(drawing->cells, *mark) > 0)
			put_pattern(buf, drawing, *mark, width);
	appendStringInfo(buf, "<pattern id=\"c%ddot\" patternUnits=\"userSpaceOnUse\" x=\"%d\" y=\"%d\" width=\"%.2f\" height=\"%d\"><circle class=\"f-dot s-dot\" cx=\"%.2f\" cy=\"6.5\" r=\"%.2f\"/></pattern></defs>",
					 drawing->id, LABEL_WIDTH, TICKS_HEIGHT, drawing->pitch, LINE_HEIGHT, drawing->pitch / 2, Min(3.0, Max(drawing->pitch / 2, 1.0)));
}

/* The first cell after one that is not like it: of another mark, or another line, or beyond a gap. */
static int
run_end(const Drawing *drawing, const Line *line, int i, bool alerts)
{
	const IdemCell *cells = drawing->cells->cells;
	int j = i + 1;

	while (j < line->first + line->n && drawing->columns[j] == drawing->columns[j - 1] + 1 &&
		   (alerts ? cells[j].alert : cells[j].mark == cells[i].mark))
		j++;
	return j;
}

/* Appends the path of all cells of a mark, or of all with an alert (mark 0), in some lines. */
static void
put_cells(StringInfo buf, const Drawing *drawing, const Line *lines, int n, char mark)
{
	const IdemCell *cells = drawing->cells->cells;
	bool any = false;
	int i;
	int j;

	for (i = 0; i < n; i++)
		for (j = lines[i].first; j < lines[i].first + lines[i].n;)
		{
			int end = run_end(drawing, &lines[i], j, mark == 0);

			if (mark ? cells[j].mark == mark : cells[j].alert)
			{
				if (!any)
					appendStringInfo(buf, mark ? "<path fill=\"url(#c%d%c)\" d=\"" : "<path fill=\"url(#c%ddot)\" d=\"", drawing->id,
									 mark ? (int) (strchr(marks, mark) - marks) + 'a' : 0);
				any = true;
				appendStringInfo(buf, "M%.2f %dh%.2fv%dh-%.2fz", LABEL_WIDTH + drawing->columns[j] * drawing->pitch, TICKS_HEIGHT + i * LINE_HEIGHT,
								 (end - j) * drawing->pitch, LINE_HEIGHT, (end - j) * drawing->pitch);
			}
			else if (mark == 0)
				end = j + 1;
			j = end;
		}
	if (any)
		appendStringInfoString(buf, "\"/>");
}

/* Appends what a pointer is told of cells that are not just complete. */
static void
put_titles(StringInfo buf, const Drawing *drawing, const Line *lines, int n)
{
	const IdemCells *cells = drawing->cells;
	int titles = 0;
	int i;
	int j;

	for (i = 0; i < n; i++)
		for (j = lines[i].first; j < lines[i].first + lines[i].n && titles < MAX_TITLES;)
		{
			int end = run_end(drawing, &lines[i], j, false);
			IdemWindow window = {cells->cells[j].window.lower, cells->cells[end - 1].window.upper};

			if (cells->cells[j].mark != '#')
			{
				appendStringInfo(buf, "<path fill=\"none\" pointer-events=\"all\" d=\"M%.2f %dh%.2fv%dh-%.2fz\"><title>", LABEL_WIDTH + drawing->columns[j] * drawing->pitch,
								 TICKS_HEIGHT + i * LINE_HEIGHT, (end - j) * drawing->pitch, LINE_HEIGHT, (end - j) * drawing->pitch);
				idem_html_text(buf, idem_window_label(cells->type, window), 0);
				appendStringInfo(buf, ": %s</title></path>", mark_name(cells->cells[j].mark));
				titles++;
			}
			j = end;
		}
}

/* Appends what is above the columns. */
static void
put_ticks(StringInfo buf, const Drawing *drawing)
{
	static const int days[] = {1, 5, 10, 15, 20, 25, 30};
	static const int hours[] = {0, 6, 12, 18};
	const IdemStep *step = &drawing->cells->step;
	size_t i;

	if (drawing->kind == LINE_MONTH && step->interval.day <= 1)
		for (i = 0; i < lengthof(days); i++)
			appendStringInfo(buf, "<text x=\"%.1f\" y=\"9\" text-anchor=\"middle\">%d</text>", LABEL_WIDTH + (days[i] - .5) * drawing->pitch, days[i]);
	if (drawing->kind == LINE_DAY)
		for (i = 0; i < lengthof(hours); i++)
			appendStringInfo(buf, "<text x=\"%.1f\" y=\"9\">%02d:00</text>", LABEL_WIDTH + hours[i] * 3600.0 * USECS_PER_SEC / Max(step->interval.time, 1) * drawing->pitch, hours[i]);
}

/* Appends a label for a reader who does not see. */
static void
put_summary(StringInfo buf, const IdemCells *cells)
{
	const char *mark;
	bool any = false;

	for (mark = marks; *mark; mark++)
	{
		int n = count_marks(cells, *mark);

		if (n > 0)
			appendStringInfo(buf, "%s%d %s", any ? ", " : "windows: ", n, mark_name(*mark));
		any |= n > 0;
	}
}

/* Appends some lines as a picture. */
static void
put_lines(StringInfo buf, const Drawing *drawing, const Line *lines, int n)
{
	const char *mark;
	int i;

	appendStringInfo(buf, "<svg class=\"cal\" viewBox=\"0 0 %.0f %d\" role=\"img\" aria-label=\"", LABEL_WIDTH + GRID_WIDTH, TICKS_HEIGHT + n * LINE_HEIGHT);
	put_summary(buf, drawing->cells);
	appendStringInfoString(buf, "\">");
	put_ticks(buf, drawing);
	for (i = 0; i < n; i++)
		appendStringInfo(buf, "<text x=\"0\" y=\"%d\">%s</text>", TICKS_HEIGHT + i * LINE_HEIGHT + 10, line_label(drawing, &lines[i]));
	for (mark = marks; *mark; mark++)
		put_cells(buf, drawing, lines, n, *mark);
	put_cells(buf, drawing, lines, n, 0);
	put_titles(buf, drawing, lines, n);
	appendStringInfoString(buf, "</svg>");
}

void
idem_html_calendar(StringInfo buf, const IdemCells *cells, int id)
{
	Drawing drawing = {.cells = cells, .kind = line_kind(cells), .id = id};
	int folded;

	drawing.columns = palloc(mul_size(Max(cells->n, 1), sizeof(int)));
	drawing.lines = palloc(mul_size(Max(cells->n, 1), sizeof(Line)));
	place_cells(&drawing);
	drawing.pitch = Min(drawing.kind == LINE_YEAR ? 26.0 : 15.0, GRID_WIDTH / Max(drawing.ncolumns, drawing.kind == LINE_MONTH ? 31 : 1));
	appendStringInfoString(buf, "<svg width=\"0\" height=\"0\" aria-hidden=\"true\">");
	put_patterns(buf, &drawing);
	appendStringInfoString(buf, "</svg>");
	folded = drawing.nlines > OPEN_LINES + 5 ? drawing.nlines - OPEN_LINES : 0;
	if (folded > 0)
	{
		appendStringInfo(buf, "<details><summary>%d earlier lines, from %s on</summary>", folded, line_label(&drawing, drawing.lines));
		put_lines(buf, &drawing, drawing.lines, folded);
		appendStringInfoString(buf, "</details>");
	}
	put_lines(buf, &drawing, drawing.lines + folded, drawing.nlines - folded);
}

void
idem_html_legend(StringInfo buf)
{
	appendStringInfoString(buf,
						   "<ul class=\"legend\">"
						   "<li><svg viewBox=\"0 0 11 11\" aria-hidden=\"true\"><rect class=\"f-ok\" width=\"11\" height=\"11\" rx=\"1.5\"/></svg>complete</li>"
						   "<li><svg viewBox=\"0 0 11 11\" aria-hidden=\"true\"><rect class=\"s-none\" x=\".5\" y=\".5\" width=\"10\" height=\"10\" rx=\"1\"/></svg>missing</li>"
						   "<li><svg viewBox=\"0 0 11 11\" aria-hidden=\"true\"><rect class=\"f-bad\" width=\"11\" height=\"11\"/><path class=\"s-card\" stroke-width=\"1.5\" d=\"M2 9L9 2\"/></svg>failed</li>"
						   "<li><svg viewBox=\"0 0 11 11\" aria-hidden=\"true\"><rect class=\"f-bad\" width=\"11\" height=\"11\"/><path class=\"s-card\" stroke-width=\"1.5\" d=\"M2 9L9 2M2 2L9 9\"/></svg>blocked</li>"
						   "<li><svg viewBox=\"0 0 11 11\" aria-hidden=\"true\"><rect class=\"f-run\" y=\"3\" width=\"11\" height=\"5\"/></svg>being loaded</li>"
						   "<li><svg viewBox=\"0 0 11 11\" aria-hidden=\"true\"><circle class=\"f-dot\" cx=\"5.5\" cy=\"5.5\" r=\"3.5\"/></svg>open alert</li></ul>");
}

/* The worst mark of some cells, and whether one has an alert. */
static char
worst_mark(const IdemCells *cells, int from, int to, bool *alert)
{
	const char *worst = &marks[strlen(marks) - 1];

	for (*alert = false; from < to; from++)
	{
		const char *mark = strchr(marks, cells->cells[from].mark);

		*alert |= cells->cells[from].alert;
		if (mark && mark < worst)
			worst = mark;
	}
	return *worst;
}

/* Where a bar begins that stands on a line 16 below the top. */
static int
bar_top(char mark)
{
	return mark == '!' || mark == 'x' ? 0 : mark == '#' ? 3 : mark == '.' ? 13 : 8;
}

void
idem_html_strip(StringInfo buf, const IdemCells *cells)
{
	int buckets = Min(cells->n, MAX_BUCKETS);
	int i;

	appendStringInfo(buf, "<svg class=\"strip\" viewBox=\"0 0 %d 20\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"", Max(buckets, 12) * 2);
	put_summary(buf, cells);
	appendStringInfoString(buf, "\">");
	for (i = 0; i < buckets; i++)
	{
		bool alert;
		char mark = worst_mark(cells, (int) ((int64) i * cells->n / buckets), (int) ((int64) (i + 1) * cells->n / buckets), &alert);
		int top = bar_top(mark);

		appendStringInfo(buf, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"1.7\" height=\"%d\"/>",
						 mark == '#' || mark == '+' ? "f-ok" : mark == '.' ? "f-none" : mark == '>' ? "f-run" : "f-bad", i * 2, top, 16 - top);
		if (alert)
			appendStringInfo(buf, "<rect class=\"f-dot\" x=\"%d\" y=\"17.5\" width=\"1.7\" height=\"2.5\"/>", i * 2);
	}
	appendStringInfoString(buf, "</svg>");
}
