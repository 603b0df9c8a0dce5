/*
 * schema.h
 *		The columns of a source: whether they are those that its pipeline was accepted with.
 *
 * The first run of a pipeline into a target is accepted, and so is one whose columns have
 * changed only as the target's have, and what idem_accept_schema says.  Every other run is
 * compared with the last accepted one: one that differs says so in the ledger, and the next
 * one that does not says nothing.
 */
#ifndef IDEM_LOAD_SCHEMA_H
#define IDEM_LOAD_SCHEMA_H

#include "load/runner.h"

/*
 * Compares the source's columns with the accepted ones, and notes in the load what its
 * runs have to say of them.  Raises 42703 for a column of the target that the source has
 * lost, unless that is to be ignored.
 */
extern void idem_check_schema(IdemLoad *load);

/*
 * Adds the columns to the target that the source has and it lacks, in the current
 * transaction, unless the source has lost one: then it raises the same 42703.  Raises 42809
 * for a target that is no table, 42501 if it is another's, 55P03 if others use it for longer
 * than a second.
 */
extern void idem_append_missing(IdemLoad *load);

/* Says on the channel idem that a run has loaded a source of changed columns. */
extern void idem_notify_schema(const IdemLoad *load, const IdemRun *run);

#endif /* IDEM_LOAD_SCHEMA_H */
