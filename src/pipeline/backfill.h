/*
 * backfill.h
 *		Many windows at once, in parallel workers.
 */
#ifndef IDEM_PIPELINE_BACKFILL_H
#define IDEM_PIPELINE_BACKFILL_H

/* A worker's part: loads windows of the segment's list until there are none left. */
extern void idem_run_backfill_part(const char *pipeline, uint32 segment);

#endif /* IDEM_PIPELINE_BACKFILL_H */
