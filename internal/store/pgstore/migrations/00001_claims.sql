-- Claims at rest. Amounts are US cents. There are no foreign keys: one transaction
-- writes a claim with all that belongs to it, and a check for each line would cost more than
-- the line. claims, lines, claim_providers and settlements carry received_at, so that they
-- can be partitioned by it; nothing but the keys and the totals then stays for ever.

-- +goose Up

-- One row, made when the schema is first opened: the secret that claim ids are derived with.
CREATE TABLE identity (
    id     integer PRIMARY KEY CHECK (id = 1),
    secret bytea NOT NULL CHECK (length(secret) = 32)
);

CREATE SEQUENCE claim_seq;
CREATE SEQUENCE line_ids;

-- That a claim is accepted once is this table's constraint, for ever, wherever the claim is.
CREATE TABLE claim_keys (
    claim_id      uuid PRIMARY KEY,
    seq           bigint NOT NULL,
    first_line_id bigint NOT NULL,
    received_at   timestamptz NOT NULL,
    fingerprint   bytea NOT NULL CHECK (length(fingerprint) = 32)
);

-- seq is the order of acceptance.
CREATE TABLE claims (
    seq                         bigint NOT NULL,
    received_at                 timestamptz NOT NULL,
    first_line_id               bigint NOT NULL CHECK (first_line_id >= 1),
    line_count                  bigint NOT NULL CHECK (line_count BETWEEN 1 AND 999),
    net_fee_cents               bigint NOT NULL,
    expected_plan_payment_cents bigint NOT NULL,
    version                     bigint NOT NULL CHECK (version >= 1),
    claim_id                    uuid NOT NULL,
    submitter                   text NOT NULL,
    key_kind                    text NOT NULL,
    key_value                   text NOT NULL,
    external_id                 text NOT NULL,
    warnings                    text NOT NULL, -- JSON; empty if there are none
    PRIMARY KEY (seq, received_at)
);

-- The lines of a claim have the ids first_line_id to first_line_id + line_count - 1, so
-- the primary key finds them; no second index is kept.
CREATE TABLE lines (
    id                       bigint NOT NULL,
    received_at              timestamptz NOT NULL,
    claim_seq                bigint NOT NULL,
    service_date             bigint NOT NULL, -- seconds since 1970 on the sender's wall clock
    provider_npi             bigint NOT NULL CHECK (provider_npi BETWEEN 0 AND 9999999999),
    provider_fees_cents      bigint NOT NULL CHECK (provider_fees_cents >= 0),
    allowed_fees_cents       bigint NOT NULL CHECK (allowed_fees_cents >= 0),
    member_coinsurance_cents bigint NOT NULL CHECK (member_coinsurance_cents >= 0),
    member_copay_cents       bigint NOT NULL CHECK (member_copay_cents >= 0),
    procedure                text NOT NULL,
    quadrant                 text NOT NULL, -- empty if none was given
    plan_group_number        text NOT NULL,
    subscriber_number        text NOT NULL,
    PRIMARY KEY (id, received_at)
);

-- What each provider has in each claim.
CREATE TABLE claim_providers (
    provider_npi  bigint NOT NULL CHECK (provider_npi BETWEEN 0 AND 9999999999),
    claim_seq     bigint NOT NULL,
    received_at   timestamptz NOT NULL,
    net_fee_cents bigint NOT NULL,
    PRIMARY KEY (provider_npi, claim_seq, received_at)
);

-- A row for each provider, changed by nearly every claim of it: it is vacuumed early, or
-- the ranking walks over what is gone.
CREATE TABLE provider_totals (
    provider_npi        bigint PRIMARY KEY CHECK (provider_npi BETWEEN 0 AND 9999999999),
    total_net_fee_cents bigint NOT NULL,
    claim_count         bigint NOT NULL CHECK (claim_count >= 1)
) WITH (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

CREATE INDEX provider_totals_by_rank ON provider_totals (total_net_fee_cents DESC, provider_npi);

-- Claims that payments has not confirmed; see package outbox for states and moves. Rows come
-- and go as fast as claims do, and the table is to stay small: it is vacuumed by the number
-- of rows that are gone, not by a share of those that are there.
CREATE TABLE outbox (
    claim_id      uuid PRIMARY KEY,
    claim_seq     bigint NOT NULL,
    received_at   timestamptz NOT NULL,
    due_at        timestamptz NOT NULL,
    published_at  timestamptz, -- NULL until published
    version       bigint NOT NULL CHECK (version >= 1),
    gen           bigint NOT NULL DEFAULT 0 CHECK (gen >= 0),
    attempts      bigint NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    sequence      bigint NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    net_fee_cents bigint NOT NULL,
    state         text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'published', 'dead', 'discarded')),
    reason        text NOT NULL DEFAULT '',
    postings      text NOT NULL, -- "npi cents,npi cents", ascending by NPI
    traceparent   text NOT NULL
) WITH (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000, autovacuum_vacuum_cost_delay = 0
);

CREATE INDEX outbox_to_publish ON outbox (due_at) WHERE state = 'pending';
CREATE INDEX outbox_to_ask ON outbox (due_at) WHERE state IN ('published', 'dead');
CREATE INDEX outbox_by_seq ON outbox (claim_seq);

CREATE TABLE settlements (
    claim_seq   bigint NOT NULL,
    version     bigint NOT NULL CHECK (version >= 1),
    received_at timestamptz NOT NULL, -- of the claim
    gen         bigint NOT NULL CHECK (gen >= 0), -- of the message when it was settled
    recorded_at timestamptz NOT NULL, -- by payments
    settled_at  timestamptz NOT NULL, -- when claim-process learned of it
    payment_id  uuid NOT NULL,
    PRIMARY KEY (claim_seq, version, received_at)
);

-- For each client, when its requests of the present window were allowed. The row's lock is
-- what makes instances count one after the other.
CREATE TABLE rate_log (
    client     text PRIMARY KEY,
    taken      timestamptz[] NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX rate_log_by_expiry ON rate_log (expires_at);
