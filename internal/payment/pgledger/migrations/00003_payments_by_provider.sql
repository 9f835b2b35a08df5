-- +goose Up

-- What a provider was paid, the newest first.
CREATE INDEX postings_by_npi ON postings (npi, payment_seq);
