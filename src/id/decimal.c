/*
 * decimal.c
 *		Numbers as Python writes them.
 *
 * The server has a fast shortest-digits conversion (Ryu), but builds it without
 * accepting the bounds of the rounding interval, so for some doubles above 2^54
 * it prints more digits than Python: 9.999999999999999e+22 for 1e23.  A bound
 * belongs to the interval when the mantissa is even, and only large integral
 * values have bounds that are short decimals; for those we try the decimals with
 * fewer digits that lie just below and just above, and keep what reads back.
 * Ryu: Ulf Adams, "Ryu: fast float-to-string conversion", PLDI 2018.
 *
 * This file must not know SQL types or catalogs.
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "id/decimal.h"

/* Enough for every double's digits; numerics are handled as text. */
#define MAX_DIGITS 20

/* A non-negative decimal: 0.DIGITS times ten to the power of point. */
typedef struct Decimal
{
	char digits[MAX_DIGITS + 1]; /* no leading or trailing zero, but "0" */
	int ndigits;
	int point;
} Decimal;

/* Removes trailing zeros, of which the value does not depend. */
static void
trim_decimal(Decimal *dec)
{
	while (dec->ndigits > 1 && dec->digits[dec->ndigits - 1] == '0')
		dec->ndigits--;
	dec->digits[dec->ndigits] = '\0';
}

/*
 * Reads digits, fraction and exponent of an unsigned decimal text into *dec.
 * Returns false if it has more significant digits than a Decimal holds.
 */
static bool
parse_decimal(const char *text, Decimal *dec)
{
	int zeros = 0; /* pending: only significant if a digit follows */
	bool fraction = false;

	dec->ndigits = 0;
	dec->point = 0;
	for (; *text && *text != 'e' && *text != 'E'; text++)
	{
		if (*text == '.')
		{
			fraction = true;
			continue;
		}
		if (*text == '0' && dec->ndigits == 0)
		{
			dec->point -= fraction ? 1 : 0;
			continue;
		}
		dec->point += fraction ? 0 : 1;
		if (*text == '0')
		{
			zeros++;
			continue;
		}
		if (dec->ndigits + zeros + 1 > MAX_DIGITS)
			return false;
		for (; zeros > 0; zeros--)
			dec->digits[dec->ndigits++] = '0';
		dec->digits[dec->ndigits++] = *text;
	}
	if (dec->ndigits == 0)
	{
		dec->digits[dec->ndigits++] = '0';
		dec->point = 1;
	}
	else if (*text)
		dec->point += atoi(text + 1);
	dec->digits[dec->ndigits] = '\0';
	return true;
}

/* Reads a Decimal back: as a double, or as a float. */
static double
read_decimal(const Decimal *dec, bool single)
{
	char text[MAX_DIGITS + 16];

	snprintf(text, sizeof(text), "0.%se%d", dec->digits, dec->point);
	return single ? strtof(text, NULL) : strtod(text, NULL);
}

/* Adds one to the last digit. */
static void
increment_decimal(Decimal *dec)
{
	int i = dec->ndigits - 1;

	while (i >= 0 && dec->digits[i] == '9')
		dec->digits[i--] = '0';
	if (i >= 0)
		dec->digits[i]++;
	else
	{
		dec->digits[0] = '1';
		dec->point++;
	}
	trim_decimal(dec);
}

/*
 * Shortens the server's digits of value where a shorter decimal reads back too.
 * If none of n digits does, none of fewer does, so the first miss ends it.
 */
static void
shorten_decimal(Decimal *dec, double value, bool single)
{
	while (dec->ndigits > 1)
	{
		Decimal below = *dec;
		Decimal above;

		below.ndigits--;
		trim_decimal(&below);
		above = *dec;
		above.ndigits--;
		above.digits[above.ndigits] = '\0';
		increment_decimal(&above);
		if (read_decimal(&below, single) == value)
			*dec = below;
		else if (read_decimal(&above, single) == value)
			*dec = above;
		else
			return;
	}
}

/* Appends a Decimal in repr()'s layout (Python's float_repr_style 'short'). */
static void
append_repr(StringInfo buf, const Decimal *dec)
{
	int point = dec->point;
	int i;

	if (point <= -4 || point > 16)
	{
		appendStringInfoChar(buf, dec->digits[0]);
		if (dec->ndigits > 1)
			appendStringInfo(buf, ".%s", dec->digits + 1);
		appendStringInfo(buf, "e%c%02d", point > 0 ? '+' : '-', abs(point - 1));
	}
	else if (point <= 0)
	{
		appendStringInfoString(buf, "0.");
		for (i = point; i < 0; i++)
			appendStringInfoChar(buf, '0');
		appendStringInfoString(buf, dec->digits);
	}
	else if (point >= dec->ndigits)
	{
		appendStringInfoString(buf, dec->digits);
		for (i = dec->ndigits; i < point; i++)
			appendStringInfoChar(buf, '0');
		appendStringInfoString(buf, ".0");
	}
	else
	{
		appendBinaryStringInfo(buf, dec->digits, point);
		appendStringInfoChar(buf, '.');
		appendStringInfoString(buf, dec->digits + point);
	}
}

/* Appends what is not a finite number and says so; or the sign of what is. */
static bool
append_special(StringInfo buf, double value)
{
	if (isnan(value))
	{
		appendStringInfoString(buf, "NaN");
		return true;
	}
	if (signbit(value))
		appendStringInfoChar(buf, '-');
	if (isinf(value))
	{
		appendStringInfoString(buf, "Infinity");
		return true;
	}
	return false;
}

/* Finds the strictly shortest digits of a finite, non-negative double. */
static void
shortest_float8(double value, Decimal *dec)
{
	char text[DOUBLE_SHORTEST_DECIMAL_LEN];

	double_to_shortest_decimal_buf(value, text);
	(void) parse_decimal(text, dec);
	if (value > 18014398509481984.0) /* 2^54 */
		shorten_decimal(dec, value, false);
}

void
idem_append_float8(StringInfo buf, double value)
{
	Decimal dec;

	if (append_special(buf, value))
		return;
	shortest_float8(fabs(value), &dec);
	append_repr(buf, &dec);
}

void
idem_append_float4(StringInfo buf, float value)
{
	char text[FLOAT_SHORTEST_DECIMAL_LEN];
	Decimal dec;

	if (append_special(buf, value))
		return;
	value = fabsf(value);
	float_to_shortest_decimal_buf(value, text);
	(void) parse_decimal(text, &dec);
	if (value > 33554432.0f) /* 2^25: the same for a 24-bit mantissa */
		shorten_decimal(&dec, value, true);

	/* Nine digits at most: a double has room, these are its digits too. */
	append_repr(buf, &dec);
}

/* True if the double nearest to a Decimal has just its digits. */
static bool
double_denotes(const Decimal *dec)
{
	Decimal shortest;
	double value;

	/* any 15 digits survive a double, away from the ends of its range */
	if (dec->ndigits <= 15 && dec->point > -290 && dec->point < 290)
		return true;
	value = read_decimal(dec, false);
	if (isinf(value) || value == 0)
		return false;
	shortest_float8(value, &shortest);
	return shortest.point == dec->point && strcmp(shortest.digits, dec->digits) == 0;
}

void
idem_append_numeric_text(StringInfo buf, const char *text)
{
	const char *dot = strchr(text, '.');
	const char *end = text + strlen(text);
	Decimal dec;

	if (dot)
	{
		while (end[-1] == '0')
			end--;
		if (end[-1] == '.')
			end--;
	}
	if (*text == '-')
		appendStringInfoChar(buf, *text++);

	/* an integer of any size, or NaN, or Infinity, or more than a double has */
	if (dot == NULL || end <= dot ||
		!parse_decimal(text, &dec) || !double_denotes(&dec))
		appendBinaryStringInfo(buf, text, end - text);
	else
		append_repr(buf, &dec);
}

void
idem_append_json_number(StringInfo buf, const char *text, int len)
{
	char *copy = pnstrdup(text, len);

	/* float("1e400") is inf and float("1e-400") is 0.0, without an error */
	if (strpbrk(copy, ".eE") != NULL)
		idem_append_float8(buf, strtod(copy, NULL));
	else if (strcmp(copy, "-0") == 0)
		appendStringInfoChar(buf, '0');
	else
		appendStringInfoString(buf, copy);
	pfree(copy);
}
