/*
 * guc.c
 *		The settings of idem.
 */
#include "postgres.h"

#include "guc.h"
#include "utils/guc.h"

bool idem_allow_truncate = false;
bool idem_source_digest = true;
bool idem_explain_method = false;
bool idem_wait_for_writers = true;

/* Defines the settings and reserves the prefix, so that a typing error is seen. */
void
idem_define_settings(void)
{
	DefineCustomBoolVariable("idem.allow_truncate",
							 "Allows a reload to truncate the partitions that its window consists of.",
							 "Truncation locks readers out until the end of the transaction, and older snapshots see an empty partition.",
							 &idem_allow_truncate,
							 false,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("idem.source_digest",
							 "Records a checksum of the source rows of every run in the ledger.",
							 NULL,
							 &idem_source_digest,
							 true,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);
	DefineCustomBoolVariable("idem.explain_method",
							 "Says in a NOTICE how each window is loaded, and why.",
							 NULL,
							 &idem_explain_method,
							 false,
							 PGC_USERSET,
							 0,
							 NULL, NULL, NULL);
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

void
idem_set_for_level(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}
