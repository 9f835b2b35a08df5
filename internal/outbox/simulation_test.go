package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/store"
)

// errFault is what a drawn fault says.
var errFault = errors.New("drawn fault")

// Whatever goes wrong between claims and payments, and in whatever order, no claim is
// settled without its payment; and once things go right again every claim is settled
// exactly by its payment, but for those that an operator wrote off, and those of which
// payments has another amount on record. Two relays and two sweeps work on one database;
// the broker refuses, loses what it took, forgets its stream, delivers again; hints come
// late, twice or never; commits fail before or behind the fact.
func TestEveryClaimIsSettledByItsPayment(t *testing.T) {
	t.Parallel()
	folder, run := t.TempDir(), 0
	empty := emptyDatabase(t, filepath.Join(folder, "empty.db"))
	rapid.Check(t, func(t *rapid.T) {
		run++
		path := filepath.Join(folder, fmt.Sprint(run, ".db"))
		if err := os.WriteFile(path, empty, 0o600); err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, path)
		defer func() { _ = w.rows.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"accept":   w.acceptSome,
			"relay":    w.relay,
			"sweep":    w.sweep,
			"consume":  w.consume,
			"hint":     w.hint,
			"lose":     w.lose,
			"replay":   func(*rapid.T) { clear(w.answered) },
			"operator": w.operator,
			"conflict": w.conflict,
			"time": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second)
			},
			"": func(*rapid.T) { w.noneSettledWithoutPayment() },
		})
		w.heal()
		w.allSettled()
	})
}

// emptyDatabase gives the bytes of a claims database without claims, to be copied: that is
// faster than to make each anew.
func emptyDatabase(t *testing.T, path string) []byte {
	t.Helper()
	b := open(t, path)
	if err := b.rows.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	empty, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return empty
}

// world is a bench with a clock that is moved by hand, and the payments side beside it.
type world struct {
	*bench
	now      time.Time
	claims   []event.Key
	wrong    map[event.Key]bool // payments has another amount on record
	answered map[uint64]bool    // sequences that the consumer has answered
	hints    []event.Standing   // sent, and still on their way
	relays   [2]*outbox.Relay
	sweeps   [2]*outbox.Sweep
}

func newWorld(t *rapid.T, path string) *world {
	w := &world{
		bench:    open(t, path),
		now:      time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC),
		wrong:    map[event.Key]bool{},
		answered: map[uint64]bool{},
	}
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	w.config.Now = func() time.Time { return w.now }
	w.config.Random = random.Float64
	for i := range w.relays {
		if i == 1 { // the other one marks at once
			w.config.Hold = outbox.DefaultHold
		}
		w.relays[i], w.sweeps[i] = outbox.NewRelay(w.config), outbox.NewSweep(w.config)
	}
	return w
}

func (w *world) acceptSome(t *rapid.T) {
	w.claims = append(w.claims, w.accept(rapid.IntRange(1, 3).Draw(t, "claims"))...)
}

// breakCommit draws whether the next Apply fails, and on which side of its commit.
func (w *world) breakCommit(t *rapid.T) {
	w.rows.apply, w.rows.afterApply = nil, nil
	switch rapid.SampledFrom([]string{"none", "none", "none", "before", "behind"}).Draw(t, "commit fault") {
	case "before":
		w.rows.apply = func([]outbox.Change) error { return errFault }
	case "behind":
		w.rows.afterApply = func() error { return errFault }
	}
}

// relay has one of the relays send a batch; each message may be refused, or be taken
// and lost.
func (w *world) relay(t *rapid.T) {
	w.breakCommit(t)
	lost := map[int]bool{}
	w.line.publish = func(event.ClaimAccepted) error {
		switch rapid.SampledFrom([]string{"takes", "takes", "refuses", "loses", "too large"}).Draw(t, "broker") {
		case "refuses":
			return errFault
		case "loses":
			lost[len(w.line.stream)] = true
		case "too large":
			return outbox.ErrUnsendable
		}
		return nil
	}
	_, _ = w.relays[rapid.IntRange(0, 1).Draw(t, "relay")].Step(context.Background())
	for at := range lost {
		w.line.stream[at] = event.ClaimAccepted{}
	}
}

// sweep has one of the sweeps ask; payments may be away, and it may go on paying between
// the progress and the question, and right behind the answer.
func (w *world) sweep(t *rapid.T) {
	w.breakCommit(t)
	w.line.moving, w.line.asking, w.line.forge = nil, nil, nil
	switch rapid.SampledFrom([]string{"none", "no progress", "no answer", "pays before", "pays behind", "forged"}).Draw(t, "ask fault") {
	case "no progress":
		w.line.moving = func() error { return errFault }
	case "no answer":
		w.line.asking = func() error { return errFault }
	case "pays before":
		w.line.asking = func() error { w.consume(t); return nil }
	case "pays behind":
		w.line.forge = func(answer []event.Standing) []event.Standing { w.consume(t); return answer }
	case "forged":
		w.line.forge = func(answer []event.Standing) []event.Standing { return answer[1:] }
	}
	w.advance()
	w.sweeps[rapid.IntRange(0, 1).Draw(t, "sweep")].Step(context.Background())
}

// consume has payments take some messages: it pays them or parks them, and its answer to
// the broker may get lost.
func (w *world) consume(t *rapid.T) {
	for range rapid.IntRange(1, 4).Draw(t, "messages") {
		if len(w.line.stream) == 0 {
			return
		}
		at := rapid.IntRange(0, len(w.line.stream)-1).Draw(t, "message")
		if w.answered[uint64(at+1)] {
			continue
		}
		park := rapid.IntRange(0, 3).Draw(t, "parks") == 0
		w.process(w.line.stream[at], park)
		w.answered[uint64(at+1)] = rapid.IntRange(0, 4).Draw(t, "answer lost") > 0
	}
	w.advance()
}

// process is what the consumer does to a message; the standing goes out as a hint.
func (w *world) process(message event.ClaimAccepted, park bool) {
	if message.Version == 0 {
		return // lost
	}
	switch found := w.line.standing(message.Key).State; {
	case found == event.Paid || found == event.Discarded:
	case park:
		w.say(event.Dead, "failed", message.Key)
	default:
		w.line.ledger[message.Key] = paid(message)
	}
	w.hints = append(w.hints, w.line.ledger[message.Key])
}

// advance moves the consumer's floor over what is answered or lost.
func (w *world) advance() {
	w.line.floor = 0
	for i, message := range w.line.stream {
		if message.Version > 0 && !w.answered[uint64(i+1)] {
			return
		}
		w.line.floor++
	}
}

// hint delivers a hint, an old one perhaps; it may come once more, or have been lost.
func (w *world) hint(t *rapid.T) {
	if len(w.hints) == 0 {
		return
	}
	w.breakCommit(t)
	at := rapid.IntRange(0, len(w.hints)-1).Draw(t, "hint")
	standing := w.hints[at]
	if rapid.Bool().Draw(t, "comes once") {
		w.hints = append(w.hints[:at], w.hints[at+1:]...)
	}
	standings := []event.Standing{standing}
	if w.sweeps[0].Hint(context.Background(), event.Answer{Standings: standings}) == nil && standing.State == event.Paid {
		w.relays[1].Settled(standings)
	}
}

// lose cuts the end off the stream, all of it perhaps; new messages take the places.
func (w *world) lose(t *rapid.T) {
	left := rapid.IntRange(0, len(w.line.stream)).Draw(t, "messages left")
	for at := left; at < len(w.line.stream); at++ {
		delete(w.answered, uint64(at+1))
	}
	w.line.stream = w.line.stream[:left]
	w.advance()
}

// operator decides on a dead letter.
func (w *world) operator(t *rapid.T) {
	for _, key := range w.claims {
		if w.line.standing(key).State != event.Dead {
			continue
		}
		if rapid.Bool().Draw(t, "redrive") {
			delete(w.line.ledger, key)
		} else {
			w.say(event.Discarded, "void", key)
		}
		w.hints = append(w.hints, w.line.standing(key))
		return
	}
}

// conflict has payments record another amount for a claim that it did not know.
func (w *world) conflict(t *rapid.T) {
	if len(w.claims) == 0 {
		return
	}
	key := rapid.SampledFrom(w.claims).Draw(t, "claim")
	if w.line.standing(key).State == event.Unknown && rapid.IntRange(0, 3).Draw(t, "rarely") == 0 {
		w.wrong[key] = true
		w.line.ledger[key] = paid(event.ClaimAccepted{Ref: event.Ref{Key: key}, NetFee: -1})
	}
}

func (w *world) noneSettledWithoutPayment() {
	settled, err := w.rows.Claims(context.Background(), store.Filter{PaymentState: store.PaymentPaid, Limit: store.MaxPage})
	if err != nil {
		w.Fatalf("list settled claims: %v", err)
	}
	for _, claim := range settled {
		key := event.Key{ClaimID: claim.ClaimID, Version: claim.Version}
		if w.wrong[key] || w.line.standing(key).State != event.Paid || claim.Payment.PaymentID != paymentID(key) {
			w.Fatalf("claim %s is settled by %s, payments has %+v", key, claim.Payment.PaymentID, w.line.standing(key))
		}
	}
}

// heal lets everything go right, and an operator redrive what is parked, until nothing
// moves any more. No wait is longer than an hour, so 4 of them are plenty.
func (w *world) heal() {
	w.rows.apply, w.rows.afterApply = nil, nil
	w.line.publish, w.line.moving, w.line.asking, w.line.forge = nil, nil, nil, nil
	for _, key := range w.claims {
		if w.line.standing(key).State == event.Dead {
			delete(w.line.ledger, key)
		}
	}
	for range 48 {
		w.now = w.now.Add(5 * time.Minute)
		for i := range w.relays {
			if _, err := w.relays[i].Step(context.Background()); err != nil {
				w.Fatalf("relay of a sound line: %v", err)
			}
		}
		for at, message := range w.line.stream {
			w.process(message, false)
			w.answered[uint64(at+1)] = true
		}
		w.advance()
		for i := range w.sweeps {
			for w.sweeps[i].Step(context.Background()) {
			}
		}
		backlog, err := w.rows.Backlog(context.Background())
		if err != nil {
			w.Fatalf("backlog: %v", err)
		}
		if backlog.Pending+backlog.Published == 0 && backlog.Dead == len(w.wrong) && w.conflicts() == len(w.wrong) {
			return
		}
	}
}

// conflicts counts the claims that show another amount; too large ones are dead, too.
func (w *world) conflicts() (count int) {
	for key := range w.wrong {
		if w.payment(key).Error == outbox.ReasonAmount {
			count++
		}
	}
	return count
}

func (w *world) allSettled() {
	for i, key := range w.claims {
		want := store.Payment{}
		got := w.payment(key)
		switch standing := w.line.standing(key); {
		case w.wrong[key]:
			want = store.Payment{State: store.PaymentDeadLettered, Error: outbox.ReasonAmount}
		case standing.State == event.Discarded:
			want = store.Payment{State: store.PaymentDiscarded, Error: "void"}
		default:
			want = store.Payment{State: store.PaymentPaid, PaymentID: paymentID(key), RecordedAt: standing.RecordedAt}
			if int(standing.NetFee) != i+1 {
				w.Errorf("payment of claim %s: got %s, want %d cents", key, standing.NetFee, i+1)
			}
		}
		got.Gen, got.Attempts, got.SettledAt = 0, 0, time.Time{}
		w.same(fmt.Sprint("payment of claim ", key), got, want)
	}
}
