package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/money"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
)

// How much is sampled, and how often.
const (
	sampleEvery   = time.Minute
	sampleClaims  = 100 // a page at a place drawn anew each time
	sampleTimeout = 20 * time.Second
)

// Sampled is what a Sampler reads of the claims database.
type Sampled interface {
	Claims(ctx context.Context, filter store.Filter) ([]store.Summary, error)
	Claim(ctx context.Context, id uuid.UUID) (store.Record, error)
}

// Asked is the way to payments: claim-process can not read its database.
type Asked interface {
	Ask(ctx context.Context, question event.Question) (event.Answer, error)
}

// SampleStats counts since the start of the process. All fields may be read at any time.
type SampleStats struct {
	Claims   atomic.Int64 // claims that were looked at
	Breaches atomic.Int64 // breaches among them; a claim that is drawn again counts again
	Failed   atomic.Int64 // rounds that came to no end, for a database or payments was away
	LastAt   atomic.Int64 // end of the last round that did, in seconds since 1970; 0: none yet
}

// Sampler goes on looking at a few claims while the line runs, so that a breach shows
// within minutes or hours, and not only when somebody verifies everything. It holds each claim
// against its own lines, and against what payments has on record: the part of Run's
// rules that needs no whole view.
//
// A claim is read before payments is asked about it. What is compared only ever appears, and
// with payments first, so that a difference is a breach even while claims come in.
type Sampler struct {
	Stats    SampleStats
	Database Sampled
	Payments Asked
	Identity claim.Identity
	Logger   *slog.Logger
	Now      func() time.Time
	Random   func(n int64) int64 // in [0, n)
	Every    time.Duration       // 0: sampleEvery
}

// Run samples until ctx is done. No error ends it, so it always gives nil.
func (s *Sampler) Run(ctx context.Context) error {
	ticker := time.NewTicker(cmp.Or(s.Every, sampleEvery))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		switch err := s.Sample(ctx); {
		case ctx.Err() != nil:
		case err != nil:
			s.Stats.Failed.Add(1)
			s.Logger.WarnContext(ctx, "a sample of claims can not be verified; it is tried again in the next round", "error", err)
		default:
			s.Stats.LastAt.Store(s.Now().Unix())
		}
	}
}

// Sample looks at the claims of one page, at a place drawn at random. An error means that they
// could not all be looked at; breaches are no error: they are counted, and logged.
func (s *Sampler) Sample(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	records, err := s.draw(ctx)
	if err != nil || len(records) == 0 {
		return err
	}
	question := event.Question{Keys: make([]event.Key, len(records))}
	for i := range records {
		question.Keys[i] = event.Key{ClaimID: records[i].ClaimID, Version: records[i].Version}
	}
	answer, err := s.Payments.Ask(ctx, question)
	if err != nil {
		return fmt.Errorf("ask payments about %d claims: %w", len(records), err)
	}
	if len(answer.Standings) != len(records) {
		return fmt.Errorf("asked payments about %d claims, the answer has %d", len(records), len(answer.Standings))
	}
	for i := range records {
		s.Stats.Claims.Add(1)
		for _, rule := range s.breaches(&records[i], &answer.Standings[i]) {
			s.Stats.Breaches.Add(1)
			s.Logger.ErrorContext(ctx, "a claim breaks a rule; keep the databases as they are, and run claimrail verify",
				"claim", records[i].ClaimID.String(), "rule", rules[rule].name, "must", rules[rule].text)
		}
	}
	return nil
}

// draw reads whole claims. Places are spread over the order of acceptance, which has gaps
// at most.
func (s *Sampler) draw(ctx context.Context) ([]store.Record, error) {
	newest, err := s.Database.Claims(ctx, store.Filter{Limit: 1})
	if err != nil || len(newest) == 0 {
		return nil, err
	}
	// The page ends in front of the place: behind the last claim is one too.
	place := 2 + s.Random(newest[0].Cursor)
	page, err := s.Database.Claims(ctx, store.Filter{Before: place, Limit: sampleClaims})
	if err != nil {
		return nil, err
	}
	records := make([]store.Record, 0, len(page))
	for i := range page {
		record, err := s.Database.Claim(ctx, page[i].ClaimID)
		switch {
		case errors.Is(err, store.ErrNotFound): // archived since
		case err != nil:
			return nil, err
		default:
			records = append(records, record)
		}
	}
	return records, nil
}

// breaches gives the rules that a claim breaks.
func (s *Sampler) breaches(c *store.Record, standing *event.Standing) []int {
	var broken []int
	must := func(rule int, holds bool) {
		if !holds {
			broken = append(broken, rule)
		}
	}
	var net sum
	for i := range c.Lines {
		for _, amount := range []money.Cents{c.Lines[i].ProviderFees, -c.Lines[i].AllowedFees, c.Lines[i].MemberCoinsurance, c.Lines[i].MemberCopay} {
			net.add(amount) // Line.NetFee would wrap around
		}
	}
	key := event.Key{ClaimID: c.ClaimID, Version: c.Version}
	paid := standing.Key == key && standing.State == event.Paid
	must(netFee, net.is(c.NetFee))
	must(lineCount, len(c.Lines) == c.LineCount)
	must(claimID, idOfKey(&s.Identity, c.Key, c.ClaimID))
	must(settlementHasPayment, c.Payment.State != store.PaymentPaid || paid && standing.PaymentID == c.Payment.PaymentID)
	must(paidByClaim, !paid || standing.NetFee == c.NetFee)
	must(paymentID, !paid || standing.PaymentID == payment.ID(key))
	must(writtenOff, !standing.WrittenOff && (c.Payment.State != store.PaymentDiscarded || standing.State == event.Discarded))
	return broken
}
