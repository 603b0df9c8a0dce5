/*
 * chart.c
 *		Rows of source and target, window by window, as two lines.
 *
 * The picture is stretched to its place, so labels are outside of it, and dots are strokes of
 * no length, which keep their shape.
 */
#include "postgres.h"

#include "watch/chart.h"
#include "watch/html.h"
#include "watch/strip.h"

#define MAX_POINTS 360
#define HEIGHT 100.0

/* How far source and target are from each other. */
static uint64
distance(const IdemPoint *point)
{
	return point->source_rows > point->target_rows ? (uint64) point->source_rows - point->target_rows
												   : (uint64) point->target_rows - point->source_rows;
}

/* Of as many points as fit, each the one of its place that differs most. */
static IdemPoint *
thin_points(const IdemPoint *points, int n, int *kept)
{
	IdemPoint *result = palloc(Min(n, MAX_POINTS) * sizeof(IdemPoint));
	int i;

	*kept = Min(n, MAX_POINTS);
	for (i = 0; i < *kept; i++)
	{
		int j = (int) ((int64) i * n / *kept);
		int end = (int) ((int64) (i + 1) * n / *kept);

		for (result[i] = points[j]; j < end; j++)
			if (distance(&points[j]) > distance(&result[i]))
				result[i] = points[j];
	}
	return result;
}

/* Appends the line of one side. */
static void
put_line(StringInfo buf, const IdemPoint *points, int n, double max, bool source)
{
	int i;

	for (i = 0; i < n; i++)
		appendStringInfo(buf, "%s%d %.1f", i == 0 ? "M" : "L", i, HEIGHT * (1 - (source ? points[i].source_rows : points[i].target_rows) / max));
	if (n == 1)
		appendStringInfoString(buf, "h1");
}

/* Appends the picture. */
static void
put_picture(StringInfo buf, const IdemPoint *points, int n, double max, int64 differ)
{
	int width = Max(n - 1, 1);
	int i;

	appendStringInfo(buf, "<svg viewBox=\"0 0 %d %.0f\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"rows of source and target by window; " INT64_FORMAT " of them differ\">",
					 width, HEIGHT, differ);
	appendStringInfoString(buf, "<path class=\"src\" d=\"");
	put_line(buf, points, n, max, true);
	appendStringInfo(buf, "V%.0fH0z\"/><path class=\"srcl\" d=\"", HEIGHT);
	put_line(buf, points, n, max, true);
	appendStringInfoString(buf, "\"/><path class=\"tgt\" d=\"");
	put_line(buf, points, n, max, false);
	appendStringInfoString(buf, "\"/>");
	if (differ > 0)
		appendStringInfoString(buf, "<path class=\"off\" d=\"");
	for (i = 0; i < n; i++)
		if (distance(&points[i]) != 0)
			appendStringInfo(buf, "M%d %.1fh0", i, HEIGHT * (1 - points[i].target_rows / max));
	appendStringInfoString(buf, differ > 0 ? "\"/></svg>" : "</svg>");
}

void
idem_html_chart(StringInfo buf, const IdemRangeType *type, const IdemPoint *points, int n)
{
	int64 max = 1;
	int64 differ = 0;
	int kept;
	int i;
	IdemPoint *thin;

	for (i = 0; i < n; i++)
	{
		max = Max(max, Max(points[i].source_rows, points[i].target_rows));
		differ += distance(&points[i]) != 0;
	}
	thin = thin_points(points, n, &kept);
	appendStringInfoString(buf, "<div class=\"axis\"><span>");
	idem_html_count(buf, max);
	appendStringInfoString(buf, "</span></div><div class=\"chart\">");
	put_picture(buf, thin, kept, max, differ);
	appendStringInfoString(buf, "</div><div class=\"axis\"><span>");
	idem_html_text(buf, idem_window_label(type, points[0].window), 0);
	appendStringInfoString(buf, "</span><span>");
	if (n > 1)
		idem_html_text(buf, idem_window_label(type, points[n - 1].window), 0);
	appendStringInfoString(buf, "</span></div><ul class=\"legend\">"
								"<li><svg viewBox=\"0 0 11 11\" aria-hidden=\"true\"><rect class=\"src\" width=\"11\" height=\"11\"/><path class=\"srcl\" d=\"M0 1h11\"/></svg>source</li>"
								"<li><svg viewBox=\"0 0 11 11\" aria-hidden=\"true\"><path class=\"tgt\" d=\"M0 5.5h11\"/></svg>target</li>");
	if (differ > 0)
		appendStringInfo(buf, "<li><svg viewBox=\"0 0 11 11\" aria-hidden=\"true\"><path class=\"off\" d=\"M5.5 5.5h0\"/></svg>" INT64_FORMAT " %s</li>",
						 differ, differ == 1 ? "window in which they differ" : "windows in which they differ");
	appendStringInfoString(buf, "</ul>");
}
