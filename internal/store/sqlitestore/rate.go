package sqlitestore

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/claimrail/claimrail/internal/sqlitefile"
	"github.com/claimrail/claimrail/internal/store"
)

// maxPurged bounds how many expired rows of other clients one request clears away. It
// clears more than it adds, so that the log never holds much more than what counts.
const maxPurged = 100

const (
	takenQuery = "SELECT at FROM rate_log WHERE client = ? AND at > ? ORDER BY at"
	purgeQuery = "DELETE FROM rate_log WHERE id IN (SELECT id FROM rate_log WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)"
	takeInsert = "INSERT INTO rate_log (client, at, expires_at) VALUES (?, ?, ?)"
)

// Take counts a request of client; see store.Engine. A refused request is answered
// by a reader, so that a flood of them keeps no writer busy.
func (s *Store) Take(ctx context.Context, client string, limit int, window time.Duration, now time.Time) (store.Rate, error) {
	if limit < 1 || window <= 0 {
		return store.Rate{}, fmt.Errorf("take one of %d requests in %v: both must be positive", limit, window)
	}
	start := sqlitefile.Micros(now.Add(-window))
	taken, err := readTaken(ctx, s.file.Reader(), client, start)
	if err != nil {
		return store.Rate{}, fmt.Errorf("read rate log: %w", translate(err))
	}
	if len(taken) >= limit {
		return rate(taken, false, limit, window, now), nil
	}
	var answer store.Rate
	err = s.file.Write(ctx, "take from rate limit", func(ctx context.Context, tx *sql.Tx) error {
		at := sqlitefile.Micros(now)
		if _, err := tx.ExecContext(ctx, purgeQuery, at, maxPurged); err != nil {
			return fmt.Errorf("purge rate log: %w", err)
		}
		taken, err := readTaken(ctx, tx, client, start)
		if err != nil {
			return fmt.Errorf("read rate log: %w", err)
		}
		allowed := len(taken) < limit
		if allowed {
			if _, err := tx.ExecContext(ctx, takeInsert, client, at, sqlitefile.Micros(now.Add(window))); err != nil {
				return fmt.Errorf("insert into rate log: %w", err)
			}
			taken = append(taken, sqlitefile.Time(at))
		}
		answer = rate(taken, allowed, limit, window, now)
		return nil
	})
	if err != nil {
		return store.Rate{}, translate(err)
	}
	return answer, nil
}

// readTaken gives the times of the client's requests after start, in order.
func readTaken(ctx context.Context, db interface {
	QueryContext(ctx context.Context, query string, values ...any) (*sql.Rows, error)
}, client string, start int64,
) ([]time.Time, error) {
	rows, err := db.QueryContext(ctx, takenQuery, client, start)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var taken []time.Time
	for rows.Next() {
		var at int64
		if err := rows.Scan(&at); err != nil {
			return nil, err
		}
		taken = append(taken, sqlitefile.Time(at))
	}
	return taken, rows.Err()
}

// rate makes the answer. taken are the requests in the window, this one included
// where it is allowed; there is at least one.
func rate(taken []time.Time, allowed bool, limit int, window time.Duration, now time.Time) store.Rate {
	answer := store.Rate{Allowed: allowed, Remaining: max(0, limit-len(taken))}
	if answer.Remaining == 0 {
		answer.RetryAfter = taken[len(taken)-limit].Add(window).Sub(now)
	}
	for _, at := range taken { // another instance's clock may be ahead of this one's
		answer.Reset = max(answer.Reset, at.Add(window).Sub(now))
	}
	return answer
}
