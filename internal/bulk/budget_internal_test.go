package bulk

import (
	"errors"
	"io"
	"runtime"
	"slices"
	"testing"
)

// What a line costs from the bytes of a CSV file to a valid claim is bounded, so that a slower
// reader fails without a clock. Two lines make a claim.
func TestReadAndJudgeAllocations(t *testing.T) {
	b := setup(t)
	numbers := numbered(4000)
	text := goodFile(slices.Sorted(slices.Values(append(numbers, numbers...)))...)
	pass := func() {
		p, _ := b.newPass(text)
		for {
			parcel, err := p.File.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if valid, faults := p.judge(parcel); valid == nil {
				t.Fatalf("got faults %v, want a claim", faults)
			}
		}
	}
	pass()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	pass()
	runtime.ReadMemStats(&after)
	lines := float64(2 * len(numbers))
	count, bytes := float64(after.Mallocs-before.Mallocs)/lines, float64(after.TotalAlloc-before.TotalAlloc)/lines
	t.Logf("%.1f allocations of %.0f bytes a line", count, bytes)
	if count > 15 || bytes > 1800 {
		t.Errorf("got %.1f allocations of %.0f bytes a line, want 15 of 1800 at most", count, bytes)
	}
}
