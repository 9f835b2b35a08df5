-- +goose Up

-- One row, made when the file is first opened: the secret that claim ids are derived with.
CREATE TABLE identity (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    secret BLOB NOT NULL CHECK (length(secret) = 32)
) STRICT;

-- seq is the order of acceptance. Times are microseconds since 1970 UTC, amounts are cents.
CREATE TABLE claims (
    seq                         INTEGER PRIMARY KEY,
    claim_id                    BLOB NOT NULL UNIQUE CHECK (length(claim_id) = 16),
    version                     INTEGER NOT NULL CHECK (version >= 1),
    submitter                   TEXT NOT NULL,
    key_kind                    TEXT NOT NULL,
    key_value                   TEXT NOT NULL,
    external_id                 TEXT NOT NULL,
    fingerprint                 BLOB NOT NULL CHECK (length(fingerprint) = 32),
    first_line_id               INTEGER NOT NULL CHECK (first_line_id >= 1),
    line_count                  INTEGER NOT NULL CHECK (line_count BETWEEN 1 AND 999),
    net_fee_cents               INTEGER NOT NULL,
    expected_plan_payment_cents INTEGER NOT NULL,
    warnings                    TEXT, -- JSON; NULL if there are none
    received_at                 INTEGER NOT NULL
) STRICT;

-- The lines of a claim have the ids first_line_id to first_line_id + line_count - 1, so
-- the primary key finds them; no second index is kept.
CREATE TABLE lines (
    id                       INTEGER PRIMARY KEY,
    claim_seq                INTEGER NOT NULL REFERENCES claims (seq),
    service_date             INTEGER NOT NULL, -- seconds since 1970 on the sender's wall clock
    procedure                TEXT NOT NULL,
    quadrant                 TEXT CHECK (quadrant <> ''),
    plan_group_number        TEXT NOT NULL,
    subscriber_number        TEXT NOT NULL,
    provider_npi             INTEGER NOT NULL CHECK (provider_npi BETWEEN 0 AND 9999999999),
    provider_fees_cents      INTEGER NOT NULL CHECK (provider_fees_cents >= 0),
    allowed_fees_cents       INTEGER NOT NULL CHECK (allowed_fees_cents >= 0),
    member_coinsurance_cents INTEGER NOT NULL CHECK (member_coinsurance_cents >= 0),
    member_copay_cents       INTEGER NOT NULL CHECK (member_copay_cents >= 0)
) STRICT;

-- What each provider has in each claim.
CREATE TABLE claim_providers (
    provider_npi  INTEGER NOT NULL CHECK (provider_npi BETWEEN 0 AND 9999999999),
    claim_seq     INTEGER NOT NULL REFERENCES claims (seq),
    net_fee_cents INTEGER NOT NULL,
    PRIMARY KEY (provider_npi, claim_seq)
) STRICT, WITHOUT ROWID;

-- A sum that does not fit an integer becomes a float in SQLite; the CHECK refuses it.
CREATE TABLE provider_totals (
    provider_npi        INTEGER PRIMARY KEY CHECK (provider_npi BETWEEN 0 AND 9999999999),
    total_net_fee_cents INTEGER NOT NULL CHECK (typeof(total_net_fee_cents) = 'integer'),
    claim_count         INTEGER NOT NULL CHECK (claim_count >= 1)
) STRICT;

CREATE INDEX provider_totals_by_rank ON provider_totals (total_net_fee_cents DESC, provider_npi);

-- Claims that payments has not confirmed; see package outbox for states and moves.
CREATE TABLE outbox (
    claim_seq     INTEGER PRIMARY KEY REFERENCES claims (seq),
    claim_id      BLOB NOT NULL CHECK (length(claim_id) = 16),
    version       INTEGER NOT NULL CHECK (version >= 1),
    gen           INTEGER NOT NULL CHECK (gen >= 0),
    state         TEXT NOT NULL CHECK (state IN ('pending', 'published', 'dead', 'discarded')),
    due_at        INTEGER NOT NULL,
    attempts      INTEGER NOT NULL CHECK (attempts >= 0),
    reason        TEXT NOT NULL,
    sequence      INTEGER NOT NULL CHECK (sequence >= 0),
    published_at  INTEGER NOT NULL, -- 0 until published
    net_fee_cents INTEGER NOT NULL,
    postings      TEXT NOT NULL, -- "npi cents,npi cents", ascending by NPI
    accepted_at   INTEGER NOT NULL,
    traceparent   TEXT NOT NULL
) STRICT;

-- Serves both queues in their order, and by itself answers what the backlog is.
CREATE INDEX outbox_by_state ON outbox (state, due_at, attempts, accepted_at);

CREATE TABLE settlements (
    claim_seq   INTEGER NOT NULL REFERENCES claims (seq),
    version     INTEGER NOT NULL CHECK (version >= 1),
    gen         INTEGER NOT NULL CHECK (gen >= 0), -- of the message when it was settled
    payment_id  BLOB NOT NULL CHECK (length(payment_id) = 16),
    recorded_at INTEGER NOT NULL, -- by payments
    settled_at  INTEGER NOT NULL, -- when claim-process learned of it
    PRIMARY KEY (claim_seq, version)
) STRICT, WITHOUT ROWID;

-- Requests that a rate limit allowed, until their window is over.
CREATE TABLE rate_log (
    id         INTEGER PRIMARY KEY,
    client     TEXT NOT NULL,
    at         INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX rate_log_by_client ON rate_log (client, at);
CREATE INDEX rate_log_by_expiry ON rate_log (expires_at);
