package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/sqlitestore"
)

// importOf makes a batch of an import, of claims with a sender's key.
func importOf(id uuid.UUID, claims []*claim.Claim) []store.Submission {
	batch := make([]store.Submission, len(claims))
	for i, c := range claims {
		c.Key = claim.Key{Submitter: claim.DefaultSubmitter, Kind: claim.ExternalKey, Value: c.ID.String()}
		batch[i] = store.Submission{Claim: c, Import: id}
	}
	return batch
}

// batchResult is what one SubmitBatch gave.
type batchResult struct {
	outcomes []store.Outcome
	err      error
	done     chan struct{} // closed then
}

// submitBatch hands a batch in, in a goroutine of its own, until it waits.
func (b *bench) submitBatch(ctx context.Context, batch []store.Submission) *batchResult {
	r := &batchResult{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.outcomes, r.err = b.committer.SubmitBatch(ctx, batch)
		if r.err != nil && strings.Contains(r.err.Error(), subscriber) {
			b.Errorf("the error holds PHI: %v", r.err)
		}
	}()
	synctest.Wait()
	return r
}

// committed waits for the batch, and demands that its claims, but those at the places given,
// are stored and have each its own outcome.
func (b *bench) committed(r *batchResult, batch []store.Submission, but ...int) {
	b.Helper()
	<-r.done
	if r.err != nil || len(r.outcomes) != len(batch) {
		b.Fatalf("batch: got %d outcomes, %v, want %d", len(r.outcomes), r.err, len(batch))
	}
	for i, outcome := range r.outcomes {
		found, stored := b.engine.found(batch[i].Claim.ID)
		switch {
		case slices.Contains(but, i) && (outcome.Err == nil || stored || !strings.Contains(outcome.Err.Error(), batch[i].Claim.ID.String())):
			b.Errorf("claim %d: got %+v, stored %t, want an error that names it", i, outcome, stored)
		case !slices.Contains(but, i) && (outcome != found || outcome.FirstLineID == 0):
			b.Errorf("claim %d: got %+v, want %+v", i, outcome, found)
		}
	}
}

// A batch goes in whole, in one Accept, whatever else waits, and each claim has its outcome;
// the same again finds it existing.
func TestSubmitBatch(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.gate = make(chan struct{})
		batches := [][]store.Submission{
			importOf(uuid.New(), newClaims(store.MaxBatchClaims, 2)), importOf(uuid.New(), newClaims(3, 1)), importOf(uuid.Nil, newClaims(1, 1)),
		}
		var results []*batchResult
		for _, batch := range batches {
			results = append(results, b.submitBatch(b.Context(), batch))
		}
		b.same("sizes", b.sizes(), []int{store.MaxBatchClaims})
		close(b.engine.gate)
		for i, r := range results {
			b.committed(r, batches[i])
		}
		b.same("sizes", b.sizes(), []int{store.MaxBatchClaims, 3, 1})
		stats := b.committer.Stats()
		b.same("stats", []int64{stats.Batches.Load(), stats.Claims.Load(), stats.LargestBatch.Load()}, []int64{3, store.MaxBatchClaims + 4, store.MaxBatchClaims})
		again := b.submitBatch(b.Context(), batches[1])
		<-again.done
		for i, outcome := range again.outcomes {
			want := results[1].outcomes[i]
			want.Existing = true
			b.same("again", outcome, want)
		}
	})
}

// What is no batch is refused before the engine sees it.
func TestSubmitBatchOutOfBounds(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		for name, batch := range map[string][]store.Submission{
			"nothing":          nil,
			"too many claims":  importOf(uuid.Nil, newClaims(store.MaxBatchClaims+1, 1)),
			"too many lines":   importOf(uuid.Nil, newClaims(21, 999)),
			"of two imports":   append(importOf(uuid.New(), newClaims(1, 1)), importOf(uuid.New(), newClaims(1, 1))...),
			"of one and none":  append(importOf(uuid.New(), newClaims(1, 1)), importOf(uuid.Nil, newClaims(1, 1))...),
			"a claim too long": importOf(uuid.Nil, newClaims(1, store.MaxBatchLines+1)),
		} {
			outcomes, err := b.committer.SubmitBatch(b.Context(), batch)
			if err == nil || errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknownOutcome) {
				b.Errorf("%s: got %d outcomes, %v, want an error of no kind", name, len(outcomes), err)
			}
		}
		if _, err := b.committer.Submit(b.Context(), store.Submission{Claim: newClaim(1), Import: uuid.New()}); err == nil {
			b.Error("a single claim of an import: no error")
		}
		b.same("sizes", b.sizes(), []int{})
	})
}

// Claims at fault are found by halving, wherever they stand, at the price of two tries for
// each time the batch, here of 512, can be halved; all others are stored.
func TestSubmitBatchBadClaims(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		bad   []int
		tries int // at most
	}{
		{[]int{0}, 19},
		{[]int{200}, 19},
		{[]int{511}, 19},
		{[]int{0, 511}, 35},
		{[]int{7, 8, 9}, 35},
	} {
		t.Run(fmt.Sprint(test.bad), func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(b *bench) {
				batch := importOf(uuid.New(), newClaims(512, 1))
				b.engine.fault = func(_ context.Context, _ int, ids []uuid.UUID, _ bool) error {
					for _, i := range test.bad {
						if slices.Contains(ids, batch[i].Claim.ID) {
							return errors.New("total out of range")
						}
					}
					return nil
				}
				b.committed(b.submitBatch(b.Context(), batch), batch, test.bad...)
				if tries := len(b.sizes()); tries > test.tries {
					b.Errorf("tries: got %d, want %d at most", tries, test.tries)
				}
				b.same("splits", b.committer.Stats().Splits.Load(), int64(1))
				b.stop()
				b.same("warnings", strings.Count(b.log.String(), "\n"), 1)
			})
		})
	}
}

// A claim that makes the engine panic is a claim at fault.
func TestSubmitBatchPanic(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		batch := importOf(uuid.New(), newClaims(9, 1))
		b.engine.fault = func(_ context.Context, _ int, ids []uuid.UUID, stored bool) error {
			if !stored && slices.Contains(ids, batch[4].Claim.ID) {
				panic("no room for " + subscriber)
			}
			return nil
		}
		b.committed(b.submitBatch(b.Context(), batch), batch, 4)
	})
}

// A key that is taken by another claim is an outcome like others.
func TestSubmitBatchOtherClaim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		batch := importOf(uuid.New(), newClaims(3, 1))
		committer := store.NewCommitter(refuser{batch[1].Claim.ID}, time.Now, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = committer.Run(ctx) }()
		outcomes, err := committer.SubmitBatch(t.Context(), batch)
		if err != nil || outcomes[0].Err != nil || !errors.Is(outcomes[1].Err, store.ErrOtherClaim) || outcomes[2].Err != nil {
			t.Errorf("got %+v, %v, want ErrOtherClaim of the second", outcomes, err)
		}
	})
}

// Where no claim is at fault the whole batch is refused, with one try; where that turns out
// while it is written in parts, a part may be stored, and is found when it is sent again.
func TestSubmitBatchRefused(t *testing.T) {
	t.Parallel()
	for _, kind := range []error{store.ErrUnavailable, store.ErrLostImport} {
		t.Run(kind.Error(), func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(b *bench) {
				b.engine.fault = func(_ context.Context, n int, _ []uuid.UUID, _ bool) error {
					switch n {
					case 1, 4:
						return fmt.Errorf("accept: %w", kind)
					case 2:
						return errors.New("one of them is bad")
					}
					return nil
				}
				batch := importOf(uuid.New(), newClaims(4, 1))
				for _, sizes := range [][]int{{4}, {4, 4, 2, 2}} {
					if r := b.submitBatch(b.Context(), batch); !errors.Is(r.err, kind) || r.outcomes != nil {
						b.Errorf("batch: got %+v, want %v", r, kind)
					}
					b.same("sizes", b.sizes(), sizes)
				}
				last := b.submitBatch(b.Context(), batch)
				for i, outcome := range last.outcomes {
					b.same("existing", outcome.Existing, i < 2)
				}
			})
		})
	}
}

// A commit of unknown outcome is made again, with the same claims at the same time; that
// they are found then makes those without a key no repeats.
func TestSubmitBatchUnknownOutcome(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		begin := time.Now()
		b.engine.fault = func(_ context.Context, n int, _ []uuid.UUID, stored bool) error {
			if n == 1 && stored {
				return store.ErrUnknownOutcome
			}
			return nil
		}
		batch := importOf(uuid.New(), newClaims(3, 1))
		batch[1].Claim.Key = claim.Key{}
		r := b.submitBatch(b.Context(), batch)
		<-r.done
		for i, outcome := range r.outcomes {
			b.same("existing", outcome.Existing, i != 1)
			b.same("received at", outcome.ReceivedAt, begin)
		}
		b.same("sizes", b.sizes(), []int{3, 3})
	})
}

// A caller that goes away before its batch is taken withdraws all of it; later, and with a
// full line, it learns what Submit would say.
func TestSubmitBatchCallerGoesAway(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		const waiting = 4
		b.engine.gate = make(chan struct{})
		ctx, cancel := context.WithCancel(b.Context())
		var batches [][]store.Submission
		var results []*batchResult
		for range 1 + waiting + 1 { // one is being written, and one waits for room
			batches = append(batches, importOf(uuid.New(), newClaims(2, 1)))
			results = append(results, b.submitBatch(ctx, batches[len(results)]))
		}
		cancel()
		synctest.Wait()
		for i, r := range results {
			want := store.ErrUnavailable
			if i == 0 {
				want = store.ErrUnknownOutcome
			}
			if !errors.Is(r.err, want) || !errors.Is(r.err, context.Canceled) || strings.Contains(r.err.Error(), "for room") != (i > waiting) {
				b.Errorf("batch %d: got %v, want %v", i, r.err, want)
			}
		}
		stays := importOf(uuid.New(), newClaims(2, 1))
		staying := b.submitBatch(b.Context(), stays)
		close(b.engine.gate)
		b.committed(staying, stays)
		b.same("claims", len(b.engine.stored), 4)
	})
}

// Told to stop, Run commits the batches that wait as well, and the one in hand to its end;
// after that none is taken.
func TestSubmitBatchDrains(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.gate = make(chan struct{})
		b.engine.fault = func(ctx context.Context, _ int, _ []uuid.UUID, _ bool) error {
			if ctx.Err() != nil {
				return fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
			}
			return nil
		}
		batches := [][]store.Submission{importOf(uuid.New(), newClaims(5, 1)), importOf(uuid.New(), newClaims(6, 1)), importOf(uuid.New(), newClaims(7, 1))}
		var results []*batchResult
		for _, batch := range batches {
			results = append(results, b.submitBatch(b.Context(), batch))
		}
		single := b.submit(b.Context(), newClaim(1))
		go func() {
			<-time.After(time.Second)
			close(b.engine.gate)
		}()
		b.stop()
		synctest.Wait()
		for i, r := range results {
			b.committed(r, batches[i])
		}
		b.accepted(single)
		if _, err := b.committer.SubmitBatch(b.Context(), batches[0]); !errors.Is(err, store.ErrUnavailable) {
			b.Errorf("batch after the stop: got %v, want ErrUnavailable", err)
		}
	})
}

// A batch that comes in while the single claims in hand are still being written, though Run
// was told to stop, is committed: what is taken in is not left behind.
func TestSubmitBatchWhileStopping(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		release := make(chan struct{})
		b.engine.fault = func(_ context.Context, _ int, ids []uuid.UUID, stored bool) error {
			if len(ids) == 1 && !stored {
				<-release
			}
			return nil
		}
		single := b.submit(b.Context(), newClaim(1))
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			b.stop()
		}()
		synctest.Wait()
		batch := importOf(uuid.New(), newClaims(2, 1))
		r := b.submitBatch(b.Context(), batch)
		close(release)
		<-stopped
		b.committed(r, batch)
		b.accepted(single)
	})
}

// Where the engine can write two batches at once it does: an import that hangs keeps no
// single claim waiting, and the other way round.
func TestSubmitBatchBesideSubmit(t *testing.T) {
	t.Parallel()
	for _, hangs := range []int{1, 3} {
		t.Run(fmt.Sprint("batches of ", hangs), func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(b *bench) {
				release := make(chan struct{})
				b.engine.fault = func(_ context.Context, _ int, ids []uuid.UUID, stored bool) error {
					if len(ids) == hangs && !stored {
						<-release
					}
					return nil
				}
				batch := importOf(uuid.New(), newClaims(3, 1))
				single, imported := b.submit(b.Context(), newClaim(1)), b.submitBatch(b.Context(), batch)
				if hangs == 3 {
					b.accepted(single)
				} else {
					b.committed(imported, batch)
				}
				close(release)
				synctest.Wait()
				b.accepted(single)
				b.committed(imported, batch)
			})
		})
	}
}

// oneWriter makes the engine like one that has a single writer, who serves in the order of
// asking: a batch of imports takes it as long as given, one of single claims as long.
func (b *bench) oneWriter(imported, single time.Duration) {
	writer := make(chan struct{}, 1)
	b.engine.fault = func(_ context.Context, _ int, ids []uuid.UUID, stored bool) error {
		if stored {
			<-writer
			return nil
		}
		writer <- struct{}{}
		if len(ids) == store.MaxBatchClaims {
			<-time.After(imported)
		} else {
			<-time.After(single)
		}
		return nil
	}
}

// importAll submits batch after batch, from several workers, until ctx ends; wait gives the
// longest that one has waited.
func (b *bench) importAll(ctx context.Context, workers int) (wait func() time.Duration) {
	var mutex sync.Mutex
	longest := time.Duration(0)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for ctx.Err() == nil {
				begin := time.Now()
				if _, err := b.committer.SubmitBatch(b.Context(), importOf(uuid.New(), newClaims(store.MaxBatchClaims, 1))); err != nil {
					b.Errorf("batch: %v", err)
				}
				mutex.Lock()
				longest = max(longest, time.Since(begin))
				mutex.Unlock()
			}
		})
	}
	return func() time.Duration {
		all.Wait()
		return longest
	}
}

// However many batches of imports wait, a single claim waits for the one that is being
// written, and for its own commit.
func TestImportsDoNotStarveClaims(t *testing.T) {
	t.Parallel()
	const imported, single = 100 * time.Millisecond, time.Millisecond
	inBubble(t, func(b *bench) {
		b.oneWriter(imported, single)
		ctx, cancel := context.WithCancel(b.Context())
		wait := b.importAll(ctx, 6)
		for i := range 50 {
			<-time.After(time.Duration(i*7) * time.Millisecond)
			begin := time.Now()
			if _, err := b.committer.Submit(b.Context(), store.Submission{Claim: newClaim(1)}); err != nil {
				b.Errorf("submit: %v", err)
			}
			if waited := time.Since(begin); waited > imported+single {
				b.Errorf("claim %d waited %v, want %v at most", i, waited, imported+single)
			}
		}
		cancel()
		wait()
	})
}

// However many single claims come, every second commit is an import's: a batch waits for
// those before it in its own line, and as many commits of single claims.
func TestClaimsDoNotStarveImports(t *testing.T) {
	t.Parallel()
	const imported, single, workers = 10 * time.Millisecond, 20 * time.Millisecond, 3
	inBubble(t, func(b *bench) {
		b.oneWriter(imported, single)
		ctx, cancel := context.WithCancel(b.Context())
		var clients sync.WaitGroup
		for range 200 {
			clients.Go(func() {
				for ctx.Err() == nil {
					if _, err := b.committer.Submit(b.Context(), store.Submission{Claim: newClaim(1)}); err != nil {
						b.Errorf("submit: %v", err)
					}
				}
			})
		}
		wait := b.importAll(ctx, workers)
		<-time.After(3 * time.Second)
		cancel()
		longest := wait()
		clients.Wait()
		if most := workers * (imported + single); longest > most {
			b.Errorf("a batch waited %v, want %v at most", longest, most)
		}
		imports := 0
		for _, size := range b.sizes() {
			if size == store.MaxBatchClaims {
				imports++
			}
		}
		if all := len(b.sizes()); imports < all/2-2 {
			b.Errorf("batches of imports: got %d of %d, want half", imports, all)
		}
	})
}

// faulty goes wrong by a plan, and notes which claims it has left in doubt, and which it
// has sent to be accepted in parts.
type faulty struct {
	plan            []int // of each Accept, in turn
	doubtful, split map[uuid.UUID]bool
}

// faults is how many faults there are.
const faults = 8

func (f *faulty) fault(_ context.Context, n int, ids []uuid.UUID, stored bool) error {
	note := func(in map[uuid.UUID]bool) {
		for _, id := range ids {
			in[id] = true
		}
	}
	fault := f.plan[n%len(f.plan)]
	switch {
	case fault == 1 && !stored:
		<-time.After(300 * time.Millisecond)
	case fault == 2 && !stored:
		return store.ErrUnavailable
	case fault == 3 && !stored, fault == 4 && stored:
		note(f.doubtful)
		return store.ErrUnknownOutcome
	case fault == 5 && !stored:
		note(f.split)
		return errors.New("one is bad")
	case fault == 6 && !stored:
		return store.ErrLostImport
	case fault == 7 && !stored:
		note(f.split)
		panic("no index")
	}
	return nil
}

// Whatever the database does and whenever callers go away: a claim whose outcome is good is
// stored, one with an error of its own is not, and of a batch that was refused without doubt
// and in one piece nothing is.
func TestSubmitBatchKeepsItsWord(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(1, 20), 1, 12).Draw(r, "sizes")
		patience := rapid.SliceOfN(rapid.IntRange(0, 60), len(sizes), len(sizes)).Draw(r, "patience in 100 ms")
		plan := rapid.SliceOfN(rapid.IntRange(0, faults), 1, 40).Draw(r, "faults")
		inBubble(t, func(b *bench) {
			f := &faulty{plan, map[uuid.UUID]bool{}, map[uuid.UUID]bool{}}
			b.engine.fault = f.fault
			batches, results := make([][]store.Submission, len(sizes)), make([]batchResult, len(sizes))
			var wait sync.WaitGroup
			for i, size := range sizes {
				batches[i] = importOf(uuid.New(), newClaims(size, 1))
				wait.Go(func() {
					ctx, cancel := context.WithTimeout(b.Context(), time.Duration(patience[i])*100*time.Millisecond)
					defer cancel()
					results[i].outcomes, results[i].err = b.committer.SubmitBatch(ctx, batches[i])
				})
			}
			wait.Wait()
			b.stop()
			for i, batch := range batches {
				b.keptWord(f, batch, &results[i])
			}
		})
		if t.Failed() {
			r.Fatal("see above")
		}
	})
}

// keptWord holds what the sender of a batch was told against what is stored.
func (b *bench) keptWord(f *faulty, batch []store.Submission, told *batchResult) {
	for i, submission := range batch {
		id := submission.Claim.ID
		found, stored := b.engine.found(id)
		switch err := told.err; {
		case err == nil && told.outcomes[i].Err == nil:
			found.Existing = told.outcomes[i].Existing && f.doubtful[id]
			b.same("outcome", told.outcomes[i], found)
		case errors.Is(err, store.ErrUnknownOutcome): // nobody knows
		case stored && !f.doubtful[id] && !f.split[id]:
			b.Errorf("claim %d: stored, though its sender was told %v", i, err)
		case err == nil && stored && !f.doubtful[id]:
			b.Errorf("claim %d: stored, though its outcome is %v", i, told.outcomes[i].Err)
		}
	}
}

// Over a real database with one writer, both lines get on: while batches of imports are
// committed without a pause, single claims are too.
func TestBothLinesOverSQLite(t *testing.T) {
	t.Parallel()
	engine, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "claims.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = engine.Close() }()
	file := store.Import{ID: uuid.New(), State: store.ImportRunning, CreatedAt: time.Now(), LeasedUntil: time.Now().Add(time.Hour)}
	if err := engine.CreateImport(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	committer := store.NewCommitter(engine, time.Now, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- committer.Run(ctx) }()

	const workers, batches, size = 3, 8, 100
	var imports sync.WaitGroup
	for range workers {
		imports.Go(func() {
			for range batches {
				if _, err := committer.SubmitBatch(t.Context(), importOf(file.ID, newClaims(size, 1))); err != nil {
					t.Errorf("batch: %v", err)
				}
			}
		})
	}
	imported := make(chan struct{})
	go func() {
		imports.Wait()
		close(imported)
	}()
	singles := 0
	for over := false; !over; singles++ {
		if _, err := committer.Submit(t.Context(), store.Submission{Claim: newClaim(1)}); err != nil {
			t.Fatalf("submit: %v", err)
		}
		select {
		case <-imported:
			over = true
		default:
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if singles < workers*batches/4 {
		t.Errorf("single claims beside %d batches: got %d", workers*batches, singles)
	}
	counted, err := engine.Import(t.Context(), file.ID)
	if err != nil || counted.Claims.Accepted != workers*batches*size {
		t.Errorf("import: got %+v, %v, want %d claims", counted.Tally, err, workers*batches*size)
	}
}
