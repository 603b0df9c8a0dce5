/*
 * runner.h
 *		Runs the pieces of a load: each claimed, loaded, audited and completed.
 */
#ifndef IDEM_LOAD_RUNNER_H
#define IDEM_LOAD_RUNNER_H

#include "load/apply.h"
#include "load/audit.h"
#include "load/load.h"
#include "load/source.h"
#include "load/windows.h"

/* How many windows are loaded together, by how long they take. */
typedef struct IdemPace
{
	int together;	   /* as many next time; 0: none any more in this call */
	int alone;		   /* but so many first, for which a batch has failed, */
	int rerun;		   /* and whose sources have run: so many of these */
	TimestampTz began; /* when the last one alone had nothing to wait for any more; 0: it never had */
} IdemPace;

/* A load that has been looked up and found right. */
typedef struct IdemLoad
{
	const IdemRequest *request;
	bool atomic;
	MemoryContext context;		 /* lives as long as the call */
	MemoryContext piece_context; /* reset for each piece */
	IdemLedger *ledger;
	const IdemRangeType *type;
	MemoryContext target_context; /* in which the target is, and what depends on it: */
	IdemTarget *target;
	IdemSource *source;
	IdemApply *apply;
	const char *source_schema;	 /* its digest, in hex */
	const char *accepted_schema; /* the columns that the next run is to be accepted with, as JSON; */
	const char *other_schema;	 /* or that differ from the accepted ones; NULL: neither */
	bool says_schema;			 /* the next run's completion tells others of it */
	bool appends;				 /* it is a load, and no check of one */
	bool appended;				 /* columns have been added to the target */
	IdemQuery *audit; /* NULL if there is none */
	struct IdemLetters *letters; /* NULL: a row that cannot be loaded fails its window */
	MemoryContext dead_context;	 /* in which those of the piece are: */
	List *dead;					 /* letters */
	bool too_many;				 /* of them, for which it fails */
	const char *pipeline;
	const char *time_zone; /* under which it runs */
	bool again;	   /* the piece has failed by a conflict: try it once more */
	IdemPace pace; /* of windows that are loaded together */
	IdemPlan plan; /* of its windows */
	IdemReport report;
	void *report_arg;
	IdemSummary *summary;
} IdemLoad;

/* Loads a window's gaps, in pieces of a step, or each as one piece. */
extern void idem_load_gaps(IdemLoad *load, IdemWindow window, bool cut);

/* Loads the windows that the request gives one by one. */
extern void idem_load_given(IdemLoad *load);

/* As whom, and under which search_path, a load runs. */
extern IdemIdentity idem_load_identity(const IdemLoad *load);

/*
 * For batch.c: a window's run, of which nothing is known yet; its rows, loaded and audited,
 * once it is claimed; what others are told once it is complete; and what the caller is told.
 */
extern IdemRun idem_make_run(const IdemLoad *load, IdemWindow window);
extern void idem_fill_window(IdemLoad *load, IdemRun *run);
extern void idem_say_complete(const IdemLoad *load, const IdemRun *run);
extern void idem_report_run(IdemLoad *load, const IdemRun *run, bool busy);

#endif /* IDEM_LOAD_RUNNER_H */
