package sqliteledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/sqlitefile"
)

// Park implements payment.Ledger.
func (l *Ledger) Park(ctx context.Context, letter payment.DeadLetter) error {
	return l.write(ctx, "park message "+letter.MessageID, func(ctx context.Context, tx *sql.Tx) error {
		const insert = `
INSERT INTO dead_letters (message_id, claim_id, version, gen, net_fee_cents, reason, error, attempts, body, body_hash, parked_at, state)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open')
ON CONFLICT (message_id) DO NOTHING`
		body := letter.Body
		if body == nil {
			body = []byte{}
		}
		result, err := tx.ExecContext(ctx, insert,
			letter.MessageID, claimBlob(letter.ClaimID), letter.Version, letter.Gen, int64(letter.NetFee),
			string(letter.Reason), payment.Note(letter.Error), letter.Attempts, body, letter.BodyHash[:],
			sqlitefile.Micros(letter.ParkedAt),
		)
		if err == nil {
			err = parked(ctx, tx, result, &letter)
		}
		if err != nil {
			return fmt.Errorf("insert dead letter: %w", err)
		}
		const forget = `DELETE FROM failures WHERE message_id = ?`
		if _, err := tx.ExecContext(ctx, forget, letter.MessageID); err != nil {
			return fmt.Errorf("forget failures: %w", err)
		}
		return nil
	})
}

// parked adds what belongs to a letter that was inserted just now, if it was.
func parked(ctx context.Context, tx *sql.Tx, result sql.Result, letter *payment.DeadLetter) error {
	if inserted, err := result.RowsAffected(); err != nil || inserted == 0 {
		return err
	}
	id, err := result.LastInsertId()
	if err != nil {
		return err
	}
	for _, npi := range letter.Providers {
		if _, err := tx.ExecContext(ctx, `INSERT INTO letter_providers (npi, letter_id) VALUES (?, ?)`, npi, id); err != nil {
			return err
		}
	}
	return note(ctx, tx, []int64{id}, payment.ActionParked, payment.Decision{Actor: ownActor, Reason: letter.Error, At: letter.ParkedAt})
}

// note adds an entry to the log for each of the letters.
func note(ctx context.Context, tx *sql.Tx, letters []int64, action payment.Action, decision payment.Decision) error {
	const query = `INSERT INTO letter_log (letter_id, action, actor, reason, at) VALUES (?, ?, ?, ?, ?)`
	for _, id := range letters {
		if _, err := tx.ExecContext(ctx, query, id, string(action), payment.Note(decision.Actor), payment.Note(decision.Reason),
			sqlitefile.Micros(decision.At)); err != nil {
			return fmt.Errorf("note what became of dead letter %d: %w", id, err)
		}
	}
	return nil
}

// closeLetters runs a statement that closes letters and returns their ids, and notes it.
func closeLetters(ctx context.Context, tx *sql.Tx, state payment.LetterState, decision payment.Decision, query string, arguments ...any) error {
	rows, err := tx.QueryContext(ctx, query, append([]any{
		string(state), payment.Note(decision.Actor), payment.Note(decision.Reason), sqlitefile.Micros(decision.At),
	}, arguments...)...)
	if err != nil {
		return fmt.Errorf("close dead letters: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var closed []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return fmt.Errorf("close dead letters: %w", err)
		}
		closed = append(closed, id)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("close dead letters: %w", err)
	}
	return note(ctx, tx, closed, payment.Action(state), decision)
}

// claimBlob gives the id as it is stored, NULL where no claim is named.
func claimBlob(id uuid.UUID) any {
	if id == uuid.Nil {
		return nil
	}
	return id[:]
}

// DeadLetters implements payment.Ledger. A limit out of its range is taken for MaxPage.
func (l *Ledger) DeadLetters(ctx context.Context, filter payment.LetterFilter) ([]payment.DeadLetter, error) {
	limit := filter.Limit
	if limit < 1 || limit > payment.MaxPage {
		limit = payment.MaxPage
	}
	query := selectLetter + " WHERE true"
	var arguments []any
	if filter.State != "" {
		query += " AND state = ?"
		arguments = append(arguments, string(filter.State))
	}
	if filter.Reason != "" {
		query += " AND reason = ?"
		arguments = append(arguments, string(filter.Reason))
	}
	if filter.ProviderNPI != "" {
		query += " AND id IN (SELECT letter_id FROM letter_providers WHERE npi = ?)"
		arguments = append(arguments, filter.ProviderNPI)
	}
	if !filter.From.IsZero() {
		query += " AND parked_at >= ?"
		arguments = append(arguments, sqlitefile.Micros(filter.From))
	}
	if !filter.To.IsZero() {
		query += " AND parked_at < ?"
		arguments = append(arguments, sqlitefile.Micros(filter.To))
	}
	if filter.Before > 0 {
		query += " AND id < ?"
		arguments = append(arguments, filter.Before)
	}
	rows, err := l.file.Reader().QueryContext(ctx, query+" ORDER BY id DESC LIMIT ?", append(arguments, limit)...)
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", explain(err))
	}
	defer func() { _ = rows.Close() }()
	var letters []payment.DeadLetter
	for rows.Next() {
		letter, err := scanLetter(rows)
		if err != nil {
			return nil, fmt.Errorf("list dead letters: %w", explain(err))
		}
		letters = append(letters, letter)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list dead letters: %w", explain(err))
	}
	return letters, nil
}

const selectLetter = `
SELECT id, message_id, claim_id, version, gen, net_fee_cents, reason, error, attempts, body, body_hash, parked_at,
       state, closed_by, closed_why, closed_at,
       (SELECT group_concat(npi) FROM (SELECT npi FROM letter_providers WHERE letter_id = dead_letters.id ORDER BY npi LIMIT 50))
FROM dead_letters` // 50 is payment.MaxNamed

// scanLetter reads a row of selectLetter.
func scanLetter(row interface{ Scan(into ...any) error }) (payment.DeadLetter, error) {
	var (
		letter             payment.DeadLetter
		netFee             int64
		hash               []byte
		parkedAt, closedAt int64
		providers          sql.NullString
	)
	err := row.Scan(&letter.ID, &letter.MessageID, &letter.ClaimID, &letter.Version, &letter.Gen, &netFee, &letter.Reason,
		&letter.Error, &letter.Attempts, &letter.Body, &hash, &parkedAt,
		&letter.State, &letter.Closing.Actor, &letter.Closing.Reason, &closedAt, &providers)
	if err != nil {
		return payment.DeadLetter{}, err
	}
	letter.NetFee = money.Cents(netFee)
	copy(letter.BodyHash[:], hash)
	letter.ParkedAt = sqlitefile.Time(parkedAt)
	letter.Closing.At = sqlitefile.Time(closedAt)
	if providers.Valid {
		letter.Providers = strings.Split(providers.String, ",")
	}
	return letter, nil
}

// Letter implements payment.Ledger. Letters do not go, and the log only grows, so that no transaction
// needs to hold them together.
func (l *Ledger) Letter(ctx context.Context, id int64) (payment.DeadLetter, []payment.Entry, error) {
	letter, err := letterByID(ctx, l.file.Reader(), id)
	var entries []payment.Entry
	if err == nil {
		entries, err = history(ctx, l.file.Reader(), id)
	}
	if err != nil {
		return payment.DeadLetter{}, nil, fmt.Errorf("read dead letter %d: %w", id, explain(err))
	}
	return letter, entries, nil
}

// history gives what the log says of all letters of the claim of one of them.
func history(ctx context.Context, reader *sql.DB, id int64) ([]payment.Entry, error) {
	const query = `
SELECT letter_id, action, actor, reason, at FROM letter_log WHERE letter_id IN
    (SELECT ?1 UNION SELECT other.id FROM dead_letters AS this
     JOIN dead_letters AS other ON other.claim_id = this.claim_id AND other.version = this.version WHERE this.id = ?1)
ORDER BY id DESC LIMIT ?2`
	rows, err := reader.QueryContext(ctx, query, id, payment.MaxHistory)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var entries []payment.Entry
	for rows.Next() {
		var entry payment.Entry
		var at int64
		if err := rows.Scan(&entry.LetterID, &entry.Action, &entry.Actor, &entry.Reason, &at); err != nil {
			return nil, err
		}
		entry.At = sqlitefile.Time(at)
		entries = append(entries, entry)
	}
	slices.Reverse(entries)
	return entries, rows.Err()
}

// OpenDeadLetters implements payment.Ledger.
func (l *Ledger) OpenDeadLetters(ctx context.Context) (int, error) {
	var count int
	const query = `SELECT count(*) FROM dead_letters WHERE state = 'open'`
	if err := l.file.Reader().QueryRowContext(ctx, query).Scan(&count); err != nil {
		return 0, fmt.Errorf("count open dead letters: %w", explain(err))
	}
	return count, nil
}

// Redrive implements payment.Ledger.
func (l *Ledger) Redrive(ctx context.Context, id int64, decision payment.Decision) (payment.DeadLetter, error) {
	return l.decide(ctx, fmt.Sprintf("redrive dead letter %d", id), id, payment.LetterRedriven, decision,
		func(ctx context.Context, tx *sql.Tx, letter payment.DeadLetter) error {
			if letter.ClaimID == uuid.Nil {
				return payment.ErrNoClaim
			}
			paid := false
			const query = `SELECT EXISTS (SELECT 1 FROM payments WHERE claim_id = ? AND version = ?)`
			if err := tx.QueryRowContext(ctx, query, letter.ClaimID[:], letter.Version).Scan(&paid); err != nil {
				return fmt.Errorf("look for a payment: %w", err)
			}
			if paid {
				return payment.ErrPaid
			}
			return nil
		})
}

// Discard implements payment.Ledger.
func (l *Ledger) Discard(ctx context.Context, id int64, decision payment.Decision) (payment.DeadLetter, error) {
	return l.decide(ctx, fmt.Sprintf("discard dead letter %d", id), id, payment.LetterDiscarded, decision,
		func(ctx context.Context, tx *sql.Tx, letter payment.DeadLetter) error {
			if letter.ClaimID == uuid.Nil {
				return nil
			}
			const query = `
INSERT INTO tombstones (claim_id, version, letter_id, actor, reason, at)
SELECT ?1, ?2, ?3, ?4, ?5, ?6
WHERE NOT EXISTS (SELECT 1 FROM payments WHERE claim_id = ?1 AND version = ?2)
ON CONFLICT (claim_id, version) DO NOTHING`
			if _, err := tx.ExecContext(ctx, query, letter.ClaimID[:], letter.Version, letter.ID,
				payment.Note(decision.Actor), payment.Note(decision.Reason), sqlitefile.Micros(decision.At)); err != nil {
				return fmt.Errorf("insert tombstone: %w", err)
			}
			return nil
		})
}

// closeDecided closes a letter and all others of its claim that are open.
const closeDecided = `
UPDATE dead_letters SET state = ?1, closed_by = ?2, closed_why = ?3, closed_at = ?4
WHERE state = 'open' AND id IN (SELECT ?5 UNION SELECT id FROM dead_letters WHERE state = 'open' AND claim_id = ?6 AND version = ?7) RETURNING id`

// decide closes a letter, and the others that are open for the same claim, after
// also did its part in the same transaction.
func (l *Ledger) decide(ctx context.Context, what string, id int64, state payment.LetterState, decision payment.Decision,
	also func(context.Context, *sql.Tx, payment.DeadLetter) error,
) (letter payment.DeadLetter, err error) {
	err = l.write(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		letter, err = letterByID(ctx, tx, id)
		if err != nil {
			return err
		}
		if letter.State != payment.LetterOpen {
			return payment.ErrClosed
		}
		if err := also(ctx, tx, letter); err != nil {
			return err
		}
		if err := closeLetters(ctx, tx, state, decision, closeDecided, id, claimBlob(letter.ClaimID), letter.Version); err != nil {
			return err
		}
		letter, err = letterByID(ctx, tx, id)
		return err
	})
	if err != nil {
		return payment.DeadLetter{}, err
	}
	return letter, nil
}

// letterByID gives one letter, or payment.ErrNotFound.
func letterByID(ctx context.Context, from interface {
	QueryRowContext(ctx context.Context, query string, arguments ...any) *sql.Row
}, id int64,
) (payment.DeadLetter, error) {
	letter, err := scanLetter(from.QueryRowContext(ctx, selectLetter+" WHERE id = ?", id))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return payment.DeadLetter{}, payment.ErrNotFound
	case err != nil:
		return payment.DeadLetter{}, fmt.Errorf("select dead letter: %w", err)
	}
	return letter, nil
}
