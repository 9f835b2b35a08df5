package e2e_test

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/claim"
)

// A claim sent again under its name is stored and paid once; another claim under the same
// name is refused, also by a server that has just started, in each endpoint's own words.
func TestSentTwice(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.start()
	h := newHistory()
	for _, tt := range []struct {
		kind                claim.KeyKind
		first, again, other int
	}{
		{claim.ExternalKey, http.StatusCreated, http.StatusOK, http.StatusConflict},
		{claim.IdempotencyKey, http.StatusOK, http.StatusOK, http.StatusUnprocessableEntity},
	} {
		f := newForm(tt.kind, "twice", 8125, 3560)
		var got []int
		for i, one := range []form{f, f, f.other(), f, f.other()} {
			if i == 3 { // paid meanwhile, and the server is another
				s.settled()
				if code, _ := s.stop(); code != 0 {
					t.Fatalf("stop: got exit code %d", code)
				}
				s.start()
			}
			a, _ := s.attempt(h, one)
			got = append(got, a.status)
		}
		if diff := cmp.Diff([]int{tt.first, tt.again, tt.other, tt.again, tt.other}, got); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", tt.kind, diff)
		}
	}
	if report := s.finish(h); report.Claims != 2 || report.Payments != 2 {
		t.Errorf("got %d claims, %d payments, want 2", report.Claims, report.Payments)
	}
}

// attempt sends a claim that gets an answer, and notes it in the history.
func (s *system) attempt(h *history, f form) (answer, verdict) {
	s.Helper()
	era := h.attempt(f)
	a, err := s.post(s.server.url, f)
	v, told, wrong := judge(f, a, err)
	h.conclude(era, f, v, told)
	if err != nil || wrong != nil {
		s.Errorf("claim %s: got %d %s, %v, %v", f.key.Value, a.status, a.body, err, wrong)
	}
	return a, v
}

// The same claim sent by fifty clients at once is new to one of them, known to the others,
// and paid once; where half of them send another claim under the same key, one of the two
// is stored, and everybody is told which.
func TestSentAtOnce(t *testing.T) {
	t.Parallel()
	const senders = 50
	s := newSystem(t)
	s.start()
	h := newHistory()
	same := func(f form) func(int) form { return func(int) form { return f } }
	either := newForm(claim.ExternalKey, "either", 100)
	for _, tt := range []struct {
		name  string
		pick  func(i int) form
		check func(statuses map[int]int) bool
	}{
		{"external", same(newForm(claim.ExternalKey, "at once", 8125, 3560)), func(got map[int]int) bool {
			return got[http.StatusCreated] == 1 && got[http.StatusOK] == senders-1
		}},
		{"idempotency", same(randomForm(rand.New(rand.NewPCG(1, 1)), "at once too")), func(got map[int]int) bool {
			return got[http.StatusOK] == senders || got[http.StatusCreated] == 1 && got[http.StatusOK] == senders-1
		}},
		{"either", func(i int) form { return []form{either, either.other()}[i%2] }, func(got map[int]int) bool {
			return got[http.StatusCreated] == 1 && got[http.StatusOK] == senders/2-1 && got[http.StatusConflict] == senders/2
		}},
	} {
		var running sync.WaitGroup
		var mu sync.Mutex
		statuses := map[int]int{}
		begin := make(chan struct{})
		for i := range senders {
			running.Go(func() {
				<-begin
				a, _ := s.attempt(h, tt.pick(i))
				mu.Lock()
				defer mu.Unlock()
				statuses[a.status]++
			})
		}
		close(begin)
		running.Wait()
		if !tt.check(statuses) {
			t.Errorf("%s: got answers %v", tt.name, statuses)
		}
	}
	if report := s.finish(h); report.Claims != 3 || report.Payments != 3 {
		t.Errorf("got %d claims, %d payments, want 3", report.Claims, report.Payments)
	}
}
