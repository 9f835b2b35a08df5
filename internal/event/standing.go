package event

import (
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/money"
)

// State is what payments has on record of a claim.
type State string

// States, the strongest first: where several would fit, payments gives the first.
const (
	Paid      State = "paid"      // a payment is recorded
	Discarded State = "discarded" // an operator wrote it off; it will never be paid
	Dead      State = "dead"      // parked: an open dead letter waits for an operator
	Unknown   State = "unknown"   // none of these; send it (again)
)

// Standing is payments' word on one claim: the answer to a question, or, sent
// by itself after a commit, a hint that saves the question.
type Standing struct {
	Key
	State      State       `json:"state"`
	PaymentID  uuid.UUID   `json:"payment_id"`       // of Paid
	NetFee     money.Cents `json:"net_fee"`          // of Paid: the amount on record
	RecordedAt time.Time   `json:"recorded_at"`      // of Paid
	Reason     string      `json:"reason,omitempty"` // of Dead and Discarded; no PHI
	// WrittenOff, of Paid: an operator wrote it off too. Only a fault makes both true.
	WrittenOff bool `json:"written_off,omitempty"`
}

// MaxAsked is how many claims one question may name.
const MaxAsked = 500

// Question asks payments for the standing of claims, MaxAsked at most.
type Question struct {
	Keys []Key `json:"keys"`
}

// Answer holds one standing for each key asked, in the order of the question. As
// a hint it holds those that changed.
type Answer struct {
	Standings []Standing `json:"standings"`
}
