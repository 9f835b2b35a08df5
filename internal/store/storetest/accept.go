package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/store"
)

func acceptChecks() []check {
	return []check{
		{"a new claim", acceptNew},
		{"a message for every new claim", acceptMessage},
		{"the same claim again", acceptExisting},
		{"another claim under the key", acceptOtherClaim},
		{"twice in one batch", acceptTwiceInBatch},
		{"as large as a batch may be", acceptLargest},
		{"batches out of bounds", acceptOutOfBounds},
		{"an ended context", acceptCancelled},
		{"many at once", acceptConcurrently},
	}
}

// Each claim of a batch is told its first line and when it was received: in UTC, to the
// microsecond.
func acceptNew(t *testing.T, f *fixture) {
	one := f.claim(t, "one", nets(npiA, 100), nets(npiB, 200))
	two := f.claim(t, "", nets(npiA, 300))
	at := noon().Add(789 * time.Nanosecond).In(time.FixedZone("", 3600))
	outcomes := f.accept(t, at, one, two)
	want := []store.Outcome{
		{FirstLineID: outcomes[0].FirstLineID, ReceivedAt: noon()},
		{FirstLineID: outcomes[0].FirstLineID + 2, ReceivedAt: noon()},
	}
	same(t, "outcomes", outcomes, want)
	if outcomes[0].FirstLineID < 1 {
		t.Errorf("first line: got %d, want it positive", outcomes[0].FirstLineID)
	}
	next := f.accept(t, noon(), f.claim(t, "three", nets(npiA, 1)))
	if got, least := next[0].FirstLineID, outcomes[1].FirstLineID+1; got < least {
		t.Errorf("first line of the next batch: got %d, want at least %d", got, least)
	}
	for i, c := range []*claim.Claim{one, two} {
		record := f.record(t, c)
		if record.FirstLineID != outcomes[i].FirstLineID || !record.ReceivedAt.Equal(outcomes[i].ReceivedAt) {
			t.Errorf("stored: got line %d at %v, want %+v", record.FirstLineID, record.ReceivedAt, outcomes[i])
		}
	}
}

// With the claim comes its outbox row, due at once, which holds the whole message.
func acceptMessage(t *testing.T, f *fixture) {
	submission := store.Submission{
		Claim:       f.claim(t, "one", nets(npiA, 100), nets(npiC, -250), nets(npiA, 5)),
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	}
	if _, err := f.Accept(t.Context(), []store.Submission{submission}, noon()); err != nil {
		t.Fatal(err)
	}
	same(t, "due before", f.due(t, outbox.ToPublish, after(-time.Microsecond)), []outbox.Row(nil))
	want := []outbox.Row{{ClaimAccepted: submission.Message(noon()), State: outbox.Pending}}
	same(t, "due at once", f.due(t, outbox.ToPublish, noon()), want)
	same(t, "payment", f.record(t, submission.Claim).Payment,
		store.Payment{State: store.PaymentPending, NextAttemptAt: noon()})
}

// A claim that is there already gets the outcome of the first time, and adds nothing.
func acceptExisting(t *testing.T, f *fixture) {
	one := f.claim(t, "one", nets(npiA, 100))
	first := f.accept(t, noon(), one)
	f.accept(t, noon(), f.claim(t, "two", nets(npiA, 7)))
	again, err := f.Accept(t.Context(), submissions(f.claim(t, "one", nets(npiA, 100))), after(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	first[0].Existing = true
	same(t, "outcome", again, first)
	same(t, "ranking", f.top(t, 10), []string{npiA + " 1.07 2"})
	if got := len(f.due(t, outbox.ToPublish, after(time.Hour))); got != 2 {
		t.Errorf("outbox rows: got %d, want 2", got)
	}
	if got, want := f.list(t, store.Filter{}), "two one"; got != want {
		t.Errorf("claims: got %q, want %q", got, want)
	}
	f.apply(t, noon(), 1, settle(one, 100))
	again, err = f.Accept(t.Context(), submissions(one), after(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "outcome once settled", again, first)
	if got := len(f.due(t, outbox.ToPublish, after(time.Hour))); got != 1 {
		t.Errorf("outbox rows once settled: got %d, want 1", got)
	}
}

// A key that is taken by a claim of other content refuses this claim alone.
func acceptOtherClaim(t *testing.T, f *fixture) {
	stored := f.claim(t, "one", nets(npiA, 100))
	f.accept(t, noon(), stored)
	batch := submissions(
		f.claim(t, "before", nets(npiB, 1)),
		f.claim(t, "one", nets(npiA, 101)),
		f.claim(t, "behind", nets(npiB, 2)),
	)
	outcomes, err := f.Accept(t.Context(), batch, after(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{nil, store.ErrOtherClaim, nil} {
		if !errors.Is(outcomes[i].Err, want) || outcomes[i].Existing {
			t.Errorf("claim %d: got %+v, want error %v", i, outcomes[i], want)
		}
	}
	if got, want := f.list(t, store.Filter{}), "behind before one"; got != want {
		t.Errorf("claims: got %q, want %q", got, want)
	}
	same(t, "lines of the first", f.record(t, stored).Lines, stored.Lines)
	same(t, "ranking", f.top(t, 10), []string{npiA + " 1.00 1", npiB + " 0.03 2"})
}

// The second of two equal claims in one batch finds the first.
func acceptTwiceInBatch(t *testing.T, f *fixture) {
	one := f.claim(t, "one", nets(npiA, 100))
	batch := submissions(one, f.claim(t, "one", nets(npiA, 999)), f.claim(t, "one", nets(npiA, 100)), f.claim(t, "two", nets(npiA, 1)))
	outcomes, err := f.Accept(t.Context(), batch, noon())
	if err != nil {
		t.Fatal(err)
	}
	first := outcomes[0].FirstLineID
	want := []store.Outcome{
		{FirstLineID: first, ReceivedAt: noon()},
		{Err: outcomes[1].Err},
		{FirstLineID: first, ReceivedAt: noon(), Existing: true},
		{FirstLineID: first + 1, ReceivedAt: noon()},
	}
	if !errors.Is(outcomes[1].Err, store.ErrOtherClaim) {
		t.Fatalf("other content: got %v, want %v", outcomes[1].Err, store.ErrOtherClaim)
	}
	for i := range want {
		if outcomes[i] != want[i] {
			t.Errorf("claim %d: got %+v, want %+v", i, outcomes[i], want[i])
		}
	}
	same(t, "ranking", f.top(t, 10), []string{npiA + " 1.01 2"})
}

// The largest batches go in whole: in claims, and in lines.
func acceptLargest(t *testing.T, f *fixture) {
	many := make([]*claim.Claim, store.MaxBatchClaims)
	for i := range many {
		many[i] = f.claim(t, fmt.Sprint("claim ", i), nets(npiA, 1))
	}
	f.accept(t, noon(), many...)
	lines := make([]claim.RawLine, claim.MaxLines)
	for i := range lines {
		lines[i] = nets(npiB, 2)
	}
	long := make([]*claim.Claim, store.MaxBatchLines/claim.MaxLines)
	for i := range long {
		long[i] = f.claim(t, fmt.Sprint("long claim ", i), lines...)
	}
	f.accept(t, noon(), long...)
	same(t, "ranking", f.top(t, 10), []string{npiB + " 399.60 20", npiA + " 20.48 2048"})
	if got := len(f.record(t, long[3]).Lines); got != claim.MaxLines {
		t.Errorf("lines of a long claim: got %d, want %d", got, claim.MaxLines)
	}
}

// No claims at all, or more than fit, are refused as a whole.
func acceptOutOfBounds(t *testing.T, f *fixture) {
	one := f.claim(t, "one", nets(npiA, 1))
	for _, size := range []int{0, store.MaxBatchClaims + 1} {
		batch := make([]store.Submission, size)
		for i := range batch {
			batch[i].Claim = one
		}
		if outcomes, err := f.Accept(t.Context(), batch, noon()); err == nil {
			t.Errorf("%d claims: got %d outcomes, want an error", size, len(outcomes))
		}
	}
	f.wantEmpty(t)
}

// When the caller's context has ended, nothing is stored and the same call may succeed
// later.
func acceptCancelled(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	one := f.claim(t, "one", nets(npiA, 1))
	if _, err := f.Accept(ctx, submissions(one), noon()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, store.ErrUnavailable)
	}
	f.wantEmpty(t)
	f.accept(t, noon(), one)
}

// wantEmpty reports whatever an Accept that failed has left behind.
func (f *fixture) wantEmpty(t *testing.T) {
	t.Helper()
	if got := f.list(t, store.Filter{}); got != "" {
		t.Errorf("claims: got %q, want none", got)
	}
	same(t, "ranking", f.top(t, 10), []string{})
	same(t, "outbox", f.due(t, outbox.ToPublish, after(time.Hour)), []outbox.Row(nil))
}

// Writers at the same time store each claim once, however many of them bring it, and
// no line id is given twice.
func acceptConcurrently(t *testing.T, f *fixture) {
	const writers, rounds = 8, 5
	shared := f.claim(t, "shared", nets(npiA, 1000), nets(npiB, 1))
	var mutex sync.Mutex
	lineOf := map[int64]uuid.UUID{}
	newShared := 0
	note := func(c *claim.Claim, outcome store.Outcome) {
		mutex.Lock()
		defer mutex.Unlock()
		if c == shared && !outcome.Existing {
			newShared++
		}
		for i := range c.Lines {
			id := outcome.FirstLineID + int64(i)
			if owner, used := lineOf[id]; used && owner != c.ID {
				t.Errorf("line %d is given to two claims", id)
			}
			lineOf[id] = c.ID
		}
	}
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			for r := range rounds {
				own := f.claim(t, fmt.Sprint(w, "/", r), nets(npiC, 1), nets(npiA, 1))
				outcomes, err := f.Accept(t.Context(), submissions(own, shared), noon())
				if err != nil {
					t.Error(err)
					return
				}
				note(own, outcomes[0])
				note(shared, outcomes[1])
			}
		})
	}
	wait.Wait()
	if newShared != 1 {
		t.Errorf("the shared claim was new %d times, want once", newShared)
	}
	if got, want := len(lineOf), 2+2*writers*rounds; got != want {
		t.Errorf("line ids: got %d, want %d", got, want)
	}
	same(t, "ranking", f.top(t, 10), []string{npiA + " 10.40 41", npiC + " 0.40 40", npiB + " 0.01 1"})
}
