package simulate_test

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
)

func newClaimsPlace() *place {
	return &place{unavailable: store.ErrUnavailable, unknown: store.ErrUnknownOutcome}
}

func newLedgerPlace() *place {
	return &place{unavailable: payment.ErrUnavailable, unknown: payment.ErrUnavailable}
}

// claimsLink is the claims database as the program reaches it.
type claimsLink struct{ *world }

// Accept implements store.Accepter.
func (l claimsLink) Accept(ctx context.Context, batch []store.Submission, now time.Time) (outcomes []store.Outcome, err error) {
	err = actorOf(ctx).write(ctx, l.claimsAt, "accept", func() (err error) {
		outcomes, err = l.claims.Accept(context.Background(), batch, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return outcomes, nil
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
func (l claimsLink) Apply(ctx context.Context, changes []outbox.Change, now time.Time) (applied int, err error) {
	err = actorOf(ctx).write(ctx, l.claimsAt, "apply", func() (err error) {
		applied, err = l.claims.Apply(ctx, changes, now)
		l.hasSettled(changes)
		return err
	})
	return applied, err
}

// Backlog implements outbox.Rows.
func (l claimsLink) Backlog(ctx context.Context) (outbox.Backlog, error) {
	return l.claims.Backlog(ctx)
}

// ledgerLink is the payments database as the program reaches it.
type ledgerLink struct{ *world }

// Record implements payment.Recorder. A batch with poison in it is not recorded.
func (l ledgerLink) Record(ctx context.Context, batch []event.ClaimAccepted, now time.Time) (verdicts []payment.Verdict, err error) {
	for i := range batch {
		poison, panics := l.isPoison(batch[i].Key)
		if !poison {
			continue
		}
		return nil, actorOf(ctx).read(ctx, l.ledgerAt, "record poison", func() error {
			if panics {
				panic("poison")
			}
			return errPoison
		})
	}
	err = actorOf(ctx).write(ctx, l.ledgerAt, "record", func() (err error) {
		verdicts, err = l.ledger.Record(ctx, batch, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return verdicts, nil
}

// Fail implements payment.Recorder.
func (l ledgerLink) Fail(ctx context.Context, messageID string, now time.Time) (attempts int, err error) {
	err = actorOf(ctx).write(ctx, l.ledgerAt, "fail", func() (err error) {
		attempts, err = l.ledger.Fail(ctx, messageID, now)
		return err
	})
	return attempts, err
}

// Park implements payment.Recorder.
func (l ledgerLink) Park(ctx context.Context, letter payment.DeadLetter) error {
	return actorOf(ctx).write(ctx, l.ledgerAt, "park", func() error { return l.ledger.Park(ctx, letter) })
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
func (l ledgerLink) Redrive(ctx context.Context, id int64, decision payment.Decision) (letter payment.DeadLetter, err error) {
	err = actorOf(ctx).write(ctx, l.ledgerAt, "redrive", func() (err error) {
		letter, err = l.ledger.Redrive(ctx, id, decision)
		return err
	})
	return letter, err
}

// Discard implements payment.Register. From the moment on that it is done, the claim must
// not be paid any more.
func (l ledgerLink) Discard(ctx context.Context, id int64, decision payment.Decision) (letter payment.DeadLetter, err error) {
	err = actorOf(ctx).write(ctx, l.ledgerAt, "discard", func() (err error) {
		before, _, err := l.ledger.Letter(ctx, id)
		if err != nil {
			return err
		}
		standing, err := l.ledger.Standings(ctx, []event.Key{before.Key})
		if err != nil {
			return err
		}
		if letter, err = l.ledger.Discard(ctx, id, decision); err == nil && letter.ClaimID != uuid.Nil && standing[0].State != event.Paid {
			l.history.WriteOff(l.claims.byID[letter.ClaimID].Key)
		}
		return err
	})
	return letter, err
}
