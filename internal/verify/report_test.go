package verify_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/claimrail/claimrail/internal/verify"
)

// The page has the counts, the amounts, a line for each check and the examples.
func TestWriteText(t *testing.T) {
	t.Parallel()
	report := verify.Report{
		Started: time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC), Took: 1_234_567_890,
		Claims: 1_234_567, Lines: 4_000_000, InFlight: 567, Settled: 1_234_000, Payments: 1_234_000,
		NetFeeClaims: 12_345, NetFeePaid: -5, Providers: 12, Imports: 1234,
		Checks: []verify.Check{
			{Name: "one", Rule: "everything is one", Checked: 1000},
			{Name: "two", Rule: "nothing is two", Checked: 5, Breaches: 1002, Examples: []string{"claim x: it is two", "claim y: it is two"}},
		},
	}
	var page strings.Builder
	if err := report.WriteText(&page); err != nil {
		t.Fatal(err)
	}
	want := `Verified 1,234,567 claims in 1.235s: 1,002 breaches

  started                2026-01-15T12:00:00Z
  claims                            1,234,567
    in flight                             567
    settled                         1,234,000
    dead-lettered                           0
  lines                             4,000,000
  providers                                12
  payments                          1,234,000
  imports                               1,234
  net fee of claims                    123.45
  net fee paid                          -0.05

  ok              one                          1,000 checked: everything is one
  1,002 breaches  two                              5 checked: nothing is two
      claim x: it is two
      claim y: it is two
      and 1,000 more
`
	if diff := cmp.Diff(want, page.String()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	report.Checks = report.Checks[:1]
	page.Reset()
	if err := report.WriteText(&page); err != nil || !strings.HasPrefix(page.String(), "Verified 1,234,567 claims in 1.235s: clean\n") {
		t.Errorf("without breaches: got %v and this page:\n%s", err, page.String())
	}
	report.Claims = 1
	page.Reset()
	if err := report.WriteText(&page); err != nil || !strings.HasPrefix(page.String(), "Verified 1 claim in 1.235s: clean\n") {
		t.Errorf("of one claim: got %v and this page:\n%s", err, page.String())
	}
	if err := report.WriteText(noRoom{}); !errors.Is(err, errNoRoom) {
		t.Errorf("got %v, want %v", err, errNoRoom)
	}
}

var errNoRoom = errors.New("no room")

type noRoom struct{}

func (noRoom) Write([]byte) (int, error) { return 0, errNoRoom }
