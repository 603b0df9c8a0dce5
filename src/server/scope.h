/*
 * scope.h
 *		Who a pipeline's statements run as, and under which settings.
 */
#ifndef IDEM_SERVER_SCOPE_H
#define IDEM_SERVER_SCOPE_H

/* A role and its settings; what is not set is the caller's. */
typedef struct IdemIdentity
{
	Oid role;				 /* InvalidOid: the caller */
	bool restricted;		 /* even if the role is the caller */
	const char *search_path; /* NULL: the session's */
	const char *time_zone;	 /* NULL: the session's */
} IdemIdentity;

/* What there was before; a rollback of the (sub)transaction restores it by itself. */
typedef struct IdemScope
{
	Oid user;
	int security;
	int nest_level;
} IdemScope;

/*
 * Runs what follows, up to idem_leave_identity, as another: not across the end of a
 * transaction.  Code that the role controls can then not reach the caller's rights:
 * it may not change the role, nor leave triggers behind that fire at commit.
 */
extern void idem_enter_identity(const IdemIdentity *identity, IdemScope *scope);
extern void idem_leave_identity(const IdemScope *scope);

#endif /* IDEM_SERVER_SCOPE_H */
