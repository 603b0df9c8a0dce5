/*
 * letters.h
 *		Dead letters: rows of a source that could not be loaded, kept beside the ledger.
 *
 * All SQL on a table of dead letters is in letters.c.  It is its owner's, as a ledger is,
 * and is read and written in the same way (access.h).  Functions that run SQL need
 * idem_connect, and raise 55000 if the table is not what was opened any more.
 */
#ifndef IDEM_LEDGER_LETTERS_H
#define IDEM_LEDGER_LETTERS_H

#include "ledger/ledger.h"

/* A row that could not be loaded, and why. */
typedef struct IdemLetter
{
	char row_id[16];   /* a digest of the record */
	const char *record; /* the source's columns as text, JSON */
	const char *stage;	/* at which it failed */
	int sqlerrcode;
	const char *message;
	const char *constraint; /* NULL: none */
	const char *column;		/* NULL: none */
} IdemLetter;

typedef struct IdemLetters IdemLetters;

/*
 * Opens a table of dead letters, in the current memory context; schema is the extension's.
 * Raises 42809 if it is none, or of windows of another type than the ledger's, and 42501 if
 * row security applies to the caller, who is not its owner.
 */
extern IdemLetters *idem_open_letters(Oid relid, Oid schema, const IdemRangeType *type);

/* Its name, qualified and quoted. */
extern const char *idem_letters_name(const IdemLetters *letters);

/*
 * Writes a letter of a run: a new one, or one that is open has been seen once more, whose window
 * is both.  Raises 09000 if a trigger keeps it from being there.
 */
extern void idem_write_letter(IdemLetters *letters, const IdemRun *run, int64 run_id, const IdemLetter *letter);

/*
 * Closes the open letters of the run's window that the run has not seen: their rows are gone.
 * One of which only a part lies in it is a letter of the rest from now on.
 */
extern void idem_close_letters(IdemLetters *letters, const IdemRun *run);

/* The next open letter of a pipeline after one, locked, with its window and record; false if there is none. */
extern bool idem_next_letter(IdemLetters *letters, const char *pipeline, int64 after, int64 *letter_id,
							 IdemWindow *window, char **record);

/* Says that a letter's row has been loaded, or why it could not be; raises 09000 if it stays as it was. */
extern void idem_end_letter(IdemLetters *letters, int64 letter_id, const ErrorData *error);

#endif /* IDEM_LEDGER_LETTERS_H */
