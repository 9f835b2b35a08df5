package pgledger_test

import (
	"crypto/sha256"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/payment/pgledger"
	"github.com/claimrail/claimrail/internal/pgtest"
)

// While the synchronous standby is away, what the primary alone has is not confirmed: a payment whose
// first commit did not wait to the end is neither a repeat nor told to be paid, and a letter not parked.
func TestFoundWaitsForTheStandby(t *testing.T) {
	t.Parallel()
	url, aloneURL := pgtest.StartWithoutStandby(t)
	alone, err := pgledger.Open(t.Context(), pgledger.Options{URL: aloneURL, Unsafe: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = alone.Close() }()
	ledger := open(t, url)
	defer func() { _ = ledger.Close() }()
	now := time.Now()
	letter := payment.DeadLetter{MessageID: "m", Reason: payment.ReasonMalformed, BodyHash: sha256.Sum256(nil), ParkedAt: now}
	steps := []struct {
		name string
		take func(*pgledger.Ledger) error
	}{
		{"record", func(l *pgledger.Ledger) error {
			_, err := l.Record(t.Context(), []event.ClaimAccepted{accepted(1)}, now)
			return err
		}},
		{"standings", func(l *pgledger.Ledger) error {
			_, err := l.Standings(t.Context(), []event.Key{accepted(1).Key})
			return err
		}},
		{"park", func(l *pgledger.Ledger) error { return l.Park(t.Context(), letter) }},
	}
	for _, step := range steps {
		if err := step.take(alone); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		waited, err := pgtest.EndWaiting(t, aloneURL, func() error { return step.take(ledger) })
		if !waited || !errors.Is(err, payment.ErrUnavailable) {
			t.Errorf("%s, the standby is away: got %v, waited for it: %t, want %v", step.name, err, waited, payment.ErrUnavailable)
		}
	}
	if again, err := alone.Record(t.Context(), []event.ClaimAccepted{accepted(1)}, now); err != nil || again[0] != payment.Repeat {
		t.Errorf("recorded without the standby: got %v, %v, want a repeat", again, err)
	}
}
