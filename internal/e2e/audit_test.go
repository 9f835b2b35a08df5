package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/payment/sqliteledger"
	"github.com/claimrail/claimrail/internal/store/sqlitestore"
	"github.com/claimrail/claimrail/internal/verify"
)

// Files of a data directory.
const (
	claimsFile   = "claims.db"
	paymentsFile = "payments.db"
	natsFolder   = "nats"
)

// finish is the end of every test: it waits until nothing is under way, stops the server,
// and lets nothing pass that was lost, doubled, made up, changed, or shown to those who
// must not see it. It gives what verify saw.
func (s *system) finish(h *history) verify.Report {
	s.Helper()
	s.settled()
	metrics := s.get("/metrics")
	wantNoPHI(s, "GET /metrics", metrics.body)
	if metrics.status != http.StatusOK || !bytes.Contains(metrics.body, []byte("claimrail_payments_recorded_total")) {
		s.Errorf("GET /metrics: got %d: %s", metrics.status, metrics.body)
	}
	wantNoPHI(s, "GET /v1/dead-letters", s.get("/v1/dead-letters").body)
	if code, took := s.stop(); code != 0 {
		s.Errorf("stop the idle server: got exit code %d after %v, want 0", code, took)
	}
	report := s.audit(h)
	s.searchPHI()
	return report
}

// settled waits until no claim is under way.
func (s *system) settled() {
	s.Helper()
	s.until("every claim is settled or dead-lettered", settleTimeout, func() bool { return len(s.list("status=in_flight")) == 0 })
}

// audit holds the history against the databases, and lets verify look at them. No
// server needs to be running.
func (s *system) audit(h *history) verify.Report {
	s.Helper()
	claims, ledger, leave := openDatabases(s, s.dir)
	defer leave()
	return hold(s, h, claims, ledger)
}

// openDatabases opens both databases of a data directory to be read, until leave is called.
func openDatabases(t testing.TB, dir string) (claims *sqlitestore.Store, ledger *sqliteledger.Ledger, leave func()) {
	t.Helper()
	ctx := context.Background()
	claims, err := sqlitestore.OpenExisting(ctx, filepath.Join(dir, claimsFile))
	if err != nil {
		t.Fatal(err)
	}
	ledger, err = sqliteledger.OpenExisting(ctx, filepath.Join(dir, paymentsFile))
	if err != nil {
		t.Fatal(err)
	}
	return claims, ledger, func() { _, _ = claims.Close(), ledger.Close() }
}

// hold is audit, whatever the databases are.
func hold(t testing.TB, h *history, claims verify.Claims, ledger verify.Payments) verify.Report {
	t.Helper()
	ctx := context.Background()
	stored, err := readClaims(ctx, claims)
	if err != nil {
		t.Fatal(err)
	}
	paid, err := readPayments(ctx, ledger)
	if err != nil {
		t.Fatal(err)
	}
	found := h.Check(stored, paid)
	for _, f := range found[:min(len(found), 20)] {
		t.Errorf("%s: %s", f.Kind, f.Text)
	}
	if len(found) > 0 {
		t.Errorf("%d findings, want none", len(found))
	}
	report, err := verify.Run(ctx, claims, ledger)
	if err != nil {
		t.Fatalf("verify: %v", err)
	}
	if !report.Clean() {
		var page strings.Builder
		if err := report.WriteText(&page); err != nil {
			t.Error(err)
		}
		t.Errorf("verify: %d breaches, want none:\n%s", report.Breaches(), page.String())
	}
	return report
}

func readClaims(ctx context.Context, from verify.Claims) (stored []storedClaim, err error) {
	snapshot, err := from.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = snapshot.Close() }() // only read
	for c, err := range snapshot.Claims(ctx) {
		if err != nil {
			return nil, fmt.Errorf("read stored claims: %w", err)
		}
		stored = append(stored, storedClaim{Key: c.Identity, Receipt: receipt{ClaimID: c.ClaimID.String(), NetFee: c.NetFee}})
	}
	return stored, nil
}

func readPayments(ctx context.Context, from verify.Payments) (paid []receipt, err error) {
	snapshot, err := from.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = snapshot.Close() }() // only read
	for p, err := range snapshot.Payments(ctx) {
		if err != nil {
			return nil, fmt.Errorf("read payments: %w", err)
		}
		paid = append(paid, receipt{ClaimID: p.ClaimID.String(), NetFee: p.NetFee})
	}
	return paid, nil
}

// telltales are the forms in which the subscriber and the service date of these tests
// could show. Nothing else here looks like them.
func telltales() []string {
	at := time.Date(1987, 11, 23, 4, 56, 0, 0, time.UTC)
	return []string{
		subscriber, strings.ReplaceAll(subscriber, "-", ""),
		serviceDate, "11/23/87", "11/23/1987", "1987-11-23", "19871123", fmt.Sprint(at.Unix()), fmt.Sprint(at.UnixMicro()),
	}
}

// findPHI gives the first telltale in the text, or "". What stands behind a hexadecimal digit
// is part of a hash or an id: among those of many claims eight digits turn up by chance.
func findPHI(text []byte) string {
	for _, telltale := range telltales() {
		for at := 0; ; at++ {
			found := bytes.Index(text[at:], []byte(telltale))
			if found < 0 {
				break
			}
			if at += found; at == 0 || !bytes.Contains([]byte("0123456789abcdef"), text[at-1:at]) {
				return telltale
			}
		}
	}
	return ""
}

func wantNoPHI(t testing.TB, place string, text []byte) {
	t.Helper()
	if telltale := findPHI(text); telltale != "" {
		at := bytes.Index(text, []byte(telltale))
		t.Errorf("%s shows %s: %q", place, telltale, text[max(0, at-100):min(len(text), at+100)])
	}
}

// searchPHI looks for PHI where there must be none: in the log, and in the bytes of every
// file but the claims database. There it must be, or the search finds nothing anywhere.
// No server runs.
func (s *system) searchPHI() {
	s.Helper()
	log, _ := s.log.read(0)
	wantNoPHI(s, "the log", log)
	there, messages := false, false
	err := filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(s.dir, path)
		if err != nil {
			return err
		}
		if strings.HasPrefix(name, claimsFile) {
			there = there || bytes.Contains(text, []byte(subscriber))
			return nil
		}
		messages = messages || strings.HasPrefix(name, natsFolder) && bytes.Contains(text, []byte(providers[0]))
		wantNoPHI(s, name, text)
		return nil
	})
	if err != nil {
		s.Errorf("search the data directory: %v", err)
	}
	if !there || !messages {
		s.Errorf("search the data directory: got %v for the subscriber in %s, %v for a message in %s, want both",
			there, claimsFile, messages, natsFolder)
	}
}
