package bulk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/store"
)

// leaveFor bounds what is still done for an import that is left.
const leaveFor = 2 * time.Second

// unknownReason is what is kept of an error that is nobody's but ours.
const unknownReason = "something went wrong here; give the import's id to the operator, whose log says what"

// Hold is the hold that a runner has of an import that it took: it keeps the import while the
// file is passed, and ends it. For one Run.
type Hold struct {
	Imports store.Imports
	Import  *store.Import // as it was taken; once Run returns, as it is then, as far as known
	// Lease is how long the import is thought to be alive after each report. A runner whose end
	// nobody has to guess, since it holds a lock, needs next to none.
	Lease  time.Duration
	Now    func() time.Time
	Logger *slog.Logger

	passed atomic.Pointer[Pass] // nil until the file is open
}

// Pass passes the file, within Run.
func (h *Hold) Pass(ctx context.Context, p *Pass) error {
	h.passed.Store(p)
	return AsFileError(p.Run(ctx))
}

// Run does work while it keeps the import. The import is then ended: done or, with an error,
// failed. But it goes on, as it is, for the next who takes it, where ctx ended, or where the claims
// database could not be used; and it is what others made of it where the error is ErrLostImport.
func (h *Hold) Run(ctx context.Context, work func(context.Context) error) error {
	running, stop := context.WithCancelCause(ctx)
	var reporting sync.WaitGroup
	reporting.Go(func() { h.report(running, stop) })
	err := work(running)
	if cause := context.Cause(running); cause != nil && err != nil {
		err = cause
	}
	stop(nil)
	reporting.Wait()
	switch {
	case errors.Is(err, store.ErrLostImport):
		h.cancelled(ctx)
		return err
	case ctx.Err() != nil && err != nil:
		h.leave(ctx)
		return err
	case err != nil && IsTransient(err):
		h.Import.Tally = h.tally()
		return err
	default:
		if err = h.finish(ctx, err); errors.Is(err, store.ErrLostImport) {
			h.cancelled(ctx)
		}
		return err
	}
}

// report says every second how far the run has come. It stops a run that is no longer this
// runner's, or that can not be kept.
func (h *Hold) report(ctx context.Context, stop context.CancelCauseFunc) {
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	late := h.Now().Add(max(h.Lease, lease))
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := h.Now()
		err := h.Imports.ReportImport(ctx, h.Import.ID, h.Import.Run, h.format(), h.tally(), now.Add(h.Lease))
		switch {
		case err == nil:
			late = now.Add(max(h.Lease, lease))
		case errors.Is(err, store.ErrLostImport):
			stop(err)
		case h.Now().After(late):
			stop(fmt.Errorf("keep import %s: %w", h.Import.ID, err))
		}
	}
}

func (h *Hold) tally() store.Tally {
	if p := h.passed.Load(); p != nil {
		return p.Tally()
	}
	return store.Tally{}
}

func (h *Hold) format() string {
	if p := h.passed.Load(); p != nil {
		return FormatName(p.File.Format())
	}
	return h.Import.Format
}

// leave lets the next have the import at once. What it can not do, the lease does.
func (h *Hold) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveFor)
	defer cancel()
	h.Import.Tally = h.tally()
	if err := h.Imports.ReportImport(ctx, h.Import.ID, h.Import.Run, h.format(), h.Import.Tally, h.Now()); err != nil {
		h.Logger.WarnContext(ctx, "import is left, and can be taken when its lease is over", "import", h.Import.ID, "error", err)
		return
	}
	if p := h.passed.Load(); p != nil {
		if accepted, err := h.accepted(ctx); err == nil {
			h.Import.Tally, _ = p.Final(accepted) // what was stored behind what was told counts too
		}
	}
}

// finish ends the import, with counts that add up.
func (h *Hold) finish(ctx context.Context, failed error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), insistFor+leaveFor)
	defer cancel()
	ended := *h.Import
	ended.Format, ended.State, ended.Error = h.format(), store.ImportDone, ""
	if p := h.passed.Load(); p != nil {
		accepted, err := h.accepted(ctx)
		if err != nil {
			return err
		}
		if ended.Tally, err = p.Final(accepted); failed == nil && err != nil {
			failed = &FileError{err}
		}
	}
	if failed != nil {
		ended.State, ended.Error = store.ImportFailed, unknownReason
		if IsFileError(failed) {
			ended.Error = failed.Error()
		}
	}
	now := h.Now()
	if err := insist(ctx, func() error { return h.Imports.FinishImport(ctx, ended, now) }); err != nil {
		return err
	}
	ended.FinishedAt = now
	*h.Import = ended
	return failed
}

// cancelled ends an import that was cancelled, with counts of all that was told, so that what its run
// wrote about it can be read. What it can not do, the lease does. One that another has is left alone.
func (h *Hold) cancelled(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveFor)
	defer cancel()
	ended := *h.Import
	ended.Format, ended.State, ended.Tally = h.format(), store.ImportCancelled, store.Tally{}
	if p := h.passed.Load(); p != nil {
		accepted, err := h.accepted(ctx)
		if err != nil {
			h.Logger.WarnContext(ctx, "import was cancelled; its files can be read when its lease is over", "import", h.Import.ID, "error", err)
			return
		}
		ended.Tally, _ = p.Final(accepted)
	}
	err := insist(ctx, func() error { return h.Imports.FinishImport(ctx, ended, h.Now()) })
	if err != nil && !errors.Is(err, store.ErrLostImport) {
		h.Logger.WarnContext(ctx, "import was cancelled; its files can be read when its lease is over", "import", h.Import.ID, "error", err)
	}
}

// accepted reads what the import has stored, in all of its runs.
func (h *Hold) accepted(ctx context.Context) (Accepted, error) {
	var found store.Import
	err := insist(ctx, func() (err error) {
		found, err = h.Imports.Import(ctx, h.Import.ID)
		return err
	})
	return AcceptedOf(&found), err
}

// FileError says that a file can not be read, or not to its end. It is the file's own fault,
// and holds no text of it.
type FileError struct{ Err error }

// Error gives what is wrong with the file.
func (e *FileError) Error() string { return e.Err.Error() }

// Unwrap gives the error itself.
func (e *FileError) Unwrap() error { return e.Err }

// IsFileError tells whether an error is a file's own fault.
func IsFileError(err error) bool {
	_, ok := errors.AsType[*FileError](err)
	return ok
}

// AsFileError marks an error of intake that is the file's own fault.
func AsFileError(err error) error {
	if _, ok := errors.AsType[*intake.HeaderError](err); ok {
		return &FileError{errors.New("the header can not be used")}
	}
	if format, ok := errors.AsType[*intake.FormatError](err); ok {
		return &FileError{format}
	}
	if syntax, ok := errors.AsType[*intake.SyntaxError](err); ok {
		return &FileError{syntax}
	}
	return err
}
