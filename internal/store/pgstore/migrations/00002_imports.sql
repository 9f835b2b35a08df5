-- +goose Up

-- Files on their way in; see store.Import. seq is the order of creation. Rows stay for ever.
-- A row that runs is changed by every batch of its claims: there is room beside it for that,
-- and no index over what changes.
CREATE TABLE imports (
    seq              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    import_id        uuid NOT NULL UNIQUE,
    name             text NOT NULL,
    sha256           text NOT NULL CHECK (length(sha256) IN (0, 64)), -- hex; empty while the bytes come in
    bytes            bigint NOT NULL CHECK (bytes >= 0),
    format           text NOT NULL,
    dry_run          boolean NOT NULL,
    stop_on_error    boolean NOT NULL,
    kept             boolean NOT NULL, -- its bytes are in import_parts
    forgotten        boolean NOT NULL DEFAULT FALSE, -- its parts are gone
    state            text NOT NULL CHECK (state IN ('receiving', 'queued', 'running', 'done', 'failed', 'cancelled')),
    reason           text NOT NULL DEFAULT '',
    run              bigint NOT NULL CHECK (run >= 0),
    created_at       timestamptz NOT NULL,
    started_at       timestamptz,
    finished_at      timestamptz,
    leased_until     timestamptz,
    read_bytes       bigint NOT NULL DEFAULT 0 CHECK (read_bytes >= 0),
    claims_read      bigint NOT NULL DEFAULT 0 CHECK (claims_read >= 0),
    claims_accepted  bigint NOT NULL DEFAULT 0 CHECK (claims_accepted >= 0), -- counted by the transactions that store them
    claims_duplicate bigint NOT NULL DEFAULT 0 CHECK (claims_duplicate >= 0),
    claims_rejected  bigint NOT NULL DEFAULT 0 CHECK (claims_rejected >= 0),
    lines_read       bigint NOT NULL DEFAULT 0 CHECK (lines_read >= 0),
    lines_accepted   bigint NOT NULL DEFAULT 0 CHECK (lines_accepted >= 0),
    lines_duplicate  bigint NOT NULL DEFAULT 0 CHECK (lines_duplicate >= 0),
    lines_rejected   bigint NOT NULL DEFAULT 0 CHECK (lines_rejected >= 0),
    warnings         bigint NOT NULL DEFAULT 0 CHECK (warnings >= 0),
    net_fee_cents    bigint NOT NULL DEFAULT 0,
    CHECK ((state IN ('done', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK (state <> 'running' OR run >= 1 AND started_at IS NOT NULL AND leased_until IS NOT NULL),
    CHECK (state IN ('receiving', 'queued', 'running') OR claims_accepted + claims_duplicate + claims_rejected = claims_read),
    CHECK (state IN ('receiving', 'queued', 'running') OR lines_accepted + lines_duplicate + lines_rejected = lines_read)
) WITH (fillfactor = 70);

CREATE INDEX imports_to_take ON imports (seq) WHERE kept AND state IN ('queued', 'running');
CREATE INDEX imports_to_resume ON imports (sha256, seq) WHERE NOT kept AND state = 'running';
CREATE INDEX imports_to_forget ON imports (seq) WHERE NOT forgotten;

-- What is kept with an import for a time: the file itself, and what is written about it. The
-- file is compressed already, and the rest is not worth the time.
CREATE TABLE import_parts (
    import_seq bigint NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('input', 'rejects', 'acknowledgement', 'faults')),
    n          bigint NOT NULL CHECK (n BETWEEN 0 AND 99999),
    body       bytea NOT NULL CHECK (octet_length(body) BETWEEN 1 AND 1048576),
    PRIMARY KEY (import_seq, kind, n)
);

ALTER TABLE import_parts ALTER COLUMN body SET STORAGE EXTERNAL;
