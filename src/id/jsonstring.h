/*
 * jsonstring.h
 *		Strings as Python's json.dumps() writes them with ensure_ascii.
 *
 * Text comes in the server's encoding and is escaped by code point, so the
 * output, plain ASCII, is the same in every database.  A character that the
 * server cannot convert to Unicode raises the conversion's own error.
 */
#ifndef IDEM_ID_JSONSTRING_H
#define IDEM_ID_JSONSTRING_H

#include "lib/stringinfo.h"

/* Appends len bytes of text in the server's encoding as a quoted JSON string. */
extern void idem_append_json_string(StringInfo buf, const char *text, int len);

/* The same for text that is UTF-8 already, surrogates allowed (see below). */
extern void idem_append_json_utf8(StringInfo buf, const char *text, int len);

/*
 * Appends ASCII text that needs no escape but the quotes; what our own writers
 * of dates, UUIDs and numbers produce.
 */
extern void idem_append_json_ascii(StringInfo buf, const char *text);

/*
 * Decodes the string token that begins at *text, its opening quote, into UTF-8
 * appended to buf, and leaves *text behind the closing quote.  The token must be
 * valid JSON, in the server's encoding.  Type json, unlike text and jsonb, can
 * hold \u0000 and lone surrogates: those come out as the bytes that UTF-8's
 * scheme gives them, which also sort by code point.
 */
extern void idem_decode_json_string(StringInfo buf, const char **text);

/* Text in the server's encoding as UTF-8; returns text itself if nothing changes. */
extern const char *idem_to_utf8(const char *text, int len, int *utf8_len);

#endif /* IDEM_ID_JSONSTRING_H */
