package outbox

import (
	"sync"
	"time"

	"github.com/claimrail/claimrail/internal/event"
)

// holding is what a relay has published and not marked. It may be lost: then the same
// messages go out once more, under the same ids.
type holding struct {
	mu      sync.Mutex
	marks   map[event.Ref]*heldMark
	settled int  // of marks
	full    bool // there was no room at the last look
}

// heldMark is the mark that a row gets if it stays.
type heldMark struct {
	sequence uint64
	dueAt    time.Time
	sent     time.Time
	seen     time.Time // beginning of the last pass that found the row
	// settled: the row is gone. It is remembered until a pass does not find it, for one that
	// is under way may have read it before.
	settled bool
}

func (m *heldMark) change(ref event.Ref) Change {
	return Change{Ref: ref, Move: MarkPublished, DueAt: m.dueAt, Sequence: m.sequence}
}

// hold keeps the mark back, unless there is no room.
func (h *holding) hold(change Change, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting() >= maxHeld || h.settled >= maxSettled {
		return false
	}
	if h.marks == nil {
		h.marks = make(map[event.Ref]*heldMark)
	}
	h.marks[change.Ref] = &heldMark{sequence: change.Sequence, dueAt: change.DueAt, sent: now, seen: now}
	return true
}

// see gives the mark of a row that a pass has found; false: the row is not held.
func (h *holding) see(ref event.Ref, pass time.Time) (heldMark, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	mark := h.marks[ref]
	if mark == nil {
		return heldMark{}, false
	}
	mark.seen = pass
	return *mark, true
}

// forget lets go of what was held when a pass began, and was not found by it. It says how
// much is left.
func (h *holding) forget(pass time.Time) (left int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ref, mark := range h.marks {
		if mark.seen.Before(pass) {
			h.remove(ref)
		}
	}
	return h.waiting()
}

// settle notes that claims are settled. freed says that there is room again for whoever
// waits for it.
func (h *holding) settle(standings []event.Standing) (freed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, standing := range standings {
		// A standing has no generation. Of a later one, the next pass finds that the row is gone.
		if mark := h.marks[event.Ref{Key: standing.Key}]; mark != nil && !mark.settled {
			mark.settled = true
			h.settled++
		}
	}
	if freed = h.full && h.waiting() <= maxHeld-relayBatch; freed {
		h.full = false
	}
	return freed
}

// drop lets go of what was marked.
func (h *holding) drop(changes []Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range changes {
		h.remove(changes[i].Ref)
	}
}

// remove is for those who have the lock, as waiting is.
func (h *holding) remove(ref event.Ref) {
	if mark := h.marks[ref]; mark != nil && mark.settled {
		h.settled--
	}
	delete(h.marks, ref)
}

// waiting counts what is held and not settled.
func (h *holding) waiting() int { return len(h.marks) - h.settled }

// some gives up to limit of the marks.
func (h *holding) some(limit int) []Change {
	h.mu.Lock()
	defer h.mu.Unlock()
	changes := make([]Change, 0, min(limit, len(h.marks)))
	for ref, mark := range h.marks {
		if len(changes) == limit {
			break
		}
		changes = append(changes, mark.change(ref))
	}
	return changes
}

// room tells whether a whole batch can be held. Where it can not, payments is behind, and
// it is better to wait for it than to write marks.
func (h *holding) room() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.full = h.waiting() > maxHeld-relayBatch
	return !h.full
}
