package pgstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/store"
)

// topQuery reads as many rows of the index as it gives.
const topQuery = `SELECT provider_npi, total_net_fee_cents, claim_count FROM provider_totals
	ORDER BY total_net_fee_cents DESC, provider_npi LIMIT $1`

// TopProviders ranks providers by total net fee; limit is 1..store.MaxTop.
func (s *Store) TopProviders(ctx context.Context, limit int) (top []store.ProviderTotal, err error) {
	err = s.read(ctx, "rank providers", func(ctx context.Context, pool *pgxpool.Pool) error {
		top, err = rank(ctx, pool, limit)
		return err
	})
	return top, err
}

// rank reads the ranking, from the pool or inside a snapshot.
func rank(ctx context.Context, reader interface {
	Query(ctx context.Context, query string, arguments ...any) (pgx.Rows, error)
}, limit int,
) ([]store.ProviderTotal, error) {
	if limit < 1 || limit > store.MaxTop {
		return nil, fmt.Errorf("limit %d, want 1 to %d", limit, store.MaxTop)
	}
	rows, err := reader.Query(ctx, topQuery, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var top []store.ProviderTotal
	for rows.Next() {
		var total store.ProviderTotal
		if err := rows.Scan(&total.ProviderNPI, &total.TotalNetFee, &total.ClaimCount); err != nil {
			return nil, err
		}
		top = append(top, total)
	}
	return top, rows.Err()
}
