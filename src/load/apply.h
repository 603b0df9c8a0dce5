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
#include "load/rows.h"
#include "server/statement.h"

/* Fewer rows are not worth the subtransaction of a plain INSERT. */
#define IDEM_MIN_PLAIN 50

/* What one call's pieces have in common, with the statements made for them. */
typedef struct IdemApply
{
	MemoryContext context; /* where the statements live */
	const IdemTarget *target;
	const IdemRangeType *type;
	IdemCollapse *collapse;
	TupleDesc desc;	  /* of the rows */
	bool reload;	  /* else upsert */
	bool overriding;  /* the source has an identity column's values */
	bool by_window;	  /* rows are looked for in the window, not everywhere */
	bool replaceable; /* nobody notices if rows are replaced instead of updated */
	bool mismatched;  /* the target's checksum has been another than the rows' */
	int64 written;	  /* rows, by all pieces so far */
	bool keys_repeat; /* a piece had several rows of one key */
	IdemStatement *occupied;
	IdemStatement *window;
	IdemStatement *compare;
	IdemStatement *insert;
	IdemStatement *insert_new;
	IdemStatement *upsert;
	IdemStatement *update;
	IdemStatement *update_any;
	IdemStatement *delete_gone;
	IdemStatement *delete_old;
	IdemStatement *delete_moved;
} IdemApply;

/* One piece: its window's bounds and its rows. */
typedef struct IdemPiece
{
	Datum bounds[2];
	IdemRows rows;
	bool empty;	  /* the window, or the target, held nothing before the source ran */
	bool watched; /* the rows' keys are watched as they arrive */
	int64 taken;  /* rows so far */
	bool collapsed; /* duplicates have been removed */
	char *reason;		/* for the method, in words */
	IdemRun *run;		/* takes the counts and the method */
} IdemPiece;

/* Prepares for a call. */
extern IdemApply *idem_make_apply(const IdemTarget *target, const IdemRangeType *type,
								  TupleDesc desc, bool reload);

/*
 * Begins a piece, whose run has been claimed, before its source runs; and takes
 * each of its rows.
 */
extern void idem_begin_piece(IdemApply *apply, IdemPiece *piece, IdemRun *run);
extern void idem_take_row(IdemApply *apply, IdemPiece *piece, TupleTableSlot *slot);

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

extern const IdemMethod idem_method_insert;
extern const IdemMethod idem_method_unchanged;
extern const IdemMethod idem_method_difference;
extern const IdemMethod idem_method_truncate;
extern const IdemMethod idem_method_replace;

/*
 * Returns the statement kept in *place, for so many rows, made at its first use
 * from the SQL that build appends.  Its parameters are the window's bounds.
 */
typedef void (*IdemBuild)(StringInfo sql, IdemApply *apply);
extern IdemStatement *idem_get_statement(IdemApply *apply, IdemStatement **place, int64 rows,
										 IdemBuild build);

/* Runs that statement on rows, which it sees as IDEM_ROWS; NULL is none. */
extern uint64 idem_run_apply(IdemApply *apply, IdemPiece *piece, const IdemRows *rows,
							 IdemStatement **place, IdemBuild build);

/* Leaves one row a key in a piece's rows, unless it has been done or there are no keys. */
extern void idem_collapse_piece(IdemApply *apply, IdemPiece *piece);

/*
 * Inserts rows of distinct keys, or updates those that are in the target and differ,
 * and adds to the run's counts.  The first is for rows that are not expected to be
 * in the target, the second for any; it needs an arbiter.
 */
extern void idem_insert_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows);
extern void idem_upsert_rows(IdemApply *apply, IdemPiece *piece, const IdemRows *rows);

/* Appends INSERT INTO target (columns) SELECT columns FROM rows s, as an IdemBuild. */
extern void idem_append_insert(StringInfo sql, IdemApply *apply);

/* Appends UPDATE target d SET … FROM rows s WHERE d.k = s.k AND changed, as an IdemBuild. */
extern void idem_append_update(StringInfo sql, IdemApply *apply);

/* True if a key can be in another window too, and no index would object. */
extern bool idem_may_move(const IdemTarget *target);

/* True if there is a column that an update writes. */
extern bool idem_has_updates(const IdemTarget *target);

/* Appends SET c = new.c, … for every such column. */
extern void idem_append_set(StringInfo sql, const IdemTarget *target, const char *new);

/* Appends the condition that d lies in the window, after prefix, if rows are looked for there. */
extern void idem_append_by_window(StringInfo sql, IdemApply *apply, const char *prefix);

#endif /* IDEM_LOAD_APPLY_H */
