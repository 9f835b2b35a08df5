package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/money"
)

// manyVariable sets how many claims TestManyInstances sends.
const manyVariable = "E2E_CLAIMS"

// Sizes of TestManyInstances.
const (
	manyEach     = 3               // processes of each role
	manyClients  = 48              // each sends one claim at a time, or two at once
	manyDefault  = 5_000           // claims
	manyPerRound = 15_000          // claims for which everything is killed once, in turn
	manyNPIs     = 1_200           // more than a ranking shows
	manyTop      = 1_000           // what it shows at most
	manyTimeout  = 3 * time.Minute // for the claims between two kills
)

// crowd is clients that send a number of claims to the claim-process instances of a fleet,
// each as a careful sender does: to the next instance if one does not answer, later if it is
// told so, and under the same key until it knows.
type crowd struct {
	*load
	fleet   *fleet
	done    atomic.Int64 // claims whose sender knows that they are stored
	total   int64
	ended   chan struct{} // closed when all are
	mu      sync.Mutex
	allowed int64                // claims that may be sent by now
	moved   chan struct{}        // closed when there are more
	tally   map[string]*standing // by NPI: what the senders were told is stored
}

// standing is what a provider has by the reckoning of the clients.
type standing struct {
	netFee money.Cents
	claims int64
}

// newCrowd starts clients that send so many claims in all.
func newCrowd(f *fleet, random *rand.Rand, total int) *crowd {
	c := &crowd{
		load:  &load{system: f.claims[0].system, history: newHistory()},
		fleet: f, total: int64(total), ended: make(chan struct{}), moved: make(chan struct{}), tally: map[string]*standing{},
	}
	ctx, cancel := context.WithCancel(context.Background())
	for client := range manyClients {
		own := rand.New(rand.NewPCG(random.Uint64(), 0))
		c.running.Go(func() {
			for n := client; n < total && c.mayBegin(ctx, int64(n)); n += manyClients {
				c.turn(ctx, own, fmt.Sprint(n))
			}
		})
	}
	go func() {
		c.running.Wait()
		close(c.ended)
	}()
	f.Cleanup(func() { // after a failure; else they have ended
		cancel()
		<-c.ended
	})
	return c
}

// allow lets the clients go on, up to so many claims.
func (c *crowd) allow(claims int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.allowed = max(c.allowed, claims)
	close(c.moved)
	c.moved = make(chan struct{})
}

// mayBegin waits until a claim may be sent; never, if ctx ends before that.
func (c *crowd) mayBegin(ctx context.Context, n int64) bool {
	for ctx.Err() == nil {
		c.mu.Lock()
		allowed, moved := c.allowed, c.moved
		c.mu.Unlock()
		if n < allowed {
			return true
		}
		select {
		case <-moved:
		case <-ctx.Done():
		}
	}
	return false
}

// turn sends one claim until there is an answer, and sometimes a copy at the same time by way
// of another instance, or another claim under its key afterwards.
func (c *crowd) turn(ctx context.Context, random *rand.Rand, number string) {
	f := randomForm(random, number)
	for _, line := range f.lines {
		line["provider_npi"] = strconv.Itoa(1_000_000_000 + random.IntN(manyNPIs))
	}
	again, first := random.IntN(100), random.IntN(manyEach)
	var twin sync.WaitGroup
	if again < sentTwice {
		twin.Go(func() { c.send(ctx, f, first+1) })
	}
	answered := c.send(ctx, f, first)
	twin.Wait()
	if answered && again >= sentTwice && again < sentTwice+sentOther {
		c.send(ctx, f.other(), first+2)
	}
	if answered {
		c.reckon(f)
		c.done.Add(1)
	}
}

// send sends a claim until its sender knows what became of it, to one instance after the
// other. It gives up, and false, when ctx ends.
func (c *crowd) send(ctx context.Context, f form, first int) bool {
	for n := first; ; n++ {
		v, status := c.try(c.fleet.claims[n%manyEach].address(), f)
		wait := pollEvery
		switch {
		case status == http.StatusServiceUnavailable:
			wait = time.Second // as Retry-After says
		case v != unknown:
			return true
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return false
		}
		c.resent.Add(1)
	}
}

// reckon adds a claim that is stored to what its providers have.
func (c *crowd) reckon(f form) {
	c.mu.Lock()
	defer c.mu.Unlock()
	counted := map[string]bool{}
	for i, line := range f.lines {
		npi := line["provider_npi"].(string)
		if c.tally[npi] == nil {
			c.tally[npi] = &standing{}
		}
		c.tally[npi].netFee += f.parts[i]
		if !counted[npi] {
			c.tally[npi].claims++
		}
		counted[npi] = true
	}
}

// ranking is what GET /top-providers has to answer.
func (c *crowd) ranking() (ranked []api.RankedProvider) {
	npis := make([]string, 0, len(c.tally))
	for npi := range c.tally {
		npis = append(npis, npi)
	}
	slices.SortFunc(npis, func(a, b string) int {
		if difference := c.tally[b].netFee - c.tally[a].netFee; difference != 0 {
			return int(difference)
		}
		return strings.Compare(a, b)
	})
	for i, npi := range npis[:min(len(npis), manyTop)] {
		ranked = append(ranked, api.RankedProvider{
			ProviderNPI: npi, TotalNetFee: c.tally[npi].netFee.String(), ClaimCount: c.tally[npi].claims, Rank: i + 1,
		})
	}
	return ranked
}

// reach waits until so many claims are stored.
func (c *crowd) reach(done int64) {
	c.Helper()
	c.until(fmt.Sprintf("%d of %d claims are stored", done, c.total), manyTimeout, func() bool { return c.done.Load() >= done })
}

// blows gives what happens: in each round one process of each role, one NATS server, of which
// the first leads the stream, and Postgres are killed. The order is drawn.
func (f *fleet) blows(random *rand.Rand, rounds int) (all []blow) {
	for round := range rounds {
		victim := round % manyEach
		var node int
		front, back := f.claims[victim], f.payments[victim]
		some := []blow{
			deadly(blow{what: front.name, kill: front.kill, restart: front.start, standing: true}, front.pids),
			deadly(blow{what: back.name, kill: back.kill, restart: back.start, standing: true}, back.pids),
			deadly(blow{
				what: "a NATS server", kill: func() { f.nats.kill(node) }, restart: func() { f.nats.start(node) }, standing: true,
			}, func() []int {
				if node = f.nats.whole(); round > 0 {
					node = (node + round) % natsNodes
				}
				return []int{f.nats.pid(node)}
			}),
			deadly(blow{what: "Postgres", kill: func() { f.postgres.Stop(f) }, restart: func() { f.postgres.Start(f) }}, f.postgres.Processes),
		}
		random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		all = append(all, some...)
	}
	return all
}

// endure deals the blows, spread over the claims that are sent. However long a blow takes, the
// clients have claims left for the next one.
func (c *crowd) endure(blows []blow) {
	c.Helper()
	step := c.total / int64(len(blows)+1)
	c.allow(2 * step)
	for i, b := range blows {
		c.reach(step * int64(i+1))
		var before int64
		b.deal(c, func() {
			before = c.done.Load()
			c.allow(min(max(before, step*int64(i+1))+step, c.total))
			switch {
			case b.hold > 0:
				<-time.After(b.hold)
			case b.standing:
				c.reach(min(before+step/2, c.total))
			default:
				failed := c.denied.Load() + c.unknown.Load()
				c.until("clients have met the outage", startTimeout, func() bool { return c.denied.Load()+c.unknown.Load() >= failed+manyClients })
			}
		})
		c.Logf("done, and undone %d claims later: %s", c.done.Load()-before, b.what)
	}
	c.allow(c.total)
	c.reach(c.total)
	<-c.ended
}

// Three claim-process and three payments processes share one Postgres server and three NATS
// servers. While clients send claims, some of them twice at once by way of two instances,
// one process of each role, a NATS server and Postgres are killed in turn and started again.
// At the end each claim is stored once and paid once, verify is clean, all payments
// instances have had their share, every instance ranks the providers as a recount does, and
// the rate limit counts over all instances together.
func TestManyInstances(t *testing.T) {
	t.Parallel()
	total := manyDefault
	if text := os.Getenv(manyVariable); text != "" {
		var err error
		if total, err = strconv.Atoi(text); err != nil || total < 1000 {
			t.Fatalf("%s: want at least 1000, got %q", manyVariable, text)
		}
	}
	manyInstances(t, newRandom(t), total, max(1, total/manyPerRound), &row{})
}

// manyInstances is TestManyInstances with so many rounds of kills, and tells in the row what
// came of it.
func manyInstances(t *testing.T, random *rand.Rand, total, rounds int, row *row) {
	t.Helper()
	f := newFleet(t, manyEach)
	begin := time.Now()
	c := newCrowd(f, random, total)
	row.history = c.history
	blows := f.blows(random, rounds)
	row.faults = len(blows)
	c.endure(blows)
	sending := time.Since(begin)
	f.settled()
	settling := time.Since(begin) - sending
	f.nats.whole()
	c.wantRanking()
	c.shares(total)
	report := f.finish(c.history)
	claims, acknowledged, sent := c.history.Figures()
	if claims != total || acknowledged != total || report.Settled != total || report.Payments != total {
		t.Errorf("got %d claims sent, %d acknowledged, %d settled, %d payments, want %d of each",
			claims, acknowledged, report.Settled, report.Payments, total)
	}
	t.Logf("%d claims in %d requests in %.1f s, %.0f claims/s with %d kills; all settled %.1f s later",
		claims, sent, sending.Seconds(), float64(claims)/sending.Seconds(), len(blows), settling.Seconds())
	t.Logf("requests: %d acknowledged, %d refused as another claim, %d answered with 503, %d not answered; %d sent again",
		c.acknowledged.Load(), c.refused.Load(), c.denied.Load(), c.unknown.Load(), c.resent.Load())
}

// shares tells how the work was shared, and what it cost. Counters die with their process,
// but for the last look before a kill.
func (c *crowd) shares(total int) {
	c.Helper()
	recorded := 0
	for _, i := range c.fleet.payments {
		share := i.count("claimrail_payments_recorded_total")
		recorded += share
		c.Logf("%s: recorded %d payments (%.1f %%), met %d again, gave %d messages back", i.name, share, 100*float64(share)/float64(total),
			i.count("claimrail_payments_repeats_total"), i.count("claimrail_payments_naks_total"))
		if share == 0 {
			c.Errorf("%s has recorded no payment", i.name)
		}
	}
	if recorded > total {
		c.Errorf("payments instances: recorded %d payments, want %d at most", recorded, total)
	}
	for _, i := range c.fleet.claims {
		c.Logf("%s: %d claims in %d transactions, %d commits in doubt, %d sends failed, %d claims sent again", i.name,
			i.count("claimrail_accept_claims_total"), i.count("claimrail_accept_batches_total"), i.count("claimrail_accept_doubts_total"),
			i.count("claimrail_relay_failed_total"), i.count("claimrail_sweep_resent_total"))
	}
}

// wantSame names the first place at which a ranking is another.
func (c *crowd) wantSame(name string, want, got []api.RankedProvider) {
	c.Helper()
	if len(got) != len(want) {
		c.Errorf("ranking of %s: got %d providers, want %d", name, len(got), len(want))
	}
	for place := range min(len(got), len(want)) {
		if diff := cmp.Diff(want[place], got[place]); diff != "" {
			c.Errorf("ranking of %s, place %d: want -, got +:\n%s", name, place+1, diff)
			return
		}
	}
}

// wantRanking asks for the ranking thirty times, as one client: one request to each instance,
// which has to answer what the clients reckon, then the others at once. Ten of them all in
// all are answered.
func (c *crowd) wantRanking() {
	c.Helper()
	const requests, limit = 30, 10
	want := c.ranking()
	ask := func(n int) int {
		i := c.fleet.claims[n%manyEach]
		a, err := c.call(i.address(), http.MethodGet, fmt.Sprint("/top-providers?limit=", manyTop), nil, nil)
		switch {
		case err != nil || a.status != http.StatusOK && a.status != http.StatusTooManyRequests:
			c.Errorf("GET /top-providers of %s: got %d %s, %v", i.name, a.status, a.body, err)
		case a.status == http.StatusOK:
			var got []api.RankedProvider
			if err := json.Unmarshal(a.body, &got); err != nil {
				c.Errorf("GET /top-providers of %s: %v", i.name, err)
			}
			c.wantSame(i.name, want, got)
		}
		return a.status
	}
	var answered atomic.Int64
	count := func(n int) {
		if ask(n) == http.StatusOK {
			answered.Add(1)
		}
	}
	for n := range manyEach {
		count(n)
	}
	if got := answered.Load(); got != manyEach {
		c.Errorf("rankings: got %d, want one of each instance", got)
	}
	var running sync.WaitGroup
	for n := manyEach; n < requests; n++ {
		running.Go(func() { count(n) })
	}
	running.Wait()
	if got := answered.Load(); got != limit {
		c.Errorf("%d requests of one client for the ranking: got %d answered, want %d", requests, got, limit)
	}
}
