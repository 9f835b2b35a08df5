package payment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
)

// maxMessageID bounds, in bytes, the message id that is taken from a header; the
// ids of the contract are half as long.
const maxMessageID = 128

// round is one batch of messages on its way through the consumer.
type round struct {
	*Consumer
	now      time.Time
	trouble  int // as in Run
	messages []*message
	paid     []event.Standing // to be hinted as they stand here
	changed  []event.Key      // to be hinted as they stand in the ledger
	unheard  error            // the first answer that the broker did not take
}

// message is one delivery, read.
type message struct {
	event.Delivery
	id       string              // never empty
	claim    event.ClaimAccepted // zero Ref where the body names no claim
	fault    error               // why the body could not be read
	answered bool
}

// consume takes one batch and answers every message of it. An error means that
// broker or ledger is away, and that it is better to wait before the next batch.
func (c *Consumer) consume(ctx context.Context, trouble int) error {
	deliveries, err := c.Feed.Fetch(ctx, MaxBatch)
	if len(deliveries) == 0 {
		if err != nil {
			return fmt.Errorf("fetch messages: %w", err)
		}
		return nil
	}
	// What was fetched is answered, even if ctx ends meanwhile. An error beside
	// messages will show again at the next fetch.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), RoundTimeout)
	defer cancel()
	r := &round{Consumer: c, now: c.Now(), trouble: trouble}
	for _, delivery := range deliveries {
		r.messages = append(r.messages, read(delivery))
	}
	err = r.process(ctx)
	for _, m := range r.messages {
		if !m.answered {
			r.nak(m, r.trouble+1)
		}
	}
	r.hint(ctx)
	if r.unheard != nil {
		c.Logger.WarnContext(ctx, "the broker did not take an answer, its message will come again", "error", r.unheard)
	}
	return err
}

// read takes a delivery apart. It never fails: what is wrong stands in fault.
func read(delivery event.Delivery) *message {
	m := &message{Delivery: delivery}
	m.fault = guard(func() (err error) {
		m.claim, err = event.Unmarshal(delivery.Body)
		return err
	})
	ref := m.claim.Ref
	if ref.ClaimID == uuid.Nil || ref.Version < 1 || ref.Gen < 0 {
		m.claim.Ref = event.Ref{}
	}
	switch {
	case isMessageID(delivery.MessageID):
		m.id = delivery.MessageID
	case m.claim.Ref != event.Ref{}:
		m.id = m.claim.MessageID()
	default:
		hash := sha256.Sum256(delivery.Body)
		m.id = "sha256:" + hex.EncodeToString(hash[:])
	}
	return m
}

// isMessageID tells whether a header can serve as a key in every ledger.
func isMessageID(text string) bool {
	return text != "" && len(text) <= maxMessageID && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// process pays what can be paid, then sees to the rest. An error means that the
// ledger is away; messages without an answer are to be given back.
func (r *round) process(ctx context.Context) error {
	var sound, faulty []*message
	for _, m := range r.messages {
		if m.fault == nil {
			sound = append(sound, m)
		} else {
			faulty = append(faulty, m)
		}
	}
	if len(sound) > 0 {
		if err := r.post(ctx, sound); err != nil {
			return err
		}
	}
	for _, m := range faulty {
		var err error
		if errors.Is(m.fault, event.ErrMalformed) {
			err = r.park(ctx, m, ReasonMalformed, m.fault, m.Attempt)
		} else {
			err = r.fail(ctx, m, m.fault)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// post records the messages in one transaction; where that fails, each in its own,
// so that one bad message does not keep the others from being paid.
func (r *round) post(ctx context.Context, messages []*message) error {
	batch := make([]event.ClaimAccepted, len(messages))
	for i, m := range messages {
		batch[i] = m.claim
	}
	var verdicts []Verdict
	err := guard(func() (err error) {
		verdicts, err = r.Ledger.Record(ctx, batch, r.now)
		return err
	})
	switch {
	case isAway(err):
		return err // nothing here is the fault of a message
	case err != nil && len(messages) == 1:
		return r.fail(ctx, messages[0], err)
	case err != nil:
		r.Logger.WarnContext(ctx, "a batch can not be recorded, trying its messages one by one",
			"messages", len(messages), "error", err, stackOf(err))
		for i := range messages {
			if err := r.post(ctx, messages[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	return r.conclude(ctx, messages, verdicts)
}

// conclude answers messages after the commit. Conflicts come last, for parking
// them can fail, and the others shall not wait for that.
func (r *round) conclude(ctx context.Context, messages []*message, verdicts []Verdict) error {
	var conflicts []*message
	for i, m := range messages {
		switch verdicts[i] {
		case Recorded:
			r.Stats.Recorded.Add(1)
			r.paid = append(r.paid, event.Standing{
				Key: m.claim.Key, State: event.Paid, PaymentID: ID(m.claim.Key),
				NetFee: m.claim.NetFee, RecordedAt: r.now.UTC().Truncate(time.Microsecond),
			})
			r.answer(m, m.Reply.Ack())
		case Repeat:
			r.Stats.Repeats.Add(1)
			r.changed = append(r.changed, m.claim.Key)
			r.answer(m, m.Reply.Ack())
		case WrittenOff:
			r.Stats.WrittenOff.Add(1)
			r.changed = append(r.changed, m.claim.Key)
			r.answer(m, m.Reply.Ack())
		case Conflict:
			r.Stats.Conflicts.Add(1)
			conflicts = append(conflicts, m)
		}
	}
	for _, m := range conflicts {
		if err := r.park(ctx, m, ReasonConflict, errOtherPayment, m.Attempt); err != nil {
			return err
		}
	}
	return nil
}

var errOtherPayment = errors.New("a payment of other content is on record for this claim")

// fail counts a failure of the message, and parks it after MaxAttempts.
func (r *round) fail(ctx context.Context, m *message, cause error) error {
	var attempts int
	err := guard(func() (err error) {
		attempts, err = r.Ledger.Fail(ctx, m.id, r.now)
		return err
	})
	if isAway(err) {
		return err
	}
	r.Stats.Failed.Add(1)
	switch {
	case err != nil:
		r.Logger.ErrorContext(ctx, "a failure can not be counted", "message", m.id, "failure", cause, "error", err)
		r.nak(m, m.Attempt)
		return nil
	case attempts < MaxAttempts:
		r.Logger.WarnContext(ctx, "a message can not be processed, it will come again",
			"message", m.id, "attempts", attempts, "error", cause, stackOf(cause))
		r.nak(m, attempts)
		return nil
	default:
		return r.park(ctx, m, ReasonFailed, cause, attempts)
	}
}

// park makes a dead letter of the message. The broker may forget the message only
// when the ledger has it.
func (r *round) park(ctx context.Context, m *message, reason Reason, cause error, attempts int) error {
	letter := DeadLetter{
		MessageID: m.id,
		Ref:       m.claim.Ref,
		NetFee:    m.claim.NetFee,
		Providers: providers(m.claim.Postings),
		Reason:    reason,
		Error:     cause.Error(),
		Attempts:  attempts,
		Body:      m.Body[:min(len(m.Body), event.MaxBodyBytes)],
		BodyHash:  sha256.Sum256(m.Body),
		ParkedAt:  r.now,
	}
	err := guard(func() error { return r.Ledger.Park(ctx, letter) })
	switch {
	case isAway(err):
		return err
	case err != nil:
		r.Logger.ErrorContext(ctx, "a message can not be parked", "message", m.id, "reason", reason, "failure", cause, "error", err)
		r.nak(m, m.Attempt)
		return nil
	}
	r.Stats.Parked.Add(1)
	r.Logger.WarnContext(ctx, "a message is parked as a dead letter",
		"message", m.id, "reason", reason, "attempts", attempts, "error", cause, stackOf(cause))
	if (letter.Ref != event.Ref{}) {
		r.changed = append(r.changed, letter.Key)
	}
	r.answer(m, m.Reply.Term())
	return nil
}

// npiForm is what an NPI looks like; a message that can not be processed may hold anything.
var npiForm = regexp.MustCompile(`^[0-9]{10}$`)

// providers gives the NPIs of the postings, ascending, each once.
func providers(postings []event.Posting) []string {
	var found []string
	for _, posting := range postings[:min(len(postings), event.MaxPostings)] {
		if npiForm.MatchString(posting.ProviderNPI) {
			found = append(found, posting.ProviderNPI)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// nak gives a message back, to come again after a delay for the n-th failure.
func (r *round) nak(m *message, n int) {
	r.Stats.Naks.Add(1)
	r.answer(m, m.Reply.Nak(delay(n, r.Random())))
}

// answer notes that the message has its answer. Where the broker did not take
// it, the message comes again, and does no harm.
func (r *round) answer(m *message, err error) {
	m.answered = true
	if err != nil {
		r.Stats.AnswersFailed.Add(1)
		if r.unheard == nil {
			r.unheard = fmt.Errorf("answer message %s: %w", m.id, err)
		}
	}
}

// hint tells claim-process what has changed. Of repeats and of parked messages the
// ledger knows best: a claim with a dead letter may be paid all the same.
func (r *round) hint(ctx context.Context) {
	tell(ctx, r.Hinter, r.Stats, r.paid)
	if len(r.changed) > 0 {
		tellStandings(ctx, r.Ledger, r.Hinter, r.Stats, r.changed)
	}
}

// isAway tells a ledger that can not be reached, or not in time, from one that
// refuses a message.
func isAway(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// guard runs do and makes an error of its panic.
func guard(do func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &panicError{fmt.Sprint("panic: ", value), string(debug.Stack())}
		}
	}()
	return do()
}

type panicError struct{ text, stack string }

func (e *panicError) Error() string { return e.text }

// stackOf gives the stack of a panic, for the log; nothing for other errors.
func stackOf(err error) slog.Attr {
	if failure, ok := errors.AsType[*panicError](err); ok {
		return slog.String("stack", failure.stack)
	}
	return slog.Attr{}
}
