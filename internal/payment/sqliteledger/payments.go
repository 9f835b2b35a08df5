package sqliteledger

import (
	"context"
	"fmt"

	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/sqlitefile"
)

// Payments implements payment.Ledger. A limit out of its range is taken for MaxPage.
func (l *Ledger) Payments(ctx context.Context, filter payment.PaymentFilter) ([]payment.Payment, error) {
	query, arguments := paymentsQuery(&filter)
	rows, err := l.file.Reader().QueryContext(ctx, query, arguments...)
	if err != nil {
		return nil, fmt.Errorf("list payments: %w", explain(err))
	}
	defer func() { _ = rows.Close() }()
	var page []payment.Payment
	for rows.Next() {
		seq, paid, err := scanPosting(rows)
		if err != nil {
			return nil, fmt.Errorf("list payments: %w", explain(err))
		}
		if last := len(page) - 1; last >= 0 && page[last].Cursor == seq {
			page[last].Postings = append(page[last].Postings, paid.Postings...)
			continue
		}
		paid.Cursor = seq
		page = append(page, paid)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list payments: %w", explain(err))
	}
	return page, nil
}

// paymentsQuery gives the rows that scanPosting reads, those of a payment together. It walks along the
// payments, or along the postings of the provider, and never reads what others were paid.
func paymentsQuery(filter *payment.PaymentFilter) (string, []any) {
	from, place := "payments WHERE true", "seq"
	if filter.ProviderNPI != "" { // CROSS has the postings read first
		from, place = "postings CROSS JOIN payments ON seq = payment_seq WHERE true", "payment_seq"
	}
	page := "SELECT seq, payment_id, claim_id, version, payments.net_fee_cents, recorded_at FROM " + from
	var arguments []any
	where := func(condition string, value any) {
		page += " AND " + condition
		arguments = append(arguments, value)
	}
	if filter.ProviderNPI != "" {
		where("npi = ?", filter.ProviderNPI)
	}
	if !filter.From.IsZero() {
		where("recorded_at >= ?", sqlitefile.Micros(filter.From))
	}
	if !filter.To.IsZero() {
		where("recorded_at < ?", sqlitefile.Micros(filter.To))
	}
	if filter.Before > 0 {
		where(place+" < ?", filter.Before)
	}
	limit := filter.Limit
	if limit < 1 || limit > payment.MaxPage {
		limit = payment.MaxPage
	}
	return "SELECT p.*, npi, postings.net_fee_cents FROM (" + page + " ORDER BY " + place + " DESC LIMIT ?) AS p" +
		" LEFT JOIN postings ON payment_seq = seq ORDER BY seq DESC, npi", append(arguments, limit)
}
