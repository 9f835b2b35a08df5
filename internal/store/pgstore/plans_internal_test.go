package pgstore

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/pgtest"
)

// What settles and marks rows finds them by their ids and in their order, whether its plan is made when
// the outbox is empty or full: or each row of a batch would read all that an import has brought. And a
// batch is joined by hash: or each of its rows would be compared with all the others.
func TestPlansOfTheOutbox(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Options{URL: pgtest.Start(t).Database(t)}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for state, become := range map[string]string{
		"empty": `UPDATE pg_class SET reltuples = 1, relpages = 6 WHERE oid = 'outbox'::regclass`, // as the vacuum of a quiet line leaves it
		"full": `INSERT INTO outbox (claim_id, claim_seq, received_at, due_at, version, net_fee_cents, postings, traceparent)
			SELECT md5(n::text)::uuid, n, now(), now(), 1, n, '', '' FROM generate_series(1, 5000) AS n; ANALYZE outbox`,
	} {
		plans := map[string]string{}
		err := s.schema.Read(t.Context(), "explain", func(ctx context.Context, pool *pgxpool.Pool) (err error) {
			plans, err = explain(ctx, pool, become)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for name, plan := range plans {
			if !strings.Contains(plan, "Index Scan using outbox_pkey") || !strings.Contains(plan, "Index Cond: (claim_id = ANY ($1))") {
				t.Errorf("%s, outbox %s: it is not read by its ids, in their order:\n%s", name, state, plan)
			}
			if !strings.Contains(plan, "Hash Join") || strings.Contains(plan, "Nested Loop") {
				t.Errorf("%s, outbox %s: the rows are not joined by hash:\n%s", name, state, plan)
			}
		}
	}
}

// explain gives the plans that a connection of the store would keep, if the outbox has become such.
func explain(ctx context.Context, pool *pgxpool.Pool, become string) (plans map[string]string, err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	run := conn.Conn().PgConn().Exec
	if _, err := run(ctx, "BEGIN; SET LOCAL plan_cache_mode = force_generic_plan; "+planByIDs+"; "+become).ReadAll(); err != nil {
		return nil, err
	}
	plans = map[string]string{}
	for name, statement := range map[string]string{"marked": updateRows, "settled": settleRows, "paid": settlePaid} {
		none := strings.Repeat(", NULL", strings.Count(statement, "::"))
		if name != "marked" {
			none += ", NULL" // the time
		}
		results, err := run(ctx, "PREPARE "+name+" AS "+statement+"; EXPLAIN EXECUTE "+name+" ("+none[2:]+")").ReadAll()
		if err != nil {
			return nil, err
		}
		for _, row := range results[1].Rows {
			plans[name] += string(row[0]) + "\n"
		}
	}
	_, err = run(ctx, "ROLLBACK; DEALLOCATE ALL").ReadAll()
	return plans, err
}
