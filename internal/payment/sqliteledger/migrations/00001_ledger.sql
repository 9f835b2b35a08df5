-- The payments ledger. Times are microseconds since 1970 UTC, amounts are US cents.

-- +goose Up
CREATE TABLE payments (
    seq           INTEGER PRIMARY KEY,
    payment_id    BLOB    NOT NULL CHECK (length(payment_id) = 16),
    claim_id      BLOB    NOT NULL CHECK (length(claim_id) = 16),
    version       INTEGER NOT NULL CHECK (version >= 1),
    net_fee_cents INTEGER NOT NULL,
    content_hash  BLOB    NOT NULL CHECK (length(content_hash) = 32),
    recorded_at   INTEGER NOT NULL,
    UNIQUE (claim_id, version) -- a claim is paid once, whatever is sent
) STRICT;

CREATE TABLE postings (
    payment_seq   INTEGER NOT NULL REFERENCES payments (seq),
    npi           TEXT    NOT NULL CHECK (length(npi) = 10 AND npi NOT GLOB '*[^0-9]*'),
    net_fee_cents INTEGER NOT NULL,
    PRIMARY KEY (payment_seq, npi)
) STRICT, WITHOUT ROWID;

-- Claims that an operator wrote off: they must never be paid.
CREATE TABLE tombstones (
    claim_id  BLOB    NOT NULL CHECK (length(claim_id) = 16),
    version   INTEGER NOT NULL,
    letter_id INTEGER NOT NULL REFERENCES dead_letters (id),
    actor     TEXT    NOT NULL,
    reason    TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (claim_id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letters (
    id            INTEGER PRIMARY KEY,
    message_id    TEXT    NOT NULL UNIQUE,
    claim_id      BLOB    CHECK (length(claim_id) = 16), -- NULL where the body names no claim
    version       INTEGER NOT NULL,
    gen           INTEGER NOT NULL,
    net_fee_cents INTEGER NOT NULL,
    reason        TEXT    NOT NULL,
    error         TEXT    NOT NULL,
    attempts      INTEGER NOT NULL,
    body          BLOB    NOT NULL,
    body_hash     BLOB    NOT NULL CHECK (length(body_hash) = 32),
    parked_at     INTEGER NOT NULL,
    state         TEXT    NOT NULL CHECK (state IN ('open', 'redriven', 'discarded', 'paid')),
    closed_by     TEXT    NOT NULL DEFAULT '',
    closed_why    TEXT    NOT NULL DEFAULT '',
    closed_at     INTEGER NOT NULL DEFAULT 0, -- 0 while open
    CHECK ((state = 'open') = (closed_at = 0))
) STRICT;

CREATE INDEX dead_letters_open ON dead_letters (claim_id, version) WHERE state = 'open';
CREATE INDEX dead_letters_state ON dead_letters (state, id);

-- Failures of messages that are neither paid nor parked yet.
CREATE TABLE failures (
    message_id TEXT    PRIMARY KEY,
    attempts   INTEGER NOT NULL,
    last_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX failures_last_at ON failures (last_at);
