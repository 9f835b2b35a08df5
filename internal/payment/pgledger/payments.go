package pgledger

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/payment"
)

// planInOrder has a page read in the order of its index, which ends when the page is full. Without statistics,
// or with a limit that it does not know, Postgres rather reads all and sorts it.
const planInOrder = `SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true)`

// Payments implements payment.Ledger. A limit out of its range is taken for MaxPage.
func (l *Ledger) Payments(ctx context.Context, filter payment.PaymentFilter) ([]payment.Payment, error) {
	query, arguments := paymentsQuery(&filter)
	var page []payment.Payment
	err := l.read(ctx, "list payments", func(ctx context.Context, pool *pgxpool.Pool) error {
		list := &pgx.Batch{}
		list.Queue(planInOrder)
		list.Queue(query, arguments...).Query(func(rows pgx.Rows) error {
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
		return pool.SendBatch(ctx, list).Close()
	})
	return page, err
}

// paymentsQuery gives the rows that scanPosting reads, those of a payment together. It walks along the
// payments, or along the postings of the provider, and never reads what others were paid.
func paymentsQuery(filter *payment.PaymentFilter) (string, []any) {
	from, place := "payments WHERE true", "seq"
	if filter.ProviderNPI != "" {
		from, place = "postings JOIN payments ON seq = payment_seq WHERE true", "payment_seq"
	}
	page := "SELECT seq, payment_id, claim_id, version, payments.net_fee_cents, recorded_at FROM " + from
	var arguments []any
	bind := func(value any) string {
		arguments = append(arguments, value)
		return "$" + strconv.Itoa(len(arguments))
	}
	if filter.ProviderNPI != "" {
		page += " AND npi = " + bind(filter.ProviderNPI)
	}
	if !filter.From.IsZero() {
		page += " AND recorded_at >= " + bind(filter.From)
	}
	if !filter.To.IsZero() {
		page += " AND recorded_at < " + bind(filter.To)
	}
	if filter.Before > 0 {
		page += " AND " + place + " < " + bind(filter.Before)
	}
	limit := filter.Limit
	if limit < 1 || limit > payment.MaxPage {
		limit = payment.MaxPage
	}
	return "SELECT p.*, npi, postings.net_fee_cents FROM (" + page + " ORDER BY " + place + " DESC LIMIT " + bind(limit) + ") AS p" +
		` LEFT JOIN postings ON payment_seq = seq ORDER BY seq DESC, npi COLLATE "C"`, arguments
}
