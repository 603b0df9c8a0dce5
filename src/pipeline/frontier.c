/*
 * frontier.c
 *		Up to where a pipeline is known to be complete, so that a turn need not read it again.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "pipeline/frontier.h"
#include "pipeline/state.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/* So long after everything was read it is read again. */
#define READ_ALL_EVERY USECS_PER_HOUR

/* True if a frontier still says something of the pipeline; the clock may have been set back. */
static bool
holds(const IdemFrontier *frontier, const IdemPipeline *pipeline, TimestampTz now)
{
	return frontier->bound && frontier->fingerprint == pipeline->fingerprint &&
		   frontier->read_at <= now && now - frontier->read_at < READ_ALL_EVERY &&
		   get_rel_persistence(pipeline->ledger) == RELPERSISTENCE_PERMANENT;
}

IdemFrontier
idem_find_frontier(const IdemPipeline *pipeline)
{
	TimestampTz now = GetCurrentTimestamp();
	IdemFrontier frontier = idem_stored_frontier(pipeline->schema, pipeline->name);

	if (holds(&frontier, pipeline, now))
		return frontier;
	frontier.bound = NULL;
	frontier.read_at = now;
	frontier.fingerprint = pipeline->fingerprint;
	return frontier;
}

int64
idem_look_from(const IdemFrontier *frontier, const IdemRangeType *type, const IdemStep *step,
			   IdemWindow due)
{
	int64 bound;
	int64 line;
	int64 next;

	if (frontier->bound == NULL)
		return due.lower;
	bound = Min(idem_parse_bound(type, "frontier", frontier->bound), due.upper);
	line = idem_grid_line(type, step, due.lower, bound, &next);
	return line > due.lower ? idem_grid_line(type, step, due.lower, line - 1, &next) : due.lower;
}
