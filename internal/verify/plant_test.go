package verify_test

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/payment/pgledger"
	"github.com/claimrail/claimrail/internal/pgtest"
	"github.com/claimrail/claimrail/internal/store/pgstore"
)

// onEach runs a test with what makes filled systems, on files and on a server.
func onEach(t *testing.T, test func(t *testing.T, filled func(testing.TB) *system)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, func(t testing.TB) *system {
			t.Helper()
			s := newSystem(t)
			s.fill()
			return s
		})
	})
	t.Run("Postgres", func(t *testing.T) {
		t.Parallel()
		var keys map[string]event.Key
		template := pgtest.Start(t).Template(t, func(url string) {
			s := openServer(t, url)
			s.fill()
			keys = s.keys
			s.close()
			pgtest.Exec(t, url, dropConstraints)
		})
		test(t, func(t testing.TB) *system {
			t.Helper()
			s := openServer(t, template.Clone(t))
			t.Cleanup(s.close)
			s.keys = maps.Clone(keys)
			return s
		})
	})
}

// dropConstraints takes from a database what would keep breaches out, but for what makes rows unique.
const dropConstraints = `DO $$ DECLARE r record; BEGIN
	FOR r IN SELECT conrelid::regclass AS name, conname FROM pg_constraint
		WHERE contype = 'c' AND connamespace IN ('claims'::regnamespace, 'payments'::regnamespace) LOOP
		EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', r.name, r.conname);
	END LOOP;
END $$`

// openServer opens a system in a database of a server.
func openServer(t testing.TB, url string) *system {
	t.Helper()
	s := &system{TB: t, server: url, keys: map[string]event.Key{}}
	logger := slog.New(slog.DiscardHandler)
	var err error
	if s.claims, err = pgstore.Open(t.Context(), pgstore.Options{URL: url}, logger); err != nil {
		t.Fatal(err)
	}
	if s.ledger, err = pgledger.Open(t.Context(), pgledger.Options{URL: url}, logger); err != nil {
		t.Fatal(err)
	}
	s.identify()
	return s
}

func (s *system) close() {
	_, _ = s.ledger.Close(), s.claims.Close()
}

// plant runs SQL on one of the two databases, behind the engine's back: constraints that
// would keep the breach out are off. A statement that changes nothing is a mistake.
func (s *system) plant(database string, statements ...string) {
	s.Helper()
	run, done := s.runner(database)
	defer done()
	for _, statement := range statements {
		rows, err := run(statement)
		changes := strings.HasPrefix(statement, "UPDATE") || strings.HasPrefix(statement, "DELETE") || strings.HasPrefix(statement, "INSERT")
		if err != nil || changes && rows == 0 {
			s.Fatalf("%s: %d rows, %v", statement, rows, err)
		}
	}
}

// runner gives what runs statements on one connection, and what closes it.
func (s *system) runner(database string) (run func(string) (int64, error), done func()) {
	s.Helper()
	ctx := context.Background()
	if s.server != "" {
		conn, err := pgx.Connect(ctx, pgtest.With(s, s.server, "search_path", database))
		if err != nil {
			s.Fatal(err)
		}
		return func(statement string) (int64, error) {
			tag, err := conn.Exec(ctx, statement)
			return tag.RowsAffected(), err
		}, func() { _ = conn.Close(ctx) }
	}
	db, err := sql.Open("sqlite", s.path(database)+"?_pragma=busy_timeout(5000)&_pragma=ignore_check_constraints(1)")
	if err != nil {
		s.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	return func(statement string) (int64, error) {
		result, err := db.ExecContext(ctx, statement)
		if err != nil {
			return 0, err
		}
		return result.RowsAffected()
	}, func() { _ = db.Close() }
}

// copyRow copies the one row that a table has of a claim, with changes.
func (s *system) copyRow(table, seq, changes string) {
	s.Helper()
	s.plant("claims", "CREATE TABLE copied AS SELECT * FROM "+table+" WHERE claim_seq = "+seq+" LIMIT 1",
		"UPDATE copied SET "+changes, "INSERT INTO "+table+" SELECT * FROM copied", "DROP TABLE copied")
}

// pay plants a payment of a claim, with postings of npiA.
func (s *system) pay(key event.Key, net money.Cents, postings ...money.Cents) {
	s.Helper()
	statements := []string{
		"CREATE TABLE copied AS SELECT * FROM payments LIMIT 1",
		fmt.Sprintf("UPDATE copied SET seq = 999, payment_id = %s, claim_id = %s, version = %d, net_fee_cents = %d",
			s.blob(payment.ID(key)), s.blob(key.ClaimID), key.Version, net),
		s.insertCopied(), "DROP TABLE copied",
	}
	for _, posting := range postings {
		statements = append(statements, fmt.Sprintf("INSERT INTO postings (payment_seq, npi, net_fee_cents) VALUES (999, '%s', %d)", npiA, posting))
	}
	s.plant("payments", statements...)
}

// payAgain copies a payment with its postings, once the constraint that forbids it is gone. In SQLite it is
// part of the table, so the table is made anew.
func (s *system) payAgain(name string) {
	s.Helper()
	if s.server != "" {
		s.plant("payments", "ALTER TABLE payments DROP CONSTRAINT payments_claim_id_version_key")
	} else {
		s.plant("payments", "CREATE TABLE others AS SELECT * FROM payments", "DROP TABLE payments", "ALTER TABLE others RENAME TO payments")
	}
	s.plant("payments",
		"INSERT INTO postings (payment_seq, npi, net_fee_cents) SELECT 999, npi, p.net_fee_cents FROM postings AS p JOIN payments ON seq = payment_seq WHERE claim_id = "+s.id(name),
		"CREATE TABLE copied AS SELECT * FROM payments WHERE claim_id = "+s.id(name), "UPDATE copied SET seq = 999",
		s.insertCopied(), "DROP TABLE copied")
}

// insertCopied gives the statement that adds a payment under the number that it was given.
func (s *system) insertCopied() string {
	if s.server != "" {
		return "INSERT INTO payments OVERRIDING SYSTEM VALUE SELECT * FROM copied"
	}
	return "INSERT INTO payments SELECT * FROM copied"
}

// bury plants a tombstone of a claim that is paid.
func (s *system) bury(name string) {
	s.Helper()
	s.plant("payments", `INSERT INTO tombstones (claim_id, version, letter_id, actor, reason, at)
		SELECT claim_id, version, (SELECT max(id) FROM dead_letters), 'dana', 'lost case', recorded_at FROM payments WHERE claim_id = `+s.id(name))
}

// spoilIndex leaves the index of the ranking with a total that the table has not: it is
// hidden while the total is set right again.
func (s *system) spoilIndex() {
	s.Helper()
	change := func(cents string) string {
		return "UPDATE provider_totals SET total_net_fee_cents = total_net_fee_cents " + cents + " WHERE provider_npi = " + npiB
	}
	if s.server != "" {
		s.Skip("an index of Postgres can not be spoilt by SQL")
	}
	const hidden = "name = 'provider_totals_by_rank'"
	s.plant("claims", change("+ 1000000"), "CREATE TABLE hidden AS SELECT * FROM sqlite_schema WHERE "+hidden,
		"PRAGMA writable_schema = 1", "DELETE FROM sqlite_schema WHERE "+hidden)
	s.plant("claims", change("- 1000000"), "PRAGMA writable_schema = 1",
		"INSERT INTO sqlite_schema SELECT * FROM hidden", "PRAGMA writable_schema = 0", "DROP TABLE hidden")
}

// blob gives an id as SQL.
func (s *system) blob(id uuid.UUID) string {
	if s.server != "" {
		return "'" + id.String() + "'::uuid"
	}
	return "x'" + hex.EncodeToString(id[:]) + "'"
}
