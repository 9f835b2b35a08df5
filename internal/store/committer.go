package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
)

// Limits of Committer.
const (
	// maxWaiting bounds the claims that wait to be taken, beside those being written.
	maxWaiting = 1_024
	// maxWaitingBatches bounds the batches of imports that do: enough for the next to be
	// there when one is written.
	maxWaitingBatches = 4
	// acceptTimeout bounds one Accept.
	acceptTimeout = 10 * time.Second
	// doubtTimeout is how long a commit of unknown outcome is tried again.
	doubtTimeout = 5 * time.Second
	// maxDoubtPause is the longest pause between two of these tries.
	maxDoubtPause = 200 * time.Millisecond
	// maxGathering is how long a batch waits to become worth its transaction, while another is
	// being written.
	maxGathering = 20 * time.Millisecond
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
	Splits       atomic.Int64 // batches accepted in parts, for one of their claims was at fault
	Doubts       atomic.Int64 // commits of unknown outcome
	Panics       atomic.Int64 // panics of Accept
}

// Committer is group commit: many requests, few transactions. Requests do not own
// transactions; they wait until the one that holds their claim is committed.
// While one is being written the next batch gathers, so that batches grow with the
// load by themselves, and one client alone waits for nothing but its own commit.
//
// Batches of imports come ready made, and have a line of their own: SubmitBatch.
type Committer struct {
	// Random, in [0, 1), spreads the tries of a commit in doubt, so that instances do not come
	// back in step. It may be set before Run.
	Random func() float64

	// Committed is given the messages of the claims that each batch has stored, imports left out: it
	// is called with none of those. It may be set before Run, and must not block; writers call it at once.
	Committed func([]event.ClaimAccepted)

	engine Accepter
	now    func() time.Time
	logger *slog.Logger
	stats  Stats

	// Writers is how many batches may be on their way to the engine at a time, in each of the two
	// lines; set it before Run. More than one pays where the engine writes several at a time.
	Writers int

	queue     chan *waiter
	gathering sync.Mutex    // of who takes from the queue
	held      *waiter       // was taken from the queue, and is for the next batch; guarded by gathering
	writing   atomic.Int64  // claims from the queue that are being written
	wanted    atomic.Int64  // so many in the queue are worth a signal on plenty; 0: nobody waits
	plenty    chan struct{} // has room for one, as freed does
	freed     chan struct{} // a batch from the queue was written
	batches   chan *waiter  // of SubmitBatch; each is a batch by itself
	stopping  chan struct{} // closed: nothing more is taken in
	finished  chan struct{} // closed: Run has returned
}

// NewCommitter makes a Committer. Nothing is committed until Run runs.
func NewCommitter(engine Accepter, now func() time.Time, logger *slog.Logger) *Committer {
	return &Committer{
		Random:    rand.Float64,
		engine:    engine,
		now:       now,
		logger:    logger,
		Committed: func([]event.ClaimAccepted) {},
		Writers:   1,
		queue:     make(chan *waiter, maxWaiting),
		batches:   make(chan *waiter, maxWaitingBatches),
		plenty:    make(chan struct{}, 1),
		freed:     make(chan struct{}, 1),
		stopping:  make(chan struct{}),
		finished:  make(chan struct{}),
	}
}

// Stats gives the counters; they go on counting.
func (c *Committer) Stats() *Stats { return &c.stats }

// waiter is one call of Submit or SubmitBatch.
type waiter struct {
	batch  []Submission // of Submit: one
	state  atomic.Int32
	answer chan answer // room for one, so that the answer never waits for a reader
}

type answer struct {
	outcomes []Outcome // one for each submission
	err      error     // nothing is known of any but what the error says
}

// States of a waiter: whoever moves it out of queued decides what becomes of it.
const (
	queued int32 = iota
	taken
	withdrawn
)

// String says what was submitted.
func (w *waiter) String() string {
	if len(w.batch) == 1 {
		return "claim " + w.batch[0].Claim.ID.String()
	}
	return fmt.Sprintf("%d claims", len(w.batch))
}

// Submit hands in a claim and waits until it is committed. With a full queue it
// waits for room. When ctx ends first, the claim is withdrawn (ErrUnavailable), or, if
// it is just being written, the outcome is ErrUnknownOutcome. Other errors: those of
// Accept, and ErrUnavailable once Run stops. A claim of an import goes to SubmitBatch.
func (c *Committer) Submit(ctx context.Context, submission Submission) (Outcome, error) {
	if submission.Import != uuid.Nil {
		return Outcome{}, fmt.Errorf("submit claim %s: it is of an import", submission.Claim.ID)
	}
	outcomes, err := c.submit(ctx, c.queue, []Submission{submission})
	if err != nil {
		return Outcome{}, err
	}
	if outcomes[0].Err != nil {
		return Outcome{}, outcomes[0].Err
	}
	return outcomes[0], nil
}

// submit hands in to one of the queues, and waits for the answer.
func (c *Committer) submit(ctx context.Context, queue chan<- *waiter, batch []Submission) ([]Outcome, error) {
	w := &waiter{batch: batch, answer: make(chan answer, 1)}
	select {
	case <-c.stopping:
		return nil, refusal(w)
	default:
	}
	select {
	case queue <- w:
	case <-c.stopping:
		return nil, refusal(w)
	case <-ctx.Done():
		return nil, fmt.Errorf("submit %v: wait for room: %w: %w", w, ErrUnavailable, ctx.Err())
	}
	if wanted := c.wanted.Load(); wanted > 0 && len(c.queue) >= int(wanted) {
		signal(c.plenty)
	}
	select {
	case a := <-w.answer:
		return a.outcomes, a.err
	case <-c.finished:
		return lastAnswer(w)
	case <-ctx.Done():
	}
	kind := ErrUnknownOutcome
	if w.state.CompareAndSwap(queued, withdrawn) {
		kind = ErrUnavailable
	}
	select {
	case a := <-w.answer: // both came at once, and an outcome that is known is worth more
		return a.outcomes, a.err
	default:
	}
	return nil, fmt.Errorf("submit %v: wait for the commit: %w: %w", w, kind, ctx.Err())
}

// lastAnswer is for a waiter that finds Run gone: either it was answered, or it got
// into the queue too late.
func lastAnswer(w *waiter) ([]Outcome, error) {
	select {
	case a := <-w.answer:
		return a.outcomes, a.err
	default:
		return nil, refusal(w)
	}
}

func refusal(w *waiter) error {
	return fmt.Errorf("submit %v: no more claims are taken: %w", w, ErrUnavailable)
}

// Run commits what is submitted until ctx ends. Then it takes nothing more in, commits
// what waits, answers everybody and returns nil, all within drainTimeout. Call it once.
func (c *Committer) Run(ctx context.Context) error {
	defer close(c.finished)
	work, cancel := outlive(ctx, drainTimeout)
	defer cancel()
	var batches, singles sync.WaitGroup
	defer batches.Wait()
	for range c.Writers {
		batches.Go(func() { c.runBatches(ctx, work) })
		singles.Go(func() {
			for ctx.Err() == nil {
				batch, _ := c.next(ctx.Done())
				c.commit(work, batch)
			}
		})
	}
	singles.Wait() // what is in hand is written before it is told that nothing more is taken
	close(c.stopping)
	for range c.Writers {
		singles.Go(func() {
			for batch, more := c.next(c.stopping); more; batch, more = c.next(c.stopping) {
				c.commit(work, batch)
			}
		})
	}
	singles.Wait()
	return nil
}

// next gathers a batch, for whoever can write it now: not before, so that it is as large as can
// be. It may turn out to be empty. Where nothing waits it waits for the first claim; false: end
// was closed, and nothing waits.
func (c *Committer) next(end <-chan struct{}) (batch []*waiter, more bool) {
	c.gathering.Lock()
	defer c.gathering.Unlock()
	first := c.held
	if c.held = nil; first == nil {
		select {
		case first = <-c.queue:
		default:
			select {
			case first = <-c.queue:
			case <-end:
				return nil, false
			}
		}
		c.waitForMore(end)
	}
	batch = c.gather(first)
	c.writing.Add(int64(len(batch)))
	return batch, true
}

// waitForMore waits, while another batch is being written, until as many claims wait, or it
// is through: a claim that comes right behind a large batch would otherwise have a
// transaction to itself, and those that come next would wait for both.
func (c *Committer) waitForMore(end <-chan struct{}) {
	least := c.writing.Load()
	if int64(len(c.queue)) >= least {
		return
	}
	for _, old := range []<-chan struct{}{c.plenty, c.freed} {
		select {
		case <-old:
		default:
		}
	}
	c.wanted.Store(least)
	defer c.wanted.Store(0)
	if c.writing.Load() == 0 || int64(len(c.queue)) >= least {
		return
	}
	enough := time.NewTimer(maxGathering)
	defer enough.Stop()
	select {
	case <-c.plenty:
	case <-c.freed:
	case <-enough.C:
	case <-end:
	}
}

// signal wakes whoever waits on the channel, which has room for one.
func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
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
		if size := len(w.batch[0].Claim.Lines); len(batch) > 0 && lines+size > MaxBatchLines {
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

// commit writes what was gathered and answers each waiter.
func (c *Committer) commit(ctx context.Context, waiters []*waiter) {
	if len(waiters) == 0 {
		return
	}
	defer func(size int) {
		c.writing.Add(-int64(size))
		signal(c.freed)
	}(len(waiters))
	batch := make([]Submission, len(waiters))
	for i, w := range waiters {
		batch[i] = w.batch[0]
	}
	err := c.acceptAll(ctx, batch, halving{}, func(outcomes []Outcome) {
		for i := range outcomes {
			waiters[i].answer <- answer{outcomes: outcomes[i : i+1]}
		}
		waiters = waiters[len(outcomes):]
	})
	for _, w := range waiters {
		w.answer <- answer{err: fmt.Errorf("submit %v: %w", w, err)}
	}
}

func isKind(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome)
}

// acceptSurely accepts, and where the outcome is in doubt accepts the same again, at
// the same time: that waits for a commit still in flight, where looking would miss it.
// Doubt that lasts is ErrUnavailable and ErrUnknownOutcome, whatever the last try gave: the
// first may have been stored. doubted says that there was doubt, whatever came of it.
func (c *Committer) acceptSurely(ctx context.Context, batch []Submission) (outcomes []Outcome, doubted bool, err error) {
	now := c.now()
	outcomes, err = c.accept(ctx, batch, now)
	if !errors.Is(err, ErrUnknownOutcome) {
		return outcomes, false, err
	}
	doubting, cancel := context.WithTimeout(ctx, doubtTimeout)
	defer cancel()
	for {
		c.stats.Doubts.Add(1)
		c.logger.WarnContext(ctx, "outcome of a commit is unknown; accepting the same again", "claims", len(batch), "error", err)
		pause := time.NewTimer(time.Duration(c.Random() * float64(maxDoubtPause)))
		select {
		case <-pause.C:
		case <-doubting.Done():
			pause.Stop()
			return nil, true, fmt.Errorf("outcome in doubt for %v: %w, %w: %w", doubtTimeout, ErrUnavailable, ErrUnknownOutcome, err)
		}
		// While the database is away, the first try is as much in doubt as before.
		if outcomes, err = c.accept(doubting, batch, now); !isKind(err) {
			return outcomes, true, err
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
