/*
 * marks.c
 *		What there is to say of each window of a range: complete, failed, being loaded.
 */
#include "postgres.h"

#include "load/progress.h"
#include "pipeline/marks.h"

IdemMarks
idem_make_marks(const IdemRangeType *type, Datum multirange)
{
	IdemMarks marks = {0};

	marks.windows = idem_read_windows(type, multirange, &marks.n);
	return marks;
}

int
idem_covered(IdemMarks *marks, IdemWindow window)
{
	while (marks->current < marks->n && marks->windows[marks->current].upper <= window.lower)
		marks->current++;
	if (marks->current == marks->n || marks->windows[marks->current].lower >= window.upper)
		return 0;
	return marks->windows[marks->current].lower <= window.lower &&
				   marks->windows[marks->current].upper >= window.upper
			   ? 2
			   : 1;
}

/* The windows that sessions are loading right now, as marks. */
static IdemMarks
running_marks(const IdemLedger *ledger, const char *pipeline)
{
	int n;
	IdemWindow *windows = idem_windows_in_progress(ledger, pipeline, &n);

	return idem_make_marks(ledger->type, idem_make_multirange(ledger->type, windows, n));
}

IdemWindowMarks
idem_read_window_marks(IdemLedger *ledger, const char *pipeline, IdemWindow range)
{
	Datum datum = idem_window_datum(ledger->type, range);

	return (IdemWindowMarks){
		.complete = idem_make_marks(ledger->type, idem_ledger_coverage(ledger, pipeline, datum)),
		.failed = idem_make_marks(ledger->type, idem_windows_in_state(ledger, pipeline, datum, "failed")),
		.running = running_marks(ledger, pipeline),
	};
}

char
idem_window_mark(IdemWindowMarks *marks, IdemWindow window)
{
	int complete = idem_covered(&marks->complete, window);

	if (complete == 2)
		return '#';
	if (idem_covered(&marks->running, window) > 0)
		return '>';
	if (idem_covered(&marks->failed, window) > 0)
		return '!';
	return complete == 1 ? '+' : '.';
}
