package pgstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/pgfile"
	"github.com/claimrail/claimrail/internal/store"
)

// maxPurged bounds how many expired clients one request clears away. It clears more
// than it adds, so that the log never holds much more than what counts.
const maxPurged = 100

const (
	takenQuery = "SELECT taken FROM rate_log WHERE client = $1"
	// What one instance clears away another leaves alone, so that they never wait for
	// each other in a circle.
	purgeQuery = `DELETE FROM rate_log WHERE client IN
		(SELECT client FROM rate_log WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)`
	// The row is locked before its value is looked at, so that of requests at the same
	// time each sees those before it. Without room nothing is returned.
	takeQuery = `INSERT INTO rate_log AS r (client, taken, expires_at) VALUES ($1, ARRAY[$2::timestamptz], $3)
		ON CONFLICT (client) DO UPDATE SET
		taken = ARRAY(SELECT t FROM unnest(r.taken) AS t WHERE t > $4 ORDER BY t) || $2::timestamptz,
		expires_at = greatest(r.expires_at, $3)
		WHERE (SELECT count(*) FROM unnest(r.taken) AS t WHERE t > $4) < $5
		RETURNING taken`
)

// Take counts a request of client; see store.Engine. A refused request is answered
// by a read, so that a flood of them locks nothing.
func (s *Store) Take(ctx context.Context, client string, limit int, window time.Duration, now time.Time) (store.Rate, error) {
	if limit < 1 || window <= 0 {
		return store.Rate{}, fmt.Errorf("take one of %d requests in %v: both must be positive", limit, window)
	}
	now = now.UTC().Truncate(time.Microsecond)
	start := now.Add(-window)
	var taken []time.Time
	err := s.read(ctx, "read rate log", func(ctx context.Context, pool *pgxpool.Pool) error {
		return ignoreNone(pool.QueryRow(ctx, takenQuery, client).Scan(&taken))
	})
	if err != nil {
		return store.Rate{}, err
	}
	if taken = within(taken, start); len(taken) >= limit {
		return rate(taken, false, limit, window, now), nil
	}
	allowed := false
	err = s.schema.Write(ctx, "take from rate limit", func(_ context.Context, tx *pgfile.Tx) error {
		tx.Queue(takeQuery, client, now, now.Add(window), start, limit).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				allowed = true
				if err := rows.Scan(&taken); err != nil {
					return err
				}
			}
			return rows.Err()
		})
		tx.Queue(takenQuery, client).QueryRow(func(row pgx.Row) error { return ignoreNone(row.Scan(&taken)) })
		tx.Queue(purgeQuery, start, maxPurged)
		return nil
	})
	if err != nil {
		return store.Rate{}, translate(err)
	}
	return rate(within(taken, start), allowed, limit, window, now), nil
}

func ignoreNone(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	return err
}

// within gives those of the times that are after start, in order.
func within(taken []time.Time, start time.Time) []time.Time {
	slices.SortFunc(taken, time.Time.Compare)
	return slices.DeleteFunc(taken, func(at time.Time) bool { return !at.After(start) })
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
