package simulate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/checker"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
)

// service is one of the two services.
type service string

const (
	claimProcess service = "claim-process"
	payments     service = "payments"
)

// Bounds of what becomes of a machine.
const (
	longestLife     = 15 * time.Second // of a process, while things go wrong
	longestDowntime = 5 * time.Second
	farthestClock   = 30 * time.Second // off the right time, either way
)

// machine runs one instance of a service, again and again.
type machine struct {
	*world
	name    string
	service service
	offset  time.Duration // of its clock
	process *process      // nil: it is down
}

// process is one life of an instance: the program's own code, put together as the program
// does.
type process struct {
	machine *machine
	gone    bool // nothing that it does matters any more; guarded by world.mu
	life    context.Context
	end     context.CancelFunc

	committer *store.Committer
	relay     *outbox.Relay
	sweep     *outbox.Sweep
	consumer  *payment.Consumer
	desk      *payment.Desk
}

// now is the clock of the machine.
func (m *machine) now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Add(m.offset)
}

// setClock moves the clock of the machine.
func (m *machine) setClock(offset time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offset = offset
}

// run keeps an instance running, lets it die while things go wrong, and begins a new life whenever
// it is dead: also where it died within a step.
func (m *machine) run(ctx context.Context) {
	a := m.newActor(m.name, nil)
	a.pause(ctx, a.upTo(100*time.Millisecond))
	for ctx.Err() == nil {
		p := m.start(ctx)
		life := time.Until(m.calmAt)
		if a.knobs.faulty > 0 {
			life = min(life, a.upTo(longestLife))
		}
		a.pause(p.life, life)
		if m.isCalm() && !m.isDead(p) { // it lives until the end, unless things go wrong again
			<-p.life.Done()
			a.pause(context.Background(), 0)
		}
		if !m.isDead(p) {
			a.tell("dies", 0)
			m.kill(p)
		}
		a.pause(ctx, a.upTo(longestDowntime))
	}
}

// start begins a life.
func (m *machine) start(ctx context.Context) *process {
	ctx, cancel := context.WithCancel(ctx)
	p := &process{machine: m, life: ctx, end: cancel}
	logger := slog.New(slog.DiscardHandler)
	random := func(name string) (*actor, func() float64) {
		a := m.newActor(m.name+" "+name, p)
		return a, a.random.Float64
	}
	begin := func(a *actor, run func(context.Context) error) {
		m.runs.Go(func() {
			a.pause(ctx, a.upTo(time.Millisecond))
			_ = run(a.in(ctx))
		})
	}
	if m.service == claimProcess {
		accepting, spread := random("committer")
		p.committer = store.NewCommitter(claimsLink{m.world}, m.clock("committer"), logger)
		p.committer.Random = spread
		relaying, relayed := random("relay")
		sweeping, swept := random("sweep")
		hinted, _ := random("hints")
		pace := outbox.Config{
			Rows: claimsLink{m.world}, Line: m.broker, Logger: logger, Hold: m.knobs.hold,
			Grace: time.Second, DeadEvery: 2 * time.Second,
		}
		pace.Random, pace.Now = relayed, m.clock("relay")
		p.relay = outbox.NewRelay(pace)
		p.committer.Committed = p.relay.Committed
		pace.Random, pace.Now = swept, m.clock("sweep")
		p.sweep = outbox.NewSweep(pace)
		begin(accepting, p.committer.Run)
		begin(relaying, p.relay.Run)
		begin(sweeping, p.sweep.Run)
		begin(hinted, p.listen)
	} else {
		consuming, spread := random("consumer")
		stats := &payment.Stats{}
		p.consumer = &payment.Consumer{
			Feed: m.broker, Ledger: ledgerLink{m.world}, Hinter: m.broker, Stats: stats, Logger: logger,
			Now: m.clock("consumer"), Random: spread,
		}
		p.desk = &payment.Desk{Ledger: ledgerLink{m.world}, Hinter: m.broker, Stats: stats}
		begin(consuming, p.consumer.Run)
	}
	m.process = p
	return p
}

// listen applies hints until the process ends.
func (p *process) listen(ctx context.Context) error {
	for {
		answer, err := p.machine.broker.nextHint(ctx)
		if err != nil {
			return err
		}
		if err := p.sweep.Hint(ctx, answer); err == nil {
			p.relay.Settled(answer.Standings)
		}
	}
}

// kill ends a life: at once, for whatever the process still calls has no effect.
func (m *machine) kill(p *process) {
	m.mu.Lock()
	p.gone = true
	m.mu.Unlock()
	m.process = nil
	p.end()
}

// living draws a process of a service; nil: none lives.
func (w *world) living(a *actor, of service) *process {
	defer w.turns.Add(1)
	var found []*process
	for _, m := range w.fleet {
		if m.service == of && m.process != nil {
			found = append(found, m.process)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found[a.random.IntN(len(found))]
}

// send has a client send a claim to one of the instances, and notes what it is told. It
// says whether the client knows enough.
func (a *actor) send(ctx context.Context, nth int, other bool) (isKnown bool) {
	made := a.common.forms[nth][map[bool]int{true: 1}[other]]
	netFee := made.NetFee()
	a.sent[nth] = true
	p := a.living(a, claimProcess)
	if p == nil {
		return false
	}
	era, isCalm := a.history.Attempt(made.Key, netFee), a.isSettledDown()
	waiting, cancel := context.WithTimeout(ctx, time.Second+a.upTo(20*time.Second))
	defer cancel()
	outcome, err := p.committer.Submit(waiting, store.Submission{Claim: made})
	a.pause(ctx, 0)
	verdict := checker.Unknown
	switch {
	case a.isDead(p): // whatever it wanted to answer
	case err == nil:
		verdict = checker.Acknowledged
	case errors.Is(err, store.ErrUnknownOutcome):
	case errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrOtherClaim):
		verdict = checker.Refused
	default:
		a.breach("claim %s is answered with %v", made.ID, err)
	}
	a.tell(fmt.Sprint("sent ", nth, " ", other), int(verdict))
	if err == nil && outcome.FirstLineID < 1 {
		a.breach("claim %s is acknowledged with line id %d", made.ID, outcome.FirstLineID)
	}
	isKnown = verdict == checker.Acknowledged || errors.Is(err, store.ErrOtherClaim)
	if !isKnown && (isCalm || a.knobs.faulty == 0) {
		a.breach("claim %s is answered with %v, while nothing goes wrong", made.ID, err)
	}
	if verdict == checker.Acknowledged {
		a.look(ctx, made.ID, outcome.FirstLineID)
	}
	a.history.Conclude(era, made.Key, netFee, verdict, checker.Receipt{ClaimID: made.ID.String(), NetFee: netFee})
	return isKnown
}

// look has a client read a claim that was acknowledged just now: it is there, wherever it is read.
func (a *actor) look(ctx context.Context, id uuid.UUID, firstLine int64) {
	record, err := (claimsLink{a.world}).Claim(ctx, id)
	switch {
	case errors.Is(err, store.ErrUnavailable):
	case err != nil:
		a.breach("claim %s is acknowledged, and reading it gives %v", id, err)
	case record.FirstLineID != firstLine:
		a.breach("claim %s is acknowledged with line id %d, and has %d", id, firstLine, record.FirstLineID)
	}
}

// isSettledDown tells whether nothing that has gone wrong goes on any more.
func (w *world) isSettledDown() bool {
	return w.isCalm() && time.Since(w.claimsAt.slowUntil) > slowest && !w.claimsAt.committing && !slices.ContainsFunc(w.fleet, func(m *machine) bool { return m.process == nil })
}

// sendAgain has a client ask for each claim that anybody sent, when all is well again: it must be told.
func (a *actor) sendAgain(ctx context.Context) {
	if !a.await(longestDowntime+slowest+longCommit+checkEvery, a.isSettledDown) {
		a.breach("a machine stays down, or a commit goes on, long after the last misfortune")
	}
	for nth := range a.common.forms {
		if a.sent[nth] {
			a.send(ctx, nth, false)
		}
	}
}

func (w *world) isDead(p *process) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return p.gone
}

// client sends claims, some of them again, until it knows of each, or has no patience any
// more. Now and then it sends another claim under the same key.
func (a *actor) client(ctx context.Context, from int) {
	for nth := from; nth < from+a.knobs.claimsEach && ctx.Err() == nil; nth++ {
		a.pause(ctx, a.upTo(4*time.Second))
		for tries := 0; tries < 5 && !a.send(ctx, nth, a.chance(100)) && !a.chance(200); tries++ {
			a.pause(ctx, a.upTo(2*time.Second))
		}
		if a.chance(200) {
			a.send(ctx, nth, a.chance(300))
		}
	}
}

// misfortunes harms databases, broker and clocks until it is calm.
func (a *actor) misfortunes(ctx context.Context) {
	for a.knobs.faulty > 0 && ctx.Err() == nil {
		a.pause(ctx, a.upTo(3*time.Second))
		if a.isCalm() {
			break
		}
		if a.chance(a.knobs.forge) {
			a.tell("forge", 0)
			a.broker.forge(a)
			continue
		}
		until := time.Now().Add(min(a.upTo(8*time.Second), time.Until(a.calmAt)))
		drawn := a.random.IntN(10)
		a.tell("misfortune", drawn)
		switch drawn {
		case 0:
			a.claimsAt.awayUntil = until
		case 1:
			a.ledgerAt.awayUntil = until
		case 2:
			a.claimsAt.slowUntil = until
		case 3:
			a.ledgerAt.slowUntil = until
		case 4:
			a.broker.awayUntil = until
		case 5:
			a.broker.wipe()
		case 6:
			a.broker.cut(a)
		case 7:
			a.broker.replay(replayed)
		case 8:
			a.broker.repeat(a)
		case 9:
			a.fleet[a.random.IntN(len(a.fleet))].setClock(a.upTo(2*farthestClock) - farthestClock)
		}
	}
}

// decide has an operator decide on so many of 1000 open dead letters: most are sent again.
func (a *actor) decide(ctx context.Context, ofThousand int) {
	letters, err := a.ledger.DeadLetters(ctx, payment.LetterFilter{State: payment.LetterOpen})
	if err != nil {
		a.breach("list dead letters: %v", err)
	}
	for i := range letters {
		if !a.chance(ofThousand) {
			continue
		}
		p := a.living(a, payments)
		if p == nil {
			return
		}
		word := payment.Decision{Actor: "dana", Reason: "simulated", At: time.Now()}
		there := *a
		there.process = p
		if (letters[i].Ref == event.Ref{}) || a.chance(250) {
			_, err = p.desk.Discard(there.in(ctx), letters[i].ID, word)
		} else {
			_, err = p.desk.Redrive(there.in(ctx), letters[i].ID, word)
		}
		if errors.Is(err, payment.ErrPaid) { // as it says
			_, err = p.desk.Discard(there.in(ctx), letters[i].ID, word)
		}
		if err != nil && !errors.Is(err, payment.ErrClosed) && !errors.Is(err, payment.ErrUnavailable) {
			a.breach("decide on dead letter %d: %v", letters[i].ID, err)
		}
		a.tell(fmt.Sprint("decided on ", letters[i].MessageID), 0)
	}
}

// operator decides now and then while things go wrong.
func (a *actor) operator(ctx context.Context) {
	for ctx.Err() == nil && !a.isCalm() {
		a.pause(ctx, min(a.upTo(3*time.Second), time.Until(a.calmAt)))
		a.decide(ctx, 500)
	}
}

// begin wakes everybody: the fleet, and those who use and harm it.
func (w *world) begin(ctx context.Context) (clients *sync.WaitGroup) {
	for i := range w.knobs.claimsMachines {
		w.fleet = append(w.fleet, &machine{world: w, name: fmt.Sprint("claim-process ", i), service: claimProcess})
	}
	for i := range w.knobs.paymentsMachines {
		w.fleet = append(w.fleet, &machine{world: w, name: fmt.Sprint("payments ", i), service: payments})
	}
	clients = &sync.WaitGroup{}
	start := func(group *sync.WaitGroup, name string, run func(*actor)) {
		started := w.newActor(name, nil)
		group.Go(func() {
			started.pause(ctx, 0)
			run(started)
		})
	}
	for _, m := range w.fleet {
		start(&w.runs, m.name, func(*actor) { m.run(ctx) })
	}
	for i := range w.knobs.clients {
		start(clients, fmt.Sprint("client ", i), func(a *actor) { a.client(a.in(ctx), i*w.knobs.claimsEach) })
	}
	start(&w.runs, "misfortunes", func(a *actor) { a.misfortunes(ctx) })
	start(&w.runs, "operator", func(a *actor) { a.operator(ctx) })
	return clients
}
