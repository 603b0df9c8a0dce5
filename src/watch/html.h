/*
 * html.h
 *		Text, numbers and times as HTML, whatever somebody has put into them.
 *
 * All that is appended is ASCII, so that a page is the same bytes in every encoding, of the
 * server's and of the client's.
 */
#ifndef IDEM_WATCH_HTML_H
#define IDEM_WATCH_HTML_H

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "pgtime.h"

/*
 * Appends text for content or for a quoted attribute: nothing in it is markup, and what
 * cannot be seen or turns the order of what follows (controls, bidirectional overrides) is
 * shown as [U+202E].  Of a longer text the first max bytes and an ellipsis; 0 is all of it.
 */
extern void idem_html_text(StringInfo buf, const char *text, int max);

/* Appends a number with its thousands apart: 1,234,567. */
extern void idem_html_count(StringInfo buf, int64 count);

/* Appends a moment in a time zone to the minute, as <time>; 0 as a dash. */
extern void idem_html_time(StringInfo buf, TimestampTz time, pg_tz *zone);

/* Appends a length of time in its two largest units: 2 d 3 h. */
extern void idem_html_span(StringInfo buf, int64 seconds);

/* What a page begins with, to its style sheet and <body>; and what it ends with. */
extern void idem_html_begin(StringInfo buf, const char *title);
extern void idem_html_end(StringInfo buf);

#endif /* IDEM_WATCH_HTML_H */
