/*
 * table.h
 *		The table that is cleaned: its keys, what is kept of them, and what refers to it.
 */
#ifndef IDEM_CLEAN_TABLE_H
#define IDEM_CLEAN_TABLE_H

#include "nodes/primnodes.h"
#include "utils/array.h"
#include "utils/relcache.h"

/* What is done with rows of one key that differ. */
typedef enum IdemConflicts
{
	IDEM_CONFLICTS_REFUSE, /* nothing is removed */
	IDEM_CONFLICTS_KEEP,   /* the first by keep stays */
	IDEM_CONFLICTS_LEAVE,  /* all of them stay */
} IdemConflicts;

/* A key: a column or an expression, as SQL of each of the aliases it is used with. */
typedef struct IdemCleanKey
{
	Node *expr;
	AttrNumber attno; /* InvalidAttrNumber: an expression */
	Oid type;
	bool hashable;
	const char *of_row;	   /* of alias d */
	const char *of_keeper; /* of alias k */
	const char *in_index;  /* of CREATE INDEX */
	Oid collation;
} IdemCleanKey;

/* A column. */
typedef struct IdemColumn
{
	const char *name;		/* quoted */
	const char *plain_name;
	bool has_equality;	/* of its type; else its bytes are compared */
	bool is_ignored;	/* does not make rows different */
	bool is_generated;
	Oid type;
	int32 typmod;
	Oid collation;
} IdemColumn;

/* A foreign key to the table or to a partition of it. */
typedef struct IdemReference
{
	const char *child;		/* qualified and quoted */
	const char *constraint; /* its name */
	int ncolumns;
	const char **columns;	/* of the child, quoted */
	const char **referred;	/* of the table */
	Oid *types;				/* of the child's columns */
	Oid *referred_types;
	Oid *operators;			/* referred = column */
	bool is_own;			/* the child is the table, or a part of it */
	char action;			/* ON DELETE */
} IdemReference;

/* What there is to clean, and how. */
typedef struct IdemTable
{
	Oid relid;
	Oid schema; /* of the extension */
	const char *nspname;
	const char *relname;
	const char *name; /* qualified and quoted */
	bool partitioned;
	int nkeys;
	IdemCleanKey *keys;
	bool nullable; /* some key may be NULL */
	int ncolumns;
	IdemColumn *columns; /* that are not dropped */
	int nreferences;
	IdemReference *references;
	const char *order; /* ", d.tableoid, d.ctid" and before it what is kept, of alias d */
	IdemConflicts conflicts;
	bool repoint; /* what refers to a row that goes refers to the one that stays */
	const struct IdemTableArgs *args; /* of the call */
	const char *fingerprint; /* of all that has been looked up */
} IdemTable;

/* How it is asked for. */
typedef struct IdemTableArgs
{
	ArrayType *keys;
	const char *keep;	/* NULL: none */
	ArrayType *ignore;	/* NULL: none */
	IdemConflicts conflicts;
	bool repoint;
} IdemTableArgs;

/*
 * Looks a table up; raises an error, with the statement to type, for what cannot be
 * cleaned.  Needs idem_connect; the result lives as long as the current memory context.
 */
extern IdemTable *idem_open_table(Oid relid, Oid schema, const IdemTableArgs *args);

/*
 * Locks the table as a DELETE does, until the end of the transaction, and raises 55000 if it is
 * not what it was when it was looked up: its name, owner, columns, triggers, rules, what refers
 * to it.  It is looked up again only if catalogs have changed since *changes, which is set.
 */
extern void idem_check_unchanged(const IdemTable *table, uint64 *changes);

/* All that is known of a table, as text. */
extern const char *idem_describe_table(const IdemTable *table, Relation rel);

/* The same for who only puts rows back: its name and columns. */
extern IdemTable *idem_open_plain_table(Oid relid, Oid schema);

/*
 * Raises 42501 unless a table is the current role's own: what another owner attaches to it would
 * run as the current role.
 */
extern void idem_require_own(Relation rel);

#endif /* IDEM_CLEAN_TABLE_H */
