package sqlitestore

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/claimrail/claimrail/internal/store"
)

// topQuery reads as many rows of the index as it gives.
const topQuery = `SELECT provider_npi, total_net_fee_cents, claim_count FROM provider_totals
	ORDER BY total_net_fee_cents DESC, provider_npi LIMIT ?`

// TopProviders ranks providers by total net fee; limit is 1..store.MaxTop.
func (s *Store) TopProviders(ctx context.Context, limit int) ([]store.ProviderTotal, error) {
	return rank(ctx, s.file.Reader(), limit)
}

// rank reads the ranking, from the pool or inside a snapshot.
func rank(ctx context.Context, reader interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}, limit int,
) ([]store.ProviderTotal, error) {
	if limit < 1 || limit > store.MaxTop {
		return nil, fmt.Errorf("rank providers: limit %d, want 1 to %d", limit, store.MaxTop)
	}
	rows, err := reader.QueryContext(ctx, topQuery, limit)
	if err != nil {
		return nil, fmt.Errorf("rank providers: %w", translate(err))
	}
	defer func() { _ = rows.Close() }()
	var top []store.ProviderTotal
	for rows.Next() {
		var total store.ProviderTotal
		if err := rows.Scan(&total.ProviderNPI, &total.TotalNetFee, &total.ClaimCount); err != nil {
			return nil, fmt.Errorf("rank providers: %w", translate(err))
		}
		top = append(top, total)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("rank providers: %w", translate(err))
	}
	return top, nil
}
