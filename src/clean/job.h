/*
 * job.h
 *		The tables of a cleaning: jobs, rows that are to go, quarantine.
 *
 * They are the caller's, beside the table: NAME_dedupe has a row for each job,
 * NAME_dedupe_rows the rows that are to go while there is one, and the quarantine, by
 * default NAME_removed, those that went.  They are logged: unlogged tables are empty
 * after a crash.
 */
#ifndef IDEM_CLEAN_JOB_H
#define IDEM_CLEAN_JOB_H

#include "clean/table.h"

typedef struct IdemJob
{
	int64 id;
	const char *jobs;		/* tables, qualified and quoted */
	const char *rows;
	const char *quarantine;
	const char *arguments;	/* of the call */
	const char *phase;		/* finding, removing, indexing, done, abandoned, undone */
	int round;
	int64 position;			/* the last row that has been tried */
	int64 total;			/* rows found in this round */
	int64 removed;
	int64 repointed;
	const char *index;		/* that was built, qualified and quoted; NULL: none */
	const char *files;		/* which files the table had when they were found */
	uint64 changes;			/* of the catalogs, when the table was looked at last */
} IdemJob;

/* The tables' names; creates those of jobs and the quarantine.  They must be the caller's. */
extern IdemJob *idem_open_job(const IdemTable *table, const char *quarantine, const char *arguments);

/*
 * Locks them until the end of the transaction, and raises 42501 unless they still are the
 * caller's: to be called in each transaction before anything is done with them.
 */
extern void idem_hold_job(const IdemJob *job);

/*
 * Continues the job that an earlier call with the same arguments has left, or begins one;
 * what was begun with others is abandoned.
 */
extern void idem_begin_job(const IdemTable *table, IdemJob *job);

/* Makes the list of rows, in place of an older one, or throws it away. */
extern void idem_make_row_list(const IdemTable *table, const IdemJob *job);
extern void idem_drop_row_list(const IdemTable *table, const IdemJob *job);

/*
 * Writes down where a job is; in the transaction that brought it there.  Raises 55006 if
 * another session was there meanwhile.
 */
extern void idem_advance_job(IdemJob *job, const char *phase, int round, int64 position);

/* Books the index that is going to be built. */
extern void idem_book_index(IdemJob *job, const char *index);

/*
 * The job to be undone: one by its number, or with 0 the last that has removed rows; 02000
 * if there is none.  Books that its rows are back.
 */
extern IdemJob *idem_find_job(const IdemTable *table, int64 id);
extern void idem_book_undone(const IdemTable *table, const IdemJob *job);

/* The files of the table and its partitions, to be compared with job->files. */
extern const char *idem_table_files(const IdemTable *table);

/*
 * Keeps other sessions from cleaning the same table, until the end of the transaction or, with
 * beyond, until idem_unlock_table; 55006 if one does.
 */
extern void idem_lock_table(const IdemTable *table, bool beyond);
extern void idem_unlock_table(const IdemTable *table);

#endif /* IDEM_CLEAN_JOB_H */
