package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
)

// seedVariable sets the seed of the tests that draw; without it each run has another.
const seedVariable = "E2E_SEED"

// newRandom gives a source that can be had again from what it logs.
func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	seed := newSeed(t)
	t.Logf("%s=%d go test -run '^%s$' draws the same again", seedVariable, seed, t.Name())
	return rand.New(rand.NewPCG(seed, 0))
}

// newSeed gives what the variable says, or a number of this run.
func newSeed(t *testing.T) uint64 {
	t.Helper()
	seed, err := readSeed(os.Getenv(seedVariable))
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// readSeed reads a seed, and draws one where the text is empty. A text that is none is an error: what
// is drawn in its place would be taken for what was asked for.
func readSeed(text string) (uint64, error) {
	if text == "" {
		return rand.Uint64(), nil
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: got %q, want a whole number, as a run before has printed it", seedVariable, text)
	}
	return seed, nil
}

// size gives the number that a variable is set to, or the usual one.
func size(t *testing.T, variable string, usual int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 {
		t.Fatalf("%s: got %q, want a number of at least 1", variable, text)
	}
	return number
}

// clients is how many clients a load has, unless a long form has more. Each sends one claim at
// a time, or two at once.
const clients = 16

// clientsVariable sets the clients of a load: more of them get more claims through, for what
// is stored at once costs less.
const clientsVariable = "E2E_CLIENTS"

// Shares of the claims, in percent.
const (
	sentTwice = 2 // and at the same time
	sentOther = 1 // then another claim under the same key, which must be refused
)

// load is clients that send claims without a pause until they are told to stop.
type load struct {
	*system
	history *history

	mu      sync.Mutex
	url     string        // where the server is now
	changed chan struct{} // closed at its next start

	acknowledged, refused, unknown atomic.Int64 // requests, by their verdict
	denied                         atomic.Int64 // requests answered with 503, whatever their verdict
	half, resent, inFlight         atomic.Int64
	stopping                       atomic.Bool
	running                        sync.WaitGroup
}

// newLoad starts clients. Each draws by itself, so that a seed means the same claims
// whatever the order of the answers.
func newLoad(s *system, random *rand.Rand) *load {
	l := &load{system: s, history: newHistory(), url: s.server.url, changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	for number := range size(s.T, clientsVariable, clients) {
		own := rand.New(rand.NewPCG(random.Uint64(), 0))
		l.running.Go(func() {
			for n := 0; !l.stopping.Load() && ctx.Err() == nil; n++ {
				l.turn(ctx, own, fmt.Sprintf("%d-%d", number, n))
			}
		})
	}
	s.Cleanup(func() { // after a failure; else they have stopped
		cancel()
		l.running.Wait()
	})
	return l
}

// turn sends one claim until there is an answer, and sometimes more.
func (l *load) turn(ctx context.Context, random *rand.Rand, number string) {
	f := randomForm(random, number)
	again := random.IntN(100)
	var twin sync.WaitGroup
	if again < sentTwice {
		twin.Go(func() { l.send(ctx, f) })
	}
	answered := l.send(ctx, f)
	twin.Wait()
	if answered && again >= sentTwice && again < sentTwice+sentOther {
		l.send(ctx, f.other())
	}
}

// send sends a claim until its sender knows what became of it: at the next server if this
// one is gone, and later if it is told to come again. It gives up, and false, when ctx ends.
func (l *load) send(ctx context.Context, f form) bool {
	for {
		url, changed := l.address()
		v, status := l.try(url, f)
		var again <-chan time.Time
		switch {
		case status == http.StatusServiceUnavailable:
			again, changed = time.After(time.Second), nil // as Retry-After says
		case v != unknown:
			return true
		}
		select {
		case <-again:
		case <-changed:
		case <-ctx.Done():
			return false
		}
		l.resent.Add(1)
	}
}

// try sends a claim once. status is 0 where there was no answer.
func (l *load) try(url string, f form) (v verdict, status int) {
	era := l.history.attempt(f)
	l.inFlight.Add(1)
	a, err := l.post(url, f)
	l.inFlight.Add(-1)
	if errors.Is(err, errHalf) {
		l.half.Add(1)
	}
	v, told, err := judge(f, a, err)
	if err != nil {
		l.Errorf("claim %s: %v", f.key.Value, err)
	}
	l.history.conclude(era, f, v, told)
	switch {
	case a.status == http.StatusServiceUnavailable:
		l.denied.Add(1)
	case v == acknowledged:
		l.acknowledged.Add(1)
	case v == refused:
		l.refused.Add(1)
	default:
		l.unknown.Add(1)
	}
	return v, a.status
}

// judge says what an answer means to the client that sent the claim. An error is an
// answer that the API never promised.
func judge(f form, a answer, failure error) (verdict, receipt, error) {
	var code struct { // in one of the API's two shapes
		Code   string `json:"code"`
		Detail struct {
			Errors []struct {
				Code string `json:"code"`
			} `json:"errors"`
		} `json:"detail"`
	}
	if failure != nil {
		return unknown, receipt{}, nil
	}
	conflict := http.StatusConflict
	if f.key.Kind == claim.IdempotencyKey {
		conflict = http.StatusUnprocessableEntity
	}
	switch a.status {
	case http.StatusOK, http.StatusCreated:
		claimID, netFee, err := f.receipt(a)
		if err != nil {
			return unknown, receipt{}, fmt.Errorf("got %d: %s: %w", a.status, a.body, err)
		}
		return acknowledged, receipt{ClaimID: claimID, NetFee: netFee}, nil
	case conflict:
		return refused, receipt{}, nil
	case http.StatusServiceUnavailable:
		a.decode(&code)
		if len(code.Detail.Errors) == 1 {
			code.Code = code.Detail.Errors[0].Code
		}
		if a.header.Get("Retry-After") != "1" {
			return unknown, receipt{}, fmt.Errorf("got 503 without Retry-After: 1: %s", a.body)
		}
		if code.Code == "claims-unavailable" || code.Code == "busy" { // "nothing was stored"
			return refused, receipt{}, nil
		}
		return unknown, receipt{}, nil
	default:
		return unknown, receipt{}, fmt.Errorf("got %d: %s", a.status, a.body)
	}
}

func (l *load) address() (url string, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.url, l.changed
}

// restart starts the next server and leads the clients there.
func (l *load) restart() {
	l.Helper()
	l.start()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.url = l.server.url
	close(l.changed)
	l.changed = make(chan struct{})
}

// flow waits until so many more claims are acknowledged.
func (l *load) flow(more int64) {
	l.Helper()
	from := l.acknowledged.Load()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	late := time.NewTimer(startTimeout)
	defer late.Stop()
	for seen := from; seen < from+more; {
		select {
		case <-ticker.C:
			if now := l.acknowledged.Load(); now > seen {
				seen = now
				late.Reset(startTimeout)
			}
		case <-late.C:
			l.Fatalf("%d of %d claims are acknowledged, and none in %v", seen-from, more, startTimeout)
		}
	}
}

// end lets the clients finish what they are at. The server must be running.
func (l *load) end() {
	l.stopping.Store(true)
	l.running.Wait()
}
