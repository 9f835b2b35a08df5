-- The payments ledger. Amounts are US cents.

-- +goose Up
CREATE TABLE payments (
    seq           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recorded_at   timestamptz NOT NULL,
    net_fee_cents bigint NOT NULL,
    version       bigint NOT NULL CHECK (version >= 1),
    payment_id    uuid NOT NULL,
    claim_id      uuid NOT NULL,
    content_hash  bytea NOT NULL CHECK (length(content_hash) = 32),
    UNIQUE (claim_id, version) -- a claim is paid once, whatever is sent
);

-- No foreign key: a posting is written with its payment or not at all, and a check for
-- each would cost more than the row.
CREATE TABLE postings (
    payment_seq   bigint NOT NULL,
    net_fee_cents bigint NOT NULL,
    npi           text NOT NULL CHECK (npi ~ '^[0-9]{10}$'),
    PRIMARY KEY (payment_seq, npi)
);

CREATE TABLE dead_letters (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id    text NOT NULL UNIQUE,
    claim_id      uuid, -- NULL where the body names no claim
    version       bigint NOT NULL,
    gen           bigint NOT NULL,
    net_fee_cents bigint NOT NULL,
    reason        text NOT NULL,
    error         text NOT NULL,
    attempts      bigint NOT NULL,
    body          bytea NOT NULL,
    body_hash     bytea NOT NULL CHECK (length(body_hash) = 32),
    parked_at     timestamptz NOT NULL,
    state         text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'redriven', 'discarded', 'paid')),
    closed_by     text NOT NULL DEFAULT '',
    closed_why    text NOT NULL DEFAULT '',
    closed_at     timestamptz, -- NULL while open
    CHECK ((state = 'open') = (closed_at IS NULL))
);

CREATE INDEX dead_letters_open ON dead_letters (claim_id, version) WHERE state = 'open';
CREATE INDEX dead_letters_state ON dead_letters (state, id);

-- Claims that an operator wrote off: they must never be paid.
CREATE TABLE tombstones (
    claim_id  uuid NOT NULL,
    version   bigint NOT NULL,
    letter_id bigint NOT NULL REFERENCES dead_letters (id),
    actor     text NOT NULL,
    reason    text NOT NULL,
    at        timestamptz NOT NULL,
    PRIMARY KEY (claim_id, version)
);

-- Failures of messages that are neither paid nor parked yet.
CREATE TABLE failures (
    message_id text PRIMARY KEY,
    attempts   bigint NOT NULL,
    last_at    timestamptz NOT NULL
);

CREATE INDEX failures_last_at ON failures (last_at);
