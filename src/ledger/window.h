/*
 * window.h
 *		Windows: ranges of time, dates or offsets, and how they are cut.
 *
 * A window is [lower, upper), finite and not empty.  Its bounds are held as int64
 * whatever the range type: microseconds since 2000-01-01 for timestamps, days
 * since then for dates, the number itself for offsets.  Pure: no SQL is run here.
 */
#ifndef IDEM_LEDGER_WINDOW_H
#define IDEM_LEDGER_WINDOW_H

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"

/* What there is to know of a range type that can be a ledger's. */
typedef struct IdemRangeType
{
	Oid range;
	Oid multirange;
	Oid bound;		  /* the type of a bound */
	const char *name; /* of the range */
	const char *multirange_name;
	const char *ledger; /* name of the ledger type */
} IdemRangeType;

typedef struct IdemWindow
{
	int64 lower;
	int64 upper;
} IdemWindow;

/* Finds the range type by its OID, or by a ledger type's name; NULL if none. */
extern const IdemRangeType *idem_range_type(Oid range);
extern const IdemRangeType *idem_range_type_of_ledger(const char *ledger_type);

/*
 * A bound as the server's datum, and as text for messages and results: as ISO, in the
 * session's time zone, which any session reads alike.
 */
extern Datum idem_bound_datum(const IdemRangeType *type, int64 bound);
extern char *idem_bound_text(const IdemRangeType *type, int64 bound);

/* A window as a range datum, and as such text; windows as the text of a multirange. */
extern Datum idem_window_datum(const IdemRangeType *type, IdemWindow window);
extern char *idem_window_text(const IdemRangeType *type, IdemWindow window);
extern char *idem_windows_text(const IdemRangeType *type, const IdemWindow *windows, int n);

/* The same text of any range that a ledger may hold, also of one that is no window. */
extern char *idem_range_text(const IdemRangeType *type, Datum range);

/* Reads a range or multirange datum from text of ours, by the type's input function. */
extern Datum idem_parse_range(const IdemRangeType *type, const char *text);
extern Datum idem_parse_multirange(const IdemRangeType *type, const char *text);

/*
 * Reads the argument window_range, or a bound, from the user's text; what is wrong with it
 * is an error that names the argument, and so is a bound that is not finite (22023).
 */
extern Datum idem_parse_window(const IdemRangeType *type, const char *text);
extern int64 idem_parse_bound(const IdemRangeType *type, const char *argument, const char *text);

/* A multirange, made of windows in any order, which may overlap. */
extern Datum idem_make_multirange(const IdemRangeType *type, const IdemWindow *windows, int n);

/*
 * Takes a window from a range datum.  Returns false for an empty range; raises
 * 22023 for one that is not [lower, upper) or has no finite bounds.
 */
extern bool idem_read_window(const IdemRangeType *type, Datum range, IdemWindow *window);

/* Takes the windows from a multirange datum, in order. */
extern IdemWindow *idem_read_windows(const IdemRangeType *type, Datum multirange, int *n);

/*
 * The bound that a column's value denotes, for a column of a type that
 * idem_is_window_column_type accepts: the bound's own, or one that converts to it
 * without asking any setting.
 */
extern bool idem_is_window_column_type(const IdemRangeType *type, Oid column);
extern int64 idem_value_bound(const IdemRangeType *type, Oid column, Datum value);

/* A step or lookback: an interval for times, a number for offsets. */
typedef struct IdemStep
{
	Interval interval;
	int64 count;
} IdemStep;

/*
 * Reads a step; argument names it in messages.  Raises 22023 if it is not positive, an
 * interval without a unit, or not whole days for dates.
 */
extern IdemStep idem_parse_step(const IdemRangeType *type, const char *argument,
								const char *text);

/*
 * Returns bound + n steps, by the calendar of the session's time zone where the
 * step has days or months; the type's last or first bound where that is beyond it.
 */
extern int64 idem_add_steps(const IdemRangeType *type, int64 bound,
							const IdemStep *step, int64 n);

/*
 * The last line of the grid origin + n * step, n from 0, that is not above bound, and
 * the one after it; a bound below origin gives origin.  Lines beyond the type's end
 * are its last bound.
 */
extern int64 idem_grid_line(const IdemRangeType *type, const IdemStep *step, int64 origin,
							int64 bound, int64 *next);

/*
 * The bound that a moment has reached, by the clock of the session's time zone, and
 * the moment a bound is reached.  Not for offsets.
 */
extern int64 idem_time_bound(const IdemRangeType *type, TimestampTz time);
extern TimestampTz idem_bound_time(const IdemRangeType *type, int64 bound);

/* The same text in UTC. */
extern char *idem_bound_iso(const IdemRangeType *type, int64 bound);

/* Windows to be cut into pieces on the grid origin + n * step. */
typedef struct IdemPieces
{
	const IdemRangeType *type;
	bool cut; /* false: every window is one piece */
	IdemStep step;
	int64 origin;
	const IdemWindow *windows;
	int nwindows;
	bool backwards; /* the last piece comes first */
} IdemPieces;

/* How far they have been cut; begins as all zeros. */
typedef struct IdemCursor
{
	int taken;		 /* windows */
	IdemWindow rest; /* of the last of them; empty if there is none */
} IdemCursor;

/*
 * Sets up the cutting of windows, which must be in order and not below origin, and
 * outlive it; step NULL does not cut them.
 */
extern void idem_begin_pieces(IdemPieces *pieces, const IdemRangeType *type,
							  const IdemStep *step, int64 origin,
							  const IdemWindow *windows, int nwindows, bool backwards);

/*
 * Gives the next piece; false at the end.  In constant time and memory, but by the
 * session's time zone.
 */
extern bool idem_next_piece(const IdemPieces *pieces, IdemCursor *cursor, IdemWindow *piece);

/*
 * How many pieces there are at most, without making them: a time zone may lack a day
 * that a step ends on.
 */
extern int64 idem_count_pieces(const IdemPieces *pieces);

#endif /* IDEM_LEDGER_WINDOW_H */
