/* idem--1.0.sql: the objects of idem, in the order a reader meets them */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION idem CASCADE" to load this file. \quit

--
-- Deterministic IDs
--

CREATE FUNCTION idem_hash(record record, keys text[]) RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
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
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_uuid_record';
COMMENT ON FUNCTION idem_uuid(record, text[]) IS
'deterministic ID of a record as a UUID of version 8, from the same SHA-256 as idem_hash(record, text[])';

CREATE FUNCTION idem_uuid(record jsonb, keys text[]) RETURNS uuid
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'idem_uuid_jsonb';
COMMENT ON FUNCTION idem_uuid(jsonb, text[]) IS
'deterministic ID of a JSON object as a UUID of version 8, from the same SHA-256 as idem_hash(jsonb, text[])';

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

--
-- The ledger
--

CREATE TYPE idem_state AS ENUM ('running', 'complete', 'failed', 'superseded');
COMMENT ON TYPE idem_state IS
'state of a run in a ledger: complete or failed; superseded once redone or invalidated; running for a row written by hand, which keeps loads out of its window';

CREATE TYPE idem_ledger AS (
    run_id         bigint,
    pipeline       text,
    window_range   tstzrange,
    state          idem_state,
    target         regclass,
    mode           text,
    method         text,
    attempt        integer,
    source_rows    bigint,
    inserted_rows  bigint,
    updated_rows   bigint,
    deleted_rows   bigint,
    unchanged_rows bigint,
    source_digest  bytea,
    started_at     timestamptz,
    finished_at    timestamptz,
    run_by         text,
    error_code     text,
    error_message  text,
    details        jsonb
);
COMMENT ON TYPE idem_ledger IS
'a window ledger whose windows are of type tstzrange: create one with idem_create_ledger';
COMMENT ON COLUMN idem_ledger.run_id IS 'number of the run';
COMMENT ON COLUMN idem_ledger.pipeline IS 'name of the pipeline';
COMMENT ON COLUMN idem_ledger.window_range IS 'the window: what part of the source the run loaded';
COMMENT ON COLUMN idem_ledger.state IS 'running, complete, failed or superseded';
COMMENT ON COLUMN idem_ledger.target IS 'the relation that was loaded';
COMMENT ON COLUMN idem_ledger.mode IS 'upsert or reload';
COMMENT ON COLUMN idem_ledger.method IS 'how the engine applied the rows';
COMMENT ON COLUMN idem_ledger.attempt IS 'number of the attempt at this window, from 1';
COMMENT ON COLUMN idem_ledger.source_rows IS 'rows that the source returned';
COMMENT ON COLUMN idem_ledger.inserted_rows IS 'rows inserted into the target';
COMMENT ON COLUMN idem_ledger.updated_rows IS 'rows updated in the target';
COMMENT ON COLUMN idem_ledger.deleted_rows IS 'rows deleted from the target';
COMMENT ON COLUMN idem_ledger.unchanged_rows IS 'source rows that the target held already, or held in a newer version';
COMMENT ON COLUMN idem_ledger.source_digest IS 'order-independent checksum of the source rows; NULL where none was taken';
COMMENT ON COLUMN idem_ledger.started_at IS 'when the window was claimed';
COMMENT ON COLUMN idem_ledger.finished_at IS 'when the run ended';
COMMENT ON COLUMN idem_ledger.run_by IS 'the role that ran it';
COMMENT ON COLUMN idem_ledger.error_code IS 'SQLSTATE of the failure';
COMMENT ON COLUMN idem_ledger.error_message IS 'message of the failure';
COMMENT ON COLUMN idem_ledger.details IS 'what else there is to know: duplicates collapsed, the run a split row came from, detail, hint and context of a failure';

CREATE TYPE idem_ledger_ts AS (
    run_id         bigint,
    pipeline       text,
    window_range   tsrange,
    state          idem_state,
    target         regclass,
    mode           text,
    method         text,
    attempt        integer,
    source_rows    bigint,
    inserted_rows  bigint,
    updated_rows   bigint,
    deleted_rows   bigint,
    unchanged_rows bigint,
    source_digest  bytea,
    started_at     timestamptz,
    finished_at    timestamptz,
    run_by         text,
    error_code     text,
    error_message  text,
    details        jsonb
);
COMMENT ON TYPE idem_ledger_ts IS
'a window ledger whose windows are of type tsrange: create one with idem_create_ledger';
COMMENT ON COLUMN idem_ledger_ts.run_id IS 'number of the run';
COMMENT ON COLUMN idem_ledger_ts.pipeline IS 'name of the pipeline';
COMMENT ON COLUMN idem_ledger_ts.window_range IS 'the window: what part of the source the run loaded';
COMMENT ON COLUMN idem_ledger_ts.state IS 'running, complete, failed or superseded';
COMMENT ON COLUMN idem_ledger_ts.target IS 'the relation that was loaded';
COMMENT ON COLUMN idem_ledger_ts.mode IS 'upsert or reload';
COMMENT ON COLUMN idem_ledger_ts.method IS 'how the engine applied the rows';
COMMENT ON COLUMN idem_ledger_ts.attempt IS 'number of the attempt at this window, from 1';
COMMENT ON COLUMN idem_ledger_ts.source_rows IS 'rows that the source returned';
COMMENT ON COLUMN idem_ledger_ts.inserted_rows IS 'rows inserted into the target';
COMMENT ON COLUMN idem_ledger_ts.updated_rows IS 'rows updated in the target';
COMMENT ON COLUMN idem_ledger_ts.deleted_rows IS 'rows deleted from the target';
COMMENT ON COLUMN idem_ledger_ts.unchanged_rows IS 'source rows that the target held already, or held in a newer version';
COMMENT ON COLUMN idem_ledger_ts.source_digest IS 'order-independent checksum of the source rows; NULL where none was taken';
COMMENT ON COLUMN idem_ledger_ts.started_at IS 'when the window was claimed';
COMMENT ON COLUMN idem_ledger_ts.finished_at IS 'when the run ended';
COMMENT ON COLUMN idem_ledger_ts.run_by IS 'the role that ran it';
COMMENT ON COLUMN idem_ledger_ts.error_code IS 'SQLSTATE of the failure';
COMMENT ON COLUMN idem_ledger_ts.error_message IS 'message of the failure';
COMMENT ON COLUMN idem_ledger_ts.details IS 'what else there is to know: duplicates collapsed, the run a split row came from, detail, hint and context of a failure';

CREATE TYPE idem_ledger_date AS (
    run_id         bigint,
    pipeline       text,
    window_range   daterange,
    state          idem_state,
    target         regclass,
    mode           text,
    method         text,
    attempt        integer,
    source_rows    bigint,
    inserted_rows  bigint,
    updated_rows   bigint,
    deleted_rows   bigint,
    unchanged_rows bigint,
    source_digest  bytea,
    started_at     timestamptz,
    finished_at    timestamptz,
    run_by         text,
    error_code     text,
    error_message  text,
    details        jsonb
);
COMMENT ON TYPE idem_ledger_date IS
'a window ledger whose windows are of type daterange: create one with idem_create_ledger';
COMMENT ON COLUMN idem_ledger_date.run_id IS 'number of the run';
COMMENT ON COLUMN idem_ledger_date.pipeline IS 'name of the pipeline';
COMMENT ON COLUMN idem_ledger_date.window_range IS 'the window: what part of the source the run loaded';
COMMENT ON COLUMN idem_ledger_date.state IS 'running, complete, failed or superseded';
COMMENT ON COLUMN idem_ledger_date.target IS 'the relation that was loaded';
COMMENT ON COLUMN idem_ledger_date.mode IS 'upsert or reload';
COMMENT ON COLUMN idem_ledger_date.method IS 'how the engine applied the rows';
COMMENT ON COLUMN idem_ledger_date.attempt IS 'number of the attempt at this window, from 1';
COMMENT ON COLUMN idem_ledger_date.source_rows IS 'rows that the source returned';
COMMENT ON COLUMN idem_ledger_date.inserted_rows IS 'rows inserted into the target';
COMMENT ON COLUMN idem_ledger_date.updated_rows IS 'rows updated in the target';
COMMENT ON COLUMN idem_ledger_date.deleted_rows IS 'rows deleted from the target';
COMMENT ON COLUMN idem_ledger_date.unchanged_rows IS 'source rows that the target held already, or held in a newer version';
COMMENT ON COLUMN idem_ledger_date.source_digest IS 'order-independent checksum of the source rows; NULL where none was taken';
COMMENT ON COLUMN idem_ledger_date.started_at IS 'when the window was claimed';
COMMENT ON COLUMN idem_ledger_date.finished_at IS 'when the run ended';
COMMENT ON COLUMN idem_ledger_date.run_by IS 'the role that ran it';
COMMENT ON COLUMN idem_ledger_date.error_code IS 'SQLSTATE of the failure';
COMMENT ON COLUMN idem_ledger_date.error_message IS 'message of the failure';
COMMENT ON COLUMN idem_ledger_date.details IS 'what else there is to know: duplicates collapsed, the run a split row came from, detail, hint and context of a failure';

CREATE TYPE idem_ledger_int8 AS (
    run_id         bigint,
    pipeline       text,
    window_range   int8range,
    state          idem_state,
    target         regclass,
    mode           text,
    method         text,
    attempt        integer,
    source_rows    bigint,
    inserted_rows  bigint,
    updated_rows   bigint,
    deleted_rows   bigint,
    unchanged_rows bigint,
    source_digest  bytea,
    started_at     timestamptz,
    finished_at    timestamptz,
    run_by         text,
    error_code     text,
    error_message  text,
    details        jsonb
);
COMMENT ON TYPE idem_ledger_int8 IS
'a window ledger whose windows are of type int8range: create one with idem_create_ledger';
COMMENT ON COLUMN idem_ledger_int8.run_id IS 'number of the run';
COMMENT ON COLUMN idem_ledger_int8.pipeline IS 'name of the pipeline';
COMMENT ON COLUMN idem_ledger_int8.window_range IS 'the window: what part of the source the run loaded';
COMMENT ON COLUMN idem_ledger_int8.state IS 'running, complete, failed or superseded';
COMMENT ON COLUMN idem_ledger_int8.target IS 'the relation that was loaded';
COMMENT ON COLUMN idem_ledger_int8.mode IS 'upsert or reload';
COMMENT ON COLUMN idem_ledger_int8.method IS 'how the engine applied the rows';
COMMENT ON COLUMN idem_ledger_int8.attempt IS 'number of the attempt at this window, from 1';
COMMENT ON COLUMN idem_ledger_int8.source_rows IS 'rows that the source returned';
COMMENT ON COLUMN idem_ledger_int8.inserted_rows IS 'rows inserted into the target';
COMMENT ON COLUMN idem_ledger_int8.updated_rows IS 'rows updated in the target';
COMMENT ON COLUMN idem_ledger_int8.deleted_rows IS 'rows deleted from the target';
COMMENT ON COLUMN idem_ledger_int8.unchanged_rows IS 'source rows that the target held already, or held in a newer version';
COMMENT ON COLUMN idem_ledger_int8.source_digest IS 'order-independent checksum of the source rows; NULL where none was taken';
COMMENT ON COLUMN idem_ledger_int8.started_at IS 'when the window was claimed';
COMMENT ON COLUMN idem_ledger_int8.finished_at IS 'when the run ended';
COMMENT ON COLUMN idem_ledger_int8.run_by IS 'the role that ran it';
COMMENT ON COLUMN idem_ledger_int8.error_code IS 'SQLSTATE of the failure';
COMMENT ON COLUMN idem_ledger_int8.error_message IS 'message of the failure';
COMMENT ON COLUMN idem_ledger_int8.details IS 'what else there is to know: duplicates collapsed, the run a split row came from, detail, hint and context of a failure';

CREATE FUNCTION idem_create_ledger(name text, range_type regtype DEFAULT 'tstzrange')
RETURNS regclass
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'idem_create_ledger';
COMMENT ON FUNCTION idem_create_ledger(text, regtype) IS
'creates a window ledger with its constraints; the caller owns it';

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
    on_busy        text    DEFAULT 'wait',
    on_error       text    DEFAULT 'stop'
)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_load_window_text';
COMMENT ON PROCEDURE idem_load_window(regclass, regclass, text, text, text, text[], text, text, text, text, text, text, boolean, text, text) IS
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
    on_busy        text    DEFAULT 'wait',
    on_error       text    DEFAULT 'stop'
)
LANGUAGE C
AS 'MODULE_PATHNAME', 'idem_load_window';
COMMENT ON PROCEDURE idem_load_window(regclass, regclass, text, anyrange, text, text[], text, text, text, text, text, text, boolean, text, text) IS
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
    on_busy        text    DEFAULT 'wait',
    on_error       text    DEFAULT 'stop'
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
COMMENT ON FUNCTION idem_load(regclass, regclass, text, text, text, text[], text, text, text, text, text, text, boolean, text, text) IS
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
    on_busy        text    DEFAULT 'wait',
    on_error       text    DEFAULT 'stop'
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
COMMENT ON FUNCTION idem_load(regclass, regclass, text, anyrange, text, text[], text, text, text, text, text, text, boolean, text, text) IS
'loads the gaps of a window in the caller''s transaction; a row for each window loaded, or left alone as busy';
