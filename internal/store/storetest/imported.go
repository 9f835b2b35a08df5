package storetest

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/store"
)

func importedChecks() []check {
	return []check{
		{"counted once", importedOnce},
		{"nothing of a batch that fails", importedNothing},
		{"not of an import that does not run", importedByNobody},
		{"exact with many at once", importedConcurrently},
		{"none behind a cancellation", importedUntilCancelled},
		{"what is known of claims", knownClaims},
		{"in a snapshot", importsInSnapshot},
	}
}

// of gives the submissions to an import.
func of(i store.Import, batch []store.Submission) []store.Submission {
	for s := range batch {
		batch[s].Import = i.ID
	}
	return batch
}

// wantCounted holds what was accepted of an import against the claims, lines and net fee wanted. No
// runner has told of duplicates.
func (f *fixture) wantCounted(t *testing.T, i store.Import, claims, lines int64, netFee money.Cents) {
	t.Helper()
	got := f.imported(t, i.ID)
	if got.Claims.Accepted != claims || got.Lines.Accepted != lines || got.AcceptedNetFee != netFee || got.NetFee != netFee {
		t.Errorf("import %q: got %d claims, %d lines, net fee %s, of these %s accepted; want %d, %d, %s twice",
			i.Name, got.Claims.Accepted, got.Lines.Accepted, got.NetFee, got.AcceptedNetFee, claims, lines, netFee)
	}
}

// A claim is counted by the transaction that stores it, with its lines, its net fee and its import: not
// when it is there already, nor the second time in a batch, nor under another's key, and so
// not when a commit of unknown outcome is made again.
func importedOnce(t *testing.T, f *fixture) {
	f.accept(t, noon(), f.claim(t, "before", nets(npiA, 1)))
	first, second := f.create(t, store.Import{Name: "first"}), f.create(t, store.Import{Name: "second"})
	batch := of(first, submissions(
		f.claim(t, "one", nets(npiA, 1), nets(npiB, 1), nets(npiB, 2)),
		f.claim(t, "before", nets(npiA, 1)),
		f.claim(t, "two", nets(npiA, 1)),
		f.claim(t, "one", nets(npiA, 1), nets(npiB, 1), nets(npiB, 2)),
		f.claim(t, "two", nets(npiA, 7)),
		f.claim(t, "three", nets(npiC, 1), nets(npiC, 1)),
		f.claim(t, "four", nets(npiC, 1)),
	))
	batch[5].Import = second.ID
	batch[6].Import = uuid.Nil
	for range 2 {
		if _, err := f.Accept(t.Context(), batch, noon()); err != nil {
			t.Fatal(err)
		}
		f.wantCounted(t, first, 2, 4, 5)
		f.wantCounted(t, second, 1, 2, 2)
	}
	more := of(first, submissions(f.claim(t, "five", nets(npiA, 1)), f.claim(t, "three", nets(npiC, 1), nets(npiC, 1))))
	if _, err := f.Accept(t.Context(), more, noon()); err != nil {
		t.Fatal(err)
	}
	f.wantCounted(t, first, 3, 5, 6)
	f.wantCounted(t, second, 1, 2, 2)
	if err := f.ReportImport(t.Context(), first.ID, 1, "csv", someTally(), after(time.Hour)); err != nil {
		t.Fatal(err)
	}
	want := notAccepted(someTally())
	want.Claims.Accepted, want.Lines.Accepted, want.NetFee, want.AcceptedNetFee = 3, 5, want.NetFee+6, 6
	same(t, "after a report that knows less, or more", f.imported(t, first.ID).Tally, want)
}

// Where a batch fails as a whole, nothing is counted either.
func importedNothing(t *testing.T, f *fixture) {
	i := f.create(t, store.Import{})
	batch := of(i, submissions(f.claim(t, "one", nets(npiB, 1)), f.huge(t, npiA, math.MaxInt64), f.huge(t, npiA, 1)))
	if _, err := f.Accept(t.Context(), batch, noon()); err == nil {
		t.Fatal("accept: no error")
	}
	f.wantCounted(t, i, 0, 0, 0)
	f.wantEmpty(t)
}

// A claim of an import that does not run, or only tries, is not stored; one that is there
// already is nothing new to anybody.
func importedByNobody(t *testing.T, f *fixture) {
	done := f.create(t, store.Import{Name: "done"})
	done.State = store.ImportDone
	if err := f.FinishImport(t.Context(), done, noon()); err != nil {
		t.Fatal(err)
	}
	running := f.create(t, store.Import{Name: "running"})
	for _, i := range []store.Import{
		done,
		{ID: uuid.New()},
		f.create(t, store.Import{State: store.ImportQueued}),
		f.create(t, store.Import{State: store.ImportReceiving}),
		f.create(t, store.Import{DryRun: true}),
	} {
		batch := of(i, submissions(f.claim(t, "one", nets(npiA, 1)), f.claim(t, "two", nets(npiA, 1))))
		batch[1].Import = running.ID
		_, err := f.Accept(t.Context(), batch, noon())
		wantLost(t, fmt.Sprintf("accept of an import %q", i.State), err)
		if errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknownOutcome) {
			t.Errorf("accept: got %v, want no other kind", err)
		}
		f.wantEmpty(t)
	}
	f.wantCounted(t, running, 0, 0, 0)
	f.accept(t, noon(), f.claim(t, "one", nets(npiA, 1)))
	if _, err := f.Accept(t.Context(), of(done, submissions(f.claim(t, "one", nets(npiA, 1)))), noon()); err != nil {
		t.Errorf("accept of what is there: %v", err)
	}
}

// Writers on two instances bring the same claims, in batches of two imports in opposite
// orders: none fails, and what the imports count together is what is stored.
func importedConcurrently(t *testing.T, f *fixture) {
	const writers, rounds, size = 6, 4, 20
	imports := []store.Import{f.create(t, store.Import{Name: "even"}), f.create(t, store.Import{Name: "odd"})}
	instances := []*fixture{f, f.reopen(t)}
	var mutex sync.Mutex
	accepted := map[uuid.UUID]int64{}
	var wait sync.WaitGroup
	for w := range writers {
		npi := []string{npiA, npiB}[w%2] // so that a total does not make them wait for each other
		wait.Go(func() {
			for r := range rounds {
				var batch []store.Submission
				for n := range size { // every claim comes three times, from writers of one parity
					number := fmt.Sprint(w%2, "/", r*size/2+n)
					made := store.Submission{Claim: f.claim(t, number, nets(npi, 1), nets(npi, 1)), Import: imports[(n+w)%2].ID}
					batch = append(batch, made)
				}
				outcomes, err := instances[w%2].Accept(t.Context(), batch, noon())
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				mutex.Lock()
				for i, outcome := range outcomes {
					if !outcome.Existing {
						accepted[batch[i].Import]++
					}
				}
				mutex.Unlock()
			}
		})
	}
	wait.Wait()
	total := int64(0)
	for _, i := range imports {
		f.wantCounted(t, i, accepted[i.ID], 2*accepted[i.ID], 2*money.Cents(accepted[i.ID]))
		total += accepted[i.ID]
	}
	if want := int64(2 * (rounds + 1) * size / 2); total != want {
		t.Errorf("claims counted: got %d, want %d", total, want)
	}
}

// Once an import is cancelled no claim of it is stored any more: what it says it has
// accepted is what is there, though its runner goes on.
func importedUntilCancelled(t *testing.T, f *fixture) {
	i := f.create(t, store.Import{})
	started, over, stopped := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		var err error
		for n, last := 0, false; err == nil && !last; n++ {
			select {
			case <-over:
				last = true
			default:
			}
			_, err = f.Accept(t.Context(), of(i, submissions(f.claim(t, fmt.Sprint(n), nets(npiA, 1)))), noon())
			if n == 5 {
				close(started)
			}
		}
		stopped <- err
	}()
	<-started
	cancelled, err := f.CancelImport(t.Context(), i.ID, noon())
	close(over)
	if err != nil {
		t.Fatal(err)
	}
	wantLost(t, "accept", <-stopped)
	top, err := f.TopProviders(t.Context(), 1)
	if err != nil || len(top) != 1 || top[0].ClaimCount != cancelled.Claims.Accepted || cancelled.Claims.Read != cancelled.Claims.Accepted {
		t.Errorf("cancelled with %+v, stored: %+v, %v", cancelled.Claims, top, err)
	}
	f.wantCounted(t, i, cancelled.Claims.Accepted, cancelled.Lines.Accepted, money.Cents(cancelled.Claims.Accepted))
}

// What Accept would find is told without storing anything, repeats in the batch included.
func knownClaims(t *testing.T, f *fixture) {
	stored := f.accept(t, noon(), f.claim(t, "there", nets(npiA, 1)))
	stored[0].Existing = true
	batch := submissions(
		f.claim(t, "new", nets(npiA, 1)),
		f.claim(t, "there", nets(npiA, 1)),
		f.claim(t, "there", nets(npiA, 2)),
		f.claim(t, "new", nets(npiA, 1)),
		f.claim(t, "new", nets(npiB, 1)),
		f.claim(t, "", nets(npiB, 1)),
	)
	got, err := f.Known(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	want := []store.Outcome{{}, stored[0], {Err: store.ErrOtherClaim}, {Existing: true}, {Err: store.ErrOtherClaim}, {}}
	for i := range want {
		if !errors.Is(got[i].Err, want[i].Err) || got[i].Existing != want[i].Existing || got[i].FirstLineID != want[i].FirstLineID {
			t.Errorf("claim %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
	if list := f.list(t, store.Filter{}); list != "there" {
		t.Errorf("claims: got %q, want what was there", list)
	}
	for _, size := range []int{0, store.MaxBatchClaims + 1} {
		if _, err := f.Known(t.Context(), make([]store.Submission, size)); err == nil {
			t.Errorf("%d claims: no error", size)
		}
	}
}

// A snapshot has every import, the oldest first, with its counts of that moment.
func importsInSnapshot(t *testing.T, f *fixture) {
	first := f.create(t, store.Import{Name: "first"})
	second := f.create(t, store.Import{State: store.ImportQueued, Name: "second"})
	snapshot := f.snapshot(t)
	if _, err := f.Accept(t.Context(), of(first, submissions(f.claim(t, "one", nets(npiA, 1)))), noon()); err != nil {
		t.Fatal(err)
	}
	read := func(from store.Snapshot) (all []store.Import) {
		t.Helper()
		for i, err := range from.Imports(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, i)
		}
		return all
	}
	same(t, "imports", read(snapshot), []store.Import{first, second})
	first.Claims.Accepted, first.Lines.Accepted, first.NetFee, first.AcceptedNetFee = 1, 1, 1, 1
	same(t, "imports later", read(f.snapshot(t)), []store.Import{first, second})
	for i := range snapshot.Imports(t.Context()) {
		same(t, "the first", i.ID, first.ID)
		break // a reader may stop early
	}
}
