package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/verify"
)

func newVerifyCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check that every claim is somewhere and every cent is right",
		Long: `Check both databases against each other and against themselves: every claim is in
flight, settled or dead-lettered; payments are the net fees of the paid claims; totals
are the sums of their parts. It only reads, and may run while the server does.

Claims that wait to be delivered are no breach. After an import, and before the first
'claimrail serve', there are no payments yet, and all claims wait.

Exit code 1 means that a breach was found, or that it could not be checked.`,
		Example: "  claimrail verify\n  claimrail verify --data-dir /var/lib/claimrail --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.refuseServer("verify reads the databases themselves", "run it where they are, with --data-dir, without --server"); err != nil {
				return err
			}
			c, err := p.loadConfig()
			if err != nil {
				return err
			}
			return p.verify(cmd.Context(), c)
		},
	}
}

// verify checks the databases, and shows what it found.
func (p *program) verify(ctx context.Context, c config) (err error) {
	l := &local{c: c, dir: c.DataDir, command: "verify", logger: p.logger(c)}
	defer func() { err = errors.Join(err, l.close()) }()
	if err := l.openClaims(ctx); err != nil {
		return err
	}
	var payments verify.Payments = noPayments{}
	unpaid := c.neverServed()
	if !unpaid {
		if err := l.openLedger(ctx); err != nil {
			return err
		}
		payments = l.ledger
	}
	report, err := verify.Run(ctx, l.claims, payments)
	if err != nil {
		return err
	}
	if unpaid && report.Settled+report.DeadLettered > 0 {
		return hint(fmt.Errorf("no payments in %s, and %d claims are not in flight any more", c.DataDir, report.Settled+report.DeadLettered),
			"%s is missing: look for it, or for its backup; if 'claimrail serve' began this moment, run verify again", paymentsFile)
	}
	if p.json {
		err = writeJSON(p.stdout, report)
	} else {
		err = report.WriteText(p.stdout)
	}
	if err != nil {
		return err
	}
	if !report.Clean() {
		return hint(fmt.Errorf("verify: %d breaches", report.Breaches()), "keep a copy of the data directory as it is; 'claimrail claims show ID' shows a claim")
	}
	if unpaid {
		fmt.Fprintf(p.stderr, "there are no payments yet: 'claimrail serve' delivers the %d claims in flight\n", report.InFlight)
	}
	return nil
}

// neverServed tells whether the data directory has claims, as of an import, and no payments database: serve
// makes that before it delivers anything.
func (c *config) neverServed() bool {
	if c.DatabaseURL != "" || c.PaymentsDatabaseURL != "" {
		return false
	}
	_, err := os.Stat(filepath.Join(c.DataDir, paymentsFile))
	return errors.Is(err, fs.ErrNotExist)
}

// noPayments is a payments database that is not there yet.
type noPayments struct{}

// Snapshot implements verify.Payments.
func (noPayments) Snapshot(context.Context) (payment.Snapshot, error) { return noPayments{}, nil }

// Payments implements payment.Snapshot.
func (noPayments) Payments(context.Context) iter.Seq2[payment.Payment, error] {
	return func(func(payment.Payment, error) bool) {}
}

// Parked implements payment.Snapshot.
func (noPayments) Parked(context.Context) iter.Seq2[payment.Parked, error] {
	return func(func(payment.Parked, error) bool) {}
}

// Strays implements payment.Snapshot.
func (noPayments) Strays(context.Context) iter.Seq2[payment.Stray, error] {
	return func(func(payment.Stray, error) bool) {}
}

// Close implements payment.Snapshot.
func (noPayments) Close() error { return nil }
