/*
 * pipeline.h
 *		Pipelines: loads that are stored under a name.
 *
 * All SQL on the table idem_pipeline is in pipeline.c and state.c, and nobody else knows
 * its columns.  Everything here needs idem_connect.
 */
#ifndef IDEM_PIPELINE_PIPELINE_H
#define IDEM_PIPELINE_PIPELINE_H

#include "fmgr.h"
#include "load/load.h"
#include "server/scope.h"

/* Longest name, in bytes: it travels to a worker in the 128 bytes a worker is given. */
#define IDEM_MAX_PIPELINE_NAME 95

/* The columns that make the definition, in the order of idem_create_pipeline's arguments. */
enum
{
	PIPELINE_NAME,
	PIPELINE_LEDGER,
	PIPELINE_TARGET,
	PIPELINE_SOURCE,
	PIPELINE_MODE,
	PIPELINE_KEYS,
	PIPELINE_WINDOW_COLUMN,
	PIPELINE_STEP,
	PIPELINE_START,
	PIPELINE_TIME_ZONE,
	PIPELINE_LAG,
	PIPELINE_LOOKBACK,
	PIPELINE_WATERMARK,
	PIPELINE_VERSION_COLUMN,
	PIPELINE_AUDIT,
	PIPELINE_ON_SCHEMA_CHANGE,
	PIPELINE_DEAD_LETTERS,
	PIPELINE_MAX_DEAD,
	PIPELINE_NEWEST_FIRST,
	PIPELINE_MAX_WINDOWS,
	PIPELINE_CHECK_EVERY,
	PIPELINE_RETRY_BASE,
	PIPELINE_RETRY_MAX,
	PIPELINE_MAX_ATTEMPTS,
	PIPELINE_NOTIFY,
	PIPELINE_MONITOR,
	PIPELINE_CHECKS,
	PIPELINE_ENABLED,
	PIPELINE_ARGUMENTS, /* so many are arguments; the others follow from them */
	PIPELINE_OWNER = PIPELINE_ARGUMENTS,
	PIPELINE_SEARCH_PATH,
	PIPELINE_DATE_STYLE,
	PIPELINE_INTERVAL_STYLE,
	PIPELINE_SYSTEM_IDENTIFIER,
	PIPELINE_DATABASE,
	PIPELINE_COLUMNS,
};

/* A row of the table, as it is stored. */
typedef struct IdemPipelineRow
{
	Datum values[PIPELINE_COLUMNS];
	bool nulls[PIPELINE_COLUMNS];
} IdemPipelineRow;

/* A column's name; and its value in a table of this alias, as a row has it: what it names, by OID. */
extern const char *idem_pipeline_column(int column);
extern char *idem_pipeline_value(const char *table, int column);

/*
 * Reads the row of a pipeline that is the current role's, locked to be written if lock,
 * or writes it; schema is the extension's.  Reading raises 42704 if there is none,
 * inserting 42710 if there is one already, updating and deleting 42704.
 */
extern void idem_read_pipeline_row(const char *schema, const char *name, bool lock,
								   IdemPipelineRow *row);
extern void idem_insert_pipeline_row(const char *schema, const IdemPipelineRow *row);
extern void idem_update_pipeline_row(const char *schema, const IdemPipelineRow *row);
extern void idem_delete_pipeline_row(const char *schema, const char *name);

/* Inserts a row of columns as they are stored, of these types; false if there is one of the name. */
extern bool idem_insert_stored_row(const char *schema, const Oid *types, const Datum *values,
								   const bool *nulls);

/* True while one of these inserts: the trigger of the table asks. */
extern bool idem_inserts_pipeline(void);

/* A pipeline in the form it is used in. */
typedef struct IdemPipeline
{
	const char *schema; /* the extension's */
	uint64 fingerprint; /* of the definition */
	const char *name;
	Oid ledger;
	Oid target;
	const char *source;
	const char *mode;
	char **keys;
	int nkeys;
	const char *window_column;
	const char *step;
	const char *start;
	const char *lag;
	const char *lookback;
	const char *watermark;
	const char *version_column;
	const char *audit;
	IdemOnSchemaChange on_schema_change;
	Oid dead_letters; /* 0: none */
	const char *max_dead;
	bool newest_first;
	int max_windows;
	int64 check_every; /* microseconds */
	IdemRetryPolicy retry;
	bool notify;
	Oid monitor;  /* InvalidOid: none, or one that is not here */
	Datum checks; /* a jsonb; 0: nobody has said anything */
	bool enabled;
	IdemIdentity identity; /* its owner, and the settings it was written under */
} IdemPipeline;

/* Makes it of a row, in the current memory context. */
extern IdemPipeline *idem_make_pipeline(const char *schema, const IdemPipelineRow *row);

/* Raises 22004 or 22023 for a definition that lacks something, or makes no sense whatever it loads. */
extern void idem_check_definition(const IdemPipelineRow *row);

/* Raises 42704 if a pipeline's owner has been dropped, or is no role here. */
extern void idem_check_owner(const IdemPipeline *pipeline);

/* Raises 42P01 if its ledger or target is gone, or did not come with a dump. */
extern void idem_check_relations(const IdemPipeline *pipeline);

/*
 * Reads a pipeline by its name, or takes it from its row, to be used; raises 42704 if there
 * is none or its owner is gone, 42P01 if what it names is gone.
 */
extern IdemPipeline *idem_open_pipeline(const char *schema, const char *name);
extern IdemPipeline *idem_open_pipeline_row(const char *schema, const IdemPipelineRow *row);

/* The same for the pipeline that a function's first argument names; 22004 if it is NULL. */
extern IdemPipeline *idem_argument_pipeline(FunctionCallInfo fcinfo);

/* The range type of a pipeline's ledger. */
extern const IdemRangeType *idem_pipeline_range_type(const IdemPipeline *pipeline);

/*
 * Runs work(arg) so that it reads what the caller has typed: by his own DateStyle, but in
 * the pipeline's time zone, whose days its windows are.
 */
extern void idem_run_as_typed(const IdemPipeline *pipeline, void (*work)(void *arg), void *arg);

/* Reads a window that the caller has typed. */
extern Datum idem_read_typed_window(const IdemPipeline *pipeline, const char *text);

/* The request to load a window of a pipeline; the window itself is the caller's to add. */
extern IdemRequest idem_pipeline_request(const IdemPipeline *pipeline);

/* Adds it from an argument, in one of its two forms. */
extern void idem_request_window(const IdemPipeline *pipeline, FunctionCallInfo fcinfo, int arg,
								bool is_text, IdemRequest *request);

#endif /* IDEM_PIPELINE_PIPELINE_H */
