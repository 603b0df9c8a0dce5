/*
 * sift.c
 *		A piece of which rows that cannot be loaded become dead letters.
 *
 * Rows are made and checked some at a time in a subtransaction, which begins again after a
 * row that fails: then a row costs what it costs in any load.  What only the target can
 * say, its method says of all rows together; if it objects they are written in parts, each in a
 * subtransaction, a part that fails by halves, until the rows that are to blame are alone.
 * That is taken back, and the others are applied as ever.
 *
 * Rows that were found so late are known by their hash.  The source's rows are read once
 * more, for a letter is of the source's row and not of what was made of it; the source
 * itself never runs twice.
 *
 * This file must not know how a letter is kept.
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "id/sha256.h"
#include "ledger/letters.h"
#include "load/careful.h"
#include "load/heap.h"
#include "load/progress.h"
#include "load/sift.h"
#include "miscadmin.h"
#include "server/compat.h"
#include "server/scope.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* As many rows are made in one subtransaction. */
#define BATCH_ROWS 1000

/* So often may an apply be refused, each time for rows that were not known before. */
#define MAX_ROUNDS 100

/* A row on its way. */
typedef struct Row
{
	MinimalTuple raw;  /* the source's */
	MinimalTuple made; /* NULL: it is dead */
} Row;

/* A row that was found to be bad when it had been made. */
typedef struct Bad
{
	IdemDigest key; /* its hash */
	int64 times;	/* so many equal ones are bad, where there are no keys; */
	int64 left;		/* and have not passed yet */
	const char *stage;
	ErrorData *error;
} Bad;

typedef struct Sift
{
	IdemLoad *load;
	IdemPiece *piece;
	IdemTakeRow take;
	void *arg;
	IdemRows raw;
	IdemMaker *maker;
	IdemHeap *heap; /* checks constraints; NULL: nothing does before rows are written */
	IdemImage image;
	MemoryContext context; /* of the piece */
	MemoryContext batch;   /* of the next */
	TupleTableSlot *from;
	TupleTableSlot *to;
	int n;
	int made;
	int checked;
	Row rows[BATCH_ROWS];
	HTAB *known; /* rows that are bad, by their hashes; NULL if there are none */
	int64 nbad;	 /* how many */
	int64 limit;
} Sift;

IdemMaxDead
idem_read_max_dead(const char *text)
{
	IdemMaxDead result = {false, 0};
	char *end;

	errno = 0;
	result.value = strtod(text, &end);
	result.is_percent = *end == '%';
	end += result.is_percent;
	if (end == text || *end || errno || !(text[0] >= '0' && text[0] <= '9') || strpbrk(text, "eExXpPnN") ||
		(result.is_percent && result.value > 100) || (!result.is_percent && (result.value > 1e15 || strchr(text, '.'))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument max_dead: \"%s\"", text),
				 errhint("Pass how many rows of a window may be dead, '1000', or how many of a hundred, '1%%'.")));
	return result;
}

/* Appends a column's text, or null. */
static void
append_column(StringInfo buf, Form_pg_attribute att, TupleTableSlot *slot)
{
	bool isnull;
	Datum value = slot_getattr(slot, att->attnum, &isnull);
	Oid output;
	bool is_varlena;

	appendStringInfoString(buf, buf->len == 1 ? "" : ", ");
	escape_json(buf, NameStr(att->attname));
	appendStringInfoString(buf, ": ");
	if (isnull)
	{
		appendStringInfoString(buf, "null");
		return;
	}
	getTypeOutputInfo(att->atttypid, &output, &is_varlena);
	escape_json(buf, OidOutputFunctionCall(output, value));
}

/* A row to be put into words, as an argument of idem_run_pinned. */
typedef struct Wording
{
	TupleDesc desc;
	TupleTableSlot *slot;
	StringInfoData buf;
} Wording;

static int
compare_names(const void *a, const void *b)
{
	return strcmp(NameStr((*(const Form_pg_attribute *) a)->attname), NameStr((*(const Form_pg_attribute *) b)->attname));
}

/* By name, so that the order of columns is no difference. */
static void
word_row(void *arg)
{
	Wording *wording = arg;
	Form_pg_attribute *attributes = palloc(wording->desc->natts * sizeof(Form_pg_attribute));
	int i;

	for (i = 0; i < wording->desc->natts; i++)
		attributes[i] = TupleDescAttr(wording->desc, i);
	qsort(attributes, wording->desc->natts, sizeof(Form_pg_attribute), compare_names);
	appendStringInfoChar(&wording->buf, '{');
	for (i = 0; i < wording->desc->natts; i++)
		append_column(&wording->buf, attributes[i], wording->slot);
	appendStringInfoChar(&wording->buf, '}');
}

/* Fails where too many are dead. */
static void
check_limit(Sift *sift, int64 dead, const ErrorData *error)
{
	IdemLoad *load = sift->load;

	if (dead <= sift->limit)
		return;
	load->too_many = true;
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("more than " INT64_FORMAT " rows of window %s of pipeline \"%s\" cannot be loaded", sift->limit,
					idem_window_text(load->type, sift->piece->run->window), load->pipeline),
			 errdetail("The last one: %s", error->message),
			 load->atomic ? 0 : errhint("SELECT * FROM %s WHERE pipeline = %s AND state = 'open'; max_dead says how many may be dead.",
										idem_letters_name(load->letters), quote_literal_cstr(load->pipeline))));
}

/* A row becomes a letter. */
static void
bury(Sift *sift, const Row *row, const char *stage, const char *column, const ErrorData *error)
{
	IdemLoad *load = sift->load;
	MemoryContext old = MemoryContextSwitchTo(load->dead_context);
	IdemLetter *letter = palloc0(sizeof(IdemLetter));
	Wording wording = {idem_raw_desc(load->source), sift->from};
	uint8 hash[PG_SHA256_DIGEST_LENGTH];

	initStringInfo(&wording.buf);
	ExecStoreMinimalTuple(row->raw, sift->from, false);
	idem_run_pinned(idem_making_zone(load->source), word_row, &wording);
	ExecClearTuple(sift->from);
	idem_sha256(wording.buf.data, wording.buf.len, hash);
	memcpy(letter->row_id, hash, sizeof(letter->row_id));
	letter->record = wording.buf.data;
	letter->stage = stage;
	letter->sqlerrcode = error->sqlerrcode;
	letter->message = pstrdup(error->message);
	letter->constraint = error->constraint_name ? pstrdup(error->constraint_name) : NULL;
	column = error->column_name ? error->column_name : column;
	letter->column = column ? pstrdup(column) : NULL;
	load->dead = lappend(load->dead, letter);
	MemoryContextSwitchTo(old);
	check_limit(sift, list_length(load->dead), error);
}

/* Makes the rows of a batch, as far as they are not made yet. */
static void
make_rows(void *arg)
{
	Sift *sift = arg;

	for (; sift->made < sift->n; sift->made++)
	{
		Row *row = &sift->rows[sift->made];
		TupleTableSlot *slot;
		MemoryContext old;

		ExecStoreMinimalTuple(row->raw, sift->from, false);
		slot = idem_make_row(sift->maker, sift->from);
		old = MemoryContextSwitchTo(sift->batch);
		row->made = slot == sift->from ? row->raw : ExecCopySlotMinimalTuple(slot);
		MemoryContextSwitchTo(old);
	}
}

/* Checks them. */
static void
check_rows(Sift *sift)
{
	for (; sift->checked < sift->n; sift->checked++)
	{
		Row *row = &sift->rows[sift->checked];

		if (row->made == NULL || sift->heap == NULL)
			continue;
		ExecStoreMinimalTuple(row->made, sift->to, false);
		slot_getallattrs(sift->to);
		(void) idem_make_tuple(sift->heap, sift->to->tts_values, sift->to->tts_isnull);
	}
}

static void
work_on_batch(void *arg)
{
	Sift *sift = arg;

	if (idem_is_pinned_source(sift->load->source))
		idem_run_pinned(idem_making_zone(sift->load->source), make_rows, sift);
	else
		make_rows(sift);
	check_rows(sift);
}

/* Makes and checks a batch; a row that fails is dead, and the others go on. */
static void
make_batch(Sift *sift)
{
	ErrorData *error;

	sift->made = sift->checked = 0;
	while ((error = idem_try(work_on_batch, sift, sift->context)) != NULL)
	{
		bool making = sift->made < sift->n;
		const char *column = idem_take_making(sift->maker);
		Row *row = &sift->rows[making ? sift->made++ : sift->checked++];

		if (!idem_is_of_row(error->sqlerrcode))
			ReThrowError(error);
		row->made = NULL;
		bury(sift, row, !making ? "constraint" : column ? "cast" : "window", column, error);
		FreeErrorData(error);
	}
}

/*
 * Why a row that has been made is bad after all; NULL if it is not.  Without keys equal rows
 * are as many rows, and no more of them are bad than were refused.
 */
static const Bad *
find_bad(Sift *sift, TupleTableSlot *slot)
{
	IdemDigest hash;
	Bad *bad;

	if (sift->known == NULL)
		return NULL;
	idem_make_image(&sift->image, slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
	hash = idem_hash_image(&sift->image, &sift->load->apply->key);
	bad = hash_search(sift->known, &hash, HASH_FIND, NULL);
	return bad && (sift->load->target->nkeys > 0 || bad->left-- > 0) ? bad : NULL;
}

/* None of the bad rows has passed. */
static void
restart_bad(Sift *sift)
{
	HASH_SEQ_STATUS status;
	Bad *bad;

	if (sift->known == NULL)
		return;
	hash_seq_init(&status, sift->known);
	while ((bad = hash_seq_search(&status)) != NULL)
		bad->left = bad->times;
}

/* Gives the rows that are alive to the piece. */
static void
take_batch(Sift *sift)
{
	IdemRows *rows = &sift->piece->rows;
	int i;

	for (i = 0; i < sift->n; i++)
	{
		Row *row = &sift->rows[i];
		const Bad *bad;

		if (row->made == NULL)
			continue;
		ExecStoreMinimalTuple(row->made, sift->to, false);
		slot_getallattrs(sift->to);
		bad = find_bad(sift, sift->to);
		if (bad)
		{
			bury(sift, row, bad->stage, NULL, bad->error);
			continue;
		}
		if (sift->take(sift->arg, sift->to))
			tuplestore_puttupleslot(rows->store, sift->to);
		rows->count++;
	}
	ExecClearTuple(sift->to);
}

/* Fills a batch with the source's next rows; false if there are none. */
static bool
fill_batch(Sift *sift)
{
	MemoryContextReset(sift->batch);
	sift->n = 0;
	while (sift->n < BATCH_ROWS && tuplestore_gettupleslot(sift->raw.store, true, false, sift->from))
	{
		MemoryContext old = MemoryContextSwitchTo(sift->batch);

		sift->rows[sift->n].raw = ExecCopySlotMinimalTuple(sift->from);
		sift->rows[sift->n++].made = NULL;
		MemoryContextSwitchTo(old);
	}
	ExecClearTuple(sift->from);
	return sift->n > 0;
}

/* Lets all rows of the source pass, from the beginning. */
static void
pass_rows(Sift *sift)
{
	IdemLoad *load = sift->load;

	idem_restart_piece(load->apply, sift->piece);
	load->dead = NIL;
	MemoryContextReset(load->dead_context);
	tuplestore_rescan(sift->raw.store);
	restart_bad(sift);
	while (fill_batch(sift))
	{
		CHECK_FOR_INTERRUPTS();
		make_batch(sift);
		take_batch(sift);
	}
	/* casts and checks are code of others, which may have changed it */
	idem_check_target(load->target);
}

/* Notes a row that has been made as bad; too many are an error when they become letters. */
static void
note_bad(void *arg, TupleTableSlot *slot, const char *stage, const ErrorData *error)
{
	Sift *sift = arg;
	MemoryContext old = MemoryContextSwitchTo(sift->context);
	HASHCTL control = {.keysize = sizeof(IdemDigest), .entrysize = sizeof(Bad), .hcxt = sift->context};
	IdemDigest hash;
	Bad *bad;
	bool found;

	if (sift->known == NULL)
		sift->known = hash_create("idem bad rows", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	idem_make_image(&sift->image, slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
	hash = idem_hash_image(&sift->image, &sift->load->apply->key);
	bad = hash_search(sift->known, &hash, HASH_ENTER, &found);
	if (!found)
	{
		bad->times = 0;
		bad->stage = stage;
		bad->error = palloc0(sizeof(ErrorData));
		bad->error->sqlerrcode = error->sqlerrcode;
		bad->error->message = pstrdup(error->message);
		bad->error->constraint_name = error->constraint_name ? pstrdup(error->constraint_name) : NULL;
		bad->error->column_name = error->column_name ? pstrdup(error->column_name) : NULL;
	}
	if (!found || sift->load->target->nkeys == 0)
	{
		bad->times++;
		sift->nbad++;
	}
	MemoryContextSwitchTo(old);
}

/* Notes a row whose key other rows have too, which differ. */
static void
note_conflict(void *arg, TupleTableSlot *slot)
{
	Sift *sift = arg;
	ErrorData error = {
		.sqlerrcode = ERRCODE_CARDINALITY_VIOLATION,
		.message = psprintf("source has different rows for key %s", idem_describe_row(sift->load->target, sift->load->apply->desc, slot)),
	};

	note_bad(sift, slot, "duplicate", &error);
}

static void
apply_rows(void *arg)
{
	Sift *sift = arg;

	idem_apply_piece(sift->load->apply, sift->piece);
}

static void
collapse_rows(void *arg)
{
	Sift *sift = arg;

	idem_collapse_piece(sift->load->apply, sift->piece);
}

/* Leaves one row a key; false if there are keys of different rows, which are bad now. */
static bool
find_conflicts(Sift *sift)
{
	IdemPiece *piece = sift->piece;
	int64 before = sift->nbad;
	ErrorData *error = idem_try(collapse_rows, sift, sift->context);

	if (error == NULL)
	{
		piece->own = piece->rows.store;
		return true;
	}
	idem_hide_rows();
	if (error->sqlerrcode != ERRCODE_CARDINALITY_VIOLATION)
		ReThrowError(error);
	pass_rows(sift);
	idem_find_conflicts(sift->load->apply->collapse, &piece->rows, note_conflict, sift);
	if (sift->nbad == before)
		ReThrowError(error);
	return false;
}

/*
 * Finds rows that the target refuses.  Of an error that is no row's, or of no row that can be
 * found, it fails; and where rows of the target refer to each other, so that none can be
 * blamed by itself.
 */
static void
find_culprits(Sift *sift, ErrorData *error)
{
	IdemApply *apply = sift->load->apply;
	int64 before = sift->nbad;

	idem_hide_rows();
	if (error->sqlerrcode != ERRCODE_CARDINALITY_VIOLATION && !idem_is_of_row(error->sqlerrcode))
		ReThrowError(error);
	pass_rows(sift);
	if (find_conflicts(sift) && apply->target->refers_to_itself)
	{
		if (error->hint == NULL)
			error->hint = psprintf("Target %s refers to itself, so that its rows are not tried one by one: correct the source.", apply->target->name);
		ReThrowError(error);
	}
	if (sift->nbad == before)
		idem_find_refused(apply, sift->piece, sift->limit - before, note_bad, sift);
	if (sift->nbad == before)
		ReThrowError(error);
}

/*
 * Applies the rows that are alive, whatever has to be found out for it.  What is applied and
 * what are letters in the end comes from one pass, for the next may make other rows of them.
 */
static void
apply_alive(Sift *sift)
{
	ErrorData *error;
	int round = 0;

	for (;;)
	{
		pass_rows(sift);
		error = idem_try(apply_rows, sift, sift->context);
		if (error == NULL)
			return;
		if (round++ == MAX_ROUNDS)
			ReThrowError(error);
		find_culprits(sift, error);
	}
}

/* How many may be dead. */
static int64
dead_limit(const IdemLoad *load, int64 rows)
{
	IdemMaxDead max = idem_read_max_dead(load->request->max_dead);

	return max.is_percent ? (int64) (max.value * rows / 100) : (int64) max.value;
}

/* True if constraints can be checked before rows are written, as they would be then. */
static bool
can_check(const Sift *sift)
{
	const IdemTarget *target = sift->load->target;

	return (sift->piece->empty || idem_is_whole(target)) && idem_is_direct(target, ACL_INSERT);
}

void
idem_sift_piece(IdemLoad *load, IdemPiece *piece, IdemTakeRow take, void *arg)
{
	Sift *sift = palloc0(sizeof(Sift));

	sift->load = load;
	sift->piece = piece;
	sift->take = take;
	sift->arg = arg;
	sift->context = CurrentMemoryContext;
	sift->batch = AllocSetContextCreate(CurrentMemoryContext, "idem sifted rows", ALLOCSET_DEFAULT_SIZES);
	idem_init_image(&sift->image);
	load->too_many = false;
	sift->raw = idem_fetch_raw(load->source, piece->run->window);
	sift->limit = dead_limit(load, sift->raw.count);
	sift->from = MakeSingleTupleTableSlot(idem_raw_desc(load->source), &TTSOpsMinimalTuple);
	sift->to = MakeSingleTupleTableSlot(load->apply->desc, &TTSOpsMinimalTuple);
	sift->maker = idem_open_maker(load->source, piece->run->window);
	idem_check_target(load->target);
	if (can_check(sift))
		sift->heap = idem_open_heap(load->apply, ACL_INSERT, false);
	idem_progress_phase(IDEM_PHASE_APPLY);
	apply_alive(sift);
	if (sift->heap)
		(void) idem_close_heap(sift->heap);
	piece->run->source_rows = sift->raw.count;
	piece->run->dead_rows = list_length(load->dead);
	idem_close_maker(sift->maker);
	ExecDropSingleTupleTableSlot(sift->from);
	ExecDropSingleTupleTableSlot(sift->to);
	idem_free_rows(&sift->raw);
	MemoryContextDelete(sift->batch);
}

void
idem_post_letters(IdemLoad *load, const IdemRun *run)
{
	idem_post_failed_letters(load, run, run->run_id);
	idem_close_letters(load->letters, run);
}

void
idem_post_failed_letters(IdemLoad *load, const IdemRun *run, int64 run_id)
{
	ListCell *lc;

	foreach (lc, load->dead)
		idem_write_letter(load->letters, run, run_id, lfirst(lc));
}
