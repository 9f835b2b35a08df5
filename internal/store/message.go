package store

import (
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
)

// Message gives the first message of a claim accepted at now: what its outbox
// row will hold.
func (s Submission) Message(now time.Time) event.ClaimAccepted {
	shares := s.Claim.Shares()
	return event.ClaimAccepted{
		Ref:         event.Ref{Key: event.Key{ClaimID: s.Claim.ID, Version: s.Claim.Version}},
		NetFee:      s.Claim.NetFee(),
		Postings:    Postings(shares),
		AcceptedAt:  now.UTC().Truncate(time.Microsecond),
		Traceparent: s.Traceparent,
	}
}

// Postings gives the shares in the words of the wire.
func Postings(shares []claim.Share) []event.Posting {
	postings := make([]event.Posting, len(shares))
	for i, share := range shares {
		postings[i] = event.Posting{ProviderNPI: share.ProviderNPI.String(), NetFee: share.NetFee}
	}
	return postings
}
