package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/claimrail/claimrail/internal/event"
)

const (
	// errorHeader stands in the reply to a question that payments could not answer.
	errorHeader = "Claimrail-Error"
	// maxWaiting bounds the questions or hints that wait for a handler; more are
	// dropped. Their senders ask again, or go without.
	maxWaiting = 1024
)

// errNobody: no payments instance is connected.
var errNobody = errors.New("no payments instance answers")

// Ask asks payments for the standing of event.MaxAsked claims at most, and waits
// for requestTimeout at most. Where no payments instance is connected it fails at once.
func (b *Broker) Ask(ctx context.Context, question event.Question) (event.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, err := b.ask(ctx, question)
	if err != nil {
		return event.Answer{}, fmt.Errorf("ask payments about %d claims: %w", len(question.Keys), err)
	}
	return answer, nil
}

func (b *Broker) ask(ctx context.Context, question event.Question) (answer event.Answer, err error) {
	text, err := json.Marshal(question)
	if err != nil {
		return event.Answer{}, err
	}
	text, err = b.request(ctx, event.AskSubject, text)
	if err != nil {
		return event.Answer{}, err
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return event.Answer{}, fmt.Errorf("read the answer: %w", err)
	}
	return answer, nil
}

// request sends a request to one payments instance, and gives its answer.
func (b *Broker) request(ctx context.Context, subject string, text []byte) ([]byte, error) {
	if err := b.link.up(); err != nil {
		return nil, err
	}
	message, err := b.conn.RequestWithContext(ctx, subject, text)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return nil, errNobody
	case err != nil:
		return nil, err
	}
	if reason := message.Header.Get(errorHeader); reason != "" {
		return nil, errors.New(reason)
	}
	return message.Data, nil
}

// Answer serves questions with handle, one at a time, until ctx is done; then it
// gives nil. Of all instances that serve, one gets each question.
func (b *Broker) Answer(ctx context.Context, handle func(context.Context, event.Question) (event.Answer, error)) error {
	return b.serve(ctx, event.AskSubject, event.PaymentsQueue, func(ctx context.Context, message *nats.Msg) error {
		reply := nats.NewMsg(message.Reply)
		answer, err := answerTo(ctx, message.Data, handle)
		if err == nil {
			reply.Data, err = json.Marshal(answer)
		}
		if err != nil {
			// The cause is for the log of this side, which has to mend it.
			reply.Header.Set(errorHeader, "payments can not answer now")
		}
		return errors.Join(err, b.conn.PublishMsg(reply))
	})
}

func answerTo(ctx context.Context, text []byte, handle func(context.Context, event.Question) (event.Answer, error)) (event.Answer, error) {
	var question event.Question
	if err := json.Unmarshal(text, &question); err != nil {
		return event.Answer{}, fmt.Errorf("read a question: %w", err)
	}
	return handle(ctx, question)
}

// Command sends a request to one payments instance, and gives its answer; it waits for
// requestTimeout at most. Where no payments instance is connected it fails at once.
func (b *Broker) Command(ctx context.Context, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	answer, err := b.request(ctx, event.DeskSubject, request)
	if err != nil {
		return nil, fmt.Errorf("send a command to payments: %w", err)
	}
	return answer, nil
}

// Commands has handle carry out commands, one at a time, until ctx is done; then it
// gives nil. Of all instances that serve, one gets each command. An answer is sent even
// beside an error, which is for the log.
func (b *Broker) Commands(ctx context.Context, handle func(context.Context, []byte) ([]byte, error)) error {
	return b.serve(ctx, event.DeskSubject, event.PaymentsQueue, func(ctx context.Context, message *nats.Msg) error {
		answer, err := handle(ctx, message.Data)
		reply := nats.NewMsg(message.Reply)
		if reply.Data = answer; answer == nil {
			reply.Header.Set(errorHeader, "payments can not read the command")
		}
		return errors.Join(err, b.conn.PublishMsg(reply))
	})
}

// Hint sends standings that nobody asked for. Whether anybody gets them is not known.
func (b *Broker) Hint(ctx context.Context, answer event.Answer) error {
	text, err := json.Marshal(answer)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = b.link.up()
	}
	if err == nil {
		err = b.conn.Publish(event.HintSubject, text)
	}
	if err != nil {
		return fmt.Errorf("hint at %d claims: %w", len(answer.Standings), err)
	}
	return nil
}

// Hints gives every hint to handle, one at a time, until ctx is done; then it gives
// nil. Of all instances that serve, one gets each hint.
func (b *Broker) Hints(ctx context.Context, handle func(context.Context, event.Answer) error) error {
	return b.serve(ctx, event.HintSubject, event.ClaimsQueue, func(ctx context.Context, message *nats.Msg) error {
		var answer event.Answer
		if err := json.Unmarshal(message.Data, &answer); err != nil {
			return fmt.Errorf("read a hint: %w", err)
		}
		return handle(ctx, answer)
	})
}

// serve handles the messages of a subject until ctx is done. What goes wrong is
// logged at the first of a row of failures. An error means that the connection is
// closed for good.
func (b *Broker) serve(ctx context.Context, subject, queue string, handle func(context.Context, *nats.Msg) error) error {
	subscription, err := b.conn.QueueSubscribeSync(subject, queue)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	defer subscription.Unsubscribe() // fails only on a connection that is closed already
	if err := subscription.SetPendingLimits(maxWaiting, maxWaiting*maxPayload); err != nil {
		return fmt.Errorf("limit what waits on %s: %w", subject, err)
	}
	failing := false
	for {
		message, err := subscription.NextMsgWithContext(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			err = b.handle(ctx, message, handle)
		case !errors.Is(err, nats.ErrSlowConsumer):
			return fmt.Errorf("receive from %s: %w", subject, err)
		}
		if err != nil && !failing {
			b.logger.WarnContext(ctx, "a message was not handled; its sender does without, or asks again",
				"subject", subject, "error", err)
		}
		failing = err != nil
	}
}

// handle gives a handler as long as somebody may wait for it.
func (b *Broker) handle(ctx context.Context, message *nats.Msg, handle func(context.Context, *nats.Msg) error) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return handle(ctx, message)
}
