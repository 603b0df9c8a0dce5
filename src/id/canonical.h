/*
 * canonical.h
 *		A value, a row or a JSON document as Python's json.dumps() writes it.
 *
 * A writer is made once for a type and used for every value of it; all lookups
 * happen when it is made.  Which types have a canonical form, and which one, is
 * the table in doc/ids.md; the form is frozen.  The output is ASCII and depends
 * on no session setting and no encoding.
 */
#ifndef IDEM_ID_CANONICAL_H
#define IDEM_ID_CANONICAL_H

#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "utils/typcache.h"

typedef struct IdemWriter IdemWriter;

/*
 * Makes the writer of a type, in context.  Raises 0A000, which
 * names column and type, with a hint to cast, for a type without a canonical form.
 */
extern IdemWriter *idem_make_writer(Oid type, const char *column, MemoryContext context);

/* Appends the canonical form of one value of the writer's type. */
extern void idem_write_value(StringInfo buf, IdemWriter *writer, Datum value, bool isnull);

/* One member of an object: what is written before its value, and the value. */
typedef struct IdemMember
{
	const char *name;	/* UTF-8: members are sorted by its bytes */
	const char *prefix; /* "name": with the quotes and ": " */
	int prefix_len;
	int index; /* the column, from 0 */
	IdemWriter *writer;
} IdemMember;

/* The members of a row type that are written, sorted as Python sorts them. */
typedef struct IdemShape
{
	uint64 identifier;		/* of the row type's version, see below */
	TypeCacheEntry *cached; /* the row type's, if it has a name */
	MemoryContext context;	/* holds all of this but the struct itself */
	TupleTableSlot *slot;	/* to take rows apart in */
	int natts;				/* columns up to the last that is written */
	int nmembers;
	IdemMember *members;
} IdemShape;

/*
 * Makes *shape fit the row, if it does not yet: the row type's version (from
 * assign_record_type_identifier) may change between two calls.  keys, in the
 * server's encoding, select the members; nkeys 0 takes every column.  An unknown
 * key raises 42703.  A zeroed shape is a valid start; its memory is a child of
 * parent.
 */
extern void idem_fit_shape(IdemShape *shape, HeapTupleHeader row,
						   char **keys, int nkeys, MemoryContext parent);

/* The same for a row type known by its descriptor; for use with a slot of it. */
extern void idem_build_members(IdemShape *shape, TupleDesc desc, char **keys, int nkeys);

/* Appends the object of a row that its shape was made to fit. */
extern void idem_write_row(StringInfo buf, IdemShape *shape, HeapTupleHeader row);

/* Sorts members by name and fills in their prefixes. */
extern void idem_sort_members(IdemMember *members, int nmembers);

#endif /* IDEM_ID_CANONICAL_H */
