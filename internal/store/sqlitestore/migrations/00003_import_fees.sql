-- +goose Up

-- The share of an import's net fee that is of its claims accepted, counted by the transactions that
-- store them. The rest of net_fee_cents, of duplicates, is as its runner says. Of an import from before
-- this column the share is not told apart: it is 0.
ALTER TABLE imports ADD COLUMN accepted_net_fee_cents INTEGER NOT NULL DEFAULT 0;
