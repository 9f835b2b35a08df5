package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/claimrail/claimrail/internal/verify"
)

func newVerifyCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check that every claim is somewhere and every cent is right",
		Long: `Check both databases against each other and against themselves: every claim is in
flight, settled or dead-lettered; payments are the net fees of the paid claims; totals
are the sums of their parts. It only reads, and may run while the server does.

Exit code 1 means that a breach was found, or that it could not be checked.`,
		Example: "  claimrail verify\n  claimrail verify --data-dir /var/lib/claimrail --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := p.refuseServer("verify reads the databases themselves", "run it where they are, with --data-dir, without --server"); err != nil {
				return err
			}
			c, err := p.loadConfig()
			if err != nil {
				return err
			}
			l := &local{c: c, dir: c.DataDir, command: "verify", logger: p.logger(c)}
			defer func() { err = errors.Join(err, l.close()) }()
			if err := l.openClaims(cmd.Context()); err != nil {
				return err
			}
			if err := l.openLedger(cmd.Context()); err != nil {
				return err
			}
			report, err := verify.Run(cmd.Context(), l.claims, l.ledger)
			if err != nil {
				return err
			}
			if p.json {
				err = writeJSON(p.stdout, report)
			} else {
				err = report.WriteText(p.stdout)
			}
			if err != nil || report.Clean() {
				return err
			}
			return hint(fmt.Errorf("verify: %d breaches", report.Breaches()), "keep a copy of the data directory as it is; 'claimrail claims show ID' shows a claim")
		},
	}
}
