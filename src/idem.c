/*
 * idem.c
 *		Module entry.
 */
#include "postgres.h"

#include "fmgr.h"
#include "guc.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

/* Called by the server when it loads the library. */
void
_PG_init(void)
{
	idem_define_settings();
}
