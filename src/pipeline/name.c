/*
 * name.c
 *		The types idem_relation and idem_role: what a definition names.
 *
 * A value is an OID, so that what it names can be renamed, and is written as the name,
 * which is what a dump takes along.  So are regclass and regrole; but these cannot be
 * read where there is nothing of the name, and a dump that holds one such definition (a
 * table left out of it, a role that is not there, a temporary table) would then be
 * restored without any.  Here the name is kept, and looked up when it is used.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "miscadmin.h"
#include "pipeline/name.h"
#include "server/compat.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(idem_relation_in);
PG_FUNCTION_INFO_V1(idem_relation_out);
PG_FUNCTION_INFO_V1(idem_relation_from_oid);
PG_FUNCTION_INFO_V1(idem_relation_oid);
PG_FUNCTION_INFO_V1(idem_role_in);
PG_FUNCTION_INFO_V1(idem_role_out);
PG_FUNCTION_INFO_V1(idem_role_from_oid);
PG_FUNCTION_INFO_V1(idem_role_oid);

/* A value; its type's storage is plain, so it is never packed. */
typedef struct Reference
{
	int32 vl_len_;
	Oid oid;						  /* InvalidOid: there was nothing of the name */
	char name[FLEXIBLE_ARRAY_MEMBER]; /* this one, as it was read */
} Reference;

/* Makes a value. */
static Datum
make_name(Oid oid, const char *name)
{
	Size size = offsetof(Reference, name) + strlen(name) + 1;
	Reference *result = palloc0(size);

	SET_VARSIZE(result, size);
	result->oid = oid;
	strcpy(result->name, name);
	return PointerGetDatum(result);
}

static const Reference *
read_name(Datum value)
{
	return (const Reference *) PG_DETOAST_DATUM(value);
}

/* No text of two identifiers is longer, each of them made of quotes. */
#define MAX_TEXT (4 * NAMEDATALEN + 5)

/*
 * The identifiers in a text; none if it is not made of such.  A number is none either: it
 * is what is left of something that had been dropped where the text was written.
 */
static List *
split_name(const char *text)
{
	List *parts;

	/* of a very long one the server takes a time that nothing interrupts */
	if (strlen(text) > MAX_TEXT || isdigit((unsigned char) text[0]) || !SplitIdentifierString(pstrdup(text), '.', &parts))
		return NIL;
	return parts;
}

/* Asks for no right on the schema, for without it the name would be an error. */
static Oid
find_relation(const char *text)
{
	List *parts = split_name(text);
	Oid schema;

	if (list_length(parts) == 1)
		return RelnameGetRelid(linitial(parts));
	if (list_length(parts) != 2)
		return InvalidOid;
	schema = get_namespace_oid(linitial(parts), true);
	return OidIsValid(schema) ? get_relname_relid(lsecond(parts), schema) : InvalidOid;
}

static Oid
find_role(const char *text)
{
	List *parts = split_name(text);

	return list_length(parts) == 1 ? get_role_oid(linitial(parts), true) : InvalidOid;
}

Oid
idem_relation_named(Datum value)
{
	const Reference *name = read_name(value);

	return OidIsValid(name->oid) ? name->oid : find_relation(name->name);
}

Oid
idem_role_named(Datum value)
{
	const Reference *name = read_name(value);

	return OidIsValid(name->oid) ? name->oid : find_role(name->name);
}

char *
idem_relation_text(Datum value)
{
	const Reference *name = read_name(value);
	char *relation;

	if (!OidIsValid(name->oid))
		return pstrdup(name->name);
	relation = get_rel_name(name->oid);
	if (relation == NULL)
		return psprintf("%u", name->oid);
	if (RelationIsVisible(name->oid))
		return pstrdup(quote_identifier(relation));
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(name->oid)), relation);
}

char *
idem_role_text(Datum value)
{
	const Reference *name = read_name(value);
	char *role;

	if (!OidIsValid(name->oid))
		return pstrdup(name->name);
	role = GetUserNameFromId(name->oid, true);
	return role ? pstrdup(quote_identifier(role)) : psprintf("%u", name->oid);
}

/* SQL: input of idem_relation */
Datum
idem_relation_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	Oid oid = find_relation(text);

	return make_name(oid, OidIsValid(oid) ? "" : text);
}

/* SQL: output of idem_relation */
Datum
idem_relation_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(idem_relation_text(PG_GETARG_DATUM(0)));
}

/* SQL: cast of regclass to idem_relation */
Datum
idem_relation_from_oid(PG_FUNCTION_ARGS)
{
	return make_name(PG_GETARG_OID(0), "-");
}

/* SQL: cast of idem_relation to regclass */
Datum
idem_relation_oid(PG_FUNCTION_ARGS)
{
	PG_RETURN_OID(idem_relation_named(PG_GETARG_DATUM(0)));
}

/* SQL: input of idem_role */
Datum
idem_role_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	Oid oid = find_role(text);

	return make_name(oid, OidIsValid(oid) ? "" : text);
}

/* SQL: output of idem_role */
Datum
idem_role_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(idem_role_text(PG_GETARG_DATUM(0)));
}

/* SQL: cast of regrole to idem_role */
Datum
idem_role_from_oid(PG_FUNCTION_ARGS)
{
	return make_name(PG_GETARG_OID(0), "-");
}

/* SQL: cast of idem_role to regrole */
Datum
idem_role_oid(PG_FUNCTION_ARGS)
{
	PG_RETURN_OID(idem_role_named(PG_GETARG_DATUM(0)));
}
