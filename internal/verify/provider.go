package verify

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/store"
)

// sum adds amounts up. Once a partial sum does not fit, it equals nothing any more:
// what can not be added up can not be confirmed either.
type sum struct {
	cents     money.Cents // 0 if overflown
	overflown bool
}

func (s *sum) add(amount money.Cents) {
	if s.overflown {
		return
	}
	total, err := s.cents.Add(amount)
	s.cents, s.overflown = total, err != nil
}

func (s *sum) addSum(other sum) {
	if other.overflown {
		s.cents, s.overflown = 0, true
	}
	s.add(other.cents)
}

// is tells whether the sum is the amount.
func (s sum) is(amount money.Cents) bool { return !s.overflown && s.cents == amount }

// equal tells whether both sums are known and the same.
func (s sum) equal(other sum) bool { return !other.overflown && s.is(other.cents) }

// String gives the amount, or says that there is none.
func (s sum) String() string {
	if s.overflown {
		return "more than can be held"
	}
	return s.cents.String()
}

// provider is what the claims and the payments add up to for one provider.
type provider struct {
	net       sum  // of all claims
	claims    int  // with at least one line
	due, paid sum  // of the claims that are paid: what claims says, and what payments says
	listed    bool // a stored total was read
}

func (a *audit) provider(npi claim.NPI) *provider {
	p := a.providers[npi]
	if p == nil {
		p = &provider{}
		a.providers[npi] = p
	}
	return p
}

// checkPaidByProvider compares, for each provider, what is paid with what is due.
func (a *audit) checkPaidByProvider() {
	for _, npi := range slices.Sorted(maps.Keys(a.providers)) {
		p := a.providers[npi]
		if !a.checks[paidByProvider].holds(p.paid.equal(p.due)) {
			a.checks[paidByProvider].breach("provider %s: the net fee of its paid claims is %s, %s is posted", npi, p.due, p.paid)
		}
	}
}

// checkProviderTotals compares every stored total with what the lines add up to.
func (a *audit) checkProviderTotals(ctx context.Context, claims store.Snapshot) error {
	check := &a.checks[providerTotal]
	for total, err := range claims.Totals(ctx) {
		if err != nil {
			return err
		}
		p := a.provider(total.ProviderNPI)
		p.listed = true
		if !check.holds(p.net.is(total.TotalNetFee) && int64(p.claims) == total.ClaimCount) {
			check.breach("provider %s: its total is %s of %d claims, the lines add up to %s of %d",
				total.ProviderNPI, total.TotalNetFee, total.ClaimCount, p.net, p.claims)
		}
	}
	for _, npi := range slices.Sorted(maps.Keys(a.providers)) {
		if p := a.providers[npi]; p.claims > 0 && !p.listed {
			check.Checked++
			check.breach("provider %s: it has %d claims and no total", npi, p.claims)
		}
	}
	return nil
}

// checkRanking compares the ranking, as far as anybody can see it, with the one that
// the lines give. The number of claims is not compared: it ranks nobody, and the
// check before has seen it.
func (a *audit) checkRanking(ctx context.Context, claims store.Snapshot) error {
	got, err := claims.Top(ctx, store.MaxTop)
	if err != nil {
		return err
	}
	want := a.ranking()
	check := &a.checks[ranking]
	for i := range max(len(got), len(want)) {
		check.Checked++
		switch {
		case i >= len(got):
			check.breach("place %d: nobody, want provider %s with %s", i+1, want[i].npi, want[i].net)
		case i >= len(want):
			check.breach("place %d: provider %s with %s, want nobody", i+1, got[i].ProviderNPI, got[i].TotalNetFee)
		case got[i].ProviderNPI != want[i].npi || !want[i].net.is(got[i].TotalNetFee):
			check.breach("place %d: provider %s with %s, want %s with %s",
				i+1, got[i].ProviderNPI, got[i].TotalNetFee, want[i].npi, want[i].net)
		}
	}
	return nil
}

// place is one place of the ranking.
type place struct {
	npi claim.NPI
	net sum
}

// ranking ranks the providers as TopProviders should. Where a sum does not fit there
// is no right place, so any one is a breach.
func (a *audit) ranking() []place {
	places := make([]place, 0, len(a.providers))
	for npi, p := range a.providers {
		if p.claims > 0 {
			places = append(places, place{npi, p.net})
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(b.net.cents, a.net.cents), cmp.Compare(a.npi, b.npi))
	})
	return places[:min(len(places), store.MaxTop)]
}
