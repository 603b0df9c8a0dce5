/*
 * table.c
 *		The ledger as a table: created properly, or checked before it is trusted.
 *
 * A ledger is a table of one of the idem_ledger types.  The type brings the
 * columns; what makes a ledger safe are its constraints, which PostgreSQL cannot
 * attach to a type.  idem_create_ledger() writes them; a table that was made by
 * hand is looked over before a load relies on it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "ledger/access.h"
#include "ledger/table.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "server/changes.h"
#include "server/compat.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(idem_create_ledger);

/* Fails for a relation that is not a table of a ledger type. */
idem_noreturn static void
report_no_ledger(Relation rel)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" is not a ledger", RelationGetRelationName(rel)),
			 errhint("Create one with SELECT idem_create_ledger('name').")));
}

/* Finds the range type of a ledger by the type it is a table of. */
static const IdemRangeType *
ledger_range_type(Relation rel, Oid schema)
{
	Oid type = rel->rd_rel->reloftype;
	const IdemRangeType *result = NULL;
	HeapTuple tuple;

	if (rel->rd_rel->relkind != RELKIND_RELATION || !OidIsValid(type))
		report_no_ledger(rel);
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_type form = (Form_pg_type) GETSTRUCT(tuple);

		if (form->typnamespace == schema)
			result = idem_range_type_of_ledger(NameStr(form->typname));
		ReleaseSysCache(tuple);
	}
	if (result == NULL)
		report_no_ledger(rel);
	return result;
}

/* Fails for a ledger that lacks something; says how to get a proper one. */
idem_noreturn static void
report_missing(Relation rel, const IdemRangeType *type, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			 errmsg("ledger \"%s\" has no %s", RelationGetRelationName(rel), what),
			 errdetail("Without it the ledger cannot keep two loads apart, or a window from being marked twice."),
			 errhint("Create the ledger with SELECT idem_create_ledger(%s, %s) and copy the rows into it.",
					 quote_literal_cstr("new_name"), quote_literal_cstr(type->name))));
}

/* Returns the attribute number of a ledger's column. */
static AttrNumber
ledger_column(Relation rel, const char *name)
{
	AttrNumber attno = get_attnum(RelationGetRelid(rel), name);

	if (attno == InvalidAttrNumber)
		elog(ERROR, "ledger \"%s\" has no column \"%s\"",
			 RelationGetRelationName(rel), name);
	return attno;
}

/* Builds the expression state = 'label' on a ledger. */
static List *
state_is(Relation rel, const char *label)
{
	AttrNumber attno = ledger_column(rel, "state");
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attno - 1);
	TypeCacheEntry *type = lookup_type_cache(att->atttypid, TYPECACHE_EQ_OPR);
	HeapTuple tuple = SearchSysCache2(ENUMTYPOIDNAME, ObjectIdGetDatum(att->atttypid),
									  CStringGetDatum(label));
	Oid value;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for enum label \"%s\"", label);
	value = ((Form_pg_enum) GETSTRUCT(tuple))->oid;
	ReleaseSysCache(tuple);
	return list_make1(make_opclause(type->eq_opr, BOOLOID, false,
									(Expr *) makeVar(1, attno, att->atttypid, -1, InvalidOid, 0),
									(Expr *) makeConst(att->atttypid, -1, InvalidOid, sizeof(Oid),
													   ObjectIdGetDatum(value), false, true),
									InvalidOid, InvalidOid));
}

/*
 * True if an index holds the running and the complete rows and no others: each
 * state either implies the predicate or refutes it.
 */
static bool
has_claim_predicate(Relation rel, Relation index)
{
	List *predicate = RelationGetIndexPredicate(index);

	return predicate != NIL &&
		   predicate_implied_by(predicate, state_is(rel, "running"), false) &&
		   predicate_implied_by(predicate, state_is(rel, "complete"), false) &&
		   predicate_refuted_by(predicate, state_is(rel, "failed"), false) &&
		   predicate_refuted_by(predicate, state_is(rel, "superseded"), false);
}

/* True if an index excludes equal pipelines with overlapping windows. */
static bool
is_claim_index(Relation rel, Relation index)
{
	Form_pg_index form = index->rd_index;
	Oid *operators;
	Oid *procs;
	uint16 *strategies;

	if (!form->indisexclusion || !form->indisvalid || !form->indimmediate ||
		form->indnkeyatts != 2 ||
		form->indkey.values[0] != ledger_column(rel, "pipeline") ||
		form->indkey.values[1] != ledger_column(rel, "window_range"))
		return false;
	RelationGetExclusionInfo(index, &operators, &procs, &strategies);
	return get_opcode(operators[0]) == F_TEXTEQ &&
		   get_opcode(operators[1]) == F_RANGE_OVERLAPS &&
		   has_claim_predicate(rel, index);
}

/* True if an index makes run_id unique. */
static bool
is_run_id_index(Relation rel, Relation index)
{
	Form_pg_index form = index->rd_index;

	return form->indisunique && form->indisvalid && form->indnkeyatts == 1 &&
		   form->indkey.values[0] == ledger_column(rel, "run_id") &&
		   RelationGetIndexPredicate(index) == NIL;
}

/* Fails unless the columns that every row needs are NOT NULL. */
static void
check_not_null(Relation rel, const IdemRangeType *type)
{
	static const char *const columns[] = {"run_id", "pipeline", "window_range", "state"};
	size_t i;

	for (i = 0; i < lengthof(columns); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel),
											  ledger_column(rel, columns[i]) - 1);

		if (!att->attnotnull)
			report_missing(rel, type, psprintf("NOT NULL constraint on %s", columns[i]));
		if (i == 0 && !att->atthasdef)
			report_missing(rel, type, "default for run_id");
	}
}

/* Constraints to be checked, as an argument of idem_run_as_ledger_owner. */
typedef struct ConstraintCheck
{
	Relation rel;
	const IdemRangeType *type;
	char *claim; /* the name of the claim's constraint */
} ConstraintCheck;

static void
check_constraints_as(void *arg)
{
	ConstraintCheck *check = arg;
	Relation rel = check->rel;
	const IdemRangeType *type = check->type;
	bool unique = false;
	ListCell *lc;

	check_not_null(rel, type);
	foreach (lc, RelationGetIndexList(rel))
	{
		Relation index = relation_open(lfirst_oid(lc), AccessShareLock);

		if (is_claim_index(rel, index))
			check->claim = pstrdup(quote_identifier(RelationGetRelationName(index)));
		unique |= is_run_id_index(rel, index);
		relation_close(index, NoLock);
	}
	if (!unique)
		report_missing(rel, type, "primary key on run_id");
	if (check->claim == NULL)
		report_missing(rel, type, "exclusion constraint on (pipeline, window_range) for running and complete windows");
}

/*
 * Checks what loads depend on; returns the name of the claim's constraint.  To look at an
 * index's predicate is to compute the functions in it.
 */
static char *
check_constraints(const IdemLedger *ledger, Relation rel)
{
	ConstraintCheck check = {rel, ledger->type, NULL};

	idem_run_as_ledger_owner(ledger, check_constraints_as, &check);
	return check.claim;
}

const IdemRangeType *
idem_ledger_range_type(Oid relid, Oid schema)
{
	Relation rel = idem_open_relation(relid);
	const IdemRangeType *type = ledger_range_type(rel, schema);

	relation_close(rel, NoLock);
	return type;
}

IdemLedger *
idem_open_ledger(Oid relid, Oid schema, bool for_writing)
{
	IdemLedger *ledger = palloc0(sizeof(IdemLedger));
	Relation rel;

	ledger->seen = idem_catalog_changes();
	rel = idem_open_permitted(relid);
	ledger->relid = relid;
	ledger->owner = rel->rd_rel->relowner;
	ledger->of_type = rel->rd_rel->reloftype;
	ledger->type = ledger_range_type(rel, schema);
	ledger->name = idem_qualified_name(rel);
	idem_check_row_security(rel);
	if (for_writing)
	{
		idem_require_writable(psprintf("write to ledger %s", ledger->name));
		ledger->claim_constraint = check_constraints(ledger, rel);
	}
	ledger->read_snapshot = for_writing ? IDEM_SNAPSHOT_NEW : IDEM_SNAPSHOT_CALLER;
	idem_init_ledger_statements(ledger);
	relation_close(rel, NoLock);
	return ledger;
}

/* True if a ledger, which is locked, still is what was looked up. */
static bool
is_same_ledger(const IdemLedger *ledger, Relation rel)
{
	return rel->rd_rel->reloftype == ledger->of_type &&
		   strcmp(idem_qualified_name(rel), ledger->name) == 0 &&
		   (ledger->claim_constraint == NULL ||
			strcmp(check_constraints(ledger, rel), ledger->claim_constraint) == 0);
}

void
idem_check_ledger(IdemLedger *ledger)
{
	Relation rel = try_relation_open(ledger->relid, AccessShareLock);
	uint64 seen = idem_catalog_changes();

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("ledger %s has been dropped", ledger->name),
				 errhint("Create one with SELECT idem_create_ledger('name'), and load again.")));
	ledger->owner = rel->rd_rel->relowner;
	idem_check_row_security(rel);
	if (seen != ledger->seen && !is_same_ledger(ledger, rel))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("ledger %s was changed while it was in use", ledger->name),
				 errdetail("It has another name, type or constraint."),
				 errhint("Load again.")));
	ledger->seen = seen;
	relation_close(rel, NoLock);
}

bool
idem_may_claim_range(const IdemLedger *ledger)
{
	const AclMode rights = ACL_SELECT | ACL_INSERT | ACL_UPDATE;
	Relation rel = try_relation_open(ledger->relid, AccessShareLock);
	bool result;

	if (rel == NULL)
		return false;
	result = rel->trigdesc == NULL && rel->rd_rules == NULL && !rel->rd_rel->relrowsecurity &&
			 pg_class_aclmask(ledger->relid, GetUserId(), rights, ACLMASK_ALL) == rights;
	relation_close(rel, NoLock);
	return result;
}

void
idem_check_range_type(const IdemLedger *ledger, Oid range)
{
	if (range != ledger->type->range)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("window is of type %s, but the windows of ledger %s are of type %s",
						format_type_be(range), ledger->name, ledger->type->name)));
}

/* Fails for a range type that no ledger has. */
static const IdemRangeType *
require_range_type(Oid range)
{
	const IdemRangeType *type = idem_range_type(range);

	if (type == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a ledger cannot have windows of type %s",
						format_type_extended(range, -1, FORMAT_TYPE_ALLOW_INVALID)),
				 errhint("Use tstzrange, tsrange, daterange or int8range.")));
	return type;
}

const char *
idem_create_typed_table(const char *schema, const char *name, const char *type, const char *id, const char *more)
{
	const char *table = quote_qualified_identifier(schema, name);
	const char *sequence = quote_qualified_identifier(schema, ChooseRelationName(name, id, "seq",
																				 get_namespace_oid(schema, false), false));

	idem_run_once(psprintf("CREATE SEQUENCE %s", sequence));
	idem_run_once(psprintf("CREATE TABLE %s OF %s (%s WITH OPTIONS DEFAULT pg_catalog.nextval(%s::pg_catalog.regclass) PRIMARY KEY,"
						   " pipeline WITH OPTIONS NOT NULL, %s)",
						   table, type, id, quote_literal_cstr(sequence), more));
	idem_run_once(psprintf("ALTER SEQUENCE %s OWNED BY %s.%s", sequence, table, id));
	return table;
}

/*
 * Runs the DDL of a ledger:
 *
 * CREATE TABLE s.l OF idem_ledger (run_id …, … EXCLUDE USING gist (pipeline WITH =, window_range WITH &&)
 *     WHERE (state IN ('running', 'complete')));
 * CREATE INDEX ON s.l USING gist (pipeline, window_range) WHERE (state IN ('failed', 'superseded'));
 * CREATE INDEX ON s.l (pipeline, run_id);
 */
static void
run_ledger_ddl(const char *schema, const char *name, const IdemRangeType *type,
			   const char *type_schema)
{
	const char *finite = type->bound == INT8OID ? "" : " AND pg_catalog.isfinite(pg_catalog.lower(window_range))"
													   " AND pg_catalog.isfinite(pg_catalog.upper(window_range))";
	const char *table = idem_create_typed_table(
		schema, name, quote_qualified_identifier(type_schema, type->ledger), "run_id",
		psprintf("state WITH OPTIONS NOT NULL, window_range WITH OPTIONS NOT NULL CHECK ("
				 "pg_catalog.lower_inc(window_range) AND NOT pg_catalog.upper_inc(window_range)"
				 " AND NOT pg_catalog.upper_inf(window_range)%s),"
				 " EXCLUDE USING gist (pipeline WITH OPERATOR(pg_catalog.=),"
				 " window_range WITH OPERATOR(pg_catalog.&&))"
				 " WHERE (state OPERATOR(pg_catalog.=) ANY ('{running,complete}'))",
				 finite));

	idem_run_once(psprintf("CREATE INDEX ON %s USING gist (pipeline, window_range)"
						   " WHERE (state OPERATOR(pg_catalog.=) ANY ('{failed,superseded}'))",
						   table));
	idem_run_once(psprintf("CREATE INDEX ON %s (pipeline, run_id)", table));
	idem_run_once(psprintf("COMMENT ON TABLE %s IS 'idem window ledger'", table));
}

/* A ledger to be created, as an argument of idem_try. */
typedef struct Creation
{
	const char *schema;
	const char *name;
	const IdemRangeType *type;
	const char *type_schema;
} Creation;

static void
create_ledger(void *arg)
{
	Creation *creation = arg;

	run_ledger_ddl(creation->schema, creation->name, creation->type, creation->type_schema);
}

/*
 * Raises the error of a creation.  Where another session has created the relation
 * meanwhile, it is a catalog's index that objects, which says nothing to a user.
 */
idem_noreturn static void
report_creation(const Creation *creation, ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION && error->table_name &&
		strncmp(error->table_name, "pg_", 3) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_TABLE),
				 errmsg("relation \"%s\" already exists", creation->name),
				 errdetail("Another session has created it, or its sequence, at the same time.")));
	ReThrowError(error);
	pg_unreachable();
}

/* SQL: idem_create_ledger(name text, range_type regtype) returns regclass */
Datum
idem_create_ledger(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);
	const IdemRangeType *type = require_range_type(PG_GETARG_OID(1));
	Oid our_schema = get_func_namespace(fcinfo->flinfo->fn_oid);
	RangeVar *relation = makeRangeVarFromNameList(textToQualifiedNameList(name));
	Oid schema = RangeVarGetCreationNamespace(relation);

	Creation creation = {get_namespace_name(schema), relation->relname, type,
						 get_namespace_name(our_schema)};
	ErrorData *error;
	Oid created;

	idem_require_writable("create a ledger");
	idem_connect(true);
	error = idem_try(create_ledger, &creation, CurrentMemoryContext);
	if (error)
		report_creation(&creation, error);
	idem_finish();
	created = get_relname_relid(relation->relname, schema);
	/* other code runs at the end of each command */
	if (!OidIsValid(created))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("ledger \"%s\" is not there after it was created", relation->relname),
				 errhint("See which event trigger has dropped or renamed it: SELECT evtname FROM pg_event_trigger.")));
	PG_RETURN_OID(created);
}
