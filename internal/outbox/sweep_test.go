package outbox_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/store"
)

// say puts payments' word on claims on record.
func (b *bench) say(state event.State, reason string, keys ...event.Key) {
	for _, key := range keys {
		b.line.ledger[key] = event.Standing{Key: key, State: state, Reason: reason}
	}
}

// publish accepts claims and puts them into the stream, as a relay does.
func (b *bench) publish(count int) []event.Key {
	b.Helper()
	keys := b.accept(count)
	relay := outbox.NewRelay(b.config)
	for more := true; more; {
		var err error
		if more, err = relay.Step(context.Background()); err != nil {
			b.Fatalf("relay: %v", err)
		}
	}
	return keys
}

// A claim that payments has paid is settled by that payment, and by nothing else.
func TestSweepSettles(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		keys := b.publish(2)
		b.line.ledger[keys[0]] = paid(b.line.stream[0])
		sweep := outbox.NewSweep(b.config)
		sweep.Step(t.Context())
		b.same("questions before the grace is over", len(b.line.calls), 1)
		pass(outbox.DefaultGrace)
		sweep.Step(t.Context())
		b.same("payment", b.payment(keys[0]), store.Payment{
			State: store.PaymentPaid, PaymentID: paymentID(keys[0]), RecordedAt: paid(b.line.stream[0]).RecordedAt,
			SettledAt: time.Now().UTC(),
		})
		b.state(keys[1], store.PaymentNotified)
		b.same("asked", sweep.Stats.Asked.Load(), int64(2))
	})
}

// A dead claim shows payments' reason and is asked about after half a minute, and then less and less often; one
// that an operator has written off is never asked about again.
func TestSweepMarksDeadAndDiscarded(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		key := b.publish(1)[0]
		b.say(event.Dead, "conflict", key)
		defer b.start(outbox.NewSweep(b.config).Run)()
		pass(10 * time.Second)
		b.same("payment", b.payment(key), store.Payment{State: store.PaymentDeadLettered, Error: "conflict"})
		before := b.line.count()
		pass(5 * time.Minute)
		if asked := (b.line.count() - before) / 2; asked < 3 || asked > 4 {
			t.Errorf("questions in 5 minutes: got %d, want 3 or 4", asked)
		}
		before = b.line.count()
		pass(time.Hour)
		if asked := (b.line.count() - before) / 2; asked < 11 || asked > 12 {
			t.Errorf("questions in the hour after: got %d, want 11 or 12", asked)
		}
		b.change(func() { b.say(event.Discarded, "lost case", key) })
		pass(6 * time.Minute)
		b.same("payment", b.payment(key), store.Payment{State: store.PaymentDiscarded, Error: "lost case"})
		before = b.line.count()
		pass(time.Hour)
		b.same("questions about a discarded claim", b.line.count()-before, 0)
	})
}

// A dead claim that payments does not know any more was redriven: it is sent again, in
// the next generation, whatever the broker still holds.
func TestSweepResendsRedriven(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		key := b.publish(1)[0]
		b.say(event.Dead, "failed", key)
		sweep := outbox.NewSweep(b.config)
		pass(outbox.DefaultGrace)
		sweep.Step(t.Context())
		delete(b.line.ledger, key)
		pass(outbox.DefaultDeadEvery)
		sweep.Step(t.Context())
		b.same("payment", b.payment(key), store.Payment{State: store.PaymentPending, Gen: 1, NextAttemptAt: time.Now().UTC()})
		b.same("sent again", sweep.Stats.Resent.Load(), int64(1))
	})
}

// What the broker took and lost is sent again and again, each time under a new id, with
// twice the wait up to 64 times the grace. It is never given up, and settles when a
// message gets through at last.
func TestSweepNeverGivesUp(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		key := b.accept(1)[0]
		var sent []time.Time
		b.line.publish = func(event.ClaimAccepted) error {
			sent = append(sent, time.Now())
			b.line.floor = uint64(len(b.line.stream) + 1) // answered, and yet not on record
			return nil
		}
		stopRelay, stopSweep := b.start(outbox.NewRelay(b.config).Run), b.start(outbox.NewSweep(b.config).Run)
		pass(time.Hour)
		for i := 1; i < len(sent); i++ {
			want := outbox.DefaultGrace << min(i-1, 6)
			if got := sent[i].Sub(sent[i-1]); got < want || got > want+outbox.DefaultSweepEvery+time.Second {
				t.Errorf("wait before generation %d: got %v, want %v and at most one round", i, got, want)
			}
		}
		if len(sent) < 14 {
			t.Errorf("sends in an hour: got %d, want at least 14", len(sent))
		}
		for gen, id := range b.line.sent() {
			if want := (event.Ref{Key: key, Gen: gen}).MessageID(); id != want {
				t.Errorf("message: got %s, want %s", id, want)
			}
		}
		b.change(func() { b.line.publish, b.line.floor = nil, uint64(len(b.line.stream)) })
		pass(6 * time.Minute)
		b.line.pay()
		pass(6 * time.Minute)
		b.state(key, store.PaymentPaid)
		stopRelay()
		stopSweep()
	})
}

// The wait between two generations never exceeds ten minutes, whatever the grace.
func TestSweepPatienceIsBounded(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		b.config.Grace = time.Minute
		relay, sweep := outbox.NewRelay(b.config), outbox.NewSweep(b.config)
		b.accept(1)
		b.line.floor = 1000
		for gen, want := range []time.Duration{1, 2, 4, 8, 10, 10, 10} {
			if _, err := relay.Step(t.Context()); err != nil {
				t.Fatalf("relay: %v", err)
			}
			pass(want*time.Minute - time.Microsecond)
			sweep.Step(t.Context())
			b.same("generation", b.row(outbox.ToAsk).Gen, gen)
			pass(time.Microsecond)
			sweep.Step(t.Context())
			b.same("generation", b.row(outbox.ToPublish).Gen, gen+1)
		}
	})
}

// While the broker still holds a message, a consumer that lags is given time: nothing is
// sent twice, and the questions become rare. When the consumer has passed and payments
// does not know the claim, it is sent again.
func TestSweepWaitsForASlowConsumer(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		b.config.Random = func() float64 { return 0.999 }
		b.publish(1)
		b.same("sequence", b.row(outbox.ToAsk).Sequence, uint64(1))
		sweep := outbox.NewSweep(b.config)
		stop := b.start(sweep.Run)
		pass(2 * time.Hour)
		b.same("sent again", sweep.Stats.Resent.Load(), int64(0))
		b.same("state", b.row(outbox.ToAsk).State, outbox.Published)
		var waits []time.Duration
		for i := 4; i < len(b.line.at); i += 2 { // publish, then progress and ask each time
			waits = append(waits, b.line.at[i].Sub(b.line.at[i-2]))
		}
		for i, wait := range waits {
			if longest := 10*time.Minute + outbox.DefaultSweepEvery; wait > longest {
				t.Errorf("wait %d: got %v, want %v at most", i, wait, longest)
			}
			if shortest := time.Duration(float64(7*time.Minute) * 1.07); i > 10 && wait < shortest {
				t.Errorf("wait %d: got %v, want %v at least", i, wait, shortest)
			}
			if i > 0 && i < 7 && wait < waits[i-1] {
				t.Errorf("wait %d: got %v after %v, want it to grow", i, wait, waits[i-1])
			}
		}
		b.change(func() { b.line.floor = 1 })
		pass(11 * time.Minute)
		b.same("generation", b.row(outbox.ToPublish).Gen, 1)
		stop()
	})
}

// A message whose place is beyond the end of the stream is in no stream any more: it was
// wiped and made anew, and the claim is sent again.
func TestSweepResendsAfterTheStreamWasLost(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish(1)
		b.line.stream = nil
		pass(outbox.DefaultGrace)
		outbox.NewSweep(b.config).Step(t.Context())
		b.same("generation", b.row(outbox.ToPublish).Gen, 1)
	})
}

// Progress is read before payments is asked: what is paid and acknowledged right behind
// the answer does not seem lost. Asked the other way round, a busy line would send
// everything twice.
func TestSweepReadsProgressBeforeItAsks(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		key := b.publish(1)[0]
		b.line.forge = func(answer []event.Standing) []event.Standing {
			b.line.ledger[key] = paid(b.line.stream[0])
			b.line.floor = 1
			return answer
		}
		sweep := outbox.NewSweep(b.config)
		pass(outbox.DefaultGrace)
		sweep.Step(t.Context())
		b.same("calls", b.line.calls, []string{"publish 1", "progress", "ask 1"})
		b.same("sent again", sweep.Stats.Resent.Load(), int64(0))
		pass(2 * outbox.DefaultGrace)
		sweep.Step(t.Context())
		b.state(key, store.PaymentPaid)
	})
}

// The rows are read before the progress: a message that was just sent does not seem to
// lie beyond the end of the stream.
func TestSweepReadsRowsBeforeProgress(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		b.config.Grace = time.Nanosecond
		busy := true
		b.rows.due = func() error {
			if busy {
				busy = false
				b.publish(1)
				pass(time.Second)
			}
			return nil
		}
		sweep := outbox.NewSweep(b.config)
		sweep.Step(t.Context())
		b.same("asked", sweep.Stats.Asked.Load(), int64(1))
		b.same("sent again", sweep.Stats.Resent.Load(), int64(0))
	})
}

// A payment of another amount never settles a claim, in an answer as in a hint: somebody
// must look, and is told once. The right amount settles it later.
func TestSweepNeverSettlesAnotherAmount(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		keys := b.publish(2)
		for i, key := range keys {
			wrong := paid(b.line.stream[i])
			wrong.NetFee += 100
			b.line.ledger[key] = wrong
		}
		sweep := outbox.NewSweep(b.config)
		if err := sweep.Hint(t.Context(), event.Answer{Standings: []event.Standing{b.line.ledger[keys[0]]}}); err != nil {
			t.Errorf("hint: %v", err)
		}
		stop := b.start(sweep.Run)
		pass(10 * time.Minute)
		for _, key := range keys {
			b.same("payment", b.payment(key), store.Payment{State: store.PaymentDeadLettered, Error: outbox.ReasonAmount})
		}
		if got := sweep.Stats.Conflicts.Load(); got < 10 || got > 16 { // less and less often
			t.Errorf("conflicts: got %d, want about 6 of each claim", got)
		}
		logged := slices.DeleteFunc(b.warnings(), func(line string) bool { return line != outbox.ReasonAmount })
		if len(logged) < 1 || len(logged) > 2 {
			t.Errorf("log: got %q, want each claim once, or both at once", logged)
		}
		b.line.pay()
		pass(6 * time.Minute)
		for _, key := range keys {
			b.state(key, store.PaymentPaid)
		}
		stop()
	})
}

// An answer that is shorter or longer than the question, or in another order, is refused
// whole and changes nothing.
func TestSweepRefusesAForgedAnswer(t *testing.T) {
	t.Parallel()
	for name, forge := range map[string]func([]event.Standing) []event.Standing{
		"empty":         func([]event.Standing) []event.Standing { return nil },
		"short":         func(all []event.Standing) []event.Standing { return all[:2] },
		"long":          func(all []event.Standing) []event.Standing { return append(all, all[0]) },
		"reversed":      func(all []event.Standing) []event.Standing { slices.Reverse(all); return all },
		"other version": func(all []event.Standing) []event.Standing { all[2].Version++; return all },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, b *bench) {
				keys := b.publish(3)
				b.line.pay()
				b.line.forge = forge
				b.rows.apply = func([]outbox.Change) error { t.Error("a forged answer was applied"); return nil }
				sweep := outbox.NewSweep(b.config)
				pass(outbox.DefaultGrace)
				if sweep.Step(t.Context()) {
					t.Error("sweep: got more, want the next round to be the retry")
				}
				for _, key := range keys {
					b.state(key, store.PaymentNotified)
				}
				b.same("unanswered", sweep.Stats.Unanswered.Load(), int64(1))
				b.same("asked", sweep.Stats.Asked.Load(), int64(0))
				b.same("log", b.warnings(), []string{"payments can not be asked: trying again until it works"})
				b.rows.apply, b.line.forge = nil, nil
				sweep.Step(t.Context())
				for _, key := range keys {
					b.state(key, store.PaymentPaid)
				}
			})
		})
	}
}

// A state that this program does not know, from a newer payments, moves nothing.
func TestSweepLeavesUnknownWordsAlone(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		key := b.publish(1)[0]
		b.line.floor = 1
		b.say("reversed", "", key)
		sweep := outbox.NewSweep(b.config)
		pass(outbox.DefaultGrace)
		sweep.Step(t.Context())
		b.state(key, store.PaymentNotified)
		b.same("sent again", sweep.Stats.Resent.Load(), int64(0))
		before := len(b.line.calls)
		sweep.Step(t.Context())
		b.same("questions at once", len(b.line.calls)-before, 0)
	})
}

// A hint is applied without a question, to claims in whatever state they are, and also to
// such as were sent and not marked yet.
func TestHintSettlesAtOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		keys := b.publish(3)
		pending := b.accept(1)[0]
		answer := event.Answer{Standings: []event.Standing{
			paid(b.line.stream[0]),
			{Key: keys[1], State: event.Dead, Reason: "malformed"},
			{Key: keys[2], State: event.Discarded, Reason: "void"},
			paid(event.ClaimAccepted{Ref: event.Ref{Key: pending}, NetFee: 4}),
			{Key: event.Key{ClaimID: paymentID(pending), Version: 1}, State: event.Paid}, // of another database
		}}
		sweep := outbox.NewSweep(b.config)
		for range 2 { // hints may come twice
			if err := sweep.Hint(t.Context(), answer); err != nil {
				t.Errorf("hint: %v", err)
			}
			b.state(keys[0], store.PaymentPaid)
			b.same("dead", b.payment(keys[1]), store.Payment{State: store.PaymentDeadLettered, Error: "malformed"})
			b.same("discarded", b.payment(keys[2]), store.Payment{State: store.PaymentDiscarded, Error: "void"})
			b.state(pending, store.PaymentPaid)
		}
		b.same("calls", b.line.calls, []string{"publish 3"})
		if err := sweep.Hint(t.Context(), event.Answer{}); err != nil {
			t.Errorf("hint of nothing: %v", err)
		}
	})
}

// A hint that payments does not know a claim (any more) has payments asked at once: only
// a question can tell whether it is to be sent again. The other claims of the hint are
// settled all the same.
func TestHintOfUnknownAsksAtOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		keys := b.publish(2)
		b.say(event.Dead, "failed", keys[0])
		sweep := outbox.NewSweep(b.config)
		pass(outbox.DefaultGrace)
		sweep.Step(t.Context())
		b.state(keys[0], store.PaymentDeadLettered)
		stop := b.start(sweep.Run)
		synctest.Wait()

		b.change(func() { delete(b.line.ledger, keys[0]) }) // an operator redrives it
		start, before := time.Now(), b.line.count()
		if err := sweep.Hint(t.Context(), event.Answer{Standings: []event.Standing{
			{Key: keys[0], State: event.Unknown}, paid(b.line.stream[1]),
		}}); err != nil {
			t.Errorf("hint: %v", err)
		}
		synctest.Wait()
		b.same("waited", time.Since(start), time.Duration(0))
		b.same("questions", b.line.calls[before:], []string{"progress", "ask 1"})
		b.same("generation", b.row(outbox.ToPublish).Gen, 1)
		b.state(keys[1], store.PaymentPaid)
		stop()
	})
}

// A hint that can not be applied is an error for its sender's log, and is made up for by
// the next question.
func TestHintIsLost(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		key := b.publish(1)[0]
		b.line.pay()
		broken := errors.New("disk full")
		b.rows.apply = func([]outbox.Change) error { return broken }
		sweep := outbox.NewSweep(b.config)
		err := sweep.Hint(t.Context(), event.Answer{Standings: []event.Standing{b.line.ledger[key]}})
		if !errors.Is(err, broken) {
			t.Errorf("hint: got %v, want the database's error", err)
		}
		b.rows.apply = nil
		pass(outbox.DefaultGrace)
		sweep.Step(t.Context())
		b.state(key, store.PaymentPaid)
	})
}

// A backlog is asked about in questions of 500, without a pause between them.
func TestSweepEmptiesABacklogAtOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish(1200)
		b.line.pay()
		b.line.calls = nil
		pass(outbox.DefaultGrace)
		start := time.Now()
		stop := b.start(outbox.NewSweep(b.config).Run)
		synctest.Wait()
		b.same("waited", time.Since(start), time.Duration(0))
		b.same("calls", strings.Join(b.line.calls, ", "), "progress, ask 500, progress, ask 500, progress, ask 200")
		stop()
		if backlog, err := b.rows.Backlog(context.Background()); err != nil || backlog != (outbox.Backlog{}) {
			t.Errorf("backlog: got %+v, %v, want nothing", backlog, err)
		}
	})
}

// Rows on which payments and claims are at odds do not keep the sweep in a loop, nor do
// they keep the other rows from being settled.
func TestSweepIsNotHeldUpByConflicts(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		keys := b.publish(501)
		b.line.pay()
		for _, key := range keys[:500] {
			wrong := b.line.ledger[key]
			wrong.NetFee++
			b.line.ledger[key] = wrong
		}
		stop := b.start(outbox.NewSweep(b.config).Run)
		pass(outbox.DefaultGrace + 2*outbox.DefaultSweepEvery)
		b.state(keys[500], store.PaymentPaid)
		b.state(keys[0], store.PaymentDeadLettered)
		stop()
	})
}

// While payments does not answer, or progress can not be read, the sweep asks once a
// round and no more, for as long as it takes.
func TestSweepWithoutAnswers(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*line){
		"asked in vain": func(l *line) { l.asking = func() error { return errors.New("no payments instance answers") } },
		"no progress":   func(l *line) { l.moving = func() error { return errors.New("no stream") } },
		"too slow":      func(l *line) { l.slow = time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, b *bench) {
				key := b.publish(1)[0]
				b.line.pay()
				fault(b.line)
				sweep := outbox.NewSweep(b.config)
				stop := b.start(sweep.Run)
				pass(time.Hour)
				b.state(key, store.PaymentNotified)
				if got := sweep.Stats.Unanswered.Load(); got < 500 || got > 1800 {
					t.Errorf("unanswered in an hour: got %d, want one a round", got)
				}
				b.change(func() { b.line.asking, b.line.moving, b.line.slow = nil, nil, 0 })
				pass(10 * time.Second)
				b.state(key, store.PaymentPaid)
				b.same("log", b.warnings(), []string{
					"payments can not be asked: trying again until it works", "payments can not be asked: works again",
				})
				stop()
			})
		})
	}
}

// A database that can not be read or written costs rounds and nothing else. A row that
// was not given back to the relay is not counted as such.
func TestSweepDatabaseAway(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		b.publish(1)
		b.line.floor = 1
		sweep := outbox.NewSweep(b.config)
		pass(outbox.DefaultGrace)
		b.rows.due = func() error { return errors.New("locked") }
		sweep.Step(t.Context())
		b.same("calls", b.line.count(), 1)
		b.rows.due = nil
		b.rows.apply = func([]outbox.Change) error { return errors.New("locked") }
		for range 3 {
			if sweep.Step(t.Context()) {
				t.Error("sweep: got more, want the next round to be the retry")
			}
		}
		b.same("errors", sweep.Stats.DatabaseErrors.Load(), int64(4))
		b.same("sent again", sweep.Stats.Resent.Load(), int64(0))
		b.rows.apply = nil
		sweep.Step(t.Context())
		b.same("sent again", sweep.Stats.Resent.Load(), int64(1))
		b.same("generation", b.row(outbox.ToPublish).Gen, 1)
	})
}

// Two sweeps with the same answer move every row once.
func TestSweepsAtOnceResendOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		b.publish(20)
		b.line.floor = 20
		b.line.slow = time.Second // both have read the same rows by then
		var stops []func()
		for range 2 {
			stops = append(stops, b.start(outbox.NewSweep(b.config).Run))
		}
		pass(15 * time.Second)
		for _, stop := range stops {
			stop()
		}
		due, err := b.rows.Due(context.Background(), outbox.ToPublish, time.Now(), outbox.Place{}, 100)
		if err != nil || len(due) != 20 {
			b.Fatalf("rows to publish: got %d, %v, want 20", len(due), err)
		}
		for _, row := range due {
			b.same("generation", row.Gen, 1)
		}
	})
}

// A sweep that is told to stop stops, whatever it waits for.
func TestSweepStops(t *testing.T) {
	t.Parallel()
	inBubble(t, func(_ *testing.T, b *bench) {
		b.publish(1)
		b.line.slow = time.Hour
		pass(outbox.DefaultGrace)
		stop := b.start(outbox.NewSweep(b.config).Run)
		synctest.Wait()
		start := time.Now()
		stop()
		b.same("waited", time.Since(start), time.Duration(0))
		b.same("log", b.warnings(), []string{})
	})
}

// A database that answers nothing holds relay, sweep and hints up for five seconds at a
// time, and not for ever: when it answers again, the line moves on.
func TestHangingDatabaseIsGivenUp(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, b *bench) {
		key := b.publish(1)[0]
		b.line.pay()
		second := b.accept(1)[0]
		b.rows.hang = true
		relay, sweep := outbox.NewRelay(b.config), outbox.NewSweep(b.config)
		stopRelay, stopSweep := b.start(relay.Run), b.start(sweep.Run)
		start := time.Now()
		if err := sweep.Hint(t.Context(), event.Answer{Standings: []event.Standing{b.line.ledger[key]}}); err == nil {
			t.Error("hint: got no error")
		}
		b.same("waited", time.Since(start), 5*time.Second)
		pass(time.Minute)
		if got := sweep.Stats.DatabaseErrors.Load(); got < 7 || got > 10 {
			t.Errorf("errors of the sweep in a minute: got %d, want one every 7 s", got)
		}
		b.change(func() { b.rows.hang = false })
		pass(20 * time.Second)
		b.state(key, store.PaymentPaid)
		b.state(second, store.PaymentNotified)
		stopRelay()
		stopSweep()
	})
}
