package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/sqlitefile"
	"github.com/claimrail/claimrail/internal/store"
)

// summaryColumns is what scanSummary reads, from claims c, outbox o, settlements s.
const summaryColumns = `c.seq, c.claim_id, c.version, c.external_id, c.line_count, c.net_fee_cents,
	c.expected_plan_payment_cents, c.received_at, o.state, o.gen, o.attempts, o.reason, o.due_at,
	s.gen, s.payment_id, s.recorded_at, s.settled_at`

// recordColumns is what scanRecord reads.
const recordColumns = summaryColumns + ", c.submitter, c.key_kind, c.key_value, c.first_line_id, c.warnings"

const (
	withOutbox     = " LEFT JOIN outbox AS o ON o.claim_seq = c.seq"
	withSettlement = " LEFT JOIN settlements AS s ON s.claim_seq = c.seq AND s.version = c.version"
)

const claimQuery = "SELECT " + recordColumns + " FROM claims AS c" + withOutbox + withSettlement +
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

const linesQuery = `SELECT service_date, procedure, quadrant, plan_group_number, subscriber_number, provider_npi,
	provider_fees_cents, allowed_fees_cents, member_coinsurance_cents, member_copay_cents
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
	query, values, err := claimsQuery(&filter, walk{columns: summaryColumns, limit: filter.Limit})
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
	where := func(condition string, bound ...any) {
		conditions = append(conditions, condition)
		values = append(values, bound...)
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
		from, cursor = "claim_providers AS p CROSS JOIN claims AS c ON c.seq = p.claim_seq"+withOutbox, "p.claim_seq"
		where("p.provider_npi = ?", int64(filter.ProviderNPI))
	case strings.HasPrefix(status, "o.") || strings.HasPrefix(state, "o."):
		from, cursor = "outbox AS o CROSS JOIN claims AS c ON c.seq = o.claim_seq", "o.claim_seq"
	}
	if !filter.From.IsZero() {
		where("c.received_at >= ?", sqlitefile.Micros(filter.From))
	}
	if !filter.To.IsZero() {
		where("c.received_at < ?", sqlitefile.Micros(filter.To))
	}
	before := filter.Before
	if before == 0 {
		before = math.MaxInt64
	}
	where(cursor+" < ?", before)
	order := " DESC"
	if way.up {
		where(cursor+" > ?", way.behind)
		order = ""
	}
	query := "SELECT " + way.columns + " FROM " + from + withSettlement +
		" WHERE " + strings.Join(conditions, " AND ") + " ORDER BY " + cursor + order + " LIMIT ?"
	return query, append(values, way.limit), nil
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
	var receivedAt int64
	var state, reason sql.NullString
	var gen, attempts, dueAt, settledGen, recordedAt, settledAt sql.NullInt64
	var paymentID uuid.NullUUID
	columns := []any{
		&summary.Cursor, &summary.ClaimID, &summary.Version, &summary.ExternalID, &summary.LineCount, &summary.NetFee,
		&summary.ExpectedPlanPayment, &receivedAt, &state, &gen, &attempts, &reason, &dueAt,
		&settledGen, &paymentID, &recordedAt, &settledAt,
	}
	if err := row.Scan(append(columns, more...)...); err != nil {
		return err
	}
	summary.ReceivedAt = sqlitefile.Time(receivedAt)
	switch {
	case state.Valid:
		payment := store.Payment{Gen: int(gen.Int64), Attempts: int(attempts.Int64), Error: reason.String}
		payment.State = store.PaymentStateOf(outbox.State(state.String), payment.Attempts)
		if payment.State == store.PaymentPending || payment.State == store.PaymentFailed {
			payment.NextAttemptAt = sqlitefile.Time(dueAt.Int64)
		}
		summary.Payment = payment
	case paymentID.Valid:
		summary.Payment = store.Payment{
			State:      store.PaymentPaid,
			Gen:        int(settledGen.Int64),
			PaymentID:  paymentID.UUID,
			RecordedAt: sqlitefile.Time(recordedAt.Int64),
			SettledAt:  sqlitefile.Time(settledAt.Int64),
		}
	}
	return nil
}

// scanRecord reads recordColumns. The lines are not among them.
func scanRecord(row interface{ Scan(...any) error }) (record store.Record, err error) {
	var warnings sql.NullString
	key := &record.Key
	if err := scanSummary(row, &record.Summary, &key.Submitter, &key.Kind, &key.Value, &record.FirstLineID, &warnings); err != nil {
		return store.Record{}, err
	}
	record.Warnings, err = store.DecodeWarnings(warnings.String)
	return record, err
}
