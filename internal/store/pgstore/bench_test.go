package pgstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/pgtest"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/pgstore"
	"github.com/claimrail/claimrail/internal/store/sqlitestore"
)

// engines gives each engine, empty, side by side.
func engines(b *testing.B) map[string]func(b *testing.B) store.Engine {
	b.Helper()
	return map[string]func(b *testing.B) store.Engine{
		"postgres": func(b *testing.B) store.Engine {
			b.Helper()
			engine, err := pgstore.Open(b.Context(), pgstore.Options{URL: pgtest.Start(b).Database(b)}, slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			return engine
		},
		"sqlite": func(b *testing.B) store.Engine {
			b.Helper()
			engine, err := sqlitestore.Open(b.Context(), filepath.Join(b.TempDir(), "c.db"), slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			return engine
		},
	}
}

// batchOf makes a batch of new claims of four lines, of 50,000 providers.
func batchOf(next *atomic.Int64, size int) []store.Submission {
	batch := make([]store.Submission, size)
	for i := range batch {
		n := int(next.Add(1))
		npi := claim.NPI(1_000_000_000 + n*7919%50_000)
		batch[i] = made(n, npi, npi, npi, npi)
	}
	return batch
}

// BenchmarkAccept measures claims of four lines accepted in a second, by committers at
// the same time.
func BenchmarkAccept(b *testing.B) {
	for name, open := range engines(b) {
		for _, size := range []int{1, 64, 512} {
			for _, committers := range []int{1, 4} {
				b.Run(fmt.Sprintf("%s/batch=%d/committers=%d", name, size, committers), func(b *testing.B) {
					engine := open(b)
					defer func() { _ = engine.Close() }()
					var next atomic.Int64
					for b.Loop() {
						var wait sync.WaitGroup
						for range committers {
							wait.Go(func() {
								if _, err := engine.Accept(context.Background(), batchOf(&next, size), noon()); err != nil {
									b.Error(err)
								}
							})
						}
						wait.Wait()
					}
					b.ReportMetric(float64(next.Load())/b.Elapsed().Seconds(), "claims/s")
				})
			}
		}
	}
}

// BenchmarkApply measures outbox rows marked as published and settled in a second, 500 at
// a time.
func BenchmarkApply(b *testing.B) {
	const size = 500
	for name, open := range engines(b) {
		b.Run(name, func(b *testing.B) {
			engine := open(b)
			defer func() { _ = engine.Close() }()
			var next atomic.Int64
			for b.Loop() {
				b.StopTimer()
				batch := batchOf(&next, size)
				if _, err := engine.Accept(b.Context(), batch, noon()); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				for _, move := range []outbox.Move{outbox.MarkPublished, outbox.Settle} {
					changes := make([]outbox.Change, size)
					for i := range changes {
						ref := event.Ref{Key: event.Key{ClaimID: batch[i].Claim.ID, Version: 1}}
						changes[i] = outbox.Change{Ref: ref, Move: move, DueAt: noon(), Paid: event.Standing{NetFee: batch[i].Claim.NetFee()}}
					}
					if applied, err := engine.Apply(b.Context(), changes, noon()); err != nil || applied != size {
						b.Fatal(applied, err)
					}
				}
			}
			b.ReportMetric(2*float64(next.Load())/b.Elapsed().Seconds(), "changes/s")
		})
	}
}
