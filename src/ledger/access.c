/*
 * access.c
 *		As whom a ledger is read and written.
 *
 * The caller's rights are checked as they would be if he ran the statement himself, and then
 * the owner's are used, as those of a referenced table's owner are by a foreign key.
 */
#include "postgres.h"

#include "ledger/access.h"
#include "miscadmin.h"
#include "server/compat.h"
#include "server/scope.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/rls.h"

/* As whom the current role reads a ledger. */
static IdemIdentity
reader(const IdemLedger *ledger)
{
	return (IdemIdentity){
		.role = ledger->owner,
		.restricted = true,
		.search_path = ledger->owner == GetUserId() ? NULL : "pg_catalog, pg_temp",
	};
}

void
idem_run_as_ledger_owner(const IdemLedger *ledger, void (*work)(void *arg), void *arg)
{
	IdemIdentity identity = reader(ledger);

	idem_run_as(&identity, work, arg);
}

/* Runs one that reads. */
static void
run_reading(const IdemLedger *ledger, IdemTask *task)
{
	if (ledger->owner != GetUserId())
		idem_check_statement(task->statement);
	idem_run_as_ledger_owner(ledger, idem_run_task, task);
}

bool
idem_read_ledger(const IdemLedger *ledger, IdemStatement *statement, const Datum *args,
				 int ncols, Datum *values, bool *nulls)
{
	IdemTask task = {statement, args, NULL, ncols, values, nulls};

	run_reading(ledger, &task);
	return task.processed > 0;
}

void
idem_read_ledger_rows(const IdemLedger *ledger, IdemStatement *statement, Snapshot since,
					  const Datum *args, DestReceiver *receiver)
{
	IdemTask task = {.statement = statement, .args = args, .receiver = receiver, .since = since};

	run_reading(ledger, &task);
}

/* True if a ledger's owner has logged in himself, to whom no code can RESET the role. */
static bool
is_owners_session(const IdemLedger *ledger)
{
	return ledger->owner == GetUserId() && ledger->owner == GetAuthenticatedUserId();
}

/* Runs one that writes. */
static void
run_writing(const IdemLedger *ledger, IdemTask *task)
{
	IdemIdentity owner = {.role = ledger->owner, .restricted = true};

	/* what his own trigger has SET stays, as after any other statement of his */
	if (is_owners_session(ledger) || !idem_can_set_role(GetUserId(), ledger->owner))
	{
		idem_run_task(task);
		return;
	}
	if (ledger->owner != GetUserId())
		idem_check_statement(task->statement);
	idem_run_as(&owner, idem_run_task, task);
}

uint64
idem_write_ledger(const IdemLedger *ledger, IdemStatement *statement, const Datum *args, const bool *isnull)
{
	IdemTask task = {.statement = statement, .args = args, .isnull = isnull};

	run_writing(ledger, &task);
	return task.processed;
}

bool
idem_write_ledger_row(const IdemLedger *ledger, IdemStatement *statement, const Datum *args,
					  const bool *isnull, int ncols, Datum *values, bool *nulls)
{
	IdemTask task = {statement, args, isnull, ncols, values, nulls};

	run_writing(ledger, &task);
	return task.processed > 0;
}

void
idem_check_row_security(Relation rel)
{
	Oid owner = rel->rd_rel->relowner;
	const char *name;

	if (!rel->rd_rel->relrowsecurity || owner == GetUserId())
		return;
	if (!rel->rd_rel->relforcerowsecurity &&
		check_enable_rls(RelationGetRelid(rel), InvalidOid, true) != RLS_ENABLED)
		return;
	name = idem_qualified_name(rel);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("ledger %s has row security, and role \"%s\" is not its owner", name,
					GetUserNameFromId(GetUserId(), false)),
			 errdetail("Its policies would hide windows, or run with the rights of whoever uses it."),
			 errhint("SET ROLE %s, or have it ALTER TABLE %s DISABLE ROW LEVEL SECURITY.",
					 quote_identifier(GetUserNameFromId(owner, false)), name)));
}
