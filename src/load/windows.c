/*
 * windows.c
 *		What of a request is to be loaded: its gaps, cut into pieces.
 *
 * Pieces are made some at a time, so that a request costs what is loaded of it and not
 * what is asked for.
 *
 * This file must not know targets, sources or transactions.
 */
#include "postgres.h"

#include "ledger/table.h"
#include "load/windows.h"
#include "miscadmin.h"
#include "server/scope.h"
#include "utils/memutils.h"

/* Reads the requested window; false if it is empty. */
static bool
read_request_window(IdemPlan *plan)
{
	const IdemRequest *request = plan->request;
	Datum range = request->window;

	if (request->window_text)
		range = idem_parse_window(plan->ledger->type, request->window_text);
	else
		idem_check_range_type(plan->ledger, request->window_type);
	return idem_read_window(plan->ledger->type, range, &plan->window);
}

/* The range datum of a window that may be empty. */
static Datum
range_datum(const IdemPlan *plan, IdemWindow window)
{
	if (window.lower >= window.upper)
		return idem_parse_range(plan->ledger->type, "empty");
	return idem_window_datum(plan->ledger->type, window);
}

Datum
idem_reopened_range(const IdemPlan *plan)
{
	return range_datum(plan, plan->reopened);
}

/* The complete windows in a window. */
static IdemWindow *
read_complete(const IdemPlan *plan, IdemWindow window, int *n)
{
	return idem_read_windows(plan->ledger->type,
							 idem_ledger_coverage(plan->ledger, plan->pipeline,
												  idem_window_datum(plan->ledger->type, window)),
							 n);
}

/*
 * The last complete window in a window; false if there is none.  It ends beyond what is
 * known to be complete, or that is not true any more and everything is read.
 */
static bool
find_last_complete(const IdemPlan *plan, IdemWindow window, IdemWindow *last)
{
	const IdemRequest *request = plan->request;
	IdemWindow beyond = window;
	IdemWindow *complete = NULL;
	int n = 0;

	beyond.lower = Max(window.lower, request->look_from);
	if (request->looks_from && beyond.lower < beyond.upper)
		complete = read_complete(plan, beyond, &n);
	if (n == 0)
		complete = read_complete(plan, window, &n);
	if (n > 0)
		*last = complete[n - 1];
	return n > 0;
}

/*
 * What of the request to redo although it is complete: all of it (force), or so
 * much at the end of what is complete (lookback), or nothing.
 */
static IdemWindow
reopened_window(const IdemPlan *plan, IdemWindow window)
{
	IdemWindow none = {0, 0};
	IdemWindow last;
	IdemStep lookback;

	if (plan->request->force)
		return window;
	if (plan->request->lookback == NULL)
		return none;
	lookback = idem_parse_step(plan->ledger->type, "lookback", plan->request->lookback);
	if (!find_last_complete(plan, window, &last))
		return none;
	if (plan->request->scheduled && last.upper >= window.upper)
		return none;
	none.upper = last.upper;
	none.lower = Max(window.lower, idem_add_steps(plan->ledger->type, none.upper, &lookback, -1));
	return none;
}

/* Where the gaps of a window are looked for: what is redone is one, wherever it lies. */
static IdemWindow
searched_window(const IdemPlan *plan, IdemWindow window)
{
	int64 from = plan->request->look_from;

	if (!plan->request->looks_from)
		return window;
	if (plan->reopened.lower < plan->reopened.upper)
		from = Min(from, plan->reopened.lower);
	if (from > window.lower && from < window.upper)
		window.lower = from;
	return window;
}

/* Returns what of a window is still to be loaded. */
static IdemWindow *
find_gaps(const IdemPlan *plan, IdemWindow window, int *n)
{
	Datum range = idem_window_datum(plan->ledger->type, searched_window(plan, window));
	Datum postponed = idem_postponed_windows(plan->ledger, plan->pipeline, range,
											 plan->request->postpone);
	bool elsewhere;
	Datum gaps = idem_gaps_of_target(plan->ledger, plan->pipeline, range, idem_reopened_range(plan),
									 postponed, plan->request->target, &elsewhere);

	if (elsewhere && !plan->request->force)
		idem_check_coverage_target(plan->ledger, plan->pipeline, window, plan->request->target);
	return idem_read_windows(plan->ledger->type, gaps, n);
}

/* Where the grid of steps begins, if not at the window's lower bound. */
static int64
grid_origin(const IdemPlan *plan, int64 lower)
{
	int64 start;

	if (plan->request->grid_start == NULL)
		return lower;
	start = idem_parse_bound(plan->ledger->type, "start", plan->request->grid_start);
	if (lower < start)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("window begins before the start of pipeline \"%s\"", plan->pipeline),
				 errdetail("The pipeline starts at %s.", idem_bound_text(plan->ledger->type, start)),
				 errhint("Load it without the pipeline's name, or give the pipeline an earlier start.")));
	return start;
}

bool
idem_plan_windows(IdemPlan *plan)
{
	const IdemRequest *request = plan->request;

	if (request->step)
		plan->step = idem_parse_step(plan->ledger->type, "step", request->step);
	if (request->lookback)
		(void) idem_parse_step(plan->ledger->type, "lookback", request->lookback);
	if (!read_request_window(plan))
		return false;
	idem_check_window(plan->ledger, plan->pipeline, plan->window);
	plan->origin = grid_origin(plan, plan->window.lower);
	plan->reopened = reopened_window(plan, plan->window);
	return true;
}

/* A queue to be opened, as an argument of idem_run_as. */
typedef struct QueueOpening
{
	IdemQueue *queue;
	IdemWindow window;
	bool cut;
} QueueOpening;

/*
 * What is no gap has been loaded by then into the target, or is an error: another session
 * may complete a window, into another relation, at any time before.
 */
static void
open_queue_as(void *arg)
{
	QueueOpening *opening = arg;
	IdemQueue *queue = opening->queue;
	const IdemPlan *plan = queue->plan;
	IdemWindow *gaps;
	int n;

	MemoryContextSwitchTo(queue->context);
	gaps = find_gaps(plan, opening->window, &n);
	idem_begin_pieces(&queue->pieces, plan->ledger->type, opening->cut ? &plan->step : NULL,
					  plan->origin, gaps, n, plan->request->newest_first);
	queue->total = idem_count_pieces(&queue->pieces);
}

IdemQueue *
idem_open_queue(const IdemPlan *plan, IdemWindow window, bool cut)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "idem windows",
												  ALLOCSET_DEFAULT_SIZES);
	IdemQueue *queue = MemoryContextAllocZero(context, sizeof(IdemQueue));
	QueueOpening opening = {queue, window, cut};

	queue->plan = plan;
	queue->context = context;
	idem_run_as(&plan->request->identity, open_queue_as, &opening);
	return queue;
}

static void
fill_queue_as(void *arg)
{
	IdemQueue *queue = arg;

	for (queue->n = 0; queue->n < lengthof(queue->made); queue->n++)
	{
		if (!idem_next_piece(&queue->pieces, &queue->cursor, &queue->made[queue->n]))
			break;
	}
}

bool
idem_fill_queue(IdemQueue *queue)
{
	CHECK_FOR_INTERRUPTS();
	idem_run_as(&queue->plan->request->identity, fill_queue_as, queue);
	return queue->n > 0;
}

void
idem_close_queue(IdemQueue *queue)
{
	MemoryContextDelete(queue->context);
}
