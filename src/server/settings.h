/*
 * settings.h
 *		The settings of idem; doc/reference.md has a table of them.
 */
#ifndef IDEM_SERVER_SETTINGS_H
#define IDEM_SERVER_SETTINGS_H

/* Wait for open writers of the source before a window is read. */
extern bool idem_wait_for_writers;

/* Lock a target, or parts of it, against everybody where that is faster. */
extern bool idem_allow_exclusive;

/* Write to targets by statements alone. */
extern bool idem_force_statements;

/* How long small windows that follow each other are loaded in one transaction, in milliseconds. */
extern int idem_batch_time;

/* Compute the checksum of the source rows. */
extern bool idem_source_digest;

/* Say in a NOTICE how each window is loaded, and why. */
extern bool idem_explain_method;

/* The databases for which the launcher keeps a scheduler, separated by commas. */
extern char *idem_databases;

/* How many pipelines run at once in a database. */
extern int idem_max_workers;

/* How many of them may check what is complete. */
extern int idem_max_check_workers;

/* How many workers all backfills of the server have together. */
extern int idem_max_backfill_workers;

/* How long a pipeline waits after its worker was lost, in milliseconds. */
extern int idem_crash_delay;

/* Defines the settings; preloaded: by shared_preload_libraries. */
extern void idem_define_settings(bool preloaded);

/* True if the launcher keeps a scheduler for a database. */
extern bool idem_is_scheduled_database(const char *name);

#endif /* IDEM_SERVER_SETTINGS_H */
