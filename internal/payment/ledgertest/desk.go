package ledgertest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
)

// log gives what the log says of a letter's claim.
func (s *suite) log(id int64) []payment.Entry {
	s.Helper()
	letter, entries, err := s.ledger.Letter(s.Context(), id)
	if err != nil {
		s.Fatalf("letter: %v", err)
	}
	s.same("letter by its id", letter, s.letterOf(letter.MessageID))
	return entries
}

// testLog proves that the log holds every step of a claim's letters, those of all its
// generations, with the words of whoever took it, and that a step that was refused, or
// repeated, leaves nothing.
func testLog(t *testing.T, s *suite) {
	first, second, other := claim(1, 1), claim(1, 1), claim(2, 1)
	second.Gen = 1
	s.park(letter(first, payment.ReasonFailed), letter(other, payment.ReasonFailed), letter(first, payment.ReasonFailed))
	one, two := s.idOf(first.MessageID()), s.idOf(other.MessageID())
	s.decide(s.ledger.Redrive(t.Context(), one, decision("try again")))
	if _, err := s.ledger.Discard(t.Context(), one, decision("too late")); !errors.Is(err, payment.ErrClosed) {
		t.Errorf("discard: got %v, want %v", err, payment.ErrClosed)
	}
	s.park(letter(second, payment.ReasonFailed))
	three := s.idOf(second.MessageID())
	s.record([]event.ClaimAccepted{first}, payment.Recorded)
	s.record([]event.ClaimAccepted{first}, payment.Repeat)
	s.decide(s.ledger.Discard(t.Context(), two, decision("a test")))

	parked := payment.Decision{Actor: "payments", Reason: letter(first, "").Error, At: letter(first, "").ParkedAt}
	paid := payment.Decision{Actor: "payments", Reason: "a copy of the message was recorded", At: noon()}
	want := []payment.Entry{
		{LetterID: one, Action: payment.ActionParked, Decision: parked},
		{LetterID: one, Action: payment.ActionRedriven, Decision: decision("try again")},
		{LetterID: three, Action: payment.ActionParked, Decision: parked},
		{LetterID: three, Action: payment.ActionPaid, Decision: paid},
	}
	s.same("log of the claim by its first letter", s.log(one), want)
	s.same("log of the claim by its second letter", s.log(three), want)
	s.same("log of the other claim", s.log(two), []payment.Entry{
		{LetterID: two, Action: payment.ActionParked, Decision: parked},
		{LetterID: two, Action: payment.ActionDiscarded, Decision: decision("a test")},
	})
	if _, _, err := s.ledger.Letter(t.Context(), 1<<40); !errors.Is(err, payment.ErrNotFound) {
		t.Errorf("no such letter: got %v, want %v", err, payment.ErrNotFound)
	}
}

// testLogBounds proves that one decision on many letters of a claim is noted for each, that
// the newest entries are given where there are too many, and that letters without a claim
// have no log in common.
func testLogBounds(t *testing.T, s *suite) {
	for n := range payment.MaxHistory/2 + 10 {
		sent := claim(1, 1)
		sent.Gen = n
		s.park(letter(sent, payment.ReasonFailed))
	}
	last := s.letters(payment.LetterFilter{Limit: 1})[0].ID
	s.decide(s.ledger.Redrive(t.Context(), last, decision("all of them")))
	entries := s.log(last)
	redriven := 0
	for _, entry := range entries {
		if entry.Action == payment.ActionRedriven {
			redriven++
		}
	}
	if len(entries) != payment.MaxHistory || redriven != payment.MaxHistory/2+10 || entries[0].Action != payment.ActionParked {
		t.Errorf("got %d entries, %d of them redriven, want %d and %d, parked first", len(entries), redriven,
			payment.MaxHistory, payment.MaxHistory/2+10)
	}
	nameless := payment.DeadLetter{MessageID: "sha256:00", Reason: payment.ReasonMalformed, ParkedAt: noon(), Body: []byte("?")}
	another := nameless
	another.MessageID = "sha256:01"
	s.park(nameless, another)
	if got := s.log(s.idOf("sha256:01")); len(got) != 1 {
		t.Errorf("log of a letter without a claim: got %+v, want one entry", got)
	}
}

// testPayments proves each filter of the list, that its pages hold every payment once with all
// of its postings, and that what is recorded meanwhile is in none of them.
func testPayments(t *testing.T, s *suite) {
	var want []payment.Payment // the newest first
	for n := range byte(9) {
		sent := claim(n, 1)
		if n%2 == 1 {
			sent.Postings = append([]event.Posting{{ProviderNPI: "0000000006", NetFee: 5}}, sent.Postings...)
			sent.NetFee += 5
		}
		at := noon().Add(time.Duration(n) * time.Minute)
		if _, err := s.ledger.Record(t.Context(), []event.ClaimAccepted{sent}, at); err != nil {
			t.Fatalf("record: %v", err)
		}
		made := paid(sent)
		made.RecordedAt = at
		want = append([]payment.Payment{made}, want...)
	}
	for name, test := range map[string]struct {
		filter payment.PaymentFilter
		want   []int
	}{
		"all":      {payment.PaymentFilter{Limit: 9}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}},
		"no limit": {payment.PaymentFilter{}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}},
		"provider": {payment.PaymentFilter{ProviderNPI: "0000000006", Limit: 3}, []int{1, 3, 5}},
		"nobody":   {payment.PaymentFilter{ProviderNPI: "0000000007", Limit: 3}, nil},
		"from":     {payment.PaymentFilter{From: noon().Add(7 * time.Minute), Limit: 9}, []int{0, 1}},
		"to":       {payment.PaymentFilter{To: noon().Add(2 * time.Minute), Limit: 9}, []int{7, 8}},
	} {
		got := s.list(test.filter)
		var selected []payment.Payment
		for _, at := range test.want {
			selected = append(selected, want[at])
		}
		s.same(name, got, selected)
	}
	var paged []payment.Payment
	filter := payment.PaymentFilter{Limit: 4}
	for page := 0; ; page++ {
		found, err := s.ledger.Payments(t.Context(), filter)
		if err != nil {
			t.Fatalf("list payments: %v", err)
		}
		if len(found) == 0 {
			break
		}
		for i := range found {
			filter.Before, found[i].Cursor = found[i].Cursor, 0
		}
		paged = append(paged, found...)
		late := claim(1, 1)
		late.ClaimID = uuid.NewSHA1(uuid.NameSpaceOID, fmt.Append(nil, page))
		s.record([]event.ClaimAccepted{late}, payment.Recorded)
	}
	s.same("all pages", paged, want)
}

// list gives a page of payments without their cursors.
func (s *suite) list(filter payment.PaymentFilter) []payment.Payment {
	s.Helper()
	page, err := s.ledger.Payments(s.Context(), filter)
	if err != nil {
		s.Fatalf("list payments: %v", err)
	}
	for i := range page {
		if page[i].Cursor < 1 {
			s.Errorf("payment %d: got cursor %d, want at least 1", i, page[i].Cursor)
		}
		page[i].Cursor = 0
	}
	return page
}
