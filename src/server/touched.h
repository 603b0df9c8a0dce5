/*
 * touched.h
 *		How many rows of a table have been written.
 */
#ifndef IDEM_SERVER_TOUCHED_H
#define IDEM_SERVER_TOUCHED_H

/*
 * How many rows of a table and its partitions this transaction has inserted, updated and
 * deleted so far, by the server's own count: whoever did it, triggers and actions of foreign
 * keys included, and also what a subtransaction has undone.  -1 if the server does not count, as it does not those of other servers.
 */
extern int64 idem_count_touched(Oid relid);

#endif /* IDEM_SERVER_TOUCHED_H */
