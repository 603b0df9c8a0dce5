/*
 * decimal.h
 *		Numbers as Python writes them.
 *
 * Python's json module prints an int as its digits and a float with repr(): the
 * shortest decimal that reads back to the same double, in fixed notation from
 * 1e-4 up to 1e16 and with an exponent outside.  The functions here append such
 * text to a buffer; they know nothing of SQL types but the values themselves.
 * They raise no error and depend on no setting: LC_NUMERIC is always C in a
 * server process.
 */
#ifndef IDEM_ID_DECIMAL_H
#define IDEM_ID_DECIMAL_H

#include "lib/stringinfo.h"

/* Appends repr(value): also "NaN", "Infinity" and "-Infinity". */
extern void idem_append_float8(StringInfo buf, double value);

/* Appends repr() of the double that a float4's own shortest digits denote. */
extern void idem_append_float4(StringInfo buf, float value);

/*
 * Appends a decimal number given as numeric_out() writes it, so that equal
 * numbers give equal text: an integral one as its digits; else repr() of the
 * nearest double where that denotes the very same decimal; else the exact
 * decimal without trailing zeros.
 */
extern void idem_append_numeric_text(StringInfo buf, const char *text);

/*
 * Appends a JSON number as Python's json.loads() and dumps() would rewrite it: a
 * float where the text has a fraction or an exponent, else an int of any size.
 */
extern void idem_append_json_number(StringInfo buf, const char *text, int len);

#endif /* IDEM_ID_DECIMAL_H */
