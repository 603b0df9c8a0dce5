/*
 * launcher.h
 *		The launcher: a scheduler for each database in idem.databases.
 */
#ifndef IDEM_PIPELINE_LAUNCHER_H
#define IDEM_PIPELINE_LAUNCHER_H

/* Registers it with the server that is being started. */
extern void idem_register_launcher(void);

extern PGDLLEXPORT void idem_launcher_main(Datum arg);

#endif /* IDEM_PIPELINE_LAUNCHER_H */
