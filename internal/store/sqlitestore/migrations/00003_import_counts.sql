-- +goose Up

-- The share of an import's net fee that is of its claims accepted, counted by the transactions that
-- store them. The rest of net_fee_cents, of duplicates, is as its runner says. Of an import from before
-- this column the share is not told apart: it is 0.
ALTER TABLE imports ADD COLUMN accepted_net_fee_cents INTEGER NOT NULL DEFAULT 0;

-- Faults of whole sets, groups and interchanges of X12, as the runner says.
ALTER TABLE imports ADD COLUMN part_faults INTEGER NOT NULL DEFAULT 0 CHECK (part_faults >= 0);
