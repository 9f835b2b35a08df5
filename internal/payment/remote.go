package payment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Operations of a call.
const (
	opPayment     = "payment"
	opPayments    = "payments"
	opLetter      = "dead-letter"
	opDeadLetters = "dead-letters"
	opRedrive     = "redrive"
	opDiscard     = "discard"
)

// call is one request of a RemoteDesk, as JSON on the wire.
type call struct {
	Op       string        `json:"op"`
	ClaimID  uuid.UUID     `json:"claim_id,omitzero"`
	Filter   LetterFilter  `json:"filter,omitzero"`
	Payments PaymentFilter `json:"payments,omitzero"`
	ID       int64         `json:"id,omitempty"`
	Decision Decision      `json:"decision,omitzero"`
}

// remotePostings bounds the postings of the payments in one answer, so that it fits into a
// message: a posting has some 50 bytes. The first payment is given whatever it has.
const remotePostings = 5000

// result is the answer. Letters are without their bodies, which nobody reads from afar and
// which would not fit.
type result struct {
	Kind     string       `json:"kind,omitempty"` // of the error, as in kindNames
	Payment  *Payment     `json:"payment,omitempty"`
	Payments []Payment    `json:"payments,omitempty"`
	Letters  []DeadLetter `json:"letters,omitempty"`
	History  []Entry      `json:"history,omitempty"`
}

// kindNames are the errors that a caller is told; of others it hears that there was one.
var kindNames = map[string]error{
	"not-found":   ErrNotFound,
	"closed":      ErrClosed,
	"no-claim":    ErrNoClaim,
	"paid":        ErrPaid,
	"unavailable": ErrUnavailable,
}

// kindOther is the kind of all other errors.
const kindOther = "other"

// Books is what a Desk reads when it is asked from afar.
type Books interface {
	Payment(ctx context.Context, claimID uuid.UUID) (Payment, error)
	Payments(ctx context.Context, filter PaymentFilter) ([]Payment, error)
	DeadLetters(ctx context.Context, filter LetterFilter) ([]DeadLetter, error)
	Letter(ctx context.Context, id int64) (DeadLetter, []Entry, error)
}

// Serve gives the answer to the call of a RemoteDesk. An error is for the log of this
// side: it says what the caller was not told.
func (d *Desk) Serve(ctx context.Context, books Books, request []byte) (answer []byte, err error) {
	var made call
	if err := json.Unmarshal(request, &made); err != nil {
		return nil, fmt.Errorf("read a call: %w", err)
	}
	done, err := d.carryOut(ctx, books, &made)
	if err != nil {
		done = result{Kind: kindOther}
		for name, kind := range kindNames {
			if errors.Is(err, kind) {
				done.Kind, err = name, nil
				break
			}
		}
	}
	for i := range done.Letters {
		done.Letters[i].Body = nil
	}
	answer, encodeErr := json.Marshal(&done)
	return answer, errors.Join(err, encodeErr)
}

func (d *Desk) carryOut(ctx context.Context, books Books, made *call) (result, error) {
	switch made.Op {
	case opPayment:
		paid, err := books.Payment(ctx, made.ClaimID)
		return result{Payment: &paid}, err
	case opDeadLetters:
		letters, err := books.DeadLetters(ctx, made.Filter)
		return result{Letters: letters}, err
	case opPayments:
		page, err := books.Payments(ctx, made.Payments)
		return result{Payments: fitting(page)}, err
	case opLetter:
		letter, history, err := books.Letter(ctx, made.ID)
		return result{Letters: []DeadLetter{letter}, History: history}, err
	case opRedrive:
		letter, err := d.Redrive(ctx, made.ID, made.Decision)
		return result{Letters: []DeadLetter{letter}}, err
	case opDiscard:
		letter, err := d.Discard(ctx, made.ID, made.Decision)
		return result{Letters: []DeadLetter{letter}}, err
	default:
		return result{}, fmt.Errorf("unknown operation %q of a call", made.Op)
	}
}

// fitting gives as many of the payments as fit into an answer.
func fitting(page []Payment) []Payment {
	postings := 0
	for i := range page {
		postings += len(page[i].Postings)
		if i > 0 && postings > remotePostings {
			return page[:i]
		}
	}
	return page
}

// RemoteDesk is payments as claim-process reaches it when the two run apart. Its methods are
// those of Ledger and Desk; one more error can come: ErrUnavailable where no payments
// instance answers. Dead letters come without their bodies.
type RemoteDesk struct {
	// Command sends a request to one payments instance and gives its answer.
	Command func(ctx context.Context, request []byte) ([]byte, error)
}

func (d RemoteDesk) call(ctx context.Context, made call) (result, error) {
	request, err := json.Marshal(&made)
	if err != nil {
		return result{}, fmt.Errorf("call payments: %w", err)
	}
	answer, err := d.Command(ctx, request)
	if err != nil {
		return result{}, fmt.Errorf("call payments: %w: %w", ErrUnavailable, err)
	}
	var done result
	if err := json.Unmarshal(answer, &done); err != nil {
		return result{}, fmt.Errorf("read the answer of payments: %w", err)
	}
	if done.Kind == "" {
		return done, nil
	}
	kind, known := kindNames[done.Kind]
	if !known {
		kind = errors.New("payments failed; its log says why")
	}
	return result{}, fmt.Errorf("%s: %w", made.Op, kind)
}

// Payment gives the payment of the claim's highest version, or ErrNotFound.
func (d RemoteDesk) Payment(ctx context.Context, claimID uuid.UUID) (Payment, error) {
	done, err := d.call(ctx, call{Op: opPayment, ClaimID: claimID})
	if err != nil || done.Payment == nil {
		return Payment{}, err
	}
	return *done.Payment, nil
}

// Payments lists payments, the newest first. A page may be shorter than its limit though there are more.
func (d RemoteDesk) Payments(ctx context.Context, filter PaymentFilter) ([]Payment, error) {
	done, err := d.call(ctx, call{Op: opPayments, Payments: filter})
	return done.Payments, err
}

// Letter gives one dead letter, or ErrNotFound, and what the log says of its claim.
func (d RemoteDesk) Letter(ctx context.Context, id int64) (DeadLetter, []Entry, error) {
	done, err := d.call(ctx, call{Op: opLetter, ID: id})
	if err != nil || len(done.Letters) != 1 {
		return DeadLetter{}, nil, err
	}
	return done.Letters[0], done.History, nil
}

// DeadLetters lists dead letters, the newest first.
func (d RemoteDesk) DeadLetters(ctx context.Context, filter LetterFilter) ([]DeadLetter, error) {
	done, err := d.call(ctx, call{Op: opDeadLetters, Filter: filter})
	return done.Letters, err
}

// Redrive is Desk.Redrive.
func (d RemoteDesk) Redrive(ctx context.Context, id int64, decision Decision) (DeadLetter, error) {
	return d.decide(ctx, call{Op: opRedrive, ID: id, Decision: decision})
}

// Discard is Desk.Discard.
func (d RemoteDesk) Discard(ctx context.Context, id int64, decision Decision) (DeadLetter, error) {
	return d.decide(ctx, call{Op: opDiscard, ID: id, Decision: decision})
}

func (d RemoteDesk) decide(ctx context.Context, made call) (DeadLetter, error) {
	made.Decision.At = made.Decision.At.UTC().Truncate(time.Microsecond)
	done, err := d.call(ctx, made)
	if err != nil || len(done.Letters) != 1 {
		return DeadLetter{}, err
	}
	return done.Letters[0], nil
}
