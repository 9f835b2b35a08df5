package pgstore_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claimrail/claimrail/internal/pgtest"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/pgstore"
)

// Ids that an instance has taken ahead are no other's, and are not given any more once
// they are a second old: whatever came in by way of another instance before stays in front.
func TestIDsTakenAhead(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).Database(t)
	engines := []*pgstore.Store{open(t, url), open(t, url)}
	defer func() { _, _ = engines[0].Close(), engines[1].Close() }()
	var given []int64
	accept := func(engine int, now time.Time) int64 {
		t.Helper()
		outcomes, err := engines[engine].Accept(t.Context(), []store.Submission{made(len(given), 5, 6)}, now)
		if err != nil {
			t.Fatal(err)
		}
		given = append(given, outcomes[0].FirstLineID, outcomes[0].FirstLineID+1)
		return outcomes[0].FirstLineID
	}
	for range 4 { // the fourth leaves ids over
		accept(0, noon())
	}
	other := accept(1, noon())
	if got := accept(0, noon().Add(999*time.Millisecond)); got > other {
		t.Errorf("within a second: got id %d, want one taken ahead, before %d", got, other)
	}
	other = accept(1, noon().Add(time.Second))
	for engine, now := range []time.Time{noon().Add(time.Second), noon().Add(time.Second)} {
		if got := accept(engine, now); got < other {
			t.Errorf("after a second, instance %d: got id %d, want one behind %d", engine, got, other)
		}
	}
	slices.Sort(given)
	if got, want := len(slices.Compact(given)), len(given); got != want {
		t.Errorf("ids: got %d different ones, want %d", got, want)
	}
}

// A block of ids outlives a crash of the server right after it was taken: what its instance has
// left of it is given to nobody else. The server writes its log only when a commit asks for that.
func TestIDsOutliveACrash(t *testing.T) {
	t.Parallel()
	server := pgtest.StartOwn(t, "wal_writer_delay=10000", "autovacuum=off")
	url := pgtest.With(t, server.Database(t), "lock_timeout", "60000", "statement_timeout", "60000")
	first, second := open(t, url), open(t, url)
	defer func() { _, _ = first.Close(), second.Close() }()
	for n := range 3 { // the next one takes a block of four
		if _, err := first.Accept(t.Context(), []store.Submission{made(n, 5)}, noon()); err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.WithoutCancel(t.Context())
	holder, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Close(ctx) }()
	if _, err := holder.Exec(ctx, "BEGIN; LOCK TABLE claims.claim_keys IN EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	crashed := make(chan error, 1)
	go func() {
		_, err := first.Accept(ctx, []store.Submission{made(3, 5)}, noon())
		crashed <- err
	}()
	waitForLocks(t, holder, 1)
	server.Stop(t)
	if err := <-crashed; !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("accept while the server crashes: got %v, want %v", err, store.ErrUnavailable)
	}
	server.Start(t)
	var given []int64
	for n, engine := range []*pgstore.Store{first, second, first, second} {
		outcomes, err := engine.Accept(t.Context(), []store.Submission{made(4+n, 5)}, noon())
		if errors.Is(err, store.ErrUnavailable) { // a connection of before
			outcomes, err = engine.Accept(t.Context(), []store.Submission{made(4+n, 5)}, noon())
		}
		if err != nil {
			t.Fatal(err)
		}
		given = append(given, outcomes[0].FirstLineID)
	}
	slices.Sort(given)
	if got := slices.Compact(slices.Clone(given)); len(got) != len(given) {
		t.Errorf("ids after the crash: got %v, want each once", given)
	}
}
