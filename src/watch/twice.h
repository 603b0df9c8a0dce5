/*
 * twice.h
 *		Which of many hashes come more than once.
 *
 * They are dealt out by their first bits, so that each part is sorted by itself, in the
 * processor's cache; what does not fit into work_mem waits in files, eight bytes a hash.
 */
#ifndef IDEM_WATCH_TWICE_H
#define IDEM_WATCH_TWICE_H

typedef struct IdemTwice IdemTwice;

/* Begins; adds a hash, all of whose bits have to be alike. */
extern IdemTwice *idem_begin_twice(void);
extern void idem_add_hash(IdemTwice *twice, uint64 hash);

/*
 * Finds those that come more than once, and returns how many there are: -1 for more than
 * fit into work_mem.  To be called once, after all have been added.
 */
extern int64 idem_find_twice(IdemTwice *twice);

/* True if a hash is one of them. */
extern bool idem_comes_twice(const IdemTwice *twice, uint64 hash);

extern void idem_end_twice(IdemTwice *twice);

#endif /* IDEM_WATCH_TWICE_H */
