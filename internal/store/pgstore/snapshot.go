package pgstore

import (
	"context"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/pgfile"
	"github.com/claimrail/claimrail/internal/store"
)

// Snapshot opens a view of one moment. It takes one of the connections, and keeps what
// changes meanwhile from being vacuumed until it is closed.
func (s *Store) Snapshot(ctx context.Context) (store.Snapshot, error) {
	view, err := s.schema.Snapshot(ctx)
	if err != nil {
		return nil, translate(err)
	}
	return &snapshot{view}, nil
}

type snapshot struct{ view *pgfile.Snapshot }

// auditQuery gives a row for each line, the lines of a claim together. A line that
// is not there, or is another claim's, is missing from what is recomputed.
const auditQuery = `SELECT c.seq, c.claim_id, c.version, c.submitter, c.key_kind, c.key_value, c.net_fee_cents, c.line_count,
	o.state, o.net_fee_cents, s.payment_id, l.provider_npi,
	l.provider_fees_cents, l.member_coinsurance_cents, l.member_copay_cents, l.allowed_fees_cents
	FROM claims AS c` + withOutbox + withSettlement + ` LEFT JOIN lines AS l
	ON l.id BETWEEN c.first_line_id AND c.first_line_id + c.line_count - 1 AND l.claim_seq = c.seq AND l.received_at = c.received_at
	ORDER BY c.claim_id`

// Claims gives every claim, ascending by the bytes of its id.
func (v *snapshot) Claims(ctx context.Context) iter.Seq2[store.Audited, error] {
	return func(yield func(store.Audited, error) bool) {
		if err := v.eachClaim(ctx, func(audited store.Audited) bool { return yield(audited, nil) }); err != nil {
			yield(store.Audited{}, fmt.Errorf("read claims of snapshot: %w", translate(err)))
		}
	}
}

func (v *snapshot) eachClaim(ctx context.Context, yield func(store.Audited) bool) error {
	rows, err := v.view.Query(ctx, auditQuery)
	if err != nil {
		return err
	}
	defer rows.Close()
	var current store.Audited
	var currentSeq int64 // 0 before the first claim
	for rows.Next() {
		seq, audited, err := scanAudited(rows)
		switch {
		case err != nil:
			return err
		case seq == currentSeq:
			if current.Shares, err = claim.MergeShares(current.Shares, audited.Shares); err != nil {
				return fmt.Errorf("claim %s: %w", current.Key, err)
			}
			continue
		case currentSeq != 0 && !yield(current):
			return nil
		}
		current, currentSeq = audited, seq
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if currentSeq != 0 {
		yield(current)
	}
	return nil
}

// scanAudited reads a row: the claim, with the share of one of its lines.
func scanAudited(rows pgx.Rows) (int64, store.Audited, error) {
	var seq int64
	var audited store.Audited
	var state *string
	var outboxNetFee *money.Cents
	var npi, fees, coinsurance, copay, allowed *int64
	var paymentID *[16]byte
	if err := rows.Scan(&seq, (*[16]byte)(&audited.ClaimID), &audited.Version, &audited.Identity.Submitter, &audited.Identity.Kind,
		&audited.Identity.Value, &audited.NetFee, &audited.LineCount, &state, &outboxNetFee, &paymentID,
		&npi, &fees, &coinsurance, &copay, &allowed); err != nil {
		return 0, store.Audited{}, err
	}
	if state != nil {
		audited.InOutbox, audited.OutboxNetFee = outbox.State(*state), *outboxNetFee
	}
	if paymentID != nil {
		audited.Settled, audited.PaymentID = true, *paymentID
	}
	if npi != nil {
		net, err := money.Sum(money.Cents(*fees), -money.Cents(*allowed), money.Cents(*coinsurance), money.Cents(*copay))
		if err != nil {
			return 0, store.Audited{}, fmt.Errorf("claim %s: %w", audited.Key, err)
		}
		audited.Shares = []claim.Share{{ProviderNPI: claim.NPI(*npi), NetFee: net, Lines: 1}}
	}
	return seq, audited, nil
}

// Totals gives every provider's stored total, ascending by NPI.
func (v *snapshot) Totals(ctx context.Context) iter.Seq2[store.ProviderTotal, error] {
	return func(yield func(store.ProviderTotal, error) bool) {
		if err := v.eachTotal(ctx, func(total store.ProviderTotal) bool { return yield(total, nil) }); err != nil {
			yield(store.ProviderTotal{}, fmt.Errorf("read totals of snapshot: %w", translate(err)))
		}
	}
}

func (v *snapshot) eachTotal(ctx context.Context, yield func(store.ProviderTotal) bool) error {
	rows, err := v.view.Query(ctx, "SELECT provider_npi, total_net_fee_cents, claim_count FROM provider_totals ORDER BY provider_npi")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var total store.ProviderTotal
		if err := rows.Scan(&total.ProviderNPI, &total.TotalNetFee, &total.ClaimCount); err != nil {
			return err
		}
		if !yield(total) {
			return nil
		}
	}
	return rows.Err()
}

// Imports gives every import, in the order of their creation.
func (v *snapshot) Imports(ctx context.Context) iter.Seq2[store.Import, error] {
	return func(yield func(store.Import, error) bool) {
		if err := v.eachImport(ctx, func(i store.Import) bool { return yield(i, nil) }); err != nil {
			yield(store.Import{}, fmt.Errorf("read imports of snapshot: %w", translate(err)))
		}
	}
}

func (v *snapshot) eachImport(ctx context.Context, yield func(store.Import) bool) error {
	rows, err := v.view.Query(ctx, "SELECT "+importColumns+" FROM imports ORDER BY seq")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		i, err := scanImport(rows)
		if err != nil {
			return err
		}
		if !yield(i) {
			return nil
		}
	}
	return rows.Err()
}

// Top ranks providers by total net fee; limit is 1..store.MaxTop.
func (v *snapshot) Top(ctx context.Context, limit int) ([]store.ProviderTotal, error) {
	top, err := rank(ctx, v.view, limit)
	if err != nil {
		return nil, fmt.Errorf("rank providers of snapshot: %w", translate(err))
	}
	return top, nil
}

// Close ends the view.
func (v *snapshot) Close() error { return translate(v.view.Close()) }
