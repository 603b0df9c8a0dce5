/*
 * monitor.c
 *		Monitors: what checks have found, kept, and the alerts that come of it.
 *
 * An alert is of a pipeline and a kind, whatever number of windows it is about: a thousand
 * bad windows are one alert.  Its windows are text, for a monitor serves ledgers of all types.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "server/compat.h"
#include "server/scope.h"
#include "server/statement.h"
#include "server/transaction.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"
#include "watch/monitor.h"
#include "watch/results.h"

PG_FUNCTION_INFO_V1(idem_create_monitor);
PG_FUNCTION_INFO_V1(idem_acknowledge);

/* Longest name: that of the alerts, and of their sequence, is made of it. */
#define MAX_NAME 56

struct IdemMonitor
{
	Oid relid;
	Oid schema;			   /* the extension's */
	IdemIdentity identity; /* its owner's */
	const char *name;	   /* qualified and quoted */
	const char *alerts;
};

static const char *const kinds[IDEM_KINDS] = {
	"duplicates", "surplus", "missing", "extra", "different",
	"growth", "source_changed", "target_changed", "check_failed",
};

/*
 * CREATE SEQUENCE s.m_check_id_seq;
 * CREATE TABLE s.m OF idem_monitor (check_id WITH OPTIONS DEFAULT nextval('s.m_check_id_seq') PRIMARY KEY, …);
 * CREATE INDEX ON s.m (pipeline, window_range, check_id);
 * and the same of m_alerts, with a unique index (pipeline, kind) WHERE closed_at IS NULL
 */
static void
create_table(const char *schema, const char *name, const char *type, const char *id, const char *constraints)
{
	const char *table = quote_qualified_identifier(schema, name);
	const char *sequence = quote_qualified_identifier(schema, ChooseRelationName(name, id, "seq", get_namespace_oid(schema, false), false));

	idem_run_once(psprintf("CREATE SEQUENCE %s", sequence));
	idem_run_once(psprintf("CREATE TABLE %s OF %s (%s WITH OPTIONS DEFAULT pg_catalog.nextval(%s::pg_catalog.regclass) PRIMARY KEY,"
						   " pipeline WITH OPTIONS NOT NULL, %s)",
						   table, type, id, quote_literal_cstr(sequence), constraints));
	idem_run_once(psprintf("ALTER SEQUENCE %s OWNED BY %s.%s", sequence, table, id));
}

/* SQL: idem_create_monitor(name text) returns regclass */
Datum
idem_create_monitor(PG_FUNCTION_ARGS)
{
	const char *ours = get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid));
	RangeVar *relation = makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(0)));
	Oid namespace = RangeVarGetCreationNamespace(relation);
	const char *schema = get_namespace_name(namespace);
	const char *alerts = psprintf("%s_alerts", relation->relname);
	const char *table = quote_qualified_identifier(schema, relation->relname);

	if (strlen(relation->relname) > MAX_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("monitor name \"%s\" is too long", relation->relname),
				 errhint("A name has at most %d bytes.", MAX_NAME)));
	idem_require_writable("create a monitor");
	idem_connect(true);
	create_table(schema, relation->relname, quote_qualified_identifier(ours, "idem_monitor"), "check_id",
				 "window_range WITH OPTIONS NOT NULL, result WITH OPTIONS NOT NULL");
	idem_run_once(psprintf("CREATE INDEX ON %s (pipeline, window_range, check_id)", table));
	create_table(schema, alerts, quote_qualified_identifier(ours, "idem_alert"), "alert_id",
				 psprintf("kind WITH OPTIONS NOT NULL, windows WITH OPTIONS NOT NULL,"
						  " FOREIGN KEY (last_check) REFERENCES %s ON DELETE SET NULL", table));
	alerts = quote_qualified_identifier(schema, alerts);
	idem_run_once(psprintf("CREATE UNIQUE INDEX ON %s (pipeline, kind) WHERE closed_at IS NULL", alerts));
	idem_run_once(psprintf("COMMENT ON TABLE %s IS 'idem monitor: a row for each check'", table));
	idem_run_once(psprintf("COMMENT ON TABLE %s IS 'idem monitor: alerts'", alerts));
	idem_finish();
	PG_RETURN_OID(get_relname_relid(relation->relname, namespace));
}

/* Fails for a relation that is not a table of our type. */
static void
check_type(Relation rel, Oid schema, const char *type)
{
	if (rel->rd_rel->relkind != RELKIND_RELATION || !OidIsValid(rel->rd_rel->reloftype) ||
		rel->rd_rel->reloftype != GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(type), ObjectIdGetDatum(schema)))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a monitor", RelationGetRelationName(rel)),
				 errhint("Create one with SELECT idem_create_monitor('name').")));
}

/* Fails for who may not become the owner, whose code would run with his rights. */
static void
check_owner(Relation rel)
{
	if (!idem_can_set_role(GetUserId(), rel->rd_rel->relowner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for monitor %s", idem_qualified_name(rel)),
				 errdetail("It is written as its owner, whom role \"%s\" may not become.", GetUserNameFromId(GetUserId(), false)),
				 errhint("Create one of your own: SELECT idem_create_monitor('name').")));
}

/* The alerts of a monitor. */
static Relation
open_alerts(Relation monitor, Oid schema)
{
	const char *name = psprintf("%s_alerts", RelationGetRelationName(monitor));
	Oid relid = get_relname_relid(name, RelationGetNamespace(monitor));
	Relation rel;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("monitor \"%s\" has no table \"%s\"", RelationGetRelationName(monitor), name),
				 errhint("Rename both tables, or create another monitor.")));
	rel = idem_open_relation(relid);
	check_type(rel, schema, "idem_alert");
	if (rel->rd_rel->relowner != monitor->rd_rel->relowner)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("tables %s and %s have not the same owner", idem_qualified_name(monitor), idem_qualified_name(rel)),
				 errhint("ALTER TABLE … OWNER TO … gives them one.")));
	return rel;
}

IdemMonitor *
idem_open_monitor(Oid relid, Oid schema)
{
	IdemMonitor *monitor = palloc0(sizeof(IdemMonitor));
	Relation rel = idem_open_relation(relid);
	Relation alerts;

	check_type(rel, schema, "idem_monitor");
	check_owner(rel);
	alerts = open_alerts(rel, schema);
	check_owner(alerts);
	monitor->relid = relid;
	monitor->schema = schema;
	monitor->name = idem_qualified_name(rel);
	monitor->alerts = idem_qualified_name(alerts);
	monitor->identity = (IdemIdentity){
		.role = rel->rd_rel->relowner,
		.restricted = true,
		.search_path = "pg_catalog, pg_temp",
		.date_style = "ISO",
	};
	relation_close(alerts, NoLock);
	relation_close(rel, NoLock);
	return monitor;
}

/* True if the tables of these names are still those of the monitor, and its owner's. */
static bool
is_same_monitor(const IdemMonitor *monitor)
{
	Relation rel = try_relation_open(monitor->relid, AccessShareLock);
	Relation alerts;
	bool result;

	if (rel == NULL)
		return false;
	alerts = open_alerts(rel, monitor->schema);
	result = rel->rd_rel->relowner == monitor->identity.role && strcmp(idem_qualified_name(rel), monitor->name) == 0 &&
			 strcmp(idem_qualified_name(alerts), monitor->alerts) == 0;
	relation_close(alerts, NoLock);
	relation_close(rel, NoLock);
	return result;
}

/*
 * Fails if the monitor is another by now.  The owner of its schema may drop its tables and make
 * others of their names, whose triggers would run as the monitor's owner; and his code may
 * run between any two statements, as that of a pipeline that is checked does.
 */
static void
check_same(const IdemMonitor *monitor)
{
	if (!is_same_monitor(monitor))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("monitor %s was changed while it was used", monitor->name),
				 errhint("See who may change it, and try again.")));
}

/* A statement to be run as the owner, as an argument of idem_run_as. */
typedef struct Run
{
	const char *sql;
	int nargs;
	const Oid *types;
	const Datum *args;
	const bool *isnull;
	int ncols;
	Datum *values;
	bool *nulls;
	bool found;
} Run;

static void
run_as(void *arg)
{
	Run *run = arg;

	run->found = idem_fetch(idem_make_statement(run->sql, run->nargs, run->types, IDEM_SNAPSHOT_NEW), run->args, run->isnull,
							run->ncols, run->values, run->nulls);
}

/* Runs a statement as the owner; false if it returns nothing. */
static bool
run(const IdemMonitor *monitor, Run *run)
{
	check_same(monitor);
	idem_run_as(&monitor->identity, run_as, run);
	return run->found;
}

IdemFindings
idem_begin_findings(const IdemRangeType *type, const char *pipeline, int n)
{
	IdemFindings findings = {.type = type, .pipeline = pipeline};
	int kind;

	for (kind = 0; kind < IDEM_KINDS; kind++)
	{
		findings.checked[kind] = palloc(mul_size(n, sizeof(IdemWindow)));
		findings.found[kind] = palloc(mul_size(n, sizeof(IdemWindow)));
	}
	return findings;
}

/* True if a check has looked so closely that it would have found what there is of a kind. */
static bool
is_judged(const IdemCheck *check, int kind)
{
	bool failed = strcmp(check->result, kinds[IDEM_CHECK_FAILED]) == 0;

	switch (kind)
	{
		case IDEM_CHECK_FAILED:
			return true;
		case IDEM_DUPLICATES:
			return !failed && check->max_per_key != IDEM_NOT_COUNTED;
		case IDEM_SURPLUS:
		case IDEM_GROWTH:
			return !failed && check->surplus_rows != IDEM_NOT_COUNTED;
		case IDEM_MISSING:
		case IDEM_DIFFERENT:
			return !failed && check->missing_rows != IDEM_NOT_COUNTED;
		case IDEM_EXTRA:
			return !failed && check->extra_rows != IDEM_NOT_COUNTED;
		default:
			return !failed && check->source_digest != 0;
	}
}

/* How many rows or keys a finding is about; 1 where nobody has counted. */
static int64
finding_value(const IdemCheck *check, int kind)
{
	switch (kind)
	{
		case IDEM_DUPLICATES:
			return Max(check->duplicate_keys, 1);
		case IDEM_SURPLUS:
		case IDEM_GROWTH:
			return Max(check->surplus_rows, 1);
		case IDEM_MISSING:
			return Max(check->missing_rows, 1);
		case IDEM_EXTRA:
			return Max(check->extra_rows, 1);
		case IDEM_DIFFERENT:
			return Max(check->different_rows, 1);
		default:
			return 1;
	}
}

/*
 * WITH b AS (SELECT … FROM monitor WHERE pipeline = $2 AND window_range = $3 ORDER BY check_id DESC LIMIT 1)
 * INSERT INTO monitor (ledger, pipeline, …, growth) SELECT $1, $2, …, grown RETURNING check_id, growth
 *
 * A window has grown if its target rows rose, those of the source did not, and nobody loaded it
 * in between; and it has until they have become fewer.
 */
static const char *
build_keep(const IdemMonitor *monitor)
{
	return psprintf(
		"WITH b AS (SELECT run_id, source_rows, target_rows, growth FROM %s WHERE pipeline = $2 AND window_range = $3 ORDER BY check_id DESC LIMIT 1)"
		" INSERT INTO %s (ledger, pipeline, window_range, run_id, result, depth, source_rows, source_keys, source_null_keys,"
		" target_rows, target_keys, target_null_keys, duplicate_keys, surplus_rows, max_per_key, missing_rows, extra_rows, different_rows,"
		" source_digest, target_digest, remote, checked_at, seconds, growth)"
		" SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,"
		" COALESCE((SELECT b.run_id = $4 AND $14 IS NOT NULL AND (($10 > b.target_rows AND $7 <= b.source_rows) OR (b.growth AND $10 >= b.target_rows)) FROM b), false)"
		" RETURNING check_id, growth",
		monitor->name, monitor->name);
}

void
idem_keep_check(IdemMonitor *monitor, Oid ledger, const IdemCheck *check, IdemFindings *findings)
{
	static const Oid types[] = {
		REGCLASSOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID,
		INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, BYTEAOID, BYTEAOID, BOOLOID, TIMESTAMPTZOID, FLOAT8OID,
	};
	Datum args[1 + IDEM_CHECK_COLUMNS] = {ObjectIdGetDatum(ledger)};
	bool isnull[1 + IDEM_CHECK_COLUMNS] = {false};
	Datum values[2];
	bool nulls[2];
	Run keep = {build_keep(monitor), lengthof(types), types, args, isnull, 2, values, nulls};
	int kind;

	idem_make_check_row(check, args + 1, isnull + 1);
	if (!run(monitor, &keep))
		return; /* a trigger of the owner's would not have it */
	findings->last_check = DatumGetInt64(values[0]);
	for (kind = 0; kind < IDEM_KINDS; kind++)
	{
		if (is_judged(check, kind))
			findings->checked[kind][findings->nchecked[kind]++] = check->window;
		if (kind == IDEM_GROWTH ? !DatumGetBool(values[1]) : strstr(check->result, kinds[kind]) == NULL)
			continue;
		findings->found[kind][findings->nfound[kind]++] = check->window;
		findings->value[kind] += finding_value(check, kind);
	}
}

/*
 * SELECT array_agg(u.n ORDER BY l.at NULLS FIRST, u.n)
 *     FROM unnest($1) WITH ORDINALITY u (w, n) LEFT JOIN (SELECT window_range, max(checked_at) … GROUP BY 1) l ON l.window_range = u.w
 */
void
idem_order_windows(IdemMonitor *monitor, const IdemRangeType *type, const char *pipeline, IdemWindow *windows, int n)
{
	static const Oid types[] = {TEXTARRAYOID, TEXTOID};
	Datum *texts = palloc(mul_size(n, sizeof(Datum)));
	IdemWindow *copy = palloc(mul_size(n, sizeof(IdemWindow)));
	Datum args[] = {0, CStringGetTextDatum(pipeline)};
	Datum value;
	bool isnull;
	Run order = {
		psprintf("SELECT array_agg(u.n ORDER BY l.at NULLS FIRST, u.n) FROM unnest($1) WITH ORDINALITY u (w, n)"
				 " LEFT JOIN (SELECT window_range, max(checked_at) AS at FROM %s WHERE pipeline = $2 GROUP BY 1) l ON l.window_range = u.w",
				 monitor->name),
		lengthof(types), types, args, NULL, 1, &value, &isnull,
	};
	Datum *places;
	int nplaces;
	int i;

	for (i = 0; i < n; i++)
	{
		texts[i] = CStringGetTextDatum(idem_window_text(type, windows[i]));
		copy[i] = windows[i];
	}
	args[0] = PointerGetDatum(construct_array(texts, n, TEXTOID, -1, false, TYPALIGN_INT));
	if (n == 0 || !run(monitor, &order) || isnull)
		return;
	deconstruct_array(DatumGetArrayTypeP(value), INT8OID, sizeof(int64), true, TYPALIGN_DOUBLE, &places, NULL, &nplaces);
	for (i = 0; i < Min(n, nplaces); i++)
		windows[i] = copy[DatumGetInt64(places[i]) - 1];
}

/* Sends what has become of an alert, in ids and counts. */
static void
notify(const IdemMonitor *monitor, const IdemFindings *findings, int kind, int64 alert_id, const char *event)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"event\": \"alert_%s\", \"monitor\": ", event);
	escape_json(&buf, monitor->name);
	appendStringInfoString(&buf, ", \"pipeline\": ");
	escape_json(&buf, findings->pipeline);
	appendStringInfo(&buf, ", \"kind\": \"%s\", \"alert_id\": " INT64_FORMAT ", \"value\": " INT64_FORMAT "}",
					 kinds[kind], alert_id, findings->value[kind]);
	Async_Notify("idem", buf.data);
}

/*
 * UPDATE alerts a SET windows = (windows - checked) * complete + found, …
 *     FROM (the alert that is open, or was closed within the hour if there is something) o WHERE …
 *     RETURNING alert_id, event
 */
static const char *
build_update(const IdemMonitor *monitor, const IdemRangeType *type)
{
	return psprintf(
		"UPDATE %1$s a SET windows = o.n::text, value = CASE WHEN $6 > 0 THEN $6 ELSE a.value END,"
		" times = a.times + CASE WHEN $6 > 0 THEN 1 ELSE 0 END, last_check = COALESCE(NULLIF($7, 0), a.last_check),"
		" last_seen_at = CASE WHEN $6 > 0 THEN clock_timestamp() ELSE a.last_seen_at END,"
		" closed_at = CASE WHEN isempty(o.n) THEN clock_timestamp() END"
		" FROM (SELECT alert_id, closed_at, value, windows::%2$s AS w, (windows::%2$s - $3::%2$s) * $4::%2$s + $5::%2$s AS n"
		" FROM %1$s WHERE pipeline = $1 AND kind = $2"
		" AND (closed_at IS NULL OR ($6 > 0 AND closed_at > clock_timestamp() - interval '1 hour'))"
		" ORDER BY closed_at DESC NULLS FIRST LIMIT 1) o WHERE a.alert_id = o.alert_id"
		" RETURNING a.alert_id, CASE WHEN o.closed_at IS NOT NULL THEN 'opened' WHEN isempty(o.n) THEN 'closed'"
		" WHEN (NOT o.w @> $5::%2$s OR $6 > o.value) AND COALESCE(a.snoozed_until < clock_timestamp(), true) THEN 'worse' END",
		monitor->alerts, type->multirange_name);
}

/* INSERT INTO alerts (…) SELECT … RETURNING alert_id, 'opened' */
static const char *
build_open(const IdemMonitor *monitor, const IdemRangeType *type)
{
	return psprintf(
		"INSERT INTO %s (pipeline, kind, windows, value, times, first_check, last_check, opened_at, last_seen_at)"
		" SELECT $1, $2, ($4::%s * $5::%s)::text, $6, 1, $7, $7, clock_timestamp(), clock_timestamp()"
		" WHERE $6 > 0 AND $3 IS NOT NULL RETURNING alert_id, 'opened'",
		monitor->alerts, type->multirange_name, type->multirange_name);
}

/* Brings the alert of a kind up to date. */
static void
update_alert(IdemMonitor *monitor, const IdemFindings *findings, Datum complete, int kind)
{
	static const Oid types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID};
	const IdemRangeType *type = findings->type;
	Datum args[] = {
		CStringGetTextDatum(findings->pipeline),
		CStringGetTextDatum(kinds[kind]),
		CStringGetTextDatum(idem_windows_text(type, findings->checked[kind], findings->nchecked[kind])),
		complete,
		CStringGetTextDatum(idem_windows_text(type, findings->found[kind], findings->nfound[kind])),
		Int64GetDatum(findings->value[kind]),
		Int64GetDatum(findings->last_check),
	};
	Datum values[2];
	bool nulls[2];
	Run update = {build_update(monitor, type), lengthof(types), types, args, NULL, 2, values, nulls};

	if (!run(monitor, &update))
	{
		update.sql = build_open(monitor, type);
		if (!run(monitor, &update))
			return;
	}
	if (!nulls[1])
		notify(monitor, findings, kind, DatumGetInt64(values[0]), TextDatumGetCString(values[1]));
}

/* Keeps other reconciliations from the alerts until the end of the transaction. */
static void
lock_alerts(void *arg)
{
	idem_run_once(psprintf("LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE", ((IdemMonitor *) arg)->alerts));
}

int64
idem_update_alerts(IdemMonitor *monitor, const IdemFindings *findings, Datum complete)
{
	static const Oid types[] = {TEXTOID};
	Datum args[] = {CStringGetTextDatum(findings->pipeline)};
	Datum value = 0;
	bool isnull;
	Run count = {
		psprintf("SELECT count(*) FROM %s WHERE pipeline = $1 AND closed_at IS NULL", monitor->alerts),
		lengthof(types), types, args, NULL, 1, &value, &isnull,
	};
	int n;
	IdemWindow *windows = idem_read_windows(findings->type, complete, &n);
	Datum text = CStringGetTextDatum(idem_windows_text(findings->type, windows, n));
	int kind;

	check_same(monitor);
	idem_run_as(&monitor->identity, lock_alerts, monitor);
	for (kind = 0; kind < IDEM_KINDS; kind++)
		update_alert(monitor, findings, text, kind);
	(void) run(monitor, &count);
	return DatumGetInt64(value);
}

Datum
idem_alert_kinds(void)
{
	Datum texts[IDEM_KINDS];
	int kind;

	for (kind = 0; kind < IDEM_KINDS; kind++)
		texts[kind] = CStringGetTextDatum(kinds[kind]);
	return PointerGetDatum(construct_array(texts, IDEM_KINDS, TEXTOID, -1, false, TYPALIGN_INT));
}

/* One of each kind at most, or it would not be an array of them. */
IdemOpenAlerts
idem_read_open_alerts(IdemMonitor *monitor, const char *pipeline)
{
	static const Oid types[] = {TEXTOID};
	Datum args[] = {CStringGetTextDatum(pipeline)};
	Datum values[5];
	bool nulls[5];
	Run read = {
		psprintf("SELECT COALESCE(array_agg(a.kind), '{}'), COALESCE(array_agg(a.value), '{}'), COALESCE(array_agg(a.opened_at), '{}'),"
				 " COALESCE(array_agg(a.last_seen_at), '{}'), COALESCE(array_agg(a.acknowledged_by IS NOT NULL), '{}')"
				 " FROM %s a WHERE a.pipeline = $1 AND a.closed_at IS NULL",
				 monitor->alerts),
		lengthof(types), types, args, NULL, 5, values, nulls,
	};

	(void) run(monitor, &read);
	return (IdemOpenAlerts){values[0], values[1], values[2], values[3], values[4]};
}

/* SQL: idem_acknowledge(monitor regclass, alert_id bigint, until timestamptz) */
Datum
idem_acknowledge(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {INT8OID, TIMESTAMPTZOID, TEXTOID};
	Datum args[] = {PG_GETARG_DATUM(1), PG_GETARG_DATUM(2), 0};
	bool isnull[] = {PG_ARGISNULL(1), PG_ARGISNULL(2), false};
	IdemMonitor *monitor;
	Datum value;
	bool no_value;
	Run acknowledge = {NULL, lengthof(types), types, args, isnull, 1, &value, &no_value};

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument monitor must not be NULL")));
	idem_require_writable("acknowledge an alert");
	idem_connect(true);
	monitor = idem_open_monitor(PG_GETARG_OID(0), get_func_namespace(fcinfo->flinfo->fn_oid));
	args[2] = CStringGetTextDatum(GetUserNameFromId(GetUserId(), false));
	acknowledge.sql = psprintf("UPDATE %s SET acknowledged_by = $3, snoozed_until = $2 WHERE alert_id = $1 AND closed_at IS NULL RETURNING alert_id",
							   monitor->alerts);
	if (!run(monitor, &acknowledge))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("monitor %s has no open alert of this number", monitor->name),
				 errhint("SELECT * FROM %s WHERE closed_at IS NULL shows them.", monitor->alerts)));
	idem_finish();
	PG_RETURN_VOID();
}
