/*
 * compat.h
 *		Differences between the server versions idem is built for, 15 to 19.
 *		Nothing else belongs here; each entry names the upstream change.
 */
#ifndef IDEM_COMPAT_H
#define IDEM_COMPAT_H

#include "utils/rangetypes.h"

/* 16 moved the macros for variable-length values out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 16 gave make_range() an ErrorSaveContext, for soft input errors. */
#if PG_VERSION_NUM >= 160000
#define idem_make_range(typcache, lower, upper, empty) \
	make_range(typcache, lower, upper, empty, NULL)
#else
#define idem_make_range(typcache, lower, upper, empty) \
	make_range(typcache, lower, upper, empty)
#endif

/* 17 replaced BackendId by ProcNumber, also inside VirtualTransactionId. */
#if PG_VERSION_NUM >= 170000
#define idem_vxid_proc(vxid) ((vxid).procNumber)
#define idem_lock_vxid_proc(lock) ((lock)->vxid.procNumber)
#define idem_lock_vxid_xid(lock) ((lock)->vxid.localTransactionId)
#else
#define idem_vxid_proc(vxid) ((vxid).backendId)
#define idem_lock_vxid_proc(lock) ((lock)->backend)
#define idem_lock_vxid_xid(lock) ((lock)->lxid)
#endif

/* 18 has pg_noreturn, a keyword where C11 has one, instead of an attribute. */
#if PG_VERSION_NUM >= 180000
#define idem_noreturn pg_noreturn
#else
#define idem_noreturn pg_attribute_noreturn()
#endif

/* 17 can represent infinite intervals. */
#if PG_VERSION_NUM >= 170000
#define idem_interval_is_infinite(i) INTERVAL_NOT_FINITE(i)
#else
#define idem_interval_is_infinite(i) false
#endif

#endif /* IDEM_COMPAT_H */
