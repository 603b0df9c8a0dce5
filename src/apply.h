/*
 * apply.h
 *		How rows are applied to the target: the choice of a method, and the methods.
 *
 * Every method leaves the same: after a reload the window holds exactly the rows,
 * after an upsert every row is there under its key.  They differ in what they
 * cost.  A method is one file and one row of the table in apply.c.
 */
#ifndef IDEM_APPLY_H
#define IDEM_APPLY_H

#include "ledger.h"
#include "rows.h"
#include "statement.h"

/* What one call's pieces have in common, with the statements made for them. */
typedef struct IdemApply
{
	MemoryContext context; /* where the statements live */
	const IdemTarget *target;
	const IdemRangeType *type;
	bool reload;		/* else upsert */
	bool overriding;	/* the source has an identity column's values */
	int64 planned_rows; /* how many rows the statements were planned for */
	IdemStatement *occupied;
	IdemStatement *insert;
	IdemStatement *insert_missing;
	IdemStatement *update;
	IdemStatement *delete_gone;
	IdemStatement *delete_all;
} IdemApply;

/* One piece: its window's bounds and its rows, which are shown as IDEM_ROWS. */
typedef struct IdemPiece
{
	Datum bounds[2];
	int64 rows;
	IdemRun *run; /* takes the counts and the method */
} IdemPiece;

/* Prepares for a call. */
extern IdemApply *idem_make_apply(const IdemTarget *target, const IdemRangeType *type,
								  bool reload);

/* Applies a piece by the method that fits, and sets the run's counts and method. */
extern void idem_apply_piece(IdemApply *apply, IdemPiece *piece);

/* A method: its name in the ledger, whether it fits a piece, and its work. */
typedef struct IdemMethod
{
	const char *name;
	bool (*applies)(IdemApply *apply, IdemPiece *piece);
	void (*run)(IdemApply *apply, IdemPiece *piece);
} IdemMethod;

extern const IdemMethod idem_method_insert;
extern const IdemMethod idem_method_difference;
extern const IdemMethod idem_method_replace;

/*
 * Runs the statement kept in *place, made at its first use from the SQL that build
 * appends.  Its parameters are the window's bounds.
 */
extern uint64 idem_run_apply(IdemApply *apply, IdemPiece *piece, IdemStatement **place,
							 void (*build)(StringInfo sql, IdemApply *apply));

/*
 * Appends INSERT INTO target (columns) SELECT columns FROM rows s, to which a WHERE
 * clause may be added.
 */
extern void idem_append_insert(StringInfo sql, IdemApply *apply);

/* Appends SET c = new.c, … for every column that an update writes; false if none. */
extern bool idem_append_set(StringInfo sql, const IdemTarget *target, const char *new);

#endif /* IDEM_APPLY_H */
