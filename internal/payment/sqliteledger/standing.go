package sqliteledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/sqlitefile"
)

// Standings implements payment.Ledger. It is one statement, so that all of the
// answer holds at the same moment.
func (l *Ledger) Standings(ctx context.Context, keys []event.Key) ([]event.Standing, error) {
	switch {
	case len(keys) > event.MaxAsked:
		return nil, fmt.Errorf("read standing of %d claims: %d at most", len(keys), event.MaxAsked)
	case len(keys) == 0:
		return nil, nil
	}
	arguments := make([]any, 0, 3*len(keys))
	for i, key := range keys {
		arguments = append(arguments, i, key.ClaimID[:], key.Version)
	}
	query := `
WITH asked (place, claim_id, version) AS (VALUES (?, ?, ?)` + strings.Repeat(", (?, ?, ?)", len(keys)-1) + `)
SELECT asked.place, payments.payment_id, payments.net_fee_cents, payments.recorded_at, tombstones.reason,
       (SELECT reason FROM dead_letters
        WHERE state = 'open' AND claim_id = asked.claim_id AND version = asked.version ORDER BY id DESC LIMIT 1)
FROM asked
LEFT JOIN payments   ON payments.claim_id   = asked.claim_id AND payments.version   = asked.version
LEFT JOIN tombstones ON tombstones.claim_id = asked.claim_id AND tombstones.version = asked.version`
	rows, err := l.file.Reader().QueryContext(ctx, query, arguments...)
	if err != nil {
		return nil, fmt.Errorf("read standing of %d claims: %w", len(keys), explain(err))
	}
	defer func() { _ = rows.Close() }()
	standings := make([]event.Standing, len(keys))
	for rows.Next() {
		if err := scanStanding(rows, keys, standings); err != nil {
			return nil, fmt.Errorf("read standing of %d claims: %w", len(keys), explain(err))
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read standing of %d claims: %w", len(keys), explain(err))
	}
	return standings, nil
}

// scanStanding reads a row into its place: the strongest of what it shows.
func scanStanding(rows *sql.Rows, keys []event.Key, standings []event.Standing) error {
	var (
		place              int
		paymentID          uuid.NullUUID
		netFee, recordedAt sql.NullInt64
		discarded, dead    sql.NullString
	)
	if err := rows.Scan(&place, &paymentID, &netFee, &recordedAt, &discarded, &dead); err != nil {
		return err
	}
	standing := event.Standing{Key: keys[place], State: event.Unknown}
	switch {
	case paymentID.Valid:
		standing.State = event.Paid
		standing.PaymentID = paymentID.UUID
		standing.NetFee = money.Cents(netFee.Int64)
		standing.RecordedAt = sqlitefile.Time(recordedAt.Int64)
		standing.WrittenOff = discarded.Valid
	case discarded.Valid:
		standing.State, standing.Reason = event.Discarded, discarded.String
	case dead.Valid:
		standing.State, standing.Reason = event.Dead, dead.String
	}
	standings[place] = standing
	return nil
}

// Payment implements payment.Ledger. A payment never changes, so that it may be
// read in two statements.
func (l *Ledger) Payment(ctx context.Context, claimID uuid.UUID) (payment.Payment, error) {
	const query = `
SELECT seq, payment_id, version, net_fee_cents, recorded_at FROM payments
WHERE claim_id = ? ORDER BY version DESC LIMIT 1`
	var seq, netFee, recordedAt int64
	paid := payment.Payment{Key: event.Key{ClaimID: claimID}}
	err := l.file.Reader().QueryRowContext(ctx, query, claimID[:]).Scan(&seq, &paid.ID, &paid.Version, &netFee, &recordedAt)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return payment.Payment{}, fmt.Errorf("read payment of claim %s: %w", claimID, payment.ErrNotFound)
	case err != nil:
		return payment.Payment{}, fmt.Errorf("read payment of claim %s: %w", claimID, explain(err))
	}
	paid.NetFee, paid.RecordedAt = money.Cents(netFee), sqlitefile.Time(recordedAt)
	if paid.Postings, err = l.postings(ctx, seq); err != nil {
		return payment.Payment{}, fmt.Errorf("read postings of claim %s: %w", claimID, explain(err))
	}
	return paid, nil
}

// postings gives the postings of a payment, ascending by NPI.
func (l *Ledger) postings(ctx context.Context, seq int64) ([]event.Posting, error) {
	const query = `SELECT npi, net_fee_cents FROM postings WHERE payment_seq = ? ORDER BY npi`
	rows, err := l.file.Reader().QueryContext(ctx, query, seq)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var postings []event.Posting
	for rows.Next() {
		var posting event.Posting
		var netFee int64
		if err := rows.Scan(&posting.ProviderNPI, &netFee); err != nil {
			return nil, err
		}
		posting.NetFee = money.Cents(netFee)
		postings = append(postings, posting)
	}
	return postings, rows.Err()
}
