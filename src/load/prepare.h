/*
 * prepare.h
 *		What the pieces of a load share: looked up, and looked at again.
 */
#ifndef IDEM_LOAD_PREPARE_H
#define IDEM_LOAD_PREPARE_H

#include "load/runner.h"

/*
 * Looks the ledger up, and what the load is called; then the target, the source and the
 * rest: all that can be wrong with a request, but its window, is found here.
 */
extern void idem_prepare_ledger(IdemLoad *load);
extern void idem_prepare_load(IdemLoad *load);

/* Raises 42501 where nothing is to be loaded, so that no statement does, for who could not. */
extern void idem_check_load_rights(const IdemLoad *load);

/* The same for who only reads: nothing that a load could not do now is wrong with it. */
extern void idem_prepare_check(IdemLoad *load);

/*
 * Locks the target for a piece.  If it has changed since it was looked up, it is looked up
 * anew, with all that depends on it; raises what a new load of it would.
 */
extern void idem_renew_load(IdemLoad *load);

#endif /* IDEM_LOAD_PREPARE_H */
