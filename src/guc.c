/*
 * guc.c
 *		The settings of idem.
 */
#include "postgres.h"

#include "guc.h"
#include "utils/guc.h"

bool idem_wait_for_writers = true;

/* Defines the settings and reserves the prefix, so that a typing error is seen. */
void
idem_define_settings(void)
{
	DefineCustomBoolVariable("idem.wait_for_writers",
							 "Waits for open transactions that write to a source table before a window is read.",
							 "Without it a row that is committed later, but belongs to the window, is missed.",
							 &idem_wait_for_writers,
							 true,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);
	MarkGUCPrefixReserved("idem");
}
