package pgstore

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/claimrail/claimrail/internal/pgtest"
)

// What settles and marks rows finds them by their ids, even by a plan that was made when the outbox
// was empty: or each row of a batch would read all that an import has brought since.
func TestPlansOfAnEmptyOutbox(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t).Database(t)
	s, err := Open(t.Context(), Options{URL: url}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	run := func(statement string) (lines []string) {
		t.Helper()
		results, err := conn.PgConn().Exec(t.Context(), statement).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		for _, row := range results[0].Rows {
			lines = append(lines, string(row[0]))
		}
		return lines
	}
	for _, setting := range []string{"search_path = claims", "plan_cache_mode = force_generic_plan", "enable_seqscan = off", "enable_hashjoin = off", "enable_mergejoin = off"} {
		run("SET " + setting)
	}
	run("UPDATE pg_class SET reltuples = 1, relpages = 6 WHERE oid = 'outbox'::regclass") // as a vacuum of a quiet line leaves it
	for _, c := range []struct{ name, statement, arguments string }{
		{"mark", updateRows, "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"},
		{"settle", settleRows, "NULL, NULL, NULL, NULL, NULL"},
		{"paid", settlePaid, "NULL, NULL, NULL, NULL, NULL, NULL"},
	} {
		run("PREPARE " + c.name + " AS " + c.statement)
		plan := strings.Join(run("EXPLAIN EXECUTE "+c.name+" ("+c.arguments+")"), "\n")
		if !strings.Contains(plan, "Index Cond: (claim_id = ANY") && !strings.Contains(plan, "Index Cond: ((claim_id = ANY") &&
			!strings.Contains(plan, "Index Cond: ((claim_id = u.claim_id)") && !strings.Contains(plan, "Index Cond: (claim_id = u.claim_id)") {
			t.Errorf("%s: the outbox is not read by its ids:\n%s", c.name, plan)
		}
	}
}
