/*
 * careful.h
 *		Rows written in parts, so that those the target refuses are found.
 */
#ifndef IDEM_LOAD_CAREFUL_H
#define IDEM_LOAD_CAREFUL_H

#include "load/apply.h"

/* Called for a row that is refused, with its stage and the error. */
typedef void (*IdemRefused)(void *arg, TupleTableSlot *slot, const char *stage, const ErrorData *error);

/*
 * Writes a piece's rows in parts, finds those that are refused for errors of the classes 22 and
 * 23, and takes back what was written; any other error is raised.  If more than so many are
 * refused no more are looked for.  Not for a target that refers to itself, whose rows are right
 * or wrong together.
 */
extern void idem_find_refused(IdemApply *apply, IdemPiece *piece, int64 most, IdemRefused refused, void *arg);

#endif /* IDEM_LOAD_CAREFUL_H */
