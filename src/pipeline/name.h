/*
 * name.h
 *		The types idem_relation and idem_role: what a definition names.
 */
#ifndef IDEM_PIPELINE_NAME_H
#define IDEM_PIPELINE_NAME_H

#include "fmgr.h"

/* The OID of what a value names, looked up now if it was not there before; InvalidOid if it is not. */
extern Oid idem_relation_named(Datum value);
extern Oid idem_role_named(Datum value);

/* How a value is written, quoted as in SQL; in the current memory context. */
extern char *idem_relation_text(Datum value);
extern char *idem_role_text(Datum value);

#endif /* IDEM_PIPELINE_NAME_H */
