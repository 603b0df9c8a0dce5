/*
 * shared.h
 *		Shared memory: who may have it, and how it is got.
 */
#ifndef IDEM_SERVER_SHARED_H
#define IDEM_SERVER_SHARED_H

/*
 * What is in shared memory, each part laid out by its own file: it says how much it
 * needs and initializes it once.
 */
typedef struct IdemSharedPart
{
	Size (*size)(void);
	void (*init)(void *part);
} IdemSharedPart;

/* Adds a part: in every process, in the same order, when the library is loaded. */
extern void idem_add_shared_part(const IdemSharedPart *part);

/* To be called when the library is loaded by shared_preload_libraries. */
extern void idem_request_shared(void);

/*
 * Returns a part's memory, or NULL where there is none: servers before 17 give shared
 * memory only to libraries that are preloaded.
 */
extern void *idem_shared_part(const IdemSharedPart *part);

/* Copies a text into a field of so many bytes, cut between two characters if it is longer. */
extern void idem_copy_text(char *to, const char *from, int size);

#endif /* IDEM_SERVER_SHARED_H */
