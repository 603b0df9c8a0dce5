/*
 * due.c
 *		Which windows of a pipeline are due, and a turn that loads them.
 *
 * Windows lie on the grid start + n * step, by the calendar of the pipeline's time
 * zone.  One is due when it has closed: its end is not after the clock's time minus
 * the lag, or not beyond the watermark.  What is due is derived each time from grid
 * and ledger; nothing is queued, so nothing can be lost or pile up.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "ledger/table.h"
#include "pipeline/due.h"
#include "server/query.h"
#include "server/scope.h"
#include "server/statement.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* So often may a worker be lost before the window it is at is blocked. */
#define MAX_CRASHES 3

/* How soon to look again for a window that another session was loading. */
#define BUSY_DELAY (5 * USECS_PER_SEC)

/* Receives the watermark. */
typedef struct WatermarkReceiver
{
	DestReceiver pub;
	Oid type; /* of the column */
	bool found;
	Datum value;
} WatermarkReceiver;

static void
startup_receiver(DestReceiver *self, int operation, TupleDesc desc)
{
	((WatermarkReceiver *) self)->type = TupleDescAttr(desc, 0)->atttypid;
}

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	WatermarkReceiver *receiver = (WatermarkReceiver *) self;
	bool isnull;

	/* of a type that is passed by value */
	receiver->value = slot_getattr(slot, 1, &isnull);
	receiver->found = !isnull;
	return true;
}

/* Makes the watermark's query, and checks its type. */
static IdemQuery *
make_watermark(const IdemPipeline *pipeline, const IdemRangeType *type)
{
	IdemQuery *query = idem_make_query("watermark", pipeline->watermark, type->bound);
	TupleDesc desc = idem_query_desc(query);
	Oid column = desc->natts > 0 ? TupleDescAttr(desc, 0)->atttypid : InvalidOid;

	if (desc->natts != 1 || !idem_is_window_column_type(type, column))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("watermark of pipeline \"%s\" must be one value of type %s",
						pipeline->name, format_type_be(type->bound)),
				 errhint("Cast it, for example SELECT max(id)::bigint FROM ….")));
	return query;
}

/*
 * The bound that the watermark allows; false if it says nothing.  An offset is the last
 * one that is safe, and belongs to the window that ends after it; a time is an end.
 */
static bool
read_watermark(const IdemPipeline *pipeline, const IdemRangeType *type, int64 *bound)
{
	WatermarkReceiver receiver = {
		.pub = {receive_row, startup_receiver, idem_keep_receiver, idem_keep_receiver, DestNone},
	};

	idem_run_query(make_watermark(pipeline, type), idem_bound_datum(type, 0),
				   idem_bound_datum(type, 0), NULL, &receiver.pub, 1);
	if (!receiver.found)
		return false;
	*bound = idem_value_bound(type, receiver.type, receiver.value);
	if (type->bound == INT8OID && *bound < PG_INT64_MAX)
		(*bound)++;
	return true;
}

/* Takes the lag from a bound, or from a moment where type is NULL; adds it for sign 1. */
static int64
apply_lag(const IdemPipeline *pipeline, const IdemRangeType *type, int64 bound, int sign)
{
	const IdemRangeType *of = type ? type : idem_range_type(TSTZRANGEOID);
	IdemStep lag;

	if (pipeline->lag == NULL)
		return bound;
	lag = idem_parse_step(of, "lag", pipeline->lag);
	return idem_add_steps(of, bound, &lag, sign);
}

/*
 * When a window that ends at a bound will be due.  To add a lag of months and to take
 * it away is not the same at a month's end, and local time can be set back: what was
 * not due when it should have been is looked at a minute later.
 */
static TimestampTz
close_time(const IdemPipeline *pipeline, const IdemRangeType *type, int64 bound)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz close = apply_lag(pipeline, NULL, idem_bound_time(type, bound), 1);

	return close > now ? close : now + USECS_PER_MINUTE;
}

/* What the frontier spares of what is due. */
static int64
find_look_from(const IdemFrontier *frontier, const IdemDue *due)
{
	if (frontier == NULL || due->window.lower >= due->window.upper)
		return due->window.lower;
	return idem_look_from(frontier, due->type, &due->step, due->window);
}

void
idem_find_due_here(const IdemPipeline *pipeline, const IdemRangeType *type,
				   const IdemFrontier *frontier, IdemDue *due)
{
	bool known = true;
	int64 bound;
	int64 next;

	memset(due, 0, sizeof(*due));
	due->type = type;
	due->step = idem_parse_step(due->type, "step", pipeline->step);
	due->window.lower = due->window.upper = idem_parse_bound(due->type, "start", pipeline->start);
	due->look_from = due->window.lower;
	if (pipeline->watermark == NULL)
		bound = idem_time_bound(due->type, apply_lag(pipeline, NULL, GetCurrentTimestamp(), -1));
	else if ((known = read_watermark(pipeline, due->type, &bound)))
		bound = apply_lag(pipeline, due->type, bound, -1);
	if (!known)
		return;
	due->window.upper = idem_grid_line(due->type, &due->step, due->window.lower, bound, &next);
	due->look_from = find_look_from(frontier, due);
	if (pipeline->watermark == NULL)
		due->next_close = close_time(pipeline, due->type, next);
}

Datum
idem_due_range(const IdemDue *due)
{
	return idem_window_datum(due->type, (IdemWindow){due->look_from, due->window.upper});
}

IdemWindow
idem_find_late_here(const IdemPipeline *pipeline, const IdemRangeType *type, int64 late)
{
	TimestampTz before = GetCurrentTimestamp() - late;
	IdemDue due;
	int64 bound;
	int64 next;

	if (type->bound == INT8OID)
		return (IdemWindow){0, 0};
	idem_find_due_here(pipeline, type, NULL, &due);
	/* where there is a watermark, the lag is behind that */
	bound = idem_time_bound(type, pipeline->watermark ? before : apply_lag(pipeline, NULL, before, -1));
	due.window.upper = Min(due.window.upper, idem_grid_line(type, &due.step, due.window.lower, bound, &next));
	return due.window;
}

/* What is to be found out, as an argument of idem_run_as. */
typedef struct DueSearch
{
	const IdemPipeline *pipeline;
	const IdemFrontier *frontier;
	IdemDue due;
} DueSearch;

static void
find_due_as(void *arg)
{
	DueSearch *search = arg;

	idem_find_due_here(search->pipeline, idem_pipeline_range_type(search->pipeline), search->frontier,
					   &search->due);
}

/* Finds out what is due, as the pipeline's owner. */
static IdemDue
find_due(const IdemPipeline *pipeline, const IdemFrontier *frontier)
{
	DueSearch search = {pipeline, frontier};

	idem_run_as(&pipeline->identity, find_due_as, &search);
	return search.due;
}

/* Fails for a schedule that has no clock. */
static void
check_watermark(const IdemPipeline *pipeline, const IdemRangeType *type)
{
	if (pipeline->watermark)
		(void) make_watermark(pipeline, type);
	else if (type->bound == INT8OID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("pipeline \"%s\" of offsets needs a watermark", pipeline->name),
				 errhint("Pass a query for the highest offset that is safe to load, for example watermark => 'SELECT max(id) FROM …'.")));
}

/* A schedule to be checked, as an argument of idem_run_as. */
typedef struct ScheduleCheck
{
	const IdemPipeline *pipeline;
	char *start;
} ScheduleCheck;

/* The start is what the caller has typed, or stored so that any session reads it alike. */
static void
read_start(void *arg)
{
	ScheduleCheck *check = arg;
	const IdemRangeType *type = idem_pipeline_range_type(check->pipeline);

	check->start = idem_bound_iso(type, idem_parse_bound(type, "start", check->pipeline->start));
}

static void
check_schedule_as(void *arg)
{
	ScheduleCheck *check = arg;
	const IdemPipeline *pipeline = check->pipeline;
	const IdemRangeType *type = idem_pipeline_range_type(pipeline);
	IdemRequest request;

	(void) idem_parse_step(type, "step", pipeline->step);
	if (pipeline->lag)
		(void) idem_parse_step(pipeline->watermark ? type : idem_range_type(TSTZRANGEOID), "lag", pipeline->lag);
	check_watermark(pipeline, type);
	request = idem_pipeline_request(pipeline);
	request.window_text = "empty";
	request.lookback = pipeline->lookback;
	idem_check_load(&request);
}

char *
idem_check_schedule(const IdemPipeline *pipeline)
{
	ScheduleCheck check = {pipeline, NULL};
	IdemIdentity owner = pipeline->identity;

	/* who creates it may be a superuser who has SET ROLE, as one who copies pipelines does */
	owner.restricted = true;
	idem_run_as_typed(pipeline, read_start, &check);
	idem_run_as(&owner, check_schedule_as, &check);
	return check.start;
}

/* A pipeline's failures to be read, as an argument of idem_run_as. */
typedef struct FailureReading
{
	const IdemPipeline *pipeline;
	const IdemDue *due;
	IdemPostponed failures;
} FailureReading;

static void
read_failures_as(void *arg)
{
	FailureReading *reading = arg;
	IdemLedger *ledger = idem_open_ledger(reading->pipeline->ledger,
										  idem_pipeline_request(reading->pipeline).schema, true);

	reading->failures = idem_ledger_failures(ledger, reading->pipeline->name, idem_due_range(reading->due));
}

/* What there is to know of a pipeline's windows that have failed. */
static IdemPostponed
read_failures(const IdemPipeline *pipeline, const IdemDue *due)
{
	FailureReading reading = {pipeline, due};

	if (due->window.lower < due->window.upper)
		idem_run_as(&pipeline->identity, read_failures_as, &reading);
	return reading.failures;
}

/* The earlier of two moments, of which 0 is never. */
static TimestampTz
earlier(TimestampTz a, TimestampTz b)
{
	if (a == 0 || b == 0)
		return Max(a, b);
	return Min(a, b);
}

/* When the next turn is due. */
static TimestampTz
next_turn(const IdemPipeline *pipeline, const IdemDue *due, const IdemSummary *summary)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = due->next_close;

	if (summary->more)
		return now;
	if (pipeline->watermark)
		next = earlier(next, now + pipeline->check_every);
	if (summary->busy > 0)
		next = earlier(next, now + BUSY_DELAY);
	return earlier(next, read_failures(pipeline, due).next_attempt_at);
}

/* The request to load what is due. */
static IdemRequest
due_request(const IdemPipeline *pipeline, const IdemDue *due)
{
	IdemRequest request = idem_pipeline_request(pipeline);

	request.window = idem_window_datum(due->type, due->window);
	request.window_type = due->type->range;
	request.step = pipeline->step;
	request.lookback = pipeline->lookback;
	request.continue_on_error = true;
	request.postpone = IDEM_POSTPONE_BLOCKED;
	return request;
}

void
idem_run_by_hand(const IdemPipeline *pipeline, bool atomic, IdemSummary *summary)
{
	IdemDue due = find_due(pipeline, NULL);
	IdemRequest request;

	memset(summary, 0, sizeof(*summary));
	summary->pipeline = pipeline->name;
	if (due.window.lower < due.window.upper)
	{
		request = due_request(pipeline, &due);
		idem_run_load(&request, atomic, NULL, NULL, summary);
	}
	summary->blocked = read_failures(pipeline, &due).blocked;
}

TimestampTz
idem_run_turn(const IdemPipeline *pipeline, const IdemFrontier *frontier,
			  const IdemCrashes *crashes, IdemSummary *summary)
{
	IdemDue due = find_due(pipeline, frontier);
	IdemRequest request;

	memset(summary, 0, sizeof(*summary));
	summary->pipeline = pipeline->name;
	if (due.window.lower < due.window.upper)
	{
		request = due_request(pipeline, &due);
		request.looks_from = true;
		request.look_from = due.look_from;
		request.scheduled = true;
		request.postpone = IDEM_POSTPONE_NOT_DUE;
		request.on_busy = IDEM_BUSY_SKIP;
		request.max_windows = crashes->in_a_row > 0 ? 1 : pipeline->max_windows;
		request.condemn = crashes->in_a_row >= MAX_CRASHES;
		request.one_by_one = crashes->lately;
		idem_run_load(&request, false, NULL, NULL, summary);
	}
	return next_turn(pipeline, &due, summary);
}
