package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
)

func newMigrateCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the schemas of the databases up to date",
		Long: `Make the schemas of the claims and payments databases that the settings name, or
bring them up to date: forward only, once, however many instances start meanwhile.
serve does the same when it starts; run it before, where serve may not change schemas.
CLAIMRAIL_ROLE=claim-process or payments migrates one of the two.`,
		Example: "  claimrail migrate\n  CLAIMRAIL_ROLE=payments claimrail migrate --payments-database-url postgres://...",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.refuseServer("migrate works on the databases themselves", "run it where they are, with --data-dir, without --server"); err != nil {
				return err
			}
			c, err := p.loadConfig()
			if err != nil {
				return err
			}
			return p.migrate(cmd.Context(), c)
		},
	}
}

// migrate opens the databases, which migrates them, and closes them.
func (p *program) migrate(ctx context.Context, c config) (err error) {
	logger := slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	if c.Role.claims() && c.DatabaseURL == "" || c.Role.payments() && c.PaymentsDatabaseURL == "" {
		unlock, taken := lockDataDir(c.DataDir, holder{command: "migrate"})
		if taken != nil {
			return taken
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	if c.Role.claims() {
		claims, err := openClaims(ctx, c, logger)
		if err == nil {
			err = claims.Close()
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(p.stdout, "claims: up to date")
	}
	if c.Role.payments() {
		ledger, err := openLedger(ctx, c, logger)
		if err == nil {
			err = ledger.Close()
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(p.stdout, "payments: up to date")
	}
	return nil
}
