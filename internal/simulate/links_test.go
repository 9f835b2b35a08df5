package simulate_test

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
)

func newClaimsPlace() *place {
	return &place{name: "claims database", unavailable: store.ErrUnavailable, unknown: store.ErrUnknownOutcome}
}

func newLedgerPlace() *place {
	return &place{name: "payments database", unavailable: payment.ErrUnavailable, unknown: payment.ErrUnavailable}
}

// written runs a transaction that has something to tell. One that is committed only later
// tells it to nobody: its caller has gone on without.
func written[T any](ctx context.Context, at *place, what string, effect func() (T, error)) (told T, err error) {
	answer := make(chan T, 1)
	err = actorOf(ctx).write(ctx, at, what, func() error {
		found, err := effect()
		answer <- found
		return err
	})
	if err == nil {
		told = <-answer
	}
	return told, err
}

// claimsLink is the claims database as the program reaches it.
type claimsLink struct{ *world }

// Accept implements store.Accepter.
func (l claimsLink) Accept(ctx context.Context, batch []store.Submission, now time.Time) ([]store.Outcome, error) {
	outcomes, err := written(ctx, l.claimsAt, "accept", func() ([]store.Outcome, error) {
		outcomes, err := l.claims.Accept(context.Background(), batch, now)
		l.accepted(actorOf(ctx), batch, outcomes)
		return outcomes, err
	})
	if errors.Is(err, store.ErrUnknownOutcome) {
		for i := range batch {
			l.doubted[batch[i].Claim.ID] = true
		}
	}
	return outcomes, err
}

// Claim reads a claim, as whoever asks for it does.
func (l claimsLink) Claim(ctx context.Context, id uuid.UUID) (record store.Record, err error) {
	err = actorOf(ctx).read(ctx, l.claimsAt, "claim", func() (err error) {
		record, err = l.claims.Claim(ctx, id)
		return err
	})
	return record, err
}

// Due implements outbox.Rows.
func (l claimsLink) Due(ctx context.Context, queue outbox.Queue, now time.Time, after outbox.Place, limit int) (rows []outbox.Row, err error) {
	err = actorOf(ctx).read(ctx, l.claimsAt, "due", func() (err error) {
		rows, err = l.claims.Due(ctx, queue, now, after, limit)
		return err
	})
	return rows, err
}

// Apply implements outbox.Rows.
func (l claimsLink) Apply(ctx context.Context, changes []outbox.Change, now time.Time) (int, error) {
	return written(ctx, l.claimsAt, "apply", func() (int, error) {
		before := l.generations(changes)
		applied, err := l.claims.Apply(ctx, changes, now)
		l.resent(before)
		l.hasSettled(changes)
		return applied, err
	})
}

// Backlog implements outbox.Rows.
func (l claimsLink) Backlog(ctx context.Context) (outbox.Backlog, error) {
	return l.claims.Backlog(ctx)
}

// ledgerLink is the payments database as the program reaches it.
type ledgerLink struct{ *world }

// Record implements payment.Recorder. A batch with poison in it is not recorded.
func (l ledgerLink) Record(ctx context.Context, batch []event.ClaimAccepted, now time.Time) ([]payment.Verdict, error) {
	for i := range batch {
		poison, panics := l.isPoison(batch[i].Key)
		if !poison {
			continue
		}
		return nil, actorOf(ctx).read(ctx, l.ledgerAt, "record poison", func() error {
			if len(batch) > 1 {
				l.meet(poisonAmong)
			}
			if panics {
				panic("poison")
			}
			return errPoison
		})
	}
	return written(ctx, l.ledgerAt, "record", func() ([]payment.Verdict, error) {
		verdicts, err := l.ledger.Record(ctx, batch, now)
		l.recorded(batch, verdicts)
		return verdicts, err
	})
}

// Fail implements payment.Recorder.
func (l ledgerLink) Fail(ctx context.Context, messageID string, now time.Time) (int, error) {
	return written(ctx, l.ledgerAt, "fail", func() (int, error) { return l.ledger.Fail(ctx, messageID, now) })
}

// Park implements payment.Recorder.
func (l ledgerLink) Park(ctx context.Context, letter payment.DeadLetter) error {
	return actorOf(ctx).write(ctx, l.ledgerAt, "park", func() error {
		if !l.ledger.parked(letter.MessageID) && !l.parking(&letter) {
			l.breach("message %s is parked for no reason: %s, %s", letter.MessageID, letter.Reason, letter.Error)
		}
		return l.ledger.Park(ctx, letter)
	})
}

// Standings implements payment.Recorder and payment.Register.
func (l ledgerLink) Standings(ctx context.Context, keys []event.Key) (standings []event.Standing, err error) {
	err = actorOf(ctx).read(ctx, l.ledgerAt, "standings", func() (err error) {
		standings, err = l.ledger.Standings(ctx, keys)
		return err
	})
	return standings, err
}

// Redrive implements payment.Register.
func (l ledgerLink) Redrive(ctx context.Context, id int64, decision payment.Decision) (payment.DeadLetter, error) {
	return written(ctx, l.ledgerAt, "redrive", func() (payment.DeadLetter, error) {
		letter, err := l.ledger.Redrive(ctx, id, decision)
		if err == nil {
			l.meet(redriven)
		}
		return letter, err
	})
}

// Discard implements payment.Register. From the moment on that it is done, the claim must
// not be paid any more.
func (l ledgerLink) Discard(ctx context.Context, id int64, decision payment.Decision) (payment.DeadLetter, error) {
	return written(ctx, l.ledgerAt, "discard", func() (payment.DeadLetter, error) {
		before, _, err := l.ledger.Letter(ctx, id)
		if err != nil {
			return before, err
		}
		standing, err := l.ledger.Standings(ctx, []event.Key{before.Key})
		if err != nil {
			return before, err
		}
		letter, err := l.ledger.Discard(ctx, id, decision)
		if err == nil && letter.ClaimID != uuid.Nil && standing[0].State != event.Paid {
			l.meet(writtenOff)
			l.history.WriteOff(l.claims.byID[letter.ClaimID].Key)
		}
		return letter, err
	})
}
