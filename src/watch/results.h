/*
 * results.h
 *		What checks found, as the rows of a function that returns a set.
 */
#ifndef IDEM_WATCH_RESULTS_H
#define IDEM_WATCH_RESULTS_H

#include "watch/check.h"

/* The columns of a check, idem_check_result, in order. */
#define IDEM_CHECK_COLUMNS 22

/* Makes them of one. */
extern void idem_make_check_row(const IdemCheck *check, Datum *values, bool *nulls);

/*
 * Adds the checks of a request's windows, or their differences, to the result.  If none of
 * its windows is complete there is nothing to check, and a notice says so.
 */
extern void idem_return_checks(FunctionCallInfo fcinfo, const IdemRequest *request, IdemDepth depth,
							   const IdemExpect *expect);
extern void idem_return_differences(FunctionCallInfo fcinfo, const IdemRequest *request, int64 max_rows);

/* Reads how many differences are wanted; 22023 for none. */
extern int64 idem_read_max_rows(FunctionCallInfo fcinfo, int arg);

#endif /* IDEM_WATCH_RESULTS_H */
