package outbox_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/store"
)

// pass lets so much of the bubble's time pass, until everybody waits again.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// A failed send is visible on the claim as "failed to notify payments", with its error,
// the number of attempts and the next one. The wait is drawn from 100 ms up to a ceiling
// that doubles to 30 s, and it never ends: the last of many attempts goes out.
func TestRelayRetriesForEver(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		random float64
		waits  []time.Duration // in ms; the last one stays
	}{
		{"shortest", 0, []time.Duration{100}},
		{"middle", 0.5, []time.Duration{150, 250, 450, 850, 1650, 3250, 6450, 12850, 15050}},
		{"almost longest", 0.999, []time.Duration{199, 399, 799, 1598, 3196, 6393, 12787, 25574, 29970}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, b *bench) {
				b.config.Random = func() float64 { return test.random }
				relay := outbox.NewRelay(b.config)
				key := b.accept(1)[0]
				b.line.publish = func(event.ClaimAccepted) error { return errors.New("no broker") }
				for attempt := range 40 {
					if _, err := relay.Step(t.Context()); err == nil {
						t.Fatalf("attempt %d: got no error while the broker takes nothing", attempt)
					}
					got := b.payment(key)
					wait := time.Until(got.NextAttemptAt)
					got.NextAttemptAt = time.Time{}
					b.same("payment", got, store.Payment{State: store.PaymentFailed, Attempts: attempt + 1, Error: "no broker"})
					if want := test.waits[min(attempt, len(test.waits)-1)] * time.Millisecond; wait.Truncate(time.Millisecond) != want {
						t.Errorf("wait after attempt %d: got %v, want %v", attempt, wait, want)
					}
					if _, err := relay.Step(t.Context()); err != nil {
						t.Errorf("a row that is not due was sent: %v", err)
					}
					pass(wait)
				}
				b.line.publish = nil
				if _, err := relay.Step(t.Context()); err != nil {
					t.Errorf("relay: %v", err)
				}
				b.same("payment", b.payment(key), store.Payment{State: store.PaymentNotified, Attempts: 40})
				b.same("failed", relay.Stats.Failed.Load(), int64(40))
				b.same("published", relay.Stats.Published.Load(), int64(1))
			})
		})
	}
}

// The broker's acknowledgement settles nothing, however long it lies back.
func TestRelayNeverSettlesOnAck(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		keys := b.accept(3)
		stop := b.start(outbox.NewRelay(b.config).Run)
		pass(10 * time.Minute)
		stop()
		for _, key := range keys {
			b.state(key, store.PaymentNotified)
		}
		b.same("messages", len(b.line.sent()), 3)
	})
}

// A message that no broker will ever take is parked at once and keeps no other from
// going out; it is looked at again, an hour later, and then by itself.
func TestRelayParksUnsendable(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		keys := b.accept(5)
		bad := keys[2]
		b.line.publish = func(message event.ClaimAccepted) error {
			if message.Key == bad {
				return fmt.Errorf("%w: 300000 bytes", outbox.ErrUnsendable)
			}
			return nil
		}
		relay := outbox.NewRelay(b.config)
		if _, err := relay.Step(t.Context()); err != nil {
			t.Errorf("relay: got %v for a message that is at fault itself", err)
		}
		b.same("payment", b.payment(bad), store.Payment{
			State: store.PaymentDeadLettered, Error: "message can not be sent: 300000 bytes",
		})
		for _, key := range slices.DeleteFunc(keys, func(key event.Key) bool { return key == bad }) {
			b.state(key, store.PaymentNotified)
		}
		b.same("counted", relay.Stats.Unsendable.Load(), int64(1))
		b.same("log", b.warnings(), []string{"a claim can not be sent to payments, parking it"})

		b.line.pay()
		b.line.publish = nil
		sweep := outbox.NewSweep(b.config)
		pass(time.Hour - time.Microsecond)
		sweep.Step(t.Context())
		b.state(bad, store.PaymentDeadLettered)
		pass(time.Microsecond)
		sweep.Step(t.Context())
		if _, err := relay.Step(t.Context()); err != nil {
			t.Errorf("relay: %v", err)
		}
		b.same("payment an hour later", b.payment(bad), store.Payment{State: store.PaymentNotified, Gen: 1})
	})
}

// If all that is due can not be sent, that says nothing about the broker: the relay does
// not back off.
func TestRelayUnsendableIsNoTrouble(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		b.accept(2)
		b.line.publish = func(event.ClaimAccepted) error { return outbox.ErrUnsendable }
		if full, err := outbox.NewRelay(b.config).Step(t.Context()); full || err != nil {
			t.Errorf("relay: got %t, %v, want false, nil", full, err)
		}
	})
}

// Wake has the relay look at once; without it, the relay looks every 250 ms. A wake-up
// that comes while it works is not lost.
func TestRelayWakes(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		relay := outbox.NewRelay(b.config)
		defer b.start(relay.Run)()
		pass(250*time.Millisecond + time.Microsecond)
		first := b.accept(1)[0]
		relay.Wake()
		relay.Wake()
		synctest.Wait()
		b.state(first, store.PaymentNotified)

		second := b.accept(1)[0]
		synctest.Wait()
		b.state(second, store.PaymentPending)
		pass(250 * time.Millisecond)
		b.state(second, store.PaymentNotified)

		// The third claim comes after the relay has read the rows of that round.
		looked := false
		var third event.Key
		b.rows.dueAnswered = func() {
			if !looked {
				looked = true
				third = b.accept(1)[0]
				relay.Wake()
			}
		}
		relay.Wake()
		synctest.Wait()
		b.state(third, store.PaymentNotified)
	})
}

// What waits goes out in full batches, without a pause between them.
func TestRelayEmptiesABacklogAtOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		b.accept(1200)
		start := time.Now()
		stop := b.start(outbox.NewRelay(b.config).Run)
		synctest.Wait()
		b.same("calls", b.line.calls, []string{"publish 500", "publish 500", "publish 200"})
		b.same("waited", time.Since(start), time.Duration(0))
		stop()
	})
}

// While the broker is away the relay tries ever more rarely, up to five seconds, though
// new claims wake it all the time; when the broker is back, everything goes out.
func TestRelayBacksOffWhileBrokerIsAway(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		relay := outbox.NewRelay(b.config)
		b.line.publish = func(event.ClaimAccepted) error { return errors.New("no broker") }
		stop := b.start(relay.Run)
		var keys []event.Key
		for range 300 {
			keys = append(keys, b.accept(1)...)
			relay.Wake()
			pass(100 * time.Millisecond)
		}
		// 150, 250, 450, 850, 1650 ms, and then 2550 ms each.
		if calls := b.line.count(); calls < 12 || calls > 18 {
			t.Errorf("sends in half a minute without a broker: got %d, want about 15", calls)
		}
		for at := 7; at < len(b.line.at); at++ {
			if got := b.line.at[at].Sub(b.line.at[at-1]); got < 2550*time.Millisecond || got > 2800*time.Millisecond {
				t.Errorf("wait before send %d: got %v, want 2.55s and at most one poll", at, got)
			}
		}
		b.line.publish = nil
		pass(40 * time.Second)
		for _, key := range keys {
			b.state(key, store.PaymentNotified)
		}
		b.same("log", b.warnings(), []string{
			"claims can not be sent to payments: trying again until it works", "claims can not be sent to payments: works again",
		})
		stop()
	})
}

// A database that can not be read, or that does not take the marks, makes the relay wait
// longer each time. Messages whose marks were lost go out again under the same ids.
func TestRelayDatabaseAway(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		key := b.accept(1)[0]
		broken, tries := errors.New("disk full"), 0
		count := func() error { tries++; return broken }
		b.rows.due = count
		relay := outbox.NewRelay(b.config)
		stop := b.start(relay.Run)
		pass(time.Minute)
		stop()
		if tries < 20 || tries > 30 {
			t.Errorf("reads in a minute: got %d, want about 27", tries)
		}
		b.same("counted", relay.Stats.DatabaseErrors.Load(), int64(tries))

		b.rows.due, tries = nil, 0
		b.rows.apply = func([]outbox.Change) error { return count() }
		relay = outbox.NewRelay(b.config)
		stop = b.start(relay.Run)
		pass(time.Minute)
		stop()
		if tries < 20 || tries > 30 {
			t.Errorf("sends in a minute: got %d, want about 27", tries)
		}
		b.same("ids", slices.Compact(b.line.sent()), []string{event.Ref{Key: key}.MessageID()})
		b.state(key, store.PaymentPending)

		b.rows.apply = nil
		stop = b.start(relay.Run)
		synctest.Wait()
		b.state(key, store.PaymentNotified)
		stop()
	})
}

// One broken send among many neither stops the relay nor delays the others.
func TestRelayPartialFailure(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		keys := b.accept(700)
		b.line.publish = func(message event.ClaimAccepted) error {
			if message.Key == keys[0] {
				return errors.New("refused")
			}
			return nil
		}
		start := time.Now()
		stop := b.start(outbox.NewRelay(b.config).Run)
		synctest.Wait()
		b.same("waited", time.Since(start), time.Duration(0))
		b.same("messages", len(b.line.sent()), 699)
		b.state(keys[0], store.PaymentFailed)
		stop()
	})
}

// A line that answers nobody in time counts as a failure after five seconds.
func TestRelayBoundsASend(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		key := b.accept(1)[0]
		b.line.slow = time.Hour
		start := time.Now()
		if _, err := outbox.NewRelay(b.config).Step(t.Context()); err == nil {
			t.Error("relay: got no error")
		}
		b.same("waited", time.Since(start), 5*time.Second)
		b.state(key, store.PaymentFailed)
	})
}

// Told to stop, the relay still marks what it has sent.
func TestRelayStopsBehindItsBatch(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		key := b.accept(1)[0]
		b.line.slow = 3 * time.Second
		stop := b.start(outbox.NewRelay(b.config).Run)
		synctest.Wait()
		start := time.Now()
		stop()
		b.same("waited", time.Since(start), 3*time.Second)
		b.state(key, store.PaymentNotified)
		b.same("log", b.warnings(), []string{})
	})
}

// Two relays at once send messages twice, under the same ids, and do nothing worse: every
// row is published in its first generation, and one payment settles it.
func TestRelaysAtOnceCostDuplicatesOnly(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		keys := b.accept(900)
		b.line.slow = time.Second // both have read the same rows by then
		relays := []*outbox.Relay{outbox.NewRelay(b.config), outbox.NewRelay(b.config)}
		var stops []func()
		for _, relay := range relays {
			stops = append(stops, b.start(relay.Run))
		}
		pass(10 * time.Second)
		for _, stop := range stops {
			stop()
		}
		sent := b.line.sent()
		if len(sent) <= len(keys) {
			t.Errorf("messages: got %d for %d claims, want duplicates, or this proves nothing", len(sent), len(keys))
		}
		slices.Sort(sent)
		sent = slices.Compact(sent)
		b.same("ids", len(sent), len(keys))
		for _, id := range sent {
			if !strings.HasSuffix(id, ".1.0") {
				t.Errorf("message: got %s, want generation 0", id)
			}
		}
		b.line.pay()
		sweep := outbox.NewSweep(b.config)
		pass(5 * time.Second)
		for sweep.Step(t.Context()) {
		}
		for _, key := range keys {
			b.state(key, store.PaymentPaid)
		}
		b.same("sent again", sweep.Stats.Resent.Load(), int64(0))
	})
}

// Wake may be called by anybody, at any time, and never blocks.
func TestRelayWakeNeverBlocks(t *testing.T) {
	t.Parallel()
	relay := outbox.NewRelay(outbox.Config{})
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 100 {
				relay.Wake()
			}
		})
	}
	wait.Wait()
}
