package sqliteledger

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claimrail/claimrail/internal/payment"
)

// What an operator asks for and decides reads no more than it needs: a page of a provider's payments is read
// along an index, from its newest on, and letters by their ids and claims, however many are open; so are those of
// claims that were paid just now.
func TestPlansOfTheDesk(t *testing.T) {
	t.Parallel()
	ledger, err := Open(t.Context(), filepath.Join(t.TempDir(), "p.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ledger.Close() }()
	page, arguments := paymentsQuery(&payment.PaymentFilter{ProviderNPI: "0000000001", From: time.Now(), To: time.Now(), Before: 7})
	for name, test := range map[string]struct {
		statement string
		arguments []any
		want      []string // parts of the plan
	}{
		"page of a provider": {page, arguments, []string{"SEARCH postings USING COVERING INDEX postings_by_npi (npi=? AND payment_seq<?)"}},
		"close of what is paid": {closeThePaid, []any{"", "", "", 1, 1}, []string{
			"SEARCH d USING COVERING INDEX dead_letters_open (claim_id=? AND version=?)", "SEARCH dead_letters USING INTEGER PRIMARY KEY (rowid=?)",
		}},
		"close of letters": {closeDecided, []any{"", "", "", 1, 1, nil, 1}, []string{
			"SEARCH dead_letters USING COVERING INDEX dead_letters_open (claim_id=? AND version=?)", "id=?)",
		}},
	} {
		plan := explainStatement(t, ledger, test.statement, test.arguments)
		for _, part := range test.want {
			if !strings.Contains(plan, part) {
				t.Errorf("%s: want %s, got\n%s", name, part, plan)
			}
		}
		for line := range strings.Lines(plan) {
			if strings.Contains(line, "SCAN ") && line != "SCAN p\n" && line != "SCAN CONSTANT ROW\n" { // p is the page
				t.Errorf("%s: it reads all of a table:\n%s", name, plan)
			}
		}
	}
}

// explainStatement gives the steps of a statement, a line each.
func explainStatement(t *testing.T, ledger *Ledger, statement string, arguments []any) string {
	t.Helper()
	rows, err := ledger.file.Reader().QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+statement, arguments...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var plan strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(step + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}
