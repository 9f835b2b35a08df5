package outbox

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/claimrail/claimrail/internal/event"
)

// SweepStats counts since the start of the process. All fields may be read at any
// time. Conflicts and Resent should not grow on a healthy line: the first is
// payments at odds with claims, the second is messages getting lost.
type SweepStats struct {
	Asked          atomic.Int64 // claims that payments was asked about, with an answer
	Unanswered     atomic.Int64 // questions without an answer
	Resent         atomic.Int64 // rows given back to the relay, with a new generation
	Conflicts      atomic.Int64 // answers that told another amount; one row counts at every answer
	DatabaseErrors atomic.Int64
}

// Sweep asks payments about rows that were sent and not settled, and about dead
// ones, until payments has a record of them. It never gives a claim up. Any number
// of sweeps may work on the same rows.
type Sweep struct {
	Stats    SweepStats
	config   Config
	wake     chan struct{}
	line     streak
	database streak
	told     map[event.Key]struct{} // claims whose other amount was logged; maxTold, and then from the start
}

// NewSweep gives a sweep that does nothing before Run.
func NewSweep(config Config) *Sweep {
	return &Sweep{
		config:   config.withDefaults(),
		wake:     make(chan struct{}, 1),
		line:     streak{logger: config.Logger, what: "payments can not be asked"},
		database: streak{logger: config.Logger, what: "the sweep can not use the claims database"},
		told:     map[event.Key]struct{}{},
	}
}

// Run sweeps until ctx is done. No error ends it, so it always gives nil.
func (s *Sweep) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		for more := true; more && ctx.Err() == nil; {
			more = s.sweep(ctx)
		}
		sleep(ctx, s.wake, s.config.SweepEvery)
	}
	return nil
}

// Hint applies what payments said without being asked, in one transaction. An
// error means that the hint is lost, which only costs a question later.
func (s *Sweep) Hint(ctx context.Context, answer event.Answer) error {
	if len(answer.Standings) == 0 {
		return nil
	}
	now := s.config.Now()
	changes := make([]Change, len(answer.Standings))
	unknown := false
	for i, standing := range answer.Standings {
		changes[i] = s.change(standing, nil, reach{}, now)
		unknown = unknown || changes[i].Move == AskNow
	}
	if _, err := s.config.apply(ctx, changes); err != nil {
		return fmt.Errorf("apply a hint on %d claims: %w", len(changes), err)
	}
	if unknown {
		signal(s.wake)
	}
	return nil
}

// sweep asks about one batch of rows. more says that there may be others to ask
// about now; after an error there are not, so that the next round is the retry.
func (s *Sweep) sweep(ctx context.Context) (more bool) {
	rows, err := s.config.due(ctx, ToAsk, Place{}, event.MaxAsked, databaseTimeout)
	if err != nil {
		s.databaseError(ctx, fmt.Errorf("read rows to ask about: %w", err))
		return false
	}
	s.database.end(ctx)
	if len(rows) == 0 {
		return false
	}
	standings, reach, err := s.ask(ctx, rows)
	if err != nil {
		if ctx.Err() == nil {
			s.Stats.Unanswered.Add(1)
		}
		s.line.fail(ctx, err)
		return false
	}
	s.line.end(ctx)
	s.Stats.Asked.Add(int64(len(rows)))
	changes := s.changes(rows, standings, reach)
	applied, err := s.config.apply(ctx, changes)
	if err != nil {
		s.databaseError(ctx, fmt.Errorf("apply an answer on %d rows: %w", len(rows), err))
		return false
	}
	s.count(ctx, rows, changes)
	// If nothing was applied, another sweep was first, or the rows would come again
	// at once and for ever.
	return len(rows) == event.MaxAsked && applied > 0
}

func (s *Sweep) databaseError(ctx context.Context, err error) {
	if ctx.Err() == nil {
		s.Stats.DatabaseErrors.Add(1)
	}
	s.database.fail(ctx, err)
}

// ask gives payments' word on each row, in order, and how far the consumer was
// before.
//
// The order is what makes Resend right: first the rows are read, then the progress,
// then payments is asked. The progress is later than the rows, so a row beyond
// the last message means a stream that was made anew, and not a message just sent.
// The question is later than the progress, so what the consumer had answered then
// was on record before payments looked: if payments does not know it, it is lost.
// Asked the other way round, every message that is paid between the answer and the
// look at the progress would seem lost, and a busy line would send everything twice.
func (s *Sweep) ask(ctx context.Context, rows []Row) ([]event.Standing, reach, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	floor, last, err := s.config.Line.Progress(ctx)
	if err != nil {
		return nil, reach{}, fmt.Errorf("read the consumer's progress: %w", err)
	}
	question := event.Question{Keys: make([]event.Key, len(rows))}
	for i := range rows {
		question.Keys[i] = rows[i].Key
	}
	answer, err := s.config.Line.Ask(ctx, question)
	if err != nil {
		return nil, reach{}, fmt.Errorf("ask about %d claims: %w", len(rows), err)
	}
	if len(answer.Standings) != len(rows) {
		return nil, reach{}, fmt.Errorf("asked about %d claims, the answer has %d", len(rows), len(answer.Standings))
	}
	for i, standing := range answer.Standings {
		if standing.Key != rows[i].Key {
			return nil, reach{}, fmt.Errorf("asked about claim %s, the answer is about %s", rows[i].Key, standing.Key)
		}
	}
	return answer.Standings, reach{floor, last}, nil
}

// reach is the part of the stream that the consumer has not answered: the messages
// above floor, up to last.
type reach struct{ floor, last uint64 }

// holds tells whether the broker still has the message in hand and will deliver it.
func (r reach) holds(sequence uint64) bool { return r.floor < sequence && sequence <= r.last }

// changes turns an answer into moves.
func (s *Sweep) changes(rows []Row, standings []event.Standing, reach reach) []Change {
	now := s.config.Now()
	changes := make([]Change, len(rows))
	for i := range rows {
		changes[i] = s.change(standings[i], &rows[i], reach, now)
	}
	return changes
}

// count counts what an operator should know of changes that were made. A claim of another amount is
// logged once, and no more than one of an answer.
func (s *Sweep) count(ctx context.Context, rows []Row, changes []Change) {
	conflicts, untold := int64(0), []event.Key(nil)
	for i := range changes {
		switch {
		case changes[i].Move == Resend:
			s.Stats.Resent.Add(1)
		case changes[i].Move == Settle && changes[i].Paid.NetFee != rows[i].NetFee:
			conflicts++
			if _, told := s.told[rows[i].Key]; !told {
				untold = append(untold, rows[i].Key)
			}
		}
	}
	s.Stats.Conflicts.Add(conflicts)
	if len(untold) == 0 {
		return
	}
	s.config.Logger.ErrorContext(ctx, ReasonAmount, "claim", untold[0].String(), "others", len(untold)-1)
	if len(s.told)+len(untold) > maxTold {
		clear(s.told)
	}
	for _, key := range untold {
		s.told[key] = struct{}{}
	}
}

// change turns payments' word on one claim into the move of its row. A hint has no
// row at hand.
func (s *Sweep) change(standing event.Standing, row *Row, reach reach, now time.Time) Change {
	change := Change{Ref: event.Ref{Key: standing.Key}}
	if row != nil {
		change.Ref = row.Ref
	}
	switch {
	case standing.State == event.Paid:
		change.Move = Settle
		change.Paid = standing
		change.DueAt = now.Add(s.deadWait(row, now)) // if it is of another amount
	case standing.State == event.Dead:
		change.Move = MarkDead
		change.Reason = standing.Reason
		change.DueAt = now.Add(s.deadWait(row, now))
	case standing.State == event.Discarded:
		change.Move = MarkDiscarded
		change.Reason = standing.Reason
	case row == nil:
		change.Move = AskNow
		change.DueAt = now
	case standing.State == event.Unknown && (row.State == Dead || !reach.holds(row.Sequence)):
		// A dead row that payments does not know (any more) was redriven. A published
		// one is lost. Relay waits longer after each generation before it is due here.
		change.Move = Resend
		change.DueAt = now
	default:
		change.Move = Postpone
		change.DueAt = now.Add(s.postponement(row, now))
	}
	return change
}

// postponement is how long a message that the broker still has is left alone: as
// long again as it has waited, so that a backlog of hours is not asked about every
// few seconds. The last quarter is drawn, so that rows do not come back in step.
func (s *Sweep) postponement(row *Row, now time.Time) time.Duration {
	wait := min(max(s.config.patience(row.Gen), now.Sub(row.PublishedAt)), maxPatience)
	return wait - time.Duration(s.config.Random()*float64(wait)/4)
}

// deadWait is how long a dead row is left alone: as long again as it has waited, as each question writes
// it anew. What an operator decides comes as a hint, and is asked for only where that was lost.
func (s *Sweep) deadWait(row *Row, now time.Time) time.Duration {
	if row == nil || row.State != Dead {
		return s.config.DeadEvery
	}
	return max(s.config.DeadEvery, min(now.Sub(row.PublishedAt), maxDeadWait))
}
