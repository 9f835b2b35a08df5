// Package sqliteledger keeps the payments ledger in a SQLite file: the end of the
// line where nothing is installed. That a claim is paid once is a constraint of
// the file, not a matter of who writes to it or how often.
package sqliteledger

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/sqlitefile"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Ledger is a payment.Ledger in one SQLite file.
type Ledger struct {
	file          *sqlitefile.File
	insertPayment *sql.Stmt
	insertPosting *sql.Stmt
	selectHash    *sql.Stmt
}

var _ payment.Ledger = (*Ledger)(nil)

// Open opens the file at path, makes it where it is missing, and brings its schema
// up to date. Errors: payment.ErrUnavailable, and those of sqlitefile.Open.
func Open(ctx context.Context, path string, logger *slog.Logger) (*Ledger, error) {
	scripts, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("open payments ledger: %w", err)
	}
	file, err := sqlitefile.Open(ctx, path, scripts, logger)
	if err != nil {
		return nil, fmt.Errorf("open payments ledger: %w", explain(err))
	}
	l := &Ledger{file: file}
	for _, prepared := range []struct {
		into  **sql.Stmt
		query string
	}{
		{&l.insertPayment, insertPayment},
		{&l.insertPosting, insertPosting},
		{&l.selectHash, selectHash},
	} {
		if *prepared.into, err = file.Prepare(ctx, prepared.query); err != nil {
			return nil, errors.Join(fmt.Errorf("open payments ledger: %w", explain(err)), l.Close())
		}
	}
	return l, nil
}

// OpenExisting opens the file at path only to read it; methods that write are not to be
// called. Errors: payment.ErrUnavailable, and those of sqlitefile.OpenExisting.
func OpenExisting(ctx context.Context, path string) (*Ledger, error) {
	scripts, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("open payments ledger: %w", err)
	}
	file, err := sqlitefile.OpenExisting(ctx, path, scripts)
	if err != nil {
		return nil, fmt.Errorf("open payments ledger: %w", explain(err))
	}
	return &Ledger{file: file}, nil
}

// askTables fails where a table that every payment needs is missing. It reads nothing.
const askTables = `SELECT 1 FROM payments, postings, tombstones LIMIT 0`

// Ping implements payment.Ledger.
func (l *Ledger) Ping(ctx context.Context) error {
	err := l.file.Ping(ctx)
	if err == nil {
		_, err = l.file.Reader().ExecContext(ctx, askTables)
	}
	if err != nil {
		return fmt.Errorf("ping payments ledger: %w", explain(err))
	}
	return nil
}

// Close implements payment.Ledger.
func (l *Ledger) Close() error {
	var errs []error
	for _, statement := range []*sql.Stmt{l.insertPayment, l.insertPosting, l.selectHash} {
		if statement != nil {
			errs = append(errs, statement.Close())
		}
	}
	return errors.Join(append(errs, l.file.Close())...)
}

// write runs do in a transaction, alone among the writers of the file.
func (l *Ledger) write(ctx context.Context, what string, do func(context.Context, *sql.Tx) error) error {
	return explain(l.file.Write(ctx, what, do))
}

// explain gives errors of the file the kind that the contract names. Where nobody
// knows whether a commit went through, the same call again finds out. What fails for every message is
// the fault of none, and they wait until the database is mended.
func explain(err error) error {
	err = sqlitefile.Classify(err)
	if errors.Is(err, sqlitefile.ErrUnavailable) || errors.Is(err, sqlitefile.ErrUnknownOutcome) || sqlitefile.IsBroken(err) {
		return fmt.Errorf("%w: %w", payment.ErrUnavailable, err)
	}
	return err
}
