/*
 * own.h
 *		Statements on the tables of pipelines, which nobody but idem writes.
 *
 * They run as the owner of these tables, whoever calls: their SQL is idem's own, every
 * name in it is qualified and its values are parameters, so that nothing of the caller's
 * runs with these rights.  Who may do what is checked before, by idem_may_act_as.
 */
#ifndef IDEM_PIPELINE_OWN_H
#define IDEM_PIPELINE_OWN_H

#include "server/collect.h"

/* idem_run and idem_fetch of a template, in which @ is the extension's schema. */
extern uint64 idem_run_own(const char *schema, const char *template, int nargs,
						   const Oid *types, const Datum *args, const bool *isnull);
extern bool idem_fetch_own(const char *schema, const char *template, int nargs,
						   const Oid *types, const Datum *args, const bool *isnull,
						   int ncols, Datum *values, bool *nulls);

/* The rows that a template returns, all of them, to be read when its owner's rights are gone. */
extern IdemCollector idem_collect_own(const char *schema, const char *template, int nargs,
									const Oid *types, const Datum *args);

/* True if the current role may become another, and so do with its pipelines what it may. */
extern bool idem_may_act_as(Oid role);

#endif /* IDEM_PIPELINE_OWN_H */
