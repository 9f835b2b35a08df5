package pgstore_test

import (
	"slices"
	"testing"
	"time"

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
