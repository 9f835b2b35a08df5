// Package checker holds what clients sent and were told against what is stored and paid in
// the end. It stands outside of the line, and is for tests: those that run the
// program as processes, and those that simulate it.
package checker

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
)

// Verdict is what a client knows of a claim that it sent.
type Verdict int

// Verdicts.
const (
	Unknown      Verdict = iota // no answer, or one that says that nobody knows
	Acknowledged                // it is stored
	Refused                     // it is not stored, at least not by this request
)

// History is what clients sent and were told: all there is to know from outside. Any
// number of clients may write it at once.
type History struct {
	mu         sync.Mutex
	operations map[claim.Key]*operation
	era        int            // grows with each cut of the power
	sealed     bool           // the power is about to be cut, or is: nobody hears an answer
	found      map[string]int // of the last check, by kind; nil where a claim was sent since then
}

// operation is all requests under one key.
type operation struct {
	attempts   int
	doubtful   map[money.Cents]int // requests without a verdict, by net fee
	receipts   map[Receipt]int     // what the answers told
	counted    bool                // among what an import says that it accepted
	writtenOff bool                // an operator discarded it: it must not be paid
}

// Receipt is a claim as an answer told it, or as it is paid.
type Receipt struct {
	ClaimID string
	NetFee  money.Cents
}

// NewHistory gives the history of nobody yet.
func NewHistory() *History { return &History{operations: map[claim.Key]*operation{}} }

// Attempt notes that a claim is about to be sent, and when.
func (h *History) Attempt(key claim.Key, netFee money.Cents) (era int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	op := h.operations[key]
	if op == nil {
		op = &operation{doubtful: map[money.Cents]int{}, receipts: map[Receipt]int{}}
		h.operations[key] = op
	}
	op.attempts++
	op.doubtful[netFee]++
	h.found = nil
	return h.era
}

// Conclude notes what became of an attempt. What is unknown stays in doubt, and what came too
// late: after the instant at which the power was cut.
func (h *History) Conclude(era int, key claim.Key, netFee money.Cents, v Verdict, told Receipt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	op := h.operations[key]
	if v == Unknown || h.sealed || era != h.era {
		return
	}
	if op.doubtful[netFee]--; op.doubtful[netFee] == 0 {
		delete(op.doubtful, netFee)
	}
	if v == Acknowledged {
		op.receipts[told]++
	}
}

// Count notes that an import counted a claim that was attempted among those that are stored. Its
// id was not told, so the attempt stays in doubt as to that.
func (h *History) Count(key claim.Key) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations[key].counted = true
}

// Seal notes that the power is cut from now on: what is told later does not count.
func (h *History) Seal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sealed = true
}

// Unseal notes that the power is back. What was asked before stays in doubt for ever.
func (h *History) Unseal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sealed = false
	h.era++
}

// WriteOff notes that a claim was discarded.
func (h *History) WriteOff(key claim.Key) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations[key].writtenOff = true
}

// Stored is a claim in the claims database.
type Stored struct {
	Key claim.Key
	Receipt
}

// Kinds of finding.
const (
	Lost        = "lost"         // acknowledged, and not stored or not paid
	Duplicated  = "duplicated"   // stored twice, or paid twice
	Unexpected  = "unexpected"   // there without anybody having asked for it, or in spite of a refusal
	WrongAmount = "wrong amount" // not what was sent
)

// Finding is one difference between what was told and what is.
type Finding struct{ Kind, Text string }

// Check holds the history against what is stored, and what is paid once everything that was
// under way has arrived. The order of what it finds means nothing.
func (h *History) Check(stored []Stored, paid []Receipt) []Finding {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []Finding
	report := func(kind, format string, args ...any) {
		found = append(found, Finding{kind, fmt.Sprintf(format, args...)})
		h.found[kind]++
	}
	h.found = map[string]int{}
	byKey := map[claim.Key][]Stored{}
	for _, c := range stored {
		byKey[c.Key] = append(byKey[c.Key], c)
	}
	payments := map[string][]Receipt{}
	for _, p := range paid {
		payments[p.ClaimID] = append(payments[p.ClaimID], p)
	}
	for key, op := range h.operations {
		op.checkStored(key, byKey[key], report)
		for _, c := range byKey[key] {
			op.checkPaid(c, payments[c.ClaimID], report)
		}
	}
	for key, claims := range byKey {
		if h.operations[key] == nil {
			report(Unexpected, "%s %s is stored, and was never sent", key.Kind, key.Value)
		}
		for _, c := range claims {
			delete(payments, c.ClaimID)
		}
	}
	for id := range payments {
		report(Unexpected, "claim %s is paid, and not stored", id)
	}
	return found
}

func (op *operation) acknowledged() bool { return op.counted || len(op.receipts) > 0 }

// checkStored holds the requests under one key against the claims stored under it.
func (op *operation) checkStored(key claim.Key, stored []Stored, report func(kind, format string, args ...any)) {
	name := fmt.Sprintf("%s %s (sent %d times)", key.Kind, key.Value, op.attempts)
	switch {
	case len(op.receipts) > 1:
		report(Duplicated, "%s: the answers tell %d different claims", name, len(op.receipts))
	case len(stored) > 1:
		report(Duplicated, "%s: stored %d times", name, len(stored))
	}
	if len(stored) == 0 {
		if op.acknowledged() {
			report(Lost, "%s: acknowledged, and not stored", name)
		}
		return
	}
	for _, c := range stored {
		switch {
		case op.receipts[c.Receipt] > 0:
		case len(op.receipts) > 0:
			report(WrongAmount, "%s: stored %v, not what the answers told: %v", name, c.Receipt, slices.Collect(maps.Keys(op.receipts)))
		case op.doubtful[c.NetFee] > 0: // nobody was told, and nobody was lied to
		case len(op.doubtful) > 0:
			report(WrongAmount, "%s: stored %v, sent %v", name, c.NetFee, slices.Collect(maps.Keys(op.doubtful)))
		default:
			report(Unexpected, "%s: refused every time, and stored", name)
		}
	}
}

// checkPaid holds one stored claim against its payments.
func (op *operation) checkPaid(c Stored, payments []Receipt, report func(kind, format string, args ...any)) {
	switch {
	case len(payments) > 0 && op.writtenOff:
		report(Unexpected, "claim %s: written off, and paid", c.ClaimID)
	case len(payments) == 0 && !op.writtenOff:
		report(Lost, "claim %s: stored, and not paid", c.ClaimID)
	case len(payments) > 1:
		report(Duplicated, "claim %s: paid %d times", c.ClaimID, len(payments))
	}
	for _, p := range payments {
		if p.NetFee != c.NetFee {
			report(WrongAmount, "claim %s: paid %v, want %v", c.ClaimID, p.NetFee, c.NetFee)
		}
	}
}

// Figures counts claims, and those that at least one answer, or an import, acknowledged.
func (h *History) Figures() (claims, confirmed, attempts int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, op := range h.operations {
		claims++
		attempts += op.attempts
		if op.acknowledged() {
			confirmed++
		}
	}
	return claims, confirmed, attempts
}

// Found gives how often the last Check found each kind. It gives nil where there was none, or a claim
// was sent since then: nobody knows what became of it.
func (h *History) Found() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.found)
}
