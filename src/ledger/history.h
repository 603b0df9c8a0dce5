/*
 * history.h
 *		What a ledger tells of the past, for who looks at it: failures and changed columns.
 *
 * Read as all of a ledger is (access.h), with the caller's rights.  Needs idem_connect.
 */
#ifndef IDEM_LEDGER_HISTORY_H
#define IDEM_LEDGER_HISTORY_H

#include "ledger/ledger.h"

/* Failed runs of one error, the last first; texts are allocated in the current memory context. */
typedef struct IdemErrorHistory
{
	const char *code;	 /* SQLSTATE; NULL if it was not recorded */
	const char *message; /* of the last of them; NULL the same */
	int64 runs;
	int64 windows;
	IdemWindow last; /* window of the last */
	TimestampTz last_at;
} IdemErrorHistory;

/* At most so many; n is how many there are. */
extern IdemErrorHistory *idem_read_error_history(IdemLedger *ledger, const char *pipeline, int max, int *n);

/* A run whose source had other columns than that of the run before, the last first. */
typedef struct IdemSchemaHistory
{
	IdemWindow window;
	TimestampTz at;
	const char *added; /* names and types, separated by commas; NULL: none */
	const char *dropped;
	const char *changed; /* NAME: OLD -> NEW */
	bool first;			 /* the first that was recorded, whose columns are all added */
} IdemSchemaHistory;

extern IdemSchemaHistory *idem_read_schema_history(IdemLedger *ledger, const char *pipeline, int max, int *n);

#endif /* IDEM_LEDGER_HISTORY_H */
