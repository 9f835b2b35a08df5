package api

import (
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
)

// The types of this file are the bodies of the API as they stand on the wire. The
// specification is made of them, and the command line shows them with --json.
// Amounts are decimal strings of two places in US dollars; times are RFC 3339 in UTC.

// LineFields is what a line says, in canonical form.
type LineFields struct {
	ServiceDate        string  `json:"service_date" doc:"ISO 8601, without a zone, as given" example:"2018-03-28T00:00:00"`
	SubmittedProcedure string  `json:"submitted_procedure" example:"D4346"`
	Quadrant           *string `json:"quadrant" nullable:"true" doc:"null where none was given" example:"UR"`
	PlanGroupNumber    string  `json:"plan_group_number" example:"GRP-1000"`
	SubscriberNumber   string  `json:"subscriber_number" doc:"protected health information" example:"3730189502"`
	ProviderNPI        string  `json:"provider_npi" doc:"ten digits" example:"1497775530"`
	ProviderFees       string  `json:"provider_fees" example:"130.00"`
	AllowedFees        string  `json:"allowed_fees" example:"65.00"`
	MemberCoinsurance  string  `json:"member_coinsurance" example:"16.25"`
	MemberCopay        string  `json:"member_copay" example:"0.00"`
	NetFee             string  `json:"net_fee" doc:"provider_fees + member_coinsurance + member_copay - allowed_fees; can be negative" example:"81.25"`
}

// ProcessedLine is one element of the answer of POST /claim-process.
type ProcessedLine struct {
	ID            int64  `json:"id" doc:"unique over all lines of all claims" example:"3"`
	UniqueClaimID string `json:"unique_claim_id" format:"uuid" doc:"the same on all lines of a claim" example:"0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35"`
	LineFields
}

// Line is a line of a Claim.
type Line struct {
	ID int64 `json:"id" doc:"unique over all lines of all claims" example:"3"`
	LineFields
}

// RankedProvider is one element of the answer of GET /top-providers.
type RankedProvider struct {
	ProviderNPI string `json:"provider_npi" example:"1497775530"`
	TotalNetFee string `json:"total_net_fee" example:"116.85"`
	ClaimCount  int64  `json:"claim_count" doc:"claims with at least one line of this provider" example:"1"`
	Rank        int    `json:"rank" doc:"from 1; equal totals rank by NPI, ascending" example:"1"`
}

// ClaimSummary is a claim without its lines.
type ClaimSummary struct {
	ClaimID             string       `json:"claim_id" format:"uuid" example:"0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35"`
	Version             int          `json:"version" example:"1"`
	ExternalClaimID     *string      `json:"external_claim_id" nullable:"true" doc:"the sender's claim number; null where none was given" example:"CLM-1234"`
	Status              store.Status `json:"status" enum:"in_flight,settled,dead_lettered" doc:"in_flight until payments has recorded it" example:"settled"`
	NetFee              string       `json:"net_fee" doc:"sum over the lines" example:"116.85"`
	ExpectedPlanPayment string       `json:"expected_plan_payment" doc:"allowed fees - coinsurance - copay, over the lines" example:"399.15"`
	LineCount           int          `json:"line_count" example:"4"`
	ReceivedAt          time.Time    `json:"received_at" doc:"when the claim was first accepted" example:"2026-03-28T12:00:00.123456Z"`
	Payment             PaymentState `json:"payment"`
}

// PaymentState is what claim-process knows of a claim's payment.
type PaymentState struct {
	State         store.PaymentState `json:"state" enum:"pending,failed_to_notify_payments,notified,paid,dead_lettered,discarded" example:"paid"`
	Gen           int                `json:"gen" doc:"generation of the message; a redrive, or a message that got lost, raises it" example:"0"`
	Attempts      int                `json:"attempts,omitempty" doc:"failed sends of this generation"`
	Error         string             `json:"error,omitempty" doc:"why it failed, was parked or was written off"`
	NextAttemptAt time.Time          `json:"next_attempt_at,omitzero" doc:"of pending and failed_to_notify_payments"`
	PaymentID     string             `json:"payment_id,omitempty" format:"uuid" doc:"of paid" example:"5f0c3c8e-9d1b-8a62-b7aa-0b5b0f1f7f11"`
	RecordedAt    time.Time          `json:"recorded_at,omitzero" doc:"of paid: when payments recorded it"`
	SettledAt     time.Time          `json:"settled_at,omitzero" doc:"of paid: when claim-process learned of it"`
}

// Claim is a stored claim, whole.
type Claim struct {
	ClaimSummary
	Warnings []Warning `json:"warnings"`
	Lines    []Line    `json:"lines"`
}

// Warning is a broken rule that did not refuse the claim.
type Warning struct {
	Line    *int   `json:"line" nullable:"true" doc:"index of the line, from 0; null where it is about the claim as a whole" example:"0"`
	Field   string `json:"field,omitempty" example:"provider_npi"`
	Code    string `json:"code" example:"npi-check-digit"`
	Message string `json:"message" example:"the last digit of the NPI is not its check digit; was it mistyped?"`
}

// ClaimPage is a page of claims, the newest first.
type ClaimPage struct {
	Claims     []ClaimSummary `json:"claims"`
	NextCursor string         `json:"next_cursor,omitempty" doc:"give it as cursor for the next page; absent on the last page"`
}

// Payment is one recorded payment.
type Payment struct {
	PaymentID  string    `json:"payment_id" format:"uuid" example:"5f0c3c8e-9d1b-8a62-b7aa-0b5b0f1f7f11"`
	ClaimID    string    `json:"claim_id" format:"uuid" example:"0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35"`
	Version    int       `json:"version" example:"1"`
	NetFee     string    `json:"net_fee" example:"81.25"`
	Postings   []Posting `json:"postings" doc:"one for each provider, ascending by NPI"`
	RecordedAt time.Time `json:"recorded_at" example:"2026-03-28T12:00:00.123456Z"`
}

// Posting is one provider's part of a payment.
type Posting struct {
	ProviderNPI string `json:"provider_npi" example:"1497775530"`
	NetFee      string `json:"net_fee" example:"81.25"`
}

// DeadLetter is a message that payments could not process.
type DeadLetter struct {
	ID        int64               `json:"id" example:"7"`
	MessageID string              `json:"message_id" example:"0199a1b2-7c1e-7d3a-9f4b-2a6c8e0d1f35.1.0"`
	ClaimID   string              `json:"claim_id,omitempty" format:"uuid" doc:"absent where the message names no claim"`
	Version   int                 `json:"version,omitempty"`
	NetFee    string              `json:"net_fee" doc:"as the message says" example:"81.25"`
	Providers []string            `json:"provider_npis,omitempty" doc:"whom the message names, at most 50"`
	State     payment.LetterState `json:"state" enum:"open,redriven,discarded,paid" example:"open"`
	Reason    payment.Reason      `json:"reason" enum:"malformed,conflict,failed" example:"failed"`
	Error     string              `json:"error" doc:"what happened"`
	Attempts  int                 `json:"attempts" example:"8"`
	ParkedAt  time.Time           `json:"parked_at"`
	ClosedBy  string              `json:"closed_by,omitempty" doc:"who redrove or discarded it"`
	ClosedWhy string              `json:"closed_why,omitempty"`
	ClosedAt  time.Time           `json:"closed_at,omitzero"`
}

// DeadLetterHistory is a dead letter with what became of it, and of the others of its claim.
type DeadLetterHistory struct {
	DeadLetter
	History []LetterEntry `json:"history" doc:"of all dead letters of the claim, the oldest first; the last 200"`
}

// LetterEntry is a line of the log of dead letters, which is never changed.
type LetterEntry struct {
	DeadLetterID int64          `json:"dead_letter_id" example:"7"`
	Action       payment.Action `json:"action" enum:"parked,redriven,discarded,paid" example:"redriven"`
	Actor        string         `json:"actor" doc:"who; payments, where it parked or paid by itself" example:"night shift"`
	Reason       string         `json:"reason" doc:"why" example:"provider was unknown, added"`
	At           time.Time      `json:"at"`
}

// DeadLetterPage is a page of dead letters, the newest first.
type DeadLetterPage struct {
	DeadLetters []DeadLetter `json:"dead_letters"`
	NextCursor  string       `json:"next_cursor,omitempty" doc:"give it as cursor for the next page; absent on the last page"`
}

// Decision is the body of a redrive or a discard.
type Decision struct {
	Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"why; kept with the dead letter" example:"provider was unknown, added"`
	Actor  string `json:"actor,omitempty" maxLength:"100" doc:"who; without it the address of the client" example:"night shift"`
}

func newLineFields(line *claim.Line) LineFields {
	fields := LineFields{
		ServiceDate:        line.ServiceDate.Reveal(),
		SubmittedProcedure: line.Procedure,
		PlanGroupNumber:    line.PlanGroupNumber,
		SubscriberNumber:   line.SubscriberNumber.Reveal(),
		ProviderNPI:        line.ProviderNPI.String(),
		ProviderFees:       line.ProviderFees.String(),
		AllowedFees:        line.AllowedFees.String(),
		MemberCoinsurance:  line.MemberCoinsurance.String(),
		MemberCopay:        line.MemberCopay.String(),
		NetFee:             line.NetFee().String(),
	}
	if line.Quadrant != "" {
		fields.Quadrant = &line.Quadrant
	}
	return fields
}

// NewRanking gives the rows of the ranking their ranks.
func NewRanking(totals []store.ProviderTotal) []RankedProvider {
	ranked := make([]RankedProvider, len(totals))
	for i, total := range totals {
		ranked[i] = RankedProvider{total.ProviderNPI.String(), total.TotalNetFee.String(), total.ClaimCount, i + 1}
	}
	return ranked
}

// NewClaim gives a stored claim.
func NewClaim(record *store.Record) Claim {
	c := Claim{
		ClaimSummary: NewClaimSummary(&record.Summary),
		Warnings:     newWarnings(record.Warnings),
		Lines:        make([]Line, len(record.Lines)),
	}
	for i := range record.Lines {
		c.Lines[i] = Line{record.FirstLineID + int64(i), newLineFields(&record.Lines[i])}
	}
	return c
}

// newAccepted gives a claim that was stored a moment ago, without reading it back.
func newAccepted(c *claim.Claim, outcome store.Outcome) Claim {
	return NewClaim(&store.Record{
		Summary: store.Summary{
			ClaimID:             c.ID,
			Version:             c.Version,
			ExternalID:          c.ExternalID,
			LineCount:           len(c.Lines),
			NetFee:              c.NetFee(),
			ExpectedPlanPayment: c.ExpectedPlanPayment(),
			ReceivedAt:          outcome.ReceivedAt,
			Payment:             store.Payment{State: store.PaymentPending, NextAttemptAt: outcome.ReceivedAt},
		},
		FirstLineID: outcome.FirstLineID,
		Lines:       c.Lines,
		Warnings:    c.Warnings,
	})
}

func newWarnings(violations []claim.Violation) []Warning {
	warnings := make([]Warning, len(violations))
	for i, v := range violations {
		warnings[i] = Warning{Line: lineIndex(v.Line), Field: v.Field.String(), Code: v.Code, Message: v.Message}
	}
	return warnings
}

// lineIndex gives nil for claim.WholeClaim.
func lineIndex(line int) *int {
	if line == claim.WholeClaim {
		return nil
	}
	return &line
}

// NewClaimSummary gives a claim of a list.
func NewClaimSummary(s *store.Summary) ClaimSummary {
	summary := ClaimSummary{
		ClaimID:             s.ClaimID.String(),
		Version:             s.Version,
		Status:              s.Payment.State.Status(),
		NetFee:              s.NetFee.String(),
		ExpectedPlanPayment: s.ExpectedPlanPayment.String(),
		LineCount:           s.LineCount,
		ReceivedAt:          s.ReceivedAt,
		Payment: PaymentState{
			State:         s.Payment.State,
			Gen:           s.Payment.Gen,
			Attempts:      s.Payment.Attempts,
			Error:         s.Payment.Error,
			NextAttemptAt: s.Payment.NextAttemptAt,
			RecordedAt:    s.Payment.RecordedAt,
			SettledAt:     s.Payment.SettledAt,
		},
	}
	if s.ExternalID != "" {
		summary.ExternalClaimID = &s.ExternalID
	}
	if s.Payment.State == store.PaymentPaid {
		summary.Payment.PaymentID = s.Payment.PaymentID.String()
	}
	return summary
}

// NewPayment gives a recorded payment.
func NewPayment(p *payment.Payment) Payment {
	body := Payment{
		PaymentID:  p.ID.String(),
		ClaimID:    p.ClaimID.String(),
		Version:    p.Version,
		NetFee:     p.NetFee.String(),
		Postings:   make([]Posting, len(p.Postings)),
		RecordedAt: p.RecordedAt,
	}
	for i, posting := range p.Postings {
		body.Postings[i] = Posting{posting.ProviderNPI, posting.NetFee.String()}
	}
	return body
}

// NewDeadLetter gives a parked message, without its body.
func NewDeadLetter(letter *payment.DeadLetter) DeadLetter {
	body := DeadLetter{
		ID:        letter.ID,
		MessageID: letter.MessageID,
		NetFee:    letter.NetFee.String(),
		Providers: letter.Providers,
		State:     letter.State,
		Reason:    letter.Reason,
		Error:     letter.Error,
		Attempts:  letter.Attempts,
		ParkedAt:  letter.ParkedAt,
		ClosedBy:  letter.Closing.Actor,
		ClosedWhy: letter.Closing.Reason,
		ClosedAt:  letter.Closing.At,
	}
	if (letter.Ref != event.Ref{}) {
		body.ClaimID = letter.ClaimID.String()
		body.Version = letter.Version
	}
	return body
}

// NewDeadLetterHistory gives a dead letter with what the log says of its claim.
func NewDeadLetterHistory(letter *payment.DeadLetter, entries []payment.Entry) DeadLetterHistory {
	body := DeadLetterHistory{DeadLetter: NewDeadLetter(letter), History: make([]LetterEntry, len(entries))}
	for i, entry := range entries {
		body.History[i] = LetterEntry{entry.LetterID, entry.Action, entry.Actor, entry.Reason, entry.At}
	}
	return body
}
