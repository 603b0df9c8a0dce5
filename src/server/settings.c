/*
 * settings.c
 *		The settings of idem.
 */
#include "postgres.h"

#include "nodes/pg_list.h"
#include "server/settings.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

bool idem_allow_exclusive = false;
bool idem_force_statements = false;
bool idem_source_digest = true;
bool idem_explain_method = false;
bool idem_wait_for_writers = true;
char *idem_databases = NULL;
int idem_max_workers = 4;
int idem_max_check_workers = 1;
int idem_max_backfill_workers = 2;
int idem_crash_delay = 60000;
int idem_batch_time = 50;

static bool is_preloaded = false;

/* Checks that a setting is a list of names. */
static bool
check_databases(char **value, void **extra, GucSource source)
{
	List *names;

	if (SplitIdentifierString(pstrdup(*value), ',', &names))
		return true;
	GUC_check_errdetail("List syntax is invalid.");
	return false;
}

/* Defines the settings of the scheduler. */
static void
define_scheduler_settings(void)
{
	DefineCustomStringVariable("idem.databases",
							   "Databases whose pipelines are run by themselves.",
							   "A list of names, separated by commas. Needs idem in shared_preload_libraries.",
							   &idem_databases,
							   "",
							   PGC_SIGHUP,
							   GUC_LIST_INPUT,
							   check_databases, NULL, NULL);
	DefineCustomIntVariable("idem.max_workers",
							"How many pipelines run at once in a database.",
							"Each takes one of max_worker_processes.",
							&idem_max_workers,
							4, 1, 1024,
							PGC_SIGHUP,
							0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("idem.max_check_workers",
							"How many of idem.max_workers may check what is complete.",
							"Checks begin where no load waits for a worker; 0 is none.",
							&idem_max_check_workers,
							1, 0, 1024,
							PGC_SIGHUP,
							0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("idem.max_backfill_workers",
							"How many workers all backfills of the server have together.",
							"Each takes one of max_worker_processes, which pipelines that run by themselves need too.",
							&idem_max_backfill_workers,
							2, 0, 1024,
							PGC_SIGHUP,
							0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("idem.crash_delay",
							"How long a pipeline waits after its worker was lost with the server.",
							"It doubles each time, so that one window cannot restart the server in a loop.",
							&idem_crash_delay,
							60000, 0, PG_INT32_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
}

/* Defines the settings of how rows are written. */
static void
define_writing_settings(void)
{
	DefineCustomBoolVariable("idem.allow_exclusive",
							 "Allows a load to lock out readers where that is faster.",
							 "A reload may truncate the partitions that its window consists of, where older snapshots see an empty partition; an empty table of the user's may be filled without its indexes, which are built afterwards.",
							 &idem_allow_exclusive,
							 false,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("idem.force_statements",
							 "Has rows written by SQL statements alone.",
							 "For developers: what is written otherwise must come out the same.",
							 &idem_force_statements,
							 false,
							 PGC_USERSET,
							 GUC_NOT_IN_SAMPLE,
							 NULL, NULL, NULL);
}

/* Reserves the prefix too, so that a typing error is seen. */
void
idem_define_settings(bool preloaded)
{
	is_preloaded = preloaded;
	define_scheduler_settings();
	define_writing_settings();
	DefineCustomBoolVariable("idem.source_digest",
							 "Records a checksum of the source rows of every run in the ledger.",
							 "Where it is off, no sum of hashes tells that nothing has changed: every row is compared.",
							 &idem_source_digest,
							 true,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("idem.explain_method",
							 "Says in a NOTICE how each window is loaded, and why.",
							 NULL,
							 &idem_explain_method,
							 false,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("idem.wait_for_writers",
							 "Waits for open transactions that write to a source table before a window is read.",
							 "Without it a row that is committed later, but belongs to the window, is missed.",
							 &idem_wait_for_writers,
							 true,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("idem.batch_time",
							"How long small windows that follow each other are loaded in one transaction.",
							"0: each in a transaction of its own.",
							&idem_batch_time,
							50, 0, PG_INT32_MAX,
							PGC_USERSET,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
	MarkGUCPrefixReserved("idem");
}

bool
idem_is_scheduled_database(const char *name)
{
	List *names;
	ListCell *lc;

	if (!is_preloaded || !SplitIdentifierString(pstrdup(idem_databases), ',', &names))
		return false;
	foreach (lc, names)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}
