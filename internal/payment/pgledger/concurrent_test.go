package pgledger_test

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/payment/pgledger"
	"github.com/claimrail/claimrail/internal/pgtest"
)

// accepted gives the n-th claim, of one provider.
func accepted(n int) event.ClaimAccepted {
	return event.ClaimAccepted{
		Ref:    event.Ref{Key: event.Key{ClaimID: uuid.NewSHA1(uuid.Nil, fmt.Append(nil, n)), Version: 1}},
		NetFee: 5, Postings: []event.Posting{{ProviderNPI: "1497775530", NetFee: 5}},
	}
}

// A claim that is paid and written off at the same moment is one or the other: never is
// there a payment and a tombstone.
func TestDiscardAgainstRecord(t *testing.T) {
	t.Parallel()
	ledger := open(t, pgtest.Start(t).Database(t))
	defer func() { _ = ledger.Close() }()
	now := time.Now()
	const claims = 60
	for n := range claims {
		claim := accepted(n)
		letter := payment.DeadLetter{MessageID: claim.MessageID(), Ref: claim.Ref, Reason: payment.ReasonFailed, ParkedAt: now}
		if err := ledger.Park(t.Context(), letter); err != nil {
			t.Fatal(err)
		}
		letters, err := ledger.DeadLetters(t.Context(), payment.LetterFilter{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		var verdicts []payment.Verdict
		var recordError, discardError error
		var wait sync.WaitGroup
		wait.Go(func() {
			verdicts, recordError = ledger.Record(t.Context(), []event.ClaimAccepted{claim}, now)
		})
		wait.Go(func() {
			_, discardError = ledger.Discard(t.Context(), letters[0].ID, payment.Decision{Actor: "dana", At: now})
		})
		wait.Wait()
		if recordError != nil || discardError != nil && !errors.Is(discardError, payment.ErrClosed) {
			t.Fatalf("record: %v, discard: %v", recordError, discardError)
		}
		if paid, buried := verdicts[0] == payment.Recorded, discardError == nil; paid == buried {
			t.Errorf("claim %d: paid is %t, written off is %t", n, paid, buried)
		}
	}
}

// When the answer to COMMIT is lost the ledger is unavailable, and the same call again
// finds the payment.
func TestLostCommit(t *testing.T) {
	t.Parallel()
	proxy := pgtest.NewProxy(t, pgtest.Start(t).Database(t))
	ledger := open(t, proxy.URL)
	defer func() { _ = ledger.Close() }()
	proxy.LoseCommit()
	batch := []event.ClaimAccepted{accepted(1)}
	if got, err := ledger.Record(t.Context(), batch, time.Now()); !errors.Is(err, payment.ErrUnavailable) {
		t.Errorf("lost answer: got %v, %v, want %v", got, err, payment.ErrUnavailable)
	}
	if got, err := ledger.Record(t.Context(), batch, time.Now()); err != nil || got[0] != payment.Repeat {
		t.Errorf("again: got %v, %v, want a repeat", got, err)
	}
}

// Wherever the answer to COMMIT is cut, the payment is there once: the ledger says that it is,
// or that it is unavailable itself.
func TestCommitCutAtEveryByte(t *testing.T) {
	t.Parallel()
	proxy := pgtest.NewProxy(t, pgtest.Start(t).Database(t))
	ledger := open(t, proxy.URL)
	defer func() { _ = ledger.Close() }()
	for after := range pgtest.CommitAnswer {
		batch := []event.ClaimAccepted{accepted(after)}
		proxy.CutCommit(after)
		if got, err := ledger.Record(t.Context(), batch, time.Now()); err != nil && !errors.Is(err, payment.ErrUnavailable) {
			t.Errorf("cut after %d bytes: got %v, %v, want it recorded, or %v", after, got, err, payment.ErrUnavailable)
		}
		if proxy.Armed() {
			t.Fatalf("cut after %d bytes: no answer to COMMIT came by", after)
		}
		if got, err := ledger.Record(t.Context(), batch, time.Now()); err != nil || got[0] != payment.Repeat {
			t.Errorf("cut after %d bytes, again: got %v, %v, want a repeat", after, got, err)
		}
	}
}

// BenchmarkRecord measures payments recorded in a second, of batches new and large.
func BenchmarkRecord(b *testing.B) {
	for _, size := range []int{1, 64, 500} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			ledger, err := pgledger.Open(b.Context(), pgledger.Options{URL: pgtest.Start(b).Database(b)}, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = ledger.Close() }()
			n := 0
			for b.Loop() {
				batch := make([]event.ClaimAccepted, size)
				for i := range batch {
					batch[i] = accepted(n)
					n++
				}
				if _, err := ledger.Record(b.Context(), batch, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "claims/s")
		})
	}
}
