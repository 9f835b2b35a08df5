package sqliteledger_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/payment/ledgertest"
	"github.com/claimrail/claimrail/internal/payment/sqliteledger"
)

// The SQLite ledger keeps the whole contract.
func TestLedger(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	ledgertest.Run(t, func(t *testing.T) payment.Ledger {
		t.Helper()
		name := strings.NewReplacer("/", "_", ":", "").Replace(t.Name()) + ".db"
		ledger, err := sqliteledger.Open(t.Context(), filepath.Join(folder, name), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatalf("open: %v", err)
		}
		return ledger
	})
}

// A call whose time is up is told apart from a message that the ledger refuses:
// the one may be made again, the other counts against the message.
func TestErrorKinds(t *testing.T) {
	t.Parallel()
	ledger, err := sqliteledger.Open(t.Context(), filepath.Join(t.TempDir(), "p.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer func() { _ = ledger.Close() }()
	claim := event.ClaimAccepted{
		Ref:      event.Ref{Key: event.Key{ClaimID: uuid.UUID{1}, Version: 1}},
		Postings: []event.Posting{{ProviderNPI: "149777553", NetFee: 0}}, // nine digits
	}
	if _, err := ledger.Record(t.Context(), []event.ClaimAccepted{claim}, time.Now()); err == nil || errors.Is(err, payment.ErrUnavailable) {
		t.Errorf("record of a bad provider: got %v, want an error that is not %v", err, payment.ErrUnavailable)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for what, call := range map[string]func() error{
		"record":       func() error { _, err := ledger.Record(ended, []event.ClaimAccepted{claim}, time.Now()); return err },
		"fail":         func() error { _, err := ledger.Fail(ended, "m", time.Now()); return err },
		"park":         func() error { return ledger.Park(ended, payment.DeadLetter{MessageID: "m"}) },
		"standings":    func() error { _, err := ledger.Standings(ended, []event.Key{claim.Key}); return err },
		"payment":      func() error { _, err := ledger.Payment(ended, claim.ClaimID); return err },
		"dead letters": func() error { _, err := ledger.DeadLetters(ended, payment.LetterFilter{}); return err },
		"redrive":      func() error { _, err := ledger.Redrive(ended, 1, payment.Decision{}); return err },
		"discard":      func() error { _, err := ledger.Discard(ended, 1, payment.Decision{}); return err },
		"count":        func() error { _, err := ledger.OpenDeadLetters(ended); return err },
		"snapshot":     func() error { _, err := ledger.Snapshot(ended); return err },
		"ping":         func() error { return ledger.Ping(ended) },
	} {
		if err := call(); !errors.Is(err, payment.ErrUnavailable) {
			t.Errorf("%s after the end of its context: got %v, want %v", what, err, payment.ErrUnavailable)
		}
	}
}

// Who did what with a dead letter stays: the database itself refuses to change or to cut the log,
// whoever asks, and goes on adding to it.
func TestLetterLogStays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "p.db")
	ledger, err := sqliteledger.Open(t.Context(), path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer func() { _ = ledger.Close() }()
	if err := ledger.Park(t.Context(), payment.DeadLetter{MessageID: "m", Reason: payment.ReasonMalformed, ParkedAt: time.Now()}); err != nil {
		t.Fatalf("park: %v", err)
	}
	_, before, err := ledger.Letter(t.Context(), 1)
	if err != nil || len(before) != 1 {
		t.Fatalf("log: got %v, %v, want one entry", before, err)
	}
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, statement := range []string{
		"UPDATE letter_log SET reason = 'another'",
		"UPDATE letter_log SET actor = actor",
		"DELETE FROM letter_log",
		"DELETE FROM letter_log WHERE letter_id = 1",
		"INSERT OR REPLACE INTO letter_log SELECT id, letter_id, action, 'eve', reason, at FROM letter_log",
		"REPLACE INTO letter_log SELECT id, letter_id, action, 'eve', reason, at FROM letter_log WHERE id = 1",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "the log of dead letters is not") {
			t.Errorf("%s: got %v, want it refused", statement, err)
		}
	}
	_, after, err := ledger.Letter(t.Context(), 1)
	if diff := cmp.Diff(before, after); err != nil || diff != "" {
		t.Errorf("log: got %v, want it as it was: %s", err, diff)
	}
	if _, err := ledger.Discard(t.Context(), 1, payment.Decision{Actor: "dana", Reason: "end of test", At: time.Now()}); err != nil {
		t.Errorf("discard: %v", err)
	}
	if _, more, err := ledger.Letter(t.Context(), 1); err != nil || len(more) != 2 {
		t.Errorf("log: got %v, %v, want the decision behind what was there", more, err)
	}
}

// A ledger that lacks a table is away as a whole: no message is at fault.
func TestBrokenLedgerIsAway(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "p.db")
	ledger, err := sqliteledger.Open(t.Context(), path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer func() { _ = ledger.Close() }()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	batch := []event.ClaimAccepted{{
		Ref:    event.Ref{Key: event.Key{ClaimID: uuid.UUID{1}, Version: 1}},
		NetFee: 5, Postings: []event.Posting{{ProviderNPI: "1497775530", NetFee: 5}},
	}}
	if _, err := db.ExecContext(t.Context(), "ALTER TABLE postings RENAME TO gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Record(t.Context(), batch, time.Now()); !errors.Is(err, payment.ErrUnavailable) {
		t.Errorf("record without a table: got %v, want %v", err, payment.ErrUnavailable)
	}
	if err := ledger.Ping(t.Context()); !errors.Is(err, payment.ErrUnavailable) {
		t.Errorf("ping without a table: got %v, want %v", err, payment.ErrUnavailable)
	}
	if _, err := db.ExecContext(t.Context(), "ALTER TABLE gone RENAME TO postings"); err != nil {
		t.Fatal(err)
	}
	if got, err := ledger.Record(t.Context(), batch, time.Now()); err != nil || got[0] != payment.Recorded {
		t.Errorf("record with the table: got %v, %v, want it recorded", got, err)
	}
	if err := ledger.Ping(t.Context()); err != nil {
		t.Errorf("ping with the table: %v", err)
	}
}

// A failure count that nobody came back for is forgotten after a month, so that
// they do not pile up.
func TestFailForgets(t *testing.T) {
	t.Parallel()
	ledger, err := sqliteledger.Open(t.Context(), filepath.Join(t.TempDir(), "p.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer func() { _ = ledger.Close() }()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for i, step := range []struct {
		days int
		want int
	}{{0, 1}, {30, 2}, {60, 3}, {91, 1}} {
		got, err := ledger.Fail(t.Context(), "m", start.AddDate(0, 0, step.days))
		if err != nil {
			t.Fatalf("fail: %v", err)
		}
		if got != step.want {
			t.Errorf("step %d: got %d failures, want %d", i, got, step.want)
		}
	}
}
