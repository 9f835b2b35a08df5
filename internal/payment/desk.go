package payment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/claimrail/claimrail/internal/event"
)

// ErrTooMany: a question names more than event.MaxAsked claims.
var ErrTooMany = errors.New("too many claims in one question")

// hintTimeout bounds what is done for one round's hints. They save a question,
// and are not worth waiting for.
const hintTimeout = time.Second

// Hinter sends hints to claim-process.
type Hinter interface {
	// Hint sends the standings, event.MaxAsked at most. They may be lost.
	Hint(ctx context.Context, answer event.Answer) error
}

// Register is the part of Ledger that a Desk uses.
type Register interface {
	Standings(ctx context.Context, keys []event.Key) ([]event.Standing, error)
	Redrive(ctx context.Context, id int64, decision Decision) (DeadLetter, error)
	Discard(ctx context.Context, id int64, decision Decision) (DeadLetter, error)
}

// Desk answers claim-process, and carries out what operators decide. All fields
// must be set; all methods may be called at once.
type Desk struct {
	Ledger Register
	Hinter Hinter
	Stats  *Stats
}

// Answer gives what is on record of each claim asked. Errors: ErrTooMany, and
// those of the ledger.
func (d *Desk) Answer(ctx context.Context, question event.Question) (event.Answer, error) {
	if len(question.Keys) > event.MaxAsked {
		return event.Answer{}, fmt.Errorf("answer a question about %d claims, %d at most: %w",
			len(question.Keys), event.MaxAsked, ErrTooMany)
	}
	standings, err := d.Ledger.Standings(ctx, question.Keys)
	if err != nil {
		return event.Answer{}, fmt.Errorf("answer a question about %d claims: %w", len(question.Keys), err)
	}
	return event.Answer{Standings: standings}, nil
}

// Redrive is Ledger.Redrive, and lets claim-process know at once, so that it sends
// the claim again without waiting for its next sweep.
func (d *Desk) Redrive(ctx context.Context, id int64, decision Decision) (DeadLetter, error) {
	letter, err := d.Ledger.Redrive(ctx, id, decision)
	if err == nil {
		tellStandings(ctx, d.Ledger, d.Hinter, d.Stats, []event.Key{letter.Key})
	}
	return letter, err
}

// Discard is Ledger.Discard, and lets claim-process know at once.
func (d *Desk) Discard(ctx context.Context, id int64, decision Decision) (DeadLetter, error) {
	letter, err := d.Ledger.Discard(ctx, id, decision)
	if err == nil && letter.Ref != (event.Ref{}) {
		tellStandings(ctx, d.Ledger, d.Hinter, d.Stats, []event.Key{letter.Key})
	}
	return letter, err
}

// witness says what is on record.
type witness interface {
	Standings(ctx context.Context, keys []event.Key) ([]event.Standing, error)
}

// tellStandings hints what the ledger has on record of the claims.
func tellStandings(ctx context.Context, ledger witness, hinter Hinter, stats *Stats, keys []event.Key) {
	ctx, cancel := context.WithTimeout(ctx, hintTimeout)
	defer cancel()
	for some := range slices.Chunk(keys, event.MaxAsked) {
		var standings []event.Standing
		if err := guard(func() (err error) {
			standings, err = ledger.Standings(ctx, some)
			return err
		}); err != nil {
			stats.HintsFailed.Add(1)
			continue
		}
		tell(ctx, hinter, stats, standings)
	}
}

// tell hints the standings. Errors are counted and nothing else: claim-process
// will ask.
func tell(ctx context.Context, hinter Hinter, stats *Stats, standings []event.Standing) {
	ctx, cancel := context.WithTimeout(ctx, hintTimeout)
	defer cancel()
	for some := range slices.Chunk(standings, event.MaxAsked) {
		if err := guard(func() error { return hinter.Hint(ctx, event.Answer{Standings: some}) }); err != nil {
			stats.HintsFailed.Add(1)
		}
	}
}
