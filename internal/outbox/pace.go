package outbox

import (
	"context"
	"log/slog"
	"time"
)

// Defaults of Config.
const (
	DefaultGrace      = 5 * time.Second
	DefaultSweepEvery = 2 * time.Second
	DefaultDeadEvery  = 30 * time.Second
	DefaultHold       = time.Second
)

// Limits of what the two workers wait for, and of what they take at once.
const (
	relayBatch      = 500                    // rows in one Publish
	relayPoll       = 250 * time.Millisecond // other processes write rows without a Wake here
	maxHeld         = 2000                   // rows published and neither marked nor settled; 100 ms of work at 20,000 claims a second
	maxHanded       = 2 * relayBatch         // rows handed over and not sent yet
	maxSettled      = 10_000                 // rows remembered after that, until a pass does not find them
	passEvery       = 400 * time.Millisecond // while much is held, between two readings of all of it
	lateBy          = 2 * time.Second        // from when a row is due to its commit: so much is read again by each pass
	wholeEvery      = 5 * time.Second        // between two passes over all rows, for what was later than that
	wholeShare      = 100                    // but as much time lies between them as this many of them take
	maxWholeWait    = time.Minute            // and not more
	crowdedFor      = 10 * time.Second       // since another relay was last seen at work
	publishTimeout  = 5 * time.Second        // for the acks of one batch
	databaseTimeout = 5 * time.Second        // for one Due or Apply
	maxFirstTimeout = time.Minute            // for the first Due of all, which grows to this: see front
	askTimeout      = 5 * time.Second        // for Progress and Ask together

	minBackoff      = 100 * time.Millisecond
	maxRowBackoff   = 30 * time.Second // of one row
	maxRelayBackoff = 5 * time.Second  // of the relay itself, when nothing goes out
	unsendableEvery = time.Hour        // how often a row that can not be sent is looked at again
	maxPatience     = 10 * time.Minute // between two questions about a row
	maxDeadWait     = 5 * time.Minute  // the same of a Dead one, unless DeadEvery is longer
	maxTold         = 10_000           // claims of another amount that are known to be logged
	maxDoublings    = 6                // of Grace, one for each generation
)

// Config is what Relay and Sweep work with. All fields but the durations must be set.
type Config struct {
	Rows   Rows
	Line   Line
	Logger *slog.Logger
	Now    func() time.Time
	Random func() float64 // in [0, 1); spreads retries; safe for use by several goroutines

	Grace      time.Duration // from a send to the first question about it; 0: DefaultGrace
	SweepEvery time.Duration // between two rounds of questions; 0: DefaultSweepEvery
	DeadEvery  time.Duration // between the first two questions about a Dead row; 0: DefaultDeadEvery
	Hold       time.Duration // from a send to its mark, if the claim is not settled meanwhile; 0: DefaultHold; less: at once
}

func (c Config) withDefaults() Config {
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.SweepEvery == 0 {
		c.SweepEvery = DefaultSweepEvery
	}
	if c.DeadEvery == 0 {
		c.DeadEvery = DefaultDeadEvery
	}
	if c.Hold == 0 {
		c.Hold = DefaultHold
	}
	return c
}

// patience is how long a message of this generation is given before payments is
// asked about it. It doubles from one generation to the next, so that a claim
// which is lost again and again does not fill the line with copies.
func (c *Config) patience(gen int) time.Duration {
	return min(c.Grace<<min(gen, maxDoublings), maxPatience)
}

// backoff draws a wait after so many failures in a row, 0 being the first: from
// minBackoff to a ceiling that doubles up to limit.
func (c *Config) backoff(failures int, limit time.Duration) time.Duration {
	ceiling := 2 * minBackoff
	for range failures {
		if ceiling >= limit {
			break
		}
		ceiling *= 2
	}
	return minBackoff + time.Duration(c.Random()*float64(min(ceiling, limit)-minBackoff))
}

// due reads one batch of the queue, behind a place.
func (c *Config) due(ctx context.Context, queue Queue, after Place, limit int, timeout time.Duration) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return c.Rows.Due(ctx, queue, c.Now(), after, limit)
}

// apply makes the changes even if ctx ends meanwhile: what they tell has happened.
func (c *Config) apply(ctx context.Context, changes []Change) (applied int, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), databaseTimeout)
	defer cancel()
	return c.Rows.Apply(ctx, changes, c.Now())
}

// sleep waits for the signal, the end of ctx, or so long.
func sleep(ctx context.Context, signal <-chan struct{}, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-signal:
	case <-timer.C:
	}
}

// signal wakes whoever sleeps on the channel, which has room for one: a second
// signal before the first is taken adds nothing.
func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// streak is a run of failures of one kind. Only its first and its end are logged.
type streak struct {
	logger   *slog.Logger
	what     string // what can not be done
	failures int
}

// fail counts one failure. At a shutdown everything fails; that is no news.
func (s *streak) fail(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if s.failures == 0 {
		s.logger.WarnContext(ctx, s.what+": trying again until it works", "error", err)
	}
	s.failures++
}

func (s *streak) end(ctx context.Context) {
	if s.failures > 0 {
		s.logger.InfoContext(ctx, s.what+": works again", "failures", s.failures)
	}
	s.failures = 0
}
