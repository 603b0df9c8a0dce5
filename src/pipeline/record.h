/*
 * record.h
 *		The process that writes down failures which a rollback would have taken along.
 */
#ifndef IDEM_PIPELINE_RECORD_H
#define IDEM_PIPELINE_RECORD_H

#include "postmaster/bgworker.h"

/* Starts one for a role's failures, as that role; false if there is no slot for it. */
extern bool idem_start_record_worker(Oid role, BackgroundWorkerHandle **handle);

extern PGDLLEXPORT void idem_record_main(Datum arg);

#endif /* IDEM_PIPELINE_RECORD_H */
