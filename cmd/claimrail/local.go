package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/api"
	"github.com/claimrail/claimrail/internal/export"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/payment/sqliteledger"
	"github.com/claimrail/claimrail/internal/sqlitefile"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/sqlitestore"
)

// local is the system in a data directory. What is only read is opened without the lock,
// also while a server runs, and never made; what is written is opened under the lock.
// It opens what is asked of it, when it is. Not for more than one goroutine.
//
// A database that is elsewhere (Postgres) knows no lock. It is never made or migrated here:
// instances of an older version may be at work on it.
type local struct {
	c       config
	dir     string
	command string // who is at work, for those who find the directory taken
	logger  *slog.Logger

	claims store.Engine
	ledger payment.Ledger // for reading; in the data directory for writing while unlock is set
	unlock func() error
}

var _ system = (*local)(nil)

func (l *local) close() error {
	var errs []error
	if l.ledger != nil {
		errs = append(errs, l.ledger.Close())
	}
	if l.claims != nil {
		errs = append(errs, l.claims.Close())
	}
	if l.unlock != nil {
		errs = append(errs, l.unlock())
	}
	return errors.Join(errs...)
}

// openClaims opens the claims database to read it.
func (l *local) openClaims(ctx context.Context) (err error) {
	switch {
	case l.claims != nil:
		return nil
	case l.c.DatabaseURL != "":
		l.claims, err = openExistingClaims(ctx, l.c.DatabaseURL)
		return err
	}
	path := filepath.Join(l.dir, claimsFile)
	found, err := sqlitestore.OpenExisting(ctx, path)
	if errors.Is(err, sqlitefile.ErrOlderSchema) {
		if err = l.migrate(func() (interface{ Close() error }, error) {
			return sqlitestore.Open(ctx, path, l.logger)
		}); err == nil {
			found, err = sqlitestore.OpenExisting(ctx, path)
		}
	}
	if err != nil {
		return l.explain(err, "claims")
	}
	l.claims = found
	return nil
}

// openLedger opens the payments database to read it.
func (l *local) openLedger(ctx context.Context) (err error) {
	switch {
	case l.ledger != nil:
		return nil
	case l.c.PaymentsDatabaseURL != "":
		l.ledger, err = openExistingLedger(ctx, l.c.PaymentsDatabaseURL)
		return err
	}
	path := filepath.Join(l.dir, paymentsFile)
	found, err := sqliteledger.OpenExisting(ctx, path)
	if errors.Is(err, sqlitefile.ErrOlderSchema) {
		if err = l.migrate(func() (interface{ Close() error }, error) {
			return sqliteledger.Open(ctx, path, l.logger)
		}); err == nil {
			found, err = sqliteledger.OpenExisting(ctx, path)
		}
	}
	if err != nil {
		return l.explain(err, "payments")
	}
	l.ledger = found
	return nil
}

// migrate brings a database up to date, unless another process has the directory: its
// program knows only the schema that is there.
func (l *local) migrate(open func() (interface{ Close() error }, error)) error {
	unlock, err := lockDataDir(l.dir, holder{command: l.command})
	if err != nil {
		return fmt.Errorf("the database is of an older version of claimrail and can not be migrated now: %w", err)
	}
	database, err := open()
	if err == nil {
		err = database.Close()
	}
	return errors.Join(err, unlock())
}

// openForDecisions opens the payments database to write to it.
func (l *local) openForDecisions(ctx context.Context) error {
	if l.c.PaymentsDatabaseURL != "" {
		return l.openLedger(ctx)
	}
	if l.unlock != nil {
		return nil
	}
	path := filepath.Join(l.dir, paymentsFile)
	if _, err := os.Stat(path); err != nil {
		return l.explain(fmt.Errorf("open payments database: %w", err), "payments")
	}
	unlock, err := lockDataDir(l.dir, holder{command: l.command})
	if err != nil {
		return err
	}
	l.unlock = unlock
	if l.ledger != nil { // open for reading
		if err := l.ledger.Close(); err != nil {
			return err
		}
	}
	l.ledger, err = openLedger(ctx, l.c, l.logger)
	return err
}

// explain says what it means that a database is not there.
func (l *local) explain(err error, what string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return hint(fmt.Errorf("no %s in %s", what, l.dir),
			"start 'claimrail serve', or point to where they are with --data-dir or --server")
	}
	return err
}

// TopProviders implements system.
func (l *local) TopProviders(ctx context.Context, limit int) ([]api.RankedProvider, error) {
	if err := l.openClaims(ctx); err != nil {
		return nil, err
	}
	totals, err := l.claims.TopProviders(ctx, limit)
	if err != nil {
		return nil, err
	}
	return api.NewRanking(totals), nil
}

// Claims implements system.
func (l *local) Claims(ctx context.Context, filter store.Filter) (api.ClaimPage, error) {
	if err := l.openClaims(ctx); err != nil {
		return api.ClaimPage{}, err
	}
	found, err := l.claims.Claims(ctx, filter)
	if err != nil {
		return api.ClaimPage{}, err
	}
	return api.NewClaimPage(found, filter.Limit), nil
}

// Claim implements system.
func (l *local) Claim(ctx context.Context, id uuid.UUID) (api.Claim, error) {
	if err := l.openClaims(ctx); err != nil {
		return api.Claim{}, err
	}
	record, err := l.claims.Claim(ctx, id)
	if err != nil {
		return api.Claim{}, err
	}
	return api.NewClaim(&record), nil
}

// ExportClaims implements system.
func (l *local) ExportClaims(ctx context.Context, to io.Writer, format export.Format, filter store.Filter) error {
	if err := l.openClaims(ctx); err != nil {
		return err
	}
	return export.Claims(to, format, l.claims.Records(ctx, filter))
}

// Payment implements system. Without a payments database nothing is paid.
func (l *local) Payment(ctx context.Context, claimID uuid.UUID) (api.Payment, error) {
	_, err := os.Stat(filepath.Join(l.dir, paymentsFile))
	if l.c.PaymentsDatabaseURL == "" && errors.Is(err, fs.ErrNotExist) {
		return api.Payment{}, payment.ErrNotFound
	}
	if err := l.openLedger(ctx); err != nil {
		return api.Payment{}, err
	}
	paid, err := l.ledger.Payment(ctx, claimID)
	if err != nil {
		return api.Payment{}, err
	}
	return api.NewPayment(&paid), nil
}

// DeadLetters implements system.
func (l *local) DeadLetters(ctx context.Context, filter payment.LetterFilter) (api.DeadLetterPage, error) {
	if err := l.openLedger(ctx); err != nil {
		return api.DeadLetterPage{}, err
	}
	found, err := l.ledger.DeadLetters(ctx, filter)
	if err != nil {
		return api.DeadLetterPage{}, err
	}
	return api.NewDeadLetterPage(found, filter.Limit), nil
}

// ExportPayments implements system.
func (l *local) ExportPayments(ctx context.Context, to io.Writer, format export.Format, filter payment.PaymentFilter) error {
	if err := l.openLedger(ctx); err != nil {
		return err
	}
	return export.Payments(to, format, payment.AllPayments(ctx, l.ledger.Payments, filter))
}

// ExportDeadLetters implements system.
func (l *local) ExportDeadLetters(ctx context.Context, to io.Writer, format export.Format, filter payment.LetterFilter) error {
	if err := l.openLedger(ctx); err != nil {
		return err
	}
	return export.DeadLetters(to, format, payment.AllLetters(ctx, l.ledger.DeadLetters, filter))
}

// DeadLetter implements system.
func (l *local) DeadLetter(ctx context.Context, id int64) (api.DeadLetterHistory, error) {
	if err := l.openLedger(ctx); err != nil {
		return api.DeadLetterHistory{}, err
	}
	letter, entries, err := l.ledger.Letter(ctx, id)
	if err != nil {
		return api.DeadLetterHistory{}, err
	}
	return api.NewDeadLetterHistory(&letter, entries), nil
}

// Redrive implements system. No server runs here, so nobody is told: the sweep of the next
// one asks.
func (l *local) Redrive(ctx context.Context, id int64, decision api.Decision) (api.DeadLetter, error) {
	if err := l.openForDecisions(ctx); err != nil {
		return api.DeadLetter{}, err
	}
	letter, err := l.ledger.Redrive(ctx, id, decided(decision))
	if err != nil {
		return api.DeadLetter{}, err
	}
	return api.NewDeadLetter(&letter), nil
}

// Discard implements system.
func (l *local) Discard(ctx context.Context, id int64, decision api.Decision) (api.DeadLetter, error) {
	if err := l.openForDecisions(ctx); err != nil {
		return api.DeadLetter{}, err
	}
	letter, err := l.ledger.Discard(ctx, id, decided(decision))
	if err != nil {
		return api.DeadLetter{}, err
	}
	return api.NewDeadLetter(&letter), nil
}

func decided(decision api.Decision) payment.Decision {
	return payment.Decision{Actor: decision.Actor, Reason: decision.Reason, At: time.Now()}
}
