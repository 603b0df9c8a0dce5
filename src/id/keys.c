/*
 * keys.c
 *		A list of names given as text[]: the keys of a hash or of a load.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "id/keys.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/* More are no list of keys; so many fit what is kept about each into one chunk of memory. */
#define MAX_KEYS 10000000

/* Orders names, for qsort_interruptible(). */
static int
compare_names(const void *a, const void *b, void *arg)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Fails if a name is there twice: sorted, it stands beside itself. */
static void
check_repeated(char **names, int nnames)
{
	char **sorted = palloc(nnames * sizeof(char *));
	int i;

	memcpy(sorted, names, nnames * sizeof(char *));
	qsort_interruptible(sorted, nnames, sizeof(char *), compare_names, NULL);
	for (i = 1; i < nnames; i++)
	{
		if (strcmp(sorted[i - 1], sorted[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key \"%s\" is given more than once", sorted[i])));
	}
	pfree(sorted);
}

/* Fails for an array that cannot be a list of keys, whatever is in it. */
static void
check_array(ArrayType *array)
{
	int n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("keys must be a one-dimensional array")));
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keys must not be empty"),
				 errhint("Name the columns that identify a record, for example '{id}'.")));
	if (n > MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%d keys are too many", n),
				 errhint("Name %d keys at most.", MAX_KEYS)));
}

char **
idem_read_keys(ArrayType *array, int *nkeys)
{
	Datum *elements;
	bool *nulls;
	char **names;
	int i;

	check_array(array);
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, nkeys);
	names = palloc(*nkeys * sizeof(char *));
	for (i = 0; i < *nkeys; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("keys must not contain NULL")));
		names[i] = TextDatumGetCString(elements[i]);
	}
	check_repeated(names, *nkeys);
	return names;
}
