/*
 * strip.h
 *		Windows drawn: a calendar with a cell for each, and a strip of all in one line.
 *
 * Pure: from cells to SVG.  Days and months are those of the session's time zone.
 */
#ifndef IDEM_WATCH_STRIP_H
#define IDEM_WATCH_STRIP_H

#include "ledger/window.h"

/* A window and what there is to say of it: # complete, + partly, . missing, ! failed, x blocked, > being loaded. */
typedef struct IdemCell
{
	IdemWindow window;
	char mark;
	bool alert; /* an open alert is about it */
} IdemCell;

/* Cells of a grid, in order, without a gap. */
typedef struct IdemCells
{
	const IdemRangeType *type;
	IdemStep step;
	int64 origin; /* where the grid begins */
	IdemCell *cells;
	int n;
} IdemCells;

/* A window as a person would say it: its day, its hours, its dates or its offsets. */
extern char *idem_window_label(const IdemRangeType *type, IdemWindow window);

/*
 * Appends the calendar: a line for each year, month or day, as the step is, or for some
 * offsets, the older ones folded; id is a number that no other of the page has.
 */
extern void idem_html_calendar(StringInfo buf, const IdemCells *cells, int id);

/* Appends what the marks look like; the strip, whose width says nothing. */
extern void idem_html_legend(StringInfo buf);
extern void idem_html_strip(StringInfo buf, const IdemCells *cells);

#endif /* IDEM_WATCH_STRIP_H */
