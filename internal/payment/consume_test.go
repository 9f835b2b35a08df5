package payment_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
)

// Messages are paid in batches of MaxBatch, acknowledged after the commit, and
// hinted with what the ledger now has; a replay of everything changes nothing.
func TestConsumePaysOnceWhateverIsReplayed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	all := claims(payment.MaxBatch + 7)
	b.send(all...)
	b.run()
	b.same("batches", b.feed.sizes, []int{payment.MaxBatch, 7})
	b.same("answers", b.feed.answers[:2], []string{"ack " + all[0].MessageID(), "ack " + all[1].MessageID()})
	b.same("counts", b.counts(), map[string]int64{"recorded": 507})
	b.same("hints", b.hints.sent, 2)
	b.same("a hint", b.hints.standings[3], event.Standing{
		Key: all[3].Key, State: event.Paid, PaymentID: payment.ID(all[3].Key), NetFee: 300, RecordedAt: noon,
	})
	hinted := b.hints.standings
	b.hints.standings = nil

	b.consumer.Now = func() time.Time { return noon.Add(time.Hour) }
	b.send(all...)
	b.run()
	b.same("counts after replay", b.counts(), map[string]int64{"recorded": 507, "repeats": 507})
	b.same("payments", b.payments(), 507)
	b.same("hints after replay", b.hints.standings, hinted)
	b.same("answers", len(b.feed.answers), 2*507)
}

// A crash after the commit and before the acknowledgement brings the messages back;
// they are repeats, and paid once.
func TestConsumeCrashBeforeAck(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.feed.deaf = 3
	b.send(claims(3)...)
	b.run()
	b.same("payments", b.payments(), 3)
	b.same("counts", b.counts(), map[string]int64{"recorded": 3, "repeats": 3, "answers failed": 3})
}

// Another payment for a claim that is paid is parked and then given up; the first
// payment stays, and the hint says so.
func TestConsumeConflict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := claim(1, 999)
	other.Gen = 4
	b.send(claim(1, 100), other, claim(2, 5))
	b.run()
	b.same("answers", b.feed.answers, []string{
		"ack " + claim(1, 100).MessageID(), "ack " + claim(2, 5).MessageID(), "term " + other.MessageID(),
	})
	b.same("counts", b.counts(), map[string]int64{"recorded": 2, "conflicts": 1, "parked": 1})
	b.same("payments", b.payments(), 2)
	body, err := other.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	b.same("letters", b.letters(), []payment.DeadLetter{{
		ID: 1, MessageID: other.MessageID(), Ref: other.Ref, NetFee: 999, Providers: []string{"1497775530"}, Reason: payment.ReasonConflict,
		Error: "a payment of other content is on record for this claim", Attempts: 1,
		Body: body, BodyHash: sha256.Sum256(body), ParkedAt: noon, State: payment.LetterOpen,
	}})
	last := b.hints.standings[len(b.hints.standings)-1]
	b.same("the last hint", last, event.Standing{
		Key: other.Key, State: event.Paid, PaymentID: payment.ID(other.Key), NetFee: 100, RecordedAt: noon,
	})
}

// What is no message of the contract is parked under an id that is there for every
// message, and only then given up; sound messages beside it are paid.
func TestConsumeMalformed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sound, err := new(claim(7, 100)).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	forged := []byte(strings.Replace(string(sound), `"cents":100`, `"cents":900`, 1))
	hashed := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	b.send(claim(1, 1))
	b.feed.publish("header", []byte("not JSON"))
	b.feed.publish("", []byte("nor this"))
	b.feed.publish("", forged)
	b.feed.publish(strings.Repeat("x", 200), []byte("long id"))
	b.feed.publish("two\nlines", []byte("odd id"))
	b.feed.publish("", []byte(strings.Repeat("9", event.MaxBodyBytes)))
	b.run()
	reasons := make(map[string]payment.Reason)
	for _, letter := range b.letters() {
		reasons[letter.MessageID] = letter.Reason
	}
	want := []string{
		"header", hashed("nor this"), claim(7, 0).MessageID(), hashed("long id"), hashed("odd id"),
		hashed(strings.Repeat("9", event.MaxBodyBytes)),
	}
	slices.Sort(want)
	b.same("parked messages", slices.Sorted(maps.Keys(reasons)), want)
	for id, reason := range reasons {
		b.same("reason of "+id, reason, payment.ReasonMalformed)
	}
	b.same("counts", b.counts(), map[string]int64{"recorded": 1, "parked": 6})
	b.same("states", b.states(claim(1, 0), claim(7, 0)), []event.State{event.Paid, event.Dead})
	b.same("last hint", b.hints.standings[1:], []event.Standing{{Key: claim(7, 0).Key, State: event.Dead, Reason: "malformed"}})

	b.send(claim(7, 100))
	b.run()
	b.same("state when the true message came", b.states(claim(7, 0)), []event.State{event.Paid})
}

// One message that the database refuses keeps no other from being paid. It comes
// back seven times, later each time, and is then parked; a redrive pays it once.
func TestConsumePoison(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bad := claim(5, 500)
	b.poison(bad)
	b.send(claims(10)...)
	b.run()
	id := bad.MessageID()
	b.same("answers to the bad message", slices.DeleteFunc(b.feed.answers, func(answer string) bool {
		return !strings.Contains(answer, id)
	}), []string{
		"nak " + id + " 150ms", "nak " + id + " 250ms", "nak " + id + " 450ms", "nak " + id + " 850ms",
		"nak " + id + " 1.65s", "nak " + id + " 3.25s", "nak " + id + " 6.45s", "term " + id,
	})
	b.same("counts", b.counts(), map[string]int64{"recorded": 9, "failed": 8, "naks": 7, "parked": 1})
	b.same("payments", b.payments(), 9)
	letter := b.letters()[0]
	b.same("reason", letter.Reason, payment.ReasonFailed)
	b.same("attempts", letter.Attempts, payment.MaxAttempts)
	if !strings.Contains(letter.Error, "poisoned") {
		t.Errorf("error: got %q, want the database's own words", letter.Error)
	}
	b.same("last hint", b.hints.standings[9:], []event.Standing{{Key: bad.Key, State: event.Dead, Reason: "failed"}})

	b.execute("DROP TRIGGER poison")
	if _, err := b.desk.Redrive(t.Context(), letter.ID, payment.Decision{Actor: "dana", Reason: "fixed", At: noon}); err != nil {
		t.Fatalf("redrive: %v", err)
	}
	b.same("hint of the redrive", b.hints.standings[10:], []event.Standing{{Key: bad.Key, State: event.Unknown}})
	resent := bad
	resent.Gen = 1
	b.send(resent, bad, resent)
	b.run()
	b.same("payments after the redrive", b.payments(), 10)
	b.same("repeats", b.consumer.Stats.Repeats.Load(), int64(2))
}

// A copy of a written-off claim's message is acknowledged and not paid.
func TestConsumeStaleCopyAfterDiscard(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bad := claim(1, 1)
	b.poison(bad)
	b.send(bad)
	b.run()
	if _, err := b.desk.Discard(t.Context(), b.letters()[0].ID, payment.Decision{Actor: "dana", Reason: "void", At: noon}); err != nil {
		t.Fatalf("discard: %v", err)
	}
	wantHint := event.Standing{Key: bad.Key, State: event.Discarded, Reason: "void"}
	b.same("hint of the discard", b.hints.standings[1:], []event.Standing{wantHint})
	b.execute("DROP TRIGGER poison")
	b.send(bad)
	b.run()
	b.same("payments", b.payments(), 0)
	b.same("written off", b.consumer.Stats.WrittenOff.Load(), int64(1))
	b.same("last answer", b.feed.answers[len(b.feed.answers)-1], "ack "+bad.MessageID())
	b.same("hint of the copy", b.hints.standings[2:], []event.Standing{wantHint})
}

// A file that another process has locked counts against no message; when the lock
// is gone everything is paid.
func TestConsumeLockedFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // SQLite's wait for the lock passes in no time
		b := setup(t)
		db, err := sql.Open("sqlite", b.path)
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		if _, err := db.ExecContext(t.Context(), "BEGIN EXCLUSIVE"); err != nil {
			t.Fatal(err)
		}
		b.feed.onNak = func() {
			b.feed.onNak = nil
			if _, err := db.ExecContext(context.WithoutCancel(t.Context()), "ROLLBACK"); err != nil {
				t.Errorf("rollback: %v", err)
			}
		}
		b.send(claims(4)...)
		b.run()
		b.same("payments", b.payments(), 4)
		b.same("counts", b.counts(), map[string]int64{"recorded": 4, "naks": 4})
		b.same("batches", b.feed.sizes, []int{4, 4})
		for i, answer := range b.feed.answers[:4] {
			b.same("answer while locked", answer, "nak "+claim(i, 0).MessageID()+" 150ms")
		}
		if err := errors.Join(db.Close(), b.ledger.Close()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// stand is a ledger that goes wrong where a test says so, and else is the real one.
type stand struct {
	payment.Ledger
	record func(batch []event.ClaimAccepted) error
	fail   func() error
	park   func() error
}

func (s *stand) Record(ctx context.Context, batch []event.ClaimAccepted, now time.Time) ([]payment.Verdict, error) {
	if s.record != nil {
		if err := s.record(batch); err != nil {
			return nil, err
		}
	}
	return s.Ledger.Record(ctx, batch, now)
}

func (s *stand) Fail(ctx context.Context, messageID string, now time.Time) (int, error) {
	if s.fail != nil {
		if err := s.fail(); err != nil {
			return 0, err
		}
	}
	return s.Ledger.Fail(ctx, messageID, now)
}

func (s *stand) Park(ctx context.Context, letter payment.DeadLetter) error {
	if s.park != nil {
		if err := s.park(); err != nil {
			return err
		}
	}
	return s.Ledger.Park(ctx, letter)
}

// times gives err that often, then nil.
func times(count int, err error) func() error {
	return func() error {
		if count--; count < 0 {
			return nil
		}
		return err
	}
}

// While the ledger is away the consumer waits longer each time, gives messages
// back with the same growing delays, and starts anew after a success.
func TestConsumeWaitsWhileLedgerIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		first, second := claim(1, 1), claim(2, 1)
		// Too slow is away, too. The second message comes when the first is paid.
		outcomes := []error{payment.ErrUnavailable, payment.ErrUnavailable, payment.ErrUnavailable, nil, context.DeadlineExceeded, nil}
		b.consumer.Ledger = &stand{Ledger: b.ledger, record: func(batch []event.ClaimAccepted) error {
			outcome := outcomes[0]
			outcomes = outcomes[1:]
			if outcome == nil && batch[0].ClaimID == first.ClaimID {
				b.send(second)
			}
			return outcome
		}}
		b.send(first)
		start := time.Now()
		b.run()
		b.same("answers", b.feed.answers, []string{
			"nak " + first.MessageID() + " 150ms", "nak " + first.MessageID() + " 250ms", "nak " + first.MessageID() + " 450ms",
			"ack " + first.MessageID(), "nak " + second.MessageID() + " 150ms", "ack " + second.MessageID(),
		})
		b.same("waited", time.Since(start), time.Second)
		b.same("counts", b.counts(), map[string]int64{"recorded": 2, "naks": 4})
		if err := b.ledger.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// No delay is longer than 30 s, however long the trouble lasts, and the end of
// the context ends every wait.
func TestConsumeDelayIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.consumer.Ledger = &stand{Ledger: b.ledger, record: func([]event.ClaimAccepted) error { return payment.ErrUnavailable }}
		b.consumer.Random = func() float64 { return 1 - 1e-12 }
		b.send(claim(1, 1))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		start := time.Now()
		if err := b.consumer.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
		b.same("time of the end", time.Since(start), 10*time.Minute)
		last := b.feed.answers[len(b.feed.answers)-1]
		if got, want := last[strings.LastIndex(last, " ")+1:], "29.99999"; !strings.HasPrefix(got, want) {
			t.Errorf("last delay: got %s, want %s...", got, want)
		}
		if count := len(b.feed.answers); count < 25 || count > 32 { // 9 short waits, then two a minute
			t.Errorf("attempts in ten minutes: got %d", count)
		}
		if err := b.ledger.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// A message that makes the ledger panic is caught alone: the others are paid, and
// it is parked after as many failures as any other.
func TestConsumePanic(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bad := claim(2, 200)
	b.consumer.Ledger = &stand{Ledger: b.ledger, record: func(batch []event.ClaimAccepted) error {
		for _, claim := range batch {
			if claim.ClaimID == bad.ClaimID {
				panic("index out of range " + strings.Repeat("é", payment.MaxNote))
			}
		}
		return nil
	}}
	b.send(claims(5)...)
	b.run()
	b.same("counts", b.counts(), map[string]int64{"recorded": 4, "failed": 8, "naks": 7, "parked": 1})
	b.same("states", b.states(claims(4)...), []event.State{event.Paid, event.Paid, event.Dead, event.Paid})
	text := b.letters()[0].Error
	if !strings.HasPrefix(text, "panic: index out of range éé") || len(text) > payment.MaxNote {
		t.Errorf("error: got %d bytes: %s", len(text), text)
	}
}

// As long as a message can not be parked, or its failure not be counted, it is
// given back and never given up.
func TestConsumeNeverGivesUpWhatIsNotParked(t *testing.T) {
	t.Parallel()
	broken := errors.New("database disk image is malformed")
	for name, test := range map[string]struct {
		stand stand
		naks  int64
	}{
		"park fails":   {stand{park: times(3, broken)}, 3},
		"park panics":  {stand{park: func() func() error { left := times(2, broken); return func() error { panicOn(left()); return nil } }()}, 2},
		"park is away": {stand{park: times(1, payment.ErrUnavailable)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			test.stand.Ledger = b.ledger
			b.consumer.Ledger = &test.stand
			b.feed.publish("m", []byte("not JSON"))
			b.run()
			b.same("counts", b.counts(), map[string]int64{"parked": 1, "naks": test.naks})
			b.same("last answer", b.feed.answers[test.naks:], []string{"term m"})
		})
	}
	for name, test := range map[string]struct {
		err    error
		failed int64
	}{
		"failure not counted":        {broken, 9},
		"ledger away while counting": {payment.ErrUnavailable, 7},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			refuse := times(9, broken)
			b.consumer.Ledger = &stand{
				Ledger: b.ledger,
				record: func([]event.ClaimAccepted) error { return refuse() },
				fail:   times(2, test.err),
			}
			b.send(claim(1, 1))
			b.run()
			// Nine refusals, but the ledger knows of seven only: not yet a dead letter.
			b.same("counts", b.counts(), map[string]int64{"recorded": 1, "naks": 9, "failed": test.failed})
		})
	}
}

func panicOn(err error) {
	if err != nil {
		panic(err)
	}
}

// When the consumer is told to stop it still finishes what it has fetched.
func TestConsumeFinishesWhatItFetched(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.consumer.Ledger = &stand{Ledger: b.ledger, record: func([]event.ClaimAccepted) error { cancel(); return nil }}
	b.send(claims(3)...)
	if err := b.consumer.Run(ctx); err != nil {
		t.Errorf("run: %v", err)
	}
	b.same("counts", b.counts(), map[string]int64{"recorded": 3})
	b.same("answers", len(b.feed.answers), 3)
	b.same("hinted", len(b.hints.standings), 3)
}

// A hint that can not be sent harms nothing.
func TestConsumeHintsAreBestEffort(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.hints.err = errors.New("no responders")
	b.send(claim(1, 1), claim(1, 1))
	b.run()
	b.same("counts", b.counts(), map[string]int64{"recorded": 1, "repeats": 1, "hints failed": 2})
	b.same("answers", len(b.feed.answers), 2)
}

// failing is a feed that fails a few times before it works.
type failing struct {
	*feed
	left int
}

// Fetch implements payment.Feed.
func (f *failing) Fetch(ctx context.Context, limit int) ([]event.Delivery, error) {
	if f.left--; f.left >= 0 {
		return nil, errors.New("no connection")
	}
	return f.feed.Fetch(ctx, limit)
}

// A broker that is away does not end the consumer.
func TestConsumeWaitsForBroker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.consumer.Feed = &failing{b.feed, 2}
		b.send(claim(1, 1))
		start := time.Now()
		b.run()
		b.same("waited", time.Since(start), 400*time.Millisecond)
		b.same("counts", b.counts(), map[string]int64{"recorded": 1})
		if err := b.ledger.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}
