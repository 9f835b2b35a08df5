// Package ledgertest holds every payments ledger to the contract of payment.Ledger:
// one suite, whatever the engine, so that a claim is paid once on all of them in
// the same way.
package ledgertest

import (
	"iter"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/payment"
)

// Run runs the suite. Each test has a database of its own: open opens the one of
// the test that it is given, empty at first, and the same again for the same test,
// as another process would. The suite closes what it opened.
func Run(t *testing.T, open func(t *testing.T) payment.Ledger) {
	for name, test := range map[string]func(t *testing.T, s *suite){
		"the log keeps who did what, when and why":               testLog,
		"the log is bounded, and of one claim":                   testLogBounds,
		"payments are listed by filter, page by page":            testPayments,
		"a new claim is paid with its postings":                  testRecordNew,
		"a repeat changes nothing":                               testRecordRepeat,
		"other content is a conflict":                            testRecordConflict,
		"a claim twice in one batch is paid once":                testRecordTwiceInBatch,
		"versions are paid apart, the highest is shown":          testRecordVersions,
		"a batch is recorded whole or not at all":                testRecordAtomic,
		"a batch is bounded":                                     testRecordBounds,
		"two ledgers at once pay each claim once":                testRecordConcurrently,
		"paying closes open dead letters":                        testRecordClosesLetters,
		"failures are counted by message and last":               testFail,
		"parking forgets the failure count":                      testParkForgetsFailures,
		"a message is parked once":                               testParkOnce,
		"a letter is kept as it was parked":                      testParkKeepsAll,
		"notes are cut at a whole character":                     testNotes,
		"the strongest standing is given, in the order asked":    testStandings,
		"a question is bounded":                                  testStandingsBounds,
		"dead letters are filtered and paged, newest first":      testDeadLetters,
		"redriving closes all letters of the claim":              testRedrive,
		"a redriven claim that fails again is parked again":      testRedriveAgain,
		"discarding keeps every later copy from being paid":      testDiscard,
		"discarding a paid claim leaves no tombstone":            testDiscardPaid,
		"a letter without a claim is discarded but not redriven": testLetterWithoutClaim,
		"decisions on closed and missing letters are refused":    testDecisionErrors,
		"two operators at once: one decision":                    testDecideConcurrently,
		"a snapshot is sorted and whole":                         testSnapshotSorted,
		"a snapshot shows one moment":                            testSnapshotConsistent,
		"an open ledger answers a ping":                          testPing,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &suite{T: t, open: open}
			s.ledger = s.another()
			test(t, s)
		})
	}
}

// suite is what one test works with.
type suite struct {
	*testing.T
	open   func(t *testing.T) payment.Ledger
	ledger payment.Ledger
}

// another opens the test's database once more.
func (s *suite) another() payment.Ledger {
	s.Helper()
	ledger := s.open(s.T)
	s.Cleanup(func() {
		if err := ledger.Close(); err != nil {
			s.Errorf("close: %v", err)
		}
	})
	return ledger
}

// noon is when claims are paid and messages parked. A ledger keeps microseconds.
func noon() time.Time { return time.Date(2026, 3, 28, 12, 0, 0, 123_456_000, time.UTC) }

// later is when operators decide.
func later() time.Time { return noon().Add(time.Hour) }

// Providers, in ascending order.
const (
	firstNPI  = "1111111112"
	secondNPI = "1497775530"
)

// claimID gives the n-th claim id; ids ascend with n.
func claimID(n byte) uuid.UUID { return uuid.UUID{0: n, 6: 0x80, 8: 0x80, 15: 1} }

// claim gives version 1 of the n-th claim, paid to two providers: 81.25 and cents.
func claim(n byte, cents money.Cents) event.ClaimAccepted {
	return event.ClaimAccepted{
		Ref:    event.Ref{Key: event.Key{ClaimID: claimID(n), Version: 1}},
		NetFee: 8125 + cents,
		Postings: []event.Posting{
			{ProviderNPI: firstNPI, NetFee: 8125},
			{ProviderNPI: secondNPI, NetFee: cents},
		},
		AcceptedAt: noon().Add(-time.Minute),
	}
}

// letter gives a dead letter of a claim's message.
func letter(c event.ClaimAccepted, reason payment.Reason) payment.DeadLetter {
	return payment.DeadLetter{
		MessageID: c.MessageID(),
		Ref:       c.Ref,
		NetFee:    c.NetFee,
		Reason:    reason,
		Error:     "disk on fire",
		Attempts:  8,
		Body:      []byte(`{"schema":1}`),
		BodyHash:  [32]byte{1, 2, 3},
		ParkedAt:  noon(),
	}
}

// decision gives an operator's word.
func decision(reason string) payment.Decision {
	return payment.Decision{Actor: "dana", Reason: reason, At: later()}
}

// record records claims and wants the verdicts.
func (s *suite) record(batch []event.ClaimAccepted, want ...payment.Verdict) {
	s.Helper()
	got, err := s.ledger.Record(s.Context(), batch, noon())
	if err != nil {
		s.Fatalf("record: %v", err)
	}
	s.same("verdicts", got, want)
}

// park parks letters.
func (s *suite) park(letters ...payment.DeadLetter) {
	s.Helper()
	for _, letter := range letters {
		if err := s.ledger.Park(s.Context(), letter); err != nil {
			s.Fatalf("park %s: %v", letter.MessageID, err)
		}
	}
}

// letters lists dead letters.
func (s *suite) letters(filter payment.LetterFilter) []payment.DeadLetter {
	s.Helper()
	letters, err := s.ledger.DeadLetters(s.Context(), filter)
	if err != nil {
		s.Fatalf("list dead letters: %v", err)
	}
	return letters
}

// idOf finds a dead letter by its message.
func (s *suite) idOf(messageID string) int64 {
	s.Helper()
	return s.letterOf(messageID).ID
}

func (s *suite) letterOf(messageID string) payment.DeadLetter {
	s.Helper()
	for _, letter := range s.letters(payment.LetterFilter{}) {
		if letter.MessageID == messageID {
			return letter
		}
	}
	s.Fatalf("no dead letter of message %s", messageID)
	return payment.DeadLetter{}
}

// standing gives the standing of one claim.
func (s *suite) standing(key event.Key) event.Standing {
	s.Helper()
	standings, err := s.ledger.Standings(s.Context(), []event.Key{key})
	if err != nil {
		s.Fatalf("standings: %v", err)
	}
	if len(standings) != 1 {
		s.Fatalf("standings: got %d, want 1", len(standings))
	}
	return standings[0]
}

// payments reads all payments.
func (s *suite) payments() []payment.Payment {
	s.Helper()
	snapshot := s.snapshot()
	defer func() { _ = snapshot.Close() }()
	return collect(s, snapshot.Payments(s.Context()))
}

// snapshot opens a snapshot, which the caller closes.
func (s *suite) snapshot() payment.Snapshot {
	s.Helper()
	snapshot, err := s.ledger.Snapshot(s.Context())
	if err != nil {
		s.Fatalf("snapshot: %v", err)
	}
	return snapshot
}

// collect reads a sequence that gives no error.
func collect[T any](s *suite, sequence iter.Seq2[T, error]) []T {
	s.Helper()
	var all []T
	for one, err := range sequence {
		if err != nil {
			s.Fatalf("read: %v", err)
		}
		all = append(all, one)
	}
	return all
}

// same compares what with what is wanted.
func (s *suite) same(what string, got, want any) {
	s.Helper()
	if diff := cmp.Diff(got, want); diff != "" {
		s.Errorf("%s: got -, want +:\n%s", what, diff)
	}
}

// paid gives the payment that a claim leaves, recorded at noon().
func paid(c event.ClaimAccepted) payment.Payment {
	return payment.Payment{Key: c.Key, ID: payment.ID(c.Key), NetFee: c.NetFee, Postings: c.Postings, RecordedAt: noon()}
}
