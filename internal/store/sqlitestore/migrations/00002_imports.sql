-- +goose Up

-- Files on their way in; see store.Import. seq is the order of creation. Times are
-- microseconds since 1970 UTC, 0 for none. Rows stay for ever.
CREATE TABLE imports (
    seq              INTEGER PRIMARY KEY,
    import_id        BLOB NOT NULL UNIQUE CHECK (length(import_id) = 16),
    name             TEXT NOT NULL,
    sha256           TEXT NOT NULL CHECK (length(sha256) IN (0, 64)), -- hex; empty while the bytes come in
    bytes            INTEGER NOT NULL CHECK (bytes >= 0),
    format           TEXT NOT NULL,
    dry_run          INTEGER NOT NULL CHECK (dry_run IN (0, 1)),
    stop_on_error    INTEGER NOT NULL CHECK (stop_on_error IN (0, 1)),
    kept             INTEGER NOT NULL CHECK (kept IN (0, 1)), -- its bytes are in import_parts
    forgotten        INTEGER NOT NULL DEFAULT 0 CHECK (forgotten IN (0, 1)), -- its parts are gone
    state            TEXT NOT NULL CHECK (state IN ('receiving', 'queued', 'running', 'done', 'failed', 'cancelled')),
    reason           TEXT NOT NULL DEFAULT '',
    run              INTEGER NOT NULL CHECK (run >= 0),
    created_at       INTEGER NOT NULL,
    started_at       INTEGER NOT NULL,
    finished_at      INTEGER NOT NULL DEFAULT 0,
    leased_until     INTEGER NOT NULL,
    read_bytes       INTEGER NOT NULL DEFAULT 0 CHECK (read_bytes >= 0),
    claims_read      INTEGER NOT NULL DEFAULT 0 CHECK (claims_read >= 0),
    claims_accepted  INTEGER NOT NULL DEFAULT 0 CHECK (claims_accepted >= 0), -- counted by the transactions that store them
    claims_duplicate INTEGER NOT NULL DEFAULT 0 CHECK (claims_duplicate >= 0),
    claims_rejected  INTEGER NOT NULL DEFAULT 0 CHECK (claims_rejected >= 0),
    lines_read       INTEGER NOT NULL DEFAULT 0 CHECK (lines_read >= 0),
    lines_accepted   INTEGER NOT NULL DEFAULT 0 CHECK (lines_accepted >= 0),
    lines_duplicate  INTEGER NOT NULL DEFAULT 0 CHECK (lines_duplicate >= 0),
    lines_rejected   INTEGER NOT NULL DEFAULT 0 CHECK (lines_rejected >= 0),
    warnings         INTEGER NOT NULL DEFAULT 0 CHECK (warnings >= 0),
    net_fee_cents    INTEGER NOT NULL DEFAULT 0,
    CHECK ((state IN ('done', 'failed', 'cancelled')) = (finished_at <> 0)),
    CHECK (state <> 'running' OR run >= 1 AND started_at <> 0 AND leased_until <> 0),
    CHECK (state IN ('receiving', 'queued', 'running') OR claims_accepted + claims_duplicate + claims_rejected = claims_read),
    CHECK (state IN ('receiving', 'queued', 'running') OR lines_accepted + lines_duplicate + lines_rejected = lines_read)
) STRICT;

CREATE INDEX imports_to_take ON imports (seq) WHERE kept = 1 AND state IN ('queued', 'running');
CREATE INDEX imports_to_resume ON imports (sha256, seq) WHERE kept = 0 AND state = 'running';
CREATE INDEX imports_to_forget ON imports (seq) WHERE forgotten = 0;

-- What is kept with an import for a time: the file itself, and what is written about it.
CREATE TABLE import_parts (
    import_seq INTEGER NOT NULL REFERENCES imports (seq),
    kind       TEXT NOT NULL CHECK (kind IN ('input', 'rejects', 'acknowledgement', 'faults')),
    n          INTEGER NOT NULL CHECK (n BETWEEN 0 AND 99999),
    body       BLOB NOT NULL CHECK (length(body) BETWEEN 1 AND 1048576),
    PRIMARY KEY (import_seq, kind, n)
) STRICT;
