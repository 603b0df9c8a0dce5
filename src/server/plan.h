/*
 * plan.h
 *		Plans that SPI keeps: what idem's statements and the user's queries share.
 *
 * Every call of SPI here and in statement.c and query.c returns with the memory context
 * that was current before it: SPI itself leaves its own, which lives until idem_finish,
 * and a long CALL would grow with every window.
 */
#ifndef IDEM_SERVER_PLAN_H
#define IDEM_SERVER_PLAN_H

#include "executor/spi.h"

/* Prepares and keeps a plan; options may be NULL, then there are nargs parameters. */
extern SPIPlanPtr idem_prepare_plan(const char *text, const SPIPrepareOptions *options,
									int nargs, Oid *types);

/* Sees to it that a plan is freed with the current memory context. */
extern void idem_own_plan(SPIPlanPtr *plan);

/* Frees a plan, if there is one. */
extern void idem_drop_plan(SPIPlanPtr *plan);

/* Makes a parameter list of values that are not NULL. */
extern ParamListInfo idem_make_params(int n, const Oid *types, const Datum *values);

/* Runs a plan with options; text is its SQL, for the message that it could not be run. */
extern void idem_execute_plan(SPIPlanPtr plan, const SPIExecuteOptions *options,
							  const char *text);

#endif /* IDEM_SERVER_PLAN_H */
