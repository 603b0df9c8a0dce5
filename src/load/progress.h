/*
 * progress.h
 *		What a load is doing right now, for other sessions to see.
 *
 * Every session has a slot in shared memory that only it writes.  All of these do
 * nothing where there is no shared memory.  A load that runs inside another one (in
 * its source, audit or trigger) is not reported.
 */
#ifndef IDEM_LOAD_PROGRESS_H
#define IDEM_LOAD_PROGRESS_H

#include "ledger/ledger.h"
#include "server/shared.h"

typedef enum IdemPhase
{
	IDEM_PHASE_START,
	IDEM_PHASE_CLAIM,
	IDEM_PHASE_WRITERS,
	IDEM_PHASE_SOURCE,
	IDEM_PHASE_APPLY,
	IDEM_PHASE_AUDIT,
} IdemPhase;

/* Begins and ends the report of a load; the end also after an error. */
extern void idem_progress_begin(const IdemLedger *ledger, const char *pipeline, Oid target);
extern void idem_progress_end(void);

/* So many windows more are to be loaded, at most. */
extern void idem_progress_total(int64 windows);

/* A window is begun; it enters a phase; it is done, with so many rows written. */
extern void idem_progress_window(IdemWindow window);
extern void idem_progress_phase(IdemPhase phase);
extern void idem_progress_done(int64 written);

/* The counter of rows read, somewhere private if nothing is reported. */
extern volatile uint64 *idem_rows_read;

/* A row has been read: one addition. */
static inline void
idem_progress_read(void)
{
	(*idem_rows_read)++;
}

/* The windows of a ledger's pipeline that sessions are loading right now. */
extern IdemWindow *idem_windows_in_progress(const IdemLedger *ledger, const char *pipeline, int *n);

/* What it keeps in shared memory. */
extern const IdemSharedPart idem_progress_part;

#endif /* IDEM_LOAD_PROGRESS_H */
