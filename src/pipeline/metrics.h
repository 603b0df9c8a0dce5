/*
 * metrics.h
 *		Figures of pipelines and of their alerts, kept for who looks at them.
 *
 * They are booked when a turn or a reconciliation ends, by the process that runs as the
 * pipeline's owner; the views idem_metrics and idem_alert_metrics show them as they are,
 * so that to read them evaluates no ledger and runs nobody's code.
 */
#ifndef IDEM_PIPELINE_METRICS_H
#define IDEM_PIPELINE_METRICS_H

#include "load/load.h"
#include "watch/monitor.h"

/* Adds what a turn has loaded to what the pipeline's turns have loaded so far. */
extern void idem_book_work(const char *schema, const char *name, const IdemSummary *summary);

/* Books the alerts that are open, of a pipeline and in a monitor; of the other kinds none is. */
extern void idem_book_alerts(const char *schema, const char *name, IdemMonitor *monitor);

#endif /* IDEM_PIPELINE_METRICS_H */
