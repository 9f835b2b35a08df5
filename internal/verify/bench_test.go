package verify_test

import (
	"fmt"
	"testing"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/verify"
)

// BenchmarkRun verifies 200,000 lines in 50,000 claims of 500 providers, all paid and
// settled, their ids derived from keys and so in no order on disk.
func BenchmarkRun(b *testing.B) {
	const claimCount, linesEach, batch = 50_000, 4, 500
	s := newSystem(b)
	for first := 0; first < claimCount; first += batch {
		claims := make([]*claim.Claim, batch)
		for i := range claims {
			lines := make([]claim.RawLine, linesEach)
			for j := range lines {
				npi := fmt.Sprintf("1%09d", (first+i)%250*2+j%2)
				lines[j] = line(npi, money.Cents(100*j+i))
			}
			claims[i] = s.made(fmt.Sprintf("claim %d", first+i), lines...)
		}
		messages := s.accept(claims...)
		s.record(messages...)
		changes := make([]outbox.Change, batch)
		for i, m := range messages {
			changes[i] = outbox.Change{Ref: m.Ref, Move: outbox.Settle, Paid: event.Standing{
				Key: m.Key, State: event.Paid, PaymentID: payment.ID(m.Key), NetFee: m.NetFee, RecordedAt: noon(),
			}}
		}
		s.apply(changes...)
	}
	b.ReportAllocs()
	for b.Loop() {
		report, err := verify.Run(b.Context(), s.claims, s.ledger)
		if err != nil || report.Lines != claimCount*linesEach {
			b.Fatalf("verify: %d lines, %v", report.Lines, err)
		}
		wantClean(b, &report)
	}
	seconds := b.Elapsed().Seconds() / float64(b.N)
	b.ReportMetric(claimCount/seconds, "claims/s")
	b.ReportMetric(claimCount*linesEach/seconds, "lines/s")
}
