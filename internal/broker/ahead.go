package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimrail/claimrail/internal/event"
)

// aheadFor is how long the consumer has to be ahead of the stream to be believed: their states are
// read one after the other, in a cluster from two servers.
const aheadFor = time.Second

// Ahead notices a consumer that is ahead of its stream. A power cut can take more from the
// stream than from the consumer, which then passes over all that comes until the stream is where
// it was: new claims, and those that are sent again. The broker does not see to it by itself. The zero value has seen nothing yet.
type Ahead struct {
	mu        sync.Mutex
	delivered uint64 // as far as the consumer was when it was ahead for the first time; 0: it is not
	since     time.Time
}

// See is told how far the consumer is and which message is the last of the stream. It tells whether
// the stream has, for aheadFor, not come to where the consumer was at first, and the consumer
// still is.
func (a *Ahead) See(delivered, last uint64, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case delivered <= last || a.delivered > 0 && a.delivered <= last:
		a.delivered = 0
	case a.delivered == 0:
		a.delivered, a.since = delivered, now
	case now.Sub(a.since) >= aheadFor:
		a.delivered = 0
		return true
	}
	return false
}

// restart makes the consumer anew, which delivers all that is in the stream: payments takes the repeats.
func (b *Broker) restart(ctx context.Context, delivered, last uint64) error {
	b.logger.WarnContext(ctx, "the stream has lost messages that its consumer had delivered; the consumer begins again with what is there",
		"delivered", delivered, "last", last)
	err := b.js.DeleteConsumer(ctx, event.StreamName, event.ConsumerName)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("delete consumer %s, which is ahead of its stream: %w", event.ConsumerName, err)
	}
	_, err = b.ensure(ctx)
	return err
}
