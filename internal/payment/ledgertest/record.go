package ledgertest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/payment"
)

// testRecordNew proves that a payment holds exactly what the message says, a
// negative net fee and a net fee of zero included, and that an unpaid claim has none.
func testRecordNew(t *testing.T, s *suite) {
	zero, negative := claim(2, -8125), claim(3, -9000)
	s.record([]event.ClaimAccepted{claim(1, 3560), zero, negative}, payment.Recorded, payment.Recorded, payment.Recorded)

	got, err := s.ledger.Payment(t.Context(), claimID(1))
	if err != nil {
		t.Fatalf("payment: %v", err)
	}
	s.same("payment", got, payment.Payment{
		Key:    event.Key{ClaimID: claimID(1), Version: 1},
		ID:     payment.ID(event.Key{ClaimID: claimID(1), Version: 1}),
		NetFee: 11685,
		Postings: []event.Posting{
			{ProviderNPI: "1111111112", NetFee: 8125},
			{ProviderNPI: "1497775530", NetFee: 3560},
		},
		RecordedAt: time.Date(2026, 3, 28, 12, 0, 0, 123_456_000, time.UTC),
	})
	s.same("all payments", s.payments(), []payment.Payment{paid(claim(1, 3560)), paid(zero), paid(negative)})
	if _, err := s.ledger.Payment(t.Context(), claimID(9)); !errors.Is(err, payment.ErrNotFound) {
		t.Errorf("payment of an unpaid claim: got %v, want %v", err, payment.ErrNotFound)
	}
}

// testRecordRepeat proves that the same content is a repeat in any generation and
// with any trace, and that the first payment stays as it was.
func testRecordRepeat(t *testing.T, s *suite) {
	s.record([]event.ClaimAccepted{claim(1, 100)}, payment.Recorded)
	again := claim(1, 100)
	again.Gen, again.Traceparent, again.AcceptedAt = 7, "00-1-2-03", noon().Add(time.Second)
	got, err := s.ledger.Record(t.Context(), []event.ClaimAccepted{again, claim(2, 1)}, later())
	if err != nil {
		t.Fatalf("record: %v", err)
	}
	s.same("verdicts", got, []payment.Verdict{payment.Repeat, payment.Recorded})
	second := paid(claim(2, 1))
	second.RecordedAt = later()
	s.same("all payments", s.payments(), []payment.Payment{paid(claim(1, 100)), second})
}

// testRecordConflict proves that content decides and not the total: the same sum
// shared out otherwise is another claim, and changes nothing.
func testRecordConflict(_ *testing.T, s *suite) {
	s.record([]event.ClaimAccepted{claim(1, 100)}, payment.Recorded)
	dearer, moved := claim(1, 101), claim(1, 100)
	moved.Postings = []event.Posting{{ProviderNPI: firstNPI, NetFee: 8124}, {ProviderNPI: secondNPI, NetFee: 101}}
	other := claim(1, 100)
	other.Postings = []event.Posting{{ProviderNPI: secondNPI, NetFee: 8225}}
	s.record([]event.ClaimAccepted{dearer, moved, other, claim(1, 100)},
		payment.Conflict, payment.Conflict, payment.Conflict, payment.Repeat)
	s.same("all payments", s.payments(), []payment.Payment{paid(claim(1, 100))})
}

// testRecordTwiceInBatch proves that within a batch the first message of a claim
// counts and that the others are held against it.
func testRecordTwiceInBatch(_ *testing.T, s *suite) {
	resent := claim(1, 100)
	resent.Gen = 1
	s.record([]event.ClaimAccepted{claim(1, 100), claim(2, 0), resent, claim(1, 200)},
		payment.Recorded, payment.Recorded, payment.Repeat, payment.Conflict)
	s.same("all payments", s.payments(), []payment.Payment{paid(claim(1, 100)), paid(claim(2, 0))})
}

// testRecordVersions proves that a version is paid once for itself, and that
// Payment shows the highest, in whatever order they came.
func testRecordVersions(t *testing.T, s *suite) {
	second := claim(1, 300)
	second.Version = 2
	s.record([]event.ClaimAccepted{second, claim(1, 100)}, payment.Recorded, payment.Recorded)
	got, err := s.ledger.Payment(t.Context(), claimID(1))
	if err != nil {
		t.Fatalf("payment: %v", err)
	}
	s.same("payment", got, paid(second))
	s.same("all payments", s.payments(), []payment.Payment{paid(claim(1, 100)), paid(second)})
}

// testRecordAtomic proves that a batch with one message that no ledger can store,
// a provider that stands in it twice, leaves nothing of the others.
func testRecordAtomic(t *testing.T, s *suite) {
	s.park(letter(claim(1, 1), payment.ReasonFailed))
	poison := claim(2, 0)
	poison.Postings = []event.Posting{{ProviderNPI: firstNPI, NetFee: 1}, {ProviderNPI: firstNPI, NetFee: 8124}}
	verdicts, err := s.ledger.Record(t.Context(), []event.ClaimAccepted{claim(1, 1), poison, claim(3, 1)}, noon())
	if err == nil {
		t.Fatalf("record: got %v and no error", verdicts)
	}
	if errors.Is(err, payment.ErrUnavailable) {
		t.Errorf("record: got %v, which is %v", err, payment.ErrUnavailable)
	}
	s.same("all payments", s.payments(), []payment.Payment(nil))
	s.same("letter", s.letterOf(claim(1, 1).MessageID()).State, payment.LetterOpen)
	s.record([]event.ClaimAccepted{claim(1, 1), claim(3, 1)}, payment.Recorded, payment.Recorded)
}

// testRecordBounds proves that an empty batch is nothing, that the largest is
// taken, and that one more is refused whole.
func testRecordBounds(t *testing.T, s *suite) {
	if verdicts, err := s.ledger.Record(t.Context(), nil, noon()); err != nil || len(verdicts) != 0 {
		t.Errorf("record nothing: got %v, %v", verdicts, err)
	}
	batch := make([]event.ClaimAccepted, payment.MaxBatch+1)
	for i := range batch {
		batch[i] = claim(1, money.Cents(i))
		batch[i].ClaimID = uuid.UUID{1, 14: byte(i >> 8), 15: byte(i)}
	}
	if _, err := s.ledger.Record(t.Context(), batch, noon()); err == nil {
		t.Errorf("record %d: got no error", len(batch))
	}
	s.same("payments of a batch too large", len(s.payments()), 0)
	verdicts, err := s.ledger.Record(t.Context(), batch[:payment.MaxBatch], noon())
	if err != nil {
		t.Fatalf("record %d: %v", payment.MaxBatch, err)
	}
	s.same("verdicts", len(verdicts), payment.MaxBatch)
	s.same("payments of the largest batch", len(s.payments()), payment.MaxBatch)
}

// testRecordConcurrently proves that overlapping batches, written at once through
// two handles as two processes would, give every claim one payment, and that exactly one
// writer is told so.
func testRecordConcurrently(t *testing.T, s *suite) {
	const writers, claims, width = 8, 24, 12
	handles := []payment.Ledger{s.ledger, s.another()}
	var (
		recording sync.WaitGroup
		mu        sync.Mutex
		news      = make(map[event.Key]int)
	)
	for writer := range writers {
		recording.Go(func() {
			var batch []event.ClaimAccepted
			for i := range width { // overlaps with every other writer's, in another order
				n := (writer*3 + i*5) % claims
				batch = append(batch, claim(byte(1+n), money.Cents(n)))
			}
			verdicts, err := handles[writer%len(handles)].Record(t.Context(), batch, noon())
			if err != nil {
				t.Errorf("writer %d: %v", writer, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for i, verdict := range verdicts {
				switch verdict {
				case payment.Recorded:
					news[batch[i].Key]++
				case payment.Repeat:
				default:
					t.Errorf("writer %d: verdict %d", writer, verdict)
				}
			}
		})
	}
	recording.Wait()
	payments := s.payments()
	if len(payments) != claims {
		t.Errorf("payments: got %d, want %d", len(payments), claims)
	}
	for _, got := range payments {
		s.same("times recorded of "+got.Key.String(), news[got.Key], 1)
		s.same("postings of "+got.Key.String(), len(got.Postings), 2)
	}
}

// testRecordClosesLetters proves that a payment closes all open letters of its
// claim and version, no other, and none that is closed already; and that a repeat
// leaves a letter open that was parked later().
func testRecordClosesLetters(_ *testing.T, s *suite) {
	resent, second := claim(1, 1), claim(1, 2)
	resent.Gen, second.Version = 1, 2
	s.park(letter(claim(1, 1), payment.ReasonFailed))
	if _, err := s.ledger.Redrive(s.Context(), s.idOf(claim(1, 1).MessageID()), decision("again")); err != nil {
		s.Fatalf("redrive: %v", err)
	}
	third := claim(1, 1)
	third.Gen = 2
	s.park(letter(resent, payment.ReasonFailed), letter(third, payment.ReasonMalformed),
		letter(second, payment.ReasonFailed), letter(claim(2, 1), payment.ReasonFailed))

	s.record([]event.ClaimAccepted{claim(1, 1)}, payment.Recorded)
	for message, want := range map[string]payment.LetterState{
		claim(1, 1).MessageID(): payment.LetterRedriven,
		resent.MessageID():      payment.LetterPaid,
		third.MessageID():       payment.LetterPaid,
		second.MessageID():      payment.LetterOpen,
		claim(2, 1).MessageID(): payment.LetterOpen,
	} {
		s.same("letter of "+message, s.letterOf(message).State, want)
	}
	s.same("closed at", s.letterOf(resent.MessageID()).Closing.At, noon())

	conflict := claim(1, 9)
	conflict.Gen = 3
	s.park(letter(conflict, payment.ReasonConflict))
	s.record([]event.ClaimAccepted{claim(1, 1)}, payment.Repeat)
	s.same("letter of the conflict after a repeat", s.letterOf(conflict.MessageID()).State, payment.LetterOpen)
}

// testFail proves that failures are counted one by one and by message, and that
// the counts are there when the ledger is opened again.
func testFail(t *testing.T, s *suite) {
	fail := func(ledger payment.Ledger, message string, want int) {
		t.Helper()
		got, err := ledger.Fail(t.Context(), message, noon())
		if err != nil {
			t.Fatalf("fail %s: %v", message, err)
		}
		s.same("failures of "+message, got, want)
	}
	fail(s.ledger, "a", 1)
	fail(s.ledger, "a", 2)
	fail(s.ledger, "b", 1)
	if err := s.ledger.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	again := s.another()
	fail(again, "a", 3)
	fail(again, "b", 2)
}
