-- What an operator needs to decide on dead letters, and what became of them.

-- +goose Up

-- The providers that the message of a letter names; of letters parked before there are none.
CREATE TABLE letter_providers (
    npi       TEXT    NOT NULL CHECK (length(npi) = 10 AND npi NOT GLOB '*[^0-9]*'),
    letter_id INTEGER NOT NULL REFERENCES dead_letters (id),
    PRIMARY KEY (npi, letter_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX letter_providers_by_letter ON letter_providers (letter_id);
CREATE INDEX dead_letters_by_claim ON dead_letters (claim_id, version);

-- Who did what with a letter, when and why. It is added to, and nothing else.
CREATE TABLE letter_log (
    id        INTEGER PRIMARY KEY,
    letter_id INTEGER NOT NULL REFERENCES dead_letters (id),
    action    TEXT    NOT NULL CHECK (action IN ('parked', 'redriven', 'discarded', 'paid')),
    actor     TEXT    NOT NULL,
    reason    TEXT    NOT NULL,
    at        INTEGER NOT NULL
) STRICT;

CREATE INDEX letter_log_by_letter ON letter_log (letter_id, id);

INSERT INTO letter_log (letter_id, action, actor, reason, at)
SELECT id, action, actor, why, at FROM (
    SELECT id, 'parked' AS action, 'payments' AS actor, error AS why, parked_at AS at FROM dead_letters
    UNION ALL
    SELECT id, state, closed_by, closed_why, closed_at FROM dead_letters WHERE state <> 'open'
) ORDER BY at, id;

-- +goose StatementBegin
CREATE TRIGGER letter_log_is_not_changed BEFORE UPDATE ON letter_log
BEGIN
    SELECT RAISE(ABORT, 'the log of dead letters is not changed');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER letter_log_is_not_cut BEFORE DELETE ON letter_log
BEGIN
    SELECT RAISE(ABORT, 'the log of dead letters is not cut');
END;
-- +goose StatementEnd
