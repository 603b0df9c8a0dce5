/*
 * careful.h
 *		Rows written in parts, so that those the target refuses are found.
 */
#ifndef IDEM_LOAD_CAREFUL_H
#define IDEM_LOAD_CAREFUL_H

#include "load/apply.h"

/* Called for a row that is refused, with its stage and the error; false: no more are looked for. */
typedef bool (*IdemRefused)(void *arg, TupleTableSlot *slot, const char *stage, const ErrorData *error);

/*
 * True if a piece is best written so at once: nothing is there that it might leave alone, and
 * only the target itself can say what it refuses.
 */
extern bool idem_is_careful_first(const IdemApply *apply, const IdemPiece *piece);

/*
 * Writes a piece's rows in parts and finds those that are refused for errors of the classes
 * 22 and 23; any other is raised.  True if what was written stays and counts: for an upsert,
 * and for an empty window.  Else it is taken back, for only the method itself knows what a
 * reload leaves.
 */
extern bool idem_write_carefully(IdemApply *apply, IdemPiece *piece, IdemRefused refused, void *arg);

/* Ends what stays, when the piece has only the rows that were not refused; as idem_apply_piece ends. */
extern void idem_end_careful(IdemApply *apply, IdemPiece *piece);

#endif /* IDEM_LOAD_CAREFUL_H */
