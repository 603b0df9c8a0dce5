/*
 * guc.h
 *		The settings of idem; the README has a table of them.
 */
#ifndef IDEM_GUC_H
#define IDEM_GUC_H

/* Wait for open writers of the source before a window is read. */
extern bool idem_wait_for_writers;

extern void idem_define_settings(void);

#endif /* IDEM_GUC_H */
