package api

import (
	"sync"
	"time"

	"github.com/claimrail/claimrail/internal/store"
)

// maxRefused bounds the clients that are remembered as being over their limit. Those
// beyond it are refused by the database.
const maxRefused = 10_000

// refusals remembers which clients have used up their limit, and until when nothing can
// change that. It saves the database from those who go on asking.
type refusals struct {
	mu     *sync.Mutex
	byName map[string]refusal
}

type refusal struct{ until, reset time.Time }

func newRefusals() refusals {
	return refusals{new(sync.Mutex), make(map[string]refusal)}
}

// find tells whether a client is known to be refused still.
func (r *refusals) find(client string, now time.Time) (store.Rate, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.byName[client]
	if !ok {
		return store.Rate{}, false
	}
	if !now.Before(known.until) {
		delete(r.byName, client)
		return store.Rate{}, false
	}
	return store.Rate{RetryAfter: known.until.Sub(now), Reset: known.reset.Sub(now)}, true
}

// note remembers a client that has nothing left.
func (r *refusals) note(client string, rate store.Rate, now time.Time) {
	if rate.Remaining > 0 || rate.RetryAfter <= 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.byName) >= maxRefused {
		for name, known := range r.byName {
			if !now.Before(known.until) {
				delete(r.byName, name)
			}
		}
		if len(r.byName) >= maxRefused {
			return
		}
	}
	r.byName[client] = refusal{until: now.Add(rate.RetryAfter), reset: now.Add(rate.Reset)}
}
