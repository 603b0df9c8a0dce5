/*
 * digest.c
 *		An order-independent checksum of a multiset of rows, and idem_digest().
 *
 * MSet-Add-Hash (Clarke, Devadas, van Dijk, Gassend, Suh: Incremental Multiset Hash
 * Functions, ASIACRYPT 2003): each row is hashed and the hashes are added, here in
 * two lanes mod 2^64.  A sum, unlike XOR, tells a row that is there twice from one
 * that is not there; hashing the row as a whole before adding tells two rows that
 * have swapped a value from two that have not.
 *
 * A row is hashed over its columns' images, each with its length, in one of two ways.
 *
 * Without a key by the server's hash_bytes_extended(), once for each lane.  Such a digest
 * is the same everywhere, and finds errors.  It does not withstand someone who chooses
 * rows to collide: who knows the hashes of 32 rows finds by lattice reduction, in less
 * than a second, how often to repeat each of them for two multisets of one sum (Wagner: A
 * Generalized Birthday Problem, CRYPTO 2002, has other ways).
 *
 * Under a key by SipHash.  As long as key and sums stay secret the hashes are random
 * numbers to whoever chose the rows, and two multisets have one sum with a probability of
 * 2^-128, which is all that Clarke et al. ask of a keyed H.  If every row of which one has
 * more than the other is there 2^t times more often, it is 2^(2t-128): the upper t bits
 * of a lane are lost.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "id/digest.h"
#include "id/siphash.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "server/compat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

/* The lanes' seeds: the first 64 bits of the fractions of the roots of 2 and 3. */
#define SEED0 UINT64CONST(0x6a09e667f3bcc908)
#define SEED1 UINT64CONST(0xbb67ae8584caa73b)

/* Longer values enter the row's image by their own hash, under the same key. */
#define MAX_IMAGE 256

/* What a column's image begins with: is it NULL, or of a fixed length, or is its length next. */
enum
{
	IMAGE_NULL,
	IMAGE_FIXED,
	IMAGE_LENGTH,
};

IdemKey
idem_draw_key(void)
{
	IdemKey key;

	if (!pg_strong_random(&key, sizeof(key)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	return key;
}

/* The hash of bytes, under a key unless it is NULL. */
static IdemDigest
hash_bytes_with(const char *bytes, int len, const IdemKey *key)
{
	IdemDigest hash;

	if (key)
		idem_siphash(bytes, len, key->words, hash.lanes);
	else
	{
		hash.lanes[0] = hash_bytes_extended((const unsigned char *) bytes, len, SEED0);
		hash.lanes[1] = hash_bytes_extended((const unsigned char *) bytes, len, SEED1);
	}
	return hash;
}

void
idem_init_image(IdemImage *image)
{
	initStringInfo(&image->buf);
	image->room = 8;
	image->longs = palloc(image->room * sizeof(IdemLongValue));
	image->nlongs = 0;
}

/* Appends bytes of which there is room for. */
static inline void
put_bytes(StringInfo buf, const void *bytes, size_t len)
{
	memcpy(buf->data + buf->len, bytes, len);
	buf->len += len;
}

/* Appends a value by its hash: room for it, which is filled in later. */
static void
put_long(IdemImage *image, const char *bytes, uint32 len)
{
	IdemLongValue *value;

	if (image->nlongs == image->room)
	{
		image->room *= 2;
		image->longs = repalloc(image->longs, image->room * sizeof(IdemLongValue));
	}
	value = &image->longs[image->nlongs++];
	value->place = image->buf.len;
	value->bytes = bytes;
	value->len = len;
	image->buf.len += sizeof(IdemDigest);
}

/* Appends the image of a value whose length its type does not tell. */
static void
put_variable(IdemImage *image, const char *bytes, uint32 len)
{
	StringInfo buf = &image->buf;

	buf->data[buf->len++] = IMAGE_LENGTH;
	put_bytes(buf, &len, sizeof(len));
	if (len > MAX_IMAGE)
		put_long(image, bytes, len);
	else
		put_bytes(buf, bytes, len);
}

/*
 * A value passed by value as it is read from a row.  Of a type narrower than a
 * Datum the bits above may be anything, as the code that made the value left them.
 */
static inline Datum
normal_datum(Datum value, int16 len)
{
	switch (len)
	{
		case 1:
			return CharGetDatum(DatumGetChar(value));
		case 2:
			return Int16GetDatum(DatumGetInt16(value));
		case 4:
			return Int32GetDatum(DatumGetInt32(value));
		default:
			return value;
	}
}

/* Appends the image of a value that is not NULL. */
static void
put_value(IdemImage *image, Form_pg_attribute att, Datum value)
{
	if (att->attbyval)
	{
		value = normal_datum(value, att->attlen);
		image->buf.data[image->buf.len++] = IMAGE_FIXED;
		put_bytes(&image->buf, &value, sizeof(value));
	}
	else if (att->attlen == -1)
	{
		struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);

		put_variable(image, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	}
	else
		put_variable(image, DatumGetPointer(value),
					 att->attlen > 0 ? att->attlen : strlen(DatumGetCString(value)));
}

void
idem_make_image(IdemImage *image, TupleDesc desc, const Datum *values, const bool *nulls)
{
	int i;

	resetStringInfo(&image->buf);
	enlargeStringInfo(&image->buf, desc->natts * (MAX_IMAGE + 8));
	image->nlongs = 0;
	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (nulls[i])
			image->buf.data[image->buf.len++] = IMAGE_NULL;
		else
			put_value(image, att, values[i]);
	}
}

IdemDigest
idem_hash_image(IdemImage *image, const IdemKey *key)
{
	int i;

	for (i = 0; i < image->nlongs; i++)
	{
		const IdemLongValue *value = &image->longs[i];
		IdemDigest hash = hash_bytes_with(value->bytes, value->len, key);

		CHECK_FOR_INTERRUPTS();
		memcpy(image->buf.data + value->place, &hash, sizeof(hash));
	}
	return hash_bytes_with(image->buf.data, image->buf.len, key);
}

Datum
idem_digest_bytea(const IdemDigest *digest)
{
	bytea *result = palloc(VARHDRSZ + IDEM_DIGEST_SIZE);
	uint64 lanes[] = {pg_hton64(digest->lanes[0]), pg_hton64(digest->lanes[1])};

	StaticAssertStmt(sizeof(lanes) == IDEM_DIGEST_SIZE, "two lanes of 64 bits");
	SET_VARSIZE(result, VARHDRSZ + IDEM_DIGEST_SIZE);
	memcpy(VARDATA(result), lanes, IDEM_DIGEST_SIZE);
	return PointerGetDatum(result);
}

/* The aggregate's state. */
typedef struct DigestState
{
	IdemDigest digest;
	IdemImage image;
	int natts; /* room in the next two */
	Datum *values;
	bool *nulls;
	TupleDesc desc; /* of the arguments of idem_digest_values; NULL: not made yet */
} DigestState;

PG_FUNCTION_INFO_V1(idem_digest_add);
PG_FUNCTION_INFO_V1(idem_digest_add_values);
PG_FUNCTION_INFO_V1(idem_digest_combine);
PG_FUNCTION_INFO_V1(idem_digest_serialize);
PG_FUNCTION_INFO_V1(idem_digest_deserialize);
PG_FUNCTION_INFO_V1(idem_digest_result);

/* Returns the state argument, made in the aggregate's context if it is NULL. */
static DigestState *
get_state(FunctionCallInfo fcinfo)
{
	MemoryContext context;
	MemoryContext old;
	DigestState *state;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "idem_digest function called in non-aggregate context");
	if (!PG_ARGISNULL(0))
		return (DigestState *) PG_GETARG_POINTER(0);
	old = MemoryContextSwitchTo(context);
	state = palloc0(sizeof(DigestState));
	idem_init_image(&state->image);
	MemoryContextSwitchTo(old);
	return state;
}

/* Makes room for the columns of a row. */
static void
fit_state(DigestState *state, int natts)
{
	MemoryContext old;

	if (natts <= state->natts)
		return;
	old = MemoryContextSwitchTo(GetMemoryChunkContext(state));
	if (state->values)
	{
		pfree(state->values);
		pfree(state->nulls);
	}
	state->values = palloc(natts * sizeof(Datum));
	state->nulls = palloc(natts * sizeof(bool));
	state->natts = natts;
	MemoryContextSwitchTo(old);
}

/* SQL: transition of idem_digest(record); a NULL record adds nothing */
Datum
idem_digest_add(PG_FUNCTION_ARGS)
{
	DigestState *state = get_state(fcinfo);
	HeapTupleHeader row;
	HeapTupleData tuple;
	IdemDigest hash;
	TupleDesc desc;

	if (PG_ARGISNULL(1))
		PG_RETURN_POINTER(state);
	row = PG_GETARG_HEAPTUPLEHEADER(1);
	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(row), HeapTupleHeaderGetTypMod(row));
	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	tuple.t_data = row;
	fit_state(state, desc->natts);
	heap_deform_tuple(&tuple, desc, state->values, state->nulls);
	idem_make_image(&state->image, desc, state->values, state->nulls);
	hash = idem_hash_image(&state->image, NULL);
	idem_add_digest(&state->digest, &hash);
	ReleaseTupleDesc(desc);
	PG_RETURN_POINTER(state);
}

/* What the arguments after the state are, as the columns of a row. */
static TupleDesc
make_arguments_desc(FunctionCallInfo fcinfo)
{
	TupleDesc desc;
	int i;

	if (get_fn_expr_variadic(fcinfo->flinfo))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("idem_digest_values takes no VARIADIC array"),
				 errhint("Name the columns one by one, or use idem_digest(record).")));
	desc = CreateTemplateTupleDesc(PG_NARGS() - 1);
	for (i = 1; i < PG_NARGS(); i++)
		TupleDescInitEntry(desc, i, NULL, get_fn_expr_argtype(fcinfo->flinfo, i), -1, 0);
	idem_finalize_desc(desc);
	return desc;
}

/* SQL: transition of idem_digest_values(VARIADIC "any") */
Datum
idem_digest_add_values(PG_FUNCTION_ARGS)
{
	DigestState *state = get_state(fcinfo);
	int natts = PG_NARGS() - 1;
	IdemDigest hash;
	int i;

	if (state->desc == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(state));

		state->desc = make_arguments_desc(fcinfo);
		MemoryContextSwitchTo(old);
	}
	fit_state(state, natts);
	for (i = 0; i < natts; i++)
	{
		state->values[i] = PG_GETARG_DATUM(i + 1);
		state->nulls[i] = PG_ARGISNULL(i + 1);
	}
	idem_make_image(&state->image, state->desc, state->values, state->nulls);
	hash = idem_hash_image(&state->image, NULL);
	idem_add_digest(&state->digest, &hash);
	PG_RETURN_POINTER(state);
}

/* SQL: combine function of idem_digest(record) */
Datum
idem_digest_combine(PG_FUNCTION_ARGS)
{
	DigestState *state = get_state(fcinfo);

	if (!PG_ARGISNULL(1))
		idem_add_digest(&state->digest, &((DigestState *) PG_GETARG_POINTER(1))->digest);
	PG_RETURN_POINTER(state);
}

/* SQL: serialize function of idem_digest(record) */
Datum
idem_digest_serialize(PG_FUNCTION_ARGS)
{
	return idem_digest_bytea(&get_state(fcinfo)->digest);
}

/* SQL: deserialize function of idem_digest(record) */
Datum
idem_digest_deserialize(PG_FUNCTION_ARGS)
{
	bytea *bytes = PG_GETARG_BYTEA_PP(0);
	DigestState *state = palloc0(sizeof(DigestState));
	uint64 lanes[2];

	if (!AggCheckCallContext(fcinfo, NULL) || VARSIZE_ANY_EXHDR(bytes) != sizeof(lanes))
		elog(ERROR, "invalid call of idem_digest_deserialize");
	memcpy(lanes, VARDATA_ANY(bytes), sizeof(lanes));
	state->digest.lanes[0] = pg_ntoh64(lanes[0]);
	state->digest.lanes[1] = pg_ntoh64(lanes[1]);
	idem_init_image(&state->image);
	PG_RETURN_POINTER(state);
}

/* SQL: final function of idem_digest(record) */
Datum
idem_digest_result(PG_FUNCTION_ARGS)
{
	return idem_digest_bytea(&get_state(fcinfo)->digest);
}
