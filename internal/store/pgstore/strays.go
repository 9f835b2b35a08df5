package pgstore

import (
	"context"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/store"
)

// What a table has, and what of it auditQuery does not give: number and id of the claim, version, line and
// provider, as far as there are.
const (
	countOutbox      = "SELECT count(*) FROM outbox"
	countSettlements = "SELECT count(*) FROM settlements"
	countLines       = "SELECT count(*) FROM lines"
	countProviders   = "SELECT count(*) FROM claim_providers"

	strayOutbox = `SELECT o.claim_seq, o.claim_id, o.version, 0, 0 FROM outbox AS o LEFT JOIN claims AS c ON c.seq = o.claim_seq
	WHERE c.seq IS NULL OR c.claim_id <> o.claim_id OR c.version <> o.version OR c.received_at <> o.received_at`

	straySettlements = `SELECT s.claim_seq, c.claim_id, s.version, 0, 0 FROM settlements AS s LEFT JOIN claims AS c ON c.seq = s.claim_seq
	WHERE c.seq IS NULL OR c.version <> s.version OR c.received_at <> s.received_at`

	strayLines = `SELECT l.claim_seq, c.claim_id, 0, l.id, 0 FROM lines AS l LEFT JOIN claims AS c ON c.seq = l.claim_seq
	WHERE c.seq IS NULL OR l.id NOT BETWEEN c.first_line_id AND c.first_line_id + c.line_count - 1 OR c.received_at <> l.received_at`

	strayProviders = `SELECT p.claim_seq, c.claim_id, 0, 0, p.provider_npi FROM claim_providers AS p LEFT JOIN claims AS c ON c.seq = p.claim_seq
	WHERE c.seq IS NULL OR c.received_at <> p.received_at OR NOT EXISTS (SELECT 1 FROM lines AS l WHERE l.claim_seq = p.claim_seq AND l.provider_npi = p.provider_npi
		AND l.id BETWEEN c.first_line_id AND c.first_line_id + c.line_count - 1 AND l.received_at = c.received_at)`
)

// onTable gives the two statements about a table.
func onTable(table store.Table) (count, strays string, err error) {
	switch table {
	case store.Outbox:
		return countOutbox, strayOutbox, nil
	case store.Settlements:
		return countSettlements, straySettlements, nil
	case store.Lines:
		return countLines, strayLines, nil
	case store.ClaimProviders:
		return countProviders, strayProviders, nil
	default:
		return "", "", fmt.Errorf("there is no table %q of what belongs to claims", table)
	}
}

// Rows counts the rows of a table.
func (v *snapshot) Rows(ctx context.Context, table store.Table) (rows int64, err error) {
	count, _, err := onTable(table)
	if err != nil {
		return 0, err
	}
	answer, err := v.view.Query(ctx, count)
	if err == nil {
		rows, err = pgx.CollectExactlyOneRow(answer, pgx.RowTo[int64])
	}
	if err != nil {
		return 0, fmt.Errorf("count %s of snapshot: %w", table, translate(err))
	}
	return rows, nil
}

// Strays gives the rows of a table that belong to no claim.
func (v *snapshot) Strays(ctx context.Context, table store.Table) iter.Seq2[store.Stray, error] {
	return func(yield func(store.Stray, error) bool) {
		if err := v.eachStray(ctx, table, func(stray store.Stray) bool { return yield(stray, nil) }); err != nil {
			yield(store.Stray{}, fmt.Errorf("read %s of snapshot: %w", table, translate(err)))
		}
	}
}

func (v *snapshot) eachStray(ctx context.Context, table store.Table, yield func(store.Stray) bool) error {
	_, strays, err := onTable(table)
	if err != nil {
		return err
	}
	rows, err := v.view.Query(ctx, strays)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var stray store.Stray
		var claimID *[16]byte
		var npi int64
		if err := rows.Scan(&stray.ClaimSeq, &claimID, &stray.Version, &stray.LineID, &npi); err != nil {
			return err
		}
		if claimID != nil {
			stray.ClaimID = *claimID
		}
		stray.ProviderNPI = claim.NPI(npi)
		if !yield(stray) {
			return nil
		}
	}
	return rows.Err()
}
