package api

import (
	"context"
	"time"
)

// Limits of what is worked on.
const (
	// maxInFlight bounds the requests that are worked on at once; more wait.
	maxInFlight = 512
	// maxPlaceWait is how long a request waits for a place before it is refused. At 7,000 claims
	// a second the work itself takes 75 ms with all places taken, so that what is answered
	// at all is answered within 500 ms. The wait is for the refused too: those who come back
	// at once can not be refused more than maxConnections / maxPlaceWait times a second, where
	// refusals without a pause, 28,000 a second, took nine tenths of the claims' processor.
	maxPlaceWait = 300 * time.Millisecond
)

// places bound the requests that are worked on at once. The body of one that waits is not
// read; maxConnections bounds how many do.
type places chan struct{}

// take takes a place, or gives errBusy after maxPlaceWait. Those who wait longest come first.
func (p places) take(ctx context.Context) error {
	select {
	case p <- struct{}{}:
		return nil
	default:
	}
	wait := time.NewTimer(maxPlaceWait)
	defer wait.Stop()
	select {
	case p <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-wait.C:
		return errBusy
	}
}

func (p places) free() { <-p }
