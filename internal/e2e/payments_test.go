package e2e_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"regexp"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/claimrail/claimrail/internal/claim"
)

// openPayments opens the payments database beside the server, as an operator's tool or a
// backup would.
func (s *system) openPayments() *sql.DB {
	s.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.dir, paymentsFile)+"?_pragma=busy_timeout(5000)")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = db.Close() })
	return db
}

// exec runs a statement there.
func (s *system) exec(db *sql.DB, statement string) {
	s.Helper()
	if _, err := db.ExecContext(context.Background(), statement); err != nil {
		s.Fatalf("%s: %v", statement, err)
	}
}

// accept sends a claim that has to be stored, notes it in the history, and gives its id.
func (s *system) accept(h *history, f form) string {
	s.Helper()
	era := h.attempt(f)
	a, err := s.post(s.server.url, f)
	v, told, wrong := judge(f, a, err)
	h.conclude(era, f, v, told)
	if err != nil || wrong != nil || v != acknowledged {
		s.Fatalf("claim %s: got %d %s, %v, %v, want it stored", f.key.Value, a.status, a.body, err, wrong)
	}
	return told.ClaimID
}

// While payments' database can not be written, claims go in all the same and wait, and
// everybody can see that they do; when it can, each is paid once.
func TestPaymentsDatabaseAway(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	s := newSystem(t)
	s.start()
	h := newHistory()
	paidBefore := s.accept(h, randomForm(random, "before"))
	s.settled()

	db := s.openPayments()
	holder, err := db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holder.ExecContext(context.Background(), "BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	from := s.log.size()
	ids := s.acceptMany(h, random, "first", 50)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if _, err := s.log.await(ctx, from, regexp.MustCompile(`payments can not be consumed`), s.server.ended); err != nil {
		t.Fatal(err)
	}
	ids = append(ids, s.acceptMany(h, random, "second", 50)...)
	s.until("all messages are sent", startTimeout, func() bool { return len(s.list("payment_state=notified")) == len(ids) })
	for _, id := range ids {
		if got := s.show(id); got.Status != "in_flight" || got.Payment.State != "notified" {
			t.Errorf("claim %s: got %s, %s, want in_flight, notified", id, got.Status, got.Payment.State)
		}
		if got := s.get("/v1/payments/" + id); got.status != http.StatusNotFound && got.status != http.StatusServiceUnavailable {
			t.Errorf("payment of claim %s: got %d: %s, want 404 or 503", id, got.status, got.body)
		}
	}
	if got := s.show(paidBefore); got.Status != "settled" {
		t.Errorf("a claim paid before: got %s, want settled", got.Status)
	}

	if _, err := holder.ExecContext(context.Background(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	s.settled()
	for _, id := range ids {
		if got := s.get("/v1/payments/" + id); got.status != http.StatusOK {
			t.Errorf("payment of claim %s: got %d: %s, want it recorded", id, got.status, got.body)
		}
	}
	if report := s.finish(h); report.Settled != 1+len(ids) || report.Payments != 1+len(ids) {
		t.Errorf("got %d claims settled, %d payments, want %d", report.Settled, report.Payments, 1+len(ids))
	}
}

// acceptMany sends claims that have to be stored.
func (s *system) acceptMany(h *history, random *rand.Rand, name string, count int) (ids []string) {
	s.Helper()
	for i := range count {
		ids = append(ids, s.accept(h, randomForm(random, fmt.Sprint(name, i))))
	}
	return ids
}

// One claim alone is taken in, paid and settled, and its payment says what it says.
func TestOneClaim(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.start()
	h := newHistory()
	f := newForm(claim.ExternalKey, "one", 8125, 3560, 0, -1000)
	id := s.accept(h, f)
	s.settled()
	var paid struct {
		NetFee   string `json:"net_fee"`
		Postings []struct {
			NPI    string `json:"provider_npi"`
			NetFee string `json:"net_fee"`
		} `json:"postings"`
	}
	s.get("/v1/payments/" + id).decode(&paid)
	if got, want := fmt.Sprint(paid), "{106.85 [{1234567893 35.60} {1497775530 71.25} {1679576722 0.00}]}"; got != want {
		t.Errorf("payment: got %s, want %s", got, want)
	}
	s.finish(h)
}
