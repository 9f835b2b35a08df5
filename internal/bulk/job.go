package bulk

import (
	"context"
	"errors"
	"io"

	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/store"
)

// errTooManyRuns ends an import that was taken maxRuns times.
var errTooManyRuns = errors.New("it was begun too often without an end; give its id to the operator, whose log says why")

// job is one run of one import.
type job struct {
	*Desk
	hold  *Hold
	i     *store.Import
	parts []*partWriter
}

// pass runs an import that was taken, and says how that ended.
func (d *Desk) pass(ctx context.Context, i *store.Import) {
	j := &job{Desk: d, i: i, hold: &Hold{Imports: d.Imports, Import: i, Lease: lease, Now: d.Now, Logger: d.Logger}}
	err := j.hold.Run(ctx, j.run)
	logger := j.Logger.With("import", i.ID, "run", i.Run)
	switch {
	case i.State == store.ImportDone:
		j.Stats.Done.Add(1)
	case i.State == store.ImportFailed:
		j.Stats.Failed.Add(1)
	case errors.Is(err, store.ErrLostImport):
		j.Stats.Left.Add(1)
		logger.InfoContext(ctx, "import was cancelled, or taken over")
		return
	case ctx.Err() != nil:
		j.Stats.Left.Add(1)
		logger.InfoContext(ctx, "import is left to the next runner")
		return
	default:
		j.Stats.Left.Add(1)
		logger.WarnContext(ctx, "import is left until it can go on", "error", err)
		return
	}
	if err != nil && !IsFileError(err) {
		logger.ErrorContext(ctx, "import failed", "error", err)
	}
	logger.InfoContext(ctx, "import has ended", "state", i.State, "claims", i.Claims.Read, "accepted", i.Claims.Accepted,
		"duplicate", i.Claims.Duplicate, "rejected", i.Claims.Rejected, "reason", i.Error)
}

// run passes the file, and writes down what is rejected.
func (j *job) run(ctx context.Context) error {
	if j.i.Run > maxRuns {
		return &FileError{errTooManyRuns}
	}
	papers := &Papers{}
	var err error
	if papers.Faults, err = j.paper(ctx, store.FaultsPart); err != nil {
		return err
	}
	err = j.passFile(ctx, papers)
	if errors.Is(err, store.ErrLostImport) || errors.Is(context.Cause(ctx), store.ErrLostImport) {
		if err := j.keepCancelled(ctx, papers); err != nil && !errors.Is(err, store.ErrLostImport) {
			j.Logger.WarnContext(ctx, "what was found until an import was cancelled could not be kept", "import", j.i.ID, "error", err)
		}
		return err
	}
	if err != nil && !IsFileError(err) {
		return err
	}
	return errors.Join(err, papers.Close(), j.closeParts(ctx))
}

// closeParts keeps what is left of the files about the import.
func (j *job) closeParts(ctx context.Context) error {
	var errs []error
	for _, part := range j.parts {
		part.ctx = ctx
		errs = append(errs, part.Close())
	}
	return errors.Join(errs...)
}

// keepCancelled keeps what was told of an import up to where it was cancelled. The answer to X12
// speaks of whole sets and groups, which may not have come to their ends: it is left out. Where
// another runner has the import, it is store.ErrLostImport, and nothing is kept.
func (j *job) keepCancelled(ctx context.Context, papers *Papers) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveFor)
	defer cancel()
	papers.Acknowledgement = nil
	kept := j.parts[:0]
	for _, part := range j.parts {
		if part.kind == store.AcknowledgementPart {
			if err := part.drop(ctx); err != nil {
				return err
			}
			continue
		}
		part.ctx = ctx
		kept = append(kept, part)
	}
	j.parts = kept
	return errors.Join(papers.Close(), j.closeParts(ctx))
}

func (j *job) passFile(ctx context.Context, papers *Papers) error {
	asked, err := FormatNamed(j.i.Format)
	if err != nil {
		asked = intake.UnknownFormat // found in an earlier run, and not to be asked for
	}
	var file *intake.File
	err = guard(j.Logger, j.i.ID, func() (err error) {
		file, err = intake.OpenAgain(func() (io.Reader, error) {
			return openParts(ctx, j.Imports, j.i.ID, store.InputPart)
		}, intake.Options{Format: asked, FileSHA256: j.i.SHA256})
		return err
	})
	if header, ok := errors.AsType[*intake.HeaderError](err); ok {
		if err := papers.WriteFaults(header.Faults); err != nil {
			return err
		}
	}
	if err != nil {
		return AsFileError(err)
	}
	rejects, err := j.paper(ctx, store.RejectsPart)
	if err != nil {
		return err
	}
	papers.Rejects = file.Rejects(rejects)
	if file.Format() == intake.X12 {
		acknowledgement, err := j.paper(ctx, store.AcknowledgementPart)
		if err != nil {
			return err
		}
		papers.Acknowledgement = file.Acknowledgement(acknowledgement)
	}
	p := &Pass{
		File: file, Validator: j.Validator, Committer: j.Committer, Known: j.Imports, DryRun: j.i.DryRun, StopOnError: j.i.StopOnError,
		Tell: func(v *Verdict) error { return j.told(papers, v) }, Logger: j.Logger,
	}
	if !j.i.DryRun {
		p.Import, p.Before = j.i.ID, AcceptedOf(j.i)
	}
	return j.hold.Pass(ctx, p)
}

// paper begins one of the files about the import.
func (j *job) paper(ctx context.Context, kind store.PartKind) (io.Writer, error) {
	part, err := newPartWriter(ctx, j.Imports, j.i.ID, j.i.Run, kind)
	if err != nil {
		return nil, err
	}
	j.parts = append(j.parts, part)
	return part, nil
}

func (j *job) told(papers *Papers, v *Verdict) error {
	j.Stats.Claims.Add(int64(v.Parcel.Claims))
	if v.Claim == nil {
		j.Stats.Rejected.Add(int64(v.Parcel.Claims))
	}
	return papers.Tell(v)
}
