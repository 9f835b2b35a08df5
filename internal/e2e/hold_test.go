package e2e_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
)

// blamed is a test that only tells what it would have failed for.
type blamed struct {
	testing.TB
	said strings.Builder
}

// Helper implements testing.TB.
func (b *blamed) Helper() {}

// Errorf implements testing.TB.
func (b *blamed) Errorf(format string, args ...any) { fmt.Fprintf(&b.said, format+"\n", args...) }

// The end of every test fails for a claim that is lost, doubled, unexpected or of a wrong amount, by the
// name of that, and for what verify alone sees; and for nothing where all is well. The claims are those
// of a server; then its databases are changed, or what its clients remember.
func TestHoldFailsOnWhatIsNotAsPromised(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.start()
	sent := newForm(claim.ExternalKey, "sent", 100, 200)
	id := s.accept(newHistory(), sent)
	s.settled()
	if code, _ := s.stop(); code != 0 {
		t.Fatalf("stop: got exit code %d", code)
	}
	right := receipt{ClaimID: id, NetFee: sent.netFee}
	for _, tt := range []struct {
		name, file, change string
		told               []receipt // nil: right
		other              bool      // one more claim was acknowledged
		nobody             bool      // nobody sent it
		want               string    // the beginning of a line; none where it is empty
	}{
		{name: "all is well"},
		{name: "acknowledged and not stored", other: true, want: "lost: "},
		{name: "stored and not paid", file: paymentsFile, change: "DELETE FROM payments", want: "lost: "},
		{name: "two ids told", told: []receipt{right, {ClaimID: "another", NetFee: sent.netFee}}, want: "duplicated: "},
		{
			name: "paid twice", file: paymentsFile, want: "duplicated: ",
			change: `INSERT INTO payments (payment_id, claim_id, version, net_fee_cents, content_hash, recorded_at)
SELECT randomblob(16), claim_id, version + 1, net_fee_cents, content_hash, recorded_at FROM payments`,
		},
		{name: "another amount told", told: []receipt{{ClaimID: id, NetFee: sent.netFee + 1}}, want: "wrong amount: "},
		{name: "another amount paid", file: paymentsFile, change: "UPDATE payments SET net_fee_cents = net_fee_cents + 1", want: "wrong amount: "},
		{name: "never sent", nobody: true, want: "unexpected: "},
		{
			name: "paid and not stored", file: paymentsFile, want: "unexpected: ",
			change: `INSERT INTO payments (payment_id, claim_id, version, net_fee_cents, content_hash, recorded_at)
SELECT randomblob(16), randomblob(16), version, net_fee_cents, content_hash, recorded_at FROM payments`,
		},
		{name: "totals", file: claimsFile, change: "UPDATE provider_totals SET total_net_fee_cents = total_net_fee_cents + 1", want: "verify: "},
	} {
		h := newHistory()
		if tt.told == nil {
			tt.told = []receipt{right}
		}
		if !tt.nobody {
			for _, r := range tt.told {
				h.conclude(h.attempt(sent), sent, acknowledged, r)
			}
		}
		if tt.other {
			f := newForm(claim.ExternalKey, "other", money.Cents(1))
			h.conclude(h.attempt(f), f, acknowledged, receipt{ClaimID: "other", NetFee: f.netFee})
		}
		b := &blamed{TB: t}
		claims, ledger, leave := openDatabases(t, s.changed(tt.file, tt.change))
		hold(b, h, claims, ledger)
		leave()
		said := b.said.String()
		if well := said == ""; well != (tt.want == "") || !strings.Contains("\n"+said, "\n"+tt.want) {
			t.Errorf("%s: it fails for %.300q, want %q", tt.name, said, tt.want)
		}
	}
}

// changed copies the databases, changes one of them, and gives the folder of the copies.
func (s *system) changed(file, statement string) (folder string) {
	s.Helper()
	folder = s.TempDir()
	for _, name := range []string{claimsFile, paymentsFile} {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			s.Fatal(err)
		}
		s.writeFile(filepath.Join(folder, name), text)
	}
	if file == "" {
		return folder
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(folder, file))
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	s.exec(db, statement)
	return folder
}

// A rig passes only with claims that were held against what is stored after the last was sent, and with
// nothing found; the control only with claims lost.
func TestRigEndsInTheChecker(t *testing.T) {
	t.Parallel()
	f := newForm(claim.ExternalKey, "one", 100)
	paid := receipt{ClaimID: "one", NetFee: f.netFee}
	stored := []storedClaim{{Key: f.key, Receipt: paid}}
	for _, tt := range []struct {
		name           string
		end            func(*history)
		rig, asControl bool // whether it passes
	}{
		{"never held", func(*history) {}, false, false},
		{"held, with nothing found", func(h *history) { h.Check(stored, []receipt{paid}) }, true, false},
		{"held before the last claim", func(h *history) { h.Check(stored, []receipt{paid}); h.attempt(f) }, false, false},
		{"lost", func(h *history) { h.Check(nil, nil) }, false, true},
		{"paid twice", func(h *history) { h.Check(stored, []receipt{paid, paid}) }, false, false},
	} {
		for control, want := range map[bool]bool{false: tt.rig, true: tt.asControl} {
			r := &row{control: control, history: newHistory()}
			r.history.conclude(r.history.attempt(f), f, acknowledged, paid)
			tt.end(r.history)
			if err := r.held(); (err == nil) != want {
				t.Errorf("%s, control %t: got %v, want it to pass %t", tt.name, control, err, want)
			}
		}
	}
	empty := &row{history: newHistory()}
	if empty.history.Check(nil, nil); empty.held() == nil {
		t.Error("no claim was sent: got no error, want one")
	}
}
