/*
 * guc.h
 *		The settings of idem; the README has a table of them.
 */
#ifndef IDEM_GUC_H
#define IDEM_GUC_H

/* Wait for open writers of the source before a window is read. */
extern bool idem_wait_for_writers;

/* Truncate partitions that a reload replaces as a whole. */
extern bool idem_allow_truncate;

/* Compute the checksum of the source rows. */
extern bool idem_source_digest;

/* Say in a NOTICE how each window is loaded, and why. */
extern bool idem_explain_method;

extern void idem_define_settings(void);

/* Sets one of the server's settings until AtEOXact_GUC ends the level that NewGUCNestLevel began. */
extern void idem_set_for_level(const char *name, const char *value);

#endif /* IDEM_GUC_H */
