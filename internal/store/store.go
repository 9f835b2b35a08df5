// Package store is claims at rest: the contract that every engine keeps. A claim,
// its lines, the providers' totals and the outbox row that will tell payments
// of it are written in one transaction, or not at all. Committer turns many
// requests into few transactions; storetest holds each engine to this contract.
package store

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/outbox"
)

// Kinds of error. Test for them with errors.Is; everything else is a defect.
var (
	// ErrNotFound: there is no such claim, import or part.
	ErrNotFound = errors.New("not found")
	// ErrOtherClaim: the key is taken by a claim with other content.
	ErrOtherClaim = errors.New("another claim was accepted under this key")
	// ErrUnavailable: the database can not be reached, is busy or is full; nothing
	// was stored, and the same call may succeed later.
	ErrUnavailable = errors.New("claims database unavailable")
	// ErrUnknownOutcome: the answer to COMMIT was lost. Accept the same submissions
	// again to learn what happened; never look instead.
	ErrUnknownOutcome = errors.New("outcome of the commit is unknown")
)

// Limits.
const (
	MaxBatchClaims = 2_048  // claims in one Accept
	MaxBatchLines  = 20_000 // lines in one Accept
	MaxPage        = 200    // claims in one page of Claims
	MaxTop         = 1000   // providers in one TopProviders
)

// Submission is a valid claim to be stored.
type Submission struct {
	Claim       *claim.Claim
	Traceparent string // W3C trace context, to travel with the message; may be empty
	// Import is the import that the claim is of, if any. Where the claim is new, Accept counts it,
	// its lines and its net fee with that import, in the same transaction. One that does not run, or is a
	// dry run, takes no new claim: then Accept gives ErrLostImport, and nothing is stored.
	Import uuid.UUID
}

// Outcome says what became of one submission.
type Outcome struct {
	FirstLineID int64     // id of the claim's first line; its lines have consecutive ids
	ReceivedAt  time.Time // when it was first accepted; UTC, microseconds
	Existing    bool      // the same claim was there already; nothing was stored now
	// Err is why nothing of this submission was stored: ErrOtherClaim, or, of SubmitBatch, what
	// else is wrong with this claim alone.
	Err error
}

// Status is a claim's place on the line. Every claim has exactly one.
type Status string

// Statuses.
const (
	InFlight     Status = "in_flight"     // payments has not confirmed it yet
	Settled      Status = "settled"       // payments has recorded it
	DeadLettered Status = "dead_lettered" // parked or written off; an operator decides
)

// Payment is what claim-process knows of a claim's payment.
type Payment struct {
	State         PaymentState
	Gen           int       // generation of the message
	Attempts      int       // failed sends of this generation
	Error         string    // why it failed, or was parked or written off; no PHI
	NextAttemptAt time.Time // of Pending and FailedToNotify
	PaymentID     uuid.UUID // of Paid
	RecordedAt    time.Time // of Paid: when payments recorded it
	SettledAt     time.Time // of Paid: when claim-process learned of it
}

// PaymentState refines Status.
type PaymentState string

// Payment states.
const (
	PaymentPending      PaymentState = "pending"
	PaymentFailed       PaymentState = "failed_to_notify_payments"
	PaymentNotified     PaymentState = "notified"
	PaymentPaid         PaymentState = "paid"
	PaymentDeadLettered PaymentState = "dead_lettered"
	PaymentDiscarded    PaymentState = "discarded"
)

// Status gives the status that a payment state belongs to.
func (s PaymentState) Status() Status {
	switch s {
	case PaymentPaid:
		return Settled
	case PaymentDeadLettered, PaymentDiscarded:
		return DeadLettered
	default:
		return InFlight
	}
}

// PaymentStateOf gives the payment state of a claim by its outbox row.
func PaymentStateOf(state outbox.State, attempts int) PaymentState {
	switch state {
	case outbox.Published:
		return PaymentNotified
	case outbox.Dead:
		return PaymentDeadLettered
	case outbox.Discarded:
		return PaymentDiscarded
	default:
		if attempts > 0 {
			return PaymentFailed
		}
		return PaymentPending
	}
}

// Summary is a claim without its lines: no PHI.
type Summary struct {
	// Cursor is the place in the order of acceptance, for Filter.Before. There are gaps, and where several
	// instances accept it may be off by a second.
	Cursor              int64
	ClaimID             uuid.UUID
	Version             int
	ExternalID          string
	LineCount           int
	NetFee              money.Cents
	ExpectedPlanPayment money.Cents
	ReceivedAt          time.Time
	Payment             Payment
}

// Record is a stored claim, whole.
type Record struct {
	Summary
	Key         claim.Key
	FirstLineID int64
	Lines       []claim.Line
	Warnings    []claim.Violation // Found is not kept
}

// Filter selects claims; zero values select all.
type Filter struct {
	ProviderNPI  claim.NPI // 0: any. Claims with at least one line of this provider
	HasNPI       bool      // ProviderNPI counts
	Status       Status
	PaymentState PaymentState
	From, To     time.Time // received at or after From, before To
	Before       int64     // only claims accepted before this Cursor; 0: start at the newest
	Limit        int       // 1..MaxPage
}

// ProviderTotal is one row of the ranking.
type ProviderTotal struct {
	ProviderNPI claim.NPI
	TotalNetFee money.Cents
	ClaimCount  int64
}

// Rate is the answer of a rate limit.
type Rate struct {
	Allowed    bool
	Remaining  int           // how many more would be allowed now
	RetryAfter time.Duration // until the next is allowed; 0 if Remaining > 0
	Reset      time.Duration // until all are allowed again
}

// Engine is a claims database. All methods may be called at once. Errors are of
// the kinds above.
type Engine interface {
	outbox.Rows
	Imports

	// Accept stores the submissions in one transaction, at now, each with its lines,
	// totals and outbox row (Pending, due at once). A claim whose id is there already
	// gets the stored outcome, if the fingerprint is the same; else ErrOtherClaim. An error means that nothing at all was stored, but
	// for ErrUnknownOutcome. len(batch) is 1..MaxBatchClaims.
	Accept(ctx context.Context, batch []Submission, now time.Time) ([]Outcome, error)
	// IdentitySecret gives the secret that claim ids are derived with.
	IdentitySecret(ctx context.Context) ([claim.IdentitySecretSize]byte, error)
	// Claim gives one claim, or ErrNotFound.
	Claim(ctx context.Context, id uuid.UUID) (Record, error)
	// Claims lists claims, the newest first.
	Claims(ctx context.Context, filter Filter) ([]Summary, error)
	// Records gives whole claims, in the order of acceptance, as all of them stand when the
	// first is read; filter.Limit does not count. It takes the memory of a page of claims and of
	// one claim's lines, and what a snapshot takes (see Snapshot), until the loop or ctx ends. An
	// error comes once, and last.
	Records(ctx context.Context, filter Filter) iter.Seq2[Record, error]
	// TopProviders ranks providers by total net fee, descending, ties by NPI ascending.
	TopProviders(ctx context.Context, limit int) ([]ProviderTotal, error)
	// Take counts one request of client against limit requests in any window, a
	// sliding one, and says whether it is allowed. Refused requests do not count.
	Take(ctx context.Context, client string, limit int, window time.Duration, now time.Time) (Rate, error)
	// Snapshot opens a view of one moment, for verification.
	Snapshot(ctx context.Context) (Snapshot, error)
	// Ping fails where the database can not be used or its schema is not this program's.
	Ping(ctx context.Context) error
	Close() error
}
