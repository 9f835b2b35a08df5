package simulate_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claimrail/claimrail/internal/checker"
	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/verify"
)

// Bounds of a run, in its own time.
const (
	settleWithin = 8 * time.Minute // from when nothing goes wrong any more
	quietWithin  = 5 * time.Second // where nothing ever went wrong
	parkedWithin = time.Hour       // a message that can not be sent is tried again after so long
	checkEvery   = 500 * time.Millisecond
)

// How many seeds are simulated where nobody says how many; the race detector takes more
// than ten times as long for each.
const (
	defaultSeeds = 2000
	raceSeeds    = 100
)

// workers is how many seeds are simulated at a time: the machines of the gate have two cores.
const workers = 2

// Whatever goes wrong on the line, and in whatever order, every claim that was acknowledged is
// paid exactly once with its amount, one in doubt at most once, a refused one never; what
// is poison is parked and keeps nobody else from being paid; what was written off is not
// paid. Each seed is a run of its own.
func TestSeeds(t *testing.T) {
	t.Parallel()
	count, first := environment(t, "SIMULATE_SEEDS", defaultSeeds), environment(t, "SIMULATE_SEED", 1)
	if count < 1 {
		t.Fatal("SIMULATE_SEEDS is 0: nothing would be simulated")
	}
	if count > raceSeeds && isRace {
		count = raceSeeds
	}
	forms := newSeeded(t)
	var next, steps atomic.Uint64
	var failed atomic.Bool
	var met tally
	started := time.Now()
	t.Run("workers", func(t *testing.T) {
		for worker := range workers {
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				for at := next.Add(1) - 1; at < count && !failed.Load(); at = next.Add(1) - 1 {
					w := forms.run(t, first+at, count == 1)
					steps.Add(uint64(w.steps))
					met.add(w)
					if len(w.breaches) > 0 {
						failed.Store(true)
						report(t, w, forms, at+1)
					}
				}
			})
		}
	})
	t.Logf("what went wrong, by the number of runs that met it:\n%s", &met)
	if count >= seedsForAll && !failed.Load() {
		for _, what := range met.missing() {
			t.Errorf("of %d runs none met %q: the simulation shows nothing about it", count, what)
		}
	}
	t.Logf("%d seeds from %d, %d steps in %v", min(next.Load(), count), first, steps.Load(), time.Since(started).Round(time.Millisecond))
}

// environment reads a number that the caller of the tests may set.
func environment(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	value, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return value
}

// report tells what a run found, and what led to it: the same seed gives the same run.
func report(t *testing.T, w *world, forms *seeded, after uint64) {
	t.Helper()
	again := w
	if !w.isTold {
		again = forms.run(t, w.seed, true)
	}
	t.Errorf("seed %d (the %d. of this run), %d steps:\n  %s\nthe last steps:\n  %s\nrepeat it: SIMULATE_SEEDS=1 SIMULATE_SEED=%d go test -count=1 -run '^TestSeeds$' ./internal/simulate",
		w.seed, after, w.steps, strings.Join(w.breaches, "\n  "), strings.Join(again.log[max(0, len(again.log)-60):], "\n  "), w.seed)
	if again.trace != w.trace {
		t.Errorf("seed %d: the second run has another trace than the first", w.seed)
	}
}

// The same seed gives the same steps at the same instants, and another seed gives others.
func TestSameSeedSameTrace(t *testing.T) {
	t.Parallel()
	forms := newSeeded(t)
	seen := map[uint64]uint64{}
	count := uint64(200)
	if isRace {
		count = 10
	}
	for seed := range count {
		once := forms.twice(t, seed)
		if other, found := seen[once.trace]; found {
			t.Errorf("seeds %d and %d have the same trace", other, seed)
		}
		seen[once.trace] = seed
	}
	// In these a Wake and the poll of a relay come at the same instant, and which is taken is not drawn by the seed.
	for _, seed := range []uint64{1504, 2665, 8210} {
		for range 4 {
			forms.twice(t, seed)
		}
	}
}

// twice runs a seed twice, and wants the same steps.
func (s *seeded) twice(t *testing.T, seed uint64) (once *world) {
	t.Helper()
	once = s.run(t, seed, true)
	twice := s.run(t, seed, true)
	for i := range min(len(once.log), len(twice.log)) {
		if once.log[i] != twice.log[i] {
			t.Fatalf("seed %d, step %d:\n once %s\ntwice %s", seed, i, once.log[i], twice.log[i])
		}
	}
	if once.trace != twice.trace || once.steps != twice.steps {
		t.Fatalf("seed %d: once %d steps, trace %x; twice %d steps, trace %x", seed, once.steps, once.trace, twice.steps, twice.trace)
	}
	return once
}

// newSeeded makes the claims that clients send: as many as the largest run has.
func newSeeded(t *testing.T) *seeded {
	t.Helper()
	s := &seeded{secret: [claim.IdentitySecretSize]byte{1}}
	validator := claim.Validator{Rules: claim.DefaultRules(), Identity: claim.NewIdentity(s.secret), Now: time.Now}
	text := func(text string) claim.Raw { return claim.Raw{Shape: claim.Text, Text: text} }
	for n := range 3 * 5 {
		var pair [2]*claim.Claim
		for other := range pair {
			draft := claim.Draft{ExternalID: text(fmt.Sprint("claim ", n))}
			for line := range 1 + n%3 {
				draft.Lines = append(draft.Lines, claim.RawLine{Shape: claim.Object, Fields: [claim.FieldCount]claim.Raw{
					claim.ServiceDateField: text("2018-03-28"), claim.ProcedureField: text("D0180"),
					claim.PlanGroupField: text("GRP-1000"), claim.SubscriberField: text("0030189502"),
					claim.ProviderNPIField:  text([...]string{"1497775530", "1234567893", "1679576722"}[(n+line)%3]),
					claim.ProviderFeesField: text(fmt.Sprintf("%d.%02d", 100+n*7+line, 10+other)),
					claim.AllowedFeesField:  text([...]string{"50", "190.25"}[line%2]),
					claim.CoinsuranceField:  text("1.25"), claim.CopayField: text("0"),
				}})
			}
			made, violations := validator.Validate(&draft)
			if made == nil {
				t.Fatalf("claim %d is not valid: %v", n, violations)
			}
			pair[other] = made
		}
		s.forms = append(s.forms, pair)
	}
	return s
}

// run simulates one seed in a bubble of its own.
func (s *seeded) run(t *testing.T, seed uint64, isTold bool) (w *world) {
	synctest.Test(t, func(*testing.T) {
		w = newWorld(seed, s)
		w.isTold = isTold
		w.live()
	})
	return w
}

// live is one run: things go wrong; then nothing does, and all is settled or parked; then
// what was poison is mended, and operators decide, while things go wrong for a moment again; and then
// nothing does, and all is settled or written off.
func (w *world) live() {
	ctx, cancel := context.WithCancel(context.Background())
	a := w.newActor("driver", nil)
	a.pause(ctx, 0)
	clients := w.begin(ctx)
	a.pause(ctx, time.Until(w.calmAt))
	a.tell("calm", 0)
	clients.Wait()
	a.pause(ctx, 0)
	if a.chance(500) { // otherwise what is in doubt stays so
		a.sendAgain(a.in(ctx))
	}
	within := settleWithin
	if w.isQuiet() {
		within = quietWithin
	}
	isSettled := a.await(within, func() bool { return w.unsettled(outbox.Pending, outbox.Published) == 0 })
	if w.isQuiet() && (!isSettled || w.met[resend]+w.met[deadLetter] > 0) {
		w.breach("nothing went wrong, and after %v not all is settled, or something was sent again or parked: %s", within, w.rest())
	}
	if isSettled {
		w.cure()
		if w.unsettled(outbox.Dead) > 0 {
			a.decideInTrouble(ctx)
		}
		isSettled = a.await(settleWithin, func() bool {
			a.decide(ctx, 1000)
			return w.isSettled()
		})
	}
	if !isSettled && w.unsent {
		a.pause(ctx, parkedWithin)
		isSettled = a.await(settleWithin, func() bool {
			a.decide(ctx, 1000)
			return w.isSettled()
		})
	}
	if !isSettled {
		w.breach("not all is settled %v after the last misfortune: %s", settleWithin, w.rest())
	}
	w.isOver = true
	cancel()
	w.runs.Wait()
	w.judge()
}

// decideInTrouble has things go wrong again, and an operator decide on dead letters meanwhile.
func (a *actor) decideInTrouble(ctx context.Context) {
	if a.knobs.faulty == 0 {
		return
	}
	a.calmAt = time.Now().Add(2*time.Second + a.upTo(8*time.Second))
	harm := a.newActor("misfortunes again", nil)
	a.runs.Go(func() {
		harm.pause(ctx, 0)
		harm.misfortunes(ctx)
	})
	for !a.isCalm() {
		a.decide(ctx, 300)
		a.pause(ctx, a.upTo(time.Second))
	}
}

// isQuiet tells whether nothing goes wrong in a run, and nothing is poison.
func (w *world) isQuiet() bool { return w.knobs.faulty == 0 && w.knobs.poison == 0 }

// await waits until something is so.
func (a *actor) await(within time.Duration, isSo func() bool) bool {
	for deadline := time.Now().Add(within); time.Now().Before(deadline); a.pause(context.Background(), checkEvery) {
		if isSo() {
			return true
		}
	}
	return false
}

// cure mends whatever keeps messages from being recorded.
func (w *world) cure() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCured = true
}

// unsettled counts the rows in any of the states.
func (w *world) unsettled(states ...outbox.State) (count int) {
	for _, k := range w.claims.claims {
		if k.row != nil && slices.Contains(states, k.row.State) {
			count++
		}
	}
	return count
}

// isSettled tells whether nothing is under way or parked any more, but for claims that
// are paid with the amount of a forged message: somebody has to look at those.
func (w *world) isSettled() bool {
	for _, k := range w.claims.claims {
		if k.row == nil || k.row.State == outbox.Discarded {
			continue
		}
		if k.row.State != outbox.Dead || k.reason != outbox.ReasonAmount || !w.forged[k.row.Key] {
			return false
		}
	}
	return true
}

// rest names the claims that are neither settled nor written off.
func (w *world) rest() string {
	var rest []string
	for _, k := range w.claims.claims {
		if k.row != nil && k.row.State != outbox.Discarded {
			rest = append(rest, fmt.Sprintf("%s is %s, due %v, %q; payments has %s", k.row.MessageID(), k.row.State,
				k.dueAt.Sub(w.calmAt).Round(time.Second), k.reason, w.ledger.standing(k.row.Key).State))
		}
	}
	return strings.Join(rest, "; ")
}

// judge holds what is stored and paid in the end against what clients were told, and has
// verify look at both databases.
func (w *world) judge() {
	var stored []checker.Stored
	var paid []checker.Receipt
	var wrong []string // paid with the amount of a forged message
	for _, k := range w.claims.claims {
		stored = append(stored, checker.Stored{Key: k.Key, Receipt: checker.Receipt{ClaimID: k.ID.String(), NetFee: k.NetFee()}})
		if k.reason == outbox.ReasonAmount && w.forged[event.Key{ClaimID: k.ID, Version: k.Version}] {
			wrong = append(wrong, k.ID.String())
			w.meet(forgedSeen)
		}
	}
	for i := range w.ledger.payments {
		one := &w.ledger.payments[i]
		paid = append(paid, checker.Receipt{ClaimID: one.ClaimID.String(), NetFee: one.NetFee})
	}
	isRight := func(text string) bool { // it tells of no claim that is paid with a forged amount
		return !slices.ContainsFunc(wrong, func(id string) bool { return strings.Contains(text, id) })
	}
	for _, finding := range w.history.Check(stored, paid) {
		if finding.Kind != checker.WrongAmount || isRight(finding.Text) {
			w.breach("%s: %s", finding.Kind, finding.Text)
		}
	}
	report, err := verify.Run(context.Background(), w.claims, w.ledger)
	if err != nil {
		w.breach("verify: %v", err)
	}
	for _, check := range report.Checks {
		isForged := false
		switch check.Name {
		case "paid-by-claim":
			isForged = check.Breaches == len(check.Examples) && !slices.ContainsFunc(check.Examples, isRight)
		case "paid-by-provider", "paid-in-total": // the sums of what was held claim by claim
			isForged = len(wrong) > 0
		}
		if check.Breaches > 0 && !isForged {
			w.breach("verify %s: %v", check.Name, check.Examples)
		}
	}
}

var _ payment.Register = ledgerLink{}
