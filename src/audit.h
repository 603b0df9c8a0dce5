/*
 * audit.h
 *		The user's last word on a window before it is complete.
 */
#ifndef IDEM_AUDIT_H
#define IDEM_AUDIT_H

#include "statement.h"
#include "window.h"

/* Runs an audit query for a window; a row it returns raises 23514 and is shown. */
extern void idem_run_audit(IdemQuery *audit, const IdemRangeType *type, IdemWindow window);

#endif /* IDEM_AUDIT_H */
