package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/claimrail/claimrail/internal/broker"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/payment/pgledger"
	"github.com/claimrail/claimrail/internal/payment/sqliteledger"
	"github.com/claimrail/claimrail/internal/pgfile"
	"github.com/claimrail/claimrail/internal/store"
	"github.com/claimrail/claimrail/internal/store/pgstore"
	"github.com/claimrail/claimrail/internal/store/sqlitestore"
)

// Files of the embedded default, in the data directory.
const (
	claimsFile   = "claims.db"
	paymentsFile = "payments.db"
	natsDir      = "nats"
)

// openClaims opens the claims database that the settings name, and brings its schema up
// to date.
func openClaims(ctx context.Context, c config, logger *slog.Logger) (store.Engine, error) {
	if c.DatabaseURL == "" {
		claims, err := sqlitestore.Open(ctx, filepath.Join(c.DataDir, claimsFile), logger)
		if err != nil {
			return nil, fmt.Errorf("open the claims database: %w", err)
		}
		return claims, nil
	}
	claims, err := pgstore.Open(ctx, pgstore.Options{URL: c.DatabaseURL, Unsafe: c.Unsafe}, logger)
	if err != nil {
		return nil, explainOpen(err, "claims", "CLAIMRAIL_DATABASE_URL")
	}
	return claims, nil
}

// openExistingClaims opens the claims database that is at a URL, to look at it.
func openExistingClaims(ctx context.Context, url string) (store.Engine, error) {
	claims, err := pgstore.OpenExisting(ctx, pgstore.Options{URL: url})
	if err != nil {
		return nil, explainOpen(err, "claims", "CLAIMRAIL_DATABASE_URL")
	}
	return claims, nil
}

// openLedger opens the payments database that the settings name, and brings its schema up
// to date.
func openLedger(ctx context.Context, c config, logger *slog.Logger) (payment.Ledger, error) {
	if c.PaymentsDatabaseURL == "" {
		ledger, err := sqliteledger.Open(ctx, filepath.Join(c.DataDir, paymentsFile), logger)
		if err != nil {
			return nil, fmt.Errorf("open the payments database: %w", err)
		}
		return ledger, nil
	}
	ledger, err := pgledger.Open(ctx, pgledger.Options{URL: c.PaymentsDatabaseURL, Unsafe: c.Unsafe}, logger)
	if err != nil {
		return nil, explainOpen(err, "payments", "CLAIMRAIL_PAYMENTS_DATABASE_URL")
	}
	return ledger, nil
}

// openExistingLedger opens the payments database that is at a URL, without migrating it.
func openExistingLedger(ctx context.Context, url string) (payment.Ledger, error) {
	ledger, err := pgledger.OpenExisting(ctx, pgledger.Options{URL: url})
	if err != nil {
		return nil, explainOpen(err, "payments", "CLAIMRAIL_PAYMENTS_DATABASE_URL")
	}
	return ledger, nil
}

// explainOpen says in one line which database could not be opened, and in another what to
// do; variable names its URL, which may hold a password and is not shown.
func explainOpen(err error, what, variable string) error {
	if refused, ok := errors.AsType[*pgfile.OpenError](err); ok {
		return hint(fmt.Errorf("open the %s database of %s: %w", what, variable, refused), "%s", refused.Advice)
	}
	return hint(fmt.Errorf("open the %s database of %s: %w", what, variable, err), "check %s", variable)
}

// openBroker opens the broker that the settings name. One that is outside may be away: it
// is connected when it comes.
func openBroker(ctx context.Context, c config, logger *slog.Logger) (*broker.Broker, error) {
	if c.NATSURL == "" {
		embedded, err := broker.OpenEmbedded(ctx, broker.Config{Dir: filepath.Join(c.DataDir, natsDir)}, logger)
		if err != nil {
			return nil, fmt.Errorf("open the broker: %w", err)
		}
		return embedded, nil
	}
	outside, err := broker.OpenExternal(ctx, broker.ExternalConfig{
		URL: c.NATSURL, Credentials: c.NATSCredentials, CA: c.NATSCA, Cert: c.NATSCert, Key: c.NATSKey,
	}, logger)
	if err != nil {
		return nil, hint(err, "check CLAIMRAIL_NATS_URL and the other CLAIMRAIL_NATS_ settings")
	}
	return outside, nil
}

// usesDataDir tells whether serve keeps anything in the data directory.
func (c *config) usesDataDir() bool {
	return c.NATSURL == "" || c.Role.claims() && c.DatabaseURL == "" || c.Role.payments() && c.PaymentsDatabaseURL == ""
}
