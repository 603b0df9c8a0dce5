/*
 * audit.h
 *		The user's last word on a window before it is complete.
 */
#ifndef IDEM_LOAD_AUDIT_H
#define IDEM_LOAD_AUDIT_H

#include "ledger/window.h"
#include "server/query.h"
#include "server/statement.h"

/* Runs an audit query for a window; a row it returns raises 23514 and is shown. */
extern void idem_run_audit(IdemQuery *audit, const IdemRangeType *type, IdemWindow window);

#endif /* IDEM_LOAD_AUDIT_H */
