/*
 * letters.c
 *		Dead letters: rows of a source that could not be loaded, kept beside the ledger.
 *
 * One letter of a pipeline and a row is open at a time: the same bad row that comes again is
 * that letter seen once more.  What a run writes is committed with its window, or with its
 * failure, so there is no letter of a row that was loaded after all.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "ledger/access.h"
#include "ledger/letters.h"
#include "ledger/table.h"
#include "nodes/makefuncs.h"
#include "server/extension.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/uuid.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(idem_create_dead_letters);

struct IdemLetters
{
	MemoryContext context; /* in which all of it is */
	IdemLedger table;	   /* what access.h knows a table by */
	Oid row_type;		   /* of which it is a table */
	IdemStatement *write;
	IdemStatement *close;
	IdemStatement *next;
	IdemStatement *end;
};

/* The name of the type of letters beside ledgers of a range type: idem_ledger_x, idem_dead_letter_x. */
static char *
letter_type(const IdemRangeType *type)
{
	return psprintf("idem_dead_letter%s", type->ledger + strlen("idem_ledger"));
}

/* Fails for a relation that is not a table of a type. */
static void
check_type(Relation rel, Oid schema, const IdemRangeType *type)
{
	Oid wanted = idem_own_type(letter_type(type), schema);

	if (rel->rd_rel->relkind == RELKIND_RELATION && OidIsValid(wanted) && rel->rd_rel->reloftype == wanted)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s\" is not a table of dead letters for windows of type %s", RelationGetRelationName(rel), type->name),
			 errhint("Create one with SELECT idem_create_dead_letters('name', 'ledger').")));
}

IdemLetters *
idem_open_letters(Oid relid, Oid schema, const IdemRangeType *type)
{
	IdemLetters *letters = palloc0(sizeof(IdemLetters));
	Relation rel = idem_open_permitted(relid);

	check_type(rel, schema, type);
	idem_check_row_security(rel);
	letters->context = CurrentMemoryContext;
	letters->table.relid = relid;
	letters->table.owner = rel->rd_rel->relowner;
	letters->table.type = type;
	letters->table.name = idem_qualified_name(rel);
	letters->row_type = rel->rd_rel->reloftype;
	relation_close(rel, NoLock);
	return letters;
}

/* True if a table is still the one that was opened, under its name. */
static bool
is_same(const IdemLetters *letters, Relation rel)
{
	char *name = idem_qualified_name(rel);
	bool result = rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_rel->reloftype == letters->row_type &&
				  rel->rd_rel->relowner == letters->table.owner && strcmp(name, letters->table.name) == 0;

	pfree(name);
	return result;
}

/*
 * Fails if the letters are another table by now.  Who owns its schema may drop it and make
 * another of its name, whose triggers would run as the old one's owner and whose columns are
 * of other types: between two transactions of a load, or by code of his that a load runs.
 * The lock keeps it from then on, to the end of the transaction.
 */
static void
check_same(const IdemLetters *letters)
{
	Relation rel = try_relation_open(letters->table.relid, AccessShareLock);

	if (rel == NULL || !is_same(letters, rel))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table of dead letters %s was changed while it was used", letters->table.name),
				 errhint("See who may change it, and try again.")));
	idem_check_row_security(rel);
	relation_close(rel, NoLock);
}

/* Writes, once it is certain to what. */
static uint64
write_letters(const IdemLetters *letters, IdemStatement *statement, const Datum *args, const bool *isnull)
{
	check_same(letters);
	return idem_write_ledger(&letters->table, statement, args, isnull);
}

/* The same for one letter, which has to be there then. */
static void
write_one(const IdemLetters *letters, IdemStatement *statement, const Datum *args, const bool *isnull)
{
	if (write_letters(letters, statement, args, isnull) == 1)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
			 errmsg("a dead letter was not written to %s", letters->table.name),
			 errdetail("A trigger or a rule of the table let nothing happen, or another took the letter away."),
			 errhint("DROP or DISABLE what keeps letters from being written, and load again.")));
}

const char *
idem_letters_name(const IdemLetters *letters)
{
	return letters->table.name;
}

/* A statement, made at its first use in the memory context in which the letters are. */
static IdemStatement *
get_statement(IdemLetters *letters, IdemStatement **place, const char *sql, int nargs, const Oid *types)
{
	MemoryContext old = MemoryContextSwitchTo(letters->context);

	if (*place == NULL)
		*place = idem_make_statement(sql, nargs, types, IDEM_SNAPSHOT_NEW);
	MemoryContextSwitchTo(old);
	return *place;
}

/* A text, or nothing. */
static Datum
optional_text(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

void
idem_write_letter(IdemLetters *letters, const IdemRun *run, int64 run_id, const IdemLetter *letter)
{
	const Oid types[] = {TEXTOID, letters->table.type->range, UUIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID};
	bool isnull[lengthof(types)] = {false};
	pg_uuid_t row_id = {0};
	Datum args[] = {CStringGetTextDatum(run->pipeline), idem_window_datum(letters->table.type, run->window),
					UUIDPGetDatum(&row_id), CStringGetTextDatum(letter->stage),
					CStringGetTextDatum(unpack_sql_state(letter->sqlerrcode)), CStringGetTextDatum(letter->message),
					optional_text(letter->constraint, &isnull[6]), optional_text(letter->column, &isnull[7]),
					CStringGetTextDatum(letter->record), Int64GetDatum(run_id)};

	memcpy(row_id.data, letter->row_id, UUID_LEN);
	write_one(letters,
			  get_statement(letters, &letters->write,
							psprintf("INSERT INTO %s AS l (pipeline, window_range, row_id, stage, error_code,"
									 " error_message, constraint_name, column_name, record, times,"
									 " first_run_id, last_run_id, first_seen_at, last_seen_at, state)"
									 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::pg_catalog.jsonb, 1,"
									 " $10, $10, pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp(), 'open')"
									 " ON CONFLICT (pipeline, row_id) WHERE state OPERATOR(pg_catalog.=) 'open'"
									 " DO UPDATE SET times = l.times OPERATOR(pg_catalog.+) 1, window_range ="
									 " pg_catalog.range_merge(l.window_range, $2),"
									 " stage = $4, error_code = $5, error_message = $6, constraint_name = $7,"
									 " column_name = $8, last_run_id = $10, last_seen_at = pg_catalog.clock_timestamp()",
									 letters->table.name),
							lengthof(types), types),
			  args, isnull);
}

/*
 * A letter whose window is only in part the run's keeps the rest of it: nobody knows where in
 * it the row was, which may have no place at all, and the other part may have it yet.  Where
 * that would be two parts the letter stays as it is.
 */
void
idem_close_letters(IdemLetters *letters, const IdemRun *run)
{
	const Oid types[] = {TEXTOID, letters->table.type->range, INT8OID};
	Datum args[] = {CStringGetTextDatum(run->pipeline), idem_window_datum(letters->table.type, run->window),
					Int64GetDatum(run->run_id)};

	(void) write_letters(letters,
						 get_statement(letters, &letters->close,
									   psprintf("UPDATE ONLY %s SET"
												" state = CASE WHEN window_range OPERATOR(pg_catalog.<@) $2 THEN 'gone' ELSE state END,"
												" closed_at = CASE WHEN window_range OPERATOR(pg_catalog.<@) $2 THEN pg_catalog.clock_timestamp() END,"
												" window_range = CASE WHEN window_range OPERATOR(pg_catalog.<@) $2 THEN window_range"
												" ELSE window_range OPERATOR(pg_catalog.-) $2 END"
												" WHERE pipeline OPERATOR(pg_catalog.=) $1 AND state OPERATOR(pg_catalog.=) 'open'"
												" AND window_range OPERATOR(pg_catalog.&&) $2"
												" AND (window_range OPERATOR(pg_catalog.&<) $2 OR window_range OPERATOR(pg_catalog.&>) $2)"
												" AND last_run_id OPERATOR(pg_catalog.<>) $3",
												letters->table.name),
									   lengthof(types), types),
						 args, NULL);
}

bool
idem_next_letter(IdemLetters *letters, const char *pipeline, int64 after, int64 *letter_id,
				 IdemWindow *window, char **record)
{
	static const Oid types[] = {TEXTOID, INT8OID};
	Datum args[] = {CStringGetTextDatum(pipeline), Int64GetDatum(after)};
	Datum values[3];
	bool nulls[3];

	check_same(letters);
	if (!idem_write_ledger_row(&letters->table,
							   get_statement(letters, &letters->next,
											 psprintf("SELECT l.letter_id, l.record::pg_catalog.text, l.window_range FROM ONLY %s l"
													  " WHERE l.pipeline OPERATOR(pg_catalog.=) $1"
													  " AND l.state OPERATOR(pg_catalog.=) 'open'"
													  " AND l.letter_id OPERATOR(pg_catalog.>) $2"
													  " ORDER BY l.letter_id LIMIT 1 FOR UPDATE",
													  letters->table.name),
											 lengthof(types), types),
							   args, NULL, lengthof(values), values, nulls))
		return false;
	*letter_id = DatumGetInt64(values[0]);
	*window = (IdemWindow){0};
	if (!nulls[2])
		(void) idem_read_window(letters->table.type, values[2], window);
	*record = nulls[1] ? pstrdup("{}") : TextDatumGetCString(values[1]);
	return true;
}

void
idem_end_letter(IdemLetters *letters, int64 letter_id, const ErrorData *error)
{
	static const Oid types[] = {INT8OID, TEXTOID, TEXTOID};
	bool isnull[lengthof(types)] = {false};
	Datum args[] = {Int64GetDatum(letter_id), optional_text(error ? unpack_sql_state(error->sqlerrcode) : NULL, &isnull[1]),
					optional_text(error ? error->message : NULL, &isnull[2])};

	write_one(letters,
			  get_statement(letters, &letters->end,
							psprintf("UPDATE ONLY %s SET"
									 " state = CASE WHEN $2 IS NULL THEN 'replayed' ELSE state END,"
									 " closed_at = CASE WHEN $2 IS NULL THEN pg_catalog.clock_timestamp() END,"
									 " error_code = COALESCE($2, error_code), error_message = COALESCE($3, error_message),"
									 " times = times OPERATOR(pg_catalog.+) CASE WHEN $2 IS NULL THEN 0 ELSE 1 END,"
									 " last_seen_at = pg_catalog.clock_timestamp()"
									 " WHERE letter_id OPERATOR(pg_catalog.=) $1",
									 letters->table.name),
							lengthof(types), types),
			  args, isnull);
}

/*
 * Runs the DDL:
 *
 * CREATE TABLE s.d OF idem_dead_letter (letter_id …, …);
 * CREATE UNIQUE INDEX ON s.d (pipeline, row_id) WHERE state = 'open';
 */
static void
create_table(const char *schema, const char *name, const char *type)
{
	const char *table = idem_create_typed_table(
		schema, name, type, "letter_id",
		"window_range WITH OPTIONS NOT NULL, row_id WITH OPTIONS NOT NULL,"
		" record WITH OPTIONS NOT NULL, times WITH OPTIONS NOT NULL,"
		" state WITH OPTIONS NOT NULL CHECK (state OPERATOR(pg_catalog.=) ANY ('{open,replayed,gone,discarded}'))");

	idem_run_once(psprintf("CREATE UNIQUE INDEX ON %s (pipeline, row_id) WHERE (state OPERATOR(pg_catalog.=) 'open')", table));
	idem_run_once(psprintf("COMMENT ON TABLE %s IS 'idem dead letters: rows that could not be loaded'", table));
}

/* SQL: idem_create_dead_letters(name text, ledger regclass) returns regclass */
Datum
idem_create_dead_letters(PG_FUNCTION_ARGS)
{
	Oid ours = get_func_namespace(fcinfo->flinfo->fn_oid);
	const IdemRangeType *type = idem_ledger_range_type(PG_GETARG_OID(1), ours);
	RangeVar *relation = makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(0)));
	Oid schema = RangeVarGetCreationNamespace(relation);

	idem_require_writable("create dead letters");
	idem_connect(true);
	create_table(get_namespace_name(schema), relation->relname,
				 quote_qualified_identifier(get_namespace_name(ours), letter_type(type)));
	idem_finish();
	PG_RETURN_OID(get_relname_relid(relation->relname, schema));
}
