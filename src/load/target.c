/*
 * target.c
 *		The relation that is loaded: its columns, keys and what tells rows apart.
 *
 * Whether a row has changed is asked per column: by the type's equality where
 * equal values cannot differ (the type's B-tree support function 4, equalimage,
 * says so), else by the values' images, for 1.0 and 1.00, or 'a' and 'A' in
 * citext, are equal and yet a reload would bring the other one.
 *
 * This file must not know sources, ledgers or methods.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "load/managed.h"
#include "load/target.h"
#include "nodes/nodes.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "partitioning/partdefs.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rowsecurity.h"
#include "server/changes.h"
#include "server/compat.h"
#include "server/statement.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

IdemColumn *
idem_find_column(const IdemTarget *target, const char *name)
{
	int i;

	for (i = 0; i < target->ncolumns; i++)
	{
		if (strcmp(target->columns[i].name, name) == 0)
			return &target->columns[i];
	}
	return NULL;
}

/* Finds a column that an argument names, or fails. */
static IdemColumn *
require_column(const IdemTarget *target, const char *argument, const char *name)
{
	IdemColumn *column = idem_find_column(target, name);

	if (column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of target %s does not exist", name, target->name),
				 errdetail("It is named by the argument %s.", argument),
				 errhint("Names are taken as they are: write them in the case the column has.")));
	return column;
}

/* Fails for a relation that cannot be a target. */
static void
check_relation(Relation rel)
{
	char kind = rel->rd_rel->relkind;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE &&
		kind != RELKIND_VIEW && kind != RELKIND_FOREIGN_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" cannot be the target of a load", RelationGetRelationName(rel)),
				 errhint("Name a table, a partitioned table, a foreign table or an updatable view.")));
	if (kind != RELKIND_VIEW && rel->rd_rules)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" has rules and cannot be the target of a load", RelationGetRelationName(rel)),
				 errdetail("A rule puts other statements in place of the load's, or beside them."),
				 errhint("Write it as a trigger, or load a table without rules.")));
}

/* True for a table with children that are no partitions: it has rows, and they have. */
static bool
has_children(Relation rel)
{
	char kind = rel->rd_rel->relkind;

	return (kind == RELKIND_RELATION || kind == RELKIND_FOREIGN_TABLE) &&
		   find_inheritance_children(RelationGetRelid(rel), NoLock) != NIL;
}

/* Looks at who keeps the table; fails where a load cannot. */
static void
set_keeper(IdemTarget *target, Relation base)
{
	idem_check_unmanaged(base);
	target->is_hypertable = idem_is_hypertable(base);
	if (!target->is_hypertable && has_children(base))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" has inheritance children and cannot be the target of a load",
						RelationGetRelationName(base)),
				 errdetail("Rows would be deleted from the children but inserted into the parent."),
				 errhint("Name a child, or use a partitioned table.")));
}

/* Fails for a view that does not write straight through to the relation behind it. */
static void
check_view(Relation rel, Relation view)
{
	TriggerDesc *triggers = view->trigdesc;
	const char *reason = view_query_is_auto_updatable(get_view_query(view), true);

	if (reason == NULL && triggers &&
		(triggers->trig_insert_instead_row || triggers->trig_update_instead_row ||
		 triggers->trig_delete_instead_row))
		reason = "Views with INSTEAD OF triggers are not automatically updatable.";
	if (reason == NULL && view->rd_rules->numLocks > 1)
		reason = "Views with rules are not automatically updatable.";
	if (reason == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("view \"%s\" cannot be the target of a load", RelationGetRelationName(rel)),
			 RelationGetRelid(rel) == RelationGetRelid(view) ? errdetail("It is not automatically updatable.")
						 : errdetail("View %s behind it is not automatically updatable.",
									 idem_qualified_name(view)),
			 errhint("Name the table behind it.")));
}

/* The relation behind a view, opened; fails for a view that does not write through to it. */
static Relation
open_behind(Relation rel, Relation view, LOCKMODE lockmode)
{
	Query *query;
	RangeTblRef *ref;

	check_view(rel, view);
	query = get_view_query(view);
	ref = linitial_node(RangeTblRef, query->jointree->fromlist);
	return relation_open(rt_fetch(ref->rtindex, query->rtable)->relid, lockmode);
}

/*
 * Follows an automatically updatable view down to its table.  Returns the table,
 * opened, and rewrites attnos, one for each column of rel, 0 where there is none.
 */
static Relation
open_base(Relation rel, AttrNumber *attnos, int natts, LOCKMODE lockmode)
{
	Relation base = relation_open(RelationGetRelid(rel), lockmode);
	int i;

	for (i = 0; i < natts; i++)
		attnos[i] = i + 1;
	while (base->rd_rel->relkind == RELKIND_VIEW)
	{
		Relation next = open_behind(rel, base, lockmode);
		List *entries = get_view_query(base)->targetList;

		for (i = 0; i < natts; i++)
		{
			Node *expr = attnos[i] <= 0 ? NULL : (Node *) ((TargetEntry *) list_nth(entries, attnos[i] - 1))->expr;

			attnos[i] = expr && IsA(expr, Var) ? ((Var *) expr)->varattno : 0;
		}
		relation_close(base, NoLock);
		base = next;
	}
	check_relation(base);
	return base;
}

/*
 * True if a filter of a view, or of one behind it, may hide a row that is written through
 * it: a filter is checked by its own view's check option, or by a cascaded one above.
 */
static bool
has_unchecked_filter(Relation rel)
{
	Relation view = relation_open(RelationGetRelid(rel), AccessShareLock);
	bool cascaded = false;
	bool result = false;

	while (view->rd_rel->relkind == RELKIND_VIEW)
	{
		Relation next = open_behind(rel, view, AccessShareLock);

		cascaded |= RelationHasCascadedCheckOption(view);
		result |= get_view_query(view)->jointree->quals && !cascaded && !RelationHasCheckOption(view);
		relation_close(view, NoLock);
		view = next;
	}
	relation_close(view, NoLock);
	return result;
}

/*
 * Keeps a string with the target; NULL stays NULL.  One that is the model's at the same
 * place is the very same, so that two targets can be compared as they lie in memory.
 */
static const char *
keep(IdemTarget *target, const char *string)
{
	int n = list_length(target->strings);

	if (string == NULL)
		return NULL;
	if (target->model && n < list_length(target->model->strings) &&
		strcmp(list_nth(target->model->strings, n), string) == 0)
		string = list_nth(target->model->strings, n);
	else
		string = pstrdup(string);
	target->strings = lappend(target->strings, unconstify(char *, string));
	return string;
}

/* "OPERATOR(schema.name)" of an operator. */
static char *
qualified_operator(Oid operator)
{
	HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	Form_pg_operator form;
	char *result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator %u", operator);
	form = (Form_pg_operator) GETSTRUCT(tuple);
	result = psprintf("OPERATOR(%s.%s)",
					  quote_identifier(get_namespace_name(form->oprnamespace)),
					  NameStr(form->oprname));
	ReleaseSysCache(tuple);
	return result;
}

/* True if the B-tree operator class of a type says that equal means identical. */
static bool
equality_is_identity(TypeCacheEntry *type, Oid collation)
{
	Oid function;

	if (!OidIsValid(type->btree_opf))
		return false;
	function = get_opfamily_proc(type->btree_opf, type->btree_opintype,
								 type->btree_opintype, BTEQUALIMAGE_PROC);
	return OidIsValid(function) &&
		   DatumGetBool(OidFunctionCall1Coll(function, collation,
											 ObjectIdGetDatum(type->btree_opintype)));
}

/* True if a type is a domain that takes no NULL, or is made of one. */
static bool
is_not_null_domain(Oid type)
{
	bool result = false;

	while (!result && get_typtype(type) == TYPTYPE_DOMAIN)
	{
		HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for type %u", type);
		result = ((Form_pg_type) GETSTRUCT(tuple))->typnotnull;
		type = ((Form_pg_type) GETSTRUCT(tuple))->typbasetype;
		ReleaseSysCache(tuple);
	}
	return result;
}

/*
 * "::type" for a domain, else nothing.  The type as such: "character" and "bit" would be of
 * length 1, and cut values off.
 */
static const char *
cast_of(Oid domain)
{
	Oid type = getBaseType(domain);

	if (type == domain)
		return "";
	return psprintf("::%s", format_type_extended(type, -1, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY));
}

/*
 * True for bpchar without a length, whose trailing blanks are stored: its operator class
 * promises identity because char(n) has them all.
 */
static bool
is_unpadded(Oid type, int32 typmod)
{
	return getBaseTypeAndTypmod(type, &typmod) == BPCHAROID && typmod < 0;
}

/* Fills in what is known of a column of rel that is att of its base table. */
static void
set_column(IdemTarget *target, IdemColumn *column, Form_pg_attribute own, Form_pg_attribute att,
		   int base_attno)
{
	TypeCacheEntry *type = lookup_type_cache(getBaseType(own->atttypid),
											 TYPECACHE_EQ_OPR | TYPECACHE_BTREE_OPFAMILY);

	column->name = keep(target, NameStr(own->attname));
	column->quoted = keep(target, quote_identifier(column->name));
	column->base_attno = base_attno;
	column->type = own->atttypid;
	column->cast = keep(target, cast_of(own->atttypid));
	column->typmod = own->atttypmod;
	column->collation = own->attcollation;
	column->is_required = att->attnotnull || is_not_null_domain(att->atttypid);
	column->has_default = own->atthasdef || att->atthasdef || att->attidentity ||
						  get_typdefault(att->atttypid) != NULL || type_is_rowtype(own->atttypid);
	column->generated = att->attgenerated != '\0';
	column->identity = att->attidentity;
	if (OidIsValid(type->eq_opr))
		column->equals = keep(target, qualified_operator(type->eq_opr));
	column->can_hash = column->equals && op_hashjoinable(type->eq_opr, own->atttypid);
	column->equal_is_same = column->equals && equality_is_identity(type, own->attcollation) &&
							!is_unpadded(own->atttypid, own->atttypmod);
}

/* Reads the columns of rel, which are attnos of its base table. */
static void
read_columns(IdemTarget *target, Relation rel, Relation base, const AttrNumber *attnos)
{
	TupleDesc desc = RelationGetDescr(rel);
	int i;

	target->columns = palloc0(Max(desc->natts, 1) * sizeof(IdemColumn));
	for (i = 0; i < desc->natts; i++)
	{
		bool is_base = attnos[i] > 0;
		TupleDesc from = is_base ? RelationGetDescr(base) : desc;
		int place = is_base ? attnos[i] - 1 : i;
		IdemColumn *column = &target->columns[target->ncolumns];

		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		target->ncolumns++;
		set_column(target, column, TupleDescAttr(desc, i), TupleDescAttr(from, place), attnos[i]);
		column->not_null = idem_is_not_null(from, place);
	}
}

/* The planner's time grows with the cube of the columns that are joined by: a thousand take it a minute. */
#define MAX_KEYS 100

/* Marks the key columns. */
static void
set_keys(IdemTarget *target, char **keys, int nkeys)
{
	int i;

	if (nkeys > MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("argument keys names %d columns, more than %d", nkeys, MAX_KEYS),
				 errhint("Have the source return one column made of them, for example by idem_uuid, and name that.")));
	target->nkeys = nkeys;
	target->keys = palloc(Max(nkeys, 1) * sizeof(IdemColumn *));
	for (i = 0; i < nkeys; i++)
	{
		IdemColumn *column = require_column(target, "keys", keys[i]);

		if (column->equals == NULL || !OidIsValid(lookup_type_cache(column->type, TYPECACHE_LT_OPR)->lt_opr))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("column \"%s\" of type %s cannot be a key",
							column->name, format_type_be(column->type)),
					 errdetail(column->equals ? "The type has no ordering." : "The type has no equality operator."),
					 errhint("Name other columns as keys; mode \"reload\" also works without keys.")));
		column->is_key = true;
		target->keys[i] = column;
	}
}

/* What can be done about a window column that does not fit the ledger. */
static int
window_hint(Oid type)
{
	switch (getBaseType(type))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return errhint("Use a ledger whose range type fits the column: idem_create_ledger(name, range_type).");
		default:
			return errhint("No ledger has windows of this type: name a column of integers, dates or timestamps, if need be a generated one.");
	}
}

/* Sets the window column and checks its type. */
static void
set_window_column(IdemTarget *target, const char *name, const IdemRangeType *type)
{
	if (name == NULL)
		return;
	target->window = require_column(target, "window_column", name);
	if (!idem_is_window_column_type(type, getBaseType(target->window->type)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("window column \"%s\" is of type %s, but the ledger's windows are of type %s",
						name, format_type_be(target->window->type), type->name),
				 window_hint(target->window->type)));
}

/* Sets the version column and checks that versions can be compared. */
static void
set_version_column(IdemTarget *target, const char *name)
{
	if (name == NULL)
		return;
	target->version = require_column(target, "version_column", name);
	if (!OidIsValid(lookup_type_cache(target->version->type, TYPECACHE_LT_OPR)->lt_opr))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("column \"%s\" of type %s cannot be a version column",
						name, format_type_be(target->version->type)),
				 errdetail("The type has no ordering."),
				 errhint("Name another column, or none.")));
}

/* True if an attribute of the base table is a key. */
static bool
is_key_attno(const IdemTarget *target, int attno)
{
	int i;

	for (i = 0; i < target->nkeys; i++)
	{
		if (target->keys[i]->base_attno == attno)
			return true;
	}
	return false;
}

/* True if no key can be NULL. */
static bool
keys_are_not_null(const IdemTarget *target)
{
	int i;

	for (i = 0; i < target->nkeys; i++)
	{
		if (!target->keys[i]->not_null)
			return false;
	}
	return true;
}

/* True if a column of an index has the collation and the equality of the key that it is. */
static bool
compares_as_key(const IdemTarget *target, Relation index, int place)
{
	Oid equal = get_opfamily_member(index->rd_opfamily[place], index->rd_opcintype[place],
									index->rd_opcintype[place], BTEqualStrategyNumber);
	int i;

	for (i = 0; i < target->nkeys; i++)
	{
		const IdemColumn *key = target->keys[i];

		if (key->base_attno == index->rd_index->indkey.values[place])
			return index->rd_indcollation[place] == key->collation &&
				   equal == lookup_type_cache(getBaseType(key->type), TYPECACHE_EQ_OPR)->eq_opr;
	}
	return false;
}

/* True if the expressions of an index, if any, are made of keys. */
static bool
is_made_of_keys(const IdemTarget *target, Relation index)
{
	Bitmapset *attnos = NULL;
	int attno = -1;

	pull_varattnos((Node *) RelationGetIndexExpressions(index), 1, &attnos);
	while ((attno = bms_next_member(attnos, attno)) >= 0)
	{
		if (!is_key_attno(target, attno + FirstLowInvalidHeapAttributeNumber))
			return false;
	}
	return true;
}

/* True if an index is unique over just the keys, or something made of them. */
static bool
is_over_keys(const IdemTarget *target, Relation index)
{
	Form_pg_index form = index->rd_index;
	int i;

	if (!form->indisunique || form->indnkeyatts != target->nkeys)
		return false;
	for (i = 0; i < form->indnkeyatts; i++)
	{
		/* an expression has the number 0, which no key has */
		if (form->indkey.values[i] != 0 && !is_key_attno(target, form->indkey.values[i]))
			return false;
	}
	return is_made_of_keys(target, index);
}

/* Why a unique index over the keys does not say whether a key is there; NULL if it does. */
static const char *
arbiter_objection(const IdemTarget *target, Relation index)
{
	Form_pg_index form = index->rd_index;
	int i;

	if (!form->indisvalid)
		return "it is not valid: REINDEX it";
	if (!form->indimmediate)
		return "it is deferrable";
	if (form->indisexclusion)
		return "it is WITHOUT OVERLAPS";
	if (RelationGetIndexPredicate(index) != NIL)
		return "it is partial";
	for (i = 0; i < form->indnkeyatts; i++)
	{
		if (form->indkey.values[i] == 0)
			return "it is over an expression";
		if (!compares_as_key(target, index, i))
			return "its collation or operator class is not the column's";
	}
	if (!form->indnullsnotdistinct && !keys_are_not_null(target))
		return "it takes NULLs as different";
	return NULL;
}

/* What the indexes of a table say of the keys. */
typedef struct ArbiterSearch
{
	const char *conflict;	/* the conflict target of a unique index over just the keys; NULL: there is none */
	const char *objection;	/* why one is not that */
	const char *deferrable; /* a deferrable constraint over the keys, beside which none serves */
} ArbiterSearch;

/* The operator class of a column of an index, qualified. */
static char *
qualified_opclass(Relation index, int place)
{
	bool isnull;
	Datum classes = SysCacheGetAttr(INDEXRELID, index->rd_indextuple, Anum_pg_index_indclass, &isnull);
	HeapTuple tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(((oidvector *) DatumGetPointer(classes))->values[place]));
	Form_pg_opclass form;
	char *result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for an operator class of index %u", RelationGetRelid(index));
	form = (Form_pg_opclass) GETSTRUCT(tuple);
	result = quote_qualified_identifier(get_namespace_name(form->opcnamespace), NameStr(form->opcname));
	ReleaseSysCache(tuple);
	return result;
}

/* A collation, qualified. */
static char *
qualified_collation(Oid collation)
{
	HeapTuple tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	Form_pg_collation form;
	char *result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	result = quote_qualified_identifier(get_namespace_name(form->collnamespace), NameStr(form->collname));
	ReleaseSysCache(tuple);
	return result;
}

/*
 * "k COLLATE c o, …": the columns of an index with their collations and operator classes.
 * By the columns alone the server would take every unique index over them, also one by
 * which other keys are equal, and a row that it objects to would be neither written nor
 * there.
 */
static char *
conflict_target(const IdemTarget *target, Relation index)
{
	StringInfoData buf;
	int i;
	int j;

	initStringInfo(&buf);
	for (i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		for (j = 0; target->keys[j]->base_attno != index->rd_index->indkey.values[i]; j++)
			;
		appendStringInfo(&buf, "%s%s", i > 0 ? ", " : "", target->keys[j]->quoted);
		if (OidIsValid(index->rd_indcollation[i]))
			appendStringInfo(&buf, " COLLATE %s", qualified_collation(index->rd_indcollation[i]));
		appendStringInfo(&buf, " %s", qualified_opclass(index, i));
	}
	return buf.data;
}

/* Sees whether an index tells if a key is there, and if not, why. */
static void
consider_arbiter(const IdemTarget *target, Relation index, ArbiterSearch *search)
{
	const char *objection;

	if (target->nkeys == 0 || !is_over_keys(target, index))
		return;
	objection = arbiter_objection(target, index);
	if (objection)
		search->objection = psprintf("Index \"%s\" does not serve: %s.",
									 RelationGetRelationName(index), objection);
	else if (search->conflict == NULL)
		search->conflict = conflict_target(target, index);
	if (index->rd_index->indisvalid && !index->rd_index->indimmediate && RelationGetIndexPredicate(index) == NIL)
		search->deferrable = pstrdup(RelationGetRelationName(index));
}

/* True if an index finds the rows of a window. */
static bool
is_window_index(const IdemTarget *target, Relation index)
{
	return target->window && index->rd_index->indisvalid &&
		   index->rd_index->indkey.values[0] != 0 &&
		   index->rd_index->indkey.values[0] == target->window->base_attno &&
		   index->rd_rel->relam != HASH_AM_OID &&
		   RelationGetIndexPredicate(index) == NIL;
}

/* Looks at the base table's indexes, and at how it is partitioned. */
static void
set_indexes(IdemTarget *target, Relation base)
{
	PartitionKey key = RelationGetPartitionKey(base);
	ArbiterSearch search = {0};
	ListCell *lc;

	foreach (lc, RelationGetIndexList(base))
	{
		Relation index = relation_open(lfirst_oid(lc), AccessShareLock);

		consider_arbiter(target, index, &search);
		target->window_indexed |= is_window_index(target, index);
		relation_close(index, NoLock);
	}
	/* ON CONFLICT takes every such index as its arbiter, and none may be deferrable */
	target->has_arbiter = search.conflict && search.deferrable == NULL;
	target->conflict = target->has_arbiter ? keep(target, search.conflict) : NULL;
	target->window_indexed |= target->window && key &&
							  get_partition_strategy(key) == PARTITION_STRATEGY_RANGE &&
							  get_partition_col_attnum(key, 0) == target->window->base_attno;
}

/* True if a trigger is the check of a foreign key, which changes nothing. */
static bool
is_check(const Trigger *trigger)
{
	return RI_FKey_trigger_type(trigger->tgfoid) == RI_TRIGGER_FK ||
		   trigger->tgfoid == F_RI_FKEY_NOACTION_DEL || trigger->tgfoid == F_RI_FKEY_NOACTION_UPD ||
		   trigger->tgfoid == F_RI_FKEY_RESTRICT_DEL || trigger->tgfoid == F_RI_FKEY_RESTRICT_UPD;
}

/* Looks at what happens when rows of rel are written: by rules, policies and triggers. */
static void
set_watchers(IdemTarget *target, Relation rel)
{
	int i;

	target->is_plain &= rel->rd_rules == NULL && !rel->rd_rel->relrowsecurity &&
						(rel->rd_rel->relkind == RELKIND_RELATION ||
						 rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE);
	for (i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		target->is_referenced |= RI_FKey_trigger_type(trigger->tgfoid) == RI_TRIGGER_PK;
		target->refers_to_itself |= RI_FKey_trigger_type(trigger->tgfoid) == RI_TRIGGER_FK &&
									(trigger->tgconstrrelid == target->base || trigger->tgconstrrelid == RelationGetRelid(rel));
		if (is_check(trigger) || idem_is_timescale_function(trigger->tgfoid))
			continue;
		target->is_plain = false;
		target->acts_on_delete |= TRIGGER_FOR_DELETE(trigger->tgtype);
		target->acts_on_write |= TRIGGER_FOR_INSERT(trigger->tgtype) || TRIGGER_FOR_UPDATE(trigger->tgtype);
	}
}

/* True if a trigger changes other rows when a row is deleted. */
static bool
takes_along(const Trigger *trigger)
{
	return trigger->tgfoid == F_RI_FKEY_CASCADE_DEL ||
		   trigger->tgfoid == F_RI_FKEY_SETNULL_DEL ||
		   trigger->tgfoid == F_RI_FKEY_SETDEFAULT_DEL;
}

/* Looks for rows that go along with those of rel. */
static void
set_references(IdemTarget *target, Relation rel)
{
	int i;

	for (i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (takes_along(trigger) && target->takes_along == NULL)
			target->takes_along = keep(target, get_rel_name(trigger->tgconstrrelid));
	}
}

/* Looks for what watches the table or its partitions, what references them, and where they lie. */
static void
set_nature(IdemTarget *target, Relation base)
{
	List *relids = find_all_inheritors(RelationGetRelid(base), AccessShareLock, NULL);
	ListCell *lc;

	target->is_plain = target->relid == target->base;
	foreach (lc, relids)
	{
		Relation child = relation_open(lfirst_oid(lc), NoLock);

		set_watchers(target, child);
		set_references(target, child);
		target->is_foreign |= child->rd_rel->relkind == RELKIND_FOREIGN_TABLE;
		target->is_unlogged |= child->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED;
		relation_close(child, NoLock);
	}
}

/* Appends what a view shows, and that of the views behind it. */
static void
append_views(StringInfo buf, Relation rel)
{
	Relation view = relation_open(RelationGetRelid(rel), AccessShareLock);

	while (view->rd_rel->relkind == RELKIND_VIEW)
	{
		Relation next = open_behind(rel, view, AccessShareLock);

		appendStringInfo(buf, "%s ", nodeToString(get_view_query(view)));
		relation_close(view, NoLock);
		view = next;
	}
	relation_close(view, NoLock);
}

/* Appends which rows of a table who may see and write. */
static void
append_policies(StringInfo buf, Relation base)
{
	ListCell *lc;

	appendStringInfo(buf, "%d %d ", base->rd_rel->relrowsecurity, base->rd_rel->relforcerowsecurity);
	if (base->rd_rsdesc == NULL)
		return;
	foreach (lc, base->rd_rsdesc->policies)
	{
		const RowSecurityPolicy *policy = lfirst(lc);

		appendStringInfo(buf, "%s %c %d %s %s ", policy->policy_name, policy->polcmd, policy->permissive,
						 nodeToString(policy->qual), nodeToString(policy->with_check_qual));
		appendStringInfoString(buf, OidOutputFunctionCall(F_ARRAY_OUT, PointerGetDatum(policy->roles)));
	}
}

/* Appends what makes the generated columns of a table. */
static void
append_generated(StringInfo buf, Relation base)
{
	TupleDesc desc = RelationGetDescr(base);
	int i;

	for (i = 0; desc->constr && i < desc->constr->num_defval; i++)
	{
		const AttrDefault *made = &desc->constr->defval[i];

		if (TupleDescAttr(desc, made->adnum - 1)->attgenerated)
			appendStringInfo(buf, "%d %s ", made->adnum, made->adbin);
	}
}

/* What decides, beside the rows themselves, which of them are there. */
static void
set_rules(IdemTarget *target, Relation rel, Relation base)
{
	StringInfoData buf;

	initStringInfo(&buf);
	append_views(&buf, rel);
	append_policies(&buf, base);
	append_generated(&buf, base);
	target->rules = keep(target, buf.data);
	pfree(buf.data);
}

/* Looks a target up; model may be NULL. */
static IdemTarget *
open_target(const IdemTargetRequest *request, const IdemTarget *model)
{
	IdemTarget *target = palloc0(sizeof(IdemTarget));
	Relation rel;
	Relation base;
	AttrNumber *attnos;

	target->request = request;
	target->model = model;
	target->seen = idem_catalog_changes();
	rel = idem_open_relation(request->relid);
	attnos = palloc(Max(RelationGetNumberOfAttributes(rel), 1) * sizeof(AttrNumber));
	check_relation(rel);
	target->relid = request->relid;
	target->name = keep(target, idem_qualified_name(rel));
	base = open_base(rel, attnos, RelationGetNumberOfAttributes(rel), AccessShareLock);
	target->base = RelationGetRelid(base);
	set_keeper(target, base);
	read_columns(target, rel, base, attnos);
	set_keys(target, request->keys, request->nkeys);
	set_window_column(target, request->window_column, request->type);
	set_version_column(target, request->version_column);
	set_indexes(target, base);
	set_nature(target, base);
	target->has_policies = base->rd_rel->relrowsecurity;
	target->may_hide = has_unchecked_filter(rel);
	set_rules(target, rel, base);
	relation_close(base, NoLock);
	relation_close(rel, NoLock);
	return target;
}

IdemTarget *
idem_open_target(const IdemTargetRequest *request)
{
	return open_target(request, NULL);
}

void
idem_lock_target(const IdemTarget *target)
{
	Relation rel = try_relation_open(target->relid, RowExclusiveLock);
	AttrNumber *attnos;

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("target %s has been dropped", target->name),
				 errhint("Load again when there is a target.")));
	attnos = palloc(Max(RelationGetNumberOfAttributes(rel), 1) * sizeof(AttrNumber));
	relation_close(open_base(rel, attnos, RelationGetNumberOfAttributes(rel), RowExclusiveLock), NoLock);
	relation_close(rel, NoLock);
	pfree(attnos);
}

/* Tells a target that has been looked up again what it does not know, or what follows. */
static void
take_over(IdemTarget *now, const IdemTarget *target)
{
	int i;

	for (i = 0; i < Min(now->ncolumns, target->ncolumns); i++)
		now->columns[i].in_source = target->columns[i].in_source;
	if (now->ncolumns == target->ncolumns &&
		memcmp(now->columns, target->columns, now->ncolumns * sizeof(IdemColumn)) == 0)
		now->columns = target->columns;
	now->keys = target->keys;
	now->window = target->window;
	now->version = target->version;
	now->model = target->model;
	now->strings = target->strings;
	now->seen = target->seen;
}

/* True if two targets are the same as they lie in memory; now has the other as its model. */
static bool
is_same(IdemTarget *now, const IdemTarget *target)
{
	take_over(now, target);
	return memcmp(now, target, sizeof(IdemTarget)) == 0;
}

/*
 * The same, but that now may have an arbiter, which the next piece will use, and that an
 * index by which a window is found may have come or gone.
 */
static bool
is_as_good(IdemTarget *now, const IdemTarget *target)
{
	now->window_indexed = target->window_indexed;
	if (!target->has_arbiter)
	{
		now->has_arbiter = false;
		now->conflict = NULL;
	}
	return is_same(now, target);
}

/* True if there is a relation of this OID; it is locked then. */
static bool
lock_if_exists(Oid relid)
{
	Relation rel = try_relation_open(relid, AccessShareLock);

	if (rel)
		relation_close(rel, NoLock);
	return rel != NULL;
}

/* Compares a target with what is there, if anything has changed since it was looked up. */
static bool
look_again(IdemTarget *target, bool (*compare)(IdemTarget *now, const IdemTarget *target))
{
	MemoryContext context;
	MemoryContext old;
	IdemTarget *now;
	uint64 seen;
	bool same;

	if (idem_catalog_changes() == target->seen)
		return true;
	if (!lock_if_exists(target->relid))
		return false;
	context = AllocSetContextCreate(CurrentMemoryContext, "idem target", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	now = open_target(target->request, target);
	seen = now->seen;
	same = is_same(now, target);
	if (same)
		target->seen = seen;
	else
		same = compare(now, target);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return same;
}

bool
idem_is_same_target(IdemTarget *target)
{
	return look_again(target, is_same);
}

void
idem_report_changed(const IdemTarget *target)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("target %s was changed while it was loaded", target->name),
			 errhint("Load again.")));
}

void
idem_check_target(IdemTarget *target)
{
	if (!look_again(target, is_as_good))
		idem_report_changed(target);
}

/* The names of the keys in the table behind the target, a text[]. */
static Datum
base_keys(const IdemTarget *target)
{
	Datum *names = palloc(Max(target->nkeys, 1) * sizeof(Datum));
	int n = 0;
	int i;

	for (i = 0; i < target->nkeys; i++)
	{
		if (target->keys[i]->base_attno > 0)
			names[n++] = CStringGetTextDatum(get_attname(target->base, target->keys[i]->base_attno, false));
	}
	return PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* A column that a partitioned table is partitioned by and that no key is; NULL if there is none. */
static const char *
missing_of_key(const IdemTarget *target, PartitionKey key)
{
	int i;

	for (i = 0; key && i < get_partition_natts(key); i++)
	{
		AttrNumber attno = get_partition_col_attnum(key, i);

		if (attno == 0)
			return "an expression";
		if (!is_key_attno(target, attno))
			return psprintf("column \"%s\"", get_attname(target->base, attno, false));
	}
	return NULL;
}

/* The same of any table that consists of others: without it among the keys no index is unique. */
static const char *
missing_partition_column(const IdemTarget *target)
{
	Relation base = relation_open(target->base, AccessShareLock);
	const char *missing = missing_of_key(target, RelationGetPartitionKey(base));
	const char *dimension = target->is_hypertable ? idem_missing_dimension(base, base_keys(target)) : NULL;

	relation_close(base, NoLock);
	return dimension ? psprintf("column \"%s\"", dimension) : missing;
}

/* The qualified name of the table behind a target. */
static char *
table_name(const IdemTarget *target)
{
	Relation base = relation_open(target->base, AccessShareLock);
	char *name = idem_qualified_name(base);

	relation_close(base, NoLock);
	return name;
}

/* Appends the CREATE UNIQUE INDEX that would be an arbiter; false if no index can be one. */
static bool
append_index(StringInfo sql, const IdemTarget *target)
{
	int i;

	if (target->is_foreign || missing_partition_column(target))
		return false;
	appendStringInfo(sql, "CREATE UNIQUE INDEX ON %s (", table_name(target));
	for (i = 0; i < target->nkeys; i++)
	{
		if (target->keys[i]->base_attno == 0)
			return false;
		appendStringInfo(sql, "%s%s", i > 0 ? ", " : "",
						 quote_identifier(get_attname(target->base, target->keys[i]->base_attno, false)));
	}
	appendStringInfo(sql, ")%s;", keys_are_not_null(target) ? "" : " NULLS NOT DISTINCT");
	return true;
}

/* What to type for an arbiter; NULL if there can be none. */
static char *
arbiter_sql(const IdemTarget *target, const ArbiterSearch *search)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (search->deferrable)
		appendStringInfo(&sql, "ALTER TABLE %s DROP CONSTRAINT %s;%s", table_name(target),
						 quote_identifier(search->deferrable), search->conflict ? "" : " ");
	return search->conflict || append_index(&sql, target) ? sql.data : NULL;
}

/* Looks for an arbiter again, to say why there is none. */
static ArbiterSearch
search_arbiter(const IdemTarget *target)
{
	Relation base = relation_open(target->base, AccessShareLock);
	ArbiterSearch search = {0};
	ListCell *lc;

	foreach (lc, RelationGetIndexList(base))
	{
		Relation index = relation_open(lfirst_oid(lc), AccessShareLock);

		consider_arbiter(target, index, &search);
		relation_close(index, NoLock);
	}
	relation_close(base, NoLock);
	return search;
}

void
idem_require_arbiter(const IdemTarget *target)
{
	ArbiterSearch search;
	StringInfoData columns;
	const char *missing;
	char *sql;

	if (target->has_arbiter)
		return;
	search = search_arbiter(target);
	missing = target->is_foreign ? NULL : missing_partition_column(target);
	sql = arbiter_sql(target, &search);
	initStringInfo(&columns);
	idem_append_keys(&columns, target, "");
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
			 errmsg("target %s has no unique index over its keys (%s)",
					target->name, columns.data),
			 missing ? errdetail("The table is partitioned by %s, which a unique index must have.", missing)
			 : search.conflict	? errdetail("Constraint \"%s\" is deferrable, and no other index over the keys serves beside it.", search.deferrable)
			 : search.objection ? errdetail("%s", search.objection)
								: errdetail("Upsert needs one, and where a key can be NULL it must take NULLs as equal."),
			 missing ? errhint("Name the partition column as one of the keys, or use mode \"reload\".")
			 : sql ? errhint("%s", sql) : errhint("No index over these keys can be made: use mode \"reload\".")));
}

bool
idem_is_whole(const IdemTarget *target)
{
	int i;

	for (i = 0; i < target->ncolumns; i++)
	{
		if (!target->columns[i].in_source && !target->columns[i].generated)
			return false;
	}
	return true;
}

bool
idem_is_replaceable(const IdemTarget *target)
{
	return target->is_plain && !target->is_referenced && idem_is_whole(target);
}

bool
idem_is_updated_column(const IdemColumn *column)
{
	return column->in_source && (!column->is_key || !column->equal_is_same);
}

/* Appends a separator unless it is the first time. */
static void
append_separator(StringInfo buf, bool *first, const char *separator)
{
	if (!*first)
		appendStringInfoString(buf, separator);
	*first = false;
}

void
idem_append_columns(StringInfo buf, const IdemTarget *target, const char *prefix)
{
	bool first = true;
	int i;

	for (i = 0; i < target->ncolumns; i++)
	{
		if (!target->columns[i].in_source)
			continue;
		append_separator(buf, &first, ", ");
		appendStringInfo(buf, "%s%s", prefix, target->columns[i].quoted);
	}
}

void
idem_append_keys(StringInfo buf, const IdemTarget *target, const char *prefix)
{
	int i;

	for (i = 0; i < target->nkeys; i++)
		appendStringInfo(buf, "%s%s%s", i > 0 ? ", " : "", prefix, target->keys[i]->quoted);
}

bool
idem_has_not_null_key(const IdemTarget *target)
{
	int i;

	for (i = 0; i < target->nkeys; i++)
	{
		if (target->keys[i]->not_null)
			return true;
	}
	return false;
}

/*
 * A value that a column can take in place of NULL where it is hashed; NULL if none is
 * known.  An array as a key is no element of another array, as other types can be: NULL
 * and '{}' would make the same one.
 */
static const char *
stand_in(Oid type)
{
	switch (type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return "0";
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case BYTEAOID:
		case INT2VECTOROID:
		case OIDVECTOROID:
			return "";
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return "epoch";
		case BOOLOID:
			return "false";
		case UUIDOID:
			return "00000000-0000-0000-0000-000000000000";
		default:
			return OidIsValid(get_element_type(type)) ? "{}" : NULL;
	}
}

bool
idem_can_hash_keys(const IdemTarget *target)
{
	int i;

	for (i = 0; i < target->nkeys; i++)
	{
		if (target->keys[i]->can_hash)
			return true;
	}
	return false;
}

bool
idem_can_hash_all_keys(const IdemTarget *target)
{
	int i;

	for (i = 0; i < target->nkeys; i++)
	{
		if (!target->keys[i]->can_hash)
			return false;
	}
	return true;
}

/* A column's value as an operand: of a domain it is cast, for anyenum takes no domain over an enum. */
static char *
operand(const IdemColumn *column, const char *alias)
{
	return psprintf("%s.%s%s", alias, column->quoted, column->cast);
}

/* Appends: two columns are the same, by the equality of a value or its stand-in. */
static void
append_stand_in_match(StringInfo buf, const IdemColumn *k,
					  const char *left, const char *right)
{
	Oid type = getBaseType(k->type);
	const char *constant = psprintf("'%s'::%s", stand_in(type), format_type_be_qualified(type));

	appendStringInfo(buf, "COALESCE(%s, %s) %s COALESCE(%s, %s)"
						  " AND (%s.%s IS NULL) OPERATOR(pg_catalog.=) (%s.%s IS NULL)",
					 operand(k, left), constant, k->equals, operand(k, right), constant,
					 left, k->quoted, right, k->quoted);
}

/*
 * Appends: two columns that may be NULL are the same.  IS NOT DISTINCT FROM, or NULLs
 * beside an equality, can neither be hashed nor merged: with other keys of few values
 * every row would be compared with every other.  So a constant stands for NULL, and what
 * was NULL is compared beside it; or, for a type of which we know no constant, the two
 * are compared as elements of arrays, whose equality is that of their type, takes NULLs
 * as equal, and hashes and sorts if the type does.
 */
static void
append_nullable_match(StringInfo buf, const IdemColumn *k,
					  const char *left, const char *right)
{
	if (stand_in(getBaseType(k->type)))
		append_stand_in_match(buf, k, left, right);
	else
		appendStringInfo(buf, "ARRAY[%s] OPERATOR(pg_catalog.=) ARRAY[%s]", operand(k, left), operand(k, right));
}

void
idem_append_match(StringInfo buf, const IdemTarget *target, bool nulls,
				  const char *left, const char *right)
{
	int i;

	for (i = 0; i < target->nkeys; i++)
	{
		const IdemColumn *k = target->keys[i];

		appendStringInfoString(buf, i > 0 ? " AND " : "");
		if (nulls && !k->not_null)
			append_nullable_match(buf, k, left, right);
		else
			appendStringInfo(buf, "%s %s %s", operand(k, left), k->equals, operand(k, right));
	}
}

void
idem_append_differs(StringInfo buf, const IdemColumn *column, const char *old, const char *new)
{
	const char *q = column->quoted;

	if (!column->equal_is_same)
		appendStringInfo(buf, "ROW(%s.%s)::pg_catalog.record OPERATOR(pg_catalog.*<>)"
							  " ROW(%s.%s)::pg_catalog.record",
						 old, q, new, q);
	else if (column->not_null)
		appendStringInfo(buf, "(%s %s %s) IS NOT TRUE", operand(column, old), column->equals, operand(column, new));
	else
		appendStringInfo(buf, "((%s %s %s) IS NOT TRUE"
							  " AND NOT (%s.%s IS NULL AND %s.%s IS NULL))",
						 operand(column, old), column->equals, operand(column, new), old, q, new, q);
}

void
idem_append_changed(StringInfo buf, const IdemTarget *target,
					const char *old, const char *new, bool guard_version)
{
	bool first = true;
	int i;

	appendStringInfoChar(buf, '(');
	for (i = 0; i < target->ncolumns; i++)
	{
		if (!idem_is_updated_column(&target->columns[i]))
			continue;
		append_separator(buf, &first, " OR ");
		idem_append_differs(buf, &target->columns[i], old, new);
	}
	appendStringInfoString(buf, first ? "false)" : ")");
	if (guard_version && target->version)
	{
		TypeCacheEntry *type = lookup_type_cache(target->version->type, TYPECACHE_LT_OPR);

		appendStringInfo(buf, " AND (%s.%s IS NULL OR (%s %s %s) IS FALSE)", old, target->version->quoted,
						 operand(target->version, new), qualified_operator(type->lt_opr), operand(target->version, old));
	}
}

void
idem_append_in_window(StringInfo buf, const IdemTarget *target, const char *alias)
{
	const char *q = target->window->quoted;

	appendStringInfo(buf, "%s.%s OPERATOR(pg_catalog.>=) $1"
						  " AND %s.%s OPERATOR(pg_catalog.<) $2",
					 alias, q, alias, q);
}
