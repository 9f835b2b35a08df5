package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
)

// SubmitBatch hands in a batch, all of it of one import or none of any, and waits until it
// is committed. Each claim has an outcome of its own, whose Err may be any that Submit gives
// for the claim; one bad claim does not keep the others out.
//
// The error is for the whole batch, and of those kinds of which no claim is the cause:
// ErrUnavailable, ErrUnknownOutcome and ErrLostImport. Behind it a part of the batch may have
// been stored, where it was written in parts: submit it again to learn which. With any other
// error the batch is one that should not have been made.
//
// Batches and single claims wait in lines of their own, and each line writes one
// transaction at a time: where the engine has one writer they take turns, and otherwise
// they do not wait for each other.
func (c *Committer) SubmitBatch(ctx context.Context, batch []Submission) ([]Outcome, error) {
	lines := 0
	for i := range batch {
		lines += len(batch[i].Claim.Lines)
		if batch[i].Import != batch[0].Import {
			return nil, fmt.Errorf("submit %d claims: they are of more than one import", len(batch))
		}
	}
	if len(batch) < 1 || len(batch) > MaxBatchClaims || lines > MaxBatchLines {
		return nil, fmt.Errorf("submit %d claims of %d lines: want 1 to %d claims of at most %d lines",
			len(batch), lines, MaxBatchClaims, MaxBatchLines)
	}
	return c.submit(ctx, c.batches, batch)
}

// runBatches commits what SubmitBatch hands in until ctx ends, and then, with the context
// for work, what waits.
func (c *Committer) runBatches(ctx, work context.Context) {
	for ctx.Err() == nil {
		select {
		case w := <-c.batches:
			c.commitBatch(work, w)
		case <-ctx.Done():
		}
	}
	<-c.stopping
	for {
		select {
		case w := <-c.batches:
			c.commitBatch(work, w)
		default:
			return
		}
	}
}

// commitBatch writes a batch and answers its waiter.
func (c *Committer) commitBatch(ctx context.Context, w *waiter) {
	if !w.state.CompareAndSwap(queued, taken) {
		return
	}
	outcomes := make([]Outcome, 0, len(w.batch))
	err := c.acceptAll(ctx, w.batch, halving{}, func(part []Outcome) { outcomes = append(outcomes, part...) })
	if err != nil {
		w.answer <- answer{err: fmt.Errorf("submit %v: %w", w, err)}
		return
	}
	w.answer <- answer{outcomes: outcomes}
}

// acceptAll accepts a batch, and hands the outcomes to done, part by part in the order of
// the batch. Where it gives an error the rest has no outcome: the error is for all of it.
//
// An error of no kind belongs to one of the claims, nobody knows which. So the batch is
// halved until the claim at fault is alone, and the others go through: of 2,048 claims with
// one at fault that takes 23 tries.
func (c *Committer) acceptAll(ctx context.Context, batch []Submission, so halving, done func([]Outcome)) error {
	outcomes, doubted, err := c.acceptSurely(ctx, batch)
	so.doubted = so.doubted || doubted
	switch {
	case err == nil:
		c.stats.Batches.Add(1)
		c.stats.Claims.Add(int64(len(batch)))
		raise(&c.stats.LargestBatch, int64(len(batch)))
		outcomes = conclude(batch, outcomes)
		committed := messages(batch, outcomes)
		done(outcomes) // from here on the claims are their senders' again
		c.Committed(committed)
		return nil
	case so.doubted && isKind(err): // what the try in doubt made of it is as unknown as before
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	case isKind(err) || errors.Is(err, ErrLostImport): // no claim is at fault
		return err
	case len(batch) == 1:
		done(conclude(batch, []Outcome{{Err: err}}))
		return nil
	case so.depth == 0:
		c.stats.Splits.Add(1)
		c.logger.WarnContext(ctx, "a batch failed; it is halved to find the claim at fault", "claims", len(batch), "error", err)
	}
	half := len(batch) / 2
	so.depth++
	if err := c.acceptAll(ctx, batch[:half], so, done); err != nil {
		return err
	}
	return c.acceptAll(ctx, batch[half:], so, done)
}

// messages gives the messages of the claims that were stored now. An import has more of them than
// anybody could hold.
func messages(batch []Submission, outcomes []Outcome) []event.ClaimAccepted {
	if batch[0].Import != uuid.Nil {
		return nil
	}
	made := make([]event.ClaimAccepted, 0, len(batch))
	for i := range batch {
		if outcome := &outcomes[i]; outcome.Err == nil && !outcome.Existing {
			made = append(made, batch[i].Message(outcome.ReceivedAt))
		}
	}
	return made
}

// halving is what is known of a batch, or a part of one.
type halving struct {
	depth   int  // how often it was halved
	doubted bool // a commit that held it was in doubt
}

// conclude makes of what the engine says what the sender is told.
func conclude(batch []Submission, outcomes []Outcome) []Outcome {
	for i := range outcomes {
		// Nobody can have sent a claim of a random id before: it was our own first try.
		outcomes[i].Existing = outcomes[i].Existing && batch[i].Claim.Key.Kind != claim.NoKey
		if err := outcomes[i].Err; err != nil {
			outcomes[i] = Outcome{Err: fmt.Errorf("submit claim %s: %w", batch[i].Claim.ID, err)}
		}
	}
	return outcomes
}

// raise sets a counter to a value, if that is more.
func raise(counter *atomic.Int64, value int64) {
	for {
		if old := counter.Load(); old >= value || counter.CompareAndSwap(old, value) {
			return
		}
	}
}
