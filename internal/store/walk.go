package store

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/outbox"
)

// Columns that both engines read, of claims c, outbox o, settlements s and lines.
const (
	SummaryColumns = `c.seq, c.claim_id, c.version, c.external_id, c.line_count, c.net_fee_cents,
	c.expected_plan_payment_cents, c.received_at, o.state, o.gen, o.attempts, o.reason, o.due_at,
	s.gen, s.payment_id, s.recorded_at, s.settled_at`
	RecordColumns = SummaryColumns + ", c.submitter, c.key_kind, c.key_value, c.first_line_id, c.warnings"
	LineColumns   = `service_date, procedure, quadrant, plan_group_number, subscriber_number, provider_npi,
	provider_fees_cents, allowed_fees_cents, member_coinsurance_cents, member_copay_cents`
)

// Walk is a way through the stored claims: from the newest down, or up from behind a cursor.
type Walk struct {
	Columns string // that are read
	Up      bool
	Behind  int64 // if Up
	Limit   int
}

// Dialect is what an engine's SQL for a walk has for itself.
type Dialect struct {
	Claims     string // FROM: all claims, each with its outbox row if it has one
	OfProvider string // FROM: claim_providers p, with the claims and their outbox rows
	Waiting    string // FROM: the outbox, with its claims
	Settled    string // joins the settlement, if there is one
	Mark       string // stands before the number of a value
	Time       func(time.Time) any
}

// Query gives the query for a walk among the claims of a filter, whose Limit does not count,
// and its values. It goes over the table that leaves least to skip: a provider's claims, or
// what is in the outbox, or all.
func (d *Dialect) Query(filter *Filter, way Walk) (query string, values []any, err error) {
	status, err := statusCondition(filter.Status)
	if err != nil {
		return "", nil, err
	}
	state, err := paymentCondition(filter.PaymentState)
	if err != nil {
		return "", nil, err
	}
	conditions := []string{status, state}
	bind := func(value any) string {
		values = append(values, value)
		return d.Mark + strconv.Itoa(len(values))
	}
	where := func(condition string, value any) { conditions = append(conditions, condition+bind(value)) }
	from, cursor := d.Claims, "c.seq"
	switch {
	case filter.HasNPI:
		from, cursor = d.OfProvider, "p.claim_seq"
		where("p.provider_npi = ", int64(filter.ProviderNPI))
	case strings.HasPrefix(status, "o.") || strings.HasPrefix(state, "o."):
		from, cursor = d.Waiting, "o.claim_seq"
	}
	if !filter.From.IsZero() {
		where("c.received_at >= ", d.Time(filter.From))
	}
	if !filter.To.IsZero() {
		where("c.received_at < ", d.Time(filter.To))
	}
	before := filter.Before
	if before == 0 {
		before = math.MaxInt64
	}
	where(cursor+" < ", before)
	order := " DESC"
	if way.Up {
		where(cursor+" > ", way.Behind)
		order = ""
	}
	return "SELECT " + way.Columns + " FROM " + from + d.Settled + " WHERE " + strings.Join(conditions, " AND ") +
		" ORDER BY " + cursor + order + " LIMIT " + bind(way.Limit), values, nil
}

// isSettled holds for claims whose settlement is all that is left to say.
const isSettled = "(o.state IS NULL AND s.payment_id IS NOT NULL)"

func statusCondition(status Status) (string, error) {
	switch status {
	case "":
		return "TRUE", nil
	case InFlight:
		return "o.state IN ('pending', 'published')", nil
	case DeadLettered:
		return "o.state IN ('dead', 'discarded')", nil
	case Settled:
		return isSettled, nil
	default:
		return "", fmt.Errorf("unknown status %q", status)
	}
}

func paymentCondition(state PaymentState) (string, error) {
	switch state {
	case "":
		return "TRUE", nil
	case PaymentPending:
		return "o.state = 'pending' AND o.attempts = 0", nil
	case PaymentFailed:
		return "o.state = 'pending' AND o.attempts > 0", nil
	case PaymentNotified:
		return "o.state = 'published'", nil
	case PaymentDeadLettered:
		return "o.state = 'dead'", nil
	case PaymentDiscarded:
		return "o.state = 'discarded'", nil
	case PaymentPaid:
		return isSettled, nil
	default:
		return "", fmt.Errorf("unknown payment state %q", state)
	}
}

// Standing is what SummaryColumns say of a claim's payment. A column of a row that is not
// there is nil, or the zero time.
type Standing struct {
	State      *string // of the outbox row, as are the next four
	Gen        *int
	Attempts   *int
	Reason     *string
	DueAt      time.Time
	SettledGen *int // of the settlement, as is the rest
	PaymentID  *uuid.UUID
	RecordedAt time.Time
	SettledAt  time.Time
}

// Payment is the zero Payment where there is neither row. The outbox row counts for more.
func (s *Standing) Payment() Payment {
	switch {
	case s.State != nil:
		payment := Payment{State: PaymentStateOf(outbox.State(*s.State), *s.Attempts), Gen: *s.Gen, Attempts: *s.Attempts, Error: *s.Reason}
		if payment.State == PaymentPending || payment.State == PaymentFailed {
			payment.NextAttemptAt = s.DueAt
		}
		return payment
	case s.PaymentID != nil:
		return Payment{State: PaymentPaid, Gen: *s.SettledGen, PaymentID: *s.PaymentID, RecordedAt: s.RecordedAt, SettledAt: s.SettledAt}
	default:
		return Payment{}
	}
}
