package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/bulk"
	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/store"
)

// Leases of an import that has its file here.
const (
	// lockedLease is for a data directory, whose lock says who is alive: next to none.
	lockedLease = time.Microsecond
	// sharedLease is for a database that others may use; after a crash it has to be waited for.
	sharedLease = 5 * time.Second
)

// localImporter is the claims database that the settings name; that of a data directory under
// its lock.
type localImporter struct {
	*program
	claims    store.Engine // nil of a dry run where there is none
	validator *claim.Validator
	committer *store.Committer // nil of a dry run
	repeats   bulk.Repeats     // of the files of a dry run
	logger    *slog.Logger
	lease     time.Duration
	stop      context.CancelFunc
	stopped   chan error // what the committer's Run gave
	unlock    func() error
}

func (p *program) openLocalImporter(ctx context.Context, c config, o *importOptions) (_ *localImporter, err error) {
	l := &localImporter{program: p, logger: p.logger(c), lease: sharedLease, unlock: func() error { return nil }}
	if c.DatabaseURL == "" {
		l.lease = lockedLease
	}
	switch {
	case o.dryRun:
		l.claims, err = p.openToLook(ctx, c, l.logger)
	case c.DatabaseURL == "":
		if l.unlock, err = lockDataDir(c.DataDir, holder{command: "import"}); err != nil {
			return nil, err
		}
		fallthrough
	default:
		l.claims, err = openClaims(ctx, c, l.logger)
	}
	if err != nil {
		return nil, errors.Join(err, l.unlock())
	}
	l.validator = &claim.Validator{Rules: c.Rules, Now: time.Now}
	if l.claims != nil {
		secret, err := l.claims.IdentitySecret(ctx)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the claims database: %w", err), l.claims.Close(), l.unlock())
		}
		l.validator.Identity = claim.NewIdentity(secret)
	}
	if !o.dryRun {
		l.committer = newCommitter(c, l.claims, l.logger)
		running, stop := context.WithCancel(context.WithoutCancel(ctx))
		l.stop, l.stopped = stop, make(chan error, 1)
		go func() { l.stopped <- l.committer.Run(running) }()
	}
	return l, nil
}

// openToLook opens the claims database to see what is stored; nil where there is none yet.
func (p *program) openToLook(ctx context.Context, c config, logger *slog.Logger) (store.Engine, error) {
	if c.DatabaseURL == "" {
		if _, err := os.Stat(filepath.Join(c.DataDir, claimsFile)); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	l := &local{c: c, dir: c.DataDir, command: "import", logger: logger}
	if err := l.openClaims(ctx); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l.claims, nil
}

func (l *localImporter) close() error {
	var errs []error
	if l.stop != nil {
		l.stop()
		errs = append(errs, <-l.stopped)
	}
	if l.claims != nil {
		errs = append(errs, l.claims.Close())
	}
	return errors.Join(append(errs, l.unlock())...)
}

// take implements importer.
func (l *localImporter) take(ctx context.Context, from source, o *importOptions, report *fileReport) error {
	rejects, err := createOut(o.rejects, o.force)
	if err != nil {
		return err
	}
	defer rejects.drop()
	acknowledgement, err := createOut(o.ack, o.force)
	if err != nil {
		return err
	}
	defer acknowledgement.drop()
	papers := &bulk.Papers{}
	pass, err := l.newPass(ctx, from, o, papers, report, rejects.file, acknowledgement.file)
	if err == nil {
		shown := l.follow(ctx, report.File, from.bytes, pass.File.ReadBytes)
		err = l.pass(ctx, from, o, pass, report)
		shown.end()
		report.Stopped = err == nil && o.onError == onErrorStop && (report.Rejected > 0 || report.PartFaults > 0)
	}
	err = explainImport(ctx, report.File, err)
	if _, bad := errors.AsType[*fileError](err); err != nil && (!bad || pass == nil) {
		return err // what is written is not whole
	}
	return errors.Join(err, putInPlace(papers, rejects, acknowledgement))
}

// putInPlace ends what is written of a pass, and puts it in its place. What could not be written to
// its end, as on a full disk, is left to be dropped: it would look whole.
func putInPlace(papers *bulk.Papers, files ...*outFile) error {
	err := papers.Close()
	for _, file := range files {
		if err == nil {
			err = file.commit()
		}
	}
	if err != nil {
		return hint(err, unwrittenHint)
	}
	return nil
}

// newPass opens the file.
func (l *localImporter) newPass(ctx context.Context, from source, o *importOptions, papers *bulk.Papers, report *fileReport, rejects, ack io.Writer) (*bulk.Pass, error) {
	file, err := intake.OpenAgain(func() (io.Reader, error) {
		return stoppable{ctx, io.NewSectionReader(from.file, 0, from.bytes)}, nil
	}, intake.Options{Format: o.asked, FileSHA256: from.sha256})
	if header, ok := errors.AsType[*intake.HeaderError](err); ok {
		report.addFaults(header.Faults)
	}
	if err != nil {
		return nil, bulk.AsFileError(err)
	}
	report.Format = bulk.FormatName(file.Format())
	if o.rejects != "" {
		papers.Rejects = file.Rejects(rejects)
	}
	if o.ack != "" {
		if file.Format() != intake.X12 {
			return nil, &bulk.FileError{Err: errors.New("only X12 is acknowledged, and it is not X12: leave --ack out")}
		}
		papers.Acknowledgement = file.Acknowledgement(ack)
	}
	pass := &bulk.Pass{
		File: file, Validator: l.validator, DryRun: o.dryRun, Repeats: &l.repeats, StopOnError: o.onError == onErrorStop, Logger: l.logger,
		Tell: func(v *bulk.Verdict) error {
			report.add(v)
			return papers.Tell(v)
		},
	}
	if l.claims != nil {
		pass.Known = l.claims
	}
	return pass, nil
}

// pass passes the file: for its import, or for a dry run.
func (l *localImporter) pass(ctx context.Context, from source, o *importOptions, pass *bulk.Pass, report *fileReport) error {
	if o.dryRun {
		err := bulk.AsFileError(pass.Run(ctx))
		tally := pass.Tally()
		report.count(&tally)
		return err
	}
	i, err := l.begin(ctx, from, o, report)
	if err != nil {
		return err
	}
	report.ImportID = i.ID.String()
	pass.Committer, pass.Import = l.committer, i.ID
	pass.Before = bulk.AcceptedOf(&i)
	hold := &bulk.Hold{Imports: l.claims, Import: &i, Lease: l.lease, Now: time.Now, Logger: l.logger}
	err = hold.Run(ctx, func(ctx context.Context) error { return hold.Pass(ctx, pass) })
	report.count(&i.Tally)
	return err
}

// begin takes up the import of this file that did not come to its end, or makes a new one.
func (l *localImporter) begin(ctx context.Context, from source, o *importOptions, report *fileReport) (store.Import, error) {
	found, err := l.claims.UnfinishedImport(ctx, from.sha256)
	if errors.Is(err, store.ErrNotFound) {
		now := time.Now()
		i := store.Import{
			ID: uuid.Must(uuid.NewV7()), Name: bulk.CleanName(report.File), SHA256: from.sha256, Bytes: from.bytes, Format: o.format,
			StopOnError: o.onError == onErrorStop, State: store.ImportRunning, Run: 1, CreatedAt: now, StartedAt: now, LeasedUntil: now.Add(l.lease),
		}
		return i, l.claims.CreateImport(ctx, i)
	}
	if err != nil {
		return store.Import{}, err
	}
	if wait := time.Until(found.LeasedUntil); wait > 0 {
		fmt.Fprintf(l.stderr, "%s: an import of it was interrupted a moment ago, or is running; waiting for %s\n", report.File, wait.Round(time.Second))
		timer := time.NewTimer(min(wait, sharedLease))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return store.Import{}, ctx.Err()
		}
	}
	now := time.Now()
	taken, err := l.claims.ResumeImport(ctx, found.ID, now, now.Add(l.lease))
	if err != nil {
		return store.Import{}, err
	}
	fmt.Fprintf(l.stderr, "%s: going on with the import of %s UTC, which had accepted %d claims\n",
		report.File, moment(taken.CreatedAt), taken.Claims.Accepted)
	return taken, nil
}
