/*
 * right.c
 *		Who may have pipelines that run by themselves.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "pipeline/right.h"
#include "server/compat.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

bool
idem_can_have_worker(Oid role)
{
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool result = false;

	if (HeapTupleIsValid(tuple))
	{
		result = IDEM_BYPASS_LOGIN_CHECK || ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
		ReleaseSysCache(tuple);
	}
	return result;
}

#define NO_WORKER "A worker is a session of the pipeline's owner, and servers before 17 let no other role have one."

/* True if a role may execute the function that enables a pipeline. */
static bool
has_right(const char *schema, Oid role)
{
	List *name = list_make2(makeString(pstrdup(schema)), makeString("idem_enable_pipeline"));
	Oid argument = TEXTOID;

	return idem_may_execute(LookupFuncName(name, 1, &argument, false), role);
}

/* What gives a role the right. */
static const char *
grant_command(const char *schema, const char *role)
{
	return psprintf("GRANT EXECUTE ON FUNCTION %s(text) TO %s",
					quote_qualified_identifier(schema, "idem_enable_pipeline"), quote_identifier(role));
}

/* What lets a role connect. */
static const char *
connect_command(const char *role)
{
	return psprintf("GRANT CONNECT ON DATABASE %s TO %s", quote_identifier(get_database_name(MyDatabaseId)),
					quote_identifier(role));
}

/* Fails for a role that may not connect, for so does a worker; what is what it cannot. */
static void
check_may_connect(const char *pipeline, const char *what, Oid owner)
{
	const char *role = GetUserNameFromId(owner, false);

	if (!idem_may_connect(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("pipeline \"%s\" cannot %s: role \"%s\" may not connect to the database", pipeline, what, role),
				 errhint("%s.", connect_command(role))));
}

const char *
idem_why_not_run(const char *schema, Oid owner)
{
	const char *role = GetUserNameFromId(owner, true);

	if (role == NULL)
		return "an owner: its own has been dropped";
	if (!idem_can_have_worker(owner))
		return psprintf("its owner to be one that may log in: ALTER ROLE %s LOGIN", quote_identifier(role));
	if (!idem_may_connect(owner))
		return psprintf("its owner's right to connect: %s", connect_command(role));
	if (!has_right(schema, owner))
		return psprintf("its owner's right: %s", grant_command(schema, role));
	return NULL;
}

void
idem_check_may_run(const char *schema, const char *pipeline, Oid owner)
{
	const char *role = GetUserNameFromId(owner, false);

	if (!has_right(schema, owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("pipeline \"%s\" cannot run by itself: role \"%s\" has no right to that", pipeline, role),
				 errdetail("What runs by itself takes workers that all roles share."),
				 errhint("%s, or pass enabled => false and CALL idem_run_pipeline(%s).",
						 grant_command(schema, role), quote_literal_cstr(pipeline))));
	if (!idem_can_have_worker(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("pipeline \"%s\" cannot run by itself: role \"%s\" may not log in", pipeline, role),
				 errdetail(NO_WORKER),
				 errhint("ALTER ROLE %s LOGIN, or pass enabled => false and CALL idem_run_pipeline(%s).",
						 quote_identifier(role), quote_literal_cstr(pipeline))));
	check_may_connect(pipeline, "run by itself", owner);
}

void
idem_check_can_have_worker(const char *pipeline, Oid owner)
{
	const char *role = GetUserNameFromId(owner, false);

	if (!idem_can_have_worker(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("pipeline \"%s\" cannot be loaded by workers: role \"%s\" may not log in", pipeline, role),
				 errdetail(NO_WORKER),
				 errhint("ALTER ROLE %s LOGIN, or CALL idem_load_window(%s, …).",
						 quote_identifier(role), quote_literal_cstr(pipeline))));
	check_may_connect(pipeline, "be loaded by workers", owner);
}
