/*
 * frontier.h
 *		Up to where a pipeline is known to be complete, so that a turn need not read it again.
 *
 * A hint in the pipeline's state, and never more: a turn looks for gaps beyond it, and a
 * hint that is too low costs time.  One that is too high would keep a gap from being
 * loaded.  So it is taken from the ledger alone, as the lower bound of the first gap there;
 * everything that makes complete windows gaps drops it, by the scheduler, which then counts
 * in resets, so that who has read the ledger before that cannot store it any more; and once
 * an hour everything is read, for the owner of a ledger may edit it as he likes.
 */
#ifndef IDEM_PIPELINE_FRONTIER_H
#define IDEM_PIPELINE_FRONTIER_H

#include "pipeline/pipeline.h"

typedef struct IdemFrontier
{
	const char *bound;	 /* as any session reads it alike; NULL: everything is to be read */
	TimestampTz read_at; /* when everything was read, or is about to be */
	uint64 fingerprint;	 /* of the definition by which it was */
	int64 resets;		 /* as often had it been dropped when it was fetched */
} IdemFrontier;

/* In an UPDATE of the state: nothing is known any more, whoever is reading the ledger now. */
#define IDEM_FORGET_FRONTIER(of) \
	"frontier = NULL, resets = " of "resets OPERATOR(pg_catalog.+) 1"

/*
 * The frontier that a turn begins with, to be called before it reads the ledger.  None of
 * another definition, of an hour ago, or of a ledger that a crash empties.
 */
extern IdemFrontier idem_find_frontier(const IdemPipeline *pipeline);

/*
 * Where to look for gaps in what is due, a window from the grid's origin: at the beginning
 * of the last complete cell before the frontier.  As the pipeline's owner.
 */
extern int64 idem_look_from(const IdemFrontier *frontier, const IdemRangeType *type, const IdemStep *step,
							IdemWindow due);

#endif /* IDEM_PIPELINE_FRONTIER_H */
