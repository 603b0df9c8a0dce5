/* idem--1.0.sql: the objects of idem, in the order a reader meets them */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION idem CASCADE" to load this file. \quit

--
-- Deterministic IDs
--

CREATE FUNCTION idem_hash_support(internal) RETURNS internal
LANGUAGE C STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_hash_support';
COMMENT ON FUNCTION idem_hash_support(internal) IS
'planner support function: hashes columns themselves where a record would be formed of them';

CREATE FUNCTION idem_hash(record record, keys text[]) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE SUPPORT idem_hash_support
AS 'MODULE_PATHNAME', 'idem_hash_record';
COMMENT ON FUNCTION idem_hash(record, text[]) IS
'deterministic ID of a record: SHA-256, as 64 hex digits, of the canonical JSON of its key columns';

CREATE FUNCTION idem_hash(record jsonb, keys text[]) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_hash_jsonb';
COMMENT ON FUNCTION idem_hash(jsonb, text[]) IS
'deterministic ID of a JSON object: SHA-256, as 64 hex digits, of the canonical JSON of its keys';

CREATE FUNCTION idem_canonical(record record, keys text[]) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_canonical_record';
COMMENT ON FUNCTION idem_canonical(record, text[]) IS
'the canonical JSON that idem_hash(record, text[]) hashes';

CREATE FUNCTION idem_canonical(record jsonb, keys text[]) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_canonical_jsonb';
COMMENT ON FUNCTION idem_canonical(jsonb, text[]) IS
'the canonical JSON that idem_hash(jsonb, text[]) hashes';

CREATE FUNCTION idem_uuid(record record, keys text[]) RETURNS uuid
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE SUPPORT idem_hash_support
AS 'MODULE_PATHNAME', 'idem_uuid_record';
COMMENT ON FUNCTION idem_uuid(record, text[]) IS
'deterministic ID of a record as a UUID of version 8, from the same SHA-256 as idem_hash(record, text[])';

CREATE FUNCTION idem_uuid(record jsonb, keys text[]) RETURNS uuid
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_uuid_jsonb';
COMMENT ON FUNCTION idem_uuid(jsonb, text[]) IS
'deterministic ID of a JSON object as a UUID of version 8, from the same SHA-256 as idem_hash(jsonb, text[])';

CREATE FUNCTION idem_hash_values(keys text[], VARIADIC key_values "any") RETURNS text
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_hash_values';
COMMENT ON FUNCTION idem_hash_values(text[], "any") IS
'the same ID as idem_hash(record, text[]), of values given in the order of their keys';

CREATE FUNCTION idem_uuid_values(keys text[], VARIADIC key_values "any") RETURNS uuid
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_uuid_values';
COMMENT ON FUNCTION idem_uuid_values(text[], "any") IS
'the same ID as idem_uuid(record, text[]), of values given in the order of their keys';

CREATE FUNCTION idem_of_row(tableoid oid, id anyelement) RETURNS anyelement
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_of_row';
COMMENT ON FUNCTION idem_of_row(oid, anyelement) IS
'the ID, unless the row it is of is none, as an outer join makes one: what the planner puts around idem_hash_values';

CREATE FUNCTION idem_set_id() RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_set_id';
COMMENT ON FUNCTION idem_set_id() IS
'BEFORE INSERT OR UPDATE trigger: sets the column named first to the ID of the columns named after it';

--
-- Digests of sets of rows
--

CREATE FUNCTION idem_digest_add(state internal, record record) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_digest_add';
COMMENT ON FUNCTION idem_digest_add(internal, record) IS
'transition function of the aggregate idem_digest';

CREATE FUNCTION idem_digest_combine(state internal, more internal) RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_digest_combine';
COMMENT ON FUNCTION idem_digest_combine(internal, internal) IS
'combine function of the aggregate idem_digest';

CREATE FUNCTION idem_digest_serialize(state internal) RETURNS bytea
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_digest_serialize';
COMMENT ON FUNCTION idem_digest_serialize(internal) IS
'serialize function of the aggregate idem_digest';

CREATE FUNCTION idem_digest_deserialize(state bytea, internal) RETURNS internal
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_digest_deserialize';
COMMENT ON FUNCTION idem_digest_deserialize(bytea, internal) IS
'deserialize function of the aggregate idem_digest';

CREATE FUNCTION idem_digest_result(state internal) RETURNS bytea
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_digest_result';
COMMENT ON FUNCTION idem_digest_result(internal) IS
'final function of the aggregate idem_digest';

CREATE AGGREGATE idem_digest(record) (
    SFUNC = idem_digest_add,
    STYPE = internal,
    COMBINEFUNC = idem_digest_combine,
    SERIALFUNC = idem_digest_serialize,
    DESERIALFUNC = idem_digest_deserialize,
    FINALFUNC = idem_digest_result,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE idem_digest(record) IS
'checksum of rows, 16 bytes: the same for the same rows in any order, another if a row is missing, changed or there twice';

CREATE FUNCTION idem_digest_add_values(state internal, VARIADIC column_values "any") RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_digest_add_values';
COMMENT ON FUNCTION idem_digest_add_values(internal, "any") IS
'transition function of the aggregate idem_digest_values';

CREATE AGGREGATE idem_digest_values(VARIADIC column_values "any") (
    SFUNC = idem_digest_add_values,
    STYPE = internal,
    COMBINEFUNC = idem_digest_combine,
    SERIALFUNC = idem_digest_serialize,
    DESERIALFUNC = idem_digest_deserialize,
    FINALFUNC = idem_digest_result,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE idem_digest_values("any") IS
'the same checksum as idem_digest(record), of rows given as their columns: what postgres_fdw has computed on the other server';

--
-- The ledger
--

CREATE TYPE idem_state AS ENUM ('running', 'complete', 'failed', 'superseded');
COMMENT ON TYPE idem_state IS
'state of a run in a ledger: complete or failed; superseded once redone or invalidated; running for a row written by hand, which keeps loads out of its window';

-- one type for each type of windows, alike but for that column
DO $do$
DECLARE
    ledger record;
    columns constant text[] := ARRAY[
        ARRAY['run_id', 'pg_catalog.int8', 'number of the run'],
        ARRAY['pipeline', 'pg_catalog.text', 'name of the pipeline'],
        ARRAY['window_range', 'RANGE', 'the window: what part of the source the run loaded'],
        ARRAY['state', '@extschema@.idem_state', 'running, complete, failed or superseded'],
        ARRAY['target', 'pg_catalog.oid', 'OID of the relation that was loaded; NULL in a row that was written by hand'],
        ARRAY['target_name', 'pg_catalog.text', 'its name, for who reads, and for a database that was restored elsewhere'],
        ARRAY['mode', 'pg_catalog.text', 'upsert or reload'],
        ARRAY['method', 'pg_catalog.text', 'how the engine applied the rows'],
        ARRAY['attempt', 'pg_catalog.int4', 'number of the attempt at this window, from 1'],
        ARRAY['source_rows', 'pg_catalog.int8', 'rows that the source returned'],
        ARRAY['inserted_rows', 'pg_catalog.int8', 'rows inserted into the target'],
        ARRAY['updated_rows', 'pg_catalog.int8', 'rows updated in the target'],
        ARRAY['deleted_rows', 'pg_catalog.int8', 'rows deleted from the target'],
        ARRAY['unchanged_rows', 'pg_catalog.int8', 'source rows that the target held already, or held in a newer version'],
        ARRAY['dead_rows', 'pg_catalog.int8', 'source rows that could not be loaded and became dead letters'],
        ARRAY['source_digest', 'pg_catalog.bytea', 'order-independent checksum of the source rows; NULL where none was taken'],
        ARRAY['digest_version', 'pg_catalog.int4', 'how it was computed: only digests of one version can be compared'],
        ARRAY['started_at', 'pg_catalog.timestamptz', 'when the window was claimed'],
        ARRAY['finished_at', 'pg_catalog.timestamptz', 'when the run ended'],
        ARRAY['run_by', 'pg_catalog.text', 'the role that ran it'],
        ARRAY['error_code', 'pg_catalog.text', 'SQLSTATE of the failure'],
        ARRAY['error_message', 'pg_catalog.text', 'message of the failure'],
        ARRAY['next_attempt_at', 'pg_catalog.timestamptz', 'when a pipeline tries a failed window again; NULL where nobody does'],
        ARRAY['blocked', 'pg_catalog.bool', 'true for a failed window that is left alone until idem_retry'],
        ARRAY['source_schema', 'pg_catalog.bytea', 'digest, 16 bytes, of the source''s columns and their types; NULL where it was not recorded'],
        ARRAY['system_identifier', 'pg_catalog.int8', 'the cluster in which target is an OID'],
        ARRAY['database_oid', 'pg_catalog.oid', 'the database in which it is'],
        ARRAY['details', 'pg_catalog.jsonb', 'what else there is to know: the time zone it ran under, duplicates collapsed, the run a split row came from, the source''s columns where they are accepted or differ, detail, hint and context of a failure']
    ];
    i integer;
BEGIN
    FOR ledger IN VALUES ('idem_ledger', 'tstzrange'), ('idem_ledger_ts', 'tsrange'),
        ('idem_ledger_date', 'daterange'), ('idem_ledger_int8', 'int8range')
    LOOP
        EXECUTE pg_catalog.format('CREATE TYPE %s.%I AS (%s)', '@extschema@', ledger.column1,
            (SELECT pg_catalog.string_agg(pg_catalog.format('%I %s', columns[c][1],
                    pg_catalog.replace(columns[c][2], 'RANGE', 'pg_catalog.' OPERATOR(pg_catalog.||) ledger.column2)), ', ' ORDER BY c)
             FROM pg_catalog.generate_series(1, pg_catalog.array_length(columns, 1)) c));
        EXECUTE pg_catalog.format('COMMENT ON TYPE %s.%I IS %L', '@extschema@', ledger.column1,
            pg_catalog.format('a window ledger whose windows are of type %s: create one with idem_create_ledger', ledger.column2));
        FOR i IN 1 .. pg_catalog.array_length(columns, 1) LOOP
            EXECUTE pg_catalog.format('COMMENT ON COLUMN %s.%I.%I IS %L', '@extschema@', ledger.column1, columns[i][1], columns[i][3]);
        END LOOP;
    END LOOP;
END
$do$;

CREATE FUNCTION idem_create_ledger(name text, range_type regtype DEFAULT 'tstzrange')
RETURNS regclass
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'idem_create_ledger';
COMMENT ON FUNCTION idem_create_ledger(text, regtype) IS
'creates a window ledger with its constraints; the caller owns it';

-- rows that could not be loaded, in a type for each type of windows
DO $do$
DECLARE
    letters record;
    columns constant text[] := ARRAY[
        ARRAY['letter_id', 'pg_catalog.int8', 'number of the letter'],
        ARRAY['pipeline', 'pg_catalog.text', 'name of the pipeline'],
        ARRAY['window_range', 'RANGE', 'the window in which the row was seen last'],
        ARRAY['row_id', 'pg_catalog.uuid', 'digest of the record: the same row has the same'],
        ARRAY['stage', 'pg_catalog.text', 'where it failed: cast, window, constraint, duplicate or write'],
        ARRAY['error_code', 'pg_catalog.text', 'SQLSTATE of the error'],
        ARRAY['error_message', 'pg_catalog.text', 'message of the error'],
        ARRAY['constraint_name', 'pg_catalog.text', 'the constraint that it violates'],
        ARRAY['column_name', 'pg_catalog.text', 'the column that its value does not fit'],
        ARRAY['record', 'pg_catalog.jsonb', 'the columns of the source''s row, as text'],
        ARRAY['times', 'pg_catalog.int8', 'how often it was seen'],
        ARRAY['first_run_id', 'pg_catalog.int8', 'the run that saw it first'],
        ARRAY['last_run_id', 'pg_catalog.int8', 'the run that saw it last'],
        ARRAY['first_seen_at', 'pg_catalog.timestamptz', 'when that was'],
        ARRAY['last_seen_at', 'pg_catalog.timestamptz', 'when that was'],
        ARRAY['state', 'pg_catalog.text', 'open; replayed, when idem_replay has loaded it; gone, when its window was loaded and it did not come; discarded, by whoever says so'],
        ARRAY['closed_at', 'pg_catalog.timestamptz', 'since when it is not open']
    ];
    i integer;
BEGIN
    FOR letters IN VALUES ('idem_dead_letter', 'tstzrange'), ('idem_dead_letter_ts', 'tsrange'),
        ('idem_dead_letter_date', 'daterange'), ('idem_dead_letter_int8', 'int8range')
    LOOP
        EXECUTE pg_catalog.format('CREATE TYPE %s.%I AS (%s)', '@extschema@', letters.column1,
            (SELECT pg_catalog.string_agg(pg_catalog.format('%I %s', columns[c][1],
                    pg_catalog.replace(columns[c][2], 'RANGE', 'pg_catalog.' OPERATOR(pg_catalog.||) letters.column2)), ', ' ORDER BY c)
             FROM pg_catalog.generate_series(1, pg_catalog.array_length(columns, 1)) c));
        EXECUTE pg_catalog.format('COMMENT ON TYPE %s.%I IS %L', '@extschema@', letters.column1,
            pg_catalog.format('rows that could not be loaded, of windows of type %s: create a table with idem_create_dead_letters', letters.column2));
        FOR i IN 1 .. pg_catalog.array_length(columns, 1) LOOP
            EXECUTE pg_catalog.format('COMMENT ON COLUMN %s.%I.%I IS %L', '@extschema@', letters.column1, columns[i][1], columns[i][3]);
        END LOOP;
    END LOOP;
END
$do$;

CREATE FUNCTION idem_create_dead_letters(name text, ledger regclass) RETURNS regclass
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'idem_create_dead_letters';
COMMENT ON FUNCTION idem_create_dead_letters(text, regclass) IS
'creates a table of dead letters for windows of the ledger''s type; the caller owns it';

CREATE FUNCTION idem_gaps(ledger regclass, pipeline text, window_range anyrange)
RETURNS anymultirange
LANGUAGE C STABLE STRICT
AS 'MODULE_PATHNAME', 'idem_gaps';
COMMENT ON FUNCTION idem_gaps(regclass, text, anyrange) IS
'what of the window is not complete';

CREATE FUNCTION idem_gaps(ledger regclass, pipeline text, window_range text)
RETURNS text
LANGUAGE C STABLE STRICT
AS 'MODULE_PATHNAME', 'idem_gaps_text';
COMMENT ON FUNCTION idem_gaps(regclass, text, text) IS
'what of the window is not complete; the window is read as the ledger''s range type';

CREATE FUNCTION idem_coverage(ledger regclass, pipeline text, window_range anyrange)
RETURNS anymultirange
LANGUAGE C STABLE STRICT
AS 'MODULE_PATHNAME', 'idem_coverage';
COMMENT ON FUNCTION idem_coverage(regclass, text, anyrange) IS
'what of the window is complete';

CREATE FUNCTION idem_coverage(ledger regclass, pipeline text, window_range text)
RETURNS text
LANGUAGE C STABLE STRICT
AS 'MODULE_PATHNAME', 'idem_coverage_text';
COMMENT ON FUNCTION idem_coverage(regclass, text, text) IS
'what of the window is complete; the window is read as the ledger''s range type';

CREATE FUNCTION idem_invalidate(ledger regclass, pipeline text, window_range anyrange)
RETURNS bigint
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'idem_invalidate';
COMMENT ON FUNCTION idem_invalidate(regclass, text, anyrange) IS
'makes the window a gap again, after waiting for a load of it in flight; returns how many complete rows it superseded';

CREATE FUNCTION idem_invalidate(ledger regclass, pipeline text, window_range text)
RETURNS bigint
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'idem_invalidate_text';
COMMENT ON FUNCTION idem_invalidate(regclass, text, text) IS
'makes the window a gap again; the window is read as the ledger''s range type';

--
-- Loading
--

CREATE PROCEDURE idem_load_window(
    ledger         regclass,
    target         regclass,
    source         text,
    window_range   text,
    mode           text,
    keys           text[]  DEFAULT NULL,
    window_column  text    DEFAULT NULL,
    pipeline       text    DEFAULT NULL,
    step           text    DEFAULT NULL,
    version_column text    DEFAULT NULL,
    audit          text    DEFAULT NULL,
    lookback       text    DEFAULT NULL,
    force          boolean DEFAULT false,
    time_zone      text    DEFAULT NULL,
    on_busy        text    DEFAULT 'wait',
    on_error       text    DEFAULT 'stop',
    on_schema_change text  DEFAULT 'fail',
    dead_letters   regclass DEFAULT NULL,
    max_dead       text    DEFAULT '1000'
)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_load_window_text';
COMMENT ON PROCEDURE idem_load_window(regclass, regclass, text, text, text, text[], text, text, text, text, text, text, boolean, text, text, text, text, regclass, text) IS
'loads the gaps of a window, each piece in a transaction of its own where CALL is at top level';

CREATE PROCEDURE idem_load_window(
    ledger         regclass,
    target         regclass,
    source         text,
    window_range   anyrange,
    mode           text,
    keys           text[]  DEFAULT NULL,
    window_column  text    DEFAULT NULL,
    pipeline       text    DEFAULT NULL,
    step           text    DEFAULT NULL,
    version_column text    DEFAULT NULL,
    audit          text    DEFAULT NULL,
    lookback       text    DEFAULT NULL,
    force          boolean DEFAULT false,
    time_zone      text    DEFAULT NULL,
    on_busy        text    DEFAULT 'wait',
    on_error       text    DEFAULT 'stop',
    on_schema_change text  DEFAULT 'fail',
    dead_letters   regclass DEFAULT NULL,
    max_dead       text    DEFAULT '1000'
)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_load_window';
COMMENT ON PROCEDURE idem_load_window(regclass, regclass, text, anyrange, text, text[], text, text, text, text, text, text, boolean, text, text, text, text, regclass, text) IS
'loads the gaps of a window, each piece in a transaction of its own where CALL is at top level';

CREATE FUNCTION idem_load(
    ledger         regclass,
    target         regclass,
    source         text,
    window_range   text,
    mode           text,
    keys           text[]  DEFAULT NULL,
    window_column  text    DEFAULT NULL,
    pipeline       text    DEFAULT NULL,
    step           text    DEFAULT NULL,
    version_column text    DEFAULT NULL,
    audit          text    DEFAULT NULL,
    lookback       text    DEFAULT NULL,
    force          boolean DEFAULT false,
    time_zone      text    DEFAULT NULL,
    on_busy        text    DEFAULT 'wait',
    on_error       text    DEFAULT 'stop',
    on_schema_change text  DEFAULT 'fail',
    dead_letters   regclass DEFAULT NULL,
    max_dead       text    DEFAULT '1000'
)
RETURNS TABLE (
    run_id         bigint,
    loaded_range   text,
    result         text,
    method         text,
    source_rows    bigint,
    inserted_rows  bigint,
    updated_rows   bigint,
    deleted_rows   bigint,
    unchanged_rows bigint
)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_load_text';
COMMENT ON FUNCTION idem_load(regclass, regclass, text, text, text, text[], text, text, text, text, text, text, boolean, text, text, text, text, regclass, text) IS
'loads the gaps of a window in the caller''s transaction; a row for each window loaded, or left alone as busy';

CREATE FUNCTION idem_load(
    ledger         regclass,
    target         regclass,
    source         text,
    window_range   anyrange,
    mode           text,
    keys           text[]  DEFAULT NULL,
    window_column  text    DEFAULT NULL,
    pipeline       text    DEFAULT NULL,
    step           text    DEFAULT NULL,
    version_column text    DEFAULT NULL,
    audit          text    DEFAULT NULL,
    lookback       text    DEFAULT NULL,
    force          boolean DEFAULT false,
    time_zone      text    DEFAULT NULL,
    on_busy        text    DEFAULT 'wait',
    on_error       text    DEFAULT 'stop',
    on_schema_change text  DEFAULT 'fail',
    dead_letters   regclass DEFAULT NULL,
    max_dead       text    DEFAULT '1000'
)
RETURNS TABLE (
    run_id         bigint,
    loaded_range   text,
    result         text,
    method         text,
    source_rows    bigint,
    inserted_rows  bigint,
    updated_rows   bigint,
    deleted_rows   bigint,
    unchanged_rows bigint
)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_load';
COMMENT ON FUNCTION idem_load(regclass, regclass, text, anyrange, text, text[], text, text, text, text, text, text, boolean, text, text, text, text, regclass, text) IS
'loads the gaps of a window in the caller''s transaction; a row for each window loaded, or left alone as busy';

--
-- Pipelines: loads that are stored under a name, and run by themselves
--

-- What a definition names: stored by OID, written by name, and read where there is nothing of the name too, so that one
-- definition never keeps the others from being restored.
CREATE TYPE idem_relation;
CREATE FUNCTION idem_relation_in(cstring) RETURNS idem_relation
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_relation_in';
COMMENT ON FUNCTION idem_relation_in(cstring) IS 'input of idem_relation';
CREATE FUNCTION idem_relation_out(idem_relation) RETURNS cstring
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_relation_out';
COMMENT ON FUNCTION idem_relation_out(idem_relation) IS 'output of idem_relation';
CREATE TYPE idem_relation (INPUT = idem_relation_in, OUTPUT = idem_relation_out, ALIGNMENT = int4, STORAGE = plain);
COMMENT ON TYPE idem_relation IS 'a relation: as regclass, but one that is not there is kept by its name';
CREATE FUNCTION idem_relation(regclass) RETURNS idem_relation
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_relation_from_oid';
COMMENT ON FUNCTION idem_relation(regclass) IS 'a relation, to be stored in a definition';
CREATE FUNCTION idem_relation_oid(idem_relation) RETURNS oid
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_relation_oid';
COMMENT ON FUNCTION idem_relation_oid(idem_relation) IS 'the relation that a definition names; 0 if it is not there';
CREATE CAST (regclass AS idem_relation) WITH FUNCTION idem_relation(regclass) AS ASSIGNMENT;
COMMENT ON CAST (regclass AS idem_relation) IS 'a relation, to be stored in a definition';
CREATE CAST (idem_relation AS oid) WITH FUNCTION idem_relation_oid(idem_relation) AS IMPLICIT;
COMMENT ON CAST (idem_relation AS oid) IS 'the relation that a definition names; 0 if it is not there';
CREATE CAST (idem_relation AS regclass) WITH FUNCTION idem_relation_oid(idem_relation) AS IMPLICIT;
COMMENT ON CAST (idem_relation AS regclass) IS 'the relation that a definition names; - if it is not there';

CREATE TYPE idem_role;
CREATE FUNCTION idem_role_in(cstring) RETURNS idem_role
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_role_in';
COMMENT ON FUNCTION idem_role_in(cstring) IS 'input of idem_role';
CREATE FUNCTION idem_role_out(idem_role) RETURNS cstring
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_role_out';
COMMENT ON FUNCTION idem_role_out(idem_role) IS 'output of idem_role';
CREATE TYPE idem_role (INPUT = idem_role_in, OUTPUT = idem_role_out, ALIGNMENT = int4, STORAGE = plain);
COMMENT ON TYPE idem_role IS 'a role: as regrole, but one that is not there is kept by its name';
CREATE FUNCTION idem_role(regrole) RETURNS idem_role
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_role_from_oid';
COMMENT ON FUNCTION idem_role(regrole) IS 'a role, to be stored in a definition';
-- immutable is not true where there was no role of the name, but a generated column wants it; idem_resume computes that again
CREATE FUNCTION idem_role_oid(idem_role) RETURNS oid
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_role_oid';
COMMENT ON FUNCTION idem_role_oid(idem_role) IS 'the role that a definition names; 0 if it is not there';
CREATE CAST (regrole AS idem_role) WITH FUNCTION idem_role(regrole) AS ASSIGNMENT;
COMMENT ON CAST (regrole AS idem_role) IS 'a role, to be stored in a definition';
CREATE CAST (idem_role AS oid) WITH FUNCTION idem_role_oid(idem_role) AS IMPLICIT;
COMMENT ON CAST (idem_role AS oid) IS 'the role that a definition names; 0 if it is not there';
CREATE CAST (idem_role AS regrole) WITH FUNCTION idem_role_oid(idem_role) AS IMPLICIT;
COMMENT ON CAST (idem_role AS regrole) IS 'the role that a definition names; - if it is not there';

CREATE TABLE idem_pipeline (
    name              text        PRIMARY KEY CHECK (pg_catalog.octet_length(name) BETWEEN 1 AND 95),
    owner             idem_role   NOT NULL,
    ledger            idem_relation NOT NULL,
    target            idem_relation NOT NULL,
    source            text        NOT NULL,
    mode              text        NOT NULL CHECK (mode IN ('upsert', 'reload')),
    keys              text[],
    window_column     text,
    step              text        NOT NULL,
    start             text        NOT NULL,
    time_zone         text        NOT NULL,
    lag               text,
    lookback          text,
    watermark         text,
    version_column    text,
    audit             text,
    on_schema_change  text        NOT NULL CHECK (on_schema_change IN ('fail', 'append', 'notify', 'ignore')),
    dead_letters      idem_relation,
    max_dead          text        NOT NULL,
    newest_first      boolean     NOT NULL,
    max_windows       integer     NOT NULL,
    check_every       interval    NOT NULL,
    retry_base        interval    NOT NULL,
    retry_max         interval    NOT NULL,
    max_attempts      integer     NOT NULL,
    notify            boolean     NOT NULL,
    monitor           idem_relation,
    checks            jsonb,
    enabled           boolean     NOT NULL,
    search_path       text        NOT NULL,
    date_style        text        NOT NULL,
    interval_style    text        NOT NULL,
    system_identifier bigint      NOT NULL,
    database_oid      oid         NOT NULL,
    owner_id          regrole     GENERATED ALWAYS AS (idem_role_oid(owner)) STORED,
    UNIQUE (name, owner_id)
);
COMMENT ON TABLE idem_pipeline IS
'pipelines: loads that are stored under a name; changed by functions alone, by their owners, and restored by COPY';
COMMENT ON COLUMN idem_pipeline.name IS 'name of the pipeline, in its ledger too';
COMMENT ON COLUMN idem_pipeline.owner IS 'the role it runs as';
COMMENT ON COLUMN idem_pipeline.ledger IS 'the ledger';
COMMENT ON COLUMN idem_pipeline.target IS 'the relation that is loaded';
COMMENT ON COLUMN idem_pipeline.source IS 'a query with $1 and $2, or a relation''s name';
COMMENT ON COLUMN idem_pipeline.mode IS 'upsert or reload';
COMMENT ON COLUMN idem_pipeline.keys IS 'the natural key';
COMMENT ON COLUMN idem_pipeline.window_column IS 'the target column that places a row in a window';
COMMENT ON COLUMN idem_pipeline.step IS 'size of a window';
COMMENT ON COLUMN idem_pipeline.start IS 'where the first window begins';
COMMENT ON COLUMN idem_pipeline.time_zone IS 'whose calendar steps follow';
COMMENT ON COLUMN idem_pipeline.lag IS 'how long after its end a window is loaded';
COMMENT ON COLUMN idem_pipeline.lookback IS 'how much of what is complete is redone when a new window is loaded';
COMMENT ON COLUMN idem_pipeline.watermark IS 'query for the highest offset that is safe to load';
COMMENT ON COLUMN idem_pipeline.version_column IS 'the target column that tells a row''s version';
COMMENT ON COLUMN idem_pipeline.audit IS 'query that fails a window by returning a row';
COMMENT ON COLUMN idem_pipeline.on_schema_change IS 'what happens when the source has other columns than before';
COMMENT ON COLUMN idem_pipeline.dead_letters IS 'where rows go that cannot be loaded';
COMMENT ON COLUMN idem_pipeline.max_dead IS 'how many of a window may';
COMMENT ON COLUMN idem_pipeline.newest_first IS 'load the newest missing window first';
COMMENT ON COLUMN idem_pipeline.max_windows IS 'how many windows are loaded before others get their turn';
COMMENT ON COLUMN idem_pipeline.check_every IS 'how often the watermark is asked';
COMMENT ON COLUMN idem_pipeline.retry_base IS 'pause after the first failure of a window; doubled after each more';
COMMENT ON COLUMN idem_pipeline.retry_max IS 'the longest such pause';
COMMENT ON COLUMN idem_pipeline.max_attempts IS 'failures in a row after which a window is blocked';
COMMENT ON COLUMN idem_pipeline.notify IS 'NOTIFY idem of every window';
COMMENT ON COLUMN idem_pipeline.monitor IS 'where the scheduler keeps what its checks find; NULL for no checks';
COMMENT ON COLUMN idem_pipeline.checks IS 'what is expected of its windows, and how often they are checked';
COMMENT ON COLUMN idem_pipeline.enabled IS 'whether it runs by itself';
COMMENT ON COLUMN idem_pipeline.search_path IS 'under which its queries'' names are looked up';
COMMENT ON COLUMN idem_pipeline.date_style IS 'the DateStyle its queries run under';
COMMENT ON COLUMN idem_pipeline.interval_style IS 'the IntervalStyle they run under';
COMMENT ON COLUMN idem_pipeline.system_identifier IS 'the cluster it is at home in; elsewhere it is paused';
COMMENT ON COLUMN idem_pipeline.database_oid IS 'the database it is at home in; elsewhere it is paused';
COMMENT ON COLUMN idem_pipeline.owner_id IS 'the number of its owner; - if there is no such role';
-- what a pipeline loads is no secret, as the body of a function is none: so everybody can dump it
GRANT SELECT ON idem_pipeline TO PUBLIC;
-- of a role that has been dropped only a number is left
SELECT pg_catalog.pg_extension_config_dump('idem_pipeline',
    'WHERE owner_id::pg_catalog.oid OPERATOR(pg_catalog.=) 0 OR owner_id::pg_catalog.oid IN (SELECT r.oid FROM pg_catalog.pg_roles r)');

-- and restore it, as those whose pipelines it has: what is written so does not run before idem_resume
CREATE FUNCTION idem_restore_pipeline() RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_restore_pipeline';
COMMENT ON FUNCTION idem_restore_pipeline() IS
'BEFORE INSERT trigger of idem_pipeline: leaves out definitions that whoever restores a dump cannot have';
CREATE TRIGGER idem_restore_pipeline BEFORE INSERT ON idem_pipeline
    FOR EACH ROW EXECUTE FUNCTION idem_restore_pipeline();
ALTER TABLE idem_pipeline ENABLE ALWAYS TRIGGER idem_restore_pipeline;
COMMENT ON TRIGGER idem_restore_pipeline ON idem_pipeline IS
'leaves out definitions that whoever restores a dump cannot have';
GRANT INSERT ON idem_pipeline TO PUBLIC;

-- nobody but the functions below writes this one, nor reads it
CREATE TABLE idem_pipeline_state (
    name            text        PRIMARY KEY,
    owner           regrole     NOT NULL,
    next_run_at     timestamptz DEFAULT pg_catalog.clock_timestamp(),
    turn_started_at timestamptz,
    turn_booked     boolean     NOT NULL DEFAULT false,
    waiting_for     text,
    last_run_at     timestamptz,
    last_error      text,
    failures        integer     NOT NULL DEFAULT 0,
    silent_turns    integer     NOT NULL DEFAULT 0,
    crashes         integer     NOT NULL DEFAULT 0,
    crashed_at      timestamptz,
    complete_to     text,
    complete_at     timestamptz,
    gaps            text,
    failed_windows  bigint,
    blocked_windows bigint,
    last_failure    text,
    gap_count       bigint,
    windows_loaded  bigint      NOT NULL DEFAULT 0,
    windows_failed  bigint      NOT NULL DEFAULT 0,
    source_rows     bigint      NOT NULL DEFAULT 0,
    inserted_rows   bigint      NOT NULL DEFAULT 0,
    updated_rows    bigint      NOT NULL DEFAULT 0,
    deleted_rows    bigint      NOT NULL DEFAULT 0,
    unchanged_rows  bigint      NOT NULL DEFAULT 0,
    frontier        text,
    frontier_at     timestamptz,
    frontier_of     bigint,
    resets          bigint      NOT NULL DEFAULT 0,
    FOREIGN KEY (name, owner) REFERENCES idem_pipeline (name, owner_id) ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE INDEX idem_pipeline_turn ON idem_pipeline_state (name) WHERE turn_started_at IS NOT NULL;
-- what each owner has that is due, without looking at what is not
CREATE INDEX idem_pipeline_due ON idem_pipeline_state (owner, next_run_at) WHERE turn_started_at IS NULL;
COMMENT ON TABLE idem_pipeline_state IS
'what the scheduler knows of pipelines; written by idem alone, read by idem_status';
COMMENT ON COLUMN idem_pipeline_state.name IS 'name of the pipeline';
COMMENT ON COLUMN idem_pipeline_state.owner IS 'its owner, as its definition says';
COMMENT ON COLUMN idem_pipeline_state.next_run_at IS 'when its next turn is due; NULL for never, as where it is disabled';
COMMENT ON COLUMN idem_pipeline_state.turn_started_at IS 'since when it is in its turn; NULL if it is not';
COMMENT ON COLUMN idem_pipeline_state.turn_booked IS 'whether the turn has said what came of it';
COMMENT ON COLUMN idem_pipeline_state.waiting_for IS 'why it is due and does not run';
COMMENT ON COLUMN idem_pipeline_state.last_run_at IS 'when its last turn ended';
COMMENT ON COLUMN idem_pipeline_state.last_error IS 'what kept its last turn from beginning';
COMMENT ON COLUMN idem_pipeline_state.failures IS 'turns in a row that could not begin';
COMMENT ON COLUMN idem_pipeline_state.silent_turns IS 'turns in a row whose worker was ended before it could say what came of it';
COMMENT ON COLUMN idem_pipeline_state.crashes IS 'turns in a row that were lost with the server';
COMMENT ON COLUMN idem_pipeline_state.crashed_at IS 'when one was last: for an hour its windows are loaded one by one';
COMMENT ON COLUMN idem_pipeline_state.complete_to IS 'how far the pipeline was complete after its last turn';
COMMENT ON COLUMN idem_pipeline_state.complete_at IS 'the moment that is; NULL for offsets';
COMMENT ON COLUMN idem_pipeline_state.gaps IS 'what was due and not complete; the first of many windows';
COMMENT ON COLUMN idem_pipeline_state.failed_windows IS 'windows whose last run had failed';
COMMENT ON COLUMN idem_pipeline_state.blocked_windows IS 'and how many of them were blocked';
COMMENT ON COLUMN idem_pipeline_state.last_failure IS 'the error of the last of them';
COMMENT ON COLUMN idem_pipeline_state.frontier IS 'a hint: everything before it was complete; NULL: the next turn reads everything';
COMMENT ON COLUMN idem_pipeline_state.frontier_at IS 'when everything was last read';
COMMENT ON COLUMN idem_pipeline_state.frontier_of IS 'a hash of the definition by which it was';
COMMENT ON COLUMN idem_pipeline_state.resets IS 'how often the hint was dropped: one that was read before that is not kept';
COMMENT ON COLUMN idem_pipeline_state.gap_count IS 'how many gaps there were';
COMMENT ON COLUMN idem_pipeline_state.windows_loaded IS 'windows that its turns have loaded so far';
COMMENT ON COLUMN idem_pipeline_state.windows_failed IS 'windows that have failed in its turns so far, a window as often as it has';
COMMENT ON COLUMN idem_pipeline_state.source_rows IS 'rows that its turns have read so far, and what became of them';
COMMENT ON COLUMN idem_pipeline_state.inserted_rows IS 'rows that its turns have inserted so far';
COMMENT ON COLUMN idem_pipeline_state.updated_rows IS 'rows that its turns have updated so far';
COMMENT ON COLUMN idem_pipeline_state.deleted_rows IS 'rows that its turns have deleted so far';
COMMENT ON COLUMN idem_pipeline_state.unchanged_rows IS 'rows that its turns have left as they were so far';

-- the same of turns that check what is complete: no columns of it, for a turn of each may be written down at once
CREATE TABLE idem_check_state (
    name            text        PRIMARY KEY,
    owner           regrole     NOT NULL,
    next_run_at     timestamptz,
    turn_started_at timestamptz,
    turn_booked     boolean     NOT NULL DEFAULT false,
    waiting_for     text,
    last_run_at     timestamptz,
    last_error      text,
    failures        integer     NOT NULL DEFAULT 0,
    silent_turns    integer     NOT NULL DEFAULT 0,
    crashes         integer     NOT NULL DEFAULT 0,
    swept_at        timestamptz,
    FOREIGN KEY (name, owner) REFERENCES idem_pipeline (name, owner_id) ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE INDEX idem_check_turn ON idem_check_state (name) WHERE turn_started_at IS NOT NULL;
CREATE INDEX idem_check_due ON idem_check_state (owner, next_run_at) WHERE turn_started_at IS NULL;
COMMENT ON TABLE idem_check_state IS
'what the scheduler knows of the checks of pipelines that name a monitor; written by idem alone';
COMMENT ON COLUMN idem_check_state.name IS 'name of the pipeline';
COMMENT ON COLUMN idem_check_state.owner IS 'its owner, as its definition says';
COMMENT ON COLUMN idem_check_state.next_run_at IS 'when its next turn is due; NULL for never, as where it is disabled or has no monitor';
COMMENT ON COLUMN idem_check_state.turn_started_at IS 'since when it is in its turn; NULL if it is not';
COMMENT ON COLUMN idem_check_state.turn_booked IS 'whether the turn has said what came of it';
COMMENT ON COLUMN idem_check_state.waiting_for IS 'why it is due and does not run';
COMMENT ON COLUMN idem_check_state.last_run_at IS 'when its last turn ended';
COMMENT ON COLUMN idem_check_state.last_error IS 'what kept its last turn from its end';
COMMENT ON COLUMN idem_check_state.failures IS 'turns in a row that ended so';
COMMENT ON COLUMN idem_check_state.silent_turns IS 'turns in a row whose worker was ended before it could say what came of it';
COMMENT ON COLUMN idem_check_state.crashes IS 'turns in a row that were lost with the server';
COMMENT ON COLUMN idem_check_state.swept_at IS 'when windows that were not due were checked last';

-- of the last reconciliation, a row for every kind of alert
CREATE TABLE idem_alert_state (
    pipeline        text        NOT NULL REFERENCES idem_pipeline_state (name) ON UPDATE CASCADE ON DELETE CASCADE,
    kind            text        NOT NULL,
    open            boolean     NOT NULL,
    value           bigint,
    opened_at       timestamptz,
    last_seen_at    timestamptz,
    acknowledged    boolean     NOT NULL,
    checked_at      timestamptz NOT NULL,
    PRIMARY KEY (pipeline, kind)
);
COMMENT ON TABLE idem_alert_state IS
'whether a pipeline has an open alert of a kind; written when it has been reconciled, read by idem_alert_metrics';
COMMENT ON COLUMN idem_alert_state.pipeline IS 'name of the pipeline';
COMMENT ON COLUMN idem_alert_state.kind IS 'kind of the alert';
COMMENT ON COLUMN idem_alert_state.open IS 'whether there was an open one when it was reconciled last';
COMMENT ON COLUMN idem_alert_state.value IS 'how many rows, keys or windows it is about';
COMMENT ON COLUMN idem_alert_state.opened_at IS 'when it was opened';
COMMENT ON COLUMN idem_alert_state.last_seen_at IS 'when it was seen last';
COMMENT ON COLUMN idem_alert_state.acknowledged IS 'whether somebody has said that he knows of it';
COMMENT ON COLUMN idem_alert_state.checked_at IS 'when the pipeline was reconciled last';

-- not a column of it: to make a pipeline due must not wait for its turn's bookkeeping
CREATE TABLE idem_wakeup (pipeline text NOT NULL, checks boolean NOT NULL DEFAULT false);
COMMENT ON TABLE idem_wakeup IS
'pipelines that somebody has made due, until the scheduler notices';
COMMENT ON COLUMN idem_wakeup.pipeline IS 'name of the pipeline';
COMMENT ON COLUMN idem_wakeup.checks IS 'whether it is to be checked, and not loaded';

-- whoever may write every table, as a member of pg_write_all_data may, must not say as whom a worker runs
CREATE FUNCTION idem_guard_table() RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_guard_table';
COMMENT ON FUNCTION idem_guard_table() IS
'BEFORE STATEMENT trigger of the tables of pipelines: they are written by functions, and by superusers';
CREATE TRIGGER idem_guard_table BEFORE UPDATE OR DELETE OR TRUNCATE ON idem_pipeline
    FOR EACH STATEMENT EXECUTE FUNCTION idem_guard_table();
CREATE TRIGGER idem_guard_table BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON idem_pipeline_state
    FOR EACH STATEMENT EXECUTE FUNCTION idem_guard_table();
CREATE TRIGGER idem_guard_table BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON idem_check_state
    FOR EACH STATEMENT EXECUTE FUNCTION idem_guard_table();
CREATE TRIGGER idem_guard_table BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON idem_alert_state
    FOR EACH STATEMENT EXECUTE FUNCTION idem_guard_table();
CREATE TRIGGER idem_guard_table BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON idem_wakeup
    FOR EACH STATEMENT EXECUTE FUNCTION idem_guard_table();
ALTER TABLE idem_pipeline ENABLE ALWAYS TRIGGER idem_guard_table;
ALTER TABLE idem_pipeline_state ENABLE ALWAYS TRIGGER idem_guard_table;
ALTER TABLE idem_check_state ENABLE ALWAYS TRIGGER idem_guard_table;
ALTER TABLE idem_alert_state ENABLE ALWAYS TRIGGER idem_guard_table;
ALTER TABLE idem_wakeup ENABLE ALWAYS TRIGGER idem_guard_table;
COMMENT ON TRIGGER idem_guard_table ON idem_pipeline IS 'refuses who may write every table, but is no superuser';
COMMENT ON TRIGGER idem_guard_table ON idem_pipeline_state IS 'refuses who may write every table, but is no superuser';
COMMENT ON TRIGGER idem_guard_table ON idem_check_state IS 'refuses who may write every table, but is no superuser';
COMMENT ON TRIGGER idem_guard_table ON idem_alert_state IS 'refuses who may write every table, but is no superuser';
COMMENT ON TRIGGER idem_guard_table ON idem_wakeup IS 'refuses who may write every table, but is no superuser';

CREATE FUNCTION idem_create_pipeline(
    name           text,
    ledger         regclass,
    target         regclass,
    source         text,
    mode           text,
    keys           text[]   DEFAULT NULL,
    window_column  text     DEFAULT NULL,
    step           text     DEFAULT NULL,
    start          text     DEFAULT NULL,
    time_zone      text     DEFAULT NULL,
    lag            text     DEFAULT NULL,
    lookback       text     DEFAULT NULL,
    watermark      text     DEFAULT NULL,
    version_column text     DEFAULT NULL,
    audit          text     DEFAULT NULL,
    on_schema_change text   DEFAULT 'fail',
    dead_letters   regclass DEFAULT NULL,
    max_dead       text     DEFAULT '1000',
    newest_first   boolean  DEFAULT false,
    max_windows    integer  DEFAULT 100,
    check_every    interval DEFAULT '1 minute',
    retry_base     interval DEFAULT '30 seconds',
    retry_max      interval DEFAULT '1 hour',
    max_attempts   integer  DEFAULT 10,
    notify         boolean  DEFAULT false,
    monitor        regclass DEFAULT NULL,
    checks         jsonb    DEFAULT NULL,
    enabled        boolean  DEFAULT true
) RETURNS void
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_create_pipeline';
COMMENT ON FUNCTION idem_create_pipeline(text, regclass, regclass, text, text, text[], text, text, text, text, text, text, text, text, text, text, regclass, text, boolean, integer, interval, interval, interval, integer, boolean, regclass, jsonb, boolean) IS
'stores a load under a name; the scheduler, or CALL idem_run_pipeline, loads its windows as they close';

CREATE FUNCTION idem_alter_pipeline(
    name           text,
    ledger         regclass DEFAULT NULL,
    target         regclass DEFAULT NULL,
    source         text     DEFAULT NULL,
    mode           text     DEFAULT NULL,
    keys           text[]   DEFAULT NULL,
    window_column  text     DEFAULT NULL,
    step           text     DEFAULT NULL,
    start          text     DEFAULT NULL,
    time_zone      text     DEFAULT NULL,
    lag            text     DEFAULT NULL,
    lookback       text     DEFAULT NULL,
    watermark      text     DEFAULT NULL,
    version_column text     DEFAULT NULL,
    audit          text     DEFAULT NULL,
    on_schema_change text   DEFAULT NULL,
    dead_letters   regclass DEFAULT NULL,
    max_dead       text     DEFAULT NULL,
    newest_first   boolean  DEFAULT NULL,
    max_windows    integer  DEFAULT NULL,
    check_every    interval DEFAULT NULL,
    retry_base     interval DEFAULT NULL,
    retry_max      interval DEFAULT NULL,
    max_attempts   integer  DEFAULT NULL,
    notify         boolean  DEFAULT NULL,
    monitor        regclass DEFAULT NULL,
    checks         jsonb    DEFAULT NULL,
    enabled        boolean  DEFAULT NULL
) RETURNS void
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_alter_pipeline';
COMMENT ON FUNCTION idem_alter_pipeline(text, regclass, regclass, text, text, text[], text, text, text, text, text, text, text, text, text, text, regclass, text, boolean, integer, interval, interval, interval, integer, boolean, regclass, jsonb, boolean) IS
'changes what is given of a pipeline; an empty text removes an optional column, lag, lookback, watermark or audit, and ''-'' the monitor or the dead letters';

CREATE FUNCTION idem_drop_pipeline(name text) RETURNS void
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'idem_drop_pipeline';
COMMENT ON FUNCTION idem_drop_pipeline(text) IS
'removes a pipeline''s definition; its ledger and target stay';

CREATE FUNCTION idem_enable_pipeline(name text) RETURNS void
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'idem_enable_pipeline';
COMMENT ON FUNCTION idem_enable_pipeline(text) IS
'lets a pipeline run by itself; the right to execute it is the right to have such pipelines';
REVOKE EXECUTE ON FUNCTION idem_enable_pipeline(text) FROM PUBLIC;

CREATE FUNCTION idem_disable_pipeline(name text) RETURNS void
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'idem_disable_pipeline';
COMMENT ON FUNCTION idem_disable_pipeline(text) IS
'keeps a pipeline from running by itself; a turn that is running goes on to its end';

CREATE FUNCTION idem_resume() RETURNS bigint
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_resume';
COMMENT ON FUNCTION idem_resume() IS
'lets the pipelines run that came with a restored or cloned database, and returns how many there were';

CREATE FUNCTION idem_pipeline_calls(pipeline text DEFAULT NULL) RETURNS SETOF text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET intervalstyle = 'iso_8601'
-- a body that follows its schema's name; made under the search_path of whoever creates the extension, so all is qualified
BEGIN ATOMIC
    SELECT pg_catalog.format(E'BEGIN;\nSET LOCAL ROLE %s;\nSELECT pg_catalog.set_config(''search_path'', %L, true),'
        ' pg_catalog.set_config(''datestyle'', %L, true), pg_catalog.set_config(''intervalstyle'', %L, true);\n'
        'SELECT %s.idem_create_pipeline(%s);\nCOMMIT;\n', p.owner, p.search_path, p.date_style, p.interval_style,
        (SELECT c.relnamespace::regnamespace FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) p.tableoid),
        (SELECT pg_catalog.string_agg(pg_catalog.format('%s => %L', a.name, a.value), E',\n    ' ORDER BY a.n)
         FROM (VALUES (1, 'name', p.name), (2, 'ledger', p.ledger::text), (3, 'target', p.target::text),
            (4, 'source', p.source), (5, 'mode', p.mode), (6, 'keys', p.keys::text), (7, 'window_column', p.window_column),
            (8, 'step', p.step), (9, 'start', p.start), (10, 'time_zone', p.time_zone), (11, 'lag', p.lag),
            (12, 'lookback', p.lookback), (13, 'watermark', p.watermark), (14, 'version_column', p.version_column),
            (15, 'audit', p.audit), (16, 'on_schema_change', p.on_schema_change), (17, 'dead_letters', p.dead_letters::text), (18, 'max_dead', p.max_dead),
            (19, 'newest_first', p.newest_first::text), (20, 'max_windows', p.max_windows::text),
            (21, 'check_every', p.check_every::text), (22, 'retry_base', p.retry_base::text), (23, 'retry_max', p.retry_max::text),
            (24, 'max_attempts', p.max_attempts::text), (25, 'notify', p.notify::text), (26, 'monitor', p.monitor::text), (27, 'checks', p.checks::text), (28, 'enabled', p.enabled::text)) a (n, name, value)
         WHERE a.value IS NOT NULL))
    FROM @extschema@.idem_pipeline p
    WHERE idem_pipeline_calls.pipeline IS NULL OR p.name OPERATOR(pg_catalog.=) idem_pipeline_calls.pipeline
    ORDER BY p.name;
END;
COMMENT ON FUNCTION idem_pipeline_calls(text) IS
'SQL that creates a pipeline, or all of them, as they are defined here';

CREATE FUNCTION idem_retry(pipeline text, window_range text DEFAULT NULL) RETURNS bigint
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_retry';
COMMENT ON FUNCTION idem_retry(text, text) IS
'forgets the failures of a window, or of all, so that it is tried again at once; returns how many there were';

CREATE FUNCTION idem_replay(dead_letters regclass, pipeline text)
RETURNS TABLE (letter_id bigint, result text, error_message text)
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'idem_replay';
COMMENT ON FUNCTION idem_replay(regclass, text) IS
'loads the rows of a pipeline''s open dead letters from what was kept of them, never over a newer version; a row for each letter';

CREATE PROCEDURE idem_run_pipeline(pipeline text)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_run_pipeline';
COMMENT ON PROCEDURE idem_run_pipeline(text) IS
'loads every window of a pipeline that is due, as its owner';

-- no more than four arguments, so that no call of the other idem_load_window is ambiguous
CREATE PROCEDURE idem_load_window(
    pipeline       text,
    window_range   text,
    force          boolean DEFAULT false,
    on_busy        text    DEFAULT 'wait'
)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_load_pipeline_window_text';
COMMENT ON PROCEDURE idem_load_window(text, text, boolean, text) IS
'loads the gaps of a window by the definition of a pipeline, as its owner';

CREATE PROCEDURE idem_load_window(
    pipeline       text,
    window_range   anyrange,
    force          boolean DEFAULT false,
    on_busy        text    DEFAULT 'wait'
)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_load_pipeline_window';
COMMENT ON PROCEDURE idem_load_window(text, anyrange, boolean, text) IS
'loads the gaps of a window by the definition of a pipeline, as its owner';

CREATE PROCEDURE idem_backfill(
    pipeline       text,
    window_range   text,
    workers        integer DEFAULT 2,
    newest_first   boolean DEFAULT false
)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_backfill';
COMMENT ON PROCEDURE idem_backfill(text, text, integer, boolean) IS
'loads the gaps of a window by the definition of a pipeline, in parallel workers';

CREATE FUNCTION idem_start_worker() RETURNS integer
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_start_worker';
COMMENT ON FUNCTION idem_start_worker() IS
'starts the scheduler of the current database, unless it runs; returns its process ID';
REVOKE EXECUTE ON FUNCTION idem_start_worker() FROM PUBLIC;

CREATE FUNCTION idem_stop_worker() RETURNS boolean
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_stop_worker';
COMMENT ON FUNCTION idem_stop_worker() IS
'ends the scheduler of the current database and its workers; false if there is none';
REVOKE EXECUTE ON FUNCTION idem_stop_worker() FROM PUBLIC;

--
-- Looking at it
--

CREATE FUNCTION idem_progress_rows()
RETURNS TABLE (
    pid           integer,
    pipeline      text,
    target        regclass,
    window_range  text,
    phase         text,
    windows_done  bigint,
    windows_total bigint,
    rows_read     bigint,
    rows_written  bigint,
    started_at    timestamptz,
    estimated_end timestamptz
)
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'idem_progress_rows';
COMMENT ON FUNCTION idem_progress_rows() IS
'the loads that are running in this database: your own, or all for members of pg_read_all_stats';

CREATE VIEW idem_progress AS SELECT * FROM idem_progress_rows();
COMMENT ON VIEW idem_progress IS
'the loads that are running in this database: your own, or all for members of pg_read_all_stats, as pg_monitor is';
GRANT SELECT ON idem_progress TO PUBLIC;

CREATE FUNCTION idem_pipeline_status()
RETURNS TABLE (
    pipeline        text,
    owner           regrole,
    state           text,
    complete_to     text,
    gaps            text,
    failed_windows  bigint,
    blocked_windows bigint,
    last_error      text,
    last_run        timestamptz,
    lag             interval,
    next_run        timestamptz,
    waiting_for     text
)
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'idem_pipeline_status';
COMMENT ON FUNCTION idem_pipeline_status() IS
'how each of your pipelines is doing';

CREATE VIEW idem_status AS SELECT * FROM idem_pipeline_status();
COMMENT ON VIEW idem_status IS
'how each of your pipelines is doing: how far it is complete, what is missing, what failed, when it runs next';
GRANT SELECT ON idem_status TO PUBLIC;

-- numbers alone, and names that a metrics store likes
CREATE FUNCTION idem_metrics_rows()
RETURNS TABLE (
    pipeline                   text,
    owner                      text,
    enabled                    integer,
    paused                     integer,
    running                    integer,
    waiting                    integer,
    lag_seconds                float8,
    complete_to_seconds        float8,
    last_run_seconds           float8,
    next_run_seconds           float8,
    gaps                       bigint,
    failed_windows             bigint,
    blocked_windows            bigint,
    failures                   integer,
    crashes                    integer,
    windows_loaded_total       bigint,
    windows_failed_total       bigint,
    source_rows_total          bigint,
    inserted_rows_total        bigint,
    updated_rows_total         bigint,
    deleted_rows_total         bigint,
    unchanged_rows_total       bigint,
    open_alerts                bigint,
    last_check_seconds         float8
)
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'idem_metrics_rows';
COMMENT ON FUNCTION idem_metrics_rows() IS
'figures of your pipelines, or of all for members of pg_read_all_stats, as of their last turn';

CREATE VIEW idem_metrics AS SELECT * FROM idem_metrics_rows();
COMMENT ON VIEW idem_metrics IS
'figures of your pipelines, or of all for members of pg_read_all_stats, as pg_monitor is: as of their last turn, for who watches servers';
GRANT SELECT ON idem_metrics TO PUBLIC;

CREATE FUNCTION idem_alert_metrics_rows()
RETURNS TABLE (
    pipeline          text,
    owner             text,
    kind              text,
    open              integer,
    value             bigint,
    acknowledged      integer,
    opened_seconds    float8,
    last_seen_seconds float8,
    checked_seconds   float8
)
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'idem_alert_metrics_rows';
COMMENT ON FUNCTION idem_alert_metrics_rows() IS
'for each pipeline of yours, or of all for members of pg_read_all_stats, and each kind of alert: whether one is open, as of the last reconciliation';

CREATE VIEW idem_alert_metrics AS SELECT * FROM idem_alert_metrics_rows();
COMMENT ON VIEW idem_alert_metrics IS
'for each pipeline of yours, or of all for members of pg_read_all_stats, as pg_monitor is, and each kind of alert: whether one is open, as of the last reconciliation';
GRANT SELECT ON idem_alert_metrics TO PUBLIC;

CREATE FUNCTION idem_calendar(ledger regclass, pipeline text, from_bound text, to_bound text, step text)
RETURNS TABLE (line text, windows text)
LANGUAGE C VOLATILE STRICT
AS 'MODULE_PATHNAME', 'idem_calendar';
COMMENT ON FUNCTION idem_calendar(regclass, text, text, text, text) IS
'a pipeline''s coverage to look at, a character for each window: # complete, + partly, . missing, ! failed, > being loaded';

CREATE FUNCTION idem_calendar(ledger regclass, pipeline text, from_bound anyelement, to_bound anyelement, step text)
RETURNS TABLE (line text, windows text)
LANGUAGE C VOLATILE STRICT
AS 'MODULE_PATHNAME', 'idem_calendar';
COMMENT ON FUNCTION idem_calendar(regclass, text, anyelement, anyelement, text) IS
'a pipeline''s coverage to look at, between two bounds of the ledger''s type';

CREATE FUNCTION idem_adopt(ledger regclass, pipeline text, target regclass) RETURNS bigint
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'idem_adopt';
COMMENT ON FUNCTION idem_adopt(regclass, text, regclass) IS
'says that the rows of a pipeline''s complete windows are in this relation; returns how many runs that concerns';

CREATE FUNCTION idem_accept_schema(ledger regclass, pipeline text) RETURNS boolean
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'idem_accept_schema';
COMMENT ON FUNCTION idem_accept_schema(regclass, text) IS
'accepts the columns that the source of a pipeline had in its last run, if they differ from the accepted ones; false if they do not';

CREATE FUNCTION idem_prune(ledger regclass, older_than interval) RETURNS bigint
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'idem_prune';
COMMENT ON FUNCTION idem_prune(regclass, interval) IS
'deletes superseded runs, and failed ones that were made good, which ended so long ago; returns how many';

--
-- Watching
--

CREATE FUNCTION idem_duplicates(target regclass, keys text[], window_range text DEFAULT NULL, window_column text DEFAULT NULL)
RETURNS TABLE (key jsonb, rows bigint, identical boolean)
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'idem_duplicates';
COMMENT ON FUNCTION idem_duplicates(regclass, text[], text, text) IS
'the keys that a relation holds more than once, of all its rows or those of a window, NULL being the same as NULL; how many rows each has, and whether they are alike in every column';

CREATE TYPE idem_check_result AS (
    pipeline         text,
    window_range     text,
    run_id           bigint,
    result           text,
    depth            text,
    source_rows      bigint,
    source_keys      bigint,
    source_null_keys bigint,
    target_rows      bigint,
    target_keys      bigint,
    target_null_keys bigint,
    duplicate_keys   bigint,
    surplus_rows     bigint,
    max_per_key      bigint,
    missing_rows     bigint,
    extra_rows       bigint,
    different_rows   bigint,
    source_digest    bytea,
    target_digest    bytea,
    remote           boolean,
    checked_at       timestamptz,
    seconds          float8
);
COMMENT ON TYPE idem_check_result IS
'what a check of a window has found; what was not counted is NULL';
COMMENT ON COLUMN idem_check_result.pipeline IS 'name of the pipeline';
COMMENT ON COLUMN idem_check_result.window_range IS 'the window, in the ledger''s type';
COMMENT ON COLUMN idem_check_result.run_id IS 'the run that completed it';
COMMENT ON COLUMN idem_check_result.result IS 'ok, or what is wrong: duplicates, surplus, missing, extra, different, null_keys, source_changed, target_changed; or check_failed';
COMMENT ON COLUMN idem_check_result.depth IS 'how closely it was looked at: counts, digest or rows';
COMMENT ON COLUMN idem_check_result.source_rows IS 'rows that the source returns now';
COMMENT ON COLUMN idem_check_result.source_keys IS 'different keys among them';
COMMENT ON COLUMN idem_check_result.source_null_keys IS 'rows of which a key is NULL';
COMMENT ON COLUMN idem_check_result.target_rows IS 'rows of the window in the target';
COMMENT ON COLUMN idem_check_result.target_keys IS 'different keys among them';
COMMENT ON COLUMN idem_check_result.target_null_keys IS 'rows of which a key is NULL';
COMMENT ON COLUMN idem_check_result.duplicate_keys IS 'keys that the target holds more than once';
COMMENT ON COLUMN idem_check_result.surplus_rows IS 'rows of the target above the source''s keys';
COMMENT ON COLUMN idem_check_result.max_per_key IS 'the most rows of one key';
COMMENT ON COLUMN idem_check_result.missing_rows IS 'rows of the source that are not in the target';
COMMENT ON COLUMN idem_check_result.extra_rows IS 'rows of the target that are not in the source; NULL after an upsert, which cannot tell';
COMMENT ON COLUMN idem_check_result.different_rows IS 'rows that are in both and differ';
COMMENT ON COLUMN idem_check_result.source_digest IS 'checksum of the source''s rows';
COMMENT ON COLUMN idem_check_result.target_digest IS 'checksum of the target''s rows';
COMMENT ON COLUMN idem_check_result.remote IS 'true if some of it is on another server, whose snapshot is another';
COMMENT ON COLUMN idem_check_result.checked_at IS 'when the check began';
COMMENT ON COLUMN idem_check_result.seconds IS 'how long it took';

CREATE FUNCTION idem_check_load(
    ledger         regclass,
    target         regclass,
    source         text,
    window_range   text,
    mode           text,
    keys           text[] DEFAULT NULL,
    window_column  text   DEFAULT NULL,
    pipeline       text   DEFAULT NULL,
    version_column text   DEFAULT NULL,
    time_zone      text   DEFAULT NULL,
    depth          text   DEFAULT 'auto',
    fanout         text   DEFAULT NULL,
    tolerance      text   DEFAULT NULL,
    min_rows       bigint DEFAULT NULL,
    max_rows       bigint DEFAULT NULL,
    null_keys      bigint DEFAULT NULL,
    max_seconds    float8 DEFAULT NULL
) RETURNS SETOF idem_check_result
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_check_load_text';
COMMENT ON FUNCTION idem_check_load(regclass, regclass, text, text, text, text[], text, text, text, text, text, text, text, bigint, bigint, bigint, float8) IS
'compares source and target of each complete window, by the arguments it was loaded with; writes nothing';

CREATE FUNCTION idem_differences_load(
    ledger         regclass,
    target         regclass,
    source         text,
    window_range   text,
    mode           text,
    keys           text[] DEFAULT NULL,
    window_column  text   DEFAULT NULL,
    pipeline       text   DEFAULT NULL,
    version_column text   DEFAULT NULL,
    time_zone      text   DEFAULT NULL,
    max_rows       bigint DEFAULT 1000
) RETURNS TABLE (side text, key jsonb, source_row jsonb, target_row jsonb, columns text[])
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_differences_load';
COMMENT ON FUNCTION idem_differences_load(regclass, regclass, text, text, text, text[], text, text, text, text, bigint) IS
'the rows by which source and target of complete windows differ, by the arguments they were loaded with';

CREATE FUNCTION idem_check(
    pipeline       text,
    window_range   text,
    depth          text   DEFAULT 'auto',
    fanout         text   DEFAULT NULL,
    tolerance      text   DEFAULT NULL,
    min_rows       bigint DEFAULT NULL,
    max_rows       bigint DEFAULT NULL,
    null_keys      bigint DEFAULT NULL,
    max_seconds    float8 DEFAULT NULL
) RETURNS SETOF idem_check_result
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_check';
COMMENT ON FUNCTION idem_check(text, text, text, text, text, bigint, bigint, bigint, float8) IS
'compares source and target of each complete window of a pipeline, as its owner; writes nothing';

CREATE FUNCTION idem_differences(pipeline text, window_range text, max_rows bigint DEFAULT 1000)
RETURNS TABLE (side text, key jsonb, source_row jsonb, target_row jsonb, columns text[])
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_differences';
COMMENT ON FUNCTION idem_differences(text, text, bigint) IS
'the rows by which source and target of a pipeline''s complete windows differ, as its owner sees them';

CREATE TYPE idem_monitor AS (
    check_id         bigint,
    ledger           regclass,
    pipeline         text,
    window_range     text,
    run_id           bigint,
    result           text,
    depth            text,
    source_rows      bigint,
    source_keys      bigint,
    source_null_keys bigint,
    target_rows      bigint,
    target_keys      bigint,
    target_null_keys bigint,
    duplicate_keys   bigint,
    surplus_rows     bigint,
    max_per_key      bigint,
    missing_rows     bigint,
    extra_rows       bigint,
    different_rows   bigint,
    source_digest    bytea,
    target_digest    bytea,
    remote           boolean,
    checked_at       timestamptz,
    seconds          float8,
    growth           boolean
);
COMMENT ON TYPE idem_monitor IS
'checks that were kept, the columns of idem_check_result among them: create a table of it with idem_create_monitor';
COMMENT ON COLUMN idem_monitor.check_id IS 'number of the check';
COMMENT ON COLUMN idem_monitor.ledger IS 'the pipeline''s ledger';
COMMENT ON COLUMN idem_monitor.window_range IS 'the window, in the ledger''s type and in UTC';
COMMENT ON COLUMN idem_monitor.result IS 'ok, or what is wrong, or check_failed';
COMMENT ON COLUMN idem_monitor.growth IS 'true if the target has more rows than at the check before, the source has not, and nobody has loaded the window in between; and until they are fewer';

CREATE TYPE idem_alert AS (
    alert_id        bigint,
    pipeline        text,
    kind            text,
    severity        text,
    windows         text,
    value           bigint,
    allowed         bigint,
    sample          jsonb,
    times           bigint,
    first_check     bigint,
    last_check      bigint,
    opened_at       timestamptz,
    last_seen_at    timestamptz,
    notified_at     timestamptz,
    acknowledged_by text,
    snoozed_until   timestamptz,
    closed_at       timestamptz,
    close_reason    text
);
COMMENT ON TYPE idem_alert IS
'alerts of a monitor, of which idem_create_monitor creates the table: one of a pipeline and a kind is open at a time';
COMMENT ON COLUMN idem_alert.alert_id IS 'number of the alert';
COMMENT ON COLUMN idem_alert.pipeline IS 'name of the pipeline';
COMMENT ON COLUMN idem_alert.kind IS 'what is wrong: duplicates, surplus, missing, extra, different, growth, null_keys, source_changed, target_changed, check_failed, late or blocked';
COMMENT ON COLUMN idem_alert.severity IS 'error, where the target is wrong or nobody knows; or warning';
COMMENT ON COLUMN idem_alert.windows IS 'the windows it is about, a multirange in UTC';
COMMENT ON COLUMN idem_alert.value IS 'how many rows, keys or windows the last checks that saw it found';
COMMENT ON COLUMN idem_alert.allowed IS 'how many of them may be wrong, in the windows that it is about';
COMMENT ON COLUMN idem_alert.sample IS 'ten of the keys at most, or rows that have none';
COMMENT ON COLUMN idem_alert.times IS 'how many reconciliations saw it';
COMMENT ON COLUMN idem_alert.first_check IS 'the last check of the reconciliation that opened it';
COMMENT ON COLUMN idem_alert.last_check IS 'the last check of the last reconciliation that looked';
COMMENT ON COLUMN idem_alert.opened_at IS 'when it was opened first';
COMMENT ON COLUMN idem_alert.last_seen_at IS 'when it was seen last';
COMMENT ON COLUMN idem_alert.notified_at IS 'when NOTIFY has told of it last';
COMMENT ON COLUMN idem_alert.acknowledged_by IS 'who has said that he knows';
COMMENT ON COLUMN idem_alert.snoozed_until IS 'until when nobody is told that it has got worse';
COMMENT ON COLUMN idem_alert.closed_at IS 'when all of its windows were found clean, or no more complete; NULL while it is open';
COMMENT ON COLUMN idem_alert.close_reason IS 'clean; or gone, if some of its windows are not complete any more';

CREATE FUNCTION idem_create_monitor(name text) RETURNS regclass
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'idem_create_monitor';
COMMENT ON FUNCTION idem_create_monitor(text) IS
'creates a monitor, two tables for checks and alerts (NAME_alerts); the caller owns them';

CREATE PROCEDURE idem_reconcile(
    monitor      regclass,
    pipeline     text     DEFAULT NULL,
    window_range text     DEFAULT NULL,
    depth        text     DEFAULT 'auto',
    budget       interval DEFAULT NULL
)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_reconcile';
COMMENT ON PROCEDURE idem_reconcile(regclass, text, text, text, interval) IS
'checks the complete windows of a pipeline, or of all of yours that name the monitor, keeps what was found in it, and opens and closes alerts';

CREATE FUNCTION idem_acknowledge(monitor regclass, alert_id bigint, until timestamptz DEFAULT NULL) RETURNS void
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_acknowledge';
COMMENT ON FUNCTION idem_acknowledge(regclass, bigint, timestamptz) IS
'says that somebody knows of an alert, and until when nobody is to be told that it has got worse';

CREATE FUNCTION idem_report(monitor regclass, from_bound text DEFAULT NULL, to_bound text DEFAULT NULL) RETURNS text
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'idem_report_page';
COMMENT ON FUNCTION idem_report(regclass, text, text) IS
'a page of HTML to look at: open alerts of a monitor and the statements that mend them, and how each of your pipelines is doing';

--
-- Duplicates that are there already
--

CREATE TYPE idem_dedupe_job AS (
    job_id         bigint,
    target         oid,
    target_name    text,
    arguments      text,
    phase          text,
    round          integer,
    rows_found     bigint,
    rows_tried     bigint,
    rows_removed   bigint,
    rows_repointed bigint,
    quarantine     text,
    index_name     text,
    files          text,
    started_at     timestamptz,
    updated_at     timestamptz,
    finished_at    timestamptz,
    run_by         text
);
COMMENT ON TYPE idem_dedupe_job IS
'jobs that remove duplicates from a table, of which idem_dedupe creates a table beside it';
COMMENT ON COLUMN idem_dedupe_job.job_id IS 'number of the job';
COMMENT ON COLUMN idem_dedupe_job.target IS 'OID of the table';
COMMENT ON COLUMN idem_dedupe_job.target_name IS 'the table''s name when the job began';
COMMENT ON COLUMN idem_dedupe_job.arguments IS 'what was asked for: a call with the same goes on with the job';
COMMENT ON COLUMN idem_dedupe_job.phase IS 'finding, removing, indexing; done, undone or, if a call with other arguments has come, abandoned';
COMMENT ON COLUMN idem_dedupe_job.round IS 'how often rows have been found';
COMMENT ON COLUMN idem_dedupe_job.rows_found IS 'rows found in this round';
COMMENT ON COLUMN idem_dedupe_job.rows_tried IS 'of these, as far as batches have come';
COMMENT ON COLUMN idem_dedupe_job.rows_removed IS 'rows that are in the quarantine, of all rounds';
COMMENT ON COLUMN idem_dedupe_job.rows_repointed IS 'rows of other tables that refer to another row now';
COMMENT ON COLUMN idem_dedupe_job.quarantine IS 'the table that holds the removed rows';
COMMENT ON COLUMN idem_dedupe_job.index_name IS 'the unique index that was built';
COMMENT ON COLUMN idem_dedupe_job.files IS 'the files of the table when rows were found: in others they lie elsewhere';
COMMENT ON COLUMN idem_dedupe_job.run_by IS 'who has called';

CREATE TYPE idem_dedupe_row AS (
    round       integer,
    n           bigint,
    leaf        oid,
    place       tid,
    born        xid,
    keeper      tid,
    keeper_born xid,
    hash        bigint,
    same        boolean,
    referenced  boolean,
    skipped     boolean,
    example     jsonb
);
COMMENT ON TYPE idem_dedupe_row IS
'rows that a job of idem_dedupe has found, of which there is a table while it is not done';

CREATE PROCEDURE idem_dedupe(
    target        regclass,
    keys          text[],
    keep          text     DEFAULT NULL,
    conflicts     text     DEFAULT 'refuse',
    ignore        text[]   DEFAULT NULL,
    on_references text     DEFAULT 'refuse',
    quarantine    text     DEFAULT NULL,
    batch_ms      integer  DEFAULT 200,
    pause         interval DEFAULT '0',
    unique_index  boolean  DEFAULT true,
    dry_run       boolean  DEFAULT false
)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_dedupe';
COMMENT ON PROCEDURE idem_dedupe IS
'moves all but one row of each key from a table into a quarantine, in batches that are committed, while others write, and builds a unique index';

CREATE PROCEDURE idem_dedupe_undo(target regclass, job bigint DEFAULT NULL)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_dedupe_undo';
COMMENT ON PROCEDURE idem_dedupe_undo(regclass, bigint) IS
'puts the rows back that a job of idem_dedupe has removed, by default the last one';

CREATE FUNCTION idem_dedupe_jobs() RETURNS SETOF idem_dedupe_job
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'idem_dedupe_jobs';
COMMENT ON FUNCTION idem_dedupe_jobs() IS
'the jobs of idem_dedupe on tables of all roles that the caller may become';

CREATE VIEW idem_dedupe_status AS
    SELECT target_name AS target, job_id, phase, round, rows_found, rows_tried, rows_removed, rows_repointed, quarantine, index_name,
        arguments, started_at, updated_at, finished_at, run_by
    FROM idem_dedupe_jobs();
GRANT SELECT ON idem_dedupe_status TO PUBLIC;
COMMENT ON VIEW idem_dedupe_status IS
'jobs of idem_dedupe: what they have removed, and how far they are';

--
-- Testing
--

CREATE FUNCTION idem_test_rerun(pipeline text, window_range text)
RETURNS TABLE (check_name text, ok boolean, detail text)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_test_rerun';
COMMENT ON FUNCTION idem_test_rerun(text, text) IS
'loads a window of a pipeline into a copy of its target, again, and again after the rows were lost: does the second run write nothing, and are the rows the same?';

CREATE FUNCTION idem_test_overlap(pipeline text, window_range text, overlap text DEFAULT NULL)
RETURNS TABLE (check_name text, ok boolean, detail text)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_test_overlap';
COMMENT ON FUNCTION idem_test_overlap(text, text, text) IS
'loads a window of a pipeline into a copy of its target as two that overlap: are the rows those of one clean load?';

CREATE FUNCTION idem_test_split(pipeline text, window_range text, step text DEFAULT NULL)
RETURNS TABLE (check_name text, ok boolean, detail text)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_test_split';
COMMENT ON FUNCTION idem_test_split(text, text, text) IS
'loads a window of a pipeline into a copy of its target in pieces: are the rows those of one clean load?';

CREATE FUNCTION idem_test_order(pipeline text, window_range text, step text DEFAULT NULL)
RETURNS TABLE (check_name text, ok boolean, detail text)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_test_order';
COMMENT ON FUNCTION idem_test_order(text, text, text) IS
'loads a window of a pipeline into a copy of its target in pieces, the last first: are the rows those of one clean load?';

CREATE FUNCTION idem_test_all(pipeline text, window_range text, overlap text DEFAULT NULL, step text DEFAULT NULL)
RETURNS TABLE (check_name text, ok boolean, detail text)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_test_all';
COMMENT ON FUNCTION idem_test_all(text, text, text, text) IS
'all tests of a pipeline''s idempotency, and warnings of what its source and its target''s defaults call, such as random()';

CREATE FUNCTION idem_tap(query text) RETURNS SETOF text
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_tap';
COMMENT ON FUNCTION idem_tap(text) IS
'the checks that a query returns (name, ok, detail) as TAP, which prove and CI systems read';
