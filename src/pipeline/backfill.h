/*
 * backfill.h
 *		Many windows at once, in parallel workers.
 */
#ifndef IDEM_PIPELINE_BACKFILL_H
#define IDEM_PIPELINE_BACKFILL_H

/* A worker's process: loads windows of its segment's list until there are none left. */
extern PGDLLEXPORT void idem_backfill_main(Datum arg);

#endif /* IDEM_PIPELINE_BACKFILL_H */
