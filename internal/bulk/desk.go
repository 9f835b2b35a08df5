package bulk

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/store"
)

// Limits of a desk.
const (
	runners     = 2                // imports that one instance passes at once
	lease       = 15 * time.Second // how long an import is thought to be alive after its last report
	reportEvery = time.Second
	// interruptedAfter is how long the lease of an import whose file is with its runner must be over for
	// the runner to be given up: it gives itself up after a lease without a report.
	interruptedAfter = 2 * lease
	// receiveLease is how long a file is thought to come in after its last bytes: longer than the
	// next may take. It is extended every holdEvery at most.
	receiveLease = 2 * time.Minute
	holdEvery    = 15 * time.Second
	lookEvery    = time.Second // for imports to take, where none was received here
	keptFor      = 24 * time.Hour
	forgetEvery  = 10 * time.Minute
	// maxRuns ends an import that was taken again and again: most likely it is what ends its
	// runners.
	maxRuns = 100
)

// Stats counts what a desk did, since it was made.
type Stats struct {
	Received atomic.Int64 // files that came in, and were queued
	Taken    atomic.Int64 // runs begun
	Done     atomic.Int64 // imports that ended as they should
	Failed   atomic.Int64 // that could not be read to their end
	Left     atomic.Int64 // runs that ended before their import did: lost, stopped, or without a database
	Claims   atomic.Int64 // claims read
	Rejected atomic.Int64 // of these
}

// Desk receives files, keeps them, and passes them, those of other instances too.
type Desk struct {
	Imports   store.Imports
	Committer Committer
	Validator *claim.Validator
	Now       func() time.Time
	Logger    *slog.Logger
	// Alone: nobody else has the database, so that an import which is running when Run begins, or
	// received since before the desk was made, is nobody's, whatever its lease says.
	Alone bool
	Stats Stats

	made      time.Time
	receiving chan struct{} // one in it for each file that comes in
	wake      chan struct{}
}

// NewDesk makes a desk. Nothing is passed until Run runs.
func NewDesk(imports store.Imports, committer Committer, validator *claim.Validator, now func() time.Time, logger *slog.Logger) *Desk {
	return &Desk{
		Imports: imports, Committer: committer, Validator: validator, Now: now, Logger: logger,
		made: now(), receiving: make(chan struct{}, maxReceiving), wake: make(chan struct{}, runners),
	}
}

// wakeUp has the runners look for imports.
func (d *Desk) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Run passes imports until ctx ends; those under way are then left to others at once.
func (d *Desk) Run(ctx context.Context) error {
	if d.Alone {
		d.reclaim(ctx)
		d.giveUpLost(ctx)
	}
	var running sync.WaitGroup
	for range runners {
		running.Go(func() { d.takeAll(ctx) })
	}
	running.Go(func() { d.forgetAll(ctx) })
	running.Wait()
	return nil
}

// reclaim lets go of what a runner before this one still holds. What it can not do, the leases do.
func (d *Desk) reclaim(ctx context.Context) {
	for range maxWaiting {
		now := d.Now()
		held, err := d.Imports.TakeImport(ctx, now.Add(lease), now.Add(2*lease)) // each only once
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		if err == nil {
			defer func() { // once all are taken, so that none is taken twice
				err := d.Imports.ReportImport(ctx, held.ID, held.Run, held.Format, held.Tally, now)
				if err != nil {
					d.Logger.WarnContext(ctx, "import can be taken when its lease is over", "import", held.ID, "error", err)
				}
			}()
			continue
		}
		d.Logger.WarnContext(ctx, "look for imports of a run before", "error", err)
		return
	}
}

// giveUpLost ends the imports whose bytes came in when a run before this one died. Those that are not
// among the newest end when their leases are over.
func (d *Desk) giveUpLost(ctx context.Context) {
	page, err := d.Imports.Imports(ctx, 0, store.MaxImportPage)
	if err != nil {
		d.Logger.WarnContext(ctx, "look for files that did not come in; they end when their leases are over", "error", err)
		return
	}
	for i := range page {
		if page[i].State == store.ImportReceiving && page[i].CreatedAt.Before(d.made) {
			d.giveUp(ctx, page[i].ID)
		}
	}
}

// takeAll takes one import after the other.
func (d *Desk) takeAll(ctx context.Context) {
	for ctx.Err() == nil {
		now := d.Now()
		taken, err := d.Imports.TakeImport(ctx, now, now.Add(lease))
		if err == nil {
			d.Stats.Taken.Add(1)
			d.pass(ctx, &taken)
			continue
		}
		if !errors.Is(err, store.ErrNotFound) && ctx.Err() == nil {
			d.Logger.WarnContext(ctx, "look for imports", "error", err)
		}
		timer := time.NewTimer(lookEvery/2 + rand.N(lookEvery))
		select {
		case <-timer.C:
		case <-d.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// forgetAll removes the files of old imports, now and then.
func (d *Desk) forgetAll(ctx context.Context) {
	for {
		now := d.Now()
		forgotten, err := d.Imports.Forget(ctx, now.Add(-keptFor), now)
		if err != nil && ctx.Err() == nil {
			d.Logger.WarnContext(ctx, "forget old imports", "error", err)
		}
		if forgotten > 0 {
			d.Logger.InfoContext(ctx, "files of old imports are gone", "imports", forgotten)
		}
		timer := time.NewTimer(forgetEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// Cancel ends an import that has not ended; one that has stays as it is. Its runner, wherever it
// is, stores no more of it.
func (d *Desk) Cancel(ctx context.Context, id uuid.UUID) (store.Import, error) {
	return d.Imports.CancelImport(ctx, id, d.Now())
}

// Open gives a file that was written about an import: unpacked, or store.ErrNotFound. It reads until
// ctx ends.
func (d *Desk) Open(ctx context.Context, id uuid.UUID, kind store.PartKind) (io.Reader, error) {
	file, err := openParts(ctx, d.Imports, id, kind)
	if err != nil {
		return nil, err
	}
	return file, nil
}
