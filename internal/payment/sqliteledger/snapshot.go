package sqliteledger

import (
	"context"
	"database/sql"
	"fmt"
	"iter"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/sqlitefile"
)

// snapshot is a read transaction: SQLite shows it the file as it was when it began.
type snapshot struct{ tx *sql.Tx }

// Snapshot implements payment.Ledger. The view ends with ctx.
func (l *Ledger) Snapshot(ctx context.Context) (payment.Snapshot, error) {
	tx, err := l.file.Reader().BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("open snapshot of payments: %w", explain(err))
	}
	// The view begins with the first read, not with BEGIN.
	var some int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM payments LIMIT 1)`).Scan(&some); err != nil {
		_ = tx.Rollback()
		return nil, fmt.Errorf("open snapshot of payments: %w", explain(err))
	}
	return &snapshot{tx}, nil
}

// Close implements payment.Snapshot.
func (s *snapshot) Close() error {
	if err := s.tx.Rollback(); err != nil {
		return fmt.Errorf("close snapshot of payments: %w", explain(err))
	}
	return nil
}

// Payments implements payment.Snapshot. A payment without postings, and two payments
// of one key, which nobody writes, are given too: they are for verification to find.
func (s *snapshot) Payments(ctx context.Context) iter.Seq2[payment.Payment, error] {
	const query = `
SELECT payments.seq, payment_id, claim_id, version, payments.net_fee_cents, recorded_at, npi, postings.net_fee_cents
FROM payments LEFT JOIN postings ON payment_seq = seq
ORDER BY claim_id, version, seq, npi`
	return func(yield func(payment.Payment, error) bool) {
		rows, err := s.tx.QueryContext(ctx, query)
		if err != nil {
			yield(payment.Payment{}, fmt.Errorf("read payments: %w", explain(err)))
			return
		}
		defer func() { _ = rows.Close() }()
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
func scanPosting(rows *sql.Rows) (seq int64, paid payment.Payment, err error) {
	var (
		netFee, recordedAt int64
		npi                sql.NullString
		posted             sql.NullInt64
	)
	if err := rows.Scan(&seq, &paid.ID, &paid.ClaimID, &paid.Version, &netFee, &recordedAt, &npi, &posted); err != nil {
		return 0, payment.Payment{}, err
	}
	paid.NetFee, paid.RecordedAt = money.Cents(netFee), sqlitefile.Time(recordedAt)
	if npi.Valid {
		paid.Postings = []event.Posting{{ProviderNPI: npi.String, NetFee: money.Cents(posted.Int64)}}
	}
	return seq, paid, nil
}

// Parked implements payment.Snapshot.
func (s *snapshot) Parked(ctx context.Context) iter.Seq2[payment.Parked, error] {
	const query = `
SELECT claim_id, version, max(written_off) FROM (
    SELECT claim_id, version, 0 AS written_off FROM dead_letters WHERE state = 'open' AND claim_id IS NOT NULL
    UNION ALL
    SELECT claim_id, version, 1 FROM tombstones
) AS parked GROUP BY claim_id, version ORDER BY claim_id, version`
	return func(yield func(payment.Parked, error) bool) {
		rows, err := s.tx.QueryContext(ctx, query)
		if err != nil {
			yield(payment.Parked{}, fmt.Errorf("read parked claims: %w", explain(err)))
			return
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var parked payment.Parked
			if err := rows.Scan(&parked.ClaimID, &parked.Version, &parked.WrittenOff); err != nil {
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
		rows, err := s.tx.QueryContext(ctx, query)
		if err != nil {
			yield(payment.Stray{}, fmt.Errorf("read postings of no payment: %w", explain(err)))
			return
		}
		defer func() { _ = rows.Close() }()
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
