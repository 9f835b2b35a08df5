package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/pgtest"
)

// Bounds of how long a process is paused and a disk stands still.
const (
	minPause = 500 * time.Millisecond
	maxPause = 4 * time.Second
)

// faultClaims is how many claims are sent for each fault of a fleet, one more for the end.
const faultClaims = 1_500

// rollClaims is the same for a process that is replaced: more than clients send while it stops.
const rollClaims = 6_000

// Everything that can be done to a fleet short of killing it (see manyInstances): the stream is
// deleted, its consumer is, all that the broker has on disk is wiped, one process after the
// other is stopped for a while, and Postgres, and their disk stands still, and is slow.
func (t *torture) harass() {
	rounds := size(t.T, roundsVariable, shortRounds)
	f, disk := t.fleetOnPowerDisk()
	var blows []blow
	for round := range rounds {
		some := append(t.brokerBlows(f), t.pauses(f, round%manyEach)...)
		some = append(some, disk.stand(t.pause()), disk.stand(t.pause()), disk.slow())
		t.random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		blows = append(blows, some...)
	}
	t.endure(f, faultClaims*(len(blows)+1), blows)
}

// endure deals blows to a fleet, and wants every claim stored and paid once.
func (t *torture) endure(f *fleet, total int, blows []blow) {
	t.Helper()
	begin := time.Now()
	c := newCrowd(f, t.random, total)
	t.row.history, t.row.faults = c.history, len(blows)
	c.endure(blows)
	sending := time.Since(begin)
	f.settled()
	settling := time.Since(begin) - sending
	c.shares(total)
	report := f.finish(c.history)
	if report.Settled != total || report.Payments != total {
		t.Errorf("got %d claims settled, %d payments, want %d", report.Settled, report.Payments, total)
	}
	t.Logf("%d claims in %.1f s; all settled %.1f s later", total, sending.Seconds(), settling.Seconds())
	t.Logf("requests: %d acknowledged, %d refused as another claim, %d answered with 503, %d not answered, %d by half; %d sent again",
		c.acknowledged.Load(), c.refused.Load(), c.denied.Load(), c.unknown.Load(), c.half.Load(), c.resent.Load())
}

// What claim-process and payments count when the broker has lost something.
const (
	resentCounter  = "claimrail_sweep_resent_total"     // claims that payments did not know, and are sent again
	repeatsCounter = "claimrail_payments_repeats_total" // messages that came again
)

// total adds a counter up over processes.
func total(instances []*instance, name string) (sum int) {
	for _, i := range instances {
		sum += i.count(name)
	}
	return sum
}

// holdings is what the broker has at a moment.
type holdings struct {
	stream, consumer  time.Time // when each was made; zero: it is not there
	waiting, answered int       // messages
}

// holdings asks the broker what it has. What nobody knows of is not there.
func (c *cluster) holdings() (h holdings) {
	c.Helper()
	c.await("the broker tells what it has", func(ctx context.Context) error {
		h = holdings{}
		stream, err := c.stream.Stream(ctx, event.StreamName)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		h.stream = stream.CachedInfo().Created
		consumer, err := stream.Consumer(ctx, event.ConsumerName)
		if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		info := consumer.CachedInfo()
		h.consumer, h.waiting = info.Created, int(info.NumPending)
		h.answered = int(stream.CachedInfo().State.Msgs) - h.waiting - info.NumAckPending
		return nil
	})
	return h
}

// brokerBlows takes from the broker what it has, each time while payments is paused and
// messages wait there. Of a consumer it has lost the next one gets all messages again, also those that
// were answered; messages that it has lost are sent again.
func (t *torture) brokerBlows(f *fleet) []blow {
	consumer := t.starved(f, "the consumer is deleted", f.payments, repeatsCounter,
		func(h holdings) int { return h.answered },
		func(h holdings) time.Time { return h.consumer }, func() {
			f.nats.await("the consumer is deleted", func(ctx context.Context) error {
				return f.nats.stream.DeleteConsumer(ctx, event.StreamName, event.ConsumerName)
			})
		})
	waiting := func(h holdings) int { return h.waiting }
	made := func(h holdings) time.Time { return h.stream }
	stream := t.starved(f, "the stream is deleted", f.claims, resentCounter, waiting, made, func() {
		f.nats.await("the stream is deleted", func(ctx context.Context) error {
			return f.nats.stream.DeleteStream(ctx, event.StreamName)
		})
	})
	files := t.starved(f, "all files of the broker are gone", f.claims, resentCounter, waiting, made, func() {
		for node := range natsNodes {
			f.nats.kill(node)
			if err := os.RemoveAll(f.nats.store(node)); err != nil {
				t.Fatal(err)
			}
		}
		for node := range natsNodes {
			f.nats.start(node)
		}
	})
	return []blow{consumer, stream, files}
}

// starved is a blow: payments is paused, and when messages wait the broker loses something. That is not there
// right after, or it is one that was made since; and a counter of some processes tells that messages came again:
// half of those that depended on it at least, for among them may be some of claims that are paid.
func (t *torture) starved(f *fleet, what string, counting []*instance, counter string,
	depend func(holdings) int, made func(holdings) time.Time, lose func(),
) blow {
	var pids []int
	var counted, want int
	return blow{what: what, standing: true, kill: func() {
		pids = nil
		for _, i := range f.payments {
			pids = append(pids, i.pid())
		}
		counted = total(counting, counter)
		t.signalAll(pids, syscall.SIGSTOP)
	}, felt: func() error { return paused(pids) }, restart: func() {
		before := f.nats.holdings()
		if want = (depend(before) + 1) / 2; want <= 0 {
			t.Errorf("%s: got %+v, want messages that depend on it", what, before)
		}
		lose()
		if after := f.nats.holdings(); made(after).Equal(made(before)) {
			t.Errorf("%s: it is still there, with %+v", what, after)
		}
		t.signalAll(pids, syscall.SIGCONT)
	}, undone: func() error {
		if got := total(counting, counter) - counted; got < want {
			return fmt.Errorf("%d messages came again, want %d", got, want)
		}
		return nil
	}}
}

// paused is the error of processes that go on, all of which should be stopped. Some may have ended.
func paused(pids []int) error {
	stopped := 0
	for _, pid := range pids {
		switch state := processState(pid); {
		case state == 'T':
			stopped++
		case !isOver(pid):
			return fmt.Errorf("process %d is in state %c, want T", pid, state)
		}
	}
	if stopped == 0 {
		return errors.New("no process is stopped")
	}
	return nil
}

// signalAll sends a signal to processes that may be gone, unless they have to go on.
func (t *torture) signalAll(pids []int, with syscall.Signal) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, with); err != nil && with == syscall.SIGCONT && !isOver(pid) {
			t.Errorf("let process %d go on: %v", pid, err)
		}
	}
}

// pause draws how long something stands still.
func (t *torture) pause() time.Duration {
	return minPause + time.Duration(t.random.Int64N(int64(maxPause-minPause)))
}

// stopping is a blow: processes are stopped for a while, as a debugger or a machine that is moved
// does: nobody tells those who wait for them.
func (t *torture) stopping(what string, pids func() []int) blow {
	var stopped []int
	return blow{what: what + " is paused", hold: t.pause(), kill: func() {
		stopped = pids()
		t.signalAll(stopped, syscall.SIGSTOP)
	}, felt: func() error { return paused(stopped) }, restart: func() {
		if err := paused(stopped); err != nil {
			t.Errorf("%s should be paused yet: %v", what, err)
		}
		t.signalAll(stopped, syscall.SIGCONT)
	}, undone: func() error {
		if paused(stopped) == nil {
			return errors.New("all are stopped")
		}
		return nil
	}}
}

// pauses stops a process of each kind.
func (t *torture) pauses(f *fleet, victim int) []blow {
	return []blow{
		t.stopping(f.claims[victim].name, f.claims[victim].pids),
		t.stopping(f.payments[victim].name, f.payments[victim].pids),
		t.stopping(fmt.Sprint("NATS server n", victim), func() []int { return []int{f.nats.pid(victim)} }),
		t.stopping("Postgres", f.postgres.Processes),
	}
}

// stallClaims is the most claims that are acknowledged before the embedded server is stalled.
const stallClaims = 1_000

// The embedded server is stopped for a while, its disk stands still, and is slow, under load: the same process
// goes on, and every claim is paid once.
func (t *torture) stall() {
	s := newSystem(t.T)
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	disk := newPowerDisk(t, s.dir)
	s.start()
	process := s.server
	l := newLoad(s, t.random)
	t.row.history = l.history
	for range size(t.T, roundsVariable, shortRounds) {
		pid := func() []int { return []int{s.pid()} }
		some := []blow{
			t.stopping("the server", pid), t.stopping("the server, again,", pid),
			disk.stand(t.pause()), disk.slow(),
		}
		t.random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		for _, b := range some {
			l.flow(100 + t.random.Int64N(stallClaims))
			before := l.acknowledged.Load()
			b.deal(t, func() { <-time.After(b.hold) })
			t.row.faults++
			t.Logf("done, and undone %d claims later: %s", l.acknowledged.Load()-before, b.what)
		}
	}
	l.flow(clients)
	l.end()
	if s.server != process {
		t.Error("the server is another")
	}
	report := s.finish(l.history)
	if claims, confirmed, _ := l.history.Figures(); claims != confirmed || report.Settled != claims {
		t.Errorf("got %d claims sent, %d acknowledged, %d settled, want all of them", claims, confirmed, report.Settled)
	}
	t.Logf("requests: %d acknowledged, %d answered with 503, %d not answered", l.acknowledged.Load(), l.denied.Load(), l.unknown.Load())
}

// Every process of the line is replaced while clients send claims: the new one is ready before
// the old one is told to stop. No client is refused, or left without an answer, or with half of one.
func (t *torture) roll() {
	// The delay is more than a client can be late on a busy machine, with a request to an address that it has looked up.
	f := &fleet{T: t.T, postgres: pgtest.StartOwn(t.T), nats: newCluster(t.T, t.TempDir()), environ: []string{"CLAIMRAIL_STOP_DELAY=1s"}}
	f.populate(manyEach)
	rounds := size(t.T, roundsVariable, shortRounds)
	var blows []blow
	for range rounds {
		for _, i := range f.all() {
			blows = append(blows, deadly(blow{what: i.name + " is replaced", kill: i.replace, restart: func() {}, standing: true}, i.pids))
		}
	}
	c := newCrowd(f, t.random, rollClaims*(len(blows)+1))
	t.row.history, t.row.faults = c.history, len(blows)
	c.endure(blows)
	if c.denied.Load() != 0 || c.half.Load() != 0 || c.unknown.Load() != 0 {
		t.Errorf("got %d requests answered with 503, %d with half an answer, %d without one, want none", c.denied.Load(), c.half.Load(), c.unknown.Load())
	}
	c.shares(int(c.total))
	if report := f.finish(c.history); int64(report.Settled) != c.total {
		t.Errorf("got %d claims settled, want %d", report.Settled, c.total)
	}
	t.Logf("%d claims, %d processes replaced", c.total, len(blows))
}

// replace starts another process in the place of this one, and then stops this one.
func (i *instance) replace() {
	i.Helper()
	for name, value := range i.metrics() {
		i.past[name] += value
	}
	old := i.server
	i.start()
	next := i.server
	i.server = old
	if code, took := i.stop(); code != 0 {
		i.Errorf("stop %s under load: got exit code %d after %v, want 0", i.name, code, took)
	}
	i.server = next
}
