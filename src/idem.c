/*
 * idem.c
 *		Module entry.
 */
#include "postgres.h"

#include "fmgr.h"
#include "ledger/ledger.h"
#include "load/progress.h"
#include "load/recorder.h"
#include "miscadmin.h"
#include "pipeline/launcher.h"
#include "pipeline/state.h"
#include "server/settings.h"
#include "server/shared.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

/* Called by the server when it loads the library. */
void
_PG_init(void)
{
	idem_add_shared_part(&idem_progress_part);
	idem_add_shared_part(&idem_recorder_part);
	idem_window_reopened = idem_wake_reopened;
	idem_define_settings(process_shared_preload_libraries_in_progress);
	if (process_shared_preload_libraries_in_progress)
	{
		idem_request_shared();
		idem_register_launcher();
	}
}
