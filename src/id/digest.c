/*
 * digest.c
 *		An order-independent checksum of a multiset of rows, and idem_digest().
 *
 * MSet-Add-Hash (Clarke, Devadas, van Dijk, Gassend, Suh: Incremental Multiset Hash
 * Functions, ASIACRYPT 2003): each row is hashed and the hashes are added, here in
 * two lanes mod 2^64.  A sum, unlike XOR, tells a row that is there twice from one
 * that is not there; hashing the row as a whole before adding tells two rows that
 * have swapped a value from two that have not.  It finds errors; it does not
 * withstand someone who chooses rows to collide.
 *
 * A row is hashed by the server's hash_bytes_extended(), once for each lane, over
 * its columns' images, each with its length.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "id/digest.h"
#include "port/pg_bswap.h"
#include "server/compat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

/* The lanes' seeds: the first 64 bits of the fractions of the roots of 2 and 3. */
#define SEED0 UINT64CONST(0x6a09e667f3bcc908)
#define SEED1 UINT64CONST(0xbb67ae8584caa73b)

/* Longer values enter the row's image by their own hash. */
#define MAX_IMAGE 256

/* What a column's image begins with: is it NULL, or of a fixed length, or is its length next. */
enum
{
	IMAGE_NULL,
	IMAGE_FIXED,
	IMAGE_LENGTH,
};

static IdemDigest
hash_image(const char *image, int len)
{
	IdemDigest hash = {{
		hash_bytes_extended((const unsigned char *) image, len, SEED0),
		hash_bytes_extended((const unsigned char *) image, len, SEED1),
	}};

	return hash;
}

/* Appends bytes of which there is room for. */
static inline void
put_bytes(StringInfo buf, const void *bytes, size_t len)
{
	memcpy(buf->data + buf->len, bytes, len);
	buf->len += len;
}

/* Appends the image of a value whose length its type does not tell. */
static void
put_variable(StringInfo buf, const char *image, uint32 len)
{
	buf->data[buf->len++] = IMAGE_LENGTH;
	put_bytes(buf, &len, sizeof(len));
	if (len > MAX_IMAGE)
	{
		IdemDigest hash = hash_image(image, len);

		put_bytes(buf, &hash, sizeof(hash));
	}
	else
		put_bytes(buf, image, len);
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
put_value(StringInfo buf, Form_pg_attribute att, Datum value)
{
	if (att->attbyval)
	{
		value = normal_datum(value, att->attlen);
		buf->data[buf->len++] = IMAGE_FIXED;
		put_bytes(buf, &value, sizeof(value));
	}
	else if (att->attlen == -1)
	{
		struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);

		put_variable(buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	}
	else
		put_variable(buf, DatumGetPointer(value),
					 att->attlen > 0 ? att->attlen : strlen(DatumGetCString(value)));
}

IdemDigest
idem_hash_row(StringInfo buf, TupleDesc desc, const Datum *values, const bool *nulls)
{
	int i;

	resetStringInfo(buf);
	enlargeStringInfo(buf, desc->natts * (MAX_IMAGE + 8));
	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (nulls[i])
			buf->data[buf->len++] = IMAGE_NULL;
		else
			put_value(buf, att, values[i]);
	}
	return hash_image(buf->data, buf->len);
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
	StringInfoData buf;
	int natts; /* room in the next two */
	Datum *values;
	bool *nulls;
} DigestState;

PG_FUNCTION_INFO_V1(idem_digest_add);
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
	initStringInfo(&state->buf);
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
	hash = idem_hash_row(&state->buf, desc, state->values, state->nulls);
	idem_add_digest(&state->digest, &hash);
	ReleaseTupleDesc(desc);
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
	initStringInfo(&state->buf);
	PG_RETURN_POINTER(state);
}

/* SQL: final function of idem_digest(record) */
Datum
idem_digest_result(PG_FUNCTION_ARGS)
{
	return idem_digest_bytea(&get_state(fcinfo)->digest);
}
