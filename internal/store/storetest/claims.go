package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/store"
)

func claimsChecks() []check {
	return []check{
		{"every field comes back", claimRoundTrip},
		{"an unknown claim", claimNotFound},
		{"filters", claimsFilters},
		{"pages", claimsPages},
		{"filters out of bounds", claimsOutOfBounds},
	}
}

// A claim is read back as it was accepted: negative nets, zeros in front, absent
// quadrants, any script, and warnings without what was found.
func claimRoundTrip(t *testing.T, f *fixture) {
	odd := nets("0123456789", -12345)
	odd.Fields[claim.QuadrantField] = claim.Raw{Shape: claim.Text, Text: "Upper"}
	odd.Fields[claim.ProcedureField] = claim.Raw{Shape: claim.Text, Text: "D1"}
	odd.Fields[claim.PlanGroupField] = claim.Raw{Shape: claim.Text, Text: "Gruppe “Ä” 歯科"}
	odd.Fields[claim.ServiceDateField] = claim.Raw{Shape: claim.Text, Text: "2031-12-31 23:59:59"}
	odd.Fields[claim.CoinsuranceField] = claim.Raw{Shape: claim.Text, Text: "16.25"}
	odd.Fields[claim.CopayField] = claim.Raw{Shape: claim.Text, Text: "0.01"}
	plain := nets(npiC, 10000)
	plain.Fields[claim.ServiceDateField] = claim.Raw{Shape: claim.Text, Text: "1/1/69 0:00"}
	plain.Fields[claim.QuadrantField] = claim.Raw{Shape: claim.Text, Text: "UL"}
	sent := f.claim(t, "0042/Ä", odd, plain, nets(npiC, 1))
	if len(sent.Warnings) != 5 {
		t.Fatalf("warnings: got %v, want date, procedure, quadrant, check digit and allowed fees", sent.Warnings)
	}
	outcomes := f.accept(t, noon(), f.claim(t, "", nets(npiA, 1)), sent)
	warnings := make([]claim.Violation, len(sent.Warnings))
	for i, warning := range sent.Warnings {
		warning.Found = claim.Raw{}
		warnings[i] = warning
	}
	got := f.record(t, sent)
	same(t, "record", got, store.Record{
		Summary: store.Summary{
			Cursor:              got.Cursor,
			ClaimID:             sent.ID,
			Version:             1,
			ExternalID:          "0042/Ä",
			LineCount:           3,
			NetFee:              -12345 + 1625 + 1 + 10000 + 1,
			ExpectedPlanPayment: 12345 - 1625 - 1,
			ReceivedAt:          noon(),
			Payment:             store.Payment{State: store.PaymentPending, NextAttemptAt: noon()},
		},
		Key:         sent.Key,
		FirstLineID: outcomes[1].FirstLineID,
		Lines:       sent.Lines,
		Warnings:    warnings,
	})
	if got.Lines[0].Quadrant != "Upper" || got.Lines[2].Quadrant != "" || got.Lines[0].ProviderNPI.String() != "0123456789" {
		t.Errorf("got quadrants %q and %q, NPI %s", got.Lines[0].Quadrant, got.Lines[2].Quadrant, got.Lines[0].ProviderNPI)
	}
	page, err := f.Claims(t.Context(), store.Filter{Limit: 1})
	if err != nil || len(page) != 1 {
		t.Fatalf("list: got %v, %v, want one claim", page, err)
	}
	same(t, "summary in the list", page[0], got.Summary)
}

// A claim that nobody sent is not found.
func claimNotFound(t *testing.T, f *fixture) {
	f.accept(t, noon(), f.claim(t, "one", nets(npiA, 1)))
	if got, err := f.Claim(t.Context(), uuid.MustParse("018f0000-0000-7000-8000-000000000001")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("got %v, %v, want %v", got, err, store.ErrNotFound)
	}
}

// scene stores, a minute apart, a claim in each payment state, named after it. Provider
// A is in all of them, B only in those at even places, counted from 0.
func (f *fixture) scene(t *testing.T) {
	t.Helper()
	for i, name := range []string{"pending", "failed", "notified", "paid", "dead", "discarded"} {
		lines := []claim.RawLine{nets(npiA, 1)}
		if i%2 == 0 {
			lines = append(lines, nets(npiB, 2), nets(npiB, 3))
		}
		at := after(time.Duration(i) * time.Minute)
		c := f.claim(t, name, lines...)
		f.accept(t, at, c)
		switch name {
		case "failed":
			f.apply(t, at, 1, outbox.Change{Ref: ref(c, 0), Move: outbox.MarkFailed, DueAt: at, Reason: "no broker"})
		case "notified":
			f.apply(t, at, 1, outbox.Change{Ref: ref(c, 0), Move: outbox.MarkPublished, DueAt: at, Sequence: 1})
		case "paid":
			f.apply(t, at, 1, settle(c, c.NetFee()))
		case "dead":
			f.apply(t, at, 1, outbox.Change{Ref: ref(c, 0), Move: outbox.MarkDead, DueAt: at, Reason: "parked"})
		case "discarded":
			f.apply(t, at, 1, outbox.Change{Ref: ref(c, 0), Move: outbox.MarkDiscarded, Reason: "written off"})
		}
	}
}

// Every filter, alone and with others, selects what it says; the newest claim is first.
func claimsFilters(t *testing.T, f *fixture) {
	f.scene(t)
	a, b, c := parseNPI(t, npiA), parseNPI(t, npiB), parseNPI(t, npiC)
	for _, test := range []struct {
		name   string
		filter store.Filter
		want   string
	}{
		{"none", store.Filter{}, "discarded dead paid notified failed pending"},
		{"limit", store.Filter{Limit: 2}, "discarded dead"},
		{"provider of all", store.Filter{HasNPI: true, ProviderNPI: a}, "discarded dead paid notified failed pending"},
		{"provider of some", store.Filter{HasNPI: true, ProviderNPI: b}, "dead notified pending"},
		{"provider of none", store.Filter{HasNPI: true, ProviderNPI: c}, ""},
		{"provider 0000000000", store.Filter{HasNPI: true}, ""},
		{"in flight", store.Filter{Status: store.InFlight}, "notified failed pending"},
		{"settled", store.Filter{Status: store.Settled}, "paid"},
		{"dead-lettered", store.Filter{Status: store.DeadLettered}, "discarded dead"},
		{"payment pending", store.Filter{PaymentState: store.PaymentPending}, "pending"},
		{"payment failed", store.Filter{PaymentState: store.PaymentFailed}, "failed"},
		{"payment notified", store.Filter{PaymentState: store.PaymentNotified}, "notified"},
		{"payment paid", store.Filter{PaymentState: store.PaymentPaid}, "paid"},
		{"payment dead-lettered", store.Filter{PaymentState: store.PaymentDeadLettered}, "dead"},
		{"payment discarded", store.Filter{PaymentState: store.PaymentDiscarded}, "discarded"},
		{"status against payment state", store.Filter{Status: store.InFlight, PaymentState: store.PaymentPaid}, ""},
		{"from, inclusive", store.Filter{From: after(3 * time.Minute)}, "discarded dead paid"},
		{"to, exclusive", store.Filter{To: after(3 * time.Minute)}, "notified failed pending"},
		{"from and to", store.Filter{From: after(time.Minute), To: after(4 * time.Minute)}, "paid notified failed"},
		{
			"all together", store.Filter{
				HasNPI: true, ProviderNPI: b, Status: store.InFlight, PaymentState: store.PaymentNotified,
				From: after(2 * time.Minute), To: after(2*time.Minute + time.Microsecond), Limit: 1,
			}, "notified",
		},
	} {
		if got := f.list(t, test.filter); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// Pages by Before leave nothing out and repeat nothing, though claims come in meanwhile,
// whatever else the filter says.
func claimsPages(t *testing.T, f *fixture) {
	f.scene(t)
	for _, test := range []struct {
		name   string
		filter store.Filter
		want   []string
	}{
		{"all", store.Filter{Limit: 4}, []string{"discarded dead paid notified", "failed pending", ""}},
		{"of a provider", store.Filter{HasNPI: true, ProviderNPI: parseNPI(t, npiB), Limit: 2}, []string{"dead notified", "pending", ""}},
		{"in flight", store.Filter{Status: store.InFlight, Limit: 2}, []string{"notified failed", "pending", ""}},
		{"settled", store.Filter{Status: store.Settled, Limit: 2}, []string{"paid", ""}},
		{"until a time", store.Filter{To: after(2 * time.Minute), Limit: 1}, []string{"failed", "pending", ""}},
	} {
		filter := test.filter
		filter.To = earlier(filter.To, after(time.Hour))
		for i, want := range test.want {
			page, err := f.Claims(t.Context(), filter)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.list(t, filter); got != want {
				t.Errorf("%s, page %d: got %q, want %q", test.name, i, got, want)
			}
			if len(page) > 0 {
				filter.Before = page[len(page)-1].Cursor
			}
			f.accept(t, after(time.Hour), f.claim(t, "", nets(npiB, 1)))
		}
	}
}

// earlier gives the earlier of a, where it is set, and b.
func earlier(a, b time.Time) time.Time {
	if !a.IsZero() && a.Before(b) {
		return a
	}
	return b
}

// A page has 1 to MaxPage claims; words that are no status select nothing by accident.
func claimsOutOfBounds(t *testing.T, f *fixture) {
	for _, filter := range []store.Filter{
		{Limit: 0}, {Limit: -1}, {Limit: store.MaxPage + 1}, {Limit: 1, Status: "lost"}, {Limit: 1, PaymentState: "lost"},
	} {
		if got, err := f.Claims(t.Context(), filter); err == nil {
			t.Errorf("%+v: got %v, want an error", filter, got)
		}
	}
}

func parseNPI(t *testing.T, text string) claim.NPI {
	t.Helper()
	npi, err := claim.ParseNPI(text)
	if err != nil {
		t.Fatal(err)
	}
	return npi
}
