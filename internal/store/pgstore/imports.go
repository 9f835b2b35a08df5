package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/pgfile"
	"github.com/claimrail/claimrail/internal/store"
)

// importColumns is what scanImport reads.
const importColumns = `seq, import_id, name, sha256, bytes, format, dry_run, stop_on_error, kept, forgotten, state, reason, run,
	created_at, started_at, finished_at, leased_until, read_bytes, claims_read, claims_accepted, claims_duplicate, claims_rejected,
	lines_read, lines_accepted, lines_duplicate, lines_rejected, warnings, net_fee_cents, accepted_net_fee_cents, part_faults`

func scanImport(row pgx.Row) (store.Import, error) {
	var i store.Import
	var startedAt, finishedAt, leasedUntil *time.Time
	if err := row.Scan(&i.Cursor, (*[16]byte)(&i.ID), &i.Name, &i.SHA256, &i.Bytes, &i.Format, &i.DryRun, &i.StopOnError, &i.Kept,
		&i.Forgotten, &i.State, &i.Error, &i.Run, &i.CreatedAt, &startedAt, &finishedAt, &leasedUntil, &i.ReadBytes,
		&i.Claims.Read, &i.Claims.Accepted, &i.Claims.Duplicate, &i.Claims.Rejected,
		&i.Lines.Read, &i.Lines.Accepted, &i.Lines.Duplicate, &i.Lines.Rejected, &i.Warnings, &i.NetFee, &i.AcceptedNetFee, &i.PartFaults); err != nil {
		return store.Import{}, err
	}
	i.CreatedAt = i.CreatedAt.UTC()
	i.StartedAt, i.FinishedAt, i.LeasedUntil = orZero(startedAt), orZero(finishedAt), orZero(leasedUntil)
	return i, nil
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// orNull gives NULL for the zero Time.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// change runs a statement in a transaction of its own. Where it changes no row it gives
// store.ErrLostImport: the import is not in the state, or not of the run, that its guard
// demands.
func (s *Store) change(ctx context.Context, what, query string, arguments ...any) error {
	rows := int64(0)
	err := s.schema.Write(ctx, what, func(_ context.Context, tx *pgfile.Tx) error {
		tx.Queue(query, arguments...).Exec(func(tag pgconn.CommandTag) error {
			rows = tag.RowsAffected()
			return nil
		})
		return nil
	})
	if err == nil && rows == 0 {
		return fmt.Errorf("%s: %w", what, store.ErrLostImport)
	}
	return translate(err)
}

// take runs a statement that gives the import that it changes; false: there is none.
func (s *Store) take(ctx context.Context, what, query string, arguments ...any) (taken store.Import, found bool, err error) {
	err = s.schema.Write(ctx, what, func(_ context.Context, tx *pgfile.Tx) error {
		tx.Queue(query, arguments...).Query(func(rows pgx.Rows) (err error) {
			for rows.Next() {
				found = true
				if taken, err = scanImport(rows); err != nil {
					return err
				}
			}
			return rows.Err()
		})
		return nil
	})
	return taken, found, translate(err)
}

const createImport = `INSERT INTO imports (import_id, name, sha256, bytes, format, dry_run, stop_on_error, kept, state, run,
	created_at, started_at, leased_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (import_id) DO NOTHING`

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
	return translate(s.schema.Write(ctx, "create import "+i.ID.String(), func(_ context.Context, tx *pgfile.Tx) error {
		tx.Queue(createImport, [16]byte(i.ID), i.Name, i.SHA256, i.Bytes, i.Format, i.DryRun, i.StopOnError, i.Kept,
			string(i.State), run, i.CreatedAt, orNull(startedAt), orNull(leasedUntil))
		tx.Queue(pgfile.AwaitStandbys) // it may be there already
		return nil
	}))
}

const holdImport = "UPDATE imports SET leased_until = $2 WHERE import_id = $1 AND state = 'receiving'"

// HoldImport extends the lease of an import that is received; see store.Imports.
func (s *Store) HoldImport(ctx context.Context, id uuid.UUID, until time.Time) error {
	return s.change(ctx, "hold import "+id.String(), holdImport, [16]byte(id), until)
}

const queueImport = "UPDATE imports SET sha256 = $2, bytes = $3, leased_until = NULL, state = 'queued' WHERE import_id = $1 AND state = 'receiving'"

// QueueImport lets an import wait for a runner; see store.Imports.
func (s *Store) QueueImport(ctx context.Context, id uuid.UUID, sha256 string, bytes int64) error {
	err := s.change(ctx, "queue import "+id.String(), queueImport, [16]byte(id), sha256, bytes)
	if !errors.Is(err, store.ErrLostImport) {
		return err
	}
	found, again := s.Import(ctx, id)
	if again == nil && found.State != store.ImportReceiving && found.SHA256 == sha256 && found.Bytes == bytes {
		return translate(s.schema.Write(ctx, "queue import "+id.String(), func(_ context.Context, tx *pgfile.Tx) error {
			tx.Queue(pgfile.AwaitStandbys)
			return nil // a try before this one did it
		}))
	}
	return err
}

const (
	waits = `FROM imports WHERE kept AND state IN ('queued', 'running') AND (state = 'queued' OR leased_until <= $1)
		ORDER BY seq LIMIT 1`
	take = "UPDATE imports SET state = 'running', run = run + 1, leased_until = $2, started_at = coalesce(started_at, $1) WHERE "
	// Of runners that look at the same time, each takes another import.
	takeImport   = take + "seq = (SELECT seq " + waits + " FOR UPDATE SKIP LOCKED) RETURNING " + importColumns
	resumeImport = take + "import_id = $3 AND (state = 'queued' OR state = 'running' AND leased_until <= $1) RETURNING " + importColumns
)

// TakeImport takes the oldest import that waits; see store.Imports. Where none does, a read
// finds that out.
func (s *Store) TakeImport(ctx context.Context, now, until time.Time) (store.Import, error) {
	var waiting bool
	err := s.read(ctx, "take import", func(ctx context.Context, pool *pgxpool.Pool) error {
		return pool.QueryRow(ctx, "SELECT EXISTS (SELECT "+waits+")", now).Scan(&waiting)
	})
	var taken store.Import
	found := false
	if err == nil && waiting {
		taken, found, err = s.take(ctx, "take import", takeImport, now, until)
	}
	if err == nil && !found {
		err = fmt.Errorf("take import: %w", store.ErrNotFound)
	}
	return taken, err
}

// ResumeImport takes one import; see store.Imports.
func (s *Store) ResumeImport(ctx context.Context, id uuid.UUID, now, until time.Time) (store.Import, error) {
	what := "resume import " + id.String()
	taken, found, err := s.take(ctx, what, resumeImport, now, until, [16]byte(id))
	if err != nil || found {
		return taken, err
	}
	if _, err := s.Import(ctx, id); err != nil {
		return store.Import{}, err
	}
	return store.Import{}, fmt.Errorf("%s: %w", what, store.ErrLostImport)
}

// reportImport sets all that a runner says. What was accepted it says of a dry run only: of the net
// fee else the rest, beside that of what was accepted meanwhile. An import that ends before its file
// has counts as read what was decided.
const reportImport = `UPDATE imports SET format = $3, leased_until = $4, state = $5, reason = $6,
	finished_at = CASE state WHEN 'cancelled' THEN finished_at ELSE $7 END, read_bytes = $8,
	claims_read = CASE WHEN $5 IN ('running', 'done') THEN $9
		ELSE CASE WHEN dry_run THEN $10 ELSE claims_accepted END + $11 + $12 END,
	claims_accepted = CASE WHEN dry_run THEN $10 ELSE claims_accepted END, claims_duplicate = $11, claims_rejected = $12,
	lines_read = CASE WHEN $5 IN ('running', 'done') THEN $13
		ELSE CASE WHEN dry_run THEN $14 ELSE lines_accepted END + $15 + $16 END,
	lines_accepted = CASE WHEN dry_run THEN $14 ELSE lines_accepted END, lines_duplicate = $15, lines_rejected = $16,
	warnings = $17, net_fee_cents = CASE WHEN dry_run THEN $18 ELSE accepted_net_fee_cents + ($18::bigint - $19::bigint) END,
	accepted_net_fee_cents = CASE WHEN dry_run THEN $19 ELSE accepted_net_fee_cents END, part_faults = $20
	WHERE import_id = $1 AND run = $2 AND (state = 'running' AND $5 <> 'cancelled'
	OR state = 'cancelled' AND $5 = 'cancelled' AND leased_until IS NOT NULL AND NOT forgotten)`

// report sets what i says, of an import that runs as i.Run.
func (s *Store) report(ctx context.Context, what string, i *store.Import) error {
	return s.change(ctx, what+" import "+i.ID.String(), reportImport, [16]byte(i.ID), i.Run, i.Format, orNull(i.LeasedUntil),
		string(i.State), clip(i.Error, store.MaxImportError), orNull(i.FinishedAt), i.ReadBytes,
		i.Claims.Read, i.Claims.Accepted, i.Claims.Duplicate, i.Claims.Rejected,
		i.Lines.Read, i.Lines.Accepted, i.Lines.Duplicate, i.Lines.Rejected, i.Warnings, int64(i.NetFee), int64(i.AcceptedNetFee), i.PartFaults)
}

// ReportImport says how far a run has come; see store.Imports.
func (s *Store) ReportImport(ctx context.Context, id uuid.UUID, run int, format string, tally store.Tally, until time.Time) error {
	return s.report(ctx, "report", &store.Import{
		ID: id, Run: run, Format: format, State: store.ImportRunning, LeasedUntil: until, Tally: tally,
	})
}

// FinishImport ends an import; see store.Imports.
func (s *Store) FinishImport(ctx context.Context, i store.Import, now time.Time) error {
	if !i.State.Ended() {
		return fmt.Errorf("finish import %s: %q is no state to end in", i.ID, i.State)
	}
	i.FinishedAt, i.LeasedUntil = now, time.Time{}
	err := s.report(ctx, "finish", &i)
	if !errors.Is(err, store.ErrLostImport) {
		return err
	}
	found, again := s.Import(ctx, i.ID)
	if again == nil && found.State == i.State && found.Run == i.Run {
		return nil // a try before this one did it
	}
	return err
}

const cancelImport = `UPDATE imports SET state = 'cancelled', finished_at = $2,
	leased_until = CASE state WHEN 'running' THEN leased_until END,
	claims_read = claims_accepted + claims_duplicate + claims_rejected, lines_read = lines_accepted + lines_duplicate + lines_rejected
	WHERE import_id = $1 AND state IN ('receiving', 'queued', 'running')`

// CancelImport ends an import from outside; see store.Imports.
func (s *Store) CancelImport(ctx context.Context, id uuid.UUID, now time.Time) (store.Import, error) {
	err := s.change(ctx, "cancel import "+id.String(), cancelImport, [16]byte(id), now)
	if err != nil && !errors.Is(err, store.ErrLostImport) {
		return store.Import{}, err
	}
	return s.Import(ctx, id)
}

const (
	importByID       = "SELECT " + importColumns + " FROM imports WHERE import_id = $1"
	unfinishedImport = "SELECT " + importColumns + ` FROM imports WHERE sha256 = $1 AND NOT kept AND NOT dry_run AND state = 'running'
		ORDER BY seq DESC LIMIT 1`
	importsPage = "SELECT " + importColumns + " FROM imports WHERE seq < $1 ORDER BY seq DESC LIMIT $2"
)

// Import gives one import, or store.ErrNotFound.
func (s *Store) Import(ctx context.Context, id uuid.UUID) (store.Import, error) {
	return s.oneImport(ctx, "read import "+id.String(), importByID, [16]byte(id))
}

// UnfinishedImport gives the import of a file that its runner has not ended; see
// store.Imports.
func (s *Store) UnfinishedImport(ctx context.Context, sha256 string) (store.Import, error) {
	return s.oneImport(ctx, "look for unfinished import of "+sha256, unfinishedImport, sha256)
}

func (s *Store) oneImport(ctx context.Context, what, query string, arguments ...any) (found store.Import, err error) {
	err = s.read(ctx, what, func(ctx context.Context, pool *pgxpool.Pool) (err error) {
		found, err = scanImport(pool.QueryRow(ctx, query, arguments...))
		if errors.Is(err, pgx.ErrNoRows) {
			return store.ErrNotFound
		}
		return err
	})
	return found, err
}

// Imports lists imports, the newest first; see store.Imports.
func (s *Store) Imports(ctx context.Context, before int64, limit int) ([]store.Import, error) {
	if limit < 1 || limit > store.MaxImportPage {
		return nil, fmt.Errorf("list imports: limit %d, want 1 to %d", limit, store.MaxImportPage)
	}
	if before == 0 {
		before = math.MaxInt64
	}
	var page []store.Import
	err := s.read(ctx, "list imports", func(ctx context.Context, pool *pgxpool.Pool) error {
		rows, err := pool.Query(ctx, importsPage, before, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			i, err := scanImport(rows)
			if err != nil {
				return err
			}
			page = append(page, i)
		}
		return rows.Err()
	})
	return page, err
}

// Known says of each claim what Accept would find; see store.Imports.
func (s *Store) Known(ctx context.Context, batch []store.Submission) ([]store.Outcome, error) {
	if len(batch) < 1 || len(batch) > store.MaxBatchClaims {
		return nil, fmt.Errorf("look for %d claims: want 1 to %d", len(batch), store.MaxBatchClaims)
	}
	known := make(map[uuid.UUID]stored, len(batch))
	err := s.read(ctx, "look for claims", func(ctx context.Context, pool *pgxpool.Pool) error {
		rows, err := pool.Query(ctx, existingQuery, claimIDs(batch))
		if err != nil {
			return err
		}
		defer rows.Close()
		return scanStored(known)(rows)
	})
	if err != nil {
		return nil, err
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
