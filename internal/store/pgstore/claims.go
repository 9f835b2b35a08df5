package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/store"
)

// summaryColumns is what scanSummary reads, from claims c, outbox o, settlements s.
const summaryColumns = `c.seq, c.claim_id, c.version, c.external_id, c.line_count, c.net_fee_cents,
	c.expected_plan_payment_cents, c.received_at, o.state, o.gen, o.attempts, o.reason, o.due_at,
	s.gen, s.payment_id, s.recorded_at, s.settled_at`

// recordColumns is what scanRecord reads.
const recordColumns = summaryColumns + ", c.submitter, c.key_kind, c.key_value, c.first_line_id, c.warnings"

// received_at stands in every join, so that of tables that are partitioned by it only
// one partition is looked into.
const (
	withOutbox     = " LEFT JOIN outbox AS o ON o.claim_id = c.claim_id"
	withSettlement = " LEFT JOIN settlements AS s ON s.claim_seq = c.seq AND s.version = c.version AND s.received_at = c.received_at"
)

const claimQuery = "SELECT " + recordColumns + " FROM claim_keys AS k" +
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

// lineFields is what scanLine reads, from lines.
const lineFields = `service_date, procedure, quadrant, plan_group_number, subscriber_number, provider_npi,
	provider_fees_cents, allowed_fees_cents, member_coinsurance_cents, member_copay_cents`

const linesQuery = "SELECT " + lineFields + `
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

// scanLine reads lineFields and what follows them.
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
	query, values, err := claimsQuery(&filter, walk{columns: summaryColumns, limit: filter.Limit})
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

// walk is a way through the claims: from the newest down, or up from behind a cursor.
type walk struct {
	columns string // that are read
	up      bool
	behind  int64
	limit   int
}

// claimsQuery makes the query for a filter. It walks the table that leaves least to
// skip: a provider's claims, or what is in the outbox, or all.
func claimsQuery(filter *store.Filter, way walk) (string, []any, error) {
	var conditions []string
	var values []any
	where := func(condition string) { conditions = append(conditions, condition) }
	bind := func(value any) string {
		values = append(values, value)
		return "$" + strconv.Itoa(len(values))
	}
	status, err := statusCondition(filter.Status)
	if err != nil {
		return "", nil, err
	}
	state, err := paymentCondition(filter.PaymentState)
	if err != nil {
		return "", nil, err
	}
	where(status)
	where(state)
	from, cursor := "claims AS c"+withOutbox, "c.seq"
	switch {
	case filter.HasNPI:
		from, cursor = "claim_providers AS p JOIN claims AS c ON c.seq = p.claim_seq AND c.received_at = p.received_at"+withOutbox, "p.claim_seq"
		where("p.provider_npi = " + bind(int64(filter.ProviderNPI)))
	case strings.HasPrefix(status, "o.") || strings.HasPrefix(state, "o."):
		from, cursor = "outbox AS o JOIN claims AS c ON c.seq = o.claim_seq AND c.received_at = o.received_at", "o.claim_seq"
	}
	if !filter.From.IsZero() {
		where("c.received_at >= " + bind(filter.From))
	}
	if !filter.To.IsZero() {
		where("c.received_at < " + bind(filter.To))
	}
	before := filter.Before
	if before == 0 {
		before = math.MaxInt64
	}
	where(cursor + " < " + bind(before))
	order := " DESC"
	if way.up {
		where(cursor + " > " + bind(way.behind))
		order = ""
	}
	query := "SELECT " + way.columns + " FROM " + from + withSettlement +
		" WHERE " + strings.Join(conditions, " AND ") + " ORDER BY " + cursor + order + " LIMIT " + bind(way.limit)
	return query, values, nil
}

// isSettled holds for claims whose settlement is all that is left to say.
const isSettled = "(o.state IS NULL AND s.payment_id IS NOT NULL)"

func statusCondition(status store.Status) (string, error) {
	switch status {
	case "":
		return "TRUE", nil
	case store.InFlight:
		return "o.state IN ('pending', 'published')", nil
	case store.DeadLettered:
		return "o.state IN ('dead', 'discarded')", nil
	case store.Settled:
		return isSettled, nil
	default:
		return "", fmt.Errorf("unknown status %q", status)
	}
}

func paymentCondition(state store.PaymentState) (string, error) {
	switch state {
	case "":
		return "TRUE", nil
	case store.PaymentPending:
		return "o.state = 'pending' AND o.attempts = 0", nil
	case store.PaymentFailed:
		return "o.state = 'pending' AND o.attempts > 0", nil
	case store.PaymentNotified:
		return "o.state = 'published'", nil
	case store.PaymentDeadLettered:
		return "o.state = 'dead'", nil
	case store.PaymentDiscarded:
		return "o.state = 'discarded'", nil
	case store.PaymentPaid:
		return isSettled, nil
	default:
		return "", fmt.Errorf("unknown payment state %q", state)
	}
}

// scanSummary reads summaryColumns and what follows them.
func scanSummary(row interface{ Scan(...any) error }, summary *store.Summary, more ...any) error {
	var state, reason *string
	var gen, attempts, settledGen *int
	var dueAt, recordedAt, settledAt *time.Time
	var paymentID *[16]byte
	columns := []any{
		&summary.Cursor, (*[16]byte)(&summary.ClaimID), &summary.Version, &summary.ExternalID, &summary.LineCount, &summary.NetFee,
		&summary.ExpectedPlanPayment, &summary.ReceivedAt, &state, &gen, &attempts, &reason, &dueAt,
		&settledGen, &paymentID, &recordedAt, &settledAt,
	}
	if err := row.Scan(append(columns, more...)...); err != nil {
		return err
	}
	summary.ReceivedAt = summary.ReceivedAt.UTC()
	switch {
	case state != nil:
		payment := store.Payment{Gen: *gen, Attempts: *attempts, Error: *reason}
		payment.State = store.PaymentStateOf(outbox.State(*state), payment.Attempts)
		if payment.State == store.PaymentPending || payment.State == store.PaymentFailed {
			payment.NextAttemptAt = dueAt.UTC()
		}
		summary.Payment = payment
	case paymentID != nil:
		summary.Payment = store.Payment{
			State:      store.PaymentPaid,
			Gen:        *settledGen,
			PaymentID:  *paymentID,
			RecordedAt: recordedAt.UTC(),
			SettledAt:  settledAt.UTC(),
		}
	}
	return nil
}

// scanRecord reads recordColumns. The lines are not among them.
func scanRecord(row interface{ Scan(...any) error }) (record store.Record, err error) {
	var warnings string
	key := &record.Key
	if err := scanSummary(row, &record.Summary, &key.Submitter, &key.Kind, &key.Value, &record.FirstLineID, &warnings); err != nil {
		return store.Record{}, err
	}
	record.Warnings, err = store.DecodeWarnings(warnings)
	return record, err
}
