/*
 * unseen.h
 *		idem's own SQL is not shown in errors.
 */
#ifndef IDEM_SERVER_UNSEEN_H
#define IDEM_SERVER_UNSEEN_H

/*
 * Runs work(arg), which runs sql.  An error passes through, but without sql: nobody has
 * typed it, and a position in it leads nowhere.  What triggers and functions that it calls
 * say of themselves stays.
 */
extern void idem_run_unseen(const char *sql, void (*work)(void *arg), void *arg);

#endif /* IDEM_SERVER_UNSEEN_H */
