/*
 * call.h
 *		What the SQL calls that load have in common: arguments, and the notice at the end.
 */
#ifndef IDEM_LOAD_CALL_H
#define IDEM_LOAD_CALL_H

#include "fmgr.h"
#include "load/load.h"

/*
 * True if a procedure cannot commit.  It can if CALL is at top level, also from DO or
 * a procedure, but not in a transaction block, in a function or under a PL/pgSQL block
 * with an exception handler, which is a subtransaction.
 */
extern bool idem_call_is_atomic(FunctionCallInfo fcinfo);

/* A text argument, NULL if it is; fails for a NULL where a value is needed. */
extern char *idem_text_argument(FunctionCallInfo fcinfo, int arg);
extern void idem_require_argument(FunctionCallInfo fcinfo, int arg, const char *name);

/* The place of a text argument's value in a list of choices that ends with NULL; 22023 for another. */
extern int idem_choice_argument(FunctionCallInfo fcinfo, int arg, const char *name,
								const char *const *choices);
extern int idem_read_choice(const char *value, const char *name, const char *const *choices);

/* Reads the window from an argument, in one of its two forms; and on_busy from another. */
extern void idem_read_window_argument(FunctionCallInfo fcinfo, int arg, bool is_text,
									  IdemRequest *request);
extern IdemOnBusy idem_read_on_busy(FunctionCallInfo fcinfo, int arg);

/* The arguments that begin a load and a check, in order, and reads them. */
enum
{
	IDEM_ARG_LEDGER,
	IDEM_ARG_TARGET,
	IDEM_ARG_SOURCE,
	IDEM_ARG_WINDOW_RANGE,
	IDEM_ARG_MODE,
	IDEM_ARG_KEYS,
	IDEM_ARG_WINDOW_COLUMN,
	IDEM_ARG_PIPELINE,
};
extern IdemRequest idem_read_request(FunctionCallInfo fcinfo, bool is_text);

/* The values of on_schema_change, in the order of their enum, and NULL. */
extern const char *const idem_schema_changes[];

/* Says what a CALL has done. */
extern void idem_notice_summary(const IdemSummary *summary, bool atomic);

#endif /* IDEM_LOAD_CALL_H */
