package outbox_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/store"
)

// holding makes a relay that holds its marks back, and counts those that it writes.
func (b *bench) holding() (relay *outbox.Relay, marks func() int) {
	b.config.Hold = outbox.DefaultHold
	written := 0
	b.rows.apply = func(changes []outbox.Change) error {
		b.rows.mutex.Lock()
		defer b.rows.mutex.Unlock()
		for i := range changes {
			if changes[i].Move == outbox.MarkPublished {
				written++
			}
		}
		return nil
	}
	return outbox.NewRelay(b.config), func() (count int) {
		b.change(func() { count = written })
		return count
	}
}

// settle has payments pay all that was sent, and say so; a relay that is not of this process
// does not hear of it.
func (b *bench) settle(relays ...*outbox.Relay) {
	b.Helper()
	var from uint64
	b.change(func() { from = b.line.floor })
	b.line.pay()
	var answer event.Answer
	b.change(func() {
		for _, message := range b.line.stream[from:] {
			answer.Standings = append(answer.Standings, b.line.standing(message.Key))
		}
	})
	if err := outbox.NewSweep(b.config).Hint(context.Background(), answer); err != nil {
		b.Errorf("hint: %v", err)
	}
	for _, relay := range relays {
		relay.Settled(answer.Standings)
	}
}

// Of claims that payments answers at once, no mark is ever written, and none is sent twice.
func TestRelayWritesNoMarkOfWhatIsSettled(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay, marks := b.holding()
		stop := b.start(relay.Run)
		keys := b.accept(1200)
		relay.Wake()
		synctest.Wait()
		b.settle(relay)
		pass(5 * time.Second)
		stop()
		for _, key := range keys {
			b.state(key, store.PaymentPaid)
		}
		b.same("messages", len(b.line.sent()), 1200)
		b.same("marks", marks(), 0)
	})
}

// What payments does not answer is marked after the time that it may be held, and no
// earlier; it is not sent again meanwhile.
func TestRelayMarksWhatStays(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay, marks := b.holding()
		key := b.accept(700)[0]
		defer b.start(relay.Run)()
		pass(outbox.DefaultHold - time.Millisecond)
		b.same("marks before", marks(), 0)
		b.state(key, store.PaymentPending)
		pass(time.Second)
		b.same("marks", marks(), 700)
		b.state(key, store.PaymentNotified)
		b.same("messages", len(b.line.sent()), 700)
	})
}

// A row that is settled after it was read is not taken for one that is still to be sent.
func TestRelayRemembersWhatIsSettled(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		relay, _ := b.holding()
		b.accept(3)
		for range 2 {
			if _, err := relay.Step(t.Context()); err != nil {
				t.Fatalf("relay: %v", err)
			}
			b.rows.dueAnswered = func() { b.settle(relay) }
		}
		b.same("messages", len(b.line.sent()), 3)
	})
}

// While payments is behind, the relay sends what it can hold and waits; it goes on as soon
// as payments answers, and where it does not answer, as soon as the marks are due. Whatever
// happens, each message is sent once.
func TestRelayWaitsForPayments(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay, marks := b.holding()
		b.accept(4000)
		stop := b.start(relay.Run)
		synctest.Wait()
		b.same("messages at first", len(b.line.sent()), 2000)
		b.settle(relay)
		synctest.Wait()
		b.same("messages when the first are settled", len(b.line.sent()), 4000)
		b.same("marks", marks(), 0)

		b.accept(4000)
		pass(outbox.DefaultHold - 100*time.Millisecond)
		b.same("messages while the second are held", len(b.line.sent()), 4000)
		pass(5 * time.Second)
		b.same("messages at the end", len(b.line.sent()), 8000)
		stop()
	})
}

// What is settled by another process does not stay in the way of what comes.
func TestRelayForgetsWhatOthersSettle(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay, marks := b.holding()
		stop := b.start(relay.Run)
		for range 2 {
			b.accept(2000)
			pass(500 * time.Millisecond)
			b.settle()
		}
		b.same("messages", len(b.line.sent()), 4000)
		b.same("marks", marks(), 0)
		stop()
	})
}

// A row that is committed late, in front of what was read already, is found while much is
// held, too.
func TestRelayFindsLateRows(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay, _ := b.holding()
		stop := b.start(relay.Run)
		now := b.config.Now()
		b.accept(700)
		relay.Wake()
		synctest.Wait()
		clock := b.config.Now
		b.config.Now = func() time.Time { return now.Add(-time.Second) }
		b.accept(1)
		b.config.Now = clock
		pass(500 * time.Millisecond)
		b.same("messages", len(b.line.sent()), 701)
		stop()
	})
}

// Where others are seen at work on the same rows, they would send again what is held, so
// nothing is; ten seconds after the last of them was seen, marks are held back again.
func TestRelayHoldsNothingAmongOthers(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		other, _ := b.holding()
		relay, marks := b.holding()
		step := func(relay *outbox.Relay) {
			if _, err := relay.Step(t.Context()); err != nil {
				t.Fatalf("relay: %v", err)
			}
		}
		b.accept(3)
		step(other)
		step(relay)
		b.same("messages", len(b.line.sent()), 6)
		b.same("marks of what was there already", marks(), 3)
		b.accept(1)
		step(relay)
		b.same("marks behind that", marks(), 4)
		pass(11 * time.Second)
		b.accept(1)
		step(relay)
		b.same("marks later", marks(), 4)
	})
}

// Told to stop, the relay marks all that it holds.
func TestRelayMarksAtTheEnd(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay, marks := b.holding()
		b.accept(1200)
		stop := b.start(relay.Run)
		synctest.Wait()
		b.same("marks before", marks(), 0)
		stop()
		b.same("marks", marks(), 1200)
	})
}

// Marks that the database did not take are written later; nothing is sent again for that.
func TestRelayKeepsMarksThatFailed(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay, _ := b.holding()
		key := b.accept(1)[0]
		stop := b.start(relay.Run)
		b.change(func() { b.rows.apply = func([]outbox.Change) error { return errFault } })
		pass(10 * time.Second)
		b.state(key, store.PaymentPending)
		b.change(func() { b.rows.apply = nil })
		pass(10 * time.Second)
		b.state(key, store.PaymentNotified)
		b.same("messages", len(b.line.sent()), 1)
		stop()
	})
}
