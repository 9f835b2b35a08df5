package pgledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/pgfile"
)

const selectStandings = `
SELECT asked.place, payments.payment_id, payments.net_fee_cents, payments.recorded_at, tombstones.reason,
       (SELECT reason FROM dead_letters
        WHERE state = 'open' AND claim_id = asked.claim_id AND version = asked.version ORDER BY id DESC LIMIT 1)
FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS asked (claim_id, version, place)
LEFT JOIN payments   ON payments.claim_id   = asked.claim_id AND payments.version   = asked.version
LEFT JOIN tombstones ON tombstones.claim_id = asked.claim_id AND tombstones.version = asked.version`

// Standings implements payment.Ledger. It is one statement, so that all of the answer holds at the
// same moment; and the standbys have what it says, since claims are settled by it.
func (l *Ledger) Standings(ctx context.Context, keys []event.Key) ([]event.Standing, error) {
	switch {
	case len(keys) > event.MaxAsked:
		return nil, fmt.Errorf("read standing of %d claims: %d at most", len(keys), event.MaxAsked)
	case len(keys) == 0:
		return nil, nil
	}
	claimIDs, versions := columns(keys)
	standings := make([]event.Standing, len(keys))
	err := l.read(ctx, fmt.Sprintf("read standing of %d claims", len(keys)), func(ctx context.Context, pool *pgxpool.Pool) error {
		ask := &pgx.Batch{}
		ask.Queue(selectStandings, claimIDs, versions).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				if err := scanStanding(rows, keys, standings); err != nil {
					return err
				}
			}
			return rows.Err()
		})
		ask.Queue(pgfile.AwaitStandbys)
		return pool.SendBatch(ctx, ask).Close()
	})
	if err != nil {
		return nil, err
	}
	return standings, nil
}

// scanStanding reads a row into its place: the strongest of what it shows.
func scanStanding(rows pgx.Rows, keys []event.Key, standings []event.Standing) error {
	var (
		place           int
		paymentID       *[16]byte
		netFee          *money.Cents
		recordedAt      *time.Time
		discarded, dead *string
	)
	if err := rows.Scan(&place, &paymentID, &netFee, &recordedAt, &discarded, &dead); err != nil {
		return err
	}
	standing := event.Standing{Key: keys[place-1], State: event.Unknown}
	switch {
	case paymentID != nil:
		standing.State = event.Paid
		standing.PaymentID = *paymentID
		standing.NetFee = *netFee
		standing.RecordedAt = recordedAt.UTC()
		standing.WrittenOff = discarded != nil
	case discarded != nil:
		standing.State, standing.Reason = event.Discarded, *discarded
	case dead != nil:
		standing.State, standing.Reason = event.Dead, *dead
	}
	standings[place-1] = standing
	return nil
}

// Payment implements payment.Ledger. A payment never changes, so that it may be
// read in two statements.
func (l *Ledger) Payment(ctx context.Context, claimID uuid.UUID) (payment.Payment, error) {
	const query = `
SELECT seq, payment_id, version, net_fee_cents, recorded_at FROM payments
WHERE claim_id = $1 ORDER BY version DESC LIMIT 1`
	paid := payment.Payment{Key: event.Key{ClaimID: claimID}}
	err := l.read(ctx, "read payment of claim "+claimID.String(), func(ctx context.Context, pool *pgxpool.Pool) error {
		var seq int64
		err := pool.QueryRow(ctx, query, [16]byte(claimID)).Scan(&seq, (*[16]byte)(&paid.ID), &paid.Version, &paid.NetFee, &paid.RecordedAt)
		if errors.Is(err, pgx.ErrNoRows) {
			return payment.ErrNotFound
		}
		if err == nil {
			paid.RecordedAt = paid.RecordedAt.UTC()
			paid.Postings, err = postings(ctx, pool, seq)
		}
		return err
	})
	if err != nil {
		return payment.Payment{}, err
	}
	return paid, nil
}

// postings gives the postings of a payment, ascending by NPI.
func postings(ctx context.Context, pool *pgxpool.Pool, seq int64) ([]event.Posting, error) {
	rows, err := pool.Query(ctx, `SELECT npi, net_fee_cents FROM postings WHERE payment_seq = $1 ORDER BY npi`, seq)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var postings []event.Posting
	for rows.Next() {
		var posting event.Posting
		if err := rows.Scan(&posting.ProviderNPI, &posting.NetFee); err != nil {
			return nil, err
		}
		postings = append(postings, posting)
	}
	return postings, rows.Err()
}
