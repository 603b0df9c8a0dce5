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
#include "pipeline/worker.h"
#include "server/compat.h"
#include "server/extension.h"
#include "server/schedule.h"
#include "server/scope.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/syscache.h"

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

	idem_record_failure(idem_open_ledger(writing->ledger, writing->schema, true),
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
		.context = "in a transaction that was rolled back",
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

		idem_begin_work(true);
		schema = idem_find_schema();
		if (schema)
			write_failure(schema, remembered);
		idem_end_work();
	}
	PG_CATCH();
	{
		ErrorData *error;

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

bool
idem_start_record_worker(Oid role, BackgroundWorkerHandle **handle)
{
	IdemWorkerArgs args = {.database = MyDatabaseId, .role = role};
	BackgroundWorker worker;

	idem_fill_worker(&worker, "idem_record_main", "idem recorder", &args);
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/* Main function of a recorder's process. */
void
idem_record_main(Datum arg)
{
	const IdemWorkerArgs *args = idem_worker_args();
	IdemRemembered remembered;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(args->database, args->role, 0);
	(void) set_config_option("application_name", "idem recorder", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SET, true, 0, false);
	MemoryContextSwitchTo(AllocSetContextCreate(TopMemoryContext, "idem recorder",
												ALLOCSET_DEFAULT_SIZES));
	while (idem_take_failure(args->role, &remembered))
	{
		CHECK_FOR_INTERRUPTS();
		write_failure_or_log(&remembered);
	}
	proc_exit(0);
}
