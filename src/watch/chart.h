/*
 * chart.h
 *		Rows of source and target, window by window, as two lines.  Pure: from numbers to SVG.
 */
#ifndef IDEM_WATCH_CHART_H
#define IDEM_WATCH_CHART_H

#include "ledger/window.h"

/* What the last check of a window has counted. */
typedef struct IdemPoint
{
	IdemWindow window;
	int64 source_rows;
	int64 target_rows;
} IdemPoint;

/* Appends them, in order; of many windows those that differ most. */
extern void idem_html_chart(StringInfo buf, const IdemRangeType *type, const IdemPoint *points, int n);

#endif /* IDEM_WATCH_CHART_H */
