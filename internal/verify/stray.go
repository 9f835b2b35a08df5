package verify

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
)

// checkStrays checks, once every claim and payment is read, that nothing else is there: a row of no claim, or
// a second settlement. Each of the views is held against itself.
func (a *audit) checkStrays(ctx context.Context, claims store.Snapshot, payments payment.Snapshot) error {
	lines, err := a.checkTable(ctx, claims, store.Lines, a.counts.lines, rowHasClaim)
	if err != nil {
		return err
	}
	a.counts.strayLines = lines
	if _, err := a.checkTable(ctx, claims, store.Outbox, a.counts.messages, rowHasClaim); err != nil {
		return err
	}
	if _, err := a.checkTable(ctx, claims, store.Settlements, a.counts.settlements, rowHasClaim); err != nil {
		return err
	}
	if _, err := a.checkTable(ctx, claims, store.ClaimProviders, a.counts.listed, claimProvider); err != nil {
		return err
	}
	for stray, err := range payments.Strays(ctx) {
		if err != nil {
			return err
		}
		a.checks[postingHasPayment].Checked++
		a.checks[postingHasPayment].breach("posting of %s to provider %s: there is no payment %d", stray.NetFee, stray.ProviderNPI, stray.PaymentSeq)
	}
	return nil
}

// checkTable checks that a table has the rows that the claims have, and gives how many more there are. Which
// these are takes a reading of their own, so it is asked only for examples.
func (a *audit) checkTable(ctx context.Context, claims store.Snapshot, table store.Table, read int, rule int) (int, error) {
	rows, err := claims.Rows(ctx, table)
	if err != nil {
		return 0, err
	}
	check, strays := &a.checks[rule], int(rows)-read
	if table != store.ClaimProviders { // each claim's are checked as one
		check.Checked += read
	}
	if strays == 0 {
		return 0, nil
	}
	check.Checked += strays
	check.Breaches += strays
	for stray, err := range claims.Strays(ctx, table) {
		if err != nil {
			return 0, err
		}
		if !check.example(named(table, &stray)) {
			break
		}
	}
	return strays, nil
}

// named says what a stray is.
func named(table store.Table, stray *store.Stray) string {
	of := fmt.Sprintf("claim number %d, which is not there", stray.ClaimSeq)
	if stray.ClaimID != uuid.Nil {
		of = "claim " + stray.ClaimID.String()
	}
	switch table {
	case store.Outbox:
		return fmt.Sprintf("outbox row of %s, version %d, as number %d: it is not that of a claim", of, stray.Version, stray.ClaimSeq)
	case store.Settlements:
		return fmt.Sprintf("settlement of %s: version %d of it is not there", of, stray.Version)
	case store.Lines:
		return fmt.Sprintf("line %d of %s: it is not among the claim's lines", stray.LineID, of)
	default:
		return fmt.Sprintf("%s: it is listed with provider %s, of whom it has no line", of, stray.ProviderNPI)
	}
}
