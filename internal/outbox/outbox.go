// Package outbox carries committed claims to payments: Relay publishes the rows
// that Accept left in the outbox, Sweep asks payments what has become of them. A
// row leaves the outbox only when payments has it on record; the broker's word
// is never enough, for a broker may acknowledge a message and lose it.
package outbox

import (
	"context"
	"time"

	"github.com/claimrail/claimrail/internal/event"
)

// State is where a row stands.
type State string

// States of a row. A settled claim has no row any more.
const (
	Pending   State = "pending"   // to be published when due; after a failure too
	Published State = "published" // the broker took it; payments is asked when due
	Dead      State = "dead"      // payments parked it, or it can not be sent; asked again when due
	Discarded State = "discarded" // an operator wrote it off; final
)

// Row is one claim on its way to payments, with its message.
type Row struct {
	event.ClaimAccepted
	State       State
	Attempts    int       // failed sends of this generation
	Sequence    uint64    // position in the stream; 0 until published
	PublishedAt time.Time // zero until published
	Place       Place
}

// Place is where a row stands in its queue. The zero Place is in front of all.
type Place struct {
	DueAt time.Time
	Seq   int64 // of acceptance; among rows that are due at the same time
}

func (p Place) before(other Place) bool {
	if by := p.DueAt.Compare(other.DueAt); by != 0 {
		return by < 0
	}
	return p.Seq < other.Seq
}

// Queue names the rows that one of the two workers waits for.
type Queue int

// The two queues.
const (
	ToPublish Queue = iota // Pending rows
	ToAsk                  // Published and Dead rows
)

// Move is one step of a row.
type Move int

// Moves. Each has a guard: where the row is not (or no longer) as the guard
// demands, the change is left out without an error, for somebody else was there
// first. Two Relays or Sweeps at once cost duplicates, nothing else.
const (
	// MarkPublished: Pending and same Gen -> Published, with Sequence; the error is cleared.
	MarkPublished Move = iota
	// MarkFailed: Pending and same Gen -> Pending, one attempt more, with Reason:
	// "failed to notify payments".
	MarkFailed
	// Postpone: Published or Dead and same Gen -> same state; only DueAt changes.
	Postpone
	// AskNow: Published or Dead, any Gen -> same state; only DueAt changes. A hint
	// carries no Gen, so it can not Resend; it has payments asked at once instead.
	AskNow
	// Resend: Published or Dead and same Gen -> Pending with Gen+1, no attempts, no error.
	Resend
	// Settle: any state and Gen, if the row's net fee is Paid.NetFee -> row gone,
	// settlement stored. With another net fee -> Dead with ReasonAmount, due at DueAt:
	// somebody must look.
	Settle
	// MarkDead: any state but Discarded, any Gen -> Dead, with Reason.
	MarkDead
	// MarkDiscarded: any state, any Gen -> Discarded, with Reason.
	MarkDiscarded
)

// ReasonAmount is the reason on a row whose payment is of another amount.
const ReasonAmount = "payments recorded another amount"

// Change asks for one move of one row. Which fields count depends on the move.
type Change struct {
	event.Ref // Gen counts where the move's guard names it
	Move      Move
	DueAt     time.Time      // when the row, if it stays, is due next; all moves but MarkDiscarded
	Sequence  uint64         // MarkPublished
	Reason    string         // MarkFailed, MarkDead, MarkDiscarded; MaxReasonBytes at most are kept
	Paid      event.Standing // Settle: the payment on record
}

// MaxReasonBytes bounds the reason kept with a row.
const MaxReasonBytes = 300

// Backlog is how much is under way, for metrics.
type Backlog struct {
	Pending   int       // never sent, or failed
	Failed    int       // of Pending: with at least one failed attempt
	Published int       // sent, not settled
	Dead      int       // parked; waiting for an operator
	Discarded int       // written off
	Oldest    time.Time // acceptance of the oldest row that is Pending or Published; zero if none
}

// Rows is the outbox at rest; the claims store keeps it.
type Rows interface {
	// Due gives up to limit rows of the queue with DueAt <= now that stand behind a place, the
	// longest due first. What is committed late may stand in front of what was given before.
	Due(ctx context.Context, queue Queue, now time.Time, after Place, limit int) ([]Row, error)
	// Apply makes the changes in one transaction, at now, in their order, and says
	// how many met their guard. Changes of claims without a row are left out.
	Apply(ctx context.Context, changes []Change, now time.Time) (applied int, err error)
	// Backlog counts the rows.
	Backlog(ctx context.Context) (Backlog, error)
}

// Line is the way to payments, as the broker offers it.
type Line interface {
	// Publish sends the messages, a bounded number in flight, and reports on each, in
	// order, within the context's deadline.
	Publish(ctx context.Context, messages []event.ClaimAccepted) []event.Published
	// Ask asks payments for the standing of MaxAsked claims at most.
	Ask(ctx context.Context, question event.Question) (event.Answer, error)
	// Progress says how far the consumer is: every message up to floor was answered;
	// last is the newest in the stream.
	Progress(ctx context.Context) (floor, last uint64, err error)
}
