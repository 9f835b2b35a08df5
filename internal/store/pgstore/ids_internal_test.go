package pgstore

import (
	"log/slog"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/pgtest"
)

// Claims that come alone do not take their ids alone: at an even pace a block lasts about the second that
// it may be used, so that its commit is shared by all that come in it. One after a pause takes no more than it needs.
func TestIDsPerSecond(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Options{URL: pgtest.Start(t).Database(t)}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for _, test := range []struct {
		claims, most int // in a second; blocks that are taken in it
		every        time.Duration
	}{
		{claims: 1, most: 1, every: time.Second},
		{claims: 20, most: 1, every: 50 * time.Millisecond},
		{claims: 200, most: 1, every: 5 * time.Millisecond},
	} {
		now := time.Now()
		taken, end := 0, int64(0)
		for second := range 20 {
			for range test.claims {
				if _, _, err := s.ids(t.Context(), 1, 4, now); err != nil {
					t.Fatal(err)
				}
				if s.block.seqs.end != end && second >= 10 { // the first are spent on learning the pace
					taken++
				}
				end, now = s.block.seqs.end, now.Add(test.every)
			}
		}
		if taken > 10*test.most {
			t.Errorf("%d claims a second: got %d blocks in 10 seconds, want %d at most", test.claims, taken, 10*test.most)
		}
		if left := s.block.seqs.end - s.block.seqs.next; left > int64(test.claims) {
			t.Errorf("%d claims a second: got %d ids left over, want no more than those of a second", test.claims, left)
		}
	}
}
