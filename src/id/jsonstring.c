/*
 * jsonstring.c
 *		Strings as Python's json.dumps() writes them with ensure_ascii.
 *
 * Python escapes everything outside ' '..'~', with the short escapes where there
 * are any and lower-case \uXXXX elsewhere, surrogate pairs beyond the BMP.  The
 * server's escape_json() leaves non-ASCII characters alone, hence our own.
 */
#include "postgres.h"

#include "id/jsonstring.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

/* True for the bytes that stand for themselves inside a JSON string. */
static inline bool
is_plain(unsigned char c)
{
	return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

const char *
idem_to_utf8(const char *text, int len, int *utf8_len)
{
	char *utf8;
	int i;

	*utf8_len = len;
	if (GetDatabaseEncoding() == PG_UTF8)
		return text;
	for (i = 0; i < len && !IS_HIGHBIT_SET(text[i]);)
		i++;
	if (i == len)
		return text;
	utf8 = pg_server_to_any(text, len, PG_UTF8);
	if (utf8 != text)
		*utf8_len = strlen(utf8);
	return utf8;
}

/* Appends \uXXXX. */
static void
append_code_unit(StringInfo buf, uint32 unit)
{
	static const char hex[] = "0123456789abcdef";
	char escape[6] = {'\\', 'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15],
					  hex[unit >> 4 & 15], hex[unit & 15]};

	appendBinaryStringInfo(buf, escape, sizeof(escape));
}

/* Appends the escape of one code point that does not stand for itself. */
static void
append_escape(StringInfo buf, pg_wchar c)
{
	static const char shorts[] = "\"\"\\\\\nn\rr\tt\ff\bb";
	int i;

	for (i = 0; shorts[i]; i += 2)
	{
		if (c == (pg_wchar) shorts[i])
		{
			appendStringInfoChar(buf, '\\');
			appendStringInfoChar(buf, shorts[i + 1]);
			return;
		}
	}
	if (c >= 0x10000)
	{
		append_code_unit(buf, 0xd800 + ((c - 0x10000) >> 10));
		append_code_unit(buf, 0xdc00 + ((c - 0x10000) & 0x3ff));
	}
	else
		append_code_unit(buf, c);
}

/*
 * Reads one character and moves *text behind it.  Text of a database can be invalid
 * in its encoding ("char" cuts characters), so it is not trusted; a surrogate, as
 * idem_decode_json_string() makes them, is let through.
 */
static pg_wchar
read_utf8(const char **text, const char *end)
{
	const unsigned char *at = (const unsigned char *) *text;
	int len = pg_utf_mblen(at);
	bool complete = len <= end - *text;
	bool surrogate = complete && len == 3 && at[0] == 0xed && (at[1] & 0xe0) == 0xa0 &&
					 (at[2] & 0xc0) == 0x80;

	if (!complete || (!surrogate && !pg_utf8_islegal(at, len)))
		report_invalid_encoding(PG_UTF8, *text, end - *text);
	*text += len;
	return utf8_to_unicode(at);
}

void
idem_append_json_utf8(StringInfo buf, const char *text, int len)
{
	const char *end = text + len;

	appendStringInfoChar(buf, '"');
	while (text < end)
	{
		const char *run = text;

		while (text < end && is_plain((unsigned char) *text))
			text++;
		if (text > run)
			appendBinaryStringInfo(buf, run, text - run);
		if (text < end)
		{
			CHECK_FOR_INTERRUPTS();
			append_escape(buf, read_utf8(&text, end));
		}
	}
	appendStringInfoChar(buf, '"');
}

void
idem_append_json_string(StringInfo buf, const char *text, int len)
{
	int utf8_len;
	const char *utf8 = idem_to_utf8(text, len, &utf8_len);

	idem_append_json_utf8(buf, utf8, utf8_len);
	if (utf8 != text)
		pfree(unconstify(char *, utf8));
}

void
idem_append_json_ascii(StringInfo buf, const char *text)
{
	appendStringInfoChar(buf, '"');
	appendStringInfoString(buf, text);
	appendStringInfoChar(buf, '"');
}

/* Reads the four hex digits at text. */
static pg_wchar
read_code_unit(const char *text)
{
	char digits[5] = {text[0], text[1], text[2], text[3], '\0'};

	return (pg_wchar) strtoul(digits, NULL, 16);
}

/* Reads \uXXXX, or a pair of them that make one character; moves *text on. */
static pg_wchar
read_unicode_escape(const char **text)
{
	pg_wchar c = read_code_unit(*text + 2);

	*text += 6;
	if (is_utf16_surrogate_first(c) && (*text)[0] == '\\' && (*text)[1] == 'u')
	{
		pg_wchar second = read_code_unit(*text + 2);

		if (is_utf16_surrogate_second(second))
		{
			*text += 6;
			return surrogate_pair_to_codepoint(c, second);
		}
	}
	return c;
}

/* Decodes the escape at *text and moves behind it. */
static pg_wchar
read_escape(const char **text)
{
	static const char shorts[] = "n\nr\rt\tf\fb\b";
	char c = (*text)[1];
	int i;

	if (c == 'u')
		return read_unicode_escape(text);
	*text += 2;
	for (i = 0; shorts[i]; i += 2)
	{
		if (c == shorts[i])
			return (pg_wchar) shorts[i + 1];
	}
	return (pg_wchar) c; /* a quote, a backslash or a slash */
}

void
idem_decode_json_string(StringInfo buf, const char **text)
{
	(*text)++;
	while (**text != '"')
	{
		const char *run = *text;

		while (**text != '"' && **text != '\\')
			(*text)++;
		if (*text > run)
		{
			int len;
			const char *utf8 = idem_to_utf8(run, *text - run, &len);

			appendBinaryStringInfo(buf, utf8, len);
			if (utf8 != run)
				pfree(unconstify(char *, utf8));
		}
		if (**text == '\\')
		{
			unsigned char utf8[5] = {0};

			unicode_to_utf8(read_escape(text), utf8);
			appendBinaryStringInfo(buf, (char *) utf8, pg_utf_mblen(utf8));
		}
	}
	(*text)++;
}
