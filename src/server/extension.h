/*
 * extension.h
 *		Where idem's own objects are.
 */
#ifndef IDEM_SERVER_EXTENSION_H
#define IDEM_SERVER_EXTENSION_H

#include "fmgr.h"

/* The extension's schema, told by the function that was called. */
extern char *idem_function_schema(FunctionCallInfo fcinfo);

/*
 * The extension's schema in this database, for who was not called by a function of it;
 * NULL if there is none.  Needs idem_connect.
 */
extern char *idem_find_schema(void);

/* A type of the extension's, by the OID of its schema; InvalidOid if there is none. */
extern Oid idem_own_type(const char *name, Oid schema);

#endif /* IDEM_SERVER_EXTENSION_H */
