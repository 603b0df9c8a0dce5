/*
 * notify.h
 *		NOTIFY idem: what happened to a window, for the world outside.
 */
#ifndef IDEM_LEDGER_NOTIFY_H
#define IDEM_LEDGER_NOTIFY_H

#include "ledger/ledger.h"

/*
 * Sends a JSON object on the channel idem when the current transaction commits:
 * event ("complete", "failed" or "blocked"), pipeline, window, run_id, and source_rows
 * or error_code.
 */
extern void idem_notify_complete(const IdemRangeType *type, const IdemRun *run);
extern void idem_notify_failure(const IdemRangeType *type, const IdemFailure *failure);

/* The same, event "schema", of a run whose source has other columns than those that were accepted. */
extern void idem_notify_schema_change(const IdemRangeType *type, const IdemRun *run);

#endif /* IDEM_LEDGER_NOTIFY_H */
