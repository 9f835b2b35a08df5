// Package pgledger keeps the payments ledger in a schema of a Postgres database: the
// end of the line for more than one instance. That a claim is paid once is a
// constraint of the table, not a matter of who writes to it or how often.
package pgledger

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/pgfile"
)

//go:embed migrations/*.sql
var migrations embed.FS

// schema is the schema's name where the URL gives no search_path.
const schema = "payments"

// Options says how to open the database.
type Options struct {
	URL    string // see pgfile.Options; the schema is payments, unless search_path names another
	Unsafe bool   // use a server whose settings can lose recorded payments
}

// Ledger is a payment.Ledger in one schema.
type Ledger struct{ schema *pgfile.Schema }

var _ payment.Ledger = (*Ledger)(nil)

// Open opens the payments database, makes the schema where it is missing, and brings it
// up to date. Errors: payment.ErrUnavailable, and those of pgfile.Open.
func Open(ctx context.Context, options Options, logger *slog.Logger) (*Ledger, error) {
	return open(options, func(options pgfile.Options) (*pgfile.Schema, error) {
		return pgfile.Open(ctx, options, logger)
	})
}

// OpenExisting opens a payments database that is there: nothing is made or migrated.
// Errors: payment.ErrUnavailable, and those of pgfile.OpenExisting.
func OpenExisting(ctx context.Context, options Options) (*Ledger, error) {
	return open(options, func(options pgfile.Options) (*pgfile.Schema, error) {
		return pgfile.OpenExisting(ctx, options)
	})
}

func open(options Options, open func(pgfile.Options) (*pgfile.Schema, error)) (*Ledger, error) {
	scripts, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("open payments ledger: %w", err)
	}
	opened, err := open(pgfile.Options{
		URL: options.URL, Schema: schema, Table: "payments", Migrations: scripts, Unsafe: options.Unsafe,
	})
	if err != nil {
		return nil, explain(err)
	}
	return &Ledger{opened}, nil
}

// askRights fails where the tables that every payment needs, or the rights to them, are missing. It writes nothing.
const askRights = `EXPLAIN WITH made AS (INSERT INTO payments (claim_id) SELECT claim_id FROM tombstones RETURNING seq)
INSERT INTO postings (payment_seq) SELECT seq FROM made`

// Ping implements payment.Ledger.
func (l *Ledger) Ping(ctx context.Context) error {
	if err := l.schema.Ping(ctx); err != nil {
		return fmt.Errorf("ping payments ledger: %w", explain(err))
	}
	return l.read(ctx, "ping payments ledger", func(ctx context.Context, pool *pgxpool.Pool) error {
		_, err := pool.Exec(ctx, askRights)
		return err
	})
}

// Close implements payment.Ledger.
func (l *Ledger) Close() error { return l.schema.Close() }

// read runs do on the pool.
func (l *Ledger) read(ctx context.Context, what string, do func(context.Context, *pgxpool.Pool) error) error {
	return explain(l.schema.Read(ctx, what, do))
}

// write runs do in a transaction.
func (l *Ledger) write(ctx context.Context, what string, do func(context.Context, *pgfile.Tx) error) error {
	return explain(l.schema.Write(ctx, what, do))
}

// explain gives errors of the schema the kind that the contract names. Where nobody
// knows whether a commit went through, the same call again finds out. What fails for every message is
// the fault of none, and they wait until the database is mended.
func explain(err error) error {
	err = pgfile.Classify(err)
	if errors.Is(err, pgfile.ErrUnavailable) || errors.Is(err, pgfile.ErrUnknownOutcome) || pgfile.IsBroken(err) {
		return fmt.Errorf("%w: %w", payment.ErrUnavailable, err)
	}
	return err
}
