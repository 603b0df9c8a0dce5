/*
 * unseen.c
 *		idem's own SQL is not shown in errors.
 *
 * SPI adds the text of what it runs to the context of every error, and turns a position
 * into one of that text.  There is no way to ask it not to, and an error context callback
 * can add to a context but take nothing away; so the error is caught, cut and raised again.
 */
#include "postgres.h"

#include "server/unseen.h"

/* Takes the line that has sql in it out of a context; NULL if nothing is left. */
static char *
cut_context(char *context, const char *sql)
{
	char *start = context ? strstr(context, sql) : NULL;
	char *end;

	if (start == NULL)
		return context;
	end = strchr(start + strlen(sql), '\n');
	while (start > context && start[-1] != '\n')
		start--;
	if (end)
		memmove(start, end + 1, strlen(end + 1) + 1);
	else
		start[start > context ? -1 : 0] = '\0';
	return context[0] ? context : NULL;
}

/* Takes sql out of an error. */
static void
cut_error(ErrorData *error, const char *sql)
{
	if (error->internalquery && strcmp(error->internalquery, sql) == 0)
	{
		error->internalquery = NULL;
		error->internalpos = 0;
	}
	error->context = cut_context(error->context, sql);
}

void
idem_run_unseen(const char *sql, void (*work)(void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		work(arg);
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		cut_error(error, sql);
		ReThrowError(error);
	}
	PG_END_TRY();
}
