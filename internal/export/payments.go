package export

import (
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
)

// Payments writes payments: in CSV a row for each posting, in NDJSON an object for each
// payment. Errors: those of w and of payments.
func Payments(w io.Writer, format Format, payments iter.Seq2[payment.Payment, error]) error {
	return write(w, format, payments, shape[payment.Payment]{
		header: []string{"payment_id", "claim_id", "version", "recorded_at", "net_fee", "provider_npi", "provider_net_fee"},
		rows: func(paid *payment.Payment, row func(cells ...string) error) error {
			for _, posting := range paid.Postings {
				if err := row(paid.ID.String(), paid.ClaimID.String(), strconv.Itoa(paid.Version), moment(paid.RecordedAt),
					paid.NetFee.String(), posting.ProviderNPI, posting.NetFee.String()); err != nil {
					return err
				}
			}
			return nil
		},
		object: func(paid *payment.Payment) any { return newPaymentObject(paid) },
	})
}

// paymentObject is a payment as a line of NDJSON.
type paymentObject struct {
	PaymentID  string          `json:"payment_id"`
	ClaimID    string          `json:"claim_id"`
	Version    int             `json:"version"`
	RecordedAt time.Time       `json:"recorded_at"`
	NetFee     string          `json:"net_fee"`
	Postings   []postingObject `json:"postings"`
}

type postingObject struct {
	ProviderNPI string `json:"provider_npi"`
	NetFee      string `json:"net_fee"`
}

func newPaymentObject(paid *payment.Payment) *paymentObject {
	object := &paymentObject{
		PaymentID:  paid.ID.String(),
		ClaimID:    paid.ClaimID.String(),
		Version:    paid.Version,
		RecordedAt: paid.RecordedAt,
		NetFee:     paid.NetFee.String(),
		Postings:   make([]postingObject, len(paid.Postings)),
	}
	for i, posting := range paid.Postings {
		object.Postings[i] = postingObject{posting.ProviderNPI, posting.NetFee.String()}
	}
	return object
}

// DeadLetters writes dead letters, without the bodies of their messages: a row, or an object,
// for each. Errors: those of w and of letters.
func DeadLetters(w io.Writer, format Format, letters iter.Seq2[payment.DeadLetter, error]) error {
	return write(w, format, letters, shape[payment.DeadLetter]{
		header: []string{
			"id", "message_id", "claim_id", "version", "net_fee", "provider_npis", "reason", "error", "attempts", "parked_at",
			"state", "closed_by", "closed_why", "closed_at",
		},
		rows: func(letter *payment.DeadLetter, row func(cells ...string) error) error {
			claimID, version := "", ""
			if (letter.Ref != event.Ref{}) {
				claimID, version = letter.ClaimID.String(), strconv.Itoa(letter.Version)
			}
			return row(strconv.FormatInt(letter.ID, 10), cell(letter.MessageID), claimID, version, letter.NetFee.String(),
				strings.Join(letter.Providers, " "), string(letter.Reason), cell(letter.Error), strconv.Itoa(letter.Attempts),
				moment(letter.ParkedAt), string(letter.State), cell(letter.Closing.Actor), cell(letter.Closing.Reason), moment(letter.Closing.At))
		},
		object: func(letter *payment.DeadLetter) any { return newLetterObject(letter) },
	})
}

// letterObject is a dead letter as a line of NDJSON.
type letterObject struct {
	ID           int64               `json:"id"`
	MessageID    string              `json:"message_id"`
	ClaimID      string              `json:"claim_id,omitempty"`
	Version      int                 `json:"version,omitempty"`
	NetFee       string              `json:"net_fee"`
	ProviderNPIs []string            `json:"provider_npis,omitempty"`
	Reason       payment.Reason      `json:"reason"`
	Error        string              `json:"error"`
	Attempts     int                 `json:"attempts"`
	ParkedAt     time.Time           `json:"parked_at"`
	State        payment.LetterState `json:"state"`
	ClosedBy     string              `json:"closed_by,omitempty"`
	ClosedWhy    string              `json:"closed_why,omitempty"`
	ClosedAt     time.Time           `json:"closed_at,omitzero"`
}

func newLetterObject(letter *payment.DeadLetter) *letterObject {
	object := &letterObject{
		ID:           letter.ID,
		MessageID:    letter.MessageID,
		NetFee:       letter.NetFee.String(),
		ProviderNPIs: letter.Providers,
		Reason:       letter.Reason,
		Error:        letter.Error,
		Attempts:     letter.Attempts,
		ParkedAt:     letter.ParkedAt,
		State:        letter.State,
		ClosedBy:     letter.Closing.Actor,
		ClosedWhy:    letter.Closing.Reason,
		ClosedAt:     letter.Closing.At,
	}
	if (letter.Ref != event.Ref{}) {
		object.ClaimID, object.Version = letter.ClaimID.String(), letter.Version
	}
	return object
}
