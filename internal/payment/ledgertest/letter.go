package ledgertest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
)

// testParkForgetsFailures proves that the count of a parked message starts anew,
// also when it had been parked before, and that of another does not.
func testParkForgetsFailures(t *testing.T, s *suite) {
	for range 2 {
		for _, message := range []string{claim(1, 1).MessageID(), "other"} {
			if _, err := s.ledger.Fail(t.Context(), message, noon()); err != nil {
				t.Fatalf("fail: %v", err)
			}
		}
		s.park(letter(claim(1, 1), payment.ReasonFailed))
	}
	for message, want := range map[string]int{claim(1, 1).MessageID(): 1, "other": 3} {
		got, err := s.ledger.Fail(t.Context(), message, noon())
		if err != nil {
			t.Fatalf("fail: %v", err)
		}
		s.same("failures of "+message, got, want)
	}
}

// testParkOnce proves that a message parked again changes nothing, be its letter
// open or closed.
func testParkOnce(t *testing.T, s *suite) {
	first := letter(claim(1, 1), payment.ReasonFailed)
	s.park(first)
	before := s.letters(payment.LetterFilter{})
	again := first
	again.Reason, again.Error, again.Body, again.ParkedAt = payment.ReasonConflict, "other", []byte("other"), later()
	s.park(again)
	s.same("letters", s.letters(payment.LetterFilter{}), before)

	if _, err := s.ledger.Redrive(t.Context(), before[0].ID, decision("try")); err != nil {
		t.Fatalf("redrive: %v", err)
	}
	s.park(again)
	s.same("standing after redrive and a stale copy", s.standing(first.Key).State, event.Unknown)
}

// testParkKeepsAll proves that every field of a letter comes back, and that the
// ledger alone decides on its id and state.
func testParkKeepsAll(t *testing.T, s *suite) {
	parked := letter(claim(1, -9000), payment.ReasonMalformed)
	parked.Gen, parked.Body, parked.MessageID = 3, []byte("\x00\xff not JSON"), "an id of the sender's own"
	parked.Providers = []string{"0000000006", "1497775530"}
	parked.ID, parked.State, parked.Closing = 77, payment.LetterDiscarded, decision("no")
	s.park(parked)
	got := s.letters(payment.LetterFilter{})
	if len(got) != 1 {
		t.Fatalf("letters: got %d, want 1", len(got))
	}
	want := parked
	want.ID, want.State, want.Closing = got[0].ID, payment.LetterOpen, payment.Decision{}
	s.same("letter", got[0], want)
	if got[0].ID < 1 {
		t.Errorf("id: got %d, want at least 1", got[0].ID)
	}
	open, err := s.ledger.OpenDeadLetters(t.Context())
	if err != nil {
		t.Fatalf("open dead letters: %v", err)
	}
	s.same("open dead letters", open, 1)
}

// testNotes proves that texts are cut to MaxNote bytes, never inside a character,
// and that what no database takes is replaced.
func testNotes(t *testing.T, s *suite) {
	parked := letter(claim(1, 1), payment.ReasonFailed)
	parked.Error = strings.Repeat("e", payment.MaxNote-1) + "é and more" // the é stands across the limit
	s.park(parked)
	odd := letter(claim(2, 1), payment.ReasonFailed)
	odd.Error = "a\x00b\xffc"
	s.park(odd)
	closed, err := s.ledger.Discard(t.Context(), s.idOf(parked.MessageID), payment.Decision{
		Actor:  strings.Repeat("a", payment.MaxNote+1),
		Reason: strings.Repeat("€", payment.MaxNote), // 3 bytes each; 166 fit
		At:     later(),
	})
	if err != nil {
		t.Fatalf("discard: %v", err)
	}
	s.same("error", closed.Error, strings.Repeat("e", payment.MaxNote-1))
	s.same("actor", closed.Closing.Actor, strings.Repeat("a", payment.MaxNote))
	s.same("reason", closed.Closing.Reason, strings.Repeat("€", 166))
	s.same("reason of the standing", s.standing(parked.Key).Reason, strings.Repeat("€", 166))
	s.same("odd error", s.letterOf(odd.MessageID).Error, "a\uFFFDb\uFFFDc")
}

// testDeadLetters proves each filter by itself and all together, and that paging
// by the last id gives every letter once.
func testDeadLetters(t *testing.T, s *suite) {
	reasons := []payment.Reason{payment.ReasonFailed, payment.ReasonConflict, payment.ReasonMalformed}
	for n := range byte(9) {
		parked := letter(claim(n, 1), reasons[n%3])
		parked.ParkedAt = noon().Add(time.Duration(n) * time.Minute)
		if n%2 == 1 {
			parked.Providers = []string{"0000000006", fmt.Sprintf("%010d", 10+n)}
		}
		s.park(parked)
	}
	for _, n := range []byte{0, 3} { // both failed
		if _, err := s.ledger.Discard(t.Context(), s.idOf(claim(n, 1).MessageID()), decision("no")); err != nil {
			t.Fatalf("discard: %v", err)
		}
	}
	fourth := s.idOf(claim(4, 1).MessageID())
	for name, test := range map[string]struct {
		filter payment.LetterFilter
		want   []byte // claims
	}{
		"all":        {payment.LetterFilter{Limit: payment.MaxPage}, []byte{8, 7, 6, 5, 4, 3, 2, 1, 0}},
		"no limit":   {payment.LetterFilter{}, []byte{8, 7, 6, 5, 4, 3, 2, 1, 0}},
		"by state":   {payment.LetterFilter{State: payment.LetterDiscarded, Limit: 9}, []byte{3, 0}},
		"by reason":  {payment.LetterFilter{Reason: payment.ReasonConflict, Limit: 9}, []byte{7, 4, 1}},
		"before":     {payment.LetterFilter{Before: fourth, Limit: 2}, []byte{3, 2}},
		"everything": {payment.LetterFilter{State: payment.LetterOpen, Reason: payment.ReasonMalformed, Before: fourth, Limit: 9}, []byte{2}},
		"provider":   {payment.LetterFilter{ProviderNPI: "0000000006", Limit: 9}, []byte{7, 5, 3, 1}},
		"another":    {payment.LetterFilter{ProviderNPI: "0000000015", State: payment.LetterOpen, Limit: 9}, []byte{5}},
		"nobody":     {payment.LetterFilter{ProviderNPI: "1497775530", Limit: 9}, nil},
		"from":       {payment.LetterFilter{From: noon().Add(7 * time.Minute), Limit: 9}, []byte{8, 7}},
		"to":         {payment.LetterFilter{To: noon().Add(2 * time.Minute), Limit: 9}, []byte{1, 0}},
		"none":       {payment.LetterFilter{State: payment.LetterPaid, Limit: 9}, nil},
	} {
		var got []byte
		for _, letter := range s.letters(test.filter) {
			got = append(got, letter.ClaimID[0])
		}
		s.same(name, got, test.want)
	}
	for n := range payment.MaxPage {
		extra := letter(claim(1, 1), payment.ReasonFailed)
		extra.MessageID, extra.ClaimID = "extra "+string(rune('0'+n)), uuid.UUID{15: byte(n), 14: 1}
		s.park(extra)
	}
	s.same("letters in a page too long", len(s.letters(payment.LetterFilter{Limit: payment.MaxPage + 1})), payment.MaxPage)
}

// testRedrive proves that a redrive closes all open letters of the claim with the
// operator's words, so that its standing is unknown and it can be paid, and no
// letter of another claim or version.
func testRedrive(t *testing.T, s *suite) {
	resent, second := claim(1, 1), claim(1, 1)
	resent.Gen, second.Version = 1, 2
	s.park(letter(claim(1, 1), payment.ReasonFailed), letter(resent, payment.ReasonMalformed),
		letter(second, payment.ReasonFailed), letter(claim(2, 1), payment.ReasonFailed))
	got, err := s.ledger.Redrive(t.Context(), s.idOf(claim(1, 1).MessageID()), decision("disk replaced"))
	if err != nil {
		t.Fatalf("redrive: %v", err)
	}
	want := letter(claim(1, 1), payment.ReasonFailed)
	want.ID, want.State = got.ID, payment.LetterRedriven
	want.Closing = payment.Decision{Actor: "dana", Reason: "disk replaced", At: later()}
	s.same("redriven letter", got, want)
	s.same("redriven letter, listed", s.letterOf(want.MessageID), want)
	for message, want := range map[string]payment.LetterState{
		resent.MessageID():      payment.LetterRedriven,
		second.MessageID():      payment.LetterOpen,
		claim(2, 1).MessageID(): payment.LetterOpen,
	} {
		s.same("letter of "+message, s.letterOf(message).State, want)
	}
	s.same("standing", s.standing(claim(1, 1).Key), event.Standing{Key: claim(1, 1).Key, State: event.Unknown})
	s.record([]event.ClaimAccepted{claim(1, 1)}, payment.Recorded)
	s.same("decision after payment", s.letterOf(want.MessageID), want)
}

// testRedriveAgain proves that the message of the next generation gets a letter of
// its own when it fails too.
func testRedriveAgain(t *testing.T, s *suite) {
	s.park(letter(claim(1, 1), payment.ReasonFailed))
	first := s.idOf(claim(1, 1).MessageID())
	if _, err := s.ledger.Redrive(t.Context(), first, decision("again")); err != nil {
		t.Fatalf("redrive: %v", err)
	}
	resent := claim(1, 1)
	resent.Gen = 1
	s.park(letter(resent, payment.ReasonFailed))
	s.same("standing", s.standing(resent.Key).State, event.Dead)
	second := s.letterOf(resent.MessageID())
	s.same("state", second.State, payment.LetterOpen)
	if second.ID <= first {
		t.Errorf("id: got %d, want above %d", second.ID, first)
	}
	if _, err := s.ledger.Redrive(t.Context(), second.ID, decision("and again")); err != nil {
		t.Errorf("redrive of the second letter: %v", err)
	}
}

// testDiscard proves that a written-off claim is never paid, in any generation and
// content, while its other versions are; and that the first words on it stay.
func testDiscard(t *testing.T, s *suite) {
	resent, dearer, second := claim(1, 1), claim(1, 2), claim(1, 1)
	resent.Gen, second.Version = 1, 2
	s.park(letter(claim(1, 1), payment.ReasonFailed), letter(resent, payment.ReasonFailed))
	got, err := s.ledger.Discard(t.Context(), s.idOf(claim(1, 1).MessageID()), decision("sent by mistake"))
	if err != nil {
		t.Fatalf("discard: %v", err)
	}
	s.same("state", got.State, payment.LetterDiscarded)
	s.same("decision", got.Closing, payment.Decision{Actor: "dana", Reason: "sent by mistake", At: later()})
	s.same("state of the other letter", s.letterOf(resent.MessageID()).State, payment.LetterDiscarded)

	s.record([]event.ClaimAccepted{claim(1, 1), resent, dearer, second, claim(2, 1)},
		payment.WrittenOff, payment.WrittenOff, payment.WrittenOff, payment.Recorded, payment.Recorded)
	s.same("all payments", s.payments(), []payment.Payment{paid(second), paid(claim(2, 1))})

	third := claim(1, 1)
	third.Gen = 2
	s.park(letter(third, payment.ReasonMalformed))
	if _, err := s.ledger.Discard(t.Context(), s.idOf(third.MessageID()), decision("once more")); err != nil {
		t.Fatalf("discard again: %v", err)
	}
	s.same("standing", s.standing(claim(1, 1).Key),
		event.Standing{Key: claim(1, 1).Key, State: event.Discarded, Reason: "sent by mistake"})
	s.same("letter after the second decision", s.letterOf(got.MessageID), got)
}

// testDiscardPaid proves that a payment stays a payment: a letter of a paid claim can not be sent
// again, and discarding it only closes the letter.
func testDiscardPaid(t *testing.T, s *suite) {
	s.record([]event.ClaimAccepted{claim(1, 1)}, payment.Recorded)
	s.park(letter(claim(1, 2), payment.ReasonConflict))
	if _, err := s.ledger.Redrive(t.Context(), s.idOf(claim(1, 2).MessageID()), decision("again")); !errors.Is(err, payment.ErrPaid) {
		t.Errorf("redrive: got %v, want %v", err, payment.ErrPaid)
	}
	s.same("letter after redrive", s.letterOf(claim(1, 2).MessageID()).State, payment.LetterOpen)
	if _, err := s.ledger.Discard(t.Context(), s.idOf(claim(1, 2).MessageID()), decision("known")); err != nil {
		t.Fatalf("discard: %v", err)
	}
	s.record([]event.ClaimAccepted{claim(1, 1)}, payment.Repeat)
	snapshot := s.snapshot()
	defer func() { _ = snapshot.Close() }()
	s.same("parked claims", collect(s, snapshot.Parked(t.Context())), []payment.Parked(nil))
}

// testLetterWithoutClaim proves that a body that names no claim can be kept, can
// not be sent again, and touches no other letter when it is discarded.
func testLetterWithoutClaim(t *testing.T, s *suite) {
	nameless := payment.DeadLetter{MessageID: "sha256:00", Reason: payment.ReasonMalformed, Error: "not JSON", ParkedAt: noon(), Body: []byte("?")}
	other := nameless
	other.MessageID, other.Body = "sha256:01", []byte("!")
	s.park(nameless, other)
	id := s.idOf(nameless.MessageID)
	if _, err := s.ledger.Redrive(t.Context(), id, decision("again")); !errors.Is(err, payment.ErrNoClaim) {
		t.Errorf("redrive: got %v, want %v", err, payment.ErrNoClaim)
	}
	s.same("state after redrive", s.letterOf(nameless.MessageID).State, payment.LetterOpen)
	got, err := s.ledger.Discard(t.Context(), id, decision("noise"))
	if err != nil {
		t.Fatalf("discard: %v", err)
	}
	want := nameless
	want.ID, want.State, want.Closing = id, payment.LetterDiscarded, decision("noise")
	s.same("discarded letter", got, want)
	s.same("the other letter", s.letterOf(other.MessageID).State, payment.LetterOpen)
	snapshot := s.snapshot()
	defer func() { _ = snapshot.Close() }()
	s.same("parked claims", collect(s, snapshot.Parked(t.Context())), []payment.Parked(nil))
}

// testDecisionErrors proves the errors of decisions, and that a refused one
// changes nothing.
func testDecisionErrors(t *testing.T, s *suite) {
	for n, close := range map[byte]func(id int64){
		1: func(id int64) { s.decide(s.ledger.Redrive(t.Context(), id, decision("first"))) },
		2: func(id int64) { s.decide(s.ledger.Discard(t.Context(), id, decision("first"))) },
		3: func(int64) { s.record([]event.ClaimAccepted{claim(3, 1)}, payment.Recorded) },
	} {
		s.park(letter(claim(n, 1), payment.ReasonFailed))
		before := s.letterOf(claim(n, 1).MessageID())
		close(before.ID)
		closed := s.letterOf(claim(n, 1).MessageID())
		if _, err := s.ledger.Redrive(t.Context(), before.ID, decision("second")); !errors.Is(err, payment.ErrClosed) {
			t.Errorf("redrive of a %s letter: got %v, want %v", closed.State, err, payment.ErrClosed)
		}
		if _, err := s.ledger.Discard(t.Context(), before.ID, decision("second")); !errors.Is(err, payment.ErrClosed) {
			t.Errorf("discard of a %s letter: got %v, want %v", closed.State, err, payment.ErrClosed)
		}
		s.same("letter", s.letterOf(claim(n, 1).MessageID()), closed)
	}
	if _, err := s.ledger.Redrive(t.Context(), 1<<40, decision("")); !errors.Is(err, payment.ErrNotFound) {
		t.Errorf("redrive of no letter: got %v, want %v", err, payment.ErrNotFound)
	}
	if _, err := s.ledger.Discard(t.Context(), 1<<40, decision("")); !errors.Is(err, payment.ErrNotFound) {
		t.Errorf("discard of no letter: got %v, want %v", err, payment.ErrNotFound)
	}
}

// decide wants a decision to be taken.
func (s *suite) decide(_ payment.DeadLetter, err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("decide: %v", err)
	}
}

// testDecideConcurrently proves that of a redrive and a discard at once one is
// taken and the other told that it came too late, and that the claim stands as
// the winner said.
func testDecideConcurrently(t *testing.T, s *suite) {
	other := s.another()
	for n := range byte(8) {
		s.park(letter(claim(n, 1), payment.ReasonFailed))
		id := s.idOf(claim(n, 1).MessageID())
		var redriven, discarded error
		var deciding sync.WaitGroup
		deciding.Go(func() { _, redriven = s.ledger.Redrive(t.Context(), id, decision("a")) })
		deciding.Go(func() { _, discarded = other.Discard(t.Context(), id, decision("b")) })
		deciding.Wait()
		want := event.Unknown
		if redriven != nil {
			want = event.Discarded
		}
		if (redriven == nil) == (discarded == nil) || !errors.Is(errors.Join(redriven, discarded), payment.ErrClosed) {
			t.Errorf("got redrive %v and discard %v, want one of them %v", redriven, discarded, payment.ErrClosed)
		}
		s.same("standing", s.standing(claim(n, 1).Key).State, want)
	}
}
