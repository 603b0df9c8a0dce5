/*
 * coverage.h
 *		How a pipeline is doing, told from its ledger and its clock or watermark.
 */
#ifndef IDEM_PIPELINE_COVERAGE_H
#define IDEM_PIPELINE_COVERAGE_H

#include "pipeline/pipeline.h"
#include "pipeline/state.h"

/*
 * Finds it out, as the pipeline's owner, whose code this runs: to be called in sessions
 * of the owner alone.  Its ledger may be given, opened for reading; and the frontier, before
 * which nothing is read.
 */
extern IdemPipelineCoverage idem_read_coverage(const IdemPipeline *pipeline, IdemLedger *ledger,
											   const IdemFrontier *frontier);

#endif /* IDEM_PIPELINE_COVERAGE_H */
