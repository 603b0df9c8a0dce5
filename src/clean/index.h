/*
 * index.h
 *		The unique index that keeps duplicates out afterwards.
 */
#ifndef IDEM_CLEAN_INDEX_H
#define IDEM_CLEAN_INDEX_H

#include "clean/job.h"

/*
 * Builds a unique index on the keys, unless there is one, concurrently: nobody is kept from
 * writing.  Commits.  False if there were duplicates, and nothing of the index is left;
 * raises other errors.  Where no process can build it, says what to type, and returns true.
 */
extern bool idem_build_index(const IdemTable *table, IdemJob *job);

#endif /* IDEM_CLEAN_INDEX_H */
