package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/sqlitefile"
	"github.com/claimrail/claimrail/internal/store"
)

// importColumns is what scanImport reads.
const importColumns = `seq, import_id, name, sha256, bytes, format, dry_run, stop_on_error, kept, forgotten, state, reason, run,
	created_at, started_at, finished_at, leased_until, read_bytes, claims_read, claims_accepted, claims_duplicate, claims_rejected,
	lines_read, lines_accepted, lines_duplicate, lines_rejected, warnings, net_fee_cents, accepted_net_fee_cents, part_faults`

// querier is a pool or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, values ...any) *sql.Row
}

// oneImport gives the import that the query selects by importColumns, or store.ErrNotFound.
func oneImport(ctx context.Context, db querier, query string, values ...any) (store.Import, error) {
	found, err := scanImport(db.QueryRowContext(ctx, query, values...))
	if errors.Is(err, sql.ErrNoRows) {
		return store.Import{}, store.ErrNotFound
	}
	return found, err
}

func scanImport(row interface{ Scan(...any) error }) (store.Import, error) {
	var i store.Import
	var createdAt, startedAt, finishedAt, leasedUntil int64
	if err := row.Scan(&i.Cursor, &i.ID, &i.Name, &i.SHA256, &i.Bytes, &i.Format, &i.DryRun, &i.StopOnError, &i.Kept, &i.Forgotten,
		&i.State, &i.Error, &i.Run, &createdAt, &startedAt, &finishedAt, &leasedUntil, &i.ReadBytes,
		&i.Claims.Read, &i.Claims.Accepted, &i.Claims.Duplicate, &i.Claims.Rejected,
		&i.Lines.Read, &i.Lines.Accepted, &i.Lines.Duplicate, &i.Lines.Rejected, &i.Warnings, &i.NetFee, &i.AcceptedNetFee, &i.PartFaults); err != nil {
		return store.Import{}, err
	}
	i.CreatedAt, i.StartedAt = sqlitefile.Time(createdAt), sqlitefile.Time(startedAt)
	i.FinishedAt, i.LeasedUntil = sqlitefile.Time(finishedAt), sqlitefile.Time(leasedUntil)
	return i, nil
}

// wantRow makes of a statement that changed no row store.ErrLostImport: the import is not
// in the state, or not of the run, that its guard demands.
func wantRow(result sql.Result, err error) error {
	rows, err := countRows(result, err)
	if err == nil && rows == 0 {
		return store.ErrLostImport
	}
	return err
}

// countRows counts the rows that a statement changed.
func countRows(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

const createImport = `INSERT INTO imports (import_id, name, sha256, bytes, format, dry_run, stop_on_error, kept, state, run,
	created_at, started_at, leased_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (import_id) DO NOTHING`

// CreateImport adds an import; see store.Imports.
func (s *Store) CreateImport(ctx context.Context, i store.Import) error {
	if err := i.CheckNew(); err != nil {
		return fmt.Errorf("create import %s: %w", i.ID, err)
	}
	run, startedAt, leasedUntil := 0, time.Time{}, time.Time{}
	switch i.State {
	case store.ImportRunning:
		run, startedAt, leasedUntil = 1, i.CreatedAt, i.LeasedUntil
	case store.ImportReceiving:
		leasedUntil = i.LeasedUntil
	}
	return translate(s.file.Write(ctx, "create import "+i.ID.String(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, createImport, i.ID[:], i.Name, i.SHA256, i.Bytes, i.Format, i.DryRun, i.StopOnError, i.Kept,
			string(i.State), run, sqlitefile.Micros(i.CreatedAt), sqlitefile.Micros(startedAt), sqlitefile.Micros(leasedUntil))
		return err
	}))
}

const holdImport = "UPDATE imports SET leased_until = ? WHERE import_id = ? AND state = 'receiving'"

// HoldImport extends the lease of an import that is received; see store.Imports.
func (s *Store) HoldImport(ctx context.Context, id uuid.UUID, until time.Time) error {
	return translate(s.file.Write(ctx, "hold import "+id.String(), func(ctx context.Context, tx *sql.Tx) error {
		return wantRow(tx.ExecContext(ctx, holdImport, sqlitefile.Micros(until), id[:]))
	}))
}

const queueImport = "UPDATE imports SET sha256 = ?, bytes = ?, leased_until = 0, state = 'queued' WHERE import_id = ? AND state = 'receiving'"

// QueueImport lets an import wait for a runner; see store.Imports.
func (s *Store) QueueImport(ctx context.Context, id uuid.UUID, sha256 string, bytes int64) error {
	return translate(s.file.Write(ctx, "queue import "+id.String(), func(ctx context.Context, tx *sql.Tx) error {
		err := wantRow(tx.ExecContext(ctx, queueImport, sha256, bytes, id[:]))
		if !errors.Is(err, store.ErrLostImport) {
			return err
		}
		found, again := oneImport(ctx, tx, importByID, id[:])
		if again == nil && found.State != store.ImportReceiving && found.SHA256 == sha256 && found.Bytes == bytes {
			return nil // a try before this one did it
		}
		return err
	}))
}

const (
	toTake = `SELECT seq FROM imports WHERE kept = 1 AND state IN ('queued', 'running') AND (state = 'queued' OR leased_until <= ?1)
		ORDER BY seq LIMIT 1`
	take = `UPDATE imports SET state = 'running', run = run + 1, leased_until = ?2,
		started_at = CASE WHEN started_at = 0 THEN ?1 ELSE started_at END WHERE `
	takeImport   = take + "seq = (" + toTake + ") RETURNING " + importColumns
	resumeImport = take + "import_id = ?3 AND (state = 'queued' OR state = 'running' AND leased_until <= ?1) RETURNING " + importColumns
)

// TakeImport takes the oldest import that waits; see store.Imports. Where none does, a reader
// finds that out, and keeps no writer busy.
func (s *Store) TakeImport(ctx context.Context, now, until time.Time) (store.Import, error) {
	var seq int64
	err := s.file.Reader().QueryRowContext(ctx, toTake, sqlitefile.Micros(now)).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		return store.Import{}, fmt.Errorf("take import: %w", store.ErrNotFound)
	}
	if err != nil {
		return store.Import{}, fmt.Errorf("take import: %w", translate(err))
	}
	var taken store.Import
	err = s.file.Write(ctx, "take import", func(ctx context.Context, tx *sql.Tx) (err error) {
		taken, err = oneImport(ctx, tx, takeImport, sqlitefile.Micros(now), sqlitefile.Micros(until))
		return err
	})
	if err != nil {
		return store.Import{}, translate(err)
	}
	return taken, nil
}

// ResumeImport takes one import; see store.Imports.
func (s *Store) ResumeImport(ctx context.Context, id uuid.UUID, now, until time.Time) (store.Import, error) {
	var taken store.Import
	err := s.file.Write(ctx, "resume import "+id.String(), func(ctx context.Context, tx *sql.Tx) (err error) {
		taken, err = oneImport(ctx, tx, resumeImport, sqlitefile.Micros(now), sqlitefile.Micros(until), id[:])
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if _, err := oneImport(ctx, tx, importByID, id[:]); err != nil {
			return err
		}
		return store.ErrLostImport
	})
	if err != nil {
		return store.Import{}, translate(err)
	}
	return taken, nil
}

// reportImport sets all that a runner says. What was accepted it says of a dry run only: of the net
// fee else the rest, beside that of what was accepted meanwhile. An import that ends before its file
// has counts as read what was decided. Of one that was cancelled its runner says the end once.
const reportImport = `UPDATE imports SET format = ?3, leased_until = ?4, state = ?5, reason = ?6,
	finished_at = CASE state WHEN 'cancelled' THEN finished_at ELSE ?7 END, read_bytes = ?8,
	claims_read = CASE WHEN ?5 IN ('running', 'done') THEN ?9
		ELSE CASE dry_run WHEN 1 THEN ?10 ELSE claims_accepted END + ?11 + ?12 END,
	claims_accepted = CASE dry_run WHEN 1 THEN ?10 ELSE claims_accepted END, claims_duplicate = ?11, claims_rejected = ?12,
	lines_read = CASE WHEN ?5 IN ('running', 'done') THEN ?13
		ELSE CASE dry_run WHEN 1 THEN ?14 ELSE lines_accepted END + ?15 + ?16 END,
	lines_accepted = CASE dry_run WHEN 1 THEN ?14 ELSE lines_accepted END, lines_duplicate = ?15, lines_rejected = ?16,
	warnings = ?17, net_fee_cents = CASE dry_run WHEN 1 THEN ?18 ELSE accepted_net_fee_cents + (?18 - ?19) END,
	accepted_net_fee_cents = CASE dry_run WHEN 1 THEN ?19 ELSE accepted_net_fee_cents END, part_faults = ?20
	WHERE import_id = ?1 AND run = ?2 AND (state = 'running' AND ?5 <> 'cancelled'
	OR state = 'cancelled' AND ?5 = 'cancelled' AND leased_until <> 0 AND forgotten = 0)`

// report sets what i says, of an import that runs as i.Run.
func report(ctx context.Context, tx *sql.Tx, i *store.Import) error {
	return wantRow(tx.ExecContext(ctx, reportImport, i.ID[:], i.Run, i.Format, sqlitefile.Micros(i.LeasedUntil), string(i.State),
		clip(i.Error, store.MaxImportError), sqlitefile.Micros(i.FinishedAt), i.ReadBytes,
		i.Claims.Read, i.Claims.Accepted, i.Claims.Duplicate, i.Claims.Rejected,
		i.Lines.Read, i.Lines.Accepted, i.Lines.Duplicate, i.Lines.Rejected, i.Warnings, int64(i.NetFee), int64(i.AcceptedNetFee), i.PartFaults))
}

// ReportImport says how far a run has come; see store.Imports.
func (s *Store) ReportImport(ctx context.Context, id uuid.UUID, run int, format string, tally store.Tally, until time.Time) error {
	i := store.Import{ID: id, Run: run, Format: format, State: store.ImportRunning, LeasedUntil: until, Tally: tally}
	return translate(s.file.Write(ctx, "report import "+id.String(), func(ctx context.Context, tx *sql.Tx) error {
		return report(ctx, tx, &i)
	}))
}

// FinishImport ends an import; see store.Imports.
func (s *Store) FinishImport(ctx context.Context, i store.Import, now time.Time) error {
	if !i.State.Ended() {
		return fmt.Errorf("finish import %s: %q is no state to end in", i.ID, i.State)
	}
	i.FinishedAt, i.LeasedUntil = now, time.Time{}
	return translate(s.file.Write(ctx, "finish import "+i.ID.String(), func(ctx context.Context, tx *sql.Tx) error {
		err := report(ctx, tx, &i)
		if !errors.Is(err, store.ErrLostImport) {
			return err
		}
		found, again := oneImport(ctx, tx, importByID, i.ID[:])
		if again == nil && found.State == i.State && found.Run == i.Run {
			return nil // a try before this one did it
		}
		return err
	}))
}

const cancelImport = `UPDATE imports SET state = 'cancelled', finished_at = ?,
	leased_until = CASE state WHEN 'running' THEN leased_until ELSE 0 END,
	claims_read = claims_accepted + claims_duplicate + claims_rejected, lines_read = lines_accepted + lines_duplicate + lines_rejected
	WHERE import_id = ? AND state IN ('receiving', 'queued', 'running')`

// CancelImport ends an import from outside; see store.Imports.
func (s *Store) CancelImport(ctx context.Context, id uuid.UUID, now time.Time) (store.Import, error) {
	var cancelled store.Import
	err := s.file.Write(ctx, "cancel import "+id.String(), func(ctx context.Context, tx *sql.Tx) (err error) {
		if _, err := tx.ExecContext(ctx, cancelImport, sqlitefile.Micros(now), id[:]); err != nil {
			return err
		}
		cancelled, err = oneImport(ctx, tx, importByID, id[:])
		return err
	})
	if err != nil {
		return store.Import{}, translate(err)
	}
	return cancelled, nil
}

const (
	importByID       = "SELECT " + importColumns + " FROM imports WHERE import_id = ?"
	unfinishedImport = "SELECT " + importColumns + ` FROM imports WHERE sha256 = ? AND kept = 0 AND dry_run = 0 AND state = 'running'
		ORDER BY seq DESC LIMIT 1`
	importsPage = "SELECT " + importColumns + " FROM imports WHERE seq < ? ORDER BY seq DESC LIMIT ?"
)

// Import gives one import, or store.ErrNotFound.
func (s *Store) Import(ctx context.Context, id uuid.UUID) (store.Import, error) {
	found, err := oneImport(ctx, s.file.Reader(), importByID, id[:])
	if err != nil {
		return store.Import{}, fmt.Errorf("read import %s: %w", id, translate(err))
	}
	return found, nil
}

// UnfinishedImport gives the import of a file that its runner has not ended; see
// store.Imports.
func (s *Store) UnfinishedImport(ctx context.Context, sha256 string) (store.Import, error) {
	found, err := oneImport(ctx, s.file.Reader(), unfinishedImport, sha256)
	if err != nil {
		return store.Import{}, fmt.Errorf("look for unfinished import of %s: %w", sha256, translate(err))
	}
	return found, nil
}

// Imports lists imports, the newest first; see store.Imports.
func (s *Store) Imports(ctx context.Context, before int64, limit int) ([]store.Import, error) {
	if limit < 1 || limit > store.MaxImportPage {
		return nil, fmt.Errorf("list imports: limit %d, want 1 to %d", limit, store.MaxImportPage)
	}
	if before == 0 {
		before = math.MaxInt64
	}
	rows, err := s.file.Reader().QueryContext(ctx, importsPage, before, limit)
	if err != nil {
		return nil, fmt.Errorf("list imports: %w", translate(err))
	}
	defer func() { _ = rows.Close() }()
	var page []store.Import
	for rows.Next() {
		i, err := scanImport(rows)
		if err != nil {
			return nil, fmt.Errorf("list imports: %w", translate(err))
		}
		page = append(page, i)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list imports: %w", translate(err))
	}
	return page, nil
}

// Known says of each claim what Accept would find; see store.Imports.
func (s *Store) Known(ctx context.Context, batch []store.Submission) ([]store.Outcome, error) {
	if len(batch) < 1 || len(batch) > store.MaxBatchClaims {
		return nil, fmt.Errorf("look for %d claims: want 1 to %d", len(batch), store.MaxBatchClaims)
	}
	known, err := existing(batch, func(list string) (*sql.Rows, error) {
		return s.file.Reader().QueryContext(ctx, existingQuery, list)
	})
	if err != nil {
		return nil, fmt.Errorf("look for claims: %w", translate(err))
	}
	outcomes := make([]store.Outcome, len(batch))
	for i := range batch {
		c, exists := batch[i].Claim, false
		if outcomes[i], exists = find(known, c); !exists {
			known[c.ID] = stored{c.Fingerprint, store.Outcome{Existing: true}}
		}
	}
	return outcomes, nil
}
