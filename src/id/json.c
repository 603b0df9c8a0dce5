/*
 * json.c
 *		JSON documents as Python would re-dump what it parsed from them.
 *
 * The server's own JSON parser either hands out raw tokens without saying where
 * they are or de-escapes strings into the server's encoding, where many of the
 * characters that a json value may hold do not exist.  A json value is known to
 * be valid, so reading it takes little.
 *
 * Members are written sorted, and straight into the result: an object's members
 * are found first, without reading what is in them, then sorted, then each is
 * written where it belongs.  A json text is gone through once beforehand to learn
 * where each of its containers ends, so that stepping over one costs nothing and
 * time and memory follow the text, however deep it is nested.
 */
#include "postgres.h"

#include "fmgr.h"
#include "id/decimal.h"
#include "id/json.h"
#include "id/jsonstring.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Where a container, an object or an array, of a json text ends. */
typedef struct JsonExtent
{
	int end;  /* offset behind it; while it is open, the container around it */
	int next; /* the first container that begins behind it */
} JsonExtent;

/* A member of an object, by offsets. */
typedef struct JsonMember
{
	int name; /* in the reader's names */
	int name_len;
	int value;	   /* in the text: of equal names the last wins */
	int container; /* the first container that begins there or later */
} JsonMember;

/* A json text that is being read. */
typedef struct JsonReader
{
	const char *text;
	const char *at;		 /* where reading has come to */
	int container;		 /* the first container that begins there or later */
	JsonExtent *extents; /* of all containers, in the order they begin */
	JsonMember *members; /* of the objects that are being written, innermost last */
	int nmembers;
	int size;			  /* of members */
	StringInfoData names; /* of members, in UTF-8; behind them, room for a string */
} JsonReader;

/* Doubles an array that is full; it may grow beyond what palloc() gives. */
#define DOUBLE_IF_FULL(array, n, size) \
	((n) < (size) ? (array) : repalloc_huge(array, ((size) *= 2) * sizeof(*(array))))

/* Returns what is behind the string token at text. */
static const char *
skip_string(const char *text)
{
	for (text++; *text != '"'; text++)
	{
		if (*text == '\\')
			text++;
	}
	return text + 1;
}

/* Finds where each container of a text ends. */
static JsonExtent *
find_extents(const char *text)
{
	Size size = 8;
	JsonExtent *extents = palloc(size * sizeof(JsonExtent));
	const char *at = text;
	int open = -1; /* the innermost container */
	int n = 0;

	for (;;)
	{
		at += strcspn(at, "\"{[]}");
		if (*at == '\0')
			return extents;
		if (*at == '"')
		{
			at = skip_string(at);
			continue;
		}
		at++;
		if (at[-1] == '{' || at[-1] == '[')
		{
			CHECK_FOR_INTERRUPTS();
			extents = DOUBLE_IF_FULL(extents, n, size);
			extents[n].end = open;
			open = n++;
		}
		else
		{
			int around = extents[open].end;

			extents[open].end = at - text;
			extents[open].next = n;
			open = around;
		}
	}
}

/* Moves behind white space. */
static void
skip_space(JsonReader *json)
{
	json->at += strspn(json->at, " \t\n\r");
}

/* Moves behind a token that is neither a string nor a container. */
static void
skip_word(JsonReader *json)
{
	json->at += strcspn(json->at, ",]} \t\n\r");
}

/* Moves behind the value at json->at, without looking into it. */
static void
skip_value(JsonReader *json)
{
	if (*json->at == '{' || *json->at == '[')
	{
		const JsonExtent *extent = &json->extents[json->container];

		json->at = json->text + extent->end;
		json->container = extent->next;
	}
	else if (*json->at == '"')
		json->at = skip_string(json->at);
	else
		skip_word(json);
}

/* Finds the members of the object at json->at and moves behind it. */
static void
find_members(JsonReader *json)
{
	json->at++;
	json->container++;
	for (skip_space(json); *json->at != '}'; skip_space(json))
	{
		JsonMember *m;

		CHECK_FOR_INTERRUPTS();
		if (*json->at == ',')
		{
			json->at++;
			skip_space(json);
		}
		json->members = DOUBLE_IF_FULL(json->members, json->nmembers, json->size);
		m = &json->members[json->nmembers++];
		m->name = json->names.len;
		idem_decode_json_string(&json->names, &json->at);
		m->name_len = json->names.len - m->name;
		skip_space(json);
		json->at++; /* the colon */
		skip_space(json);
		m->value = json->at - json->text;
		m->container = json->container;
		skip_value(json);
	}
	json->at++;
}

/* Compares names in UTF-8, in code-point order. */
static int
compare_names(const char *a, int alen, const char *b, int blen)
{
	int order = memcmp(a, b, Min(alen, blen));

	return order != 0 ? order : alen - blen;
}

/* Orders members by name, then by their place in the text; arg is the names. */
static int
compare_members(const void *a, const void *b, void *arg)
{
	const JsonMember *x = a;
	const JsonMember *y = b;
	const char *names = arg;
	int order = compare_names(names + x->name, x->name_len, names + y->name, y->name_len);

	return order != 0 ? order : x->value - y->value;
}

static void append_json_value(StringInfo buf, JsonReader *json);

/* Appends the member at place i of json->members, if none of its name follows. */
static bool
append_json_member(StringInfo buf, JsonReader *json, int i, int end, bool first)
{
	const JsonMember m = json->members[i];
	const char *name = json->names.data + m.name;

	if (i + 1 < end && json->members[i + 1].name_len == m.name_len &&
		memcmp(name, json->names.data + json->members[i + 1].name, m.name_len) == 0)
		return false;
	if (!first)
		appendStringInfoString(buf, ", ");
	idem_append_json_utf8(buf, name, m.name_len);
	appendStringInfoString(buf, ": ");
	json->at = json->text + m.value;
	json->container = m.container;
	append_json_value(buf, json);
	return true;
}

/* Appends the object at json->at and moves behind it. */
static void
append_json_object(StringInfo buf, JsonReader *json)
{
	int begin = json->nmembers;
	int names_len = json->names.len;
	bool first = true;
	const char *behind;
	int container;
	int end;
	int i;

	find_members(json);
	behind = json->at;
	container = json->container;
	end = json->nmembers;
	qsort_interruptible(json->members + begin, end - begin, sizeof(JsonMember),
						compare_members, json->names.data);
	appendStringInfoChar(buf, '{');
	for (i = begin; i < end; i++)
	{
		if (append_json_member(buf, json, i, end, first))
			first = false;
	}
	appendStringInfoChar(buf, '}');
	json->at = behind;
	json->container = container;
	json->nmembers = begin;
	json->names.len = names_len;
}

/* Appends the array at json->at and moves behind it. */
static void
append_json_array(StringInfo buf, JsonReader *json)
{
	appendStringInfoChar(buf, '[');
	json->at++;
	json->container++;
	for (skip_space(json); *json->at != ']'; skip_space(json))
	{
		if (*json->at == ',')
		{
			appendStringInfoString(buf, ", ");
			json->at++;
			skip_space(json);
		}
		append_json_value(buf, json);
	}
	appendStringInfoChar(buf, ']');
	json->at++;
}

/* Appends the string at json->at and moves behind it. */
static void
append_json_string(StringInfo buf, JsonReader *json)
{
	int names_len = json->names.len;

	idem_decode_json_string(&json->names, &json->at);
	idem_append_json_utf8(buf, json->names.data + names_len, json->names.len - names_len);
	json->names.len = names_len;
}

/* Appends the value at json->at and moves behind it. */
static void
append_json_value(StringInfo buf, JsonReader *json)
{
	const char *start = json->at;

	CHECK_FOR_INTERRUPTS();
	check_stack_depth();
	if (*start == '{')
		append_json_object(buf, json);
	else if (*start == '[')
		append_json_array(buf, json);
	else if (*start == '"')
		append_json_string(buf, json);
	else
	{
		skip_word(json);
		if (*start == '-' || (*start >= '0' && *start <= '9'))
			idem_append_json_number(buf, start, json->at - start);
		else
			appendBinaryStringInfo(buf, start, json->at - start);
	}
}

void
idem_append_json(StringInfo buf, const char *text)
{
	JsonReader json = {.text = text, .at = text, .size = 8};

	json.extents = find_extents(text);
	json.members = palloc(json.size * sizeof(JsonMember));
	initStringInfo(&json.names);
	skip_space(&json);
	append_json_value(buf, &json);
	pfree(json.extents);
	pfree(json.members);
	pfree(json.names.data);
}

/* A member of a jsonb object. */
typedef struct JsonbMember
{
	const char *name; /* UTF-8 */
	int name_len;
	JsonbValue value; /* a container stays where it is */
} JsonbMember;

/* Orders jsonb's members by name; there they are sorted by length first. */
static int
compare_jsonb_members(const void *a, const void *b, void *arg)
{
	const JsonbMember *x = a;
	const JsonbMember *y = b;

	return compare_names(x->name, x->name_len, y->name, y->name_len);
}

/* Appends a jsonb object, whose beginning the iterator has given. */
static void
append_jsonb_object(StringInfo buf, JsonbIterator **it, int nmembers)
{
	JsonbMember *members = MemoryContextAllocHuge(CurrentMemoryContext,
												  Max(nmembers, 1) * sizeof(JsonbMember));
	JsonbValue key;
	int n = 0;
	int i;

	while (JsonbIteratorNext(it, &key, true) == WJB_KEY)
	{
		JsonbMember *m = &members[n++];

		CHECK_FOR_INTERRUPTS();
		m->name = idem_to_utf8(key.val.string.val, key.val.string.len, &m->name_len);
		(void) JsonbIteratorNext(it, &m->value, true);
	}
	qsort_interruptible(members, n, sizeof(JsonbMember), compare_jsonb_members, NULL);
	appendStringInfoChar(buf, '{');
	for (i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoString(buf, ", ");
		idem_append_json_utf8(buf, members[i].name, members[i].name_len);
		appendStringInfoString(buf, ": ");
		idem_append_jsonb_value(buf, &members[i].value);
	}
	appendStringInfoChar(buf, '}');
	pfree(members);
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

	CHECK_FOR_INTERRUPTS();
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
