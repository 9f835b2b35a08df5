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

// Limits of the stream and its consumer.
const (
	maxAge          = 7 * 24 * time.Hour // of a message; claims older than that are sent again
	duplicateWindow = 10 * time.Minute   // spares payments some repeats; nothing relies on it
	headerBytes     = 1 << 10            // room for headers beside a body of event.MaxBodyBytes
	maxAckPending   = 5000               // messages delivered and not answered, over all consumers
	trimEvery       = 5 * time.Second
)

// ensure makes the stream and its consumer, or brings them to what this program
// wants of them.
func (b *Broker) ensure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	b.mending.Lock()
	defer b.mending.Unlock()
	// Retention is by limits and not by acknowledgement, and a full stream refuses
	// instead of dropping its oldest: no message goes before its consumer or Trim
	// lets it go.
	_, err := b.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:       event.StreamName,
		Subjects:   []string{event.ClaimsSubject},
		Storage:    jetstream.FileStorage,
		Retention:  jetstream.LimitsPolicy,
		Discard:    jetstream.DiscardNew,
		MaxAge:     maxAge,
		MaxBytes:   b.config.StreamBytes,
		MaxMsgSize: event.MaxBodyBytes + headerBytes,
		Duplicates: duplicateWindow,
	})
	if err != nil {
		return fmt.Errorf("make stream %s: %w", event.StreamName, err)
	}
	// The broker never gives a message up: past MaxDeliver it would drop it silently.
	// Payments counts, and parks.
	consumer, err := b.js.CreateOrUpdateConsumer(ctx, event.StreamName, jetstream.ConsumerConfig{
		Durable:       event.ConsumerName,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       b.config.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: maxAckPending,
	})
	if err != nil {
		return fmt.Errorf("make consumer %s of stream %s: %w", event.ConsumerName, event.StreamName, err)
	}
	b.pull = consumer
	return nil
}

// consumer gives the consumer to fetch from.
func (b *Broker) consumer() jetstream.Consumer {
	b.mending.Lock()
	defer b.mending.Unlock()
	return b.pull
}

// mended tries something on the stream, and once more if stream or consumer were
// gone and could be made again.
func (b *Broker) mended(ctx context.Context, try func() error) error {
	err := try()
	if !isGone(err) {
		return err
	}
	if err := b.mend(ctx, err); err != nil {
		return err
	}
	return try()
}

// mend makes stream and consumer again after an error that isGone.
func (b *Broker) mend(ctx context.Context, cause error) error {
	if err := b.ensure(ctx); err != nil {
		return fmt.Errorf("%w; %w", cause, err)
	}
	b.logger.WarnContext(ctx, "the stream or its consumer was gone and is made again; lost claims will be sent again",
		"error", cause)
	return nil
}

// isGone tells whether an error can mean that stream or consumer does not exist.
// A broker that does not know a subject any more has nobody to say so.
func isGone(err error) bool {
	for _, gone := range []error{
		nats.ErrNoResponders, jetstream.ErrNoStreamResponse, jetstream.ErrStreamNotFound,
		jetstream.ErrConsumerNotFound, jetstream.ErrConsumerDoesNotExist, jetstream.ErrConsumerDeleted,
	} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

func (b *Broker) streamInfo(ctx context.Context) (*jetstream.StreamInfo, error) {
	stream, err := b.js.Stream(ctx, event.StreamName)
	if err != nil {
		return nil, fmt.Errorf("read state of stream %s: %w", event.StreamName, err)
	}
	return stream.CachedInfo(), nil // of this moment: Stream has just asked for it
}

// Progress says how far the consumer is: every message up to floor was answered, or
// is not in the stream any more; last is the newest in the stream.
func (b *Broker) Progress(ctx context.Context) (floor, last uint64, err error) {
	_, floor, last, err = b.state(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("read progress of consumer %s: %w", event.ConsumerName, err)
	}
	return floor, last, nil
}

// state reads the consumer first, so that last is never older than floor.
func (b *Broker) state(ctx context.Context) (info *jetstream.StreamInfo, floor, last uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err = b.mended(ctx, func() error {
		consumer, err := b.js.Consumer(ctx, event.StreamName, event.ConsumerName)
		if err != nil {
			return fmt.Errorf("read state of consumer %s: %w", event.ConsumerName, err)
		}
		floor = consumer.CachedInfo().AckFloor.Stream
		info, err = b.streamInfo(ctx)
		return err
	})
	if err != nil {
		return nil, 0, 0, err
	}
	// A consumer that was made anew starts at 0 though the stream may begin later.
	if first := info.State.FirstSeq; first > 0 {
		floor = max(floor, first-1)
	}
	return info, floor, info.State.LastSeq, nil
}

// Run keeps room in the stream until ctx is done. No error ends it, so it always
// gives nil.
func (b *Broker) Run(ctx context.Context) error {
	ticker := time.NewTicker(trimEvery)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := b.Trim(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			b.logger.WarnContext(ctx, "the stream can not be trimmed, trying again until it works", "error", err)
		}
		failing = err != nil
	}
}

// Trim removes what the consumer has answered, if the stream is more than half
// full. It is safe, as losing the whole stream is: an answered message is on record
// with payments, and if that should be lost as well, the outbox sends it again.
func (b *Broker) Trim(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	info, floor, _, err := b.state(ctx)
	if err != nil {
		return fmt.Errorf("trim stream %s: %w", event.StreamName, err)
	}
	if int64(info.State.Bytes) <= b.config.StreamBytes/2 || floor < info.State.FirstSeq {
		return nil
	}
	stream, err := b.js.Stream(ctx, event.StreamName)
	if err == nil {
		err = stream.Purge(ctx, jetstream.WithPurgeSequence(floor+1))
	}
	if err != nil {
		return fmt.Errorf("trim stream %s up to message %d: %w", event.StreamName, floor, err)
	}
	return nil
}
