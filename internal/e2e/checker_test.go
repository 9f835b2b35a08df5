package e2e_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
)

// verdict is what a client knows of a claim that it sent.
type verdict int

// Verdicts.
const (
	unknown      verdict = iota // no answer, or one that says that nobody knows
	acknowledged                // it is stored
	refused                     // it is not stored, at least not by this request
)

// history is what clients sent and were told: all there is to know from outside. Any
// number of clients may write it at once.
type history struct {
	mu         sync.Mutex
	operations map[claim.Key]*operation
	era        int            // grows with each cut of the power
	sealed     bool           // the power is about to be cut, or is: nobody hears an answer
	found      map[string]int // of the last check, by kind
}

// operation is all requests under one key.
type operation struct {
	attempts   int
	doubtful   map[money.Cents]int // requests without a verdict, by net fee
	receipts   map[receipt]int     // what the answers told
	writtenOff bool                // an operator discarded it: it must not be paid
}

// receipt is a claim as an answer told it.
type receipt struct {
	claimID string
	netFee  money.Cents
}

func newHistory() *history { return &history{operations: map[claim.Key]*operation{}} }

// attempt notes that the claim is about to be sent, and when.
func (h *history) attempt(f form) (era int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	op := h.operations[f.key]
	if op == nil {
		op = &operation{doubtful: map[money.Cents]int{}, receipts: map[receipt]int{}}
		h.operations[f.key] = op
	}
	op.attempts++
	op.doubtful[f.netFee]++
	return h.era
}

// conclude notes what became of an attempt. What is unknown stays in doubt, and what came too
// late: after the instant at which the power was cut.
func (h *history) conclude(era int, f form, v verdict, told receipt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	op := h.operations[f.key]
	if v == unknown || h.sealed || era != h.era {
		return
	}
	if op.doubtful[f.netFee]--; op.doubtful[f.netFee] == 0 {
		delete(op.doubtful, f.netFee)
	}
	if v == acknowledged {
		op.receipts[told]++
	}
}

// seal notes that the power is cut from now on: what is told later does not count.
func (h *history) seal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sealed = true
}

// unseal notes that the power is back. What was asked before stays in doubt for ever.
func (h *history) unseal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sealed = false
	h.era++
}

// writeOff notes that the claim was discarded.
func (h *history) writeOff(f form) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations[f.key].writtenOff = true
}

// storedClaim is a claim in the claims database.
type storedClaim struct {
	key claim.Key
	receipt
}

// Kinds of finding.
const (
	lost        = "lost"         // acknowledged, and not stored or not paid
	duplicated  = "duplicated"   // stored twice, or paid twice
	unexpected  = "unexpected"   // there without anybody having asked for it, or in spite of a refusal
	wrongAmount = "wrong amount" // not what was sent
)

// finding is one difference between what was told and what is.
type finding struct{ kind, text string }

// check holds the history against what is stored, and what is paid once everything that was
// under way has arrived. The order of what it finds means nothing.
func (h *history) check(stored []storedClaim, paid []receipt) []finding {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []finding
	report := func(kind, format string, args ...any) {
		found = append(found, finding{kind, fmt.Sprintf(format, args...)})
		h.found[kind]++
	}
	h.found = map[string]int{}
	byKey := map[claim.Key][]storedClaim{}
	for _, c := range stored {
		byKey[c.key] = append(byKey[c.key], c)
	}
	payments := map[string][]receipt{}
	for _, p := range paid {
		payments[p.claimID] = append(payments[p.claimID], p)
	}
	for key, op := range h.operations {
		op.checkStored(key, byKey[key], report)
		for _, c := range byKey[key] {
			op.checkPaid(c, payments[c.claimID], report)
		}
	}
	for key, claims := range byKey {
		if h.operations[key] == nil {
			report(unexpected, "%s %s is stored, and was never sent", key.Kind, key.Value)
		}
		for _, c := range claims {
			delete(payments, c.claimID)
		}
	}
	for id := range payments {
		report(unexpected, "claim %s is paid, and not stored", id)
	}
	return found
}

// checkStored holds the requests under one key against the claims stored under it.
func (op *operation) checkStored(key claim.Key, stored []storedClaim, report func(kind, format string, args ...any)) {
	name := fmt.Sprintf("%s %s (sent %d times)", key.Kind, key.Value, op.attempts)
	switch {
	case len(op.receipts) > 1:
		report(duplicated, "%s: the answers tell %d different claims", name, len(op.receipts))
	case len(stored) > 1:
		report(duplicated, "%s: stored %d times", name, len(stored))
	}
	if len(stored) == 0 {
		if len(op.receipts) > 0 {
			report(lost, "%s: acknowledged, and not stored", name)
		}
		return
	}
	for _, c := range stored {
		switch {
		case op.receipts[c.receipt] > 0:
		case len(op.receipts) > 0:
			report(wrongAmount, "%s: stored %v, not what the answers told: %v", name, c.receipt, slices.Collect(maps.Keys(op.receipts)))
		case op.doubtful[c.netFee] > 0: // nobody was told, and nobody was lied to
		case len(op.doubtful) > 0:
			report(wrongAmount, "%s: stored %v, sent %v", name, c.netFee, slices.Collect(maps.Keys(op.doubtful)))
		default:
			report(unexpected, "%s: refused every time, and stored", name)
		}
	}
}

// checkPaid holds one stored claim against its payments.
func (op *operation) checkPaid(c storedClaim, payments []receipt, report func(kind, format string, args ...any)) {
	switch {
	case len(payments) > 0 && op.writtenOff:
		report(unexpected, "claim %s: written off, and paid", c.claimID)
	case len(payments) == 0 && !op.writtenOff:
		report(lost, "claim %s: stored, and not paid", c.claimID)
	case len(payments) > 1:
		report(duplicated, "claim %s: paid %d times", c.claimID, len(payments))
	}
	for _, p := range payments {
		if p.netFee != c.netFee {
			report(wrongAmount, "claim %s: paid %v, want %v", c.claimID, p.netFee, c.netFee)
		}
	}
}

// figures counts claims, and those that at least one answer acknowledged.
func (h *history) figures() (claims, confirmed, attempts int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, op := range h.operations {
		claims++
		attempts += op.attempts
		if len(op.receipts) > 0 {
			confirmed++
		}
	}
	return claims, confirmed, attempts
}

// row is what a rig did, and what became of the claims.
type row struct {
	name    string
	faults  int // injected
	history *history
	took    time.Duration
	failed  bool
}

// The checker lets a sound line pass, doubt included, and finds every way in which a line
// can be unsound.
func TestChecker(t *testing.T) {
	t.Parallel()
	one, two := newForm(claim.ExternalKey, "one", 100), newForm(claim.IdempotencyKey, "two", 200)
	doubt, denied := newForm(claim.ExternalKey, "doubt", 300), newForm(claim.ExternalKey, "denied", 400)
	discarded := newForm(claim.ExternalKey, "discarded", 500)
	told := func(f form) receipt { return receipt{"id of " + f.key.Value, f.netFee} }
	kept := func(f form) storedClaim { return storedClaim{f.key, told(f)} }
	sent := func() *history {
		h := newHistory()
		for _, f := range []form{one, one, two, doubt, discarded} {
			h.conclude(h.attempt(f), f, map[bool]verdict{true: unknown, false: acknowledged}[f.key == doubt.key], told(f))
		}
		for _, f := range []form{denied, one.other()} {
			h.conclude(h.attempt(f), f, refused, receipt{})
		}
		h.writeOff(discarded)
		return h
	}
	soundClaims := []storedClaim{kept(one), kept(two), kept(doubt), kept(discarded)}
	soundPaid := []receipt{told(one), told(two), told(doubt)}
	without := func(i int) []storedClaim { return slices.Delete(slices.Clone(soundClaims), i, i+1) }
	for _, tt := range []struct {
		name   string
		stored []storedClaim
		paid   []receipt
		want   []string
	}{
		{"sound", soundClaims, soundPaid, nil},
		{"sound, and what was in doubt is not there", without(2), soundPaid[:2], nil},
		{"lost before it was stored", without(0), soundPaid[1:], []string{lost}},
		{"lost on the way to payments", soundClaims, soundPaid[1:], []string{lost}},
		{"paid, and then lost", without(0), soundPaid, []string{lost, unexpected}},
		{"stored twice", append(slices.Clone(soundClaims), kept(one)), soundPaid, []string{duplicated}},
		{"paid twice", soundClaims, append(slices.Clone(soundPaid), told(two)), []string{duplicated}},
		{"refused, and stored", append(slices.Clone(soundClaims), kept(denied)), append(slices.Clone(soundPaid), told(denied)), []string{unexpected}},
		{"never sent", append(slices.Clone(soundClaims), storedClaim{claim.Key{Value: "x"}, receipt{"x", 1}}), soundPaid, []string{unexpected}},
		{"paid, and not stored", soundClaims, append(slices.Clone(soundPaid), receipt{"x", 1}), []string{unexpected}},
		{"written off, and paid", soundClaims, append(slices.Clone(soundPaid), told(discarded)), []string{unexpected}},
		{"stored another amount", append(without(0), storedClaim{one.key, receipt{"id of one", 101}}), append(slices.Clone(soundPaid[1:]), receipt{"id of one", 101}), []string{wrongAmount}},
		{"stored another amount in doubt", append(without(2), storedClaim{doubt.key, receipt{"id of doubt", 301}}), append(slices.Clone(soundPaid[:2]), receipt{"id of doubt", 301}), []string{wrongAmount}},
		{"paid another amount", soundClaims, append(slices.Clone(soundPaid[1:]), receipt{"id of one", 99}), []string{wrongAmount}},
	} {
		var got []string
		for _, f := range sent().check(tt.stored, tt.paid) {
			got = append(got, f.kind)
		}
		slices.Sort(got)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", tt.name, diff)
		}
	}
	h, changed := sent(), two
	changed.netFee++ // and the answer tells another claim than the one before
	h.conclude(h.attempt(changed), changed, acknowledged, told(changed))
	if found := h.check(soundClaims, soundPaid); len(found) != 1 || found[0].kind != duplicated || !strings.Contains(found[0].text, "2 different claims") {
		t.Errorf("two claims under one key: got %v, want one finding", found)
	}
}

// What is told while the power is cut, or was asked before that, binds nobody; what was told
// before binds as ever.
func TestCheckerOverPowerCut(t *testing.T) {
	t.Parallel()
	before, late, during := newForm(claim.ExternalKey, "before", 100), newForm(claim.ExternalKey, "late", 200), newForm(claim.ExternalKey, "during", 300)
	h := newHistory()
	h.conclude(h.attempt(before), before, acknowledged, receipt{"before", 100})
	era := h.attempt(late)
	h.seal()
	h.conclude(h.attempt(during), during, acknowledged, receipt{"during", 300})
	h.unseal()
	h.conclude(era, late, acknowledged, receipt{"late", 200})
	h.check(nil, nil)
	if diff := cmp.Diff(map[string]int{lost: 1}, h.found); diff != "" {
		t.Errorf("nothing is stored: want -, got +:\n%s", diff)
	}
}
