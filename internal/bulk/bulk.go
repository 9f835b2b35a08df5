// Package bulk takes whole files in. It is the station between a file and the committer:
// intake reads on while batches of claims are judged and stored, and what became of each
// is told in the order of the file. A Pass is one way through one file, for whoever has
// the file at hand; a Desk keeps files that were sent in the claims database, and any
// instance passes them, again from the first byte where one died: what is stored is found
// to be there, and counted once.
package bulk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/intake"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/store"
)

// Limits of a pass. What is in memory at once is what maxBatches hold.
const (
	maxBatchBytes = 4 << 20 // of rows in one batch; a claim that is longer goes alone
	maxBatches    = 4       // that are read and not told yet
	workers       = 3       // batches that are judged and stored at once
	// submitTimeout bounds one try to store a batch: longer than the committer's own bounds, so
	// that its word on the outcome is heard.
	submitTimeout = 20 * time.Second
	// patience is how long a batch is tried while the claims database can not be used.
	patience = 30 * time.Second
	maxPause = 2 * time.Second // between two of these tries
)

// Codes of what only the claims database can find.
const (
	CodeOtherClaim = "other-claim"
	CodeNotStored  = "not-stored"
)

// Committer stores batches of claims; see store.Committer.
type Committer interface {
	SubmitBatch(ctx context.Context, batch []store.Submission) ([]store.Outcome, error)
}

// Known tells what is stored already; see store.Imports.
type Known interface {
	Known(ctx context.Context, batch []store.Submission) ([]store.Outcome, error)
}

// Pass is one way through one file. All fields must be set, but where they say else.
type Pass struct {
	File      *intake.File
	Validator *claim.Validator
	Committer Committer // not used by a dry run
	Known     Known     // of a dry run; nil where there is no database: then all are new
	Import    uuid.UUID // that counts what is accepted; not of a dry run
	// Before is what the import had accepted when the pass began; zero of a dry run.
	Before      Accepted
	DryRun      bool     // nothing is stored
	Repeats     *Repeats // of the dry runs before this one, which adds to it; nil: this one remembers its own claims alone
	StopOnError bool     // nothing behind the first claim that is not valid is stored
	// Tell hears what became of each parcel, in the order of the file; its error ends the pass.
	Tell   func(*Verdict) error
	Logger *slog.Logger

	batchClaims int // most claims of a batch; 0: store.MaxBatchClaims

	order order

	mu      sync.Mutex
	sum     sums
	stopped bool // at a claim that was rejected: what is behind it was not read
}

// Accepted counts what an import has stored, and adds up its net fees.
type Accepted struct {
	Claims, Lines int64
	NetFee        money.Cents
}

// AcceptedOf gives what the import's own counter says.
func AcceptedOf(i *store.Import) Accepted {
	return Accepted{i.Claims.Accepted, i.Lines.Accepted, i.AcceptedNetFee}
}

// Verdict is what became of one parcel.
type Verdict struct {
	Parcel    *intake.Parcel
	Claim     *claim.Claim   // nil: it was rejected
	Duplicate bool           // it was stored before, perhaps by an earlier pass
	Faults    []intake.Fault // why it was rejected, warnings among them
}

// batch is claims that are stored together.
type batch struct {
	parcels  []*intake.Parcel
	verdicts []Verdict     // once done is closed: of the first parcels; of all but where it stopped
	err      error         // likewise: the pass can not go on
	done     chan struct{} // closed by the worker

	before  <-chan struct{}    // entered of the batch in front of it; nil of the first
	entered chan struct{}      // closed once those behind it may be stored, but for those with its claims
	listed  []store.Submission // its claims, while they are stored
}

func newBatch(before <-chan struct{}) *batch {
	return &batch{before: before, done: make(chan struct{}), entered: make(chan struct{})}
}

// Run passes the file. It ends with nil at the end of the file or, with StopOnError, behind
// the first claim that is rejected. When ctx ends, batches that have begun are stored, but those behind
// one that had not are not told. Errors: those of
// the file's Next, of Tell, and of the committer where it can not be used for long.
func (p *Pass) Run(ctx context.Context) error {
	if p.Repeats == nil {
		p.Repeats = &Repeats{}
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	// One batch is being read beside these, and one told.
	inOrder, toDecide := make(chan *batch, maxBatches-2), make(chan *batch)
	var readError error // of the reader, once inOrder is closed
	var running sync.WaitGroup
	running.Go(func() {
		defer close(inOrder)
		defer close(toDecide)
		readError = p.guard(func() error { return p.read(reading, inOrder, toDecide) })
	})
	switch {
	case p.StopOnError:
		running.Go(func() { p.decideUntilRejected(reading, toDecide) })
	case p.DryRun: // two would look with two connections, each with a cache of its own
		running.Go(func() { p.decideAll(reading, toDecide) })
	default:
		for range workers {
			running.Go(func() { p.decideAll(reading, toDecide) })
		}
	}
	stopped, failed := p.tellAll(inOrder, stop)
	running.Wait()
	p.mu.Lock()
	p.stopped = stopped
	p.mu.Unlock()
	switch {
	case failed != nil && ctx.Err() == nil:
		return failed
	case ctx.Err() != nil:
		return fmt.Errorf("pass the file: %w", context.Cause(ctx))
	case stopped || errors.Is(readError, io.EOF):
		return nil
	default:
		return readError
	}
}

func (p *Pass) guard(work func() error) error { return guard(p.Logger, p.Import, work) }

// guard turns a panic into an error. The value itself might hold PHI.
func guard(logger *slog.Logger, id uuid.UUID, work func() error) (err error) {
	defer func() {
		if found := recover(); found != nil {
			logger.Error("import panicked", "import", id, "type", fmt.Sprintf("%T", found), "stack", string(debug.Stack()))
			err = fmt.Errorf("import panicked with a %T", found)
		}
	}()
	return work()
}

// read makes batches until the file or ctx ends.
func (p *Pass) read(ctx context.Context, inOrder, toDecide chan<- *batch) error {
	b, size, lines := newBatch(nil), 0, 0
	send := func() bool {
		if len(b.parcels) == 0 {
			return true
		}
		select {
		case inOrder <- b:
		case <-ctx.Done():
			return false
		}
		toDecide <- b // the workers take all there is, and what is in order has to be decided
		b, size, lines = newBatch(b.entered), 0, 0
		return true
	}
	most := store.MaxBatchClaims
	if p.batchClaims > 0 {
		most = p.batchClaims
	}
	for ctx.Err() == nil {
		parcel, err := p.File.Next()
		if err != nil {
			send()
			return err
		}
		own := parcel.Size
		for i := range parcel.Rows {
			own += len(parcel.Rows[i].Raw)
		}
		if lines+parcel.Lines > store.MaxBatchLines || size+own > maxBatchBytes {
			if !send() {
				break
			}
		}
		b.parcels = append(b.parcels, parcel)
		size, lines = size+own, lines+parcel.Lines
		if len(b.parcels) == most && !send() {
			break
		}
	}
	return ctx.Err()
}

// decideAll decides batches, and none any more once ctx has ended.
func (p *Pass) decideAll(ctx context.Context, toDecide <-chan *batch) {
	for b := range toDecide {
		if b.err = ctx.Err(); b.err == nil {
			b.err = p.guard(func() error { return p.decide(ctx, b) })
		}
		p.order.leave(b)
	}
}

// decideUntilRejected decides batches up to the first claim that is rejected.
func (p *Pass) decideUntilRejected(ctx context.Context, toDecide <-chan *batch) {
	over := false
	for b := range toDecide {
		if b.err = ctx.Err(); b.err == nil && !over {
			b.err = p.guard(func() error { return p.decide(ctx, b) })
		}
		for i := range b.verdicts {
			over = over || b.verdicts[i].Claim == nil
		}
		p.order.leave(b)
	}
}

// tellAll counts and tells the verdicts in their order, to the end, so that nobody is left
// behind. It stops the reader at an error, or where it should stop at a rejected claim.
func (p *Pass) tellAll(inOrder <-chan *batch, stop func()) (stopped bool, failed error) {
	for b := range inOrder {
		<-b.done
		if failed == nil {
			failed = b.err
		}
		for i := 0; i < len(b.verdicts) && failed == nil; i++ {
			v := &b.verdicts[i]
			if failed = p.count(v); failed == nil {
				failed = p.Tell(v)
			}
			stopped = stopped || p.StopOnError && v.Claim == nil
		}
		if failed != nil || stopped {
			stop()
		}
	}
	// What stopped the reader is no failure of the batches behind it.
	if stopped && errors.Is(failed, context.Canceled) {
		failed = nil
	}
	return stopped, failed
}

// decide judges a batch, and stores what is valid of it.
func (p *Pass) decide(ctx context.Context, b *batch) error {
	b.verdicts = make([]Verdict, 0, len(b.parcels))
	submissions, places := make([]store.Submission, 0, len(b.parcels)), make([]int, 0, len(b.parcels))
	for i, parcel := range b.parcels {
		valid, faults := p.judge(parcel)
		b.verdicts = append(b.verdicts, Verdict{Parcel: parcel, Claim: valid, Faults: faults})
		if valid != nil {
			submissions, places = append(submissions, store.Submission{Claim: valid, Import: p.Import}), append(places, i)
		} else if p.StopOnError {
			break
		}
	}
	err := p.order.enter(b, submissions)
	var outcomes []store.Outcome
	if err == nil && len(submissions) > 0 {
		outcomes, err = p.submit(ctx, submissions)
	}
	if err != nil {
		b.verdicts = nil
		return err
	}
	for i, at := range places {
		v := &b.verdicts[at]
		if v.Duplicate = outcomes[i].Existing; outcomes[i].Err != nil {
			v.Claim, v.Faults = nil, p.File.Faults(v.Parcel, []claim.Violation{violationOf(outcomes[i].Err)})
		}
	}
	return nil
}

// judge gives the claim of a parcel, or why it is none.
func (p *Pass) judge(parcel *intake.Parcel) (*claim.Claim, []intake.Fault) {
	var valid *claim.Claim
	var found []claim.Violation
	if parcel.Draft != nil {
		valid, found = p.Validator.Validate(parcel.Draft)
	}
	if valid != nil && len(parcel.Refused) == 0 {
		return valid, nil
	}
	if valid != nil {
		found = valid.Warnings
	}
	return nil, p.File.Faults(parcel, found)
}

// violationOf says in the words of a claim's faults why it was not stored.
func violationOf(err error) claim.Violation {
	v := claim.Violation{
		Line: claim.WholeClaim, Field: claim.NoField, Code: CodeNotStored, Severity: claim.Error,
		Message: "this claim could not be stored, though it is valid; give the time to the operator, whose log says why",
	}
	if errors.Is(err, store.ErrOtherClaim) {
		v.Field, v.Code = claim.ExternalIDField, CodeOtherClaim
		v.Message = "another claim was accepted under this claim number; give this one a new number"
	}
	return v
}

// submit stores a batch, or looks what storing it would do. While the claims database can
// not be used it tries again, for as long as patience lasts. A try that has begun is
// waited for even when ctx ends, so that its outcome is known.
func (p *Pass) submit(ctx context.Context, submissions []store.Submission) ([]store.Outcome, error) {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for pause := maxPause / 16; ; pause = min(2*pause, maxPause) {
		outcomes, err := p.trySubmit(ctx, submissions)
		if err == nil || !IsTransient(err) {
			return outcomes, err
		}
		p.Logger.WarnContext(ctx, "claims of an import could not be stored; trying again", "import", p.Import, "claims", len(submissions), "error", err)
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-timer.C:
		case <-waiting.Done():
			timer.Stop()
			return nil, err
		}
	}
}

func (p *Pass) trySubmit(ctx context.Context, submissions []store.Submission) ([]store.Outcome, error) {
	trying, cancel := context.WithTimeout(context.WithoutCancel(ctx), submitTimeout)
	defer cancel()
	switch {
	case !p.DryRun:
		return p.Committer.SubmitBatch(trying, submissions)
	case p.Known != nil:
		outcomes, err := p.Known.Known(trying, submissions)
		if err == nil {
			p.Repeats.find(submissions, outcomes)
		}
		return outcomes, err
	default:
		outcomes := make([]store.Outcome, len(submissions))
		p.Repeats.find(submissions, outcomes)
		return outcomes, nil
	}
}

// IsTransient tells whether an error is one of the claims database that may be over later.
func IsTransient(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknownOutcome)
}
