/*
 * state.c
 *		When pipelines run: the table idem_pipeline_state, which the scheduler keeps.
 *
 * Rows are changed only where they can be locked at once (SKIP LOCKED), together with
 * their definitions: who drops pipelines must never deadlock with the scheduler or a
 * worker.  See IDEM_STATE_TO_WRITE.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pipeline/own.h"
#include "pipeline/state.h"
#include "server/compat.h"
#include "server/schedule.h"
#include "server/transaction.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* A pipeline d of this database of this cluster: others were restored or cloned, and paused. */
#define AT_HOME                                      \
	" d.system_identifier OPERATOR(pg_catalog.=) $1" \
	" AND d.database_oid OPERATOR(pg_catalog.=) $2"
#define NOT_PAUSED " d.enabled AND" AT_HOME

/* State p of such pipelines. */
#define JOIN_DEFINITION \
	" # p JOIN @.idem_pipeline d ON d.name OPERATOR(pg_catalog.=) p.name"

/* A number that is counted up, but never out of range. */
#define COUNT_UP(column) "LEAST(" column ", 1000000) OPERATOR(pg_catalog.+) 1"

/* The row of the pipeline named $1, if nobody else has locked it. */
#define THIS_UNLOCKED                                                                                    \
	" WHERE name OPERATOR(pg_catalog.=) (SELECT p.name FROM" JOIN_DEFINITION                              \
	" WHERE p.name OPERATOR(pg_catalog.=) $1" IDEM_LOCK_TO_WRITE ")"

/* The table in which turns of a kind are kept stands for each # of a template. */
static const char *
of_duty(IdemDuty duty, const char *template)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (; *template; template ++)
	{
		if (*template == '#')
			appendStringInfoString(&sql, duty == IDEM_CHECKING ? "@.idem_check_state" : "@.idem_pipeline_state");
		else
			appendStringInfoChar(&sql, *template);
	}
	return sql.data;
}

/* Runs a statement whose only parameter is a pipeline's name. */
static uint64
run_by_name(const char *schema, const char *template, const char *name)
{
	static const Oid types[] = {TEXTOID};
	Datum args[] = {CStringGetTextDatum(name)};

	return idem_run_own(schema, template, lengthof(types), types, args, NULL);
}

/* Fetches a pipeline's column that is a number. */
static int
fetch_number(const char *schema, IdemDuty duty, const char *column, const char *name)
{
	static const Oid types[] = {TEXTOID};
	Datum args[] = {CStringGetTextDatum(name)};
	const char *template = of_duty(duty, psprintf("SELECT p.%s FROM # p WHERE p.name OPERATOR(pg_catalog.=) $1", column));
	Datum value;
	bool isnull;

	if (!idem_fetch_own(schema, template, lengthof(types), types, args, NULL, 1, &value, &isnull))
		return 0;
	return isnull ? 0 : DatumGetInt32(value);
}

/* An error's text may be of any length; of this one so many bytes are kept. */
#define MAX_ERROR 2000

/* The beginning of an error's text. */
static Datum
error_datum(const char *text)
{
	return PointerGetDatum(cstring_to_text_with_len(text, pg_mbcliplen(text, strlen(text), MAX_ERROR)));
}

/* So many bytes are kept of the text of a multirange. */
#define MAX_WINDOWS 10000

/* The windows with which it begins; if there are more, it ends so that nobody takes it for all of them. */
static Datum
windows_datum(const char *text)
{
	StringInfoData kept;

	initStringInfo(&kept);
	appendStringInfoString(&kept, text);
	if (kept.len <= MAX_WINDOWS)
		return CStringGetTextDatum(kept.data);
	kept.len = MAX_WINDOWS;
	while (kept.len > 1 && kept.data[kept.len - 1] != ')')
		kept.len--;
	kept.data[kept.len] = '\0';
	appendStringInfoString(&kept, ", ...}");
	return CStringGetTextDatum(kept.data);
}

/* Where this database is, as NOT_PAUSED wants to know it. */
#define HERE Int64GetDatum((int64) GetSystemIdentifier()), ObjectIdGetDatum(MyDatabaseId)

/* The names in an array; those of no array are none. */
static char **
read_names(Datum array, bool isnull, int *n)
{
	Datum *elements;
	char **names;
	int i;

	*n = 0;
	if (isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, n);
	names = palloc(*n * sizeof(char *));
	for (i = 0; i < *n; i++)
		names[i] = TextDatumGetCString(elements[i]);
	return names;
}

/* The roles in an array; those of no array are none. */
static Oid *
read_roles(Datum array, bool isnull, int *n)
{
	Datum *elements;
	Oid *roles;
	int i;

	*n = 0;
	if (isnull)
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(array), OIDOID, sizeof(Oid), true, TYPALIGN_INT, &elements, NULL, n);
	roles = palloc(*n * sizeof(Oid));
	for (i = 0; i < *n; i++)
		roles[i] = DatumGetObjectId(elements[i]);
	return roles;
}

/* An array of names. */
static Datum
names_datum(List *names)
{
	Datum *elements = palloc(Max(list_length(names), 1) * sizeof(Datum));
	int n = 0;
	ListCell *lc;

	foreach (lc, names)
		elements[n++] = CStringGetTextDatum(lfirst(lc));
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* An array of roles. */
static Datum
roles_datum(List *roles)
{
	Datum *elements = palloc(Max(list_length(roles), 1) * sizeof(Datum));
	int n = 0;
	ListCell *lc;

	foreach (lc, roles)
		elements[n++] = ObjectIdGetDatum(lfirst_oid(lc));
	return PointerGetDatum(construct_array(elements, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

/* Fetches the owners that a statement returns in an array. */
static List *
fetch_owners(const char *schema, const char *template, int nargs, const Oid *types, const Datum *args)
{
	Datum array;
	bool isnull;
	Oid *roles;
	List *owners = NIL;
	int n;
	int i;

	(void) idem_fetch_own(schema, template, nargs, types, args, NULL, 1, &array, &isnull);
	roles = read_roles(array, isnull, &n);
	for (i = 0; i < n; i++)
		owners = lappend_oid(owners, roles[i]);
	return owners;
}

/* Of the state p: what waits for the moment when it is due, as far as the index has it. */
#define AWAITED " p.turn_started_at IS NULL AND p.next_run_at IS NOT NULL"

/* The least owner of what waits, beyond another one. */
#define NEXT_OWNER(beyond)                                                   \
	"(SELECT pg_catalog.min(p.owner::pg_catalog.oid) FROM # p" \
	" WHERE" AWAITED beyond ")"

/* Goes from owner to owner in the index, and not through all their pipelines. */
List *
idem_waiting_owners(const char *schema, IdemDuty duty)
{
	static const Oid types[] = {INT8OID, OIDOID};
	Datum args[] = {HERE};

	return fetch_owners(schema, of_duty(duty,
						"WITH RECURSIVE o (owner) AS ("
						"SELECT " NEXT_OWNER("") " UNION ALL "
						"SELECT " NEXT_OWNER(" AND p.owner::pg_catalog.oid OPERATOR(pg_catalog.>) o.owner")
						" FROM o WHERE o.owner IS NOT NULL)"
						" SELECT pg_catalog.array_agg(o.owner) FROM o CROSS JOIN LATERAL ("
						"SELECT FROM" JOIN_DEFINITION " WHERE" AWAITED
						" AND p.owner::pg_catalog.oid OPERATOR(pg_catalog.=) o.owner AND" NOT_PAUSED
						" ORDER BY p.next_run_at LIMIT 1) l"),
						lengthof(args), types, args);
}

List *
idem_pipeline_owners(const char *schema)
{
	return fetch_owners(schema,
						"SELECT pg_catalog.array_agg(DISTINCT d.owner::pg_catalog.oid) FROM @.idem_pipeline d",
						0, NULL, NULL);
}

/*
 * Of each owner o of $3, the pipelines that a search is for, the first to be due first: the
 * names of $4 are left out.
 */
#define SEARCHED(columns, condition)                                                 \
	" pg_catalog.unnest($3) AS o (owner) CROSS JOIN LATERAL ("                       \
	"SELECT " columns " FROM" JOIN_DEFINITION " WHERE" AWAITED                       \
	" AND p.owner::pg_catalog.oid OPERATOR(pg_catalog.=) o.owner AND" NOT_PAUSED     \
	" AND p.name OPERATOR(pg_catalog.<>) ALL ($4)" condition                         \
	" ORDER BY p.next_run_at"

static const Oid search_types[] = {INT8OID, OIDOID, OIDARRAYOID, TEXTARRAYOID, INT4OID, TIMESTAMPTZOID, OIDARRAYOID};
#define SEARCH_ARGS(search) HERE, roles_datum((search)->owners), names_datum((search)->without)

/*
 * Owners take turns: the first that is due of each comes before anybody's second, and who
 * has turns already comes later.  The number of turns that run is small, and so is max.
 */
IdemDuePipeline *
idem_find_due_pipelines(const char *schema, const IdemDueSearch *search, int max, int *n)
{
	Datum args[] = {SEARCH_ARGS(search), Int32GetDatum(max), TimestampTzGetDatum(GetCurrentTimestamp()),
					roles_datum(search->busy)};
	Datum values[2];
	bool nulls[2];
	char **names;
	Oid *owners;
	IdemDuePipeline *due;
	int i;

	(void) idem_fetch_own(schema, of_duty(search->duty,
						  "SELECT pg_catalog.array_agg(s.name ORDER BY s.place, s.next_run_at),"
						  " pg_catalog.array_agg(s.owner ORDER BY s.place, s.next_run_at) FROM ("
						  "SELECT l.name, o.owner, l.next_run_at,"
						  " pg_catalog.row_number() OVER (PARTITION BY o.owner ORDER BY l.next_run_at)"
						  " OPERATOR(pg_catalog.+) (SELECT pg_catalog.count(*) FROM pg_catalog.unnest($7) AS b (owner)"
						  " WHERE b.owner OPERATOR(pg_catalog.=) o.owner) AS place"
						  " FROM" SEARCHED("p.name, p.next_run_at", " AND p.next_run_at OPERATOR(pg_catalog.<=) $6")
						  " LIMIT $5 FOR NO KEY UPDATE OF p SKIP LOCKED) l"
						  " ORDER BY place, l.next_run_at LIMIT $5) s"),
						  lengthof(search_types), search_types, args, NULL, lengthof(values), values, nulls);
	names = read_names(values[0], nulls[0], n);
	owners = read_roles(values[1], nulls[1], n);
	due = palloc(Max(*n, 1) * sizeof(IdemDuePipeline));
	for (i = 0; i < *n; i++)
		due[i] = (IdemDuePipeline){names[i], owners[i]};
	return due;
}

TimestampTz
idem_next_due_time(const char *schema, const IdemDueSearch *search)
{
	Datum args[] = {SEARCH_ARGS(search)};
	Datum value;
	bool isnull;

	(void) idem_fetch_own(schema, of_duty(search->duty,
						  "SELECT pg_catalog.min(l.next_run_at) FROM" SEARCHED("p.next_run_at", "") " LIMIT 1) l"),
						  lengthof(args), search_types, args, NULL, 1, &value, &isnull);
	return isnull ? 0 : DatumGetTimestampTz(value);
}

bool
idem_book_turn_start(const char *schema, IdemDuty duty, const char *name)
{
	return run_by_name(schema,
					   of_duty(duty, "UPDATE # SET turn_started_at = pg_catalog.clock_timestamp(),"
									 " waiting_for = NULL" THIS_UNLOCKED),
					   name) > 0;
}

/*
 * A worker that could not even say what came of its turn leaves the pipeline due: it is
 * given some seconds, more each time, so that it is not started in a loop.
 */
bool
idem_book_turn_end(const char *schema, IdemDuty duty, const char *name)
{
	return run_by_name(schema, of_duty(duty,
					   "UPDATE # SET turn_started_at = NULL, crashes = 0,"
					   " silent_turns = CASE WHEN turn_booked THEN 0 ELSE " COUNT_UP("silent_turns") " END,"
					   " next_run_at = CASE WHEN turn_booked THEN next_run_at ELSE"
					   " pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs =>"
					   " LEAST(600, pg_catalog.power(2::pg_catalog.float8, LEAST(silent_turns, 10)))) END,"
					   " turn_booked = false" THIS_UNLOCKED),
					   name) > 0;
}

char **
idem_open_turns(const char *schema, IdemDuty duty, List *without, int *n)
{
	static const Oid types[] = {TEXTARRAYOID};
	Datum args[] = {names_datum(without)};
	Datum array;
	bool isnull;

	(void) idem_fetch_own(schema,
						  of_duty(duty, "SELECT pg_catalog.array_agg(p.name) FROM # p"
										" WHERE p.turn_started_at IS NOT NULL AND p.name OPERATOR(pg_catalog.<>) ALL ($1)"),
						  lengthof(types), types, args, NULL, 1, &array, &isnull);
	return read_names(array, isnull, n);
}

bool
idem_book_lost_turn(const char *schema, IdemDuty duty, const char *name, int delay)
{
	static const Oid types[] = {TEXTOID, INT4OID};
	Datum args[] = {CStringGetTextDatum(name), Int32GetDatum(delay)};

	return idem_run_own(schema, of_duty(duty,
						psprintf("UPDATE # SET turn_started_at = NULL, turn_booked = false, %s"
						" crashes = " COUNT_UP("crashes") ","
						" next_run_at = pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+)"
						" pg_catalog.make_interval(secs => $2 OPERATOR(pg_catalog.*)"
						" pg_catalog.power(2::pg_catalog.float8, LEAST(crashes, 10))"
						" OPERATOR(pg_catalog./) 1000)" THIS_UNLOCKED,
						duty == IDEM_LOADING ? " crashed_at = pg_catalog.clock_timestamp(), " IDEM_FORGET_FRONTIER("") "," : "")),
						lengthof(types), types, args, NULL) > 0;
}

int
idem_pipeline_crashes(const char *schema, const char *name)
{
	return fetch_number(schema, IDEM_LOADING, "crashes", name);
}

bool
idem_crashed_lately(const char *schema, const char *name)
{
	return run_by_name(schema,
					   "SELECT FROM @.idem_pipeline_state p WHERE p.name OPERATOR(pg_catalog.=) $1"
					   " AND p.crashed_at OPERATOR(pg_catalog.>)"
					   " (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.make_interval(hours => 1))",
					   name) > 0;
}

int
idem_pipeline_failures(const char *schema, IdemDuty duty, const char *name)
{
	return fetch_number(schema, duty, "failures", name);
}

void
idem_book_turn(const char *schema, IdemDuty duty, const char *name, TimestampTz next_run_at, const char *error)
{
	static const Oid types[] = {TEXTOID, TIMESTAMPTZOID, TEXTOID};
	Datum args[] = {CStringGetTextDatum(name), TimestampTzGetDatum(next_run_at),
					error ? error_datum(error) : (Datum) 0};
	bool isnull[] = {false, next_run_at == 0, error == NULL};

	(void) idem_run_own(schema, of_duty(duty,
						psprintf("UPDATE # SET last_error = $3,"
						" next_run_at = CASE WHEN next_run_at OPERATOR(pg_catalog.>) turn_started_at"
						" THEN LEAST(next_run_at, $2) ELSE $2 END,"
						" failures = CASE WHEN $3 IS NULL THEN 0 ELSE " COUNT_UP("failures") " END,%s"
						" last_run_at = pg_catalog.clock_timestamp(), turn_booked = true" THIS_UNLOCKED,
						duty == IDEM_LOADING ? " frontier = CASE WHEN $3 IS NULL THEN frontier END," : "")),
						lengthof(types), types, args, isnull);
}

bool
idem_book_waiting(const char *schema, IdemDuty duty, const char *name, const char *why)
{
	static const Oid types[] = {TEXTOID, TEXTOID};
	Datum args[] = {CStringGetTextDatum(name), CStringGetTextDatum(why)};

	return idem_run_own(schema,
						of_duty(duty, "UPDATE # SET waiting_for = $2" THIS_UNLOCKED " AND waiting_for IS DISTINCT FROM $2"),
								   lengthof(types), types,
					args, NULL) > 0;
}

void
idem_book_owner_waiting(const char *schema, Oid owner, const char *why)
{
	static const Oid types[] = {OIDOID, TEXTOID};
	Datum args[] = {ObjectIdGetDatum(owner), CStringGetTextDatum(why)};

	(void) idem_run_own(schema, of_duty(IDEM_LOADING,
						"UPDATE # SET waiting_for = $2 WHERE name OPERATOR(pg_catalog.=) ANY ("
						"SELECT p.name FROM" JOIN_DEFINITION
						" WHERE d.enabled AND d.owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1"
						" AND p.waiting_for IS DISTINCT FROM $2" IDEM_LOCK_TO_WRITE ")"),
						lengthof(types), types, args, NULL);
}

/*
 * Inserts, for whoever has locked the pipeline's state would keep it from running; also
 * where it is disabled, for another session may be enabling it, if somebody is there to
 * take it away.
 */
static void
insert_wakeup(const char *schema, IdemDuty duty, const char *name, Oid ledger)
{
	static const Oid types[] = {TEXTOID, OIDOID, OIDOID, BOOLOID, BOOLOID};
	Datum args[] = {CStringGetTextDatum(name), ObjectIdGetDatum(GetUserId()), ObjectIdGetDatum(ledger),
					BoolGetDatum(idem_scheduler_pid() != 0), BoolGetDatum(duty == IDEM_CHECKING)};

	(void) idem_run_own(schema,
						"INSERT INTO @.idem_wakeup (pipeline, checks) SELECT d.name, $5 FROM @.idem_pipeline d"
						" WHERE d.name OPERATOR(pg_catalog.=) $1 AND (d.enabled OR $4) AND (d.monitor IS NOT NULL OR NOT $5)"
						" AND (pg_catalog.pg_has_role($2, d.owner::pg_catalog.oid, " IDEM_SET_ROLE ")"
						" OR $3 OPERATOR(pg_catalog.<>) 0::pg_catalog.oid"
						" AND d.ledger::pg_catalog.oid OPERATOR(pg_catalog.=) $3)",
						lengthof(types), types, args, NULL);
}

void
idem_make_due(const char *schema, IdemDuty duty, const char *name)
{
	insert_wakeup(schema, duty, name, InvalidOid);
}

void
idem_wake_pipeline(const char *schema, const char *name)
{
	idem_make_due(schema, IDEM_LOADING, name);
	idem_wake_at_end();
}

void
idem_wake_reopened(const char *schema, Oid ledger, const char *name)
{
	insert_wakeup(schema, IDEM_LOADING, name, ledger);
	idem_wake_at_end();
}

/* Wake-ups to be taken, as an argument of idem_try. */
typedef struct Wakeups
{
	const char *schema;
	IdemDuty duty;
	const char *name; /* of the pipeline; NULL: of all */
	bool any;		  /* of which there were some */
} Wakeups;

static void
take_wakeups(void *arg)
{
	static const Oid types[] = {TEXTOID, BOOLOID};
	Wakeups *wakeups = arg;
	Datum args[] = {wakeups->name ? CStringGetTextDatum(wakeups->name) : (Datum) 0, BoolGetDatum(wakeups->duty == IDEM_CHECKING)};
	bool isnull[] = {wakeups->name == NULL, false};

	wakeups->any = idem_run_own(wakeups->schema, of_duty(wakeups->duty, psprintf(
								"WITH unlocked AS (SELECT p.name FROM" JOIN_DEFINITION
								" WHERE EXISTS (SELECT FROM @.idem_wakeup w WHERE w.pipeline OPERATOR(pg_catalog.=) p.name"
								" AND w.checks OPERATOR(pg_catalog.=) $2)"
								" AND p.name OPERATOR(pg_catalog.=) COALESCE($1, p.name)" IDEM_LOCK_TO_WRITE
								"), taken AS ("
								"DELETE FROM @.idem_wakeup w WHERE w.checks OPERATOR(pg_catalog.=) $2 AND (EXISTS ("
								"SELECT FROM unlocked u WHERE u.name OPERATOR(pg_catalog.=) w.pipeline)"
								" OR NOT EXISTS (SELECT FROM # p WHERE p.name OPERATOR(pg_catalog.=) w.pipeline)))"
								" UPDATE # p SET next_run_at = CASE WHEN"
								" (SELECT d.enabled FROM @.idem_pipeline d WHERE d.name OPERATOR(pg_catalog.=) p.name)"
								" THEN pg_catalog.clock_timestamp() ELSE p.next_run_at END%s"
								" FROM unlocked u WHERE u.name OPERATOR(pg_catalog.=) p.name",
								wakeups->duty == IDEM_LOADING ? ", " IDEM_FORGET_FRONTIER("p.") : "")),
								lengthof(types), types, args, isnull) > 0;
}

static void
drop_wakeups(void *arg)
{
	const Wakeups *wakeups = arg;

	(void) run_by_name(wakeups->schema, "DELETE FROM @.idem_wakeup w WHERE w.pipeline OPERATOR(pg_catalog.=) $1",
					   wakeups->name);
}

/* Takes the wake-ups of one pipeline, or if that is an error drops them, for it would be one in every round. */
static bool
take_wakeups_of(const char *schema, IdemDuty duty, const char *name)
{
	Wakeups wakeups = {schema, duty, name};
	ErrorData *error = idem_try(take_wakeups, &wakeups, CurrentMemoryContext);

	if (error == NULL)
		return wakeups.any;
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("pipeline \"%s\" is not made due: %s", name, error->message),
			 errdetail("What the scheduler keeps about it could not be written.")));
	(void) idem_try(drop_wakeups, &wakeups, CurrentMemoryContext);
	return false;
}

/* Takes the wake-ups of one pipeline after the other; returns whether there were some. */
static bool
take_wakeups_singly(const char *schema, IdemDuty duty)
{
	static const Oid types[] = {BOOLOID};
	Datum args[] = {BoolGetDatum(duty == IDEM_CHECKING)};
	Datum array;
	bool isnull;
	bool any = false;
	char **names;
	int n;
	int i;

	(void) idem_fetch_own(schema, "SELECT pg_catalog.array_agg(DISTINCT w.pipeline) FROM @.idem_wakeup w WHERE w.checks OPERATOR(pg_catalog.=) $1",
						  lengthof(types), types, args, NULL, 1, &array, &isnull);
	names = read_names(array, isnull, &n);
	for (i = 0; i < n; i++)
		any |= take_wakeups_of(schema, duty, names[i]);
	return any;
}

/* All at once, unless one of them is an error, which must not keep the others waiting. */
bool
idem_take_wakeups(const char *schema, IdemDuty duty, bool *taken)
{
	static const Oid types[] = {BOOLOID};
	Datum args[] = {BoolGetDatum(duty == IDEM_CHECKING)};
	Wakeups all = {schema, duty};
	bool any = idem_try(take_wakeups, &all, CurrentMemoryContext) ? take_wakeups_singly(schema, duty) : all.any;

	if (taken)
		*taken |= any;
	return idem_run_own(schema, "SELECT FROM @.idem_wakeup w WHERE w.checks OPERATOR(pg_catalog.=) $1 LIMIT 1",
						lengthof(types), types, args, NULL) == 0;
}

/* A pipeline d is to be checked: at once, or never. */
#define FIRST_CHECK "CASE WHEN d.enabled AND d.monitor IS NOT NULL THEN pg_catalog.clock_timestamp() END"

void
idem_schedule_checks(const char *schema, const char *name)
{
	(void) run_by_name(schema,
					   "INSERT INTO @.idem_check_state AS c (name, owner, next_run_at)"
					   " SELECT d.name, d.owner_id, " FIRST_CHECK " FROM @.idem_pipeline d WHERE d.name OPERATOR(pg_catalog.=) $1"
					   " AND (d.monitor IS NOT NULL OR EXISTS (SELECT FROM @.idem_check_state s WHERE s.name OPERATOR(pg_catalog.=) d.name))"
					   " ON CONFLICT (name) DO UPDATE SET next_run_at = excluded.next_run_at, last_error = NULL",
					   name);
}

void
idem_wake_checks(const IdemPipeline *pipeline)
{
	if (!OidIsValid(pipeline->monitor))
		return;
	idem_make_due(pipeline->schema, IDEM_CHECKING, pipeline->name);
	idem_wake_at_end();
}

TimestampTz
idem_swept_at(const char *schema, const char *name)
{
	static const Oid types[] = {TEXTOID};
	Datum args[] = {CStringGetTextDatum(name)};
	Datum value;
	bool isnull;

	if (!idem_fetch_own(schema, "SELECT p.swept_at FROM @.idem_check_state p WHERE p.name OPERATOR(pg_catalog.=) $1",
						lengthof(types), types, args, NULL, 1, &value, &isnull) || isnull)
		return 0;
	return DatumGetTimestampTz(value);
}

void
idem_book_sweep(const char *schema, const char *name, TimestampTz swept_at)
{
	static const Oid types[] = {TEXTOID, TIMESTAMPTZOID};
	Datum args[] = {CStringGetTextDatum(name), TimestampTzGetDatum(swept_at)};

	(void) idem_run_own(schema, of_duty(IDEM_CHECKING, "UPDATE # SET swept_at = $2" THIS_UNLOCKED),
						lengthof(types), types, args, NULL);
}

/* What a definition d names that is not there; NULL if all of it is. */
#define UNRESOLVED                                                                             \
	" NULLIF(pg_catalog.concat_ws(', ',"                                                       \
	" CASE WHEN d.owner::pg_catalog.oid OPERATOR(pg_catalog.=) 0::pg_catalog.oid"              \
	" THEN pg_catalog.concat('role ', d.owner) END,"                                           \
	" CASE WHEN d.ledger::pg_catalog.oid OPERATOR(pg_catalog.=) 0::pg_catalog.oid"             \
	" THEN pg_catalog.concat('ledger ', d.ledger) END,"                                        \
	" CASE WHEN d.target::pg_catalog.oid OPERATOR(pg_catalog.=) 0::pg_catalog.oid"             \
	" THEN pg_catalog.concat('target ', d.target) END), '')"

/* Warns of the definitions of $1's that stay paused, for they name what is not there. */
static void
report_unresolved(const char *schema)
{
	static const Oid types[] = {OIDOID};
	Datum args[] = {ObjectIdGetDatum(GetUserId())};
	Datum values[2];
	bool nulls[2];
	char **names;
	char **missing;
	int n;
	int i;

	(void) idem_fetch_own(schema,
						  "SELECT pg_catalog.array_agg(u.name ORDER BY u.name), pg_catalog.array_agg(u.missing ORDER BY u.name)"
						  " FROM (SELECT d.name, " UNRESOLVED " AS missing FROM @.idem_pipeline d"
						  " WHERE pg_catalog.pg_has_role($1, d.owner::pg_catalog.oid, " IDEM_SET_ROLE ")) u"
						  " WHERE u.missing IS NOT NULL",
						  lengthof(types), types, args, NULL, lengthof(values), values, nulls);
	names = read_names(values[0], nulls[0], &n);
	missing = read_names(values[1], nulls[1], &n);
	for (i = 0; i < n; i++)
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("pipeline \"%s\" stays paused: there is no %s", names[i], missing[i]),
				 errhint("Create it, or have the definition name another one; then SELECT idem_resume().")));
}

/* What was restored by its name is the thing itself from then on, and can be renamed. */
int64
idem_adopt_pipelines(const char *schema)
{
	static const Oid types[] = {INT8OID, OIDOID, OIDOID};
	Datum args[] = {HERE, ObjectIdGetDatum(GetUserId())};
	int64 adopted;

	adopted = idem_run_own(schema,
						   "WITH resumed AS (UPDATE @.idem_pipeline AS d SET system_identifier = $1, database_oid = $2,"
						   " owner = d.owner::pg_catalog.text::@.idem_role,"
						   " ledger = d.ledger::pg_catalog.text::@.idem_relation,"
						   " target = d.target::pg_catalog.text::@.idem_relation,"
						   " monitor = d.monitor::pg_catalog.text::@.idem_relation"
						   " WHERE (d.system_identifier OPERATOR(pg_catalog.<>) $1"
						   " OR d.database_oid OPERATOR(pg_catalog.<>) $2"
						   " OR NOT EXISTS (SELECT FROM @.idem_pipeline_state s"
						   " WHERE s.name OPERATOR(pg_catalog.=) d.name))"
						   " AND pg_catalog.pg_has_role($3, d.owner::pg_catalog.oid, " IDEM_SET_ROLE ")"
						   " AND " UNRESOLVED " IS NULL"
						   " RETURNING d.name, d.owner_id, d.enabled)"
						   " INSERT INTO @.idem_pipeline_state AS p (name, owner, next_run_at)"
						   " SELECT r.name, r.owner_id, CASE WHEN r.enabled THEN pg_catalog.clock_timestamp() END FROM resumed r"
						   " ON CONFLICT (name) DO UPDATE SET turn_started_at = NULL, crashes = 0,"
						   " next_run_at = excluded.next_run_at, " IDEM_FORGET_FRONTIER("p."),
						   lengthof(types), types, args, NULL);
	(void) idem_run_own(schema,
						"INSERT INTO @.idem_check_state AS c (name, owner, next_run_at)"
						" SELECT d.name, d.owner_id, " FIRST_CHECK " FROM @.idem_pipeline d WHERE d.monitor IS NOT NULL AND" AT_HOME
						" AND pg_catalog.pg_has_role($3, d.owner::pg_catalog.oid, " IDEM_SET_ROLE ")"
						" ON CONFLICT (name) DO NOTHING",
						lengthof(types), types, args, NULL);
	report_unresolved(schema);
	return adopted;
}

bool
idem_pipeline_exists(const char *schema, IdemDuty duty, const char *name)
{
	return run_by_name(schema,
					   of_duty(duty, "SELECT FROM # p WHERE p.name OPERATOR(pg_catalog.=) $1"),
					   name) > 0;
}

List *
idem_monitored_pipelines(const char *schema, Oid monitor)
{
	static const Oid types[] = {OIDOID, OIDOID};
	Datum args[] = {ObjectIdGetDatum(monitor), ObjectIdGetDatum(GetUserId())};
	Datum array;
	bool isnull;
	char **names;
	List *result = NIL;
	int n;
	int i;

	(void) idem_fetch_own(schema,
						  "SELECT pg_catalog.array_agg(d.name ORDER BY d.name) FROM @.idem_pipeline d"
						  " WHERE d.monitor::pg_catalog.oid OPERATOR(pg_catalog.=) $1"
						  " AND pg_catalog.pg_has_role($2, d.owner::pg_catalog.oid, " IDEM_SET_ROLE ")",
						  lengthof(types), types, args, NULL, 1, &array, &isnull);
	names = read_names(array, isnull, &n);
	for (i = 0; i < n; i++)
		result = lappend(result, names[i]);
	return result;
}

/* Of a pipeline d and its state p: the columns of IdemPipelineState. */
#define STATE_COLUMNS                                              \
	" d.owner::pg_catalog.oid, CASE"                               \
	" WHEN p.turn_started_at IS NOT NULL THEN 'running'"           \
	" WHEN NOT d.enabled THEN 'disabled'"                          \
	" WHEN p.name IS NULL OR NOT (" NOT_PAUSED ") THEN 'paused'"   \
	" WHEN p.waiting_for IS NOT NULL THEN 'waiting'"               \
	" ELSE 'idle' END, p.waiting_for,"                  \
	" COALESCE(p.last_error, 'monitor: ' OPERATOR(pg_catalog.||) c.last_error),"               \
	" CASE WHEN" NOT_PAUSED " THEN p.next_run_at END,"             \
	" p.complete_to, p.complete_at, p.gaps, p.failed_windows,"     \
	" p.blocked_windows, p.last_failure, p.last_run_at, p.gap_count"

/* A column that is text, NULL if it is. */
static const char *
column_text(const Datum *values, const bool *nulls, int column)
{
	return nulls[column] ? NULL : TextDatumGetCString(values[column]);
}

/* Makes it of these columns. */
static IdemPipelineState
make_state(const Datum *values, const bool *nulls)
{
	return (IdemPipelineState){
		.owner = DatumGetObjectId(values[0]),
		.state = column_text(values, nulls, 1),
		.waiting_for = column_text(values, nulls, 2),
		.last_error = column_text(values, nulls, 3),
		.next_run_at = nulls[4] ? 0 : DatumGetTimestampTz(values[4]),
		.coverage = {
			.complete_to = column_text(values, nulls, 5),
			.complete_at = nulls[6] ? 0 : DatumGetTimestampTz(values[6]),
			.gaps = column_text(values, nulls, 7),
			.ngaps = nulls[12] ? 0 : DatumGetInt64(values[12]),
			.failed = nulls[8] ? 0 : DatumGetInt64(values[8]),
			.blocked = nulls[9] ? 0 : DatumGetInt64(values[9]),
			.last_failure = column_text(values, nulls, 10),
			.last_run = nulls[11] ? 0 : DatumGetTimestampTz(values[11]),
		},
	};
}

/* Reads the pipelines that the current role may act as: definition, then state. */
static IdemCollector
collect_pipelines(const char *schema)
{
	static const Oid types[] = {INT8OID, OIDOID, OIDOID};
	Datum args[] = {HERE, ObjectIdGetDatum(GetUserId())};
	StringInfoData sql;
	int i;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	for (i = 0; i < PIPELINE_COLUMNS; i++)
		appendStringInfo(&sql, "%s,", idem_pipeline_value("d", i));
	appendStringInfoString(&sql, STATE_COLUMNS
						   " FROM @.idem_pipeline d LEFT JOIN @.idem_pipeline_state p"
						   " ON p.name OPERATOR(pg_catalog.=) d.name"
						   " LEFT JOIN @.idem_check_state c ON c.name OPERATOR(pg_catalog.=) d.name"
						   " WHERE pg_catalog.pg_has_role($3, d.owner::pg_catalog.oid, " IDEM_SET_ROLE ")"
						   " ORDER BY d.name");
	return idem_collect_own(schema, sql.data, lengthof(types), types, args);
}

/* Who is to be told of each pipeline, as an argument of idem_visit_rows. */
typedef struct Visitor
{
	void (*visit)(void *arg, const IdemPipelineRow *row, const IdemPipelineState *state);
	void *arg;
} Visitor;

static void
visit_pipeline(void *arg, const Datum *values, const bool *nulls)
{
	Visitor *visitor = arg;
	IdemPipelineState state = make_state(values + PIPELINE_COLUMNS, nulls + PIPELINE_COLUMNS);
	IdemPipelineRow row;

	memcpy(row.values, values, sizeof(row.values));
	memcpy(row.nulls, nulls, sizeof(row.nulls));
	visitor->visit(visitor->arg, &row, &state);
}

void
idem_visit_pipelines(const char *schema,
					 void (*visit)(void *arg, const IdemPipelineRow *row, const IdemPipelineState *state),
					 void *arg)
{
	IdemCollector rows = collect_pipelines(schema);
	Visitor visitor = {visit, arg};

	idem_visit_rows(&rows, visit_pipeline, &visitor);
}

/* The values that idem_book_coverage books of a coverage. */
static void
coverage_values(const IdemPipelineCoverage *coverage, Datum *values, bool *nulls)
{
	nulls[0] = coverage->complete_to == NULL;
	values[0] = nulls[0] ? (Datum) 0 : CStringGetTextDatum(coverage->complete_to);
	nulls[1] = coverage->complete_at == 0;
	values[1] = TimestampTzGetDatum(coverage->complete_at);
	nulls[2] = coverage->gaps == NULL;
	values[2] = nulls[2] ? (Datum) 0 : windows_datum(coverage->gaps);
	nulls[3] = nulls[4] = false;
	values[3] = Int64GetDatum(coverage->failed);
	values[4] = Int64GetDatum(coverage->blocked);
	nulls[5] = coverage->last_failure == NULL;
	values[5] = nulls[5] ? (Datum) 0 : error_datum(coverage->last_failure);
	nulls[6] = coverage->frontier == NULL;
	values[6] = nulls[6] ? (Datum) 0 : CStringGetTextDatum(coverage->frontier);
	nulls[7] = coverage->gaps == NULL;
	values[7] = Int64GetDatum(coverage->ngaps);
}

/*
 * Whoever has made windows gaps since the frontier was fetched has either said so to the
 * scheduler, which counted, or his wake-up is still there; if it is not committed yet, the
 * scheduler will take it after this.
 */
void
idem_book_coverage(const char *schema, const char *name, const IdemPipelineCoverage *coverage,
				   const IdemFrontier *frontier)
{
	static const Oid types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, INT8OID, INT8OID, TEXTOID,
								TEXTOID, INT8OID, TIMESTAMPTZOID, INT8OID, INT8OID};
	Datum args[lengthof(types)] = {CStringGetTextDatum(name)};
	bool isnull[lengthof(types)] = {false};

	coverage_values(coverage, args + 1, isnull + 1);
	args[9] = TimestampTzGetDatum(frontier->read_at);
	args[10] = Int64GetDatum((int64) frontier->fingerprint);
	args[11] = Int64GetDatum(frontier->resets);
	(void) idem_run_own(schema, of_duty(IDEM_LOADING,
						"UPDATE # SET complete_to = $2, complete_at = $3, gaps = $4,"
						" failed_windows = $5, blocked_windows = $6, last_failure = $7, gap_count = $9,"
						" frontier = CASE WHEN resets OPERATOR(pg_catalog.=) $12 AND NOT EXISTS ("
						"SELECT FROM @.idem_wakeup w WHERE w.pipeline OPERATOR(pg_catalog.=) $1 AND NOT w.checks) THEN $8 END,"
						" frontier_at = $10, frontier_of = $11" THIS_UNLOCKED),
						lengthof(types), types, args, isnull);
}

IdemFrontier
idem_stored_frontier(const char *schema, const char *name)
{
	static const Oid types[] = {TEXTOID};
	Datum args[] = {CStringGetTextDatum(name)};
	IdemFrontier frontier = {0};
	Datum values[4];
	bool nulls[4];

	if (!idem_fetch_own(schema,
						"SELECT p.resets, CASE WHEN NOT EXISTS (SELECT FROM @.idem_wakeup w"
						" WHERE w.pipeline OPERATOR(pg_catalog.=) p.name AND NOT w.checks) THEN p.frontier END,"
						" p.frontier_at, p.frontier_of FROM @.idem_pipeline_state p"
						" WHERE p.name OPERATOR(pg_catalog.=) $1",
						lengthof(types), types, args, NULL, lengthof(values), values, nulls))
		return frontier;
	frontier.resets = DatumGetInt64(values[0]);
	if (nulls[1] || nulls[2] || nulls[3])
		return frontier;
	frontier.bound = TextDatumGetCString(values[1]);
	frontier.read_at = DatumGetTimestampTz(values[2]);
	frontier.fingerprint = (uint64) DatumGetInt64(values[3]);
	return frontier;
}
