/*
 * changes.h
 *		Whether the catalogs have changed.
 */
#ifndef IDEM_SERVER_CHANGES_H
#define IDEM_SERVER_CHANGES_H

/*
 * Hears what other sessions have committed, and returns a number that grows with every
 * change of a relation, a type, an operator or a schema of this database, also by this
 * session itself: what was looked up at the same number is still so.
 */
extern uint64 idem_catalog_changes(void);

#endif /* IDEM_SERVER_CHANGES_H */
