-- +goose Up

-- INSERT OR REPLACE takes a row out without the triggers of a deletion. Where no id is given, new.id is -1 here.
-- +goose StatementBegin
CREATE TRIGGER letter_log_is_not_replaced BEFORE INSERT ON letter_log
    WHEN EXISTS (SELECT 1 FROM letter_log WHERE id = new.id)
BEGIN
    SELECT RAISE(ABORT, 'the log of dead letters is not changed');
END;
-- +goose StatementEnd
