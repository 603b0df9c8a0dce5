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
#include "nodes/makefuncs.h"
#include "fmgr.h"
#include "ledger/table.h"
#include "miscadmin.h"
#include "server/collect.h"
#include "server/compat.h"
#include "server/extension.h"
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
	"duplicates",
	"surplus",
	"missing",
	"extra",
	"different",
	"growth",
	"null_keys",
	"source_changed",
	"target_changed",
	"check_failed",
	"late",
	"blocked",
};

/* True for a kind by which nothing that was loaded has become wrong. */
static bool
is_warning(int kind)
{
	return kind == IDEM_SOURCE_CHANGED || kind == IDEM_NULL_KEYS || kind == IDEM_LATE;
}

/*
 * SQL: idem_create_monitor(name text) returns regclass
 *
 * CREATE TABLE s.m OF idem_monitor (check_id …, …);
 * CREATE INDEX ON s.m (pipeline, window_range, check_id);
 * CREATE TABLE s.m_alerts OF idem_alert (alert_id …, …);
 * CREATE UNIQUE INDEX ON s.m_alerts (pipeline, kind) WHERE closed_at IS NULL;
 */
Datum
idem_create_monitor(PG_FUNCTION_ARGS)
{
	const char *ours = get_namespace_name(get_func_namespace(fcinfo->flinfo->fn_oid));
	RangeVar *relation = makeRangeVarFromNameList(textToQualifiedNameList(PG_GETARG_TEXT_PP(0)));
	Oid namespace = RangeVarGetCreationNamespace(relation);
	const char *schema = get_namespace_name(namespace);
	const char *table;
	const char *alerts;

	if (strlen(relation->relname) > MAX_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("monitor name \"%s\" is too long", relation->relname),
				 errhint("A name has at most %d bytes.", MAX_NAME)));
	idem_require_writable("create a monitor");
	idem_connect(true);
	table = idem_create_typed_table(schema, relation->relname, quote_qualified_identifier(ours, "idem_monitor"), "check_id",
									"window_range WITH OPTIONS NOT NULL, result WITH OPTIONS NOT NULL");
	idem_run_once(psprintf("CREATE INDEX ON %s (pipeline, window_range, check_id)", table));
	alerts = idem_create_typed_table(schema, psprintf("%s_alerts", relation->relname), quote_qualified_identifier(ours, "idem_alert"), "alert_id",
									 psprintf("kind WITH OPTIONS NOT NULL, windows WITH OPTIONS NOT NULL,"
											  " FOREIGN KEY (last_check) REFERENCES %s ON DELETE SET NULL",
											  table));
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
		rel->rd_rel->reloftype != idem_own_type(type, schema))
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

/* A statement on a monitor, used once. */
static IdemStatement *
make_statement(const char *sql, int nargs, const Oid *types)
{
	return idem_make_statement(sql, nargs, types, IDEM_SNAPSHOT_NEW);
}

/* Runs a statement as the owner; false if it returns nothing. */
static bool
run(const IdemMonitor *monitor, IdemTask *task)
{
	check_same(monitor);
	idem_run_as(&monitor->identity, idem_run_task, task);
	return task->processed > 0;
}

IdemFindings
idem_begin_findings(const IdemRangeType *type, const char *pipeline, const IdemExpect *expect, int n)
{
	IdemFindings findings = {.type = type, .pipeline = pipeline, .expect = expect};
	int kind;

	for (kind = 0; kind < IDEM_CHECK_KINDS; kind++)
	{
		findings.checked[kind] = palloc(mul_size(n, sizeof(IdemWindow)));
		findings.found[kind] = palloc(mul_size(n, sizeof(IdemWindow)));
	}
	return findings;
}

void
idem_add_findings(IdemFindings *findings, int kind, IdemWindow *windows, int n)
{
	findings->found[kind] = windows;
	findings->nfound[kind] = n;
	findings->value[kind] = n;
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
		case IDEM_NULL_KEYS:
			return !failed;
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
		case IDEM_NULL_KEYS:
			return Max(check->source_null_keys, check->target_null_keys);
		default:
			return 1;
	}
}

/* How many of them may be wrong. */
static int64
finding_allowed(const IdemFindings *findings, const IdemCheck *check, int kind)
{
	switch (kind)
	{
		case IDEM_SURPLUS:
		case IDEM_MISSING:
		case IDEM_EXTRA:
		case IDEM_DIFFERENT:
			return check->allowed;
		case IDEM_NULL_KEYS:
			return findings->expect->null_keys;
		default:
			return 0;
	}
}

/* The keys that a check names of a finding; 0 if it names none. */
static Datum
finding_sample(const IdemCheck *check, int kind)
{
	const Datum *samples = check->samples;

	switch (kind)
	{
		case IDEM_DUPLICATES:
			return samples[IDEM_SAMPLE_DUPLICATE];
		case IDEM_SURPLUS:
		case IDEM_GROWTH:
			return samples[IDEM_SAMPLE_EXTRA] ? samples[IDEM_SAMPLE_EXTRA] : samples[IDEM_SAMPLE_DUPLICATE];
		case IDEM_MISSING:
			return samples[IDEM_SAMPLE_MISSING];
		case IDEM_EXTRA:
			return samples[IDEM_SAMPLE_EXTRA];
		case IDEM_DIFFERENT:
			return samples[IDEM_SAMPLE_DIFFERENT];
		default:
			return 0;
	}
}

/*
 * WITH b AS (SELECT … FROM monitor WHERE pipeline = $2 AND window_range = $3 ORDER BY check_id DESC LIMIT 1)
 * INSERT INTO monitor (ledger, pipeline, …, growth) SELECT $1, $2, …, grown RETURNING check_id, growth
 *
 * A window has grown if its target rows rose, those of the source did not, and nobody loaded it
 * in between, or it has more than it may ($24); and it has until they have become fewer.  Late
 * rows that were loaded properly are no growth: the run is another one, and they are not too many.
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
		" COALESCE((SELECT (b.run_id = $4 OR $24) AND $14 IS NOT NULL AND (($10 > b.target_rows AND $7 <= b.source_rows) OR (b.growth AND $10 >= b.target_rows)) FROM b), false)"
		" RETURNING check_id, growth",
		monitor->name, monitor->name);
}

/*
 * SELECT count(*) FROM (SELECT result, growth FROM monitor WHERE … ORDER BY check_id DESC LIMIT $3) c WHERE it found the kind
 *
 * True if so many checks in a row have found it that an alert may open.
 */
static bool
is_due(IdemMonitor *monitor, const IdemFindings *findings, Datum window, int kind)
{
	static const Oid types[] = {TEXTOID, TEXTOID, INT8OID, TEXTOID};
	Datum args[] = {CStringGetTextDatum(findings->pipeline), window, Int64GetDatum(findings->expect->open_after),
					CStringGetTextDatum(kinds[kind])};
	Datum count;
	bool isnull;
	IdemTask streak = {NULL, args, NULL, 1, &count, &isnull};

	if (findings->expect->open_after <= 1)
		return true;
	streak.statement = make_statement(psprintf("SELECT count(*) FROM (SELECT result, growth FROM %s WHERE pipeline = $1 AND window_range = $2"
											   " ORDER BY check_id DESC LIMIT $3) c WHERE CASE WHEN $4 = 'growth' THEN c.growth ELSE position($4 IN c.result) > 0 END",
											   monitor->name),
									  lengthof(types), types);
	return run(monitor, &streak) && DatumGetInt64(count) >= findings->expect->open_after;
}

/* Adds what a check has found of a kind; what has not been found often enough says nothing yet. */
static void
add_finding(IdemMonitor *monitor, IdemFindings *findings, const IdemCheck *check, Datum window, int kind)
{
	if (!is_due(monitor, findings, window, kind))
		return;
	findings->found[kind][findings->nfound[kind]++] = check->window;
	findings->value[kind] += finding_value(check, kind);
	findings->allowed[kind] += finding_allowed(findings, check, kind);
	if (findings->samples[kind] == 0)
		findings->samples[kind] = finding_sample(check, kind);
}

void
idem_keep_check(IdemMonitor *monitor, Oid ledger, const IdemCheck *check, IdemFindings *findings)
{
	static const Oid types[] = {
		REGCLASSOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID,
		INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, BYTEAOID, BYTEAOID, BOOLOID, TIMESTAMPTZOID, FLOAT8OID, BOOLOID,
	};
	Datum args[lengthof(types)] = {ObjectIdGetDatum(ledger)};
	bool isnull[lengthof(types)] = {false};
	Datum values[2];
	bool nulls[2];
	IdemTask keep = {make_statement(build_keep(monitor), lengthof(types), types), args, isnull, 2, values, nulls};
	int kind;

	StaticAssertStmt(lengthof(types) == IDEM_CHECK_COLUMNS + 2, "a column of a check has no type");
	idem_make_check_row(check, args + 1, isnull + 1);
	args[IDEM_CHECK_COLUMNS + 1] = BoolGetDatum(strstr(check->result, kinds[IDEM_SURPLUS]) != NULL);
	if (!run(monitor, &keep))
		return; /* a trigger of the owner's would not have it */
	findings->last_check = DatumGetInt64(values[0]);
	for (kind = 0; kind < IDEM_CHECK_KINDS; kind++)
	{
		if (kind == IDEM_GROWTH ? DatumGetBool(values[1]) : strstr(check->result, kinds[kind]) != NULL)
			add_finding(monitor, findings, check, args[2], kind);
		else if (is_judged(check, kind))
			findings->checked[kind][findings->nchecked[kind]++] = check->window;
	}
}

/*
 * SELECT array_agg(COALESCE(l.checked_at, '-infinity') ORDER BY u.n), array_agg(COALESCE(l.bad, false) ORDER BY u.n)
 *     FROM unnest($1) WITH ORDINALITY u (w, n) LEFT JOIN LATERAL (the last check of it) l ON true
 */
void
idem_read_last_checks(IdemMonitor *monitor, const IdemRangeType *type, const char *pipeline, const IdemWindow *windows, int n,
					  IdemLastCheck *last)
{
	static const Oid types[] = {TEXTARRAYOID, TEXTOID};
	Datum *texts = palloc(mul_size(n, sizeof(Datum)));
	Datum args[] = {0, CStringGetTextDatum(pipeline)};
	Datum values[2];
	bool nulls[2];
	IdemTask read = {
		make_statement(psprintf("SELECT array_agg(COALESCE(l.checked_at, '-infinity') ORDER BY u.n), array_agg(COALESCE(l.bad, false) ORDER BY u.n)"
								" FROM unnest($1) WITH ORDINALITY u (w, n) LEFT JOIN LATERAL (SELECT c.checked_at, c.result <> 'ok' OR c.growth AS bad"
								" FROM %s c WHERE c.pipeline = $2 AND c.window_range = u.w ORDER BY c.check_id DESC LIMIT 1) l ON true",
								monitor->name),
					   lengthof(types), types),
		args,
		NULL,
		2,
		values,
		nulls,
	};
	Datum *times;
	Datum *bad;
	int found;
	int i;

	for (i = 0; i < n; i++)
	{
		texts[i] = CStringGetTextDatum(idem_window_text(type, windows[i]));
		last[i] = (IdemLastCheck){DT_NOBEGIN, false};
	}
	args[0] = PointerGetDatum(construct_array(texts, n, TEXTOID, -1, false, TYPALIGN_INT));
	if (n == 0 || !run(monitor, &read) || nulls[0])
		return;
	deconstruct_array(DatumGetArrayTypeP(values[0]), TIMESTAMPTZOID, sizeof(TimestampTz), true, TYPALIGN_DOUBLE, &times, NULL, &found);
	deconstruct_array(DatumGetArrayTypeP(values[1]), BOOLOID, sizeof(bool), true, TYPALIGN_CHAR, &bad, NULL, &found);
	for (i = 0; i < Min(n, found); i++)
		last[i] = (IdemLastCheck){DatumGetTimestampTz(times[i]), DatumGetBool(bad[i])};
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

/* Appends CASE … END, which is what there is to tell of an alert: o has its windows w before, and n now. */
#define EVENT(multirange)                                                             \
	"CASE WHEN o.closed_at IS NOT NULL THEN 'opened' WHEN isempty(o.n) THEN 'closed'" \
	" WHEN o.snoozed_until >= clock_timestamp() THEN NULL"                            \
	" WHEN NOT o.w @> $5::" multirange " OR $6 > o.value THEN 'worse'"                \
	" WHEN o.notified_at < clock_timestamp() - interval '1 day' THEN 'reminder' END"

/*
 * UPDATE alerts a SET windows = (windows - checked) * complete + found, …
 *     FROM (the alert that is open, or was closed within the hour if there is something) o WHERE …
 *     RETURNING alert_id, event
 */
static const char *
build_update(const IdemMonitor *monitor, const IdemRangeType *type)
{
	return psprintf(
		"UPDATE %1$s a SET windows = e.n::text, value = CASE WHEN $6 > 0 THEN $6 ELSE a.value END,"
		" allowed = CASE WHEN $6 > 0 THEN $8 ELSE a.allowed END, sample = COALESCE($9, a.sample),"
		" times = a.times + CASE WHEN $6 > 0 THEN 1 ELSE 0 END, last_check = COALESCE(NULLIF($7, 0), a.last_check),"
		" last_seen_at = CASE WHEN $6 > 0 THEN clock_timestamp() ELSE a.last_seen_at END,"
		" notified_at = CASE WHEN e.event IS NOT NULL THEN clock_timestamp() ELSE a.notified_at END,"
		" closed_at = CASE WHEN isempty(e.n) THEN clock_timestamp() END,"
		" close_reason = CASE WHEN isempty(e.n) THEN CASE WHEN isempty(e.w - $3::%2$s) THEN 'clean' ELSE 'gone' END END"
		" FROM (SELECT o.*, %3$s AS event FROM (SELECT p.*, (p.w - $3::%2$s) * $4::%2$s + $5::%2$s AS n"
		" FROM (SELECT alert_id, closed_at, value, snoozed_until, notified_at, windows::%2$s AS w"
		" FROM %1$s WHERE pipeline = $1 AND kind = $2"
		" AND (closed_at IS NULL OR ($6 > 0 AND closed_at > clock_timestamp() - interval '1 hour'))"
		" ORDER BY closed_at DESC NULLS FIRST LIMIT 1) p) o) e WHERE a.alert_id = e.alert_id"
		" RETURNING a.alert_id, e.event",
		monitor->alerts, type->multirange_name, psprintf(EVENT("%s"), type->multirange_name));
}

/* INSERT INTO alerts (…) SELECT … RETURNING alert_id, 'opened' */
static const char *
build_open(const IdemMonitor *monitor, const IdemRangeType *type, bool warning)
{
	return psprintf(
		"INSERT INTO %s (pipeline, kind, severity, windows, value, allowed, sample, times, first_check, last_check, opened_at, last_seen_at, notified_at)"
		" SELECT $1, $2, '%s', ($4::%s * $5::%s)::text, $6, $8, $9, 1, NULLIF($7, 0), NULLIF($7, 0),"
		" clock_timestamp(), clock_timestamp(), clock_timestamp()"
		" WHERE $6 > 0 AND $3 IS NOT NULL RETURNING alert_id, 'opened'",
		monitor->alerts, warning ? "warning" : "error", type->multirange_name, type->multirange_name);
}

/* Brings the alert of a kind up to date.  What is found of the pipeline is all that there is of it. */
static void
update_alert(IdemMonitor *monitor, const IdemFindings *findings, Datum complete, int kind)
{
	static const Oid types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, JSONBOID};
	const IdemRangeType *type = findings->type;
	Datum all = CStringGetTextDatum("{(,)}");
	Datum args[] = {
		CStringGetTextDatum(findings->pipeline),
		CStringGetTextDatum(kinds[kind]),
		kind < IDEM_CHECK_KINDS ? CStringGetTextDatum(idem_windows_text(type, findings->checked[kind], findings->nchecked[kind])) : all,
		kind < IDEM_CHECK_KINDS ? complete : all,
		CStringGetTextDatum(idem_windows_text(type, findings->found[kind], findings->nfound[kind])),
		Int64GetDatum(findings->value[kind]),
		Int64GetDatum(findings->last_check),
		Int64GetDatum(findings->allowed[kind]),
		findings->samples[kind],
	};
	const bool isnull[lengthof(types)] = {[lengthof(types) - 1] = findings->samples[kind] == 0};
	Datum values[2];
	bool nulls[2];
	IdemTask update = {make_statement(build_update(monitor, type), lengthof(types), types), args, isnull, 2, values, nulls};

	if (!run(monitor, &update))
	{
		/* nothing is open, and nothing has been found */
		if (findings->value[kind] == 0)
			return;
		update.statement = make_statement(build_open(monitor, type, is_warning(kind)), lengthof(types), types);
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
	IdemTask count = {
		make_statement(psprintf("SELECT count(*) FROM %s WHERE pipeline = $1 AND closed_at IS NULL", monitor->alerts), lengthof(types), types),
		args,
		NULL,
		1,
		&value,
		&isnull,
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
	IdemTask read = {
		make_statement(psprintf("SELECT COALESCE(array_agg(a.kind), '{}'), COALESCE(array_agg(a.value), '{}'), COALESCE(array_agg(a.opened_at), '{}'),"
								" COALESCE(array_agg(a.last_seen_at), '{}'), COALESCE(array_agg(a.acknowledged_by IS NOT NULL), '{}')"
								" FROM %s a WHERE a.pipeline = $1 AND a.closed_at IS NULL",
								monitor->alerts),
					   lengthof(types), types),
		args,
		NULL,
		5,
		values,
		nulls,
	};

	(void) run(monitor, &read);
	return (IdemOpenAlerts){values[0], values[1], values[2], values[3], values[4]};
}

const char *
idem_monitor_name(const IdemMonitor *monitor)
{
	return monitor->name;
}

/* Collects the rows of a statement, as the owner. */
static void
collect(const IdemMonitor *monitor, IdemStatement *statement, const Datum *args, IdemCollector *collector)
{
	IdemTask task = {.statement = statement, .args = args, .receiver = &collector->pub};

	idem_begin_collector(collector);
	(void) run(monitor, &task);
}

/* Who is to be told of each row, as an argument of idem_visit_rows. */
typedef struct Visitor
{
	const IdemRangeType *type;
	void (*alert)(void *arg, const IdemAlert *alert);
	void (*check)(void *arg, const IdemCountedWindow *check);
	void *arg;
} Visitor;

/* A column that is a text, a number, or a moment. */
static const char *
text_at(const Datum *values, const bool *nulls, int column)
{
	return nulls[column] ? NULL : TextDatumGetCString(values[column]);
}

static int64
number_at(const Datum *values, const bool *nulls, int column, int64 otherwise)
{
	return nulls[column] ? otherwise : DatumGetInt64(values[column]);
}

static TimestampTz
time_at(const Datum *values, const bool *nulls, int column)
{
	return nulls[column] || TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(values[column])) ? 0 : DatumGetTimestampTz(values[column]);
}

static void
visit_alert(void *arg, const Datum *values, const bool *nulls)
{
	Visitor *visitor = arg;
	IdemAlert alert = {
		.alert_id = number_at(values, nulls, 0, 0),
		.pipeline = text_at(values, nulls, 1),
		.kind = text_at(values, nulls, 2),
		.windows = text_at(values, nulls, 3),
		.value = number_at(values, nulls, 4, 0),
		.times = number_at(values, nulls, 5, 0),
		.opened_at = time_at(values, nulls, 6),
		.last_seen_at = time_at(values, nulls, 7),
		.snoozed_until = time_at(values, nulls, 8),
		.closed_at = time_at(values, nulls, 9),
		.acknowledged_by = text_at(values, nulls, 10),
	};

	visitor->alert(visitor->arg, &alert);
}

void
idem_visit_alerts(IdemMonitor *monitor, bool open, int max, void (*visit)(void *arg, const IdemAlert *alert), void *arg)
{
	static const Oid types[] = {INT4OID};
	Datum args[] = {Int32GetDatum(max)};
	Visitor visitor = {.alert = visit, .arg = arg};
	IdemStatement *statement = make_statement(
		psprintf("SELECT alert_id, pipeline, kind, windows, value, times, opened_at, last_seen_at, snoozed_until, closed_at, acknowledged_by"
				 " FROM %s WHERE closed_at IS %s ORDER BY %s LIMIT $1",
				 monitor->alerts, open ? "NULL" : "NOT NULL", open ? "alert_id" : "closed_at DESC"),
		lengthof(types), types);
	IdemCollector collector;

	collect(monitor, statement, args, &collector);
	idem_visit_rows(&collector, visit_alert, &visitor);
}

static void
visit_check(void *arg, const Datum *values, const bool *nulls)
{
	Visitor *visitor = arg;
	IdemCountedWindow check = {
		.source_rows = number_at(values, nulls, 1, IDEM_NOT_COUNTED),
		.target_rows = number_at(values, nulls, 2, IDEM_NOT_COUNTED),
		.checked_at = time_at(values, nulls, 3),
	};

	if (!nulls[0] && idem_read_window(visitor->type, values[0], &check.window))
		visitor->check(visitor->arg, &check);
}

/*
 * SELECT w::RANGE, … FROM (SELECT DISTINCT ON (window_range) … FROM monitor WHERE pipeline = $1 ORDER BY window_range, check_id DESC) c
 *     WHERE w::RANGE && $2 ORDER BY 1
 */
void
idem_visit_last_checks(IdemMonitor *monitor, const IdemRangeType *type, const char *pipeline, Datum range,
					   void (*visit)(void *arg, const IdemCountedWindow *check), void *arg)
{
	const Oid types[] = {TEXTOID, type->range};
	Datum args[] = {CStringGetTextDatum(pipeline), range};
	Visitor visitor = {.type = type, .check = visit, .arg = arg};
	IdemStatement *statement = make_statement(
		psprintf("SELECT c.w, c.source_rows, c.target_rows, c.checked_at FROM (SELECT DISTINCT ON (window_range) window_range::%s AS w,"
				 " source_rows, target_rows, checked_at FROM %s WHERE pipeline = $1 ORDER BY window_range, check_id DESC) c"
				 " WHERE c.w && $2 ORDER BY c.w",
				 type->name, monitor->name),
		lengthof(types), types);
	IdemCollector collector;

	collect(monitor, statement, args, &collector);
	idem_visit_rows(&collector, visit_check, &visitor);
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
	IdemTask acknowledge = {NULL, args, isnull, 1, &value, &no_value};

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument monitor must not be NULL")));
	idem_require_writable("acknowledge an alert");
	idem_connect(true);
	monitor = idem_open_monitor(PG_GETARG_OID(0), get_func_namespace(fcinfo->flinfo->fn_oid));
	args[2] = CStringGetTextDatum(GetUserNameFromId(GetUserId(), false));
	acknowledge.statement = make_statement(psprintf("UPDATE %s SET acknowledged_by = $3, snoozed_until = $2 WHERE alert_id = $1 AND closed_at IS NULL RETURNING alert_id",
													monitor->alerts),
										   lengthof(types), types);
	if (!run(monitor, &acknowledge))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("monitor %s has no open alert of this number", monitor->name),
				 errhint("SELECT * FROM %s WHERE closed_at IS NULL shows them.", monitor->alerts)));
	idem_finish();
	PG_RETURN_VOID();
}
