package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

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
type Relay struct {
	Stats    RelayStats
	config   Config
	wake     chan struct{}
	line     streak
	database streak
}

// NewRelay gives a relay that does nothing before Run.
func NewRelay(config Config) *Relay {
	return &Relay{
		config:   config.withDefaults(),
		wake:     make(chan struct{}, 1),
		line:     streak{logger: config.Logger, what: "claims can not be sent to payments"},
		database: streak{logger: config.Logger, what: "the relay can not use the claims database"},
	}
}

// Wake lets the relay look for rows at once. It never blocks, and may be called by
// anybody, at any time.
func (r *Relay) Wake() { signal(r.wake) }

// Run relays until ctx is done and the batch in hand is marked, which takes
// publishTimeout and databaseTimeout at most. No error ends it, so it always gives
// nil.
func (r *Relay) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		full, err := r.relay(ctx)
		switch {
		case err != nil:
			// No Wake shortens this: new claims do not make the broker come back.
			failures := max(r.line.failures, r.database.failures) - 1
			sleep(ctx, nil, r.config.backoff(failures, maxRelayBackoff))
		case !full:
			sleep(ctx, r.wake, relayPoll)
		}
	}
	return nil
}

// relay takes one batch from the rows to the broker. full says that there may be
// more. An error means that nothing can be done now, rather than that one row failed.
func (r *Relay) relay(ctx context.Context) (full bool, err error) {
	rows, err := r.config.due(ctx, ToPublish, relayBatch)
	if err != nil {
		return false, r.databaseError(ctx, fmt.Errorf("read rows to publish: %w", err))
	}
	if len(rows) == 0 {
		r.database.end(ctx)
		return false, nil
	}
	results := r.publish(ctx, rows)
	changes := make([]Change, len(rows))
	for i := range rows {
		changes[i] = r.change(ctx, &rows[i], &results[i])
	}
	// Without these marks the same messages go out again under the same ids, which
	// is harmless.
	if _, err := r.config.apply(ctx, changes); err != nil {
		return false, r.databaseError(ctx, fmt.Errorf("mark %d rows: %w", len(rows), err))
	}
	r.database.end(ctx)
	return len(rows) == relayBatch, r.verdict(ctx, results)
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
