/*
 * source.h
 *		Where the rows come from: the user's query, run for a piece.
 */
#ifndef IDEM_LOAD_SOURCE_H
#define IDEM_LOAD_SOURCE_H

#include "ledger/window.h"
#include "load/rows.h"
#include "nodes/parsenodes.h"
#include "utils/snapshot.h"

typedef struct IdemSource IdemSource;

/*
 * Makes the source of a target from a query's text or a relation's name, in the
 * current memory context, and matches its columns to the target's by name, which
 * it marks in_source.  All that is wrong with them is an error here, before any
 * row is read: 42703 for a column the target lacks, 42701 for a repeated one,
 * 23502 for a NOT NULL column without default that is missing, 42804 for a type
 * that does not assign or would by the time zone of the session,
 * which time_zone names unless it is NULL, 428C9 for an identity column that cannot be written.
 */
extern IdemSource *idem_open_source(const char *text, IdemTarget *target,
									const IdemRangeType *type, int flags,
									const char *time_zone);

/* What it may do: have rows of the target updated; leave out columns that the target lacks. */
#define IDEM_SOURCE_UPDATES 1
#define IDEM_SOURCE_LEAVES_OUT 2

/* Have text converted to any type, by the type's input function. */
#define IDEM_SOURCE_READS_TEXT 4

/* Raises 42501 for relations in it that the current user may not read. */
extern void idem_check_source_rights(const IdemSource *source);

/*
 * How many rows of a relation that is the source have no value in the window column, and so
 * are in no window; 0 for a query, whose such rows are errors.
 */
extern int64 idem_count_windowless(const IdemSource *source);

/* The descriptor of the rows it makes. */
extern TupleDesc idem_source_desc(const IdemSource *source);

/* A source's columns, sorted by name, with their types. */
typedef struct IdemSchema
{
	int n;
	const char **names;
	const char **types;	 /* names that depend on no search_path */
	const char *columns; /* all of it, as a JSON object */
	const char *digest;	 /* of that, 32 hex digits */
} IdemSchema;

extern const IdemSchema *idem_source_schema(IdemSource *source);

/*
 * The columns that a source's text has and the target lacks, each as the SQL of a column
 * definition; and its schema.
 */
extern List *idem_missing_columns(const char *text, const IdemTarget *target, const IdemRangeType *type,
								  const IdemSchema **schema);

/*
 * True if it is the same to run it for one window after the other in one transaction: it
 * calls no volatile function, and no other server's snapshot would be kept meanwhile.
 */
extern bool idem_is_quiet_source(IdemSource *source);

/*
 * The same in two steps: its rows as they are, of this descriptor; and what makes rows of a
 * window of them, in the current memory context.
 */
extern TupleDesc idem_raw_desc(const IdemSource *source);
extern IdemRows idem_fetch_raw(IdemSource *source, IdemWindow window);
typedef struct IdemMaker IdemMaker;
extern IdemMaker *idem_open_maker(const IdemSource *source, IdemWindow window);
extern void idem_close_maker(IdemMaker *maker);

/*
 * Makes a row, which is good until the next one, of one that lies in a slot, or returns that
 * slot where it is the row itself.  To be called under the settings for conversions, in this
 * zone, where the source is pinned.  Raises what idem_run_source does for it.
 */
extern TupleTableSlot *idem_make_row(IdemMaker *maker, TupleTableSlot *raw);
extern bool idem_is_pinned_source(const IdemSource *source);
extern const char *idem_making_zone(const IdemSource *source);

/* The column that could not be made, after an error, which is forgotten; NULL if it was another. */
extern const char *idem_take_making(IdemMaker *maker);

/* The relations it reads, for idem_wait_for_source_writers. */
extern List *idem_source_relations(IdemSource *source);

/* Its query after parse analysis, as idem_query_tree's. */
extern Query *idem_source_tree(IdemSource *source);

/* Called for each row, whose columns may have to be fetched from the slot yet; false: it is not kept. */
typedef bool (*IdemTakeRow)(void *arg, TupleTableSlot *slot);

/*
 * Runs the source for a window, since a snapshot or, if that is NULL, under a new one, and
 * adds its rows to some, each of which take, if not NULL, has seen; all are counted, kept or
 * not.  Raises 23514 for a row outside the window, where the target has a window column.
 */
extern void idem_run_source(IdemSource *source, IdemWindow window, Snapshot since, IdemRows *rows,
							IdemTakeRow take, void *arg);

#endif /* IDEM_LOAD_SOURCE_H */
