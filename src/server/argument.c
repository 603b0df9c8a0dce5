/*
 * argument.c
 *		Values of arguments that are given as text.
 *
 * The server's input functions say what is wrong with a value, and not whose: of five
 * intervals in a call, "interval out of range" may be any.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "server/argument.h"
#include "server/compat.h"

/* So much of a text, and of what the server says of it, is shown, in bytes. */
#define MAX_TEXT 100
#define MAX_MESSAGE 300

/* A text, clipped. */
static char *
shown_text(const char *text, int max)
{
	size_t len = strlen(text);

	if (len <= max)
		return pstrdup(text);
	return psprintf("%.*s…", pg_mbcliplen(text, len, max), text);
}

/* Raises an error of a value again, as the argument's. */
idem_noreturn static void
report_value(const char *argument, const char *text)
{
	ErrorData *error = CopyErrorData();

	FlushErrorState();
	error->detail = psprintf("%s.%s%s", shown_text(error->message, MAX_MESSAGE),
							 error->detail ? " " : "", error->detail ? error->detail : "");
	error->detail[0] = pg_ascii_toupper((unsigned char) error->detail[0]);
	error->message = psprintf("invalid value for argument %s: \"%s\"", argument, shown_text(text, MAX_TEXT));
	ReThrowError(error);
	pg_unreachable();
}

void
idem_read_argument(const char *argument, const char *text, void (*work)(void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;

	/* nothing is undone here, for the error goes on */
	PG_TRY();
	{
		work(arg);
	}
	PG_CATCH();
	{
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		report_value(argument, text);
	}
	PG_END_TRY();
}
