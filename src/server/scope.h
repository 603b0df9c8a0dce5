/*
 * scope.h
 *		As whom, and under which settings, code runs that somebody else wrote.
 *
 * This is the only place that changes the role, the security context or a setting of
 * the session, and changes it back.
 */
#ifndef IDEM_SERVER_SCOPE_H
#define IDEM_SERVER_SCOPE_H

/* A role and the settings that what it wrote depends on; what is NULL is the session's. */
typedef struct IdemIdentity
{
	Oid role;		 /* InvalidOid: the caller */
	bool restricted; /* even if the role is the caller */
	const char *search_path;
	const char *time_zone;
	const char *date_style;
	const char *interval_style;
} IdemIdentity;

/* The caller himself, whose code it is and whose settings it runs under. */
extern const IdemIdentity idem_caller;

/*
 * Runs work(arg) as an identity, within one (sub)transaction.  Whatever was SET inside
 * is undone at the end, the role and the memory context are what they were.  An error
 * passes through; the end of its (sub)transaction restores the same.
 *
 * A role that is not the caller is restricted as the server's maintenance commands
 * are: its code may not change the role, nor leave anything behind in the session or
 * for the end of the transaction.
 */
extern void idem_run_as(const IdemIdentity *identity, void (*work)(void *arg), void *arg);

/*
 * Runs work(arg) under the settings for conversions that idem makes itself, so that they
 * depend on no session: dates as ISO, intervals as ISO 8601, floats with all their
 * digits, bytea in hex; and in a time zone, unless it is NULL.
 */
extern void idem_run_pinned(const char *time_zone, void (*work)(void *arg), void *arg);

/*
 * The same again and again, while work(arg) returns true: each time begins under these
 * settings, and as the role and with the search_path of the first, whatever was SET before.
 */
extern void idem_repeat_pinned(const char *time_zone, bool (*work)(void *arg), void *arg);

/* A setting and its value. */
typedef struct IdemSetting
{
	const char *name;
	const char *value;
} IdemSetting;

/* Runs work(arg) under some other settings, of which the last has no name. */
extern void idem_run_under(const IdemSetting *settings, void (*work)(void *arg), void *arg);

/* Runs work(arg) under one other setting; name NULL is none. */
extern void idem_run_with(const char *name, const char *value, void (*work)(void *arg),
						  void *arg);

#endif /* IDEM_SERVER_SCOPE_H */
