package storetest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/store"
)

func outboxChecks() []check {
	return []check{
		{"guards of the moves", movesKeepTheirGuards},
		{"publish", movePublish},
		{"fail", moveFail},
		{"postpone", movePostpone},
		{"ask now", moveAskNow},
		{"resend", moveResend},
		{"settle", moveSettle},
		{"settle with another amount", moveSettleOtherAmount},
		{"dead and discarded", moveDeadAndDiscarded},
		{"changes in their order", movesInOrder},
		{"workers at the same time", movesAtOnce},
		{"order and limit of what is due", dueOrder},
		{"reading on behind a place", dueBehind},
		{"long reasons", longReasons},
		{"backlog", backlogCounts},
	}
}

// paymentID is the payment that settle brings.
func paymentID() uuid.UUID { return uuid.MustParse("11111111-2222-8333-8444-555555555555") }

// settle says that payments has the claim on record with the amount, whatever the
// generation.
func settle(c *claim.Claim, amount money.Cents) outbox.Change {
	return outbox.Change{Ref: ref(c, 77), Move: outbox.Settle, Paid: event.Standing{
		Key: ref(c, 77).Key, State: event.Paid, PaymentID: paymentID(), NetFee: amount, RecordedAt: after(time.Second),
	}}
}

// published and dead bring a claim's row from Pending into that state, due at the time.
func published(c *claim.Claim, due time.Time) outbox.Change {
	return outbox.Change{Ref: ref(c, 0), Move: outbox.MarkPublished, DueAt: due, Sequence: 7}
}

func dead(c *claim.Claim, due time.Time) outbox.Change {
	return outbox.Change{Ref: ref(c, 0), Move: outbox.MarkDead, DueAt: due, Reason: "parked"}
}

// Every move is tried on rows of every state, with the row's generation and with
// another: it changes exactly those that its guard names, and leaves all else as it was.
func movesKeepTheirGuards(t *testing.T, f *fixture) {
	const anyGen, sameGen = true, false
	for _, test := range []struct {
		name   string
		move   outbox.Move
		gen    bool
		states string // P(ending) S(ent) D(ead) X (discarded); never G (gone)
	}{
		{"MarkPublished", outbox.MarkPublished, sameGen, "P"},
		{"MarkFailed", outbox.MarkFailed, sameGen, "P"},
		{"Postpone", outbox.Postpone, sameGen, "SD"},
		{"AskNow", outbox.AskNow, anyGen, "SD"},
		{"Resend", outbox.Resend, sameGen, "SD"},
		{"Settle", outbox.Settle, anyGen, "PSDX"},
		{"MarkDead", outbox.MarkDead, anyGen, "PSD"},
		{"MarkDiscarded", outbox.MarkDiscarded, anyGen, "PSDX"},
	} {
		for _, state := range "PSDXG" {
			for gen := range 2 {
				c := f.claim(t, fmt.Sprintf("%s %c %d", test.name, state, gen), nets(npiA, 5))
				f.accept(t, noon(), c)
				switch state {
				case 'S':
					f.apply(t, noon(), 1, published(c, noon()))
				case 'D':
					f.apply(t, noon(), 1, dead(c, noon()))
				case 'X':
					f.apply(t, noon(), 1, outbox.Change{Ref: ref(c, 0), Move: outbox.MarkDiscarded, Reason: "written off"})
				case 'G':
					f.apply(t, noon(), 1, settle(c, 5))
				}
				want := 0
				for _, allowed := range test.states {
					if allowed == state && (gen == 0 || test.gen) {
						want = 1
					}
				}
				before := f.record(t, c)
				change := settle(c, 5)
				change.Ref, change.Move, change.DueAt, change.Reason = ref(c, gen), test.move, after(time.Hour), "moved"
				f.apply(t, after(time.Minute), want, change)
				if want == 0 {
					same(t, c.ExternalID, f.record(t, c), before)
				}
			}
		}
	}
	unknown := f.claim(t, "never accepted", nets(npiA, 5))
	f.apply(t, noon(), 0, settle(unknown, 5), published(unknown, noon()))
	stored := f.claim(t, "another version", nets(npiA, 5))
	f.accept(t, noon(), stored)
	other := *stored
	other.Version++
	f.apply(t, noon(), 0, settle(&other, 5), published(&other, noon()))
}

// A published row waits in the other queue, with its place in the stream; what went wrong
// before is forgotten.
func movePublish(t *testing.T, f *fixture) {
	c := f.claim(t, "one", nets(npiA, 5))
	f.accept(t, noon(), c)
	f.apply(t, noon(), 1, outbox.Change{Ref: ref(c, 0), Move: outbox.MarkFailed, DueAt: noon(), Reason: "no broker"})
	f.apply(t, after(time.Second), 1, published(c, after(time.Minute)))
	same(t, "to publish", f.due(t, outbox.ToPublish, after(time.Hour)), []outbox.Row(nil))
	same(t, "to ask too early", f.due(t, outbox.ToAsk, after(time.Minute-time.Microsecond)), []outbox.Row(nil))
	same(t, "to ask", f.due(t, outbox.ToAsk, after(time.Minute)), []outbox.Row{{
		ClaimAccepted: store.Submission{Claim: c}.Message(noon()),
		State:         outbox.Published, Attempts: 1, Sequence: 7, PublishedAt: after(time.Second),
	}})
	same(t, "payment", f.record(t, c).Payment, store.Payment{State: store.PaymentNotified, Attempts: 1})
}

// A failed send is counted, shown with its reason, and due again when it says.
func moveFail(t *testing.T, f *fixture) {
	c := f.claim(t, "one", nets(npiA, 5))
	f.accept(t, noon(), c)
	for i, reason := range []string{"no broker", "too slow"} {
		at := after(time.Duration(i+1) * time.Minute)
		f.apply(t, noon(), 1, outbox.Change{Ref: ref(c, 0), Move: outbox.MarkFailed, DueAt: at, Reason: reason})
		same(t, "payment", f.record(t, c).Payment, store.Payment{
			State: store.PaymentFailed, Attempts: i + 1, Error: reason, NextAttemptAt: at,
		})
		same(t, "too early", f.due(t, outbox.ToPublish, at.Add(-time.Microsecond)), []outbox.Row(nil))
		same(t, "due", f.due(t, outbox.ToPublish, at), []outbox.Row{{
			ClaimAccepted: store.Submission{Claim: c}.Message(noon()), State: outbox.Pending, Attempts: i + 1,
		}})
	}
}

// A postponed row keeps everything but the time when it is due.
func movePostpone(t *testing.T, f *fixture) {
	sent, parked := f.claim(t, "sent", nets(npiA, 5)), f.claim(t, "parked", nets(npiA, 6))
	f.accept(t, noon(), sent, parked)
	f.apply(t, noon(), 2, published(sent, noon()), dead(parked, noon()))
	before := f.due(t, outbox.ToAsk, noon())
	f.apply(t, after(time.Second), 2,
		outbox.Change{Ref: ref(sent, 0), Move: outbox.Postpone, DueAt: after(time.Minute)},
		outbox.Change{Ref: ref(parked, 0), Move: outbox.Postpone, DueAt: after(2 * time.Minute)})
	same(t, "too early", f.due(t, outbox.ToAsk, after(time.Minute-1)), []outbox.Row(nil))
	if len(before) != 2 || before[0].ClaimID != sent.ID {
		before[0], before[1] = before[1], before[0]
	}
	same(t, "due", f.due(t, outbox.ToAsk, after(2*time.Minute)), before)
	if got, want := f.record(t, parked).Payment.Error, "parked"; got != want {
		t.Errorf("reason: got %q, want %q", got, want)
	}
}

// A row that is to be asked about now is due then, whatever generation is named, and else
// stays as it was.
func moveAskNow(t *testing.T, f *fixture) {
	sent, parked := f.claim(t, "sent", nets(npiA, 5)), f.claim(t, "parked", nets(npiA, 6))
	f.accept(t, noon(), sent, parked)
	f.apply(t, noon(), 2, published(sent, after(time.Hour)), dead(parked, after(2*time.Hour)))
	before := f.due(t, outbox.ToAsk, after(2*time.Hour))
	f.apply(t, after(time.Second), 2,
		outbox.Change{Ref: ref(sent, 9), Move: outbox.AskNow, DueAt: after(time.Second)},
		outbox.Change{Ref: ref(parked, 9), Move: outbox.AskNow, DueAt: after(2 * time.Second)})
	same(t, "too early", f.due(t, outbox.ToAsk, after(time.Second-1)), []outbox.Row(nil))
	same(t, "due", f.due(t, outbox.ToAsk, after(2*time.Second)), before)
	if got, want := f.record(t, parked).Payment.Error, "parked"; got != want {
		t.Errorf("reason: got %q, want %q", got, want)
	}
}

// A row that is sent again starts afresh in the next generation, from Published and from
// Dead.
func moveResend(t *testing.T, f *fixture) {
	sent, parked := f.claim(t, "sent", nets(npiA, 5)), f.claim(t, "parked", nets(npiA, 6))
	f.accept(t, noon(), sent, parked)
	f.apply(t, noon(), 4,
		outbox.Change{Ref: ref(sent, 0), Move: outbox.MarkFailed, DueAt: noon(), Reason: "no broker"},
		published(sent, noon()), published(parked, noon()), dead(parked, noon()))
	for i, c := range []*claim.Claim{sent, parked} {
		at := after(time.Duration(i+1) * time.Minute)
		f.apply(t, noon(), 1, outbox.Change{Ref: ref(c, 0), Move: outbox.Resend, DueAt: at})
		message := store.Submission{Claim: c}.Message(noon())
		message.Gen = 1
		rows := f.due(t, outbox.ToPublish, at)
		same(t, "due", rows[len(rows)-1], outbox.Row{ClaimAccepted: message, State: outbox.Pending})
		same(t, "payment", f.record(t, c).Payment, store.Payment{State: store.PaymentPending, Gen: 1, NextAttemptAt: at})
	}
	same(t, "to ask", f.due(t, outbox.ToAsk, after(time.Hour)), []outbox.Row(nil))
	f.apply(t, noon(), 0, published(sent, noon()))
}

// A settled claim has left the outbox and shows its payment; nothing moves it again. The
// hint may come before the row is even marked as published.
func moveSettle(t *testing.T, f *fixture) {
	pending, negative := f.claim(t, "pending", nets(npiA, 5)), f.claim(t, "negative", nets(npiA, -5))
	f.accept(t, noon(), pending, negative)
	f.apply(t, noon(), 2, published(negative, noon()), outbox.Change{Ref: ref(negative, 0), Move: outbox.Resend, DueAt: noon()})
	f.apply(t, after(time.Minute), 2, settle(pending, 5), settle(negative, -5))
	for gen, c := range []*claim.Claim{pending, negative} {
		same(t, "payment", f.record(t, c).Payment, store.Payment{
			State: store.PaymentPaid, Gen: gen, PaymentID: paymentID(), RecordedAt: after(time.Second), SettledAt: after(time.Minute),
		})
	}
	f.apply(t, after(time.Hour), 0, settle(pending, 5))
	if got := f.record(t, pending).Payment.SettledAt; !got.Equal(after(time.Minute)) {
		t.Errorf("settled again: got %v, want %v", got, after(time.Minute))
	}
	same(t, "to publish", f.due(t, outbox.ToPublish, after(time.Hour)), []outbox.Row(nil))
	same(t, "to ask", f.due(t, outbox.ToAsk, after(time.Hour)), []outbox.Row(nil))
}

// A payment of another amount settles nothing: the row is parked, for somebody to look,
// and asked about again when the change says.
func moveSettleOtherAmount(t *testing.T, f *fixture) {
	for _, amount := range []money.Cents{4, -5, 0} {
		c := f.claim(t, fmt.Sprint("paid ", amount), nets(npiA, 5))
		f.accept(t, noon(), c)
		f.apply(t, noon(), 1, published(c, noon()))
		change := settle(c, amount)
		change.DueAt = after(time.Hour)
		f.apply(t, after(time.Minute), 0, change)
		same(t, "payment", f.record(t, c).Payment, store.Payment{State: store.PaymentDeadLettered, Error: outbox.ReasonAmount})
		if got := len(f.due(t, outbox.ToAsk, after(time.Hour-time.Microsecond))); got != 0 {
			t.Errorf("due too early: got %d rows, want none", got)
		}
		if got := len(f.due(t, outbox.ToAsk, after(time.Hour))); got != 1 {
			t.Errorf("due: got %d rows, want 1", got)
		}
		f.apply(t, after(time.Hour), 1, settle(c, 5))
	}
}

// A dead row shows why and is asked about again; a discarded one is never due.
func moveDeadAndDiscarded(t *testing.T, f *fixture) {
	parked, written := f.claim(t, "parked", nets(npiA, 5)), f.claim(t, "written", nets(npiA, 6))
	f.accept(t, noon(), parked, written)
	f.apply(t, noon(), 3, dead(parked, after(time.Minute)), dead(written, noon()),
		outbox.Change{Ref: ref(written, 0), Move: outbox.MarkDiscarded, Reason: "lost case"})
	same(t, "payment of the dead", f.record(t, parked).Payment, store.Payment{State: store.PaymentDeadLettered, Error: "parked"})
	same(t, "payment of the discarded", f.record(t, written).Payment, store.Payment{State: store.PaymentDiscarded, Error: "lost case"})
	same(t, "to ask", f.due(t, outbox.ToAsk, after(time.Minute)), []outbox.Row{{
		ClaimAccepted: store.Submission{Claim: parked}.Message(noon()), State: outbox.Dead,
	}})
	same(t, "to ask too early", f.due(t, outbox.ToAsk, noon()), []outbox.Row(nil))
	same(t, "to publish", f.due(t, outbox.ToPublish, after(time.Hour)), []outbox.Row(nil))
}

// The changes of one call build on each other; those that miss their guard are left out.
func movesInOrder(t *testing.T, f *fixture) {
	c := f.claim(t, "one", nets(npiA, 5))
	f.accept(t, noon(), c)
	next := published(c, noon())
	next.Gen, next.Sequence = 1, 8
	f.apply(t, noon(), 3, published(c, noon()), published(c, noon()),
		outbox.Change{Ref: ref(c, 0), Move: outbox.Resend, DueAt: noon()},
		outbox.Change{Ref: ref(c, 0), Move: outbox.Resend, DueAt: noon()}, next)
	rows := f.due(t, outbox.ToAsk, noon())
	if len(rows) != 1 || rows[0].Gen != 1 || rows[0].Sequence != 8 {
		t.Errorf("got %+v, want generation 1 at 8", rows)
	}
	f.apply(t, noon(), 0)
}

// Two workers that do the same work change every row once.
func movesAtOnce(t *testing.T, f *fixture) {
	const claims, workers = 20, 4
	changes := make([]outbox.Change, claims)
	for i := range changes {
		c := f.claim(t, fmt.Sprint(i), nets(npiA, 5))
		f.accept(t, noon(), c)
		changes[i] = published(c, noon())
	}
	counts := make([]int, workers)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for i := range changes {
				applied, err := f.Apply(t.Context(), changes[i:i+1], noon())
				if err != nil {
					t.Error(err)
				}
				counts[w] += applied
			}
		})
	}
	wait.Wait()
	total := 0
	for _, count := range counts {
		total += count
	}
	if total != claims {
		t.Errorf("applied: got %d, want %d", total, claims)
	}
}

// A queue can be read on behind any row of it, also where many are due at the same time; the
// place is that of the row as it stands.
func dueBehind(t *testing.T, f *fixture) {
	var batch []*claim.Claim
	for i := range 7 {
		batch = append(batch, f.claim(t, fmt.Sprint(i), nets(npiA, money.Cents(i))))
	}
	f.accept(t, after(time.Minute), batch[:5]...)
	f.accept(t, noon(), batch[5]) // in front of the others, though accepted later
	f.accept(t, after(time.Hour), batch[6])
	for _, queue := range []outbox.Queue{outbox.ToPublish, outbox.ToAsk} {
		var order []int64
		var at outbox.Place
		for range 9 {
			rows, err := f.Due(t.Context(), queue, after(time.Minute), at, 1)
			if err != nil {
				t.Fatalf("due: %v", err)
			}
			if len(rows) == 0 {
				break
			}
			at = rows[0].Place
			order = append(order, int64(rows[0].NetFee))
		}
		same(t, fmt.Sprint("amounts in queue ", queue), order, []int64{5, 0, 1, 2, 3, 4})
		same(t, fmt.Sprint("time of the last place in queue ", queue), at.DueAt, after(time.Minute))
		for i, c := range batch {
			due := after(time.Minute)
			switch i {
			case 5:
				due = noon()
			case 6:
				due = after(time.Hour)
			}
			if queue == outbox.ToPublish {
				f.apply(t, noon(), 1, published(c, due))
			}
		}
	}
}

// The longest due come first, as many as asked for; Published and Dead rows stand in one
// queue.
func dueOrder(t *testing.T, f *fixture) {
	claims := make([]*claim.Claim, 6)
	for i, minutes := range []int{3, 1, 2, 6, 4, 5} {
		claims[i] = f.claim(t, fmt.Sprint(minutes), nets(npiA, money.Cents(minutes)))
		f.accept(t, after(time.Duration(minutes)*time.Minute), claims[i])
	}
	order := func(queue outbox.Queue, at time.Time, limit int) string {
		t.Helper()
		rows, err := f.Due(t.Context(), queue, at, outbox.Place{}, limit)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, row := range rows {
			text.WriteString(fmt.Sprint(int64(row.NetFee))) // the amounts are the minutes
		}
		return text.String()
	}
	wantOrder := func(queue outbox.Queue, at time.Time, limit int, want string) {
		t.Helper()
		if got := order(queue, at, limit); got != want {
			t.Errorf("queue %d, limit %d: got %q, want %q", queue, limit, got, want)
		}
	}
	wantOrder(outbox.ToPublish, after(4*time.Minute), 100, "1234")
	wantOrder(outbox.ToPublish, after(time.Hour), 2, "12")
	wantOrder(outbox.ToAsk, after(time.Hour), 100, "")
	for i, c := range claims {
		due := noon().Add(-time.Duration(c.NetFee()) * time.Minute) // the other way round
		if i%2 == 0 {
			f.apply(t, noon(), 1, published(c, due))
		} else {
			f.apply(t, noon(), 1, dead(c, due))
		}
	}
	wantOrder(outbox.ToPublish, after(time.Hour), 100, "")
	wantOrder(outbox.ToAsk, after(-3*time.Minute), 100, "6543")
	wantOrder(outbox.ToAsk, noon(), 4, "6543")
}

// A reason that is too long is cut between two characters, and bytes that are no text do
// no harm.
func longReasons(t *testing.T, f *fixture) {
	long := strings.Repeat("é", outbox.MaxReasonBytes) // two bytes each
	for i, test := range []struct{ reason, want string }{
		{long, long[:outbox.MaxReasonBytes]},
		{"x" + long, "x" + long[:outbox.MaxReasonBytes-2]},
		{long[:outbox.MaxReasonBytes], long[:outbox.MaxReasonBytes]},
		{"bad \xff\xfe byte", "bad \ufffd byte"},
		{"", ""},
	} {
		for _, move := range []outbox.Move{outbox.MarkFailed, outbox.MarkDead, outbox.MarkDiscarded} {
			c := f.claim(t, fmt.Sprint(i, move), nets(npiA, 5))
			f.accept(t, noon(), c)
			f.apply(t, noon(), 1, outbox.Change{Ref: ref(c, 0), Move: move, DueAt: noon(), Reason: test.reason})
			if got := f.record(t, c).Payment.Error; got != test.want {
				t.Errorf("reason %d of move %d: got %q, want %q", i, move, got, test.want)
			}
		}
	}
}

// The backlog counts rows by state; the oldest is the first accepted among those that
// still move, however they were delayed.
func backlogCounts(t *testing.T, f *fixture) {
	backlog := func() outbox.Backlog {
		t.Helper()
		got, err := f.Backlog(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	same(t, "of nothing", backlog(), outbox.Backlog{})
	claims := make([]*claim.Claim, 8)
	for i := range claims {
		claims[i] = f.claim(t, fmt.Sprint(i), nets(npiA, 5))
		f.accept(t, after(time.Duration(i)*time.Minute), claims[i])
	}
	f.apply(t, noon(), 7,
		settle(claims[0], 5),
		dead(claims[1], noon()),
		outbox.Change{Ref: ref(claims[2], 0), Move: outbox.MarkDiscarded},
		published(claims[3], after(time.Hour)),
		published(claims[4], noon()),
		outbox.Change{Ref: ref(claims[5], 0), Move: outbox.MarkFailed, DueAt: noon()},
		outbox.Change{Ref: ref(claims[5], 0), Move: outbox.MarkFailed, DueAt: noon()})
	same(t, "of all states", backlog(), outbox.Backlog{
		Pending: 3, Failed: 1, Published: 2, Dead: 1, Discarded: 1, Oldest: after(3 * time.Minute),
	})
	f.apply(t, noon(), 2, settle(claims[3], 5), settle(claims[4], 5))
	same(t, "without published", backlog(), outbox.Backlog{
		Pending: 3, Failed: 1, Dead: 1, Discarded: 1, Oldest: after(5 * time.Minute),
	})
}
