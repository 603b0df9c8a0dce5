/*
 * table.h
 *		The ledger as a table: created properly, or checked before it is trusted.
 */
#ifndef IDEM_LEDGER_TABLE_H
#define IDEM_LEDGER_TABLE_H

#include "ledger/ledger.h"

/*
 * Opens a ledger, in the current memory context; schema is the extension's.  Raises 42809 if the relation
 * is no ledger, 42501 if row security applies to the caller, who is not its owner, and,
 * if it is to be written, 42P16 if it lacks a constraint that loads depend on.
 */
extern IdemLedger *idem_open_ledger(Oid relid, Oid schema, bool for_writing);

/* Of which type its windows are, whoever may read them.  Raises 42809 if it is no ledger. */
extern const IdemRangeType *idem_ledger_range_type(Oid relid, Oid schema);

/*
 * Locks a ledger that has been opened, before a statement on it, for other code may have
 * run since.  Raises 42P01 if it has been dropped, and 55000 if it is another one.
 */
extern void idem_check_ledger(IdemLedger *ledger);

/*
 * True if nobody notices that a row stands for several windows, and is changed into one for
 * each: no trigger, rule or policy.  The current user must have the rights for it.
 */
extern bool idem_may_claim_range(const IdemLedger *ledger);

/*
 * Creates a table of one of our types, with a sequence of its own for its id, by which it is a
 * primary key (typed tables cannot have identity columns); more are further columns and
 * constraints.  Returns its qualified name.
 *
 * CREATE SEQUENCE s.t_id_seq;
 * CREATE TABLE s.t OF type (id WITH OPTIONS DEFAULT nextval('s.t_id_seq') PRIMARY KEY, pipeline WITH OPTIONS NOT NULL, more);
 * ALTER SEQUENCE s.t_id_seq OWNED BY s.t.id;
 */
extern const char *idem_create_typed_table(const char *schema, const char *name, const char *type,
										   const char *id, const char *more);

/* Raises 42804 for a range of another type than the ledger's. */
extern void idem_check_range_type(const IdemLedger *ledger, Oid range);

#endif /* IDEM_LEDGER_TABLE_H */
