package outbox

import (
	"math"
	"sync"
	"time"

	"github.com/claimrail/claimrail/internal/event"
)

// handover is what was committed in this process and not sent yet. It may be lost: the rows are
// there.
type handover struct {
	arrived chan struct{} // something was put; has room for one
	mu      sync.Mutex
	rows    []Row
	since   time.Time // the earliest of what was put, or had no room, since the last clear; zero: nothing
}

// put takes the messages in; false: there is no room for them.
func (h *handover) put(messages []event.ClaimAccepted) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range messages {
		if at := messages[i].AcceptedAt; h.since.IsZero() || at.Before(h.since) {
			h.since = at
		}
	}
	if len(h.rows)+len(messages) > maxHanded {
		return false
	}
	for i := range messages {
		// The row has another number; none that is due at the same time stands behind this one.
		place := Place{DueAt: messages[i].AcceptedAt, Seq: math.MaxInt64}
		h.rows = append(h.rows, Row{ClaimAccepted: messages[i], State: Pending, Place: place})
	}
	signal(h.arrived)
	return true
}

// take gives up to limit rows, the longest there first.
func (h *handover) take(limit int) []Row {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(limit, len(h.rows))
	rows := h.rows[:n:n]
	if h.rows = h.rows[n:]; len(h.rows) > 0 {
		signal(h.arrived)
	}
	return rows
}

// clear lets go of all, and says when the first of what came since it was last called was due, taken
// or not; zero: nothing came.
func (h *handover) clear() (since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rows = nil
	select {
	case <-h.arrived:
	default:
	}
	since, h.since = h.since, time.Time{}
	return since
}
