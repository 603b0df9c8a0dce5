/*
 * zone.h
 *		The time zone that a load runs under, which stays its pipeline's.
 */
#ifndef IDEM_LOAD_ZONE_H
#define IDEM_LOAD_ZONE_H

#include "load/windows.h"

/* The name of the session's time zone, in the current memory context. */
extern const char *idem_current_zone(void);

/*
 * Raises 55000 if the pipeline was last loaded under another zone.  What the plan redoes
 * does not count: who redoes all that is complete may change the zone.
 */
extern void idem_check_zone(const IdemPlan *plan, const char *zone);

#endif /* IDEM_LOAD_ZONE_H */
