package pgfile

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Snapshot is a view of one moment. It takes one connection of the pool until it is
// closed. It is for one goroutine.
type Snapshot struct {
	conn *pgxpool.Conn
	tx   pgx.Tx
}

// The settings of a view, which takes as long as it takes; the view is that of this first
// statement. One that reads whole tables needs other plans than the engines' statements.
const (
	viewSettings = `SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '600000', true)`

	snapshotSettings = viewSettings + `,
	set_config('enable_seqscan', 'on', true), set_config('enable_hashjoin', 'on', true), set_config('enable_mergejoin', 'on', true)`
)

// Snapshot opens a view of this moment, for reading whole tables. Errors: ErrUnavailable.
func (s *Schema) Snapshot(ctx context.Context) (*Snapshot, error) {
	return s.view(ctx, snapshotSettings)
}

// Pages opens a view of this moment, for reading along indexes, page by page. Errors:
// ErrUnavailable.
func (s *Schema) Pages(ctx context.Context) (*Snapshot, error) {
	return s.view(ctx, viewSettings)
}

func (s *Schema) view(ctx context.Context, settings string) (*Snapshot, error) {
	waiting, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	conn, err := s.pool.Acquire(waiting)
	switch {
	case err != nil && waiting.Err() != nil && ctx.Err() == nil:
		// Who has views open already, as verify has, would wait for itself.
		return nil, fmt.Errorf("open snapshot: none of the %d connections came free within %v; set pool_max_conns in the database URL to 4 or more: %w",
			s.pool.Config().MaxConns, readTimeout, ErrUnavailable)
	case err != nil:
		return nil, fmt.Errorf("open snapshot: %w", Classify(err))
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		conn.Release()
		return nil, fmt.Errorf("open snapshot: %w", Classify(err))
	}
	view := &Snapshot{conn: conn, tx: tx}
	if _, err := tx.Exec(ctx, settings); err != nil {
		return nil, errors.Join(fmt.Errorf("open snapshot: %w", Classify(err)), view.Close())
	}
	return view, nil
}

// Query reads rows of the view. The caller passes what its errors are to Classify, and
// closes the rows before the next Query.
func (v *Snapshot) Query(ctx context.Context, query string, arguments ...any) (pgx.Rows, error) {
	return v.tx.Query(ctx, query, arguments...)
}

// Close ends the view.
func (v *Snapshot) Close() error {
	defer v.conn.Release()
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	if err := v.tx.Rollback(ctx); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
		return fmt.Errorf("close snapshot: %w", Classify(err))
	}
	return nil
}
