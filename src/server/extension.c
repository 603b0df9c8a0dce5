/*
 * extension.c
 *		Where idem's own objects are.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "server/extension.h"
#include "server/statement.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

char *
idem_function_schema(FunctionCallInfo fcinfo)
{
	return get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid));
}

char *
idem_find_schema(void)
{
	IdemStatement *statement = idem_make_statement("SELECT n.nspname FROM pg_catalog.pg_extension e"
												   " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace"
												   " WHERE e.extname OPERATOR(pg_catalog.=) 'idem'",
												   0, NULL, IDEM_SNAPSHOT_NEW);
	Datum name;
	bool isnull;

	if (!idem_fetch(statement, NULL, NULL, 1, &name, &isnull))
		return NULL;
	return pstrdup(NameStr(*DatumGetName(name)));
}

Oid
idem_own_type(const char *name, Oid schema)
{
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(name), ObjectIdGetDatum(schema));
}
