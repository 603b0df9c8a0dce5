/*
 * find.h
 *		Finding the rows that are to go.
 */
#ifndef IDEM_CLEAN_FIND_H
#define IDEM_CLEAN_FIND_H

#include "clean/job.h"
#include "clean/table.h"
#include "lib/stringinfo.h"

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
extern void idem_append_same(StringInfo sql, const IdemTable *table);

/*
 * Finds the rows that are to go, and writes them down for the job's next round: those of all
 * keys in the first, later those of the keys of which rows were left.  Nothing is committed.
 * Raises 23505 for rows of one key that differ, and 23503 for rows that something refers
 * to, unless the call says what is to be done with them.
 */
extern void idem_find(const IdemTable *table, IdemJob *job, bool everything);

/* Only tells what would be found, in a NOTICE. */
extern void idem_report(const IdemTable *table);

#endif /* IDEM_CLEAN_FIND_H */
