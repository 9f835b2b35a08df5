package storetest

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/store"
)

func totalsChecks() []check {
	return []check{
		{"an empty store", topOfNothing},
		{"order, ties and limit", topOrder},
		{"limits out of bounds", topOutOfBounds},
		{"exact for any claims", totalsAreExact},
		{"a total that does not fit", totalsDoNotOverflow},
		{"a total that does not fit within one batch", totalsDoNotOverflowInBatch},
	}
}

// Nobody ranks in an empty store.
func topOfNothing(t *testing.T, f *fixture) {
	same(t, "ranking", f.top(t, store.MaxTop), []string{})
}

// Providers rank by total, descending, those below zero last, ties by NPI ascending; a
// claim counts once for a provider, however many lines it has.
func topOrder(t *testing.T, f *fixture) {
	f.accept(t, noon(),
		f.claim(t, "1", nets("3000000000", 500), nets("3000000000", 500), nets("2000000000", -1)),
		f.claim(t, "2", nets("1000000000", 1000), nets("4000000000", 999)),
		f.claim(t, "3", nets("5000000000", 0), nets("4000000000", 2)),
	)
	ranking := []string{
		"4000000000 10.01 2", "1000000000 10.00 1", "3000000000 10.00 1", "5000000000 0.00 1", "2000000000 -0.01 1",
	}
	same(t, "all", f.top(t, store.MaxTop), ranking)
	same(t, "the first three", f.top(t, 3), ranking[:3])
}

// A ranking has 1 to MaxTop places.
func topOutOfBounds(t *testing.T, f *fixture) {
	for _, limit := range []int{-1, 0, store.MaxTop + 1} {
		if got, err := f.TopProviders(t.Context(), limit); err == nil {
			t.Errorf("limit %d: got %v, want an error", limit, got)
		}
	}
}

// Whatever claims come in whatever batches, the totals are those that plain addition
// gives. One store takes the claims of all rounds.
func totalsAreExact(t *testing.T, f *fixture) {
	npis := []string{npiA, npiB, npiC, "9999999999"}
	model := map[claim.NPI]store.ProviderTotal{}
	rapid.Check(t, func(t *rapid.T) {
		batch := make([]*claim.Claim, rapid.IntRange(1, 5).Draw(t, "claims"))
		for i := range batch {
			lines := make([]claim.RawLine, rapid.IntRange(1, 6).Draw(t, "lines"))
			for j := range lines {
				net := rapid.Int64Range(-int64(money.MaxParsed), int64(money.MaxParsed)).Draw(t, "net")
				lines[j] = nets(rapid.SampledFrom(npis).Draw(t, "npi"), money.Cents(net))
			}
			batch[i] = f.claim(t, "", lines...)
			addTo(model, batch[i])
		}
		if _, err := f.Accept(t.Context(), submissions(batch...), noon()); err != nil {
			t.Fatal(err)
		}
		got, err := f.TopProviders(t.Context(), store.MaxTop)
		if err != nil {
			t.Fatal(err)
		}
		want := []store.ProviderTotal{}
		for _, total := range model {
			want = append(want, total)
		}
		slices.SortFunc(want, func(a, b store.ProviderTotal) int {
			return cmp.Or(cmp.Compare(b.TotalNetFee, a.TotalNetFee), cmp.Compare(a.ProviderNPI, b.ProviderNPI))
		})
		same(t, "ranking", got, want)
	})
}

// addTo adds the claim to the model, line by line.
func addTo(model map[claim.NPI]store.ProviderTotal, c *claim.Claim) {
	counted := map[claim.NPI]bool{}
	for _, line := range c.Lines {
		total := model[line.ProviderNPI]
		total.ProviderNPI = line.ProviderNPI
		total.TotalNetFee += line.ProviderFees - line.AllowedFees
		if !counted[line.ProviderNPI] {
			total.ClaimCount++
		}
		counted[line.ProviderNPI] = true
		model[line.ProviderNPI] = total
	}
}

// huge makes a claim of one line that nets to any amount but the smallest integer. No
// validator would let it through; it stands for the billions of claims that it takes to fill
// a total.
func (f *fixture) huge(t *testing.T, npi string, net money.Cents) *claim.Claim {
	t.Helper()
	made := f.claim(t, "", nets(npi, 0))
	if net < 0 {
		made.Lines[0].AllowedFees = -net
	} else {
		made.Lines[0].ProviderFees = net
	}
	return made
}

// wantRefused accepts claims of which one does not fit. The error is of no kind: it is
// about a claim, not about the database.
func (f *fixture) wantRefused(t *testing.T, claims ...*claim.Claim) {
	t.Helper()
	outcomes, err := f.Accept(t.Context(), submissions(claims...), noon())
	if err == nil || errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknownOutcome) {
		t.Errorf("a total that does not fit: got %+v, %v, want an error of no kind", outcomes, err)
	}
}

// A total fills up to the last cent and no further, in both directions: a sum that would
// not fit is refused, never rounded. Nothing of the batch is stored, and the others go in
// when they come alone.
func totalsDoNotOverflow(t *testing.T, f *fixture) {
	innocent := f.claim(t, "innocent", nets(npiB, 5))
	f.accept(t, noon(), f.huge(t, npiA, math.MaxInt64-100), f.huge(t, npiC, -math.MaxInt64))
	before := f.top(t, 10)
	f.wantRefused(t, innocent, f.huge(t, npiA, 101))
	f.wantRefused(t, innocent, f.huge(t, npiC, -2))
	same(t, "ranking after refusals", f.top(t, 10), before)
	if _, err := f.Claim(t.Context(), innocent.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("claim beside the refused: got %v, want %v", err, store.ErrNotFound)
	}
	f.accept(t, noon(), innocent)
	f.accept(t, noon(), f.huge(t, npiA, 100), f.huge(t, npiC, -1))
	full := []string{npiA + " 92233720368547758.07 2", npiB + " 0.05 1", npiC + " -92233720368547758.08 2"}
	same(t, "full totals", f.top(t, 10), full)
	f.wantRefused(t, f.huge(t, npiA, 1))
	f.wantRefused(t, f.huge(t, npiC, -1))
	same(t, "full totals after refusals", f.top(t, 10), full)
}

// Claims that fit one by one but not together are refused together.
func totalsDoNotOverflowInBatch(t *testing.T, f *fixture) {
	one, two := f.huge(t, npiA, math.MaxInt64/2+1), f.huge(t, npiA, math.MaxInt64/2+1)
	f.wantRefused(t, one, two)
	f.wantEmpty(t)
	f.accept(t, noon(), one)
	f.wantRefused(t, two)
	same(t, "ranking", f.top(t, 10), []string{npiA + " 46116860184273879.04 1"})
}
