package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/store"
)

func recordsChecks() []check {
	return []check{
		{"whole claims in the order of acceptance", recordsWhole},
		{"whole claims by filter", recordsFilters},
		{"whole claims of more than a page, as they stood", recordsOfOneMoment},
		{"a loop that ends early", recordsBreak},
		{"a context that ends", recordsCanceled},
	}
}

// records gives the numbers of the claims that Records gives, and holds each of them
// against what Claim says.
func (f *fixture) records(t *testing.T, filter store.Filter) string {
	t.Helper()
	var numbers []string
	for record, err := range f.Records(t.Context(), filter) {
		if err != nil {
			t.Fatalf("read whole claims %+v: %v", filter, err)
		}
		numbers = append(numbers, record.ExternalID)
		want, err := f.Claim(t.Context(), record.ClaimID)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "record "+record.ExternalID, record, want)
	}
	return strings.Join(numbers, " ")
}

// Every field of a claim comes, its key of every kind among them, and the oldest first.
func recordsWhole(t *testing.T, f *fixture) {
	line := nets(npiA, 8125)
	line.Fields[claim.QuadrantField] = claim.Raw{Shape: claim.Text, Text: "Upper"}
	text := func(s string) claim.Raw { return claim.Raw{Shape: claim.Text, Text: s} }
	var sent []*claim.Claim
	for _, draft := range []claim.Draft{
		{ExternalID: text("CLM-1")},
		{IdempotencyKey: "a key"},
		{Source: claim.Source{FileSHA256: "ab", Row: 7}},
		{ExternalID: text("CLM-2"), Given: claim.Key{Kind: claim.X12Key, Value: "A*1*CLM-2"}},
		{},
	} {
		draft.Lines = []claim.RawLine{line, nets(npiC, -1), nets(npiB, 0)}
		made, violations := f.validator.Validate(&draft)
		if made == nil {
			t.Fatalf("not valid: %v", violations)
		}
		f.accept(t, noon(), made)
		sent = append(sent, made)
	}
	at := 0
	for got, err := range f.Records(t.Context(), store.Filter{}) {
		if err != nil || at == len(sent) {
			t.Fatalf("record %d: %v", at, err)
		}
		same(t, "key", got.Key, sent[at].Key)
		same(t, "lines", got.Lines, sent[at].Lines)
		if got.ClaimID != sent[at].ID || got.ExternalID != sent[at].ExternalID || got.NetFee != sent[at].NetFee() {
			t.Errorf("got %+v, want claim %s", got.Summary, sent[at].ID)
		}
		want := f.record(t, sent[at])
		same(t, "record", got, want)
		at++
	}
	if at != len(sent) {
		t.Errorf("got %d claims, want %d", at, len(sent))
	}
}

// The filters of lists select the same here; a limit does not count.
func recordsFilters(t *testing.T, f *fixture) {
	f.scene(t)
	for _, test := range []struct {
		name   string
		filter store.Filter
		want   string
	}{
		{"none", store.Filter{Limit: 1}, "pending failed notified paid dead discarded"},
		{"provider of some", store.Filter{HasNPI: true, ProviderNPI: parseNPI(t, npiB)}, "pending notified dead"},
		{"in flight", store.Filter{Status: store.InFlight}, "pending failed notified"},
		{"settled", store.Filter{Status: store.Settled}, "paid"},
		{"payment dead-lettered", store.Filter{PaymentState: store.PaymentDeadLettered}, "dead"},
		{"from and to", store.Filter{From: after(time.Minute), To: after(4 * time.Minute)}, "failed notified paid"},
		{"nothing", store.Filter{From: after(time.Hour)}, ""},
	} {
		if got := f.records(t, test.filter); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	for _, err := range f.Records(t.Context(), store.Filter{Status: "lost"}) {
		if err == nil {
			t.Error("unknown status: got claims, want an error")
		}
	}
}

// Of more claims than a page has each comes once, as it stood when the first was read: neither
// what is accepted meanwhile nor what is settled meanwhile shows.
func recordsOfOneMoment(t *testing.T, f *fixture) {
	const count = 2*store.MaxPage + 50
	batch := make([]*claim.Claim, count)
	for i := range batch {
		lines := []claim.RawLine{nets(npiA, 1)}
		for range i % 4 {
			lines = append(lines, nets(npiB, 2))
		}
		batch[i] = f.claim(t, fmt.Sprintf("%03d", i), lines...)
	}
	f.accept(t, noon(), batch...)
	at := 0
	for got, err := range f.Records(t.Context(), store.Filter{}) {
		switch {
		case err != nil:
			t.Fatal(err)
		case at == count:
			t.Fatalf("got claim %q, which came later", got.ExternalID)
		case at == 0:
			f.accept(t, after(time.Hour), f.claim(t, "late", nets(npiA, 1)))
			last := batch[count-1]
			f.apply(t, after(time.Hour), 1, settle(last, last.NetFee()))
		}
		if want := fmt.Sprintf("%03d", at); got.ExternalID != want || len(got.Lines) != 1+at%4 || got.Payment.State != store.PaymentPending {
			t.Fatalf("claim %d: got %q with %d lines, %s, want %q with %d, pending", at, got.ExternalID, len(got.Lines),
				got.Payment.State, want, 1+at%4)
		}
		at++
	}
	if at != count {
		t.Errorf("got %d claims, want %d", at, count)
	}
	if got := f.record(t, batch[count-1]).Payment.State; got != store.PaymentPaid {
		t.Errorf("after the loop: got %s, want paid", got)
	}
}

// Whoever has seen enough leaves nothing behind: more loops than there are connections all
// find one.
func recordsBreak(t *testing.T, f *fixture) {
	f.scene(t)
	for range 40 {
		for record, err := range f.Records(t.Context(), store.Filter{}) {
			if err != nil || record.ExternalID != "pending" {
				t.Fatalf("got %q, %v, want the first claim", record.ExternalID, err)
			}
			break
		}
	}
}

// When the context ends, so does the loop, with one error.
func recordsCanceled(t *testing.T, f *fixture) {
	batch := make([]*claim.Claim, 2*store.MaxPage)
	for i := range batch {
		batch[i] = f.claim(t, "", nets(npiA, 1))
	}
	f.accept(t, noon(), batch...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	claims, errs := 0, 0
	for _, err := range f.Records(ctx, store.Filter{}) {
		if err == nil {
			claims++
			cancel()
			continue
		}
		errs++
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	}
	if claims == len(batch) || errs != 1 {
		t.Errorf("got %d claims and %d errors, want fewer than all and one", claims, errs)
	}
}
