package pgledger

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/pgfile"
)

// Park implements payment.Ledger.
func (l *Ledger) Park(ctx context.Context, letter payment.DeadLetter) error {
	return l.write(ctx, "park message "+letter.MessageID, func(_ context.Context, tx *pgfile.Tx) error {
		const insert = `
WITH parked AS (
    INSERT INTO dead_letters (message_id, claim_id, version, gen, net_fee_cents, reason, error, attempts, body, body_hash, parked_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (message_id) DO NOTHING
    RETURNING id, error, parked_at),
named AS (INSERT INTO letter_providers (letter_id, npi) SELECT id, npi FROM parked, unnest($12::text[]) AS u (npi))
INSERT INTO letter_log (letter_id, at, action, actor, reason) SELECT id, parked_at, 'parked', $13, error FROM parked`
		body := letter.Body
		if body == nil {
			body = []byte{}
		}
		tx.Queue(insert, letter.MessageID, claimID(letter.ClaimID), letter.Version, letter.Gen, int64(letter.NetFee),
			string(letter.Reason), payment.Note(letter.Error), letter.Attempts, body, letter.BodyHash[:], letter.ParkedAt,
			letter.Providers, ownActor)
		tx.Queue(`DELETE FROM failures WHERE message_id = $1`, letter.MessageID)
		tx.Queue(pgfile.AwaitStandbys) // it may be there already
		return nil
	})
}

// claimID gives the id as it is stored, NULL where no claim is named.
func claimID(id uuid.UUID) *[16]byte {
	if id == uuid.Nil {
		return nil
	}
	return (*[16]byte)(&id)
}

const selectLetter = `
SELECT id, message_id, claim_id, version, gen, net_fee_cents, reason, error, attempts, body, body_hash, parked_at,
       state, closed_by, closed_why, closed_at,
       (SELECT string_agg(npi, ',') FROM
           (SELECT npi FROM letter_providers WHERE letter_id = dead_letters.id ORDER BY npi COLLATE "C" LIMIT 50) AS named)
FROM dead_letters` // 50 is payment.MaxNamed

// DeadLetters implements payment.Ledger. A limit out of its range is taken for MaxPage.
func (l *Ledger) DeadLetters(ctx context.Context, filter payment.LetterFilter) ([]payment.DeadLetter, error) {
	limit := filter.Limit
	if limit < 1 || limit > payment.MaxPage {
		limit = payment.MaxPage
	}
	query := selectLetter + " WHERE true"
	var arguments []any
	bind := func(value any) string {
		arguments = append(arguments, value)
		return "$" + strconv.Itoa(len(arguments))
	}
	if filter.State != "" {
		query += " AND state = " + bind(string(filter.State))
	}
	if filter.Reason != "" {
		query += " AND reason = " + bind(string(filter.Reason))
	}
	if filter.ProviderNPI != "" {
		query += " AND id IN (SELECT letter_id FROM letter_providers WHERE npi = " + bind(filter.ProviderNPI) + ")"
	}
	if !filter.From.IsZero() {
		query += " AND parked_at >= " + bind(filter.From)
	}
	if !filter.To.IsZero() {
		query += " AND parked_at < " + bind(filter.To)
	}
	if filter.Before > 0 {
		query += " AND id < " + bind(filter.Before)
	}
	query += " ORDER BY id DESC LIMIT " + bind(limit)
	var letters []payment.DeadLetter
	err := l.read(ctx, "list dead letters", func(ctx context.Context, pool *pgxpool.Pool) error {
		rows, err := pool.Query(ctx, query, arguments...)
		if err != nil {
			return err
		}
		letters, err = scanLetters(rows)
		return err
	})
	return letters, err
}

// scanLetters reads rows of selectLetter, and closes them.
func scanLetters(rows pgx.Rows) ([]payment.DeadLetter, error) {
	defer rows.Close()
	var letters []payment.DeadLetter
	for rows.Next() {
		var (
			letter        payment.DeadLetter
			claim         *[16]byte
			reason, state string
			hash          []byte
			closedAt      *time.Time
			providers     *string
		)
		if err := rows.Scan(&letter.ID, &letter.MessageID, &claim, &letter.Version, &letter.Gen, &letter.NetFee, &reason,
			&letter.Error, &letter.Attempts, &letter.Body, &hash, &letter.ParkedAt,
			&state, &letter.Closing.Actor, &letter.Closing.Reason, &closedAt, &providers); err != nil {
			return nil, err
		}
		if claim != nil {
			letter.ClaimID = *claim
		}
		letter.Reason, letter.State = payment.Reason(reason), payment.LetterState(state)
		copy(letter.BodyHash[:], hash)
		letter.ParkedAt = letter.ParkedAt.UTC()
		if closedAt != nil {
			letter.Closing.At = closedAt.UTC()
		}
		if providers != nil {
			letter.Providers = strings.Split(*providers, ",")
		}
		letters = append(letters, letter)
	}
	return letters, rows.Err()
}

// Letter implements payment.Ledger. Letters do not go, and the log only grows, so that no transaction
// needs to hold them together.
func (l *Ledger) Letter(ctx context.Context, id int64) (payment.DeadLetter, []payment.Entry, error) {
	const log = `
SELECT letter_id, action, actor, reason, at FROM letter_log WHERE letter_id IN
    (SELECT $1 UNION SELECT other.id FROM dead_letters AS this
     JOIN dead_letters AS other ON other.claim_id = this.claim_id AND other.version = this.version WHERE this.id = $1)
ORDER BY id DESC LIMIT $2`
	var letters []payment.DeadLetter
	var entries []payment.Entry
	err := l.read(ctx, fmt.Sprintf("read dead letter %d", id), func(ctx context.Context, pool *pgxpool.Pool) error {
		rows, err := pool.Query(ctx, selectLetter+" WHERE id = $1", id)
		if err != nil {
			return err
		}
		if letters, err = scanLetters(rows); err != nil {
			return err
		}
		if len(letters) == 0 {
			return payment.ErrNotFound
		}
		if rows, err = pool.Query(ctx, log, id, payment.MaxHistory); err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var entry payment.Entry
			if err := rows.Scan(&entry.LetterID, &entry.Action, &entry.Actor, &entry.Reason, &entry.At); err != nil {
				return err
			}
			entry.At = entry.At.UTC()
			entries = append(entries, entry)
		}
		return rows.Err()
	})
	if err != nil {
		return payment.DeadLetter{}, nil, err
	}
	slices.Reverse(entries)
	return letters[0], entries, nil
}

// OpenDeadLetters implements payment.Ledger.
func (l *Ledger) OpenDeadLetters(ctx context.Context) (int, error) {
	var count int
	err := l.read(ctx, "count open dead letters", func(ctx context.Context, pool *pgxpool.Pool) error {
		return pool.QueryRow(ctx, `SELECT count(*) FROM dead_letters WHERE state = 'open'`).Scan(&count)
	})
	return count, err
}

// Redrive implements payment.Ledger.
func (l *Ledger) Redrive(ctx context.Context, id int64, decision payment.Decision) (payment.DeadLetter, error) {
	return l.decide(ctx, fmt.Sprintf("redrive dead letter %d", id), id, payment.LetterRedriven, decision,
		func(tx *pgfile.Tx, letter payment.DeadLetter) error {
			if letter.ClaimID == uuid.Nil {
				return payment.ErrNoClaim
			}
			paid := false
			const query = `SELECT EXISTS (SELECT FROM payments WHERE claim_id = $1 AND version = $2)`
			tx.Queue(query, [16]byte(letter.ClaimID), letter.Version).QueryRow(func(row pgx.Row) error { return row.Scan(&paid) })
			if err := tx.Flush(ctx); err != nil {
				return fmt.Errorf("look for a payment: %w", err)
			}
			if paid {
				return payment.ErrPaid
			}
			return nil
		})
}

// Discard implements payment.Ledger. It keeps Record out while it is at work: one of
// the two comes first, and the other sees what it left. That is a lock on all payments,
// for some milliseconds; Record, which runs for every claim, pays nothing for it.
func (l *Ledger) Discard(ctx context.Context, id int64, decision payment.Decision) (payment.DeadLetter, error) {
	return l.decide(ctx, fmt.Sprintf("discard dead letter %d", id), id, payment.LetterDiscarded, decision,
		func(tx *pgfile.Tx, letter payment.DeadLetter) error {
			if letter.ClaimID == uuid.Nil {
				return nil
			}
			const bury = `
INSERT INTO tombstones (claim_id, version, letter_id, actor, reason, at)
SELECT $1, $2, $3, $4, $5, $6
WHERE NOT EXISTS (SELECT FROM payments WHERE claim_id = $1 AND version = $2)
ON CONFLICT (claim_id, version) DO NOTHING`
			tx.Queue(bury, [16]byte(letter.ClaimID), letter.Version, letter.ID,
				payment.Note(decision.Actor), payment.Note(decision.Reason), decision.At)
			return nil
		})
}

// keepRecordOut waits for payments under way, and lets new ones wait.
const keepRecordOut = `LOCK TABLE payments IN SHARE ROW EXCLUSIVE MODE`

// lockLetters locks a letter and all others of its claim, in the order of their ids.
const lockLetters = `
SELECT id FROM dead_letters
WHERE id IN (SELECT $1 UNION SELECT other.id FROM dead_letters AS this
    JOIN dead_letters AS other ON other.claim_id = this.claim_id AND other.version = this.version WHERE this.id = $1 AND other.state = 'open')
ORDER BY id FOR UPDATE`

// decide closes a letter, and the others that are open for the same claim, after
// also did its part in the same transaction.
func (l *Ledger) decide(ctx context.Context, what string, id int64, state payment.LetterState, decision payment.Decision,
	also func(*pgfile.Tx, payment.DeadLetter) error,
) (letter payment.DeadLetter, err error) {
	err = l.write(ctx, what, func(ctx context.Context, tx *pgfile.Tx) error {
		if state == payment.LetterDiscarded {
			tx.Queue(keepRecordOut)
		}
		tx.Queue(lockLetters, id)
		letter, err = letterByID(ctx, tx, id)
		if err != nil {
			return err
		}
		if letter.State != payment.LetterOpen {
			return payment.ErrClosed
		}
		if err := also(tx, letter); err != nil {
			return err
		}
		const closeLetters = `
WITH closed AS (
    UPDATE dead_letters SET state = $1, closed_by = $2, closed_why = $3, closed_at = $4
    WHERE state = 'open' AND (id = $5 OR claim_id = $6 AND version = $7)
    RETURNING id)
INSERT INTO letter_log (letter_id, at, action, actor, reason) SELECT id, $4, $1, $2, $3 FROM closed ORDER BY id`
		tx.Queue(closeLetters, string(state), payment.Note(decision.Actor), payment.Note(decision.Reason),
			decision.At, id, claimID(letter.ClaimID), letter.Version)
		letter, err = letterByID(ctx, tx, id)
		return err
	})
	if err != nil {
		return payment.DeadLetter{}, err
	}
	return letter, nil
}

// letterByID gives one letter, or payment.ErrNotFound. It sends what waits before.
func letterByID(ctx context.Context, tx *pgfile.Tx, id int64) (payment.DeadLetter, error) {
	var letters []payment.DeadLetter
	tx.Queue(selectLetter+" WHERE id = $1", id).Query(func(rows pgx.Rows) (err error) {
		letters, err = scanLetters(rows)
		return err
	})
	if err := tx.Flush(ctx); err != nil {
		return payment.DeadLetter{}, fmt.Errorf("select dead letter: %w", err)
	}
	if len(letters) == 0 {
		return payment.DeadLetter{}, payment.ErrNotFound
	}
	return letters[0], nil
}
