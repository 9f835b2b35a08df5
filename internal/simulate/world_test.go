package simulate_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claimrail/claimrail/internal/checker"
	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
)

// world is everything that the program's own code calls: databases, broker, clocks and
// random numbers, and whoever uses it or harms it. It runs in a bubble of fake time.
//
// What makes a seed repeatable is that no two actors ever meet at one instant: an actor
// touches the world only at nanoseconds that are its own, see actor.pause. So the order
// of all that happens is that of the fake clock, whatever the scheduler does.
type world struct {
	seed     uint64
	knobs    knobs
	calmAt   time.Time // from here on nothing goes wrong any more, or not before there are letters to decide on
	claims   *claimsDatabase
	ledger   *ledger
	claimsAt *place
	ledgerAt *place
	broker   *stream
	fleet    []*machine
	history  *checker.History
	runs     sync.WaitGroup
	common   *seeded
	turns    atomic.Int64 // of actors; orders for the race detector what the clock has in order
	marks

	mu       sync.Mutex
	actors   int64
	settled  map[event.Key]bool // checked when they were settled
	sent     map[int]bool       // forms that clients sent
	forged   map[event.Key]bool // somebody else wrote messages of other amounts
	unsent   bool               // a message was called too large
	isCured  bool               // nothing is poison any more
	isOver   bool               // whoever dies from here on is no fault
	trace    uint64             // FNV-1a over the steps
	steps    int
	met      map[fault]int
	log      []string // of the steps, if isTold
	isTold   bool
	breaches []string
}

// knobs are drawn once for each run, so that runs differ in kind and not only in detail.
type knobs struct {
	claimsMachines, paymentsMachines int
	clients, claimsEach              int
	faulty                           int    // of 1000 calls, how many go wrong
	dying                            int    // of 1000 steps of a process, after how many it dies
	focus                            string // the step at which most goes wrong
	poison                           int    // of 1000 claims, how many can not be recorded until somebody mends it
	forge                            int    // of 1000 misfortunes, how many are forged messages
	hold                             time.Duration
}

// steps are the calls of databases and broker; those that few runs come to stand there twice.
var steps = [...]string{
	"accept", "claim", "due", "apply", "record", "record poison", "fail", "park", "standings", "redrive", "discard",
	"publish", "progress", "ask", "answer", "fetch", "hint", "hear", "ack", "nak", "term",
	"fail", "park", "discard", "term",
}

// stepsOfPoison are taken with messages that can not be recorded.
var stepsOfPoison = [...]string{"record poison", "fail", "park", "term", "redrive", "discard"}

// focused is of how many of 1000 calls of the step in focus one goes wrong, and after how many the process dies.
const focused = 250

func (w *world) isCalm() bool { return !time.Now().Before(w.calmAt) }

// breach notes what must never happen.
func (w *world) breach(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.breaches = append(w.breaches, fmt.Sprintf(format, args...))
}

// actor is one thread of what happens, with random numbers and instants of its own.
type actor struct {
	*world
	name    string
	place   int64
	random  *rand.Rand
	process *process // it is of; nil: it can not die
}

// instants is how many actors a run can have: each has one of so many nanoseconds.
// Timers of whole microseconds keep to it.
const instants = 1000

// newActor makes an actor. To be called at one's own instants only.
func (w *world) newActor(name string, of *process) *actor {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.actors++
	if w.actors >= instants {
		panic("more actors than instants")
	}
	return &actor{world: w, name: name, place: w.actors, random: rand.New(rand.NewPCG(w.seed, uint64(w.actors))), process: of}
}

// acting is the key of the actor in a context: the world's methods do not know otherwise
// who calls.
type acting struct{}

func (a *actor) in(ctx context.Context) context.Context { return context.WithValue(ctx, acting{}, a) }

func actorOf(ctx context.Context) *actor { return ctx.Value(acting{}).(*actor) }

// pause waits so long or until ctx ends, and then until the next instant of the actor.
func (a *actor) pause(ctx context.Context, wait time.Duration) {
	a.turns.Add(1)
	defer a.turns.Add(1)
	if done := ctx.Done(); done != nil && ctx.Err() == nil {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-done:
			timer.Stop()
		}
		wait = 0
	} else if done != nil {
		wait = 0
	}
	now := time.Now().UnixNano()
	at := now + int64(wait)
	at += (a.place-at%instants+instants)%instants + instants
	<-time.NewTimer(time.Duration(at - now)).C
}

// chance tells whether what happens in so many of 1000 cases happens now.
func (a *actor) chance(ofThousand int) bool { return a.random.IntN(1000) < ofThousand }

// upTo draws a wait, in whole nanoseconds.
func (a *actor) upTo(longest time.Duration) time.Duration {
	return time.Duration(a.random.Int64N(int64(longest)))
}

// failing tells whether a call goes wrong; in quiet times none does.
func (a *actor) failing(what string) bool {
	ofThousand := a.knobs.faulty
	if what == a.knobs.focus {
		ofThousand = max(ofThousand, focused)
	}
	return !a.isCalm() && a.chance(ofThousand)
}

// isGone tells whether the actor's process has died: then nothing that it does matters. It is asked
// between any two steps, and that is where a process may die, too: drawn by time alone, a death would
// hardly ever come between two steps that follow one another at once.
func (a *actor) isGone(what string) bool {
	if a.process == nil {
		return false
	}
	if a.isDead(a.process) {
		return true
	}
	ofThousand := a.knobs.dying
	if what == a.knobs.focus {
		ofThousand = focused
	}
	if a.isCalm() || !a.chance(ofThousand) {
		return false
	}
	a.tell("dies within a step", 0)
	a.process.machine.kill(a.process)
	return true
}

// tell adds a step to the trace.
func (a *actor) tell(what string, result int) {
	const prime = 1099511628211
	a.turns.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	at := time.Now().UnixNano()
	sum := a.trace
	for _, part := range [...]string{a.name, what} {
		for i := range len(part) {
			sum = (sum ^ uint64(part[i])) * prime
		}
	}
	sum = (sum ^ uint64(at)) * prime
	a.trace = (sum ^ uint64(result)) * prime
	a.steps++
	if a.isTold {
		a.log = append(a.log, fmt.Sprintf("%s %s: %s (%d)", time.Unix(0, at).UTC().Format("04:05.000000000"), a.name, what, result))
	}
}

// place is where a database can be reached, or not.
type place struct {
	name        string
	unavailable error // what its callers are told while it is away
	unknown     error // what they are told when nobody knows whether the commit went through
	awayUntil   time.Time
	slowUntil   time.Time
	committing  bool // a commit whose caller is not there any more is still under way, and has its locks
}

// errGone is what a dead process hears, if it hears anything.
var errGone = errors.New("the process is dead")

// slowCall is from when on a call of a database counts as slow; in quiet times it takes milliseconds.
const slowCall = time.Second

// slowest is how long the way to a slow database takes at most.
const slowest = 8 * time.Second

// longCommit bounds how long a commit goes on after its caller was told that nobody knows.
const longCommit = 3 * time.Second

// latency draws how long the way to a database takes.
func (a *actor) latency(p *place) time.Duration {
	a.turns.Add(1)
	if time.Now().Before(p.slowUntil) {
		return a.upTo(slowest)
	}
	return 20*time.Microsecond + a.upTo(2*time.Millisecond)
}

// read calls a database without changing it.
func (a *actor) read(ctx context.Context, p *place, what string, effect func() error) error {
	defer a.turns.Add(1)
	switch err := a.reach(ctx, p, what); {
	case err != nil:
		return err
	case a.failing(what):
		a.tell(what+" fails", 0)
		a.meetAt(what, fails)
		return p.unavailable
	}
	err := effect()
	a.tell(what, 0)
	return err
}

// reach goes all the way to a database.
func (a *actor) reach(ctx context.Context, p *place, what string) error {
	left := time.Now()
	a.pause(ctx, a.latency(p))
	err := a.barred(ctx, p, what)
	if err == nil && time.Since(left) >= slowCall {
		a.meetAt(what, slow)
	}
	return err
}

// barred says why a database can not be reached, if it can not.
func (a *actor) barred(ctx context.Context, p *place, what string) error {
	switch {
	case a.isGone(what):
		a.meetAt(what, died)
		return fmt.Errorf("%w: %w", p.unavailable, errGone)
	case ctx.Err() != nil:
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			a.meetAt(p.name, late)
		}
		return fmt.Errorf("%w: %w", p.unavailable, ctx.Err())
	case time.Now().Before(p.awayUntil):
		a.meetAt(what, dead)
		return p.unavailable
	}
	return nil
}

// write runs a transaction. It may fail in front of its commit, or its caller may not hear
// of the commit: because it was done, or because it will be done later.
func (a *actor) write(ctx context.Context, p *place, what string, effect func() error) error {
	defer a.turns.Add(1)
	if err := a.reach(ctx, p, what); err != nil {
		return err
	}
	for p.committing {
		a.meetAt(what, locked)
		a.pause(ctx, 5*time.Millisecond)
		if err := a.barred(ctx, p, what); err != nil {
			return err
		}
	}
	isLost := false
	if a.failing(what) {
		switch a.random.IntN(3) {
		case 0:
			a.tell(what+" fails", 0)
			a.meetAt(what, fails)
			return p.unavailable
		case 1:
			a.commitLater(p, what, effect)
			return p.unknown
		case 2:
			isLost = true
		}
	}
	err := effect()
	a.tell(what, 1)
	if err != nil {
		return err
	}
	a.pause(ctx, a.latency(p)/2)
	switch {
	case a.isGone(what):
		a.meetAt(what, diedAfter)
		return fmt.Errorf("%w: %w", p.unknown, errGone)
	case ctx.Err() != nil:
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			a.meetAt(p.name, lateAfter)
		}
		return fmt.Errorf("%w: %w", p.unknown, ctx.Err())
	case isLost:
		a.meetAt(what, doubt)
		return p.unknown
	}
	return nil
}

// commitLater leaves a transaction with the database, which commits it in its own time.
// Nobody else writes meanwhile: that is what the locks of a real one come to.
func (a *actor) commitLater(p *place, what string, effect func() error) {
	a.tell(what+" is still under way", 2)
	p.committing = true
	late := a.newActor("late", nil)
	wait := a.upTo(longCommit)
	a.runs.Go(func() {
		late.pause(context.Background(), wait)
		if err := effect(); err == nil {
			late.meetAt(what, doubtThen)
		}
		p.committing = false
		late.tell(what, 3)
	})
}

// newWorld makes a world of a seed, with nothing running.
func newWorld(seed uint64, first *seeded) *world {
	draw := rand.New(rand.NewPCG(seed, 0))
	w := &world{
		seed: seed, common: first, trace: 14695981039346656037,
		claims: newClaimsDatabase(first.secret), ledger: newLedger(), history: checker.NewHistory(),
		settled: map[event.Key]bool{}, sent: map[int]bool{}, forged: map[event.Key]bool{}, met: map[fault]int{},
		claimsAt: newClaimsPlace(), ledgerAt: newLedgerPlace(), marks: newMarks(),
	}
	w.broker = newStream(w)
	w.calmAt = time.Now().Add(2*time.Second + time.Duration(draw.Int64N(int64(18*time.Second))))
	w.knobs = knobs{
		claimsMachines: 1 + draw.IntN(2), paymentsMachines: 1 + draw.IntN(2),
		clients: 1 + draw.IntN(3), claimsEach: 1 + draw.IntN(5),
		faulty: []int{0, 10, 50, 200}[draw.IntN(4)],
		poison: []int{0, 0, 100, 300}[draw.IntN(4)],
		forge:  []int{0, 0, 0, 150}[draw.IntN(4)],
		hold:   []time.Duration{-1, 0, 100 * time.Millisecond}[draw.IntN(3)],
		dying:  []int{0, 1, 5, 20}[draw.IntN(4)],
		focus:  steps[draw.IntN(len(steps))],
	}
	if w.knobs.faulty == 0 { // then nothing goes wrong at all
		w.knobs.dying, w.knobs.focus = 0, ""
	}
	if slices.Contains(stepsOfPoison[:], w.knobs.focus) {
		w.knobs.poison = 300
	}
	if w.knobs.poison > 0 { // parking takes payment.MaxAttempts, and is to be met by misfortunes, too
		w.calmAt = w.calmAt.Add(time.Duration(draw.Int64N(int64(15 * time.Second))))
	}
	return w
}

// isPoison tells whether the ledger can not record the claim now, and whether it panics
// over it.
func (w *world) isPoison(key event.Key) (poison, panics bool) {
	w.mu.Lock()
	isCured := w.isCured
	w.mu.Unlock()
	poison, panics = w.drawnPoison(key)
	return poison && !isCured, panics
}

// drawnPoison tells whether a claim is poison until somebody mends it.
func (w *world) drawnPoison(key event.Key) (poison, panics bool) {
	drawn := rand.New(rand.NewPCG(w.seed, uint64(key.ClaimID[0])<<8|uint64(key.ClaimID[1])))
	poison = drawn.IntN(1000) < w.knobs.poison
	return poison, drawn.IntN(2) == 0
}

// hasSettled checks every claim that was settled just now: payments must have it on record,
// with its amount.
func (w *world) hasSettled(changes []outbox.Change) {
	w.claims.mu.Lock()
	defer w.claims.mu.Unlock()
	w.ledger.mu.Lock()
	defer w.ledger.mu.Unlock()
	for i := range changes {
		key := changes[i].Key
		k := w.claims.byID[key.ClaimID]
		if k == nil || k.row != nil || w.settled[key] {
			continue
		}
		w.settled[key] = true
		if w.unhinted[key] {
			w.meet(hintLost)
		}
		if standing := w.ledger.standing(key); standing.State != event.Paid || standing.NetFee != k.NetFee() {
			w.breach("claim %s of %v is settled, and payments has %s of %v", key, k.NetFee(), standing.State, standing.NetFee)
		}
	}
}

// seeded is what all runs have in common, for it is dear to make: the claims.
type seeded struct {
	secret [claim.IdentitySecretSize]byte
	forms  [][2]*claim.Claim // a claim, and another under the same key
}
