package verify

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/claimrail/claimrail/internal/claim"
	"github.com/claimrail/claimrail/internal/event"
	"github.com/claimrail/claimrail/internal/outbox"
	"github.com/claimrail/claimrail/internal/payment"
	"github.com/claimrail/claimrail/internal/store"
)

// audit is one verification under way.
type audit struct {
	identity  claim.Identity
	counts    counts
	checks    [checkCount]Check
	providers map[claim.NPI]*provider
	netFee    sum // of all claims
	due, paid sum // of the claims that are paid: what claims says, and what payments says
}

func newAudit(identity claim.Identity) *audit {
	a := &audit{identity: identity, providers: make(map[claim.NPI]*provider)}
	for i := range a.checks {
		a.checks[i] = Check{Name: rules[i].name, Rule: rules[i].text, Examples: []string{}}
	}
	return a
}

// inspect runs every check that looks at a single claim.
func (a *audit) inspect(one *found) {
	if one.before != nil {
		a.checkEarlier(one)
	}
	a.checkWrittenOff(one)
	if one.claim == nil && one.before == nil {
		one.after = a.checkNewer(one.key, one.after)
	}
	a.checkPayments(one)
	if one.claim != nil {
		a.checkClaim(one)
		a.checkStatus(one)
	}
}

// checkEarlier checks what was on record before the claims were looked at.
func (a *audit) checkEarlier(one *found) {
	if !a.checks[paymentHasClaim].holds(one.claim != nil) {
		a.checks[paymentHasClaim].breach("payment of claim %s: claims has no such claim and version", one.key)
	}
	kept := slices.ContainsFunc(one.after, func(p payment.Payment) bool {
		return p.ID == one.before.ID && p.NetFee == one.before.NetFee && p.RecordedAt.Equal(one.before.RecordedAt) &&
			slices.Equal(p.Postings, one.before.Postings)
	})
	if !a.checks[paymentKept].holds(kept) {
		a.checks[paymentKept].breach("payment of claim %s: it was changed or removed during this run", one.key)
	}
}

// checkNewer checks payments of a claim that came in after the claims were looked
// at, as far as that can be done. Nothing else may count them, so it gives none back.
func (a *audit) checkNewer(key event.Key, newer []payment.Payment) []payment.Payment {
	a.checkOnce(key, newer)
	return newer[:0]
}

// checkOnce checks what can be said of payments without their claim.
func (a *audit) checkOnce(key event.Key, payments []payment.Payment) {
	if len(payments) == 0 {
		return
	}
	if !a.checks[paidOnce].holds(len(payments) == 1) {
		a.checks[paidOnce].breach("claim %s: %d payments", key, len(payments))
	}
	for i := range payments {
		if !a.checks[paymentID].holds(payments[i].ID == payment.ID(key)) {
			a.checks[paymentID].breach("payment of claim %s: its id is %s, not %s", key, payments[i].ID, payment.ID(key))
		}
	}
}

// checkPayments holds payments against their claim, and adds both to the sums. A
// claim that is paid twice, or a payment without a claim, so shows in the sums too.
func (a *audit) checkPayments(one *found) {
	if len(one.after) == 0 {
		return
	}
	a.checkOnce(one.key, one.after)
	for i := range one.after {
		paid := &one.after[i]
		a.counts.payments++
		a.checks[postingHasPayment].Checked += len(paid.Postings)
		a.paid.add(paid.NetFee)
		for _, posting := range paid.Postings {
			// Postings of nobody, and those that are no NPI at all, are no share of the claim.
			if npi, err := claim.ParseNPI(posting.ProviderNPI); err == nil {
				a.provider(npi).paid.add(posting.NetFee)
			}
		}
		if one.claim != nil {
			a.checkPayment(one.claim, paid)
		}
	}
	if one.claim != nil {
		a.due.add(one.claim.NetFee)
		for i := range one.claim.Shares {
			a.provider(one.claim.Shares[i].ProviderNPI).due.addSum(shareOf(one.claim, i))
		}
	}
}

func (a *audit) checkPayment(c *store.Audited, paid *payment.Payment) {
	check := &a.checks[paidByClaim]
	check.Checked++
	switch {
	case paid.NetFee != c.NetFee:
		check.breach("claim %s: its net fee is %s, %s is paid", c.Key, c.NetFee, paid.NetFee)
	case len(c.Overflown) > 0 || !sharesArePosted(c.Shares, paid.Postings):
		check.breach("claim %s: its %d postings are not the net fees of its %d providers", c.Key, len(paid.Postings), len(c.Shares))
	}
}

// sharesArePosted tells whether each provider's share, and nothing else, is posted.
func sharesArePosted(shares []claim.Share, postings []event.Posting) bool {
	return slices.EqualFunc(shares, postings, func(share claim.Share, posting event.Posting) bool {
		npi, err := claim.ParseNPI(posting.ProviderNPI)
		return err == nil && npi == share.ProviderNPI && posting.NetFee == share.NetFee
	})
}

// checkClaim checks a claim against itself.
func (a *audit) checkClaim(one *found) {
	c := one.claim
	var lines int
	var net sum
	for i := range c.Shares {
		share := shareOf(c, i)
		lines += c.Shares[i].Lines
		net.addSum(share)
		p := a.provider(c.Shares[i].ProviderNPI)
		p.net.addSum(share)
		p.claims++
	}
	a.counts.claims++
	a.counts.lines += lines
	a.netFee.add(c.NetFee)
	if !a.checks[netFee].holds(net.is(c.NetFee)) {
		a.checks[netFee].breach("claim %s: its net fee is %s, its lines add up to %s", c.Key, c.NetFee, net)
	}
	if !a.checks[planPayment].holds(!c.PlanOverflown && c.PlanOfLines == c.PlanPayment) {
		a.checks[planPayment].breach("claim %s: its expected plan payment is %s, its lines add up to another", c.Key, c.PlanPayment)
	}
	if !a.checks[lineCount].holds(lines == c.LineCount) {
		a.checks[lineCount].breach("claim %s: it has %d lines, %d are there", c.Key, c.LineCount, lines)
	}
	a.counts.listed += len(c.Listed)
	if !a.checks[claimProvider].holds(len(c.Overflown) == 0 && slices.EqualFunc(c.Shares, c.Listed, sameShare)) {
		a.checks[claimProvider].breach("claim %s: it is listed with %d of its %d providers, or not with what its lines give", c.Key, len(c.Listed), len(c.Shares))
	}
	if c.InOutbox != "" {
		a.checkMessage(c)
	}
	if !a.checks[claimID].holds(idOfKey(&a.identity, c.Identity, c.ClaimID)) {
		a.checks[claimID].breach("claim %s: its key (kind %q) gives another id", c.Key, c.Identity.Kind)
	}
}

// shareOf gives what the lines of a provider add up to in a claim.
func shareOf(c *store.Audited, i int) sum {
	if slices.Contains(c.Overflown, c.Shares[i].ProviderNPI) {
		return sum{overflown: true}
	}
	return sum{cents: c.Shares[i].NetFee}
}

func sameShare(a, b claim.Share) bool { return a.ProviderNPI == b.ProviderNPI && a.NetFee == b.NetFee }

// checkMessage checks what payments is told, or will be, of a claim.
func (a *audit) checkMessage(c *store.Audited) {
	a.counts.messages++
	if !a.checks[messageAmount].holds(c.OutboxNetFee == c.NetFee) {
		a.checks[messageAmount].breach("claim %s: its net fee is %s, its message says %s", c.Key, c.NetFee, c.OutboxNetFee)
	}
	if c.OutboxPostings == nil {
		return // a line is missing, which is a breach of its own
	}
	if !a.checks[messagePostings].holds(len(c.Overflown) == 0 && *c.OutboxPostings == store.EncodePostings(store.Postings(c.Shares))) {
		a.checks[messagePostings].breach("claim %s: its message does not say what its lines give its %d providers", c.Key, len(c.Shares))
	}
}

// idOfKey tells whether a claim's id is the one that its key gives. Without a key it is random, and
// can not be told from another random one; but no id derived from a key is of that version.
func idOfKey(identity *claim.Identity, key claim.Key, id uuid.UUID) bool {
	switch key.Kind {
	case claim.NoKey:
		return key.Value == "" && id.Version() == 7
	case claim.ExternalKey, claim.IdempotencyKey, claim.FileKey, claim.X12Key, claim.IDKey:
		return identity.ClaimID(key) == id
	default:
		return false
	}
}

// checkStatus checks a claim's place on the line, and that payments agrees as far as
// it must; see the package comment for where it need not.
func (a *audit) checkStatus(one *found) {
	c := one.claim
	status := &a.checks[oneStatus]
	status.Checked++
	switch {
	case c.Settled && c.InOutbox != "":
		status.breach("claim %s: it is settled, and in the outbox as %q", c.Key, c.InOutbox)
	case c.Settled:
		a.counts.settled++
	case c.InOutbox == outbox.Pending || c.InOutbox == outbox.Published:
		a.counts.inFlight++
	case c.InOutbox == outbox.Dead || c.InOutbox == outbox.Discarded:
		a.counts.deadLettered++
	default:
		status.breach("claim %s: it is not settled, and in the outbox as %q", c.Key, c.InOutbox)
	}
	if c.Settled {
		a.counts.settlements++
		a.checkSettlement(one)
	}
}

// checkWrittenOff checks what one of the two databases has as written off. What payments alone has so
// may be of a claim that came in after the claims were looked at.
func (a *audit) checkWrittenOff(one *found) {
	discarded := one.claim != nil && one.claim.InOutbox == outbox.Discarded
	if !discarded && !one.writtenOff {
		return
	}
	check := &a.checks[writtenOff]
	check.Checked++
	switch {
	case len(one.after) > 0:
		check.breach("claim %s: it is written off, and paid", one.key)
	case !one.writtenOff:
		check.breach("claim %s: it is written off, but not with payments", one.key)
	}
}

func (a *audit) checkSettlement(one *found) {
	check := &a.checks[settlementHasPayment]
	check.Checked++
	switch {
	case len(one.after) == 0:
		check.breach("claim %s: it is settled, and not paid", one.key)
	case !slices.ContainsFunc(one.after, func(p payment.Payment) bool { return p.ID == one.claim.PaymentID }):
		check.breach("claim %s: it is settled by payment %s, paid by %s", one.key, one.claim.PaymentID, one.after[0].ID)
	}
}

// totals runs the checks on sums, once every claim is added.
func (a *audit) totals(ctx context.Context, claims store.Snapshot) error {
	if a.netFee.overflown {
		a.checks[netFee].breach("the net fees of all claims together: %s", a.netFee)
	}
	total := &a.checks[paidInTotal]
	if !total.holds(a.paid.equal(a.due)) {
		total.breach("the net fee of all paid claims is %s, %s is paid", a.due, a.paid)
	}
	a.checkPaidByProvider()
	if err := a.checkProviderTotals(ctx, claims); err != nil {
		return err
	}
	if err := a.checkRanking(ctx, claims); err != nil {
		return err
	}
	return a.checkImports(ctx, claims)
}

// report sums up. What did not fit is 0 there, and a breach.
func (a *audit) report(started time.Time) Report {
	report := Report{
		Started:      started.UTC(),
		Took:         time.Since(started),
		Claims:       a.counts.claims,
		Lines:        a.counts.lines + a.counts.strayLines,
		InFlight:     a.counts.inFlight,
		Settled:      a.counts.settled,
		DeadLettered: a.counts.deadLettered,
		Payments:     a.counts.payments,
		Imports:      a.counts.imports,
		NetFeeClaims: a.netFee.cents,
		NetFeePaid:   a.paid.cents,
		Checks:       a.checks[:],
	}
	for _, p := range a.providers {
		if p.claims > 0 {
			report.Providers++
		}
	}
	return report
}
