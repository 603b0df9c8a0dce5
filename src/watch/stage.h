/*
 * stage.h
 *		A copy of a request's target, with a ledger of its own, for a rehearsal.
 */
#ifndef IDEM_WATCH_STAGE_H
#define IDEM_WATCH_STAGE_H

#include "load/load.h"

/*
 * Makes the same request of copies that it creates: of the target as LIKE … INCLUDING ALL
 * does, whose sequences are new ones, and an empty ledger.  As the current role, who may
 * not create tables in the target's schema nor the ledger's: 42501.  No audit, retry or NOTIFY.
 */
extern IdemRequest idem_set_stage(const IdemRequest *request, const IdemRangeType *type);

/* What of a target its copy does not have, such as triggers; NULL if there is nothing. */
extern char *idem_left_out(const IdemRequest *request);

#endif /* IDEM_WATCH_STAGE_H */
