/*
 * simplify.c
 *		Lets the planner hash columns instead of a record that is formed of them.
 *
 * To form a record and take it apart again costs more than the hash of three keys.
 * Where the planner knows what a record is made of, idem_hash(record, keys) becomes
 * idem_hash_values(keys, …) of just the key columns: for ROW(…), which is what is left
 * of a subquery's row too, and for a whole row of a table.  Stored expressions stay as
 * they were written: this happens anew in each plan, and alike in an index's
 * expression and in a query, so that they still match.
 *
 * Whatever is out of the ordinary, wrong keys among it, is left to the function itself.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "server/compat.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(idem_hash_support);
PG_FUNCTION_INFO_V1(idem_of_row);

/* More arguments than these the executor does not pass, and one is the keys. */
#define MAX_VALUES (FUNC_MAX_ARGS - 1)

/*
 * The function of the same name, and schema, over values.  None where not everybody may
 * call both: what one may is asked when a plan runs, and about the function in it.
 */
static Oid
find_twin(Oid function)
{
	Oid types[] = {TEXTARRAYOID, ANYOID};
	char *name = psprintf("%s_values", get_func_name(function));
	Oid twin = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
							   PointerGetDatum(buildoidvector(types, lengthof(types))),
							   ObjectIdGetDatum(get_func_namespace(function)));

	return OidIsValid(twin) && idem_may_execute(function, ACL_ID_PUBLIC) &&
				   idem_may_execute(twin, ACL_ID_PUBLIC)
			   ? twin
			   : InvalidOid;
}

/* The names in an array of keys; NULL if one of them is NULL or they are no list of some. */
static char **
read_names(Const *keys, int *nnames)
{
	ArrayType *array = DatumGetArrayTypeP(keys->constvalue);
	Datum *elements;
	bool *nulls;
	char **names;
	int i;

	if (ARR_NDIM(array) != 1 || ArrayGetNItems(1, ARR_DIMS(array)) > MAX_VALUES || array_contains_nulls(array))
		return NULL;
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, nnames);
	names = palloc(*nnames * sizeof(char *));
	for (i = 0; i < *nnames; i++)
		names[i] = TextDatumGetCString(elements[i]);
	return names;
}

/* The field of a row that has a name; NULL if there is none. */
static Expr *
row_field(RowExpr *row, const char *name)
{
	ListCell *field;
	ListCell *colname;

	forboth(field, row->args, colname, row->colnames)
	{
		if (strcmp(strVal(lfirst(colname)), name) == 0)
			return lfirst(field);
	}
	return NULL;
}

/*
 * True for a row whose fields can stand for themselves: nobody notices that those that
 * are no keys are not computed.
 */
static bool
is_plain_row(const RowExpr *row)
{
	return row->row_typeid == RECORDOID && !expression_returns_set((Node *) row->args) &&
		   !contain_volatile_functions((Node *) row->args);
}

/* A column of the relation of a whole-row variable. */
static Var *
make_var(const Var *whole, AttrNumber attno, Oid type, int32 typmod, Oid collation)
{
	Var *var = copyObject(unconstify(Var *, whole));

	var->varattno = attno;
	if (var->varnosyn > 0)
		var->varattnosyn = attno;
	var->vartype = type;
	var->vartypmod = typmod;
	var->varcollid = collation;
	return var;
}

/* The column that has a name; NULL if there is none, or it is not stored. */
static Expr *
table_column(const Var *whole, Oid relid, const char *name)
{
	AttrNumber attno = get_attnum(relid, name);
	Oid type;
	int32 typmod;
	Oid collation;

	/* 'v' is a virtual generated column, from 18 on */
	if (attno <= 0 || get_attgenerated(relid, attno) == 'v')
		return NULL;
	get_atttypetypmodcoll(relid, attno, &type, &typmod, &collation);
	return (Expr *) make_var(whole, attno, type, typmod, collation);
}

/*
 * The table whose whole row a variable is; InvalidOid if it is none.  Without a query
 * the variable is of a table's own expression, of an index, say.
 */
static Oid
whole_row_table(PlannerInfo *root, const Var *var)
{
	Oid relid = get_typ_typrelid(var->vartype);
	char relkind = OidIsValid(relid) ? get_rel_relkind(relid) : '\0';

	if (var->varattno != InvalidAttrNumber || var->varlevelsup != 0 || IS_SPECIAL_VARNO(var->varno) ||
		!idem_is_current_row(var))
		return InvalidOid;
	if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE &&
		relkind != RELKIND_MATVIEW && relkind != RELKIND_FOREIGN_TABLE)
		return InvalidOid;
	if (root)
	{
		RangeTblEntry *rte = rt_fetch(var->varno, root->parse->rtable);

		/* EXCLUDED has no system columns, which unless_null_row asks */
		if (root->parse->onConflict && root->parse->onConflict->exclRelIndex == var->varno)
			return InvalidOid;
		return rte->rtekind == RTE_RELATION && rte->relid == relid ? relid : InvalidOid;
	}
	return var->varno == 1 ? relid : InvalidOid;
}

/* The arguments of the twin: the keys and their values; NIL if that cannot be. */
static List *
make_arguments(Node *record, Oid relid, Const *keys)
{
	List *arguments = list_make1(keys);
	int nnames = 0;
	char **names = read_names(keys, &nnames);
	int i;

	if (names == NULL)
		return NIL;
	for (i = 0; i < nnames; i++)
	{
		Expr *value = OidIsValid(relid) ? table_column((Var *) record, relid, names[i])
										: row_field((RowExpr *) record, names[i]);

		if (value == NULL)
			return NIL;
		arguments = lappend(arguments, value);
	}
	return arguments;
}

/* The function that makes a value NULL where the row is that it is of. */
static Oid
find_of_row(Oid function)
{
	Oid types[] = {OIDOID, ANYELEMENTOID};

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("idem_of_row"),
						   PointerGetDatum(buildoidvector(types, lengthof(types))),
						   ObjectIdGetDatum(get_func_namespace(function)));
}

/*
 * idem_of_row(t.tableoid, call): a row that an outer join fills up with NULLs is NULL
 * itself, and so is its hash.  As a strict function, and not as a CASE, for by a strict
 * one the planner sees that a row that is asked for cannot be such, and makes the outer
 * join an inner one.
 */
static Node *
unless_null_row(Expr *call, Oid of_row, const Var *whole, Oid type, Oid collation)
{
	Expr *tableoid = (Expr *) make_var(whole, TableOidAttributeNumber, OIDOID, -1, InvalidOid);

	return (Node *) makeFuncExpr(of_row, type, list_make2(tableoid, call), collation, InvalidOid,
								 COERCE_EXPLICIT_CALL);
}

/* The call over values that a call over a record becomes; NULL if it stays. */
static Node *
simplify_call(PlannerInfo *root, FuncExpr *call)
{
	Node *record = linitial(call->args);
	Node *keys = lsecond(call->args);
	Oid relid = InvalidOid;
	List *arguments;
	Oid twin;
	Oid of_row;
	Expr *result;

	if (!IsA(keys, Const) || ((Const *) keys)->constisnull)
		return NULL;
	/* a set that leaves the record out makes it NULL, but not what it is made of */
	if (root && root->parse->groupingSets)
		return NULL;
	if (IsA(record, Var))
		relid = whole_row_table(root, (Var *) record);
	if (!OidIsValid(relid) && !(IsA(record, RowExpr) && is_plain_row((RowExpr *) record)))
		return NULL;
	arguments = make_arguments(record, relid, (Const *) keys);
	twin = arguments ? find_twin(call->funcid) : InvalidOid;
	of_row = OidIsValid(twin) ? find_of_row(call->funcid) : InvalidOid;
	if (!OidIsValid(of_row) || !idem_may_execute(of_row, ACL_ID_PUBLIC))
		return NULL;
	result = (Expr *) makeFuncExpr(twin, call->funcresulttype, arguments, call->funccollid,
								   call->inputcollid, COERCE_EXPLICIT_CALL);
	return OidIsValid(relid) ? unless_null_row(result, of_row, (Var *) record, call->funcresulttype, call->funccollid)
							 : (Node *) result;
}

/* SQL: idem_of_row(oid, anyelement), strict, returns the second */
Datum
idem_of_row(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(PG_GETARG_DATUM(1));
}

/* SQL: idem_hash_support(internal) returns internal: the planner asks, and gets a node or NULL */
Datum
idem_hash_support(PG_FUNCTION_ARGS)
{
	Node *request = (Node *) PG_GETARG_POINTER(0);
	Node *result = NULL;

	if (IsA(request, SupportRequestSimplify))
		result = simplify_call(((SupportRequestSimplify *) request)->root,
							   ((SupportRequestSimplify *) request)->fcall);
	PG_RETURN_POINTER(result);
}
