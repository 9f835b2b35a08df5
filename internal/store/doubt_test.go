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

// A commit of unknown outcome is made again with the same claims at the same time, whether
// it had been written or not, and is never looked up. A claim without a key that the first
// try had stored is new to its sender.
func TestCommitterUnknownOutcome(t *testing.T) {
	t.Parallel()
	for _, written := range []bool{true, false} {
		t.Run(fmt.Sprint("written ", written), func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(b *bench) {
				begin := time.Now()
				b.engine.fault = func(_ context.Context, n int, _ []uuid.UUID, stored bool) error {
					switch {
					case n == 1 && stored == written:
						return fmt.Errorf("commit: %w", store.ErrUnknownOutcome)
					case n == 2: // the database is away; the first try is as much in doubt
						return store.ErrUnavailable
					}
					return nil
				}
				c := newClaim(1)
				r := b.submit(b.Context(), c)
				if r.now().done {
					b.Errorf("submission: got %+v while in doubt", r.now())
				}
				<-time.After(time.Second)
				synctest.Wait()
				b.accepted(r)
				b.same("received at", r.now().outcome.ReceivedAt, begin)
				if len(b.engine.calls) != 3 {
					b.Fatalf("calls: got %d, want 3", len(b.engine.calls))
				}
				for _, call := range b.engine.calls {
					b.same("time", call.at, begin)
					b.same("claims", call.ids, []uuid.UUID{c.ID})
				}
				b.same("doubts", b.committer.Stats().Doubts.Load(), int64(2))
			})
		})
	}
}

// A commit of unknown outcome may still be under way. Who looks meanwhile finds nothing, and the
// claim is stored all the same: accepting it again waits behind that commit, and so tells the
// truth.
func TestCommitterCommitInFlight(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		begin, c := time.Now(), newClaim(1)
		landed := make(chan struct{})
		b.engine.fault = func(_ context.Context, n int, _ []uuid.UUID, stored bool) error {
			switch {
			case n == 1 && !stored:
				time.AfterFunc(time.Second, func() {
					b.engine.mutex.Lock()
					defer b.engine.mutex.Unlock()
					b.engine.stored[c.ID] = store.Outcome{FirstLineID: 1, ReceivedAt: begin}
					close(landed)
				})
				return store.ErrUnknownOutcome
			case !stored: // the locks of the first are in its way
				<-landed
			}
			return nil
		}
		r := b.submit(b.Context(), c)
		<-time.After(300 * time.Millisecond)
		if _, err := b.engine.Claim(b.Context(), c.ID); !errors.Is(err, store.ErrNotFound) || r.now().done {
			b.Errorf("while it is in flight: got %v, %+v, want nothing found, and no answer", err, r.now())
		}
		<-time.After(time.Second)
		synctest.Wait()
		b.accepted(r)
		record, err := b.engine.Claim(b.Context(), c.ID)
		if err != nil {
			b.Fatal(err)
		}
		b.same("outcome", r.now().outcome, store.Outcome{FirstLineID: record.FirstLineID, ReceivedAt: record.ReceivedAt})
	})
}

// A claim with a sender's key that was there before is existing.
func TestCommitterExisting(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		c := newClaim(1)
		c.Key = claim.Key{Submitter: claim.DefaultSubmitter, Kind: claim.ExternalKey, Value: "1"}
		first := b.submit(b.Context(), c)
		b.accepted(first)
		<-time.After(time.Hour)
		second := b.submit(b.Context(), c)
		want := first.now().outcome
		want.Existing = true
		b.same("outcome", second.now().outcome, want)
	})
}

// Doubt that lasts for five seconds is ErrUnavailable. Until then it is tried several
// times a second, and not all the time.
func TestCommitterLastingDoubt(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.fault = func(context.Context, int, []uuid.UUID, bool) error { return store.ErrUnknownOutcome }
		begin := time.Now()
		_, err := b.committer.Submit(b.Context(), store.Submission{Claim: newClaim(1)})
		if !errors.Is(err, store.ErrUnavailable) {
			b.Errorf("submit: got %v, want ErrUnavailable", err)
		}
		b.same("waited", time.Since(begin), 5*time.Second)
		if tries := len(b.sizes()); tries < 26 || tries > 110 { // pauses of 100 ms on average
			b.Errorf("tries: got %d, want about 50", tries)
		}
		b.engine.fault = nil
		b.accepted(b.submit(b.Context(), newClaim(1)))
	})
}

// Doubt about a batch with a bad claim ends in the answers of the single claims.
func TestCommitterDoubtThenBadClaim(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.gate = make(chan struct{})
		claims := newClaims(3, 1)
		b.engine.fault = func(_ context.Context, n int, ids []uuid.UUID, _ bool) error {
			switch {
			case n == 2:
				return store.ErrUnknownOutcome
			case slices.Contains(ids, claims[2].ID):
				return errors.New("bad")
			}
			return nil
		}
		results := b.submitAll(claims)
		close(b.engine.gate)
		<-time.After(time.Second)
		b.accepted(results[:2]...)
		b.refused(results[2], nil)
	})
}

// A panic of the engine is contained: the claim that causes it gets an error, the others
// of its batch are accepted, and what the panic said is in no log, for it could be PHI.
func TestCommitterPanic(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.gate = make(chan struct{})
		claims := newClaims(4, 1)
		b.engine.fault = func(_ context.Context, _ int, ids []uuid.UUID, stored bool) error {
			if !stored && slices.Contains(ids, claims[2].ID) {
				panic("no room for " + subscriber)
			}
			return nil
		}
		results := b.submitAll(claims)
		close(b.engine.gate)
		synctest.Wait()
		b.refused(results[2], nil)
		b.accepted(slices.Delete(results, 2, 3)...)
		b.same("panics", b.committer.Stats().Panics.Load(), int64(3)) // in the batch, in its half, and alone
		b.stop()
		for _, want := range []string{"accept panicked", `"type":"string"`, "committer_test.go"} {
			if !strings.Contains(b.log.String(), want) {
				b.Errorf("log: got %s, want %q in it", b.log, want)
			}
		}
	})
}

// miscounter is an engine that forgets an outcome.
type miscounter struct{}

// Accept implements store.Accepter.
func (miscounter) Accept(context.Context, []store.Submission, time.Time) ([]store.Outcome, error) {
	return nil, nil
}

// An engine that gives fewer outcomes than claims is an error, and no panic.
func TestCommitterMissingOutcome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		committer := store.NewCommitter(miscounter{}, time.Now, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = committer.Run(ctx) }()
		if _, err := committer.Submit(t.Context(), store.Submission{Claim: newClaim(1)}); err == nil {
			t.Error("submit: got no error")
		}
		cancel()
	})
}

// A caller that goes away before its claim is taken withdraws it: it is never stored. One
// that goes away while it is written learns that the outcome is unknown.
func TestCommitterCallerGoesAway(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.gate = make(chan struct{})
		ctx, cancel := context.WithCancel(b.Context())
		writing, waiting := newClaim(1), newClaim(1)
		taken, withdrawn := b.submit(ctx, writing), b.submit(ctx, waiting)
		stays := b.submit(b.Context(), newClaim(1))
		cancel()
		synctest.Wait()
		b.refused(taken, store.ErrUnknownOutcome)
		b.refused(withdrawn, store.ErrUnavailable)
		for _, r := range []*pending{taken, withdrawn} {
			if !errors.Is(r.now().err, context.Canceled) {
				b.Errorf("error: got %v, want the context's in it", r.now().err)
			}
		}
		close(b.engine.gate)
		synctest.Wait()
		b.accepted(stays)
		if _, stored := b.engine.stored[writing.ID]; !stored {
			b.Error("the claim that was being written is not stored")
		}
		if _, stored := b.engine.stored[waiting.ID]; stored {
			b.Error("the withdrawn claim is stored")
		}
		b.same("sizes", b.sizes(), []int{1, 1})
	})
}

// late is a context that is found ended only when the committer has answered.
type late struct {
	context.Context
	asked int
}

// Done implements context.Context. Submit asks for it as it waits for room, and then as it
// waits for the answer.
func (l *late) Done() <-chan struct{} {
	if l.asked++; l.asked < 2 {
		return nil
	}
	synctest.Wait()
	ended := make(chan struct{})
	close(ended)
	return ended
}

// Err implements context.Context.
func (l *late) Err() error { return context.DeadlineExceeded }

// When the answer and the end of the caller's context come at once, the answer counts.
func TestCommitterPrefersTheAnswer(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		for range 40 {
			if _, err := b.committer.Submit(&late{Context: b.Context()}, store.Submission{Claim: newClaim(1)}); err != nil {
				b.Fatalf("submit: got %v though the claim is stored", err)
			}
		}
	})
}

// With a full queue Submit waits for room, and a caller that goes away there has handed
// nothing in.
func TestCommitterFullQueue(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.gate = make(chan struct{})
		results := b.submitAll(newClaims(1+2*store.MaxBatchClaims, 1)) // one is being written
		ctx, cancel := context.WithTimeout(b.Context(), time.Second)
		defer cancel()
		_, err := b.committer.Submit(ctx, store.Submission{Claim: newClaim(1)})
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "wait for room") {
			b.Errorf("submit: got %v, want ErrUnavailable for want of room", err)
		}
		more := b.submitAll(newClaims(10, 1))
		close(b.engine.gate)
		synctest.Wait()
		b.accepted(results...)
		b.accepted(more...)
		b.same("claims", len(b.engine.stored), 1+2*store.MaxBatchClaims+10)
	})
}

// Told to stop, Run commits what waits, also what did not fit into a batch, and answers
// everybody; after that nothing more is taken.
func TestCommitterDrains(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.gate = make(chan struct{})
		results := b.submitAll(newClaims(45, 999))
		b.engine.gate <- struct{}{}
		synctest.Wait() // 20 are being written, one is held, 23 wait
		go func() {
			<-time.After(time.Second)
			close(b.engine.gate)
		}()
		b.stop()
		synctest.Wait()
		b.accepted(results...)
		b.same("sizes", b.sizes(), []int{1, 20, 20, 4})
		b.refused(b.submit(b.Context(), newClaim(1)), store.ErrUnavailable)
		b.same("claims", len(b.engine.stored), 45)
	})
}

// What waits is committed at a stop also where no claim is held over from the last batch.
func TestCommitterDrainsTheQueue(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.gate = make(chan struct{}, 9)
		results := b.submitAll(newClaims(6, 1))
		go func() {
			<-time.After(time.Second)
			close(b.engine.gate)
		}()
		b.stop()
		synctest.Wait()
		b.accepted(results...)
		b.same("sizes", b.sizes(), []int{1, 5})
	})
}

// tardy is a context whose caller is slow: while it waits for room, do runs.
type tardy struct {
	context.Context
	do func()
}

// Done implements context.Context.
func (c *tardy) Done() <-chan struct{} {
	c.do()
	return nil
}

// A claim that gets into the queue when Run is gone already is refused like any that comes
// too late; its caller does not wait for ever.
func TestCommitterTooLate(t *testing.T) {
	t.Parallel()
	for range 20 { // whether it gets into the queue is a matter of chance
		inBubble(t, func(b *bench) {
			_, err := b.committer.Submit(&tardy{b.Context(), b.stop}, store.Submission{Claim: newClaim(1)})
			if !errors.Is(err, store.ErrUnavailable) {
				b.Errorf("submit: got %v, want ErrUnavailable", err)
			}
		})
	}
}

// However slow the database is, Run is done ten seconds after it was told to stop, the
// batch in hand included, and everybody is answered.
func TestCommitterDrainIsBounded(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.fault = func(ctx context.Context, n int, _ []uuid.UUID, stored bool) error {
			if stored {
				return nil
			}
			select {
			case <-time.After(4 * time.Second):
				return errors.New("slow and bad") // the batch is split, and each takes as long
			case <-ctx.Done():
				return store.ErrUnavailable
			}
		}
		results := b.submitAll(newClaims(20, 1))
		<-time.After(5 * time.Second)
		begin := time.Now()
		b.stop()
		b.same("waited", time.Since(begin), 10*time.Second)
		synctest.Wait()
		for _, r := range results[15:] {
			b.refused(r, store.ErrUnavailable)
		}
		for i, r := range results {
			if !r.now().done {
				b.Errorf("submission %d: got no answer", i)
			}
		}
	})
}

// An Accept that hangs is given up after ten seconds.
func TestCommitterBoundsAccept(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bench) {
		b.engine.fault = func(ctx context.Context, _ int, _ []uuid.UUID, _ bool) error {
			<-ctx.Done()
			return fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
		}
		begin := time.Now()
		_, err := b.committer.Submit(b.Context(), store.Submission{Claim: newClaim(1)})
		if !errors.Is(err, store.ErrUnavailable) {
			b.Errorf("submit: got %v, want ErrUnavailable", err)
		}
		b.same("waited", time.Since(begin), 10*time.Second)
	})
}

// Whatever the database does and whenever callers go away: who is told that a claim is
// accepted has it stored, once and at that time; who is told ErrUnavailable, and not
// ErrUnknownOutcome beside it, has it not.
func TestCommitterKeepsItsWord(t *testing.T) {
	t.Parallel()
	const faults = 7
	rapid.Check(t, func(r *rapid.T) {
		patience := rapid.SliceOfN(rapid.IntRange(0, 40), 1, 60).Draw(r, "patience in 100 ms")
		plan := rapid.SliceOfN(rapid.IntRange(0, faults), 1, 40).Draw(r, "faults")
		inBubble(t, func(b *bench) {
			b.engine.fault = func(_ context.Context, n int, ids []uuid.UUID, stored bool) error {
				fault := plan[n%len(plan)]
				switch {
				case fault == 1 && !stored:
					<-time.After(300 * time.Millisecond)
				case fault == 2 && !stored:
					return store.ErrUnavailable
				case fault == 3 && !stored, fault == 4 && stored:
					return store.ErrUnknownOutcome
				case fault == 5 && !stored && len(ids) > 1:
					return errors.New("one is bad")
				case fault == 6 && !stored:
					panic("no index")
				}
				return nil
			}
			claims, results := newClaims(len(patience), 1), make([]result, len(patience))
			var wait sync.WaitGroup
			for i, c := range claims {
				wait.Go(func() {
					<-time.After(time.Duration(i*40) * time.Millisecond)
					ctx, cancel := context.WithTimeout(b.Context(), time.Duration(patience[i])*100*time.Millisecond)
					defer cancel()
					results[i].outcome, results[i].err = b.committer.Submit(ctx, store.Submission{Claim: c})
				})
			}
			wait.Wait()
			b.stop()
			for i, c := range claims {
				found, stored := b.engine.stored[c.ID]
				switch err := results[i].err; {
				case err == nil:
					b.same("outcome", results[i].outcome, found)
				case errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknownOutcome) && stored:
					b.Errorf("claim %d: stored, though its caller was told %v", i, err)
				}
			}
		})
		if t.Failed() {
			r.Fatal("see above")
		}
	})
}

// Over a real database, many callers at once share few commits, and each gets the lines
// of its own claim.
func TestCommitterOverSQLite(t *testing.T) {
	t.Parallel()
	engine, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "claims.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = engine.Close() }()
	committer := store.NewCommitter(engine, time.Now, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- committer.Run(ctx) }()
	claims := newClaims(300, 3)
	outcomes := make([]store.Outcome, len(claims))
	var wait sync.WaitGroup
	for i, c := range claims {
		wait.Go(func() {
			var err error
			if outcomes[i], err = committer.Submit(t.Context(), store.Submission{Claim: c}); err != nil {
				t.Errorf("submit: %v", err)
			}
		})
	}
	wait.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	for i, c := range claims {
		record, err := engine.Claim(t.Context(), c.ID)
		if err != nil || record.FirstLineID != outcomes[i].FirstLineID || !record.ReceivedAt.Equal(outcomes[i].ReceivedAt) {
			t.Errorf("claim %d: got %d, %v, want line %d", i, record.FirstLineID, err, outcomes[i].FirstLineID)
		}
	}
	if batches := committer.Stats().Batches.Load(); batches > 200 {
		t.Errorf("batches for 300 claims: got %d", batches)
	}
}
