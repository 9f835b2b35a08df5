package payment_test

import (
	"errors"
	"testing"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
)

// A question is answered in its order, and one that is too long is refused.
func TestDeskAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.send(claim(1, 100))
	b.run()
	got, err := b.desk.Answer(t.Context(), event.Question{Keys: []event.Key{claim(2, 0).Key, claim(1, 0).Key}})
	if err != nil {
		t.Fatalf("answer: %v", err)
	}
	b.same("answer", got, event.Answer{Standings: []event.Standing{
		{Key: claim(2, 0).Key, State: event.Unknown},
		{Key: claim(1, 0).Key, State: event.Paid, PaymentID: payment.ID(claim(1, 0).Key), NetFee: 100, RecordedAt: noon},
	}})
	_, err = b.desk.Answer(t.Context(), event.Question{Keys: make([]event.Key, event.MaxAsked+1)})
	if !errors.Is(err, payment.ErrTooMany) {
		t.Errorf("answer to a question too long: got %v, want %v", err, payment.ErrTooMany)
	}
}

// A decision that is refused hints nothing, nor does one on a letter without a claim;
// one whose hint is lost is taken all the same; and a discarded letter of a claim that is paid
// is hinted as what it is.
func TestDeskDecisions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	word := payment.Decision{Actor: "dana", Reason: "looked at", At: noon}
	if _, err := b.desk.Redrive(t.Context(), 1, word); !errors.Is(err, payment.ErrNotFound) {
		t.Errorf("redrive: got %v, want %v", err, payment.ErrNotFound)
	}
	b.feed.publish("nameless", []byte("not JSON"))
	b.run()
	if _, err := b.desk.Redrive(t.Context(), 1, word); !errors.Is(err, payment.ErrNoClaim) {
		t.Errorf("redrive: got %v, want %v", err, payment.ErrNoClaim)
	}
	if _, err := b.desk.Discard(t.Context(), 1, word); err != nil {
		t.Errorf("discard: %v", err)
	}
	b.same("hints", b.hints.standings, []event.Standing(nil))

	b.send(claim(1, 100), claim(1, 200))
	b.run()
	b.hints.standings, b.hints.err = nil, errors.New("no responders")
	if _, err := b.desk.Redrive(t.Context(), 2, word); !errors.Is(err, payment.ErrPaid) {
		t.Errorf("redrive of a paid claim: got %v, want %v", err, payment.ErrPaid)
	}
	b.same("hints", b.hints.standings, []event.Standing(nil))
	letter, err := b.desk.Discard(t.Context(), 2, word)
	if err != nil {
		t.Errorf("discard: %v", err)
	}
	b.same("state", letter.State, payment.LetterDiscarded)
	b.same("hint", b.hints.standings, []event.Standing{
		{Key: claim(1, 0).Key, State: event.Paid, PaymentID: payment.ID(claim(1, 0).Key), NetFee: 100, RecordedAt: noon},
	})
	b.same("hints failed", b.consumer.Stats.HintsFailed.Load(), int64(1))
}
