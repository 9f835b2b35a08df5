package ledgertest

import (
	"testing"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
)

// testStandings proves that each key gets its strongest standing with all that
// belongs to it, in its place, also when it is asked twice.
func testStandings(t *testing.T, s *suite) {
	paidOnly, paidAndDead, discarded, dead := claim(1, 1), claim(2, 1), claim(3, 1), claim(4, 1)
	s.record([]event.ClaimAccepted{paidOnly, paidAndDead}, payment.Recorded, payment.Recorded)
	s.park(letter(claim(2, 9), payment.ReasonConflict), letter(discarded, payment.ReasonFailed), letter(dead, payment.ReasonFailed))
	if _, err := s.ledger.Discard(t.Context(), s.idOf(discarded.MessageID()), decision("void")); err != nil {
		t.Fatalf("discard: %v", err)
	}
	resent := discarded
	resent.Gen = 1
	deadAgain := dead
	deadAgain.Gen = 1
	s.park(letter(resent, payment.ReasonFailed), letter(deadAgain, payment.ReasonMalformed))

	unknown := event.Key{ClaimID: claimID(9), Version: 1}
	otherVersion := event.Key{ClaimID: claimID(1), Version: 2}
	got, err := s.ledger.Standings(t.Context(),
		[]event.Key{dead.Key, unknown, paidAndDead.Key, discarded.Key, otherVersion, paidOnly.Key, dead.Key})
	if err != nil {
		t.Fatalf("standings: %v", err)
	}
	wantDead := event.Standing{Key: dead.Key, State: event.Dead, Reason: "malformed"} // of the newest letter
	s.same("standings", got, []event.Standing{
		wantDead,
		{Key: unknown, State: event.Unknown},
		{Key: paidAndDead.Key, State: event.Paid, PaymentID: payment.ID(paidAndDead.Key), NetFee: 8126, RecordedAt: noon()},
		{Key: discarded.Key, State: event.Discarded, Reason: "void"},
		{Key: otherVersion, State: event.Unknown},
		{Key: paidOnly.Key, State: event.Paid, PaymentID: payment.ID(paidOnly.Key), NetFee: 8126, RecordedAt: noon()},
		wantDead,
	})
}

// testStandingsBounds proves that nobody asked is nobody answered, that the
// longest question is answered, and that a longer one is refused.
func testStandingsBounds(t *testing.T, s *suite) {
	keys := make([]event.Key, event.MaxAsked+1)
	for i := range keys {
		keys[i] = event.Key{ClaimID: claimID(1), Version: i + 1}
	}
	for _, count := range []int{0, event.MaxAsked} {
		standings, err := s.ledger.Standings(t.Context(), keys[:count])
		if err != nil {
			t.Errorf("standings of %d: %v", count, err)
		}
		s.same("standings", len(standings), count)
	}
	if _, err := s.ledger.Standings(t.Context(), keys); err == nil {
		t.Errorf("standings of %d: got no error", len(keys))
	}
}

// testSnapshotSorted proves that payments and parked claims come ascending by the
// bytes of the claim id, then version, each once, that a tombstone is told from an open letter, and
// that a reader may stop early.
func testSnapshotSorted(t *testing.T, s *suite) {
	high := claim(255, 1) // bytes, not signed numbers, decide
	second := claim(7, 2)
	second.Version = 2
	tenth := claim(7, 3)
	tenth.Version = 10 // versions are numbers, not text
	s.record([]event.ClaimAccepted{high, tenth, second, claim(7, 1), claim(1, 1)},
		payment.Recorded, payment.Recorded, payment.Recorded, payment.Recorded, payment.Recorded)

	written, resent := claim(20, 1), claim(10, 1)
	resent.Gen = 1
	deadSecond := claim(10, 1)
	deadSecond.Version = 2
	s.park(letter(written, payment.ReasonFailed), letter(deadSecond, payment.ReasonFailed),
		letter(claim(10, 1), payment.ReasonFailed), letter(resent, payment.ReasonFailed),
		letter(claim(5, 1), payment.ReasonFailed))
	s.decide(s.ledger.Discard(t.Context(), s.idOf(written.MessageID()), decision("no")))
	writtenAgain := written
	writtenAgain.Gen = 1
	s.park(letter(writtenAgain, payment.ReasonFailed)) // tombstone and open letter: still one key
	s.decide(s.ledger.Redrive(t.Context(), s.idOf(claim(5, 1).MessageID()), decision("yes")))

	snapshot := s.snapshot()
	defer func() { _ = snapshot.Close() }()
	s.same("payments", collect(s, snapshot.Payments(t.Context())),
		[]payment.Payment{paid(claim(1, 1)), paid(claim(7, 1)), paid(second), paid(tenth), paid(high)})
	s.same("parked", collect(s, snapshot.Parked(t.Context())),
		[]payment.Parked{{Key: claim(10, 1).Key}, {Key: deadSecond.Key}, {Key: written.Key, WrittenOff: true}})
	s.same("postings of no payment", collect(s, snapshot.Strays(t.Context())), []payment.Stray(nil))
	for got, err := range snapshot.Payments(t.Context()) {
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		s.same("first payment", got, paid(claim(1, 1)))
		break
	}
	s.same("payments, read again", len(collect(s, snapshot.Payments(t.Context()))), 5)
}

// testSnapshotConsistent proves that a snapshot shows the moment it was opened,
// whatever is written while it is read, and a new one shows the new.
func testSnapshotConsistent(t *testing.T, s *suite) {
	s.record([]event.ClaimAccepted{claim(1, 1)}, payment.Recorded)
	before := s.snapshot()
	defer func() { _ = before.Close() }()
	s.record([]event.ClaimAccepted{claim(2, 1)}, payment.Recorded)
	s.park(letter(claim(3, 1), payment.ReasonFailed))
	s.same("payments before", collect(s, before.Payments(t.Context())), []payment.Payment{paid(claim(1, 1))})
	s.same("parked before", collect(s, before.Parked(t.Context())), []payment.Parked(nil))

	after := s.snapshot()
	defer func() { _ = after.Close() }()
	s.same("payments after", collect(s, after.Payments(t.Context())), []payment.Payment{paid(claim(1, 1)), paid(claim(2, 1))})
	s.same("parked after", collect(s, after.Parked(t.Context())), []payment.Parked{{Key: claim(3, 1).Key}})
}

// testPing proves that a ledger can be asked whether it works, and says when it
// does not.
func testPing(t *testing.T, s *suite) {
	if err := s.ledger.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
	other := s.another()
	if err := other.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if err := other.Ping(t.Context()); err == nil {
		t.Error("ping of a closed ledger: got no error")
	}
}
