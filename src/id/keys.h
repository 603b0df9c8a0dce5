/*
 * keys.h
 *		A list of names given as text[]: the keys of a hash or of a load.
 */
#ifndef IDEM_ID_KEYS_H
#define IDEM_ID_KEYS_H

#include "utils/array.h"

/*
 * Returns the elements of a text array as C strings in the server's encoding,
 * allocated in the current context.  An empty array, a NULL or a repeated element
 * raises 22023 (2202E for more than one dimension, 54000 for more than ten million
 * elements) and names what is wrong.
 */
extern char **idem_read_keys(ArrayType *array, int *nkeys);

#endif /* IDEM_ID_KEYS_H */
