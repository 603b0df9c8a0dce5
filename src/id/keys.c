/*
 * keys.c
 *		A list of names given as text[]: the keys of a hash or of a load.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "id/keys.h"
#include "utils/builtins.h"

/* Fails if the name at place i stands earlier in the list. */
static void
check_repeated(char **names, int i)
{
	int j;

	for (j = 0; j < i; j++)
	{
		if (strcmp(names[i], names[j]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key \"%s\" is given more than once", names[i])));
	}
}

char **
idem_read_keys(ArrayType *array, int *nkeys)
{
	Datum *elements;
	bool *nulls;
	char **names;
	int i;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("keys must be a one-dimensional array")));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, nkeys);
	if (*nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keys must not be empty"),
				 errhint("Name the columns that identify a record, for example '{id}'.")));
	names = palloc(*nkeys * sizeof(char *));
	for (i = 0; i < *nkeys; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("keys must not contain NULL")));
		names[i] = TextDatumGetCString(elements[i]);
		check_repeated(names, i);
	}
	return names;
}
