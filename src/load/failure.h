/*
 * failure.h
 *		What happens when a piece of a load fails.
 */
#ifndef IDEM_LOAD_FAILURE_H
#define IDEM_LOAD_FAILURE_H

#include "load/runner.h"
#include "server/compat.h"

/*
 * Does work in a transaction of its own, and commits.  If it fails, everything is
 * rolled back and the error returned, copied to the piece's context.
 */
extern ErrorData *idem_try_transaction(IdemLoad *load, void (*work)(void *arg), void *arg);

/*
 * Books a failed piece, and raises its error unless the load is to go on.  A run
 * begins with its claim: one that did not get it leaves no trace.  A conflict of a
 * pipeline's window is booked too, but tried again at once, a few times.
 */
extern void idem_handle_failure(IdemLoad *load, const IdemRun *run, ErrorData *error);

/*
 * Books an error that came before anything was read, for the first window that would have
 * been loaded, and raises it.  It says nothing of that window: it is not tried again for it,
 * nor ever blocked.
 */
extern idem_noreturn void idem_handle_unread(IdemLoad *load, ErrorData *error);

/* The same in the caller's transaction, for the error that is being handled, of all that was requested. */
extern void idem_remember_unread(const IdemLoad *load);

/*
 * Blocks a window that took its worker down whenever it was tried, as if it had been
 * tried once more.
 */
extern void idem_condemn_window(IdemLoad *load, IdemWindow window);

/* Raises one error for all windows that failed. */
extern void idem_raise_failures(const IdemLoad *load);

#endif /* IDEM_LOAD_FAILURE_H */
