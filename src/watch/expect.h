/*
 * expect.h
 *		What is expected of a pipeline's windows, and how a monitor goes about it.
 *
 * One value has one reader, whether it comes as an argument of a function or as a member
 * of a pipeline's checks, a JSON object.
 */
#ifndef IDEM_WATCH_EXPECT_H
#define IDEM_WATCH_EXPECT_H

#include "fmgr.h"

/* Nobody has said how many there may be. */
#define IDEM_ANY_NUMBER PG_INT64_MAX

typedef struct IdemExpect
{
	int64 min_per_key; /* rows of the target for a key of the source, one if nobody says */
	int64 max_per_key; /* or IDEM_ANY_NUMBER */
	double tolerance;  /* so many rows may be wrong, */
	bool percent;	   /* of a hundred of the source */
	int64 min_rows;	   /* that a window has at least */
	int64 max_rows;	   /* and at most, or IDEM_ANY_NUMBER */
	int64 null_keys;   /* rows of which a key may be NULL, or IDEM_ANY_NUMBER */
	int max_time;	   /* that a window's check may take, in milliseconds; 0: any */
	int open_after;	   /* checks in a row that have to find it before an alert opens */
	int64 late;		   /* how long a window may be due, in microseconds; -1: nobody has said */
	int64 every;	   /* how often a monitor looks at what is complete, in microseconds */
	int64 budget;	   /* how long it may take each time, in microseconds */
	bool counts_windowless; /* rows of the source that are in no window are counted, and said */
	int max_samples;   /* keys that a check is to name of what is wrong, of each kind */
} IdemExpect;

/* What nobody has said anything about. */
extern const IdemExpect idem_expect_nothing;

/* Reads a pipeline's checks, a jsonb; 22023 for what is none of these, or makes no sense. */
extern IdemExpect idem_read_checks(Datum checks);

/*
 * Reads the arguments fanout, tolerance, min_rows, max_rows, null_keys and max_seconds, the
 * first of which is arg; what is NULL stays as it is.
 */
#define IDEM_EXPECT_ARGUMENTS 6
extern void idem_read_expect(FunctionCallInfo fcinfo, int arg, IdemExpect *expect);

/* Raises 22023 for what cannot be expected of rows without keys. */
extern void idem_check_expected(IdemExpect expect, bool has_keys);

/* How many rows may be wrong of so many. */
extern int64 idem_allowance(const IdemExpect *expect, int64 rows);

#endif /* IDEM_WATCH_EXPECT_H */
