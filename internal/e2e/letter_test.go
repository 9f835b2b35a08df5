package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
)

// parkTimeout bounds eight attempts with their delays, which add up to 26 s at most, on a
// busy machine.
const parkTimeout = 60 * time.Second

// Amounts that the ledger is made to refuse.
const (
	poisoned   money.Cents = 66_601
	writtenOff money.Cents = 66_602
)

// letterBody is what these tests read of a dead letter.
type letterBody struct {
	ID       int64  `json:"id"`
	ClaimID  string `json:"claim_id"`
	State    string `json:"state"`
	Reason   string `json:"reason"`
	Error    string `json:"error"`
	Attempts int    `json:"attempts"`
}

// letters lists the dead letters of a state.
func (s *system) letters(state string) []letterBody {
	s.Helper()
	var page struct {
		Letters []letterBody `json:"dead_letters"`
	}
	s.get("/v1/dead-letters?state=" + state).decode(&page)
	return page.Letters
}

// decide has an operator's decision carried out on a dead letter, which must go well.
func (s *system) decide(id int64, verb string) {
	s.Helper()
	a, err := s.call(s.server.url, http.MethodPost, fmt.Sprintf("/v1/dead-letters/%d/%s", id, verb), nil,
		map[string]any{"reason": "the trigger is gone", "actor": "night shift"})
	if err != nil || a.status != http.StatusOK {
		s.Fatalf("%s dead letter %d: got %d %s, %v", verb, id, a.status, a.body, err)
	}
}

// A message that can not be processed becomes a dead letter after eight attempts, while
// others are paid; the claim says so, and why. Redriven it is paid once. Discarded it is
// never paid, not when it is sent again, and not when the stream plays all its messages
// again to a consumer that has forgotten everything.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	random := newRandom(t)
	s := newSystem(t)
	s.start()
	h := newHistory()
	db := s.openPayments()
	s.exec(db, fmt.Sprintf(`CREATE TRIGGER planted BEFORE INSERT ON payments WHEN NEW.net_fee_cents IN (%d, %d)
BEGIN SELECT RAISE(ABORT, 'planted fault'); END`, int64(poisoned), int64(writtenOff)))
	redrive := newForm(claim.ExternalKey, "redrive", poisoned-100, 100)
	discard := newForm(claim.IdempotencyKey, "discard", writtenOff)
	toRedrive, toDiscard := s.accept(h, redrive), s.accept(h, discard)
	others := s.acceptMany(h, random, "others", 20)
	s.until("both claims are dead-lettered, and the others settled", parkTimeout, func() bool {
		return len(s.list("status=dead_lettered")) == 2 && len(s.list("status=settled")) == len(others)
	})
	for _, id := range []string{toRedrive, toDiscard} {
		got := s.show(id)
		if got.Status != "dead_lettered" || got.Payment.State != "dead_lettered" || got.Payment.Error != "failed" {
			t.Errorf("claim %s: got %+v, want it dead-lettered, because it failed", id, got)
		}
	}
	open := s.letters("open")
	if len(open) != 2 {
		t.Fatalf("got %d open dead letters, want 2: %+v", len(open), open)
	}
	for _, letter := range open {
		if letter.Reason != "failed" || letter.Attempts != 8 || !strings.Contains(letter.Error, "planted fault") {
			t.Errorf("got %+v, want failed, 8 attempts, and the planted fault", letter)
		}
	}

	s.exec(db, "DROP TRIGGER planted")
	letterOf := func(id string) int64 {
		return open[slices.IndexFunc(open, func(l letterBody) bool { return l.ClaimID == id })].ID
	}
	s.decide(letterOf(toRedrive), "redrive")
	s.decide(letterOf(toDiscard), "discard")
	h.writeOff(discard)
	s.until("the redriven claim is settled", settleTimeout, func() bool { return s.show(toRedrive).Status == "settled" })
	s.until("the other is written off", settleTimeout, func() bool { return s.show(toDiscard).Payment.State == "discarded" })
	if got := s.show(toRedrive); got.Payment.State != "paid" || got.Payment.Gen != 1 {
		t.Errorf("redriven claim: got %+v, want it paid by generation 1", got.Payment)
	}

	s.accept(h, discard) // its sender knows nothing of it
	s.replay()
	if got := s.get("/v1/payments/" + toDiscard); got.status != http.StatusNotFound {
		t.Errorf("discarded claim: got %d: %s, want no payment", got.status, got.body)
	}
	report := s.finish(h)
	if report.Settled != len(others)+1 || report.Payments != len(others)+1 || report.DeadLettered != 1 {
		t.Errorf("got %d settled, %d payments, %d dead-lettered, want %d, %d, 1",
			report.Settled, report.Payments, report.DeadLettered, len(others)+1, len(others)+1)
	}
}

// replay starts a server whose broker has forgotten which messages were answered, and waits
// until it has played them all.
func (s *system) replay() {
	s.Helper()
	s.forget()
	// The discarded claim's message is among them, and is counted when payments refuses it.
	s.until("payments refuses the discarded claim again", settleTimeout, func() bool {
		return strings.Contains(string(s.get("/metrics").body), "\nclaimrail_payments_written_off_total 1\n")
	})
}

// forget stops the server, and starts one whose broker does not know which messages were
// answered.
func (s *system) forget() {
	s.Helper()
	if code, _ := s.stop(); code != 0 {
		s.Fatalf("stop: got exit code %d", code)
	}
	consumers, err := filepath.Glob(filepath.Join(s.dir, natsFolder, "jetstream", "*", "streams", "*", "obs", "*"))
	if err != nil || len(consumers) != 1 {
		s.Fatalf("got %q, %v for the files of the consumer, want one folder", consumers, err)
	}
	if err := os.RemoveAll(consumers[0]); err != nil {
		s.Fatal(err)
	}
	s.start()
}
