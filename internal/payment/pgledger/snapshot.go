package pgledger

import (
	"context"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/pgfile"
)

type snapshot struct{ view *pgfile.Snapshot }

// Snapshot implements payment.Ledger.
func (l *Ledger) Snapshot(ctx context.Context) (payment.Snapshot, error) {
	view, err := l.schema.Snapshot(ctx)
	if err != nil {
		return nil, explain(err)
	}
	return &snapshot{view}, nil
}

// Close implements payment.Snapshot.
func (s *snapshot) Close() error { return explain(s.view.Close()) }

// Payments implements payment.Snapshot. A payment without postings, and two payments
// of one key, which nobody writes, are given too: they are for verification to find.
func (s *snapshot) Payments(ctx context.Context) iter.Seq2[payment.Payment, error] {
	const query = `
SELECT payments.seq, payment_id, claim_id, version, payments.net_fee_cents, recorded_at, npi, postings.net_fee_cents
FROM payments LEFT JOIN postings ON payment_seq = seq
ORDER BY claim_id, version, seq, npi COLLATE "C"`
	return func(yield func(payment.Payment, error) bool) {
		rows, err := s.view.Query(ctx, query)
		if err != nil {
			yield(payment.Payment{}, fmt.Errorf("read payments: %w", explain(err)))
			return
		}
		defer rows.Close()
		var current payment.Payment
		var currentSeq int64 // 0: none yet
		for rows.Next() {
			seq, next, err := scanPosting(rows)
			if err != nil {
				yield(payment.Payment{}, fmt.Errorf("read payments: %w", explain(err)))
				return
			}
			if seq == currentSeq {
				current.Postings = append(current.Postings, next.Postings...)
				continue
			}
			if currentSeq != 0 && !yield(current, nil) {
				return
			}
			current, currentSeq = next, seq
		}
		if err := rows.Err(); err != nil {
			yield(payment.Payment{}, fmt.Errorf("read payments: %w", explain(err)))
			return
		}
		if currentSeq != 0 {
			yield(current, nil)
		}
	}
}

// scanPosting reads a payment with one of its postings, or with none.
func scanPosting(rows pgx.Rows) (seq int64, paid payment.Payment, err error) {
	var (
		npi    *string
		posted *money.Cents
	)
	if err := rows.Scan(&seq, (*[16]byte)(&paid.ID), (*[16]byte)(&paid.ClaimID), &paid.Version, &paid.NetFee, &paid.RecordedAt, &npi, &posted); err != nil {
		return 0, payment.Payment{}, err
	}
	paid.RecordedAt = paid.RecordedAt.UTC()
	if npi != nil {
		paid.Postings = []event.Posting{{ProviderNPI: *npi, NetFee: *posted}}
	}
	return seq, paid, nil
}

// Parked implements payment.Snapshot.
func (s *snapshot) Parked(ctx context.Context) iter.Seq2[payment.Parked, error] {
	const query = `
SELECT claim_id, version, bool_or(written_off) FROM (
    SELECT claim_id, version, FALSE AS written_off FROM dead_letters WHERE state = 'open' AND claim_id IS NOT NULL
    UNION ALL
    SELECT claim_id, version, TRUE FROM tombstones
) AS parked GROUP BY claim_id, version ORDER BY claim_id, version`
	return func(yield func(payment.Parked, error) bool) {
		rows, err := s.view.Query(ctx, query)
		if err != nil {
			yield(payment.Parked{}, fmt.Errorf("read parked claims: %w", explain(err)))
			return
		}
		defer rows.Close()
		for rows.Next() {
			var parked payment.Parked
			if err := rows.Scan((*[16]byte)(&parked.ClaimID), &parked.Version, &parked.WrittenOff); err != nil {
				yield(payment.Parked{}, fmt.Errorf("read parked claims: %w", explain(err)))
				return
			}
			if !yield(parked, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(payment.Parked{}, fmt.Errorf("read parked claims: %w", explain(err)))
		}
	}
}

// Strays implements payment.Snapshot.
func (s *snapshot) Strays(ctx context.Context) iter.Seq2[payment.Stray, error] {
	const query = `
SELECT payment_seq, npi, postings.net_fee_cents FROM postings LEFT JOIN payments ON seq = payment_seq
WHERE seq IS NULL`
	return func(yield func(payment.Stray, error) bool) {
		rows, err := s.view.Query(ctx, query)
		if err != nil {
			yield(payment.Stray{}, fmt.Errorf("read postings of no payment: %w", explain(err)))
			return
		}
		defer rows.Close()
		for rows.Next() {
			var stray payment.Stray
			if err := rows.Scan(&stray.PaymentSeq, &stray.ProviderNPI, &stray.NetFee); err != nil {
				yield(payment.Stray{}, fmt.Errorf("read postings of no payment: %w", explain(err)))
				return
			}
			if !yield(stray, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(payment.Stray{}, fmt.Errorf("read postings of no payment: %w", explain(err)))
		}
	}
}
