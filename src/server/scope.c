/*
 * scope.c
 *		Who a pipeline's statements run as, and under which settings.
 *
 * A pipeline runs as its owner, whoever calls it, as maintenance commands run index
 * expressions as the table's owner: under SECURITY_RESTRICTED_OPERATION.  Where the
 * caller is the owner nothing is restricted.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "server/scope.h"
#include "server/settings.h"
#include "utils/guc.h"

void
idem_enter_identity(const IdemIdentity *identity, IdemScope *scope)
{
	GetUserIdAndSecContext(&scope->user, &scope->security);
	if (OidIsValid(identity->role) && (identity->restricted || identity->role != scope->user))
		SetUserIdAndSecContext(identity->role, scope->security | SECURITY_RESTRICTED_OPERATION |
												   SECURITY_LOCAL_USERID_CHANGE);
	scope->nest_level = NewGUCNestLevel();
	if (identity->search_path)
		idem_set_for_level("search_path", identity->search_path);
	if (identity->time_zone)
		idem_set_for_level("timezone", identity->time_zone);
}

void
idem_leave_identity(const IdemScope *scope)
{
	AtEOXact_GUC(true, scope->nest_level);
	SetUserIdAndSecContext(scope->user, scope->security);
}
