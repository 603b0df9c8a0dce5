/*
 * compat.h
 *		Differences between the server versions idem is built for, 15 to 19.
 *		Nothing else belongs here; each entry names the upstream change.
 */
#ifndef IDEM_SERVER_COMPAT_H
#define IDEM_SERVER_COMPAT_H

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

/* 16 has one that reads all or raises an error. */
#if PG_VERSION_NUM >= 160000
#define idem_read_buffile(file, to, size) BufFileReadExact(file, to, size)
#else
#define idem_read_buffile(file, to, size)                                \
	do                                                                   \
	{                                                                    \
		if (BufFileRead(file, to, size) != (size))                       \
			ereport(ERROR,                                               \
					(errcode_for_file_access(),                          \
					 errmsg("could not read from a temporary file")));   \
	} while (0)
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

/* 17 has the DSM registry; 19 gave its init callback an argument. */
#if PG_VERSION_NUM >= 190000
#define IDEM_HAS_DSM_REGISTRY 1
#include "storage/dsm_registry.h"
static inline void
idem_call_init(void *memory, void *init)
{
	((void (*)(void *)) init)(memory);
}
#define idem_named_segment(name, size, init, found) \
	GetNamedDSMSegment(name, size, idem_call_init, found, (void *) (init))
#elif PG_VERSION_NUM >= 170000
#define IDEM_HAS_DSM_REGISTRY 1
#include "storage/dsm_registry.h"
#define idem_named_segment(name, size, init, found) \
	GetNamedDSMSegment(name, size, init, found)
#else
#define IDEM_HAS_DSM_REGISTRY 0
#endif

/* 17 replaced the number of a PGPROC by MyProcNumber. */
#if PG_VERSION_NUM >= 170000
#define idem_my_proc_number() MyProcNumber
#else
#define idem_my_proc_number() (MyProc->pgprocno)
#endif

/* 18 can return what a row was, and so has variables of its old and its new version. */
#if PG_VERSION_NUM >= 180000
#define idem_is_current_row(var) ((var)->varreturningtype == VAR_RETURNING_DEFAULT)
#else
#define idem_is_current_row(var) true
#endif

/* 17 lets a background worker connect as a role that may not log in. */
#if PG_VERSION_NUM >= 170000
#include "postmaster/bgworker.h"
#define IDEM_BYPASS_LOGIN_CHECK BGWORKER_BYPASS_ROLELOGINCHECK
#else
#define IDEM_BYPASS_LOGIN_CHECK 0
#endif

/* 17 lets extensions name their wait events. */
#if PG_VERSION_NUM >= 170000
#include "utils/wait_event.h"
#define idem_wait_event(name) WaitEventExtensionNew(name)
#else
#define idem_wait_event(name) PG_WAIT_EXTENSION
#endif

/* 19 wants to know when a descriptor is complete, to cache offsets. */
#if PG_VERSION_NUM >= 190000
#define idem_finalize_desc(desc) TupleDescFinalize(desc)
#else
#define idem_finalize_desc(desc) ((void) 0)
#endif

/* 16 lets a sorted datum be read without a copy. */
#if PG_VERSION_NUM >= 160000
#define idem_get_sorted(sort, value, isnull) tuplesort_getdatum(sort, true, true, value, isnull, NULL)
#else
#define idem_get_sorted(sort, value, isnull) tuplesort_getdatum(sort, true, value, isnull, NULL)
#endif

/* 16 told the right to become a role from that to inherit its rights. */
#if PG_VERSION_NUM >= 160000
#define idem_can_set_role(member, role) member_can_set_role(member, role)
#define IDEM_SET_ROLE "'SET'"
#else
#define idem_can_set_role(member, role) is_member_of_role(member, role)
#define IDEM_SET_ROLE "'MEMBER'"
#endif

/* 19 numbers the catalogs' caches by an enum. */
#if PG_VERSION_NUM >= 190000
#define idem_syscache SysCacheIdentifier
#else
#define idem_syscache int
#endif

/* 17 can limit the time of a transaction. */
#if PG_VERSION_NUM >= 170000
#define IDEM_NO_TRANSACTION_TIMEOUT {"transaction_timeout", "0"},
#else
#define IDEM_NO_TRANSACTION_TIMEOUT
#endif

/* 16 has one function for the rights on all kinds of objects. */
#if PG_VERSION_NUM >= 160000
#define idem_may_execute(function, role) \
	(object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK)
#else
#define idem_may_execute(function, role) \
	(pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK)
#endif

#if PG_VERSION_NUM >= 160000
#define idem_may_connect(role) \
	(object_aclcheck(DatabaseRelationId, MyDatabaseId, role, ACL_CONNECT) == ACLCHECK_OK)
#else
#define idem_may_connect(role) \
	(pg_database_aclcheck(MyDatabaseId, role, ACL_CONNECT) == ACLCHECK_OK)
#endif

/* 16 moved what the user must be allowed out of the range table's entries. */
#if PG_VERSION_NUM >= 160000
#include "parser/parse_relation.h"
#define IdemRights RTEPermissionInfo
#define idem_add_rights(infos, entry) addRTEPermissionInfo(infos, entry)
#define idem_check_range_table(entries, infos) ((void) ExecCheckPermissions(entries, infos, true))
#define idem_query_rights(query) ((query)->rteperminfos)
#else
#define IdemRights RangeTblEntry
#define idem_add_rights(infos, entry) ((void) (infos), (entry))
#define idem_check_range_table(entries, infos) ((void) ExecCheckRTPerms(entries, true))
#define idem_query_rights(query) NIL
#endif

/* 16 wants them beside the range table, 18 to know which relations are left after pruning. */
#if PG_VERSION_NUM >= 180000
#define idem_init_range_table(estate, entries, infos) \
	ExecInitRangeTable(estate, entries, infos, bms_make_singleton(1))
#elif PG_VERSION_NUM >= 160000
#define idem_init_range_table(estate, entries, infos) ExecInitRangeTable(estate, entries, infos)
#else
#define idem_init_range_table(estate, entries, infos) ExecInitRangeTable(estate, entries)
#endif

/* 17 checks the actions of a MERGE too, 18 what ON CONFLICT does. */
#if PG_VERSION_NUM >= 180000
#define idem_check_result(result, command) CheckValidResultRel(result, command, ONCONFLICT_NONE, NIL)
#elif PG_VERSION_NUM >= 170000
#define idem_check_result(result, command) CheckValidResultRel(result, command, NIL)
#else
#define idem_check_result(result, command) CheckValidResultRel(result, command)
#endif

/* 18 has NOT NULL constraints that are not validated: there may be NULLs. */
#if PG_VERSION_NUM >= 180000
#define idem_is_not_null(desc, i) (TupleDescCompactAttr(desc, i)->attnullability == ATTNULLABLE_VALID)
#else
#define idem_is_not_null(desc, i) (TupleDescAttr(desc, i)->attnotnull)
#endif

/* 18 has generated columns that are made when they are read. */
#if PG_VERSION_NUM >= 180000
#define idem_has_virtual_columns(desc) ((desc)->constr && (desc)->constr->has_generated_virtual)
#else
#define idem_has_virtual_columns(desc) false
#endif

/* 17 shows a REINDEX to event triggers. */
#if PG_VERSION_NUM >= 170000
#define idem_reindex_index(index, persistence, params) reindex_index(NULL, index, false, persistence, params)
#else
#define idem_reindex_index(index, persistence, params) reindex_index(index, false, persistence, params)
#endif

/* 16 has one function for the owners of all kinds of objects. */
#if PG_VERSION_NUM >= 160000
#define idem_owns_relation(relid, role) object_ownercheck(RelationRelationId, relid, role)
#else
#define idem_owns_relation(relid, role) pg_class_ownercheck(relid, role)
#endif

/*
 * 16 tells indexes that hold each row from those that summarise, 19 has flags for both, and
 * for what is not to be told to logical decoding.
 */
#if PG_VERSION_NUM >= 190000
#define IdemUpdatedIndexes TU_UpdateIndexes
#define idem_update_tuple(rel, place, slot, cid, snapshot, failure, mode, indexes) \
	table_tuple_update(rel, place, slot, cid, 0, snapshot, InvalidSnapshot, true, failure, mode, indexes)
#define idem_delete_tuple(rel, place, cid, snapshot, failure) \
	table_tuple_delete(rel, place, cid, 0, snapshot, InvalidSnapshot, true, failure)
#define idem_update_indexes(result, slot, estate, indexes)                                                                    \
	((indexes) == TU_None ? NIL                                                                                              \
						  : ExecInsertIndexTuples(result, estate,                                                          \
												  EIIT_IS_UPDATE | ((indexes) == TU_Summarizing ? EIIT_ONLY_SUMMARIZING : 0), \
												  slot, NIL, NULL))
#else
#define idem_update_tuple(rel, place, slot, cid, snapshot, failure, mode, indexes) \
	table_tuple_update(rel, place, slot, cid, snapshot, InvalidSnapshot, true, failure, mode, indexes)
#define idem_delete_tuple(rel, place, cid, snapshot, failure) \
	table_tuple_delete(rel, place, cid, snapshot, InvalidSnapshot, true, failure, false)
#if PG_VERSION_NUM >= 160000
#define IdemUpdatedIndexes TU_UpdateIndexes
#define idem_update_indexes(result, slot, estate, indexes) \
	((indexes) == TU_None ? NIL : ExecInsertIndexTuples(result, slot, estate, true, false, NULL, NIL, (indexes) == TU_Summarizing))
#else
#define IdemUpdatedIndexes bool
#define idem_update_indexes(result, slot, estate, indexes) \
	((indexes) ? ExecInsertIndexTuples(result, slot, estate, true, false, NULL, NIL) : NIL)
#endif
#endif

#endif /* IDEM_SERVER_COMPAT_H */
