package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/sqlitefile"
	"github.com/claimrail/claimrail/internal/store"
)

const (
	// partsAtOnce is how many parts are removed in one transaction: 64 MiB at most, so that
	// claims do not wait long for the writer.
	partsAtOnce = 64
	// importsAtOnce is how many imports Forget looks up at once.
	importsAtOnce = 100
)

// theRun finds the import if it runs as a run, was cancelled under it and waits for its end or, with
// run 0, is receiving. Only then may its parts change.
const theRun = ` FROM imports WHERE import_id = ?1 AND (state = 'running' AND run = ?2 OR state = 'receiving' AND ?2 = 0
	OR state = 'cancelled' AND run = ?2 AND leased_until <> 0 AND forgotten = 0)`

const appendPart = "INSERT INTO import_parts (import_seq, kind, n, body) SELECT seq, ?3, ?4, ?5" + theRun +
	" ON CONFLICT (import_seq, kind, n) DO UPDATE SET body = excluded.body"

// AppendPart keeps a part of a file; see store.Imports.
func (s *Store) AppendPart(ctx context.Context, id uuid.UUID, run int, kind store.PartKind, n int, body []byte) error {
	what := fmt.Sprintf("keep part %d of %s of import %s", n, kind, id)
	if err := store.CheckPart(n, body); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return translate(s.file.Write(ctx, what, func(ctx context.Context, tx *sql.Tx) error {
		return wantRow(tx.ExecContext(ctx, appendPart, id[:], run, string(kind), n, body))
	}))
}

const dropParts = "DELETE FROM import_parts WHERE rowid IN (SELECT rowid FROM import_parts WHERE import_seq = ? AND kind = ? AND n >= ? LIMIT ?)"

// DropParts removes the parts of a file from n on; see store.Imports.
func (s *Store) DropParts(ctx context.Context, id uuid.UUID, run int, kind store.PartKind, n int) error {
	for removed := int64(partsAtOnce); removed == partsAtOnce; {
		err := s.file.Write(ctx, fmt.Sprintf("drop %s of import %s", kind, id), func(ctx context.Context, tx *sql.Tx) error {
			var seq int64
			err := tx.QueryRowContext(ctx, "SELECT seq"+theRun, id[:], run).Scan(&seq)
			if errors.Is(err, sql.ErrNoRows) {
				return store.ErrLostImport
			}
			if err == nil {
				removed, err = countRows(tx.ExecContext(ctx, dropParts, seq, string(kind), n, partsAtOnce))
			}
			return err
		})
		if err != nil {
			return translate(err)
		}
	}
	return nil
}

const partQuery = "SELECT body FROM import_parts WHERE import_seq = (SELECT seq FROM imports WHERE import_id = ?) AND kind = ? AND n = ?"

// Part gives a part of a file, or store.ErrNotFound.
func (s *Store) Part(ctx context.Context, id uuid.UUID, kind store.PartKind, n int) ([]byte, error) {
	var body []byte
	err := s.file.Reader().QueryRowContext(ctx, partQuery, id[:], string(kind), n).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read part %d of %s of import %s: %w", n, kind, id, translate(err))
	}
	return body, nil
}

const (
	toForget = `SELECT seq, state = 'receiving' FROM imports WHERE forgotten = 0 AND seq > ?1 AND
		CASE WHEN state <> 'receiving' THEN finished_at <> 0 AND finished_at < ?2 WHEN leased_until = 0 THEN created_at < ?2
		ELSE leased_until <= ?3 END ORDER BY seq LIMIT ?4`
	failReceiving = `UPDATE imports SET state = 'failed', reason = ?1, finished_at = ?2, leased_until = 0
		WHERE seq = ?3 AND state = 'receiving' AND leased_until <= ?2`
	forgetParts = "DELETE FROM import_parts WHERE rowid IN (SELECT rowid FROM import_parts WHERE import_seq = ? LIMIT ?)"
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
	rows, err := s.file.Reader().QueryContext(ctx, toForget, last, sqlitefile.Micros(before), sqlitefile.Micros(now), importsAtOnce)
	if err != nil {
		return nil, fmt.Errorf("look for imports to forget: %w", translate(err))
	}
	defer func() { _ = rows.Close() }()
	var found []store.Old
	for rows.Next() {
		var i store.Old
		if err := rows.Scan(&i.Seq, &i.Receiving); err != nil {
			return nil, fmt.Errorf("look for imports to forget: %w", translate(err))
		}
		found = append(found, i)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("look for imports to forget: %w", translate(err))
	}
	return found, nil
}

// forget removes the parts of one import, and tells whether it did: one whose bytes go on
// to come in, or have all come in, stays as it is.
func (s *Store) forget(ctx context.Context, i store.Old, now time.Time) (bool, error) {
	if i.Receiving {
		err := s.file.Write(ctx, "end import that never came in", func(ctx context.Context, tx *sql.Tx) error {
			return wantRow(tx.ExecContext(ctx, failReceiving, store.NeverReceived, sqlitefile.Micros(now), i.Seq))
		})
		if errors.Is(err, store.ErrLostImport) {
			return false, nil
		}
		if err != nil {
			return false, translate(err)
		}
	}
	for {
		removed := int64(0)
		err := s.file.Write(ctx, "forget parts of import", func(ctx context.Context, tx *sql.Tx) (err error) {
			removed, err = countRows(tx.ExecContext(ctx, forgetParts, i.Seq, partsAtOnce))
			if err == nil && removed < partsAtOnce {
				_, err = tx.ExecContext(ctx, "UPDATE imports SET forgotten = 1 WHERE seq = ?", i.Seq)
			}
			return err
		})
		if err != nil || removed < partsAtOnce {
			return err == nil, translate(err)
		}
	}
}
