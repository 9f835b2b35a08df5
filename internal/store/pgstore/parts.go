package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/pgfile"
	"github.com/claimrail/claimrail/internal/store"
)

const (
	// partsAtOnce is how many parts are removed in one transaction: 64 MiB at most, well
	// within the time that a statement has.
	partsAtOnce = 64
	// importsAtOnce is how many imports Forget looks up at once.
	importsAtOnce = 100
)

// theRun takes hold of the import if it runs as a run, was cancelled under it and waits for its end or,
// with run 0, is receiving. Only then may its parts change, and until that is done nobody else takes
// the import over.
const theRun = `WITH mine AS (SELECT seq FROM imports
	WHERE import_id = $1 AND (state = 'running' AND run = $2 OR state = 'receiving' AND $2 = 0
	OR state = 'cancelled' AND run = $2 AND leased_until IS NOT NULL AND NOT forgotten) FOR SHARE)`

const appendPart = theRun + ` INSERT INTO import_parts (import_seq, kind, n, body) SELECT seq, $3, $4, $5 FROM mine
	ON CONFLICT (import_seq, kind, n) DO UPDATE SET body = excluded.body`

// AppendPart keeps a part of a file; see store.Imports.
func (s *Store) AppendPart(ctx context.Context, id uuid.UUID, run int, kind store.PartKind, n int, body []byte) error {
	what := fmt.Sprintf("keep part %d of %s of import %s", n, kind, id)
	if err := store.CheckPart(n, body); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return s.change(ctx, what, appendPart, [16]byte(id), run, string(kind), n, body)
}

const dropParts = theRun + `, gone AS (DELETE FROM import_parts WHERE import_seq = (SELECT seq FROM mine) AND kind = $3 AND n IN
	(SELECT n FROM import_parts WHERE import_seq = (SELECT seq FROM mine) AND kind = $3 AND n >= $4 ORDER BY n LIMIT $5) RETURNING n)
	SELECT (SELECT count(*) FROM mine), (SELECT count(*) FROM gone)`

// DropParts removes the parts of a file from n on; see store.Imports.
func (s *Store) DropParts(ctx context.Context, id uuid.UUID, run int, kind store.PartKind, n int) error {
	what := fmt.Sprintf("drop %s of import %s", kind, id)
	for mine, gone := 0, partsAtOnce; gone == partsAtOnce; {
		err := s.schema.Write(ctx, what, func(_ context.Context, tx *pgfile.Tx) error {
			tx.Queue(dropParts, [16]byte(id), run, string(kind), n, partsAtOnce).QueryRow(func(row pgx.Row) error {
				return row.Scan(&mine, &gone)
			})
			return nil
		})
		if err != nil {
			return translate(err)
		}
		if mine == 0 {
			return fmt.Errorf("%s: %w", what, store.ErrLostImport)
		}
	}
	return nil
}

const partQuery = "SELECT body FROM import_parts WHERE import_seq = (SELECT seq FROM imports WHERE import_id = $1) AND kind = $2 AND n = $3"

// Part gives a part of a file, or store.ErrNotFound.
func (s *Store) Part(ctx context.Context, id uuid.UUID, kind store.PartKind, n int) ([]byte, error) {
	var body []byte
	err := s.read(ctx, fmt.Sprintf("read part %d of %s of import %s", n, kind, id), func(ctx context.Context, pool *pgxpool.Pool) error {
		err := pool.QueryRow(ctx, partQuery, [16]byte(id), string(kind), n).Scan(&body)
		if errors.Is(err, pgx.ErrNoRows) {
			return store.ErrNotFound
		}
		return err
	})
	return body, err
}

const (
	toForget = `SELECT seq, state = 'receiving' FROM imports WHERE NOT forgotten AND seq > $1 AND
		CASE WHEN state <> 'receiving' THEN finished_at < $2 WHEN leased_until IS NULL THEN created_at < $2
		ELSE leased_until <= $3 END ORDER BY seq LIMIT $4`
	failReceiving = `UPDATE imports SET state = 'failed', reason = $2, finished_at = $3, leased_until = NULL
		WHERE seq = $1 AND state = 'receiving' AND (leased_until IS NULL OR leased_until <= $3)`
	// An import that another instance is just forgetting is left to it.
	forgetParts = `WITH mine AS (SELECT seq FROM imports WHERE seq = $1 AND NOT forgotten FOR UPDATE SKIP LOCKED),
		gone AS (DELETE FROM import_parts WHERE import_seq = (SELECT seq FROM mine) AND (kind, n) IN
		(SELECT kind, n FROM import_parts WHERE import_seq = $1 ORDER BY kind, n LIMIT $2) RETURNING n)
		SELECT (SELECT count(*) FROM mine), (SELECT count(*) FROM gone)`
)

// Forget removes the parts of old imports; see store.Imports.
func (s *Store) Forget(ctx context.Context, before, now time.Time) (int, error) {
	return store.ForgetAll(
		func(behind int64) ([]store.Old, error) { return s.toForget(ctx, behind, before, now) },
		func(i store.Old) (bool, error) { return s.forget(ctx, i, now) },
	)
}

// toForget gives the first of them behind the last.
func (s *Store) toForget(ctx context.Context, last int64, before, now time.Time) ([]store.Old, error) {
	var found []store.Old
	err := s.read(ctx, "look for imports to forget", func(ctx context.Context, pool *pgxpool.Pool) error {
		rows, err := pool.Query(ctx, toForget, last, before, now, importsAtOnce)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var i store.Old
			if err := rows.Scan(&i.Seq, &i.Receiving); err != nil {
				return err
			}
			found = append(found, i)
		}
		return rows.Err()
	})
	return found, err
}

// forget removes the parts of one import, and tells whether it did: one whose bytes go on
// to come in, or have all come in, stays as it is.
func (s *Store) forget(ctx context.Context, i store.Old, now time.Time) (bool, error) {
	if i.Receiving {
		err := s.change(ctx, "end import that never came in", failReceiving, i.Seq, store.NeverReceived, now)
		if errors.Is(err, store.ErrLostImport) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	for {
		var mine, gone int
		err := s.schema.Write(ctx, "forget parts of import", func(ctx context.Context, tx *pgfile.Tx) error {
			tx.Queue(forgetParts, i.Seq, partsAtOnce).QueryRow(func(row pgx.Row) error { return row.Scan(&mine, &gone) })
			if err := tx.Flush(ctx); err != nil {
				return err
			}
			if mine > 0 && gone < partsAtOnce {
				tx.Queue("UPDATE imports SET forgotten = TRUE WHERE seq = $1", i.Seq)
			}
			return nil
		})
		if err != nil || gone < partsAtOnce {
			return err == nil && mine > 0, translate(err)
		}
	}
}
