/*
 * apply.h
 *		How rows are applied to the target: the choice of a method, and the methods.
 *
 * Every method leaves the same: after a reload the window holds exactly the rows,
 * after an upsert every row is there under its key.  They differ in what they
 * cost.  A method is one file and one row of the table in apply.c.
 */
#ifndef IDEM_LOAD_APPLY_H
#define IDEM_LOAD_APPLY_H

#include "ledger/ledger.h"
#include "load/collapse.h"
#include "load/map.h"
#include "load/rows.h"
#include "server/statement.h"

/* Fewer rows are not worth the subtransaction of a plain INSERT. */
#define IDEM_MIN_PLAIN 50

/* How often other sessions, or a trigger, may get in the way of one row. */
#define IDEM_MAX_ROUNDS 8

/*
 * The statements that a load may run, each in the table of commands.c, which says for which
 * loads: their rights are checked before a row is read.
 */
typedef enum IdemCommand
{
	IDEM_OCCUPIED,	  /* is there a row in the window, or, if rows are looked for everywhere, in the target? */
	IDEM_WINDOW,	  /* the window's rows */
	IDEM_COMPARE,	  /* rows and window, joined by key */
	IDEM_LOOK,		  /* rows and target, joined by key */
	IDEM_OTHERS,	  /* rows that are not among those written */
	IDEM_INSERT,	  /* all rows */
	IDEM_INSERT_COUNTED,
	IDEM_INSERT_NEW,  /* those whose keys are not there */
	IDEM_UPSERT,
	IDEM_UPDATE,	  /* those that are in the window and differ */
	IDEM_UPDATE_ANY,  /* those that are anywhere and differ */
	IDEM_DELETE_GONE, /* those that are in the window, */
	IDEM_KEPT,		  /* and what is left of them */
	IDEM_DELETE_OLD,  /* the window, */
	IDEM_LEFT,		  /* and what is left in it */
	IDEM_DELETE_EVERYWHERE,
	IDEM_KEPT_EVERYWHERE,
	IDEM_COMMANDS, /* how many there are */
} IdemCommand;

/* What one call's pieces have in common, with the statements made for them. */
typedef struct IdemApply
{
	const IdemTarget *target;
	const IdemRangeType *type;
	IdemCollapse *collapse;
	TupleDesc desc;	  /* of the rows */
	bool reload;	  /* else upsert */
	bool overriding;  /* the source has an identity column's values */
	bool by_window;	  /* rows are looked for in the window, not everywhere */
	bool replaceable; /* nobody notices if rows are replaced instead of updated */
	bool acts;		  /* what the load does to a row may change others */
	bool checked;	  /* that the user has the rights */
	bool has_places;  /* rows can be written where they lie */
	bool null_keys;	  /* a row with a NULL key has been seen in this call */
	int nnullable;	  /* keys that can be NULL, */
	int *nullable;	  /* and their places in a row */
	IdemKey key;	  /* of the sums that tell whether a window is unchanged */
	bool mismatched;  /* a window's sum has been another than its piece's */
	bool mapped_in_vain; /* a window had many more rows than its piece, or hardly one that was the same */
	int64 written;	  /* rows, by all pieces so far */
	bool occupied;	  /* the target, of which no window is looked for, has rows; */
	bool all_new;	  /* those of the last piece were not among them */
	bool keys_repeat; /* a piece had several rows of one key */
	bool surprised;	  /* a piece that was streamed had to be loaded otherwise */
	MemoryContext statements; /* of which the next are */
	IdemStatement *made[IDEM_COMMANDS]; /* NULL: not yet */
	bool match_nulls; /* they match NULL keys */
} IdemApply;

typedef struct IdemStream IdemStream;

/* One piece: its window's bounds and its rows. */
typedef struct IdemPiece
{
	Datum bounds[2];
	IdemRows rows;
	bool empty;	  /* the window, or the target, held nothing before the source ran, or no such rows */
	int64 touched; /* rows of the target, by the server's count, when that was asked */
	bool watched; /* the rows' keys are watched as they arrive */
	bool is_summed; /* the rows' hashes are added up, under the key */
	IdemDigest sum;
	IdemMap *map;	   /* of rows and window; NULL: none */
	Snapshot since;	   /* in which it has found the window's; NULL: not yet */
	bool misled;	   /* by keys of one hash: rows are to be compared after all */
	int64 taken;  /* rows so far */
	bool collapsed; /* duplicates have been removed */
	IdemStream *stream; /* what writes the rows as they come; NULL: they are kept */
	bool streamed;		/* all of them have been written so */
	bool repeated;		/* not all, for one has a key that is there twice, or in the target */
	bool refused;		/* or something else was wrong with one: the statement says what */
	char *reason;		/* for the method, in words */
	Tuplestorestate *own; /* of its rows, if those are to be freed when it begins again */
	IdemRun *run;		/* takes the counts and the method */
} IdemPiece;

/* Prepares for a call. */
extern IdemApply *idem_make_apply(const IdemTarget *target, const IdemRangeType *type,
								  TupleDesc desc, bool reload);

/*
 * Begins a piece, whose run has been claimed, before its source runs; and takes
 * each of its rows, fetched, with its image if the run has a digest: false if it need not
 * be kept.
 */
extern void idem_begin_piece(IdemApply *apply, IdemPiece *piece, IdemRun *run);
extern bool idem_take_row(IdemApply *apply, IdemPiece *piece, TupleTableSlot *slot, IdemImage *image);

/* Begins a piece again, whose rows come once more; what was counted of them counts no longer. */
extern void idem_restart_piece(IdemApply *apply, IdemPiece *piece);

/*
 * True if a piece may be streamed, whose source may run twice; and streams it: fetch(arg) runs
 * the source into the piece's rows, of which each is taken.  Returns false if that must be
 * done again, without streaming.
 */
extern bool idem_may_stream(const IdemApply *apply, const IdemPiece *piece);
extern bool idem_stream_piece(IdemApply *apply, IdemPiece *piece, void (*fetch)(void *arg), void *arg);

/* Writes a row, if its piece is streamed and it can be written now. */
extern bool idem_stream_row(IdemPiece *piece, TupleTableSlot *slot);

/*
 * Applies a piece, whose rows are complete, by the method that fits, and sets the
 * run's counts and method.  Frees the rows.
 */
extern void idem_apply_piece(IdemApply *apply, IdemPiece *piece);

/*
 * A method: its name in the ledger, whether it fits a piece, in which case it sets
 * the reason, and its work.
 */
typedef struct IdemMethod
{
	const char *name;
	bool (*applies)(IdemApply *apply, IdemPiece *piece);
	void (*run)(IdemApply *apply, IdemPiece *piece);
} IdemMethod;

/* True if windows may turn out to hold their pieces' rows; and if one may, for which they must be summed. */
extern bool idem_may_be_unchanged(const IdemApply *apply);
extern bool idem_is_worth_summing(const IdemApply *apply, const IdemPiece *piece);

extern const IdemMethod idem_method_insert;
extern const IdemMethod idem_method_unchanged;
extern const IdemMethod idem_method_difference;
extern const IdemMethod idem_method_bag;
extern const IdemMethod idem_method_truncate;
extern const IdemMethod idem_method_replace;

/*
 * Returns the statement of a command, for so many rows, made at its first use.  Its
 * parameters are the window's bounds.
 *
 * One that writes rows by key returns, where something watches the target, the rows that
 * it did not write under their keys, in a reload in the window.  With each come how many
 * it wrote in all, and false; where a view may hide them, those that it wrote are returned
 * too, with true.
 */
extern IdemStatement *idem_get_statement(IdemApply *apply, IdemCommand command, int64 rows);

/* Raises 42501 unless the user has every right that the load may need, whatever the data. */
extern void idem_check_rights(IdemApply *apply);

/* Builds the SQL of a command. */
typedef void (*IdemBuild)(StringInfo sql, IdemApply *apply);
extern void idem_build_window(StringInfo sql, IdemApply *apply);
extern void idem_build_compare(StringInfo sql, IdemApply *apply);
extern void idem_build_look(StringInfo sql, IdemApply *apply);
extern void idem_build_others(StringInfo sql, IdemApply *apply);
extern void idem_build_insert(StringInfo sql, IdemApply *apply);
extern void idem_build_insert_counted(StringInfo sql, IdemApply *apply);
extern void idem_build_insert_new(StringInfo sql, IdemApply *apply);
extern void idem_build_upsert(StringInfo sql, IdemApply *apply);
extern void idem_build_update(StringInfo sql, IdemApply *apply);
extern void idem_build_update_any(StringInfo sql, IdemApply *apply);
extern void idem_build_delete_gone(StringInfo sql, IdemApply *apply);
extern void idem_build_kept(StringInfo sql, IdemApply *apply);
extern void idem_build_delete_old(StringInfo sql, IdemApply *apply);
extern void idem_build_left(StringInfo sql, IdemApply *apply);
extern void idem_build_delete_everywhere(StringInfo sql, IdemApply *apply);
extern void idem_build_kept_everywhere(StringInfo sql, IdemApply *apply);

/*
 * Runs a command on rows, which it sees as IDEM_ROWS, into a receiver; NULL is none.  It
 * reads what a snapshot shows with our own changes since, or, without one, what is now.
 */
extern void idem_run_on_rows(IdemApply *apply, IdemCommand command, IdemPiece *piece, const IdemRows *rows,
							 Snapshot since, DestReceiver *receiver);

/* The same, without a receiver: returns how many rows it wrote, or returned. */
extern uint64 idem_run_command(IdemApply *apply, IdemPiece *piece, const IdemRows *rows, IdemCommand command);

/* Runs a command on rows, and returns those that it returns, which are of the target. */
extern IdemRows idem_collect_rows(IdemApply *apply, IdemCommand command, IdemPiece *piece,
								  const IdemRows *rows, Snapshot since);

/* Leaves one row a key in a piece's rows, unless it has been done or there are no keys. */
extern void idem_collapse_piece(IdemApply *apply, IdemPiece *piece);

/* The hash of a row's keys for a map; without keys it is part of the row's own, under which equal rows are one. */
static inline uint64
idem_map_key(const IdemApply *apply, const TupleTableSlot *slot, const IdemDigest *row)
{
	return apply->target->nkeys > 0 ? idem_hash_row_keys(apply->collapse, slot) : row->lanes[0];
}

/*
 * What a piece's map has found, if it is of use: then rows that are gone, and those that
 * differ, are written where they lie.  Those that another session is in the way of are left
 * to the statements, gone ones by way of the caller.  Of the rows of a fate what is returned
 * is to be freed.
 */
extern bool idem_can_use_map(IdemApply *apply, IdemPiece *piece);
extern int64 idem_delete_mapped(IdemApply *apply, IdemPiece *piece, IdemRows *rest);
extern void idem_update_mapped(IdemApply *apply, IdemPiece *piece);
extern IdemRows idem_mapped_rows(const IdemPiece *piece, IdemFate fate);

/* What a comparison has found; of rows that are gone only the keys are known. */
typedef struct IdemDifference
{
	IdemRows changed;
	IdemRows missing;
	IdemRows gone;
} IdemDifference;

/*
 * Compares a piece's rows with its window in the target, and rows with the target, wherever
 * they are, where nothing is gone; since a snapshot or now.  What is returned is to be freed.
 */
extern IdemDifference idem_compare_window(IdemApply *apply, IdemPiece *piece, Snapshot since);
extern IdemDifference idem_compare_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows,
										Snapshot since);
extern void idem_free_difference(IdemDifference *difference);

/*
 * Write rows of distinct keys, account for each, and add to the run's counts.  The first
 * is for rows that are not expected to be in the target; the second for any, it needs an
 * arbiter; the third for rows that differ, by a statement that updates them.  They raise
 * 42501, 40001 or 09000 for a row that is not there in the end.
 */
extern void idem_insert_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows);
extern void idem_upsert_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows);
extern void idem_update_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows);

/*
 * Deletes what a comparison has found to be gone, updates what has changed and inserts what
 * is missing, in this order, so that a unique value can move; in a table that references
 * itself the other way round if no unique value moves.  Returns true if there was something
 * to do.
 */
extern bool idem_write_difference(IdemApply *apply, IdemPiece *piece, const IdemDifference *difference);

/*
 * What triggers and the actions of foreign keys do to other rows while a method writes its
 * own.  It begins, notes which rows it has written, if not all of the piece, and ends: then
 * the window holds the rows, or 09000 is raised.  Costs nothing where nothing acts.
 */
typedef struct IdemSettling
{
	Snapshot since;	  /* from before anything was written */
	Snapshot seen;	  /* from before the last comparison; NULL: there was none */
	int64 touched;	  /* rows of the target, by the server's count, */
	int64 reported;	  /* and by ours, when that began; */
	uint64 changes;	  /* the catalogs' */
	IdemRows written; /* no store: all of the piece */
} IdemSettling;

extern void idem_begin_settling(IdemApply *apply, IdemPiece *piece, IdemSettling *settling);
extern void idem_note_written(IdemApply *apply, IdemSettling *settling, const IdemDifference *difference);
extern void idem_end_settling(IdemApply *apply, IdemPiece *piece, IdemSettling *settling);

/* Inserts rows of a plain target with an arbiter, or none; then returns false. */
extern bool idem_try_insert(IdemApply *apply, IdemPiece *piece, const IdemRows *rows);

/* Runs work that updates rows: what an error says of a constraint gets a hint. */
extern void idem_run_update(void (*work)(void *arg), void *arg);

/* Runs work as a statement for rows that a join has just found. */
extern void idem_run_found(const IdemApply *apply, void (*work)(void *arg), void *arg);

/*
 * Delete the rows of the window that have the keys of rows; the rows that have them
 * wherever they are; and all of the window.  They return how many, and raise 42501, 40001
 * or 09000 for what something keeps or puts back.
 */
extern int64 idem_delete_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows);
extern int64 idem_delete_everywhere(IdemApply *apply, IdemPiece *piece, const IdemRows *rows);
extern int64 idem_delete_window(IdemApply *apply, IdemPiece *piece);

/*
 * Raises 0A000 if rows that stay would go along with rows that a reload deletes, or if
 * nothing could tell that a view hides what was written.
 */
extern void idem_check_reload(const IdemTarget *target);

/*
 * Raise an error that names the first of some rows, if there is one: not written; not
 * deleted; or, of the rows that a statement did not write as they are, one that it wrote
 * elsewhere.  Or how many rows of a window were inserted, or that some are left in it.
 */
extern void idem_report_unwritten(IdemApply *apply, const IdemRows *rows);
extern void idem_report_kept(IdemApply *apply, const IdemRows *rows);
extern void idem_report_moved(IdemApply *apply, IdemPiece *piece, const IdemRows *rows);
extern void idem_report_short(const IdemApply *apply, const IdemPiece *piece, int64 inserted);
extern void idem_report_left(const IdemApply *apply, const IdemPiece *piece);

/* Raises 42501 for the first of some rows, which was refused; why is the server's message. */
extern void idem_report_refused(IdemApply *apply, const IdemRows *rows, const char *why);

/* True if a key can be in another window too, and no index would object. */
extern bool idem_may_move(const IdemTarget *target);

/*
 * Appends: two rows have the same key.  While no row with a NULL key has been seen, they
 * are matched by their equality alone, which costs less and an index serves; the first
 * one, which is noted here, has every statement made anew.
 */
extern void idem_append_same_key(StringInfo sql, IdemApply *apply, const char *left, const char *right);
static inline void
idem_note_keys(IdemApply *apply, const bool *nulls)
{
	int i;

	for (i = 0; i < apply->nnullable; i++)
		apply->null_keys |= nulls[apply->nullable[i]];
}

/* True if there is a column that an update writes. */
extern bool idem_has_updates(const IdemTarget *target);

/* Appends SET c = new.c, … for every such column. */
extern void idem_append_set(StringInfo sql, const IdemTarget *target, const char *new);

/* Appends the condition that d lies in the window, after prefix, if rows are looked for there. */
extern void idem_append_by_window(StringInfo sql, IdemApply *apply, const char *prefix);

#endif /* IDEM_LOAD_APPLY_H */
