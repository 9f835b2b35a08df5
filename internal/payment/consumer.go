package payment

import (
	"context"
	"log/slog"
	"time"

	"github.com/claimrail/claimrail/internal/event"
)

// RoundTimeout bounds what a Consumer does with one batch. The broker has to wait
// longer than that, and than the ledger's own wait for a lock, before it takes
// a message for lost.
const RoundTimeout = 10 * time.Second

// Bounds of every delay, whether of a message or of the consumer.
const (
	minDelay = 100 * time.Millisecond
	maxDelay = 30 * time.Second
)

// Feed is where messages come from. Several consumers may share one stream.
type Feed interface {
	// Fetch waits until there is a message or ctx is done, and gives what is there, up
	// to limit messages.
	Fetch(ctx context.Context, limit int) ([]event.Delivery, error)
}

// Recorder is the part of Ledger that a Consumer uses.
type Recorder interface {
	Record(ctx context.Context, batch []event.ClaimAccepted, now time.Time) ([]Verdict, error)
	Fail(ctx context.Context, messageID string, now time.Time) (attempts int, err error)
	Park(ctx context.Context, letter DeadLetter) error
	Standings(ctx context.Context, keys []event.Key) ([]event.Standing, error)
}

// Consumer turns messages into payments. A message is acknowledged when its
// payment is committed and not before, and given up when it is parked and not
// before; until then it comes again. All fields must be set.
type Consumer struct {
	Feed   Feed
	Ledger Recorder
	Hinter Hinter
	Stats  *Stats
	Logger *slog.Logger
	Now    func() time.Time
	Random func() float64 // in [0, 1); spreads delays, so that instances do not come back in step
}

// Run consumes until ctx is done and everything that was fetched is answered. No
// error ends it, so it always gives nil: while the broker or the ledger is away it
// waits, longer each time.
func (c *Consumer) Run(ctx context.Context) error {
	trouble := 0 // times in a row that broker or ledger was away
	for ctx.Err() == nil {
		err := c.consume(ctx, trouble)
		switch {
		case ctx.Err() != nil:
		case err == nil && trouble > 0:
			c.Logger.InfoContext(ctx, "payments are consumed again", "failures", trouble)
			trouble = 0
		case err != nil:
			if trouble == 0 {
				c.Logger.WarnContext(ctx, "payments can not be consumed, waiting", "error", err)
			}
			trouble++
			pause(ctx, delay(trouble, c.Random()))
		}
	}
	return nil
}

// pause waits, but no longer than ctx.
func pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// delay gives a wait for the n-th failure in a row: between minDelay and a bound
// that doubles up to maxDelay, at the place that random, in [0, 1), names.
func delay(n int, random float64) time.Duration {
	bound := minDelay
	for range n {
		if bound = min(2*bound, maxDelay); bound == maxDelay {
			break
		}
	}
	return minDelay + time.Duration(random*float64(bound-minDelay))
}
