/*
 * source.c
 *		Where the rows come from: the user's query, run for a piece.
 *
 * The query is run as it stands, never pasted into another, so comments, a
 * trailing semicolon or clever quoting in it do no harm.  Its rows pass through a
 * projection that assigns them to the target's types, with the casts INSERT would
 * use, so everything later deals with one type per column.
 *
 * This file must not know ledgers or methods.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "id/digest.h"
#include "id/sha256.h"
#include "load/source.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_node.h"
#include "rewrite/rewriteHandler.h"
#include "server/compat.h"
#include "server/query.h"
#include "server/scope.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/varlena.h"

struct IdemSource
{
	IdemQuery *query;
	const IdemTarget *target;
	const IdemRangeType *type;
	TupleDesc query_desc; /* what the projection expects */
	TupleDesc desc;		  /* of the rows it makes */
	List *projection;	  /* target list over the query's row */
	const char *time_zone; /* that the load names; NULL: none */
	bool pinned;		  /* the projection depends on settings */
	List *relation; /* the name of the relation that it is; NIL: it is a query */
	const IdemSchema *schema;
	bool may_read;		  /* text may be read as any type, */
	bool reads;			  /* and is */
	bool as_is;			  /* the query's rows are what the projection would make */
	int window_index;	  /* the window column in desc, or -1 */
	Expr *generated;	  /* makes it of the query's row if it is a generated one */
	Oid window_type;
};

/*
 * Splits a source that is a relation's name; NIL if it is a query.  A name has
 * no parentheses or operators, which the splitter would take as part of it.
 */
static List *
relation_name(const char *text)
{
	List *names;
	ListCell *lc;

	if (strpbrk(text, "(*;") != NULL && strchr(text, '"') == NULL)
		return NIL;
	if (!SplitIdentifierString(pstrdup(text), '.', &names))
		return NIL;
	foreach (lc, names)
		lfirst(lc) = makeString(pstrdup(lfirst(lc)));
	return names;
}

/* Appends the columns of a relation that can be loaded into the target. */
static void
append_relation_columns(StringInfo buf, Relation rel, const IdemTarget *target)
{
	TupleDesc desc = RelationGetDescr(rel);
	bool first = true;
	int i;

	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		IdemColumn *column = idem_find_column(target, NameStr(att->attname));

		if (att->attisdropped || (column && column->generated))
			continue;
		appendStringInfo(buf, "%s%s", first ? "" : ", ",
						 quote_identifier(NameStr(att->attname)));
		first = false;
	}
}

/* Builds: SELECT columns FROM relation s WHERE s.w >= $1 AND s.w < $2 */
static char *
relation_query(List *names, const IdemTarget *target)
{
	Relation rel = relation_openrv(makeRangeVarFromNameList(names), AccessShareLock);
	StringInfoData sql;

	if (target->window == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a relation as source needs window_column"),
				 errhint("Name the column that places a row in a window, or pass a query that uses $1 and $2.")));
	if (get_attnum(RelationGetRelid(rel), target->window->name) == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("source relation \"%s\" has no column \"%s\"",
						RelationGetRelationName(rel), target->window->name),
				 errhint("Pass a query that gives the column this name.")));
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	append_relation_columns(&sql, rel, target);
	appendStringInfo(&sql, " FROM %s s WHERE ",
					 idem_qualified_name(rel));
	idem_append_in_window(&sql, target, "s");
	relation_close(rel, NoLock);
	return sql.data;
}

/* Builds: SELECT count(*) FROM relation s WHERE s.w IS NULL; NULL where none can be in no window */
static char *
windowless_query(List *names, const IdemTarget *target)
{
	Relation rel = relation_openrv(makeRangeVarFromNameList(names), AccessShareLock);
	AttrNumber attno = get_attnum(RelationGetRelid(rel), target->window->name);
	char *sql = NULL;

	if (!idem_is_not_null(RelationGetDescr(rel), attno - 1))
		sql = psprintf("SELECT pg_catalog.count(*) FROM %s s WHERE s.%s IS NULL", idem_qualified_name(rel),
					   target->window->quoted);
	relation_close(rel, NoLock);
	return sql;
}

/* Marks the target's columns that the source has; fails for others, unless they are left out. */
static void
match_columns(IdemTarget *target, TupleDesc desc, bool leaves_out)
{
	int i;

	for (i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);
		IdemColumn *column = idem_find_column(target, name);

		if (column == NULL && leaves_out)
			continue;
		if (column == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("source column \"%s\" does not exist in target %s",
							name, target->name),
					 errhint("Give it the name of a target column with AS, or leave it out; on_schema_change => 'append' adds it to the target.")));
		if (column->in_source)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("source has more than one column \"%s\"", name)));
		column->in_source = !column->generated;
	}
}

/* Fails if the source lacks a column that it must have. */
static void
check_present(const IdemTarget *target, const IdemColumn *column)
{
	const char *role = column->is_key ? "key" : column == target->window ? "window"
											: column == target->version	 ? "version"
																		 : NULL;

	if (column->in_source)
		return;
	if (role && role[0] != 'w' && column->generated)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s column \"%s\" of target %s is a generated column", role, column->name, target->name),
				 errdetail("The target makes its values when rows are written, and which rows to write must be known before."),
				 errhint("Name columns that the source has, for example those it is generated from.")));
	if (role && !column->generated)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("source has no column \"%s\"", column->name),
				 errdetail("It is the %s column of target %s.", role, target->name)));
	if (column->is_required && !column->has_default && !column->generated)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("source has no column \"%s\"", column->name),
				 column->not_null ? errdetail("Column \"%s\" of target %s is NOT NULL and has no default.",
											  column->name, target->name)
								  : errdetail("Column \"%s\" of target %s is of domain %s, which is NOT NULL, and has no default.",
											  column->name, target->name, format_type_be(column->type)),
				 errhint("Have the source return it, or give the column a default.")));
}

/* Fails if rows would have to be updated in a column that only takes its default. */
static void
check_identity(const IdemTarget *target, const IdemColumn *column, bool updates)
{
	if (column->identity == ATTRIBUTE_IDENTITY_ALWAYS && updates &&
		idem_is_updated_column(column))
		ereport(ERROR,
				(errcode(ERRCODE_GENERATED_ALWAYS),
				 errmsg("column \"%s\" of target %s cannot be updated",
						column->name, target->name),
				 errdetail("It is an identity column defined as GENERATED ALWAYS and not a key."),
				 errhint("Leave it out of the source, or make it GENERATED BY DEFAULT.")));
}

/* True for a type whose values say a time, with a zone or without. */
static bool
is_time(Oid type, bool zoned)
{
	if (zoned)
		return type == TIMESTAMPTZOID || type == TIMETZOID;
	return type == DATEOID || type == TIMESTAMPOID || type == TIMEOID;
}

/* True if a conversion between two types goes by the session's time zone. */
static bool
goes_by_zone(Oid from, Oid to)
{
	from = getBaseType(from);
	to = getBaseType(to);
	return (is_time(from, false) && is_time(to, true)) || (is_time(from, true) && is_time(to, false));
}

/* True for a type whose text follows the locale, or who reads it. */
static bool
has_local_text(Oid type)
{
	return type == CASHOID || type == REGPROCOID || type == REGPROCEDUREOID ||
		   type == REGOPEROID || type == REGOPERATOROID || type == REGCLASSOID ||
		   type == REGTYPEOID || type == REGROLEOID || type == REGNAMESPACEOID ||
		   type == REGCONFIGOID || type == REGDICTIONARYOID || type == REGCOLLATIONOID;
}

/* True for a type whose text follows settings although its output is called immutable. */
static bool
has_styled_text(Oid type)
{
	return type == FLOAT4OID || type == FLOAT8OID || type == BYTEAOID;
}

/* True if a type is one that the test is true of, or made of such. */
static bool
is_made_of(Oid type, bool (*test)(Oid type))
{
	Oid relid;
	Relation rel;
	bool found = false;
	int i;

	check_stack_depth();
	type = getBaseType(type);
	if (OidIsValid(get_element_type(type)))
		return is_made_of(get_element_type(type), test);
	if (OidIsValid(get_range_subtype(type)))
		return is_made_of(get_range_subtype(type), test);
	relid = get_typ_typrelid(type);
	if (!OidIsValid(relid))
		return test(type);
	rel = relation_open(relid, AccessShareLock);
	for (i = 0; i < RelationGetNumberOfAttributes(rel) && !found; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		found = !att->attisdropped && is_made_of(att->atttypid, test);
	}
	relation_close(rel, NoLock);
	return found;
}

/* True if the text of a type follows settings. */
static bool
is_text_styled(Oid type)
{
	Oid output;
	bool is_varlena;

	getTypeOutputInfo(type, &output, &is_varlena);
	return func_volatile(output) != PROVOLATILE_IMMUTABLE || is_made_of(type, has_styled_text);
}

/* What an assignment depends on. */
typedef struct Dependence
{
	bool zone;	   /* the session's time zone */
	bool locale;   /* what cannot be pinned */
	bool settings; /* what can */
} Dependence;

/* Looks for conversions that depend on the session. */
static bool
dependence_walker(Node *node, void *arg)
{
	Dependence *dependence = arg;

	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr))
	{
		FuncExpr *call = (FuncExpr *) node;

		dependence->settings |= func_volatile(call->funcid) != PROVOLATILE_IMMUTABLE;
		dependence->zone |= call->args && goes_by_zone(exprType(linitial(call->args)), call->funcresulttype);
		dependence->locale |= call->args && has_local_text(getBaseType(exprType(linitial(call->args)))) &&
							  TypeCategory(call->funcresulttype) == TYPCATEGORY_STRING;
	}
	if (IsA(node, CoerceViaIO))
	{
		Oid from = exprType((Node *) ((CoerceViaIO *) node)->arg);

		dependence->settings |= is_text_styled(from);
		dependence->locale |= is_made_of(from, has_local_text);
	}
	return expression_tree_walker(node, dependence_walker, arg);
}

/* The type itself, or that of an array's elements. */
static Oid
element_type(Oid type)
{
	Oid element = get_base_element_type(type);

	return OidIsValid(element) ? getBaseType(element) : getBaseType(type);
}

/* Converts a time with a zone to one without, or back, as SQL that follows no session. */
static char *
convert_time(const char *value, Oid from, Oid to)
{
	if (from == TIMEOID)
		return psprintf("(%s || '+00')::timetz", value);
	if (from == TIMETZOID)
		return psprintf("%s::time", value);
	value = psprintf("%s%s AT TIME ZONE 'UTC'", value, from == DATEOID ? "::timestamp" : "");
	if (to == DATEOID || to == TIMEOID)
		return psprintf("(%s)::%s", value, to == DATEOID ? "date" : "time");
	return pstrdup(value);
}

/* What to write where a column, or an array's elements, would be converted by the session's zone. */
static int
zone_hint(const IdemColumn *column, Oid from)
{
	Oid element = element_type(from);
	Oid to = element_type(column->type);

	if (!goes_by_zone(element, to))
		return errhint("Have the source return it as %s, or name the zone: time_zone => 'UTC'.", format_type_be(column->type));
	if (!OidIsValid(get_base_element_type(from)))
		return errhint("Write it in the source query, for example %s AS %s, or name the zone: time_zone => 'UTC'.",
					   convert_time(column->quoted, element, to), column->quoted);
	return errhint("Write it in the source query, for example CASE WHEN %s IS NOT NULL THEN ARRAY(SELECT %s FROM unnest(%s) e) END AS %s, or name the zone: time_zone => 'UTC'.",
				   column->quoted, convert_time("e", element, to), column->quoted, column->quoted);
}

/* Fails for a conversion that would follow the session where it should not. */
static void
check_conversion(IdemSource *source, const IdemColumn *column, Oid from, Node *assigned)
{
	Dependence dependence = {0};

	(void) dependence_walker(assigned, &dependence);
	if (dependence.zone && source->time_zone == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("source column \"%s\" is of type %s but the target's is of type %s",
						column->name, format_type_be(from), format_type_be(column->type)),
				 errdetail("The conversion would follow the time zone of the session."),
				 zone_hint(column, from)));
	if (dependence.locale)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("source column \"%s\" is of type %s but the target's is of type %s",
						column->name, format_type_be(from), format_type_be(column->type)),
				 errdetail("The conversion would follow the settings of the session."),
				 errhint("Convert it in the source query, for example by ::%s%s, or give the target's column the source's type.",
						 element_type(from) == CASHOID ? "numeric" : "oid",
						 OidIsValid(get_base_element_type(from)) ? "[]" : "")));
	source->pinned |= dependence.settings;
}

/*
 * The expression that reads text as a target column's type.  Its length is assigned, not cast to: a
 * cast would cut values off.
 */
static Node *
read_column(IdemSource *source, const IdemColumn *column, Node *value, Oid from)
{
	Node *read = coerce_to_target_type(NULL, value, from, column->type, -1, COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);

	if (read == NULL)
		return NULL;
	source->reads = source->pinned = true;
	return coerce_to_target_type(NULL, read, column->type, column->type, column->typmod, COERCION_ASSIGNMENT,
								 COERCE_IMPLICIT_CAST, -1);
}

/*
 * The expression that assigns a source column to a target column.  A literal of
 * unknown type is taken as it stands, as INSERT … SELECT does.
 */
static Expr *
assign_column(IdemSource *source, const IdemColumn *column, TargetEntry *entry, Form_pg_attribute att, int index)
{
	Node *value = (Node *) makeVar(1, index + 1, att->atttypid, att->atttypmod,
								   att->attcollation, 0);
	Node *assigned;

	if (att->atttypid == UNKNOWNOID && IsA(entry->expr, Const))
		value = copyObject((Node *) entry->expr);
	assigned = coerce_to_target_type(NULL, value, att->atttypid, column->type,
									 column->typmod, COERCION_ASSIGNMENT,
									 COERCE_IMPLICIT_CAST, -1);
	if (assigned == NULL && source->may_read && TypeCategory(getBaseType(att->atttypid)) == TYPCATEGORY_STRING)
		assigned = read_column(source, column, value, att->atttypid);
	if (assigned == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("source column \"%s\" is of type %s but the target's is of type %s",
						column->name, format_type_be(att->atttypid),
						format_type_be(column->type)),
				 can_coerce_type(1, &att->atttypid, &column->type, COERCION_EXPLICIT)
					 ? errhint("Cast it in the source query: %s::%s AS %s.", column->quoted,
							   format_type_be(column->type), column->quoted)
					 : errhint("There is no cast: have the source return it as %s.", format_type_be(column->type))));
	check_conversion(source, column, att->atttypid, assigned);
	return expression_planner((Expr *) assigned);
}

/* A column to be assigned, as an argument of add_column. */
typedef struct Assigning
{
	const IdemTarget *target;
	const IdemColumn *column;
} Assigning;

/* Adds to a message to which column a constant was being assigned. */
static void
add_column(void *arg)
{
	const Assigning *assigning = arg;

	errcontext("column \"%s\" of target %s", assigning->column->name, assigning->target->name);
}

/* The same, where a constant is assigned at once: its error says to which column. */
static Expr *
plan_column(IdemSource *source, const IdemColumn *column, TargetEntry *entry, Form_pg_attribute att, int index)
{
	Assigning assigning = {source->target, column};
	ErrorContextCallback callback = {error_context_stack, add_column, &assigning};
	Expr *result;

	error_context_stack = &callback;
	result = assign_column(source, column, entry, att, index);
	error_context_stack = callback.previous;
	return result;
}

/* True if a projection's columns are just those of its input. */
static bool
is_identity(List *projection)
{
	ListCell *lc;

	foreach (lc, projection)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);

		if (!IsA(entry->expr, Var) || ((Var *) entry->expr)->varattno != entry->resno)
			return false;
	}
	return true;
}

/* How many of the target's columns the source has. */
static int
count_in_source(const IdemTarget *target)
{
	int n = 0;
	int i;

	for (i = 0; i < target->ncolumns; i++)
		n += target->columns[i].in_source;
	return n;
}

/* Builds the projection from the query's rows to the target's types. */
static void
build_projection(IdemSource *source)
{
	const IdemTarget *target = source->target;
	TupleDesc from = source->query_desc;
	List *entries = idem_query_tree(source->query)->targetList;
	int n = 0;
	int i;
	int j;

	/* of its final size: where a descriptor's columns lie depends on it (18) */
	source->desc = CreateTemplateTupleDesc(count_in_source(target));
	for (i = 0; i < target->ncolumns; i++)
	{
		const IdemColumn *column = &target->columns[i];

		if (!column->in_source)
			continue;
		j = idem_column_index(from, column->name);
		source->projection = lappend(source->projection,
									 makeTargetEntry(plan_column(source, column, list_nth(entries, j),
																 TupleDescAttr(from, j), j),
													 n + 1, pstrdup(column->name), false));
		TupleDescInitEntry(source->desc, n + 1, column->name, column->type, column->typmod, 0);
		TupleDescInitEntryCollation(source->desc, n + 1, column->collation);
		if (column == target->window)
			source->window_index = n;
		n++;
	}
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("source has no column that can be written to target %s", target->name),
				 errdetail("Generated columns are made by the target."),
				 errhint("Have the source return the columns that they are generated from.")));
	idem_finalize_desc(source->desc);
	source->as_is = n == from->natts && is_identity(source->projection);
}

/* The target's column that is a column of the table behind it; NULL if there is none. */
static const IdemColumn *
find_base_column(const IdemTarget *target, AttrNumber attno)
{
	int i;

	for (i = 0; i < target->ncolumns; i++)
	{
		if (target->columns[i].base_attno == attno)
			return &target->columns[i];
	}
	return NULL;
}

/* Puts what the source assigns to a column of the table in its place. */
static Node *
assigned_mutator(Node *node, void *arg)
{
	IdemSource *source = arg;
	Var *var = (Var *) node;
	const IdemColumn *column;

	if (node == NULL || !IsA(node, Var))
		return expression_tree_mutator(node, assigned_mutator, arg);
	column = find_base_column(source->target, var->varattno);
	if (column && column->in_source)
		return copyObject((Node *) list_nth_node(TargetEntry, source->projection,
												 idem_column_index(source->desc, column->name))
							  ->expr);
	if (column == NULL || column->has_default)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("window column \"%s\" is generated from a column that the source does not have",
						source->target->window->name),
				 column ? errhint("Have the source return column \"%s\".", column->name) : 0));
	return (Node *) makeNullConst(var->vartype, var->vartypmod, var->varcollid);
}

/* The expression that makes a generated window column of the query's row. */
static Expr *
generated_window(IdemSource *source)
{
	const IdemTarget *target = source->target;
	Relation base = relation_open(target->base, AccessShareLock);
	Node *expr = build_column_default(base, target->window->base_attno);

	relation_close(base, NoLock);
	return expression_planner((Expr *) assigned_mutator(expr, source));
}

IdemSource *
idem_open_source(const char *text, IdemTarget *target, const IdemRangeType *type,
				 int flags, const char *time_zone)
{
	IdemSource *source = palloc0(sizeof(IdemSource));
	List *name = relation_name(text);
	int i;

	if (name != NIL)
		text = relation_query(name, target);
	source->relation = name;
	source->query = idem_make_query("source", text, type->bound);
	source->target = target;
	source->type = type;
	source->time_zone = time_zone;
	source->may_read = (flags & IDEM_SOURCE_READS_TEXT) != 0;
	source->query_desc = CreateTupleDescCopy(idem_query_desc(source->query));
	match_columns(target, source->query_desc, (flags & IDEM_SOURCE_LEAVES_OUT) != 0);
	for (i = 0; i < target->ncolumns; i++)
	{
		check_present(target, &target->columns[i]);
		check_identity(target, &target->columns[i], (flags & IDEM_SOURCE_UPDATES) != 0);
	}
	source->window_index = -1;
	if (target->window)
		source->window_type = getBaseType(target->window->type);
	build_projection(source);
	if (target->window && target->window->generated)
		source->generated = generated_window(source);
	return source;
}

void
idem_check_source_rights(const IdemSource *source)
{
	idem_check_query(idem_query_tree(source->query));
}

int64
idem_count_windowless(const IdemSource *source)
{
	const char *sql = source->relation ? windowless_query(source->relation, source->target) : NULL;
	Datum count;
	bool isnull;

	if (sql == NULL)
		return 0;
	(void) idem_fetch(idem_make_statement(sql, 0, NULL, IDEM_SNAPSHOT_CALLER), NULL, NULL, 1, &count, &isnull);
	return DatumGetInt64(count);
}

TupleDesc
idem_source_desc(const IdemSource *source)
{
	return source->desc;
}

/* A type's name as every session writes it: qualified, unless it is one of the server's. */
static const char *
stable_type_name(Oid type, int32 typmod)
{
	const char *name = format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);

	return strncmp(name, "pg_catalog.", 11) == 0 ? name + 11 : name;
}

static int
compare_attributes(const void *a, const void *b)
{
	return strcmp(NameStr((*(const Form_pg_attribute *) a)->attname), NameStr((*(const Form_pg_attribute *) b)->attname));
}

/* The attributes of a descriptor, sorted by name. */
static Form_pg_attribute *
sort_attributes(TupleDesc desc)
{
	Form_pg_attribute *attributes = palloc(Max(desc->natts, 1) * sizeof(Form_pg_attribute));
	int i;

	for (i = 0; i < desc->natts; i++)
		attributes[i] = TupleDescAttr(desc, i);
	qsort(attributes, desc->natts, sizeof(Form_pg_attribute), compare_attributes);
	return attributes;
}

/* The first half of a text's SHA-256, in hex. */
static const char *
text_digest(const char *text)
{
	uint8 hash[PG_SHA256_DIGEST_LENGTH];
	char *digest = palloc0(2 * IDEM_DIGEST_SIZE + 1);

	idem_sha256(text, strlen(text), hash);
	hex_encode((const char *) hash, IDEM_DIGEST_SIZE, digest);
	return digest;
}

/* What there is to know of the columns of a descriptor. */
static const IdemSchema *
make_schema(TupleDesc desc)
{
	IdemSchema *schema = palloc0(sizeof(IdemSchema));
	Form_pg_attribute *attributes = sort_attributes(desc);
	StringInfoData buf;
	int i;

	schema->n = desc->natts;
	schema->names = palloc(Max(desc->natts, 1) * sizeof(char *));
	schema->types = palloc(Max(desc->natts, 1) * sizeof(char *));
	initStringInfo(&buf);
	for (i = 0; i < desc->natts; i++)
	{
		schema->names[i] = pstrdup(NameStr(attributes[i]->attname));
		schema->types[i] = stable_type_name(attributes[i]->atttypid, attributes[i]->atttypmod);
		appendStringInfoString(&buf, i == 0 ? "{" : ", ");
		escape_json(&buf, schema->names[i]);
		appendStringInfoString(&buf, ": ");
		escape_json(&buf, schema->types[i]);
	}
	appendStringInfoString(&buf, i == 0 ? "{}" : "}");
	schema->columns = buf.data;
	schema->digest = text_digest(buf.data);
	return schema;
}

const IdemSchema *
idem_source_schema(IdemSource *source)
{
	if (source->schema == NULL)
		source->schema = make_schema(source->query_desc);
	return source->schema;
}

/*
 * The definition of a column that takes what one of a source gives: of the type behind a
 * domain, whose constraints what is there already would not fulfil, and of text for a literal.
 */
static char *
column_definition(Form_pg_attribute att)
{
	int32 typmod = att->atttypmod;
	Oid type = att->atttypid == UNKNOWNOID ? TEXTOID : getBaseTypeAndTypmod(att->atttypid, &typmod);
	char *definition = psprintf("%s %s", quote_identifier(NameStr(att->attname)),
								format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));

	if (OidIsValid(att->attcollation) && att->attcollation != get_typcollation(type))
		definition = psprintf("%s COLLATE %s", definition, generate_collation_name(att->attcollation));
	return definition;
}

List *
idem_missing_columns(const char *text, const IdemTarget *target, const IdemRangeType *type, const IdemSchema **schema)
{
	List *name = relation_name(text);
	IdemQuery *query = idem_make_query("source", name != NIL ? relation_query(name, target) : text, type->bound);
	TupleDesc desc = CreateTupleDescCopy(idem_query_desc(query));
	List *missing = NIL;
	int i;

	for (i = 0; i < desc->natts; i++)
	{
		if (idem_find_column(target, NameStr(TupleDescAttr(desc, i)->attname)) == NULL)
			missing = lappend(missing, column_definition(TupleDescAttr(desc, i)));
	}
	*schema = make_schema(desc);
	return missing;
}

/* True if a relation, or one that inherits from it, is on another server. */
static bool
is_foreign(Oid relid)
{
	ListCell *lc;

	foreach (lc, find_all_inheritors(relid, NoLock, NULL))
	{
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_FOREIGN_TABLE)
			return true;
	}
	return false;
}

bool
idem_is_quiet_source(IdemSource *source)
{
	ListCell *lc;

	foreach (lc, idem_source_relations(source))
	{
		if (is_foreign(lfirst_oid(lc)))
			return false;
	}
	return !idem_is_volatile_query(source->query) &&
		   !contain_volatile_functions((Node *) source->projection);
}

List *
idem_source_relations(IdemSource *source)
{
	return idem_query_relations(source->query);
}

Query *
idem_source_tree(IdemSource *source)
{
	return idem_query_tree(source->query);
}

/* How a column is made of the query's row. */
typedef struct Assigned
{
	const IdemColumn *column;
	int index;		  /* of the query's column, which is taken as it is */
	ExprState *value; /* unless this makes another of it */
} Assigned;

/* Receives the query's rows: assigns, checks and stores them. */
typedef struct SourceReceiver
{
	DestReceiver pub;
	const IdemSource *source;
	IdemWindow window;
	IdemTakeRow take;
	void *arg;
	IdemRows *rows;
	EState *estate;
	ExprState *generated;	  /* makes the window column; NULL if the rows have it */
	Assigned *assigned;		  /* for each column of the rows */
	TupleTableSlot *slot;	  /* which they fill; NULL if the source's rows are taken as they are */
	const IdemColumn *making; /* the column that is being made; NULL if none is */
	Datum window_value;		  /* of the row */
	bool window_isnull;
	struct Batch *batch;	  /* of rows that wait; NULL if they are made as they come */
} SourceReceiver;

/* As many rows are made at once, or as many bytes. */
#define BATCH_ROWS 256
#define BATCH_BYTES (1024 * 1024)

/* A row that waits, first as the query's, then as it is to be stored. */
typedef struct Waiting
{
	MinimalTuple row;
	Datum window_value;
	bool window_isnull;
} Waiting;

/*
 * Rows that are made under pinned settings wait for each other: those are set and taken
 * back once for all of them, for the query itself runs under the session's.
 */
typedef struct Batch
{
	MemoryContext context;
	TupleTableSlot *from; /* a row of the query's */
	TupleTableSlot *to;	  /* a row as it was made */
	int count;
	int made;
	int column; /* of the row that is being made */
	Waiting rows[BATCH_ROWS];
} Batch;

/* True if rows of two descriptors have the same columns in the same places. */
static bool
same_columns(TupleDesc a, TupleDesc b)
{
	int i;

	if (a->natts != b->natts)
		return false;
	for (i = 0; i < a->natts; i++)
	{
		Form_pg_attribute x = TupleDescAttr(a, i);
		Form_pg_attribute y = TupleDescAttr(b, i);

		if (x->atttypid != y->atttypid || x->atttypmod != y->atttypmod ||
			strcmp(NameStr(x->attname), NameStr(y->attname)) != 0)
			return false;
	}
	return true;
}

/* True if the plan's rows are of the types that were looked up: values are taken as such. */
static bool
same_types(TupleDesc a, TupleDesc b)
{
	int i;

	for (i = 0; a->natts == b->natts && i < a->natts; i++)
	{
		if (TupleDescAttr(a, i)->atttypid != TupleDescAttr(b, i)->atttypid)
			return false;
	}
	return a->natts == b->natts;
}

/* How each column of the rows is made. */
static Assigned *
begin_assigning(const SourceReceiver *receiver)
{
	const IdemSource *source = receiver->source;
	Assigned *assigned = palloc0(source->desc->natts * sizeof(Assigned));
	ListCell *lc;

	foreach (lc, source->projection)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);
		Assigned *one = &assigned[entry->resno - 1];

		one->column = idem_find_column(source->target, entry->resname);
		if (IsA(entry->expr, Var))
			one->index = ((Var *) entry->expr)->varattno - 1;
		else
			one->value = ExecPrepareExpr(entry->expr, receiver->estate);
	}
	return assigned;
}

/* Makes an empty batch, for rows of one descriptor that are made of another's. */
static Batch *
begin_batch(TupleDesc to, TupleDesc from)
{
	Batch *batch = palloc(sizeof(Batch));

	batch->context = AllocSetContextCreate(CurrentMemoryContext, "idem source rows", ALLOCSET_DEFAULT_SIZES);
	batch->from = MakeSingleTupleTableSlot(from, &TTSOpsMinimalTuple);
	batch->to = MakeSingleTupleTableSlot(to, &TTSOpsMinimalTuple);
	batch->count = 0;
	batch->column = 0;
	return batch;
}

/* Sets up what makes columns. */
static void
begin_making(SourceReceiver *receiver)
{
	receiver->estate = CreateExecutorState();
	if (receiver->source->generated)
		receiver->generated = ExecPrepareExpr(receiver->source->generated, receiver->estate);
	if (receiver->source->as_is)
		return;
	receiver->slot = MakeSingleTupleTableSlot(receiver->source->desc, &TTSOpsVirtual);
	receiver->assigned = begin_assigning(receiver);
}

/* Fails if the query's rows are not what was looked up. */
static void
check_running(const IdemSource *source, TupleDesc desc)
{
	if (!same_columns(idem_running_desc(source->query), source->query_desc) || !same_types(desc, source->query_desc))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("source has changed its columns while it was being loaded"),
				 errhint("Run the load again.")));
}

static void
startup_receiver(DestReceiver *self, int operation, TupleDesc desc)
{
	SourceReceiver *receiver = (SourceReceiver *) self;

	check_running(receiver->source, desc);
	begin_making(receiver);
	if (receiver->slot && receiver->source->pinned)
		receiver->batch = begin_batch(receiver->source->desc, desc);
}

/* True for an error that a value may be to blame for, and nothing else. */
static bool
is_about_values(int sqlerrcode)
{
	return idem_is_of_row(sqlerrcode) || ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_PLPGSQL_ERROR;
}

/* Fails for a row that does not belong into the window. */
static void
check_in_window(SourceReceiver *receiver, TupleTableSlot *slot)
{
	const IdemSource *source = receiver->source;
	bool isnull = receiver->window_isnull;
	Datum value = receiver->generated ? receiver->window_value
									  : slot_getattr(slot, source->window_index + 1, &isnull);
	int64 bound = isnull ? 0 : idem_value_bound(source->type, source->window_type, value);

	if (!isnull && bound >= receiver->window.lower && bound < receiver->window.upper)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("source row is outside of its window %s",
					idem_window_text(source->type, receiver->window)),
			 errdetail("Row %s has %s = %s.", idem_describe_row(source->target, source->desc, slot),
					   source->target->window->quoted,
					   isnull ? "NULL" : idem_bound_text(source->type, bound)),
			 errhint("Restrict the source query: WHERE %s >= $1 AND %s < $2.",
					 source->target->window->quoted, source->target->window->quoted)));
}

/*
 * Adds to a message which column was being made of which row.  The row is shown where its
 * values are what is wrong: then no more than a value's output has to work.
 */
static void
add_assignment(void *arg)
{
	SourceReceiver *receiver = arg;
	const IdemSource *source = receiver->source;
	const IdemColumn *column = receiver->making;
	ExprContext *context = GetPerTupleExprContext(receiver->estate);
	const char *row = "";

	if (column == NULL)
		return;
	receiver->making = NULL;
	if (is_about_values(geterrcode()))
	{
		MemoryContext old = MemoryContextSwitchTo(context->ecxt_per_tuple_memory);

		row = psprintf(", source row %s", idem_describe_row(source->target, source->query_desc, context->ecxt_scantuple));
		MemoryContextSwitchTo(old);
	}
	errcontext("column \"%s\" of target %s%s", column->name, source->target->name, row);
	receiver->making = column;
}

/* Begins to make a row of the query's. */
static void
begin_row(SourceReceiver *receiver, TupleTableSlot *slot)
{
	ExprContext *context = GetPerTupleExprContext(receiver->estate);

	ResetExprContext(context);
	context->ecxt_scantuple = slot;
	if (receiver->slot == NULL)
		return;
	ExecClearTuple(receiver->slot);
	slot_getallattrs(slot);
}

/* Makes one of its columns. */
static void
make_column(SourceReceiver *receiver, ExprContext *context, int i)
{
	const Assigned *assigned = &receiver->assigned[i];
	TupleTableSlot *from = context->ecxt_scantuple;
	TupleTableSlot *to = receiver->slot;

	if (assigned->value)
	{
		receiver->making = assigned->column;
		to->tts_values[i] = ExecEvalExpr(assigned->value, context, &to->tts_isnull[i]);
		return;
	}
	to->tts_values[i] = from->tts_values[assigned->index];
	to->tts_isnull[i] = from->tts_isnull[assigned->index];
}

/* Makes what is not a column of the row, and ends it. */
static void
end_row(SourceReceiver *receiver, ExprContext *context)
{
	if (receiver->generated)
	{
		receiver->making = receiver->source->target->window;
		receiver->window_value = ExecEvalExpr(receiver->generated, context, &receiver->window_isnull);
	}
	if (receiver->slot)
		ExecStoreVirtualTuple(receiver->slot);
}

/*
 * Makes a column of the row that has begun and, if it was the last, ends the row; columns
 * are made one by one, so that it is known which one fails.  Returns true if there are more.
 */
static bool
make_next(SourceReceiver *receiver, int column)
{
	ExprContext *context = GetPerTupleExprContext(receiver->estate);
	ErrorContextCallback callback = {error_context_stack, add_assignment, receiver};
	MemoryContext old = MemoryContextSwitchTo(context->ecxt_per_tuple_memory);
	bool more = receiver->slot && column + 1 < receiver->source->desc->natts;

	error_context_stack = &callback;
	if (receiver->slot)
		make_column(receiver, context, column);
	if (!more)
		end_row(receiver, context);
	receiver->making = NULL;
	error_context_stack = callback.previous;
	MemoryContextSwitchTo(old);
	return more;
}

/* Checks and stores a row that has been made. */
static void
store_row(SourceReceiver *receiver, TupleTableSlot *slot)
{
	ExprContext *context = GetPerTupleExprContext(receiver->estate);
	MemoryContext old;
	bool kept = true;

	if (receiver->source->window_index >= 0 || receiver->generated)
		check_in_window(receiver, slot);
	if (receiver->take)
	{
		old = MemoryContextSwitchTo(context->ecxt_per_tuple_memory);
		kept = receiver->take(receiver->arg, slot);
		MemoryContextSwitchTo(old);
	}
	if (kept)
		tuplestore_puttupleslot(receiver->rows->store, slot);
	receiver->rows->count++;
}

/* Keeps a row that has been made in the place of the query's. */
static void
keep_made(SourceReceiver *receiver, Waiting *waiting)
{
	MemoryContext old = MemoryContextSwitchTo(receiver->batch->context);

	waiting->window_value = receiver->window_value;
	waiting->window_isnull = receiver->window_isnull;
	waiting->row = ExecCopySlotMinimalTuple(receiver->slot);
	MemoryContextSwitchTo(old);
}

/* Makes the next column of a batch; returns false if it was the last. */
static bool
make_waiting(void *arg)
{
	SourceReceiver *receiver = arg;
	Batch *batch = receiver->batch;
	Waiting *waiting = &batch->rows[batch->made];

	if (batch->column == 0)
	{
		ExecStoreMinimalTuple(waiting->row, batch->from, false);
		begin_row(receiver, batch->from);
	}
	if (make_next(receiver, batch->column++))
		return true;
	keep_made(receiver, waiting);
	batch->column = 0;
	return ++batch->made < batch->count;
}

/* Makes the rows of a batch under pinned settings, and stores them under the session's. */
static void
empty_batch(SourceReceiver *receiver)
{
	Batch *batch = receiver->batch;
	int i;

	if (batch->count == 0)
		return;
	batch->made = 0;
	idem_repeat_pinned(idem_making_zone(receiver->source), make_waiting, receiver);
	ExecClearTuple(batch->from);
	for (i = 0; i < batch->count; i++)
	{
		ResetExprContext(GetPerTupleExprContext(receiver->estate));
		ExecStoreMinimalTuple(batch->rows[i].row, batch->to, false);
		receiver->window_value = batch->rows[i].window_value;
		receiver->window_isnull = batch->rows[i].window_isnull;
		store_row(receiver, batch->to);
	}
	ExecClearTuple(batch->to);
	MemoryContextReset(batch->context);
	batch->count = 0;
}

/* Adds a row to a batch. */
static void
add_to_batch(SourceReceiver *receiver, TupleTableSlot *slot)
{
	Batch *batch = receiver->batch;
	MemoryContext old = MemoryContextSwitchTo(batch->context);

	batch->rows[batch->count++].row = ExecCopySlotMinimalTuple(slot);
	MemoryContextSwitchTo(old);
	if (batch->count == BATCH_ROWS || MemoryContextMemAllocated(batch->context, false) > BATCH_BYTES)
		empty_batch(receiver);
}

/* Makes a row of the target of one of the query's. */
static TupleTableSlot *
make_row(SourceReceiver *receiver, TupleTableSlot *slot)
{
	int column = 0;

	begin_row(receiver, slot);
	if (receiver->slot || receiver->generated)
	{
		while (make_next(receiver, column))
			column++;
	}
	return receiver->slot ? receiver->slot : slot;
}

/* Takes one row. */
static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	SourceReceiver *receiver = (SourceReceiver *) self;

	if (receiver->batch)
		add_to_batch(receiver, slot);
	else
		store_row(receiver, make_row(receiver, slot));
	return true;
}

/* Makes what still waits, and forgets the batch. */
static void
end_batch(SourceReceiver *receiver)
{
	empty_batch(receiver);
	ExecDropSingleTupleTableSlot(receiver->batch->from);
	ExecDropSingleTupleTableSlot(receiver->batch->to);
	MemoryContextDelete(receiver->batch->context);
	pfree(receiver->batch);
}

/* Forgets what rows were made with. */
static void
end_making(SourceReceiver *receiver)
{
	if (receiver->slot)
		ExecDropSingleTupleTableSlot(receiver->slot);
	FreeExecutorState(receiver->estate);
}

/* Ends the reception. */
static void
shutdown_receiver(DestReceiver *self)
{
	SourceReceiver *receiver = (SourceReceiver *) self;

	if (receiver->batch)
		end_batch(receiver);
	end_making(receiver);
}

void
idem_run_source(IdemSource *source, IdemWindow window, Snapshot since, IdemRows *rows,
				IdemTakeRow take, void *arg)
{
	SourceReceiver receiver = {
		.pub = {receive_row, startup_receiver, shutdown_receiver, idem_keep_receiver, DestNone},
		.source = source,
		.window = window,
		.take = take,
		.arg = arg,
		.rows = rows,
	};

	idem_run_query(source->query, idem_bound_datum(source->type, window.lower),
				   idem_bound_datum(source->type, window.upper), since, &receiver.pub, 0);
}

TupleDesc
idem_raw_desc(const IdemSource *source)
{
	return source->query_desc;
}

bool
idem_is_pinned_source(const IdemSource *source)
{
	return source->pinned && !source->as_is;
}

const char *
idem_making_zone(const IdemSource *source)
{
	return source->time_zone || source->reads ? NULL : "UTC";
}

/* Receives the query's rows as they are. */
typedef struct RawReceiver
{
	DestReceiver pub;
	const IdemSource *source;
	IdemRows rows;
} RawReceiver;

static void
startup_raw(DestReceiver *self, int operation, TupleDesc desc)
{
	check_running(((RawReceiver *) self)->source, desc);
}

static bool
receive_raw(TupleTableSlot *slot, DestReceiver *self)
{
	RawReceiver *receiver = (RawReceiver *) self;

	tuplestore_puttupleslot(receiver->rows.store, slot);
	receiver->rows.count++;
	return true;
}

IdemRows
idem_fetch_raw(IdemSource *source, IdemWindow window)
{
	RawReceiver receiver = {
		.pub = {receive_raw, startup_raw, idem_keep_receiver, idem_keep_receiver, DestNone},
		.source = source,
		.rows = idem_make_rows(source->query_desc),
	};

	idem_run_query(source->query, idem_bound_datum(source->type, window.lower),
				   idem_bound_datum(source->type, window.upper), NULL, &receiver.pub, 0);
	return receiver.rows;
}

struct IdemMaker
{
	SourceReceiver receiver;
};

IdemMaker *
idem_open_maker(const IdemSource *source, IdemWindow window)
{
	IdemMaker *maker = palloc0(sizeof(IdemMaker));

	maker->receiver.source = source;
	maker->receiver.window = window;
	begin_making(&maker->receiver);
	return maker;
}

TupleTableSlot *
idem_make_row(IdemMaker *maker, TupleTableSlot *raw)
{
	SourceReceiver *receiver = &maker->receiver;
	TupleTableSlot *row = make_row(receiver, raw);

	if (receiver->source->window_index >= 0 || receiver->generated)
		check_in_window(receiver, row);
	return row;
}

const char *
idem_take_making(IdemMaker *maker)
{
	const IdemColumn *column = maker->receiver.making;

	maker->receiver.making = NULL;
	return column ? column->name : NULL;
}

void
idem_close_maker(IdemMaker *maker)
{
	end_making(&maker->receiver);
	pfree(maker);
}
