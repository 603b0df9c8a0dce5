/*
 * once.h
 *		Rows applied outside of any run: without a claim, and with nothing in the ledger.
 */
#ifndef IDEM_LOAD_ONCE_H
#define IDEM_LOAD_ONCE_H

#include "load/load.h"

/*
 * Applies the rows of a request's source, which lie in a window, in the current transaction
 * and as who calls; raises what a load of them would.
 */
extern void idem_apply_once(const IdemRequest *request, IdemWindow window);

#endif /* IDEM_LOAD_ONCE_H */
