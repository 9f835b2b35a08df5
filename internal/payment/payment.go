// Package payment is the other side of the wire: it consumes claims as the broker
// delivers them and records exactly one payment for each, whatever is sent, how
// often, and in what order. What can not be processed is parked as a dead letter.
// It knows nothing of claims but what the message says.
package payment

import (
	"context"
	"crypto/sha256"
	"errors"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
)

// Kinds of error. Test for them with errors.Is; everything else counts against
// the message that caused it.
var (
	// ErrNotFound: there is no such payment or dead letter.
	ErrNotFound = errors.New("not found")
	// ErrClosed: the dead letter was redriven, discarded or paid already.
	ErrClosed = errors.New("dead letter is closed")
	// ErrNoClaim: the dead letter names no claim, so it can not be sent again.
	ErrNoClaim = errors.New("dead letter names no claim")
	// ErrPaid: a payment is on record for the dead letter's claim, so it can not be sent again.
	ErrPaid = errors.New("the claim of the dead letter is paid")
	// ErrUnavailable: the database can not be reached, is busy or is full, or lacks a table
	// or a right that every call needs. Nothing was written, or nobody knows; the same call may
	// be made again.
	ErrUnavailable = errors.New("payments database unavailable")
)

// Limits.
const (
	MaxBatch    = 500 // messages in one Record
	MaxPage     = 200 // dead letters, or payments, in one page
	MaxNamed    = 50  // providers in one DeadLetter
	MaxHistory  = 200 // entries of the log in one Letter
	MaxAttempts = 8   // failures of a message before it is parked
	MaxNote     = 500 // bytes of an actor, a reason or an error text that are kept
	MaxActor    = 100 // bytes of an actor that the API and the command line take
)

// Payment is one recorded payment.
type Payment struct {
	Cursor int64 // place in the order of recording, for PaymentFilter.Before; of Ledger.Payments only
	event.Key
	ID         uuid.UUID
	NetFee     money.Cents
	Postings   []event.Posting // ascending by NPI
	RecordedAt time.Time       // UTC, microseconds
}

// ID gives the payment id of a claim's version: a UUIDv8 derived from both, so
// that a payment recorded again after a restore has the same id.
func ID(key event.Key) uuid.UUID {
	sum := sha256.Sum256([]byte("claimrail payment " + key.String()))
	var id uuid.UUID
	copy(id[:], sum[:])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// Verdict is what Record did with one message.
type Verdict int

// Verdicts.
const (
	Recorded   Verdict = iota // a new payment
	Repeat                    // the same payment was there already
	Conflict                  // a payment of other content is there; nothing was changed
	WrittenOff                // an operator discarded the claim; nothing was recorded
)

// Reason is a stable word that says why a message was parked.
type Reason string

// Reasons.
const (
	ReasonMalformed Reason = "malformed" // not a message of the contract
	ReasonConflict  Reason = "conflict"  // another payment is on record for the claim
	ReasonFailed    Reason = "failed"    // MaxAttempts failures
)

// LetterState says whether a dead letter still waits.
type LetterState string

// States of a dead letter.
const (
	LetterOpen      LetterState = "open"
	LetterRedriven  LetterState = "redriven"  // an operator had it sent again
	LetterDiscarded LetterState = "discarded" // an operator wrote the claim off
	LetterPaid      LetterState = "paid"      // a copy of the message went through after all
)

// DeadLetter is a parked message.
type DeadLetter struct {
	ID        int64 // by the ledger, ascending
	MessageID string
	event.Ref // zero ClaimID where the body names no claim
	NetFee    money.Cents
	Providers []string // whom the message names, as far as they are NPIs, ascending; the first MaxNamed of what was parked
	Reason    Reason
	Error     string // what happened, no PHI
	Attempts  int
	Body      []byte
	BodyHash  [sha256.Size]byte
	ParkedAt  time.Time
	State     LetterState
	Closing   Decision // zero while open
}

// Decision is an operator's word on a dead letter, kept for ever.
type Decision struct {
	Actor  string
	Reason string
	At     time.Time
}

// Action is what was done with a dead letter: parked, or the state that it came to.
type Action string

// Actions.
const (
	ActionParked    Action = "parked"
	ActionRedriven  Action = Action(LetterRedriven)
	ActionDiscarded Action = Action(LetterDiscarded)
	ActionPaid      Action = Action(LetterPaid)
)

// Entry is a line of the log of dead letters, which is added to and never changed.
type Entry struct {
	LetterID int64
	Action   Action
	Decision // of the operator; of payments itself where it parked or paid
}

// LetterFilter selects dead letters; zero values select all.
type LetterFilter struct {
	State       LetterState
	Reason      Reason
	ProviderNPI string    // ten digits: only letters that name this provider
	From, To    time.Time // parked at or after From, before To
	Before      int64     // only ids below this; 0: start at the newest
	Limit       int       // 1..MaxPage
}

// PaymentFilter selects payments; zero values select all.
type PaymentFilter struct {
	ProviderNPI string    // ten digits: only payments with a posting to this provider
	From, To    time.Time // recorded at or after From, before To
	Before      int64     // only payments recorded before this Cursor; 0: start at the newest
	Limit       int       // 1..MaxPage
}

// Ledger is the payments database. All methods may be called at once.
type Ledger interface {
	// Record records the batch in one transaction, at now: one payment and its
	// postings for each (claim, version) that has none, and open dead letters of it
	// are closed as LetterPaid. A payment on record is Repeat where event.ClaimAccepted.Hash
	// agrees, else Conflict. A claim with a tombstone is WrittenOff. The same claim may
	// stand in the batch more than once. An error means that nothing was recorded, or
	// (ErrUnavailable) that nobody knows.
	Record(ctx context.Context, batch []event.ClaimAccepted, now time.Time) ([]Verdict, error)
	// Fail counts one failure of the message and gives the count so far. Counts last.
	Fail(ctx context.Context, messageID string, now time.Time) (attempts int, err error)
	// Park stores a dead letter as LetterOpen, and forgets the failure count. The same
	// MessageID parks once: again is no error and changes nothing.
	Park(ctx context.Context, letter DeadLetter) error
	// Standings gives what is on record, in the order of keys, event.MaxAsked at most.
	Standings(ctx context.Context, keys []event.Key) ([]event.Standing, error)
	// Payment gives the payment of the claim's highest version, or ErrNotFound.
	Payment(ctx context.Context, claimID uuid.UUID) (Payment, error)
	// Payments lists payments, the newest first. They never change, so that pages by Before are
	// all that was there when the first was read.
	Payments(ctx context.Context, filter PaymentFilter) ([]Payment, error)
	// DeadLetters lists dead letters, the newest first.
	DeadLetters(ctx context.Context, filter LetterFilter) ([]DeadLetter, error)
	// Letter gives one dead letter, or ErrNotFound, and what the log says of it and of all
	// others of its claim: the last MaxHistory entries, the oldest first. Park, Redrive, Discard and
	// Record make the entries, in their own transactions, one for each letter.
	Letter(ctx context.Context, id int64) (DeadLetter, []Entry, error)
	// Redrive closes all open dead letters of the letter's claim as LetterRedriven, so
	// that the claim's standing is Unknown and claim-process sends it again. Errors:
	// ErrNotFound, ErrClosed, ErrNoClaim, ErrPaid.
	Redrive(ctx context.Context, id int64, decision Decision) (DeadLetter, error)
	// Discard closes all open dead letters of the letter's claim as LetterDiscarded and, unless
	// the claim is paid, leaves a tombstone: no copy of the message will ever be paid. A
	// letter that names no claim is just closed. Errors: ErrNotFound, ErrClosed.
	Discard(ctx context.Context, id int64, decision Decision) (DeadLetter, error)
	// OpenDeadLetters counts those that wait, for metrics.
	OpenDeadLetters(ctx context.Context) (int, error)
	// Snapshot opens a view of one moment, for verification.
	Snapshot(ctx context.Context) (Snapshot, error)
	// Ping fails where the database can not be used or its schema is not this program's.
	Ping(ctx context.Context) error
	Close() error
}

// Snapshot is the whole ledger at one moment. Close it.
type Snapshot interface {
	// Payments gives every payment, ascending by the bytes of the claim id, then version.
	Payments(ctx context.Context) iter.Seq2[Payment, error]
	// Parked gives the claims with an open dead letter or a tombstone, ascending by
	// key, each once.
	Parked(ctx context.Context) iter.Seq2[Parked, error]
	// Strays gives the postings of no payment, in no order.
	Strays(ctx context.Context) iter.Seq2[Stray, error]
	Close() error
}

// Stray is a posting of no payment.
type Stray struct {
	PaymentSeq int64 // the number of the payment that it is said to be of
	event.Posting
}

// Parked is a claim that waits for an operator, or that one wrote off.
type Parked struct {
	event.Key
	WrittenOff bool // it has a tombstone; else an open dead letter and no more
}
