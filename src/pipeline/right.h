/*
 * right.h
 *		Who may have pipelines that run by themselves.
 *
 * They take workers, which all roles of a server share, so it is a right: that to execute
 * idem_enable_pipeline, which can be granted to a role, inherited and dumped like any
 * other.  It is asked for when a pipeline is enabled, and by the scheduler each time.
 */
#ifndef IDEM_PIPELINE_RIGHT_H
#define IDEM_PIPELINE_RIGHT_H

#include "postgres_ext.h"

/* Why an owner's pipelines may not run by themselves, and what to do; NULL if they may. */
extern const char *idem_why_not_run(const char *schema, Oid owner);

/* Raises 42501 if an owner's pipeline of this name may not run by itself. */
extern void idem_check_may_run(const char *schema, const char *pipeline, Oid owner);

/* Raises 42501 if no worker can load an owner's pipeline of this name. */
extern void idem_check_can_have_worker(const char *pipeline, Oid owner);

/*
 * True if a worker can be a role's session: it is there, and before 17 it must be one
 * that may log in.
 */
extern bool idem_can_have_worker(Oid role);

#endif /* IDEM_PIPELINE_RIGHT_H */
