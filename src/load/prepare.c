/*
 * prepare.c
 *		What the pieces of a load share: looked up, and looked at again.
 *
 * Between two pieces, and while the source runs, other sessions change tables, and so
 * does the code that a load runs.  What was looked up before is compared with what is
 * there once the target is locked, and made anew if it differs: a piece is loaded by what
 * the target is now.  Where it changes in the middle of a piece, the piece fails
 * (runner.c).
 */
#include "postgres.h"

#include "access/xact.h"
#include "ledger/letters.h"
#include "ledger/table.h"
#include "load/prepare.h"
#include "load/schema.h"
#include "load/sift.h"
#include "load/zone.h"
#include "server/scope.h"
#include "server/settings.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Fails where the transaction cannot write, or its snapshot would be older than the wait for writers. */
static void
check_isolation(void)
{
	idem_require_writable("load");
	if (idem_wait_for_writers && IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a load that waits for writers cannot run under isolation level %s",
						XactIsoLevel == XACT_SERIALIZABLE ? "serializable" : "repeatable read"),
				 errdetail("Its snapshot would be older than the wait, and rows committed in between would be missed for good."),
				 errhint("Use READ COMMITTED, or SET idem.wait_for_writers = off if nobody writes to the source of a window that is loaded.")));
}

/* Fails for arguments that do not go together. */
static void
check_request(const IdemRequest *request)
{
	if (!request->reload && request->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mode \"upsert\" needs keys"),
				 errhint("Name the columns that identify a row, for example keys => '{id}'.")));
	if (request->reload && request->window_column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mode \"reload\" needs window_column"),
				 errhint("Name the target column that places a row in a window, for example window_column => 'ts'.")));
	if (request->version_column && request->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("version_column needs keys"),
				 errhint("Name the columns that identify a row, for example keys => '{id}'.")));
}

/* Fails where the other server's snapshot may be older than the claim. */
static void
check_foreign(const IdemLoad *load)
{
	if (load->atomic && load->target->is_foreign)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("target %s, which is on another server, cannot be loaded inside a transaction",
						load->target->name),
				 errdetail("The other server's snapshot may be older than the claim, and rows that it does not show would be there twice."),
				 errhint("CALL idem_load_window by itself, not in a transaction block or a function.")));
}

/* Fails where a load would write to the ledger that it is booked in. */
static void
check_not_ledger(const IdemLoad *load)
{
	if (load->target->base == load->ledger->relid)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("ledger %s cannot be the target of its own load", load->ledger->name),
				 errhint("Name another target, or another ledger.")));
}

/* The longest name, in bytes, of which an index of the ledger can hold any. */
#define MAX_NAME 2000

/*
 * Fails for a name that no index of the ledger holds: to look for a very long one takes
 * the server a second between two interrupts.
 */
static void
check_name(const char *pipeline)
{
	if (strlen(pipeline) > MAX_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("pipeline name of %zu bytes is too long", strlen(pipeline)),
				 errhint("Give the argument pipeline at most %d bytes.", MAX_NAME)));
}

/* Looks the target alone up, in the current memory context. */
static void
open_target(IdemLoad *load)
{
	const IdemRequest *request = load->request;
	IdemTargetRequest *asked = palloc0(sizeof(IdemTargetRequest));

	*asked = (IdemTargetRequest){request->target, request->keys, request->nkeys,
								 request->window_column, request->version_column, load->type};
	load->target = idem_open_target(asked);
	check_foreign(load);
	check_not_ledger(load);
}

/* What the source of a load may do; a check does not see what the next load will add to the target. */
static int
source_flags(const IdemLoad *load)
{
	IdemOnSchemaChange change = load->request->on_schema_change;
	bool leaves_out = change >= IDEM_SCHEMA_NOTIFY || (change == IDEM_SCHEMA_APPEND && !load->appends);

	return (load->target->has_arbiter ? IDEM_SOURCE_UPDATES : 0) |
		   (OidIsValid(load->request->dead_letters) ? IDEM_SOURCE_READS_TEXT : 0) | (leaves_out ? IDEM_SOURCE_LEAVES_OUT : 0);
}

/* Looks the target up, and what depends on it, in the current memory context. */
static void
prepare_target(void *arg)
{
	IdemLoad *load = arg;
	const IdemRequest *request = load->request;

	open_target(load);
	if (!request->reload)
		idem_require_arbiter(load->target);
	load->source = idem_open_source(request->source, load->target, load->type, source_flags(load),
									request->in_session_zone ? NULL : request->identity.time_zone);
	load->apply = idem_make_apply(load->target, load->type, idem_source_desc(load->source),
								  request->reload);
	load->source_schema = idem_source_schema(load->source)->digest;
}

/* Adds columns to the target that the source has and it lacks. */
static void
append_missing(void *arg)
{
	IdemLoad *load = arg;

	open_target(load);
	idem_append_missing(load);
}

/*
 * The same in place of what was looked up before, which stays if this fails.  A failed
 * piece takes along what was made for it; otherwise it lives as long as the call.  The
 * server simplifies predicates and expressions of the target's indexes meanwhile, and so
 * runs immutable functions of the owner's: what they SET ends with the look.
 */
static void
renew_target(IdemLoad *load)
{
	IdemLoad renewed = *load;
	MemoryContext old = CurrentMemoryContext;

	renewed.target_context = AllocSetContextCreate(old, "idem target", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(renewed.target_context);
	idem_run_as(&idem_caller, prepare_target, &renewed);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(renewed.target_context, load->context);
	if (load->target_context)
		MemoryContextDelete(load->target_context);
	*load = renewed;
}

/* The name of the target's load, unless it has one; NULL if there is no such target. */
static const char *
pipeline_name(const IdemRequest *request)
{
	const char *name = request->pipeline ? NULL : get_rel_name(request->target);
	const char *schema = name ? get_namespace_name(get_rel_namespace(request->target)) : NULL;

	if (request->pipeline)
		return pstrdup(request->pipeline);
	return schema ? quote_qualified_identifier(schema, name) : NULL;
}

/* What loads and checks look up first; the zone before code of others is run. */
static void
prepare_ledger(IdemLoad *load, bool writes)
{
	const IdemRequest *request = load->request;

	load->time_zone = idem_current_zone();
	load->ledger = idem_open_ledger(request->ledger, request->schema, writes);
	load->type = load->ledger->type;
	load->pipeline = pipeline_name(request);
	if (load->pipeline)
		check_name(load->pipeline);
	load->plan = (IdemPlan){request, load->ledger, load->pipeline};
}

void
idem_prepare_ledger(IdemLoad *load)
{
	check_request(load->request);
	check_isolation();
	prepare_ledger(load, true);
	load->summary->pipeline = load->pipeline;
}

void
idem_prepare_load(IdemLoad *load)
{
	const IdemRequest *request = load->request;
	IdemLoad appending = *load;

	if (request->on_schema_change == IDEM_SCHEMA_APPEND && load->appends)
	{
		idem_run_as(&idem_caller, append_missing, &appending);
		load->appended = appending.appended;
		load->other_schema = appending.other_schema;
	}
	renew_target(load);
	if (OidIsValid(request->dead_letters))
	{
		(void) idem_read_max_dead(request->max_dead);
		load->letters = idem_open_letters(request->dead_letters, request->schema, load->type);
		load->dead_context = AllocSetContextCreate(load->context, "idem dead letters", ALLOCSET_DEFAULT_SIZES);
	}
	if (request->audit)
		load->audit = idem_make_query("audit", request->audit, load->type->bound);
}

static void
check_rights_as(void *arg)
{
	const IdemLoad *load = arg;

	idem_check_any_right(load->request->target);
	idem_check_source_rights(load->source);
}

void
idem_check_load_rights(const IdemLoad *load)
{
	idem_run_as(&load->request->identity, check_rights_as, (void *) load);
}

void
idem_prepare_check(IdemLoad *load)
{
	check_request(load->request);
	prepare_ledger(load, false);
	renew_target(load);
}

void
idem_renew_load(IdemLoad *load)
{
	idem_lock_target(load->target);
	if (idem_is_same_target(load->target))
		return;
	renew_target(load);
	idem_check_schema(load);
}
