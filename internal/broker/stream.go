package broker

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimrail/claimrail/internal/event"
)

// Limits of the stream and its consumer.
const (
	maxAge          = 7 * 24 * time.Hour // of a message; claims older than that are sent again
	duplicateWindow = time.Minute        // spares payments some repeats; nothing relies on it, and the broker keeps its ids in memory
	headerBytes     = 1 << 10            // room for headers beside a body of event.MaxBodyBytes
	maxAckPending   = 5000               // messages delivered and not answered, over all consumers
	trimEvery       = 5 * time.Second
	raiseEvery      = time.Minute // tries to have the replicas that a small cluster did not give
)

// Codes of the server's errors that say that a stream can not have so many replicas.
const (
	noPeersCode       = 10005 // too few servers in the cluster, or too little room on them
	notClusteredCode  = 10074
	noReplicaTierCode = 10120 // the account may not have so many
)

// ready fails where there is no connection, and sees to it that stream and consumer
// were made once.
func (b *Broker) ready(ctx context.Context) error {
	if err := b.link.up(); err != nil || b.pull.Load() != nil {
		return err
	}
	_, err := b.ensure(ctx)
	return err
}

// ensure makes the stream and its consumer, or brings them to what this program
// wants of them. made says that one of them was not there.
func (b *Broker) ensure(ctx context.Context) (made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	select {
	case b.mending <- struct{}{}:
		defer func() { <-b.mending }()
	case <-ctx.Done():
		return false, fmt.Errorf("wait for stream %s: %w", event.StreamName, ctx.Err())
	}
	madeStream, err := b.ensureStream(ctx)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another instance was first
		madeStream, err = b.ensureStream(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("make stream %s: %w", event.StreamName, err)
	}
	consumer, madeConsumer, err := b.ensureConsumer(ctx)
	if err != nil {
		return false, fmt.Errorf("make consumer %s of stream %s: %w", event.ConsumerName, event.StreamName, err)
	}
	b.pull.Store(&consumer)
	return madeStream || madeConsumer, nil
}

// ensureStream leaves alone what an operator may have set and this program does not
// name, and never lowers the replicas.
func (b *Broker) ensureStream(ctx context.Context) (made bool, err error) {
	stream, err := b.js.Stream(ctx, event.StreamName)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		wanted := b.streamConfig(jetstream.StreamConfig{Replicas: 1})
		return true, b.replicate(wanted, 1, func(config jetstream.StreamConfig) error {
			return create(ctx, func() error {
				_, err := b.js.CreateStream(ctx, config)
				return err
			})
		})
	case err != nil:
		return false, err
	}
	there := stream.CachedInfo().Config
	return false, b.replicate(b.streamConfig(there), there.Replicas, func(config jetstream.StreamConfig) error {
		if reflect.DeepEqual(config, there) {
			return nil
		}
		_, err := b.js.UpdateStream(ctx, config)
		return err
	})
}

// Tries to make a stream, or a consumer, while the one before is still being removed.
const (
	createTries = 20
	createPause = 50 * time.Millisecond
)

// create makes a stream or a consumer. The broker answers that one is deleted before it is done
// with its folder, and can not always make another until then.
func create(ctx context.Context, put func() error) error {
	for tries := 1; ; tries++ {
		err := put()
		if tries == createTries || !isStillThere(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(createPause):
		}
	}
}

// isStillThere tells whether a refusal can mean that what was deleted is in the way of what
// is made: its folder is there, or it writes its state for the last time, into the file of
// the new one, and takes that away from it. The broker has no codes of their own for them.
func isStillThere(err error) bool {
	var refused *jetstream.APIError
	return errors.As(err, &refused) &&
		(strings.Contains(refused.Description, "creating store for") || strings.Contains(refused.Description, "no such file"))
}

// replicate puts the configuration in place, with fewer replicas if the broker does
// not do with as many. The caller holds mending.
func (b *Broker) replicate(config jetstream.StreamConfig, fewer int, put func(jetstream.StreamConfig) error) error {
	err := put(config)
	var refused *jetstream.APIError
	if config.Replicas == fewer || !errors.As(err, &refused) {
		if err == nil && b.humble {
			b.humble = false
			b.logger.Info("the broker keeps the stream on as many servers as wanted", "kept", config.Replicas)
		}
		return err
	}
	switch refused.ErrorCode {
	case noPeersCode, notClusteredCode, noReplicaTierCode:
	default:
		return err
	}
	if !b.humble {
		b.logger.Warn("the broker can not keep the stream on as many servers as wanted, trying again every "+raiseEvery.String(),
			"wanted", config.Replicas, "kept", fewer, "reason", err)
	}
	b.humble = true
	config.Replicas = fewer
	return put(config)
}

// streamConfig changes a configuration to what this program wants.
func (b *Broker) streamConfig(config jetstream.StreamConfig) jetstream.StreamConfig {
	config.Name = event.StreamName
	config.Subjects = []string{event.ClaimsSubject}
	config.Storage = jetstream.FileStorage
	// Retention is by limits and not by acknowledgement, and a full stream refuses
	// instead of dropping its oldest: no message goes before its consumer or Trim
	// lets it go.
	config.Retention = jetstream.LimitsPolicy
	config.Discard = jetstream.DiscardNew
	config.MaxAge = maxAge
	config.MaxBytes = b.config.StreamBytes
	config.MaxMsgSize = event.MaxBodyBytes + headerBytes
	config.Duplicates = duplicateWindow
	config.Replicas = max(config.Replicas, b.replicas)
	return config
}

func (b *Broker) ensureConsumer(ctx context.Context) (consumer jetstream.Consumer, made bool, err error) {
	wanted := jetstream.ConsumerConfig{
		Durable:       event.ConsumerName,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
	}
	consumer, err = b.js.Consumer(ctx, event.StreamName, event.ConsumerName)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		made = true
	case err != nil:
		return nil, false, err
	default:
		wanted = consumer.CachedInfo().Config
	}
	wanted.AckWait = b.config.AckWait
	// The broker never gives a message up: past MaxDeliver it would drop it silently.
	// Payments counts, and parks.
	wanted.MaxDeliver = -1
	wanted.MaxAckPending = maxAckPending
	if !made && reflect.DeepEqual(wanted, consumer.CachedInfo().Config) {
		return consumer, false, nil
	}
	err = create(ctx, func() (err error) {
		consumer, err = b.js.CreateOrUpdateConsumer(ctx, event.StreamName, wanted)
		return err
	})
	return consumer, made, err
}

// mended tries something on the stream, and once more if stream or consumer were
// gone and could be made again.
func (b *Broker) mended(ctx context.Context, try func() error) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	err := try()
	if !isGone(err) {
		return err
	}
	if err := b.mend(ctx, err); err != nil {
		return err
	}
	return try()
}

// mend makes stream and consumer again after an error that isGone, if they are.
func (b *Broker) mend(ctx context.Context, cause error) error {
	made, err := b.ensure(ctx)
	if err != nil {
		return fmt.Errorf("%w; %w", cause, err)
	}
	if made {
		b.logger.WarnContext(ctx, "the stream or its consumer was gone and is made again; lost claims will be sent again",
			"error", cause)
	}
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
	var delivered uint64
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err = b.mended(ctx, func() error {
		consumer, err := b.js.Consumer(ctx, event.StreamName, event.ConsumerName)
		if err != nil {
			return fmt.Errorf("read state of consumer %s: %w", event.ConsumerName, err)
		}
		seen := consumer.CachedInfo()
		floor, delivered = seen.AckFloor.Stream, max(seen.AckFloor.Stream, seen.Delivered.Stream)
		info, err = b.streamInfo(ctx)
		return err
	})
	if err != nil {
		return nil, 0, 0, err
	}
	if delivered > info.State.LastSeq {
		floor = 0 // what was answered is not what is there now
	}
	if b.ahead.See(delivered, info.State.LastSeq, time.Now()) {
		if err := b.restart(ctx, delivered, info.State.LastSeq); err != nil {
			return nil, 0, 0, err
		}
	}
	// Messages that grew too old before they were answered leave the consumer behind.
	if first := info.State.FirstSeq; first > 0 {
		floor = max(floor, first-1)
	}
	return info, floor, info.State.LastSeq, nil
}

// Run keeps room in the stream, and the embedded server able to go on, until ctx is done.
// No error ends it, so it always gives nil.
func (b *Broker) Run(ctx context.Context) error {
	ticker, raising := time.NewTicker(trimEvery), time.NewTicker(raiseEvery)
	defer ticker.Stop()
	defer raising.Stop()
	failing := false
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-raising.C:
			err = b.raise(ctx)
		case <-ticker.C:
			err = b.keep(ctx)
		}
		if err != nil && !failing && ctx.Err() == nil {
			b.logger.WarnContext(ctx, "the stream can not be kept in order, trying again until it works", "error", err)
		}
		failing = err != nil
	}
}

// keep is one turn of Run.
func (b *Broker) keep(ctx context.Context) error {
	if b.host != nil {
		if err := b.host.mend(); err != nil {
			return err
		}
	}
	return b.Trim(ctx)
}

// raise asks again for the replicas that the broker had no servers for: a cluster may have
// grown, or its servers be back.
func (b *Broker) raise(ctx context.Context) error {
	if b.host != nil || b.link.up() != nil {
		return nil
	}
	_, err := b.ensure(ctx)
	return err
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
