/*
 * managed.c
 *		Tables that another extension keeps: hypertables of TimescaleDB, tables of Citus.
 *
 * They are known by what these extensions publish for everybody to read.  It is trusted
 * only as a member of the extension: anybody may make a schema and a view of that name.
 *
 * This file must not know targets.
 */
#include "postgres.h"

#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "load/managed.h"
#include "server/statement.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define TIMESCALE "timescaledb"
#define TIMESCALE_SCHEMA "timescaledb_information"

/* True if an object is a member of an extension, which need not be there. */
static bool
is_member(Oid class, Oid object, const char *extension)
{
	Oid owner = OidIsValid(object) ? getExtensionOfObject(class, object) : InvalidOid;

	return OidIsValid(owner) && owner == get_extension_oid(extension, true);
}

/* The relation of this name if it is the extension's, else InvalidOid. */
static Oid
published(const char *extension, Oid schema, const char *name)
{
	Oid relid = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;

	return is_member(RelationRelationId, relid, extension) ? relid : InvalidOid;
}

/* Asks for one value of a table, whose schema and name are $1 and $2; false if there is none. */
static bool
ask(const char *sql, Relation rel, Oid type, Datum argument, Datum *value)
{
	const Oid types[] = {TEXTOID, TEXTOID, type};
	const Datum args[] = {CStringGetTextDatum(get_namespace_name(RelationGetNamespace(rel))),
						  CStringGetTextDatum(RelationGetRelationName(rel)), argument};
	bool isnull;

	return idem_fetch(idem_make_statement(sql, OidIsValid(type) ? 3 : 2, types, IDEM_SNAPSHOT_NEW),
					  args, NULL, 1, value, &isnull) &&
		   !isnull;
}

bool
idem_is_hypertable(Relation rel)
{
	Datum value;

	return OidIsValid(published(TIMESCALE, get_namespace_oid(TIMESCALE_SCHEMA, true), "hypertables")) &&
		   ask("SELECT true FROM " TIMESCALE_SCHEMA ".hypertables h"
			   " WHERE h.hypertable_schema::pg_catalog.text OPERATOR(pg_catalog.=) $1"
			   " AND h.hypertable_name::pg_catalog.text OPERATOR(pg_catalog.=) $2",
			   rel, InvalidOid, 0, &value);
}

const char *
idem_missing_dimension(Relation rel, Datum keys)
{
	Datum value;

	if (!OidIsValid(published(TIMESCALE, get_namespace_oid(TIMESCALE_SCHEMA, true), "dimensions")) ||
		!ask("SELECT d.column_name::pg_catalog.text FROM " TIMESCALE_SCHEMA ".dimensions d"
			 " WHERE d.hypertable_schema::pg_catalog.text OPERATOR(pg_catalog.=) $1"
			 " AND d.hypertable_name::pg_catalog.text OPERATOR(pg_catalog.=) $2"
			 " AND d.column_name::pg_catalog.text OPERATOR(pg_catalog.<>) ALL ($3) LIMIT 1",
			 rel, TEXTARRAYOID, keys, &value))
		return NULL;
	return TextDatumGetCString(value);
}

bool
idem_is_timescale_function(Oid function)
{
	return is_member(ProcedureRelationId, function, TIMESCALE);
}

/* Fails for chunks, and for what TimescaleDB itself fills: all of it is in schemas of its own. */
static void
check_not_timescales(Relation rel)
{
	if (!OidIsValid(get_namespace_oid(TIMESCALE_SCHEMA, true)) ||
		!is_member(NamespaceRelationId, RelationGetNamespace(rel), TIMESCALE))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("\"%s\" is managed by TimescaleDB and cannot be the target of a load",
					RelationGetRelationName(rel)),
			 errdetail("It is a chunk of a hypertable, or holds what TimescaleDB makes of one."),
			 errhint("Name the hypertable.")));
}

/* Fails for a table that Citus distributes, or knows. */
static void
check_not_distributed(Relation rel)
{
	Datum value;

	if (!OidIsValid(published("citus", PG_CATALOG_NAMESPACE, "pg_dist_partition")) ||
		!ask("SELECT true FROM pg_catalog.pg_dist_partition p WHERE p.logicalrelid OPERATOR(pg_catalog.=) $3",
			 rel, REGCLASSOID, ObjectIdGetDatum(RelationGetRelid(rel)), &value))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("\"%s\" is managed by Citus and cannot be the target of a load",
					RelationGetRelationName(rel)),
			 errdetail("A load compares its target with rows that only this session has."),
			 errhint("Load a table that Citus does not know, and copy it with INSERT ... SELECT.")));
}

void
idem_check_unmanaged(Relation rel)
{
	check_not_timescales(rel);
	check_not_distributed(rel);
}
