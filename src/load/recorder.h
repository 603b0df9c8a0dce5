/*
 * recorder.h
 *		A failure outlives the rollback of the transaction it happened in.
 *
 * A load in its caller's transaction cannot write its failure down: the record would
 * be rolled back with the rest.  So it leaves it in shared memory when its transaction has
 * ended, and the database's scheduler has it written to the ledger.  There is room for a
 * few; of whoever has most the oldest go first, and are counted.  Does nothing where there
 * is no shared memory.
 */
#ifndef IDEM_LOAD_RECORDER_H
#define IDEM_LOAD_RECORDER_H

#include "ledger/ledger.h"
#include "server/scope.h"
#include "server/shared.h"

/*
 * Remembers that a run has failed with the error that is being handled, which the
 * caller is about to raise again.  Never fails and never waits.  The identity is the
 * one the run began with: while an error is handled, the current one may still be that
 * of a SECURITY DEFINER function that raised it.
 */
extern void idem_remember_failure(const IdemRangeType *type, const IdemRun *run,
								  const IdemIdentity *identity);

/* Failures of pipelines with longer names, in bytes with the final zero, are not kept. */
#define IDEM_MAX_REMEMBERED_NAME 256

/* A failure that was remembered, with what it needs to be written down. */
typedef struct IdemRemembered
{
	uint64 serial; /* in the order in which they came */
	Oid database;
	Oid role;
	Oid ledger;
	Oid target;
	Oid range;
	IdemWindow window;
	bool reload;
	int sqlerrcode;
	TimestampTz started_at;
	char pipeline[IDEM_MAX_REMEMBERED_NAME];
	char search_path[256]; /* empty if it does not fit */
	char message[512];
} IdemRemembered;

/*
 * Remembers that a run has succeeded: what failed of its window before in this transaction
 * is forgotten when that commits, and this success with it.
 */
extern void idem_remember_success(const IdemRun *run);

/* How many failures there is room for, in all databases together. */
#define IDEM_MAX_REMEMBERED 128

/* Takes the oldest failure of a role in this database; false if there is none. */
extern bool idem_take_failure(Oid role, IdemRemembered *failure);

/* Which roles have left failures in this database, each once; the oldest of one, 0 if none. */
extern int idem_remembered_roles(Oid roles[IDEM_MAX_REMEMBERED]);
extern uint64 idem_oldest_remembered(Oid role);

/* Gives up those of a role, which are counted as lost. */
extern void idem_drop_failures(Oid role);

/* How many have been lost for lack of room since this was last asked. */
extern uint64 idem_lost_failures(void);

/* What it keeps in shared memory. */
extern const IdemSharedPart idem_recorder_part;

#endif /* IDEM_LOAD_RECORDER_H */
