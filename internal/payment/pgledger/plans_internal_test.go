package pgledger

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/pgtest"
)

// fillLedger makes 5,000 payments to 50 providers, and as many letters.
const fillLedger = `
INSERT INTO payments (recorded_at, net_fee_cents, version, payment_id, claim_id, content_hash)
SELECT now(), 1, 1, md5(n::text)::uuid, md5(n::text)::uuid, sha256(n::text::bytea) FROM generate_series(1, 5000) AS n;
INSERT INTO postings (payment_seq, net_fee_cents, npi) SELECT seq, 1, lpad((seq % 50)::text, 10, '0') FROM payments;
INSERT INTO dead_letters (message_id, claim_id, version, gen, net_fee_cents, reason, error, attempts, body, body_hash, parked_at)
SELECT n::text, md5(n::text)::uuid, 1, 0, 1, 'failed', '', 8, '', sha256(''), now() FROM generate_series(1, 5000) AS n;
ANALYZE payments, postings, dead_letters`

// What an operator asks for and decides reads no more than it needs, whether its plan is made when the ledger
// is empty or full: a page of a provider's payments is read along an index, from its newest on, and letters by their ids.
func TestPlansOfTheDesk(t *testing.T) {
	t.Parallel()
	ledger, err := Open(t.Context(), Options{URL: pgtest.Start(t).Database(t)}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ledger.Close() }()
	page, _ := paymentsQuery(&payment.PaymentFilter{ProviderNPI: "0000000001", From: time.Now(), To: time.Now(), Before: 7})
	for state, become := range map[string]string{"empty": "SELECT 1", "full": fillLedger} {
		for name, test := range map[string]struct {
			settings, statement string
			want                []string // parts of the plan
		}{
			"page of a provider": {planInOrder, page, []string{
				"Index Only Scan Backward using postings_by_npi", "Index Cond: ((npi = $1) AND (payment_seq < $4))",
			}},
			"lock of letters": {"SELECT 1", lockLetters, []string{"Index Cond: (id = $1)", `Index Cond: (id = "ANY_subquery"`}},
		} {
			var plan string
			if err := ledger.read(t.Context(), "explain", func(ctx context.Context, pool *pgxpool.Pool) (err error) {
				plan, err = explainStatement(ctx, pool, test.settings+"; "+become, test.statement)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			for _, part := range test.want {
				if !strings.Contains(plan, part) {
					t.Errorf("%s, ledger %s: want %s, got\n%s", name, state, part, plan)
				}
			}
			if strings.Contains(plan, "Seq Scan") {
				t.Errorf("%s, ledger %s: it reads all of a table:\n%s", name, state, plan)
			}
		}
	}
}

// explainStatement gives the plan that a connection of the ledger would keep, if it has become such.
func explainStatement(ctx context.Context, pool *pgxpool.Pool, become, statement string) (plan string, err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Release()
	run := conn.Conn().PgConn().Exec
	if _, err := run(ctx, "BEGIN; SET LOCAL plan_cache_mode = force_generic_plan; "+become).ReadAll(); err != nil {
		return "", err
	}
	parameters := 0
	for strings.Contains(statement, "$"+string(rune('1'+parameters))) {
		parameters++
	}
	results, err := run(ctx, "PREPARE planned AS "+statement+"; EXPLAIN EXECUTE planned ("+strings.Repeat("NULL, ", parameters-1)+"NULL)").ReadAll()
	if err != nil {
		return "", err
	}
	for _, row := range results[1].Rows {
		plan += string(row[0]) + "\n"
	}
	_, err = run(ctx, "ROLLBACK; DEALLOCATE ALL").ReadAll()
	return plan, err
}
