package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
)

// maxInFlight bounds the messages of one Publish that wait for their ack.
const maxInFlight = 256

// Publish sends the messages, at most maxInFlight at a time without an ack, and
// reports on each, in order. What has no ack when ctx is done, or after
// requestTimeout, counts as failed, though the broker may have it. A message that
// no broker will ever take fails with outbox.ErrUnsendable.
func (b *Broker) Publish(ctx context.Context, messages []event.ClaimAccepted) []event.Published {
	results := make([]event.Published, len(messages))
	acks := make([]jetstream.PubAckFuture, len(messages))
	unready := b.ready(ctx)
	for i := range messages {
		if i >= maxInFlight {
			await(ctx, acks[i-maxInFlight], &results[i-maxInFlight])
		}
		results[i].Ref = messages[i].Ref
		if results[i].Err = unready; unready == nil {
			acks[i], results[i].Err = b.send(ctx, &messages[i])
		}
	}
	for i := max(0, len(messages)-maxInFlight); i < len(messages); i++ {
		await(ctx, acks[i], &results[i])
	}
	b.report(ctx, results)
	return results
}

// send hands one message to the connection.
func (b *Broker) send(ctx context.Context, message *event.ClaimAccepted) (jetstream.PubAckFuture, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	body, err := message.Marshal()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", outbox.ErrUnsendable, err)
	}
	// A try that finds no stream is not repeated here: Publish makes the stream again,
	// and the outbox sends again.
	return b.js.PublishMsgAsync(&nats.Msg{
		Subject: event.ClaimsSubject,
		Header:  nats.Header{event.MessageID: []string{message.MessageID()}},
		Data:    body,
	}, jetstream.WithRetryAttempts(0))
}

// await notes in result what became of a message. ack is nil if it was not sent.
func await(ctx context.Context, ack jetstream.PubAckFuture, result *event.Published) {
	if ack == nil {
		return
	}
	select {
	case done := <-ack.Ok():
		result.Sequence, result.Duplicate = done.Sequence, done.Duplicate
	case err := <-ack.Err():
		result.Err = err
	case <-ctx.Done():
		select {
		case done := <-ack.Ok(): // was there in time
			result.Sequence, result.Duplicate = done.Sequence, done.Duplicate
		default:
			result.Err = fmt.Errorf("no ack: %w", ctx.Err())
		}
	}
}

// report completes the errors, and makes the stream again if they say that it is gone.
func (b *Broker) report(ctx context.Context, results []event.Published) {
	var mending error
	mended := false
	for i := range results {
		result := &results[i]
		if isGone(result.Err) {
			if !mended {
				mended, mending = true, b.mend(ctx, result.Err)
			}
			if mending != nil {
				result.Err = mending
			}
		}
		if errors.Is(result.Err, jetstream.ErrStreamMessageExceedsMaximum) || errors.Is(result.Err, nats.ErrMaxPayload) {
			result.Err = fmt.Errorf("%w: %w", outbox.ErrUnsendable, result.Err)
		}
		if result.Err != nil {
			result.Err = fmt.Errorf("publish message %s: %w", result.MessageID(), result.Err)
		}
	}
}
