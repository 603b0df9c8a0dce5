/*
 * record.c
 *		The process that writes down failures which a rollback would have taken along.
 *
 * It connects as the role whose load has failed: what the ledger's triggers and policies
 * do, they do with that role's rights, as they would have in its own session.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "ledger/table.h"
#include "load/recorder.h"
#include "miscadmin.h"
#include "pipeline/record.h"
#include "pipeline/right.h"
#include "pipeline/worker.h"
#include "postmaster/bgworker.h"
#include "server/compat.h"
#include "server/extension.h"
#include "server/schedule.h"
#include "server/scope.h"
#include "server/settings.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

/* A ledger's trigger has so long for one failure, in milliseconds: others are waiting. */
#define PATIENCE 60000

/* A failure to be written, as an argument of idem_run_as. */
typedef struct FailureWriting
{
	Oid schema;
	Oid ledger;
	IdemFailure failure;
} FailureWriting;

static void
write_failure_as(void *arg)
{
	FailureWriting *writing = arg;

	(void) idem_record_failure(idem_open_ledger(writing->ledger, writing->schema, true),
						&writing->failure);
}

/* The owner of a relation; InvalidOid if it is not there. */
static Oid
relation_owner(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/* Writes down a failure that a session's rollback would have taken along. */
static void
write_failure(const char *schema, const IdemRemembered *remembered)
{
	IdemIdentity identity = {
		.role = remembered->role,
		.search_path = remembered->search_path,
	};
	IdemRun run = {
		.pipeline = remembered->pipeline,
		.window = remembered->window,
		.target = remembered->target,
		.mode = remembered->reload ? "reload" : "upsert",
		.started_at = remembered->started_at,
	};
	ErrorData error = {
		.sqlerrcode = remembered->sqlerrcode,
		.message = pstrdup(remembered->message),
		.context = "in its caller's transaction",
	};
	FailureWriting writing = {
		.schema = get_namespace_oid(schema, false),
		.ledger = remembered->ledger,
		.failure = {.run = &run, .error = &error},
	};

	if (superuser_arg(remembered->role) && relation_owner(remembered->ledger) != remembered->role)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the ledger belongs to another role than superuser \"%s\"",
						GetUserNameFromId(remembered->role, false)),
				 errdetail("Nobody is there to answer for what its triggers would do with a superuser's rights.")));
	idem_run_as(&identity, write_failure_as, &writing);
}

/* Writes down one failure in a transaction of its own, or logs that it could not. */
static void
write_failure_or_log(const IdemRemembered *remembered)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		char *schema;

		enable_timeout_after(STATEMENT_TIMEOUT, PATIENCE);
		idem_begin_work(true);
		schema = idem_find_schema();
		if (schema)
			write_failure(schema, remembered);
		idem_end_work();
		disable_timeout(STATEMENT_TIMEOUT, false);
	}
	PG_CATCH();
	{
		ErrorData *error;

		disable_all_timeouts(false);
		QueryCancelPending = false;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("could not record the failure of pipeline \"%s\": %s",
						remembered->pipeline, error->message),
				 errdetail("It had failed with: %s", remembered->message)));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

/* A process that writes down a role's failures. */
typedef struct Writer
{
	MemoryContext context; /* of this and the handle */
	Oid role;
	uint64 oldest; /* failure when it was started */
	BackgroundWorkerHandle *handle;
} Writer;

/* Forgets the writers that have ended. */
static void
forget_ended_writers(IdemWriters *writers)
{
	ListCell *lc;
	pid_t pid;

	foreach (lc, writers->list)
	{
		Writer *writer = lfirst(lc);

		if (GetBackgroundWorkerPid(writer->handle, &pid) != BGWH_STOPPED)
			continue;
		/* it could not even begin: the role may not connect, say */
		if (idem_oldest_remembered(writer->role) == writer->oldest)
			idem_drop_failures(writer->role);
		writers->list = foreach_delete_current(writers->list, lc);
		MemoryContextDelete(writer->context);
	}
}

/* True if a role has a writer that is at work. */
static bool
has_writer(const IdemWriters *writers, Oid role)
{
	ListCell *lc;

	foreach (lc, writers->list)
	{
		if (((Writer *) lfirst(lc))->role == role)
			return true;
	}
	return false;
}

/* Starts a writer for a role; false if there is no slot. */
static bool
start_writer(IdemWriters *writers, Oid role)
{
	IdemWorkerArgs args = {.database = MyDatabaseId, .role = role};
	MemoryContext context = AllocSetContextCreate(writers->context, "idem writer", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Writer *writer = palloc0(sizeof(Writer));
	BackgroundWorker worker;
	bool started;

	writer->context = context;
	writer->role = role;
	writer->oldest = idem_oldest_remembered(role);
	idem_fill_worker(&worker, "idem_record_main", "idem recorder", &args);
	started = RegisterDynamicBackgroundWorker(&worker, &writer->handle);
	MemoryContextSwitchTo(writers->context);
	if (started)
		writers->list = lappend(writers->list, writer);
	else
		MemoryContextDelete(context);
	MemoryContextSwitchTo(old);
	return started;
}

/* Has the failures of a role written down, if a worker can be its session. */
static bool
serve_role(IdemWriters *writers, Oid role)
{
	const char *name = GetUserNameFromId(role, true);

	if (has_writer(writers, role) || idem_oldest_remembered(role) == 0)
		return true;
	if (name == NULL || idem_can_have_worker(role))
		return start_writer(writers, role);
	ereport(LOG,
			(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
			 errmsg("failures of loads by role \"%s\" in their callers' transactions are not recorded", name),
			 errdetail("A session of this role would write them down, and it may not log in."),
			 errhint("ALTER ROLE %s LOGIN, or load at top level.", quote_identifier(name))));
	idem_drop_failures(role);
	return true;
}

bool
idem_have_failures_written(IdemWriters *writers)
{
	Oid roles[IDEM_MAX_REMEMBERED];
	int n = idem_remembered_roles(roles);
	bool all = true;
	uint64 lost;
	int i;

	forget_ended_writers(writers);
	for (i = 0; i < n && list_length(writers->list) < idem_max_workers; i++)
		all &= serve_role(writers, roles[i]);
	lost = idem_lost_failures();
	if (lost > 0)
		ereport(LOG,
				(errmsg("%llu failures of loads in their callers' transactions could not be kept",
						(unsigned long long) lost)));
	return all;
}

/* Main function of a recorder's process. */
void
idem_record_main(Datum arg)
{
	const IdemWorkerArgs *args = idem_begin_process("idem recorder");
	IdemRemembered remembered;

	while (idem_take_failure(args->role, &remembered))
	{
		CHECK_FOR_INTERRUPTS();
		write_failure_or_log(&remembered);
	}
	proc_exit(0);
}
