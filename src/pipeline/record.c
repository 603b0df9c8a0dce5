/*
 * record.c
 *		The process that writes down failures which a rollback would have taken along.
 *
 * It connects as the role whose load has failed: what the ledger's triggers and policies
 * do, they do with that role's rights, as they would have in its own session.
 *
 * They may take all the time they want, and others are waiting: one failure has so long
 * and then is cancelled, code that catches the cancel is ended with its process, and a
 * process that has written for a while makes room for another role's.
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
#include "portability/instr_time.h"
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

/* A ledger's triggers have so long for one failure, in milliseconds, until they are cancelled; */
#define PATIENCE 30000

/* and so much longer until the process ends. */
#define GRACE 5000

/* After so long a process takes no other failure, in milliseconds. */
#define LONGEST_RUN 30000

/* A failure to be written, as an argument of idem_run_as. */
typedef struct FailureWriting
{
	Oid schema;
	Oid ledger;
	Oid range; /* the type of its windows when the failure was left */
	IdemFailure failure;
} FailureWriting;

static void
write_failure_as(void *arg)
{
	FailureWriting *writing = arg;

	IdemLedger *ledger = idem_open_ledger(writing->ledger, writing->schema, true);

	/* it was left as two numbers, which mean another window there */
	if (ledger->type->range != writing->range)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("ledger %s has another range type than it had", ledger->name)));
	(void) idem_record_failure(ledger, &writing->failure);
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
		.range = remembered->range,
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

/* The failure that this process is writing down; NULL if it is at none. */
static const IdemRemembered *at_work_on = NULL;

/* Ends the process, as SIGTERM does; the handler of a timeout. */
static void
end_process(void)
{
	kill(MyProcPid, SIGTERM);
}

/* Begins to write a failure down: from now on time runs. */
static void
start_clock(const IdemRemembered *remembered)
{
	static TimeoutId end = MAX_TIMEOUTS;

	if (end == MAX_TIMEOUTS)
		end = RegisterTimeout(USER_TIMEOUT, end_process);
	at_work_on = remembered;
	enable_timeout_after(STATEMENT_TIMEOUT, PATIENCE);
	enable_timeout_after(end, PATIENCE + GRACE);
}

/* Stops it. */
static void
stop_clock(void)
{
	disable_all_timeouts(false);
	at_work_on = NULL;
}

/* Logs that a failure is lost. */
static void
log_unrecorded(const IdemRemembered *remembered, int sqlerrcode, const char *why)
{
	ereport(LOG,
			(errcode(sqlerrcode),
			 errmsg("could not record the failure of pipeline \"%s\": %s", remembered->pipeline, why),
			 errdetail("It had failed with: %s", remembered->message)));
}

/* Logs what the process is at when it is ended. */
static void
log_ended(int code, Datum arg)
{
	if (at_work_on)
		log_unrecorded(at_work_on, ERRCODE_ADMIN_SHUTDOWN, "the process that writes it down was ended");
}

/* Writes down one failure in a transaction of its own, or logs that it could not. */
static void
write_failure_or_log(const IdemRemembered *remembered)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		char *schema;

		start_clock(remembered);
		idem_begin_work(true);
		schema = idem_find_schema();
		if (schema)
			write_failure(schema, remembered);
		idem_end_work();
		stop_clock();
	}
	PG_CATCH();
	{
		ErrorData *error;

		stop_clock();
		QueryCancelPending = false;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		log_unrecorded(remembered, error->sqlerrcode, error->message);
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
	writers->last = role;
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

/* Compares roles by how far they are from another one, in the circle that their OIDs make. */
static int
compare_distance(const void *one, const void *other, void *from)
{
	Oid first = *(const Oid *) one - *(const Oid *) from - 1;
	Oid second = *(const Oid *) other - *(const Oid *) from - 1;

	return first < second ? -1 : first > second;
}

/* The roles that have left failures, by turns: from the one on that comes after the last. */
static int
find_roles(const IdemWriters *writers, Oid roles[IDEM_MAX_REMEMBERED])
{
	Oid last = writers->last;
	int n = idem_remembered_roles(roles);

	qsort_arg(roles, n, sizeof(Oid), compare_distance, &last);
	return n;
}

bool
idem_have_failures_written(IdemWriters *writers)
{
	Oid roles[IDEM_MAX_REMEMBERED];
	int n = find_roles(writers, roles);
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
	instr_time begun;
	instr_time run;

	before_shmem_exit(log_ended, (Datum) 0);
	INSTR_TIME_SET_CURRENT(begun);
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!idem_take_failure(args->role, &remembered))
			break;
		write_failure_or_log(&remembered);
		INSTR_TIME_SET_CURRENT(run);
		INSTR_TIME_SUBTRACT(run, begun);
	} while (INSTR_TIME_GET_MILLISEC(run) < LONGEST_RUN);
	proc_exit(0);
}
