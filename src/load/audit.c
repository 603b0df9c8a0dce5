/*
 * audit.c
 *		The user's last word on a window before it is complete.
 *
 * An audit sees the target as it will be, in the load's transaction, so a failed
 * audit takes the rows back before anybody else could see them.
 */
#include "postgres.h"

#include "load/audit.h"
#include "load/rows.h"
#include "server/query.h"

/* Receives the row that should not be there. */
typedef struct AuditReceiver
{
	DestReceiver pub;
	const IdemQuery *audit;
	const IdemRangeType *type;
	IdemWindow window;
} AuditReceiver;

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	AuditReceiver *receiver = (AuditReceiver *) self;

	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("audit of window %s failed",
					idem_window_text(receiver->type, receiver->window)),
			 errdetail("The audit query returned %s.",
					   idem_describe_row(NULL, idem_running_desc(receiver->audit), slot))));
	return false;
}

void
idem_run_audit(IdemQuery *audit, const IdemRangeType *type, IdemWindow window)
{
	AuditReceiver receiver = {
		.pub = {receive_row, idem_start_receiver, idem_keep_receiver, idem_keep_receiver, DestNone},
		.audit = audit,
		.type = type,
		.window = window,
	};

	idem_run_query(audit, idem_bound_datum(type, window.lower),
				   idem_bound_datum(type, window.upper), NULL, &receiver.pub, 1);
}
