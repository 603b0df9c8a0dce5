/*
 * notify.c
 *		NOTIFY idem: what happened to a window, for the world outside.
 */
#include "postgres.h"

#include "commands/async.h"
#include "ledger/notify.h"
#include "mb/pg_wchar.h"
#include "utils/elog.h"
#include "utils/json.h"

/* Longest text in a message, in bytes; the server takes 8000 for a whole payload. */
#define MAX_TEXT 1000

/* Appends "name": "text", clipped. */
static void
append_member(StringInfo buf, const char *name, const char *text)
{
	char *clipped = pnstrdup(text, pg_mbcliplen(text, strlen(text), MAX_TEXT));

	appendStringInfo(buf, "%s\"%s\": ", buf->len > 1 ? ", " : "", name);
	escape_json(buf, clipped);
}

/* Begins a message. */
static void
begin_message(StringInfo buf, const char *event, const IdemRangeType *type, const IdemRun *run)
{
	initStringInfo(buf);
	appendStringInfoChar(buf, '{');
	append_member(buf, "event", event);
	append_member(buf, "pipeline", run->pipeline);
	append_member(buf, "window", idem_window_text(type, run->window));
}

void
idem_notify_complete(const IdemRangeType *type, const IdemRun *run)
{
	StringInfoData buf;

	begin_message(&buf, "complete", type, run);
	appendStringInfo(&buf, ", \"run_id\": " INT64_FORMAT ", \"source_rows\": " INT64_FORMAT "}",
					 run->run_id, run->source_rows);
	Async_Notify("idem", buf.data);
}

/* Which columns they are is in the ledger, whose readers may know. */
void
idem_notify_schema_change(const IdemRangeType *type, const IdemRun *run)
{
	StringInfoData buf;

	begin_message(&buf, "schema", type, run);
	appendStringInfo(&buf, ", \"run_id\": " INT64_FORMAT "}", run->run_id);
	Async_Notify("idem", buf.data);
}

/* Without the error's text, which may hold data: any role may listen. */
void
idem_notify_failure(const IdemRangeType *type, const IdemFailure *failure)
{
	StringInfoData buf;

	begin_message(&buf, failure->blocked ? "blocked" : "failed", type, failure->run);
	appendStringInfo(&buf, ", \"run_id\": " INT64_FORMAT, failure->run_id);
	append_member(&buf, "error_code", unpack_sql_state(failure->error->sqlerrcode));
	appendStringInfoChar(&buf, '}');
	Async_Notify("idem", buf.data);
}
