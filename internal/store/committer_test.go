package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/store"
)

// No test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// subscriber is PHI that every test claim has; no log and no error may show it.
const subscriber = "0030189502"

// engine is a claims database in memory that goes wrong where a test says so.
type engine struct {
	mutex  sync.Mutex
	calls  []call
	stored map[uuid.UUID]store.Outcome
	other  uuid.UUID     // a claim whose key another has
	gate   chan struct{} // if there is one, each Accept takes a token first
	// fault runs before (stored false) and behind (stored true) the commit of the n-th
	// call, from 1, and fails it.
	fault func(ctx context.Context, n int, ids []uuid.UUID, stored bool) error
}

// call is one Accept.
type call struct {
	ids []uuid.UUID
	at  time.Time // the time it was told
}

// Accept implements store.Accepter.
func (e *engine) Accept(ctx context.Context, batch []store.Submission, now time.Time) ([]store.Outcome, error) {
	lines, ids := 0, make([]uuid.UUID, len(batch))
	for i, submission := range batch {
		ids[i] = submission.Claim.ID
		lines += len(submission.Claim.Lines)
	}
	e.mutex.Lock()
	e.calls = append(e.calls, call{ids, now})
	n := len(e.calls)
	e.mutex.Unlock()
	if _, bounded := ctx.Deadline(); !bounded || len(batch) < 1 || len(batch) > store.MaxBatchClaims || lines > store.MaxBatchLines {
		return nil, fmt.Errorf("accept of %d claims, %d lines, bounded %t", len(batch), lines, bounded)
	}
	if e.gate != nil {
		<-e.gate
	}
	if e.fault != nil {
		if err := e.fault(ctx, n, ids, false); err != nil {
			return nil, err
		}
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	outcomes := make([]store.Outcome, len(batch))
	for i, id := range ids {
		if id == e.other {
			outcomes[i].Err = store.ErrOtherClaim
			continue
		}
		found, ok := e.stored[id]
		if !ok {
			found = store.Outcome{FirstLineID: int64(len(e.stored) + 1), ReceivedAt: now}
			e.stored[id] = found
		}
		found.Existing = ok
		outcomes[i] = found
	}
	if e.fault != nil {
		if err := e.fault(ctx, n, ids, true); err != nil {
			return nil, err
		}
	}
	return outcomes, nil
}

// found gives what is stored of a claim.
func (e *engine) found(id uuid.UUID) (store.Outcome, bool) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	found, stored := e.stored[id]
	return found, stored
}

// Claim gives the two fields of a record that an outcome has too.
func (e *engine) Claim(_ context.Context, id uuid.UUID) (store.Record, error) {
	found, stored := e.found(id)
	if !stored {
		return store.Record{}, store.ErrNotFound
	}
	return store.Record{Summary: store.Summary{ReceivedAt: found.ReceivedAt}, FirstLineID: found.FirstLineID}, nil
}

// bench is a running committer before an engine in memory.
type bench struct {
	*testing.T
	engine    *engine
	committer *store.Committer
	handed    [][]uuid.UUID // what Committed was given; read it when the committer is idle
	log       *bytes.Buffer // read it when the committer has stopped
	stop      func()        // ends Run and waits for it
}

// inBubble runs a test in a bubble of its own time, and stops the committer behind it.
func inBubble(t *testing.T, test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		test(b)
		b.stop()
		if strings.Contains(b.log.String(), subscriber) {
			t.Errorf("the log holds PHI: %s", b.log)
		}
	})
}

func start(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, engine: &engine{stored: map[uuid.UUID]store.Outcome{}}, log: &bytes.Buffer{}}
	b.committer = store.NewCommitter(b.engine, time.Now, slog.New(slog.NewJSONHandler(b.log, nil)))
	b.committer.Committed = func(messages []event.ClaimAccepted) {
		ids := []uuid.UUID{}
		for i := range messages {
			ids = append(ids, messages[i].ClaimID)
		}
		b.engine.mutex.Lock()
		defer b.engine.mutex.Unlock()
		b.handed = append(b.handed, ids)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- b.committer.Run(ctx)
		close(done)
	}()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: got %v, want nil", err)
		}
	}
	return b
}

// result is what one Submit gave.
type result struct {
	outcome store.Outcome
	err     error
	done    bool
}

// pending is a Submit under way.
type pending struct {
	mutex sync.Mutex
	told  result
}

// now gives what it was told so far.
func (w *pending) now() result {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.told
}

// submit hands a claim in, in a goroutine of its own, until it waits.
func (b *bench) submit(ctx context.Context, c *claim.Claim) *pending {
	r := &pending{}
	go func() {
		outcome, err := b.committer.Submit(ctx, store.Submission{Claim: c})
		if err != nil && strings.Contains(err.Error(), subscriber) {
			b.Errorf("the error holds PHI: %v", err)
		}
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.told = result{outcome, err, true}
	}()
	synctest.Wait()
	return r
}

// submitAll hands in so many claims.
func (b *bench) submitAll(claims []*claim.Claim) []*pending {
	results := make([]*pending, len(claims))
	for i, c := range claims {
		results[i] = b.submit(b.Context(), c)
	}
	return results
}

// sizes gives the claims of each Accept so far.
func (b *bench) sizes() []int {
	b.engine.mutex.Lock()
	defer b.engine.mutex.Unlock()
	sizes := []int{}
	for _, call := range b.engine.calls {
		sizes = append(sizes, len(call.ids))
	}
	return sizes
}

// same reports where got is not what is wanted.
func (b *bench) same(what string, got, want any) {
	b.Helper()
	if diff := cmp.Diff(got, want); diff != "" {
		b.Errorf("%s: got -, want +:\n%s", what, diff)
	}
}

// accepted demands that all were accepted, and are new.
func (b *bench) accepted(submitted ...*pending) {
	b.Helper()
	for i, w := range submitted {
		r := w.now()
		if !r.done || r.err != nil || r.outcome.FirstLineID == 0 || r.outcome.Existing {
			b.Errorf("submission %d: got %+v, want it accepted", i, r)
		}
	}
}

// refused demands an error of the kind; nil stands for an error of none.
func (b *bench) refused(w *pending, kind error) {
	b.Helper()
	r := w.now()
	unavailable, unknown := errors.Is(r.err, store.ErrUnavailable), errors.Is(r.err, store.ErrUnknownOutcome)
	switch {
	case !r.done || r.err == nil:
		b.Errorf("submission: got %+v, want an error", r)
	case kind == nil && (unavailable || unknown), kind != nil && !errors.Is(r.err, kind),
		errors.Is(kind, store.ErrUnknownOutcome) && unavailable:
		b.Errorf("submission: got %v, want the kind %v", r.err, kind)
	}
}

// newClaim makes a claim without a key of its sender.
func newClaim(lines int) *claim.Claim {
	c := &claim.Claim{ID: uuid.Must(uuid.NewV7()), Version: claim.FirstVersion, Lines: make([]claim.Line, lines)}
	for i := range c.Lines {
		c.Lines[i] = claim.Line{SubscriberNumber: claim.NewSubscriberNumber(subscriber), ProviderNPI: 1497775530, ProviderFees: 100}
	}
	return c
}

func newClaims(count, lines int) []*claim.Claim {
	claims := make([]*claim.Claim, count)
	for i := range claims {
		claims[i] = newClaim(lines)
	}
	return claims
}

// One client alone waits for nothing but its own commit: no timer gathers.
func TestCommitterOneClientWaitsForNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		begin := time.Now()
		for range 5 {
			b.accepted(b.submit(b.Context(), newClaim(1)))
		}
		b.same("sizes", b.sizes(), []int{1, 1, 1, 1, 1})
		b.same("waited", time.Since(begin), time.Duration(0))
	})
}

// Each claim that is stored is given to the relay once, by the batch, when it is stored: not one that
// was there before, not one that was refused, and none of an import, of which it hears all the same.
func TestCommitterHandsOverWhatItStored(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		claims := newClaims(4, 1)
		there, bad, imported := claims[0], claims[1], newClaim(1)
		there.Key = claim.Key{Submitter: claim.DefaultSubmitter, Kind: claim.ExternalKey, Value: "1"}
		b.engine.other = claims[2].ID
		b.engine.fault = func(_ context.Context, _ int, ids []uuid.UUID, stored bool) error {
			if !stored && slices.Contains(ids, bad.ID) {
				return errors.New("no such row")
			}
			return nil
		}
		b.accepted(b.submit(b.Context(), there))
		b.same("a claim alone", b.handed, [][]uuid.UUID{{there.ID}})

		b.handed, b.engine.gate = nil, make(chan struct{}, 100)
		first := newClaim(1)
		b.submit(b.Context(), first) // the others gather behind it
		b.submitAll(claims)
		for range cap(b.engine.gate) {
			b.engine.gate <- struct{}{}
		}
		synctest.Wait()
		b.same("one new, others there, bad and refused", slices.DeleteFunc(b.handed, func(ids []uuid.UUID) bool { return len(ids) == 0 }),
			[][]uuid.UUID{{first.ID}, {claims[3].ID}})

		b.handed = nil
		outcomes, err := b.committer.SubmitBatch(b.Context(), []store.Submission{{Claim: imported, Import: uuid.New()}})
		if err != nil || outcomes[0].Err != nil {
			b.Fatalf("import: %v, %v", outcomes, err)
		}
		b.same("an import", b.handed, [][]uuid.UUID{{}})
	})
}

// While one batch is written the next gathers, so that many waiters cost one commit. No
// waiter is answered before Accept has returned.
func TestCommitterBatchesGrowUnderLoad(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.gate = make(chan struct{})
		results := b.submitAll(newClaims(41, 1))
		for _, r := range results {
			if r.now().done {
				b.Fatalf("submission: got %+v before the commit", r.now())
			}
		}
		b.same("sizes", b.sizes(), []int{1})
		b.engine.gate <- struct{}{}
		synctest.Wait()
		b.accepted(results[0])
		b.same("sizes", b.sizes(), []int{1, 40})
		if results[1].now().done {
			b.Errorf("submission: got %+v before the commit", results[1].now())
		}
		b.engine.gate <- struct{}{}
		synctest.Wait()
		b.accepted(results...)
		stats := b.committer.Stats()
		b.same("stats", []int64{stats.Batches.Load(), stats.Claims.Load(), stats.LargestBatch.Load()}, []int64{2, 41, 40})
	})
}

// A batch has no more claims and no more lines than one Accept allows; the claim that did
// not fit is the first of the next batch, and none is lost.
func TestCommitterLimitsBatches(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		claims, lines int
		sizes         []int
	}{
		"claims": {store.MaxBatchClaims + 90, 1, []int{1, store.MaxBatchClaims, 89}},
		"lines":  {51, 999, []int{1, 20, 20, 10}}, // 20 * 999 = 19,980
		"both":   {520, 40, []int{1, 500, 19}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(b *bench) {
				b.engine.gate = make(chan struct{})
				claims := newClaims(test.claims, test.lines)
				results := b.submitAll(claims)
				close(b.engine.gate)
				synctest.Wait()
				b.accepted(results...)
				b.same("sizes", b.sizes(), test.sizes)
				var ids []uuid.UUID
				for _, call := range b.engine.calls {
					ids = append(ids, call.ids...)
				}
				for i, c := range claims {
					b.same("order", ids[i], c.ID)
				}
			})
		})
	}
}

// A claim that is larger than any batch is refused by the engine, alone. It once kept Run
// in a loop for ever.
func TestCommitterClaimLargerThanABatch(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.gate = make(chan struct{})
		first := b.submit(b.Context(), newClaim(1))
		large := b.submit(b.Context(), newClaim(store.MaxBatchLines+1))
		last := b.submit(b.Context(), newClaim(1))
		close(b.engine.gate)
		synctest.Wait()
		b.accepted(first, last)
		b.refused(large, nil)
	})
}

// One bad claim does not sink the others of its batch.
func TestCommitterBadClaim(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.gate = make(chan struct{})
		claims := newClaims(6, 1)
		bad := claims[3].ID
		b.engine.fault = func(_ context.Context, _ int, ids []uuid.UUID, _ bool) error {
			if slices.Contains(ids, bad) {
				return errors.New("total out of range")
			}
			return nil
		}
		results := b.submitAll(claims)
		close(b.engine.gate)
		synctest.Wait()
		b.refused(results[3], nil)
		if !strings.Contains(results[3].now().err.Error(), bad.String()) {
			b.Errorf("error: got %v, want the claim named", results[3].now().err)
		}
		b.accepted(slices.Delete(results, 3, 4)...)
		b.same("sizes", b.sizes(), []int{1, 5, 2, 3, 1, 2})
		b.same("splits", b.committer.Stats().Splits.Load(), int64(1))
		b.accepted(b.submit(b.Context(), newClaim(1)))
	})
}

// A key that is taken by another claim is an error of that submission alone.
func TestCommitterOtherClaim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		claims := newClaims(3, 1)
		refusing := refuser{claims[1].ID}
		committer := store.NewCommitter(refusing, time.Now, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		errs := make([]error, len(claims))
		for i, c := range claims {
			go func() { _, errs[i] = committer.Submit(t.Context(), store.Submission{Claim: c}) }()
		}
		synctest.Wait()
		go func() { _ = committer.Run(ctx) }()
		synctest.Wait()
		cancel()
		if errs[0] != nil || !errors.Is(errs[1], store.ErrOtherClaim) || errs[2] != nil {
			t.Errorf("errors: got %v, want ErrOtherClaim of the second", errs)
		}
	})
}

// refuser is an engine in which the key of one claim is taken.
type refuser struct{ taken uuid.UUID }

// Accept implements store.Accepter.
func (r refuser) Accept(_ context.Context, batch []store.Submission, _ time.Time) ([]store.Outcome, error) {
	outcomes := make([]store.Outcome, len(batch))
	for i, submission := range batch {
		if submission.Claim.ID == r.taken {
			outcomes[i].Err = store.ErrOtherClaim
		}
	}
	return outcomes, nil
}

// A database that is away refuses the whole batch with one try; if that turns out while
// claims are accepted in parts, the rest is refused at once.
func TestCommitterUnavailable(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.gate = make(chan struct{})
		b.engine.fault = func(_ context.Context, n int, _ []uuid.UUID, _ bool) error {
			switch n {
			case 2, 6:
				return fmt.Errorf("accept: %w", store.ErrUnavailable)
			case 4:
				return errors.New("one of them is bad")
			}
			return nil
		}
		results := b.submitAll(newClaims(4, 1))
		b.engine.gate <- struct{}{}
		b.engine.gate <- struct{}{}
		synctest.Wait()
		b.accepted(results[0])
		for _, r := range results[1:] {
			b.refused(r, store.ErrUnavailable)
		}
		b.same("sizes", b.sizes(), []int{1, 3})

		results = b.submitAll(newClaims(4, 1))
		close(b.engine.gate)
		synctest.Wait()
		b.accepted(results[0], results[1])
		b.refused(results[2], store.ErrUnavailable)
		b.refused(results[3], store.ErrUnavailable)
		b.same("sizes", b.sizes(), []int{1, 3, 1, 3, 1, 2})
	})
}
