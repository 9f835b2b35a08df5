package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/sqlitefile"
	"github.com/claimrail/claimrail/internal/store"
)

const (
	withOutbox     = " LEFT JOIN outbox AS o ON o.claim_seq = c.seq"
	withSettlement = " LEFT JOIN settlements AS s ON s.claim_seq = c.seq AND s.version = c.version"
)

// dialect is that of the walks through claims. A CROSS JOIN is made in the order in which it is written.
func dialect() *store.Dialect {
	return &store.Dialect{
		Claims:     "claims AS c" + withOutbox,
		OfProvider: "claim_providers AS p CROSS JOIN claims AS c ON c.seq = p.claim_seq" + withOutbox,
		Waiting:    "outbox AS o CROSS JOIN claims AS c ON c.seq = o.claim_seq",
		Settled:    withSettlement,
		Mark:       "?",
		Time:       func(at time.Time) any { return sqlitefile.Micros(at) },
	}
}

const claimQuery = "SELECT " + store.RecordColumns + " FROM claims AS c" + withOutbox + withSettlement +
	" WHERE c.claim_id = ?"

// Claim gives one claim, or store.ErrNotFound.
func (s *Store) Claim(ctx context.Context, id uuid.UUID) (store.Record, error) {
	reader := s.file.Reader()
	record, err := scanRecord(reader.QueryRowContext(ctx, claimQuery, id[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return store.Record{}, fmt.Errorf("claim %s: %w", id, store.ErrNotFound)
	}
	if err == nil {
		record.Lines, err = lines(ctx, reader, &record)
	}
	if err != nil {
		return store.Record{}, fmt.Errorf("read claim %s: %w", id, translate(err))
	}
	return record, nil
}

const linesQuery = "SELECT " + store.LineColumns + `
	FROM lines WHERE id BETWEEN ? AND ? ORDER BY id`

// reader is the pool of readers, or a transaction on one of them.
type reader interface {
	QueryContext(ctx context.Context, query string, arguments ...any) (*sql.Rows, error)
}

// lines reads the lines of a claim. They never change, so that no transaction
// needs to hold them and the claim together.
func lines(ctx context.Context, reader reader, record *store.Record) ([]claim.Line, error) {
	last := record.FirstLineID + int64(record.LineCount) - 1
	rows, err := reader.QueryContext(ctx, linesQuery, record.FirstLineID, last)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	lines := make([]claim.Line, 0, record.LineCount)
	for rows.Next() {
		var line claim.Line
		var date int64
		var quadrant sql.NullString
		var subscriber string
		if err := rows.Scan(&date, &line.Procedure, &quadrant, &line.PlanGroupNumber, &subscriber, &line.ProviderNPI,
			&line.ProviderFees, &line.AllowedFees, &line.MemberCoinsurance, &line.MemberCopay); err != nil {
			return nil, err
		}
		line.ServiceDate = claim.ServiceDateFromUnix(date)
		line.Quadrant = quadrant.String
		line.SubscriberNumber = claim.NewSubscriberNumber(subscriber)
		lines = append(lines, line)
	}
	return lines, rows.Err()
}

// Claims lists claims, the newest first; see store.Filter.
func (s *Store) Claims(ctx context.Context, filter store.Filter) ([]store.Summary, error) {
	if filter.Limit < 1 || filter.Limit > store.MaxPage {
		return nil, fmt.Errorf("list claims: limit %d, want 1 to %d", filter.Limit, store.MaxPage)
	}
	query, values, err := dialect().Query(&filter, store.Walk{Columns: store.SummaryColumns, Limit: filter.Limit})
	if err != nil {
		return nil, fmt.Errorf("list claims: %w", err)
	}
	rows, err := s.file.Reader().QueryContext(ctx, query, values...)
	if err != nil {
		return nil, fmt.Errorf("list claims: %w", translate(err))
	}
	defer func() { _ = rows.Close() }()
	var page []store.Summary
	for rows.Next() {
		var summary store.Summary
		if err := scanSummary(rows, &summary); err != nil {
			return nil, fmt.Errorf("list claims: %w", translate(err))
		}
		page = append(page, summary)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list claims: %w", translate(err))
	}
	return page, nil
}

// scanSummary reads store.SummaryColumns and what follows them.
func scanSummary(row interface{ Scan(...any) error }, summary *store.Summary, more ...any) error {
	var standing store.Standing
	var receivedAt int64
	var dueAt, recordedAt, settledAt *int64
	columns := []any{
		&summary.Cursor, &summary.ClaimID, &summary.Version, &summary.ExternalID, &summary.LineCount, &summary.NetFee,
		&summary.ExpectedPlanPayment, &receivedAt, &standing.State, &standing.Gen, &standing.Attempts, &standing.Reason, &dueAt,
		&standing.SettledGen, &standing.PaymentID, &recordedAt, &settledAt,
	}
	if err := row.Scan(append(columns, more...)...); err != nil {
		return err
	}
	summary.ReceivedAt = sqlitefile.Time(receivedAt)
	standing.DueAt, standing.RecordedAt, standing.SettledAt = when(dueAt), when(recordedAt), when(settledAt)
	summary.Payment = standing.Payment()
	return nil
}

// when is the zero time for NULL.
func when(micros *int64) time.Time {
	if micros == nil {
		return time.Time{}
	}
	return sqlitefile.Time(*micros)
}

// scanRecord reads store.RecordColumns. The lines are not among them.
func scanRecord(row interface{ Scan(...any) error }) (record store.Record, err error) {
	var warnings sql.NullString
	key := &record.Key
	if err := scanSummary(row, &record.Summary, &key.Submitter, &key.Kind, &key.Value, &record.FirstLineID, &warnings); err != nil {
		return store.Record{}, err
	}
	record.Warnings, err = store.DecodeWarnings(warnings.String)
	return record, err
}
