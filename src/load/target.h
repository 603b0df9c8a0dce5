/*
 * target.h
 *		The relation that is loaded: its columns, keys and what tells rows apart.
 *
 * What is known of it is looked up when a call begins, and looked at again before and
 * after each piece, in so far as the catalogs have changed.  The functions that append
 * SQL write conditions between two aliases, with every operator qualified.
 */
#ifndef IDEM_LOAD_TARGET_H
#define IDEM_LOAD_TARGET_H

#include "ledger/window.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "server/compat.h"

typedef struct IdemColumn
{
	const char *name;
	const char *quoted;
	int base_attno; /* in the table behind a view; 0 if not a column of it */
	Oid type;
	int32 typmod;
	Oid collation;
	bool not_null;
	bool is_required; /* NULL is no value of it: it, or the domain that it is of, is NOT NULL */
	bool has_default;
	bool generated;
	char identity; /* as in pg_attribute */
	bool is_key;
	bool in_source;		/* the source has a column of this name */
	const char *cast;	/* to the type behind a domain: "::schema.type"; else "" */
	const char *equals; /* "OPERATOR(schema.=)", NULL if the type has none */
	bool can_hash;		/* equality can be hashed */
	bool equal_is_same; /* equal values cannot differ in any way */
} IdemColumn;

/* What a request says of its target; the names may be NULL. */
typedef struct IdemTargetRequest
{
	Oid relid;
	char **keys;
	int nkeys;
	const char *window_column;
	const char *version_column;
	const IdemRangeType *type; /* of the ledger */
} IdemTargetRequest;

/*
 * The facts.  Whatever is added here or to a column is compared by itself when they are
 * looked at again; a string has to be kept as the others are.
 */
typedef struct IdemTarget
{
	Oid relid;
	Oid base;		  /* the table behind a view, else the same */
	const char *name; /* qualified and quoted */
	int ncolumns;
	IdemColumn *columns;
	int nkeys;
	IdemColumn **keys;
	IdemColumn *window;	 /* NULL if no window column was named */
	IdemColumn *version; /* NULL if no version column was named */
	bool has_arbiter;	 /* a unique index over just the keys, NULLs equal */
	const char *conflict; /* what to write after ON CONFLICT to mean it */
	bool window_indexed; /* an index, or the partitions, find a window's rows */
	bool is_plain;		 /* a table where nothing alters, hides or reacts to what is written */
	bool is_referenced;	 /* by a foreign key, which may object to a DELETE */
	bool refers_to_itself; /* by one of its own */
	bool acts_on_delete; /* a DELETE may change other rows: it has triggers, or actions of foreign keys; */
	bool acts_on_write;	 /* an INSERT or UPDATE may */
	bool has_policies;	 /* the table has row security */
	bool may_hide;		 /* a view's filter may hide a row that was written through it */
	const char *takes_along; /* a table whose rows go along with deleted ones; NULL if none */
	bool is_foreign;	 /* some of it lies on another server */
	bool is_hypertable;	 /* of TimescaleDB */
	bool is_unlogged;	 /* some of it is empty after a crash */
	const char *rules;	 /* the views on the way to the table, its policies, its generated columns */

	/* how they have been looked up */
	const IdemTargetRequest *request;
	const struct IdemTarget *model; /* whose strings are taken where they are the same */
	List *strings;					/* all of them, in order */
	uint64 seen;					/* the changes of the catalogs before */
} IdemTarget;

/*
 * Looks a target up, in the current memory context, in which the request must live too.
 * Raises 42809 for a relation that cannot be loaded, 42703 for an unknown column, 42804
 * for a window column of the wrong type, 42883 for a key that cannot be compared.
 */
extern IdemTarget *idem_open_target(const IdemTargetRequest *request);

/*
 * Locks what a load will write until the end of the transaction, views followed down, but
 * no partition.  Raises 42P01 for a target that has been dropped.
 */
extern void idem_lock_target(const IdemTarget *target);

/* True if a target still is what was looked up, in all that is known of it. */
extern bool idem_is_same_target(IdemTarget *target);

/*
 * Raises 55000 if it is not: another session, or code that the load ran, has changed it.
 * An index over the keys that has been added does no harm, nor does one of the window.
 */
extern void idem_check_target(IdemTarget *target);

/* Raises it, for who sees it otherwise. */
extern idem_noreturn void idem_report_changed(const IdemTarget *target);

/* Raises 42P10, with the CREATE UNIQUE INDEX to type, if there is no arbiter. */
extern void idem_require_arbiter(const IdemTarget *target);

/* True if the source has every column, but generated ones. */
extern bool idem_is_whole(const IdemTarget *target);

/*
 * True if a row can be deleted and inserted again instead of updated without
 * anybody noticing: nothing watches, and the target is whole.
 */
extern bool idem_is_replaceable(const IdemTarget *target);

/* Finds a column by name; NULL if there is none. */
extern IdemColumn *idem_find_column(const IdemTarget *target, const char *name);

/* True for a column that an update writes. */
extern bool idem_is_updated_column(const IdemColumn *column);

/* Appends the names of the columns the source has, each after prefix. */
extern void idem_append_columns(StringInfo buf, const IdemTarget *target, const char *prefix);

/* Appends the key columns' names, separated by commas, each after prefix. */
extern void idem_append_keys(StringInfo buf, const IdemTarget *target, const char *prefix);

/* True if a row can be found by an index over its keys, even if some are NULL. */
extern bool idem_has_not_null_key(const IdemTarget *target);

/* True if a comparison of keys can be hashed; and if it can by all of them. */
extern bool idem_can_hash_keys(const IdemTarget *target);
extern bool idem_can_hash_all_keys(const IdemTarget *target);

/*
 * Appends: the keys of two rows are the same, NULL being the same as NULL.  If nulls is
 * false, one of the two is known to have no NULL key, and an index over the keys finds
 * the other.
 */
extern void idem_append_match(StringInfo buf, const IdemTarget *target, bool nulls,
							  const char *left, const char *right);

/* Appends: a column of two rows differs. */
extern void idem_append_differs(StringInfo buf, const IdemColumn *column, const char *old, const char *new);

/* Appends: new differs from old in what an update writes, and is no older version. */
extern void idem_append_changed(StringInfo buf, const IdemTarget *target,
								const char *old, const char *new, bool guard_version);

/* Appends: the row of alias lies in the window [$1, $2). */
extern void idem_append_in_window(StringInfo buf, const IdemTarget *target,
								  const char *alias);

#endif /* IDEM_LOAD_TARGET_H */
