/*
 * json.c
 *		JSON documents as Python would re-dump what it parsed from them.
 *
 * The server's own JSON parser either hands out raw tokens without saying where
 * they are or de-escapes strings into the server's encoding, where many of the
 * characters that a json value may hold do not exist.  A json value is known to
 * be valid, so reading it takes little: a writer that follows the text and
 * collects an object's members for sorting.
 */
#include "postgres.h"

#include "fmgr.h"
#include "id/decimal.h"
#include "id/json.h"
#include "id/jsonstring.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"

/* A member of an object that is being collected. */
typedef struct JsonMember
{
	char *name; /* UTF-8 */
	int name_len;
	char *value; /* canonical */
	int ordinal; /* place in the text: of equals the last wins */
} JsonMember;

/* Orders members by name, in code-point order, then by their place. */
static int
compare_members(const void *a, const void *b)
{
	const JsonMember *x = a;
	const JsonMember *y = b;
	int order = memcmp(x->name, y->name, Min(x->name_len, y->name_len));

	if (order == 0)
		order = x->name_len - y->name_len;
	return order != 0 ? order : x->ordinal - y->ordinal;
}

/* Appends an object from its collected members. */
static void
append_members(StringInfo buf, JsonMember *members, int nmembers)
{
	bool first = true;
	int i;

	qsort(members, nmembers, sizeof(JsonMember), compare_members);
	appendStringInfoChar(buf, '{');
	for (i = 0; i < nmembers; i++)
	{
		JsonMember *m = &members[i];

		if (i + 1 < nmembers && m->name_len == m[1].name_len &&
			memcmp(m->name, m[1].name, m->name_len) == 0)
			continue;
		if (!first)
			appendStringInfoString(buf, ", ");
		first = false;
		idem_append_json_utf8(buf, m->name, m->name_len);
		appendStringInfoString(buf, ": ");
		appendStringInfoString(buf, m->value);
	}
	appendStringInfoChar(buf, '}');
}

static void append_json_text(StringInfo buf, const char **text);

/* Moves behind white space. */
static void
skip_space(const char **text)
{
	*text += strspn(*text, " \t\n\r");
}

/* Appends the object at *text and moves behind it. */
static void
append_json_object(StringInfo buf, const char **text)
{
	int nmembers = 0;
	int size = 8;
	JsonMember *members = palloc(size * sizeof(JsonMember));

	(*text)++;
	for (skip_space(text); **text != '}'; skip_space(text))
	{
		StringInfoData name;
		StringInfoData value;

		if (**text == ',')
		{
			(*text)++;
			skip_space(text);
		}
		initStringInfo(&name);
		initStringInfo(&value);
		idem_decode_json_string(&name, text);
		skip_space(text);
		(*text)++; /* the colon */
		append_json_text(&value, text);

		if (nmembers == size)
			members = repalloc(members, (size *= 2) * sizeof(JsonMember));
		members[nmembers] = (JsonMember){name.data, name.len, value.data, nmembers};
		nmembers++;
	}
	(*text)++;
	append_members(buf, members, nmembers);
}

/* Appends the array at *text and moves behind it. */
static void
append_json_array(StringInfo buf, const char **text)
{
	appendStringInfoChar(buf, '[');
	(*text)++;
	for (skip_space(text); **text != ']'; skip_space(text))
	{
		if (**text == ',')
		{
			appendStringInfoString(buf, ", ");
			(*text)++;
		}
		append_json_text(buf, text);
	}
	appendStringInfoChar(buf, ']');
	(*text)++;
}

/* Appends the string at *text and moves behind it. */
static void
append_json_string_token(StringInfo buf, const char **text)
{
	StringInfoData decoded;

	initStringInfo(&decoded);
	idem_decode_json_string(&decoded, text);
	idem_append_json_utf8(buf, decoded.data, decoded.len);
	pfree(decoded.data);
}

/* Appends the value at *text, with white space before it, and moves behind it. */
static void
append_json_text(StringInfo buf, const char **text)
{
	const char *start;

	check_stack_depth();
	skip_space(text);
	start = *text;
	if (*start == '{')
		append_json_object(buf, text);
	else if (*start == '[')
		append_json_array(buf, text);
	else if (*start == '"')
		append_json_string_token(buf, text);
	else
	{
		*text += strcspn(start, ",]} \t\n\r");
		if (*start == '-' || (*start >= '0' && *start <= '9'))
			idem_append_json_number(buf, start, *text - start);
		else
			appendBinaryStringInfo(buf, start, *text - start);
	}
}

void
idem_append_json(StringInfo buf, const char *text)
{
	append_json_text(buf, &text);
}

/* Appends a jsonb object. */
static void
append_jsonb_object(StringInfo buf, JsonbIterator **it, int nmembers)
{
	JsonMember *members = palloc(Max(nmembers, 1) * sizeof(JsonMember));
	JsonbValue v;
	int n = 0;

	while (JsonbIteratorNext(it, &v, true) == WJB_KEY)
	{
		JsonMember *m = &members[n];
		StringInfoData value;

		initStringInfo(&value);
		m->name = unconstify(char *, idem_to_utf8(v.val.string.val, v.val.string.len,
												  &m->name_len));
		m->ordinal = n++;
		(void) JsonbIteratorNext(it, &v, true);
		idem_append_jsonb_value(&value, &v);
		m->value = value.data;
	}
	append_members(buf, members, n);
}

void
idem_append_jsonb(StringInfo buf, JsonbContainer *container)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbValue v;
	bool scalar = JsonContainerIsScalar(container);
	bool first = true;

	check_stack_depth();
	if (JsonbIteratorNext(&it, &v, true) == WJB_BEGIN_OBJECT)
	{
		append_jsonb_object(buf, &it, v.val.object.nPairs);
		return;
	}
	if (!scalar)
		appendStringInfoChar(buf, '[');
	while (JsonbIteratorNext(&it, &v, true) == WJB_ELEM)
	{
		if (!first)
			appendStringInfoString(buf, ", ");
		first = false;
		idem_append_jsonb_value(buf, &v);
	}
	if (!scalar)
		appendStringInfoChar(buf, ']');
}

void
idem_append_jsonb_value(StringInfo buf, JsonbValue *value)
{
	char *number;

	switch (value->type)
	{
		case jbvNull:
			appendStringInfoString(buf, "null");
			break;
		case jbvBool:
			appendStringInfoString(buf, value->val.boolean ? "true" : "false");
			break;
		case jbvString:
			idem_append_json_string(buf, value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			/* numeric keeps the scale: a fraction that was written is still seen */
			number = DatumGetCString(DirectFunctionCall1(numeric_out,
														 NumericGetDatum(value->val.numeric)));
			idem_append_json_number(buf, number, strlen(number));
			pfree(number);
			break;
		case jbvBinary:
			idem_append_jsonb(buf, value->val.binary.data);
			break;
		default:
			elog(ERROR, "unexpected jsonb value type: %d", (int) value->type);
	}
}
