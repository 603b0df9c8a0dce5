/*
 * alone.h
 *		Commands that cannot run inside a procedure: CREATE INDEX CONCURRENTLY and its like.
 */
#ifndef IDEM_CLEAN_ALONE_H
#define IDEM_CLEAN_ALONE_H

/* True if a process can be started that is the caller: before 17 he must be able to log in. */
extern bool idem_can_run_alone(void);

/*
 * Runs one utility command in a process of its own, as the caller and under his search_path,
 * and waits for its end; ends it if the call is cancelled.  Returns NULL, or its error.  The
 * caller must have committed and asked nothing since: the command waits for whoever has an
 * older snapshot, without the server noticing that he waits for it.
 */
extern ErrorData *idem_run_alone(const char *sql);

extern PGDLLEXPORT void idem_alone_main(Datum arg);

#endif /* IDEM_CLEAN_ALONE_H */
