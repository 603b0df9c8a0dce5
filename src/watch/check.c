/*
 * check.c
 *		Source and target of a window compared, as far as one has to look.
 *
 * Ledger, source and target are read in one snapshot: in two statements one after the other,
 * half of the checks beside a writer find differences that are none.
 *
 * Both sides are read once, and their rows' hashes added up, under a key as a load does
 * (unchanged.c).  Only where the sums differ are rows compared: by key with the load's own
 * join, and without keys by their hashes, which are sorted.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "executor/tuptable.h"
#include "id/digest.h"
#include "load/apply.h"
#include "load/call.h"
#include "load/prepare.h"
#include "load/zone.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "server/query.h"
#include "server/scope.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "watch/check.h"
#include "watch/multiset.h"

/* All that the windows of one call have in common. */
typedef struct Checking
{
	const IdemRequest *request;
	IdemDepth depth;
	const IdemExpect *expect;
	IdemTakeCheck take;
	void *arg;
	int64 windows; /* done */
	IdemLoad load; /* what is compared, looked up as for a load */
	IdemSummary summary;
	bool remote;
	int64 max_rows; /* differences wanted yet; 0 where nobody wants any */
	IdemTakeDifference take_difference;
} Checking;

/* One window. */
typedef struct Window
{
	Checking *checking;
	Snapshot since;
	const IdemComplete *complete;
	IdemPiece piece;
	IdemRun run;
	IdemImage image;
	IdemMultiset *multiset; /* NULL while nobody needs it */
	IdemDigest digests[IDEM_SIDES];
	IdemDigest sums[IDEM_SIDES]; /* under the call's key */
	IdemDifference difference;
	IdemCheck *check;
} Window;

static const char *const depths[] = {"auto", "counts", "digest", "rows", NULL};

IdemDepth
idem_read_depth(FunctionCallInfo fcinfo, int arg)
{
	return (IdemDepth) idem_choice_argument(fcinfo, arg, "depth", depths);
}

const char *
idem_depth_name(IdemDepth depth)
{
	return depths[depth];
}

/* Adds a row to the sums of a side. */
static void
sum_row(Window *window, int side, TupleDesc desc, TupleTableSlot *slot)
{
	IdemDigest hash;

	idem_make_image(&window->image, desc, slot->tts_values, slot->tts_isnull);
	hash = idem_hash_image(&window->image, NULL);
	idem_add_digest(&window->digests[side], &hash);
	hash = idem_hash_image(&window->image, &window->checking->load.apply->key);
	idem_add_digest(&window->sums[side], &hash);
}

/* True if a key of a row is NULL. */
static bool
has_null_key(const IdemApply *apply, TupleTableSlot *slot)
{
	int i;

	for (i = 0; i < apply->nnullable; i++)
	{
		if (slot->tts_isnull[apply->nullable[i]])
			return true;
	}
	return false;
}

/* Takes a row of the source, which is kept. */
static bool
take_source_row(void *arg, TupleTableSlot *slot)
{
	Window *window = arg;
	IdemApply *apply = window->checking->load.apply;

	slot_getallattrs(slot);
	if (window->checking->depth != IDEM_DEPTH_COUNTS)
		sum_row(window, IDEM_SOURCE, apply->desc, slot);
	window->check->source_null_keys += has_null_key(apply, slot);
	return idem_take_row(apply, &window->piece, slot, NULL);
}

/* Takes the rows of the window in the target. */
typedef struct TargetReceiver
{
	IdemRowReceiver base;
	Window *window;
	IdemRows *only;		   /* into which those go that only the target has; NULL: none */
	MemoryContext context; /* reset for each row */
} TargetReceiver;

static bool
receive_target_row(TupleTableSlot *slot, DestReceiver *self)
{
	TargetReceiver *receiver = (TargetReceiver *) self;
	Window *window = receiver->window;
	IdemApply *apply = window->checking->load.apply;
	MemoryContext old = MemoryContextSwitchTo(receiver->context);

	slot_getallattrs(slot);
	if (window->checking->depth != IDEM_DEPTH_COUNTS)
		sum_row(window, IDEM_TARGET, apply->desc, slot);
	window->check->target_rows++;
	window->check->target_null_keys += has_null_key(apply, slot);
	MemoryContextSwitchTo(old);
	MemoryContextReset(receiver->context);
	return true;
}

/* A statement over a window's bounds. */
static IdemStatement *
make_statement(const Window *window, const char *sql)
{
	Oid bound = window->checking->load.type->bound;
	Oid types[] = {bound, bound};

	return idem_make_statement(sql, lengthof(types), types, IDEM_SNAPSHOT_NEW);
}

/* Reads the window in the target. */
static void
read_target(Window *window, bool (*receive)(TupleTableSlot *slot, DestReceiver *self), IdemRows *only)
{
	TargetReceiver receiver = {
		.base = {{receive, idem_start_rows, idem_keep_receiver, idem_keep_receiver, DestNone},
				 window->checking->load.target, window->checking->load.apply->desc},
		.window = window,
		.only = only,
		.context = AllocSetContextCreate(CurrentMemoryContext, "idem window row", ALLOCSET_SMALL_SIZES),
	};
	StringInfoData sql;

	initStringInfo(&sql);
	idem_build_window(&sql, window->checking->load.apply);
	idem_run_since(make_statement(window, sql.data), window->since, window->piece.bounds, &receiver.base.pub);
	MemoryContextDelete(receiver.context);
}

/* Takes one row of numbers. */
typedef struct NumbersReceiver
{
	DestReceiver pub;
	int64 numbers[3];
} NumbersReceiver;

static bool
receive_numbers(TupleTableSlot *slot, DestReceiver *self)
{
	NumbersReceiver *receiver = (NumbersReceiver *) self;
	int i;

	slot_getallattrs(slot);
	for (i = 0; i < lengthof(receiver->numbers); i++)
		receiver->numbers[i] = DatumGetInt64(slot->tts_values[i]);
	return true;
}

/*
 * Counts the keys of the window in the target, where no index says that each is there once:
 * SELECT count(*), count(*) FILTER (WHERE n > 1), max(n)
 *     FROM (SELECT count(*) AS n FROM target d WHERE d.w >= $1 AND d.w < $2 GROUP BY d.k, …) c
 */
static void
count_keys(Window *window)
{
	const IdemTarget *target = window->checking->load.target;
	NumbersReceiver receiver = {
		.pub = {receive_numbers, idem_start_receiver, idem_keep_receiver, idem_keep_receiver, DestNone},
	};
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE c.n OPERATOR(pg_catalog.>) 1),"
						   " COALESCE(pg_catalog.max(c.n), 0) FROM (SELECT pg_catalog.count(*) AS n FROM %s d WHERE ",
					 target->name);
	idem_append_in_window(&sql, target, "d");
	appendStringInfoString(&sql, " GROUP BY ");
	idem_append_keys(&sql, target, "d.");
	appendStringInfoString(&sql, ") c");
	idem_run_since(make_statement(window, sql.data), window->since, window->piece.bounds, &receiver.pub);
	window->check->target_keys = receiver.numbers[0];
	window->check->duplicate_keys = receiver.numbers[1];
	window->check->max_per_key = receiver.numbers[2];
}

/* Reads the source. */
static void
read_source(Window *window)
{
	IdemLoad *load = &window->checking->load;
	IdemCheck *check = window->check;

	window->piece.watched = true;
	idem_begin_watch(load->apply->collapse);
	window->piece.rows = idem_make_rows(idem_source_desc(load->source));
	idem_run_source(load->source, window->complete->window, window->since, &window->piece.rows, take_source_row, window);
	check->source_rows = window->piece.rows.count;
	idem_collapse_piece(load->apply, &window->piece);
	if (load->target->nkeys > 0)
		check->source_keys = window->piece.rows.count;
	else
		check->source_null_keys = IDEM_NOT_COUNTED;
}

/* Reads the target, if it is known which of its rows are the window's. */
static void
read_window(Window *window)
{
	const IdemTarget *target = window->checking->load.target;
	IdemCheck *check = window->check;

	if (target->window == NULL)
		return;
	check->target_rows = check->target_null_keys = 0;
	read_target(window, receive_target_row, NULL);
	if (target->nkeys == 0)
		check->target_null_keys = IDEM_NOT_COUNTED;
	else if (target->has_arbiter)
	{
		check->target_keys = check->target_rows;
		check->duplicate_keys = 0;
		check->max_per_key = Min(check->target_rows, 1);
	}
	else
		count_keys(window);
}

/* True if the two sides hold the same rows, as their sums tell. */
static bool
is_same(const Window *window)
{
	const IdemCheck *check = window->check;

	return check->target_rows == check->source_rows && window->piece.rows.count == check->source_rows &&
		   memcmp(&window->sums[IDEM_SOURCE], &window->sums[IDEM_TARGET], sizeof(IdemDigest)) == 0;
}

/*
 * Compares by key.  After an upsert what is missing in the window may be in another, and
 * nothing is extra.
 */
static void
compare_keys(Window *window)
{
	IdemApply *apply = window->checking->load.apply;
	IdemDifference found;

	window->difference = idem_compare_window(apply, &window->piece, window->since);
	if (!apply->reload && apply->by_window && window->difference.missing.count > 0)
	{
		found = idem_compare_rows(apply, &window->piece, &window->difference.missing, window->since);
		idem_free_rows(&window->difference.missing);
		window->difference.missing = found.missing;
		idem_free_rows(&found.changed);
		idem_free_rows(&found.gone);
	}
	window->check->missing_rows = window->difference.missing.count;
	window->check->extra_rows = apply->reload ? window->difference.gone.count : IDEM_NOT_COUNTED;
	window->check->different_rows = window->difference.changed.count;
}

/*
 * Adds a row of a side to the multiset; or, where only is given, adds it to that if the other
 * side does not have it.  What is made on the way is in a context that is reset.
 */
static void
compare_row(Window *window, int side, TupleTableSlot *slot, IdemRows *only, MemoryContext context)
{
	IdemApply *apply = window->checking->load.apply;
	MemoryContext old = MemoryContextSwitchTo(context);
	IdemDigest hash;

	slot_getallattrs(slot);
	idem_make_image(&window->image, apply->desc, slot->tts_values, slot->tts_isnull);
	hash = idem_hash_image(&window->image, &apply->key);
	MemoryContextSwitchTo(old);
	if (only == NULL)
		idem_add_row(window->multiset, side, &hash);
	else if (idem_take_only(window->multiset, side, &hash))
		idem_put_row(only, slot->tts_values, slot->tts_isnull);
	MemoryContextReset(context);
}

/* Compares the source's rows, which have been kept. */
static void
compare_source(Window *window, IdemRows *only)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(window->checking->load.apply->desc, &TTSOpsMinimalTuple);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "idem source row", ALLOCSET_SMALL_SIZES);

	tuplestore_rescan(window->piece.rows.store);
	while (tuplestore_gettupleslot(window->piece.rows.store, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		compare_row(window, IDEM_SOURCE, slot, only, context);
	}
	MemoryContextDelete(context);
	ExecDropSingleTupleTableSlot(slot);
}

/* Compares a row of the target. */
static bool
receive_compared_row(TupleTableSlot *slot, DestReceiver *self)
{
	TargetReceiver *receiver = (TargetReceiver *) self;

	compare_row(receiver->window, IDEM_TARGET, slot, receiver->only, receiver->context);
	return true;
}

/* Compares rows that have no keys, and collects those of which differences are wanted. */
static void
compare_multisets(Window *window)
{
	TupleDesc desc = window->checking->load.apply->desc;
	int64 max = Max(window->checking->max_rows, window->checking->expect->max_samples);
	int64 only[IDEM_SIDES];

	window->multiset = idem_begin_multiset();
	compare_source(window, NULL);
	read_target(window, receive_compared_row, NULL);
	idem_compare_multiset(window->multiset, max, only);
	window->check->missing_rows = only[IDEM_SOURCE];
	window->check->extra_rows = only[IDEM_TARGET];
	window->difference = (IdemDifference){idem_make_rows(desc), idem_make_rows(desc), idem_make_rows(desc)};
	if (max > 0)
	{
		compare_source(window, &window->difference.missing);
		read_target(window, receive_compared_row, &window->difference.gone);
	}
	idem_end_multiset(window->multiset);
	window->multiset = NULL;
}

/* Compares row by row, unless the sums have told already that there is nothing to find. */
static void
compare_rows(Window *window)
{
	const IdemTarget *target = window->checking->load.target;
	IdemCheck *check = window->check;

	if (check->depth != IDEM_DEPTH_ROWS && target->window && is_same(window))
	{
		check->missing_rows = check->different_rows = 0;
		check->extra_rows = window->checking->request->reload ? 0 : IDEM_NOT_COUNTED;
		return;
	}
	if (check->depth != IDEM_DEPTH_ROWS && check->depth != IDEM_DEPTH_AUTO)
		return;
	check->depth = IDEM_DEPTH_ROWS;
	if (target->nkeys > 0)
		compare_keys(window);
	else
		compare_multisets(window);
}

/* Adds a word to what is wrong. */
static void
add_finding(StringInfo result, bool found, const char *what)
{
	if (found)
		appendStringInfo(result, "%s%s", result->len > 0 ? ", " : "", what);
}

/*
 * Who is to blame: the source, if it returns other rows than when it was loaded; else the
 * target, if it has been reloaded with them.
 */
static void
add_blame(Window *window, StringInfo result, bool differs)
{
	const IdemLoad *load = &window->checking->load;
	const IdemComplete *complete = window->complete;
	IdemCheck *check = window->check;
	bool changed;

	if (check->source_digest == 0 || complete->digest == 0 || complete->source_schema == NULL ||
		strcmp(complete->source_schema, load->source_schema) != 0)
		return;
	changed = memcmp(DatumGetPointer(complete->digest), DatumGetPointer(check->source_digest),
					 VARHDRSZ + IDEM_DIGEST_SIZE) != 0;
	add_finding(result, changed, "source_changed");
	add_finding(result, !changed && differs && load->request->reload, "target_changed");
}

/* Rows of the target for so many keys of the source, or as many as a number can say. */
static int64
rows_of_keys(int64 keys, int64 per_key)
{
	return per_key > 0 && keys > PG_INT64_MAX / per_key ? PG_INT64_MAX : keys * per_key;
}

/* True if the target has fewer rows than its keys in the source want. */
static bool
is_short(const Window *window, int64 keys)
{
	const IdemExpect *expect = window->checking->expect;
	const IdemCheck *check = window->check;

	return window->checking->request->reload && check->target_rows != IDEM_NOT_COUNTED &&
		   (check->missing_rows == IDEM_NOT_COUNTED || expect->min_per_key > 1) &&
		   check->target_rows < rows_of_keys(keys, expect->min_per_key) - check->allowed;
}

/* How many rows the window has: of the target, if that is known. */
static int64
window_rows(const IdemCheck *check)
{
	return check->target_rows == IDEM_NOT_COUNTED ? check->source_rows : check->target_rows;
}

/* Says by which rows the two sides differ more than they may. */
static void
add_differences(Window *window, int64 keys, StringInfo result)
{
	const IdemExpect *expect = window->checking->expect;
	IdemCheck *check = window->check;
	bool surplus;
	bool differs = check->depth == IDEM_DEPTH_DIGEST && window->checking->request->reload && !is_same(window) &&
				   window->piece.rows.count == check->source_rows && expect->min_per_key == 1 && expect->max_per_key == 1;

	if (check->target_rows != IDEM_NOT_COUNTED && window->checking->request->reload)
		check->surplus_rows = Max(0, check->target_rows - rows_of_keys(keys, expect->max_per_key));
	surplus = check->surplus_rows > check->allowed;
	add_finding(result, check->max_per_key > expect->max_per_key, "duplicates");
	add_finding(result, surplus, "surplus");
	add_finding(result, (expect->min_per_key > 0 && check->missing_rows > check->allowed) || is_short(window, keys), "missing");
	add_finding(result, check->extra_rows > check->allowed, "extra");
	add_finding(result, check->different_rows > check->allowed || differs, "different");
}

/* Says what is wrong. */
static void
judge(Window *window)
{
	const IdemExpect *expect = window->checking->expect;
	IdemCheck *check = window->check;
	int64 keys = check->source_keys == IDEM_NOT_COUNTED ? check->source_rows : check->source_keys;
	StringInfoData result;
	bool differs;

	check->allowed = idem_allowance(expect, keys);
	if (expect->max_per_key > 1)
		check->different_rows = IDEM_NOT_COUNTED; /* nobody knows which of them it should be like */
	initStringInfo(&result);
	add_differences(window, keys, &result);
	differs = result.len > 0;
	add_finding(&result, window_rows(check) < expect->min_rows && strstr(result.data, "missing") == NULL, "missing");
	add_finding(&result, window_rows(check) > expect->max_rows && strstr(result.data, "surplus") == NULL, "surplus");
	add_finding(&result, Max(check->source_null_keys, check->target_null_keys) > expect->null_keys, "null_keys");
	add_blame(window, &result, differs);
	check->result = result.len > 0 ? result.data : "ok";
}

/* Hands the rows over by which the two sides differ; and keeps some of their keys. */
static void report_differences(Window *window);
static void take_samples(Window *window);

/* Compares the two sides of a window. */
static void
compare_window(Window *window)
{
	IdemCheck *check = window->check;
	IdemDepth depth = check->depth;

	idem_init_image(&window->image);
	read_source(window);
	idem_check_target(window->checking->load.target);
	read_window(window);
	if (depth != IDEM_DEPTH_COUNTS)
	{
		check->source_digest = idem_digest_bytea(&window->digests[IDEM_SOURCE]);
		check->target_digest = check->target_rows == IDEM_NOT_COUNTED ? 0 : idem_digest_bytea(&window->digests[IDEM_TARGET]);
		compare_rows(window);
		if (check->depth == IDEM_DEPTH_AUTO)
			check->depth = IDEM_DEPTH_DIGEST;
	}
	judge(window);
	if (window->checking->max_rows > 0)
		report_differences(window);
	if (window->checking->expect->max_samples > 0)
		take_samples(window);
	if (window->difference.missing.store)
		idem_free_difference(&window->difference);
	idem_free_rows(&window->piece.rows);
	idem_check_target(window->checking->load.target);
}

/* The run that completed a window, in a snapshot; NULL if it is another by now. */
static const IdemComplete *
find_complete(Checking *checking, const IdemComplete *run, Snapshot since)
{
	IdemLoad *load = &checking->load;
	int n;
	IdemComplete *runs = idem_complete_runs(load->ledger, load->pipeline, idem_window_datum(load->type, run->window), since, &n);

	return n == 1 && runs[0].run_id == run->run_id ? &runs[0] : NULL;
}

/* Nothing has been counted yet. */
static void
count_nothing(IdemCheck *check)
{
	check->source_rows = check->source_keys = check->source_null_keys = IDEM_NOT_COUNTED;
	check->target_rows = check->target_keys = check->target_null_keys = IDEM_NOT_COUNTED;
	check->duplicate_keys = check->surplus_rows = check->max_per_key = IDEM_NOT_COUNTED;
	check->missing_rows = check->extra_rows = check->different_rows = IDEM_NOT_COUNTED;
}

/* What there is to say of a window before it has been looked at. */
static IdemCheck
begin_check(const Checking *checking, const IdemComplete *run)
{
	IdemCheck check = {
		.type = checking->load.type,
		.pipeline = checking->load.pipeline,
		.window = run->window,
		.run_id = run->run_id,
		.depth = checking->depth,
		.remote = checking->remote,
		.checked_at = GetCurrentTimestamp(),
	};

	count_nothing(&check);
	check.source_rows = check.source_null_keys = 0;
	return check;
}

/* Checks one window, if it still is complete. */
static bool
check_window(Checking *checking, const IdemComplete *run, IdemCheck *check)
{
	IdemLoad *load = &checking->load;
	Snapshot since = idem_take_snapshot();
	Window window = {.checking = checking, .since = since, .check = check};
	instr_time start;
	instr_time end;

	*check = begin_check(checking, run);
	INSTR_TIME_SET_CURRENT(start);
	window.complete = find_complete(checking, run, since);
	if (window.complete)
	{
		window.piece.run = &window.run;
		window.piece.bounds[0] = idem_bound_datum(load->type, run->window.lower);
		window.piece.bounds[1] = idem_bound_datum(load->type, run->window.upper);
		compare_window(&window);
		INSTR_TIME_SET_CURRENT(end);
		INSTR_TIME_SUBTRACT(end, start);
		check->seconds = INSTR_TIME_GET_DOUBLE(end);
	}
	idem_release_snapshot(since);
	return window.complete != NULL;
}

IdemCheck
idem_failed_check(const IdemRangeType *type, const char *pipeline, IdemWindow window, IdemDepth depth, const ErrorData *error)
{
	IdemCheck check = {
		.type = type,
		.pipeline = pipeline,
		.window = window,
		.depth = depth,
		.checked_at = GetCurrentTimestamp(),
		.result = "check_failed",
	};

	count_nothing(&check);
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("check of window %s of pipeline \"%s\" failed: %s", idem_window_text(type, window), pipeline, error->message)));
	return check;
}

/* A window to be checked, as an argument of idem_try_within. */
typedef struct TimedCheck
{
	Checking *checking;
	const IdemComplete *run;
	bool done;
	IdemCheck check;
} TimedCheck;

static void
run_timed_check(void *arg)
{
	TimedCheck *timed = arg;

	timed->done = check_window(timed->checking, timed->run, &timed->check);
}

/* Checks one window in the time that it may take. */
static void
check_window_in_time(TimedCheck *timed)
{
	const Checking *checking = timed->checking;
	int max_time = checking->expect->max_time;
	bool late;
	ErrorData *error = idem_try_within(max_time, run_timed_check, timed, CurrentMemoryContext, &late);

	if (error && !late)
		ReThrowError(error);
	if (!late)
		return;
	idem_hide_rows();
	error->message = psprintf("it has taken longer than %g seconds", max_time / 1000.0);
	timed->check = idem_failed_check(checking->load.type, checking->load.pipeline, timed->run->window, checking->depth, error);
	timed->check.run_id = timed->run->run_id;
	timed->check.seconds = max_time / 1000.0;
	timed->done = true;
}

/* Checks one window, and hands over what has come of it. */
static void
check_and_take(Checking *checking, const IdemComplete *run)
{
	TimedCheck timed = {checking, run};

	if (checking->expect->max_time > 0)
		check_window_in_time(&timed);
	else
		run_timed_check(&timed);
	if (!timed.done)
		return;
	checking->windows++;
	if (checking->take)
		checking->take(checking->arg, &timed.check);
}

/* True if some of what is read lies on another server. */
static bool
is_remote(IdemLoad *load)
{
	ListCell *lc;

	foreach (lc, idem_source_relations(load->source))
	{
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_FOREIGN_TABLE)
			return true;
	}
	return load->target->is_foreign;
}

/* Looks everything up. */
static void
open_checking(Checking *checking)
{
	IdemLoad *load = &checking->load;

	load->request = checking->request;
	load->summary = &checking->summary;
	load->context = CurrentMemoryContext;
	load->piece_context = AllocSetContextCreate(load->context, "idem check", ALLOCSET_DEFAULT_SIZES);
	idem_prepare_check(load);
	load->apply->by_window = load->target->window != NULL;
	load->apply->checked = true; /* it writes nothing */
	checking->remote = is_remote(load);
}

/* Says how many rows of a relation that is the source are in no window, and so are never loaded. */
static void
say_windowless(const IdemLoad *load)
{
	int64 count = idem_count_windowless(load->source);

	if (count > 0)
		ereport(NOTICE,
				(errmsg("source of pipeline \"%s\" has " INT64_FORMAT " rows of which \"%s\" is NULL", load->pipeline, count,
						load->target->window->name),
				 errdetail("They are in no window, and no load reads them.")));
}

/* Checks the windows, as whom it is requested. */
static void
check_windows_as(void *arg)
{
	Checking *checking = arg;
	IdemLoad *load = &checking->load;
	IdemComplete *runs;
	int n;
	int i;

	open_checking(checking);
	idem_check_expected(*checking->expect, checking->load.target->nkeys > 0);
	if (checking->expect->counts_windowless)
		say_windowless(load);
	if (!idem_plan_windows(&load->plan))
		return;
	idem_check_zone(&load->plan, load->time_zone);
	idem_check_coverage_target(load->ledger, load->pipeline, load->plan.window, load->target->relid);
	runs = idem_complete_runs(load->ledger, load->pipeline, idem_window_datum(load->type, load->plan.window), NULL, &n);
	for (i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(load->piece_context);

		CHECK_FOR_INTERRUPTS();
		if (checking->take_difference == NULL || checking->max_rows > 0)
			check_and_take(checking, &runs[i]);
		MemoryContextSwitchTo(old);
		MemoryContextReset(load->piece_context);
	}
}

int64
idem_check_windows(const IdemRequest *request, IdemDepth depth, const IdemExpect *expect, IdemTakeCheck take, void *arg)
{
	Checking checking = {.request = request, .depth = depth, .expect = expect, .take = take, .arg = arg};

	idem_run_as(&request->identity, check_windows_as, &checking);
	return checking.windows;
}

int64
idem_find_differences(const IdemRequest *request, int64 max_rows, IdemTakeDifference take, void *arg)
{
	Checking checking = {
		.request = request,
		.depth = IDEM_DEPTH_AUTO,
		.expect = &idem_expect_nothing,
		.arg = arg,
		.max_rows = max_rows,
		.take_difference = take,
	};

	idem_run_as(&request->identity, check_windows_as, &checking);
	return checking.windows;
}

/* Takes differences, as long as some are wanted. */
typedef struct DifferenceReceiver
{
	DestReceiver pub;
	Checking *checking;
} DifferenceReceiver;

static bool
receive_difference(TupleTableSlot *slot, DestReceiver *self)
{
	Checking *checking = ((DifferenceReceiver *) self)->checking;

	slot_getallattrs(slot);
	checking->take_difference(checking->arg, slot->tts_values, slot->tts_isnull);
	return --checking->max_rows > 0;
}

/* Appends: (SELECT to_jsonb(r) FROM (SELECT alias.k, …) r), of the keys or of all columns. */
static void
append_json(StringInfo sql, const IdemTarget *target, const char *alias, bool keys)
{
	appendStringInfoString(sql, "(SELECT pg_catalog.to_jsonb(r) FROM (SELECT ");
	if (keys)
		idem_append_keys(sql, target, alias);
	else
		idem_append_columns(sql, target, alias);
	appendStringInfoString(sql, ") r)");
}

/* Appends the key as JSON, or NULL where there are none. */
static void
append_key(StringInfo sql, const IdemTarget *target, const char *alias)
{
	if (target->nkeys > 0)
		append_json(sql, target, alias, true);
	else
		appendStringInfoString(sql, "NULL::pg_catalog.jsonb");
}

/* Appends the names of the columns of s and d that differ, as an array. */
static void
append_changed_columns(StringInfo sql, const IdemTarget *target)
{
	const char *separator = "";
	int i;

	appendStringInfoString(sql, "pg_catalog.array_remove(ARRAY[");
	for (i = 0; i < target->ncolumns; i++)
	{
		const IdemColumn *column = &target->columns[i];

		if (!column->in_source || column->is_key)
			continue;
		appendStringInfo(sql, "%sCASE WHEN ", separator);
		idem_append_differs(sql, column, "d", "s");
		appendStringInfo(sql, " THEN %s END", quote_literal_cstr(column->name));
		separator = ", ";
	}
	appendStringInfoString(sql, "]::pg_catalog.text[], NULL)");
}

/* Appends: FROM rows s JOIN target d ON d.k = s.k, in the window if there is one */
static void
append_join(StringInfo sql, IdemApply *apply)
{
	appendStringInfo(sql, " FROM %s s JOIN %s d ON ", IDEM_ROWS, apply->target->name);
	idem_append_match(sql, apply->target, true, "d", "s");
	idem_append_by_window(sql, apply, " AND ");
}

/* SELECT 'source', key, row, NULL, NULL FROM rows s */
static void
build_missing(StringInfo sql, IdemApply *apply)
{
	appendStringInfoString(sql, "SELECT 'source'::pg_catalog.text, ");
	append_key(sql, apply->target, "s.");
	appendStringInfoString(sql, ", ");
	append_json(sql, apply->target, "s.", false);
	appendStringInfo(sql, ", NULL::pg_catalog.jsonb, NULL::pg_catalog.text[] FROM %s s", IDEM_ROWS);
}

/* SELECT 'target', key, NULL, row, NULL FROM rows s JOIN target d, or of rows that are the target's */
static void
build_gone(StringInfo sql, IdemApply *apply)
{
	bool keyed = apply->target->nkeys > 0;

	appendStringInfoString(sql, "SELECT 'target'::pg_catalog.text, ");
	append_key(sql, apply->target, "d.");
	appendStringInfoString(sql, ", NULL::pg_catalog.jsonb, ");
	append_json(sql, apply->target, keyed ? "d." : "s.", false);
	appendStringInfoString(sql, ", NULL::pg_catalog.text[]");
	if (keyed)
		append_join(sql, apply);
	else
		appendStringInfo(sql, " FROM %s s", IDEM_ROWS);
}

/* SELECT 'both', key, s's row, d's row, columns FROM rows s JOIN target d WHERE they differ */
static void
build_changed(StringInfo sql, IdemApply *apply)
{
	appendStringInfoString(sql, "SELECT 'both'::pg_catalog.text, ");
	append_key(sql, apply->target, "s.");
	appendStringInfoString(sql, ", ");
	append_json(sql, apply->target, "s.", false);
	appendStringInfoString(sql, ", ");
	append_json(sql, apply->target, "d.", false);
	appendStringInfoString(sql, ", ");
	append_changed_columns(sql, apply->target);
	append_join(sql, apply);
	appendStringInfoString(sql, " AND (");
	idem_append_changed(sql, apply->target, "d", "s", !apply->reload);
	appendStringInfoChar(sql, ')');
}

/*
 * SELECT 'duplicate', key, NULL, row, NULL
 *     FROM (SELECT d.c, …, row_number() OVER (PARTITION BY d.k, …) AS idem_place FROM target d WHERE in window) d
 *     WHERE d.idem_place > 1
 */
static void
build_duplicates(StringInfo sql, IdemApply *apply)
{
	appendStringInfoString(sql, "SELECT 'duplicate'::pg_catalog.text, ");
	append_key(sql, apply->target, "d.");
	appendStringInfoString(sql, ", NULL::pg_catalog.jsonb, ");
	append_json(sql, apply->target, "d.", false);
	appendStringInfoString(sql, ", NULL::pg_catalog.text[] FROM (SELECT ");
	idem_append_columns(sql, apply->target, "d.");
	appendStringInfoString(sql, ", pg_catalog.row_number() OVER (PARTITION BY ");
	idem_append_keys(sql, apply->target, "d.");
	appendStringInfo(sql, ") AS idem_place FROM %s d WHERE ", apply->target->name);
	idem_append_in_window(sql, apply->target, "d");
	appendStringInfoString(sql, ") d WHERE d.idem_place OPERATOR(pg_catalog.>) 1");
}

/* Hands over what a statement finds of some rows; NULL is none. */
static void
report_rows(Window *window, const IdemRows *rows, IdemBuild build)
{
	Checking *checking = window->checking;
	DifferenceReceiver receiver = {
		.pub = {receive_difference, idem_start_receiver, idem_keep_receiver, idem_keep_receiver, DestNone},
		.checking = checking,
	};
	StringInfoData sql;

	if (checking->max_rows == 0 || (rows && rows->count == 0))
		return;
	initStringInfo(&sql);
	build(&sql, checking->load.apply);
	appendStringInfo(&sql, " LIMIT " INT64_FORMAT, checking->max_rows);
	if (rows)
		idem_show_rows(rows);
	idem_run_since(make_statement(window, sql.data), window->since, window->piece.bounds, &receiver.pub);
	if (rows)
		idem_hide_rows();
}

static void
report_differences(Window *window)
{
	const IdemDifference *difference = &window->difference;

	if (difference->missing.store)
	{
		report_rows(window, &difference->missing, build_missing);
		report_rows(window, &difference->gone, build_gone);
		report_rows(window, &difference->changed, build_changed);
	}
	if (window->check->duplicate_keys > 0)
		report_rows(window, NULL, build_duplicates);
}

/* Takes a value, which may be NULL. */
typedef struct SampleReceiver
{
	DestReceiver pub;
	MemoryContext context;
	Datum sample; /* 0 if there is none */
} SampleReceiver;

static bool
receive_sample(TupleTableSlot *slot, DestReceiver *self)
{
	SampleReceiver *receiver = (SampleReceiver *) self;
	MemoryContext old = MemoryContextSwitchTo(receiver->context);
	bool isnull;
	Datum value = slot_getattr(slot, 1, &isnull);

	if (!isnull)
		receiver->sample = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	MemoryContextSwitchTo(old);
	return true;
}

/*
 * The keys of some differences, or the rows where there are none:
 * SELECT jsonb_agg(COALESCE(x.key, …) ORDER BY …) FROM (… LIMIT n) x (side, key, source_row, target_row, columns)
 */
static Datum
sample_rows(Window *window, const IdemRows *rows, IdemBuild build)
{
	SampleReceiver receiver = {
		.pub = {receive_sample, idem_start_receiver, idem_keep_receiver, idem_keep_receiver, DestNone},
		.context = CurrentMemoryContext,
	};
	StringInfoData sql;

	if (rows && (rows->store == NULL || rows->count == 0))
		return 0;
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT pg_catalog.jsonb_agg(COALESCE(x.key, x.source_row, x.target_row)"
								 " ORDER BY COALESCE(x.key, x.source_row, x.target_row)) FROM (");
	build(&sql, window->checking->load.apply);
	appendStringInfo(&sql, " LIMIT %d) x (side, key, source_row, target_row, columns)", window->checking->expect->max_samples);
	if (rows)
		idem_show_rows(rows);
	idem_run_since(make_statement(window, sql.data), window->since, window->piece.bounds, &receiver.pub);
	if (rows)
		idem_hide_rows();
	return receiver.sample;
}

/* Names some of the rows that are wrong. */
static void
take_samples(Window *window)
{
	const IdemDifference *difference = &window->difference;
	Datum *samples = window->check->samples;

	samples[IDEM_SAMPLE_MISSING] = sample_rows(window, &difference->missing, build_missing);
	samples[IDEM_SAMPLE_EXTRA] = sample_rows(window, &difference->gone, build_gone);
	samples[IDEM_SAMPLE_DIFFERENT] = sample_rows(window, &difference->changed, build_changed);
	if (window->check->duplicate_keys > 0)
		samples[IDEM_SAMPLE_DUPLICATE] = sample_rows(window, NULL, build_duplicates);
}
