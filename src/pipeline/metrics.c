/*
 * metrics.c
 *		idem_metrics and idem_alert_metrics: figures of pipelines, for who watches servers.
 *
 * One's own pipelines, or all for members of pg_read_all_stats, as the server's own
 * statistics are.  All of it is a row of the scheduler's tables, written by the owner's
 * process when a turn or a reconciliation ended: nothing that an owner wrote is computed
 * for who looks.  There are no labels of windows, of which there are ever more.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pipeline/metrics.h"
#include "pipeline/own.h"
#include "pipeline/state.h"
#include "server/compat.h"
#include "server/extension.h"
#include "server/transaction.h"
#include "utils/acl.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(idem_metrics_rows);
PG_FUNCTION_INFO_V1(idem_alert_metrics_rows);

/* A total that grows by a number, but never beyond its type. */
#define ADD_UP(column, number) \
	column " = LEAST(" column ", 4611686018427387903) OPERATOR(pg_catalog.+) LEAST(GREATEST(" number ", 0), 4611686018427387903)"

/* Leaves it where somebody has locked the row, as everything that is booked of a turn. */
void
idem_book_work(const char *schema, const char *name, const IdemSummary *summary)
{
	static const Oid types[] = {TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID};
	const IdemRun *total = &summary->total;
	Datum args[] = {
		CStringGetTextDatum(name), Int64GetDatum(summary->loaded), Int64GetDatum(summary->failed),
		Int64GetDatum(total->source_rows), Int64GetDatum(total->inserted_rows), Int64GetDatum(total->updated_rows),
		Int64GetDatum(total->deleted_rows), Int64GetDatum(total->unchanged_rows),
	};

	if (summary->loaded == 0 && summary->failed == 0)
		return;
	(void) idem_run_own(schema,
						"UPDATE @.idem_pipeline_state SET " ADD_UP("windows_loaded", "$2") ", " ADD_UP("windows_failed", "$3")
						", " ADD_UP("source_rows", "$4") ", " ADD_UP("inserted_rows", "$5") ", " ADD_UP("updated_rows", "$6")
						", " ADD_UP("deleted_rows", "$7") ", " ADD_UP("unchanged_rows", "$8")
						" WHERE name OPERATOR(pg_catalog.=) " IDEM_STATE_TO_WRITE,
						lengthof(types), types, args, NULL);
}

/* A moment that is one. */
#define FINITE(moment) "CASE WHEN pg_catalog.isfinite(" moment ") THEN " moment " END"

/*
 * Every kind has a row, or what watches would not see that an alert has closed; the kinds
 * are ours, whatever the monitor's owner has written into his table.  A pipeline that is
 * being dropped gets none: see IDEM_LOCK_TO_WRITE.
 */
void
idem_book_alerts(const char *schema, const char *name, IdemMonitor *monitor)
{
	static const Oid types[] = {TEXTOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, BOOLARRAYOID};
	IdemOpenAlerts alerts = idem_read_open_alerts(monitor, name);
	Datum args[] = {
		CStringGetTextDatum(name), idem_alert_kinds(), alerts.kinds, alerts.values,
		alerts.opened_at, alerts.last_seen_at, alerts.acknowledged,
	};

	(void) idem_run_own(schema,
						"INSERT INTO @.idem_alert_state AS s (pipeline, kind, open, value, opened_at, last_seen_at, acknowledged, checked_at)"
						" SELECT DISTINCT ON (k.kind) $1, k.kind, a.kind IS NOT NULL, GREATEST(a.value, 0),"
						" " FINITE("a.opened_at") ", " FINITE("a.last_seen_at") ","
						" COALESCE(a.acknowledged, false), pg_catalog.clock_timestamp()"
						" FROM pg_catalog.unnest($2) AS k (kind)"
						" LEFT JOIN ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6),"
						" pg_catalog.unnest($7)) AS a (kind, value, opened_at, last_seen_at, acknowledged)"
						" ON a.kind OPERATOR(pg_catalog.=) k.kind"
						" WHERE $1 OPERATOR(pg_catalog.=) (SELECT p.name FROM @.idem_pipeline_state p"
						" JOIN @.idem_pipeline d ON d.name OPERATOR(pg_catalog.=) p.name"
						" WHERE p.name OPERATOR(pg_catalog.=) $1"
						" FOR KEY SHARE OF p SKIP LOCKED FOR KEY SHARE OF d SKIP LOCKED)"
						" ORDER BY k.kind"
						" ON CONFLICT (pipeline, kind) DO UPDATE SET open = excluded.open, value = excluded.value,"
						" opened_at = excluded.opened_at, last_seen_at = excluded.last_seen_at,"
						" acknowledged = excluded.acknowledged, checked_at = excluded.checked_at",
						lengthof(types), types, args, NULL);
}

/* True for who may see everybody's statistics. */
static bool
sees_all(void)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
}

static void
put_row(void *arg, const Datum *values, const bool *nulls)
{
	ReturnSetInfo *rsinfo = arg;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, unconstify(Datum *, values), unconstify(bool *, nulls));
}

/* Returns the rows of a statement that is given who asks, and whether he may see all. */
static Datum
return_rows(FunctionCallInfo fcinfo, const char *template)
{
	static const Oid types[] = {INT8OID, OIDOID, OIDOID, BOOLOID};
	ReturnSetInfo *rsinfo = castNode(ReturnSetInfo, fcinfo->resultinfo);
	Datum args[] = {Int64GetDatum((int64) GetSystemIdentifier()), ObjectIdGetDatum(MyDatabaseId),
					ObjectIdGetDatum(GetUserId()), BoolGetDatum(sees_all())};
	IdemCollector rows;

	InitMaterializedSRF(fcinfo, 0);
	idem_connect(true);
	rows = idem_collect_own(idem_function_schema(fcinfo), template, lengthof(types), types, args);
	idem_visit_rows(&rows, put_row, rsinfo);
	idem_finish();
	return (Datum) 0;
}

/* A condition as a number, and a moment as seconds since 1970. */
#define FLAG(condition) "CASE WHEN " condition " THEN 1 ELSE 0 END"
#define EPOCH(moment) "pg_catalog.date_part('epoch', " moment ")"

/* Pipelines d that who asks may see, and their owners' names. */
#define VISIBLE "($4 OR pg_catalog.pg_has_role($3, d.owner::pg_catalog.oid, " IDEM_SET_ROLE "))"
#define OWNER "d.owner::pg_catalog.text"

/* A pipeline d with state p is at home here. */
#define AT_HOME                                                                        \
	"p.name IS NOT NULL AND d.system_identifier OPERATOR(pg_catalog.=) $1"             \
	" AND d.database_oid OPERATOR(pg_catalog.=) $2"

/* SQL: idem_metrics_rows() */
Datum
idem_metrics_rows(PG_FUNCTION_ARGS)
{
	return return_rows(fcinfo,
					   "SELECT d.name, " OWNER ", " FLAG("d.enabled") ", " FLAG("NOT (" AT_HOME ")") ","
					   " " FLAG("p.turn_started_at IS NOT NULL") ", " FLAG("p.waiting_for IS NOT NULL") ","
					   " " EPOCH("(pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) p.complete_at)") ","
					   " " EPOCH("p.complete_at") ", " EPOCH("p.last_run_at") ", " EPOCH("CASE WHEN " AT_HOME " THEN p.next_run_at END") ","
					   " p.gap_count, p.failed_windows, p.blocked_windows, p.failures, p.crashes,"
					   " p.windows_loaded, p.windows_failed, p.source_rows, p.inserted_rows, p.updated_rows, p.deleted_rows, p.unchanged_rows,"
					   " a.open, " EPOCH("a.checked_at")
					   " FROM @.idem_pipeline d LEFT JOIN @.idem_pipeline_state p ON p.name OPERATOR(pg_catalog.=) d.name"
					   " LEFT JOIN LATERAL (SELECT pg_catalog.sum(" FLAG("s.open") ") AS open, pg_catalog.max(s.checked_at) AS checked_at"
					   " FROM @.idem_alert_state s WHERE s.pipeline OPERATOR(pg_catalog.=) d.name) a ON true"
					   " WHERE " VISIBLE " ORDER BY d.name");
}

/* SQL: idem_alert_metrics_rows() */
Datum
idem_alert_metrics_rows(PG_FUNCTION_ARGS)
{
	return return_rows(fcinfo,
					   "SELECT d.name, " OWNER ", s.kind, " FLAG("s.open") ", COALESCE(s.value, 0), " FLAG("s.acknowledged") ","
					   " " EPOCH("s.opened_at") ", " EPOCH("s.last_seen_at") ", " EPOCH("s.checked_at")
					   " FROM @.idem_alert_state s JOIN @.idem_pipeline d ON d.name OPERATOR(pg_catalog.=) s.pipeline"
					   " WHERE " VISIBLE " ORDER BY d.name, s.kind");
}
