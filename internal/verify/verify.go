// Package verify walks the whole line and holds what it finds against what must
// always be true: every claim is somewhere, what is paid is what is due, and
// every sum is the sum of its parts. It stands beside the line, not on it: it
// only reads, and it may run at any time, also while claims come in and are paid.
//
// Nobody is asked to pause, so the two databases are never seen at the same
// moment. What makes the comparison sound is the order in which the views are
// opened, for in both databases the facts that are compared only ever appear:
//
//  1. payments, called before. A payment follows its claim's commit, so every
//     payment seen here has its claim in the next view.
//  2. claims.
//  3. payments again, called after. A settlement follows its payment's commit, so
//     every settlement seen in 2 has its payment here. Payments never change and never
//     go, so everything in before is here too, as it was.
//
// What may differ all the same, and is no breach:
//
//   - A payment of after whose claim is not in 2: the claim came in after 2 was opened. The
//     same payment in before would be a breach.
//   - A payment of a claim that 2 shows in flight: payments recorded it, and
//     claim-process has not learned of it yet. Its amount must be right already.
//   - A claim that 2 shows as dead, while payments has no open dead letter of it, or
//     has paid it: it was redriven, or a copy of the message went through, and the sweep
//     has not asked yet; or it could not be sent, and payments never saw it.
//   - An open dead letter of a claim that is in flight, or settled: the sweep has not
//     asked yet; or the letter is a conflict with the payment that stands.
//   - A tombstone of a claim that is in flight: likewise. The other way round it is a
//     breach: a claim is written off only on payments' word, and tombstones stay. A
//     tombstone and a payment of one claim are a breach in whatever order they came, for
//     each keeps the other out.
//
// A claim has one version here, the one that is stored. Once there are replacements, what
// earlier versions were paid will have to be known to claims as well.
package verify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
)

// Claims is the claims database, as far as it is read here.
type Claims interface {
	IdentitySecret(ctx context.Context) ([claim.IdentitySecretSize]byte, error)
	Snapshot(ctx context.Context) (store.Snapshot, error)
}

// Payments is the payments database, as far as it is read here.
type Payments interface {
	Snapshot(ctx context.Context) (payment.Snapshot, error)
}

// Run checks everything, once. An error means that it could not be checked, or not
// to the end; breaches are no error, they are in the report. It reads both
// databases whole, in the order of the claim ids, and needs memory for each
// provider but not for each claim. Until it returns it keeps four views open (one of
// claims, three of payments), so that the databases can not reclaim what is replaced
// meanwhile: the log of a SQLite file grows by what is written.
func Run(ctx context.Context, claims Claims, payments Payments) (report Report, err error) {
	started := time.Now()
	secret, err := claims.IdentitySecret(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	opened, err := open(ctx, claims, payments)
	defer func() {
		if err = errors.Join(err, opened.close()); err != nil {
			report = Report{}
		}
	}()
	if err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	a := newAudit(claim.NewIdentity(secret))
	if err := a.walk(ctx, opened); err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	if err := a.checkStrays(ctx, opened.claims, opened.after); err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	if err := a.totals(ctx, opened.claims); err != nil {
		return Report{}, fmt.Errorf("verify: %w", err)
	}
	return a.report(started), nil
}

// views are what is open of both databases. A database connection answers one query
// at a time, so the parked claims have a view of their own; as late as any, for
// tombstones stay.
type views struct {
	before payment.Snapshot
	claims store.Snapshot
	after  payment.Snapshot
	parked payment.Snapshot
}

// open opens the views, in the order on which everything rests. The views may be
// closed after an error too.
func open(ctx context.Context, claims Claims, payments Payments) (v views, err error) {
	if v.before, err = payments.Snapshot(ctx); err != nil {
		return v, err
	}
	if v.claims, err = claims.Snapshot(ctx); err != nil {
		return v, err
	}
	if v.after, err = payments.Snapshot(ctx); err != nil {
		return v, err
	}
	v.parked, err = payments.Snapshot(ctx)
	return v, err
}

func (v *views) close() error {
	var errs []error
	for _, paid := range []payment.Snapshot{v.parked, v.after, v.before} {
		if paid != nil {
			errs = append(errs, paid.Close())
		}
	}
	if v.claims != nil {
		errs = append(errs, v.claims.Close())
	}
	return errors.Join(errs...)
}

// found is all that the views have under one key.
type found struct {
	key    event.Key
	before *payment.Payment  // nil: there was none
	claim  *store.Audited    // nil: there is none
	after  []payment.Payment // should be one at most
	// writtenOff: it has a tombstone. One with an open dead letter only may be in any place.
	writtenOff bool
}

// walk joins the views by key, ascending, and inspects what each key has. Each view
// is read by a goroutine of its own.
func (a *audit) walk(ctx context.Context, opened views) error {
	ctx, stop := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait() // after stop: no view may be closed while it is read
	defer stop()
	paymentKey := func(p *payment.Payment) event.Key { return p.Key }
	before := read(ctx, &readers, "earlier payments", opened.before.Payments(ctx), paymentKey)
	claims := read(ctx, &readers, "claims", opened.claims.Claims(ctx), func(c *store.Audited) event.Key { return c.Key })
	after := read(ctx, &readers, "payments", opened.after.Payments(ctx), paymentKey)
	parked := read(ctx, &readers, "parked claims", opened.parked.Parked(ctx), func(p *payment.Parked) event.Key { return p.Key })
	var one found
	for {
		key, more := least(before.head, claims.head, after.head, parked.head)
		if err := errors.Join(before.err, claims.err, after.err, parked.err); err != nil {
			return err
		}
		if !more {
			return nil
		}
		one = found{key: key, after: one.after[:0]}
		for next := before.take(key); next != nil; next = before.take(key) {
			one.before = next
		}
		for next := claims.take(key); next != nil; next = claims.take(key) {
			if one.claim != nil {
				return fmt.Errorf("claim %s is there twice", key)
			}
			one.claim = next
		}
		for next := after.take(key); next != nil; next = after.take(key) {
			one.after = append(one.after, *next)
		}
		for next := parked.take(key); next != nil; next = parked.take(key) {
			one.writtenOff = one.writtenOff || next.WrittenOff
		}
		a.inspect(&one)
	}
}
