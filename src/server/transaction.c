/*
 * transaction.c
 *		SPI's beginning and end, transactions and subtransactions.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "server/transaction.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/*
 * SPI makes the environment of a connection's rows with the first that are registered,
 * in whatever context is current then, and keeps it.  So some are registered while the
 * current context is the one that lives as long.
 */
static void
make_query_environment(void)
{
	EphemeralNamedRelationData none = {.md = {.name = "idem"}};

	if (SPI_register_relation(&none) != SPI_OK_REL_REGISTER ||
		SPI_unregister_relation(none.md.name) != SPI_OK_REL_UNREGISTER)
		elog(ERROR, "SPI_register_relation failed");
}

void
idem_connect(bool atomic)
{
	if (SPI_connect_ext(atomic ? 0 : SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	make_query_environment();
}

void
idem_finish(void)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

void
idem_require_writable(const char *what)
{
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot %s in a read-only transaction", what),
				 RecoveryInProgress() ? errhint("This server is a standby: do it on its primary.")
				 : DefaultXactReadOnly ? errhint("SET default_transaction_read_only = off;")
									   : errhint("Begin the transaction without READ ONLY.")));
}

/* Whether this process has no portal, and so keeps a snapshot itself. */
static bool keeps_snapshot = false;

void
idem_keep_snapshot(void)
{
	keeps_snapshot = true;
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
idem_drop_snapshot(void)
{
	keeps_snapshot = false;
	PopActiveSnapshot();
}

/* Ends the transaction and begins another one, which there is also after an error. */
static void
end_transaction(void (*end)(void))
{
	if (keeps_snapshot)
		PopActiveSnapshot();
	PG_TRY();
	{
		end();
	}
	PG_FINALLY();
	{
		if (keeps_snapshot)
			PushActiveSnapshot(GetTransactionSnapshot());
	}
	PG_END_TRY();
}

void
idem_commit(void)
{
	end_transaction(SPI_commit);
}

void
idem_rollback(void)
{
	end_transaction(SPI_rollback);
}

bool
idem_is_cancel(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_QUERY_CANCELED ||
		   sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		   sqlerrcode == ERRCODE_CRASH_SHUTDOWN ||
		   sqlerrcode == ERRCODE_CANNOT_CONNECT_NOW;
}

bool
idem_is_of_row(int sqlerrcode)
{
	int category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_DATA_EXCEPTION || category == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION;
}

/* Does work in a subtransaction, which is ended so unless it fails. */
static ErrorData *
try_work(void (*work)(void *arg), void *arg, MemoryContext context, void (*end)(void))
{
	ErrorData *volatile error = NULL;
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(old);
	PG_TRY();
	{
		work(arg);
		end();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return error;
}

/* Raises an error again that says nothing of what was done. */
static ErrorData *
raise_cancel(ErrorData *error)
{
	if (error && idem_is_cancel(error->sqlerrcode))
		ReThrowError(error);
	return error;
}

ErrorData *
idem_try_any(void (*work)(void *arg), void *arg, MemoryContext context)
{
	return try_work(work, arg, context, ReleaseCurrentSubTransaction);
}

ErrorData *
idem_try(void (*work)(void *arg), void *arg, MemoryContext context)
{
	return raise_cancel(idem_try_any(work, arg, context));
}

ErrorData *
idem_try_out(void (*work)(void *arg), void *arg, MemoryContext context)
{
	return raise_cancel(try_work(work, arg, context, RollbackAndReleaseCurrentSubTransaction));
}

/* Whether the time of idem_try_within is over. */
static volatile sig_atomic_t time_is_over = false;

/* Its timer; there is one a session. */
static TimeoutId timer = MAX_TIMEOUTS;

/* Handler of its timer: what runs is cancelled, as statement_timeout would. */
static void
end_time(void)
{
	time_is_over = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/*
 * Starts the timer; within the time of another call it runs already.  It goes off again and
 * again, for a function that catches the cancel may be called for every row.
 */
static bool
start_timer(int milliseconds)
{
	if (milliseconds == 0)
		return false;
	if (timer == MAX_TIMEOUTS)
		timer = RegisterTimeout(USER_TIMEOUT, end_time);
	if (get_timeout_active(timer))
		return false;
	time_is_over = false;
	enable_timeout_every(timer, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds), milliseconds);
	return true;
}

/* A function that catches the cancel and goes on is rolled back nevertheless. */
typedef struct Timed
{
	void (*work)(void *arg);
	void *arg;
} Timed;

static void
work_in_time(void *arg)
{
	Timed *timed = arg;

	timed->work(timed->arg);
	if (time_is_over)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("canceling statement because its time is over")));
}

/*
 * A cancel of somebody else's that comes in the same moment is taken for ours: he has to
 * cancel again what goes on.
 */
ErrorData *
idem_try_within(int milliseconds, void (*work)(void *arg), void *arg, MemoryContext context, bool *late)
{
	Timed timed = {work, arg};
	ErrorData *volatile error = NULL;

	*late = false;
	if (!start_timer(milliseconds))
		return idem_try(work, arg, context);
	PG_TRY();
	{
		error = idem_try_any(work_in_time, &timed, context);
	}
	PG_FINALLY();
	{
		disable_timeout(timer, false);
		if (time_is_over)
			QueryCancelPending = false;
	}
	PG_END_TRY();
	*late = error && error->sqlerrcode == ERRCODE_QUERY_CANCELED && time_is_over;
	return *late ? error : raise_cancel(error);
}
