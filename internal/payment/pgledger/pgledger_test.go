package pgledger_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/payment/ledgertest"
	"github.com/claimrail/claimrail/internal/payment/pgledger"
	"github.com/claimrail/claimrail/internal/pgtest"
)

// The Postgres ledger keeps the whole contract.
func TestLedger(t *testing.T) {
	t.Parallel()
	template := pgtest.Start(t).Template(t, func(url string) {
		if err := open(t, url).Close(); err != nil {
			t.Fatal(err)
		}
	})
	var mutex sync.Mutex
	urls := map[string]string{}
	ledgertest.Run(t, func(t *testing.T) payment.Ledger {
		t.Helper()
		mutex.Lock()
		url := urls[t.Name()]
		if url == "" {
			url = template.Clone(t)
			urls[t.Name()] = url
		}
		mutex.Unlock()
		return open(t, url)
	})
}

func open(t *testing.T, url string) *pgledger.Ledger {
	t.Helper()
	ledger, err := pgledger.Open(context.Background(), pgledger.Options{URL: url}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return ledger
}

// A call whose time is up is told apart from a message that the ledger refuses:
// the one may be made again, the other counts against the message.
func TestErrorKinds(t *testing.T) {
	t.Parallel()
	ledger := open(t, pgtest.Start(t).Database(t))
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

// A ledger that lacks a right or a table is away as a whole: no message is at fault, and it is not ready.
// Once it is mended the same messages are recorded.
func TestBrokenLedgerIsAway(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("../../pgfile/roles.sql")
	if err != nil {
		t.Fatal(err)
	}
	url := pgtest.Roles(t, pgtest.Start(t).Database(t), string(script), "claims", "payments")["payments"]
	ledger := open(t, url)
	defer func() { _ = ledger.Close() }()
	for n, state := range []struct{ broken, mended string }{
		{"REVOKE INSERT ON payments.payments FROM CURRENT_USER", "GRANT INSERT ON payments.payments TO CURRENT_USER"},
		{"REVOKE SELECT ON payments.tombstones FROM CURRENT_USER", "GRANT SELECT ON payments.tombstones TO CURRENT_USER"},
		{"ALTER TABLE payments.postings RENAME TO gone", "ALTER TABLE payments.gone RENAME TO postings"},
		{"REVOKE USAGE ON SCHEMA payments FROM CURRENT_USER", "GRANT USAGE ON SCHEMA payments TO CURRENT_USER"},
	} {
		pgtest.Exec(t, url, state.broken)
		batch := []event.ClaimAccepted{accepted(n)}
		if _, err := ledger.Record(t.Context(), batch, time.Now()); !errors.Is(err, payment.ErrUnavailable) {
			t.Errorf("record after %s: got %v, want %v", state.broken, err, payment.ErrUnavailable)
		}
		if err := ledger.Ping(t.Context()); !errors.Is(err, payment.ErrUnavailable) {
			t.Errorf("ping after %s: got %v, want %v", state.broken, err, payment.ErrUnavailable)
		}
		pgtest.Exec(t, url, state.mended)
		if got, err := ledger.Record(t.Context(), batch, time.Now()); err != nil || got[0] != payment.Recorded {
			t.Errorf("record after %s: got %v, %v, want it recorded", state.mended, got, err)
		}
		if err := ledger.Ping(t.Context()); err != nil {
			t.Errorf("ping after %s: %v", state.mended, err)
		}
	}
}

// Who did what with a dead letter stays: the database itself refuses to change or to cut the log,
// even if its owner asks, and goes on adding to it.
func TestLetterLogStays(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).Database(t)
	ledger := open(t, url)
	defer func() { _ = ledger.Close() }()
	if err := ledger.Park(t.Context(), payment.DeadLetter{MessageID: "m", Reason: payment.ReasonMalformed, ParkedAt: time.Now()}); err != nil {
		t.Fatalf("park: %v", err)
	}
	_, before, err := ledger.Letter(t.Context(), 1)
	if err != nil || len(before) != 1 {
		t.Fatalf("log: got %v, %v, want one entry", before, err)
	}
	owner, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = owner.Close(context.WithoutCancel(t.Context())) }()
	for _, statement := range []string{
		"UPDATE payments.letter_log SET reason = 'another'",
		"UPDATE payments.letter_log SET actor = actor",
		"DELETE FROM payments.letter_log",
		"DELETE FROM payments.letter_log WHERE letter_id = 1",
		"TRUNCATE payments.letter_log",
		"TRUNCATE payments.dead_letters CASCADE",
		"INSERT INTO payments.letter_log (id, letter_id, at, action, actor, reason) OVERRIDING SYSTEM VALUE " +
			"VALUES (1, 1, now(), 'paid', 'x', 'x') ON CONFLICT (id) DO UPDATE SET reason = 'another'",
	} {
		if _, err := owner.Exec(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "the log of dead letters is neither changed nor cut") {
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

// A failure count that nobody came back for is forgotten after a month, so that
// they do not pile up.
func TestFailForgets(t *testing.T) {
	t.Parallel()
	ledger := open(t, pgtest.Start(t).Database(t))
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
