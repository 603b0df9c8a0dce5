/*
 * find.c
 *		Finding the rows that are to go.
 *
 * What is sorted of all rows is one number each, the hash of their keys; rows whose hash is
 * there twice are sorted by the keys themselves.  All of it is one statement, of one moment.
 * What is written down is in the order of the places, so that batches go through the table
 * from its beginning to its end.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "clean/find.h"
#include "portability/instr_time.h"
#include "server/scope.h"
#include "server/statement.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

/* So many keys are shown. */
#define EXAMPLES 10

/*
 * About what a removed row takes beside its bytes, which are there twice in the WAL at most:
 * its lock, deletion and place in the quarantine, and a share of the pages.  A rough guess.
 */
#define ROW_WAL 400
#define ROWS_PER_SECOND 25000

void
idem_append_key_row(StringInfo sql, const IdemTable *table, bool of_keeper)
{
	int i;

	appendStringInfoString(sql, "ROW(");
	for (i = 0; i < table->nkeys; i++)
		appendStringInfo(sql, "%s%s", i > 0 ? ", " : "", of_keeper ? table->keys[i].of_keeper : table->keys[i].of_row);
	appendStringInfoChar(sql, ')');
}

/*
 * True for a type of which JSON is made by the server alone: for one that somebody has made, or
 * has one of these in it, it asks for a cast to json, which would run as the caller.
 */
static bool
has_own_json(Oid type)
{
	type = getBaseType(type);
	return type < FirstNormalObjectId && type != RECORDOID && type != RECORDARRAYOID;
}

void
idem_append_key_array(StringInfo sql, const IdemTable *table)
{
	int i;

	appendStringInfoString(sql, "pg_catalog.jsonb_build_array(");
	for (i = 0; i < table->nkeys; i++)
	{
		const char *key = table->keys[i].of_row;

		appendStringInfoString(sql, i > 0 ? ", " : "");
		if (has_own_json(table->keys[i].type))
			appendStringInfoString(sql, key);
		else
			appendStringInfo(sql, "CASE WHEN pg_catalog.num_nulls(%s) OPERATOR(pg_catalog.=) 0 THEN pg_catalog.format('%%s', %s) END", key, key);
	}
	appendStringInfoChar(sql, ')');
}

/* True if some key can be hashed. */
static bool
is_hashed(const IdemTable *table)
{
	int i;

	for (i = 0; i < table->nkeys; i++)
	{
		if (table->keys[i].hashable)
			return true;
	}
	return false;
}

void
idem_append_key_hash(StringInfo sql, const IdemTable *table, bool of_keeper)
{
	const char *comma = "";
	int i;

	if (!is_hashed(table))
	{
		appendStringInfoString(sql, "0::pg_catalog.int8");
		return;
	}
	appendStringInfoString(sql, "pg_catalog.hash_record_extended(ROW(");
	for (i = 0; i < table->nkeys; i++)
	{
		if (!table->keys[i].hashable)
			continue;
		appendStringInfo(sql, "%s%s", comma, of_keeper ? table->keys[i].of_keeper : table->keys[i].of_row);
		comma = ", ";
	}
	appendStringInfoString(sql, "), 0)");
}

/* Appends: ROW(alias.c, …) of the columns that make rows different and have an equality, or have none. */
static int
append_content(StringInfo sql, const IdemTable *table, const char *alias, bool has_equality)
{
	int n = 0;
	int i;

	appendStringInfoString(sql, "ROW(");
	for (i = 0; i < table->ncolumns; i++)
	{
		if (table->columns[i].is_ignored || table->columns[i].has_equality != has_equality)
			continue;
		appendStringInfo(sql, "%s%s.%s", n++ > 0 ? ", " : "", alias, table->columns[i].name);
	}
	appendStringInfoChar(sql, ')');
	return n;
}

/*
 * Appends: record_eq(ROW(d.c, …), ROW(k.c, …)) AND record_image_eq(ROW(d.e, …), ROW(k.e, …))
 * where each second row is written with a prefix and a suffix.
 */
static void
append_alike(StringInfo sql, const IdemTable *table, const char *second, const char *prefix, const char *suffix)
{
	static const char *const functions[] = {"pg_catalog.record_image_eq", "pg_catalog.record_eq"};
	int equality;

	appendStringInfoString(sql, "(true");
	for (equality = 0; equality <= 1; equality++)
	{
		StringInfoData part;

		initStringInfo(&part);
		appendStringInfo(&part, " AND %s(", functions[equality]);
		if (append_content(&part, table, "d", equality) == 0)
			continue;
		appendStringInfo(&part, ", %s", prefix);
		(void) append_content(&part, table, second, equality);
		appendStringInfo(sql, "%s%s)", part.data, suffix);
	}
	appendStringInfoChar(sql, ')');
}

void
idem_append_same(StringInfo sql, const IdemTable *table)
{
	append_alike(sql, table, "k", "", "");
}

/* Builds: SELECT hash(d) FROM target d GROUP BY 1 HAVING count(*) > 1 */
static char *
build_repeated(const IdemTable *table)
{
	StringInfoData sql;

	if (!is_hashed(table))
		return NULL;
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	idem_append_key_hash(&sql, table, false);
	appendStringInfo(&sql, " FROM %s d GROUP BY 1 HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1", table->name);
	return sql.data;
}

/* Appends a condition: some row refers to row g, whose referred columns are r1_1, … */
static void
append_referenced(StringInfo sql, const IdemTable *table)
{
	int i;
	int j;

	appendStringInfoString(sql, "(false");
	for (i = 0; i < table->nreferences; i++)
	{
		const IdemReference *reference = &table->references[i];

		appendStringInfo(sql, " OR EXISTS (SELECT FROM %s c WHERE true", reference->child);
		for (j = 0; j < reference->ncolumns; j++)
		{
			appendStringInfoString(sql, " AND ");
			generate_operator_clause(sql, psprintf("g.r%d_%d", i, j), reference->referred_types[j], reference->operators[j],
									 psprintf("c.%s", reference->columns[j]), reference->types[j]);
		}
		appendStringInfoChar(sql, ')');
	}
	appendStringInfoChar(sql, ')');
}

/* Appends what the window computes of each row. */
static void
append_numbered(StringInfo sql, const IdemTable *table)
{
	int i;
	int j;

	appendStringInfoString(sql, "SELECT d.tableoid AS leaf, d.ctid AS place, d.xmin AS born, ");
	idem_append_key_hash(sql, table, false);
	appendStringInfoString(sql, " AS hash, pg_catalog.row_number() OVER w AS number,"
								" pg_catalog.first_value(d.ctid) OVER w AS keeper, pg_catalog.first_value(d.xmin) OVER w AS keeper_born, ");
	append_alike(sql, table, "d", "pg_catalog.first_value(", ") OVER w");
	appendStringInfoString(sql, " AS same, ");
	idem_append_key_array(sql, table);
	appendStringInfoString(sql, " AS key, pg_catalog.num_nulls(");
	for (i = 0; i < table->nkeys; i++)
		appendStringInfo(sql, "%s%s", i > 0 ? ", " : "", table->keys[i].of_row);
	appendStringInfoString(sql, ") OPERATOR(pg_catalog.>) 0 AS has_null, pg_catalog.pg_column_size(ROW(d.*)) AS size");
	for (i = 0; i < table->nreferences; i++)
	{
		for (j = 0; j < table->references[i].ncolumns; j++)
			appendStringInfo(sql, ", d.%s AS r%d_%d", table->references[i].referred[j], i, j);
	}
}

/*
 * Builds: SELECT g.leaf, …, referenced FROM (
 *     SELECT d.tableoid AS leaf, d.ctid AS place, d.xmin AS born, hash(d) AS hash, row_number() OVER w AS number,
 *         first_value(d.ctid) OVER w AS keeper, first_value(d.xmin) OVER w AS keeper_born, d = first_value(d) OVER w AS same, …
 *     FROM target d WHERE hash(d) IN (candidates)
 *     WINDOW w AS (PARTITION BY k, …[, d.tableoid] ORDER BY keep, d.tableoid, d.ctid)) g
 *     WHERE g.number > 1
 *
 * Rows of one key are in one partition, for the keys include what it is partitioned by.
 */
static char *
build_find(const IdemTable *table, const char *candidates, bool examples)
{
	StringInfoData sql;
	int i;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT g.leaf, g.place, g.born, g.hash, g.keeper, g.keeper_born, g.same, g.has_null, g.size, ");
	append_referenced(&sql, table);
	appendStringInfo(&sql, " AS referenced, CASE WHEN %s THEN g.key END AS example FROM (",
					 examples ? "g.number OPERATOR(pg_catalog.=) 2" : "NOT g.same");
	append_numbered(&sql, table);
	appendStringInfo(&sql, " FROM %s d", table->name);
	if (candidates)
	{
		appendStringInfoString(&sql, " WHERE ");
		idem_append_key_hash(&sql, table, false);
		appendStringInfo(&sql, " OPERATOR(pg_catalog.=) ANY (%s)", candidates);
	}
	appendStringInfoString(&sql, " WINDOW w AS (PARTITION BY ");
	for (i = 0; i < table->nkeys; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", table->keys[i].of_row);
	appendStringInfo(&sql, "%s ORDER BY %s)) g WHERE g.number OPERATOR(pg_catalog.>) 1", table->partitioned ? ", d.tableoid" : "", table->order);
	return sql.data;
}

/* Runs a statement that sorts all of a table: as CREATE INDEX would. */
static void
run_large(IdemTask *task)
{
	const IdemSetting settings[] = {
		{"enable_hashagg", "off"},
		{"jit", "off"},
		{"work_mem", GetConfigOption("maintenance_work_mem", false, false)},
		{NULL, NULL},
	};

	idem_run_under(settings, idem_run_task, task);
}

/*
 * INSERT INTO rows (round, n, leaf, place, …)
 *     SELECT round, row_number() OVER (ORDER BY f.leaf, f.place), … FROM (find) f
 */
static void
write_rows(const IdemTable *table, const IdemJob *job, const char *candidates, int round)
{
	const char *sql = psprintf("INSERT INTO %s (round, n, leaf, place, born, keeper, keeper_born, hash, same, referenced, skipped, example)"
						" SELECT %d, pg_catalog.row_number() OVER (ORDER BY f.leaf, f.place), f.leaf, f.place, f.born, f.keeper, f.keeper_born, f.hash,"
						" f.same, f.referenced, false, f.example FROM (%s) f",
						job->rows, round, build_find(table, candidates, false));
	IdemTask task = {.statement = idem_make_statement(sql, 0, NULL, IDEM_SNAPSHOT_NEW)};

	run_large(&task);
}

/* Runs one statement on the list of rows that returns numbers; the first is returned. */
static int64
count_rows(const char *sql)
{
	Datum value = 0;
	bool isnull = true;

	(void) idem_fetch(idem_make_statement(sql, 0, NULL, IDEM_SNAPSHOT_NEW), NULL, NULL, 1, &value, &isnull);
	return isnull ? 0 : DatumGetInt64(value);
}

/* Fails for keys of which rows differ. */
static void
refuse_conflicts(const IdemTable *table, const IdemJob *job, int round)
{
	int64 keys = count_rows(psprintf("SELECT pg_catalog.count(DISTINCT (r.leaf, r.keeper)) FROM %s r WHERE r.round OPERATOR(pg_catalog.=) %d AND NOT r.same", job->rows, round));
	Datum value;
	bool isnull;

	if (keys == 0)
		return;
	(void) idem_fetch(idem_make_statement(psprintf("SELECT r.example::pg_catalog.text FROM %s r WHERE r.round OPERATOR(pg_catalog.=) %d AND NOT r.same ORDER BY r.n LIMIT 1", job->rows, round),
										  0, NULL, IDEM_SNAPSHOT_NEW),
					  NULL, NULL, 1, &value, &isnull);
	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 errmsg("%s has %lld keys of which rows differ", table->name, (long long) keys),
			 errdetail("One of them is %s.", TextDatumGetCString(value)),
			 errhint("Say which row is kept: conflicts => 'keep', keep => 'updated_at DESC'; or what may differ: ignore => '{loaded_at}'; or conflicts => 'leave'.")));
}

/* Fails for rows that something refers to. */
static void
refuse_references(const IdemTable *table, const IdemJob *job, int round)
{
	int64 rows = count_rows(psprintf("SELECT pg_catalog.count(*) FROM %s r WHERE r.round OPERATOR(pg_catalog.=) %d AND r.referenced", job->rows, round));

	if (rows > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("%lld rows of %s that would be removed are referred to", (long long) rows, table->name),
				 errdetail("Foreign key \"%s\" of %s%s.", table->references[0].constraint, table->references[0].child,
						   table->nreferences > 1 ? ", or another" : ""),
				 errhint("on_references => 'repoint' has what refers to them refer to the rows that are kept.")));
}

/* Takes the keys off the list of which rows differ. */
static void
leave_conflicts(const IdemJob *job, int round)
{
	idem_run_once(psprintf("DELETE FROM %s r USING (SELECT DISTINCT s.leaf, s.keeper FROM %s s WHERE s.round OPERATOR(pg_catalog.=) %d AND NOT s.same) c"
						   " WHERE r.round OPERATOR(pg_catalog.=) %d AND r.leaf OPERATOR(pg_catalog.=) c.leaf AND r.keeper OPERATOR(pg_catalog.=) c.keeper",
						   job->rows, job->rows, round, round));
}

void
idem_find(const IdemTable *table, IdemJob *job, bool everything)
{
	int round = job->round + 1;
	const char *candidates = everything ? build_repeated(table)
										: psprintf("SELECT r.hash FROM %s r WHERE r.round OPERATOR(pg_catalog.=) %d AND r.skipped", job->rows, job->round);

	idem_hold_job(job);
	idem_check_unchanged(table, &job->changes);
	if (everything)
		idem_make_row_list(table, job);
	job->files = idem_table_files(table);
	write_rows(table, job, candidates, round);
	if (!everything)
		idem_run_once(psprintf("DELETE FROM %s r WHERE r.round OPERATOR(pg_catalog.<) %d", job->rows, round));
	if (table->conflicts == IDEM_CONFLICTS_REFUSE)
		refuse_conflicts(table, job, round);
	if (table->conflicts == IDEM_CONFLICTS_LEAVE)
		leave_conflicts(job, round);
	if (!table->repoint && table->nreferences > 0)
		refuse_references(table, job, round);
	job->total = count_rows(psprintf("SELECT pg_catalog.count(*) FROM %s r", job->rows));
}

/*
 * WITH f AS MATERIALIZED (find) SELECT count(*), count(DISTINCT (leaf, keeper)), …, (examples)
 */
static const char *
build_report(const IdemTable *table)
{
	return psprintf("WITH f AS MATERIALIZED (%s) SELECT pg_catalog.count(*), pg_catalog.count(DISTINCT (f.leaf, f.keeper)),"
					" pg_catalog.count(DISTINCT (f.leaf, f.keeper)) FILTER (WHERE f.has_null), pg_catalog.count(DISTINCT (f.leaf, f.keeper)) FILTER (WHERE NOT f.same),"
					" pg_catalog.count(*) FILTER (WHERE f.referenced), COALESCE(pg_catalog.sum(f.size), 0),"
					" (SELECT pg_catalog.string_agg(e.example::pg_catalog.text, ', ') FROM (SELECT x.example FROM f x WHERE x.example IS NOT NULL LIMIT %d) e) FROM f",
					build_find(table, build_repeated(table), true), EXAMPLES);
}

void
idem_report(const IdemTable *table)
{
	Datum values[7];
	bool nulls[7];
	IdemTask task = {idem_make_statement(build_report(table), 0, NULL, IDEM_SNAPSHOT_NEW), .ncols = lengthof(values), .values = values, .nulls = nulls};
	instr_time begin;
	instr_time took;
	int64 rows;
	int64 bytes;

	INSTR_TIME_SET_CURRENT(begin);
	run_large(&task);
	INSTR_TIME_SET_CURRENT(took);
	INSTR_TIME_SUBTRACT(took, begin);
	rows = DatumGetInt64(values[0]);
	bytes = 2 * DatumGetInt64(values[5]) + ROW_WAL * rows;
	ereport(NOTICE,
			(errmsg("dry run of %s: keys that are there more than once: %lld (with NULL: %lld, of rows that differ: %lld), surplus rows: %lld, referred to: %lld",
					table->name, (long long) DatumGetInt64(values[1]), (long long) DatumGetInt64(values[2]), (long long) DatumGetInt64(values[3]),
					(long long) rows, (long long) DatumGetInt64(values[4])),
			 nulls[6] ? 0 : errdetail("Keys: %s.", TextDatumGetCString(values[6])),
			 rows == 0 ? 0 : errhint("Finding took %.0f s. Removing takes about %lld s and %lld MB of WAL.", INSTR_TIME_GET_DOUBLE(took),
									 (long long) (rows / ROWS_PER_SECOND + 1), (long long) (bytes / (1024 * 1024) + 1))));
}
