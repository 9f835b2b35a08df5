package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
)

// Limits of Committer.
const (
	// maxWaiting bounds the claims that wait to be taken, beside those being written.
	maxWaiting = 2 * MaxBatchClaims
	// acceptTimeout bounds one Accept.
	acceptTimeout = 10 * time.Second
	// doubtTimeout is how long a commit of unknown outcome is tried again.
	doubtTimeout = 5 * time.Second
	// maxDoubtPause is the longest pause between two of these tries.
	maxDoubtPause = 200 * time.Millisecond
	// drainTimeout bounds what Run still does after its context has ended.
	drainTimeout = 10 * time.Second
)

// Accepter is what Committer needs of an Engine.
type Accepter interface {
	Accept(ctx context.Context, batch []Submission, now time.Time) ([]Outcome, error)
}

// Stats counts what a Committer did, since it was made.
type Stats struct {
	Batches      atomic.Int64 // calls of Accept that committed
	Claims       atomic.Int64 // claims in them
	LargestBatch atomic.Int64 // most claims in one of them
	Splits       atomic.Int64 // batches accepted claim by claim, for one of them was at fault
	Doubts       atomic.Int64 // commits of unknown outcome
	Panics       atomic.Int64 // panics of Accept
}

// Committer is group commit: many requests, few transactions. Requests do not own
// transactions; they wait until the one that holds their claim is committed.
// While one is being written the next batch gathers, so that batches grow with the
// load by themselves, and one client alone waits for nothing but its own commit.
type Committer struct {
	engine Accepter
	now    func() time.Time
	logger *slog.Logger
	stats  Stats

	queue    chan *waiter
	held     *waiter       // was taken from the queue, and is for the next batch; Run's own
	stopping chan struct{} // closed: nothing more is taken in
	finished chan struct{} // closed: Run has returned
}

// NewCommitter makes a Committer. Nothing is committed until Run runs.
func NewCommitter(engine Accepter, now func() time.Time, logger *slog.Logger) *Committer {
	return &Committer{
		engine:   engine,
		now:      now,
		logger:   logger,
		queue:    make(chan *waiter, maxWaiting),
		stopping: make(chan struct{}),
		finished: make(chan struct{}),
	}
}

// Stats gives the counters; they go on counting.
func (c *Committer) Stats() *Stats { return &c.stats }

// waiter is one call of Submit.
type waiter struct {
	submission Submission
	state      atomic.Int32
	answer     chan answer // room for one, so that the answer never waits for a reader
}

type answer struct {
	outcome Outcome
	err     error
}

// States of a waiter: whoever moves it out of queued decides what becomes of it.
const (
	queued int32 = iota
	taken
	withdrawn
)

// Submit hands in a claim and waits until it is committed. With a full queue it
// waits for room. When ctx ends first, the claim is withdrawn (ErrUnavailable), or, if
// it is just being written, the outcome is ErrUnknownOutcome. Other errors: those of
// Accept, and ErrUnavailable once Run stops.
func (c *Committer) Submit(ctx context.Context, submission Submission) (Outcome, error) {
	w := &waiter{submission: submission, answer: make(chan answer, 1)}
	select {
	case <-c.stopping:
		return Outcome{}, c.refusal(w)
	default:
	}
	select {
	case c.queue <- w:
	case <-c.stopping:
		return Outcome{}, c.refusal(w)
	case <-ctx.Done():
		return Outcome{}, fmt.Errorf("submit claim %s: wait for room: %w: %w", submission.Claim.ID, ErrUnavailable, ctx.Err())
	}
	select {
	case a := <-w.answer:
		return a.outcome, a.err
	case <-c.finished:
		return c.lastAnswer(w)
	case <-ctx.Done():
	}
	kind := ErrUnknownOutcome
	if w.state.CompareAndSwap(queued, withdrawn) {
		kind = ErrUnavailable
	}
	select {
	case a := <-w.answer: // both came at once, and an outcome that is known is worth more
		return a.outcome, a.err
	default:
	}
	return Outcome{}, fmt.Errorf("submit claim %s: wait for the commit: %w: %w", submission.Claim.ID, kind, ctx.Err())
}

// lastAnswer is for a waiter that finds Run gone: either it was answered, or it got
// into the queue too late.
func (c *Committer) lastAnswer(w *waiter) (Outcome, error) {
	select {
	case a := <-w.answer:
		return a.outcome, a.err
	default:
		return Outcome{}, c.refusal(w)
	}
}

func (c *Committer) refusal(w *waiter) error {
	return fmt.Errorf("submit claim %s: no more claims are taken: %w", w.submission.Claim.ID, ErrUnavailable)
}

// Run commits what is submitted until ctx ends. Then it takes nothing more in, commits
// what waits, answers everybody and returns nil, all within drainTimeout. Call it once.
func (c *Committer) Run(ctx context.Context) error {
	defer close(c.finished)
	work, cancel := outlive(ctx, drainTimeout)
	defer cancel()
	for ctx.Err() == nil {
		first := c.held
		if c.held = nil; first == nil {
			select {
			case first = <-c.queue:
			case <-ctx.Done():
				continue
			}
		}
		c.commit(work, c.gather(first))
	}
	close(c.stopping)
	for {
		first := c.held
		if c.held = nil; first == nil {
			select {
			case first = <-c.queue:
			default:
				return nil
			}
		}
		c.commit(work, c.gather(first))
	}
}

// outlive gives a context that ends so long after ctx.
func outlive(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(by, cancel) })
	return longer, cancel
}

// gather takes everything that waits, first included, as far as one Accept allows.
func (c *Committer) gather(first *waiter) []*waiter {
	var batch []*waiter
	lines := 0
	for w := first; ; {
		// A claim that is too large by itself goes alone, and the engine refuses it.
		if size := len(w.submission.Claim.Lines); len(batch) > 0 && lines+size > MaxBatchLines {
			c.held = w
			return batch
		} else if w.state.CompareAndSwap(queued, taken) {
			batch = append(batch, w)
			lines += size
		}
		if len(batch) == MaxBatchClaims {
			return batch
		}
		select {
		case w = <-c.queue:
		default:
			return batch
		}
	}
}

// commit writes a batch and answers each of its waiters. An error of no kind belongs
// to one of the claims, nobody knows which; so each is accepted alone, and the others
// go through.
func (c *Committer) commit(ctx context.Context, batch []*waiter) {
	if len(batch) == 0 {
		return
	}
	err := c.commitTogether(ctx, batch)
	if err == nil {
		return
	}
	if len(batch) == 1 || isKind(err) {
		refuse(batch, err)
		return
	}
	c.stats.Splits.Add(1)
	c.logger.WarnContext(ctx, "a batch failed; its claims are accepted one by one", "claims", len(batch), "error", err)
	for i := range batch {
		err := c.commitTogether(ctx, batch[i:i+1])
		if isKind(err) { // the database is at fault after all, for the rest too
			refuse(batch[i:], err)
			return
		}
		if err != nil {
			refuse(batch[i:i+1], err)
		}
	}
}

// commitTogether writes a batch in one transaction and answers its waiters; on an
// error it leaves that to the caller.
func (c *Committer) commitTogether(ctx context.Context, batch []*waiter) error {
	submissions := make([]Submission, len(batch))
	for i, w := range batch {
		submissions[i] = w.submission
	}
	outcomes, err := c.acceptSurely(ctx, submissions)
	if err != nil {
		return err
	}
	c.stats.Batches.Add(1)
	c.stats.Claims.Add(int64(len(batch)))
	c.stats.LargestBatch.Store(max(c.stats.LargestBatch.Load(), int64(len(batch))))
	for i, w := range batch {
		outcome := outcomes[i]
		// Nobody can have sent a claim of a random id before: it was our own first try.
		outcome.Existing = outcome.Existing && w.submission.Claim.Key.Kind != claim.NoKey
		if outcome.Err != nil {
			w.answer <- answer{err: fmt.Errorf("submit claim %s: %w", w.submission.Claim.ID, outcome.Err)}
			continue
		}
		w.answer <- answer{outcome: outcome}
	}
	return nil
}

func refuse(batch []*waiter, err error) {
	for _, w := range batch {
		w.answer <- answer{err: fmt.Errorf("submit claim %s: %w", w.submission.Claim.ID, err)}
	}
}

func isKind(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome)
}

// acceptSurely accepts, and where the outcome is in doubt accepts the same again, at
// the same time: that waits for a commit still in flight, where looking would miss it.
// Doubt that lasts is ErrUnavailable and ErrUnknownOutcome, whatever the last try gave: the
// first may have been stored.
func (c *Committer) acceptSurely(ctx context.Context, batch []Submission) ([]Outcome, error) {
	now := c.now()
	outcomes, err := c.accept(ctx, batch, now)
	if !errors.Is(err, ErrUnknownOutcome) {
		return outcomes, err
	}
	doubting, cancel := context.WithTimeout(ctx, doubtTimeout)
	defer cancel()
	for {
		c.stats.Doubts.Add(1)
		c.logger.WarnContext(ctx, "outcome of a commit is unknown; accepting the same again", "claims", len(batch), "error", err)
		pause := time.NewTimer(rand.N(maxDoubtPause))
		select {
		case <-pause.C:
		case <-doubting.Done():
			pause.Stop()
			return nil, fmt.Errorf("outcome in doubt for %v: %w, %w: %w", doubtTimeout, ErrUnavailable, ErrUnknownOutcome, err)
		}
		// While the database is away, the first try is as much in doubt as before.
		if outcomes, err = c.accept(doubting, batch, now); !isKind(err) {
			return outcomes, err
		}
	}
}

// accept calls the engine. A panic there is an error of no kind.
func (c *Committer) accept(ctx context.Context, batch []Submission, now time.Time) (outcomes []Outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	defer func() {
		if found := recover(); found != nil {
			c.stats.Panics.Add(1)
			// The value itself might hold PHI.
			c.logger.ErrorContext(ctx, "accept panicked", "type", fmt.Sprintf("%T", found), "stack", string(debug.Stack()))
			outcomes, err = nil, fmt.Errorf("accept panicked with a %T", found)
		}
	}()
	outcomes, err = c.engine.Accept(ctx, batch, now)
	if err == nil && len(outcomes) != len(batch) {
		return nil, fmt.Errorf("accept gave %d outcomes for %d claims", len(outcomes), len(batch))
	}
	return outcomes, err
}
