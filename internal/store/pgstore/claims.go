package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/store"
)

// received_at stands in every join, so that of tables that are partitioned by it only
// one partition is looked into.
const (
	withOutbox     = " LEFT JOIN outbox AS o ON o.claim_id = c.claim_id"
	withSettlement = " LEFT JOIN settlements AS s ON s.claim_seq = c.seq AND s.version = c.version AND s.received_at = c.received_at"
)

// dialect is that of the walks through claims.
func dialect() *store.Dialect {
	return &store.Dialect{
		Claims:     "claims AS c" + withOutbox,
		OfProvider: "claim_providers AS p JOIN claims AS c ON c.seq = p.claim_seq AND c.received_at = p.received_at" + withOutbox,
		Waiting:    "outbox AS o JOIN claims AS c ON c.seq = o.claim_seq AND c.received_at = o.received_at",
		Settled:    withSettlement,
		Mark:       "$",
		Time:       func(at time.Time) any { return at },
	}
}

const claimQuery = "SELECT " + store.RecordColumns + " FROM claim_keys AS k" +
	" JOIN claims AS c ON c.seq = k.seq AND c.received_at = k.received_at" + withOutbox + withSettlement +
	" WHERE k.claim_id = $1"

// Claim gives one claim, or store.ErrNotFound.
func (s *Store) Claim(ctx context.Context, id uuid.UUID) (store.Record, error) {
	var record store.Record
	err := s.read(ctx, "read claim "+id.String(), func(ctx context.Context, pool *pgxpool.Pool) (err error) {
		record, err = scanRecord(pool.QueryRow(ctx, claimQuery, [16]byte(id)))
		if errors.Is(err, pgx.ErrNoRows) {
			return store.ErrNotFound
		}
		if err == nil {
			record.Lines, err = lines(ctx, pool, &record)
		}
		return err
	})
	if err != nil {
		return store.Record{}, err
	}
	return record, nil
}

const linesQuery = "SELECT " + store.LineColumns + `
	FROM lines WHERE id BETWEEN $1 AND $2 AND received_at = $3 ORDER BY id`

// lines reads the lines of a claim. They never change, so that no transaction
// needs to hold them and the claim together.
func lines(ctx context.Context, pool *pgxpool.Pool, record *store.Record) ([]claim.Line, error) {
	last := record.FirstLineID + int64(record.LineCount) - 1
	rows, err := pool.Query(ctx, linesQuery, record.FirstLineID, last, record.ReceivedAt)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	lines := make([]claim.Line, 0, record.LineCount)
	for rows.Next() {
		line, err := scanLine(rows)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, rows.Err()
}

// scanLine reads store.LineColumns and what follows them.
func scanLine(rows pgx.Rows, more ...any) (line claim.Line, err error) {
	var date int64
	var subscriber string
	columns := []any{
		&date, &line.Procedure, &line.Quadrant, &line.PlanGroupNumber, &subscriber, &line.ProviderNPI,
		&line.ProviderFees, &line.AllowedFees, &line.MemberCoinsurance, &line.MemberCopay,
	}
	if err := rows.Scan(append(columns, more...)...); err != nil {
		return claim.Line{}, err
	}
	line.ServiceDate = claim.ServiceDateFromUnix(date)
	line.SubscriberNumber = claim.NewSubscriberNumber(subscriber)
	return line, nil
}

// Claims lists claims, the newest first; see store.Filter. A claim that commits while
// pages are turned is in none of them or in its place: cursors only go down.
func (s *Store) Claims(ctx context.Context, filter store.Filter) ([]store.Summary, error) {
	if filter.Limit < 1 || filter.Limit > store.MaxPage {
		return nil, fmt.Errorf("list claims: limit %d, want 1 to %d", filter.Limit, store.MaxPage)
	}
	query, values, err := dialect().Query(&filter, store.Walk{Columns: store.SummaryColumns, Limit: filter.Limit})
	if err != nil {
		return nil, fmt.Errorf("list claims: %w", err)
	}
	var page []store.Summary
	err = s.read(ctx, "list claims", func(ctx context.Context, pool *pgxpool.Pool) error {
		rows, err := pool.Query(ctx, query, values...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var summary store.Summary
			if err := scanSummary(rows, &summary); err != nil {
				return err
			}
			page = append(page, summary)
		}
		return rows.Err()
	})
	return page, err
}

// scanSummary reads store.SummaryColumns and what follows them.
func scanSummary(row interface{ Scan(...any) error }, summary *store.Summary, more ...any) error {
	var standing store.Standing
	var dueAt, recordedAt, settledAt *time.Time
	var paymentID *[16]byte
	columns := []any{
		&summary.Cursor, (*[16]byte)(&summary.ClaimID), &summary.Version, &summary.ExternalID, &summary.LineCount, &summary.NetFee,
		&summary.ExpectedPlanPayment, &summary.ReceivedAt, &standing.State, &standing.Gen, &standing.Attempts, &standing.Reason, &dueAt,
		&standing.SettledGen, &paymentID, &recordedAt, &settledAt,
	}
	if err := row.Scan(append(columns, more...)...); err != nil {
		return err
	}
	summary.ReceivedAt = summary.ReceivedAt.UTC()
	standing.PaymentID = (*uuid.UUID)(paymentID)
	standing.DueAt, standing.RecordedAt, standing.SettledAt = utc(dueAt), utc(recordedAt), utc(settledAt)
	summary.Payment = standing.Payment()
	return nil
}

// utc is the zero time for NULL.
func utc(at *time.Time) time.Time {
	if at == nil {
		return time.Time{}
	}
	return at.UTC()
}

// scanRecord reads store.RecordColumns. The lines are not among them.
func scanRecord(row interface{ Scan(...any) error }) (record store.Record, err error) {
	var warnings string
	key := &record.Key
	if err := scanSummary(row, &record.Summary, &key.Submitter, &key.Kind, &key.Value, &record.FirstLineID, &warnings); err != nil {
		return store.Record{}, err
	}
	record.Warnings, err = store.DecodeWarnings(warnings)
	return record, err
}
