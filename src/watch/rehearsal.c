/*
 * rehearsal.c
 *		Loads tried out: is what they do the same however often, and however cut, they run?
 *
 * A performance sets a stage, loads windows on it, looks at the copy of the target, and is
 * rolled back.  Two are compared by what they leave: rows, a checksum of them, and keys that
 * are there twice.  With keys the columns that the source has are compared: a row keeps what
 * the target gave it, such as a number.  Without keys a row is the same only if all of it is.
 *
 * All of it is one transaction, in which now() does not move: see suspect.c.
 */
#include "postgres.h"

#include "load/prepare.h"
#include "load/rows.h"
#include "miscadmin.h"
#include "server/scope.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "watch/rehearsal.h"
#include "watch/stage.h"
#include "watch/suspect.h"

/* What a load leaves. */
typedef struct State
{
	int64 rows;
	Datum digest; /* a bytea; 0 if there are no rows */
	int64 twice;  /* keys that are there more than once */
	int64 written; /* rows that the load wrote */
} State;

typedef struct Performance Performance;

/* All that the performances of one call have in common. */
typedef struct Rehearsing
{
	const IdemRehearsal *rehearsal;
	IdemTakeTrial take;
	void *arg;
	const IdemRangeType *type;
	MemoryContext context; /* lives as long as the call */
	IdemWindow window;
	State clean; /* after one load of it */
} Rehearsing;

/* One performance. */
struct Performance
{
	Rehearsing *rehearsing;
	IdemRequest request; /* on the stage */
	IdemLoad looked_up;	 /* what the request comes to there */
	IdemStatement *look;
	IdemStatement *look_keys; /* NULL without keys */
	const IdemWindow *windows; /* to be loaded, in this order */
	int nwindows;
	State states[3]; /* one after each act */
	int acts;		 /* 1: load; 2: and again; 3: and again after the rows were lost */
};

/* Looks up what the request comes to on the stage, in which columns of the source are marked. */
static void
look_up(Performance *performance)
{
	IdemLoad *load = &performance->looked_up;

	load->request = &performance->request;
	load->summary = palloc0(sizeof(IdemSummary));
	load->context = CurrentMemoryContext;
	load->piece_context = CurrentMemoryContext;
	idem_prepare_check(load);
}

/* SELECT count(*), idem_digest(r) FROM (SELECT c, … FROM target) r */
static void
make_look(Performance *performance)
{
	const IdemTarget *target = performance->looked_up.target;
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT pg_catalog.count(*), %s(r) FROM (SELECT ",
					 quote_qualified_identifier(get_namespace_name(performance->request.schema), "idem_digest"));
	if (target->nkeys > 0)
		idem_append_columns(&sql, target, "d.");
	else
		appendStringInfoString(&sql, "d.*");
	appendStringInfo(&sql, " FROM %s d) r", target->name);
	performance->look = idem_make_statement(sql.data, 0, NULL, IDEM_SNAPSHOT_NEW);
}

/* SELECT count(*) FROM (SELECT FROM target d GROUP BY d.k, … HAVING count(*) > 1) c */
static void
make_look_keys(Performance *performance)
{
	const IdemTarget *target = performance->looked_up.target;
	StringInfoData sql;

	if (target->nkeys == 0)
		return;
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT pg_catalog.count(*) FROM (SELECT FROM %s d GROUP BY ", target->name);
	idem_append_keys(&sql, target, "d.");
	appendStringInfoString(&sql, " HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1) c");
	performance->look_keys = idem_make_statement(sql.data, 0, NULL, IDEM_SNAPSHOT_NEW);
}

/* Sees what there is. */
static void
look(Performance *performance, State *state)
{
	MemoryContext old = MemoryContextSwitchTo(performance->rehearsing->context);
	Datum values[2];
	bool nulls[2];

	(void) idem_fetch(performance->look, NULL, NULL, 2, values, nulls);
	state->rows = DatumGetInt64(values[0]);
	state->digest = nulls[1] ? 0 : values[1];
	if (performance->look_keys && idem_fetch(performance->look_keys, NULL, NULL, 1, values, nulls))
		state->twice = DatumGetInt64(values[0]);
	MemoryContextSwitchTo(old);
}

/* Loads the windows, whatever is complete, and sees what there is then. */
static void
load_windows(Performance *performance, State *state)
{
	int i;

	for (i = 0; i < performance->nwindows; i++)
	{
		IdemRequest request = performance->request;
		IdemSummary summary;

		CHECK_FOR_INTERRUPTS();
		request.window = idem_window_datum(performance->rehearsing->type, performance->windows[i]);
		request.window_type = performance->rehearsing->type->range;
		request.force = true;
		idem_run_load(&request, true, NULL, NULL, &summary);
		state->written += summary.total.inserted_rows + summary.total.updated_rows + summary.total.deleted_rows;
	}
	look(performance, state);
}

/* Plays it, as whom the request is made. */
static void
play_as(void *arg)
{
	Performance *performance = arg;
	int act;

	performance->request = idem_set_stage(performance->rehearsing->rehearsal->request, performance->rehearsing->type);
	look_up(performance);
	make_look(performance);
	make_look_keys(performance);
	for (act = 0; act < performance->acts; act++)
	{
		if (act == 2)
			idem_run_once(psprintf("DELETE FROM %s", performance->looked_up.target->name));
		load_windows(performance, &performance->states[act]);
	}
}

static void
play(void *arg)
{
	Performance *performance = arg;

	idem_run_as(&performance->rehearsing->rehearsal->request->identity, play_as, performance);
}

/* Reports a check. */
static void
report(const Rehearsing *rehearsing, const char *trial, const char *check, bool ok, const char *detail)
{
	rehearsing->take(rehearsing->arg, psprintf("%s_%s", trial, check), ok, detail);
}

/* Performs, and reports whether the loads ran; false if they did not. */
static bool
perform(Performance *performance, const char *trial)
{
	Rehearsing *rehearsing = performance->rehearsing;
	ErrorData *error = idem_try_out(play, performance, rehearsing->context);

	idem_hide_rows(); /* those of the statement that failed */
	/* what is wrong with the stage is no finding */
	if (error && error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE)
		ReThrowError(error);
	report(rehearsing, trial, "runs", error == NULL, error ? error->message : NULL);
	return error == NULL;
}

/* True if two states hold the same rows. */
static bool
is_same(const State *a, const State *b)
{
	if (a->rows != b->rows || (a->digest == 0) != (b->digest == 0))
		return false;
	return a->digest == 0 || DatumGetBool(DirectFunctionCall2(byteaeq, a->digest, b->digest));
}

/* Reports whether two states hold the same rows. */
static void
report_same(const Rehearsing *rehearsing, const char *trial, const char *check, const State *expected, const State *state)
{
	bool same = is_same(expected, state);
	const char *detail = NULL;

	if (!same && expected->rows == state->rows)
		detail = psprintf(INT64_FORMAT " rows as expected, but not the same", state->rows);
	else if (!same)
		detail = psprintf(INT64_FORMAT " rows instead of " INT64_FORMAT, state->rows, expected->rows);
	report(rehearsing, trial, check, same, detail);
}

/* Reports whether every key is there once. */
static void
report_keys(const Performance *performance, const char *trial, const State *state)
{
	if (performance->look_keys)
		report(performance->rehearsing, trial, "keys_once", state->twice == 0,
			   state->twice > 0 ? psprintf(INT64_FORMAT " keys are there more than once", state->twice) : NULL);
}

/* The window again, and again after its rows were lost. */
static void
try_rerun(Rehearsing *rehearsing)
{
	Performance performance = {rehearsing, .windows = &rehearsing->window, .nwindows = 1, .acts = 3};
	const State *states = performance.states;

	if (!perform(&performance, "rerun"))
		return;
	report(rehearsing, "rerun", "writes_nothing", states[1].written == 0,
		   states[1].written > 0 ? psprintf("the second run wrote " INT64_FORMAT " rows", states[1].written) : NULL);
	report_same(rehearsing, "rerun", "same_rows", &states[0], &states[1]);
	report_same(rehearsing, "rerun", "after_loss", &states[0], &states[2]);
	report_keys(&performance, "rerun", &states[2]);
}

/* How many pieces a test loads: each is a load, and it all is one transaction. */
#define MAX_PIECES 100000

/* The pieces of the window; argument names what cuts it. */
typedef struct Cutting
{
	const Rehearsing *rehearsing;
	const char *argument;
	const char *text;
	IdemWindow *pieces;
	int n;
} Cutting;

/* Cuts it as whom the request is made, by his time zone. */
static void
cut_as(void *arg)
{
	Cutting *cutting = arg;
	const Rehearsing *rehearsing = cutting->rehearsing;
	IdemStep step = idem_parse_step(rehearsing->type, cutting->argument, cutting->text);
	IdemPieces pieces;
	IdemCursor cursor = {0};
	int64 total;

	idem_begin_pieces(&pieces, rehearsing->type, &step, rehearsing->window.lower, &rehearsing->window, 1, false);
	total = idem_count_pieces(&pieces);
	if (total > MAX_PIECES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("window_range is cut into " INT64_FORMAT " pieces, a test loads at most %d", total, MAX_PIECES),
				 errhint("Pass a shorter window_range, or a longer %s.", cutting->argument)));
	cutting->pieces = palloc(mul_size(total, sizeof(IdemWindow)));
	while (cutting->n < total && idem_next_piece(&pieces, &cursor, &cutting->pieces[cutting->n]))
		cutting->n++;
}

static Cutting
cut(const Rehearsing *rehearsing, const char *argument, const char *text)
{
	Cutting cutting = {rehearsing, argument, text};

	idem_run_as(&rehearsing->rehearsal->request->identity, cut_as, &cutting);
	return cutting;
}

/* Performs windows, and reports whether they leave what one load does. */
static void
try_windows(Rehearsing *rehearsing, const char *trial, const IdemWindow *windows, int n)
{
	Performance performance = {rehearsing, .windows = windows, .nwindows = n, .acts = 1};

	if (!perform(&performance, trial))
		return;
	report_same(rehearsing, trial, "same_rows", &rehearsing->clean, &performance.states[0]);
	report_keys(&performance, trial, &performance.states[0]);
}

/* Two windows that overlap in one piece, if there are as many. */
static void
try_overlap(Rehearsing *rehearsing)
{
	Cutting cutting = cut(rehearsing, "overlap", rehearsing->rehearsal->overlap);
	int middle = (cutting.n - 1) / 2;
	IdemWindow windows[] = {
		{rehearsing->window.lower, cutting.pieces[middle].upper},
		{cutting.pieces[middle].lower, rehearsing->window.upper},
	};

	try_windows(rehearsing, "overlap", windows, lengthof(windows));
}

/* Many pieces instead of one. */
static void
try_split(Rehearsing *rehearsing)
{
	Cutting cutting = cut(rehearsing, "step", rehearsing->rehearsal->step);

	try_windows(rehearsing, "split", cutting.pieces, cutting.n);
}

/* The pieces from the last to the first. */
static void
try_order(Rehearsing *rehearsing)
{
	Cutting cutting = cut(rehearsing, "step", rehearsing->rehearsal->step);
	IdemWindow *windows = palloc(mul_size(cutting.n, sizeof(IdemWindow)));
	int i;

	for (i = 0; i < cutting.n; i++)
		windows[i] = cutting.pieces[cutting.n - 1 - i];
	try_windows(rehearsing, "order", windows, cutting.n);
}

/* Performs what the others are compared with; false if the load fails, which is reported. */
static bool
play_clean(Rehearsing *rehearsing)
{
	Performance performance = {rehearsing, .windows = &rehearsing->window, .nwindows = 1, .acts = 1};

	if (!perform(&performance, "clean"))
		return false;
	rehearsing->clean = performance.states[0];
	return true;
}

/* A warning, or NULL where there is none. */
static const char *
warn(const char *what, const char *found)
{
	return found ? psprintf("warning: %s %s", what, found) : NULL;
}

/* Looks source and defaults over. */
static void
try_static_as(void *arg)
{
	Rehearsing *rehearsing = arg;
	const IdemRequest *request = rehearsing->rehearsal->request;
	Performance performance = {rehearsing, .request = *request};
	IdemSource *source;

	look_up(&performance);
	source = performance.looked_up.source;
	report(rehearsing, "static", "source", true,
		   warn("the source calls", idem_suspects((Node *) idem_source_tree(source))));
	report(rehearsing, "static", "defaults", true,
		   warn("the target fills in", idem_suspect_defaults(performance.looked_up.target)));
	if (list_member_oid(idem_source_relations(source), request->target))
		report(rehearsing, "static", "reads_target", true, "warning: the source reads the target itself, not its copy");
	report(rehearsing, "static", "left_out", true, warn("not tested:", idem_left_out(request)));
}

void
idem_rehearse(const IdemRehearsal *rehearsal, IdemTakeTrial take, void *arg)
{
	const IdemRequest *request = rehearsal->request;
	Rehearsing rehearsing = {
		.rehearsal = rehearsal,
		.take = take,
		.arg = arg,
		.type = idem_range_type(request->window_type),
		.context = CurrentMemoryContext,
	};
	int compared = IDEM_TRIAL_OVERLAP | IDEM_TRIAL_SPLIT | IDEM_TRIAL_ORDER;

	idem_require_writable("test a pipeline");
	if (!idem_read_window(rehearsing.type, request->window, &rehearsing.window))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("window_range is empty"),
				 errhint("Pass a window of which the source has rows.")));
	if (rehearsal->trials & IDEM_TRIAL_STATIC)
		idem_run_as(&request->identity, try_static_as, &rehearsing);
	if (rehearsal->trials & IDEM_TRIAL_RERUN)
		try_rerun(&rehearsing);
	if ((rehearsal->trials & compared) == 0 || !play_clean(&rehearsing))
		return;
	if (rehearsal->trials & IDEM_TRIAL_OVERLAP)
		try_overlap(&rehearsing);
	if (rehearsal->trials & IDEM_TRIAL_SPLIT)
		try_split(&rehearsing);
	if (rehearsal->trials & IDEM_TRIAL_ORDER)
		try_order(&rehearsing);
}
