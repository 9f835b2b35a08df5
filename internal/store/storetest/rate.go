package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/store"
)

func rateChecks() []check {
	return []check{
		{"the window slides", rateSlides},
		{"refused requests do not count", rateRefusedDoNotCount},
		{"clients are apart", rateClients},
		{"requests at the same moment", rateSameMoment},
		{"many at once", rateConcurrently},
	}
}

// The suite's limit: ten requests in any minute.
const (
	rateLimit  = 10
	rateWindow = time.Minute
)

func (f *fixture) take(t *testing.T, client string, at time.Time) store.Rate {
	t.Helper()
	rate, err := f.Take(t.Context(), client, rateLimit, rateWindow, at)
	if err != nil {
		t.Fatal(err)
	}
	return rate
}

// In no window of a minute, wherever it begins, are more than ten allowed: five at the
// beginning and five at second 50 leave no room until the first five are a minute old, one
// after the other. Fixed windows would begin anew at the full minute.
func rateSlides(t *testing.T, f *fixture) {
	for i := range 5 {
		at := after(time.Duration(i) * time.Second)
		same(t, fmt.Sprint("request ", i), f.take(t, "a", at), store.Rate{Allowed: true, Remaining: 9 - i, Reset: rateWindow})
	}
	for i := range 4 {
		same(t, fmt.Sprint("request ", 5+i), f.take(t, "a", after(50*time.Second)),
			store.Rate{Allowed: true, Remaining: 4 - i, Reset: rateWindow})
	}
	same(t, "the last", f.take(t, "a", after(52*time.Second)),
		store.Rate{Allowed: true, RetryAfter: 8 * time.Second, Reset: rateWindow})
	same(t, "one too many", f.take(t, "a", after(55*time.Second)),
		store.Rate{RetryAfter: 5 * time.Second, Reset: 57 * time.Second})
	same(t, "a moment too early", f.take(t, "a", after(rateWindow-time.Microsecond)),
		store.Rate{RetryAfter: time.Microsecond, Reset: 52*time.Second + time.Microsecond})
	same(t, "the first is a minute old", f.take(t, "a", after(rateWindow)),
		store.Rate{Allowed: true, RetryAfter: time.Second, Reset: rateWindow})
	same(t, "and the place is taken", f.take(t, "a", after(rateWindow)),
		store.Rate{RetryAfter: time.Second, Reset: rateWindow})
	same(t, "the second is a minute old", f.take(t, "a", after(rateWindow+time.Second)),
		store.Rate{Allowed: true, RetryAfter: time.Second, Reset: rateWindow})
	same(t, "long after", f.take(t, "a", after(time.Hour)), store.Rate{Allowed: true, Remaining: 9, Reset: rateWindow})
}

// A client that goes on asking while it is refused is allowed again all the same.
func rateRefusedDoNotCount(t *testing.T, f *fixture) {
	for range rateLimit {
		f.take(t, "a", noon())
	}
	for second := range 60 {
		if f.take(t, "a", after(time.Duration(second)*time.Second)).Allowed {
			t.Errorf("second %d: allowed", second)
		}
	}
	same(t, "a minute later", f.take(t, "a", after(rateWindow)), store.Rate{Allowed: true, Remaining: 9, Reset: rateWindow})
}

// One client's requests are nothing to another.
func rateClients(t *testing.T, f *fixture) {
	for range rateLimit + 1 {
		f.take(t, "192.0.2.1", noon())
	}
	for _, client := range []string{"192.0.2.10", "192.0.2.", ""} {
		same(t, client, f.take(t, client, noon()), store.Rate{Allowed: true, Remaining: 9, Reset: rateWindow})
	}
	if f.take(t, "192.0.2.1", noon()).Allowed {
		t.Error("the first client is allowed an eleventh")
	}
}

// Requests of the same microsecond count one by one.
func rateSameMoment(t *testing.T, f *fixture) {
	for i := range rateLimit {
		if got := f.take(t, "a", noon()); !got.Allowed || got.Remaining != 9-i {
			t.Errorf("request %d: got %+v, want it allowed and %d more", i, got, 9-i)
		}
	}
	same(t, "one too many", f.take(t, "a", noon()), store.Rate{RetryAfter: rateWindow, Reset: rateWindow})
}

// However many ask at the same time, ten are allowed.
func rateConcurrently(t *testing.T, f *fixture) {
	var allowed atomic.Int32
	var wait sync.WaitGroup
	for range 3 * rateLimit {
		wait.Go(func() {
			rate, err := f.Take(t.Context(), "a", rateLimit, rateWindow, noon())
			if err != nil {
				t.Error(err)
			}
			if rate.Allowed {
				allowed.Add(1)
			}
		})
	}
	wait.Wait()
	if got := allowed.Load(); got != rateLimit {
		t.Errorf("allowed: got %d, want %d", got, rateLimit)
	}
}
