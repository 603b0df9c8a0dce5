/*
 * json.h
 *		JSON documents as Python would re-dump what it parsed from them.
 *
 * Members are sorted by code point, of duplicates the last wins, and numbers
 * follow Python's rule: with a fraction or an exponent a float, else an int.
 */
#ifndef IDEM_ID_JSON_H
#define IDEM_ID_JSON_H

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

/* Appends a valid JSON text, of type json, in the server's encoding. */
extern void idem_append_json(StringInfo buf, const char *text);

/* Appends a jsonb document, or one value of it. */
extern void idem_append_jsonb(StringInfo buf, JsonbContainer *container);
extern void idem_append_jsonb_value(StringInfo buf, JsonbValue *value);

#endif /* IDEM_ID_JSON_H */
