package outbox_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/store"
)

// reads has the reads of rows to publish counted.
func (b *bench) reads() (count func() int) {
	read := 0
	b.rows.due = func() error {
		b.rows.mutex.Lock()
		defer b.rows.mutex.Unlock()
		read++
		return nil
	}
	return func() (count int) {
		b.change(func() { count = read })
		return count
	}
}

// each holds against want how many messages there are, none of them twice.
func (b *bench) each(what string, want int) {
	b.Helper()
	sent := b.line.sent()
	b.same(what, len(sent), want)
	slices.Sort(sent)
	if once := slices.Compact(sent); len(once) < want {
		b.Errorf("%s: %d of them are different, want all", what, len(once))
	}
}

// What was committed here goes out at once, as it stands in its row, and no row is read for it;
// where payments answers, no mark is written either, and nothing goes out again.
func TestRelaySendsWhatIsHandedOver(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay, marks := b.holding()
		read := b.reads()
		stop := b.start(relay.Run)
		synctest.Wait()
		before := read()
		messages := b.commit(3)
		row := b.rowOf(messages[0].Key)
		relay.Committed(messages)
		synctest.Wait()
		b.each("messages", 3)
		b.same("reads", read()-before, 1) // that of rowOf
		b.same("message", b.line.stream[0], row)
		b.settle(relay)
		pass(5 * time.Second)
		stop()
		b.each("messages later", 3)
		b.same("marks", marks(), 0)
		b.state(messages[0].Key, store.PaymentPaid)
	})
}

// rowOf reads the message of a row that waits to be published.
func (b *bench) rowOf(key event.Key) event.ClaimAccepted {
	b.Helper()
	due, err := b.rows.Due(context.Background(), outbox.ToPublish, b.config.Now(), outbox.Place{}, 1000)
	if err != nil {
		b.Fatalf("read rows: %v", err)
	}
	at := slices.IndexFunc(due, func(row outbox.Row) bool { return row.Key == key })
	if at < 0 {
		b.Fatalf("claim %s: no row waits", key)
	}
	return due[at].ClaimAccepted
}

// What was handed over and stays is marked after the time that it may be held, and is not sent
// again meanwhile, though there is more of it than one reading takes.
func TestRelayMarksWhatWasHandedOver(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay, marks := b.holding()
		defer b.start(relay.Run)()
		synctest.Wait()
		for range 4 {
			relay.Committed(b.commit(450))
			synctest.Wait()
			pass(90 * time.Millisecond)
		}
		b.each("messages", 1800)
		pass(3 * time.Second)
		b.each("messages later", 1800)
		b.same("marks", marks(), 1800)
	})
}

// More than there is room for is read from the rows, at once.
func TestRelayReadsWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay, _ := b.holding()
		defer b.start(relay.Run)()
		synctest.Wait()
		started := time.Now()
		relay.Committed(b.commit(1001))
		synctest.Wait()
		b.each("messages", 1001)
		b.same("waited", time.Since(started), time.Duration(0))
	})
}

// A row that is read before it is handed over, or meanwhile, goes out once.
func TestRelaySendsOnceWhatItHasRead(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		relay, _ := b.holding()
		messages := b.commit(5)
		if _, err := relay.Step(t.Context()); err != nil {
			t.Fatalf("relay: %v", err)
		}
		stop := b.start(relay.Run)
		synctest.Wait()
		relay.Committed(messages)
		synctest.Wait()
		b.change(func() { b.rows.dueAnswered = func() { relay.Committed(messages) } })
		pass(time.Second / 2)
		stop()
		b.each("messages", 5)
	})
}

// Where marks are written at once, what is handed over is read: or it would go out a second time.
func TestRelayReadsWhereItHoldsNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay := outbox.NewRelay(b.config)
		defer b.start(relay.Run)()
		synctest.Wait()
		messages := b.commit(3)
		for range 3 {
			relay.Committed(messages)
			synctest.Wait()
		}
		b.each("messages", 3)
		b.state(messages[2].Key, store.PaymentNotified)
	})
}

// While payments is behind, what is handed over waits in its rows.
func TestRelayHandsOnNoMoreThanItHolds(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay, marks := b.holding()
		defer b.start(relay.Run)()
		synctest.Wait()
		for range 10 {
			relay.Committed(b.commit(400))
			synctest.Wait()
		}
		if sent := len(b.line.sent()); sent < 1600 || sent > 2000 {
			t.Errorf("messages at first: got %d, want as many as are held", sent)
		}
		b.same("marks at first", marks(), 0)
		b.settle(relay)
		synctest.Wait()
		b.settle(relay)
		synctest.Wait()
		pass(3 * time.Second)
		b.each("messages at the end", 4000)
	})
}

// A broker that is away makes the relay wait, as when rows are read; what was handed over in
// vain goes out later, each message once.
func TestRelayKeepsWhatWasHandedOverInVain(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		relay, _ := b.holding()
		b.line.publish = func(event.ClaimAccepted) error { return errors.New("no broker") }
		stop := b.start(relay.Run)
		synctest.Wait()
		for range 300 {
			relay.Committed(b.commit(1))
			pass(100 * time.Millisecond)
		}
		if calls := b.line.count(); calls < 12 || calls > 18 {
			t.Errorf("sends in half a minute without a broker: got %d, want about 15", calls)
		}
		b.change(func() { b.line.publish = nil })
		pass(40 * time.Second)
		stop()
		b.each("messages", 300)
	})
}
