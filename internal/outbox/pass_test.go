package outbox_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/claimrail/claimrail/internal/outbox"
)

// wholes gives how many readings of rows to publish there were, and how many of them over all rows. What
// was read from a place further back than so long is told.
func (b *bench) wholes(back time.Duration) (readings, wholes int) {
	b.Helper()
	b.change(func() {
		readings = len(b.rows.readings)
		for _, reading := range b.rows.readings {
			switch {
			case reading.after == outbox.Place{}:
				wholes++
			case reading.at.Sub(reading.after.DueAt) > back:
				b.Errorf("read at %v from %v, further back than %v", reading.at, reading.after.DueAt, back)
			}
		}
	})
	return readings, wholes
}

// Passes begin a little in front of the first row that is there, and few of them go over all rows: or
// each would read again what is gone and can not be forgotten yet.
func TestPassesBeginWhereRowsAre(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay, _ := b.holding()
		stop := b.start(relay.Run)
		for range 40 {
			b.accept(3)
			pass(500 * time.Millisecond)
			b.settle(relay)
		}
		stop()
		b.same("messages", len(b.line.sent()), 120)
		readings, wholes := b.wholes(3 * time.Second)
		if readings < 40 || wholes > 5 {
			t.Errorf("in 20 s there were %d readings, %d of them over all rows; want at least 40, and 5 at most", readings, wholes)
		}
	})
}

// Passes begin in front of the first row for as long as it is there: a backlog that takes a while is sent
// without a pause.
func TestPassesBeginInFrontOfTheOldest(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		b.accept(6000)
		b.line.slow = 500 * time.Millisecond // a batch
		stop := b.start(outbox.NewRelay(b.config).Run)
		pass(6500 * time.Millisecond)
		b.same("messages", len(b.line.sent()), 6000)
		stop()
	})
}

// A row that is committed an hour late is found by the next pass over all rows.
func TestRelayFindsVeryLateRows(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay, _ := b.holding()
		stop := b.start(relay.Run)
		pass(12 * time.Second)
		b.late(time.Hour, func() { b.accept(1) })
		pass(6 * time.Second)
		b.same("messages", len(b.line.sent()), 1)
		stop()
	})
}

// late has the claims that are stored meanwhile be accepted so long ago.
func (b *bench) late(by time.Duration, do func()) {
	clock := b.config.Now
	b.config.Now = func() time.Time { return clock().Add(-by) }
	do()
	b.config.Now = clock
}

// What is handed over late is sent at once, whether it is sent from memory or read, and found again
// where it stays: it is marked, and not sent twice.
func TestRelaySendsWhatIsHandedOverLate(t *testing.T) {
	t.Parallel()
	for name, wake := range map[string]bool{"from memory": false, "read": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(_ *testing.T, b *bench) {
				relay, marks := b.holding()
				stop := b.start(relay.Run)
				pass(12 * time.Second)
				b.late(10*time.Second, func() {
					messages := b.commit(1)
					if wake {
						relay.Wake()
					}
					relay.Committed(messages)
				})
				synctest.Wait()
				b.same("messages at once", len(b.line.sent()), 1)
				pass(2 * time.Second)
				b.same("marks", marks(), 1)
				b.same("messages", len(b.line.sent()), 1)
				stop()
			})
		})
	}
}

// Passes over all rows that take long are rare: they take a hundredth of the time, until it is a minute
// from one to the next.
func TestSlowPassesAreRare(t *testing.T) {
	t.Parallel()
	for took, most := range map[time.Duration]int{200 * time.Millisecond: 4, 4 * time.Second: 2} {
		t.Run(took.String(), func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(_ *testing.T, b *bench) {
				relay, _ := b.holding()
				b.rows.due = func() error { <-time.After(took); return nil }
				stop := b.start(relay.Run)
				pass(61 * time.Second)
				stop()
				if _, wholes := b.wholes(15 * time.Second); wholes > most {
					t.Errorf("in 61 s there were %d readings over all rows, want %d at most", wholes, most)
				}
			})
		})
	}
}

// A relay that starts on more rows than can be gone over in the usual time is given longer, try by try; from then on
// it sends what comes, though no later pass over all rows is through in time.
func TestFirstPassIsGivenTime(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay, _ := b.holding()
		b.rows.whole = 15 * time.Second
		b.accept(3)
		stop := b.start(relay.Run)
		pass(45 * time.Second)
		b.same("messages", len(b.line.sent()), 3)
		for range 100 {
			b.accept(1)
			relay.Wake()
			pass(2 * time.Second)
		}
		pass(10 * time.Second)
		b.same("messages in the end", len(b.line.sent()), 103)
		stop()
	})
}
