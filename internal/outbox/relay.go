package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/claimrail/claimrail/internal/event"
)

// ErrUnsendable marks a message that no broker will ever take, such as one that is
// too large. Line.Publish wraps it.
var ErrUnsendable = errors.New("message can not be sent")

// RelayStats counts since the start of the process. All fields may be read at any time.
type RelayStats struct {
	Published      atomic.Int64 // messages that the broker took
	Failed         atomic.Int64 // sends that failed and are tried again
	Unsendable     atomic.Int64 // messages that were parked because they can not be sent
	DatabaseErrors atomic.Int64
}

// Relay publishes Pending rows. Any number of relays may work on the same rows:
// they cost duplicates, nothing else.
//
// A row that was published is not marked at once: payments answers most claims within
// moments, and the row is gone before its mark would be worth the write. Until then, for
// Config.Hold at most, the relay holds it in memory, where all that it does is to keep
// the row from being sent again.
//
// Rows that this process commits are handed to the relay in memory, too, and go out without being
// read; the rows are read all the same, a few times a second, for there are others.
type Relay struct {
	Stats    RelayStats
	config   Config
	wake     chan struct{}
	handed   handover
	line     streak
	database streak
	held     holding
	front    front
	pass     pass
	crowded  time.Time // until then, others were seen at work on the same rows
}

// NewRelay gives a relay that does nothing before Run.
func NewRelay(config Config) *Relay {
	return &Relay{
		config:   config.withDefaults(),
		wake:     make(chan struct{}, 1),
		handed:   handover{arrived: make(chan struct{}, 1)},
		line:     streak{logger: config.Logger, what: "claims can not be sent to payments"},
		database: streak{logger: config.Logger, what: "the relay can not use the claims database"},
	}
}

// Wake lets the relay look for rows at once. It never blocks, and may be called by
// anybody, at any time.
func (r *Relay) Wake() { signal(r.wake) }

// Committed hands over the messages of rows that were just committed, Pending and due at once, each
// in its first generation. What there is no room for is read, as are the rows of other processes;
// without messages it is Wake. It never blocks, and may be called by anybody, at any time.
func (r *Relay) Committed(messages []event.ClaimAccepted) {
	if len(messages) == 0 || !r.handed.put(messages) {
		r.Wake()
	}
}

// Settled tells the relay of claims that were settled, so that it need not hold them any
// longer. It never blocks, and may be called by anybody, at any time.
func (r *Relay) Settled(standings []event.Standing) {
	if r.held.settle(standings) {
		r.Wake()
	}
}

// Run relays until ctx is done and what was sent is marked, which takes publishTimeout
// and a few databaseTimeouts at most. No error ends it, so it always gives nil.
func (r *Relay) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		full, err := r.relay(ctx)
		if err == nil && !full {
			err = r.await(ctx)
		}
		if err != nil {
			// No Wake shortens this: new claims do not make the broker come back.
			failures := max(r.line.failures, r.database.failures) - 1
			sleep(ctx, nil, r.config.backoff(failures, maxRelayBackoff))
		}
	}
	r.release(ctx)
	return nil
}

// await sends what is handed over, until it is time to read rows again.
func (r *Relay) await(ctx context.Context) error {
	poll := time.NewTimer(relayPoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
			return nil
		case <-poll.C:
			r.awake()
			return nil
		case <-r.handed.arrived:
		}
		select { // these go first: of two that are ready the one above is drawn, and no run could be repeated
		case <-r.wake:
			return nil
		case <-poll.C:
			r.awake()
			return nil
		default:
		}
		if r.config.Hold < 0 || r.isCrowded(r.config.Now()) || !r.held.room() {
			return nil // without a mark in memory, the next reading would send it again
		}
		if err := r.forward(ctx); err != nil {
			return err
		}
	}
}

// awake takes a Wake, if there is one: the reading that comes now is the one that it asks for.
func (r *Relay) awake() {
	select {
	case <-r.wake:
	default:
	}
}

// forward sends what was handed over.
func (r *Relay) forward(ctx context.Context) error {
	rows := r.handed.take(relayBatch)
	if len(rows) == 0 {
		return nil
	}
	for i := range rows {
		if r.pass.known.before(rows[i].Place) {
			r.pass.known = rows[i].Place
		}
	}
	fresh, changes := r.sift(rows, r.config.Now())
	return r.send(ctx, fresh, changes)
}

// relay takes one batch from the rows to the broker. full says that there may be
// more. An error means that nothing can be done now, rather than that one row failed.
func (r *Relay) relay(ctx context.Context) (full bool, err error) {
	if since := r.handed.clear(); !since.IsZero() { // what is read from here on has all of it
		r.front.reach(since)
	}
	now := r.config.Now()
	if !r.turn(now) {
		return false, nil
	}
	rows, err := r.read(ctx)
	if err != nil {
		return false, r.databaseError(ctx, fmt.Errorf("read rows to publish: %w", err))
	}
	full = len(rows) == relayBatch
	if len(rows) > 0 {
		r.pass.at = rows[len(rows)-1].Place
	}
	fresh, changes := r.sift(rows, now)
	overdue := len(changes) > 0
	r.advance(full)
	err = r.send(ctx, fresh, changes)
	// Where no more can be held, and none of it for too long, payments is about to answer.
	return full && (overdue || !r.pass.isThrough() || r.held.room()), err
}

// read gives the next batch of the pass. After an error the pass begins anew.
func (r *Relay) read(ctx context.Context) ([]Row, error) {
	began := r.config.Now()
	rows, err := r.config.due(ctx, ToPublish, r.pass.at, relayBatch, r.front.timeout())
	if r.pass.at == (Place{}) {
		r.front.lasted(r.config.Now().Sub(began))
	}
	if err != nil {
		r.front.failures++
		r.pass.began = time.Time{}
		return nil, err
	}
	if !r.pass.found {
		r.pass.found = true
		r.front.move(r.pass.began, rows)
	}
	return rows, nil
}

// send publishes the fresh rows, and makes the changes and those that come of it.
func (r *Relay) send(ctx context.Context, fresh []Row, changes []Change) error {
	results := r.publish(ctx, fresh)
	for i := range fresh {
		change := r.change(ctx, &fresh[i], &results[i])
		if change.Move != MarkPublished || !r.hold(&results[i], change) {
			changes = append(changes, change)
		}
	}
	// Without these marks the same messages go out again under the same ids, which
	// is harmless.
	if err := r.mark(ctx, changes); err != nil {
		return err
	}
	r.database.end(ctx)
	return r.verdict(ctx, results)
}

// turn starts a pass where the one before is through and has lasted long enough. It gives
// false where there is nothing to read for, because no more can be held.
func (r *Relay) turn(now time.Time) bool {
	if r.pass.began.IsZero() || r.pass.isThrough() && now.Sub(r.pass.began) >= passEvery {
		known := r.pass.known
		if known.before(r.pass.at) {
			known = r.pass.at
		}
		r.pass = pass{began: now, at: r.front.start(now), known: known}
		return true
	}
	return !r.pass.isThrough() || r.held.room()
}

// advance forgets what the pass did not find any more. A pass that came to the end is
// followed by another, unless much is held: then it goes on from there, for a time.
func (r *Relay) advance(full bool) {
	if !full {
		r.pass.known = r.pass.at
	}
	if r.pass.isThrough() && r.held.forget(r.pass.began) < relayBatch && !full {
		r.pass.began = time.Time{}
	}
}

// sift gives the rows that were not sent yet, which take the place of all, and the marks of
// those that were sent long enough ago.
func (r *Relay) sift(rows []Row, now time.Time) (fresh []Row, changes []Change) {
	fresh = rows[:0]
	for i := range rows {
		switch mark, held := r.held.see(rows[i].Ref, r.pass.began); {
		case !held:
			fresh = append(fresh, rows[i])
		case now.Sub(mark.sent) >= r.config.Hold || r.isCrowded(now):
			changes = append(changes, mark.change(rows[i].Ref))
		}
	}
	return fresh, changes
}

// hold keeps back the mark of a row that was just published, if it may.
func (r *Relay) hold(result *event.Published, change Change) bool {
	now := r.config.Now()
	if result.Duplicate {
		r.crowded = now.Add(crowdedFor)
	}
	return r.config.Hold > 0 && !r.isCrowded(now) && r.held.hold(change, now)
}

// isCrowded tells whether other relays work on the same rows. What one of them holds the
// others send again, so nothing is held then.
func (r *Relay) isCrowded(now time.Time) bool { return now.Before(r.crowded) }

// mark makes the changes. After an error the next pass finds the rows again.
func (r *Relay) mark(ctx context.Context, changes []Change) error {
	if len(changes) == 0 {
		return nil
	}
	if _, err := r.config.apply(ctx, changes); err != nil {
		r.pass.began = time.Time{}
		return r.databaseError(ctx, fmt.Errorf("mark %d rows: %w", len(changes), err))
	}
	r.held.drop(changes)
	return nil
}

// release marks everything that is held, so that whoever comes next does not send it again.
func (r *Relay) release(ctx context.Context) {
	for changes := r.held.some(relayBatch); len(changes) > 0; changes = r.held.some(relayBatch) {
		if r.mark(ctx, changes) != nil {
			return
		}
	}
}

func (r *Relay) databaseError(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		r.Stats.DatabaseErrors.Add(1)
	}
	r.database.fail(ctx, err)
	return err
}

// publish sends the rows, even if ctx ends meanwhile: a send can not be taken back,
// so its outcome is worth a short wait.
func (r *Relay) publish(ctx context.Context, rows []Row) []event.Published {
	if len(rows) == 0 {
		return nil
	}
	messages := make([]event.ClaimAccepted, len(rows))
	for i := range rows {
		messages[i] = rows[i].ClaimAccepted
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	return r.config.Line.Publish(ctx, messages)
}

// change turns what the broker said of one message into the move of its row.
func (r *Relay) change(ctx context.Context, row *Row, result *event.Published) Change {
	now := r.config.Now()
	change := Change{Ref: row.Ref}
	switch {
	case result.Err == nil:
		r.Stats.Published.Add(1)
		change.Move = MarkPublished
		change.Sequence = result.Sequence
		change.DueAt = now.Add(r.config.patience(row.Gen))
	case errors.Is(result.Err, ErrUnsendable):
		r.Stats.Unsendable.Add(1)
		r.config.Logger.ErrorContext(ctx, "a claim can not be sent to payments, parking it",
			"message", row.MessageID(), "error", result.Err)
		change.Move = MarkDead
		change.Reason = result.Err.Error()
		change.DueAt = now.Add(unsendableEvery)
	default:
		r.Stats.Failed.Add(1)
		change.Move = MarkFailed
		change.Reason = result.Err.Error()
		change.DueAt = now.Add(r.config.backoff(row.Attempts, maxRowBackoff))
	}
	return change
}

// verdict gives the first error if the broker took nothing of a batch. Unsendable
// messages say nothing about the broker.
func (r *Relay) verdict(ctx context.Context, results []event.Published) error {
	var first error
	for i := range results {
		switch err := results[i].Err; {
		case err == nil:
			r.line.end(ctx)
			return nil
		case first == nil && !errors.Is(err, ErrUnsendable):
			first = err
		}
	}
	if first != nil {
		r.line.fail(ctx, first)
	}
	return first
}
