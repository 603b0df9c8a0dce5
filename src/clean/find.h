/*
 * find.h
 *		Finding the rows that are to go.
 */
#ifndef IDEM_CLEAN_FIND_H
#define IDEM_CLEAN_FIND_H

#include "clean/job.h"
#include "clean/table.h"
#include "lib/stringinfo.h"

/* What has been found. */
typedef struct IdemFound
{
	int64 rows;		   /* that are to go */
	int64 keys;		   /* of which there are some */
	int64 null_keys;   /* of these, with a NULL */
	int64 conflicting; /* keys of which rows differ */
	int64 referenced;  /* rows that something refers to */
	const char *example;
} IdemFound;

/* Appends: ROW(k, …) of the keys, as alias d or k has them. */
extern void idem_append_key_row(StringInfo sql, const IdemTable *table, bool of_keeper);

/*
 * Appends: jsonb_build_array(k, …) of alias d; a key of a type that is not the server's own is
 * the text that its output function makes.
 */
extern void idem_append_key_array(StringInfo sql, const IdemTable *table);

/* Appends: hash_record_extended(ROW(k, …), 0), or 0 where no key can be hashed. */
extern void idem_append_key_hash(StringInfo sql, const IdemTable *table, bool of_keeper);

/* Appends a condition: rows of aliases d and k are alike in what makes rows different. */
extern void idem_append_same(StringInfo sql, const IdemTable *table, const char *first, const char *second);

/*
 * Finds the rows that are to go, and writes them down for the job's next round: those of all
 * keys in the first, later those of the keys of which rows were left.  Nothing is committed.
 * Raises 23505 for rows of one key that differ, and 23503 for rows that something refers
 * to, unless the call says what is to be done with them.
 */
extern void idem_find(const IdemTable *table, IdemJob *job, bool everything);

/* Only tells what would be found, in a NOTICE. */
extern void idem_report(const IdemTable *table);

/* Builds the query that finds them; candidates is SQL of the hashes of their keys. */
extern char *idem_build_find(const IdemTable *table, const char *candidates, bool examples);
extern char *idem_build_repeated(const IdemTable *table);

#endif /* IDEM_CLEAN_FIND_H */
