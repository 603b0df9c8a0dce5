/*
 * duplicates.c
 *		idem_duplicates(): the keys that a relation holds more than once.
 *
 * To sort or hash the keys of all rows, to find the few that are there twice, moves all of
 * them.  So the rows are read, and what is sorted is one number for each, the hash of its
 * keys (twice.c).  Only if some come more than once, the rows are read again, those of these
 * hashes are kept, and of them it is told by the keys themselves.  An index that begins with
 * the keys has them in order, and is read alone.
 *
 * All of it sees the caller's snapshot, so that it is of one moment.  NULL is the same as NULL.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "id/keys.h"
#include "ledger/window.h"
#include "load/call.h"
#include "load/rows.h"
#include "server/compat.h"
#include "server/query.h"
#include "server/scope.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/typcache.h"
#include "watch/twice.h"

PG_FUNCTION_INFO_V1(idem_duplicates);

/* The arguments, in order. */
enum
{
	ARG_TARGET,
	ARG_KEYS,
	ARG_WINDOW_RANGE,
	ARG_WINDOW_COLUMN,
};

/* What is looked for, and where. */
typedef struct Search
{
	Relation rel;
	const char *name; /* of it, qualified and quoted */
	AttrNumber *keys;
	int nkeys;
	AttrNumber window; /* InvalidAttrNumber: the whole relation */
	const IdemRangeType *type;
	Datum bounds[2];
} Search;

/* A column of the relation; argument names who asks for it. */
static Form_pg_attribute
find_column(const Search *search, const char *argument, const char *column)
{
	AttrNumber attno = get_attnum(RelationGetRelid(search->rel), column);

	if (attno <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("relation %s has no column \"%s\"", search->name, column),
				 errdetail("It is named in %s.", argument)));
	return TupleDescAttr(RelationGetDescr(search->rel), attno - 1);
}

/* Reads the keys. */
static void
set_keys(Search *search, ArrayType *keys)
{
	char **names = idem_read_keys(keys, &search->nkeys);
	int i;

	search->keys = palloc(search->nkeys * sizeof(AttrNumber));
	for (i = 0; i < search->nkeys; i++)
	{
		Form_pg_attribute att = find_column(search, "keys", names[i]);

		if (!OidIsValid(lookup_type_cache(att->atttypid, TYPECACHE_LT_OPR)->lt_opr))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("column \"%s\" of type %s cannot be a key", names[i], format_type_be(att->atttypid)),
					 errdetail("The type has no ordering."),
					 errhint("Name other columns as keys.")));
		search->keys[i] = att->attnum;
	}
}

/* The type of the windows of a column; NULL if it can have none. */
static const IdemRangeType *
window_type(Oid column)
{
	switch (getBaseType(column))
	{
		case TIMESTAMPTZOID:
			return idem_range_type(TSTZRANGEOID);
		case TIMESTAMPOID:
			return idem_range_type(TSRANGEOID);
		case DATEOID:
			return idem_range_type(DATERANGEOID);
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return idem_range_type(INT8RANGEOID);
		default:
			return NULL;
	}
}

/* Fails for a column by which nothing has windows. */
idem_noreturn static void
report_no_windows(const char *column, Oid type)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("window column \"%s\" is of type %s, which has no windows", column, format_type_be(type)),
			 errhint("Name a column of integers, dates or timestamps.")));
}

/* Reads the window, if one is given; false if it is empty. */
static bool
set_window(Search *search, const char *range, const char *column)
{
	Form_pg_attribute att;
	IdemWindow window;
	bool found;

	if ((range == NULL) != (column == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("window_range and window_column go together"),
				 errhint("Name both, or none for the whole relation.")));
	if (range == NULL)
		return true;
	att = find_column(search, "window_column", column);
	search->window = att->attnum;
	search->type = window_type(att->atttypid);
	if (search->type)
		found = idem_read_window(search->type, idem_parse_window(search->type, range), &window);
	else
		report_no_windows(column, att->atttypid);
	if (!found)
		return false;
	search->bounds[0] = idem_bound_datum(search->type, window.lower);
	search->bounds[1] = idem_bound_datum(search->type, window.upper);
	return true;
}

/* A column's name, quoted. */
static const char *
column_name(const Search *search, AttrNumber attno)
{
	return quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(search->rel), attno - 1)->attname));
}

/* Appends: alias.k, … */
static void
append_keys(StringInfo sql, const Search *search, const char *alias)
{
	int i;

	for (i = 0; i < search->nkeys; i++)
		appendStringInfo(sql, "%s%s.%s", i > 0 ? ", " : "", alias, column_name(search, search->keys[i]));
}

/* Appends: FROM target d [WHERE d.w >= $1 AND d.w < $2] */
static void
append_from(StringInfo sql, const Search *search)
{
	const char *window;

	appendStringInfo(sql, " FROM %s d", search->name);
	if (search->window == InvalidAttrNumber)
		return;
	window = column_name(search, search->window);
	appendStringInfo(sql, " WHERE d.%s OPERATOR(pg_catalog.>=) $1 AND d.%s OPERATOR(pg_catalog.<) $2", window, window);
}

/* Appends: hash(ROW(alias.k, …)) */
static void
append_hash(StringInfo sql, const Search *search, const char *alias)
{
	appendStringInfoString(sql, "pg_catalog.hash_record_extended(ROW(");
	append_keys(sql, search, alias);
	appendStringInfoString(sql, "), 0)");
}

#define TWICE " HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1"

/*
 * Appends the hashes that are there twice
 *
 *     SELECT hash(ROW(d.k, …)) FROM target d GROUP BY 1 HAVING count(*) > 1
 *
 * or, where an index has the keys in order, the hashes of the keys that are
 *
 *     SELECT hash(ROW(f.k, …)) FROM (SELECT d.k, … FROM target d GROUP BY d.k, … HAVING count(*) > 1) f
 */
static void
append_hashes(StringInfo sql, const Search *search, bool ordered)
{
	appendStringInfoString(sql, "SELECT ");
	append_hash(sql, search, ordered ? "f" : "d");
	if (ordered)
	{
		appendStringInfoString(sql, " FROM (SELECT ");
		append_keys(sql, search, "d");
	}
	append_from(sql, search);
	appendStringInfoString(sql, " GROUP BY ");
	if (ordered)
		append_keys(sql, search, "d");
	else
		appendStringInfoChar(sql, '1');
	appendStringInfoString(sql, ordered ? TWICE ") f" : TWICE);
}

/*
 * Appends the rows that may be duplicates, and whether each is just as the first of its key
 *
 *     SELECT d.k, …, ROW(d.*) *= first_value(ROW(d.*)) OVER (PARTITION BY d.k, …) AS idem_same
 *     FROM target d WHERE hash(ROW(d.k, …)) = ANY (hashes)
 */
static void
append_rows(StringInfo sql, const Search *search, bool hashed, bool ordered)
{
	appendStringInfoString(sql, "SELECT ");
	append_keys(sql, search, "d");
	appendStringInfoString(sql, ", ROW(d.*) OPERATOR(pg_catalog.*=) pg_catalog.first_value(ROW(d.*)) OVER (PARTITION BY ");
	append_keys(sql, search, "d");
	appendStringInfoString(sql, ") AS idem_same");
	append_from(sql, search);
	if (!hashed)
		return;
	appendStringInfoString(sql, search->window == InvalidAttrNumber ? " WHERE " : " AND ");
	append_hash(sql, search, "d");
	appendStringInfoString(sql, " OPERATOR(pg_catalog.=) ANY (");
	append_hashes(sql, search, ordered);
	appendStringInfoChar(sql, ')');
}

/*
 * Builds: SELECT (SELECT to_jsonb(k) FROM (SELECT g.k, …) k), count(*), bool_and(g.idem_same)
 *     FROM (rows) g GROUP BY g.k, … HAVING count(*) > 1 ORDER BY 2 DESC, 1
 */
static char *
build_search(const Search *search, bool hashed, bool ordered)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT (SELECT pg_catalog.to_jsonb(k) FROM (SELECT ");
	append_keys(&sql, search, "g");
	appendStringInfoString(&sql, ") k), pg_catalog.count(*), pg_catalog.bool_and(g.idem_same) FROM (");
	append_rows(&sql, search, hashed, ordered);
	appendStringInfoString(&sql, ") g GROUP BY ");
	append_keys(&sql, search, "g");
	appendStringInfoString(&sql, TWICE " ORDER BY 2 DESC, 1");
	return sql.data;
}

/* True if every key can be hashed. */
static bool
can_hash(const Search *search)
{
	int i;

	for (i = 0; i < search->nkeys; i++)
	{
		Oid type = TupleDescAttr(RelationGetDescr(search->rel), search->keys[i] - 1)->atttypid;

		if (!OidIsValid(lookup_type_cache(type, TYPECACHE_HASH_EXTENDED_PROC)->hash_extended_proc))
			return false;
	}
	return true;
}

/* True if a column is one of the keys. */
static bool
is_key(const Search *search, AttrNumber attno)
{
	int i;

	for (i = 0; i < search->nkeys; i++)
	{
		if (search->keys[i] == attno)
			return true;
	}
	return false;
}

/* True if an index of all rows begins with the keys, in any order. */
static bool
begins_with_keys(const Search *search, Relation index)
{
	int i;

	if (index->rd_rel->relam != BTREE_AM_OID || !index->rd_index->indisvalid ||
		RelationGetIndexPredicate(index) != NIL || index->rd_index->indnkeyatts < search->nkeys)
		return false;
	for (i = 0; i < search->nkeys; i++)
	{
		if (!is_key(search, index->rd_index->indkey.values[i]))
			return false;
	}
	return true;
}

/* True if an index has the keys in order. */
static bool
has_order(const Search *search)
{
	ListCell *lc;

	if (search->window != InvalidAttrNumber)
		return false;
	foreach (lc, RelationGetIndexList(search->rel))
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);
		bool result = begins_with_keys(search, index);

		index_close(index, NoLock);
		if (result)
			return true;
	}
	return false;
}

/* Takes the rows of the result. */
typedef struct Receiver
{
	DestReceiver pub;
	ReturnSetInfo *rsinfo;
} Receiver;

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	ReturnSetInfo *rsinfo = ((Receiver *) self)->rsinfo;

	slot_getallattrs(slot);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, slot->tts_values, slot->tts_isnull);
	return true;
}

/* A search, as an argument of idem_run_under. */
typedef struct Run
{
	Search *search;
	Receiver *receiver;
} Run;

/* Runs a statement over the window, if there is one. */
static void
run_statement(const Search *search, const char *sql, DestReceiver *receiver)
{
	Oid bound = search->type ? search->type->bound : InvalidOid;
	const Oid types[] = {bound, bound};

	idem_run_into(idem_make_statement(sql, search->type ? 2 : 0, types, IDEM_SNAPSHOT_CALLER), search->bounds, receiver);
}

/* How a key is hashed, and where it is in a row. */
typedef struct KeyHash
{
	int column; /* its place, from 0 */
	FunctionCallInfo call;
} KeyHash;

/* Takes the rows of the relation, and adds up hashes, or keeps those whose hash comes twice. */
typedef struct KeyReceiver
{
	DestReceiver pub;
	MemoryContext context; /* reset for each row */
	int nkeys;
	KeyHash *keys;
	int columns; /* as many of a row as have to be read for its keys */
	IdemTwice *twice;
	IdemRows *rows; /* NULL: to be added up */
} KeyReceiver;

/* Makes the hash of a row's keys; NULL is a value like any other. */
static uint64
hash_keys(const KeyReceiver *receiver, TupleTableSlot *slot)
{
	uint64 result = 0;
	int i;

	slot_getsomeattrs(slot, receiver->columns);
	for (i = 0; i < receiver->nkeys; i++)
	{
		const KeyHash *key = &receiver->keys[i];
		uint64 hash = 0;

		if (!slot->tts_isnull[key->column])
		{
			key->call->args[0].value = slot->tts_values[key->column];
			key->call->isnull = false;
			hash = DatumGetUInt64(FunctionCallInvoke(key->call));
		}
		result = (result ^ hash) * UINT64CONST(0x9e3779b97f4a7c15);
		result ^= result >> 32;
	}
	/* what is dealt out by its first bits needs all of them alike */
	result = (result ^ (result >> 29)) * UINT64CONST(0xbf58476d1ce4e5b9);
	return result ^ (result >> 32);
}

static bool
receive_keys(TupleTableSlot *slot, DestReceiver *self)
{
	KeyReceiver *receiver = (KeyReceiver *) self;
	MemoryContext old = MemoryContextSwitchTo(receiver->context);
	uint64 hash = hash_keys(receiver, slot);

	MemoryContextSwitchTo(old);
	MemoryContextReset(receiver->context);
	if (receiver->rows == NULL)
		idem_add_hash(receiver->twice, hash);
	else if (idem_comes_twice(receiver->twice, hash))
	{
		slot_getallattrs(slot);
		idem_put_row(receiver->rows, slot->tts_values, slot->tts_isnull);
	}
	return true;
}

/* The place of a column among those that have not been dropped. */
static int
column_place(const Search *search, AttrNumber attno)
{
	int place = 0;
	AttrNumber i;

	for (i = 1; i < attno; i++)
		place += !TupleDescAttr(RelationGetDescr(search->rel), i - 1)->attisdropped;
	return place;
}

/* A key is hashed as an index on its column does: by the column's collation. */
static FunctionCallInfo
make_key_call(Form_pg_attribute att)
{
	FunctionCallInfo call = palloc0(SizeForFunctionCallInfo(2));
	TypeCacheEntry *type = lookup_type_cache(att->atttypid, TYPECACHE_HASH_EXTENDED_PROC_FINFO);

	InitFunctionCallInfoData(*call, &type->hash_extended_proc_finfo, 2, att->attcollation, NULL, NULL);
	call->args[0].isnull = call->args[1].isnull = false;
	call->args[1].value = Int64GetDatum(0);
	return call;
}

/* Begins to read rows. */
static KeyReceiver
make_key_receiver(const Search *search, IdemTwice *twice)
{
	KeyReceiver receiver = {
		.pub = {receive_keys, idem_start_receiver, idem_keep_receiver, idem_keep_receiver, DestNone},
		.context = AllocSetContextCreate(CurrentMemoryContext, "idem keys of a row", ALLOCSET_SMALL_SIZES),
		.nkeys = search->nkeys,
		.keys = palloc(search->nkeys * sizeof(KeyHash)),
		.twice = twice,
	};
	int i;

	for (i = 0; i < search->nkeys; i++)
	{
		receiver.keys[i].column = column_place(search, search->keys[i]);
		receiver.keys[i].call = make_key_call(TupleDescAttr(RelationGetDescr(search->rel), search->keys[i] - 1));
		receiver.columns = Max(receiver.columns, receiver.keys[i].column + 1);
	}
	return receiver;
}

/* The columns of the relation that have not been dropped. */
static TupleDesc
make_rows_desc(const Search *search)
{
	TupleDesc all = RelationGetDescr(search->rel);
	TupleDesc desc = CreateTemplateTupleDesc(column_place(search, all->natts + 1));
	int n = 0;
	int i;

	for (i = 1; i <= all->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(all, i - 1);

		if (att->attisdropped)
			continue;
		TupleDescInitEntry(desc, ++n, NameStr(att->attname), att->atttypid, att->atttypmod, 0);
		TupleDescInitEntryCollation(desc, n, att->attcollation);
	}
	idem_finalize_desc(desc);
	return desc;
}

/*
 * Reads the rows: SELECT d.* FROM target d [WHERE …].  Of a table nothing is taken out of
 * them but the keys.
 */
static void
read_rows(const Search *search, KeyReceiver *receiver)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT d.*");
	append_from(&sql, search);
	run_statement(search, sql.data, &receiver->pub);
}

/* Tells of the rows whose hash comes more than once by their keys: a statement over them. */
static void
search_rows(const Search *search, IdemRows *rows, Receiver *receiver)
{
	Search kept = *search;

	kept.name = IDEM_ROWS;
	kept.window = InvalidAttrNumber;
	kept.type = NULL;
	idem_show_rows(rows);
	run_statement(&kept, build_search(&kept, false, false), &receiver->pub);
	idem_hide_rows();
}

/* Searches by hashes; false if more of them come twice than can be kept in mind. */
static bool
search_by_hash(const Search *search, Receiver *receiver)
{
	IdemTwice *twice = idem_begin_twice();
	KeyReceiver keys = make_key_receiver(search, twice);
	IdemRows rows;
	int64 found;

	read_rows(search, &keys);
	found = idem_find_twice(twice);
	if (found > 0)
	{
		rows = idem_make_rows(make_rows_desc(search));
		keys.rows = &rows;
		read_rows(search, &keys);
		search_rows(search, &rows, receiver);
		idem_free_rows(&rows);
	}
	idem_end_twice(twice);
	MemoryContextDelete(keys.context);
	return found >= 0;
}

static void
run_search(void *arg)
{
	Run *run = arg;
	Search *search = run->search;
	bool hashed = can_hash(search);
	bool ordered = hashed && has_order(search);

	if (hashed && !ordered && search_by_hash(search, run->receiver))
		return;
	run_statement(search, build_search(search, hashed, ordered), &run->receiver->pub);
}

/* Opens the relation. */
static void
open_relation(Search *search, Oid relid)
{
	search->rel = idem_open_permitted(relid);
	search->name = idem_qualified_name(search->rel);
	switch (search->rel->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
		case RELKIND_VIEW:
		case RELKIND_MATVIEW:
		case RELKIND_FOREIGN_TABLE:
			return;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("\"%s\" is not a table or view", RelationGetRelationName(search->rel)),
					 errhint("Name a relation that has rows.")));
	}
}

/* SQL: idem_duplicates(target regclass, keys text[], window_range text, window_column text) */
Datum
idem_duplicates(PG_FUNCTION_ARGS)
{
	static const IdemSetting settings[] = {{"enable_hashagg", "off"}, {"jit", "off"}, {NULL, NULL}};
	Receiver receiver = {
		.pub = {receive_row, idem_start_receiver, idem_keep_receiver, idem_keep_receiver, DestNone},
		.rsinfo = castNode(ReturnSetInfo, fcinfo->resultinfo),
	};
	Search search = {0};
	Run run = {&search, &receiver};

	InitMaterializedSRF(fcinfo, 0);
	idem_require_argument(fcinfo, ARG_TARGET, "target");
	idem_require_argument(fcinfo, ARG_KEYS, "keys");
	idem_connect(true);
	open_relation(&search, PG_GETARG_OID(ARG_TARGET));
	set_keys(&search, PG_GETARG_ARRAYTYPE_P(ARG_KEYS));
	if (set_window(&search, idem_text_argument(fcinfo, ARG_WINDOW_RANGE), idem_text_argument(fcinfo, ARG_WINDOW_COLUMN)))
		idem_run_under(settings, run_search, &run);
	relation_close(search.rel, NoLock);
	idem_finish();
	return (Datum) 0;
}
