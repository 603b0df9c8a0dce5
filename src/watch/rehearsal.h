/*
 * rehearsal.h
 *		Loads tried out: is what they do the same however often, and however cut, they run?
 *
 * They run on a copy of the target, with a ledger of its own, in a subtransaction that is
 * rolled back: nothing is left, nobody sees it, and no window of the real ledger is claimed.
 */
#ifndef IDEM_WATCH_REHEARSAL_H
#define IDEM_WATCH_REHEARSAL_H

#include "load/load.h"

/* What is tried. */
typedef enum IdemTrial
{
	IDEM_TRIAL_STATIC = 1 << 0,	 /* nothing: source and defaults are looked over */
	IDEM_TRIAL_RERUN = 1 << 1,	 /* the window again, and again after its rows were lost */
	IDEM_TRIAL_OVERLAP = 1 << 2, /* two windows that overlap */
	IDEM_TRIAL_SPLIT = 1 << 3,	 /* many pieces instead of one */
	IDEM_TRIAL_ORDER = 1 << 4,	 /* the pieces from the last to the first */
} IdemTrial;

/* A rehearsal of a request, whose window is a range. */
typedef struct IdemRehearsal
{
	const IdemRequest *request;
	int trials;			 /* some of the above */
	const char *overlap; /* how much two windows overlap, as a step */
	const char *step;	 /* how the window is cut */
} IdemRehearsal;

/* Called for each check, in order; detail may be NULL, and begins with "warning: " for one. */
typedef void (*IdemTakeTrial)(void *arg, const char *check, bool ok, const char *detail);

/*
 * Rehearses, as whom the request is made; a load that fails is a check that does.  Needs
 * the right to create tables in the schema of the target or of the ledger: 42501.
 */
extern void idem_rehearse(const IdemRehearsal *rehearsal, IdemTakeTrial take, void *arg);

#endif /* IDEM_WATCH_REHEARSAL_H */
