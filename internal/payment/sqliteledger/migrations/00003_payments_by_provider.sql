-- +goose Up

-- What a provider was paid, the newest first: payment_seq stands in every index of such a table.
CREATE INDEX postings_by_npi ON postings (npi);
