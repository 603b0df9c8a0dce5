/*
 * transaction.h
 *		SPI's beginning and end, transactions and subtransactions.
 */
#ifndef IDEM_SERVER_TRANSACTION_H
#define IDEM_SERVER_TRANSACTION_H

/*
 * Enters and leaves SPI; atomic false allows idem_commit and idem_rollback.  Between
 * the two the current memory context is one that lives until idem_finish.
 */
extern void idem_connect(bool atomic);
extern void idem_finish(void);
extern void idem_commit(void);
extern void idem_rollback(void);

/* Raises 25006 in a read-only transaction, which cannot do what is named. */
extern void idem_require_writable(const char *what);

/*
 * For a background worker, which has no portal to keep a snapshot while its statements
 * run: keeps one, across idem_commit and idem_rollback too, until it is dropped.
 */
extern void idem_keep_snapshot(void);
extern void idem_drop_snapshot(void);

/*
 * True for an error that says nothing of what was being done: somebody cancelled it, or
 * the server is going down (57014, 57P01, 57P02, 57P03).
 */
extern bool idem_is_cancel(int sqlerrcode);

/* True for an error that is a row's: of its data, or of a constraint (classes 22 and 23). */
extern bool idem_is_of_row(int sqlerrcode);

/*
 * Does work in a subtransaction.  If it fails, all of it is rolled back, nested SPI
 * levels included, and the error returned, copied to context; else NULL.  A cancel is
 * raised again.
 */
extern ErrorData *idem_try(void (*work)(void *arg), void *arg, MemoryContext context);

/* The same, but returns a cancel too: for who writes it down, and raises it himself. */
extern ErrorData *idem_try_any(void (*work)(void *arg), void *arg, MemoryContext context);

/* The same as idem_try, but what succeeds is rolled back too: nothing of it is left. */
extern ErrorData *idem_try_out(void (*work)(void *arg), void *arg, MemoryContext context);

/*
 * The same as idem_try, but for so many milliseconds at most; 0 is any time.  What has taken
 * longer is rolled back, and *late set, whether it has noticed or not.
 */
extern ErrorData *idem_try_within(int milliseconds, void (*work)(void *arg), void *arg, MemoryContext context, bool *late);

#endif /* IDEM_SERVER_TRANSACTION_H */
