/*
 * windows.h
 *		What of a request is to be loaded: its gaps, cut into pieces.
 */
#ifndef IDEM_LOAD_WINDOWS_H
#define IDEM_LOAD_WINDOWS_H

#include "load/load.h"

/* A request for windows; the first three are the caller's. */
typedef struct IdemPlan
{
	const IdemRequest *request;
	IdemLedger *ledger;
	const char *pipeline;
	IdemWindow window;	 /* that is requested */
	IdemStep step;		 /* if the request has one */
	int64 origin;		 /* of the grid of steps */
	IdemWindow reopened; /* complete windows in it are redone; may be empty */
} IdemPlan;

/*
 * Fills in the rest, and raises what is wrong with it; false if the window is empty.  To
 * be called as whom the request is made.
 */
extern bool idem_plan_windows(IdemPlan *plan);

/* What of it is redone although it is complete, as a range. */
extern Datum idem_reopened_range(const IdemPlan *plan);

/* The pieces of a window's gaps, and those of them that have been made last. */
typedef struct IdemQueue
{
	const IdemPlan *plan;
	MemoryContext context; /* in which all of it is */
	IdemPieces pieces;
	IdemCursor cursor;
	int64 total;		  /* pieces, at most */
	int n;				  /* made */
	IdemWindow made[256]; /* at a time, for the grid is another's time zone's */
} IdemQueue;

/*
 * Finds the gaps of a window within the request, to be cut into pieces of a step or
 * each to be one piece, as whom the request is made.  Raises 55000 if what is complete there
 * is in another relation than the target.  In the current memory context.
 */
extern IdemQueue *idem_open_queue(const IdemPlan *plan, IdemWindow window, bool cut);

/* Makes the next pieces; false if there are none. */
extern bool idem_fill_queue(IdemQueue *queue);

extern void idem_close_queue(IdemQueue *queue);

#endif /* IDEM_LOAD_WINDOWS_H */
