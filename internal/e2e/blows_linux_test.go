package e2e_test

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

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
// other is stopped for a while, and Postgres, and their disk stands still.
func (t *torture) harass() {
	rounds := size(t.T, roundsVariable, shortRounds)
	f, disk := t.fleetOnPowerDisk()
	var blows []blow
	for round := range rounds {
		some := append(t.brokerBlows(f), t.pauses(f, round%manyEach)...)
		for range 2 {
			some = append(some, blow{what: "the disk stands still", kill: disk.freeze, restart: disk.thaw, hold: t.pause()})
		}
		t.random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		blows = append(blows, some...)
	}
	t.endure(f, faultClaims*(len(blows)+1), blows)
	resent := 0
	for _, i := range f.claims {
		resent += int(i.past[resentCounter])
	}
	if resent == 0 {
		t.Error("got no claim sent again, want those that the broker lost")
	}
	t.Logf("%d claims sent again, for the broker had lost their messages", resent)
}

// resentCounter counts what payments did not know.
const resentCounter = "claimrail_sweep_resent_total"

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
	for _, i := range f.claims {
		i.past[resentCounter] += i.metrics()[resentCounter]
	}
	report := f.finish(c.history)
	if report.Settled != total || report.Payments != total {
		t.Errorf("got %d claims settled, %d payments, want %d", report.Settled, report.Payments, total)
	}
	t.Logf("%d claims in %.1f s; all settled %.1f s later", total, sending.Seconds(), settling.Seconds())
	t.Logf("requests: %d acknowledged, %d refused as another claim, %d answered with 503, %d not answered, %d by half; %d sent again",
		c.acknowledged.Load(), c.refused.Load(), c.denied.Load(), c.unknown.Load(), c.half.Load(), c.resent.Load())
}

// brokerBlows takes from the broker what it has, each time while payments is paused and
// messages wait there: the claims have to be sent again.
func (t *torture) brokerBlows(f *fleet) []blow {
	var stopped []*server
	starved := func(what string, lose func()) blow {
		return blow{what: what, standing: true, kill: func() {
			stopped = nil
			for _, i := range f.payments {
				stopped = append(stopped, i.server)
				t.signal(i.server.cmd.Process.Pid, syscall.SIGSTOP)
			}
		}, restart: func() {
			lose()
			for _, p := range stopped {
				t.signal(p.cmd.Process.Pid, syscall.SIGCONT)
			}
		}}
	}
	return []blow{
		starved("the consumer is deleted", func() {
			f.nats.await("the consumer is deleted", func(ctx context.Context) error {
				return f.nats.stream.DeleteConsumer(ctx, event.StreamName, event.ConsumerName)
			})
		}),
		starved("the stream is deleted", func() {
			f.nats.await("the stream is deleted", func(ctx context.Context) error {
				return f.nats.stream.DeleteStream(ctx, event.StreamName)
			})
		}),
		starved("all files of the broker are gone", func() {
			for node := range natsNodes {
				f.nats.kill(node)
				if err := os.RemoveAll(f.nats.store(node)); err != nil {
					t.Fatal(err)
				}
			}
			for node := range natsNodes {
				f.nats.start(node)
			}
		}),
	}
}

// signal sends a signal to a process that may be gone, unless it has to go on.
func (t *torture) signal(pid int, with syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, with); err != nil && with == syscall.SIGCONT {
		t.Errorf("let process %d go on: %v", pid, err)
	}
}

// pause draws how long something stands still.
func (t *torture) pause() time.Duration {
	return minPause + time.Duration(t.random.Int64N(int64(maxPause-minPause)))
}

// pauses stops a process of each kind for a while, as a debugger or a machine that is moved
// does: nobody tells those who wait for it.
func (t *torture) pauses(f *fleet, victim int) []blow {
	stop := func(what string, pids func() []int) blow {
		var stopped []int
		signal := func(with syscall.Signal) {
			for _, pid := range stopped {
				t.signal(pid, with)
			}
		}
		return blow{what: what + " is paused", hold: t.pause(), kill: func() {
			stopped = pids()
			signal(syscall.SIGSTOP)
		}, restart: func() { signal(syscall.SIGCONT) }}
	}
	one := func(s func() *server) func() []int {
		return func() []int { return []int{s().cmd.Process.Pid} }
	}
	return []blow{
		stop(f.claims[victim].name, one(func() *server { return f.claims[victim].server })),
		stop(f.payments[victim].name, one(func() *server { return f.payments[victim].server })),
		stop(fmt.Sprint("NATS server n", victim), one(func() *server { return f.nats.nodes[victim] })),
		stop("Postgres", func() []int { return f.postgres.Processes() }),
	}
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
			blows = append(blows, blow{what: i.name + " is replaced", kill: i.replace, restart: func() {}, standing: true})
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
