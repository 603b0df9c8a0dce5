/*
 * expect.c
 *		What is expected of a pipeline's windows, and how a monitor goes about it.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "server/compat.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "watch/expect.h"

const IdemExpect idem_expect_nothing = {
	.min_per_key = 1,
	.max_per_key = 1,
	.max_rows = IDEM_ANY_NUMBER,
	.null_keys = IDEM_ANY_NUMBER,
	.open_after = 1,
	.late = -1,
	.every = USECS_PER_HOUR,
	.budget = 10 * USECS_PER_SEC,
};

/* A month has thirty days, and nobody waits for a thousand years. */
#define LONGEST (1000 * INT64CONST(360) * USECS_PER_DAY)

/* What is wrong with a value, and what to type. */
idem_noreturn static void
refuse(const char *name, const char *value, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for %s: \"%s\"", name, value),
			 errhint("%s", hint)));
}

/* Reads a number without a sign from the beginning of a text; false if there is none, or it is too large. */
static bool
read_digits(const char **text, int64 *number)
{
	const char *at = *text;

	for (*number = 0; *at >= '0' && *at <= '9'; at++)
	{
		if (*number > (PG_INT64_MAX - 10) / 10)
			return false;
		*number = *number * 10 + (*at - '0');
	}
	if (at == *text)
		return false;
	*text = at;
	return true;
}

/* '1', '0..1', '1..3', '2..' */
static void
set_fanout(IdemExpect *expect, const char *name, const char *value)
{
	const char *at = value;
	bool read = read_digits(&at, &expect->min_per_key);

	expect->max_per_key = expect->min_per_key;
	if (read && strncmp(at, "..", 2) == 0)
	{
		at += 2;
		expect->max_per_key = IDEM_ANY_NUMBER;
		read = *at == '\0' || read_digits(&at, &expect->max_per_key);
	}
	if (!read || *at != '\0' || expect->max_per_key < expect->min_per_key || expect->max_per_key == 0)
		refuse(name, value, "Use how many rows of the target a key of the source has: '1', '0..1', '1..3' or '2..'.");
}

/* '10', '0.5%' */
static void
set_tolerance(IdemExpect *expect, const char *name, const char *value)
{
	char *end;

	expect->tolerance = strtod(value, &end);
	expect->percent = *end == '%';
	if (end == value || end[expect->percent] != '\0' || !(expect->tolerance >= 0) || !(expect->tolerance <= 1e15) ||
		(!expect->percent && expect->tolerance != floor(expect->tolerance)))
		refuse(name, value, "Use how many rows may be wrong: '10', or a share of the source's, '0.5%'.");
}

/* Reads a whole number. */
static int64
read_number(const char *name, const char *value, int64 least, int64 most)
{
	const char *at = value;
	int64 number;

	if (!read_digits(&at, &number) || *at != '\0' || number < least || number > most)
		refuse(name, value, psprintf("Use a whole number, at least " INT64_FORMAT ".", least));
	return number;
}

static void
set_min_rows(IdemExpect *expect, const char *name, const char *value)
{
	expect->min_rows = read_number(name, value, 0, PG_INT64_MAX);
}

static void
set_max_rows(IdemExpect *expect, const char *name, const char *value)
{
	expect->max_rows = read_number(name, value, 0, PG_INT64_MAX);
}

static void
set_null_keys(IdemExpect *expect, const char *name, const char *value)
{
	expect->null_keys = read_number(name, value, 0, PG_INT64_MAX);
}

static void
set_open_after(IdemExpect *expect, const char *name, const char *value)
{
	expect->open_after = (int) read_number(name, value, 1, 1000);
}

static void
set_max_seconds(IdemExpect *expect, const char *name, const char *value)
{
	char *end;
	double seconds = strtod(value, &end);

	if (end == value || *end != '\0' || !(seconds >= 0.001) || !(seconds <= 86400))
		refuse(name, value, "Use a number of seconds, from 0.001 to 86400.");
	expect->max_time = (int) ceil(seconds * 1000);
}

/* Reads how long something is. */
static int64
read_time(const char *name, const char *value, int64 least)
{
	const Interval *interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(value),
																	 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	double time = (double) interval->time + ((double) interval->day + 30.0 * interval->month) * USECS_PER_DAY;

	if (!(time >= (double) least) || !(time <= (double) LONGEST))
		refuse(name, value, psprintf("Use an interval, from '" INT64_FORMAT " seconds' to '1000 years'.", least / USECS_PER_SEC));
	return (int64) time;
}

static void
set_late(IdemExpect *expect, const char *name, const char *value)
{
	expect->late = read_time(name, value, 0);
}

static void
set_every(IdemExpect *expect, const char *name, const char *value)
{
	expect->every = read_time(name, value, USECS_PER_SEC);
}

static void
set_budget(IdemExpect *expect, const char *name, const char *value)
{
	expect->budget = read_time(name, value, USECS_PER_SEC);
}

/* The names; the first of them are arguments of functions too, in this order. */
static const struct
{
	const char *name;
	void (*set)(IdemExpect *expect, const char *name, const char *value);
} members[] = {
	{"fanout", set_fanout},
	{"tolerance", set_tolerance},
	{"min_rows", set_min_rows},
	{"max_rows", set_max_rows},
	{"null_keys", set_null_keys},
	{"max_seconds", set_max_seconds},
	{"open_after", set_open_after},
	{"late", set_late},
	{"every", set_every},
	{"budget", set_budget},
};

/* A value as text; NULL for one that is neither a text nor a number. */
static const char *
value_text(const JsonbValue *value)
{
	if (value->type == jbvString)
		return pnstrdup(value->val.string.val, value->val.string.len);
	if (value->type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	return NULL;
}

/* Takes a member of an object. */
static void
set_member(IdemExpect *expect, const char *name, const char *value)
{
	StringInfoData names;
	int i;

	initStringInfo(&names);
	for (i = 0; i < lengthof(members); i++)
	{
		if (strcmp(name, members[i].name) == 0)
		{
			if (value == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("%s must be a text or a number", name),
						 errhint("Or leave it out.")));
			members[i].set(expect, name, value);
			return;
		}
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", members[i].name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("checks have no member \"%s\"", name),
			 errhint("Use some of %s.", names.data)));
}

IdemExpect
idem_read_checks(Datum checks)
{
	Jsonb *object = DatumGetJsonbP(checks);
	IdemExpect expect = idem_expect_nothing;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue key;
	JsonbValue value;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("checks must be a JSON object"),
				 errhint("For example checks => '{\"tolerance\": \"0.1%%\", \"min_rows\": 1}'.")));
	iterator = JsonbIteratorInit(&object->root);
	(void) JsonbIteratorNext(&iterator, &key, true);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&iterator, &value, true);
		set_member(&expect, pnstrdup(key.val.string.val, key.val.string.len), value_text(&value));
	}
	return expect;
}

/* An argument as text, of the type that the function has it in. */
static const char *
argument_text(FunctionCallInfo fcinfo, int arg)
{
	switch (get_fn_expr_argtype(fcinfo->flinfo, arg))
	{
		case INT8OID:
			return psprintf(INT64_FORMAT, PG_GETARG_INT64(arg));
		case FLOAT8OID:
			return psprintf("%.9g", PG_GETARG_FLOAT8(arg));
		default:
			return text_to_cstring(PG_GETARG_TEXT_PP(arg));
	}
}

void
idem_read_expect(FunctionCallInfo fcinfo, int arg, IdemExpect *expect)
{
	int i;

	for (i = 0; i < IDEM_EXPECT_ARGUMENTS; i++)
	{
		if (!PG_ARGISNULL(arg + i))
			members[i].set(expect, psprintf("argument %s", members[i].name), argument_text(fcinfo, arg + i));
	}
}

int64
idem_allowance(const IdemExpect *expect, int64 rows)
{
	if (expect->percent)
		return (int64) Min(floor((double) rows * expect->tolerance / 100), 1e15);
	return (int64) expect->tolerance;
}

void
idem_check_expected(IdemExpect expect, bool has_keys)
{
	if (has_keys || (expect.min_per_key == 1 && expect.max_per_key == 1 && expect.null_keys == IDEM_ANY_NUMBER))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("fanout and null_keys need keys"),
			 errhint("Pass the natural key, for example keys => '{id}', or leave them out.")));
}
