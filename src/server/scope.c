/*
 * scope.c
 *		As whom, and under which settings, code runs that somebody else wrote.
 *
 * A nest level of settings ends as if by an error, AtEOXact_GUC(false), as those of the
 * server's maintenance commands do: ended as if by a commit it would keep what was SET
 * at the level of a saved value, and let another's search_path into the session.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "server/scope.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/guc.h"

const IdemIdentity idem_caller = {0};

/* What there was before. */
typedef struct Before
{
	Oid user;
	int security;
	int nest_level;
	MemoryContext context;
} Before;

/* Begins a level of settings, and remembers what is to be restored. */
static Before
begin_scope(void)
{
	Before before = {.context = CurrentMemoryContext};

	GetUserIdAndSecContext(&before.user, &before.security);
	before.nest_level = NewGUCNestLevel();
	return before;
}

/* Restores it: the settings first, for the role is one of them. */
static void
end_scope(const Before *before)
{
	AtEOXact_GUC(false, before->nest_level);
	SetUserIdAndSecContext(before->user, before->security);
	MemoryContextSwitchTo(before->context);
}

/* Sets a setting in the current level, unless it has the value; value NULL leaves it. */
static void
set_setting(const char *name, const char *value)
{
	if (value && strcmp(GetConfigOption(name, false, false), value) != 0)
		(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

void
idem_run_as(const IdemIdentity *identity, void (*work)(void *arg), void *arg)
{
	Before before = begin_scope();

	if (OidIsValid(identity->role) && (identity->restricted || identity->role != before.user))
		SetUserIdAndSecContext(identity->role, before.security | SECURITY_RESTRICTED_OPERATION |
												   SECURITY_LOCAL_USERID_CHANGE);
	set_setting("search_path", identity->search_path);
	set_setting("timezone", identity->time_zone);
	set_setting("datestyle", identity->date_style);
	set_setting("intervalstyle", identity->interval_style);
	work(arg);
	end_scope(&before);
}

/* Sets what conversions depend on, in the current level. */
static void
pin_settings(const char *time_zone)
{
	set_setting("datestyle", "ISO");
	set_setting("intervalstyle", "iso_8601");
	set_setting("extra_float_digits", "1");
	set_setting("bytea_output", "hex");
	set_setting("timezone", time_zone);
}

void
idem_run_pinned(const char *time_zone, void (*work)(void *arg), void *arg)
{
	Before before = begin_scope();

	pin_settings(time_zone);
	work(arg);
	end_scope(&before);
}

/* What code that runs under pinned settings may have changed, as the server keeps it. */
typedef struct Pinned
{
	Oid user;
	int security;
	const pg_tz *time_zone;
	const char *search_path; /* by its place: a SET makes another one */
} Pinned;

static Pinned
current_pinned(void)
{
	Pinned pinned = {.time_zone = session_timezone, .search_path = namespace_search_path};

	GetUserIdAndSecContext(&pinned.user, &pinned.security);
	return pinned;
}

/* True if nothing has been changed. */
static bool
is_pinned(const Pinned *since)
{
	Pinned now = current_pinned();

	return DateStyle == USE_ISO_DATES && IntervalStyle == INTSTYLE_ISO_8601 &&
		   extra_float_digits == 1 && bytea_output == BYTEA_OUTPUT_HEX &&
		   now.time_zone == since->time_zone && now.search_path == since->search_path &&
		   now.user == since->user && now.security == since->security;
}

/*
 * To set the settings takes longer than most work under them (8 us; to compare them 0.01), so
 * they are set again only where one has been changed.
 */
void
idem_repeat_pinned(const char *time_zone, bool (*work)(void *arg), void *arg)
{
	bool more = true;

	while (more)
	{
		Before before = begin_scope();
		Pinned pinned;

		pin_settings(time_zone);
		pinned = current_pinned();
		do
			more = work(arg);
		while (more && is_pinned(&pinned));
		end_scope(&before);
	}
}

void
idem_run_under(const IdemSetting *settings, void (*work)(void *arg), void *arg)
{
	Before before = begin_scope();

	for (; settings->name; settings++)
		set_setting(settings->name, settings->value);
	work(arg);
	end_scope(&before);
}

void
idem_run_with(const char *name, const char *value, void (*work)(void *arg), void *arg)
{
	const IdemSetting settings[] = {{name, value}, {NULL, NULL}};

	idem_run_under(settings, work, arg);
}
