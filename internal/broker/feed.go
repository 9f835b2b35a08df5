package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimrail/claimrail/internal/event"
)

// Waits of Fetch.
const (
	// pullWait is how long one request for a message stands at the broker. A broker
	// that has forgotten the request, and the consumer, is noticed after that.
	pullWait = 5 * time.Second
	// endedPull is how much longer than its wait a request is listened to.
	endedPull = time.Second
)

// Fetch gives the messages that are there, up to limit, or waits for one. On an idle
// line it comes at once, and by itself. The error is that of
// ctx when it is done, else that of a broker that is away.
func (b *Broker) Fetch(ctx context.Context, limit int) ([]event.Delivery, error) {
	for {
		var deliveries []event.Delivery
		err := b.mended(ctx, func() (err error) {
			if deliveries, err = b.fetch(ctx, limit); len(deliveries) > 0 {
				return nil // an error beside them shows again at the next Fetch
			}
			return err
		})
		switch {
		case len(deliveries) > 0:
			return deliveries, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			return nil, err
		}
	}
}

// fetch makes one try. It gives neither messages nor an error if none came within
// pullWait.
func (b *Broker) fetch(ctx context.Context, limit int) ([]event.Delivery, error) {
	consumer := *b.pull.Load()
	there, err := b.there(ctx, consumer, limit)
	if len(there) > 0 || err != nil {
		return there, err
	}
	// Asking for many would wait for many, so the first is waited for alone. The line was
	// idle: what came behind it is for the next Fetch, and no round trip is spent on it here.
	waiting, cancel := context.WithTimeout(ctx, pullWait+endedPull)
	defer cancel()
	batch, err := consumer.Fetch(1, jetstream.FetchContext(waiting))
	if err != nil {
		return nil, err
	}
	return collect(batch)
}

// there takes the messages that wait at the broker now.
func (b *Broker) there(ctx context.Context, consumer jetstream.Consumer, limit int) ([]event.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	batch, err := consumer.FetchNoWait(limit)
	if err != nil {
		return nil, err
	}
	return collect(batch)
}

// collect reads a batch to its end, which the broker or a time limit sets.
func collect(batch jetstream.MessageBatch) ([]event.Delivery, error) {
	var deliveries []event.Delivery
	for message := range batch.Messages() {
		metadata, err := message.Metadata()
		if err != nil {
			return deliveries, fmt.Errorf("read metadata of a message: %w", err)
		}
		deliveries = append(deliveries, event.Delivery{
			MessageID: message.Headers().Get(event.MessageID),
			Sequence:  metadata.Sequence.Stream,
			Attempt:   int(metadata.NumDelivered),
			Body:      message.Data(),
			Reply:     reply{message, metadata.Sequence.Stream},
		})
	}
	if err := batch.Error(); err != nil && !isQuiet(err) {
		return deliveries, err
	}
	return deliveries, nil
}

// isQuiet tells that a request just ended without a message.
func isQuiet(err error) bool {
	return errors.Is(err, nats.ErrTimeout) || errors.Is(err, jetstream.ErrNoMessages) ||
		errors.Is(err, context.DeadlineExceeded)
}

// reply answers one message. The broker does not confirm it: a lost answer brings
// the message again, and payments takes a repeat.
type reply struct {
	message  jetstream.Msg
	sequence uint64
}

func (r reply) Ack() error { return r.answered("ack", r.message.Ack()) }

func (r reply) Nak(delay time.Duration) error {
	return r.answered("nak", r.message.NakWithDelay(delay))
}

func (r reply) Term() error { return r.answered("term", r.message.Term()) }

func (r reply) answered(how string, err error) error {
	if err != nil {
		return fmt.Errorf("%s message %d: %w", how, r.sequence, err)
	}
	return nil
}
