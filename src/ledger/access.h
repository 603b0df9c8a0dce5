/*
 * access.h
 *		As whom a ledger is read and written.
 *
 * Whatever reads or writes a table computes what its owner has attached to it: expressions
 * and predicates of indexes, of statistics, CHECK constraints, defaults, triggers.  Who
 * looks at another's ledger must not lend its owner his rights by that.
 */
#ifndef IDEM_LEDGER_ACCESS_H
#define IDEM_LEDGER_ACCESS_H

#include "ledger/ledger.h"
#include "utils/relcache.h"

/*
 * Runs work(arg), which looks at a ledger, as its owner and restricted, as the server's
 * maintenance commands do, whoever asks.  Where that is another, his search_path does not
 * say where the owner's functions look for names.
 */
extern void idem_run_as_ledger_owner(const IdemLedger *ledger, void (*work)(void *arg), void *arg);

/*
 * Runs a statement that reads a ledger in the same way, once it has been checked that the
 * caller has the rights that it needs; raises 42501 if not.  Returns whether there is a
 * row, and gives its columns, of which there may be none, as idem_fetch does.
 */
extern bool idem_read_ledger(const IdemLedger *ledger, IdemStatement *statement, const Datum *args,
							 int ncols, Datum *values, bool *nulls);

/* The same for many rows, which go to a receiver; since a snapshot, or now. */
extern void idem_read_ledger_rows(const IdemLedger *ledger, IdemStatement *statement, Snapshot since,
								  const Datum *args, DestReceiver *receiver);

/*
 * Runs a statement that writes a ledger, once the caller's rights have been checked: as the
 * owner and restricted if the caller may become him, as superusers may, or has; and else as
 * the caller, as any INSERT of his, for triggers may rely on that; so in a session of the
 * owner's own.  Returns how many rows were written; or whether there is one, and its columns.
 */
extern uint64 idem_write_ledger(const IdemLedger *ledger, IdemStatement *statement, const Datum *args,
								const bool *isnull);
extern bool idem_write_ledger_row(const IdemLedger *ledger, IdemStatement *statement, const Datum *args,
								  const bool *isnull, int ncols, Datum *values, bool *nulls);

/*
 * Raises 42501 for a ledger with row security that applies to the caller, or by force to
 * its owner, unless that is who calls: policies are the owner's code too, and run with the
 * rights of whom they apply to; and read as the owner, the ledger shows what they hide.
 */
extern void idem_check_row_security(Relation rel);

#endif /* IDEM_LEDGER_ACCESS_H */
