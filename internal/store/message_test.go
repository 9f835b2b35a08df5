package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/store"
)

// The first message of a claim says what is to be paid to whom, in the order and to the
// precision of the wire, and its receiver finds nothing wrong with it.
func TestMessage(t *testing.T) {
	t.Parallel()
	c := &claim.Claim{
		ID:      uuid.MustParse("0190b5a2-7c1e-7d3a-9f4b-2a6c8e0d1f35"),
		Version: claim.FirstVersion,
		Lines: []claim.Line{
			{ProviderNPI: 1999999984, ProviderFees: 100, AllowedFees: 500},
			{ProviderNPI: 6, ProviderFees: 8000, MemberCopay: 125},
			{ProviderNPI: 1999999984, MemberCoinsurance: 50},
		},
	}
	now := time.Date(2026, 3, 28, 7, 0, 0, 123_456_789, time.FixedZone("", -5*3600))
	got := store.Submission{Claim: c, Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}.Message(now)
	want := event.ClaimAccepted{
		Ref:         event.Ref{Key: event.Key{ClaimID: c.ID, Version: 1}},
		NetFee:      7775,
		Postings:    []event.Posting{{ProviderNPI: "0000000006", NetFee: 8125}, {ProviderNPI: "1999999984", NetFee: -350}},
		AcceptedAt:  time.Date(2026, 3, 28, 12, 0, 0, 123_456_000, time.UTC),
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("message: got -, want +:\n%s", diff)
	}
	body, err := got.Marshal()
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}
	read, err := event.Unmarshal(body)
	if err != nil {
		t.Fatalf("unmarshal: %v", err)
	}
	if diff := cmp.Diff(read, want); diff != "" {
		t.Errorf("message read back: got -, want +:\n%s", diff)
	}
}
