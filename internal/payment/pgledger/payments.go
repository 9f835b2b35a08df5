package pgledger

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/payment"
)

// Payments implements payment.Ledger. A limit out of its range is taken for MaxPage.
func (l *Ledger) Payments(ctx context.Context, filter payment.PaymentFilter) ([]payment.Payment, error) {
	query, arguments := paymentsQuery(&filter)
	var page []payment.Payment
	err := l.read(ctx, "list payments", func(ctx context.Context, pool *pgxpool.Pool) error {
		rows, err := pool.Query(ctx, query, arguments...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			seq, paid, err := scanPosting(rows)
			if err != nil {
				return err
			}
			if last := len(page) - 1; last >= 0 && page[last].Cursor == seq {
				page[last].Postings = append(page[last].Postings, paid.Postings...)
				continue
			}
			paid.Cursor = seq
			page = append(page, paid)
		}
		return rows.Err()
	})
	return page, err
}

// paymentsQuery gives the rows that scanPosting reads, those of a payment together.
func paymentsQuery(filter *payment.PaymentFilter) (string, []any) {
	page := "SELECT seq, payment_id, claim_id, version, net_fee_cents, recorded_at FROM payments WHERE true"
	var arguments []any
	bind := func(value any) string {
		arguments = append(arguments, value)
		return "$" + strconv.Itoa(len(arguments))
	}
	if filter.ProviderNPI != "" {
		page += " AND EXISTS (SELECT FROM postings WHERE payment_seq = seq AND npi = " + bind(filter.ProviderNPI) + ")"
	}
	if !filter.From.IsZero() {
		page += " AND recorded_at >= " + bind(filter.From)
	}
	if !filter.To.IsZero() {
		page += " AND recorded_at < " + bind(filter.To)
	}
	if filter.Before > 0 {
		page += " AND seq < " + bind(filter.Before)
	}
	limit := filter.Limit
	if limit < 1 || limit > payment.MaxPage {
		limit = payment.MaxPage
	}
	return "SELECT p.*, npi, postings.net_fee_cents FROM (" + page + " ORDER BY seq DESC LIMIT " + bind(limit) + ") AS p" +
		` LEFT JOIN postings ON payment_seq = seq ORDER BY seq DESC, npi COLLATE "C"`, arguments
}
