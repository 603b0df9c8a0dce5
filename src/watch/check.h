/*
 * check.h
 *		Source and target of a window compared, as far as one has to look.
 */
#ifndef IDEM_WATCH_CHECK_H
#define IDEM_WATCH_CHECK_H

#include "fmgr.h"
#include "load/load.h"
#include "watch/expect.h"

/* How closely a window is looked at. */
typedef enum IdemDepth
{
	IDEM_DEPTH_AUTO,   /* digests, and rows where they differ */
	IDEM_DEPTH_COUNTS, /* rows and keys */
	IDEM_DEPTH_DIGEST, /* and checksums */
	IDEM_DEPTH_ROWS,   /* and each row */
} IdemDepth;

/* Of what a check names keys. */
enum
{
	IDEM_SAMPLE_MISSING,
	IDEM_SAMPLE_EXTRA,
	IDEM_SAMPLE_DIFFERENT,
	IDEM_SAMPLE_DUPLICATE,
	IDEM_SAMPLES,
};

/* What was not counted. */
#define IDEM_NOT_COUNTED (-1)

/* What came of one window. */
typedef struct IdemCheck
{
	const IdemRangeType *type;
	const char *pipeline;
	IdemWindow window;
	int64 run_id;	 /* that completed it */
	IdemDepth depth; /* that it came to */
	bool remote;	 /* some of it lies on another server, whose snapshot is another */
	int64 source_rows;
	int64 source_keys; /* different ones; without keys IDEM_NOT_COUNTED, as the others */
	int64 source_null_keys; /* rows of which a key is NULL */
	int64 target_rows;
	int64 target_keys;
	int64 target_null_keys;
	int64 duplicate_keys; /* that the target holds more than once */
	int64 surplus_rows;	  /* of the target, above the source's keys, or rows where there are none */
	int64 max_per_key;
	int64 missing_rows;
	int64 extra_rows;
	int64 different_rows;
	Datum source_digest; /* a bytea; 0 if there is none */
	Datum target_digest;
	TimestampTz checked_at;
	double seconds;
	int64 allowed;		/* rows that may be wrong */
	const char *result; /* "ok", or what is wrong, separated by commas */
	Datum samples[IDEM_SAMPLES]; /* keys, or rows that have none, as a jsonb array; 0 if there are none */
} IdemCheck;

/*
 * Compares, as whom the request is made, each window of it that is complete: ledger, source
 * and target in one snapshot.  Nothing is written.  What can be judged depends on the mode:
 * after an upsert a row of the window may have come with another one, so it tells of what
 * is missing, and of what differs of the rows that the window column still places there.
 * Returns how many windows there were.  Raises what a load of the same request would; but a
 * check that takes longer than is expected of it has failed.
 */
typedef void (*IdemTakeCheck)(void *arg, const IdemCheck *check);
extern int64 idem_check_windows(const IdemRequest *request, IdemDepth depth, const IdemExpect *expect,
								IdemTakeCheck take, void *arg);

/* What there is to say of a window's check that failed, as it does in a WARNING: "check_failed". */
extern IdemCheck idem_failed_check(const IdemRangeType *type, const char *pipeline, IdemWindow window, IdemDepth depth,
								   const ErrorData *error);

/* Reads what an argument says of the depth, and the name of one. */
extern IdemDepth idem_read_depth(FunctionCallInfo fcinfo, int arg);
extern const char *idem_depth_name(IdemDepth depth);

/*
 * The rows by which the two differ, at most so many: side (source, target, both or
 * duplicate), key, source_row, target_row, and which columns differ.
 */
#define IDEM_DIFFERENCE_COLUMNS 5
typedef void (*IdemTakeDifference)(void *arg, const Datum *values, const bool *nulls);
extern int64 idem_find_differences(const IdemRequest *request, int64 max_rows, IdemTakeDifference take, void *arg);

#endif /* IDEM_WATCH_CHECK_H */
