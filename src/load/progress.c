/*
 * progress.c
 *		What a load is doing right now, for other sessions to see.
 *
 * A slot is written by its session alone, so no lock is needed: a count that is odd
 * while the slot is being written tells a reader to look again, as the server's own
 * activity slots do.  Rows are counted by adding to the slot, one instruction each.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "fmgr.h"
#include "funcapi.h"
#include "load/progress.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "server/compat.h"
#include "server/shared.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(idem_progress_rows);

/* Longest pipeline name that is shown, in bytes. */
#define MAX_NAME 128

typedef struct Slot
{
	uint32 changes; /* odd while it is being written */
	int pid;		/* 0: no load */
	Oid database;
	Oid role;
	Oid ledger;
	Oid target;
	Oid range; /* the type of the window */
	IdemWindow window;
	bool has_window;
	IdemPhase phase;
	int64 windows_done;
	int64 windows_total;
	uint64 rows_read;
	int64 rows_written;
	TimestampTz started_at;
	uint64 pipeline_hash;	 /* of its whole name */
	char pipeline[MAX_NAME]; /* clipped */
} Slot;

static const char *const phase_names[] = {
	"starting",
	"waiting for the window",
	"waiting for writers",
	"reading the source",
	"applying",
	"auditing",
};

/* Rows are counted here while nothing is reported. */
static volatile uint64 unreported;
volatile uint64 *idem_rows_read = &unreported;

static volatile Slot *slot = NULL; /* ours, while a load is reported */
static int depth = 0;			   /* of loads within loads */

/* Sessions, and whatever else can have a slot's number. */
static int
count_slots(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

static Size
progress_size(void)
{
	return mul_size(count_slots(), sizeof(Slot));
}

static void
init_progress(void *part)
{
	memset(part, 0, progress_size());
}

const IdemSharedPart idem_progress_part = {progress_size, init_progress};

/* Begins and ends writing to our slot. */
static void
begin_write(void)
{
	slot->changes++;
	pg_write_barrier();
}

static void
end_write(void)
{
	pg_write_barrier();
	slot->changes++;
}

/* Gives the slot back. */
static void
clear_slot(void)
{
	idem_rows_read = &unreported;
	depth = 0;
	if (slot == NULL)
		return;
	begin_write();
	slot->pid = 0;
	end_write();
	slot = NULL;
}

/* Called when the process ends in the middle of a load. */
static void
clear_at_exit(int code, Datum arg)
{
	clear_slot();
}

/* The hash of a name, for those that are too long for a slot. */
static uint64
hash_name(const char *name)
{
	return hash_bytes_extended((const unsigned char *) name, strlen(name), 0);
}

void
idem_progress_begin(const IdemLedger *ledger, const char *pipeline, Oid target)
{
	static bool registered = false;
	volatile Slot *all = idem_shared_part(&idem_progress_part);

	if (all == NULL || depth++ > 0)
		return;
	if (!registered)
		before_shmem_exit(clear_at_exit, (Datum) 0);
	registered = true;
	slot = &all[idem_my_proc_number()];
	begin_write();
	slot->pid = MyProcPid;
	slot->database = MyDatabaseId;
	slot->role = GetUserId();
	slot->ledger = ledger->relid;
	slot->target = target;
	slot->range = ledger->type->range;
	slot->has_window = false;
	slot->phase = IDEM_PHASE_START;
	slot->windows_done = 0;
	slot->windows_total = 0;
	slot->rows_read = 0;
	slot->rows_written = 0;
	slot->started_at = GetCurrentTimestamp();
	slot->pipeline_hash = hash_name(pipeline);
	idem_copy_text((char *) slot->pipeline, pipeline, MAX_NAME);
	end_write();
	idem_rows_read = &slot->rows_read;
}

void
idem_progress_end(void)
{
	if (depth <= 1)
		clear_slot();
	else
		depth--;
}

void
idem_progress_total(int64 windows)
{
	int64 total;

	if (depth != 1)
		return;
	if (pg_add_s64_overflow(slot->windows_total, windows, &total))
		total = PG_INT64_MAX;
	slot->windows_total = total;
}

void
idem_progress_window(IdemWindow window)
{
	if (depth != 1)
		return;
	begin_write();
	slot->window = window;
	slot->has_window = true;
	slot->phase = IDEM_PHASE_START;
	end_write();
}

void
idem_progress_phase(IdemPhase phase)
{
	if (depth == 1)
		slot->phase = phase;
}

void
idem_progress_done(int64 written)
{
	if (depth != 1)
		return;
	begin_write();
	slot->windows_done++;
	slot->rows_written += written;
	end_write();
}

/* Copies a slot as it was at one moment; false if there is no load in it. */
static bool
copy_slot(volatile Slot *from, Slot *to)
{
	uint32 before;
	uint32 after;

	do
	{
		CHECK_FOR_INTERRUPTS();
		before = from->changes;
		pg_read_barrier();
		*to = *(Slot *) from;
		pg_read_barrier();
		after = from->changes;
	} while (before != after || (before & 1));
	return to->pid != 0 && to->database == MyDatabaseId;
}

IdemWindow *
idem_windows_in_progress(const IdemLedger *ledger, const char *pipeline, int *n)
{
	volatile Slot *all = idem_shared_part(&idem_progress_part);
	IdemWindow *windows = palloc(count_slots() * sizeof(IdemWindow));
	uint64 hash = hash_name(pipeline);
	int i;

	*n = 0;
	for (i = 0; all && i < count_slots(); i++)
	{
		Slot copy;

		if (copy_slot(&all[i], &copy) && copy.has_window && copy.ledger == ledger->relid &&
			copy.pipeline_hash == hash)
			windows[(*n)++] = copy.window;
	}
	return windows;
}

/*
 * When all windows will be done if the others take as long as those done so far;
 * infinity if time does not suffice.
 */
static TimestampTz
estimate_end(const Slot *load)
{
	double elapsed = GetCurrentTimestamp() - load->started_at;
	double duration = elapsed / load->windows_done * load->windows_total;

	if (duration >= (double) END_TIMESTAMP - load->started_at)
		return DT_NOEND;
	return load->started_at + (int64) duration;
}

/* Adds one load to the result. */
static void
put_load(ReturnSetInfo *rsinfo, const Slot *load)
{
	const IdemRangeType *type = idem_range_type(load->range);
	Datum values[] = {
		Int32GetDatum(load->pid),
		CStringGetTextDatum(load->pipeline),
		ObjectIdGetDatum(load->target),
		load->has_window ? CStringGetTextDatum(idem_window_text(type, load->window)) : (Datum) 0,
		CStringGetTextDatum(phase_names[load->phase]),
		Int64GetDatum(load->windows_done),
		Int64GetDatum(load->windows_total),
		Int64GetDatum(load->rows_read),
		Int64GetDatum(load->rows_written),
		TimestampTzGetDatum(load->started_at),
		load->windows_done > 0 ? TimestampTzGetDatum(estimate_end(load)) : (Datum) 0,
	};
	bool nulls[lengthof(values)] = {false};

	nulls[3] = !load->has_window;
	nulls[10] = load->windows_done == 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* SQL: idem_progress_rows(), the loads of this database that the caller may see */
Datum
idem_progress_rows(PG_FUNCTION_ARGS)
{
	volatile Slot *all = idem_shared_part(&idem_progress_part);
	bool see_all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	int i;

	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; all && i < count_slots(); i++)
	{
		Slot copy;

		if (copy_slot(&all[i], &copy) && (see_all || has_privs_of_role(GetUserId(), copy.role)))
			put_load(castNode(ReturnSetInfo, fcinfo->resultinfo), &copy);
	}
	return (Datum) 0;
}
