-- What an operator needs to decide on dead letters, and what became of them.

-- +goose Up

-- The providers that the message of a letter names; of letters parked before there are none.
CREATE TABLE letter_providers (
    letter_id bigint NOT NULL REFERENCES dead_letters (id),
    npi       text NOT NULL CHECK (npi ~ '^[0-9]{10}$'),
    PRIMARY KEY (npi, letter_id)
);

CREATE INDEX letter_providers_by_letter ON letter_providers (letter_id);
CREATE INDEX dead_letters_by_claim ON dead_letters (claim_id, version);

-- Who did what with a letter, when and why. It is added to, and nothing else.
CREATE TABLE letter_log (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    letter_id bigint NOT NULL REFERENCES dead_letters (id),
    at        timestamptz NOT NULL,
    action    text NOT NULL CHECK (action IN ('parked', 'redriven', 'discarded', 'paid')),
    actor     text NOT NULL,
    reason    text NOT NULL
);

CREATE INDEX letter_log_by_letter ON letter_log (letter_id, id);

INSERT INTO letter_log (letter_id, action, actor, reason, at)
SELECT id, action, actor, why, at FROM (
    SELECT id, 'parked' AS action, 'payments' AS actor, error AS why, parked_at AS at FROM dead_letters
    UNION ALL
    SELECT id, state, closed_by, closed_why, closed_at FROM dead_letters WHERE state <> 'open'
) AS past ORDER BY at, id;

-- +goose StatementBegin
CREATE FUNCTION letter_log_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log of dead letters is neither changed nor cut';
END
$$;
-- +goose StatementEnd

CREATE TRIGGER letter_log_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON letter_log
    FOR EACH STATEMENT EXECUTE FUNCTION letter_log_stays();
