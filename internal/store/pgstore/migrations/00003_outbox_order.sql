-- +goose Up

-- The relay reads on behind the last row that it was given, and a whole batch of an import
-- is due at the same time. The sweep has an index of the same form.
DROP INDEX outbox_to_publish;
CREATE INDEX outbox_to_publish ON outbox (due_at, claim_seq) WHERE state = 'pending';
DROP INDEX outbox_to_ask;
CREATE INDEX outbox_to_ask ON outbox (due_at, claim_seq) WHERE state IN ('published', 'dead');
